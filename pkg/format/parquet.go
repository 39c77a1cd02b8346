package format

import (
	"encoding/binary"
	"io"
	"reflect"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"github.com/grandlyon/retombees/pkg/impact"
)

// rowGroup is how many rows of a Parquet file are read as one.
const rowGroup = 128 << 10

// decimalBytes holds nineteen digits and a sign: 64 bits of Parquet may hold
// eighteen only, and 10^12 has nineteen with its decimals.
const decimalBytes = 9

// parquetTypes give the Go type and the tag of each type of cell. Numbers are
// DECIMAL(19,6): every digit, and arithmetic on it stays exact.
var parquetTypes = map[ConceptType]struct {
	of  reflect.Type
	tag string
}{
	StringType:  {reflect.TypeFor[*string](), ",optional,dict,zstd"},
	NumberType:  {reflect.TypeFor[*[decimalBytes]byte](), ",optional,decimal(6:19),zstd"},
	IntegerType: {reflect.TypeFor[*int64](), ",optional,zstd"},
	DateType:    {reflect.TypeFor[*int32](), ",optional,date,dict,zstd"},
}

// WriteParquet writes Parquet: a column of the table is a column of the file,
// null where there is no value, what the file is in its key-value metadata.
func WriteParquet[R any](w io.Writer, columns []Column[R], rows []R, about About) error {
	cs, concepts := flat(columns)
	fields := make([]reflect.StructField, len(cs))
	for i, c := range concepts {
		t := parquetTypes[c.Type]
		fields[i] = reflect.StructField{Name: "F" + strconv.Itoa(i), Type: t.of, Tag: reflect.StructTag(`parquet:"` + c.Name + t.tag + `"`)}
	}
	// A schema made of a struct keeps the order of its columns, one made of
	// nodes would sort them.
	schema := parquet.SchemaOf(reflect.New(reflect.StructOf(fields)).Interface())
	options := []parquet.WriterOption{schema, parquet.CreatedBy("retombees", "1", ""), parquet.MaxRowsPerRowGroup(rowGroup)}
	for _, p := range about.pairs() {
		if p[1] != "" {
			options = append(options, parquet.KeyValueMetadata(p[0], p[1]))
		}
	}
	pw := parquet.NewWriter(w, options...)
	const batch = 1024
	out := make([]parquet.Row, 0, batch)
	values := make([]parquet.Value, 0, batch*len(cs))
	for i := range rows {
		start := len(values)
		for k, c := range cs {
			v, err := c.Cell(&rows[i]).parquet(concepts[k].Type)
			if err != nil {
				return err
			}
			level := 1
			if v.IsNull() {
				level = 0
			}
			values = append(values, v.Level(0, level, k))
		}
		if out = append(out, values[start:len(values):len(values)]); len(out) == batch || i == len(rows)-1 {
			if _, err := pw.WriteRows(out); err != nil {
				return err
			}
			out, values = out[:0], values[:0]
		}
	}
	return pw.Close()
}

func (c Cell) parquet(t ConceptType) (parquet.Value, error) {
	switch {
	case c.kind == absent || c.kind == raw:
		return parquet.NullValue(), nil
	case t == DateType:
		d, fault := impact.ParseDate(c.text)
		if fault != nil {
			return parquet.Value{}, impact.Refuse(*fault)
		}
		return parquet.Int32Value(int32(d)), nil
	case c.kind == text:
		return parquet.ByteArrayValue([]byte(c.text)), nil
	}
	if t == NumberType {
		b := make([]byte, decimalBytes) // two's complement, the sign first
		b[0] = byte(c.number >> 63)
		binary.BigEndian.PutUint64(b[1:], uint64(c.number))
		return parquet.FixedLenByteArrayValue(b), nil
	}
	return parquet.Int64Value(int64(c.number)), nil
}

package api_test

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"

	"github.com/grandlyon/retombees/pkg/impact"
)

// tableRow is a row as text, column by column; empty where there is no value.
type tableRow map[string]string

// sdmxNames are the columns that SDMX names otherwise than in capitals.
var sdmxNames = map[string]string{"REF_AREA": "territory", "TIME_PERIOD": "period", "OBS_VALUE": "value", "UNIT_MEASURE": "unit"}

// sameTable checks that an answer in any format has the rows, the numbers and the
// statuses of a CSV, read by readers that are not ours.
func sameTable(t testing.TB, suffix string, english []byte, a answer) {
	t.Helper()
	if a.status != 200 {
		t.Errorf("%s: %d %.300s", suffix, a.status, a.body)
		return
	}
	want := csvTable(t, english, ',')
	var got []tableRow
	switch suffix {
	case ".csv":
		got = csvTable(t, a.body, ',')
	case ".fr.csv":
		got = csvTable(t, a.body, ';')
		for _, r := range got {
			for name, v := range r {
				switch v = strings.TrimPrefix(v, "'"); {
				case strings.HasSuffix(name, "_label"):
					delete(r, name)
				case numeric(want, name):
					r[name] = strings.Replace(v, ",", ".", 1)
				default:
					r[name] = v
				}
			}
		}
	case ".ndjson":
		for line := range strings.Lines(string(a.body)) {
			got = append(got, objectRow(t, []byte(line), want))
		}
	case ".geojson":
		var fc struct {
			Features []struct{ Properties json.RawMessage }
		}
		must(t, json.Unmarshal(a.body, &fc))
		for _, f := range fc.Features {
			got = append(got, objectRow(t, f.Properties, want))
		}
	case ".xlsx":
		got = sheetTable(t, a.body, want)
	case ".parquet":
		got = parquetTable(t, a.body)
	case ".sdmx.csv":
		for _, r := range csvTable(t, a.body, ',') {
			row := tableRow{}
			for name, v := range r {
				switch name {
				case "STRUCTURE", "STRUCTURE_ID", "ACTION":
					continue
				}
				own := sdmxNames[name]
				if own == "" {
					own = strings.ToLower(name)
				}
				if v == "_U" || v == "_Z" {
					v = ""
				}
				row[own] = v
			}
			got = append(got, row)
		}
	case ".jsonstat.json":
		got = cubeTable(t, a.body, want)
	default:
		t.Fatalf("no reader of %s", suffix)
	}
	if len(want) != len(got) {
		t.Errorf("%s has %d rows, the CSV %d", suffix, len(got), len(want))
		return
	}
	for i := range want {
		if d := cmp.Diff(want[i], got[i]); d != "" {
			t.Errorf("row %d of %s is not that of the CSV: %s", i, suffix, d)
			return
		}
	}
}

func csvTable(t testing.TB, data []byte, comma rune) []tableRow {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF"))))
	r.Comma = comma
	all, err := r.ReadAll()
	must(t, err)
	var out []tableRow
	for _, record := range all[1:] {
		row := tableRow{}
		for i, name := range all[0] {
			row[name] = record[i]
		}
		out = append(out, row)
	}
	return out
}

// numeric tells that a column holds numbers.
func numeric(rows []tableRow, name string) bool {
	for _, r := range rows {
		if r[name] != "" {
			_, fault := impact.ParseQuantity(r[name])
			return fault == nil && name != "vintage" && name != "period"
		}
	}
	return false
}

func objectRow(t testing.TB, data []byte, want []tableRow) tableRow {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var m map[string]any
	must(t, d.Decode(&m))
	row := tableRow{}
	for name := range want[0] {
		row[name] = ""
		if v := m[name]; v != nil {
			row[name] = fmt.Sprint(v)
		}
	}
	return row
}

func sheetTable(t testing.TB, data []byte, want []tableRow) []tableRow {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(data))
	must(t, err)
	defer func() { _ = f.Close() }()
	all, err := f.GetRows(f.GetSheetName(0), excelize.Options{RawCellValue: true})
	must(t, err)
	var out []tableRow
	for _, record := range all[1:] {
		row := tableRow{}
		for i, name := range all[0] {
			if strings.HasSuffix(name, "_label") {
				continue
			}
			v := ""
			if i < len(record) {
				v = strings.TrimPrefix(record[i], "'")
			}
			if x, err := strconv.ParseFloat(v, 64); err == nil && numeric(want, name) {
				v = strconv.FormatFloat(x, 'f', -1, 64)
			}
			row[name] = v
		}
		out = append(out, row)
	}
	return out
}

func parquetTable(t testing.TB, data []byte) []tableRow {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	columns := f.Schema().Fields()
	r := parquet.NewReader(f)
	defer func() { _ = r.Close() }()
	var out []tableRow
	buffer := make([]parquet.Row, 64)
	for {
		n, err := r.ReadRows(buffer)
		for _, record := range buffer[:n] {
			row := tableRow{}
			for _, v := range record {
				c := columns[v.Column()]
				kind := ""
				if l := c.Type().LogicalType(); l != nil {
					kind = l.String()
				}
				switch {
				case v.IsNull():
					row[c.Name()] = ""
				case strings.HasPrefix(kind, "DECIMAL"):
					row[c.Name()] = impact.Quantity(binary.BigEndian.Uint64(v.ByteArray()[1:])).String()
				case strings.HasPrefix(kind, "DATE"):
					row[c.Name()] = impact.Date(v.Int32()).String()
				default:
					row[c.Name()] = v.String()
				}
			}
			out = append(out, row)
		}
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
	}
}

// cubeTable finds each row of the CSV again in a JSON-stat dataset, and counts
// that the dataset holds no other.
func cubeTable(t testing.TB, data []byte, want []tableRow) []tableRow {
	t.Helper()
	var ds struct {
		ID        []string
		Size      []int
		Dimension map[string]struct {
			Category struct{ Index []string }
		}
		Value     map[string]json.Number
		Status    map[string]string
		Extension map[string]map[string]string
	}
	must(t, json.Unmarshal(data, &ds))
	measures := ds.Dimension["measure"].Category.Index
	var out []tableRow
	values := 0
	for _, w := range want {
		at := 0
		row := tableRow{}
		for i, id := range ds.ID[:len(ds.ID)-1] {
			code := w[id]
			if code == "" {
				code = "_U"
				if id == "qualifiers" {
					code = "_Z"
				}
			}
			at = at*ds.Size[i] + slices.Index(ds.Dimension[id].Category.Index, code)
			row[id] = w[id]
		}
		at *= len(measures)
		for m, name := range measures {
			v, ok := ds.Value[strconv.Itoa(at+m)]
			if ok {
				values++
			}
			row[name] = v.String()
		}
		row["obs_status"] = ds.Status[strconv.Itoa(at)]
		for name, of := range ds.Extension {
			if name != "about" {
				row[name] = of[strconv.Itoa(at)]
			}
		}
		if _, there := row["qualifiers"]; !there {
			row["qualifiers"] = ""
		}
		for name := range w { // labels are texts of the dimensions
			if strings.HasSuffix(name, "_label") {
				row[name] = w[name]
			}
		}
		out = append(out, row)
	}
	if len(ds.Value) != values || len(ds.Status) != len(want)*len(measures) {
		t.Errorf("JSON-stat holds %d values and %d statuses, the rows %d and %d", len(ds.Value), len(ds.Status), values, len(want)*len(measures))
	}
	if len(want) > 0 {
		if _, has := want[0]["qualifiers"]; !has {
			for _, r := range out {
				delete(r, "qualifiers")
			}
		}
	}
	return out
}

// everySuffix are the formats of figures beside plain CSV.
var everySuffix = []string{".fr.csv", ".ndjson", ".geojson", ".xlsx", ".parquet", ".sdmx.csv", ".jsonstat.json"}

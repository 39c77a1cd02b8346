package format

import (
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/impact"
)

// JSONRow appends one row as a JSON object.
type JSONRow[R any] struct {
	columns []Column[R]
	first   [][]byte // `"name":` of each column
	next    [][]byte // `,"name":`
}

// NewJSONRow prepares the member names of a table.
func NewJSONRow[R any](columns []Column[R]) *JSONRow[R] {
	j := &JSONRow[R]{}
	for _, c := range columns {
		if c.FlatOnly {
			continue
		}
		j.columns = append(j.columns, c)
		name := append(AppendString(nil, c.Name), ':')
		j.first = append(j.first, name)
		j.next = append(j.next, append([]byte{','}, name...))
	}
	return j
}

// Append appends the row to dst.
func (j *JSONRow[R]) Append(dst []byte, row *R) []byte {
	dst = append(dst, '{')
	empty := true
	for i := range j.columns {
		c := &j.columns[i]
		cell := c.Cell(row)
		if cell.kind == absent && c.Optional {
			continue
		}
		if empty {
			dst = append(dst, j.first[i]...)
			empty = false
		} else {
			dst = append(dst, j.next[i]...)
		}
		dst = cell.appendJSON(dst, c.Coded)
	}
	return append(dst, '}')
}

func (c Cell) appendJSON(dst []byte, coded bool) []byte {
	switch c.kind {
	case text:
		if coded {
			dst = append(dst, '"')
			dst = append(dst, c.text...)
			return append(dst, '"')
		}
		return AppendString(dst, c.text)
	case number:
		return AppendQuantity(dst, c.number, '.')
	case integer:
		return strconv.AppendInt(dst, int64(c.number), 10)
	case raw:
		return append(dst, c.text...)
	}
	return append(dst, "null"...)
}

// AppendQuantity appends an exact decimal without exponent and without zeros
// at its end; point is the decimal separator.
func AppendQuantity(dst []byte, q impact.Quantity, point byte) []byte {
	n := uint64(q)
	if q < 0 {
		dst = append(dst, '-')
		n = -n
	}
	const one = uint64(impact.One)
	dst = strconv.AppendUint(dst, n/one, 10)
	frac := n % one
	if frac == 0 {
		return dst
	}
	dst = append(dst, point)
	for scale := one / 10; frac > 0; scale /= 10 {
		dst = append(dst, '0'+byte(frac/scale))
		frac %= scale
	}
	return dst
}

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if b >= ' ' && b != '"' && b != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch b {
			case '"', '\\':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			start = i + 1
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// WriteNDJSON writes one row a line and nothing else.
func WriteNDJSON[R any](w io.Writer, columns []Column[R], rows []R) error {
	j := NewJSONRow(columns)
	return flushing(w, len(rows), nil, func(dst []byte, i int) []byte {
		return append(j.Append(dst, &rows[i]), '\n')
	})
}

// flushing writes n rows through one buffer.
func flushing(w io.Writer, n int, head []byte, row func(dst []byte, i int) []byte) error {
	const full = 32 << 10
	buf := append(make([]byte, 0, full+4<<10), head...)
	for i := range n {
		buf = row(buf, i)
		if len(buf) >= full {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if len(buf) == 0 {
		return nil
	}
	_, err := w.Write(buf)
	return err
}

package format

import (
	"io"
	"strconv"
	"strings"
)

// Dialect is a way of writing CSV.
type Dialect struct {
	// Separator stands between fields, Point before decimals.
	Separator, Point byte
	// BOM lets French spreadsheets recognise UTF-8.
	BOM bool
	// Labels adds a column of text for people beside each column of codes.
	Labels bool
	// Guard prefixes text that a spreadsheet would run as a formula by '.
	Guard bool
}

// The two dialects of api.md 10.
var (
	RFC4180 = Dialect{Separator: ',', Point: '.'}
	French  = Dialect{Separator: ';', Point: ',', BOM: true, Labels: true, Guard: true}
)

// WriteCSV writes a header of member names and one record a row, lines ended
// by CR LF: no footer, no unit in a cell, an empty cell where there is no value.
func WriteCSV[R any](w io.Writer, d Dialect, columns []Column[R], rows []R) error {
	type field struct {
		*Column[R]
		label bool
	}
	var fields []field
	var head []byte
	if d.BOM {
		head = append(head, "\uFEFF"...)
	}
	for i := range columns {
		c := &columns[i]
		if c.JSONOnly {
			continue
		}
		if len(fields) > 0 {
			head = append(head, d.Separator)
		}
		head = d.appendText(head, c.Name)
		fields = append(fields, field{Column: c})
		if d.Labels && c.Label != nil {
			head = append(head, d.Separator)
			head = d.appendText(head, c.Name+"_label")
			fields = append(fields, field{Column: c, label: true})
		}
	}
	head = append(head, '\r', '\n')
	return flushing(w, len(rows), head, func(dst []byte, i int) []byte {
		for k, f := range fields {
			if k > 0 {
				dst = append(dst, d.Separator)
			}
			if f.label {
				dst = d.appendText(dst, f.Label(&rows[i]))
			} else {
				dst = d.appendCell(dst, f.Cell(&rows[i]))
			}
		}
		return append(dst, '\r', '\n')
	})
}

func (d Dialect) appendCell(dst []byte, c Cell) []byte {
	switch c.kind {
	case text:
		return d.appendText(dst, c.text)
	case number:
		return AppendQuantity(dst, c.number, d.Point)
	case integer:
		return strconv.AppendInt(dst, int64(c.number), 10)
	}
	return dst
}

func (d Dialect) appendText(dst []byte, s string) []byte {
	if d.Guard {
		s = guard(s)
	}
	if strings.IndexByte(s, d.Separator) < 0 && !strings.ContainsAny(s, "\"\r\n") && strings.TrimSpace(s) == s {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			break
		}
		dst = append(dst, s[:i]...)
		dst = append(dst, '"', '"')
		s = s[i+1:]
	}
	dst = append(dst, s...)
	return append(dst, '"')
}

// formulaSigns begin what a spreadsheet takes for a formula.
const formulaSigns = "=+-@\t\r"

// guard puts "'" before text that a spreadsheet would run, and before text that
// begins as if it had been guarded: unguard then gives every text back.
func guard(s string) string {
	if s == "" {
		return s
	}
	if strings.IndexByte(formulaSigns, s[0]) >= 0 || unguard(s) != s {
		return "'" + s
	}
	return s
}

func unguard(s string) string {
	if len(s) > 1 && s[0] == '\'' && (s[1] == '\'' || strings.IndexByte(formulaSigns, s[1]) >= 0) {
		return s[1:]
	}
	return s
}

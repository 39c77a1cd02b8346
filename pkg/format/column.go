package format

import "github.com/grandlyon/retombees/pkg/impact"

// Column is one column of a table of R: one member of a JSON row, one field of
// a CSV record. All cells of a column are of one type.
type Column[R any] struct {
	// Name is the member name and the CSV header, snake_case.
	Name string
	// Cell gives the value of a row.
	Cell func(row *R) Cell
	// Label gives the column's text for people, written beside the code in the
	// French CSV; nil for columns that are not codes.
	Label func(row *R) string
	// JSONOnly keeps the column out of flat formats, FlatOnly out of JSON: what
	// is one object in JSON is several columns of a table.
	JSONOnly, FlatOnly bool
	// Optional leaves the member out of a JSON row when its cell is absent,
	// instead of writing null. A CSV column stays, empty.
	Optional bool
	// Coded marks text made of our own codes, which a spreadsheet cannot take
	// for a formula and JSON need not escape.
	Coded bool
}

// Cell is one value. The zero Cell is absent: null in JSON, empty in CSV.
type Cell struct {
	kind   cellKind
	number impact.Quantity
	text   string
}

type cellKind uint8

const (
	absent cellKind = iota
	text
	number
	integer
	raw
)

// Text is a cell of text. The empty text is a value, not an absence.
func Text(s string) Cell { return Cell{kind: text, text: s} }

// Code is a text cell, absent when empty.
func Code(s string) Cell {
	if s == "" {
		return Cell{}
	}
	return Cell{kind: text, text: s}
}

// Number is an exact decimal, absent when nil.
func Number(q *impact.Quantity) Cell {
	if q == nil {
		return Cell{}
	}
	return Cell{kind: number, number: *q}
}

// Integer is a count.
func Integer(n int64) Cell { return Cell{kind: integer, number: impact.Quantity(n)} }

// JSON is a value already in JSON, for columns of JSON formats only.
func JSON(s string) Cell { return Cell{kind: raw, text: s} }

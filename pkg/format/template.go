package format

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Template is a file to fill in: the rows asked for, prefilled with what is
// known. What is written in it and sent back is read as the same statements.
type Template struct {
	Lang impact.Lang
	Rows []TemplateRow
	// Choices are the codes a column takes (member → codes); in a workbook a
	// cell then opens a list.
	Choices map[string][]string
	// Notes are lines of a sheet beside the data of a workbook: how to fill it
	// in, definitions, sources.
	Notes [][]string
}

// TemplateRow is one fact asked for. The keys of its components, qualifiers and
// disaggregation make columns, their values may be empty. The labels are text
// for people, in the language of the template.
type TemplateRow struct {
	impact.Statement
	OrganisationLabel, IndicatorLabel, TerritoryLabel string
}

// WriteTemplateCSV writes a template in a dialect. Text that a spreadsheet would
// run is disarmed in both.
func WriteTemplateCSV(w io.Writer, d Dialect, t *Template) error {
	d.Guard = true
	return WriteCSV(w, d, t.columns(), t.Rows)
}

// columns are those that the rows need, in the order of the schema.
func (t *Template) columns() []Column[TemplateRow] {
	text := func(name string, of func(*TemplateRow) string, label func(*TemplateRow) string) Column[TemplateRow] {
		return Column[TemplateRow]{Name: name, Cell: func(r *TemplateRow) Cell { return Code(of(r)) }, Label: label}
	}
	out := []Column[TemplateRow]{
		text("organisation", func(r *TemplateRow) string { return r.Organisation }, func(r *TemplateRow) string { return r.OrganisationLabel }),
		text("indicator", func(r *TemplateRow) string { return r.Indicator }, func(r *TemplateRow) string { return r.IndicatorLabel }),
		text("territory", func(r *TemplateRow) string { return r.Territory }, func(r *TemplateRow) string { return r.TerritoryLabel }),
		text("period", func(r *TemplateRow) string { return r.Period }, nil),
		{Name: "value", Cell: func(r *TemplateRow) Cell { return numberCell(r.Value) }},
	}
	out = t.family(out, "component.", func(r *TemplateRow) map[string]string { return r.Components }, numberCell)
	out = append(out,
		text("unit", func(r *TemplateRow) string { return r.Unit }, nil),
		text("obs_status", func(r *TemplateRow) string { return r.Status }, nil))
	out = t.family(out, "disaggregation.", func(r *TemplateRow) map[string]string { return r.Disaggregation }, Code)
	out = t.family(out, "qualifier.", func(r *TemplateRow) map[string]string { return r.Qualifiers }, Code)
	return append(out, text("note", func(r *TemplateRow) string { return r.Note }, nil))
}

func (t *Template) family(out []Column[TemplateRow], prefix string, of func(*TemplateRow) map[string]string, cell func(string) Cell) []Column[TemplateRow] {
	names := map[string]bool{}
	for i := range t.Rows {
		for name := range of(&t.Rows[i]) {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, Column[TemplateRow]{Name: prefix + name, Cell: func(r *TemplateRow) Cell { return cell(of(r)[name]) }})
	}
	return out
}

// numberCell is a number where the digits are one.
func numberCell(digits string) Cell {
	if q, f := impact.ParseQuantity(digits); f == nil {
		return Number(&q)
	}
	return Code(digits)
}

// WriteTemplateXLSX writes a template as a workbook: the data first, its columns
// of codes formatted as text so that no SIRET loses a digit, then the notes.
func WriteTemplateXLSX(w io.Writer, t *Template) (err error) {
	f := excelize.NewFile()
	defer func() { err = errors.Join(err, f.Close()) }()
	data, notes, lists := "Saisie", "Aide", "Listes"
	if t.Lang == impact.English {
		data, notes, lists = "Data", "Help", "Lists"
	}
	if err := f.SetSheetName(f.GetSheetName(0), data); err != nil {
		return err
	}
	columns := t.columns()
	if err := t.writeLists(f, data, lists, columns); err != nil {
		return err
	}
	if err := t.writeData(f, data, columns); err != nil {
		return err
	}
	if len(t.Notes) > 0 {
		if _, err := f.NewSheet(notes); err != nil {
			return err
		}
		for i, line := range t.Notes {
			cells := make([]any, len(line))
			for k, s := range line {
				cells[k] = guard(s)
			}
			if err := f.SetSheetRow(notes, "A"+strconv.Itoa(i+1), &cells); err != nil {
				return err
			}
		}
	}
	return f.Write(w)
}

func (t *Template) writeData(f *excelize.File, name string, columns []Column[TemplateRow]) error {
	bold, err := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	if err != nil {
		return err
	}
	asText, err := f.NewStyle(&excelize.Style{NumFmt: 49})
	if err != nil {
		return err
	}
	s, err := f.NewStreamWriter(name)
	if err != nil {
		return err
	}
	if err := s.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	var header []any
	for _, c := range columns {
		header = append(header, excelize.Cell{StyleID: bold, Value: c.Name})
		if c.Name != "value" && !strings.HasPrefix(c.Name, "component.") {
			if err := s.SetColStyle(len(header), len(header), asText); err != nil {
				return err
			}
		}
		if c.Label != nil {
			header = append(header, excelize.Cell{StyleID: bold, Value: c.Name + "_label"})
		}
		if err := s.SetColWidth(len(header), len(header), 20); err != nil {
			return err
		}
	}
	if err := s.SetRow("A1", header); err != nil {
		return err
	}
	for i := range t.Rows {
		row := make([]any, 0, len(header))
		for _, c := range columns {
			row = append(row, c.Cell(&t.Rows[i]).sheetValue(asText))
			if c.Label != nil {
				row = append(row, guard(c.Label(&t.Rows[i])))
			}
		}
		if err := s.SetRow("A"+strconv.Itoa(i+2), row); err != nil {
			return err
		}
	}
	return s.Flush()
}

// sheetValue is a cell for a workbook: numbers are numbers as long as a
// spreadsheet keeps all their digits.
func (c Cell) sheetValue(asText int) any {
	switch c.kind {
	case text:
		return excelize.Cell{StyleID: asText, Value: guard(c.text)}
	case number, integer:
		digits := c.number.String()
		if c.kind == integer {
			digits = strconv.FormatInt(int64(c.number), 10)
		}
		if len(strings.Trim(strings.Replace(digits, ".", "", 1), "-0")) <= 15 {
			if f, err := strconv.ParseFloat(digits, 64); err == nil {
				return f
			}
		}
		return digits
	}
	return nil
}

// writeLists puts the choices on a hidden sheet and opens them in the cells.
func (t *Template) writeLists(f *excelize.File, data, lists string, columns []Column[TemplateRow]) error {
	at, list := 0, 0
	for _, c := range columns {
		at++
		column := columnName(at)
		if c.Label != nil {
			at++
		}
		codes := t.Choices[c.Name]
		if len(codes) == 0 {
			continue
		}
		if list++; list == 1 {
			if _, err := f.NewSheet(lists); err != nil {
				return err
			}
			if err := f.SetSheetVisible(lists, false); err != nil {
				return err
			}
		}
		from := columnName(list)
		if err := f.SetSheetCol(lists, from+"1", &codes); err != nil {
			return err
		}
		v := excelize.NewDataValidation(true)
		v.SetSqref(column + "2:" + column + strconv.Itoa(len(t.Rows)+1_000))
		v.SetSqrefDropList(lists + "!$" + from + "$1:$" + from + "$" + strconv.Itoa(len(codes)))
		if err := f.AddDataValidation(data, v); err != nil {
			return err
		}
	}
	return nil
}

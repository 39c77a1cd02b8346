package format

import (
	"errors"
	"io"
	"strconv"

	"github.com/xuri/excelize/v2"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MaxSheetRows is how many rows a sheet of a workbook has, header included.
const MaxSheetRows = 1 << 20

// Book says how a table becomes a workbook.
type Book struct {
	About About
	// Labels writes the text of each code in a column beside it; without them,
	// Codes lists codes and labels on a sheet of their own.
	Labels bool
	Codes  []CodeLabel
}

// CodeLabel is one line of the sheet of codes.
type CodeLabel struct{ Column, Code, Label string }

// WriteXLSX writes a workbook: the rows first, codes as text cells so that none
// loses a zero, numbers as numbers as long as a spreadsheet keeps all their
// digits (fifteen; text beyond), nothing where there is no value; then what the
// file is and what its columns mean; then the codes.
func WriteXLSX[R any](w io.Writer, columns []Column[R], rows []R, book Book) (err error) {
	f := excelize.NewFile()
	defer func() { err = errors.Join(err, f.Close()) }()
	names := sheetNames[book.About.Lang]
	if names == (sheets{}) {
		names = sheetNames[impact.French]
	}
	if err := f.SetSheetName(f.GetSheetName(0), names.data); err != nil {
		return err
	}
	bold, err := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	if err != nil {
		return err
	}
	asText, err := f.NewStyle(&excelize.Style{NumFmt: 49})
	if err != nil {
		return err
	}
	cs, concepts := flat(columns)
	if err := writeSheet(f, names.data, bold, asText, cs, concepts, rows, book.Labels); err != nil {
		return err
	}
	if err := book.readme(f, names.readme, bold, concepts); err != nil {
		return err
	}
	if err := book.codes(f, names.codes, bold, asText); err != nil {
		return err
	}
	return f.Write(w)
}

type sheets struct{ data, readme, codes string }

var sheetNames = map[impact.Lang]sheets{
	impact.French:  {"Données", "Lisez-moi", "Codes"},
	impact.English: {"Data", "Readme", "Codes"},
}

func writeSheet[R any](f *excelize.File, name string, bold, asText int, cs []*Column[R], concepts []Concept, rows []R, labels bool) error {
	s, err := f.NewStreamWriter(name)
	if err != nil {
		return err
	}
	if err := s.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	header := make([]any, 0, 2*len(cs))
	for i, c := range cs {
		header = append(header, excelize.Cell{StyleID: bold, Value: c.Name})
		// The style of text is the column's: a cell then needs none of its own.
		if t := concepts[i].Type; t == StringType || t == DateType {
			if err := s.SetColStyle(len(header), len(header), asText); err != nil {
				return err
			}
		}
		if err := s.SetColWidth(len(header), len(header), 18); err != nil {
			return err
		}
		if labels && c.Label != nil {
			header = append(header, excelize.Cell{StyleID: bold, Value: c.Name + "_label"})
			if err := s.SetColWidth(len(header), len(header), 30); err != nil {
				return err
			}
		}
	}
	if err := s.SetRow("A1", header); err != nil {
		return err
	}
	cells := make([]any, 0, len(header))
	for i := range rows {
		cells = cells[:0]
		for _, c := range cs {
			cells = append(cells, c.Cell(&rows[i]).sheetValue(asText))
			if labels && c.Label != nil {
				if text := c.Label(&rows[i]); text != "" {
					cells = append(cells, guard(text))
				} else {
					cells = append(cells, nil)
				}
			}
		}
		if err := s.SetRow("A"+strconv.Itoa(i+2), cells); err != nil {
			return err
		}
	}
	return s.Flush()
}

// readme is the sheet of what the file is and what its columns mean.
func (b *Book) readme(f *excelize.File, name string, bold int, concepts []Concept) error {
	if _, err := f.NewSheet(name); err != nil {
		return err
	}
	lines := [][]any{}
	add := func(cells ...any) { lines = append(lines, cells) }
	for _, t := range []impact.Text{b.About.Title, b.About.Description} {
		if !t.IsZero() {
			add(guard(t.FR))
			add(guard(t.EN))
		}
	}
	add()
	for _, p := range b.About.pairs()[1:] {
		if p[1] != "" {
			add(p[0], guard(p[1]))
		}
	}
	add()
	for _, t := range workbookNotes {
		add(t.FR)
		add(t.EN)
	}
	add()
	columns := len(lines) + 1
	add("colonne / column", "type", "français", "English")
	for _, c := range concepts {
		add(c.Name, string(c.Type), c.About.FR, c.About.EN)
	}
	for i, cells := range lines {
		if err := f.SetSheetRow(name, "A"+strconv.Itoa(i+1), &cells); err != nil {
			return err
		}
	}
	if err := f.SetColWidth(name, "A", "D", 40); err != nil {
		return err
	}
	if err := f.SetCellStyle(name, "A1", "A1", bold); err != nil {
		return err
	}
	return f.SetCellStyle(name, "A"+strconv.Itoa(columns), "D"+strconv.Itoa(columns), bold)
}

// workbookNotes tell what a spreadsheet would otherwise hide.
var workbookNotes = []impact.Text{
	{FR: "Une cellule sans valeur est vide : obs_status dit pourquoi (Q : caché par le secret statistique). Ce n'est jamais un zéro.", EN: "A cell without a value is empty: obs_status says why (Q: withheld by statistical secrecy). It is never a zero."},
	{FR: "Un tableur garde quinze chiffres significatifs : un nombre plus long est ici un texte, exact. Le CSV et le Parquet les portent tous.", EN: "A spreadsheet keeps fifteen significant digits: a longer number is text here, exact. The CSV and the Parquet carry them all."},
	{FR: "Un texte qui commence comme une formule est précédé d'une apostrophe.", EN: "A text that begins like a formula is preceded by an apostrophe."},
}

// codes is the sheet of codes and labels.
func (b *Book) codes(f *excelize.File, name string, bold, asText int) error {
	if len(b.Codes) == 0 {
		return nil
	}
	if _, err := f.NewSheet(name); err != nil {
		return err
	}
	s, err := f.NewStreamWriter(name)
	if err != nil {
		return err
	}
	if err := s.SetColWidth(1, 3, 30); err != nil {
		return err
	}
	header := []any{}
	for _, h := range []string{"colonne / column", "code", "libellé / label"} {
		header = append(header, excelize.Cell{StyleID: bold, Value: h})
	}
	if err := s.SetRow("A1", header); err != nil {
		return err
	}
	for i, c := range b.Codes {
		if err := s.SetRow("A"+strconv.Itoa(i+2), []any{c.Column, excelize.Cell{StyleID: asText, Value: guard(c.Code)}, guard(c.Label)}); err != nil {
			return err
		}
	}
	return s.Flush()
}

// CodeLabels lists the codes of a table with their labels, each once, in the
// order of the columns and of the rows.
func CodeLabels[R any](columns []Column[R], rows []R) []CodeLabel {
	var out []CodeLabel
	for i := range columns {
		c := &columns[i]
		if c.JSONOnly || c.Label == nil {
			continue
		}
		seen := map[string]bool{}
		for k := range rows {
			if code := c.Cell(&rows[k]).text; code != "" && !seen[code] {
				seen[code] = true
				out = append(out, CodeLabel{Column: c.Name, Code: code, Label: c.Label(&rows[k])})
			}
		}
	}
	return out
}

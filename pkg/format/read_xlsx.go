package format

import (
	"bufio"
	"cmp"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// openXLSX reads the sheet asked for, else the first visible one that has a
// header.
func (t *Table) openXLSX(in *bufio.Reader) error {
	data, err := io.ReadAll(io.LimitReader(in, t.limits.Compressed+1))
	if err != nil {
		return readFailure(err)
	}
	if int64(len(data)) > t.limits.Compressed {
		return tooLarge("octets", "bytes", t.limits.Compressed)
	}
	w, err := openWorkbook(data, t.limits)
	if err != nil {
		return err
	}
	var failure error
	for _, s := range w.sheets {
		if t.options.Sheet != "" && s.name != t.options.Sheet || t.options.Sheet == "" && s.hidden {
			continue
		}
		err := t.openSheet(w, s)
		if e, ok := errors.AsType[*impact.Error](err); ok && e.Code == "import_unreadable" && len(e.Faults) == 0 {
			if failure == nil {
				failure = err
			}
			continue
		}
		return err
	}
	if failure == nil {
		failure = noSheet(w, t.options.Sheet)
	}
	return failure
}

func noSheet(w *workbook, wanted string) error {
	var names []string
	for _, s := range w.sheets[:min(len(w.sheets), 50)] {
		names = append(names, shorten(s.name))
	}
	list := strings.Join(names, ", ")
	return unreadable(impact.Text{FR: "Le classeur n'a pas de feuille visible de ce nom : « " + wanted + " ».", EN: "The workbook has no visible sheet of that name: “" + wanted + "”."},
		impact.Text{FR: "Feuilles du classeur : " + list + ".", EN: "Sheets of the workbook: " + list + "."})
}

func (t *Table) openSheet(w *workbook, s sheetPart) error {
	merged, err := w.mergedCells(s.path)
	if err != nil {
		return err
	}
	x := &sheetSource{w: w, table: t, part: w.part(s.path), merged: merged}
	if x.part == nil {
		return notXLSX()
	}
	for len(x.sample) < 2*headerDepth {
		r, err := x.row()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		x.sample = append(x.sample, r)
	}
	records := make([]Record, len(x.sample))
	for i, r := range x.sample {
		records[i] = *r
	}
	at, err := t.findHeader(records)
	if err != nil {
		return err
	}
	x.sample = x.sample[at+1:]
	t.Layout.Sheet, t.Layout.Decimal, t.numbers = s.name, ",", numberStyle{mark: ','}
	switch t.options.Dialect {
	case "rfc4180":
		t.numbers = numberStyle{strict: true, mark: '.'}
	case "fr":
		t.numbers.french = true
	}
	t.source = x
	return nil
}

// mergedCells gives the rectangles of merged cells, which a sheet lists after
// its rows.
func (w *workbook) mergedCells(name string) ([]rectangle, error) {
	p := w.part(name)
	if p == nil {
		return nil, notXLSX()
	}
	defer p.body.Close()
	var out []rectangle
	const sign = `mergeCell ref="`
	for {
		line, err := p.bytes.ReadSlice('>')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if i := strings.Index(string(line[:min(len(line), 200)]), sign); i >= 0 {
			ref, _, _ := strings.Cut(string(line[i+len(sign):]), `"`)
			if r, ok := readRectangle(ref); ok && len(out) < maxMerges {
				out = append(out, r)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			slices.SortStableFunc(out, func(a, b rectangle) int { return cmp.Compare(a.top, b.top) })
			return out, nil
		case p.err != nil:
			return nil, p.err
		case err != nil:
			return nil, notXLSX()
		}
	}
}

// rectangle holds columns and rows from 1, both ends included.
type rectangle struct{ left, top, right, bottom int }

// width is how many of the first columns it covers.
func (r rectangle) width(columns int) int { return max(0, min(r.right, columns)-r.left+1) }

func readRectangle(ref string) (r rectangle, ok bool) {
	a, b, ok := strings.Cut(ref, ":")
	r.left, r.top = readRef(a)
	r.right, r.bottom = readRef(b)
	return r, ok && r.left > 0 && r.top > 0 && r.right >= r.left && r.bottom >= r.top
}

// readRef reads "BC12"; 0 for what is not there.
func readRef(s string) (column, row int) {
	i := 0
	for ; i < len(s) && i < 4 && s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z'; i++ {
		column = column*26 + int(s[i]|0x20-'a') + 1
	}
	row, err := strconv.Atoi(s[i:])
	if err != nil || row < 0 {
		row = 0
	}
	return column, row
}

// sheetSource streams the rows of a sheet.
type sheetSource struct {
	w      *workbook
	table  *Table
	part   *xmlPart
	merged []rectangle // by the row they begin on, those not yet reached
	open   []rectangle // those of the present row
	sample []*Record   // read already
	line   int
	done   bool
}

func (x *sheetSource) next() (*Record, error) {
	if len(x.sample) > 0 {
		r := x.sample[0]
		x.sample = x.sample[1:]
		return x.judged(r), nil
	}
	r, err := x.row()
	if err != nil {
		return nil, err
	}
	return x.judged(r), nil
}

// judged keeps the faults of cells that mean something, and tells which cells
// are empty because they are merged with another.
func (x *sheetSource) judged(r *Record) *Record {
	members := x.table.Headers.Members
	r.Faults = slices.DeleteFunc(r.Faults, func(f impact.Fault) bool {
		return f.Column > len(members) || f.Column > 0 && members[f.Column-1] == ""
	})
	for i, f := range r.Faults {
		if f.Column > 0 {
			r.Faults[i] = x.table.at(f.Column-1, f)
			r.spoil(f.Column - 1)
		}
	}
	for i := range min(len(r.kinds), len(members)) {
		switch r.kinds[i] {
		case month:
			r.Cells[i] = asShown(members[i], r.Cells[i], len("2024-12"))
		case year:
			r.Cells[i] = asShown(members[i], r.Cells[i], len("2024"))
		}
	}
	for _, m := range x.mergedOn(r.Line, len(members)) {
		for column := m.left; column <= min(m.right, len(members)); column++ {
			if members[column-1] == "" || column == m.left && r.Line == m.top || column <= len(r.Cells) && r.Cells[column-1] != "" {
				continue
			}
			r.Faults = append(r.Faults, x.table.at(column-1, mergedCell(m)))
		}
	}
	return r
}

// mergedOn gives the merged cells of a row, in the columns there are. Those that
// a program wrote do not overlap, so a row has no more of them than it is wide:
// more are left out, or a small file would have millions to tell of.
func (x *sheetSource) mergedOn(line, columns int) []rectangle {
	x.open = slices.DeleteFunc(x.open, func(m rectangle) bool { return m.bottom < line })
	wide := 0
	for _, m := range x.open {
		wide += m.width(columns)
	}
	for ; len(x.merged) > 0 && x.merged[0].top <= line; x.merged = x.merged[1:] {
		m := x.merged[0]
		if w := m.width(columns); m.bottom >= line && w > 0 && wide+w <= columns {
			x.open = append(x.open, m)
			wide += w
		}
	}
	return x.open
}

// asShown keeps what is shown of a day, except where a whole day is asked for.
func asShown(member, text string, n int) string {
	switch member {
	case "period_start", "period_end", "from", "to":
		return text
	}
	return text[:n]
}

func mergedCell(m rectangle) impact.Fault {
	first := columnName(m.left) + strconv.Itoa(m.top)
	return impact.Fault{
		Code:   "missing_field",
		Detail: impact.Text{FR: "Cette cellule est fusionnée avec " + first + ", qui seule porte la valeur.", EN: "This cell is merged with " + first + ", which alone holds the value."},
		Hint:   impact.Text{FR: "Défusionnez les cellules et recopiez la valeur sur chaque ligne.", EN: "Unmerge the cells and copy the value to every row."},
	}
}

func columnName(n int) string {
	var b []byte
	for ; n > 0; n = (n - 1) / 26 {
		b = append(b, byte('A'+(n-1)%26))
	}
	slices.Reverse(b)
	return string(b)
}

// row gives the next row that is not blank.
func (x *sheetSource) row() (*Record, error) {
	for !x.done {
		t, err := x.part.next()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case nil:
			x.done = true
		case xml.StartElement:
			if t.Name.Local != "row" {
				continue
			}
			x.line++
			if n, err := strconv.Atoi(attr(t, "r")); err == nil && n > 0 {
				x.line = n
			}
			r, err := x.cells()
			if err != nil {
				return nil, err
			}
			if !blank(r.Cells) || len(r.Faults) > 0 {
				return r, nil
			}
		case xml.EndElement:
			if t.Name.Local == "sheetData" {
				x.done = true
			}
		}
	}
	x.part.body.Close()
	return nil, io.EOF
}

// cells reads the cells of a row up to its end.
func (x *sheetSource) cells() (*Record, error) {
	width := len(x.table.Header)
	r := &Record{Line: x.line, Cells: make([]string, 0, width), kinds: make([]kind, 0, width)}
	size := 0
	for {
		t, err := x.part.next()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case nil:
			return nil, notXLSX()
		case xml.EndElement:
			if t.Name.Local == "row" {
				return r, nil
			}
		case xml.StartElement:
			if t.Name.Local != "c" {
				continue
			}
			column, _ := readRef(attr(t, "r"))
			if column == 0 {
				column = len(r.Cells) + 1
			}
			c := sheetCell{typ: attr(t, "t")}
			c.style, _ = strconv.Atoi(attr(t, "s"))
			if err := x.cell(&c); err != nil {
				return nil, err
			}
			text, k := x.value(&c)
			if text == "" && !c.formula {
				continue
			}
			if column > x.table.limits.Columns {
				if text != "" {
					return nil, tooManyColumns(column, x.table.limits.Columns)
				}
				continue
			}
			for len(r.Cells) < column {
				r.Cells, r.kinds = append(r.Cells, ""), append(r.kinds, plain)
			}
			if size += len(text); size > x.table.limits.Row {
				if len(r.Faults) == 0 || r.Faults[0].Code != "row_too_long" {
					r.Faults = slices.Insert(r.Faults, 0, rowTooLong(x.table.limits.Row))
				}
				text, k = "", plain
			}
			r.Cells[column-1], r.kinds[column-1] = text, k
			if c.formula && !c.valued {
				r.Faults = append(r.Faults, formulaWithoutValue(column))
			}
		}
	}
}

func formulaWithoutValue(column int) impact.Fault {
	return impact.Fault{
		Code: "formula_without_value", Column: column,
		Detail: impact.Text{FR: "Cette cellule contient une formule dont le résultat n'est pas enregistré.", EN: "This cell holds a formula whose result was not saved."},
		Hint:   impact.Text{FR: "Ouvrez le fichier dans un tableur et enregistrez-le, ou remplacez la formule par sa valeur.", EN: "Open the file in a spreadsheet and save it, or replace the formula by its value."},
	}
}

// sheetCell is a cell as the sheet writes it.
type sheetCell struct {
	typ     string
	style   int
	text    []byte
	formula bool
	valued  bool
}

// cell reads up to the end of the cell.
func (x *sheetSource) cell(c *sheetCell) error {
	inText, phonetic := false, false
	for {
		t, err := x.part.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case nil:
			return notXLSX()
		case xml.StartElement:
			switch t.Name.Local {
			case "f":
				c.formula = true
			case "v", "t":
				inText, c.valued = true, true
			case "rPh":
				phonetic = true
			}
		case xml.EndElement:
			switch t.Name.Local {
			case "v", "t":
				inText = false
			case "rPh":
				phonetic = false
			case "c":
				return nil
			}
		case xml.CharData:
			if inText && !phonetic && len(c.text) <= maxToken {
				c.text = append(c.text, t...)
			}
		}
	}
}

// value gives the text of a cell and what it is.
func (x *sheetSource) value(c *sheetCell) (string, kind) {
	switch c.typ {
	case "s":
		i, err := strconv.Atoi(string(c.text))
		if s, ok := x.w.texts.at(i); ok && err == nil {
			return unescapeCR(s), plain
		}
		return "", plain
	case "str", "inlineStr", "e":
		return unescapeCR(string(c.text)), plain
	case "b":
		if string(c.text) == "1" {
			return "true", truth
		}
		return "false", truth
	case "d":
		s, _, _ := strings.Cut(string(c.text), "T00:00:00")
		return s, day
	}
	if len(c.text) == 0 {
		return "", plain
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(string(c.text)), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return string(c.text), plain
	}
	s := styleNumber
	if c.style >= 0 && c.style < len(x.w.styles) {
		s = x.w.styles[c.style]
	}
	switch s {
	case styleDay, styleMonth, styleYear:
		if text, ok := x.day(f); ok {
			return text, [...]kind{styleDay: day, styleMonth: month, styleYear: year}[s]
		}
	case stylePercent:
		return fifteenDigits(f), percent
	}
	return fifteenDigits(f), figure
}

// unescapeCR reads the way in which Excel writes a carriage return.
func unescapeCR(s string) string { return strings.ReplaceAll(s, "_x000D_", "\r") }

// day writes the day that a number stands for, and its time when it has one.
func (x *sheetSource) day(f float64) (string, bool) {
	if f < 1 || f > 2_958_465 { // 9999-12-31
		return "", false
	}
	whole := math.Floor(f)
	n := int(whole) - dayOf1970
	if x.w.days1904 {
		n += days1904To
	}
	d := impact.Date(n).String()
	if f > whole {
		minutes := int(math.Round((f - whole) * 24 * 60))
		d += " " + twoDigits(minutes/60) + ":" + twoDigits(minutes%60)
	}
	return d, true
}

func twoDigits(n int) string { return strconv.Itoa(n/10) + strconv.Itoa(n%10) }

// fifteenDigits writes a number as a spreadsheet means it: binary dust beyond
// the fifteenth digit is not part of it.
func fifteenDigits(f float64) string {
	if rounded, err := strconv.ParseFloat(strconv.FormatFloat(f, 'e', 14, 64), 64); err == nil {
		f = rounded
	}
	if a := math.Abs(f); a >= 1e21 || a != 0 && a < 1e-12 {
		return strings.Replace(strings.Replace(strconv.FormatFloat(f, 'e', -1, 64), ".", ",", 1), "+", "", 1)
	}
	return strings.Replace(strconv.FormatFloat(f, 'f', -1, 64), ".", ",", 1)
}

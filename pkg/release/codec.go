package release

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// The text of a unit is CSV as RFC 4180 has it, in UTF-8, lines ended by LF:
// one header, one line per cell, in the order of Compare. It holds all that a
// release says of a cell, so that it can be read without the program: columns
// this one does not know are ignored, and those that are not there are empty.
var columns = [...]string{
	"indicator", "impact_type", "measure_kind", "territory", "vintage", "period", "cut", "code", "qualifiers",
	"value", "unit", "obs_status", "numerator", "denominator", "respondents",
	"answers_true", "answers", "answers_share", "n_organisations", "n_observations",
	"reporters", "expected", "coverage", "notes", "not_additive_over", "additive", "out_of_range",
	"stock_date_from", "stock_date", "days_covered", "excluded",
	"methodology_version", "moved", "cause", "before",
}

// Places of columns.
const (
	colIndicator = iota
	colImpactType
	colKind
	colTerritory
	colVintage
	colPeriod
	colCut
	colCode
	colQualifiers
	colValue
	colUnit
	colStatus
	colNumerator
	colDenominator
	colRespondents
	colTrue
	colAnswered
	colShare
	colOrganisations
	colObservations
	colReporters
	colExpected
	colCoverage
	colNotes
	colRefused
	colAdditive
	colOutOfRange
	colStockFrom
	colStockDate
	colDays
	colExcluded
	colMethodology
	colMoved
	colCause
	colBefore
)

// Encode writes the text of cells. It refuses two cells with one name, a
// withheld cell that tells a number, and what a release does not hold.
func Encode(cat *impact.Catalogue, cells []Cell) ([]byte, error) {
	type line struct {
		*Cell
		territory impact.TerritoryID
	}
	lines := make([]line, len(cells))
	for i := range cells {
		f := &cells[i].Figure
		t := cat.Gazetteer().ByKey(f.Territory)
		if t == nil || cat.Gazetteer().At(t.ID, f.Vintage.Day()) != t {
			return nil, fmt.Errorf("release: cell %s: no territory %d in %d", cells[i].line(), f.Territory, f.Vintage)
		}
		lines[i] = line{&cells[i], t.ID}
	}
	order := func(a, b line) int {
		return cmp.Or(compareLine(&a.Figure, &b.Figure), cmp.Compare(a.Cut, b.Cut), cmp.Compare(a.territory, b.territory),
			cmp.Compare(a.Figure.Period.Start, b.Figure.Period.Start), cmp.Compare(a.Figure.Period.End, b.Figure.Period.End),
			cmp.Compare(a.code(), b.code()), cmp.Compare(a.Figure.Qualifiers, b.Figure.Qualifiers))
	}
	slices.SortFunc(lines, order)
	out := make([]byte, 0, 256+160*len(cells))
	out = append(out, strings.Join(columns[:], ",")...)
	out = append(out, '\n')
	var w writer
	for i, l := range lines {
		name := func() string {
			return fmt.Sprintf("cell %s %s %s %s %q", l.line(), l.territory, l.Figure.Period, l.Cut, l.code())
		}
		if i > 0 && order(lines[i-1], l) == 0 {
			return nil, fmt.Errorf("release: %s is there twice", name())
		}
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("release: %s: %w", name(), err)
		}
		w.out, w.bad = out, false
		w.cell(cat, l.Cell, l.territory)
		if w.bad {
			return nil, fmt.Errorf("release: %s: a text with a control character, or not UTF-8", name())
		}
		out = w.out
	}
	return out, nil
}

// line is the code of the indicator, or of the impact type counted.
func (c *Cell) line() string { return cmp.Or(string(c.Figure.Indicator), string(c.Figure.ImpactType)) }

// compareLine puts indicators first, then counts by impact type.
func compareLine(a, b *calculation.Figure) int {
	switch {
	case a.Indicator != "" && b.Indicator != "":
		return cmp.Compare(a.Indicator, b.Indicator)
	case a.Indicator != "":
		return -1
	case b.Indicator != "":
		return 1
	}
	return cmp.Compare(a.ImpactType, b.ImpactType)
}

func (c *Cell) code() string {
	if c.Cut == "" || len(c.Figure.Codes) == 0 {
		return ""
	}
	return c.Figure.Codes[0]
}

// check tells why a cell cannot be part of a release.
func (c *Cell) check() error {
	f := &c.Figure
	switch {
	case f.Indicator == "" && f.ImpactType == "":
		return errors.New("neither indicator nor impact type")
	case f.Indicator != "" && f.Kind == "":
		return errors.New("no measure kind")
	case c.Cut == "" && len(f.Codes) > 0, c.Cut != "" && len(f.Codes) != 1:
		return errors.New("one cut has one code")
	case f.Bounds != nil || f.Quantiles != nil:
		return errors.New("bounds and quantiles are not released")
	case f.Period.Start > f.Period.End || !written(f.Period.Start) || !written(f.Period.End):
		return errors.New("no period")
	case f.HasAsOf && (!written(f.AsOf) || !written(f.AsOfFrom)):
		return errors.New("no date of the stock")
	case c.Moved < 1:
		return errors.New("no release in which it moved")
	case f.Value != nil && !f.Status.HasNumber():
		return errors.New("a value beside a status of absence")
	case !strings.ContainsRune("AEPIBLMOQ", rune(f.Status)):
		return errors.New("unknown status")
	}
	if f.Organisations < 0 || f.Observations < 0 || f.Reporters < 0 || f.Expected < 0 || f.DaysCovered < 0 {
		return errors.New("negative count")
	}
	for _, e := range f.Excluded {
		if e.Reason == "" || strings.ContainsAny(string(e.Reason), "=;") || e.Observations < 0 {
			return errors.New("exclusion without reason or count")
		}
	}
	for _, n := range f.Notes {
		if n == "" || strings.ContainsRune(string(n), ' ') {
			return errors.New("empty note")
		}
	}
	if c.Withheld() && (f.Value != nil || f.Numerator != nil || f.Denominator != nil || f.Respondents != nil ||
		f.Answers != nil || f.Coverage != nil || f.HasAsOf || f.Organisations+f.Observations+f.Reporters+f.Expected+f.DaysCovered > 0 ||
		len(f.Notes)+len(f.Excluded) > 0 || f.Refused != "" || f.OutOfRange || f.Additive) {
		return errors.New("withheld, and tells something")
	}
	return nil
}

// written tells that the day has a year of four digits.
func written(d impact.Date) bool {
	return impact.NewDate(1000, time.January, 1) <= d && d <= impact.NewDate(9999, time.December, 31)
}

// writer writes the fields of one line.
type writer struct {
	out []byte
	bad bool
}

func (w *writer) text(s string) {
	quoted := false
	w.bad = w.bad || !utf8.ValidString(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			w.bad = true
		case c == ',' || c == '"':
			quoted = true
		}
	}
	if quoted {
		s = `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	w.out = append(append(w.out, s...), ',')
}

func (w *writer) number(q *impact.Quantity) {
	if q != nil {
		w.out = append(w.out, q.String()...)
	}
	w.out = append(w.out, ',')
}

func (w *writer) count(n int, written bool) {
	if written {
		w.out = strconv.AppendInt(w.out, int64(n), 10)
	}
	w.out = append(w.out, ',')
}

func (w *writer) yes(b bool) { w.count(1, b) }

func (w *writer) cell(cat *impact.Catalogue, c *Cell, territory impact.TerritoryID) {
	f := &c.Figure
	shown := !c.Withheld()
	unit := ""
	if ind := cat.Indicator(f.Indicator); ind != nil {
		unit = ind.Unit
	}
	w.text(string(f.Indicator))
	w.text(string(f.ImpactType))
	w.text(string(f.Kind))
	w.text(string(territory))
	w.count(int(f.Vintage), true)
	w.text(f.Period.String())
	w.text(string(c.Cut))
	w.text(c.code())
	w.text(f.Qualifiers)
	w.number(f.Value)
	w.text(unit)
	w.text(string(rune(f.Status)))
	w.number(f.Numerator)
	w.number(f.Denominator)
	w.number(f.Respondents)
	a := f.Answers
	if a == nil {
		a = &calculation.Answers{}
	}
	w.count(a.True, f.Answers != nil)
	w.count(a.Answered, f.Answers != nil)
	w.number(a.Share)
	w.count(f.Organisations, shown)
	w.count(f.Observations, shown)
	w.count(f.Reporters, shown)
	w.count(f.Expected, shown)
	w.number(f.Coverage)
	notes := make([]string, len(f.Notes))
	for i, n := range f.Notes {
		notes[i] = string(n)
	}
	w.text(strings.Join(notes, " "))
	w.text(f.Refused)
	w.yes(f.Additive)
	w.yes(f.OutOfRange)
	from, last := "", ""
	if f.HasAsOf {
		from, last = f.AsOfFrom.String(), f.AsOf.String()
	}
	w.text(from)
	w.text(last)
	w.count(f.DaysCovered, f.DaysCovered > 0)
	excluded := ""
	for _, e := range f.Excluded {
		if excluded != "" {
			excluded += ";"
		}
		excluded += string(e.Reason) + "=" + strconv.Itoa(e.Observations)
	}
	w.text(excluded)
	w.text(f.MethodologyVersion)
	w.count(int(c.Moved), true)
	w.text(string(c.Cause))
	w.number(c.Before)
	w.out[len(w.out)-1] = '\n'
}

// Decode reads the text of a unit.
func Decode(cat *impact.Catalogue, text []byte) ([]Cell, error) {
	out := make([]Cell, 0, bytes.Count(text, []byte{'\n'}))
	for c, err := range Cells(cat, text) {
		if err != nil {
			return nil, err
		}
		out = append(out, *c)
	}
	return out, nil
}

// Cells reads the text of a unit cell by cell, in its order. Each cell is the
// reader's to keep.
func Cells(cat *impact.Catalogue, text []byte) iter.Seq2[*Cell, error] {
	return cells(cat, text, func() *Cell { return &Cell{} })
}

// cells reads each cell into the room it is given.
func cells(cat *impact.Catalogue, text []byte, room func() *Cell) iter.Seq2[*Cell, error] {
	return func(yield func(*Cell, error) bool) {
		r := reader{cat: cat, words: map[string]string{}, periods: map[string]impact.Period{}}
		in := csv.NewReader(bytes.NewReader(text))
		in.ReuseRecord = true
		if err := r.header(in.Read()); err != nil {
			yield(nil, err)
			return
		}
		for {
			record, err := in.Read()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("release: %w", err)) // tells the line itself
				return
			}
			r.record = record
			c := room()
			if err := r.cell(c); err != nil {
				line, _ := in.FieldPos(0)
				yield(nil, fmt.Errorf("release: line %d: %w", line, err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// reader reads lines of one text.
type reader struct {
	cat     *impact.Catalogue
	place   [len(columns)]int // of each column in the text, -1 when it is not there
	record  []string
	words   map[string]string // codes come back line after line
	periods map[string]impact.Period
	err     error
}

func (r *reader) header(names []string, err error) error {
	if err != nil {
		return fmt.Errorf("release: header: %w", err)
	}
	for i, name := range columns {
		r.place[i] = slices.Index(names, name)
	}
	for _, c := range [...]int{colTerritory, colVintage, colPeriod, colStatus, colMoved} {
		if r.place[c] < 0 {
			return fmt.Errorf("release: header: no column %s", columns[c])
		}
	}
	return nil
}

func (r *reader) text(col int) string {
	if i := r.place[col]; i >= 0 {
		return r.record[i]
	}
	return ""
}

// word is a text that other cells bear too.
func (r *reader) word(col int) string {
	s := r.text(col)
	if s == "" {
		return ""
	}
	if w, ok := r.words[s]; ok {
		return w
	}
	s = strings.Clone(s)
	r.words[s] = s
	return s
}

func (r *reader) fail(col int) {
	if r.err == nil {
		r.err = fmt.Errorf("column %s: %q cannot be read", columns[col], r.text(col))
	}
}

func (r *reader) number(col int) *impact.Quantity {
	s := r.text(col)
	if s == "" {
		return nil
	}
	q, f := impact.ParseQuantity(s)
	if f != nil {
		r.fail(col)
		return nil
	}
	return &q
}

func (r *reader) count(col int) int {
	s := r.text(col)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		r.fail(col)
	}
	return int(n)
}

func (r *reader) yes(col int) bool {
	switch r.text(col) {
	case "", "0":
		return false
	case "1":
		return true
	}
	r.fail(col)
	return false
}

func (r *reader) date(col int) (d impact.Date, some bool) {
	s := r.text(col)
	if s == "" {
		return 0, false
	}
	d, f := impact.ParseDate(s)
	if f != nil {
		r.fail(col)
	}
	return d, true
}

func (r *reader) period(col int) impact.Period {
	s := r.text(col)
	if p, ok := r.periods[s]; ok {
		return p
	}
	p, f := impact.ParsePeriod(s)
	if f != nil {
		r.fail(col)
		return p
	}
	r.periods[strings.Clone(s)] = p
	return p
}

func (r *reader) cell(c *Cell) error {
	r.err = nil
	*c = Cell{
		Figure: calculation.Figure{
			Indicator: impact.IndicatorCode(r.word(colIndicator)), ImpactType: impact.ImpactTypeCode(r.word(colImpactType)),
			Kind: impact.MeasureKind(r.word(colKind)), Vintage: impact.Vintage(r.count(colVintage)), Period: r.period(colPeriod),
			Qualifiers: r.word(colQualifiers), Value: r.number(colValue),
			Numerator: r.number(colNumerator), Denominator: r.number(colDenominator), Respondents: r.number(colRespondents),
			Organisations: r.count(colOrganisations), Observations: r.count(colObservations),
			Reporters: r.count(colReporters), Expected: r.count(colExpected), Coverage: r.number(colCoverage),
			Refused: r.word(colRefused), Additive: r.yes(colAdditive), OutOfRange: r.yes(colOutOfRange),
			DaysCovered: r.count(colDays), MethodologyVersion: r.word(colMethodology),
		},
		Cut:    calculation.Dimension(r.word(colCut)),
		Moved:  impact.ReleaseNumber(r.count(colMoved)),
		Cause:  Cause(r.word(colCause)),
		Before: r.number(colBefore),
	}
	f := &c.Figure
	if s := r.text(colStatus); len(s) == 1 {
		f.Status = impact.Status(s[0])
	} else {
		r.fail(colStatus)
	}
	if c.Cut != "" {
		f.Codes = []string{r.word(colCode)}
	} else if r.text(colCode) != "" {
		r.fail(colCode)
	}
	if id := impact.TerritoryID(r.text(colTerritory)); r.err == nil {
		t := r.cat.Gazetteer().At(id, f.Vintage.Day())
		if t == nil {
			return fmt.Errorf("no territory %q in %d", id, f.Vintage)
		}
		f.Territory = t.Key
	}
	if r.text(colAnswered) != "" {
		f.Answers = &calculation.Answers{True: r.count(colTrue), Answered: r.count(colAnswered), Share: r.number(colShare)}
	}
	for n := range strings.FieldsSeq(r.text(colNotes)) {
		f.Notes = append(f.Notes, calculation.Note(n))
	}
	last, stock := r.date(colStockDate)
	f.HasAsOf = stock
	if first, some := r.date(colStockFrom); stock && some {
		f.AsOf, f.AsOfFrom = last, first
	} else if stock {
		f.AsOf, f.AsOfFrom = last, last
	}
	if s := r.text(colExcluded); s != "" {
		for part := range strings.SplitSeq(s, ";") {
			reason, count, _ := strings.Cut(part, "=")
			n, err := strconv.ParseInt(count, 10, 32)
			if err != nil || n < 0 {
				r.fail(colExcluded)
			}
			f.Excluded = append(f.Excluded, calculation.Exclusion{Reason: calculation.Reason(reason), Observations: int(n)})
		}
	}
	if r.err == nil {
		r.err = c.check()
	}
	return r.err
}

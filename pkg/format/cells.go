package format

import (
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// cellReader reads the cells that every import has: identifiers, places, days.
type cellReader struct {
	table     *Table
	catalogue *impact.Catalogue
	rec       *Record

	org, siret, siren, rna   int // columns from 0, -1 when there is none
	place, placeName, postal int
	periodAt, startAt, endAt int
	yearAt                   int
	partAt                   [3]int // semester, quarter, month
	// Rows repeat their places and periods.
	places  map[string]placeFound
	periods map[string]periodRead
}

// kept is how many readings are remembered.
const kept = 10_000

type periodRead struct {
	canonical      string
	warning, fault *impact.Fault
}

// placeFound is what a text was found to mean.
type placeFound struct {
	id      string
	warning *impact.Fault
}

func newCellReader(t *Table, c *impact.Catalogue) cellReader {
	at := func(member string) int { return t.Headers.Column(member) - 1 }
	return cellReader{
		table: t, catalogue: c,
		org: at("organisation"), siret: at("siret"), siren: at("siren"), rna: at("rna"),
		place: at("territory"), placeName: at("territory_name"), postal: at("postal_code"),
		periodAt: at("period"), startAt: at("period_start"), endAt: at("period_end"),
		yearAt: at("year"), partAt: [3]int{at("semester"), at("quarter"), at("month")},
		places: map[string]placeFound{}, periods: map[string]periodRead{},
	}
}

func (c *cellReader) begin(r *Record) { c.rec = r }

func (c *cellReader) fault(i int, f impact.Fault) {
	c.rec.Faults = append(c.rec.Faults, c.table.at(i, f))
}

func (c *cellReader) warn(i int, f impact.Fault) {
	c.rec.Warnings = append(c.rec.Warnings, c.table.at(i, f))
}

func (c *cellReader) told(pointer string) bool {
	return slices.ContainsFunc(c.rec.Faults, func(f impact.Fault) bool { return f.Pointer == pointer })
}

// strictValues tells that values came typed, and mean what they say.
func (t *Table) strictValues() bool { return t.Layout.Format == "json" || t.Layout.Format == "ndjson" }

// text gives a cell without the spaces around it and without the mark that
// disarms a formula, and the sender's own translation of it.
func (c *cellReader) text(i int) string {
	if i < 0 || i >= len(c.rec.Cells) {
		return ""
	}
	s := c.rec.Cells[i]
	switch c.rec.kind(i) {
	case invalid, null:
		return ""
	case plain:
		if !c.table.strictValues() {
			s = trim(unguard(s))
		}
	}
	if to, ok := c.table.options.Mapping.value(c.table.Headers.Members[i], s); ok && to != s {
		c.warn(i, impact.Fault{
			Code: "source_value_mapped", Value: shorten(s), Suggestion: to,
			Detail: impact.Text{FR: "« " + shorten(s) + " » a été lu comme " + to + ", selon votre correspondance.", EN: "“" + shorten(s) + "” was read as " + to + ", by your mapping."},
			Hint:   impact.Text{FR: "Rien à faire si c'est bien cela.", EN: "Nothing to do if that is right."},
		})
		return to
	}
	return s
}

// readNumber reads a cell that holds a number.
func (c *cellReader) readNumber(i int) reading {
	s := c.rec.Cells[i]
	var r reading
	switch k := c.rec.kind(i); {
	case k == figure && c.table.strictValues():
		return reading{digits: s}
	case k == figure || k == percent:
		r = rounded(s, strings.Replace(s, ",", ".", 1))
	case k == day || k == month || k == year:
		r = refused(s, "")
	default:
		if s = trim(unguard(s)); s == "" {
			return reading{}
		}
		r = c.table.numbers.readNumber(s)
	}
	if r.fault != nil {
		c.fault(i, *r.fault)
	}
	if r.warning != nil {
		c.warn(i, *r.warning)
	}
	return r
}

// number reads a number that may stand beside no sign.
func (c *cellReader) number(i int) string {
	r := c.readNumber(i)
	if r.fault == nil && (r.percent || r.euros) {
		c.fault(i, *refused(c.rec.Cells[i], "").fault)
		return ""
	}
	return r.digits
}

// normalised reads an identifier of so many digits; spaces between them go,
// with a warning.
func (c *cellReader) normalised(i int, check func(string) (string, *impact.Fault)) string {
	s := c.text(i)
	if s == "" {
		return ""
	}
	n, f := check(s)
	if f != nil {
		c.fault(i, *f)
		return ""
	}
	if n != s {
		c.warn(i, impact.Fault{
			Code: "identifier_normalised", Value: s, Suggestion: n,
			Detail: impact.Text{FR: "Lu comme " + n + ".", EN: "Read as " + n + "."},
			Hint:   impact.Text{FR: "Écrivez l'identifiant sans espace ni point.", EN: "Write the identifier without spaces or dots."},
		})
	}
	return n
}

// organisation gives the reference of a row: its id, else its identifiers.
func (c *cellReader) organisation(otherwise string) string {
	if s := c.text(c.org); s != "" {
		return c.reference(s)
	}
	for _, id := range []struct {
		at     int
		prefix string
		check  func(string) (string, *impact.Fault)
	}{{c.siret, "siret:", impact.CheckSIRET}, {c.siren, "siren:", impact.CheckSIREN}, {c.rna, "rna:", impact.CheckRNA}} {
		if n := c.normalised(id.at, id.check); n != "" {
			return id.prefix + n
		}
	}
	if c.told("/organisation") {
		return ""
	}
	return otherwise
}

// gaps removes what people put between groups of digits.
var gaps = strings.NewReplacer(" ", "", "\u00a0", "", "\u202f", "", ".", "")

// reference reads what stands in the column of organisations: a SIRET, SIREN or
// RNA number needs no prefix there.
func (c *cellReader) reference(s string) string {
	compact := gaps.Replace(s)
	switch {
	case digitsOnly(compact) && len(compact) == 9:
		return prefixed("siren:", c.normalised(c.org, impact.CheckSIREN))
	case digitsOnly(compact) && len(compact) >= 12, looksScientific(s):
		return prefixed("siret:", c.normalised(c.org, impact.CheckSIRET))
	case len(compact) == 10 && (compact[0] == 'W' || compact[0] == 'w') && digitsOnly(compact[4:]):
		return prefixed("rna:", c.normalised(c.org, impact.CheckRNA))
	}
	return s
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func looksScientific(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9' && strings.ContainsAny(s, "eE") && strings.Trim(s, "0123456789.,+-eE") == ""
}

// indicator gives the code of a row, or that of the one indicator so labelled.
func (c *cellReader) indicator(i int) string {
	s := c.text(i)
	if s == "" || c.catalogue == nil {
		return s
	}
	code, warning := c.catalogue.IndicatorNamed(s)
	if warning != nil {
		c.warn(i, *warning)
	}
	if code == "" {
		return s
	}
	return string(code)
}

// unit gives the unit of a row; its name in other letters says the same, which
// needs no warning.
func (c *cellReader) unit(i int) string {
	s := c.text(i)
	if s == "" || c.catalogue == nil || c.table.strictValues() || c.catalogue.Unit(s) != nil {
		return s
	}
	if u := c.catalogue.UnitNamed(s); u != nil {
		return u.Code
	}
	return s
}

// territory gives the place of a row: a code, or the id of the one place of that
// name and postal code.
func (c *cellReader) territory(otherwise string) string {
	s, i := c.text(c.place), c.place
	name, postal := c.text(c.placeName), c.text(c.postal)
	if s == "" && name != "" {
		s, i = name, c.placeName
	}
	switch {
	case s == "":
		if c.told("/territory") {
			return ""
		}
		return otherwise
	case c.catalogue == nil:
		return s
	}
	key := s + "\x00" + postal
	found, ok := c.places[key]
	if !ok {
		found.id, found.warning = c.catalogue.Gazetteer().Named(s, postal)
		if len(c.places) < kept {
			c.places[key] = found
		}
	}
	if found.warning != nil {
		c.warn(i, *found.warning)
	}
	if found.id == "" {
		return s
	}
	return found.id
}

// period gives the period of a row in canonical form.
func (c *cellReader) period(otherwise string) string {
	if s := c.text(c.periodAt); s != "" {
		if c.table.strictValues() {
			return s
		}
		return c.worded(s, c.periodAt)
	}
	if year := c.text(c.yearAt); year != "" {
		return c.yearAndPart(year)
	}
	start, from := c.date(c.startAt)
	end, to := c.date(c.endAt)
	switch {
	case c.told("/period"):
		return ""
	case !from && !to:
		return otherwise
	case !from || !to:
		at := c.startAt
		if to {
			at = c.endAt
		}
		c.fault(at, impact.Fault{
			Code:   "missing_field",
			Detail: impact.Text{FR: "La période a un jour de début et un jour de fin ; l'un des deux manque.", EN: "The period has a first and a last day; one of them is missing."},
			Hint:   impact.Text{FR: "Remplissez period_start et period_end, ou period.", EN: "Fill period_start and period_end, or period."},
		})
		return ""
	case end < start:
		c.fault(c.endAt, impact.Fault{
			Code: "unknown_period_format", Value: c.rec.Cells[c.endAt],
			Detail: impact.Text{FR: "La période finit avant de commencer.", EN: "The period ends before it begins."},
			Hint:   impact.Text{FR: "Vérifiez les deux dates.", EN: "Check both dates."},
		})
		return ""
	}
	return impact.Period{Start: start, End: end}.String()
}

// worded reads a period in words and tells about it in a column.
func (c *cellReader) worded(s string, at int) string {
	read, ok := c.periods[s]
	if !ok {
		read = readPeriod(s)
		if len(c.periods) < kept {
			c.periods[s] = read
		}
	}
	if read.fault != nil {
		c.fault(at, *read.fault)
	}
	if read.warning != nil {
		c.warn(at, *read.warning)
	}
	return read.canonical
}

// yearAndPart reads a year beside the column of its quarter, semester or month:
// there "T3" and "3" are the third quarter without a doubt.
func (c *cellReader) yearAndPart(year string) string {
	for i, at := range c.partAt {
		part := c.text(at)
		if part == "" {
			continue
		}
		if n := strings.TrimLeft(part, "TtQqSsMm"); digitsOnly(n) {
			part = [...]string{"semestre ", "trimestre ", "mois "}[i] + n
		}
		return c.worded(part+" "+year, at)
	}
	return c.worded(year, c.yearAt)
}

func readPeriod(s string) (r periodRead) {
	p, warning, f := impact.ReadPeriod(s)
	if f != nil {
		return periodRead{fault: f}
	}
	return periodRead{canonical: p.String(), warning: warning}
}

// date reads a day, if the cell holds one.
func (c *cellReader) date(i int) (d impact.Date, given bool) {
	s := c.text(i)
	if s == "" {
		return 0, false
	}
	d, f := impact.ReadDate(s)
	if f == nil {
		return d, true
	}
	if serial, ok := serialDay(s); ok {
		if c.rec.kind(i) == figure {
			return serial, true
		}
		f.Suggestion = serial.String()
	}
	c.fault(i, *f)
	return 0, false
}

// serialDay reads the number of a day in a spreadsheet, from 1954 to 2119.
func serialDay(s string) (impact.Date, bool) {
	if len(s) != 5 || !digitsOnly(s) || s < "20000" || s > "80000" {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	const epoch = 25569 // 1970-01-01
	return impact.Date(n - epoch), true
}

// Package codelist holds the reference data the program is born with:
// territories, impact types, indicators, units and every closed list of codes,
// as CSV beside the code. What each column means is in data/README.md.
package codelist

import (
	"bytes"
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Version names this state of the reference data; it changes with the data.
const Version = "2026.1"

//go:embed data/*.csv
var files embed.FS

// Load reads the embedded reference data. An error means the program was built
// from broken data: it names the file, the line and the column.
func Load() (impact.Reference, error) {
	ref := impact.Reference{Version: Version}
	for _, step := range []struct {
		file string
		read func(*row)
	}{
		{"territories.csv", func(r *row) { ref.Territories = append(ref.Territories, territory(r)) }},
		{"impact-types.csv", func(r *row) { ref.ImpactTypes = append(ref.ImpactTypes, impactType(r)) }},
		{"indicators.csv", func(r *row) { ref.Indicators = append(ref.Indicators, indicator(r)) }},
		{"units.csv", func(r *row) { ref.Units = append(ref.Units, unit(r)) }},
		{"measure-kinds.csv", func(r *row) { ref.MeasureKinds = append(ref.MeasureKinds, code(r, "measure_kind")) }},
		{"structure-kinds.csv", func(r *row) { ref.Codes = append(ref.Codes, code(r, r.text("scheme"))) }},
		{"codes.csv", func(r *row) { ref.Codes = append(ref.Codes, shortCode(r)) }},
	} {
		if err := readRows(step.file, step.read); err != nil {
			return impact.Reference{}, fmt.Errorf("reference data %s: %w", step.file, err)
		}
	}
	return ref, nil
}

func territory(r *row) impact.Territory {
	t := impact.Territory{
		Key:            impact.TerritoryKey(r.integer("key")),
		Type:           impact.TerritoryType(r.text("type")),
		Code:           r.text("code"),
		Name:           r.text("name"),
		Parent:         impact.TerritoryID(r.text("parent")),
		ValidFrom:      r.date("valid_from", impact.MinDate),
		ValidTo:        r.date("valid_to", impact.MaxDate),
		Population:     r.integer("population"),
		PopulationYear: r.integer("population_year"),
		SIREN:          r.text("siren"),
		PostalCodes:    r.words("postal_codes"),
		Note:           r.text("note"),
	}
	t.ID = impact.TerritoryID(string(t.Type) + "-" + t.Code)
	if q := r.quantity("area_km2"); q != nil {
		t.AreaKM2 = *q
	}
	for _, s := range r.words("successors") {
		id, share, _ := strings.Cut(s, ":")
		q, f := impact.ParseQuantity(share)
		r.check("successors", f)
		t.Successors = append(t.Successors, impact.Succession{ID: impact.TerritoryID(id), Share: q})
	}
	for _, a := range r.words("aliases") {
		t.Aliases = append(t.Aliases, impact.TerritoryID(a))
	}
	return t
}

func impactType(r *row) impact.ImpactType {
	t := impact.ImpactType{
		Code:      impact.ImpactTypeCode(r.text("code")),
		Parent:    impact.ImpactTypeCode(r.text("parent")),
		Class:     r.text("class"),
		Label:     r.both("label"),
		Crosswalk: map[string][]string{},
	}
	for _, scheme := range []string{"sdg", "iris", "vsme_esrs", "toms", "spaser", "ocds"} {
		words := r.words(scheme)
		if scheme == "iris" { // names that hold spaces
			words = nil
			if s := r.text(scheme); s != "" {
				words = strings.Split(s, "; ")
			}
		}
		if len(words) > 0 {
			t.Crosswalk[scheme] = words
		}
	}
	return t
}

func indicator(r *row) impact.Indicator {
	i := impact.Indicator{
		Key:                impact.IndicatorKey(r.integer("key")),
		Code:               impact.IndicatorCode(r.text("code")),
		Label:              r.both("label"),
		Definition:         r.both("definition"),
		Unit:               r.text("unit"),
		Kind:               impact.MeasureKind(r.text("kind")),
		Direction:          impact.Direction(r.text("direction")),
		Min:                r.quantity("min"),
		Max:                r.quantity("max"),
		WarnMin:            r.quantity("warn_min"),
		WarnMax:            r.quantity("warn_max"),
		Decimals:           r.integer("decimals"),
		Numerator:          indicatorCodes(r.words("numerator")),
		Denominator:        indicatorCodes(r.words("denominator")),
		Weight:             impact.IndicatorCode(r.text("weight")),
		Form:               impact.Form(r.text("form")),
		Scale:              impact.One,
		Derived:            r.boolean("derived"),
		ImpactType:         impact.ImpactTypeCode(r.text("impact_type")),
		Crosswalk:          r.words("crosswalk"),
		Source:             r.text("source"),
		Personal:           r.boolean("personal"),
		Frequency:          r.text("frequency"),
		Set:                r.text("set"),
		Number:             r.integer("no"),
		CountingPoint:      r.text("counting_point"),
		NotAdditiveOver:    r.words("not_additive_over"),
		NeverAddedTo:       indicatorCodes(r.words("never_added_to")),
		HomogeneousBy:      r.words("homogeneous_by"),
		RequiredMetadata:   r.words("required_metadata"),
		Disaggregations:    r.words("disaggregations"),
		Note:               r.text("note"),
		MethodologyVersion: r.text("methodology_version"),
	}
	if q := r.quantity("scale"); q != nil {
		i.Scale = *q
	}
	for _, t := range r.words("secondary_types") {
		i.SecondaryTypes = append(i.SecondaryTypes, impact.ImpactTypeCode(t))
	}
	return i
}

func indicatorCodes(words []string) []impact.IndicatorCode {
	var out []impact.IndicatorCode
	for _, w := range words {
		out = append(out, impact.IndicatorCode(w))
	}
	return out
}

func unit(r *row) impact.Unit {
	return impact.Unit{
		Code:     r.text("code"),
		UCUM:     r.text("ucum"),
		Label:    r.both("label"),
		Symbol:   r.both("symbol"),
		Quantity: r.text("quantity"),
		Base:     r.text("base"),
		Num:      int64(r.integer("to_base_num")),
		Den:      int64(r.integer("to_base_den")),
		Aliases:  r.words("aliases"),
		Note:     r.text("note"),
	}
}

// code reads a row of a list that has columns of its own: they become Attrs.
func code(r *row, list string) impact.Code {
	c := impact.Code{List: list, Code: r.text("code"), Label: r.both("label"), Attrs: map[string]string{}}
	for _, column := range r.header {
		switch column {
		case "scheme", "code", "label_fr", "label_en":
		default:
			if v := r.text(column); v != "" {
				c.Attrs[column] = v
			}
		}
	}
	return c
}

// shortCode reads a row of codes.csv, whose attributes are written name=value.
func shortCode(r *row) impact.Code {
	c := impact.Code{List: r.text("list"), Code: r.text("code"), Label: r.both("label"), Attrs: map[string]string{}}
	for _, w := range r.words("attributes") {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			r.fail("attributes", fmt.Errorf("%q is not name=value", w))
		}
		c.Attrs[name] = value
	}
	return c
}

// row is one record under its header. The first thing that is wrong is kept in
// err, so that the readers above stay plain lists of columns.
type row struct {
	header []string
	record []string
	err    error
}

func readRows(file string, read func(*row)) error {
	text, err := files.ReadFile("data/" + file)
	if err != nil {
		return err
	}
	reader := csv.NewReader(bytes.NewReader(text))
	header, err := reader.Read()
	if err != nil {
		return err
	}
	r := row{header: header}
	for {
		r.record, err = reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if read(&r); r.err != nil {
			line, _ := reader.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, r.err)
		}
	}
}

func (r *row) fail(column string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("column %s: %w", column, err)
	}
}

func (r *row) check(column string, f *impact.Fault) {
	if f != nil {
		r.fail(column, impact.Refuse(*f))
	}
}

func (r *row) text(column string) string {
	i := slices.Index(r.header, column)
	if i < 0 {
		r.fail(column, fmt.Errorf("missing"))
		return ""
	}
	return r.record[i]
}

func (r *row) both(column string) impact.Text {
	return impact.Text{FR: r.text(column + "_fr"), EN: r.text(column + "_en")}
}

func (r *row) words(column string) []string { return strings.Fields(r.text(column)) }

func (r *row) integer(column string) int {
	s := r.text(column)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		r.fail(column, err)
	}
	return n
}

func (r *row) boolean(column string) bool {
	switch s := r.text(column); s {
	case "true":
		return true
	case "false":
	default:
		r.fail(column, fmt.Errorf("%q is neither true nor false", s))
	}
	return false
}

func (r *row) quantity(column string) *impact.Quantity {
	s := r.text(column)
	if s == "" {
		return nil
	}
	q, f := impact.ParseQuantity(s)
	r.check(column, f)
	return &q
}

func (r *row) date(column string, absent impact.Date) impact.Date {
	s := r.text(column)
	if s == "" {
		return absent
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		r.fail(column, err)
	}
	return impact.NewDate(t.Year(), t.Month(), t.Day())
}

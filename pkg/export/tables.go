package export

import (
	"cmp"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// wholeCode is the code of a dimension that a figure is not cut by (SDMX).
const wholeCode = "_T"

// figure is a cell of a release with what is written beside it.
type figure struct {
	*release.Cell
	indicator *impact.Indicator // nil for counts by impact type
	place     *impact.Territory
	period    string
	asOf      string
}

func (f *figure) code(cut calculation.Dimension) string {
	if f.Cut != cut {
		return wholeCode
	}
	return f.Figure.Codes[0]
}

type (
	column = format.Column[figure]
	cell   = format.Cell
)

// cuts are the dimensions that divide the contributors of a figure.
var cuts = []calculation.Dimension{calculation.ByOrganisationClass, calculation.ByStructureKind, calculation.BySizeClass}

// columns are those of GET /v1/aggregates.csv on a release, grouped by everything
// a release is made of: a figure is spelled the same in a file and in an answer.
// Without the cuts for files of figures that have none.
func columns(cat *impact.Catalogue, counts, cutting bool) []column {
	var cs []column
	coded := func(name string, of func(*figure) string) *column {
		cs = append(cs, column{Name: name, Coded: true, Cell: func(f *figure) cell { return format.Code(of(f)) }})
		return &cs[len(cs)-1]
	}
	number := func(name string, of func(*figure) *impact.Quantity) {
		cs = append(cs, column{Name: name, Cell: func(f *figure) cell { return format.Number(of(f)) }})
	}
	count := func(name string, of func(*figure) int) {
		cs = append(cs, column{Name: name, Cell: func(f *figure) cell {
			if f.Withheld() {
				return cell{}
			}
			return format.Integer(int64(of(f)))
		}})
	}
	remark := func(name string, of func(*figure) cell) {
		cs = append(cs, column{Name: name, Optional: true, Cell: of})
	}
	if counts {
		coded("impact_type", func(f *figure) string { return string(f.Figure.ImpactType) }).Label = func(f *figure) string {
			if t := cat.ImpactType(f.Figure.ImpactType); t != nil {
				return t.Label.FR
			}
			return ""
		}
	} else {
		coded("indicator", func(f *figure) string { return string(f.Figure.Indicator) }).Label = func(f *figure) string { return f.indicator.Label.FR }
	}
	coded("territory", func(f *figure) string { return string(f.place.ID) }).Label = func(f *figure) string { return f.place.Name }
	coded("period", func(f *figure) string { return f.period })
	if cutting {
		for _, cut := range cuts {
			c := coded(string(cut), func(f *figure) string { return f.code(cut) })
			c.Coded = false
			c.Label = func(f *figure) string {
				if f.Cut != cut {
					return "Ensemble"
				}
				if known := cat.Code(string(cut), f.Figure.Codes[0]); known != nil {
					return known.Label.FR
				}
				return ""
			}
		}
	}
	if !counts {
		number("value", func(f *figure) *impact.Quantity { return f.Figure.Value })
		coded("unit", func(f *figure) string { return f.indicator.Unit })
	}
	coded("obs_status", func(f *figure) string { return string(rune(f.Figure.Status)) })
	coded("conf_status", func(f *figure) string {
		if f.Withheld() {
			return "C"
		}
		return "F"
	})
	coded("vintage", func(f *figure) string { return f.Figure.Vintage.String() })
	if !counts {
		number("numerator", func(f *figure) *impact.Quantity { return f.Figure.Numerator })
		number("denominator", func(f *figure) *impact.Quantity { return f.Figure.Denominator })
	}
	count("n_organisations", func(f *figure) int { return f.Figure.Organisations })
	count("n_observations", func(f *figure) int { return f.Figure.Observations })
	if !counts {
		number("coverage", func(f *figure) *impact.Quantity { return f.Figure.Coverage })
	}
	coded("as_of", func(f *figure) string { return f.asOf })
	remark("note", func(f *figure) cell { return format.Code(strings.Join(impact.Words(f.Figure.Notes), " ")) })
	if counts {
		return cs
	}
	remark("qualifiers", func(f *figure) cell { return format.Code(f.Figure.Qualifiers) })
	remark("not_additive_over", func(f *figure) cell { return format.Code(f.Figure.Refused) })
	remark("stock_date", func(f *figure) cell {
		if !f.Figure.HasAsOf {
			return cell{}
		}
		return format.Code(f.Figure.AsOf.String())
	})
	remark("respondents", func(f *figure) cell { return format.Number(f.Figure.Respondents) })
	answers := func(name string, of func(*calculation.Answers) int) {
		remark(name, func(f *figure) cell {
			if f.Figure.Answers == nil {
				return cell{}
			}
			return format.Integer(int64(of(f.Figure.Answers)))
		})
	}
	answers("count_true", func(a *calculation.Answers) int { return a.True })
	answers("count_answered", func(a *calculation.Answers) int { return a.Answered })
	remark("days_covered", func(f *figure) cell {
		if f.Figure.DaysCovered == 0 {
			return cell{}
		}
		return format.Integer(int64(f.Figure.DaysCovered))
	})
	remark("additive", func(f *figure) cell {
		switch f.Figure.Kind {
		case impact.Flow, impact.SignedFlow, impact.Stock:
			if !f.Figure.Additive && f.Figure.Value != nil { // one of its parts is of an older release
				return format.Code("false")
			}
		}
		return cell{}
	})
	return cs
}

// compareFigures is the order of files: that of dimensions, as in an answer.
func compareFigures(a, b *figure) int {
	key := func(f *figure) impact.IndicatorKey {
		if f.indicator == nil {
			return 0
		}
		return f.indicator.Key
	}
	c := cmp.Or(
		cmp.Compare(key(a), key(b)), cmp.Compare(a.Figure.ImpactType, b.Figure.ImpactType),
		cmp.Compare(a.place.ID, b.place.ID), cmp.Compare(a.Figure.Period.Start, b.Figure.Period.Start), cmp.Compare(a.Figure.Period.End, b.Figure.Period.End))
	for _, cut := range cuts {
		if c == 0 {
			c = cmp.Compare(a.code(cut), b.code(cut))
		}
	}
	return cmp.Or(c, cmp.Compare(a.Figure.Qualifiers, b.Figure.Qualifiers))
}

// indicatorColumns describe the list of indicators.
var indicatorColumns = []format.Column[*impact.Indicator]{
	word("code", func(i *impact.Indicator) string { return string(i.Code) }),
	word("label_fr", func(i *impact.Indicator) string { return i.Label.FR }),
	word("label_en", func(i *impact.Indicator) string { return i.Label.EN }),
	word("definition_fr", func(i *impact.Indicator) string { return i.Definition.FR }),
	word("definition_en", func(i *impact.Indicator) string { return i.Definition.EN }),
	word("unit", func(i *impact.Indicator) string { return i.Unit }),
	word("measure_kind", func(i *impact.Indicator) string { return string(i.Kind) }),
	word("direction", func(i *impact.Indicator) string { return string(i.Direction) }),
	{Name: "decimals", Cell: func(i **impact.Indicator) cell { return format.Integer(int64((*i).Decimals)) }},
	word("frequency", func(i *impact.Indicator) string { return i.Frequency }),
	word("primary_impact_type", func(i *impact.Indicator) string { return string(i.ImpactType) }),
	word("numerators", func(i *impact.Indicator) string { return strings.Join(impact.Words(i.Numerator), " ") }),
	word("denominators", func(i *impact.Indicator) string { return strings.Join(impact.Words(i.Denominator), " ") }),
	word("methodology_version", func(i *impact.Indicator) string { return i.MethodologyVersion }),
}

var impactTypeColumns = []format.Column[*impact.ImpactType]{
	word("code", func(t *impact.ImpactType) string { return string(t.Code) }),
	word("parent", func(t *impact.ImpactType) string { return string(t.Parent) }),
	word("type", func(t *impact.ImpactType) string { return t.Class }),
	word("label_fr", func(t *impact.ImpactType) string { return t.Label.FR }),
	word("label_en", func(t *impact.ImpactType) string { return t.Label.EN }),
}

var territoryColumns = []format.Column[*impact.Territory]{
	word("id", func(t *impact.Territory) string { return string(t.ID) }),
	word("type", func(t *impact.Territory) string { return string(t.Type) }),
	word("code", func(t *impact.Territory) string { return t.Code }),
	word("name", func(t *impact.Territory) string { return t.Name }),
	word("parent", func(t *impact.Territory) string { return string(t.Parent) }),
	word("valid_from", func(t *impact.Territory) string { return day(t.ValidFrom) }),
	word("valid_to", func(t *impact.Territory) string { return day(t.ValidTo) }),
	{Name: "population", Cell: func(t **impact.Territory) cell { return positive((*t).Population) }},
	{Name: "population_year", Cell: func(t **impact.Territory) cell { return positive((*t).PopulationYear) }},
	{Name: "area_km2", Cell: func(t **impact.Territory) cell {
		if (*t).AreaKM2 == 0 {
			return cell{}
		}
		return format.Number(&(*t).AreaKM2)
	}},
}

func word[R any](name string, of func(R) string) format.Column[R] {
	return format.Column[R]{Name: name, Cell: func(r *R) cell { return format.Code(of(*r)) }}
}

// day writes a date; an open end is empty.
func day(d impact.Date) string {
	if d == impact.MinDate || d == impact.MaxDate {
		return ""
	}
	return d.String()
}

func positive(n int) cell {
	if n <= 0 {
		return cell{}
	}
	return format.Integer(int64(n))
}

// territoriesOf are those in force in a vintage, in the order of their ids.
func territoriesOf(cat *impact.Catalogue, v impact.Vintage) []*impact.Territory {
	var out []*impact.Territory
	for _, t := range cat.Gazetteer().All() {
		if t.ValidFrom <= v.Day() && v.Day() <= t.ValidTo {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *impact.Territory) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Concepts describe the columns of a dataset, as its CSV has them.
func Concepts(cat *impact.Catalogue, id impact.DatasetID) []format.Concept {
	switch id {
	case impact.IndicatorsDataset:
		return format.Concepts(indicatorColumns)
	case impact.ImpactTypesDataset:
		return format.Concepts(impactTypeColumns)
	case impact.TerritoriesDataset:
		return format.Concepts(territoryColumns)
	}
	return format.Concepts(columns(cat, id == impact.ContributorsDataset, true))
}

package release

import (
	"slices"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Lattice is what a release declares: the cells it can have, whoever reports.
// Everything else is a sum that nobody protected, and is refused.
type Lattice struct {
	cat      *impact.Catalogue
	vintage  impact.Vintage
	day      impact.Date
	embargo  int
	families []Family
	types    []impact.TerritoryType
}

// Levels are the territories figures are released for, from the widest.
var Levels = []impact.TerritoryType{
	impact.Country, impact.Region, impact.Departement, impact.Metropole, impact.CTM, impact.Commune, impact.Arrondissement,
}

// CutLevels are the territories, and Cuts the dimensions, of figures by class
// of organisations: one dimension at a time, whole years.
var (
	CutLevels = []impact.TerritoryType{impact.Metropole, impact.CTM}
	Cuts      = []calculation.Dimension{calculation.ByOrganisationClass, calculation.ByStructureKind, calculation.BySizeClass}
)

// NewLattice lays out the release of a day: the territories in force that
// year, the periods that ended embargo days before.
func NewLattice(cat *impact.Catalogue, day impact.Date, embargo int) *Lattice {
	return &Lattice{
		cat: cat, vintage: cat.Gazetteer().CurrentVintage(day), day: day, embargo: embargo, families: Families(cat), types: Levels,
	}
}

// Vintage of the territories.
func (l *Lattice) Vintage() impact.Vintage { return l.vintage }

// Families of indicators, by code.
func (l *Lattice) Families() []Family { return l.families }

// Cube is a set of cells with one shape.
type Cube struct {
	Name          string // main, or the dimension of the cut
	Counts        bool   // of organisations by impact type, not of indicators
	Territories   []impact.TerritoryType
	Granularities []impact.Granularity // those an indicator is asked for, at most
	Cut           calculation.Dimension
}

// Cubes describes what is declared.
func (l *Lattice) Cubes() []Cube {
	out := []Cube{
		{Name: "main", Territories: l.types, Granularities: []impact.Granularity{impact.Year, impact.Semester, impact.Quarter}},
		{Name: "impact_types", Counts: true, Territories: l.types, Granularities: []impact.Granularity{impact.Year}},
	}
	for _, cut := range Cuts {
		out = append(out, Cube{Name: string(cut), Territories: CutLevels, Granularities: []impact.Granularity{impact.Year}, Cut: cut})
	}
	return out
}

// Granularities are the lengths of the periods an indicator is released for,
// the longest first: a year, and what it is collected by when that is shorter.
func Granularities(ind *impact.Indicator) []impact.Granularity {
	switch ind.Frequency {
	case "Q", "M":
		return []impact.Granularity{impact.Year, impact.Quarter}
	case "S":
		return []impact.Granularity{impact.Year, impact.Semester}
	}
	return []impact.Granularity{impact.Year}
}

// Slice names cells of one shape: an indicator, or an impact type when the
// indicator is empty, a place, a period and at most one cut.
type Slice struct {
	Indicator  impact.IndicatorCode
	ImpactType impact.ImpactTypeCode
	Territory  impact.TerritoryKey
	Period     impact.Period
	Cut        calculation.Dimension
}

// Closed tells that a period ended long enough ago to be released.
func (l *Lattice) Closed(p impact.Period) bool { return p.End+impact.Date(l.embargo) <= l.day }

// Declares tells that the release has the cells of a slice, or would if
// somebody had reported there.
func (l *Lattice) Declares(s Slice) bool {
	t := l.cat.Gazetteer().ByKey(s.Territory)
	if t == nil || !l.inForce(t) || !slices.Contains(l.types, t.Type) || !l.Closed(s.Period) {
		return false
	}
	g := s.Period.Granularity()
	if s.Indicator == "" {
		return l.cat.ImpactType(s.ImpactType) != nil && g == impact.Year && s.Cut == ""
	}
	ind := l.cat.Indicator(s.Indicator)
	if ind == nil || !slices.Contains(Granularities(ind), g) {
		return false
	}
	return s.Cut == "" || g == impact.Year && slices.Contains(CutLevels, t.Type) && slices.Contains(Cuts, s.Cut)
}

// Nearest gives the declared slice that tells most of what was asked for: the
// year around the period, the territory above, no cut. False when there is
// none, as for a period still to come.
func (l *Lattice) Nearest(s Slice) (Slice, bool) {
	g := l.cat.Gazetteer()
	if projected := g.Project(s.Territory, l.vintage); len(projected) == 1 {
		s.Territory = projected[0].Key
	}
	if s.Cut != "" && !slices.Contains(Cuts, s.Cut) {
		s.Cut = ""
	}
	try := []Slice{s}
	year := s
	year.Period = impact.YearPeriod(s.Period.Start.Year())
	try = append(try, year)
	if s.Cut != "" {
		// A cut is worth a wider territory.
		for _, up := range g.Ancestors(s.Territory, l.vintage) {
			wider := year
			wider.Territory = up.Key
			try = append(try, wider)
		}
		whole := s
		whole.Cut = ""
		year.Cut = ""
		try = append(try, whole, year)
	}
	for _, up := range g.Ancestors(s.Territory, l.vintage) {
		wider := year
		wider.Territory = up.Key
		try = append(try, wider)
	}
	for _, t := range try {
		if l.Declares(t) {
			return t, true
		}
	}
	return Slice{}, false
}

func (l *Lattice) inForce(t *impact.Territory) bool {
	on := l.vintage.Day()
	return t.ValidFrom <= on && on <= t.ValidTo
}

// places are the territories of the vintage among those that have data, the
// widest level first.
func (l *Lattice) places(with []impact.TerritoryKey) (all, cut []impact.TerritoryKey) {
	g := l.cat.Gazetteer()
	for _, level := range l.types {
		for _, key := range with {
			if t := g.ByKey(key); t != nil && t.Type == level && l.inForce(t) {
				all = append(all, key)
				if slices.Contains(CutLevels, level) {
					cut = append(cut, key)
				}
			}
		}
	}
	return all, cut
}

// periods are the closed periods of a year, of one length.
func (l *Lattice) periods(year int, g impact.Granularity) (out []impact.Period) {
	for _, p := range impact.YearPeriod(year).Buckets(g) {
		if l.Closed(p) {
			out = append(out, p)
		}
	}
	return out
}

// Final tells that the figures of a year are no longer provisional.
func (l *Lattice) Final(year int) bool { return l.Closed(impact.YearPeriod(year)) }

// rank of a level: the Métropole first, since this is its public service, then
// what is around it, then what is in it.
func rankOf(t impact.TerritoryType) int {
	switch t {
	case impact.Metropole:
		return 0
	case impact.Country:
		return 1
	case impact.Region:
		return 2
	case impact.Departement:
		return 3
	case impact.CTM:
		return 4
	case impact.Commune:
		return 5
	}
	return 6
}

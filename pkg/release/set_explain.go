package release

import (
	"cmp"
	"maps"
	"slices"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Explain tells how one cell was made, from what is published only: its inputs
// are the cells of its components in the same release, without value where they
// are withheld. The sums of a quotient are those of organisations that gave all
// its parts, so that its numerator and denominator may be less than its inputs.
// The query must give exactly one cell, else the error code is not_one_cell.
func (s *Set) Explain(q calculation.Query) (*calculation.Explanation, error) {
	if len(q.Indicators) != 1 || q.Rows() != 1 {
		return nil, calculation.NotOneCell()
	}
	q.IncludeEmpty = true
	sel, err := s.plan(q)
	if err != nil {
		return nil, err
	}
	res, err := s.Figures(q)
	if err != nil {
		return nil, err
	}
	if len(res.Figures) != 1 {
		return nil, calculation.NotOneCell()
	}
	f := res.Figures[0]
	ind := sel.lines[0].indicator
	x := &calculation.Explanation{
		Figure: f, Formula: calculation.FormulaOf(s.cat, ind), Rules: calculation.RulesOf(ind),
		Excluded: f.Excluded, MethodVersion: cmp.Or(s.release.Method, calculation.MethodVersion),
	}
	for _, leaf := range s.cat.Leaves(ind) {
		x.Inputs = append(x.Inputs, calculation.Input{Indicator: leaf.Code, Value: s.input(q, leaf, f.Qualifiers)})
	}
	if f.Status == impact.Suppressed {
		x.Withheld = withheldBecause
	}
	x.Previous = s.previous(q, sel, f.Qualifiers)
	return x, nil
}

// withheldBecause is said of every withheld cell, whatever the reason.
var withheldBecause = impact.Text{
	FR: "Cette valeur est couverte par le secret statistique. Un chiffre est tu quand moins de trois organisations y contribuent, quand l'une d'elles y pèse trop, quand il porte sur très peu de personnes, ou quand, rapproché des autres chiffres publiés, il permettrait de retrouver une valeur secrète. La règle en cause n'est jamais dite : elle renseignerait déjà. Un territoire plus large ou l'année entière est souvent montré.",
	EN: "This value is covered by statistical secrecy. A figure is withheld when fewer than three organisations contribute to it, when one of them weighs too much in it, when it is about very few people, or when, put beside the other published figures, it would give a secret value away. Which rule applied is never said: that would already tell something. A wider territory or the whole year is often shown.",
}

// input is the value of a component in the place of a cell; nil when it is
// withheld, not released there, or divided by a qualifier the cell does not have.
func (s *Set) input(q calculation.Query, leaf *impact.Indicator, qualifiers string) *impact.Quantity {
	q.Indicators, q.IncludeEmpty, q.KeepRefused, q.Qualifiers = []impact.IndicatorCode{leaf.Code}, false, true, ""
	res, err := s.Figures(q)
	if err != nil {
		return nil
	}
	var found *calculation.Figure
	for i := range res.Figures {
		f := &res.Figures[i]
		if f.Qualifiers == qualifiers {
			return f.Value
		}
		if f.Qualifiers == "" {
			found = f
		}
	}
	if found == nil {
		return nil
	}
	return found.Value
}

// previous tells what was published of the cell before it last moved.
func (s *Set) previous(q calculation.Query, sel *selection, qualifiers string) *calculation.Previous {
	b, known := s.at[blockKey{sel.lines[0].counts, sel.lines[0].code, sel.cut}]
	if !known {
		return nil
	}
	from, to := s.rowsOf(b, q.Territories[0])
	p := sel.periods[0].at
	for i := s.seek(from, to, p); i < to && int32(s.rows[i].period) == p; i++ {
		r := &s.rows[i]
		if s.quals[r.quals] != qualifiers || sel.codes != nil && !slices.Contains(sel.codes, s.codes[r.code][0]) {
			continue
		}
		before := s.inForceBefore(impact.ReleaseNumber(r.moved))
		if before == 0 || s.causes[r.cause] == FirstRelease {
			return nil
		}
		out := &calculation.Previous{Release: before, Cause: string(s.causes[r.cause])}
		if r.has&hasBefore != 0 {
			out.Value = &r.before
		}
		return out
	}
	return nil
}

// inForceBefore is the latest release when n was published; 0 when it was the
// first.
func (s *Set) inForceBefore(n impact.ReleaseNumber) impact.ReleaseNumber {
	var then impact.Release
	if r := s.past(n); r != nil {
		then = *r
	}
	for i := len(s.history) - 1; i >= 0; i-- {
		r := &s.history[i]
		if r.Number < n && (r.State != impact.ReleaseWithdrawn || !then.PublishedAt.IsZero() && r.WithdrawnAt.After(then.PublishedAt)) {
			return r.Number
		}
	}
	return 0
}

// Available tells which indicators, territories, periods and codes have at least
// one number that is shown, as calculation.Cube does of numbers stated: a withheld
// cell is available to nobody, which its status tells already. An empty list
// of the query stands for everything. Territories are those asked for and those
// in them; Observations are those behind the widest figures found, years only. Of
// a query of counts, places and periods are those that have a count.
func (s *Set) Available(q calculation.Query) (calculation.Availability, error) {
	out := calculation.Availability{Disaggregations: map[string][]string{}}
	asked := q
	asked.Cuts, asked.MergeTerritories, asked.MergePeriods, asked.KeepRefused, asked.Periods = nil, false, false, true, nil
	asked.Territories = nil // what is inside them may be published where they are not
	if len(q.Indicators)+len(q.ImpactTypes) == 0 {
		for _, ind := range s.cat.Indicators() {
			asked.Indicators = append(asked.Indicators, ind.Code)
		}
	} else if len(q.Indicators) == 0 {
		asked.Indicators, asked.ImpactTypes = s.ofTypes(q.ImpactTypes), nil
		for _, t := range q.ImpactTypes {
			if s.cat.ImpactType(t) == nil {
				return out, unknown("unknown_impact_type", "impact_type", string(t))
			}
		}
	}
	counting := len(q.Indicators) == 0 && len(q.ImpactTypes) > 0
	// Codes are alternatives here: none is added to another.
	sel, _, err := s.read(asked)
	if err != nil {
		return out, err
	}
	if why := s.undeclared(q); len(why) > 0 {
		return out, s.uncontrolled(q, why)
	}
	var (
		inside     = s.inside(q.Territories)
		all        = len(q.Indicators)+len(q.ImpactTypes) == 0
		indicators = map[impact.IndicatorCode]bool{}
		types      = map[impact.ImpactTypeCode]bool{}
		places     = map[impact.TerritoryKey]bool{}
		periods    = map[impact.Period]bool{}
		codes      = map[calculation.Dimension]map[string]bool{}
		counted    = map[[2]int32]int32{} // line and year → observations of its widest figure
		fits       = make([]bool, len(s.periods))
	)
	for i, p := range s.periods {
		fits[i] = len(q.Periods) == 0 || slices.ContainsFunc(q.Periods, func(b impact.Period) bool { return b.Contains(p) })
	}
	for n, l := range sel.lines {
		for _, cut := range append([]calculation.Dimension{""}, Cuts...) {
			b, known := s.at[blockKey{l.counts, l.code, cut}]
			if !known || sel.cut != "" && cut != sel.cut {
				continue
			}
			blk := &s.blocks[b]
			for t, rank := range blk.territories {
				if !inside[rank] {
					continue
				}
				for i := blk.starts[t]; i < blk.starts[t+1]; i++ {
					r := &s.rows[i]
					code := s.codes[r.code][0]
					if r.has&hasValue == 0 || !fits[r.period] || sel.codes != nil && !slices.Contains(sel.codes, code) {
						continue
					}
					if cut != "" && code != "" {
						if codes[cut] == nil {
							codes[cut] = map[string]bool{}
						}
						codes[cut][code] = true
					}
					if cut != sel.cut {
						continue
					}
					indicators[l.indicator.Code] = true
					if !counting {
						places[s.places[rank]], periods[s.periods[r.period]] = true, true
					}
					if p := s.periods[r.period]; cut == "" && !l.indicator.Composed() && p.Granularity() == impact.Year {
						k := [2]int32{int32(n), int32(r.period)}
						counted[k] = max(counted[k], r.observations)
					}
				}
			}
		}
	}
	if counting && sel.cut == "" {
		for _, t := range q.ImpactTypes {
			if s.counts(t, inside, fits, places, periods) {
				types[t] = true
			}
		}
	}
	for code := range indicators {
		if !all && len(q.Indicators) > 0 && !slices.Contains(q.Indicators, code) {
			continue
		}
		out.Indicators = append(out.Indicators, code)
		for t := s.cat.ImpactType(s.cat.Indicator(code).ImpactType); t != nil && !types[t.Code]; t = s.cat.ImpactType(t.Parent) {
			types[t.Code] = true
		}
	}
	slices.Sort(out.Indicators)
	out.ImpactTypes, out.Territories = slices.Sorted(maps.Keys(types)), slices.Sorted(maps.Keys(places))
	out.Periods = slices.SortedFunc(maps.Keys(periods), comparePeriods)
	for i, p := range out.Periods {
		if i == 0 {
			out.Span, out.Any = p, true
		}
		out.Span.Start, out.Span.End = min(out.Span.Start, p.Start), max(out.Span.End, p.End)
	}
	out.Classes = slices.Sorted(maps.Keys(codes[calculation.ByOrganisationClass]))
	out.StructureKinds = slices.Sorted(maps.Keys(codes[calculation.ByStructureKind]))
	out.SizeClasses = slices.Sorted(maps.Keys(codes[calculation.BySizeClass]))
	for _, n := range counted {
		out.Observations += int(n)
	}
	return out, nil
}

// counts notes where and when the organisations of an impact type are counted.
func (s *Set) counts(t impact.ImpactTypeCode, inside, fits []bool, places map[impact.TerritoryKey]bool, periods map[impact.Period]bool) (some bool) {
	b, known := s.at[blockKey{counts: true, code: string(t)}]
	if !known {
		return false
	}
	blk := &s.blocks[b]
	for n, rank := range blk.territories {
		for i := blk.starts[n]; i < blk.starts[n+1]; i++ {
			if r := &s.rows[i]; inside[rank] && fits[r.period] && r.organisations > 0 {
				places[s.places[rank]], periods[s.periods[r.period]], some = true, true, true
			}
		}
	}
	return some
}

// ofTypes gives the indicators of impact types and of those below them.
func (s *Set) ofTypes(types []impact.ImpactTypeCode) []impact.IndicatorCode {
	out := []impact.IndicatorCode{}
	for _, t := range types {
		under := s.cat.Under(t)
		for _, ind := range s.cat.Indicators() {
			if slices.Contains(under, ind.ImpactType) && !slices.Contains(out, ind.Code) {
				out = append(out, ind.Code)
			}
		}
	}
	return out
}

// undeclared are the conditions that no published cell meets.
func (s *Set) undeclared(q calculation.Query) (why []impact.Text) {
	some := calculation.Query{Indicators: []impact.IndicatorCode{s.cat.Indicators()[0].Code}, Filters: q.Filters, State: q.State, Cuts: q.Cuts}
	if len(some.Cuts) == 0 && len(q.Filters) > 0 {
		some.Cuts = []calculation.Dimension{q.Filters[0].Dimension}
	}
	_, why, _ = s.read(some)
	return why
}

// inside tells which places are asked for, by rank.
func (s *Set) inside(keys []impact.TerritoryKey) []bool {
	out := make([]bool, len(s.places))
	g := s.cat.Gazetteer()
	for i, k := range s.places {
		out[i] = len(keys) == 0 || slices.ContainsFunc(keys, func(a impact.TerritoryKey) bool { return a == k || g.Encloses(a, k) })
	}
	return out
}

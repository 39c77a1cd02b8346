package calculation

import (
	"maps"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Available tells which indicators, territories, periods and classes have at
// least one number for a query. An empty list of the query stands for
// everything: no indicator nor type, every indicator; no territory, all of
// them; no period, all time. Filters and State hold.
func (c *Cube) Available(q Query) (Availability, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, err := c.plan(q)
	if err != nil {
		return Availability{}, err
	}
	wanted := c.readLines(q)
	all := len(q.Indicators)+len(q.ImpactTypes) == 0
	inside := make([]bool, len(c.layout.territories))
	for i := range inside {
		inside[i] = len(q.Territories) == 0
	}
	for _, r := range p.regions {
		for _, s := range r.shares {
			inside[s.stored] = true
		}
	}
	var (
		out     = Availability{Disaggregations: map[string][]string{}}
		lines   = make([]bool, len(c.layout.indicators))
		slots   = make([]bool, len(c.layout.territories))
		seen    = make([]bool, len(p.f.attrs))
		periods = map[impact.Period]bool{}
	)
	for i := range p.f.lines {
		if !all && !slices.Contains(wanted, int32(i)) {
			continue
		}
		for slot, blk := range p.f.lines[i].blocks {
			if blk == nil || !inside[slot] {
				continue
			}
			for n, period := range blk.periods {
				if len(q.Periods) > 0 && !slices.ContainsFunc(q.Periods, func(b impact.Period) bool { return b.Contains(period) }) {
					continue
				}
				some := false
				for _, row := range blk.rows[blk.start(n):blk.ends[n]] {
					if !p.passes(row) {
						continue
					}
					some = true
					seen[row.attr] = true
					out.Observations++
				}
				if some {
					lines[i], slots[slot], periods[period] = true, true, true
				}
			}
		}
	}
	types := map[impact.ImpactTypeCode]bool{}
	for i, ind := range c.layout.indicators {
		if slices.ContainsFunc(c.layout.inputs(int32(i)), func(leaf int32) bool { return !lines[leaf] }) {
			continue
		}
		if !all && len(q.Indicators) > 0 && !slices.Contains(q.Indicators, ind.Code) {
			continue
		}
		out.Indicators = append(out.Indicators, ind.Code)
		for t := c.cat.ImpactType(ind.ImpactType); t != nil && !types[t.Code]; t = c.cat.ImpactType(t.Parent) {
			types[t.Code] = true
		}
	}
	slices.Sort(out.Indicators)
	out.ImpactTypes = slices.Sorted(maps.Keys(types))
	places := map[impact.TerritoryKey]bool{}
	for slot, some := range slots {
		if !some {
			continue
		}
		for _, at := range p.atlas.places[slot] {
			for _, above := range p.atlas.up[at.slot] {
				places[c.layout.territories[above].Key] = true
			}
		}
	}
	out.Territories = slices.Sorted(maps.Keys(places))
	out.Periods = slices.SortedFunc(maps.Keys(periods), comparePeriods)
	for i, period := range out.Periods {
		if i == 0 {
			out.Span, out.Any = period, true
		}
		out.Span.Start, out.Span.End = min(out.Span.Start, period.Start), max(out.Span.End, period.End)
	}
	classes, kinds, sizes, cuts := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]map[string]bool{}
	for i, some := range seen {
		if !some {
			continue
		}
		a := &p.f.attrs[i]
		classes[string(a.profile.Class)], kinds[a.profile.StructureKind], sizes[a.profile.SizeClass] = true, true, true
		for _, part := range a.parts {
			if cuts[part.dimension] == nil {
				cuts[part.dimension] = map[string]bool{}
			}
			cuts[part.dimension][part.code] = true
		}
	}
	for _, m := range []map[string]bool{classes, kinds, sizes} {
		delete(m, "")
	}
	out.Classes, out.StructureKinds, out.SizeClasses = slices.Sorted(maps.Keys(classes)), slices.Sorted(maps.Keys(kinds)), slices.Sorted(maps.Keys(sizes))
	for dimension, codes := range cuts {
		out.Disaggregations[dimension] = slices.Sorted(maps.Keys(codes))
	}
	return out, nil
}

// passes tells that a contribution has a number at the state asked for and
// meets the filters.
func (p *plan) passes(row contribution) bool {
	a := &p.f.attrs[row.attr]
	if !a.number || a.states&p.state == 0 || p.allowed != nil && !p.allowed[row.member] {
		return false
	}
	for _, f := range p.profiles {
		if !slices.Contains(f.codes, profileCode(&a.profile, f.dimension)) {
			return false
		}
	}
	for _, f := range p.cuts {
		if code, ok := a.along(f.dimension); !ok || !slices.Contains(f.codes, code) {
			return false
		}
	}
	return true
}

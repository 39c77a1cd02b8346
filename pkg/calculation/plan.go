package calculation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// plan is a query with its codes resolved. It belongs to one call.
type plan struct {
	c     *Cube
	f     *facts
	q     Query
	atlas *atlas
	state uint8

	lines   []int32
	types   []typeLines
	regions []*region
	keys    []impact.TerritoryKey // of regions; 0 when merged
	buckets []bucket

	allowed  []bool // members the organisation filter lets through; nil = all
	profiles []profileFilter
	cuts     []cutFilter // filters on disaggregations and programme
	split    []int       // positions of q.Cuts that need the parts of cells
	cutting  bool        // any cut or filter at all: figures need keys

	work *work
}

type typeLines struct {
	code  impact.ImpactTypeCode
	lines []int32
}

// bucket is the days of a figure: one interval, or several when merged.
type bucket struct {
	label impact.Period
	parts []impact.Period
}

type profileFilter struct {
	dimension Dimension
	codes     []string
}

type cutFilter struct {
	dimension string // "" = programme
	codes     []string
}

func (c *Cube) plan(q Query) (*plan, error) {
	p := &plan{c: c, f: c.facts, q: q, state: stateBit(q.State), atlas: c.atlas(q.Vintage)}
	switch q.State {
	case "", impact.Draft, impact.Submitted, impact.Approved:
	default:
		return nil, invalid("unknown_code", "state", string(q.State),
			"L'état demandé est draft, submitted ou approved.", "The state asked for is draft, submitted or approved.")
	}
	for _, code := range q.Indicators {
		line, ok := c.layout.lineByCode[code]
		if !ok {
			return nil, unknown("unknown_indicator", "indicator", string(code))
		}
		p.lines = append(p.lines, line)
	}
	if len(q.Indicators) == 0 {
		for _, code := range q.ImpactTypes {
			lines, ok := c.layout.typeLines(c.cat, code, q.OnlyThisType)
			if !ok {
				return nil, unknown("unknown_impact_type", "impact_type", string(code))
			}
			p.types = append(p.types, typeLines{code, lines})
		}
	}
	var slots []int32
	for _, key := range q.Territories {
		slot, ok := c.layout.slotOf[key]
		if !ok {
			return nil, unknown("unknown_territory", "territory", fmt.Sprint(key))
		}
		slots = append(slots, slot)
	}
	if q.MergeTerritories {
		if len(slots) > 0 {
			p.regions, p.keys = []*region{p.atlas.merge(slots...)}, []impact.TerritoryKey{0}
		}
	} else {
		for i, slot := range slots {
			p.regions = append(p.regions, p.atlas.region(slot))
			p.keys = append(p.keys, q.Territories[i])
		}
	}
	p.buckets = buckets(q.Periods, q.MergePeriods)
	for _, f := range q.Filters {
		if err := p.filter(f); err != nil {
			return nil, err
		}
	}
	for i, d := range q.Cuts {
		switch {
		case d == ByOrganisationClass, d == ByStructureKind, d == BySizeClass, d == ByOrganisation:
		case d == ByProgramme, strings.HasPrefix(string(d), disaggregationPrefix):
			p.split = append(p.split, i)
		default:
			return nil, unknown("unknown_code", "group_by", string(d))
		}
	}
	p.cutting = len(q.Cuts) > 0 || len(q.Filters) > 0
	return p, nil
}

const disaggregationPrefix = "disaggregation."

// cutName is the name a dimension has in parts of cells, "" for programmes.
func cutName(d Dimension) string {
	return strings.TrimPrefix(strings.TrimPrefix(string(d), string(ByProgramme)), disaggregationPrefix)
}

func (p *plan) filter(f Filter) error {
	switch {
	case f.Dimension == ByOrganisation:
		allowed := make([]bool, len(p.f.members))
		for _, id := range f.Codes {
			if m, ok := p.f.memberBy[impact.OrganisationID(id)]; ok && (p.allowed == nil || p.allowed[m]) {
				allowed[m] = true
			}
		}
		p.allowed = allowed
	case f.Dimension == ByOrganisationClass, f.Dimension == ByStructureKind, f.Dimension == BySizeClass:
		p.profiles = append(p.profiles, profileFilter{f.Dimension, f.Codes})
	case f.Dimension == ByProgramme, strings.HasPrefix(string(f.Dimension), disaggregationPrefix):
		p.cuts = append(p.cuts, cutFilter{cutName(f.Dimension), f.Codes})
	default:
		return unknown("unknown_code", "filters", string(f.Dimension))
	}
	return nil
}

func buckets(periods []impact.Period, merge bool) []bucket {
	if !merge || len(periods) < 2 {
		out := make([]bucket, len(periods))
		for i := range periods {
			out[i] = bucket{periods[i], periods[i : i+1]}
		}
		return out
	}
	sorted := slices.Clone(periods)
	slices.SortFunc(sorted, comparePeriods)
	b := bucket{label: sorted[0]}
	for _, p := range sorted {
		b.label.End = max(b.label.End, p.End)
		if n := len(b.parts); n > 0 && p.Start <= b.parts[n-1].End+1 {
			b.parts[n-1].End = max(b.parts[n-1].End, p.End)
			continue
		}
		b.parts = append(b.parts, p)
	}
	return []bucket{b}
}

// typeLines are the stored indicators whose primary type is code or below.
func (l *layout) typeLines(cat *impact.Catalogue, code impact.ImpactTypeCode, only bool) ([]int32, bool) {
	if cat.ImpactType(code) == nil {
		return nil, false
	}
	under := []impact.ImpactTypeCode{code}
	if !only {
		under = cat.Under(code)
	}
	var lines []int32
	for i, ind := range l.indicators {
		if !ind.Composed() && slices.Contains(under, ind.ImpactType) {
			lines = append(lines, int32(i))
		}
	}
	return lines, true
}

// readLines are the lines a query reads, sorted.
func (c *Cube) readLines(q Query) []int32 {
	var out []int32
	for _, code := range q.Indicators {
		if line, ok := c.layout.lineByCode[code]; ok {
			out = append(out, c.layout.inputs(line)...)
		}
	}
	if len(q.Indicators) == 0 {
		for _, code := range q.ImpactTypes {
			lines, _ := c.layout.typeLines(c.cat, code, q.OnlyThisType)
			out = append(out, lines...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inputs are the stored lines an indicator is made of; the weight of a survey
// mean comes second.
func (l *layout) inputs(line int32) []int32 {
	if ind := l.indicators[line]; ind.Kind == impact.SurveyMean && ind.Weight != "" {
		return []int32{line, l.lineByCode[ind.Weight]}
	}
	return l.leaves[line]
}

func (c *Cube) scope(q Query) (Scope, error) {
	p, err := c.plan(q)
	if err != nil {
		return Scope{}, err
	}
	var s Scope
	for _, line := range c.readLines(q) {
		s.Indicators = append(s.Indicators, c.layout.indicators[line].Key)
	}
	for _, r := range p.regions {
		for _, in := range r.shares {
			s.Territories = append(s.Territories, c.layout.territories[in.stored].Key)
		}
		for _, slot := range r.above {
			s.Territories = append(s.Territories, c.layout.territories[slot].Key)
		}
	}
	slices.Sort(s.Territories)
	s.Territories = slices.Compact(s.Territories)
	for i, b := range p.buckets {
		if i == 0 {
			s.Span = b.label
		}
		s.Span.Start, s.Span.End = min(s.Span.Start, b.label.Start), max(s.Span.End, b.label.End)
	}
	return s, nil
}

func invalid(code impact.FaultCode, parameter, value, fr, en string) error {
	return &impact.Error{
		Kind: impact.Invalid, Code: "validation_failed",
		Faults: []impact.Fault{{Code: code, Parameter: parameter, Value: value, Detail: impact.Text{FR: fr, EN: en}}},
	}
}

func unknown(code impact.FaultCode, parameter, value string) error {
	return invalid(code, parameter, value, "Ce code n'est pas connu.", "This code is not known.")
}

func notAdditive(ind *impact.Indicator, dimension string) error {
	fr := map[string]string{"organisation": "les organisations", "territory": "les territoires", "period": "les périodes"}[dimension]
	en := map[string]string{"organisation": "organisations", "territory": "territories", "period": "periods"}[dimension]
	return &impact.Error{
		Kind: impact.Invalid, Code: "not_additive",
		Detail: impact.Text{
			FR: fmt.Sprintf("« %s » ne s'additionne pas sur %s : une même unité peut y être comptée plusieurs fois.", ind.Label.FR, fr),
			EN: fmt.Sprintf("“%s” does not add up over %s: one unit may be counted several times.", ind.Label.EN, en),
		},
		Hint: impact.Text{
			FR: "Demandez les bornes avec allow_bounds=true, ou une cellule à la fois.",
			EN: "Ask for bounds with allow_bounds=true, or for one cell at a time.",
		},
		Err: fmt.Errorf("not_additive_over:%s: %s", dimension, ind.Code),
	}
}

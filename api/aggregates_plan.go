package api

import (
	"hash/fnv"
	"net/url"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// calculation translates what was asked. Dimensions left out of group_by are
// merged; the indicators named one by one must add up, or the whole query is
// refused, while those of a broad question that do not are shown without value.
func (q *aggregateQuery) calculation() calculation.Query {
	cq := calculation.Query{
		Vintage:          q.vintage,
		MergeTerritories: !q.grouped(dimTerritory),
		Periods:          q.periods,
		MergePeriods:     !q.grouped(dimPeriod),
		Prorata:          q.prorata,
		State:            q.state,
		AllowBounds:      q.allowBounds,
		KeepRefused:      len(q.indicator) == 0,
		IncludeEmpty:     q.includeEmpty,
		Filters:          q.filters(),
		Qualifiers:       q.qualifiers,
		Territories:      make([]impact.TerritoryKey, len(q.territories)),
	}
	for i, t := range q.territories {
		cq.Territories[i] = t.Key
	}
	if q.counting {
		cq.ImpactTypes, cq.OnlyThisType = q.types, q.onlyThisType
	} else {
		cq.Indicators = make([]impact.IndicatorCode, len(q.indicators))
		for i, ind := range q.indicators {
			cq.Indicators[i] = ind.Code
		}
	}
	for _, g := range q.groupBy {
		if isCut(g) {
			cq.Cuts = append(cq.Cuts, calculation.Dimension(g))
		}
	}
	return cq
}

// isCut tells that a dimension divides the contributors of a cell.
func isCut(dimension string) bool {
	switch dimension {
	case dimClass, dimStructureKind, dimSizeClass, dimOrganisation:
		return true
	}
	return strings.HasPrefix(dimension, dimDisaggregation)
}

func (q *aggregateQuery) filters() []calculation.Filter {
	var out []calculation.Filter
	add := func(dimension string, codes []string) {
		if codes != nil {
			out = append(out, calculation.Filter{Dimension: calculation.Dimension(dimension), Codes: codes})
		}
	}
	if q.organisation != "" {
		add(dimOrganisation, []string{string(q.organisation)})
	}
	add(dimClass, q.classes)
	add(dimStructureKind, q.structureKinds)
	add(dimSizeClass, q.sizeClasses)
	for _, d := range q.disaggregations {
		add(d.dimension, d.codes)
	}
	return out
}

// impossible tells that conditions exclude each other: nothing can answer.
func (q *aggregateQuery) impossible() bool {
	return slices.ContainsFunc(q.filters(), func(f calculation.Filter) bool { return len(f.Codes) == 0 }) ||
		len(q.territories) == 0 || len(q.periods) == 0
}

// whole is the query of the declared parent: the territory all of them were
// said to be part of, else all of them together.
func (q *aggregateQuery) whole() calculation.Query {
	cq := q.calculation()
	if q.parent != nil {
		cq.Territories = []impact.TerritoryKey{q.parent.Key}
	} else {
		cq.MergeTerritories = true
	}
	return cq
}

// before is the same query one period earlier.
func (q *aggregateQuery) before() calculation.Query {
	cq := q.calculation()
	cq.IncludeEmpty = false
	cq.Periods = make([]impact.Period, 0, len(q.periods))
	for _, p := range q.periods {
		cq.Periods = append(cq.Periods, previous(p))
	}
	slices.SortFunc(cq.Periods, byStart)
	cq.Periods = slices.Compact(cq.Periods)
	return cq
}

// previous is the named period before p, or as many days before an interval.
func previous(p impact.Period) impact.Period {
	day := p.Start - 1
	if g := p.Granularity(); g != impact.Interval {
		return impact.Period{Start: day, End: day}.Buckets(g)[0]
	}
	return impact.Period{Start: p.Start - impact.Date(p.Days()), End: day}
}

func byStart(a, b impact.Period) int {
	if a.Start != b.Start {
		return int(a.Start) - int(b.Start)
	}
	return int(a.End) - int(b.End)
}

// pair is one parameter of the normalised query.
type pair struct {
	name, text string
	// list holds the values when the body form is a list of alternatives; a
	// nil list with filter set goes into filters.
	list   []string
	filter bool
	// raw tells that the body form is a number or a boolean.
	raw bool
}

// normalised writes every parameter that decides the answer, defaults
// included, in one order and one spelling.
func (q *aggregateQuery) normalised() []pair {
	ps := make([]pair, 0, 24)
	one := func(name, text string) {
		if text != "" {
			ps = append(ps, pair{name: name, text: text})
		}
	}
	set := func(name string, s selection) {
		for _, a := range s {
			ps = append(ps, pair{name: name, text: a.text, list: a.equal, filter: len(s) > 1 || a.equal == nil})
		}
	}
	codes := func(name string, list []string) {
		if list != nil {
			ps = append(ps, pair{name: name, text: strings.Join(list, ","), list: list})
		}
	}
	yes := func(name string, b bool, text string) {
		if b {
			ps = append(ps, pair{name: name, text: text, raw: text == "true"})
		}
	}
	set(dimIndicator, q.indicator)
	set(dimImpactType, q.impactTypes)
	set(dimTerritory, q.territory)
	one("territory_type", string(q.territoryType))
	ps = append(ps, pair{name: "vintage", text: q.vintage.String(), raw: true})
	codes(dimPeriod, q.periodTexts())
	if q.granularity != impact.Interval {
		one("granularity", string(q.granularity))
	}
	codes("group_by", q.groupBy)
	codes(dimClass, q.classes)
	codes(dimStructureKind, q.structureKinds)
	codes(dimSizeClass, q.sizeClasses)
	for _, d := range q.disaggregations {
		codes(d.dimension, d.codes)
	}
	one(dimOrganisation, string(q.organisation))
	if q.qualifiers != "" {
		one("qualifiers", quoted(q.qualifiers))
	}
	codes("measures", q.measures)
	for _, c := range q.conditions {
		ps = append(ps, pair{name: c.measure, text: c.String(), filter: true})
	}
	var order []string
	for _, k := range q.order {
		if k.descending {
			order = append(order, "-"+k.field)
		} else {
			order = append(order, k.field)
		}
	}
	codes("order_by", order)
	if q.published != nil {
		one("release", q.releaseText())
	} else {
		one("release", q.release)
		one("state", string(q.state))
	}
	yes("totals", q.totals, "territory")
	yes("split", q.prorata, "prorata_days")
	yes("include_empty", q.includeEmpty, "true")
	yes("allow_bounds", q.allowBounds, "true")
	yes("labels", q.labels != "none", q.labels)
	return ps
}

// quoted protects a free text from the grammar of values.
func quoted(s string) string {
	if strings.ContainsAny(s, `,:`) && !strings.Contains(s, `"`) {
		return `"` + s + `"`
	}
	return s
}

func unquoted(s string) string {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// periodTexts writes the buckets, as one range when they follow each other.
func (q *aggregateQuery) periodTexts() []string {
	n := len(q.periods)
	if n == 0 {
		return nil
	}
	follow := n > 1 && q.granularity != impact.Interval
	for i := 1; i < n && follow; i++ {
		follow = q.periods[i].Start == q.periods[i-1].End+1
	}
	if follow {
		return []string{q.periods[0].String() + "/" + q.periods[n-1].String()}
	}
	out := make([]string, n)
	for i, p := range q.periods {
		out[i] = p.String()
	}
	return out
}

// queryString writes pairs as a GET takes them.
func queryString(ps []pair) string {
	var b strings.Builder
	for _, p := range ps {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(readable.Replace(url.QueryEscape(p.text)))
	}
	return b.String()
}

// queryBody writes pairs as the body of POST /v1/aggregates/query takes them.
func queryBody(ps []pair) []byte {
	o := objectWriter{dst: append(make([]byte, 0, 512), '{')}
	for _, name := range []string{dimTerritory, dimPeriod} {
		o.nested(ps, name)
	}
	filters := false
	for _, p := range ps {
		switch {
		case p.filter:
			filters = true
		case p.name == dimTerritory, p.name == "territory_type", p.name == dimPeriod, p.name == "granularity":
		case p.list != nil:
			o.member(p.name)
			o.list(p.list)
		case p.raw:
			o.member(p.name)
			o.dst = append(o.dst, p.text...)
		default:
			o.member(p.name)
			o.dst = format.AppendString(o.dst, unquoted(p.text))
		}
	}
	if filters {
		o.member("filters")
		o.filters(ps)
	}
	return append(o.dst, '}')
}

// objectWriter appends the members of one JSON object.
type objectWriter struct {
	dst     []byte
	started bool
}

func (o *objectWriter) member(name string) {
	if o.started {
		o.dst = append(o.dst, ',')
	}
	o.started = true
	o.dst = append(format.AppendString(o.dst, name), ':')
}

func (o *objectWriter) list(values []string) {
	o.dst = append(o.dst, '[')
	for i, v := range values {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = format.AppendString(o.dst, v)
	}
	o.dst = append(o.dst, ']')
}

// nested writes {"in":[…],"type":"…"} or {"in":[…],"granularity":"…"}.
func (o *objectWriter) nested(ps []pair, name string) {
	inner := objectWriter{}
	for _, p := range ps {
		switch {
		case p.name == name && !p.filter:
			inner.member("in")
			inner.list(p.list)
		case name == dimTerritory && p.name == "territory_type":
			inner.member("type")
			inner.dst = format.AppendString(inner.dst, p.text)
		case name == dimPeriod && p.name == "granularity":
			inner.member("granularity")
			inner.dst = format.AppendString(inner.dst, p.text)
		}
	}
	if inner.started {
		o.member(name)
		o.dst = append(append(append(o.dst, '{'), inner.dst...), '}')
	}
}

func (o *objectWriter) filters(ps []pair) {
	next := byte('[')
	for _, p := range ps {
		if !p.filter {
			continue
		}
		o.dst = append(o.dst, next)
		next = ','
		o.dst = append(o.dst, `{"field":`...)
		o.dst = format.AppendString(o.dst, p.name)
		o.dst = append(o.dst, `,"value":`...)
		o.dst = append(format.AppendString(o.dst, p.text), '}')
	}
	o.dst = append(o.dst, ']')
}

// digest names a normalised query.
func digest(parts ...[]byte) [8]byte {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write(p)
		_, _ = h.Write([]byte{0})
	}
	return [8]byte(h.Sum(nil))
}

package api

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Dimensions of figures, and the measures a row may carry (api.md 5.3).
const (
	dimIndicator      = "indicator"
	dimImpactType     = "impact_type"
	dimTerritory      = "territory"
	dimPeriod         = "period"
	dimClass          = "organisation_class"
	dimStructureKind  = "structure_kind"
	dimSizeClass      = "size_class"
	dimOrganisation   = "organisation"
	dimDisaggregation = "disaggregation."

	measureValue          = "value"
	measureNumerator      = "numerator"
	measureDenominator    = "denominator"
	measureOrganisations  = "n_organisations"
	measureObservations   = "n_observations"
	measureCoverage       = "coverage"
	measureShareOfTotal   = "share_of_total"
	measureChangePrevious = "change_previous"
)

var (
	dimensions        = []string{dimIndicator, dimImpactType, dimTerritory, dimPeriod, dimClass, dimStructureKind, dimSizeClass, dimOrganisation}
	measures          = []string{measureValue, measureNumerator, measureDenominator, measureOrganisations, measureObservations, measureCoverage, measureShareOfTotal, measureChangePrevious}
	defaultGroupBy    = []string{dimIndicator, dimTerritory, dimPeriod}
	defaultMeasures   = []string{measureValue, measureOrganisations, measureCoverage}
	granularities     = []string{string(impact.Year), string(impact.Semester), string(impact.Quarter), string(impact.Month)}
	organisationTypes = []string{
		string(impact.Association), string(impact.Cooperative), string(impact.Mutual), string(impact.Foundation),
		string(impact.Company), string(impact.PublicBody), string(impact.OtherClass),
	}
	setOperators    = []string{opEqual, opNot, opStartWith}
	numberOperators = []string{opEqual, opNot, opGreater, opAtLeast, opLess, opAtMost}
)

// aggregateParams are the parameters of a query of figures, for the table of
// routes.
const aggregateParams = "indicator impact_type territory territory_type period granularity group_by " +
	"organisation_class structure_kind size_class organisation qualifiers disaggregation.* measures " +
	"value numerator denominator n_organisations n_observations coverage share_of_total change_previous " +
	"order_by totals release as_of vintage state include_empty labels allow_bounds split"

// maxBuckets is the number of periods one query may name: more than eight
// centuries of months.
const maxBuckets = 10_000

// maxGroupBy is the number of dimensions of one answer (api.md 15).
const maxGroupBy = 4

// aggregateQuery is a query of figures with every word resolved: what is left
// to decide is who may ask it.
type aggregateQuery struct {
	// indicators are those selected, in the order of the catalogue; all of
	// them when none is named.
	indicators  []*impact.Indicator
	indicator   selection
	impactTypes selection
	// territories are those selected, in the vintage; territoryType is empty
	// when they were listed one by one.
	territories   []*impact.Territory
	territory     selection
	territoryType impact.TerritoryType
	// parent is the territory all of them were said to be part of, nil when
	// they were listed.
	parent      *impact.Territory
	vintage     impact.Vintage
	periods     []impact.Period
	granularity impact.Granularity
	// Sets of codes, nil = no condition.
	classes, structureKinds, sizeClasses []string
	disaggregations                      []cutFilter
	organisation                         impact.OrganisationID
	of                                   impact.OrganisationKey // of organisation, once found
	qualifiers                           string

	groupBy  []string
	measures []string
	// counting tells that lines are natures of impact (types), with their
	// sub-types unless onlyThisType.
	counting     bool
	types        []impact.ImpactTypeCode
	onlyThisType bool
	conditions   []condition
	order        []sortKey

	totals, includeEmpty, allowBounds, prorata bool

	labels  string // none fr en both
	release string // as written, "" when absent
	// source gives the figures; published is the release they are of, nil when
	// they are live.
	source    FigureSource
	published *impact.Release
	state     impact.SubmissionState
	asOf      time.Time

	warnings []impact.Fault

	// mandates let a network ask, with the rows they were used for.
	mandates map[impact.MandateID]int

	// places says where parameters were written, for refusals that come later.
	places  map[string]place
	inBody  bool
	spelled map[impact.Period]string
}

// place says where a parameter was written, or would have been.
func (q *aggregateQuery) place(name string) place {
	if at, ok := q.places[name]; ok {
		return at
	}
	if q.inBody {
		return place{pointer: "/" + name}
	}
	return place{parameter: name}
}

// selection keeps how a set was asked, for the normalised query: each entry is
// one condition, and all of them hold.
type selection []asked

// asked is one condition in one order and one spelling. equal holds its values
// when it uses no operator, text is how a query string writes it.
type asked struct {
	text  string
	equal []string
}

type cutFilter struct {
	dimension string // "disaggregation.sex"
	codes     []string
}

// condition is a test on the result: one of the terms holds.
type condition struct {
	measure string
	terms   []numberTerm
}

type numberTerm struct {
	op    string
	value impact.Quantity
}

type sortKey struct {
	field      string
	descending bool
}

// aggregateReader gives criteria their meaning and gathers every fault.
type aggregateReader struct {
	catalogue *impact.Catalogue
	today     impact.Date
	vintage   impact.Vintage // when none is asked
	// latest finds the last period of a granularity that has a value for what
	// was resolved so far; it serves period=latest.
	latest func(q *aggregateQuery, g impact.Granularity) (impact.Period, bool)
	// anywhere lets territory and period be left out (availability).
	anywhere bool
	inBody   bool

	criteria            []criterion
	used                []bool
	q                   aggregateQuery
	unreadable, refused []impact.Fault
}

// read resolves criteria. The error holds all faults at once.
func (r aggregateReader) read(criteria []criterion, faults []impact.Fault) (*aggregateQuery, error) {
	r.criteria, r.used = criteria, make([]bool, len(criteria))
	r.q.places = make(map[string]place, len(criteria))
	r.q.inBody = r.inBody
	for _, c := range criteria {
		if _, ok := r.q.places[c.name]; !ok {
			r.q.places[c.name] = c.at
		}
	}
	for _, f := range faults {
		r.unread(f)
	}
	r.readOptions()
	r.readIndicators()
	r.readTerritories()
	r.readCuts()
	r.readShape()
	r.readPeriods() // latest depends on what the lines are
	r.readConditions()
	r.readOrder()
	r.refuseUnknown()
	if err := r.err(); err != nil {
		return nil, err
	}
	return &r.q, nil
}

// unread notes what cannot be read: 400 for a parameter. In a body that is
// JSON everything is readable.
func (r *aggregateReader) unread(f impact.Fault) {
	if f.Parameter == "" {
		r.refuse(f)
		return
	}
	if len(r.unreadable) < maxFaults {
		r.unreadable = append(r.unreadable, f)
	}
}

// refuse notes what is readable and cannot be answered: 422.
func (r *aggregateReader) refuse(f impact.Fault) {
	if len(r.refused) < maxFaults {
		r.refused = append(r.refused, f)
	}
}

func (r *aggregateReader) err() error {
	if len(r.unreadable) == 0 {
		return impact.Refuse(r.refused...)
	}
	first := r.unreadable[0]
	code := "invalid_parameter"
	switch first.Code {
	case "unknown_parameter", "missing_parameter", "conflicting_parameters":
		code = string(first.Code)
	}
	return &impact.Error{
		Kind: impact.Malformed, Code: code, Detail: first.Detail, Hint: first.Hint,
		Faults: slices.Concat(r.unreadable, r.refused),
	}
}

// named gives the criteria of one name.
func (r *aggregateReader) named(name string) []criterion {
	var out []criterion
	for i := range r.criteria {
		if r.criteria[i].name == name {
			r.used[i] = true
			out = append(out, r.criteria[i])
		}
	}
	return out
}

func (r *aggregateReader) refuseUnknown() {
	known := strings.Fields(aggregateParams)
	for i, used := range r.used {
		if used {
			continue
		}
		c := r.criteria[i]
		if c.at.parameter != "" {
			r.unread(c.at.mark(unknownParameter(c.name, "", known)))
		} else {
			r.refuse(c.at.mark(faultUnknownMember(c.name, known)))
		}
	}
}

// single gives the one value of a parameter that takes one.
func (r *aggregateReader) single(name string) (string, place, bool) {
	cs := r.named(name)
	if len(cs) == 0 {
		return "", place{}, false
	}
	if len(cs) > 1 || len(cs[0].terms) > 1 {
		r.unread(cs[len(cs)-1].at.mark(faultOnce(name)))
		return "", place{}, false
	}
	t := cs[0].terms[0]
	if t.op != opEqual {
		r.unread(t.at.mark(faultOperator(name, t.op, []string{opEqual})))
		return "", place{}, false
	}
	return t.value, t.at, true
}

func (r *aggregateReader) word(name, absent string, words ...string) string {
	s, at, ok := r.single(name)
	switch {
	case !ok:
		return absent
	case !slices.Contains(words, s):
		r.unread(at.mark(faultUnknownWord(name, s, words)))
		return absent
	}
	return s
}

func (r *aggregateReader) flag(name string) bool {
	return r.word(name, "false", "true", "false") == "true"
}

// words gives an ordered list without repetition, of words that are known.
func (r *aggregateReader) words(name string, known func(string) bool, list []string) []string {
	var out []string
	for _, c := range r.named(name) {
		for _, t := range c.terms {
			switch {
			case t.op != opEqual:
				r.unread(t.at.mark(faultOperator(name, t.op, []string{opEqual})))
			case !known(t.value):
				r.unread(t.at.mark(faultUnknownWord(name, t.value, list)))
			case slices.Contains(out, t.value):
				r.unread(t.at.mark(faultTwice(name, t.value)))
			default:
				out = append(out, t.value)
			}
		}
	}
	return out
}

func (r *aggregateReader) readOptions() {
	q := &r.q
	q.labels = r.word("labels", "none", "none", "fr", "en", "both")
	q.state = impact.SubmissionState(r.word("state", string(impact.Approved), string(impact.Approved), string(impact.Submitted), string(impact.Draft)))
	q.includeEmpty = r.flag("include_empty")
	q.allowBounds = r.flag("allow_bounds")
	q.prorata = r.word("split", "", "prorata_days") != ""
	q.totals = r.word("totals", "", "territory") != ""
	if s, at, ok := r.single("release"); ok {
		q.release = s
		if _, number := releaseNumber(s); !number && s != "latest" && s != liveRelease {
			r.unread(at.mark(faultUnknownWord("release", s, releaseWords)))
		}
	}
	if s, at, ok := r.single("as_of"); ok {
		t, err := time.Parse(time.RFC3339, s)
		switch {
		case err != nil:
			r.unread(at.mark(faultInstant(s)))
		case q.release != "" && q.release != liveRelease:
			r.unread(at.mark(faultConflict("as_of", "release",
				"as_of choisit la publication en vigueur à cet instant ; ôtez release.", "as_of chooses the release in force at that instant; leave release out.")))
		default:
			q.asOf = t.UTC()
		}
	}
	current := r.catalogue.Gazetteer().CurrentVintage(r.today)
	q.vintage = cmp.Or(r.vintage, current)
	if s, at, ok := r.single("vintage"); ok {
		y, err := strconv.Atoi(s)
		if err != nil || y < 1900 || y > int(current) {
			r.unread(at.mark(faultVintage(s, int(current))))
		} else {
			q.vintage = impact.Vintage(y)
		}
	}
}

// selected computes the values that satisfy every criterion: values of one
// criterion are alternatives, criteria are cumulative.
func selected[T comparable](cs []criterion, all func() iter.Seq[T], text func(T) string, read func(term) ([]T, bool)) []T {
	var out []T
	for i, c := range cs {
		var any []T // satisfies this criterion
		for _, t := range c.terms {
			got, ok := read(t)
			switch {
			case !ok:
			case t.op == opNot:
				for v := range all() {
					if !slices.Contains(got, v) {
						any = append(any, v)
					}
				}
			case t.op == opStartWith:
				for v := range all() {
					if strings.HasPrefix(text(v), t.value) {
						any = append(any, v)
					}
				}
			default:
				any = append(any, got...)
			}
		}
		if i == 0 {
			out = any
		} else {
			here := make(map[T]bool, len(any))
			for _, v := range any {
				here[v] = true
			}
			out = slices.DeleteFunc(out, func(v T) bool { return !here[v] })
		}
	}
	seen := make(map[T]bool, len(out))
	return slices.DeleteFunc(out, func(v T) bool {
		was := seen[v]
		seen[v] = true
		return was
	})
}

// selectionOf writes criteria in one order and one spelling.
func selectionOf(cs []criterion, canonical func(string) string) selection {
	var out selection
	for _, c := range cs {
		terms := make([]string, len(c.terms))
		plain := true
		for i, t := range c.terms {
			v := t.value
			if t.op != opStartWith {
				v = canonical(v)
			}
			if terms[i] = v; t.op != opEqual {
				terms[i], plain = t.op+":"+v, false
			}
		}
		slices.Sort(terms)
		terms = slices.Compact(terms)
		a := asked{text: strings.Join(terms, ",")}
		if plain {
			a.equal = terms
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b asked) int { return strings.Compare(a.text, b.text) })
	return slices.CompactFunc(out, func(a, b asked) bool { return a.text == b.text })
}

func same(s string) string { return s }

func termsOf(cs []criterion) [][]term {
	out := make([][]term, len(cs))
	for i, c := range cs {
		out[i] = c.terms
	}
	return out
}

func (r *aggregateReader) accepts(name string, t term, operators []string) bool {
	if slices.Contains(operators, t.op) {
		return true
	}
	r.unread(t.at.mark(faultOperator(name, t.op, operators)))
	return false
}

func (r *aggregateReader) readIndicators() {
	q, cat := &r.q, r.catalogue
	all := cat.Indicators()
	names := r.named(dimIndicator)
	types := r.named(dimImpactType)
	if len(names) == 0 && len(types) == 0 {
		q.indicators = all
		return
	}
	chosen := func(yield func(*impact.Indicator) bool) { slices.Values(all)(yield) }
	code := func(i *impact.Indicator) string { return string(i.Code) }
	every := func() iter.Seq[*impact.Indicator] { return chosen }
	q.indicators = all
	if len(names) > 0 {
		q.indicators = selected(names, every, code, func(t term) ([]*impact.Indicator, bool) {
			if !r.accepts(dimIndicator, t, setOperators) {
				return nil, false
			}
			if t.op == opStartWith {
				return nil, true
			}
			i, f := cat.FindIndicator(t.value)
			if f != nil {
				r.refuse(t.at.mark(*f))
				return nil, false
			}
			return []*impact.Indicator{i}, true
		})
		q.indicator = selectionOf(names, func(s string) string {
			if i, f := cat.FindIndicator(s); f == nil {
				return string(i.Code)
			}
			return s
		})
	}
	if len(types) > 0 {
		of := selected(types, every, func(i *impact.Indicator) string { return string(i.ImpactType) }, r.ofImpactType)
		q.impactTypes = selectionOf(types, same)
		if len(names) == 0 {
			q.indicators = of
		} else {
			q.indicators = slices.DeleteFunc(slices.Clone(q.indicators), func(i *impact.Indicator) bool { return !slices.Contains(of, i) })
		}
	}
	slices.SortFunc(q.indicators, func(a, b *impact.Indicator) int { return int(a.Key) - int(b.Key) })
	if len(q.indicators) == 0 && len(r.refused)+len(r.unreadable) == 0 {
		r.refuse(r.q.place(dimIndicator).mark(faultNoIndicator()))
	}
}

// ofImpactType gives the indicators of a nature of impact with its sub-types,
// or of that nature alone when a ! follows it.
func (r *aggregateReader) ofImpactType(t term) ([]*impact.Indicator, bool) {
	if !r.accepts(dimImpactType, t, setOperators) {
		return nil, false
	}
	if t.op == opStartWith {
		return nil, true
	}
	name, alone := strings.CutSuffix(t.value, "!")
	typ, f := r.catalogue.FindImpactType(name)
	if f != nil {
		r.refuse(t.at.mark(*f))
		return nil, false
	}
	under := []impact.ImpactTypeCode{typ.Code}
	if !alone {
		under = r.catalogue.Under(typ.Code)
	}
	var out []*impact.Indicator
	for _, i := range r.catalogue.Indicators() {
		if slices.Contains(under, i.ImpactType) {
			out = append(out, i)
		}
	}
	return out, true
}

func (r *aggregateReader) readTerritories() {
	q, g := &r.q, r.catalogue.Gazetteer()
	typ := r.word("territory_type", "", territoryTypes...)
	q.territoryType = impact.TerritoryType(typ)
	cs := r.named(dimTerritory)
	if len(cs) == 0 {
		if typ != "" && !r.anywhere {
			r.unread(r.missing(dimTerritory, "Par exemple territory=metropole-200046977&territory_type=commune.", "For example territory=metropole-200046977&territory_type=commune."))
		} else if !r.anywhere {
			r.unread(r.missing(dimTerritory, "Par exemple territory=metropole-200046977 ou territory=commune-69266.", "For example territory=metropole-200046977 or territory=commune-69266."))
		}
		return
	}
	inForce := func() iter.Seq[*impact.Territory] {
		return func(yield func(*impact.Territory) bool) {
			for _, t := range g.All() {
				day := impact.NewDate(int(q.vintage), time.January, 1)
				if t.ValidFrom <= day && day <= t.ValidTo && (typ == "" || t.Type == q.territoryType) && !yield(t) {
					return
				}
			}
		}
	}
	canonical := map[string]string{}
	c0 := slices.DeleteFunc(slices.Concat(termsOf(cs)...), func(t term) bool { return t.op != opEqual })
	q.territories = selected(cs, inForce, func(t *impact.Territory) string { return string(t.ID) }, func(t term) ([]*impact.Territory, bool) {
		if !r.accepts(dimTerritory, t, setOperators) {
			return nil, false
		}
		if t.op == opStartWith {
			return nil, true
		}
		found, warnings, f := g.ForVintage(t.value, q.vintage)
		for _, w := range warnings {
			q.warnings = append(q.warnings, t.at.mark(w))
		}
		if f != nil {
			r.refuse(t.at.mark(*f))
			return nil, false
		}
		canonical[t.value] = string(found.ID)
		if typ == "" || t.op == opNot || found.Type == q.territoryType {
			return []*impact.Territory{found}, true
		}
		if t.op == opEqual && len(c0) == 1 {
			q.parent = found
		}
		below := g.Descendants(found.Key, q.vintage, q.territoryType)
		if len(below) == 0 {
			r.refuse(t.at.mark(faultNoDescendant(t.value, typ)))
		}
		return below, true
	})
	slices.SortFunc(q.territories, func(a, b *impact.Territory) int { return strings.Compare(string(a.ID), string(b.ID)) })
	q.territory = selectionOf(cs, func(s string) string {
		if c, ok := canonical[s]; ok {
			return c
		}
		return s
	})
}

func (r *aggregateReader) missing(name, exampleFR, exampleEN string) impact.Fault {
	at := r.q.place(name)
	f := at.mark(faultMissingParameter(name, exampleFR, exampleEN))
	if at.parameter == "" {
		f.Code = "missing_field"
	}
	return f
}

func (r *aggregateReader) readCuts() {
	q := &r.q
	q.classes = r.codes(dimClass, organisationTypes)
	q.structureKinds = r.codes(dimStructureKind, r.list("structure_kind"))
	q.sizeClasses = r.codes(dimSizeClass, r.list("size_class"))
	var seen []string
	for i := range r.criteria {
		name := r.criteria[i].name
		dimension, ok := strings.CutPrefix(name, dimDisaggregation)
		if !ok || slices.Contains(seen, name) {
			continue
		}
		seen = append(seen, name)
		if !r.knownDisaggregation(dimension) {
			r.named(name)
			r.refuse(r.criteria[i].at.mark(r.faultDisaggregation(dimension)))
			continue
		}
		q.disaggregations = append(q.disaggregations, cutFilter{name, r.codes(name, r.list(dimension))})
	}
	slices.SortFunc(q.disaggregations, func(a, b cutFilter) int { return strings.Compare(a.dimension, b.dimension) })
	if s, _, ok := r.single(dimOrganisation); ok {
		q.organisation = impact.OrganisationID(s)
	}
	q.qualifiers, _, _ = r.single("qualifiers")
}

func (r *aggregateReader) list(name string) []string {
	codes := r.catalogue.List(name)
	out := make([]string, len(codes))
	for i, c := range codes {
		out[i] = c.Code
	}
	return out
}

// codes resolves a set of codes of a list; a list without codes is open.
func (r *aggregateReader) codes(name string, list []string) []string {
	cs := r.named(name)
	if len(cs) == 0 {
		return nil
	}
	operators := setOperators
	if len(list) == 0 {
		operators = []string{opEqual}
	}
	out := selected(cs, func() iter.Seq[string] { return slices.Values(list) }, same, func(t term) ([]string, bool) {
		if !r.accepts(name, t, operators) {
			return nil, false
		}
		if t.op == opStartWith || len(list) == 0 {
			return []string{t.value}, true
		}
		if !slices.Contains(list, t.value) {
			r.refuse(t.at.mark(faultUnknownWord(name, t.value, list)))
			return nil, false
		}
		return []string{t.value}, true
	})
	if out == nil {
		out = []string{}
	}
	slices.Sort(out)
	return out
}

func (r *aggregateReader) knownDisaggregation(dimension string) bool {
	return slices.ContainsFunc(r.catalogue.Indicators(), func(i *impact.Indicator) bool { return slices.Contains(i.Disaggregations, dimension) })
}

func (r *aggregateReader) faultDisaggregation(dimension string) impact.Fault {
	var known []string
	for _, i := range r.catalogue.Indicators() {
		known = append(known, i.Disaggregations...)
	}
	slices.Sort(known)
	f := faultUnknownWord("disaggregation", dimension, slices.Compact(known))
	f.Code = "unknown_disaggregation"
	return f
}

func (r *aggregateReader) readPeriods() {
	q := &r.q
	g := impact.Granularity(r.word("granularity", "", granularities...))
	cs := r.named(dimPeriod)
	if len(cs) == 0 {
		if !r.anywhere {
			r.unread(r.missing(dimPeriod, "Par exemple period=2025, period=2023/2025, period=last:4Q ou period=latest.", "For example period=2025, period=2023/2025, period=last:4Q or period=latest."))
		}
		return
	}
	latest := func() (impact.Period, bool) { return r.latest(q, g) }
	none := func() iter.Seq[impact.Period] { return func(func(impact.Period) bool) {} }
	buckets := 0
	q.periods = selected(cs, none, impact.Period.String, func(t term) ([]impact.Period, bool) {
		if !r.accepts(dimPeriod, t, []string{opEqual}) {
			return nil, false
		}
		pq, f := impact.ParsePeriodQuery(t.value)
		if f != nil {
			if f.Code == "unknown_period_format" {
				r.unread(t.at.mark(*f))
			} else {
				r.refuse(t.at.mark(*f))
			}
			return nil, false
		}
		if buckets > maxBuckets {
			return nil, false
		}
		found := pq.Resolve(r.today, g, latest)
		if buckets += len(found); buckets > maxBuckets {
			r.refuse(t.at.mark(faultBuckets()))
		}
		return found, true
	})
	slices.SortFunc(q.periods, byStart)
	if len(q.periods) == 0 {
		return
	}
	q.granularity = q.periods[0].Granularity()
	for _, p := range q.periods {
		if p.Granularity() != q.granularity {
			q.granularity = impact.Interval
		}
	}
}

// readShape reads group_by and measures.
func (r *aggregateReader) readShape() {
	q := &r.q
	known := func(s string) bool {
		if d, ok := strings.CutPrefix(s, dimDisaggregation); ok {
			return r.knownDisaggregation(d)
		}
		return slices.Contains(dimensions, s)
	}
	q.groupBy = r.words("group_by", known, append(slices.Clone(dimensions), dimDisaggregation+"*"))
	if len(q.groupBy) == 0 {
		q.groupBy = defaultGroupBy
	}
	if len(q.groupBy) > maxGroupBy {
		r.refuse(r.q.place("group_by").mark(faultDimensions(len(q.groupBy))))
	}
	q.measures = r.words("measures", func(s string) bool { return slices.Contains(measures, s) }, measures)
	r.readLines()
	if q.measured(measureChangePrevious) && !q.grouped(dimPeriod) {
		r.refuse(r.q.place("measures").mark(faultNeedsPeriod()))
	}
	if q.totals && !q.grouped(dimTerritory) {
		r.unread(r.q.place("totals").mark(faultConflict("totals=territory", "group_by",
			"Ajoutez territory à group_by.", "Add territory to group_by.")))
	}
}

// readLines decides what the lines of the answer are about: indicators, or
// natures of impact, of which there are counts only.
func (r *aggregateReader) readLines() {
	q := &r.q
	switch {
	case q.grouped(dimIndicator) || !q.grouped(dimImpactType) && len(q.indicators) == 1:
		if len(q.measures) == 0 {
			q.measures = defaultMeasures
		}
		return
	case !q.grouped(dimImpactType):
		r.refuse(r.q.place("group_by").mark(faultMixedIndicators("")))
		return
	case len(q.indicator) > 0:
		r.refuse(r.q.place(dimIndicator).mark(faultIndicatorInType()))
	}
	q.counting = true
	if len(q.measures) == 0 {
		q.measures = []string{measureOrganisations, measureObservations}
	}
	for _, m := range q.measures {
		if m != measureOrganisations && m != measureObservations {
			r.refuse(r.q.place("measures").mark(faultMixedIndicators(m)))
		}
	}
	r.readTypes()
}

// readTypes lists the natures of impact to count: those named, else the six of
// the first level.
func (r *aggregateReader) readTypes() {
	q := &r.q
	var whole, alone bool
	for _, t := range r.catalogue.ImpactTypes() {
		if len(q.impactTypes) == 0 && t.Parent == "" {
			q.types = append(q.types, t.Code)
		}
		for _, a := range q.impactTypes {
			for _, v := range a.equal {
				switch name, only := strings.CutSuffix(v, "!"); {
				case name != string(t.Code):
				case only:
					alone, q.types = true, append(q.types, t.Code)
				default:
					whole, q.types = true, append(q.types, t.Code)
				}
			}
			if p, ok := strings.CutPrefix(a.text, opStartWith+":"); ok && strings.HasPrefix(string(t.Code), p) {
				whole, q.types = true, append(q.types, t.Code)
			}
		}
	}
	q.onlyThisType = alone
	if whole && alone || len(q.impactTypes) > 1 || len(q.types) == 0 {
		r.refuse(r.q.place(dimImpactType).mark(faultTypesToCount()))
	}
}

func (q *aggregateQuery) grouped(dimension string) bool { return slices.Contains(q.groupBy, dimension) }

func (q *aggregateQuery) measured(measure string) bool { return slices.Contains(q.measures, measure) }

func (r *aggregateReader) readConditions() {
	for _, m := range measures {
		for _, c := range r.named(m) {
			cond := condition{measure: m}
			for _, t := range c.terms {
				if !r.accepts(m, t, numberOperators) {
					continue
				}
				v, f := impact.ParseQuantity(t.value)
				if f != nil {
					r.unread(t.at.mark(*f))
					continue
				}
				cond.terms = append(cond.terms, numberTerm{t.op, v})
			}
			r.q.conditions = append(r.q.conditions, cond)
		}
	}
}

func (r *aggregateReader) readOrder() {
	q := &r.q
	fields := slices.Concat(q.groupBy, q.measures)
	for _, c := range r.named("order_by") {
		for _, t := range c.terms {
			field, descending := strings.CutPrefix(t.value, "-")
			switch {
			case t.op != opEqual:
				r.unread(t.at.mark(faultOperator("order_by", t.op, []string{opEqual})))
			case !slices.Contains(fields, field):
				r.unread(t.at.mark(faultUnknownWord("order_by", field, fields)))
			case slices.ContainsFunc(q.order, func(k sortKey) bool { return k.field == field }):
				r.unread(t.at.mark(faultTwice("order_by", field)))
			default:
				q.order = append(q.order, sortKey{field, descending})
			}
		}
	}
}

func (c condition) holds(v *impact.Quantity) bool {
	return v != nil && slices.ContainsFunc(c.terms, func(t numberTerm) bool {
		switch t.op {
		case opEqual:
			return *v == t.value
		case opNot:
			return *v != t.value
		case opGreater:
			return *v > t.value
		case opAtLeast:
			return *v >= t.value
		case opLess:
			return *v < t.value
		}
		return *v <= t.value
	})
}

func (c condition) String() string {
	terms := make([]string, len(c.terms))
	for i, t := range c.terms {
		terms[i] = t.op + ":" + t.value.String()
	}
	return strings.Join(terms, ",")
}

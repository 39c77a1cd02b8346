package calculation

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Figures answers a query. Errors: validation_failed for a code the reference
// data does not have, not_additive where a sum has no meaning (unless
// KeepRefused or AllowBounds), ErrOverflow when a figure passes 10^12 units.
func (c *Cube) Figures(q Query) (*Result, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, err := c.plan(q)
	if err != nil {
		return nil, err
	}
	p.work = works.Get().(*work)
	defer p.work.release()
	return p.figures()
}

var works = sync.Pool{New: func() any { return &work{} }}

func (w *work) release() {
	clear(w.coarse)
	w.record = nil
	works.Put(w)
}

// work is what a plan reuses from one figure to the next.
type work struct {
	entries  []entry
	leaves   [][]entry
	sums     []total
	counted  stamps // legal units with a number in the figure
	reported stamps
	expected stamps // those who did not report
	coarse   map[coarseKey]int
	keys     []uint64
	sorted   []entry
	trace    *trace
	record   *record
	paired   map[*entry]bool
}

type coarseKey struct {
	line, slot int32
	bucket     impact.Period
}

// stamps is a set of small numbers that is emptied at no cost.
type stamps struct {
	mark []uint32
	now  uint32
	n    int
}

func (s *stamps) reset(size int) {
	if len(s.mark) < size {
		s.mark = make([]uint32, size)
		s.now = 0
	}
	s.now++
	s.n = 0
}

func (s *stamps) add(i int32) {
	if s.mark[i] != s.now {
		s.mark[i] = s.now
		s.n++
	}
}

func (s *stamps) has(i int32) bool { return s.mark[i] == s.now }

// group is the figures of one indicator, region and bucket that share codes
// and qualifiers.
type group struct {
	codes []string
	quals string
	sets  [][]entry // one per input line
}

func (p *plan) figures() (*Result, error) {
	res := &Result{Seq: p.f.seq}
	var excluded [whys]int
	rows := len(p.lines)
	if rows == 0 {
		rows = len(p.types)
	}
	res.Figures = make([]Figure, 0, rows*len(p.regions)*len(p.buckets))
	for _, line := range p.lines {
		for r := range p.regions {
			for b := range p.buckets {
				var err error
				if res.Figures, err = p.indicator(res.Figures, line, r, b, &excluded); err != nil {
					return nil, err
				}
			}
		}
	}
	for i := range p.types {
		for r := range p.regions {
			for b := range p.buckets {
				res.Figures = p.countType(res.Figures, &p.types[i], r, b, &excluded)
			}
		}
	}
	res.Excluded = exclusions(&excluded)
	return res, nil
}

func exclusions(n *[whys]int) []Exclusion {
	var out []Exclusion
	for w := notApproved; w < partOfWhole; w++ {
		if n[w] > 0 {
			out = append(out, Exclusion{reasons[w], n[w]})
		}
	}
	return out
}

// indicator appends the figures of one indicator in one region and bucket.
func (p *plan) indicator(out []Figure, line int32, r, b int, excluded *[whys]int) ([]Figure, error) {
	w := p.work
	ind := p.c.layout.indicators[line]
	inputs := p.c.layout.inputs(line)
	simple := !p.cutting && w.trace == nil && len(ind.HomogeneousBy) == 0
	for len(w.leaves) < len(inputs) {
		w.leaves = append(w.leaves, nil)
		w.sums = append(w.sums, total{})
	}
	if w.record != nil {
		clear(w.record.owed)
	} else if simple && p.q.Qualifiers == "" {
		if f, done, shown, err := p.direct(ind, line, inputs, r, b, excluded); done || err != nil {
			if shown {
				out = append(out, f)
			}
			return out, err
		}
	}
	coarse, any := 0, false
	for i, leaf := range inputs {
		var n int
		w.leaves[i], n = p.collect(w.leaves[i][:0], leaf, p.regions[r], &p.buckets[b], simple)
		coarse += n
		any = any || len(w.leaves[i]) > 0
	}
	if len(inputs) == 0 {
		return out, nil
	}
	if simple {
		excluded[coarser] += coarse
		if !any && !p.q.IncludeEmpty {
			return out, nil
		}
		f, ok, err := p.figure(ind, line, inputs, group{sets: w.leaves[:len(inputs)]}, r, b, coarse, excluded)
		if err != nil || !ok {
			return out, err
		}
		return append(out, f), nil
	}
	groups := p.groups(ind, inputs)
	if len(groups) == 0 && p.q.IncludeEmpty && len(p.q.Cuts) == 0 {
		groups = []group{{sets: make([][]entry, len(inputs))}}
	}
	for _, g := range groups {
		f, ok, err := p.figure(ind, line, inputs, g, r, b, 0, excluded)
		if err != nil {
			return out, err
		}
		if ok {
			out = append(out, f)
		}
	}
	return out, nil
}

// groups parts the entries by codes of cuts and by the qualifiers the
// indicator is homogeneous by. An input that is not homogeneous by a
// qualifier (the denominator of a local share) stands in every group.
func (p *plan) groups(ind *impact.Indicator, inputs []int32) []group {
	type key struct{ codes, quals string }
	var out []group
	index := map[key]int{}
	buf := make([]string, len(p.q.Cuts))
	free := make([]bool, len(inputs))
	at := func(k key, codes []string) int {
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, group{codes: slices.Clone(codes), quals: k.quals, sets: make([][]entry, len(inputs))})
		}
		return i
	}
	for i, line := range inputs {
		leaf := p.c.layout.indicators[line]
		for _, name := range ind.HomogeneousBy {
			free[i] = free[i] || !slices.Contains(leaf.HomogeneousBy, name)
		}
		if free[i] {
			continue
		}
		for _, e := range p.work.leaves[i] {
			codes, ok := p.codes(buf, &e)
			if !ok {
				continue
			}
			k := key{strings.Join(codes, "\x00"), qualifiers(&p.f.attrs[e.attr], ind.HomogeneousBy)}
			g := at(k, codes)
			out[g].sets[i] = append(out[g].sets[i], e)
		}
	}
	for i := range inputs {
		if !free[i] {
			continue
		}
		homeless := map[string][]entry{}
		for _, e := range p.work.leaves[i] {
			codes, ok := p.codes(buf, &e)
			if !ok {
				continue
			}
			joined := strings.Join(codes, "\x00")
			found := false
			for g := range out {
				if strings.Join(out[g].codes, "\x00") == joined {
					out[g].sets[i] = append(out[g].sets[i], e)
					found = true
				}
			}
			if !found {
				homeless[joined] = append(homeless[joined], e)
			}
		}
		for joined, es := range homeless {
			var codes []string
			if len(p.q.Cuts) > 0 {
				codes = strings.Split(joined, "\x00")
			}
			g := at(key{joined, ""}, codes)
			out[g].sets[i] = append(out[g].sets[i], es...)
		}
	}
	slices.SortFunc(out, func(a, b group) int {
		if o := slices.Compare(a.codes, b.codes); o != 0 {
			return o
		}
		return cmp.Compare(a.quals, b.quals)
	})
	return out
}

// codes gives the codes of an entry on the cuts; false when it has no place in
// a cut figure (a value that is not disaggregated has no code: it is kept
// aside, counted under the empty code, and gives no row of its own).
func (p *plan) codes(buf []string, e *entry) ([]string, bool) {
	a := &p.f.attrs[e.attr]
	for i, d := range p.q.Cuts {
		switch d {
		case ByOrganisationClass, ByStructureKind, BySizeClass:
			buf[i] = profileCode(&a.profile, d)
		case ByOrganisation:
			buf[i] = string(p.f.members[e.member].ID)
		default:
			code, ok := a.along(cutName(d))
			if !ok && e.why != notDisaggregated && e.why != coarser && e.why != straddles {
				return nil, false
			}
			buf[i] = code
		}
	}
	return buf, true
}

func qualifiers(a *attr, names []string) string {
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(name + "=" + a.quals[name])
	}
	return b.String()
}

// tally is what the inputs of a figure tell beside their values.
type tally struct {
	worst   impact.Status
	missing byte   // statuses without number, see lack
	method  string // methodology version last met
	broken  bool   // two of them
	some    bool   // something counts, or says why it has no number
	out     [whys]int
}

func (t *tally) counted(a *attr, single bool) {
	t.some = true
	t.worst = worse(t.worst, a.status)
	if a.method != "" && t.method != a.method && single {
		t.broken = t.broken || t.method != ""
		t.method = a.method
	}
}

// figure makes one figure from settled entries; false when there is nothing to
// show: no value, no answer without number, and no row asked for.
func (p *plan) figure(ind *impact.Indicator, line int32, inputs []int32, g group, r, b, coarse int, excluded *[whys]int) (Figure, bool, error) {
	w := p.work
	f := p.blank(ind, g, r, b)
	if p.q.Qualifiers != "" && g.quals != p.q.Qualifiers {
		return f, false, nil
	}
	if w.trace != nil {
		w.trace.group = g
	}
	m := maker{p: p, ind: ind, inputs: inputs, sets: g.sets, f: &f}
	if w.record != nil {
		w.record.weighed = w.record.weighed[:0]
	}
	for i := range inputs {
		w.sums[i].reset()
	}
	if err := m.make(); err != nil {
		return f, false, err
	}

	w.counted.reset(len(p.f.units))
	w.reported.reset(len(p.f.units))
	var t tally
	single := len(inputs) == 1
	for i := range g.sets {
		for j := range g.sets[i] {
			e := &g.sets[i][j]
			a := &p.f.attrs[e.attr]
			if e.why == counts {
				t.counted(a, single)
				w.counted.add(p.f.unitOf[e.member])
				if !e.twin {
					f.Observations++
				}
				if e.split || e.prorated {
					t.worst = worse(t.worst, impact.Estimated)
				}
			} else {
				if !e.twin {
					t.out[e.why]++
				}
				if e.why == withoutNumber {
					t.some = true
					t.missing = lack(t.missing, a.status)
				}
				t.some = t.some || e.why == noPair
			}
			if single && e.answered(a) {
				w.reported.add(p.f.unitOf[e.member])
			}
		}
	}
	f.Organisations = w.counted.n
	shown := p.finish(&m, &t, line, g, r, b, coarse, excluded)
	if shown && w.record != nil {
		return f, true, w.record.keep(&m)
	}
	return f, shown, nil
}

// finish settles exclusions, status, notes and coverage of a figure that has
// its value; false when it is not shown.
func (p *plan) finish(m *maker, t *tally, line int32, g group, r, b, coarse int, excluded *[whys]int) bool {
	for i := notApproved; i < partOfWhole; i++ {
		excluded[i] += t.out[i]
	}
	if !t.some && (!p.q.IncludeEmpty || len(p.q.Cuts) > 0) {
		return false
	}
	t.out[coarser] += coarse // the caller told the query of them
	m.f.Excluded = exclusions(&t.out)
	if t.broken {
		m.f.note(MethodBreak)
		t.worst = worse(t.worst, impact.Break)
	}
	m.notes(t.worst, t.missing, &t.out)
	p.coverage(m.f, line, m.inputs, g, r, b)
	m.f.Additive = additive(m.ind) && m.f.Value != nil
	return true
}

// direct makes the figure of a flow without setting entries apart, when every
// contribution met counts for just its value: no cut, no share, no overlap.
// done is false at the first that does not.
func (p *plan) direct(ind *impact.Indicator, line int32, inputs []int32, r, b int, excluded *[whys]int) (f Figure, done, shown bool, err error) {
	bucket, region, ln, w := &p.buckets[b], p.regions[r], &p.f.lines[line], p.work
	if p.q.Prorata || len(bucket.parts) != 1 || region.split || ln.blocks == nil ||
		ind.Kind != impact.Flow && ind.Kind != impact.SignedFlow || len(ind.NotAdditiveOver) > 0 {
		return f, false, false, nil
	}
	days := bucket.parts[0]
	attrs, units, nested := p.f.attrs, p.f.unitOf, p.f.nested
	w.reported.reset(len(p.f.units))
	var t tally
	var sum int64
	last, observations := int32(-1), 0
	for _, s := range region.shares {
		blk := ln.blocks[s.stored]
		if blk == nil {
			continue
		}
		for i := blk.first(days); i < len(blk.periods) && blk.periods[i].Start <= days.End; i++ {
			if blk.periods[i].End < days.Start {
				continue
			}
			inside := days.Contains(blk.periods[i])
			for _, row := range blk.rows[blk.start(i):blk.ends[i]] {
				a := &attrs[row.attr]
				if !a.plain || a.share != int64(impact.One) || a.states&p.state == 0 || nested[row.member] {
					return f, false, false, nil
				}
				if !inside {
					t.out[straddles]++
					continue
				}
				next := sum + row.value
				if (sum^next)&(row.value^next) < 0 {
					return f, false, false, nil // beyond int64: the wide sum says so
				}
				sum = next
				observations++
				w.reported.add(units[row.member])
				if row.attr != last {
					last = row.attr
					t.counted(a, true)
				}
			}
		}
	}
	coarse := 0
	for _, slot := range region.above {
		if blk := ln.blocks[slot]; blk != nil {
			coarse += p.coarse(line, slot, blk, bucket)
		}
	}
	excluded[coarser] += coarse
	f = p.blank(ind, group{}, r, b)
	f.Observations, f.Organisations = observations, w.reported.n
	m := maker{p: p, ind: ind, inputs: inputs, f: &f}
	if observations > 0 {
		w.sums[0].reset()
		if err = w.sums[0].add(product(sum, 1), 1); err == nil {
			err = m.value(&w.sums[0])
		}
		if err != nil {
			return f, true, false, err
		}
	}
	shown = p.finish(&m, &t, line, group{}, r, b, coarse, excluded)
	return f, true, shown, nil
}

func (p *plan) blank(ind *impact.Indicator, g group, r, b int) Figure {
	return Figure{
		Indicator: ind.Code, ImpactType: ind.ImpactType, Kind: ind.Kind, Territory: p.keys[r], Vintage: p.q.Vintage,
		Period: p.buckets[b].label, Codes: g.codes, Qualifiers: g.quals, MethodologyVersion: ind.MethodologyVersion,
	}
}

func additive(ind *impact.Indicator) bool {
	switch ind.Kind {
	case impact.Flow, impact.SignedFlow, impact.Stock, impact.StockAvg:
		return len(ind.NotAdditiveOver) == 0
	}
	return false
}

func (f *Figure) note(n Note) {
	if !f.Has(n) {
		f.Notes = append(f.Notes, n)
	}
}

// severity orders the statuses that carry a number: the worst input is the
// status of the figure.
var severity = [256]uint8{impact.Normal: 1, impact.Break: 2, impact.Provisional: 3, impact.Imputed: 4, impact.Estimated: 5}

func worse(a, b impact.Status) impact.Status {
	if severity[b] > severity[a] {
		return b
	}
	return a
}

// lack gathers the statuses without number: L if anything was not collected,
// else M if all is not applicable, else O.
func lack(have byte, s impact.Status) byte {
	switch {
	case have == byte(impact.NotCollected) || s == impact.NotCollected:
		return byte(impact.NotCollected)
	case have == byte(impact.NotApplicable) || s == impact.NotApplicable:
		return byte(impact.NotApplicable)
	}
	return byte(s)
}

// coverage counts reporters and those expected: the legal units with a site in
// the territory whose questionnaires ask the indicator in the bucket, and
// whoever answered without being asked.
func (p *plan) coverage(f *Figure, line int32, inputs []int32, g group, r, b int) {
	w := p.work
	w.expected.reset(len(p.f.units))
	if len(inputs) > 1 {
		p.reportersOfQuotient(g)
		for i := range g.sets {
			for j := range g.sets[i] {
				// One part of a quotient is an answer expected to be completed.
				if e := &g.sets[i][j]; e.answered(&p.f.attrs[e.attr]) && !w.reported.has(p.f.unitOf[e.member]) {
					w.expected.add(p.f.unitOf[e.member])
				}
			}
		}
	}
	ro := p.c.roster(p.f, p.q.Vintage, p.buckets[b].label)
	for _, slot := range p.regions[r].slots {
		if !ro.anyAsks(line) {
			break
		}
		for _, a := range ro.at[slot] {
			if !ro.asks(a.set, line) || p.allowed != nil && !p.allowed[a.member] {
				continue
			}
			if p.cutting && !p.matches(a.member, g.codes) {
				continue
			}
			if !w.reported.has(a.unit) {
				w.expected.add(a.unit)
			}
		}
	}
	f.Reporters, f.Expected = w.reported.n, w.reported.n+w.expected.n
	if f.Expected > 0 {
		f.Coverage, _ = roundQuotient(product(int64(f.Reporters), 1), int64(f.Expected), 4) // at most 1: no overflow
	}
}

// matches tells whether an organisation, as it is today, belongs to the cut
// and to the filters.
func (p *plan) matches(member int32, codes []string) bool {
	m := &p.f.members[member]
	for _, f := range p.profiles {
		if !slices.Contains(f.codes, profileCode(&m.Profile, f.dimension)) {
			return false
		}
	}
	for i, d := range p.q.Cuts {
		switch {
		case i >= len(codes):
		case d == ByOrganisationClass, d == ByStructureKind, d == BySizeClass:
			if profileCode(&m.Profile, d) != codes[i] {
				return false
			}
		case d == ByOrganisation:
			if string(m.ID) != codes[i] {
				return false
			}
		}
	}
	return true
}

// reportersOfQuotient: an organisation reports a quotient when a pair of its
// counts, or when it answered every part, be it "not applicable".
func (p *plan) reportersOfQuotient(g group) {
	w := p.work
	blanks := false
	for i := range g.sets {
		for j := range g.sets[i] {
			e := &g.sets[i][j]
			if e.why == counts {
				w.reported.add(p.f.unitOf[e.member])
			}
			blanks = blanks || e.why == withoutNumber
		}
	}
	if !blanks {
		return
	}
	answers := map[int32]uint64{}
	blank := map[int32]bool{}
	for i := range g.sets {
		for j := range g.sets[i] {
			e := &g.sets[i][j]
			if e.answered(&p.f.attrs[e.attr]) {
				answers[e.member] |= 1 << i
				blank[e.member] = blank[e.member] || e.why == withoutNumber
			}
		}
	}
	all := uint64(1)<<len(g.sets) - 1
	for m, parts := range answers {
		if parts == all && blank[m] {
			w.reported.add(p.f.unitOf[m])
		}
	}
}

// countType counts organisations and observations of a type; values of
// different indicators are not added. Every number that is in the territory,
// the period and the state counts, parts of cells included.
func (p *plan) countType(out []Figure, t *typeLines, r, b int, excluded *[whys]int) []Figure {
	w := p.work
	type counts struct {
		codes        []string
		units        map[int32]bool
		observations int
		out          [whys]int
	}
	if !p.cutting {
		w.counted.reset(len(p.f.units))
		f := Figure{ImpactType: t.code, Territory: p.keys[r], Vintage: p.q.Vintage, Period: p.buckets[b].label, Status: impact.Normal}
		var left [whys]int
		for _, line := range t.lines {
			p.countLine(line, p.regions[r], &p.buckets[b], &f.Observations, &left)
		}
		f.Organisations = w.counted.n
		f.Excluded = exclusions(&left)
		for i := range left {
			excluded[i] += left[i]
		}
		if f.Observations == 0 && !p.q.IncludeEmpty {
			return out
		}
		if f.Observations == 0 {
			f.Status = impact.Missing
		}
		return append(out, f)
	}
	tallies := map[string]*counts{}
	buf := make([]string, len(p.q.Cuts))
	for _, line := range t.lines {
		w.entries, _ = p.collect(w.entries[:0], line, p.regions[r], &p.buckets[b], false)
		for i := range w.entries {
			e := &w.entries[i]
			codes, ok := p.codes(buf, e)
			if !ok || e.twin || e.why == withoutNumber {
				continue
			}
			k := strings.Join(codes, "\x00")
			c := tallies[k]
			if c == nil {
				c = &counts{codes: slices.Clone(codes), units: map[int32]bool{}}
				tallies[k] = c
			}
			switch e.why {
			case notApproved, coarser, straddles, notDisaggregated:
				c.out[e.why]++
				excluded[e.why]++
			default:
				c.observations++
				c.units[p.f.unitOf[e.member]] = true
			}
		}
	}
	from := len(out)
	for _, c := range tallies {
		if c.observations > 0 {
			out = append(out, Figure{
				ImpactType: t.code, Territory: p.keys[r], Vintage: p.q.Vintage, Period: p.buckets[b].label, Status: impact.Normal,
				Codes: c.codes, Organisations: len(c.units), Observations: c.observations, Excluded: exclusions(&c.out),
			})
		}
	}
	slices.SortFunc(out[from:], func(a, b Figure) int { return slices.Compare(a.Codes, b.Codes) })
	return out
}

func (p *plan) countLine(index int32, r *region, b *bucket, observations *int, left *[whys]int) {
	ln := &p.f.lines[index]
	if ln.blocks == nil {
		return
	}
	attrs, units, counted := p.f.attrs, p.f.unitOf, &p.work.counted
	for i, s := range r.shares {
		blk := ln.blocks[s.stored]
		if blk == nil || i > 0 && r.shares[i-1].stored == s.stored {
			continue
		}
		for _, days := range b.parts {
			for i := blk.first(days); i < len(blk.periods) && blk.periods[i].Start <= days.End; i++ {
				if blk.periods[i].End < days.Start {
					continue
				}
				inside := days.Contains(blk.periods[i])
				if !inside && len(b.parts) > 1 && touchesEarlier(b, days, blk.periods[i]) {
					continue
				}
				for _, row := range blk.rows[blk.start(i):blk.ends[i]] {
					a := &attrs[row.attr]
					if !a.number {
						continue
					}
					if a.states&p.state == 0 {
						if a.states&draftBit != 0 {
							left[notApproved]++
						}
						continue
					}
					if !inside {
						left[straddles]++
						continue
					}
					*observations++
					counted.add(units[row.member])
				}
			}
		}
	}
	for _, slot := range r.above {
		if blk := ln.blocks[slot]; blk != nil {
			left[coarser] += p.coarse(index, slot, blk, b)
		}
	}
}

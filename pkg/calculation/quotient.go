package calculation

import (
	"math/big"
	"math/bits"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// quotient makes a ratio or a survey share: the sums of its leaf components
// over the pairs that are complete, then the formula, once.
func (m *maker) quotient() error {
	for i := range m.sets {
		m.p.work.sort(m.sets[i])
	}
	at := make([]int, len(m.sets))  // next entry of each set
	own := make([][]entry, len(at)) // entries of one organisation
	for {
		member := int32(-1)
		for i, set := range m.sets {
			if at[i] < len(set) && (member < 0 || set[at[i]].member < member) {
				member = set[at[i]].member
			}
		}
		if member < 0 {
			break
		}
		for i, set := range m.sets {
			from := at[i]
			for at[i] < len(set) && set[at[i]].member == member {
				at[i]++
			}
			own[i] = set[from:at[i]]
		}
		if err := m.pair(own); err != nil {
			return err
		}
	}
	return m.formula()
}

// pair takes what one organisation says of each component. Places where every
// component has a number count; when there is none, components stated at
// different levels of one place are brought to the wider one. The rest leaves
// numerator and denominator together.
func (m *maker) pair(own [][]entry) error {
	if aligned(own) {
		return m.aligned(own)
	}
	if slices.ContainsFunc(own, func(es []entry) bool { return len(es) == 0 }) {
		m.unpaired(own)
		return nil
	}
	complete := false
	tried := map[int32]bool{}
	for i := range own {
		for j := range own[i] {
			at := own[i][j].stored
			if own[i][j].why != counts || tried[at] {
				continue
			}
			tried[at] = true
			unit := make([][]*entry, len(own))
			full := true
			for k := range own {
				unit[k] = pick(own[k], func(e *entry) bool { return e.stored == at })
				full = full && len(unit[k]) > 0
			}
			if !full {
				continue
			}
			complete = true
			if err := m.unit(unit); err != nil {
				return err
			}
		}
	}
	if !complete {
		if top, ok := m.top(own); ok {
			unit := make([][]*entry, len(own))
			for k := range own {
				unit[k] = pick(own[k], func(e *entry) bool { return m.p.c.layout.kin.encloses(top, e.stored) })
			}
			if err := m.unit(unit); err != nil {
				return err
			}
		}
	}
	m.unpaired(own)
	return nil
}

// unpaired sets aside what no pair took.
func (m *maker) unpaired(own [][]entry) {
	done := m.p.work.paired
	for i := range own {
		for j := range own[i] {
			if e := &own[i][j]; e.why == counts && !done[e] {
				e.why, m.missing = noPair, true
			}
		}
	}
	clear(done)
}

// aligned tells that every component has a number for the same place and the
// same periods: the common case.
func aligned(own [][]entry) bool {
	first := own[0]
	if len(first) == 0 || first[0].stored != first[len(first)-1].stored {
		return false
	}
	for _, set := range own {
		if len(set) != len(first) {
			return false
		}
		for j := range set {
			if e := &set[j]; e.why != counts || e.at != first[j].at || e.stored != first[j].stored || e.period != first[j].period {
				return false
			}
		}
	}
	return true
}

// aligned adds components that need no matching; it does what unit does.
func (m *maker) aligned(own [][]entry) error {
	last := own[0][0].period
	for j := range own[0] {
		if p := own[0][j].period; later(p, last) {
			last = p
		}
	}
	for i, set := range own {
		kind := m.p.c.layout.indicators[m.inputs[i]].Kind
		days := int64(1)
		if kind == impact.StockAvg {
			days = coveredDays(set)
		}
		if kind == impact.Stock {
			m.seeDate(last.End)
		}
		for j := range set {
			e := &set[j]
			t := *e
			switch {
			case kind == impact.Stock && e.period != last:
				e.why = olderDate
				continue
			case kind == impact.StockAvg:
				d := int64(e.period.Days())
				t.num, t.den = t.num*d, t.den*days
				m.weigh(e, d, days)
			default:
				m.weigh(e, 1, 1)
			}
			num, den := m.term(&t)
			if err := m.p.work.sums[i].add(num, den); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *maker) seeDate(d impact.Date) {
	if !m.f.HasAsOf {
		m.f.HasAsOf, m.f.AsOf, m.f.AsOfFrom = true, d, d
	}
	m.f.AsOf, m.f.AsOfFrom = max(m.f.AsOf, d), min(m.f.AsOfFrom, d)
}

func pick(es []entry, keep func(*entry) bool) (out []*entry) {
	for i := range es {
		if es[i].why == counts && keep(&es[i]) {
			out = append(out, &es[i])
		}
	}
	return out
}

// top is a place that holds all the others, if each component is somewhere in
// it.
func (m *maker) top(own [][]entry) (int32, bool) {
	for i := range own {
		for j := range own[i] {
			if own[i][j].why != counts {
				continue
			}
			top, ok := own[i][j].stored, true
			for k := range own {
				in := pick(own[k], func(e *entry) bool { return m.p.c.layout.kin.encloses(top, e.stored) })
				all := pick(own[k], func(*entry) bool { return true })
				ok = ok && len(all) > 0 && len(in) == len(all)
			}
			if ok {
				return top, true
			}
		}
	}
	return 0, false
}

// unit adds one complete set of components to the sums: flows and averages
// over the days all of them cover, stocks at their last common date.
func (m *maker) unit(parts [][]*entry) error {
	var spans, dates []int
	for i, line := range m.inputs {
		if m.p.c.layout.indicators[line].Kind == impact.Stock {
			dates = append(dates, i)
		} else {
			spans = append(spans, i)
		}
	}
	var days []impact.Period
	if len(spans) > 0 {
		lists := make([][]impact.Period, len(spans))
		for n, i := range spans {
			lists[n] = periodsOf(parts[i])
		}
		if days = common(lists); len(days) == 0 {
			return nil
		}
	}
	var last *impact.Period
	if len(dates) > 0 {
		for _, e := range parts[dates[0]] {
			everywhere := true
			for _, i := range dates[1:] {
				everywhere = everywhere && slices.ContainsFunc(parts[i], func(o *entry) bool { return o.period.End == e.period.End })
			}
			if everywhere && (last == nil || later(e.period, *last)) {
				last = &e.period
			}
		}
		if last == nil {
			return nil
		}
	}
	w := m.p.work
	if w.paired == nil {
		w.paired = map[*entry]bool{}
	}
	for i := range parts {
		var keep []*entry
		if slices.Contains(dates, i) {
			keep = m.atDate(parts[i], last.End)
		} else {
			for _, e := range parts[i] {
				if slices.ContainsFunc(days, func(d impact.Period) bool { return d.Contains(e.period) }) {
					keep = append(keep, e)
				}
			}
		}
		average := m.p.c.layout.indicators[m.inputs[i]].Kind == impact.StockAvg
		span := int64(0)
		if average {
			for _, p := range periodsOf(keep) {
				span += int64(p.Days())
			}
		}
		for _, e := range keep {
			w.paired[e] = true
			t := *e
			if average {
				t.num *= int64(e.period.Days())
				t.den *= span
				m.weigh(e, int64(e.period.Days()), span)
			} else {
				m.weigh(e, 1, 1)
			}
			num, den := m.term(&t)
			if err := w.sums[i].add(num, den); err != nil {
				return err
			}
		}
	}
	if last != nil {
		m.seeDate(last.End)
	}
	return nil
}

// atDate keeps the entries of one date, one period of each place, and marks
// the others as older.
func (m *maker) atDate(es []*entry, date impact.Date) (keep []*entry) {
	start := map[int32]impact.Date{}
	for _, e := range es {
		if e.period.End == date {
			if s, ok := start[e.stored]; !ok || e.period.Start > s {
				start[e.stored] = e.period.Start
			}
		}
	}
	for _, e := range es {
		switch {
		case e.period.End == date && e.period.Start == start[e.stored]:
			keep = append(keep, e)
		case e.period.End <= date:
			e.why = olderDate
		}
	}
	return keep
}

func periodsOf(es []*entry) []impact.Period {
	var out []impact.Period
	for _, e := range es {
		if !slices.Contains(out, e.period) {
			out = append(out, e.period)
		}
	}
	slices.SortFunc(out, comparePeriods)
	return out
}

// common gives the stretches of days that every list of sorted periods tiles
// exactly: quarters against their year, but not three quarters against it.
func common(lists [][]impact.Period) (out []impact.Period) {
	same := true
	for _, l := range lists[1:] {
		same = same && slices.Equal(l, lists[0])
	}
	if same {
		return lists[0]
	}
	at := make([]int, len(lists))
	for {
		// Bring every list to one first day.
		start := impact.MinDate
		for i, l := range lists {
			if at[i] >= len(l) {
				return out
			}
			start = max(start, l[at[i]].Start)
		}
		aligned := true
		for i, l := range lists {
			for at[i] < len(l) && l[at[i]].Start < start {
				at[i]++
			}
			aligned = aligned && at[i] < len(l) && l[at[i]].Start == start
		}
		if !aligned {
			continue
		}
		// Lengthen until all end on one day, or one has a hole.
		next := slices.Clone(at)
		end := start - 1
		for i, l := range lists {
			end = max(end, l[next[i]].End)
		}
		tiled := true
		for again := true; again && tiled; {
			again = false
			for i, l := range lists {
				for l[next[i]].End < end && tiled {
					if next[i]+1 >= len(l) || l[next[i]+1].Start != l[next[i]].End+1 {
						tiled = false
						break
					}
					next[i]++
				}
				if e := l[next[i]].End; tiled && e > end {
					end, again = e, true
				}
			}
		}
		if !tiled {
			// The list that begins with the longest period has no partner.
			longest := 0
			for i, l := range lists {
				if l[at[i]].End > lists[longest][at[longest]].End {
					longest = i
				}
			}
			at[longest]++
			continue
		}
		out = append(out, impact.Period{Start: start, End: end})
		for i := range at {
			at[i] = next[i] + 1
		}
	}
}

// formula applies the form to the sums.
func (m *maker) formula() error {
	sums := m.p.work.sums[:len(m.inputs)]
	for i := range sums {
		if !sums[i].some {
			m.missing = m.missing || slices.ContainsFunc(m.sets, func(es []entry) bool {
				return slices.ContainsFunc(es, func(e entry) bool { return e.why == noPair })
			})
			return nil
		}
	}
	if done, err := m.quick(sums); done || err != nil {
		return err
	}
	leaf := map[impact.IndicatorCode]*big.Rat{}
	for i, line := range m.inputs {
		leaf[m.p.c.layout.indicators[line].Code] = sums[i].rat()
	}
	n, d, v := compose(m.p.c.cat, m.ind, leaf)
	var err error
	if m.f.Numerator, err = round(n, impact.Decimals); err != nil {
		return err
	}
	if m.f.Denominator, err = round(d, impact.Decimals); err != nil {
		return err
	}
	if m.ind.Kind == impact.SurveyShare {
		m.f.Respondents = m.f.Denominator
	}
	if v == nil {
		m.zero = true
		return nil
	}
	m.f.exact = v
	m.f.Value, err = round(v, m.ind.Decimals)
	return err
}

// compose gives numerator, denominator and value of a composed indicator from
// the sums of its leaves; the value is nil when a denominator is 0.
func compose(cat *impact.Catalogue, ind *impact.Indicator, leaf map[impact.IndicatorCode]*big.Rat) (n, d, v *big.Rat) {
	sum := func(codes []impact.IndicatorCode) *big.Rat {
		s := new(big.Rat)
		for i, code := range codes {
			t := leaf[code]
			if part := cat.Indicator(code); part.Composed() {
				_, _, t = compose(cat, part, leaf)
			}
			if t == nil {
				return nil
			}
			if i > 0 && ind.Form == impact.Difference {
				t = new(big.Rat).Neg(t)
			}
			s.Add(s, t)
		}
		return s
	}
	n, d = sum(ind.Numerator), sum(ind.Denominator)
	if n == nil || d == nil || d.Sign() == 0 {
		return n, d, nil
	}
	v = new(big.Rat).Quo(n, d)
	if ind.Form == impact.Complement {
		v.Sub(big.NewRat(1, 1), v)
	}
	if ind.Scale != 0 {
		v.Mul(v, ind.Scale.Rat())
	}
	return n, d, v
}

// quick does the common case in integers: plain sums, no composed component, a
// whole scale. done is false when it does not apply.
func (m *maker) quick(sums []total) (done bool, err error) {
	scale := m.ind.Scale
	if scale == 0 {
		scale = impact.One
	}
	if scale%impact.One != 0 {
		return false, nil
	}
	var n, d wide
	for i, line := range m.inputs {
		v, ok := sums[i].plain()
		if !ok {
			return false, nil
		}
		code := m.p.c.layout.indicators[line].Code
		at, under := slices.Index(m.ind.Numerator, code), slices.Index(m.ind.Denominator, code)
		if at < 0 && under < 0 {
			return false, nil
		}
		if at >= 0 {
			sign := int64(1)
			if at > 0 && m.ind.Form == impact.Difference {
				sign = -1
			}
			if n, ok = n.add(product(v, sign)); !ok {
				return false, nil
			}
		}
		if under >= 0 {
			if d, ok = d.add(product(v, 1)); !ok {
				return false, nil
			}
		}
	}
	nn, ok1 := n.int64()
	dd, ok2 := d.int64()
	if !ok1 || !ok2 {
		return false, nil
	}
	if m.f.Numerator, err = roundMillionths(nn, impact.Decimals); err != nil {
		return false, err
	}
	if m.f.Denominator, err = roundMillionths(dd, impact.Decimals); err != nil {
		return false, err
	}
	if m.ind.Kind == impact.SurveyShare {
		m.f.Respondents = m.f.Denominator
	}
	if dd == 0 {
		m.zero = true
		return true, nil
	}
	if m.ind.Form == impact.Complement {
		nn = dd - nn
	}
	if dd < 0 {
		nn, dd = -nn, -dd
	}
	m.f.fraction = expression{product(nn, int64(scale/impact.One)), dd}
	m.f.Value, err = roundQuotient(m.f.fraction.num, dd, m.ind.Decimals)
	return true, err
}

// roundQuotient rounds num/den units at so many decimals, half to even; den is
// positive.
func roundQuotient(num wide, den int64, decimals int) (*impact.Quantity, error) {
	v, ok := num.int64()
	step, up := int64(impact.One), uint64(1)
	for range max(0, min(decimals, impact.Decimals)) {
		step /= 10
		up *= 10
	}
	if hi, lo := bits.Mul64(magnitude(v), up); ok && hi < uint64(den) {
		quo, rem := bits.Div64(hi, lo, uint64(den))
		if left := uint64(den) - rem; rem > left || rem == left && quo&1 == 1 {
			quo++
		}
		if hi, q := bits.Mul64(quo, uint64(step)); hi == 0 && q <= uint64(impact.MaxQuantity) {
			r := impact.Quantity(q)
			if v < 0 {
				r = -r
			}
			return &r, nil
		}
		return nil, impact.ErrOverflow
	}
	return round(new(big.Rat).SetFrac(num.big(), big.NewInt(den)), decimals)
}

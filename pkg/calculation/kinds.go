package calculation

import (
	"math/big"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// maker makes the value of one figure from settled entries, by the kind of the
// indicator (C1). It may still set entries aside: an older stock, a part of a
// quotient without the other.
type maker struct {
	p      *plan
	ind    *impact.Indicator
	inputs []int32
	sets   [][]entry
	f      *Figure

	zero, missing, bounds bool
	refused               string
}

// expression is what a figure is before rounding: num/den units.
type expression struct {
	num wide
	den int64
}

func (m *maker) make() error {
	switch {
	case m.ind.Composed():
		return m.quotient()
	case m.ind.Kind == impact.SurveyMean:
		return m.surveyMean()
	}
	es := m.sets[0]
	sum := &m.p.work.sums[0]
	switch m.ind.Kind {
	case impact.Flow, impact.SignedFlow:
		if err := m.add(sum, es); err != nil {
			return err
		}
	case impact.Stock:
		m.lastDates(es)
		if err := m.add(sum, es); err != nil {
			return err
		}
		m.asOf(es)
	case impact.StockAvg:
		if err := m.average(sum, es, true); err != nil {
			return err
		}
	case impact.Distinct:
		return m.distinct(sum, es)
	case impact.Boolean:
		return m.answers(es)
	default:
		return m.quantiles(es)
	}
	if slices.Contains(m.ind.NotAdditiveOver, "organisation") && m.several(es) {
		return m.refuse("organisation", sum, es, func(a, b *entry) bool { return a.member == b.member })
	}
	return m.value(sum)
}

func (m *maker) value(sum *total) (err error) {
	if m.f.Value, err = sum.rounded(m.ind.Decimals); err != nil || m.f.Value == nil {
		return err
	}
	if v, ok := sum.plain(); ok {
		m.f.fraction = expression{product(v, 1), int64(impact.One)}
	} else {
		m.f.exact = sum.rat()
	}
	return nil
}

// term is what an entry adds: value × attribution share × weight, as a
// fraction of millionths.
func (m *maker) term(e *entry) (wide, int64) {
	num, den := e.num, e.den
	if s := m.p.f.attrs[e.attr].share; s != int64(impact.One) {
		num, den = num*s, den*int64(impact.One)
	}
	if num == den {
		num, den = 1, 1
	}
	return product(e.value, num), den
}

func (m *maker) add(sum *total, es []entry) error {
	for i := range es {
		if e := &es[i]; e.why == counts {
			num, den := m.term(e)
			if err := sum.add(num, den); err != nil {
				return err
			}
			m.weigh(e, 1, 1)
		}
	}
	return nil
}

// weigh tells the explanation, and the sums, how much of an entry counts.
func (m *maker) weigh(e *entry, num, den int64) {
	if r := m.p.work.record; r != nil {
		r.weighed = append(r.weighed, weighed{*e, num, den})
	}
	if t := m.p.work.trace; t != nil {
		w := big.NewRat(e.num, e.den)
		w.Mul(w, big.NewRat(m.p.f.attrs[e.attr].share, int64(impact.One)))
		t.weights[traceKey(e)] = w.Mul(w, big.NewRat(num, den))
	}
}

func (m *maker) several(es []entry) bool {
	first := int32(-1)
	for i := range es {
		if es[i].why == counts {
			if first >= 0 && es[i].member != first {
				return true
			}
			first = es[i].member
		}
	}
	return false
}

// each calls yield for runs of sorted entries that same puts together.
func each(es []entry, same func(a, b *entry) bool, yield func([]entry)) {
	for lo := 0; lo < len(es); {
		hi := lo + 1
		for hi < len(es) && same(&es[lo], &es[hi]) {
			hi++
		}
		yield(es[lo:hi])
		lo = hi
	}
}

func sameMember(a, b *entry) bool { return a.member == b.member }
func sameSeries(a, b *entry) bool { return a.member == b.member && a.stored == b.stored }

// lastDates keeps, of each series (an organisation in a place), the values of
// its last date. A place stated later in finer or coarser pieces, or as its
// successor, is replaced.
func (m *maker) lastDates(es []entry) {
	m.p.work.sort(es)
	type series struct {
		entries []entry
		last    impact.Period
	}
	var places []series
	each(es, sameMember, func(own []entry) {
		places = places[:0]
		each(own, sameSeries, func(in []entry) {
			var last *impact.Period
			for i := range in {
				if e := &in[i]; e.why == counts && (last == nil || later(e.period, *last)) {
					last = &e.period
				}
			}
			if last == nil {
				return
			}
			for i := range in {
				if e := &in[i]; e.why == counts && e.period != *last {
					e.why = olderDate
				}
			}
			places = append(places, series{in, *last})
		})
		for _, p := range places {
			for _, o := range places {
				if o.last.End > p.last.End && m.p.c.layout.kin.related(p.entries[0].stored, o.entries[0].stored) {
					for i := range p.entries {
						if p.entries[i].why == counts {
							p.entries[i].why = olderDate
						}
					}
					break
				}
			}
		}
	})
}

func later(a, b impact.Period) bool { return a.End > b.End || a.End == b.End && a.Start > b.Start }

func (m *maker) asOf(es []entry) {
	for i := range es {
		if es[i].why != counts {
			continue
		}
		m.seeDate(es[i].period.End)
	}
}

// average adds the mean of each series, weighted by the days each value
// covers. Parts of one period cover its days once. Places of one organisation
// that enclose or succeed one another are one series.
func (m *maker) average(sum *total, es []entry, show bool) error {
	m.p.work.sort(es)
	var failed error
	each(es, sameMember, func(own []entry) {
		for len(own) > 0 {
			cluster := m.cluster(&own)
			days := coveredDays(cluster)
			if days == 0 {
				continue
			}
			for i := range cluster {
				e := &cluster[i]
				if e.why != counts {
					continue
				}
				d := int64(e.period.Days())
				w := *e
				w.num *= d
				w.den *= days
				num, den := m.term(&w)
				if err := sum.add(num, den); err != nil {
					failed = err
				}
				m.weigh(e, d, days)
			}
			if show && (m.f.DaysCovered == 0 || int(days) < m.f.DaysCovered) {
				m.f.DaysCovered = int(days)
			}
		}
	})
	return failed
}

// cluster takes from own the entries of its first series and of those related
// to it.
func (m *maker) cluster(own *[]entry) []entry {
	es := *own
	n := 1
	for n < len(es) && es[n].stored == es[0].stored {
		n++
	}
	if n == len(es) {
		*own = nil
		return es
	}
	for i := n; i < len(es); i++ {
		for j := 0; j < n; j++ {
			if m.p.c.layout.kin.related(es[j].stored, es[i].stored) {
				es[n], es[i] = es[i], es[n]
				n++
				break
			}
		}
	}
	*own = es[n:]
	slices.SortFunc(*own, compareCells)
	return es[:n]
}

// coveredDays counts the days of the distinct periods that count.
func coveredDays(es []entry) (days int64) {
	for i := range es {
		if es[i].why != counts {
			continue
		}
		if !slices.ContainsFunc(es[:i], func(o entry) bool { return o.why == counts && o.period == es[i].period }) {
			days += int64(es[i].period.Days())
		}
	}
	return days
}

// distinct counts add up only when they are parts of one cell.
func (m *maker) distinct(sum *total, es []entry) error {
	if err := m.add(sum, es); err != nil {
		return err
	}
	var first *entry
	dimension := ""
	for i := range es {
		e := &es[i]
		if e.why != counts {
			continue
		}
		switch {
		case first == nil:
			first = e
		case e.member != first.member:
			dimension = "organisation"
		case e.stored != first.stored && dimension != "organisation":
			dimension = "territory"
		case e.period != first.period && dimension == "":
			dimension = "period"
		}
	}
	if dimension == "" {
		return m.value(sum)
	}
	return m.refuse(dimension, sum, es, func(a, b *entry) bool {
		return a.member == b.member && a.stored == b.stored && a.period == b.period
	})
}

// refuse answers by bounds when they are allowed: the largest single value and
// the sum.
func (m *maker) refuse(dimension string, sum *total, es []entry, same func(a, b *entry) bool) error {
	if !m.p.q.AllowBounds {
		if !m.p.q.KeepRefused {
			return notAdditive(m.ind, dimension)
		}
		m.f.Refused, m.refused = dimension, dimension
		return nil
	}
	if err := m.value(sum); err != nil {
		return err
	}
	m.p.work.sort(es)
	var largest *big.Rat
	var failed error
	each(es, same, func(one []entry) {
		var t total
		for i := range one {
			if one[i].why == counts {
				num, den := m.term(&one[i])
				if err := t.add(num, den); err != nil {
					failed = err
				}
			}
		}
		if r := t.rat(); r != nil && (largest == nil || r.Cmp(largest) > 0) {
			largest = r
		}
	})
	if failed != nil {
		return failed
	}
	lower, err := round(largest, m.ind.Decimals)
	if err != nil {
		return err
	}
	m.f.Bounds = &Bounds{Lower: *lower, Upper: *m.f.Value}
	m.bounds = true
	return nil
}

// lastAnswers gives, for each organisation, its entries of the last date.
func (m *maker) lastAnswers(es []entry, yield func([]entry)) {
	m.p.work.sort(es)
	each(es, sameMember, func(own []entry) {
		last := impact.MinDate
		for i := range own {
			if own[i].why == counts {
				last = max(last, own[i].period.End)
			}
		}
		var kept []entry
		for i := range own {
			switch {
			case own[i].why != counts:
			case own[i].period.End < last:
				own[i].why = olderDate
			default:
				kept = append(kept, own[i])
				m.weigh(&own[i], 1, 1)
			}
		}
		if len(kept) > 0 {
			yield(kept)
		}
	})
}

// answers counts organisations: one that answers for several places says yes
// when it says so for one of them.
func (m *maker) answers(es []entry) error {
	a := &Answers{}
	m.lastAnswers(es, func(own []entry) {
		a.Answered++
		if slices.ContainsFunc(own, func(e entry) bool { return e.value != 0 }) {
			a.True++
		}
	})
	m.asOf(es)
	m.f.Answers = a
	if a.Answered == 0 {
		return nil
	}
	share, err := roundQuotient(product(int64(a.True), 1), int64(a.Answered), 4)
	if err != nil {
		return err
	}
	a.Share, m.f.Value = share, share
	m.f.fraction = expression{product(int64(a.True), 1), int64(a.Answered)}
	return nil
}

// FewestQuantiles is the least number of organisations a dispersion is
// described by.
const FewestQuantiles = 5

func (m *maker) quantiles(es []entry) error {
	var values []*big.Rat
	m.lastAnswers(es, func(own []entry) {
		v := new(big.Rat) // the mean of what it says for several places
		for i := range own {
			v.Add(v, big.NewRat(own[i].value, int64(impact.One)))
		}
		values = append(values, v.Quo(v, big.NewRat(int64(len(own)), 1)))
	})
	m.asOf(es)
	q := &Quantiles{N: len(values)}
	m.f.Quantiles = q
	if q.N == 0 || m.ind.Kind == impact.Dispersion && q.N < FewestQuantiles {
		return nil
	}
	slices.SortFunc(values, (*big.Rat).Cmp)
	var err error
	at := func(num, den int) *impact.Quantity {
		r := quantile(values, num, den)
		v, e := round(r, m.ind.Decimals)
		if e != nil {
			err = e
		}
		if num*2 == den {
			m.f.exact = r
		}
		return v
	}
	q.P25, q.Median, q.P75 = at(1, 4), at(1, 2), at(3, 4)
	m.f.Value = q.Median
	if m.ind.Kind == impact.Score && err == nil {
		mean := new(big.Rat)
		for _, v := range values {
			mean.Add(mean, v)
		}
		q.Mean, err = round(mean.Quo(mean, big.NewRat(int64(len(values)), 1)), m.ind.Decimals)
	}
	return err
}

// quantile is the inverse of the empirical distribution of sorted values at
// num/den, averaged at jumps: the median of four is the mean of the two middle
// ones.
func quantile(values []*big.Rat, num, den int) *big.Rat {
	n := len(values)
	k := n * num / den
	if n*num%den != 0 {
		return values[k]
	}
	r := new(big.Rat).Add(values[k-1], values[k])
	return r.Quo(r, big.NewRat(2, 1))
}

// surveyMean weights each mean by its respondents; a mean without them counts
// for nothing, nor do respondents without a mean.
func (m *maker) surveyMean() error {
	sum, answers := &m.p.work.sums[0], &m.p.work.sums[1]
	type key struct {
		member, at, stored int32
		period             impact.Period
		cut                string
	}
	of := func(e *entry) key { return key{e.member, e.at, e.stored, e.period, m.p.f.attrs[e.attr].cut} }
	weights := map[key]*entry{}
	for i := range m.sets[1] {
		if e := &m.sets[1][i]; e.why == counts {
			weights[of(e)] = e
		}
	}
	for i := range m.sets[0] {
		e := &m.sets[0][i]
		if e.why != counts {
			continue
		}
		w := weights[of(e)]
		if w == nil {
			e.why, m.missing = noPair, true
			continue
		}
		delete(weights, of(e))
		weighted, ok := product(e.value, w.value).times(w.num)
		if !ok {
			return impact.ErrOverflow
		}
		if err := sum.add(weighted, w.den*int64(impact.One)); err != nil {
			return err
		}
		if err := answers.add(product(w.value, w.num), w.den); err != nil {
			return err
		}
		m.weigh(e, w.value, int64(impact.One))
		m.weigh(w, 1, 1)
	}
	for _, e := range weights {
		e.why, m.missing = noPair, true
	}
	if !answers.some {
		return nil
	}
	var err error
	if m.f.Respondents, err = answers.rounded(impact.Decimals); err != nil {
		return err
	}
	d := answers.rat()
	if d.Sign() == 0 {
		m.zero = true
		return nil
	}
	m.f.exact = new(big.Rat).Quo(sum.rat(), d)
	m.f.Value, err = round(m.f.exact, m.ind.Decimals)
	return err
}

// notes settles status and notes once the entries are counted.
func (m *maker) notes(worst impact.Status, missing byte, out *[whys]int) {
	f := m.f
	f.Status = worst
	for i := range m.sets {
		for j := range m.sets[i] {
			e := &m.sets[i][j]
			if e.why == counts && e.prorated {
				f.note(ProrataDays)
			}
			if e.why == counts && e.split {
				f.note(SplitMapping)
			}
		}
	}
	switch {
	case m.bounds:
		f.Status = impact.Estimated
		f.note(UpperBound)
	case m.refused != "":
		f.Status = impact.NotApplicable
	case m.zero:
		f.Status = impact.NotApplicable
		f.note(ZeroDenominator)
	case f.Value == nil && m.missing:
		f.Status = impact.Missing
		f.note(MissingComponent)
	case f.Value == nil && f.Quantiles != nil && f.Quantiles.N > 0:
		f.Status = impact.NotCollected // too few to describe
	case f.Value == nil && missing != 0:
		f.Status = impact.Status(missing)
	case f.Value == nil:
		f.Status = impact.Missing
	case out[noPair] > 0:
		f.note(MissingComponent)
	}
	if f.Value != nil && m.ind.Composed() {
		f.OutOfRange = m.ind.Min != nil && *f.Value < *m.ind.Min || m.ind.Max != nil && *f.Value > *m.ind.Max
	}
}

package attack

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// world is a small metropole: facts by place, quarter and indicator, of
// organisations of a few classes, some of one holding.
type world struct {
	r *rand.Rand

	communes, boroughs, quarters, classes int
	orgs                                  []org
	facts                                 []stated
	ratio, whole, averages                bool
	signed, yesNo                         bool

	told     []disclosure.Sum // by releases so far, over facts
	withheld []disclosure.Sum
	last     map[string][]disclosure.Sum // what each figure showed last
}

type org struct {
	group, class int32
	waived       bool
	size         float64
}

// stated is one version of one fact; gone when it was corrected or taken back.
type stated struct {
	org, commune, quarter, indicator int
	value                            impact.Quantity
	gone                             bool
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 7))
	w := &world{r: r, last: map[string][]disclosure.Sum{}}
	w.boroughs = 1 + r.IntN(3)
	w.communes = w.boroughs + r.IntN(4)
	w.quarters = []int{1, 2, 4}[r.IntN(3)]
	w.classes = []int{0, 2, 3}[r.IntN(3)]
	switch r.IntN(6) {
	case 0:
		w.ratio = true
	case 1:
		w.whole = true
	case 2:
		w.averages = true
	case 3:
		w.signed = r.IntN(2) == 0
		w.yesNo = !w.signed
	}
	skew := []float64{0.3, 1, 2}[r.IntN(3)]
	holdings := r.IntN(3) == 0
	for i := range 4 + r.IntN(14) {
		o := org{group: int32(i), class: int32(r.IntN(max(w.classes, 1))), waived: r.IntN(12) == 0, size: math.Exp(skew * r.NormFloat64())}
		if holdings && i > 0 && r.IntN(4) == 0 {
			o.group = w.orgs[i-1].group
			o.waived = w.orgs[i-1].waived
		}
		w.orgs = append(w.orgs, o)
	}
	for i := range w.orgs {
		for range 1 + r.IntN(3) {
			w.report(i, r.IntN(1+r.IntN(w.communes)))
		}
	}
	return w
}

// report states what an organisation did in a commune, quarter by quarter.
func (w *world) report(i, commune int) {
	for q := range w.quarters {
		if w.r.IntN(5) == 0 || w.has(i, commune, q) {
			continue
		}
		switch {
		case w.ratio: // numerator, denominator, or both
			part := w.r.IntN(4)
			if part != 0 {
				w.state(stated{org: i, commune: commune, quarter: q, indicator: 0})
			}
			if part != 1 {
				w.state(stated{org: i, commune: commune, quarter: q, indicator: 1})
			}
		case w.whole: // a whole of two parts
			a := w.state(stated{org: i, commune: commune, quarter: q, indicator: 1})
			b := w.state(stated{org: i, commune: commune, quarter: q, indicator: 2})
			w.facts = append(w.facts, stated{org: i, commune: commune, quarter: q, indicator: 0, value: a + b})
		default:
			w.state(stated{org: i, commune: commune, quarter: q})
		}
	}
}

func (w *world) has(i, commune, q int) bool {
	for _, f := range w.facts {
		if !f.gone && f.org == i && f.commune == commune && f.quarter == q {
			return true
		}
	}
	return false
}

func (w *world) state(f stated) impact.Quantity {
	f.value = impact.Quantity(w.orgs[f.org].size*(0.5+w.r.Float64())*100) * impact.One
	switch {
	case w.yesNo:
		f.value = impact.Quantity(w.r.IntN(2)) * impact.One
	case w.r.IntN(10) == 0:
		f.value = 0
	case w.signed && w.r.IntN(3) == 0:
		f.value = -f.value
	}
	w.facts = append(w.facts, f)
	return f.value
}

// pass lets time pass: facts come late, are corrected and taken back, and
// organisations change hands.
func (w *world) pass() {
	for n := len(w.facts); n > 0; n-- {
		f := &w.facts[n-1]
		if f.gone || w.whole {
			continue
		}
		switch w.r.IntN(20) {
		case 0:
			f.gone = true
		case 1:
			f.gone = true
			w.state(stated{org: f.org, commune: f.commune, quarter: f.quarter, indicator: f.indicator})
		}
	}
	for range w.r.IntN(4) {
		w.report(w.r.IntN(len(w.orgs)), w.r.IntN(w.communes))
	}
	if w.r.IntN(2) == 0 {
		i, j := w.r.IntN(len(w.orgs)), w.r.IntN(len(w.orgs))
		w.orgs[i].group, w.orgs[i].waived = w.orgs[j].group, w.orgs[j].waived
	}
}

// table is the next release: what may be shown, what was told, what must stay
// unknown of it, and what everybody knows by definition.
func (w *world) table() *disclosure.Table {
	t := &disclosure.Table{Published: w.told}
	for _, f := range w.facts {
		o := w.orgs[f.org]
		x := disclosure.Fact{Group: o.group, Value: f.value, Signed: w.signed, Waived: o.waived}
		if w.yesNo {
			x.Max = impact.One
		}
		t.Facts = append(t.Facts, x)
	}
	borough := func(c int) int { return c * w.boroughs / w.communes }
	for level, name := range []string{"all", "borough", "commune"} {
		for place := range []int{1, w.boroughs, w.communes}[level] {
			for q := -1; q < w.quarters; q++ {
				for class := int32(-1); class < int32(w.classes); class++ {
					if class >= 0 && (q >= 0 || level == 2) {
						continue
					}
					in := func(f *stated) bool {
						return !f.gone && (q < 0 || f.quarter == q) && (class < 0 || w.orgs[f.org].class == class) &&
							(level == 0 || level == 1 && borough(f.commune) == place || level == 2 && f.commune == place)
					}
					rank := disclosure.Rank{Level: level, Part: q >= 0, Cut: class >= 0}
					w.add(t, fmt.Sprintf("%s %d quarter %d class %d", name, place, q, class), rank, in)
				}
			}
		}
	}
	if w.whole {
		for i := range w.facts {
			if f := &w.facts[i]; f.indicator == 0 && !f.gone {
				t.Identities = append(t.Identities, disclosure.Sum{Terms: []disclosure.Term{
					{Fact: int32(i - 2), Num: -1, Den: 1}, {Fact: int32(i - 1), Num: -1, Den: 1}, {Fact: int32(i), Num: 1, Den: 1},
				}})
			}
		}
	}
	t.Secrets = append(t.Secrets, w.withheld...)
	for i := range t.Figures {
		f := &t.Figures[i]
		was := w.last[f.Name]
		f.Rank.Moved = was == nil
		for j := range was {
			if d := minus(f.Sums[j], was[j]); len(d.Terms) > 0 {
				f.Rank.Moved = true
				t.Secrets = append(t.Secrets, d)
			}
		}
	}
	return t
}

func minus(a, b disclosure.Sum) (out disclosure.Sum) {
	out.People = a.People
	had := map[int32]disclosure.Term{}
	for _, x := range b.Terms {
		had[x.Fact] = x
	}
	for _, x := range a.Terms {
		if y, ok := had[x.Fact]; ok && x == y {
			delete(had, x.Fact)
			continue
		}
		out.Terms = append(out.Terms, x) // weights do not change here
	}
	for _, x := range b.Terms {
		if _, ok := had[x.Fact]; ok {
			x.Num = -x.Num
			out.Terms = append(out.Terms, x)
		}
	}
	return out
}

func (w *world) add(t *disclosure.Table, name string, rank disclosure.Rank, in func(*stated) bool) {
	sum := func(in func(*stated) bool) (s disclosure.Sum) {
		s.People = w.yesNo
		for i := range w.facts {
			if f := &w.facts[i]; in(f) {
				x := disclosure.Term{Fact: int32(i), Num: 1, Den: 1}
				if w.averages { // each quarter covers its days
					x.Num, x.Den = int64(90+f.quarter), int64(360+w.quarters)
				}
				s.Terms = append(s.Terms, x)
			}
		}
		return s
	}
	put := func(name string, sums ...disclosure.Sum) {
		some := false
		for _, s := range sums {
			some = some || len(s.Terms) > 0
		}
		if some {
			rank.Contributor = -len(sums[0].Terms)
			t.Figures = append(t.Figures, disclosure.Figure{Name: name, Rank: rank, Sums: sums})
		}
	}
	of := func(indicator int) func(*stated) bool {
		return func(f *stated) bool { return f.indicator == indicator && in(f) }
	}
	switch {
	case w.ratio:
		both := map[[3]int]int{}
		for i := range w.facts {
			if f := &w.facts[i]; in(f) {
				both[[3]int{f.org, f.commune, f.quarter}] |= 1 << f.indicator
			}
		}
		paired := func(indicator int) func(*stated) bool {
			return func(f *stated) bool { return of(indicator)(f) && both[[3]int{f.org, f.commune, f.quarter}] == 3 }
		}
		put(name+" rate", sum(paired(0)), sum(paired(1)))
		put(name+" numerator", sum(of(0)))
		put(name+" denominator", sum(of(1)))
	case w.whole:
		put(name+" whole", sum(of(0)))
		put(name+" part 1", sum(of(1)))
		put(name+" part 2", sum(of(2)))
	default:
		put(name, sum(of(0)))
	}
}

// publish remembers what a release tells.
func (w *world) publish(t *disclosure.Table, decisions []disclosure.Decision) {
	for i := range t.Figures {
		f := &t.Figures[i]
		if decisions[i].Reason == disclosure.Shown {
			w.told = append(w.told, f.Sums...)
			w.last[f.Name] = f.Sums
		} else {
			w.withheld = append(w.withheld, f.Sums...)
		}
	}
}

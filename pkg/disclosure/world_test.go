package disclosure

import (
	"fmt"
	"math/rand/v2"

	"github.com/grandlyon/retombees/pkg/impact"
)

// world is a random table as releases have them: a tree of territories, a year
// and its quarters, classes of organisations at the wider levels, sums paired
// for a ratio, and what an earlier release told.
type world struct {
	communes, boroughs, quarters, classes, groups int
	facts                                         int
	skew                                          float64
	zeros, waived                                 float64
	signed, yesNo, ratio, earlier, halves         bool
}

func (w world) table(r *rand.Rand) *Table {
	t := &Table{}
	type place struct{ commune, quarter, class, kind int }
	var at []place
	waived := map[int32]bool{}
	class := map[int32]int{}
	for g := range w.groups {
		waived[int32(g)] = r.Float64() < w.waived
		class[int32(g)] = r.IntN(max(w.classes, 1))
	}
	size := make([]float64, w.groups)
	for g := range size {
		size[g] = 1
		for range 3 {
			size[g] *= 1 + w.skew*r.ExpFloat64()
		}
	}
	home := func() int { return r.IntN(1 + r.IntN(w.communes)) }
	for range w.facts {
		g := int32(r.IntN(w.groups))
		f := Fact{Group: g, Waived: waived[g], Signed: w.signed, Value: impact.Quantity(size[g]*(1+r.Float64())*20) * impact.One}
		if r.Float64() < w.zeros {
			f.Value = 0
		}
		if w.signed && r.IntN(3) == 0 {
			f.Value = -f.Value
		}
		if w.yesNo {
			f.Max, f.Value = impact.One, impact.Quantity(r.IntN(2))*impact.One
		}
		kind := 0
		if w.ratio {
			kind = r.IntN(3) // numerator, denominator of a pair, denominator alone
		}
		t.Facts = append(t.Facts, f)
		at = append(at, place{home(), r.IntN(max(w.quarters, 1)), class[g], kind})
	}
	// An earlier release had other values for some, and told sums of them.
	was := make([]int32, len(t.Facts))
	for i := range was {
		was[i] = int32(i)
		if w.earlier && r.IntN(8) == 0 {
			old := t.Facts[i]
			if !w.yesNo {
				old.Value += impact.Quantity(r.IntN(20)) * impact.One
			}
			was[i] = int32(len(t.Facts))
			t.Facts = append(t.Facts, old)
		} else if w.earlier && r.IntN(8) == 0 {
			was[i] = -1 // it came late
		}
	}
	select1 := func(in func(place) bool) (now, then Sum) {
		now.People, then.People = w.yesNo, w.yesNo
		for i, p := range at {
			if !in(p) {
				continue
			}
			term := Term{Fact: int32(i), Num: 1, Den: 1}
			if w.halves && i%5 == 0 {
				term.Den = 2
			}
			now.Terms = append(now.Terms, term)
			if was[i] >= 0 {
				term.Fact = was[i]
				then.Terms = append(then.Terms, term)
			}
		}
		return now, then
	}
	add := func(name string, rank Rank, in func(place) bool) {
		if w.ratio {
			n, nThen := select1(func(p place) bool { return p.kind == 0 && in(p) })
			d, dThen := select1(func(p place) bool { return p.kind == 1 && in(p) })
			all, allThen := select1(func(p place) bool { return p.kind > 0 && in(p) })
			rank.Contributor = -len(d.Terms)
			t.add(r, w, name+"/ratio", rank, []Sum{n, d}, []Sum{nThen, dThen})
			t.add(r, w, name+"/n", rank, []Sum{n}, []Sum{nThen})
			t.add(r, w, name+"/d", rank, []Sum{all}, []Sum{allThen})
			return
		}
		s, then := select1(in)
		rank.Contributor = -len(s.Terms)
		t.add(r, w, name, rank, []Sum{s}, []Sum{then})
	}
	borough := func(c int) int { return c * w.boroughs / w.communes }
	for q := -1; q < w.quarters; q++ {
		when := func(p place) bool { return q < 0 || p.quarter == q }
		add(fmt.Sprintf("all/%d", q), Rank{Part: q >= 0}, when)
		for b := range w.boroughs {
			add(fmt.Sprintf("b%d/%d", b, q), Rank{Level: 1, Part: q >= 0}, func(p place) bool { return borough(p.commune) == b && when(p) })
		}
		for c := range w.communes {
			add(fmt.Sprintf("c%d/%d", c, q), Rank{Level: 2, Part: q >= 0}, func(p place) bool { return p.commune == c && when(p) })
		}
	}
	for k := range w.classes {
		add(fmt.Sprintf("all/class%d", k), Rank{Cut: true}, func(p place) bool { return p.class == k })
		for b := range w.boroughs {
			add(fmt.Sprintf("b%d/class%d", b, k), Rank{Level: 1, Cut: true}, func(p place) bool { return borough(p.commune) == b && p.class == k })
		}
	}
	return t
}

func (t *Table) add(r *rand.Rand, w world, name string, rank Rank, now, then []Sum) {
	if len(now[0].Terms) == 0 && len(now[len(now)-1].Terms) == 0 {
		return
	}
	if w.earlier && r.IntN(3) > 0 {
		for i := range then {
			// What changed is a secret of its own.
			diff := Sum{}
			had := map[int32]Term{}
			for _, term := range then[i].Terms {
				had[term.Fact] = term
			}
			for _, term := range now[i].Terms {
				if _, ok := had[term.Fact]; ok {
					delete(had, term.Fact)
					continue
				}
				diff.Terms = append(diff.Terms, term)
			}
			for _, term := range then[i].Terms {
				if _, ok := had[term.Fact]; ok {
					term.Num = -term.Num
					diff.Terms = append(diff.Terms, term)
				}
			}
			if len(diff.Terms) > 0 {
				t.Secrets = append(t.Secrets, diff)
			}
			if r.IntN(2) > 0 {
				t.Published = append(t.Published, then[i])
			} else {
				t.Secrets = append(t.Secrets, then[i])
			}
		}
	}
	t.Figures = append(t.Figures, Figure{Name: name, Rank: rank, Sums: now})
}

// randomWorld is small, and has of everything.
func randomWorld(r *rand.Rand) world {
	w := world{
		communes: 2 + r.IntN(5), quarters: []int{0, 2, 4}[r.IntN(3)], classes: []int{0, 0, 2, 3}[r.IntN(4)], groups: 3 + r.IntN(20),
		facts: 5 + r.IntN(60), skew: r.Float64() * 2, zeros: []float64{0, 0.1, 0.5}[r.IntN(3)], waived: []float64{0, 0, 0.2}[r.IntN(3)],
		signed: r.IntN(5) == 0, ratio: r.IntN(3) == 0, earlier: r.IntN(3) == 0, halves: r.IntN(4) == 0,
	}
	w.boroughs = 1 + r.IntN(min(3, w.communes))
	w.yesNo = !w.signed && r.IntN(6) == 0
	return w
}

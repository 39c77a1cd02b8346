package audit

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Secret is a sum that fails the rules, and the room it needs.
type Secret struct {
	Name  string
	Index int // which sum of the figure
	Sum   *disclosure.Sum
	// Value is the sum without what is waived, in the unit of the facts.
	Value float64
	// Each is the room asked for above and below (below, no further than 0 when
	// all weights are positive), Either that on one side at least. No room is
	// asked for when facts may be negative.
	Each, Either float64
	// Floor is the least value the sum can have, if Floored.
	Floored bool
	Floor   float64

	weighed *weighed
	rules   disclosure.Rules
}

// Enough tells that an interval gives the secret the room it needs.
func (s *Secret) Enough(low, high float64) bool {
	slack := 1e-6*max(s.Each, s.Either) + 1e-9
	below := s.Value - s.Each
	if s.Floored {
		below = max(below, s.Floor)
	}
	return high >= s.Value+s.Each-slack && low <= below+slack && (high-s.Value >= s.Either-slack || s.Value-low >= s.Either-slack)
}

// Secrets lists what must stay unknown: by figure, then Table.Secrets.
func Secrets(t *disclosure.Table, rules disclosure.Rules) (out []Secret) {
	add := func(name string, i int, sum *disclosure.Sum) {
		w := weigh(t, sum)
		if !w.secret(rules) {
			return
		}
		s := Secret{Name: name, Index: i, Sum: sum, weighed: w, rules: rules}
		s.Value = float64Of(w.value, w.unit)
		s.Floored = !w.mixed
		if !w.signed {
			s.Each, s.Either = w.room(rules)
		}
		out = append(out, s)
	}
	for i := range t.Figures {
		for j := range t.Figures[i].Sums {
			add(t.Figures[i].Name, j, &t.Figures[i].Sums[j])
		}
	}
	for i := range t.Secrets {
		add(fmt.Sprintf("secret %d", i), 0, &t.Secrets[i])
	}
	return out
}

// weighed is a sum by group, in whole numbers of 1 ÷ unit.
type weighed struct {
	groups                         []int32
	gross, net, left               map[int32]*big.Int
	unit                           *big.Int
	value                          *big.Int
	signed, mixed, bounded, people bool
}

func weigh(t *disclosure.Table, s *disclosure.Sum) *weighed {
	w := &weighed{gross: map[int32]*big.Int{}, net: map[int32]*big.Int{}, left: map[int32]*big.Int{}, unit: big.NewInt(1), value: new(big.Int), bounded: true, people: s.People}
	for _, x := range s.Terms {
		if !t.Facts[x.Fact].Waived && x.Den != 1 {
			d := big.NewInt(x.Den)
			g := new(big.Int).GCD(nil, nil, w.unit, d)
			w.unit.Mul(w.unit, d.Quo(d, g))
		}
	}
	plus, minus := false, false
	at := func(m map[int32]*big.Int, g int32) *big.Int {
		if m[g] == nil {
			m[g] = new(big.Int)
		}
		return m[g]
	}
	var weight, v, x big.Int
	whole := w.unit.IsInt64() && w.unit.Int64() == 1
	for _, term := range s.Terms {
		f := &t.Facts[term.Fact]
		if f.Waived {
			continue
		}
		gross := w.gross[f.Group]
		if gross == nil {
			w.groups = append(w.groups, f.Group)
			gross = at(w.gross, f.Group)
		}
		weight.SetInt64(term.Num)
		if !whole {
			weight.Mul(&weight, v.Quo(w.unit, x.SetInt64(term.Den)))
		}
		v.Mul(&weight, x.SetInt64(int64(f.Value)))
		w.value.Add(w.value, &v)
		net := at(w.net, f.Group)
		net.Add(net, &v)
		gross.Add(gross, v.Abs(&v))
		plus, minus = plus || term.Num > 0, minus || term.Num < 0
		w.signed = w.signed || f.Signed
		if f.Max > 0 && f.Value <= f.Max {
			left := at(w.left, f.Group)
			left.Add(left, v.Abs(v.Mul(&weight, x.SetInt64(int64(f.Max-f.Value)))))
		} else {
			w.bounded = false
		}
	}
	w.mixed = plus && minus || w.signed
	w.bounded = w.bounded && !w.mixed
	for _, n := range w.net {
		n.Abs(n)
	}
	return w
}

// shares are the numbers that the rules look at, largest first, less one group.
func shares(m map[int32]*big.Int, but int32) (total *big.Int, of []*big.Int) {
	total = new(big.Int)
	for g, v := range m {
		if g != but {
			total.Add(total, v)
			of = append(of, v)
		}
	}
	slices.SortFunc(of, func(a, b *big.Int) int { return b.Cmp(a) })
	return total, of
}

const nobody = -1

func nth(of []*big.Int, i int) *big.Int {
	if i < len(of) {
		return of[i]
	}
	return new(big.Int)
}

func times(a *big.Int, n int) *big.Int { return new(big.Int).Mul(a, big.NewInt(int64(n))) }

// fails applies the rules; insider, to what one contributor is left with: then
// the largest faces nobody else who takes itself out.
func (w *weighed) fails(r disclosure.Rules, m map[int32]*big.Int, zero, people bool, insider int32) bool {
	total, of := shares(m, insider)
	least, rest := r.Groups, new(big.Int).Sub(total, nth(of, 0))
	if insider == nobody {
		rest.Sub(rest, nth(of, 1))
	} else {
		least = 2
	}
	switch {
	case len(of) == 0:
		return false
	case len(of) < least:
		return true
	case zero && total.Sign() == 0:
		return true
	case times(total, r.Share).Cmp(times(nth(of, 0), whole)) < 0, times(rest, whole).Cmp(times(nth(of, 0), r.P)) < 0:
		return true
	}
	few := new(big.Int).Mul(w.unit, big.NewInt(int64(impact.One)*int64(r.People)))
	return people && total.Sign() > 0 && total.Cmp(few) < 0
}

const whole = 10_000

func (w *weighed) failsFor(r disclosure.Rules, insider int32) bool {
	return w.fails(r, w.gross, !w.mixed, w.people && !w.mixed, insider) ||
		w.mixed && w.fails(r, w.net, false, false, insider) ||
		w.bounded && w.fails(r, w.left, true, w.people, insider)
}

func (w *weighed) secret(r disclosure.Rules) bool { return w.failsFor(r, nobody) }

// mayKnow tells that a contributor who learns the secret learns nobody else's
// value: it is its own, or the rest is of enough others.
func (s *Secret) mayKnow(group int32) bool {
	return s.weighed.gross[group] != nil && !s.weighed.failsFor(s.rules, group)
}

func (w *weighed) room(r disclosure.Rules) (each, either float64) {
	total, of := shares(w.gross, nobody)
	all, first, second := float64Of(total, w.unit), float64Of(nth(of, 0), w.unit), float64Of(nth(of, 1), w.unit)
	each = max(first*whole/float64(r.Share)-all, first*float64(r.P)/whole-(all-first-second), 0)
	either = max(each, all*float64(r.Width)/whole)
	if all == 0 || w.people {
		either = max(either, float64(impact.One))
	}
	if w.bounded { // one side may have no room by nature
		each = 0
	}
	return each, either
}

func float64Of(n, unit *big.Int) float64 {
	f, _ := new(big.Rat).SetFrac(n, unit).Float64()
	return f
}

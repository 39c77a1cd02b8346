package disclosure

import (
	"math/bits"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Rules say which sums are secret, and how precisely a secret may be guessed.
// Groups and Share are public; P and Width are configuration and stay unsaid:
// whoever knows them guesses better. Shares are in ten-thousandths.
type Rules struct {
	Name string
	// Groups: a sum of fewer is secret.
	Groups int
	// Share: a sum of which one group has more is secret.
	Share int
	// P: a sum is secret when the second largest group, taking itself out, knows
	// the largest more precisely than this.
	P int
	// People: a number of persons above zero and below this is secret.
	People int
	// Width: how far at least, on one side, the guess at a secret must reach.
	Width int
}

// The named sets. strict-1 is the default: its p leaves no gap below 85 % in
// which a contributor learns another's value by taking itself out.
var (
	Strict1   = Rules{Name: "strict-1", Groups: 3, Share: 8500, P: 1765, People: 5, Width: 1000}
	Standard1 = Rules{Name: "standard-1", Groups: 3, Share: 8500, P: 1000, People: 5, Width: 1000}
)

// NamedRules gives a set by its name.
func NamedRules(name string) (Rules, bool) {
	for _, r := range []Rules{Strict1, Standard1} {
		if r.Name == name {
			return r, true
		}
	}
	return Rules{}, false
}

// Judge says why a sum alone is secret, Shown when it is not. What a group
// contributes is Σ |coefficient × value|; where signs are mixed its net is
// judged as well, because that is what a difference tells. Waived facts are
// known and count for nothing; a sum of nothing but them is no secret.
func (r Rules) Judge(t *Table, s Sum) Reason {
	w := newScales(t)
	reason, _ := w.judge(r, &s)
	return reason
}

// Need is how far the interval of those that know a secret only from what is
// published must reach, in the unit of Quantity.
type Need struct {
	// Each is asked for above and below; below, no further than zero.
	Each float64
	// Either is asked for on one side at least.
	Either float64
}

// Need gives the width a secret sum asks for. Sums with signed facts ask for
// nothing: their interval has no end.
func (r Rules) Need(t *Table, s Sum) Need {
	w := newScales(t)
	_, need := w.judge(r, &s)
	return need
}

// wide is an unsigned number of 128 bits: 2^-20 of a millionth, so that weights
// like 91÷365 add up the same in every order.
type wide struct{ hi, lo uint64 }

const wideShift = 20

func (a wide) add(b wide) wide {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return wide{hi, lo}
}

func (a wide) sub(b wide) wide {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return wide{hi, lo}
}

func (a wide) apart(b wide) wide {
	if a.less(b) {
		return b.sub(a)
	}
	return a.sub(b)
}

func (a wide) less(b wide) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }
func (a wide) zero() bool       { return a.hi == 0 && a.lo == 0 }

// times multiplies by a small number; what would not fit is the largest.
func (a wide) times(n int) wide {
	over, hi := bits.Mul64(a.hi, uint64(n))
	carry, lo := bits.Mul64(a.lo, uint64(n))
	hi, c := bits.Add64(hi, carry, 0)
	if over != 0 || c != 0 {
		return wide{^uint64(0), ^uint64(0)}
	}
	return wide{hi, lo}
}

// quantity is for widths only, never for a decision that must be exact.
func (a wide) quantity() float64 {
	return (float64(a.hi)*(1<<64) + float64(a.lo)) / (1 << wideShift)
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return uint64(-n)
	}
	return uint64(n)
}

// weigh is |num ÷ den × value|.
func weigh(num, den int64, value impact.Quantity) wide {
	n, d := magnitude(num), uint64(den)
	for n >= 1<<44 {
		n, d = n>>1, max(d>>1, 1)
	}
	hi, lo := bits.Mul64(n, magnitude(int64(value)))
	hi, lo = hi<<wideShift|lo>>(64-wideShift), lo<<wideShift
	if d == 1 {
		return wide{hi, lo}
	}
	q := hi / d
	rest, _ := bits.Div64(hi%d, lo, d)
	return wide{q, rest}
}

// scales weighs sums by group; it is used again and again.
type scales struct {
	t      *Table
	place  []int32 // group → 1 + its place below
	groups []share
}

// share is what one group has in a sum: gross, and by sign. left is the same of
// what is missing to the largest values possible, where everybody knows them.
type share struct {
	group      int32
	gross      wide
	plus, less wide
	left       wide
}

func newScales(t *Table) *scales {
	most := int32(-1)
	for i := range t.Facts {
		most = max(most, t.Facts[i].Group)
	}
	return &scales{t: t, place: make([]int32, most+1)}
}

// load weighs one sum. mixed tells that signs differ, bounded that everybody
// knows the largest value of each fact.
func (w *scales) load(s *Sum) (signed, mixed, bounded bool) {
	for _, g := range w.groups {
		w.place[g.group] = 0
	}
	w.groups = w.groups[:0]
	plus, less := false, false
	bounded = true
	for i := range s.Terms {
		term := &s.Terms[i]
		f := &w.t.Facts[term.Fact]
		if f.Waived {
			continue
		}
		if w.place[f.Group] == 0 {
			w.groups = append(w.groups, share{group: f.Group})
			w.place[f.Group] = int32(len(w.groups))
		}
		g := &w.groups[w.place[f.Group]-1]
		x := weigh(term.Num, term.Den, f.Value)
		g.gross = g.gross.add(x)
		if (term.Num > 0) == (f.Value >= 0) {
			g.plus = g.plus.add(x)
		} else {
			g.less = g.less.add(x)
		}
		plus = plus || term.Num > 0
		less = less || term.Num < 0
		signed = signed || f.Signed
		if f.Max > 0 && f.Value <= f.Max {
			g.left = g.left.add(weigh(term.Num, term.Den, f.Max-f.Value))
		} else {
			bounded = false
		}
	}
	mixed = plus && less || signed
	return signed, mixed, bounded && !mixed
}

// tally is what the rules look at.
type tally struct {
	n            int
	total        wide
	first, other wide // the two largest
	firstGroup   int32
	otherGroup   int32
}

func (w *scales) tally(of func(*share) wide) tally {
	t := tally{n: len(w.groups), firstGroup: -1, otherGroup: -1}
	for i := range w.groups {
		g := &w.groups[i]
		x := of(g)
		t.total = t.total.add(x)
		switch {
		case t.firstGroup < 0 || t.first.less(x):
			t.other, t.otherGroup = t.first, t.firstGroup
			t.first, t.firstGroup = x, g.group
		case t.otherGroup < 0 || t.other.less(x):
			t.other, t.otherGroup = x, g.group
		}
	}
	return t
}

func gross(g *share) wide { return g.gross }
func net(g *share) wide   { return g.plus.apart(g.less) }
func left(g *share) wide  { return g.left }

const whole = 10_000

// fails applies the rules to n groups whose largest is first. others is the
// total without the largest and without what the keenest guesser brought itself.
func (r Rules) fails(n, least int, total, first, others wide, zero, people bool) Reason {
	switch {
	case n == 0:
		return Shown
	case n < least:
		return FewContributors
	case zero && total.zero():
		return NothingButZero
	case total.times(r.Share).less(first.times(whole)), others.times(whole).less(first.times(r.P)):
		return Dominated
	case people && !total.zero() && total.less(weigh(int64(r.People), 1, impact.One)):
		return FewPeople
	}
	return Shown
}

func (r Rules) alone(t *tally, zero, people bool) Reason {
	return r.fails(t.n, r.Groups, t.total, t.first, t.total.sub(t.first).sub(t.other), zero, people)
}

// judge applies the rules, and says how wide a guess at the sum must be.
func (w *scales) judge(r Rules, s *Sum) (Reason, Need) {
	if len(s.Terms) == 0 {
		return Shown, Need{}
	}
	signed, mixed, bounded := w.load(s)
	t := w.tally(gross)
	reason := r.alone(&t, !mixed, s.People && !mixed)
	if mixed {
		if nt := w.tally(net); reason == Shown {
			reason = r.alone(&nt, false, false)
		}
	}
	if bounded {
		if lt := w.tally(left); reason == Shown {
			reason = r.alone(&lt, true, s.People)
		}
	}
	if reason == Shown || signed {
		return reason, Need{}
	}
	need := r.width(&t, s.People)
	if bounded {
		// Between its bounds a sum may have no room on one side by nature.
		need.Each = 0
	}
	return reason, need
}

func (r Rules) width(t *tally, people bool) Need {
	total, first, other := t.total.quantity(), t.first.quantity(), t.other.quantity()
	n := Need{
		Each: max(first*whole/float64(r.Share)-total, first*float64(r.P)/whole-(total-first-other), 0),
	}
	n.Either = max(n.Each, total*float64(r.Width)/whole)
	if total == 0 || people {
		n.Either = max(n.Either, float64(impact.One))
	}
	return n
}

// harmless lists the groups that may learn a secret sum: what is left when they
// take themselves out is nobody's. The sum must be loaded and secret.
func (w *scales) harmless(r Rules, s *Sum) []int32 {
	_, mixed, bounded := w.load(s)
	var out []int32
	of := []func(*share) wide{gross}
	if mixed {
		of = append(of, net)
	}
	if bounded {
		of = append(of, left)
	}
	tallies := make([]tally, len(of))
	for i := range of {
		tallies[i] = w.tally(of[i])
	}
group:
	for i := range w.groups {
		g := &w.groups[i]
		for j := range of {
			t := &tallies[j]
			first := t.first
			if g.group == t.firstGroup {
				first = t.other
			}
			rest := t.total.sub(of[j](g))
			people := s.People && !mixed
			if r.fails(t.n-1, 2, rest, first, rest.sub(first), j == 0 && !mixed || j > 0 && bounded, people) != Shown {
				continue group
			}
		}
		out = append(out, g.group)
	}
	return out
}

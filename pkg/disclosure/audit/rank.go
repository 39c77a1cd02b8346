package audit

import (
	"cmp"
	"slices"
)

// Elimination goes modulo a prime below 2^32, so that products fit 64 bits.
const (
	firstPrime  = 4294967291
	secondPrime = 4294967279
)

// leak is a secret that someone derives.
type leak struct {
	secret int
	group  int32 // -1: everybody
}

type leaks struct{ before, now []leak }

// derived eliminates what is told, first that of earlier releases, and looks
// which secrets follow: for everybody those that nothing is left of; for a
// group, those whose rest is made of the rests of its own unknowns.
func (s *system) derived(prime uint64) leaks {
	e := &echelon{p: prime, acc: make([]uint64, len(s.columns)), often: make([]int32, len(s.columns))}
	for _, rs := range [...][]relation{s.before, s.shown} {
		for _, r := range rs {
			for _, w := range r {
				e.often[w.column]++
			}
		}
	}
	var out leaks
	e.addAll(s.before)
	if len(s.before) > 0 {
		out.before = s.leaking(e)
	}
	e.addAll(s.shown)
	for _, l := range s.leaking(e) {
		if !slices.Contains(out.before, l) {
			out.now = append(out.now, l)
		}
	}
	return out
}

func (s *system) leaking(e *echelon) (out []leak) {
	rests := make([][]entry, len(s.sums))
	where := make([][]int32, len(s.columns))
	for i, r := range s.sums {
		rests[i] = e.reduce(e.load(r))
		if len(rests[i]) == 0 && len(r) > 0 {
			out = append(out, leak{i, -1})
		}
		for _, x := range rests[i] {
			where[x.column] = append(where[x.column], int32(i))
		}
	}
	groups := make([]int32, 0, len(s.owned))
	for g := range s.owned {
		groups = append(groups, g)
	}
	slices.Sort(groups)
	for _, g := range groups {
		own := &echelon{p: e.p, acc: e.acc, often: e.often}
		for _, c := range s.owned[g] {
			own.add(own.reduce(e.reduce([]entry{{c, 1}})))
		}
		var tried []int32
		for _, row := range own.rows {
			tried = append(tried, where[row.pivot]...)
		}
		slices.Sort(tried)
		for _, i := range slices.Compact(tried) {
			if len(own.reduce(rests[i])) == 0 && !s.secrets[i].mayKnow(g) {
				out = append(out, leak{int(i), g})
			}
		}
	}
	return out
}

type entry struct {
	column int32
	value  uint64
}

type row struct {
	pivot   int32
	entries []entry // 1 at the pivot, nothing at pivots of rows before
}

type echelon struct {
	p     uint64
	rows  []row
	acc   []uint64
	often []int32 // in how many relations a column is: the rarest is the pivot
}

func (e *echelon) addAll(rs []relation) {
	rs = slices.Clone(rs)
	slices.SortStableFunc(rs, func(a, b relation) int { return cmp.Compare(len(a), len(b)) })
	for _, r := range rs {
		e.add(e.reduce(e.load(r)))
	}
}

func (e *echelon) load(r relation) []entry {
	out := make([]entry, 0, len(r))
	for _, w := range r {
		n := w.num % int64(e.p)
		if n < 0 {
			n += int64(e.p)
		}
		v := uint64(n)
		if w.den != 1 {
			v = v * e.inverse(uint64(w.den)%e.p) % e.p
		}
		if v != 0 {
			out = append(out, entry{w.column, v})
		}
	}
	return out
}

func (e *echelon) inverse(a uint64) uint64 {
	r := uint64(1)
	for n := e.p - 2; n > 0; n >>= 1 {
		if n&1 == 1 {
			r = r * a % e.p
		}
		a = a * a % e.p
	}
	return r
}

// reduce takes out of a vector what the rows tell.
func (e *echelon) reduce(v []entry) []entry {
	for _, x := range v {
		e.acc[x.column] = x.value
	}
	for i := range e.rows {
		r := &e.rows[i]
		a := e.acc[r.pivot]
		if a == 0 {
			continue
		}
		a = e.p - a
		for _, x := range r.entries {
			e.acc[x.column] = (e.acc[x.column] + a*x.value) % e.p
		}
	}
	var out []entry
	for c, x := range e.acc {
		if x != 0 {
			out = append(out, entry{int32(c), x})
			e.acc[c] = 0
		}
	}
	return out
}

// add appends a reduced vector as a row.
func (e *echelon) add(v []entry) {
	if len(v) == 0 {
		return
	}
	at := 0
	for i := range v {
		if e.often[v[i].column] < e.often[v[at].column] {
			at = i
		}
	}
	f := e.inverse(v[at].value)
	for i := range v {
		v[i].value = v[i].value * f % e.p
	}
	e.rows = append(e.rows, row{v[at].column, v})
}

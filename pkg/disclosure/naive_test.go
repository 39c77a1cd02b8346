package disclosure

// The method once more, without its cleverness: dense elimination over all
// facts, modulo another prime, and the rules in floating point.

import "math"

const naivePrime = 2_147_483_647

type naive struct {
	t     *Table
	rules Rules
}

func naivePower(a, e uint64) uint64 {
	r := uint64(1)
	for ; e > 0; e >>= 1 {
		if e&1 == 1 {
			r = r * a % naivePrime
		}
		a = a * a % naivePrime
	}
	return r
}

// row writes a sum out, without what is known to everybody and to a group.
func (n naive) row(s *Sum, group int32) []uint64 {
	out := make([]uint64, len(n.t.Facts))
	for _, t := range s.Terms {
		if f := n.t.Facts[t.Fact]; !f.Waived && f.Group != group {
			num := uint64(t.Num+naivePrime) % naivePrime
			out[t.Fact] = num * naivePower(uint64(t.Den), naivePrime-2) % naivePrime
		}
	}
	return out
}

type echelon struct {
	rows [][]uint64
	at   []int
}

// add tells whether the row was new.
func (e *echelon) add(v []uint64) bool {
	v = append([]uint64(nil), v...)
	if !e.reduce(v) {
		return false
	}
	for k := range v {
		if v[k] != 0 {
			inv := naivePower(v[k], naivePrime-2)
			for j := range v {
				v[j] = v[j] * inv % naivePrime
			}
			e.rows, e.at = append(e.rows, v), append(e.at, k)
			break
		}
	}
	return true
}

func (e *echelon) reduce(v []uint64) bool {
	for i, r := range e.rows {
		if a := v[e.at[i]]; a != 0 {
			for j := range v {
				v[j] = (v[j] + (naivePrime-a)*r[j]) % naivePrime
			}
		}
	}
	for _, x := range v {
		if x != 0 {
			return true
		}
	}
	return false
}

func (e *echelon) has(v []uint64) bool { return !e.reduce(append([]uint64(nil), v...)) }

// told is what a group derives from sums; -1 is everybody.
func (n naive) told(sums []*Sum, group int32) *echelon {
	e := &echelon{}
	for _, s := range sums {
		e.add(n.row(s, group))
	}
	return e
}

// secret tells that a sum, less what a group knows, is somebody's.
func (n naive) secret(s *Sum, without int32) bool {
	least := n.rules.Groups
	gross, net, left := map[int32]float64{}, map[int32]float64{}, map[int32]float64{}
	plus, less, signed, bounded, out := false, false, false, true, false
	for _, t := range s.Terms {
		f := n.t.Facts[t.Fact]
		if f.Waived {
			continue
		}
		c := float64(t.Num) / float64(t.Den)
		plus, less, signed, bounded = plus || c > 0, less || c < 0, signed || f.Signed, bounded && f.Max > 0
		if f.Group == without {
			out = true
			continue
		}
		gross[f.Group] += math.Abs(c * float64(f.Value))
		net[f.Group] += c * float64(f.Value)
		left[f.Group] += math.Abs(c) * float64(f.Max-f.Value)
	}
	if out {
		least = 2
	}
	mixed := plus && less || signed
	bad := func(of map[int32]float64, zero, people bool) bool {
		total, first, second := 0.0, 0.0, 0.0
		for _, x := range of {
			x = math.Abs(x)
			total += x
			if x > first {
				first, second = x, first
			} else if x > second {
				second = x
			}
		}
		if out {
			second = 0
		}
		return len(of) > 0 && (len(of) < least || zero && total == 0 || 10000*first > float64(n.rules.Share)*total ||
			10000*(total-first-second) < float64(n.rules.P)*first || people && total > 0 && total < float64(n.rules.People)*1e6)
	}
	return bad(gross, !mixed, s.People && !mixed) || mixed && bad(net, false, false) || !mixed && bounded && bad(left, true, s.People)
}

package audit

import (
	"slices"

	"github.com/grandlyon/retombees/pkg/disclosure"
)

// system is what is known of the unknowns. Facts that enter every relation and
// every secret with the same weights are one unknown: nothing tells them apart.
type system struct {
	columns []column
	before  []relation
	shown   []relation
	secrets []Secret
	sums    []relation // of secrets
	owned   map[int32][]int32
}

type column struct {
	value   float64
	signed  bool
	bounded bool // by most
	most    float64
	owner   int32 // the only group in it, -1 for several
}

// relation is a sum over columns.
type relation []weight

type weight struct {
	column   int32
	num, den int64
}

func (w weight) float() float64 { return float64(w.num) / float64(w.den) }

type mark struct {
	a, b            uint64
	signed, bounded bool
}

func newSystem(t *disclosure.Table, k told, secrets []Secret) *system {
	s := &system{secrets: secrets, owned: map[int32][]int32{}}
	sums := slices.Concat(k.before, k.shown)
	before := len(k.before)
	for i := range secrets {
		sums = append(sums, secrets[i].Sum)
	}
	marks := make([]mark, len(t.Facts))
	used := make([]bool, len(t.Facts))
	for i, sum := range sums {
		for _, x := range sum.Terms {
			m := &marks[x.Fact]
			for _, n := range [...]uint64{uint64(i), uint64(x.Num), uint64(x.Den)} {
				m.a = (m.a ^ n) * 0x9e3779b97f4a7c15
				m.a ^= m.a >> 32
				m.b = (m.b+n)*0xff51afd7ed558ccd + 1
				m.b ^= m.b >> 33
			}
			used[x.Fact] = true
		}
	}
	of := make([]int32, len(t.Facts))
	index := map[mark]int32{}
	for i := range t.Facts {
		f := &t.Facts[i]
		of[i] = -1
		if f.Waived || !used[i] {
			continue
		}
		m := marks[i]
		m.signed, m.bounded = f.Signed, f.Max > 0
		c, ok := index[m]
		if !ok {
			c = int32(len(s.columns))
			index[m] = c
			s.columns = append(s.columns, column{signed: f.Signed, bounded: f.Max > 0, owner: f.Group})
		}
		of[i] = c
		col := &s.columns[c]
		col.value += float64(f.Value)
		col.most += float64(f.Max)
		if col.owner != f.Group {
			col.owner = -1
		}
	}
	for c := range s.columns {
		if g := s.columns[c].owner; g >= 0 {
			s.owned[g] = append(s.owned[g], int32(c))
		}
	}
	for i, sum := range sums {
		var r relation
		for _, x := range sum.Terms {
			if c := of[x.Fact]; c >= 0 {
				r = append(r, weight{c, x.Num, x.Den})
			}
		}
		slices.SortFunc(r, func(a, b weight) int { return int(a.column) - int(b.column) })
		r = slices.CompactFunc(r, func(a, b weight) bool { return a.column == b.column })
		switch {
		case i < before:
			s.before = append(s.before, r)
		case i < len(sums)-len(secrets):
			s.shown = append(s.shown, r)
		default:
			s.sums = append(s.sums, r)
		}
	}
	return s
}

package calculation

import (
	"sync/atomic"

	"github.com/grandlyon/retombees/pkg/impact"
)

// kinship tells which stored territories hold or succeed one another, at any
// time: what one organisation says of a stock is settled before any vintage
// is chosen, so that a total does not depend on the vintage.
type kinship struct {
	l    *layout
	g    *impact.Gazetteer
	rows []atomic.Pointer[kin]
}

// kin are sets of slots.
type kin struct {
	inside  []uint64 // the slot itself and what it encloses
	related []uint64 // what encloses it, is inside it, follows or precedes it
}

func has(set []uint64, i int32) bool { return set[i/64]>>(i%64)&1 != 0 }

func (k *kinship) of(slot int32) *kin {
	if r := k.rows[slot].Load(); r != nil {
		return r
	}
	words := len(k.l.territories)/64 + 1
	r := &kin{make([]uint64, words), make([]uint64, words)}
	x := k.l.territories[slot]
	lines := append(k.after(x), x.Key)
	for i, y := range k.l.territories {
		if k.g.Encloses(x.Key, y.Key) {
			r.inside[i/64] |= 1 << (i % 64)
		}
		if k.touch(lines, y.Key) || k.touch(k.after(y), x.Key) {
			r.related[i/64] |= 1 << (i % 64)
		}
	}
	k.rows[slot].Store(r)
	return r
}

func (k *kinship) touch(lines []impact.TerritoryKey, y impact.TerritoryKey) bool {
	for _, x := range lines {
		if k.g.Encloses(x, y) || k.g.Encloses(y, x) {
			return true
		}
	}
	return false
}

// after are the territories that took over from t, near and far.
func (k *kinship) after(t *impact.Territory) (out []impact.TerritoryKey) {
	for _, s := range t.Successors {
		next := k.g.At(s.ID, t.ValidTo+1)
		if next == nil {
			continue
		}
		out = append(append(out, next.Key), k.after(next)...)
	}
	return out
}

// encloses tells that x is y, or is above it on some day.
func (k *kinship) encloses(x, y int32) bool { return x == y || has(k.of(x).inside, y) }

// related tells that a later value of one of two territories replaces an
// earlier value of the other.
func (k *kinship) related(x, y int32) bool { return x == y || has(k.of(x).related, y) }

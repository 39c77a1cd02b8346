package calculation

import (
	"slices"
	"sync/atomic"

	"github.com/grandlyon/retombees/pkg/impact"
)

// atlas places every stored territory in one vintage. Slots are indices of
// layout.territories.
type atlas struct {
	places [][]place // of each stored slot: what it is in the vintage
	up     [][]int32 // of each slot: itself and what is above it in the vintage, nearest first
	within [][]share // of each slot: the stored slots that count in it
	self   [][]int32 // of each slot: the slots of the vintage it stands for (itself, or successors)

	regions []atomic.Pointer[region]
}

// place is where a stored territory is in a vintage, and for which share.
type place struct {
	slot  int32
	share int64 // millionths
}

// share is a stored slot inside a requested one; at is the part of it that is,
// when it was split.
type share struct {
	stored int32
	at     int32
	num    int64 // millionths; One when it is inside as a whole
}

func (c *Cube) atlas(v impact.Vintage) *atlas {
	return c.atlases.get(v, func() *atlas { return newAtlas(c.layout, c.cat.Gazetteer(), v) })
}

func newAtlas(l *layout, g *impact.Gazetteer, v impact.Vintage) *atlas {
	n := len(l.territories)
	a := &atlas{places: make([][]place, n), up: make([][]int32, n), within: make([][]share, n), self: make([][]int32, n), regions: make([]atomic.Pointer[region], n)}
	for i, t := range l.territories {
		a.up[i] = append(a.up[i], int32(i))
		for _, p := range g.Ancestors(t.Key, v) {
			a.up[i] = append(a.up[i], l.slotOf[p.Key])
		}
	}
	for i, t := range l.territories {
		for _, p := range g.Project(t.Key, v) {
			a.places[i] = append(a.places[i], place{l.slotOf[p.Key], int64(p.Share)})
			a.self[i] = append(a.self[i], l.slotOf[p.Key])
		}
		if len(a.places[i]) == 0 && len(a.up[i]) > 1 {
			// The vintage has no such territory: what it holds is known to be
			// in the next one above, no finer.
			a.places[i] = []place{{a.up[i][1], int64(impact.One)}}
		}
	}
	for i, places := range a.places {
		inside := map[int32][]place{}
		for _, p := range places {
			for _, above := range a.up[p.slot] {
				inside[above] = append(inside[above], p)
			}
		}
		for above, ps := range inside {
			switch {
			case len(places) == 1:
				a.within[above] = append(a.within[above], share{int32(i), places[0].slot, int64(impact.One)})
			case len(ps) == len(places): // every part is inside: nothing to share out
				a.within[above] = append(a.within[above], share{int32(i), int32(i), int64(impact.One)})
			default:
				for _, p := range ps {
					a.within[above] = append(a.within[above], share{int32(i), p.slot, p.share})
				}
			}
		}
	}
	return a
}

// region is what a figure's territory holds: stored slots with their shares,
// and the stored slots that are wider than it.
type region struct {
	shares []share
	above  []int32
	slots  []int32 // of the vintage, for rosters
	split  bool    // one of shares is not whole
}

func (a *atlas) region(slot int32) *region {
	r := a.regions[slot].Load()
	if r == nil {
		r = a.merge(slot)
		a.regions[slot].Store(r)
	}
	return r
}

// merge makes one region of several slots: what they share counts once.
func (a *atlas) merge(slots ...int32) *region {
	r := &region{}
	for _, s := range slots {
		for _, in := range a.self[s] {
			if !slices.Contains(r.slots, in) {
				r.slots = append(r.slots, in)
			}
		}
	}
	// A slot inside another adds nothing.
	r.slots = slices.DeleteFunc(r.slots, func(s int32) bool {
		return slices.ContainsFunc(r.slots, func(o int32) bool { return o != s && slices.Contains(a.up[s], o) })
	})
	for _, s := range r.slots {
		r.shares = append(r.shares, a.within[s]...)
	}
	slices.SortFunc(r.shares, func(x, y share) int {
		if x.stored != y.stored {
			return int(x.stored) - int(y.stored)
		}
		return int(x.at) - int(y.at)
	})
	inside := make(map[int32]bool, len(r.shares))
	for _, s := range r.shares {
		inside[s.stored] = true
		r.split = r.split || s.num != int64(impact.One)
	}
	for i, places := range a.places {
		if inside[int32(i)] {
			continue
		}
		for _, p := range places {
			if slices.ContainsFunc(r.slots, func(s int32) bool { return s != p.slot && slices.Contains(a.up[s], p.slot) }) {
				r.above = append(r.above, int32(i))
				break
			}
		}
	}
	return r
}

package release

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Difference says what became of a cell between two releases.
type Difference string

// Differences. Gone: the later release has no such cell, its facts were taken
// back or its place is no longer a territory.
const (
	IsNew     Difference = "new"       // it was not there
	Revised   Difference = "revised"   // another number or status, or other facts behind it
	Hidden    Difference = "withheld"  // it was shown
	Disclosed Difference = "disclosed" // it was withheld
	IsGone    Difference = "gone"
	isTheSame Difference = ""
)

// CellChange is one cell that differs between two releases.
type CellChange struct {
	Difference Difference
	// Cell as the later release has it; of a cell that is gone, the earlier one.
	Cell Cell
	// Before and After are the values shown (of a count by impact type, the
	// organisations), nil when there was none.
	Before, After *impact.Quantity
	// Cause of the last move; SeveralCauses when the cell moved in releases in
	// between too.
	Cause Cause
}

// Nothing is what there was before the first release.
func Nothing(cat *impact.Catalogue) *Set {
	s, err := NewSet(cat, impact.Release{}, nil, func(func(*Sealed, error) bool) {})
	if err != nil {
		panic(err) // nothing was read
	}
	return s
}

// Place of a cell among the changes: see Changes.
type Place []string

// Changes gives the cells that differ from an earlier release to a later one, in
// the order of Set.All. It starts after a place, or at the beginning when it
// is nil; the place of a change starts the next page.
func Changes(from, to *Set, after Place) (iter.Seq2[CellChange, Place], error) {
	if from.release.Number >= to.release.Number {
		return nil, errors.New("release: changes lead from an earlier release to a later one")
	}
	a, b := walker{set: from}, walker{set: to}
	if after != nil {
		k, err := placeOf(after)
		if err != nil {
			return nil, err
		}
		a.skip(&k)
		b.skip(&k)
	}
	return func(yield func(CellChange, Place) bool) {
		a, b := a, b // each run starts anew
		for {
			x, y := a.here(), b.here()
			if x == nil && y == nil {
				return
			}
			var o int
			switch {
			case x == nil:
				o = 1
			case y == nil:
				o = -1
			default:
				o = x.compare(y)
			}
			k := y
			var c CellChange
			switch {
			case o < 0:
				k, c = x, gone(a.cell(), to)
				a.next()
			case o > 0:
				c = added(b.cell())
				b.next()
			default:
				c = between(&a, &b)
				a.next()
				b.next()
			}
			if c.Difference != isTheSame && !yield(c, k.place()) {
				return
			}
		}
	}, nil
}

func gone(c Cell, to *Set) CellChange {
	out := CellChange{Difference: IsGone, Before: c.number(), Cause: Withdrawals, Cell: c}
	if t := to.cat.Gazetteer().ByKey(c.Figure.Territory); t == nil || to.cat.Gazetteer().At(t.ID, to.release.Vintage.Day()) != t {
		out.Cause = Method // the territories are others
	}
	return out
}

func added(c Cell) CellChange {
	return CellChange{Difference: IsNew, Cell: c, After: c.number(), Cause: c.Cause}
}

// number is what a cell shows before all else.
func (c *Cell) number() *impact.Quantity {
	if c.Figure.Indicator != "" || c.Withheld() {
		return c.Figure.Value
	}
	n := impact.Quantity(c.Figure.Organisations) * impact.One
	return &n
}

// between compares what two releases say of one cell.
func between(a, b *walker) (c CellChange) {
	x, y := a.row(), b.row()
	since := a.set.release.Number
	switch {
	case x.status == impact.Suppressed && y.status == impact.Suppressed:
		return c
	case x.status == impact.Suppressed:
		c.Difference = Disclosed
	case y.status == impact.Suppressed:
		c.Difference = Hidden
	case impact.ReleaseNumber(y.moved) > since, x.status != y.status, x.has&hasValue != y.has&hasValue, x.value != y.value:
		c.Difference = Revised
	default:
		return c
	}
	earlier := a.cell()
	c.Cell = b.cell()
	c.Before, c.After, c.Cause = earlier.number(), c.Cell.number(), c.Cell.Cause
	if b.set.inForceBefore(c.Cell.Moved) > since && !equal(earlier.Figure.Value, c.Cell.Before) {
		c.Cause = SeveralCauses // it moved in between as well
	}
	return c
}

func equal(a, b *impact.Quantity) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// where names a cell, the same in every release.
type where struct {
	blockKey
	territory  impact.TerritoryID
	key        impact.TerritoryKey
	period     impact.Period
	code       string
	qualifiers string
}

func (a *where) compare(b *where) int {
	return cmp.Or(a.blockKey.compare(b.blockKey), cmp.Compare(a.territory, b.territory), cmp.Compare(a.key, b.key),
		comparePeriods(a.period, b.period), cmp.Compare(a.code, b.code), cmp.Compare(a.qualifiers, b.qualifiers))
}

func (a *where) place() Place {
	kind := "i"
	if a.counts {
		kind = "t"
	}
	return Place{kind, a.blockKey.code, string(a.cut), string(a.territory), strconv.Itoa(int(a.key)), a.period.String(), a.code, a.qualifiers}
}

func placeOf(p Place) (w where, err error) {
	bad := errors.New("release: not a place of changes")
	if len(p) != 8 {
		return w, bad
	}
	key, err := strconv.ParseInt(p[4], 10, 32)
	period, f := impact.ParsePeriod(p[5])
	if err != nil || f != nil || p[0] != "i" && p[0] != "t" {
		return w, bad
	}
	return where{
		blockKey:  blockKey{p[0] == "t", p[1], calculation.Dimension(p[2])},
		territory: impact.TerritoryID(p[3]), key: impact.TerritoryKey(key), period: period, code: p[6], qualifiers: p[7],
	}, nil
}

// walker goes through the rows of a set.
type walker struct {
	set      *Set
	block, t int
	i        int32
	w        where
	at       int32 // the row w names, plus one
}

func (k *walker) here() *where {
	if int(k.i) >= len(k.set.rows) {
		return nil
	}
	if k.at == k.i+1 {
		return &k.w
	}
	for k.i >= k.set.blocks[k.block].starts[len(k.set.blocks[k.block].starts)-1] {
		k.block++
		k.t = 0
	}
	for k.i >= k.set.blocks[k.block].starts[k.t+1] {
		k.t++
	}
	b, r := &k.set.blocks[k.block], k.row()
	key := k.set.places[b.territories[k.t]]
	if k.at == 0 || k.w.key != key {
		k.w.key, k.w.territory = key, k.set.cat.Gazetteer().ByKey(key).ID
	}
	k.w.blockKey, k.w.period, k.w.code, k.w.qualifiers = b.blockKey, k.set.periods[r.period], k.set.codes[r.code][0], k.set.quals[r.quals]
	k.at = k.i + 1
	return &k.w
}

func (k *walker) row() *row  { return &k.set.rows[k.i] }
func (k *walker) next()      { k.i++ }
func (k *walker) cell() Cell { k.here(); return k.set.cell(k.block, k.t, k.i) }

// skip goes to the first row after a place.
func (k *walker) skip(after *where) {
	b, found := slices.BinarySearchFunc(k.set.blocks, after.blockKey, func(b block, w blockKey) int { return b.blockKey.compare(w) })
	if b == len(k.set.blocks) {
		k.i = int32(len(k.set.rows))
		return
	}
	k.block, k.i = b, k.set.blocks[b].starts[0]
	if !found {
		return
	}
	g := k.set.cat.Gazetteer()
	blk := &k.set.blocks[b]
	k.t, found = slices.BinarySearchFunc(blk.territories, after, func(rank int32, w *where) int {
		key := k.set.places[rank]
		return cmp.Or(strings.Compare(string(g.ByKey(key).ID), string(w.territory)), cmp.Compare(key, w.key))
	})
	k.i = blk.starts[k.t]
	for found && k.i < blk.starts[k.t+1] && k.here().compare(after) <= 0 {
		k.i++
	}
	if k.t == len(blk.territories) {
		k.t-- // here goes on to the next block
	}
}

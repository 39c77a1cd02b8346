package release

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

func texts(t testing.TB, from, to *Set, after Place, most int) (out []string, last Place) {
	t.Helper()
	changes, err := Changes(from, to, after)
	if err != nil {
		t.Fatal(err)
	}
	for c, p := range changes {
		if len(out) == most {
			return out, last
		}
		show := func(q *impact.Quantity) string {
			if q == nil {
				return "null"
			}
			return q.String()
		}
		out = append(out, fmt.Sprintf("%s %s %s→%s %s", c.Difference, c.Cell.line(), show(c.Before), show(c.After), c.Cause))
		last = p
	}
	return out, last
}

func TestChanges(t *testing.T) {
	oullins := impact.TerritoryID("commune-69149")
	first := setOf(t, 1, []Cell{
		one(t, "insertion_hours", theMetropole, of2025, "12"),
		one(t, "insertion_hours", villeurbanne, of2025, "3"),
		one(t, "waste_collected", theMetropole, of2025, "9"),
		one(t, "waste_collected", villeurbanne, of2025, ""),
		one(t, "waste_collected", oullins, of2025, ""),
		one(t, "waste_reused", theMetropole, of2025, "4"),
		one(t, "waste_recycled", theMetropole, of2025, "6"),
	})
	third := setOf(t, 3, []Cell{
		one(t, "insertion_hours", theMetropole, of2025, "15", moved(2, LateSubmissions, number("12"))),
		one(t, "insertion_hours", villeurbanne, of2025, "", moved(3, DisclosureChange, number("3"))),
		one(t, "insertion_people", theMetropole, of2025, ""),
		one(t, "waste_collected", theMetropole, of2025, "10", moved(3, Corrections, number("9.5"))),
		one(t, "waste_collected", villeurbanne, of2025, "2", moved(3, LateSubmissions, nil)),
		one(t, "waste_collected", oullins, of2025, ""),
		one(t, "waste_reused", theMetropole, of2025, "4"),
		one(t, "waste_reused", villeurbanne, of2025, "1", moved(2, FirstRelease, nil)),
	})
	got, _ := texts(t, first, third, nil, 99)
	want := []string{
		"withheld insertion_hours 3→null disclosure_control",
		"revised insertion_hours 12→15 late_submissions",
		"new insertion_people null→null first_release",
		"disclosed waste_collected null→2 late_submissions",
		"revised waste_collected 9→10 several",
		"gone waste_recycled 6→null withdrawals",
		"new waste_reused null→1 first_release",
	}
	if !slices.Equal(got, want) {
		t.Errorf(" got %q\nwant %q", got, want)
	}
	if _, err := Changes(third, first, nil); err == nil {
		t.Error("backwards")
	}
	for _, p := range []Place{{}, {"i"}, {"x", "", "", "", "1", "2025", "", ""}, {"i", "", "", "", "x", "2025", "", ""}, {"i", "", "", "", "1", "soon", "", ""}} {
		if _, err := Changes(first, third, p); err == nil {
			t.Errorf("a place %q", p)
		}
	}
}

// A build and the changes it leads to count the same.
func TestChangesOfABuild(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	w := anyWorld(t, r, 25, 2024, 2025)
	var before *out
	var sets []*Set
	for n := impact.ReleaseNumber(1); n <= 3; n++ {
		if n > 1 {
			w.late(r, 0.1, 2024, 2025)
		}
		o := build(t, w.input(n, before))
		units := make([]*Sealed, 0, len(o.units))
		for _, u := range o.units {
			units = append(units, o.at[u])
		}
		rel := aRelease(n)
		rel.Day, rel.Vintage, rel.Digest = w.day, o.built.Vintage, o.built.Digest
		s, err := NewSet(reference(), rel, []impact.Release{aRelease(1), aRelease(2), aRelease(3)}, each(units))
		if err != nil {
			t.Fatal(err)
		}
		if s.Len() != o.built.Counts.Cells {
			t.Errorf("release %d: %d cells, %d counted", n, s.Len(), o.built.Counts.Cells)
		}
		lattice := NewLattice(reference(), w.day, 45)
		for c := range s.All() {
			at := Slice{Indicator: c.Figure.Indicator, Territory: c.Figure.Territory, Period: c.Figure.Period, Cut: c.Cut}
			if at.Indicator == "" {
				at.ImpactType = c.Figure.ImpactType
			}
			if !lattice.Declares(at) {
				t.Fatalf("release %d: an undeclared cell: %+v", n, at)
			}
		}
		if before != nil {
			found := map[Difference]int{}
			changes, err := Changes(sets[len(sets)-1], s, nil)
			if err != nil {
				t.Fatal(err)
			}
			for c := range changes {
				found[c.Difference]++
				if c.Cell.Moved != n && c.Difference != IsGone {
					t.Errorf("release %d: moved in %d: %+v", n, c.Cell.Moved, c)
				}
			}
			if want := o.built.Counts; found[IsNew] != want.New || found[Revised]+found[Disclosed] != want.Revised || found[Hidden] != want.Hidden {
				t.Errorf("release %d: changes %v, counted %+v", n, found, want)
			}
		}
		before, sets = o, append(sets, s)
	}
}

// Pages are pieces of the whole, wherever they are cut; applied to the earlier
// release, the changes give the later one.
func TestChangesByPages(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 3))
		from, to := declaredCells(t, r, 30), declaredCells(t, r, 30)
		for i := range to { // not everything differs
			if j := slices.IndexFunc(from, func(c Cell) bool { return nameOf(&c) == nameOf(&to[i]) }); j >= 0 && r.IntN(2) == 0 {
				to[i] = from[j]
			}
		}
		a, b := setOf(t, 1, from), setOf(t, 3, to)
		all, _ := texts(t, a, b, nil, 1<<20)
		var paged []string
		var after Place
		for {
			page, last := texts(t, a, b, after, 1+r.IntN(40))
			if len(page) == 0 {
				break
			}
			paged, after = append(paged, page...), last
		}
		if !slices.Equal(all, paged) {
			t.Fatalf("seed %d: %d changes, %d by pages", seed, len(all), len(paged))
		}
		state := map[string]string{}
		say := func(c *Cell) string { return fmt.Sprint(c.Figure.Value != nil, string(rune(c.Figure.Status))) }
		value := func(c *Cell) string {
			if c.Figure.Value == nil {
				return say(c)
			}
			return say(c) + c.Figure.Value.String()
		}
		for i := range from {
			state[nameOf(&from[i])] = value(&from[i])
		}
		changes, err := Changes(a, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		for c := range changes {
			if c.Difference == IsGone {
				delete(state, nameOf(&c.Cell))
				continue
			}
			state[nameOf(&c.Cell)] = value(&c.Cell)
		}
		for i := range to {
			if n := nameOf(&to[i]); state[n] != value(&to[i]) {
				t.Fatalf("seed %d: %s: %s, want %s", seed, n, state[n], value(&to[i]))
			}
		}
		if len(state) != len(to) {
			t.Fatalf("seed %d: %d cells, want %d", seed, len(state), len(to))
		}
	}
}

package release

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// small is what random releases and queries are about: every kind of
// indicator, every level, the years 2023 to 2025 and what has begun of 2026.
var (
	smallIndicators = []impact.IndicatorCode{
		"insertion_hours", "waste_collected", "recovery_rate", "ess_agreement", "fte_total", "insertion_people", "ghg_scope3",
		"waste_reused", "waste_recycled", "waste_energy_recovered",
	}
	smallTypes  = []impact.ImpactTypeCode{"environment", "environment.waste", "inclusion", "inclusion.insertion"}
	smallPlaces = []impact.TerritoryID{"pays-FR", "metropole-200046977", "commune-69266", "commune-69123", "commune-69149", "arrondissement-69388"}
	smallCodes  = []string{"", "ACI", "EI", "association"}
)

func smallKeys(t testing.TB) (out []impact.TerritoryKey) {
	t.Helper()
	for _, id := range smallPlaces {
		out = append(out, place(t, id))
	}
	g := reference().Gazetteer()
	for _, c := range g.Descendants(out[1], 2026, impact.CTM) {
		out = append(out, c.Key)
	}
	return out[:min(len(out), 9)]
}

func aRelease(n impact.ReleaseNumber) impact.Release {
	return impact.Release{
		Key: fmt.Sprint("key", n), Number: n, State: impact.ReleasePublished, Day: impact.NewDate(2026, time.Month(n)+5, 3), Embargo: 45, Seq: int64(n), Vintage: 2026,
		PublishedAt: time.Date(2026, time.Month(n)+5, 3, 8, 0, 0, 0, time.UTC),
	}
}

// declaredCells gives random cells as a release has them.
func declaredCells(t testing.TB, r *rand.Rand, density int) []Cell {
	l := NewLattice(reference(), aRelease(1).Day, 45)
	var out []Cell
	add := func(ind *impact.Indicator, s Slice, code, quals string) {
		if r.IntN(100) >= density || !l.Declares(s) {
			return
		}
		c := anyCell(r, ind, s.Territory, s.Period, s.Cut, code)
		if ind == nil {
			c.Figure.ImpactType = s.ImpactType
		} else if !Released(ind.Kind) {
			c.Figure = calculation.Figure{
				Indicator: ind.Code, ImpactType: ind.ImpactType, Kind: ind.Kind, Territory: s.Territory, Vintage: 2026, Period: s.Period,
				Codes: c.Figure.Codes, Status: impact.Suppressed, MethodologyVersion: ind.MethodologyVersion,
			}
		}
		c.Figure.Qualifiers = quals
		out = append(out, c)
	}
	for _, at := range smallKeys(t) {
		for y := 2023; y <= 2026; y++ {
			for _, p := range slices.Concat([]impact.Period{impact.YearPeriod(y)}, impact.YearPeriod(y).Buckets(impact.Quarter)) {
				for _, code := range smallIndicators {
					ind := reference().Indicator(code)
					quals := []string{""}
					if code == "fte_total" {
						quals = []string{"a=1", "a=2"}
					}
					for _, q := range quals {
						add(ind, Slice{Indicator: code, Territory: at, Period: p}, "", q)
						for _, cut := range Cuts {
							for _, c := range smallCodes {
								add(ind, Slice{Indicator: code, Territory: at, Period: p, Cut: cut}, c, q)
							}
						}
					}
				}
				for _, code := range smallTypes {
					add(nil, Slice{ImpactType: code, Territory: at, Period: p}, "", "")
				}
			}
		}
	}
	return out
}

// sealed makes units as a build would, by year and by indicator.
func sealed(t testing.TB, cells []Cell) []*Sealed {
	t.Helper()
	by := map[Unit][]Cell{}
	for _, c := range cells {
		u := Unit{cmp.Or(string(c.Figure.Indicator), CountsFamily), c.Figure.Period.Start.Year()}
		by[u] = append(by[u], c)
	}
	var out []*Sealed
	for u, cells := range by {
		text, err := Encode(reference(), cells)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &Sealed{Unit: u, Figures: text})
	}
	slices.SortFunc(out, func(a, b *Sealed) int {
		return cmp.Or(cmp.Compare(a.Unit.Family, b.Unit.Family), a.Unit.Year-b.Unit.Year)
	})
	return out
}

func each(units []*Sealed) iter.Seq2[*Sealed, error] {
	return func(yield func(*Sealed, error) bool) {
		for _, u := range units {
			if !yield(u, nil) {
				return
			}
		}
	}
}

func setOf(t testing.TB, n impact.ReleaseNumber, cells []Cell) *Set {
	t.Helper()
	var history []impact.Release
	for i := impact.ReleaseNumber(1); i <= n; i++ {
		history = append(history, aRelease(i))
	}
	s, err := NewSet(reference(), aRelease(n), history, each(sealed(t, cells)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The set gives back every cell, in the order of the text.
func TestSetHoldsEveryCell(t *testing.T) {
	cells := declaredCells(t, rand.New(rand.NewPCG(1, 1)), 50)
	s := setOf(t, 3, cells)
	var back []Cell
	for c := range s.All() {
		if c.Figure.Moved != aRelease(c.Moved).Day {
			t.Fatalf("moved in %d, on %s", c.Moved, c.Figure.Moved)
		}
		d := *c
		d.Figure.Moved = 0
		back = append(back, d)
	}
	want, err := Encode(reference(), cells)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Encode(reference(), back)
	if err != nil || !bytes.Equal(want, got) || s.Len() != len(cells) {
		t.Fatalf("the set lost something (%v)", err)
	}
	decoded, err := Decode(reference(), want)
	if err != nil || !reflect.DeepEqual(decoded, back) {
		t.Error("the set is not in the order of the text")
	}
}

// anyQuery asks for anything, allowed or not.
func anyQuery(r *rand.Rand, keys []impact.TerritoryKey) calculation.Query {
	some := func(n int) int { return 1 + r.IntN(n) }
	q := calculation.Query{Vintage: 2026, IncludeEmpty: r.IntN(3) == 0, KeepRefused: r.IntN(2) == 0}
	if r.IntN(4) == 0 {
		for range some(2) {
			q.ImpactTypes = append(q.ImpactTypes, pick(r, smallTypes...))
		}
		q.OnlyThisType = r.IntN(5) == 0
	} else {
		for range some(3) {
			q.Indicators = append(q.Indicators, pick(r, smallIndicators...))
		}
	}
	for range some(4) {
		q.Territories = append(q.Territories, pick(r, keys...))
	}
	for range some(3) {
		p := impact.YearPeriod(2022 + r.IntN(5))
		switch r.IntN(8) {
		case 0:
			p = pick(r, p.Buckets(impact.Month)...)
		case 1, 2:
			p = pick(r, p.Buckets(impact.Quarter)...)
		case 3:
			p = impact.Period{Start: p.Start, End: p.End + 30}
		}
		q.Periods = append(q.Periods, p)
	}
	dims := append([]calculation.Dimension{calculation.ByOrganisation, calculation.Disaggregation("sex"), calculation.ByProgramme}, Cuts...)
	if r.IntN(3) == 0 {
		q.Cuts = append(q.Cuts, pick(r, dims...))
		if r.IntN(4) == 0 {
			q.Cuts = append(q.Cuts, pick(r, dims...))
		}
	}
	if r.IntN(3) == 0 {
		d := pick(r, dims...)
		if len(q.Cuts) > 0 && r.IntN(4) > 0 {
			d = q.Cuts[0]
		}
		f := calculation.Filter{Dimension: d}
		for range some(2) {
			f.Codes = append(f.Codes, pick(r, smallCodes...))
		}
		q.Filters = append(q.Filters, f)
	}
	switch r.IntN(20) {
	case 0:
		q.State = impact.Submitted
	case 1:
		q.Prorata = true
	case 2:
		q.AllowBounds = true
	case 3:
		q.MergeTerritories = true
	case 4:
		q.MergePeriods = true
	case 5:
		q.Qualifiers = "a=1"
	}
	return q
}

// scan answers a query from the cells by the words of api.md 5.4: each row is
// one cell, chosen by what the query says.
func scan(cells []Cell, q calculation.Query) (out []calculation.Figure) {
	type wanted struct {
		ind impact.IndicatorCode
		typ impact.ImpactTypeCode
	}
	var lines []wanted
	for _, c := range q.Indicators {
		lines = append(lines, wanted{ind: c})
	}
	if len(lines) == 0 {
		for _, c := range q.ImpactTypes {
			lines = append(lines, wanted{typ: c})
		}
	}
	cut := calculation.Dimension("")
	if len(q.Cuts) > 0 {
		cut = q.Cuts[0]
	} else if len(q.Filters) > 0 {
		cut = q.Filters[0].Dimension
	}
	for _, l := range lines {
		for _, t := range q.Territories {
			for _, p := range q.Periods {
				n := len(out)
				for _, c := range cells {
					f := c.Figure
					if f.Indicator != l.ind || l.ind == "" && f.ImpactType != l.typ || f.Territory != t || f.Period != p || c.Cut != cut ||
						q.Qualifiers != "" && f.Qualifiers != q.Qualifiers || slices.ContainsFunc(q.Filters, func(w calculation.Filter) bool { return !slices.Contains(w.Codes, f.Codes[0]) }) {
						continue
					}
					if len(q.Cuts) == 0 {
						f.Codes = nil
					}
					if q.MergeTerritories {
						f.Territory = 0
					}
					out = append(out, f)
				}
				slices.SortFunc(out[n:], func(a, b calculation.Figure) int {
					return cmp.Or(slices.Compare(a.Codes, b.Codes), cmp.Compare(a.Qualifiers, b.Qualifiers))
				})
			}
		}
	}
	return out
}

func refused(t testing.TB, err error) *calculation.UncontrolledSliceError {
	t.Helper()
	u, ok := errors.AsType[*calculation.UncontrolledSliceError](err)
	if !ok {
		t.Fatalf("refused otherwise: %v", err)
	}
	e, ok := errors.AsType[*impact.Error](err)
	if !ok || e.Code != "disclosure_uncontrolled_slice" || e.Kind != impact.Invalid || e.Detail.FR == "" || e.Detail.EN == "" || e.Hint.EN == "" {
		t.Fatalf("refused without reason: %+v", e)
	}
	return u
}

// allDeclared tells that nothing stands in the way of an answer.
func allDeclared(l *Lattice, q calculation.Query) bool {
	if q.State != "" || q.Prorata || q.AllowBounds || q.MergePeriods || q.MergeTerritories || q.OnlyThisType {
		return false
	}
	cuts := slices.Clone(q.Cuts)
	for _, f := range q.Filters {
		cuts = append(cuts, f.Dimension)
		if len(q.Cuts) == 0 && len(f.Codes) > 1 {
			return false
		}
	}
	cuts = slices.Compact(cuts)
	if len(cuts) > 1 {
		return false
	}
	cut := calculation.Dimension("")
	if len(cuts) == 1 {
		cut = cuts[0]
	}
	for _, t := range q.Territories {
		for _, p := range q.Periods {
			for _, ind := range q.Indicators {
				if !l.Declares(Slice{Indicator: ind, Territory: t, Period: p, Cut: cut}) {
					return false
				}
			}
			for _, typ := range q.ImpactTypes {
				if !l.Declares(Slice{ImpactType: typ, Territory: t, Period: p, Cut: cut}) {
					return false
				}
			}
		}
	}
	return true
}

// checkQuery holds a query against the cells and against the lattice.
func checkQuery(t *testing.T, s *Set, l *Lattice, cells []Cell, q calculation.Query) (answered bool) {
	t.Helper()
	res, err := s.Figures(q)
	if err != nil {
		u := refused(t, err)
		if allDeclared(l, q) {
			t.Fatalf("refused, though each of its cells is declared: %+v", q)
		}
		if len(u.Nearest) == 0 {
			t.Fatalf("nothing near %+v", q)
		}
		for _, near := range u.Nearest {
			if _, err := s.Figures(near); err != nil {
				t.Fatalf("the query offered in the place of\n%+v\nis refused too\n%+v\n%v", q, near, err)
			}
		}
		return false
	}
	want := scan(cells, q)
	excluded := 0
	var got []calculation.Figure
	for _, f := range res.Figures {
		if f.Moved == 0 {
			t.Fatal("a released figure without the day it moved")
		}
		f.Moved = 0
		if !q.MergeTerritories && len(q.Cuts)+len(q.Filters) == 0 {
			slice := Slice{Indicator: f.Indicator, Territory: f.Territory, Period: f.Period}
			if f.Indicator == "" {
				slice.ImpactType = f.ImpactType
			}
			if !l.Declares(slice) {
				t.Fatalf("%+v: an undeclared cell: %+v", q, f)
			}
		}
		for _, e := range f.Excluded {
			excluded += e.Observations
		}
		if f.Value == nil && f.Observations == 0 && (f.Status == impact.Missing || f.Status == impact.Suppressed) && q.IncludeEmpty && f.Reporters+f.Expected+f.Organisations == 0 {
			if !slices.ContainsFunc(want, func(w calculation.Figure) bool { return reflect.DeepEqual(w, f) }) {
				continue // nobody's cell
			}
		}
		got = append(got, f)
	}
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v\n got %+v\nwant %+v", q, got, want)
	}
	for _, e := range res.Excluded {
		excluded -= e.Observations
	}
	if excluded != 0 {
		t.Fatalf("%+v: exclusions do not add up", q)
	}
	return true
}

// Whatever is asked, the answer is made of cells and is what a scan of them
// gives; what is refused comes with queries that are not.
func TestSetAnswersLikeAScan(t *testing.T) {
	answered, refusals := 0, 0
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 9))
		cells := declaredCells(t, r, 10+40*int(seed))
		s := setOf(t, 3, cells)
		l := NewLattice(reference(), aRelease(3).Day, 45)
		keys := smallKeys(t)
		for range 4000 {
			if checkQuery(t, s, l, cells, anyQuery(r, keys)) {
				answered++
			} else {
				refusals++
			}
		}
	}
	if answered < 1000 || refusals < 1000 {
		t.Errorf("%d answered, %d refused: the queries try too little", answered, refusals)
	}
}

func FuzzSetQuery(f *testing.F) {
	cells := declaredCells(f, rand.New(rand.NewPCG(7, 7)), 20)
	s := setOf(f, 3, cells)
	l := NewLattice(reference(), aRelease(3).Day, 45)
	keys := smallKeys(f)
	for i := range uint64(20) {
		f.Add(i, i)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		checkQuery(t, s, l, cells, anyQuery(rand.New(rand.NewPCG(a, b)), keys))
	})
}

// one is a cell as tests of answers need them.
func one(t testing.TB, ind impact.IndicatorCode, at impact.TerritoryID, p impact.Period, value string, change ...func(*Cell)) Cell {
	i := reference().Indicator(ind)
	c := Cell{
		Figure: calculation.Figure{
			Indicator: ind, ImpactType: i.ImpactType, Kind: i.Kind, Territory: place(t, at), Vintage: 2026, Period: p,
			Status: impact.Suppressed, MethodologyVersion: i.MethodologyVersion,
		},
		Moved: 1, Cause: FirstRelease,
	}
	if value != "" {
		c.Figure.Value, c.Figure.Status, c.Figure.Organisations, c.Figure.Observations = number(value), impact.Normal, 5, 9
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func cutBy(d calculation.Dimension, code string) func(*Cell) {
	return func(c *Cell) { c.Cut, c.Figure.Codes = d, []string{code} }
}

func moved(n impact.ReleaseNumber, cause Cause, before *impact.Quantity) func(*Cell) {
	return func(c *Cell) { c.Moved, c.Cause, c.Before = n, cause, before }
}

const (
	theMetropole = impact.TerritoryID("metropole-200046977")
	villeurbanne = impact.TerritoryID("commune-69266")
)

var of2025 = impact.YearPeriod(2025)

// What is derived from a released figure is derived from what was published.
func TestReleasedFigureIsExactAsPublished(t *testing.T) {
	s := setOf(t, 2, []Cell{
		one(t, "insertion_hours", theMetropole, of2025, "33.33", moved(1, FirstRelease, nil)),
		one(t, "waste_collected", theMetropole, of2025, ""),
	})
	res, err := s.Figures(calculation.Query{
		Indicators: []impact.IndicatorCode{"insertion_hours", "waste_collected"}, Territories: []impact.TerritoryKey{place(t, theMetropole)}, Vintage: 2026, Periods: []impact.Period{of2025},
	})
	if err != nil || len(res.Figures) != 2 {
		t.Fatal(res, err)
	}
	if e := res.Figures[0].Exact(); e == nil || e.Cmp(number("33.33").Rat()) != 0 || res.Figures[0].Moved != aRelease(1).Day {
		t.Errorf("exact %v, moved %s", e, res.Figures[0].Moved)
	}
	if w := res.Figures[1]; w.Exact() != nil || w.Value != nil || w.Status != impact.Suppressed || w.Organisations != 0 {
		t.Errorf("withheld: %+v", w)
	}
}

func TestUncontrolledSlices(t *testing.T) {
	s := setOf(t, 2, []Cell{one(t, "insertion_hours", theMetropole, of2025, "12")})
	metropole, commune := place(t, theMetropole), place(t, villeurbanne)
	quarters := of2025.Buckets(impact.Quarter)
	base := func(change func(*calculation.Query)) calculation.Query {
		q := calculation.Query{Indicators: []impact.IndicatorCode{"insertion_hours"}, Territories: []impact.TerritoryKey{metropole}, Vintage: 2026, Periods: []impact.Period{of2025}}
		change(&q)
		return q
	}
	kind := func(codes ...string) []calculation.Filter {
		return []calculation.Filter{{Dimension: calculation.ByStructureKind, Codes: codes}}
	}
	for name, c := range map[string]struct {
		ask  calculation.Query
		near func(calculation.Query) bool
	}{
		"a sum of quarters that is a year": {
			base(func(q *calculation.Query) { q.Periods, q.MergePeriods = quarters, true }),
			func(n calculation.Query) bool { return slices.Equal(n.Periods, []impact.Period{of2025}) },
		},
		"a sum of quarters": {
			base(func(q *calculation.Query) { q.Periods, q.MergePeriods = quarters[1:], true }),
			func(n calculation.Query) bool { return slices.Equal(n.Periods, quarters[1:]) && !n.MergePeriods },
		},
		"a sum of territories": {
			base(func(q *calculation.Query) {
				q.Territories, q.MergeTerritories = []impact.TerritoryKey{metropole, commune}, true
			}),
			func(n calculation.Query) bool { return len(n.Territories) == 2 && !n.MergeTerritories },
		},
		"two kinds added": {
			base(func(q *calculation.Query) { q.Filters = kind("EI", "ACI") }),
			func(n calculation.Query) bool { return len(n.Cuts) == 1 && len(n.Filters) == 1 },
		},
		"two cuts": {
			base(func(q *calculation.Query) {
				q.Cuts, q.Filters = []calculation.Dimension{calculation.BySizeClass}, kind("EI")
			}),
			func(n calculation.Query) bool { return len(n.Cuts) == 1 },
		},
		"a cut of a commune": {
			base(func(q *calculation.Query) { q.Territories, q.Filters = []impact.TerritoryKey{commune}, kind("EI") }),
			func(n calculation.Query) bool {
				return len(n.Territories) == 1 && reference().Gazetteer().ByKey(n.Territories[0]).Type == impact.CTM
			},
		},
		"a cut of a quarter": {
			base(func(q *calculation.Query) { q.Periods, q.Filters = quarters[:1], kind("EI") }),
			func(n calculation.Query) bool { return slices.Equal(n.Periods, []impact.Period{of2025}) },
		},
		"a disaggregation": {
			base(func(q *calculation.Query) { q.Cuts = []calculation.Dimension{calculation.Disaggregation("sex")} }),
			func(n calculation.Query) bool { return len(n.Cuts) == 0 },
		},
		"one organisation": {
			base(func(q *calculation.Query) {
				q.Filters = []calculation.Filter{{Dimension: calculation.ByOrganisation, Codes: []string{"org"}}}
			}),
			func(n calculation.Query) bool { return len(n.Filters) == 0 },
		},
		"a month": {
			base(func(q *calculation.Query) { q.Periods = of2025.Buckets(impact.Month)[3:4] }),
			func(n calculation.Query) bool { return slices.Equal(n.Periods, []impact.Period{of2025}) },
		},
		"a year not over": {
			base(func(q *calculation.Query) { q.Periods = []impact.Period{impact.YearPeriod(2026)} }),
			func(n calculation.Query) bool { return slices.Equal(n.Periods, []impact.Period{of2025}) },
		},
		"drafts":  {base(func(q *calculation.Query) { q.State = impact.Draft }), func(n calculation.Query) bool { return n.State == "" }},
		"prorata": {base(func(q *calculation.Query) { q.Prorata = true }), func(n calculation.Query) bool { return !n.Prorata }},
		"bounds":  {base(func(q *calculation.Query) { q.AllowBounds = true }), func(n calculation.Query) bool { return !n.AllowBounds }},
		"a type without its sub-types": {
			base(func(q *calculation.Query) {
				q.Indicators, q.ImpactTypes, q.OnlyThisType = nil, []impact.ImpactTypeCode{"inclusion"}, true
			}),
			func(n calculation.Query) bool { return !n.OnlyThisType && len(n.ImpactTypes) == 1 },
		},
	} {
		_, err := s.Figures(c.ask)
		if err == nil {
			t.Errorf("%s: answered", name)
			continue
		}
		u := refused(t, err)
		if len(u.Nearest) == 0 || !c.near(u.Nearest[0]) {
			t.Errorf("%s: nearest %+v", name, u.Nearest)
		}
	}
	_, err := s.Figures(base(func(q *calculation.Query) { q.Vintage = 2023 }))
	if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != "vintage_not_released" || e.Faults[0].Suggestion != "2026" {
		t.Errorf("another vintage: %v", err)
	}
}

// A single code may be asked for without its dimension; several only as rows.
func TestSetCuts(t *testing.T) {
	s := setOf(t, 1, []Cell{
		one(t, "insertion_hours", theMetropole, of2025, "12"),
		one(t, "insertion_hours", theMetropole, of2025, "7", cutBy(calculation.ByStructureKind, "EI")),
		one(t, "insertion_hours", theMetropole, of2025, "", cutBy(calculation.ByStructureKind, "ACI")),
		one(t, "insertion_hours", theMetropole, of2025, "5", cutBy(calculation.BySizeClass, "micro")),
	})
	q := calculation.Query{Indicators: []impact.IndicatorCode{"insertion_hours"}, Territories: []impact.TerritoryKey{place(t, theMetropole)}, Vintage: 2026, Periods: []impact.Period{of2025}}
	text := func(q calculation.Query) (out string) {
		res, err := s.Figures(q)
		if err != nil {
			return err.Error()
		}
		for _, f := range res.Figures {
			out += fmt.Sprint(f.Codes)
			if f.Value != nil {
				out += f.Value.String()
			}
			out += string(rune(f.Status)) + " "
		}
		return out
	}
	if got := text(q); got != "[]12A " {
		t.Error(got)
	}
	q.Filters = []calculation.Filter{{Dimension: calculation.ByStructureKind, Codes: []string{"EI"}}}
	if got := text(q); got != "[]7A " {
		t.Error(got)
	}
	q.Cuts, q.Filters[0].Codes = []calculation.Dimension{calculation.ByStructureKind}, []string{"EI", "ACI"}
	if got := text(q); got != "[ACI]Q [EI]7A " {
		t.Error(got)
	}
	q.Filters = nil
	if got := text(q); got != "[ACI]Q [EI]7A " {
		t.Error(got)
	}
}

func TestSetExplain(t *testing.T) {
	s := setOf(t, 3, []Cell{
		one(t, "recovery_rate", theMetropole, of2025, "0.81", moved(3, LateSubmissions, number("0.79")), func(c *Cell) {
			c.Figure.Numerator, c.Figure.Denominator = number("81"), number("100")
			c.Figure.Excluded = []calculation.Exclusion{{Reason: calculation.NoPair, Observations: 4}}
		}),
		one(t, "waste_collected", theMetropole, of2025, "120"),
		one(t, "waste_reused", theMetropole, of2025, ""),
	})
	ask := func(code impact.IndicatorCode, at impact.TerritoryID) *calculation.Explanation {
		x, err := s.Explain(calculation.Query{Indicators: []impact.IndicatorCode{code}, Territories: []impact.TerritoryKey{place(t, at)}, Vintage: 2026, Periods: []impact.Period{of2025}})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := ask("recovery_rate", theMetropole)
	if x.Previous == nil || x.Previous.Release != 2 || *x.Previous.Value != *number("0.79") || x.Previous.Cause != "late_submissions" {
		t.Errorf("previous: %+v", x.Previous)
	}
	if !x.Withheld.IsZero() || x.Figure.Organisations != 5 || len(x.Excluded) != 1 || len(x.Contributors)+len(x.LeftOut) > 0 || len(x.Rules) == 0 || x.Formula.Machine == "" {
		t.Errorf("%+v", x)
	}
	for _, in := range x.Inputs {
		shown := in.Indicator == "waste_collected"
		if (in.Value != nil) != shown || shown && *in.Value != *number("120") {
			t.Errorf("input %s: %v", in.Indicator, in.Value)
		}
	}
	w := ask("waste_reused", theMetropole)
	if w.Withheld.FR == "" || w.Withheld.EN == "" || w.Figure.Value != nil || len(w.Excluded) > 0 || w.Inputs[0].Value != nil || w.Previous != nil || w.Formula.Machine == "" {
		t.Errorf("%+v", w)
	}
	if e := ask("waste_collected", villeurbanne); e.Figure.Status != impact.Missing || !e.Withheld.IsZero() {
		t.Errorf("nothing reported: %+v", e.Figure)
	}
	if e := ask("insertion_people", villeurbanne); e.Figure.Status != impact.Suppressed || e.Withheld.IsZero() {
		t.Errorf("never released: %+v", e.Figure)
	}
}

func TestSetAvailable(t *testing.T) {
	quarter := impact.YearPeriod(2026).Buckets(impact.Quarter)[0]
	s := setOf(t, 1, []Cell{
		one(t, "insertion_hours", theMetropole, of2025, "12"),
		one(t, "insertion_hours", theMetropole, quarter, "3"),
		one(t, "insertion_hours", villeurbanne, of2025, ""),
		one(t, "insertion_hours", theMetropole, of2025, "7", cutBy(calculation.ByStructureKind, "EI")),
		one(t, "insertion_hours", theMetropole, of2025, "", cutBy(calculation.ByStructureKind, "ACI")),
		one(t, "waste_collected", villeurbanne, of2025, ""),
		one(t, "insertion_hours", theMetropole, of2025, "", func(c *Cell) {
			c.Figure = calculation.Figure{
				ImpactType: "inclusion", Territory: c.Figure.Territory, Vintage: 2026, Period: of2025, Status: impact.Normal, Organisations: 8, Observations: 20,
			}
		}),
	})
	a, err := s.Available(calculation.Query{})
	if err != nil {
		t.Fatal(err)
	}
	want := calculation.Availability{
		Indicators: []impact.IndicatorCode{"insertion_hours"}, ImpactTypes: []impact.ImpactTypeCode{"inclusion", "inclusion.insertion"},
		Territories: []impact.TerritoryKey{place(t, theMetropole)}, Periods: []impact.Period{of2025, quarter},
		Span: impact.Period{Start: of2025.Start, End: quarter.End}, Any: true, StructureKinds: []string{"EI"},
		Disaggregations: map[string][]string{}, Observations: 9,
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf(" got %+v\nwant %+v", a, want)
	}
	kinds := func(codes ...string) calculation.Query {
		return calculation.Query{Filters: []calculation.Filter{{Dimension: calculation.ByStructureKind, Codes: codes}}}
	}
	if a, err := s.Available(kinds("EI", "ACI")); err != nil || len(a.Periods) != 1 || !slices.Equal(a.StructureKinds, []string{"EI"}) {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := s.Available(kinds("ACI")); err != nil || a.Any {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := s.Available(calculation.Query{Territories: []impact.TerritoryKey{place(t, villeurbanne)}}); err != nil || a.Any {
		t.Errorf("%+v %v", a, err)
	}
	// Counts have years only: the latest one is not a quarter.
	types := []impact.ImpactTypeCode{"inclusion", "environment"}
	if a, err := s.Available(calculation.Query{ImpactTypes: types}); err != nil || !slices.Equal(a.Periods, []impact.Period{of2025}) || !slices.Equal(a.Indicators, []impact.IndicatorCode{"insertion_hours"}) {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := s.Available(calculation.Query{ImpactTypes: []impact.ImpactTypeCode{"nothing"}}); err == nil {
		t.Error("a type that does not exist")
	}
	_, err = s.Available(calculation.Query{Filters: []calculation.Filter{{Dimension: calculation.ByOrganisation, Codes: []string{"x"}}}})
	_ = refused(t, err)
}

func TestNewSetRefuses(t *testing.T) {
	cell := one(t, "insertion_hours", theMetropole, of2025, "12")
	units := sealed(t, []Cell{cell})
	r := aRelease(1)
	r.Digest = "00"
	if _, err := NewSet(reference(), r, nil, each(units)); err == nil {
		t.Error("units that are not those of the release")
	}
	if _, err := NewSet(reference(), aRelease(1), nil, each(append(units, units...))); err == nil {
		t.Error("a cell that is there twice")
	}
	units[0].Figures = append(units[0].Figures, "x\n"...)
	if _, err := NewSet(reference(), aRelease(1), nil, each(units)); err == nil {
		t.Error("a text that cannot be read")
	}
}

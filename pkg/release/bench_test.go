package release

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// lyon is a release of the whole Métropole over ten years: every indicator,
// every commune, CTM and arrondissement, a third of the cells withheld.
var lyon = sync.OnceValue(func() []*Sealed {
	r := rand.New(rand.NewPCG(10, 10))
	g := reference().Gazetteer()
	day := impact.NewDate(2026, 3, 1)
	l := NewLattice(reference(), day, 45)
	metropole := g.At(theMetropole, l.Vintage().Day()).Key
	places := append(g.Descendants(metropole, l.Vintage(), ""), g.ByKey(metropole))
	q := func(n int64) *impact.Quantity { v := impact.Quantity(r.Int64N(n*100)) * (impact.One / 100); return &v }
	cell := func(ind *impact.Indicator, at impact.TerritoryKey, p impact.Period, cut calculation.Dimension, code string) Cell {
		c := Cell{
			Figure: calculation.Figure{
				Indicator: ind.Code, ImpactType: ind.ImpactType, Kind: ind.Kind, Territory: at, Vintage: l.Vintage(), Period: p,
				Status: impact.Suppressed, MethodologyVersion: ind.MethodologyVersion,
			},
			Cut: cut, Moved: impact.ReleaseNumber(1 + r.IntN(2)), Cause: FirstRelease,
		}
		if cut != "" {
			c.Figure.Codes = []string{code}
		}
		if c.Moved == 2 {
			c.Cause, c.Before = LateSubmissions, q(100_000)
		}
		if !Released(ind.Kind) || r.IntN(3) == 0 {
			return c
		}
		f := &c.Figure
		f.Status, f.Value, f.Organisations, f.Observations, f.Reporters, f.Expected = impact.Normal, q(100_000), 3+r.IntN(40), 3+r.IntN(200), 3+r.IntN(40), 45
		f.Coverage, f.Additive = q(1), true
		if ind.Composed() {
			f.Numerator, f.Denominator, f.Additive = q(100_000), q(100_000), false
		}
		if r.IntN(4) == 0 {
			f.Excluded = []calculation.Exclusion{{Reason: calculation.CoarserTerritory, Observations: r.IntN(40)}}
		}
		return c
	}
	var out []*Sealed
	for _, family := range l.Families() {
		for year := 2016; year <= 2025; year++ {
			var cells []Cell
			for _, ind := range family.Indicators {
				for _, t := range places {
					for _, gr := range Granularities(ind) {
						for _, p := range impact.YearPeriod(year).Buckets(gr) {
							cells = append(cells, cell(ind, t.Key, p, "", ""))
						}
					}
					if slices.Contains(CutLevels, t.Type) {
						for cut, codes := range map[calculation.Dimension][]string{
							calculation.ByOrganisationClass: {"association", "company", "cooperative", "foundation", "mutual"},
							calculation.ByStructureKind:     {"", "ACI", "AI", "EA", "EI", "ETTI", "GEIQ"},
							calculation.BySizeClass:         {"0", "1-9", "10-49", "50+"},
						} {
							for _, code := range codes {
								cells = append(cells, cell(ind, t.Key, impact.YearPeriod(year), cut, code))
							}
						}
					}
				}
			}
			text, err := Encode(reference(), cells)
			if err != nil {
				panic(err)
			}
			out = append(out, &Sealed{Unit: Unit{family.Code, year}, Figures: text})
		}
	}
	return out
})

func lyonSet(b *testing.B) *Set {
	b.Helper()
	r := aRelease(2)
	s, err := NewSet(reference(), r, []impact.Release{aRelease(1), r}, each(lyon()))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// The release from its units to memory, and what it takes there.
func BenchmarkNewSet(b *testing.B) {
	units := lyon()
	text := 0
	for _, u := range units {
		text += len(u.Figures)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	var s *Set
	for b.Loop() {
		s = lyonSet(b)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(s.Len()), "cells")
	b.ReportMetric(float64(text)/1e6, "MB-text")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-held")
	b.ReportMetric(float64(s.Len())*float64(b.N)/b.Elapsed().Seconds(), "cells/s")
	runtime.KeepAlive(s)
}

func communes() (out []impact.TerritoryKey) {
	g := reference().Gazetteer()
	for _, t := range g.Descendants(g.At(theMetropole, impact.Vintage(2026).Day()).Key, 2026, impact.Commune) {
		out = append(out, t.Key)
	}
	return out
}

func BenchmarkSetFigures(b *testing.B) {
	s := lyonSet(b)
	var indicators []impact.IndicatorCode
	for _, ind := range reference().Indicators()[:12] {
		indicators = append(indicators, ind.Code)
	}
	var years []impact.Period
	for y := 2016; y <= 2025; y++ {
		years = append(years, impact.YearPeriod(y))
	}
	for name, q := range map[string]calculation.Query{
		"communes=58/indicators=12/years=10": {Indicators: indicators, Territories: communes(), Vintage: 2026, Periods: years},
		"communes=1/indicators=1/years=1":    {Indicators: indicators[:1], Territories: communes()[:1], Vintage: 2026, Periods: years[9:]},
		"metropole/indicators=all/years=1":   {Indicators: codesOf(reference().Indicators()), Territories: []impact.TerritoryKey{place(b, theMetropole)}, Vintage: 2026, Periods: years[9:]},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				res, err := s.Figures(q)
				if err != nil {
					b.Fatal(err)
				}
				n = len(res.Figures)
			}
			b.ReportMetric(float64(n), "figures")
		})
	}
}

func codesOf(list []*impact.Indicator) (out []impact.IndicatorCode) {
	for _, ind := range list {
		out = append(out, ind.Code)
	}
	return out
}

func BenchmarkChanges(b *testing.B) {
	from, err := NewSet(reference(), aRelease(1), nil, each(lyon()))
	if err != nil {
		b.Fatal(err)
	}
	to := lyonSet(b)
	b.ReportAllocs()
	for b.Loop() {
		changes, err := Changes(from, to, nil)
		if err != nil {
			b.Fatal(err)
		}
		for range changes {
			b.Fatal("the same cells differ")
		}
	}
	b.ReportMetric(float64(to.Len())*float64(b.N)/b.Elapsed().Seconds(), "cells/s")
}

func BenchmarkEncode(b *testing.B) {
	u := slices.MaxFunc(lyon(), func(a, b *Sealed) int { return len(a.Figures) - len(b.Figures) })
	cells, err := Decode(reference(), u.Figures)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(u.Figures)))
	for b.Loop() {
		if _, err := Encode(reference(), cells); err != nil {
			b.Fatal(err)
		}
	}
}

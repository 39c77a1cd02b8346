package audit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// lyon is one indicator and year: 58 communes in 10 CTM, year and quarters,
// four classes of organisations by CTM; sizes follow Pareto, places Zipf.
func lyon(seed uint64, statements int) *disclosure.Table {
	const communes, boroughs, classes = 58, 10, 4
	r := rand.New(rand.NewPCG(seed, 3))
	t := &disclosure.Table{}
	type place struct{ commune, quarter, class int }
	var at []place
	for g := range int32(statements / 4) {
		size := math.Pow(r.Float64(), -1/1.3)
		commune := min(int(math.Exp(r.Float64()*math.Log(communes+1)))-1, communes-1)
		for q := range 4 {
			t.Facts = append(t.Facts, disclosure.Fact{Group: g, Value: impact.Quantity(size*(0.5+r.Float64())*1e7) * 1000})
			at = append(at, place{commune, q, int(g) % classes})
		}
	}
	add := func(name string, rank disclosure.Rank, in func(place) bool) {
		f := disclosure.Figure{Name: name, Rank: rank, Sums: make([]disclosure.Sum, 1)}
		for i, p := range at {
			if in(p) {
				f.Sums[0].Terms = append(f.Sums[0].Terms, disclosure.Term{Fact: int32(i), Num: 1, Den: 1})
			}
		}
		if f.Rank.Contributor = -len(f.Sums[0].Terms); f.Rank.Contributor < 0 {
			t.Figures = append(t.Figures, f)
		}
	}
	borough := func(c int) int { return min(c, 2+c%(boroughs-2)) }
	for q := -1; q < 4; q++ {
		when := func(p place) bool { return q < 0 || p.quarter == q }
		add(fmt.Sprint("metropole ", q), disclosure.Rank{Part: q >= 0}, when)
		for b := range boroughs {
			add(fmt.Sprint("ctm ", b, q), disclosure.Rank{Level: 1, Part: q >= 0}, func(p place) bool { return when(p) && borough(p.commune) == b })
		}
		for c := range communes {
			add(fmt.Sprint("commune ", c, q), disclosure.Rank{Level: 2, Part: q >= 0}, func(p place) bool { return when(p) && p.commune == c })
		}
	}
	for k := range classes {
		for b := range boroughs {
			add(fmt.Sprint("ctm ", b, "class ", k), disclosure.Rank{Level: 1, Cut: true}, func(p place) bool { return p.class == k && borough(p.commune) == b })
		}
	}
	return t
}

func BenchmarkRun(b *testing.B) {
	for _, statements := range []int{800, 3300, 33000} {
		b.Run(fmt.Sprint(statements), func(b *testing.B) {
			table := lyon(1, statements)
			decisions, err := disclosure.Protect(table, disclosure.Strict1)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				r, err := Run(table, decisions, disclosure.Strict1)
				if err != nil || !r.OK() {
					b.Fatalf("%+v %v", r, err)
				}
				b.ReportMetric(float64(r.Secrets), "secrets")
				b.ReportMetric(float64(r.Unknowns), "unknowns")
				b.ReportMetric(float64(r.Relations), "relations")
			}
		})
	}
}

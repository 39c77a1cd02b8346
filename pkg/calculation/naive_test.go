package calculation

import (
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

// A deliberately naive second implementation, written from docs/method.md and
// not from the cube: lists, maps and fractions. It knows no networks, groups
// or transfers (vectors_test.go holds those).

type naiveFact struct {
	org     impact.OrganisationKey
	place   impact.TerritoryKey // of the vintage, when the stored one was split
	stored  impact.TerritoryKey
	period  impact.Period
	cut     string
	value   *big.Rat
	weight  *big.Rat
	partial bool // an estimate: a share of a territory or of days
}

func rank(s impact.SubmissionState) int {
	return map[impact.SubmissionState]int{impact.Submitted: 1, impact.Approved: 2, "": 2}[s]
}

func naiveFacts(cat *impact.Catalogue, cells []Change, ind impact.IndicatorCode, q Query) []naiveFact {
	g := cat.Gazetteer()
	kind := cat.Indicator(ind).Kind
	target, bucket := q.Territories[0], q.Periods[0]
	insideTarget := func(k impact.TerritoryKey) bool {
		if k == target {
			return true
		}
		for _, a := range g.Ancestors(k, q.Vintage) {
			if a.Key == target {
				return true
			}
		}
		return false
	}
	var out []naiveFact
	for _, c := range cells {
		if c.Key.Indicator != cat.Indicator(ind).Key {
			continue
		}
		f := c.Current
		if f == nil || rank(c.State) < rank(q.State) {
			f = c.Approved
			if c.Current == nil && c.State == impact.Approved {
				f = nil
			}
		}
		if f == nil || !f.HasValue {
			continue
		}
		days := big.NewRat(1, 1)
		partial := false
		if !bucket.Contains(c.Key.Period) {
			if !q.Prorata || !bucket.Overlaps(c.Key.Period) || kind != impact.Flow && kind != impact.SignedFlow {
				continue
			}
			n := 0
			for d := c.Key.Period.Start; d <= c.Key.Period.End; d++ {
				if bucket.Start <= d && d <= bucket.End {
					n++
				}
			}
			days, partial = big.NewRat(int64(n), int64(c.Key.Period.Days())), true
		}
		places := g.Project(c.Key.Territory, q.Vintage)
		if len(places) == 0 {
			places = []impact.Projection{{Key: g.Ancestors(c.Key.Territory, q.Vintage)[0].Key, Share: impact.One}}
		}
		var in []impact.Projection
		for _, p := range places {
			if insideTarget(p.Key) {
				in = append(in, p)
			}
		}
		n := naiveFact{org: c.Key.Organisation, stored: c.Key.Territory, period: c.Key.Period, cut: c.Key.Cut, value: f.Value.Rat(), weight: days, partial: partial}
		switch {
		case len(in) == len(places) && len(in) > 1:
			out = append(out, n)
		default:
			for _, p := range in {
				part := n
				part.place = p.Key
				if p.Share != impact.One {
					part.weight = new(big.Rat).Mul(days, p.Share.Rat())
					part.partial = true
				}
				out = append(out, part)
			}
		}
	}
	return naiveCuts(out)
}

// naiveCuts keeps the whole of each cell, or else the dimension whose parts
// add up to most.
func naiveCuts(in []naiveFact) (out []naiveFact) {
	cells := map[string][]naiveFact{}
	for _, f := range in {
		k := fmt.Sprint(f.org, "/", f.place, "/", f.stored, f.period)
		cells[k] = append(cells[k], f)
	}
	for _, cell := range cells {
		byDimension := map[string][]naiveFact{}
		for _, f := range cell {
			d, _, _ := strings.Cut(f.cut, "=")
			byDimension[d] = append(byDimension[d], f)
		}
		if whole := byDimension[""]; len(whole) > 0 {
			out = append(out, whole...)
			continue
		}
		var best []naiveFact
		most, name := new(big.Rat), ""
		for d, fs := range byDimension {
			sum := new(big.Rat)
			for _, f := range fs {
				sum.Add(sum, new(big.Rat).Abs(f.value))
			}
			if o := sum.Cmp(most); best == nil || o > 0 || o == 0 && d < name {
				best, most, name = fs, sum, d
			}
		}
		out = append(out, best...)
	}
	return out
}

func naiveSum(fs []naiveFact) *big.Rat {
	if len(fs) == 0 {
		return nil
	}
	sum := new(big.Rat)
	for _, f := range fs {
		sum.Add(sum, new(big.Rat).Mul(f.value, f.weight))
	}
	return sum
}

func naiveSeries(fs []naiveFact) map[string][]naiveFact {
	m := map[string][]naiveFact{}
	for _, f := range fs {
		k := fmt.Sprint(f.org, "/", f.stored)
		m[k] = append(m[k], f)
	}
	return m
}

func naiveLast(fs []naiveFact) (out []naiveFact) {
	for _, s := range naiveSeries(fs) {
		last := s[0].period
		for _, f := range s {
			if f.period.End > last.End || f.period.End == last.End && f.period.Start > last.Start {
				last = f.period
			}
		}
		for _, f := range s {
			if f.period == last {
				out = append(out, f)
			}
		}
	}
	return out
}

func naiveAverage(fs []naiveFact) *big.Rat {
	if len(fs) == 0 {
		return nil
	}
	sum := new(big.Rat)
	for _, s := range naiveSeries(fs) {
		days := map[impact.Period]bool{}
		for _, f := range s {
			days[f.period] = true
		}
		n := 0
		for p := range days {
			n += p.Days()
		}
		for _, f := range s {
			t := new(big.Rat).Mul(f.value, f.weight)
			sum.Add(sum, t.Mul(t, big.NewRat(int64(f.period.Days()), int64(n))))
		}
	}
	return sum
}

// naiveValue gives the exact value of a figure of one indicator, territory and
// bucket; of a distinct count the upper bound. ok is false for kinds the naive
// implementation does not know.
func naiveValue(cat *impact.Catalogue, cells []Change, q Query) (v *big.Rat, facts int) {
	ind := cat.Indicator(q.Indicators[0])
	if !ind.Composed() {
		fs := naiveFacts(cat, cells, ind.Code, q)
		switch ind.Kind {
		case impact.Stock:
			fs = naiveLast(fs)
			return naiveSum(fs), len(fs)
		case impact.StockAvg:
			return naiveAverage(fs), len(fs)
		}
		return naiveSum(fs), len(fs)
	}
	// Pairs: every component of one organisation and place, in the periods all
	// of them have (the random worlds keep one frequency).
	leaves := cat.Leaves(ind)
	sums := map[impact.IndicatorCode]*big.Rat{}
	bySeries := make([]map[string][]naiveFact, len(leaves))
	all := map[string]bool{}
	for i, leaf := range leaves {
		bySeries[i] = naiveSeries(naiveFacts(cat, cells, leaf.Code, q))
		for k := range bySeries[i] {
			all[k] = true
		}
	}
	for k := range all {
		shared := map[impact.Period]int{}
		for i := range leaves {
			for p := range periodSet(bySeries[i][k]) {
				shared[p]++
			}
		}
		keep := func(p impact.Period) bool { return shared[p] == len(leaves) }
		if leaves[0].Kind == impact.Stock {
			last := impact.MinDate
			for p, n := range shared {
				if n == len(leaves) {
					last = max(last, p.End)
				}
			}
			old := keep
			keep = func(p impact.Period) bool { return old(p) && p.End == last }
		}
		for i, leaf := range leaves {
			var fs []naiveFact
			for _, f := range bySeries[i][k] {
				if keep(f.period) {
					fs = append(fs, f)
				}
			}
			if len(fs) == 0 {
				continue
			}
			facts += len(fs)
			s := naiveSum(fs)
			if leaf.Kind == impact.StockAvg {
				s = naiveAverage(fs)
			}
			if sums[leaf.Code] == nil {
				sums[leaf.Code] = new(big.Rat)
			}
			sums[leaf.Code].Add(sums[leaf.Code], s)
		}
	}
	if len(sums) < len(leaves) {
		return nil, facts
	}
	n, d := new(big.Rat), new(big.Rat)
	for _, c := range ind.Numerator {
		n.Add(n, sums[c])
	}
	for _, c := range ind.Denominator {
		d.Add(d, sums[c])
	}
	if d.Sign() == 0 {
		return nil, facts
	}
	return n.Quo(n, d).Mul(n, ind.Scale.Rat()), facts
}

func periodSet(fs []naiveFact) map[impact.Period]bool {
	m := map[impact.Period]bool{}
	for _, f := range fs {
		m[f.period] = true
	}
	return m
}

var naiveIndicators = []impact.IndicatorCode{
	"waste_collected", "waste_reused", "jobs_created_net", "headcount", "women", "mean_headcount",
	"staff_departures", "insertion_people",
}

var naiveQueries = append(slices.Clone(naiveIndicators), "women_share", "staff_turnover_rate")

// drawWorld makes a world the store could hold: no territory with its own
// part, one frequency per organisation and year.
func drawWorld(t *rapid.T, tb testing.TB) *world {
	w := newWorld(tb)
	seen := map[impact.CellKey]bool{}
	places := map[bool][][]impact.TerritoryKey{
		true:  {{lyon8, lyon9, villeurbanne, oullins, pierreBenite, old}, {lyon, ctmLones, albigny}, {metropole}},
		false: {{lyon8, lyon9, villeurbanne, oullinsPierreBenite, north, south}, {lyon, ctmLones, albigny}, {metropole}},
	}
	frequency := map[string]impact.Granularity{}
	level := map[string]int{}
	for range rapid.IntRange(0, 40).Draw(t, "cells") {
		org := rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(t, "org")
		ind := rapid.SampledFrom(naiveIndicators).Draw(t, "indicator")
		year := rapid.IntRange(2023, 2024).Draw(t, "year")
		// Components of one quotient keep one frequency.
		pair := map[impact.IndicatorCode]string{"women": "headcount", "staff_departures": "mean_headcount"}[ind]
		if pair == "" {
			pair = string(ind)
		}
		k := fmt.Sprint(org, pair, year)
		if frequency[k] == "" {
			frequency[k] = rapid.SampledFrom([]impact.Granularity{impact.Year, impact.Quarter, impact.Semester}).Draw(t, "frequency")
			level[k] = rapid.IntRange(0, 2).Draw(t, "level")
		}
		p := rapid.SampledFrom(impact.YearPeriod(year).Buckets(frequency[k])).Draw(t, "period")
		place := rapid.SampledFrom(places[year == 2023][level[k]]).Draw(t, "territory")
		c := rapid.SampledFrom([]string{"", "", "", "sex=F", "sex=M", "age_band=a"}).Draw(t, "cut")
		key := w.key(org, ind, place, p.String(), c)
		if seen[key] {
			continue
		}
		seen[key] = true
		w.cells = append(w.cells, Change{Key: key})
		drawState(t, &w.cells[len(w.cells)-1], ind == "jobs_created_net")
	}
	return w
}

func drawFact(t *rapid.T, signed bool) *Fact {
	low := int64(0)
	if signed {
		low = -50
	}
	f := &Fact{
		Value: impact.Quantity(rapid.Int64Range(low, 50).Draw(t, "value")) * impact.One / 4, HasValue: true,
		Status: rapid.SampledFrom([]impact.Status{impact.Normal, impact.Normal, impact.Provisional, impact.NotCollected}).Draw(t, "status"),
		Attrs:  Attrs{Profile: impact.Profile{Class: rapid.SampledFrom([]impact.OrganisationClass{impact.Association, impact.Company}).Draw(t, "class")}},
	}
	if !f.Status.HasNumber() {
		f.Value, f.HasValue = 0, false
	}
	return f
}

func drawState(t *rapid.T, c *Change, signed bool) {
	c.State = rapid.SampledFrom([]impact.SubmissionState{impact.Approved, impact.Approved, impact.Submitted, impact.Draft, impact.Returned}).Draw(t, "state")
	c.Current, c.Approved = drawFact(t, signed), nil
	if c.State != impact.Approved && rapid.Bool().Draw(t, "approved before") {
		c.Approved = drawFact(t, signed)
	}
}

func drawQuery(t *rapid.T) Query {
	v := rapid.SampledFrom([]impact.Vintage{2023, 2024, 2026}).Draw(t, "vintage")
	places := []impact.TerritoryKey{france, metropole, ctmEst, ctmLones, ctmLyon, lyon, lyon8, villeurbanne}
	if v == 2023 {
		places = append(places, oullins, pierreBenite, old)
	} else {
		places = append(places, oullinsPierreBenite, north, south)
	}
	return Query{
		Indicators:  []impact.IndicatorCode{rapid.SampledFrom(naiveQueries).Draw(t, "asked")},
		Territories: []impact.TerritoryKey{rapid.SampledFrom(places).Draw(t, "where")}, Vintage: v,
		Periods: []impact.Period{period(rapid.SampledFrom([]string{"2023", "2024", "2023-S1", "2024-Q2", "2023-02-10/2023-11-03"}).Draw(t, "when"))},
		State:   rapid.SampledFrom([]impact.SubmissionState{impact.Approved, impact.Submitted, impact.Draft}).Draw(t, "least state"),
		Prorata: rapid.Bool().Draw(t, "prorata"), AllowBounds: true, IncludeEmpty: true,
	}
}

func TestCubeAgreesWithNaiveReference(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		cube := w.cube()
		for range 6 {
			q := drawQuery(r)
			if q.Prorata {
				q.Indicators[0] = rapid.SampledFrom([]impact.IndicatorCode{"waste_collected", "jobs_created_net", "headcount"}).Draw(r, "prorata of")
			}
			res, err := cube.Figures(q)
			if err != nil {
				r.Fatal(err)
			}
			if len(res.Figures) != 1 {
				r.Fatalf("%d figures", len(res.Figures))
			}
			f := res.Figures[0]
			want, n := naiveValue(w.cat, w.cells, q)
			if got := f.Exact(); ratString(got) != ratString(want) {
				r.Fatalf("%v of %d in %s, vintage %d, state %s:\n got %s\nwant %s\n%s", q.Indicators, q.Territories[0], q.Periods[0], q.Vintage, q.State,
					ratString(got), ratString(want), dumpCells(w.cells))
			}
			if f.Observations > n {
				r.Fatalf("%v: %d observations counted, %d known", q.Indicators, f.Observations, n)
			}
			if want != nil {
				rounded, err := impact.QuantityFromRat(want, w.cat.Indicator(q.Indicators[0]).Decimals)
				if err != nil || *f.Value != rounded {
					r.Fatalf("rounded %s, want %s (%v)", show(f.Value), rounded, err)
				}
			}
		}
	})
}

func dumpCells(cells []Change) string {
	var lines []string
	for _, c := range cells {
		v := func(f *Fact) string {
			if f == nil {
				return "-"
			}
			return fmt.Sprintf("%s%c", f.Value, f.Status)
		}
		lines = append(lines, fmt.Sprintf("%d %d %d %s %q %s %s approved %s", c.Key.Organisation, c.Key.Indicator, c.Key.Territory, c.Key.Period, c.Key.Cut,
			v(c.Current), c.State, v(c.Approved)))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

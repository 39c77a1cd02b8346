package calculation

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

// failer is a test or a property.
type failer interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

// checkMade holds Made to Figures: the same rows, and sums that give their
// numbers back to the last digit.
func checkMade(t failer, c *Cube, q Query) []Made {
	res, err := c.Figures(q)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.Made(q)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != len(res.Figures) {
		t.Fatalf("%d made, %d figures", len(made), len(res.Figures))
	}
	known := map[FactID]Term{}
	for i := range made {
		m := &made[i]
		if x, y := dumpFigure(&m.Figure), dumpFigure(&res.Figures[i]); x != y {
			t.Fatalf("made   %s\nfigure %s", x, y)
		}
		if (m.Cut != "") != (len(q.Cuts) == 1) {
			t.Fatalf("cut %q of %v", m.Cut, q.Cuts)
		}
		for _, s := range m.Sums {
			checkTerms(t, s, known)
		}
		checkSums(t, c.cat, m)
	}
	return made
}

// checkTerms: each fact once, in lowest terms, and with one value everywhere.
func checkTerms(t failer, s Sum, known map[FactID]Term) {
	once := map[FactID]bool{}
	for _, x := range s.Terms {
		if once[x.Fact] {
			t.Fatalf("%+v is twice in one sum", x.Fact)
		}
		once[x.Fact] = true
		if x.Den <= 0 || x.Num == 0 || divisor(x.Num, x.Den) != 1 {
			t.Fatalf("weight %d/%d", x.Num, x.Den)
		}
		if x.Group == "" {
			t.Fatalf("%+v has no group", x.Fact)
		}
		if k, ok := known[x.Fact]; ok && (k.Value != x.Value || k.Group != x.Group || k.Organisation != x.Organisation) {
			t.Fatalf("one fact, two values: %+v, %+v", k, x)
		}
		known[x.Fact] = x
	}
}

func (s Sum) total() *big.Rat {
	sum := new(big.Rat)
	for _, x := range s.Terms {
		sum.Add(sum, new(big.Rat).Mul(x.Value.Rat(), big.NewRat(x.Num, x.Den)))
	}
	return sum
}

func checkSums(t failer, cat *impact.Catalogue, m *Made) {
	ind := cat.Indicator(m.Indicator)
	linear := ind != nil && m.Refused == "" && ind.Kind != impact.Distinct && ind.Kind != impact.Dispersion && ind.Kind != impact.Score &&
		(m.Value != nil || m.Has(ZeroDenominator))
	if !linear {
		if len(m.Sums) != 0 {
			t.Fatalf("%s %s: sums of nothing linear: %v", m.Indicator, m.text(), m.Sums)
		}
		return
	}
	var v []*big.Rat
	for _, s := range m.Sums {
		v = append(v, s.total())
	}
	quotient := func(n, d *big.Rat) *big.Rat {
		if d.Sign() == 0 {
			return nil
		}
		return new(big.Rat).Quo(n, d)
	}
	equal := func(got *big.Rat, want *impact.Quantity) {
		if q, err := impact.QuantityFromRat(got, impact.Decimals); err != nil || want == nil || q != *want {
			t.Fatalf("%s: sum %s, figure tells %s", m.Indicator, ratString(got), show(want))
		}
	}
	var got *big.Rat
	switch {
	case ind.Code == "gender_pay_gap":
		if len(v) != 4 {
			t.Fatalf("%d sums", len(v))
		}
		if women, men := quotient(v[0], v[1]), quotient(v[2], v[3]); women != nil && men != nil {
			if got = quotient(women, men); got != nil {
				got = got.Sub(big.NewRat(1, 1), got)
			}
		}
	case ind.Composed():
		if len(v) != 2 {
			t.Fatalf("%d sums", len(v))
		}
		equal(v[0], m.Numerator)
		equal(v[1], m.Denominator)
		if got = quotient(v[0], v[1]); got != nil {
			if ind.Form == impact.Complement {
				got = got.Sub(big.NewRat(1, 1), got)
			}
			if ind.Scale != 0 {
				got.Mul(got, ind.Scale.Rat())
			}
		}
	case ind.Kind == impact.SurveyMean:
		if len(v) != 2 {
			t.Fatalf("%d sums", len(v))
		}
		equal(v[1], m.Respondents)
		got = quotient(v[0], v[1])
	case ind.Kind == impact.Boolean:
		yes, no := int64(m.Answers.True), int64(m.Answers.Answered-m.Answers.True)
		if len(v) != 2 || v[0].Cmp(rat(yes, 1)) != 0 || v[1].Cmp(rat(no, 1)) != 0 {
			t.Fatalf("%+v, sums %v", m.Answers, v)
		}
		if !m.Sums[0].People || !m.Sums[1].People {
			t.Fatal("yes and no count as persons do")
		}
		return
	default:
		if len(v) != 1 {
			t.Fatalf("%d sums", len(v))
		}
		got = v[0]
	}
	if ratString(got) != ratString(m.Exact()) {
		t.Fatalf("%s of %d in %s: sums give %s, figure %s\n%+v", m.Indicator, m.Territory, m.Period, ratString(got), ratString(m.Exact()), m.Sums)
	}
}

func TestSumsGiveTheFigure(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			w := newWorld(t)
			v.world(w)
			q := v.query
			q.KeepRefused = true
			checkMade(t, w.cube(), q)
		})
	}
}

// drawKin adds to a world what the naive reference does not know: networks,
// groups, establishments of one SIREN, transfers, attribution, quotients of
// quotients, means and answers.
func drawKin(r *rapid.T, w *world) {
	for i, name := range []string{"A", "B", "C", "D"} {
		o := w.org(name)
		if rapid.Bool().Draw(r, name+" has a SIREN") {
			o.SIREN = fmt.Sprintf("12345678%d", i/2)
			o.LegalUnit, o.Group = "siren:"+o.SIREN, "siren:"+o.SIREN
			if rapid.Bool().Draw(r, "establishment") {
				o.SIRET = o.SIREN + fmt.Sprintf("%05d", i)
			}
		}
	}
	inds := append(codes("gross_pay_women paid_hours_women gross_pay_men paid_hours_men nps_promoters nps_detractors nps_answers "+
		"satisfaction satisfaction_answers ess_agreement ghg_scope3 purchases_local purchases_total pay_ratio"), naiveIndicators...)
	seen := map[impact.CellKey]bool{}
	for _, c := range w.cells {
		seen[c.Key] = true
	}
	for range rapid.IntRange(0, 60).Draw(r, "more cells") {
		ind := rapid.SampledFrom(inds).Draw(r, "indicator")
		// Years and places in common, so that quotients find their parts.
		place := rapid.SampledFrom([]impact.TerritoryKey{lyon, lyon8, villeurbanne, old, north, albigny, metropole}).Draw(r, "territory")
		c := rapid.SampledFrom([]string{"", "", "", "sex=F", "sex=M"}).Draw(r, "cut")
		key := w.key(rapid.SampledFrom([]string{"A", "B", "C", "D", "N", "M"}).Draw(r, "org"), ind, place,
			rapid.SampledFrom([]string{"2024", "2024", "2024-Q2", "2024-Q3", "2023"}).Draw(r, "period"), c)
		if seen[key] {
			continue
		}
		seen[key] = true
		f := drawFact(r, ind == "jobs_created_net")
		switch {
		case ind == "ess_agreement" && f.HasValue:
			f.Value = f.Value % 2 * impact.One
			if f.Value < 0 {
				f.Value = 0
			}
		case ind == "satisfaction_answers" && rapid.Bool().Draw(r, "whole"):
			f.Value -= f.Value % impact.One
		}
		switch rapid.IntRange(0, 6).Draw(r, "kin") {
		case 0, 1:
			f.Attrs.Covers = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "B", "C", "siren:123456780", "M"}), 1, 3, rapid.ID).Draw(r, "covers")
			f.Value *= 2
		case 2:
			f.Attrs.Perimeter, f.Attrs.Covers = "group", []string{"B"}
		case 3:
			f.Attrs.TransferredTo = "12345678900012"
		case 4:
			f.Attrs.Share = qty("0.3")
		}
		if ind == "purchases_local" {
			f.Attrs.Qualifiers = map[string]string{"local_scope": rapid.SampledFrom([]string{"metropole", "region"}).Draw(r, "scope")}
		}
		w.cells = append(w.cells, Change{Key: key, Current: f, State: impact.Approved})
	}
}

func TestSumsGiveTheFigureWhateverTheWorld(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		drawKin(r, w)
		c := w.cube()
		q := everything(w.cat, rapid.SampledFrom([]impact.Vintage{2023, 2024, 2026}).Draw(r, "vintage"))
		q.AllowBounds, q.KeepRefused, q.State = false, true, impact.Approved
		q.IncludeEmpty = rapid.Bool().Draw(r, "empty rows")
		q.Cuts = rapid.SampledFrom([][]Dimension{nil, nil, {ByOrganisationClass}, {Disaggregation("sex")}}).Draw(r, "cut")
		made := checkMade(r, c, q)
		states := map[FactID]impact.Quantity{}
		for _, ch := range w.cells {
			if f := ch.Current; f != nil && ch.State == impact.Approved {
				states[ch.Key] = f.Value
			} else if ch.Approved != nil {
				states[ch.Key] = ch.Approved.Value
			}
		}
		for i := range made {
			for _, s := range made[i].Sums {
				if made[i].Kind == impact.SurveyMean || made[i].Kind == impact.Boolean {
					continue
				}
				for _, x := range s.Terms {
					if v, ok := states[x.Fact]; !ok || v != x.Value {
						r.Fatalf("%s: fact %+v is %s, stated %s (%v)", made[i].Indicator, x.Fact, x.Value, v, ok)
					}
				}
			}
		}
	})
}

// What remains of a network is its value minus those of its members, written
// with the facts of both.
func TestRemainderIsWrittenOut(t *testing.T) {
	w := newWorld(t)
	w.says("N", "insertion_hours", lyon, "2025", "1000", covers("A", "B"))
	w.says("A", "insertion_hours", lyon8, "2025", "300")
	w.says("B", "insertion_hours", villeurbanne, "2025", "200") // elsewhere: not in it
	w.says("C", "insertion_hours", lyon, "2025", "50")
	text := func(m []Made) string {
		var out []string
		for _, x := range m[0].Sums[0].Terms {
			out = append(out, fmt.Sprintf("%s %s × %d/%d", x.Organisation, x.Value, x.Num, x.Den))
		}
		return strings.Join(out, ", ")
	}
	// A is in N: who knows the total knows N + C, and nothing of A.
	if got, want := text(checkMade(t, w.cube(), ask("insertion_hours", lyon, "2025"))), "N 1000 × 1/1, C 50 × 1/1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	q := ask("insertion_hours", lyon, "2025", func(q *Query) { q.Cuts = []Dimension{ByOrganisation} })
	made := checkMade(t, w.cube(), q)
	for i := range made {
		if made[i].Codes[0] != "N" {
			continue
		}
		if got, want := text(made[i:]), "A 300 × -1/1, N 1000 × 1/1"; got != want && got != "N 1000 × 1/1, A 300 × -1/1" {
			t.Errorf("remainder: got %s, want %s", got, want)
		}
	}
}

// A network may state its value in parts: members are taken from one after the
// other, and the facts of a part taken whole stand in the next.
func TestRemainderOfParts(t *testing.T) {
	for _, members := range []string{"0", "100", "300", "450", "700", "701"} {
		w := newWorld(t)
		w.says("N", "insertion_hours", lyon, "2025", "300", covers("A"), cut("sex=F"))
		w.says("N", "insertion_hours", lyon, "2025", "400", covers("A"), cut("sex=M"))
		w.says("A", "insertion_hours", lyon8, "2025", members)
		w.says("C", "insertion_hours", lyon, "2025", "50")
		checkMade(t, w.cube(), ask("insertion_hours", lyon, "2025"))
		checkMade(t, w.cube(), ask("insertion_hours", lyon, "2025", func(q *Query) { q.Cuts = []Dimension{ByOrganisation} }))
		checkMade(t, w.cube(), ask("insertion_hours", lyon, "2025", func(q *Query) { q.Cuts = []Dimension{Disaggregation("sex")} }))
	}
}

func TestMadeHasOneCut(t *testing.T) {
	w := newWorld(t)
	if _, err := w.cube().Made(Query{Cuts: []Dimension{ByOrganisationClass, BySizeClass}}); err == nil {
		t.Error("two cuts")
	}
}

// A family in a year as a release lays it out: every territory, year and
// quarters. Compare with BenchmarkLayFigures.
func layQuery(c *Cube, r *rand.Rand) Query {
	q := Query{Vintage: 2026, KeepRefused: true}
	for k := range benchCommunes + 13 {
		q.Territories = append(q.Territories, impact.TerritoryKey(k+1))
	}
	year := impact.YearPeriod(2016 + r.IntN(10))
	q.Periods = append([]impact.Period{year}, year.Buckets(impact.Quarter)...)
	at := r.IntN(benchIndicators - 3)
	for _, ind := range c.Catalogue().Indicators()[at : at+3] {
		q.Indicators = append(q.Indicators, ind.Code)
	}
	return q
}

func BenchmarkLayFigures(b *testing.B) {
	c := loaded(b)
	r := rand.New(rand.NewPCG(3, 4))
	run(b, c, func() Query { return layQuery(c, r) })
}

func BenchmarkLayMade(b *testing.B) {
	c := loaded(b)
	r := rand.New(rand.NewPCG(3, 4))
	b.ReportAllocs()
	figures, terms := 0, 0
	before := cpu()
	for b.Loop() {
		made, err := c.Made(layQuery(c, r))
		if err != nil {
			b.Fatal(err)
		}
		figures += len(made)
		for i := range made {
			for _, s := range made[i].Sums {
				terms += len(s.Terms)
			}
		}
	}
	b.ReportMetric(float64(cpu()-before)/1000/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(figures)/float64(b.N), "figures")
	b.ReportMetric(float64(terms)/float64(b.N), "terms")
}

package calculation_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

// annualWorld has every stored indicator of the real catalogue stated for one
// year by organisations of the 58 communes, a third of them each.
func annualWorld(tb testing.TB, organisations int) (*calculation.Cube, *impact.Catalogue, int) {
	ref, err := codelist.Load()
	if err != nil {
		tb.Fatal(err)
	}
	cat, err := impact.NewCatalogue(ref)
	if err != nil {
		tb.Fatal(err)
	}
	metropole, _, fault := cat.Gazetteer().ForVintage("metropole-200046977", 2026)
	if fault != nil {
		tb.Fatal(fault.Code)
	}
	communes := cat.Gazetteer().Descendants(metropole.Key, 2026, impact.Commune)
	if len(communes) != 58 {
		tb.Fatalf("%d communes in the Métropole, want 58", len(communes))
	}
	r := rand.New(rand.NewPCG(7, 8))
	var orgs []calculation.Organisation
	var cells []calculation.Change
	for i := range organisations {
		place := communes[i%len(communes)]
		orgs = append(orgs, calculation.Organisation{Key: impact.OrganisationKey(i + 1), ID: impact.OrganisationID(fmt.Sprint(i)), LegalUnit: fmt.Sprint(i)})
		for _, ind := range cat.Indicators() {
			if ind.Composed() || r.IntN(3) > 0 {
				continue
			}
			quals := map[string]string{}
			for _, q := range ind.HomogeneousBy {
				quals[q] = []string{"x", "y"}[r.IntN(2)]
			}
			cells = append(cells, calculation.Change{
				State: impact.Approved,
				Key:   impact.CellKey{Organisation: orgs[i].Key, Indicator: ind.Key, Territory: place.Key, Period: impact.YearPeriod(2025)},
				Current: &calculation.Fact{
					Value: impact.Quantity(r.Int64N(1000)) * impact.One, HasValue: true, Status: impact.Normal,
					Attrs: calculation.Attrs{Qualifiers: quals, Method: ind.MethodologyVersion},
				},
			})
		}
	}
	cube := calculation.NewCube(cat)
	if err := cube.Load(feed(orgs), nil, feed(cells), 1); err != nil {
		tb.Fatal(err)
	}
	return cube, cat, len(cells)
}

func allOf(cat *impact.Catalogue, place impact.TerritoryKey) calculation.Query {
	q := calculation.Query{Territories: []impact.TerritoryKey{place}, Vintage: 2026, Periods: []impact.Period{impact.YearPeriod(2025)}, KeepRefused: true}
	for _, ind := range cat.Indicators() {
		q.Indicators = append(q.Indicators, ind.Code)
	}
	return q
}

// Every indicator of the catalogue gives a figure, an explanation in both
// languages, and a value or a reason for having none.
func TestEveryIndicatorOfTheCatalogue(t *testing.T) {
	cube, cat, _ := annualWorld(t, 120)
	metropole, _, _ := cat.Gazetteer().ForVintage("metropole-200046977", 2026)
	res, err := cube.Figures(allOf(cat, metropole.Key))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[impact.IndicatorCode]bool{}
	for _, f := range res.Figures {
		seen[f.Indicator] = true
		if (f.Value == nil) == f.Status.HasNumber() {
			t.Errorf("%s: value %v with status %c", f.Indicator, f.Value, f.Status)
		}
		if f.Value == nil && f.Refused == "" && !f.Has(calculation.MissingComponent) && !f.Has(calculation.ZeroDenominator) {
			t.Errorf("%s: no value and no reason: %+v", f.Indicator, f)
		}
		q := allOf(cat, metropole.Key)
		q.Indicators, q.Qualifiers = []impact.IndicatorCode{f.Indicator}, f.Qualifiers
		x, err := cube.Explain(q)
		if err != nil {
			t.Errorf("%s: %v", f.Indicator, err)
			continue
		}
		if x.Formula.Text.FR == "" || x.Formula.Text.EN == "" || x.Formula.Machine == "" {
			t.Errorf("%s: formula %+v", f.Indicator, x.Formula)
		}
	}
	for _, ind := range cat.Indicators() {
		if !seen[ind.Code] {
			t.Errorf("%s: no figure", ind.Code)
		}
	}
}

func BenchmarkRealCatalogueMetropole(b *testing.B) {
	cube, cat, cells := annualWorld(b, 5000)
	metropole, _, _ := cat.Gazetteer().ForVintage("metropole-200046977", 2026)
	q := allOf(cat, metropole.Key)
	for b.Loop() {
		if _, err := cube.Figures(q); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cells), "obs")
}

package codelist_test

import (
	"encoding/csv"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

func load(t *testing.T) (impact.Reference, *impact.Catalogue) {
	t.Helper()
	ref, err := codelist.Load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := impact.NewCatalogue(ref)
	if err != nil {
		t.Fatal(err)
	}
	return ref, c
}

// Databases store keys: what a key once named, it names for ever. The golden
// files hold the keys given so far; UPDATE_KEYS=1 adds new ones to them.
func TestKeysAreAppendOnly(t *testing.T) {
	ref, _ := load(t)
	var territories, indicators [][]string
	for _, x := range ref.Territories {
		// The first day in force may be corrected; type and code may not.
		territories = append(territories, []string{fmt.Sprint(x.Key), string(x.ID)})
	}
	for _, x := range ref.Indicators {
		indicators = append(indicators, []string{fmt.Sprint(x.Key), string(x.Code)})
	}
	for file, now := range map[string][][]string{"testdata/territory_keys.csv": territories, "testdata/indicator_keys.csv": indicators} {
		given, err := readCSV(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if len(now) < len(given) {
			t.Errorf("%s: %d rows, there were %d", file, len(now), len(given))
			continue
		}
		if d := cmp.Diff(given, now[:len(given)]); d != "" && len(given) > 0 {
			t.Errorf("%s: a key changed its meaning: %s", file, d)
			continue
		}
		for i, row := range now {
			if row[0] != fmt.Sprint(i+1) {
				t.Errorf("%s: row %d has key %s", file, i+1, row[0])
			}
		}
		if len(now) == len(given) {
			continue
		}
		if os.Getenv("UPDATE_KEYS") == "" {
			t.Errorf("%s: %d new keys; run the test with UPDATE_KEYS=1 and commit the file", file, len(now)-len(given))
			continue
		}
		if err := writeCSV(file, now); err != nil {
			t.Fatal(err)
		}
	}
}

func readCSV(file string) ([][]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return csv.NewReader(f).ReadAll()
}

func writeCSV(file string, rows [][]string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return f.Close()
}

func TestTerritoriesOfTheMetropole(t *testing.T) {
	_, c := load(t)
	g := c.Gazetteer()
	metropole := g.Versions("metropole-200046977")[0]
	communes := g.Descendants(metropole.Key, 2026, impact.Commune)
	if len(communes) != 58 {
		t.Errorf("%d communes, 58 since 2024", len(communes))
	}
	population := func(ts []*impact.Territory) (sum int) {
		for _, x := range ts {
			sum += x.Population
		}
		return sum
	}
	if got := population(communes); got != 1_436_354 || got != metropole.Population {
		t.Errorf("the communes add up to %d", got)
	}
	lyon := g.Versions("commune-69123")[0]
	if got := population(g.Children(lyon.Key, 2026)); got != 519_127 || got != lyon.Population {
		t.Errorf("the arrondissements add up to %d, Lyon has %d", got, lyon.Population)
	}
	ctms := g.Children(metropole.Key, 2026)
	if got := population(ctms); len(ctms) != 10 || got != metropole.Population {
		t.Errorf("%d CTM add up to %d", len(ctms), got)
	}
	for _, x := range communes {
		if above := g.Ancestors(x.Key, 2026); above[0].Type != impact.CTM || above[1] != metropole {
			t.Errorf("%s is in one CTM of the Métropole: %v", x.ID, above)
		}
	}
	sizes := map[string]int{}
	for _, x := range ctms {
		sizes[x.Code] = len(g.Children(x.Key, 2026))
	}
	want := map[string]int{
		"lyon": 1, "villeurbanne": 1, "rhone-amont": 4, "porte-des-alpes": 4, "portes-du-sud": 5,
		"lones-et-coteaux": 8, "val-d-yzeron": 7, "ouest-nord": 8, "plateau-nord": 3, "val-de-saone": 17,
	}
	if d := cmp.Diff(sizes, want); d != "" {
		t.Errorf("composition of the CTM (domain.md G1): %s", d)
	}
	departement := g.Versions("departement-69")[0]
	if got := population(g.Children(departement.Key, 2026)); got != departement.Population {
		t.Errorf("the Rhône and the Métropole add up to %d, département 69 has %d", got, departement.Population)
	}
}

func TestOullinsPierreBenite(t *testing.T) {
	_, c := load(t)
	g := c.Gazetteer()
	day := impact.NewDate(2024, 1, 1)
	if before, after := g.At("commune-69149", day-1), g.At("commune-69149", day); before.Name != "Oullins" || after.Name != "Oullins-Pierre-Bénite" || before.SIREN == after.SIREN {
		t.Errorf("69149 is %v, then %v", before, after)
	}
	retired := g.Versions("commune-69152")[0]
	if d := cmp.Diff(retired.Successors, []impact.Succession{{ID: "commune-69149", Share: impact.One}}); d != "" || retired.PopulationYear != 2020 {
		t.Errorf("Pierre-Bénite: %s, population of %d", d, retired.PopulationYear)
	}
}

func TestTerritoriesAreWellFormed(t *testing.T) {
	ref, _ := load(t)
	for _, x := range ref.Territories {
		if x.Name == "" || string(x.ID) != string(x.Type)+"-"+x.Code {
			t.Errorf("%+v", x)
		}
		if (x.Parent == "") != (x.Type == impact.Country) {
			t.Errorf("%s: parent %q", x.ID, x.Parent)
		}
		if (x.ValidTo == impact.MaxDate) != (len(x.Successors) == 0) {
			t.Errorf("%s: ends on %s with successors %v", x.ID, x.ValidTo, x.Successors)
		}
		var shares impact.Quantity
		for _, s := range x.Successors {
			shares += s.Share
		}
		if len(x.Successors) > 0 && shares != impact.One {
			t.Errorf("%s: shares of its successors add up to %s", x.ID, shares)
		}
		if (x.Population > 0) != (x.PopulationYear > 0) {
			t.Errorf("%s: population %d of year %d", x.ID, x.Population, x.PopulationYear)
		}
	}
}

func TestImpactTypes(t *testing.T) {
	ref, c := load(t)
	levels := map[bool]int{}
	for _, x := range ref.ImpactTypes {
		levels[x.Parent == ""]++
		if x.Label.FR == "" || x.Label.EN == "" || x.Class != "impact" && x.Class != "lever" {
			t.Errorf("%+v", x)
		}
		if x.Parent != "" && (!strings.HasPrefix(string(x.Code), string(x.Parent)+".") || c.ImpactType(x.Parent).Class != x.Class) {
			t.Errorf("%s under %s", x.Code, x.Parent)
		}
	}
	if levels[true] != 6 || levels[false] != 30 {
		t.Errorf("six natures and thirty sub-types: %v", levels)
	}
}

func TestIndicators(t *testing.T) {
	ref, c := load(t)
	numbers := map[int]impact.IndicatorCode{}
	sets := map[string]int{}
	for _, x := range ref.Indicators {
		sets[x.Set]++
		if x.Label.FR == "" || x.Label.EN == "" || x.Definition.FR == "" || x.Definition.EN == "" || x.MethodologyVersion == "" {
			t.Errorf("%s leaves something unsaid", x.Code)
		}
		if x.Number != 0 {
			if numbers[x.Number] != "" {
				t.Errorf("number %d: %s and %s", x.Number, numbers[x.Number], x.Code)
			}
			numbers[x.Number] = x.Code
		}
		if (x.Set == "core") != (x.Number != 0) {
			t.Errorf("%s of set %s has number %d", x.Code, x.Set, x.Number)
		}
		if x.Set == "core" && x.ImpactType == "" {
			t.Errorf("%s has no impact type", x.Code)
		}
		for _, pair := range [][2]*impact.Quantity{{x.Min, x.Max}, {x.WarnMin, x.WarnMax}} {
			if pair[0] != nil && pair[1] != nil && *pair[0] >= *pair[1] {
				t.Errorf("%s: bounds out of order", x.Code)
			}
		}
		if composed := x.Kind == impact.Ratio || x.Kind == impact.SurveyShare; composed != x.Composed() {
			t.Errorf("%s of kind %s has numerator %v", x.Code, x.Kind, x.Numerator)
		}
		if x.Composed() != (x.Form != "") {
			t.Errorf("%s: form %q", x.Code, x.Form)
		}
		if survey := x.Kind == impact.SurveyMean || x.Kind == impact.SurveyShare; survey != (x.Weight != "") {
			t.Errorf("%s of kind %s has weight %q", x.Code, x.Kind, x.Weight)
		}
		for _, code := range slices.Concat(x.Numerator, x.Denominator, x.NeverAddedTo) {
			if other := c.Indicator(code); (x.Set == "core") && other.Set == "extension" {
				t.Errorf("core %s points at %s of the extension", x.Code, code)
			}
		}
		for _, m := range x.RequiredMetadata {
			if c.Code("qualifier", m) == nil {
				t.Errorf("%s requires %q, which is no qualifier", x.Code, m)
			}
		}
		for _, m := range x.HomogeneousBy {
			if c.Code("qualifier", m) == nil {
				t.Errorf("%s is homogeneous by %q, which is no qualifier", x.Code, m)
			}
		}
		for _, d := range x.Disaggregations {
			k := c.Code("dimension", d)
			if k == nil {
				t.Errorf("%s: unknown dimension %q", x.Code, d)
				continue
			}
			if open := k.Attrs["open"] == "true"; open == (len(c.List(d)) > 0) {
				t.Errorf("dimension %s is open (%v) and has %d codes", d, open, len(c.List(d)))
			}
		}
		if c.Code("direction", string(x.Direction)) == nil || x.Frequency != "" && c.Code("frequency", x.Frequency) == nil {
			t.Errorf("%s: direction %q, frequency %q", x.Code, x.Direction, x.Frequency)
		}
	}
	if len(numbers) != 67 {
		t.Errorf("%d numbers, 1 to 67 expected", len(numbers))
	}
	if d := cmp.Diff(sets, map[string]int{"core": 67, "component": 53, "companion": 2, "extension": 13}); d != "" {
		t.Error(d)
	}
}

// A person counted in a component is a person counted in the ratio, and values
// that may not meet in a component may not meet in the ratio.
func TestRatiosFollowTheirComponents(t *testing.T) {
	ref, c := load(t)
	for i := range ref.Indicators {
		x := c.Indicator(ref.Indicators[i].Code)
		if !x.Composed() {
			continue
		}
		for _, leaf := range c.Leaves(x) {
			if leaf.Personal && !x.Personal {
				t.Errorf("%s is made of %s, which counts people", x.Code, leaf.Code)
			}
			for _, q := range leaf.HomogeneousBy {
				if !slices.Contains(x.HomogeneousBy, q) {
					t.Errorf("%s is made of %s, homogeneous by %s", x.Code, leaf.Code, q)
				}
			}
			if leaf.Derived || leaf.Composed() {
				t.Errorf("%s: %s is not a fact", x.Code, leaf.Code)
			}
		}
		for _, side := range [][]impact.IndicatorCode{x.Numerator, x.Denominator} {
			for _, code := range side[1:] {
				if c.Indicator(code).Unit != c.Indicator(side[0]).Unit {
					t.Errorf("%s adds %s and %s of different units", x.Code, side[0], code)
				}
			}
		}
		n, d := c.Indicator(x.Numerator[0]).Unit, c.Indicator(x.Denominator[0]).Unit
		if fraction := x.Unit == "1" && n == d; !fraction && !slices.Contains(quotientUnits[x.Unit], n+" / "+d) {
			t.Errorf("%s: %s / %s does not give %s", x.Code, n, d, x.Unit)
		}
	}
}

// quotientUnits lists the quotients that give a unit other than a plain
// fraction.
var quotientUnits = map[string][]string{
	"t{CO2e}/MEUR": {"t{CO2e} / EUR"},
	"EUR/h":        {"EUR / h"},
	"d":            {"EUR.d / EUR"},
	"/Mh":          {"{accident} / h"},
	"h/{person}":   {"h / {person}"},
}

func TestUnits(t *testing.T) {
	ref, c := load(t)
	for _, u := range ref.Units {
		base := c.Unit(u.Base)
		if base == nil || base.Quantity != u.Quantity || base.Num != base.Den {
			t.Errorf("%s: base %q", u.Code, u.Base)
		}
		if u.Label.FR == "" || u.Label.EN == "" {
			t.Errorf("%s has no label", u.Code)
		}
	}
	factor := func(code string) *big.Rat {
		u := c.Unit(code)
		if u == nil {
			t.Fatalf("no unit %q", code)
		}
		return big.NewRat(u.Num, u.Den)
	}
	for code, want := range map[string]*big.Rat{
		"kg": big.NewRat(1, 1000), "k€": big.NewRat(1000, 1), "kWh": big.NewRat(1, 1000), "%": big.NewRat(1, 100),
		"GJ": big.NewRat(5, 18), "minutes": big.NewRat(1, 60), "ha": big.NewRat(10000, 1), "tC": big.NewRat(3664, 1000),
	} {
		if got := factor(code); got.Cmp(want) != 0 {
			t.Errorf("%s is %s of its base, want %s", code, got, want)
		}
	}
	if c.Unit("ETP").Code == c.Unit("personnes").Code {
		t.Error("people and FTE are two units (E21)")
	}
}

func TestCodesSpeakBothLanguages(t *testing.T) {
	ref, c := load(t)
	if len(ref.MeasureKinds) != 11 {
		t.Errorf("%d measure kinds, eleven expected", len(ref.MeasureKinds))
	}
	for _, k := range slices.Concat(ref.Codes, ref.MeasureKinds) {
		if k.Code == "" || k.Label.FR == "" || k.Label.EN == "" {
			t.Errorf("%+v", k)
		}
	}
	for _, list := range []string{
		"obs_status", "conf_status", "organisation_class", "size_class", "structure_kind", "ess_basis", "legal_category",
		"staff_band", "evidence_level", "reporting_perimeter", "provenance", "qualifier", "dimension", "local_scope", "qpv_generation", "measure_kind",
	} {
		if len(c.List(list)) == 0 {
			t.Errorf("the list %s is empty", list)
		}
	}
	for _, s := range []impact.Status{impact.Normal, impact.Estimated, impact.Provisional, impact.Imputed, impact.Break, impact.NotCollected, impact.NotApplicable, impact.Missing, impact.Suppressed} {
		k := c.Code("obs_status", string(s))
		if k == nil || (k.Attrs["number"] == "true") != s.HasNumber() || (k.Attrs["input"] == "true") != (s != impact.Suppressed) {
			t.Errorf("status %c: %+v", s, k)
		}
	}
}

func TestReferenceDataCannotBeChangedThroughTheCatalogue(t *testing.T) {
	ref, c := load(t)
	ref.Indicators[0].Label.FR = "autre"
	if c.Indicators()[0].Label.FR == "autre" {
		t.Error("the catalogue shares the caller's rows")
	}
}

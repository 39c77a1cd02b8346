package impact_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

func gazetteer() *impact.Gazetteer { return catalogue().Gazetteer() }

// key gives the key of the latest version of a territory.
func key(id impact.TerritoryID) impact.TerritoryKey {
	vs := gazetteer().Versions(id)
	return vs[len(vs)-1].Key
}

func ids(ts []*impact.Territory) string {
	var out []string
	for _, t := range ts {
		out = append(out, string(t.ID))
	}
	return strings.Join(out, " ")
}

func TestTerritoryReferences(t *testing.T) {
	for _, c := range []struct{ name, ref, period, want, suggestion string }{
		{"canonical", "commune-69266", "2025", "Villeurbanne", ""},
		{"case does not matter", "COMMUNE-69266", "2025", "Villeurbanne", ""},
		{"a bare code of one territory", "69266", "2025", "Villeurbanne", ""},
		{"a CTM by its slug", "rhone-amont", "2025", "Rhône Amont", ""},
		{"a CTM in capitals", "CTM-RHONE-AMONT", "2025", "Rhône Amont", ""},
		{"the Métropole as an EPCI", "epci-200046977", "2025", "Métropole de Lyon", ""},
		{"69149 is Oullins until 2023", "commune-69149", "2023", "Oullins", ""},
		{"69149 is Oullins-Pierre-Bénite since 2024", "commune-69149", "2024", "Oullins-Pierre-Bénite", ""},
		{"a fiscal year over the merger takes the later", "commune-69149", "2023-07-01/2024-06-30", "Oullins-Pierre-Bénite", ""},
		{"a retired code is kept while in force", "commune-69152", "2023-07-01/2024-06-30", "Pierre-Bénite", ""},
		{"then becomes its successor", "commune-69152", "2024", "Oullins-Pierre-Bénite with retired_territory", ""},
		{"a pinned vintage", "commune-69149@2023", "2023", "Oullins", ""},
		{"a pinned vintage, later", "commune-69149@2023", "2025", "Oullins-Pierre-Bénite with retired_territory", ""},
		{"validity is by date (E11)", "commune-69159", "2024-Q1", "Porte des Pierres Dorées", ""},
		{"the new code by date (E11)", "commune-69159", "2024-Q2", "Porte des Pierres Dorées with retired_territory", ""},
		{"a code before it existed", "commune-69114", "2023", "unknown_territory", "commune-69159"},
		{"the Métropole before 2015", "metropole-200046977", "2014", "unknown_territory", ""},
		{"a pin that is no year", "commune-69149@23", "2023", "unknown_territory", ""},
		{"a pin before it existed", "metropole-200046977@2010", "2025", "unknown_territory", ""},
		{"69003 is a commune and a postal code", "69003", "2025", "ambiguous_territory", ""},
		{"84 is a région and a département", "84", "2025", "ambiguous_territory", ""},
		{"69100 is Irigny and the postal code of Villeurbanne", "69100", "2025", "ambiguous_territory", ""},
		{"a postal code is never a territory", "69500", "2025", "unknown_territory", "commune-69029"},
		{"69008 is Ancy and the postal code of Lyon 8e", "69008", "2025", "ambiguous_territory", ""},
		{"département 69 is not the Métropole (E13)", "departement-69", "2025", "Rhône et Métropole de Lyon", ""},
		{"an unknown code", "commune-99999", "2025", "unknown_territory", ""},
		{"an unknown type", "canton-6901", "2025", "unknown_territory", ""},
		{"69 is two départements to people", "69", "2025", "ambiguous_territory", ""},
		{"38 is one", "38", "2025", "Isère", ""},
		{"a misspelt name", "Vaulx en Vellin", "2025", "unknown_territory", "commune-69256"},
		{"a letter missing", "Villeurbane", "2025", "unknown_territory", "commune-69266"},
		{"a name outside, a letter missing", "Bourgoin-Jalieu", "2025", "unknown_territory", "commune-38053"},
		{"a saint there is not", "Saint-Cucufa", "2025", "unknown_territory", ""},
		{"a beginning of two", "Fontaines", "2025", "unknown_territory", ""},
		{"nothing", "", "2025", "unknown_territory", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := impact.ParsePeriod(c.period)
			found, warnings, f := gazetteer().ForPeriod(c.ref, p)
			var got, suggestion string
			if f != nil {
				got, suggestion = string(f.Code), f.Suggestion
				wellSaid(t, *f)
			} else {
				got = found.Name
				for _, w := range warnings {
					got += " with " + string(w.Code)
				}
				wellSaid(t, warnings...)
			}
			if got != c.want || suggestion != c.suggestion {
				t.Errorf("%s in %s = %s (%q), want %s (%q)", c.ref, c.period, got, suggestion, c.want, c.suggestion)
			}
		})
	}
}

func TestASuggestedPlaceIsNamed(t *testing.T) {
	for in, hint := range map[string]string{"Villeurbane": "commune-69266 (Villeurbanne)", "Sathonay": "commune-69292 (Sathonay-Camp) ou commune-69293"} {
		if _, _, f := gazetteer().ForPeriod(in, impact.YearPeriod(2025)); f == nil || !strings.Contains(f.Hint.FR, hint) {
			t.Errorf("%s: %+v", in, f)
		}
	}
}

// small is a world of two départements, a split and a merger.
func small(t testing.TB) *impact.Gazetteer {
	t.Helper()
	end := impact.NewDate(2023, 12, 31)
	territory := func(k impact.TerritoryKey, code string, parent impact.TerritoryID, from, to impact.Date, next ...impact.Succession) impact.Territory {
		typ := impact.Commune
		if parent == "" {
			typ = impact.Departement
		}
		return impact.Territory{Key: k, ID: impact.TerritoryID(string(typ) + "-" + code), Type: typ, Code: code, Name: "T" + code, Parent: parent, ValidFrom: from, ValidTo: to, Successors: next}
	}
	g, err := impact.NewGazetteer([]impact.Territory{
		territory(1, "01", "", impact.MinDate, impact.MaxDate),
		territory(2, "01001", "departement-01", impact.MinDate, end, impact.Succession{ID: "commune-01003", Share: 600_000}, impact.Succession{ID: "commune-01004", Share: 400_000}),
		territory(3, "01003", "departement-01", end+1, impact.MaxDate),
		territory(4, "01004", "departement-01", end+1, impact.MaxDate),
		territory(5, "01005", "departement-01", impact.MinDate, end),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestSplitTerritories(t *testing.T) {
	g := small(t)
	_, _, f := g.ForPeriod("commune-01001", impact.YearPeriod(2025))
	if f == nil || f.Code != "retired_territory_split" || !strings.Contains(f.Hint.EN, "commune-01003 (T01003) or commune-01004 (T01004)") {
		t.Errorf("a split without a single successor: %+v", f)
	}
	wellSaid(t, *f)
	if _, _, f = g.ForPeriod("commune-01005", impact.YearPeriod(2025)); f == nil || f.Code != "unknown_territory" {
		t.Errorf("a territory without successor: %+v", f)
	}
	wellSaid(t, *f)
	want := []impact.Projection{{Key: 3, Share: 600_000}, {Key: 4, Share: 400_000}}
	if d := cmp.Diff(g.Project(2, 2025), want); d != "" {
		t.Errorf("a split maps by declared weight: %s", d)
	}
	if got := g.Project(3, 2023); got != nil {
		t.Errorf("a part cannot be seen as the whole it came from: %v", got)
	}
}

func TestProjections(t *testing.T) {
	g := gazetteer()
	oullins, merged := g.Versions("commune-69149")[0].Key, g.Versions("commune-69149")[1].Key
	pierreBenite := key("commune-69152")
	for _, c := range []struct {
		name    string
		k       impact.TerritoryKey
		vintage impact.Vintage
		want    []impact.Projection
	}{
		{"Oullins in its time", oullins, 2023, []impact.Projection{{Key: oullins, Share: impact.One}}},
		{"Oullins merges exactly (E10)", oullins, 2024, []impact.Projection{{Key: merged, Share: impact.One}}},
		{"Pierre-Bénite merges exactly (E10)", pierreBenite, 2024, []impact.Projection{{Key: merged, Share: impact.One}}},
		{"the merged commune has no place in 2023 (E10)", merged, 2023, nil},
		{"a new code only (E11)", key("commune-69114"), 2024, []impact.Projection{{Key: key("commune-69159"), Share: impact.One}}},
		{"no territory", 99999, 2024, nil},
	} {
		if d := cmp.Diff(g.Project(c.k, c.vintage), c.want); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestHierarchy(t *testing.T) {
	g := gazetteer()
	metropole := key("metropole-200046977")
	if n := len(g.Descendants(metropole, 2026, impact.Commune)); n != 58 {
		t.Errorf("58 communes since 2024, %d", n)
	}
	if n := len(g.Descendants(metropole, 2023, impact.Commune)); n != 59 {
		t.Errorf("59 communes until 2023, %d", n)
	}
	if n := len(g.Descendants(metropole, 2026, "")); n != 10+58+9 {
		t.Errorf("CTM, communes and arrondissements: %d", n)
	}
	want := "commune-69123 ctm-lyon metropole-200046977 departement-69 region-84 pays-FR"
	if d := cmp.Diff(ids(g.Ancestors(key("arrondissement-69388"), 2026)), want); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(ids(g.Ancestors(g.Versions("commune-69149")[0].Key, 2026)), "ctm-lones-et-coteaux metropole-200046977 departement-69 region-84 pays-FR"); d != "" {
		t.Errorf("Oullins still has those above it: %s", d)
	}
	if d := cmp.Diff(ids(g.Children(key("departement-69"), 2026)), "metropole-200046977 departement-69D"); d != "" {
		t.Errorf("departement-69 is the Rhône plus the Métropole: %s", d)
	}
}

func TestSearch(t *testing.T) {
	g := gazetteer()
	for q, first := range map[string]string{
		"decines":       "commune-69275",
		"Vaulx-en-V":    "commune-69256",
		"69388":         "arrondissement-69388",
		"lyon 8e":       "arrondissement-69388",
		"pierre benite": "commune-69152",
		"oullins":       "commune-69149",
		"st germain":    "",
		"métropole":     "metropole-200046977",
		" ":             "",
	} {
		got := ""
		if hits := g.Search(q); len(hits) > 0 {
			got = string(hits[0].ID)
		}
		if got != first {
			t.Errorf("Search(%q) begins with %q, want %q", q, got, first)
		}
	}
	if hits := g.Search("oullins"); hits[0].ValidTo == impact.MaxDate && hits[0].Name != "Oullins-Pierre-Bénite" {
		t.Errorf("in force before retired: %v", ids(hits))
	}
}

func TestGazetteerRefusesBrokenData(t *testing.T) {
	commune := func(k impact.TerritoryKey, code string) impact.Territory {
		return impact.Territory{Key: k, ID: impact.TerritoryID("commune-" + code), Type: impact.Commune, Code: code, ValidFrom: impact.MinDate, ValidTo: impact.MaxDate}
	}
	with := func(t impact.Territory, change func(*impact.Territory)) impact.Territory {
		change(&t)
		return t
	}
	for name, ts := range map[string][]impact.Territory{
		"a key twice":            {commune(1, "a"), commune(1, "b")},
		"a key of zero":          {commune(0, "a")},
		"two versions at a time": {commune(1, "a"), commune(2, "a")},
		"an unknown parent":      {with(commune(1, "a"), func(t *impact.Territory) { t.Parent = "commune-z" })},
		"an unknown successor":   {with(commune(1, "a"), func(t *impact.Territory) { t.Successors = []impact.Succession{{ID: "commune-z", Share: impact.One}} })},
		"its own parent":         {with(commune(1, "a"), func(t *impact.Territory) { t.Parent = "commune-a" })},
	} {
		if _, err := impact.NewGazetteer(ts); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestTerritoryProperties(t *testing.T) {
	g := gazetteer()
	all := g.All()
	metropole := key("metropole-200046977")
	anyTerritory := rapid.SampledFrom(all)
	vintages := rapid.Map(rapid.IntRange(2016, 2026), func(y int) impact.Vintage { return impact.Vintage(y) })
	t.Run("a projection keeps the total", rapid.MakeCheck(func(t *rapid.T) {
		k, v := anyTerritory.Draw(t, "t").Key, vintages.Draw(t, "vintage")
		var total impact.Quantity
		for _, p := range g.Project(k, v) {
			total += p.Share
			if to := g.ByKey(p.Key); to.ValidFrom > v.Day() || to.ValidTo < v.Day() {
				t.Fatalf("%s in %s gives %s, not in force", g.ByKey(k).ID, v, to.ID)
			}
		}
		if total != 0 && total != impact.One {
			t.Fatalf("%s in %s adds up to %s", g.ByKey(k).ID, v, total)
		}
	}))
	t.Run("the total of the Métropole does not depend on the vintage", rapid.MakeCheck(func(t *rapid.T) {
		k, v := anyTerritory.Draw(t, "t").Key, vintages.Draw(t, "vintage")
		inside := g.Encloses(metropole, k)
		for _, p := range g.Project(k, v) {
			if g.Encloses(metropole, p.Key) != inside {
				t.Fatalf("%s leaves or enters the Métropole in %s", g.ByKey(k).ID, v)
			}
		}
	}))
	t.Run("what is above encloses, what is below is enclosed", rapid.MakeCheck(func(t *rapid.T) {
		k, v := anyTerritory.Draw(t, "t").Key, vintages.Draw(t, "vintage")
		for _, a := range g.Ancestors(k, v) {
			if self := g.ByKey(k); self.ValidFrom <= v.Day() && self.ValidTo >= v.Day() && !g.Encloses(a.Key, k) {
				t.Fatalf("%s is above %s in %s and does not enclose it", a.ID, self.ID, v)
			}
			if g.Encloses(k, a.Key) {
				t.Fatalf("%s encloses its ancestor %s", g.ByKey(k).ID, a.ID)
			}
		}
		for _, d := range g.Descendants(k, v, "") {
			if !g.Encloses(k, d.Key) {
				t.Fatalf("%s is below %s in %s and not enclosed", d.ID, g.ByKey(k).ID, v)
			}
		}
	}))
	t.Run("an id is its own reference", rapid.MakeCheck(func(t *rapid.T) {
		want := anyTerritory.Draw(t, "t")
		day := min(max(want.ValidFrom, impact.NewDate(2000, 1, 1)), want.ValidTo)
		got, warnings, f := g.ForPeriod(string(want.ID), impact.Period{Start: day, End: day})
		if f != nil || got != want || len(warnings) > 0 {
			t.Fatalf("%s on %s is %v, %v, %v", want.ID, day, got, warnings, f)
		}
	}))
}

func FuzzTerritoryReference(f *testing.F) {
	for _, s := range []string{"commune-69266", "69003", "commune-69149@2023", "EPCI-200046977", "lyon 8e", "@", "commune-", "-"} {
		f.Add(s, 2025)
	}
	g := gazetteer()
	f.Fuzz(func(t *testing.T, s string, year int) {
		p := impact.YearPeriod(2000 + (year%40+40)%40)
		found, warnings, fault := g.ForPeriod(s, p)
		if (found == nil) != (fault != nil) {
			t.Fatalf("%q: %v and %v", s, found, fault)
		}
		wellSaid(t, warnings...)
		if fault != nil {
			wellSaid(t, *fault)
			return
		}
		if found.ValidFrom > p.End || found.ValidTo < p.Start {
			t.Fatalf("%q in %s is %s, not in force", s, p, found.ID)
		}
	})
}

func TestPlacesByTheirName(t *testing.T) {
	for _, c := range []struct{ name, text, postal, want string }{
		{"a commune", "Villeurbanne", "", "commune-69266"},
		{"accents and case", "VENISSIEUX", "", "commune-69259"},
		{"postal code beside", "Villeurbanne", "69100", "commune-69266"},
		{"postal code in the text", "69100 Villeurbanne", "", "commune-69266"},
		{"postal code after", "Villeurbanne (69100)", "", "commune-69266"},
		{"cedex", "69100 Villeurbanne Cedex", "", "commune-69266"},
		{"Lyon as a whole", "Lyon", "", "commune-69123"},
		{"Lyon with the postal code of an arrondissement", "LYON", "69003", "arrondissement-69383"},
		{"an arrondissement", "Lyon 3e arrondissement", "", "arrondissement-69383"},
		{"the Métropole", "Métropole de Lyon", "", "metropole-200046977"},
		{"an arrondissement, as people say", "Lyon 3e", "", "arrondissement-69383"},
		{"with an accent", "Lyon 3ème", "", "arrondissement-69383"},
		{"without", "LYON 3EME ARR.", "", "arrondissement-69383"},
		{"in two words", "Lyon 3 ème", "", "arrondissement-69383"},
		{"a figure alone", "Lyon 3", "", "arrondissement-69383"},
		{"with a zero", "Lyon 07", "", "arrondissement-69387"},
		{"the first", "Lyon 1er", "", "arrondissement-69381"},
		{"with its postal code", "69003 Lyon 3", "", "arrondissement-69383"},
		{"with another postal code", "69007 Lyon 3", "", ""},
		{"none of that rank", "Lyon 10", "", ""},
		{"a road", "Lyon 3 rue Garibaldi", "", ""},
		{"Grand Lyon", "Grand Lyon", "", "metropole-200046977"},
		{"the Métropole alone", "Métropole", "", "metropole-200046977"},
		{"Caluire", "Caluire", "", "commune-69034"},
		{"Tassin", "TASSIN", "", "commune-69244"},
		{"Rillieux", "Rillieux", "", "commune-69286"},
		{"Décines", "Décines", "", "commune-69275"},
		{"Vaulx", "Vaulx", "", "commune-69256"},
		{"Ste Foy", "Ste Foy", "", "commune-69202"},
		{"St Fons", "St Fons", "", "commune-69199"},
		{"St Priest", "ST-PRIEST", "", "commune-69290"},
		{"a beginning elsewhere", "Villefranche", "", ""},
		{"a beginning of two", "Fontaines", "", ""},
		{"half a word", "Caluir", "", ""},
		{"a saint of no name", "Saint", "", ""},
		{"an article", "La", "", ""},
		{"another postal code", "Villeurbanne", "69003", ""},
		{"a code stands for itself", "commune-69266", "", ""},
		{"a bare code too", "69266", "", ""},
		{"a postal code alone", "69100", "", ""},
		{"nowhere", "Atlantis", "", ""},
		{"nothing", "", "", ""},
		{"something long", strings.Repeat("Lyon ", 30), "", ""},
	} {
		id, w := gazetteer().Named(c.text, c.postal)
		if id != c.want {
			t.Errorf("%s: %q %s is %q, want %q", c.name, c.text, c.postal, id, c.want)
		}
		if (w != nil) != (id != "") {
			t.Errorf("%s: warning %v", c.name, w)
		}
		if w != nil {
			wellSaid(t, *w)
			if w.Code != "source_value_mapped" || w.Suggestion != id {
				t.Errorf("%s: %+v", c.name, w)
			}
		}
	}
}

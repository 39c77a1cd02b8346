package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ids lists the id (or code) of each row of a page.
func ids(t testing.TB, a answer) []string {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	rows, ok := a.json(t)["data"].([]any)
	if !ok {
		rows = a.json(t)["features"].([]any)
	}
	out := []string{}
	for _, r := range rows {
		m := r.(map[string]any)
		id, _ := m["id"].(string)
		if id == "" {
			id, _ = m["code"].(string)
		}
		out = append(out, id)
	}
	return out
}

func TestTerritoriesAreFound(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		if n := len(ids(t, w.anonymous.get(t, "/v1/territories?type=commune&within=metropole-200046977&vintage=2026&limit=1000"))); n != 58 {
			t.Errorf("the Métropole has %d communes, 58 since 2024", n)
		}
		if n := len(ids(t, w.anonymous.get(t, "/v1/territories?type=commune&within=metropole-200046977&vintage=2023&limit=1000"))); n != 59 {
			t.Errorf("the Métropole had %d communes in 2023, 59", n)
		}
		if n := len(ids(t, w.anonymous.get(t, "/v1/territories?type=arrondissement&within=commune-69123"))); n != 9 {
			t.Errorf("Lyon has %d arrondissements, 9", n)
		}
		if got := ids(t, w.anonymous.get(t, "/v1/territories?q=pierre%20benite")); !slices.Contains(got, "commune-69149") || !slices.Contains(got, "commune-69152") {
			t.Errorf("pierre benite: %v", got)
		}
		if got := ids(t, w.anonymous.get(t, "/v1/territories?q=PIERRE-B%C3%89NITE&vintage=2026")); slices.Contains(got, "commune-69152") {
			t.Errorf("a retired commune in vintage 2026: %v", got)
		}
		if got := ids(t, w.anonymous.get(t, "/v1/territories?q=villeurbanne&type=commune")); !cmp.Equal(got, []string{"commune-69266"}) {
			t.Errorf("villeurbanne: %v", got)
		}
		if got := ids(t, w.anonymous.get(t, "/v1/territories?q=nowhereatall")); len(got) != 0 {
			t.Errorf("nowhere: %v", got)
		}
		a := w.anonymous.get(t, "/v1/territories?within=epci-200046977&type=ctm")
		if len(ids(t, a)) == 0 {
			t.Error("an alias is not understood")
		}
		if kids := ids(t, w.anonymous.get(t, "/v1/territories/metropole-200046977/children")); len(kids) == 0 || !strings.HasPrefix(kids[0], "ctm-") {
			t.Errorf("children of the Métropole: %v", kids)
		}
		up := ids(t, w.anonymous.get(t, "/v1/territories/arrondissement-69383/ancestors"))
		if len(up) < 4 || up[0] != "commune-69123" || up[len(up)-1] != "pays-FR" {
			t.Errorf("above the 3rd arrondissement: %v", up)
		}
	})
}

func TestCodeOnceKnownIsNever404(t *testing.T) {
	w := embedded(t)
	a := w.anonymous.get(t, "/v1/territories/commune-69152")
	if a.status != 200 || a.at(t, "/valid_to") != "2023-12-31" || a.at(t, "/successors/0/id") != "commune-69149" || a.at(t, "/successors/0/name") != "Oullins-Pierre-Bénite" || a.at(t, "/meta/warnings/0/code") != "retired_territory" {
		t.Errorf("%d %s", a.status, a.body)
	}
	for path, name := range map[string]string{
		"/v1/territories/commune-69149":              "Oullins-Pierre-Bénite",
		"/v1/territories/commune-69149@2023":         "Oullins",
		"/v1/territories/commune-69149?vintage=2023": "Oullins",
		"/v1/territories/COMMUNE-69149":              "Oullins-Pierre-Bénite",
		"/v1/territories/epci-200046977":             "Métropole de Lyon",
		"/v1/territories/commune%2D69266":            "Villeurbanne",
	} {
		if a := w.anonymous.get(t, path); a.status != 200 || a.at(t, "/name") != name {
			t.Errorf("%s: %d %v, want %s", path, a.status, a.at(t, "/name"), name)
		}
	}
	// The link of each version leads to that version.
	old := w.anonymous.get(t, "/v1/territories/commune-69149@2023")
	self := strings.TrimPrefix(old.at(t, "/links/self").(string), publicURL)
	if again := w.anonymous.get(t, self); again.at(t, "/name") != "Oullins" {
		t.Errorf("%s is %v", self, again.at(t, "/name"))
	}
	for _, path := range []string{"/v1/territories/84", "/v1/territories/commune-00000", "/v1/territories/commune-69266@x", "/v1/territories/69003"} {
		refused(t, w.anonymous.get(t, path), 404, "not_found")
	}
	if a := w.anonymous.get(t, "/v1/territories/84"); a.at(t, "/errors/0/code") != "ambiguous_territory" || !strings.Contains(string(a.body), "region-84") {
		t.Errorf("84: %s", a.body)
	}
}

func TestHistoryTellsMergers(t *testing.T) {
	w := embedded(t)
	a := w.anonymous.get(t, "/v1/territories/commune-69149/history")
	var got []string
	for _, e := range a.json(t)["data"].([]any) {
		m := e.(map[string]any)
		from := m["from"].(map[string]any)
		to := m["to"].([]any)[0].(map[string]any)
		got = append(got, fmt.Sprintf("%s %s %s→%s", m["date"], m["kind"], from["name"], to["name"]))
	}
	want := []string{"2024-01-01 merger Oullins→Oullins-Pierre-Bénite", "2024-01-01 merger Pierre-Bénite→Oullins-Pierre-Bénite"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestContoursOnceLoaded(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		g := w.config.Catalogue.Gazetteer()
		villeurbanne := g.Versions("commune-69266")[0]
		square := `{"type":"Polygon","coordinates":[[[4.86,45.75],[4.92,45.75],[4.92,45.79],[4.86,45.79],[4.86,45.75]]]}`
		must(t, w.store.LoadGeometry(context.Background(), map[impact.TerritoryKey][]byte{villeurbanne.Key: []byte(square)}, "test"))
		if got := ids(t, w.anonymous.get(t, "/v1/territories?contains=4.88,45.77")); !cmp.Equal(got, []string{"commune-69266"}) {
			t.Errorf("contains: %v", got)
		}
		if got := ids(t, w.anonymous.get(t, "/v1/territories?contains=4.70,45.77")); len(got) != 0 {
			t.Errorf("contains, outside: %v", got)
		}
		if got := ids(t, w.anonymous.get(t, "/v1/territories?bbox=4.9,45.7,5,45.8&geometry=full")); !cmp.Equal(got, []string{"commune-69266"}) {
			t.Errorf("bbox: %v", got)
		}
		a := w.anonymous.get(t, "/v1/territories/commune-69266.geojson?geometry=full")
		var want any
		must(t, json.Unmarshal([]byte(square), &want))
		var f struct {
			Type, ID string
			Geometry any
		}
		must(t, json.Unmarshal(a.body, &f))
		if f.Type != "Feature" || f.ID != "commune-69266" || !cmp.Equal(f.Geometry, want) {
			t.Errorf("%s", a.body)
		}
		if c := w.anonymous.get(t, "/v1/territories/commune-69266?geometry=centroid"); c.at(t, "/geometry/type") != "Point" {
			t.Errorf("centroid: %s", c.body)
		}
		if c := w.anonymous.get(t, "/v1/territories/commune-69266"); c.at(t, "/geometry") != nil {
			t.Errorf("a contour nobody asked for: %s", c.body)
		}
		all := w.anonymous.get(t, "/v1/territories.geojson?type=commune&within=metropole-200046977&limit=1000")
		drawn := 0
		for _, x := range all.json(t)["features"].([]any) {
			if x.(map[string]any)["geometry"] != nil {
				drawn++
			}
		}
		if n := len(ids(t, all)); n != 58 || drawn != 1 {
			t.Errorf("%d features, %d drawn", n, drawn)
		}
	})
}

func TestIndicatorsAreFound(t *testing.T) {
	w := embedded(t)
	inclusion := ids(t, w.anonymous.get(t, "/v1/indicators?impact_type=inclusion&limit=1000"))
	if !slices.Contains(inclusion, "insertion_hours") {
		t.Errorf("inclusion, with its sub-types: %v", inclusion)
	}
	if got := ids(t, w.anonymous.get(t, "/v1/indicators?q=DECHETS%20collectes")); !slices.Contains(got, "waste_collected") {
		t.Errorf("déchets collectés: %v", got)
	}
	admin := impact.Principal{Client: "setup", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}
	_, err := w.store.PutQuestionnaire(t.Context(), admin, impact.Questionnaire{Code: "tri-2026", Label: impact.Text{FR: "Tri", EN: "Sorting"}, Indicators: []impact.QuestionnaireItem{{Indicator: "waste_collected", Required: true}}, From: impact.MinDate, To: impact.MaxDate, Review: impact.Manual}, 0)
	must(t, err)
	if got := ids(t, w.anonymous.get(t, "/v1/indicators?questionnaire=tri-2026")); !cmp.Equal(got, []string{"waste_collected"}) {
		t.Errorf("asked by the questionnaire: %v", got)
	}
	refused(t, w.anonymous.get(t, "/v1/indicators?questionnaire=nope"), 422, "validation_failed")
	for _, code := range ids(t, w.anonymous.get(t, "/v1/indicators?kind=ratio,survey_mean&limit=1000")) {
		a := w.anonymous.get(t, "/v1/indicators/"+code)
		if k := a.at(t, "/measure_kind"); k != "ratio" && k != "survey_mean" {
			t.Errorf("%s is %v", code, k)
		}
		if a.at(t, "/combination/over_time") == "" || a.at(t, "/unit_label/fr") == "" {
			t.Errorf("%s: %s", code, a.body)
		}
	}
	for _, x := range w.config.Catalogue.Indicators() {
		if a := w.anonymous.get(t, "/v1/indicators/"+string(x.Code)); a.status != 200 {
			t.Errorf("%s: %d", x.Code, a.status)
		}
	}
	for _, id := range ids(t, w.anonymous.get(t, "/v1/code-lists")) {
		a := w.anonymous.get(t, "/v1/code-lists/"+id)
		if a.status != 200 || len(a.json(t)["codes"].([]any)) == 0 {
			t.Errorf("%s: %d %s", id, a.status, a.body)
		}
	}
}

// Every code of the closed lists is served, with words in both languages.
func TestEveryCodeIsDescribed(t *testing.T) {
	w := embedded(t)
	served := map[string]bool{}
	for _, x := range w.anonymous.get(t, "/v1/problems").json(t)["data"].([]any) {
		m := x.(map[string]any)
		code := m["code"].(string)
		served[code] = true
		title := m["title"].(map[string]any)
		if title["fr"] == "" || title["en"] == nil {
			t.Errorf("%s has no title", code)
		}
		_, problem := impact.ProblemCodes[code]
		if problem != (m["status"] != nil) {
			t.Errorf("%s: status %v", code, m["status"])
		}
		if a := w.anonymous.get(t, "/v1/problems/"+code); a.status != 200 {
			t.Errorf("%s: %d", code, a.status)
		}
	}
	for code := range impact.FaultCodes {
		if !served[string(code)] {
			t.Errorf("%s is not served", code)
		}
	}
	for code := range impact.ProblemCodes {
		if !served[code] {
			t.Errorf("%s is not served", code)
		}
	}
}

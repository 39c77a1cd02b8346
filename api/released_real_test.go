package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/release"
)

// releasing lets the world make releases as the service does.
func (w *world) releasing(t testing.TB) *release.Shelf {
	t.Helper()
	rules, ok := disclosure.NamedRules("strict-1")
	if !ok {
		t.Fatal("no such rules")
	}
	w.builder.Close()
	c := w.building()
	c.Make = publish.Make(rules, nil)
	w.builder = publish.Start(c)
	t.Cleanup(w.builder.Close)
	shelf := release.NewShelf(w.store, 2)
	w.config.Releases, w.config.ReleaseRunner, w.config.AnswerCache = api.ReleasesOn(shelf), w.builder, 32<<20
	h, err := api.New(w.config)
	must(t, err)
	w.server = httptest.NewServer(h)
	t.Cleanup(w.server.Close)
	return shelf
}

// crowd registers organisations that state the same kinds of things in 2024.
func (w *world) crowd(t testing.TB, n int, facts func(i int) []fact) []*caller {
	t.Helper()
	var out []*caller
	for i := range n {
		o := w.register(t, setup, impact.Organisation{
			Name: fmt.Sprintf("Membre %d", i), SIREN: luhn(fmt.Sprintf("7%07d", i+1)), Class: impact.Association, StructureKind: "ACI", SizeClass: "small", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
		})
		x := w.client(t, impact.Client{Name: o.Name, Role: impact.RoleOrganisation, Organisation: o.ID})
		w.states(t, x, facts(i)...)
		out = append(out, x)
	}
	return out
}

// luhn adds the digit that makes a SIREN of eight digits.
func luhn(eight string) string {
	for d := '0'; d <= '9'; d++ {
		if _, f := impact.CheckSIREN(eight + string(d)); f == nil {
			return eight + string(d)
		}
	}
	panic(eight)
}

// Releases made by the whole machinery, from facts to answers.
func TestReleasesOfRealFacts(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		shelf := w.releasing(t)
		hours := func(territory, period string, v int) fact {
			return fact{"indicator": "insertion_hours", "territory": territory, "period": period, "value": v, "unit": "h"}
		}
		tonnes := func(indicator string, v int) fact {
			return fact{"indicator": indicator, "territory": "commune-69266", "period": "2024", "value": v, "unit": "t"}
		}
		crowd := w.crowd(t, 8, func(i int) []fact {
			f := []fact{hours("commune-69266", "2024-Q1", 100+i), hours("commune-69266", "2024-Q2", 90+2*i), tonnes("waste_collected", 50+i), tonnes("waste_reused", 20), tonnes("waste_recycled", 10+i), tonnes("waste_energy_recovered", 5)}
			if i < 2 { // too few there
				f = append(f, hours("commune-69029", "2024-Q1", 70+i))
			}
			return f
		})
		publish := func() answer {
			a := w.candidate(t, object{"publish": true})
			if a.at(t, "/state") != "published" {
				t.Fatalf("%s", a.body)
			}
			must(t, shelf.Refresh(context.Background()))
			return a
		}
		first := publish()
		q := "/v1/aggregates?indicator=insertion_hours,recovery_rate&period=2024&territory=metropole-200046977,commune-69266,commune-69029"
		a := w.anonymous.get(t, q)
		if a.status != http.StatusOK || a.at(t, "/meta/release") != "1" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		shown := map[string]string{}
		for _, r := range a.json(t)["data"].([]any) {
			m := r.(map[string]any)
			shown[fmt.Sprint(m["indicator"], " ", m["territory"])] = fmt.Sprint(m["value"], " ", m["obs_status"], m["conf_status"], " ", m["n_organisations"])
		}
		// Bron has two contributors; the Métropole less Villeurbanne would give
		// it away, so one of them is withheld too.
		if got := shown["insertion_hours commune-69029"]; got != "<nil> QC <nil>" {
			t.Errorf("Bron: %q in %s", got, a.body)
		}
		if shown["insertion_hours metropole-200046977"] != "<nil> QC <nil>" && shown["insertion_hours commune-69266"] != "<nil> QC <nil>" {
			t.Errorf("Bron is the difference of two figures: %v", shown)
		}
		if got := shown["recovery_rate commune-69266"]; !strings.HasSuffix(got, " AF 8") {
			t.Errorf("the rate: %q", got)
		}
		live := w.steward.get(t, strings.Replace(q, ",commune-69029", "", 1)+"&release=live")
		for _, r := range live.json(t)["data"].([]any) {
			m := r.(map[string]any)
			if got := shown[fmt.Sprint(m["indicator"], " ", m["territory"])]; !strings.HasPrefix(got, "<nil>") && !strings.HasPrefix(got, fmt.Sprint(m["value"], " ")) {
				t.Errorf("published %q, and live %v", got, m["value"])
			}
		}
		// Each row leads to its explanation, in the same release.
		for _, r := range a.json(t)["data"].([]any) {
			m := r.(map[string]any)
			e := w.anonymous.get(t, m["links"].(map[string]any)["explain"].(string))
			if e.status != http.StatusOK || fmt.Sprint(e.at(t, "/cell/value")) != fmt.Sprint(m["value"]) || e.at(t, "/contributors") != nil || (e.at(t, "/withheld/en") != nil) != (m["obs_status"] == "Q") {
				t.Errorf("%d %s", e.status, e.body)
			}
		}
		for _, path := range []string{"/v1/aggregates/availability?indicator=insertion_hours", "/v1/aggregates/availability?mode=available&period=2024", "/v1/aggregates.csv?indicator=insertion_hours&period=2024-Q1/2024-Q4&territory=metropole-200046977&territory_type=ctm", "/v1/aggregates?group_by=impact_type,territory,period&period=2024&territory=metropole-200046977"} {
			if a := w.anonymous.get(t, path); a.status != http.StatusOK {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		// Each way off the lattice is refused, and leads back to it.
		for _, more := range []string{
			"&group_by=indicator,territory", "&group_by=indicator,period", "&group_by=indicator,territory,period,organisation_class,", "&organisation_class=association,company", "&organisation_class=association&size_class=small",
			"&disaggregation.sex=F", "&split=prorata_days", "&state=draft", "&group_by=organisation", "&organisation=" + string(w.atelier.ID),
		} {
			refusal := w.anonymous.get(t, "/v1/aggregates?indicator=insertion_hours&period=2024,2023&territory=metropole-200046977,commune-69266"+strings.TrimSuffix(more, ","))
			if strings.Contains(more, "period,organisation_class") && refusal.status == http.StatusOK {
				t.Errorf("%s: %s", more, refusal.body)
				continue
			}
			refused(t, refusal, http.StatusUnprocessableEntity, "disclosure_uncontrolled_slice")
			near, _ := refusal.at(t, "/links/nearest").([]any)
			if len(near) == 0 || refusal.at(t, "/disclosure_control/status") != "BLOCKED" || refusal.at(t, "/detail") == nil || refusal.at(t, "/hint") == nil {
				t.Errorf("%s leads nowhere: %s", more, refusal.body)
			}
			for _, link := range near {
				if got := w.anonymous.get(t, path(t, link.(string))); got.status != http.StatusOK {
					t.Errorf("%s → %s: %d %s", more, link, got.status, got.body)
				}
			}
		}
		refused(t, w.anonymous.get(t, q+"&vintage=2024"), http.StatusUnprocessableEntity, "vintage_not_released")

		// A correction shows with the next release, and the first stays as it was.
		for i, x := range crowd {
			w.states(t, x, hours("commune-69266", "2024-Q1", 140+i))
		}
		if again := w.anonymous.get(t, q); string(again.body) != string(a.body) {
			t.Errorf("a write shows before its release")
		}
		second := publish()
		if first.at(t, "/digest") == second.at(t, "/digest") {
			t.Error("two different releases have one digest")
		}
		old := w.anonymous.get(t, q+"&release=1")
		if d := cmp.Diff(a.json(t)["data"], old.json(t)["data"]); d != "" {
			t.Errorf("a release changed: %s", d)
		}
		next := w.anonymous.get(t, q)
		if next.at(t, "/meta/release") != "2" || next.header.Get("ETag") == a.header.Get("ETag") {
			t.Errorf("%s", next.body)
		}
		body := object{"reason": object{"fr": "Erreur.", "en": "Error."}}
		if got := w.steward.post(t, "/v1/releases/2/withdraw", body); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
		must(t, shelf.Refresh(context.Background()))
		gone := w.anonymous.get(t, q+"&release=2")
		refused(t, gone, http.StatusGone, "release_withdrawn")
		if back := w.anonymous.get(t, q); string(back.body) != string(a.body) {
			t.Errorf("after a withdrawal the former release is not read again: %s", back.body)
		}
	})
}

package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A value that cannot stand beside another is told which one, who stated it as
// far as the sender may know, and what the sender can do.
func TestWhatStandsInTheWayIsNamed(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		w.member(t)
		w.grant(t, nil, "observations.write")
		state := func(x *caller, organisation, indicator, territory, period string) answer {
			return x.post(t, "/v1/observations", object{"organisation": organisation, "indicator": indicator, "territory": territory, "period": period, "value": 10, "unit": "h"})
		}
		mine := string(w.atelier.ID)
		by := func(x *caller, indicator string) string {
			t.Helper()
			a := state(x, mine, indicator, "commune-69266", "2024-Q1")
			if a.status != http.StatusCreated {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return a.at(t, "/id").(string)
		}
		own, theirs := by(w.organisation, "volunteer_hours"), by(w.network, "training_hours")
		says := func(a answer, code string, words ...string) {
			t.Helper()
			e, _ := a.at(t, "/errors/0").(object)
			text := fmt.Sprint(e["detail"], " ", e["hint"])
			if a.status != http.StatusUnprocessableEntity || e["code"] != code {
				t.Fatalf("%d %s", a.status, a.body)
			}
			for _, word := range words {
				absent, hidden := strings.CutPrefix(word, "!")
				if strings.Contains(text, absent) == hidden {
					t.Errorf("%q: %s", word, text)
				}
			}
		}
		at := "2024-Q1, commune-69266 (Villeurbanne), "
		says(state(w.organisation, mine, "volunteer_hours", "commune-69029", "2024"), "overlapping_period", at+"que vous avez", "DELETE /v1/observations/"+own)
		says(state(w.organisation, mine, "training_hours", "metropole-200046977", "2024-Q1"), "overlapping_territory", at+"déclarée par un réseau que vous", "DELETE /v1/observations/"+theirs)
		// A network that may only write: whose it is, but no address it could not open.
		says(state(w.network, mine, "volunteer_hours", "commune-69029", "2024"), "overlapping_period", at+"déclarée par l'organisation elle-même", "demandez à l'organisation", "!"+own)
		says(state(w.network, mine, "training_hours", "metropole-200046977", "2024-Q1"), "overlapping_territory", "votre réseau", "action D", "!"+theirs)
		w.grant(t, nil, "observations.read")
		says(state(w.network, mine, "volunteer_hours", "commune-69029", "2024"), "overlapping_period", "GET /v1/observations/"+own, "!DELETE")
		says(state(w.network, mine, "training_hours", "commune-69029", "2024"), "overlapping_period", "DELETE /v1/observations/"+theirs)
		if a := w.organisation.do(t, "DELETE", "/v1/observations/"+own, nil, header{"If-Match", `"v1"`}); a.status != http.StatusNoContent {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := state(w.organisation, mine, "volunteer_hours", "commune-69029", "2024"); a.status != http.StatusCreated {
			t.Errorf("what was said to mend it does not: %d %s", a.status, a.body)
		}
	})
}

// Rows of former communes that have merged state one fact, and are told so.
func TestAMergerIsTold(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		row := func(territory string) object {
			return object{"indicator": "volunteer_hours", "territory": territory, "period": "2025-Q1", "value": 10, "unit": "h"}
		}
		a := w.organisation.post(t, "/v1/observations", object{"observations": []any{row("commune-69152"), row("commune-69149")}})
		if !strings.Contains(string(a.body), "ont fusionné : c'est commune-69149 (Oullins-Pierre-Bénite)") {
			t.Errorf("%d %s", a.status, a.body)
		}
		a = w.organisation.post(t, "/v1/observations", object{"observations": []any{row("commune-69266"), row("commune-69266")}})
		if s := string(a.body); !strings.Contains(s, "duplicate_in_file") || strings.Contains(s, "fusionné") {
			t.Errorf("%d %s", a.status, a.body)
		}
		a = w.organisation.post(t, "/v1/imports", "indicator;territory;period;value;unit\nvolunteer_hours;commune-69149;2025-Q1;1;h\nvolunteer_hours;commune-69152;2025-Q1;2;h\nvolunteer_hours;commune-69266;2025-Q1;3;h\n", asCSV, w.importKey())
		for i := range 2 {
			if got := fmt.Sprint(a.at(t, fmt.Sprintf("/rows/%d/errors", i))); !strings.Contains(got, "Les lignes 2 et 3") || !strings.Contains(got, "c'est commune-69149") {
				t.Errorf("%s", a.body)
			}
		}
	})
}

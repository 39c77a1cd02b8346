package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

var usedKeys struct {
	sync.Mutex
	n int
}

// fresh is an idempotency key nobody used.
func fresh() header {
	usedKeys.Lock()
	defer usedKeys.Unlock()
	usedKeys.n++
	return header{"Idempotency-Key", fmt.Sprintf("key-%d", usedKeys.n)}
}

func (w *world) questionnaire(t testing.TB, code, review string, required ...string) {
	t.Helper()
	var items []any
	for _, r := range required {
		items = append(items, object{"indicator": r, "required": true})
	}
	a := w.administrator.post(t, "/v1/questionnaires", object{"code": code, "label": object{"fr": "Questionnaire", "en": "Questionnaire"}, "indicators": items, "review": review})
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

func (x *caller) open(t testing.TB, body object) (answer, string) {
	t.Helper()
	a := x.post(t, "/v1/submissions", body, fresh())
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a, path(t, a.header.Get("Location"))
}

func TestSubmissionsAreOpened(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		w.questionnaire(t, "insertion-2025", "manual", "insertion_hours")
		body := object{
			"organisation": "siren:732829320", "period": "2025", "questionnaire": "insertion-2025", "source": "cocagne-crm",
			"observations": []any{hours(), hours(object{"period": "2025-Q2", "value": 1700})},
		}
		key := fresh()
		a := x.post(t, "/v1/submissions", body, key)
		if a.status != http.StatusCreated || a.header.Get("Consistency-Token") == "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		at := path(t, a.header.Get("Location"))
		got := a.json(t)
		if a.header.Get("ETag") != fmt.Sprintf(`"v%s"`, number(t, got["version"])) {
			t.Errorf("%s", a.header.Get("ETag"))
		}
		for _, k := range []string{"id", "acted_by", "created_at", "updated_at", "version", "links"} {
			if got[k] == nil {
				t.Errorf("%s is missing", k)
			}
			delete(got, k)
		}
		want := object{
			"organisation": object{"id": string(w.atelier.ID), "name": w.atelier.Name}, "period": "2025", "questionnaire": "insertion-2025", "source": "cocagne-crm", "state": "draft", "review": "manual",
			"reason": nil, "n_observations": json.Number("2"), "mandate": nil, "meta": object{"warnings": []any{}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if b := x.get(t, path(t, a.at(t, "/links/observations"))); len(ids(t, b)) != 2 {
			t.Errorf("%s", b.body)
		}
		if b := x.get(t, at); b.status != http.StatusOK || b.header.Get("ETag") != a.header.Get("ETag") {
			t.Errorf("%d %s", b.status, b.body)
		}
		if b := x.get(t, at, header{"If-None-Match", a.header.Get("ETag")}); b.status != http.StatusNotModified {
			t.Errorf("%d", b.status)
		}
		again := x.post(t, "/v1/submissions", body, key)
		if again.status != http.StatusCreated || string(again.body) != string(a.body) || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%d %s", again.status, again.body)
		}
		refused(t, x.post(t, "/v1/submissions", object{"period": "2024"}, key), http.StatusUnprocessableEntity, "idempotency_key_reused")
		// At most one open submission for an organisation, a period, a questionnaire.
		conflict := x.post(t, "/v1/submissions", body, fresh())
		refused(t, conflict, http.StatusConflict, "already_exists")
		if path(t, conflict.at(t, "/links/related")) != at {
			t.Errorf("%s", conflict.body)
		}
		x.open(t, object{"period": "2025"})
		x.open(t, object{"period": "2024", "questionnaire": "insertion-2025"})
	})
}

func TestSubmissionsNeedAKey(t *testing.T) {
	w := embedded(t)
	a := w.organisation.post(t, "/v1/submissions", object{"period": "2025"})
	refused(t, a, http.StatusBadRequest, "missing_idempotency_key")
	if diff := cmp.Diff([]string{"missing_field Idempotency-Key"}, faults(t, a)); diff != "" {
		t.Error(diff)
	}
}

func TestInlineObservationsAreAllOrNothing(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		a := x.post(t, "/v1/submissions", object{"period": "2025", "observations": []any{hours(), hours(object{"indicator": "insertion_hour", "period": "2025-Q9"}), hours(object{"valeur": 1})}}, fresh())
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		if diff := cmp.Diff([]string{"unknown_indicator /observations/1/indicator", "unknown_member /observations/2/valeur", "unknown_period_format /observations/1/period"}, faults(t, a)); diff != "" {
			t.Error(diff)
		}
		// What only the database tells points there too.
		a = x.post(t, "/v1/submissions", object{"period": "2025", "observations": []any{hours(), hours(object{"period": "2024-Q1"})}}, fresh())
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		if diff := cmp.Diff([]string{"period_not_allowed /observations/1/period"}, faults(t, a)); diff != "" {
			t.Error(diff)
		}
		a = x.post(t, "/v1/submissions", object{"organisation": "siren:552100554", "period": "demain", "questionnaire": "insertion", "observations": []any{hours(object{"value": "x"})}, "note": 1}, fresh())
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		a = x.post(t, "/v1/submissions", object{"organisation": "siren:552100554", "period": "demain", "questionnaire": "insertion", "source": strings.Repeat("s", 201), "observations": []any{hours(object{"value": "x"})}}, fresh())
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		if diff := cmp.Diff([]string{"invalid_type /observations/0/value", "too_long /source", "unknown_organisation /organisation", "unknown_period_format /period", "unknown_reference /questionnaire"}, faults(t, a)); diff != "" {
			t.Error(diff)
		}
		refused(t, x.post(t, "/v1/submissions", object{}, fresh()), http.StatusUnprocessableEntity, "validation_failed")
		refused(t, x.post(t, "/v1/submissions", object{"period": "2025", "observations": object{}}, fresh()), http.StatusUnprocessableEntity, "validation_failed")
		refused(t, x.post(t, "/v1/submissions", `{"period":"2025","observations":[}`, fresh()), http.StatusBadRequest, "malformed_body")
		rows := make([]any, 1001)
		for i := range rows {
			rows[i] = object{}
		}
		refused(t, x.post(t, "/v1/submissions", object{"period": "2025", "observations": rows}, fresh()), http.StatusRequestEntityTooLarge, "body_too_large")
		if got := ids(t, x.get(t, "/v1/submissions")); len(got) != 0 {
			t.Errorf("a refused submission was opened: %v", got)
		}
		if got := ids(t, x.get(t, "/v1/observations")); len(got) != 0 {
			t.Errorf("observations of a refused submission were written: %v", got)
		}
	})
}

func TestTheLifeOfASubmission(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		w.questionnaire(t, "insertion-2025", "manual", "insertion_hours", "insertion_people")
		_, at := x.open(t, object{"period": "2025", "questionnaire": "insertion-2025", "observations": []any{hours(object{"period": "2025"})}})
		state := func(a answer, want string) {
			t.Helper()
			if a.status != http.StatusOK || a.at(t, "/state") != want || a.header.Get("ETag") != fmt.Sprintf(`"v%s"`, number(t, a.at(t, "/version"))) {
				t.Fatalf("want %s: %d %s", want, a.status, a.body)
			}
		}
		refused(t, w.steward.post(t, at+"/approve", nil), http.StatusNotFound, "not_found") // a draft is its organisation's

		c := x.get(t, at+"/completeness")
		if c.status != http.StatusOK || number(t, c.at(t, "/asked")) != "2" || number(t, c.at(t, "/answered")) != "1" || c.at(t, "/complete") != false || len(c.at(t, "/blocking").([]any)) != 1 {
			t.Errorf("%s", c.body)
		}
		a := x.post(t, at+"/submit", nil)
		refused(t, a, http.StatusUnprocessableEntity, "incomplete")
		if len(faults(t, a)) != 1 {
			t.Errorf("%s", a.body)
		}
		// "Not collected" is an answer.
		x.post(t, "/v1/observations", object{"indicator": "insertion_people", "territory": "commune-69266", "period": "2025", "value": json.RawMessage("null"), "obs_status": "L"})
		if c := x.get(t, at+"/completeness"); c.at(t, "/complete") != true || number(t, c.at(t, "/no_value/L")) != "1" {
			t.Errorf("%s", c.body)
		}
		refused(t, x.post(t, at+"/submit", nil, header{"If-Match", `"v99"`}), http.StatusPreconditionFailed, "precondition_failed")
		state(x.post(t, at+"/submit", nil), "submitted")
		refused(t, x.post(t, at+"/submit", nil), http.StatusConflict, "bad_state")
		refused(t, x.post(t, at+"/reopen", nil), http.StatusConflict, "bad_state")
		tag := x.get(t, at).header.Get("ETag")
		refused(t, x.do(t, "PATCH", at, object{"source": "s"}, header{"If-Match", tag}), http.StatusConflict, "bad_state")
		refused(t, x.do(t, "DELETE", at, nil, header{"If-Match", tag}), http.StatusConflict, "bad_state")

		refused(t, x.post(t, at+"/approve", nil), http.StatusForbidden, "insufficient_scope")
		refused(t, x.post(t, at+"/return", object{"reason": "non"}), http.StatusForbidden, "insufficient_scope")
		refused(t, w.steward.post(t, at+"/return", object{"reason": ""}), http.StatusUnprocessableEntity, "validation_failed")
		refused(t, w.steward.post(t, at+"/return", object{}), http.StatusUnprocessableEntity, "validation_failed")
		back := w.steward.post(t, at+"/return", object{"reason": "Les heures sont en minutes."})
		state(back, "returned")
		if a := x.get(t, at); a.at(t, "/reason") != "Les heures sont en minutes." {
			t.Errorf("%s", a.body)
		}
		state(x.post(t, at+"/submit", nil), "submitted")
		state(w.steward.post(t, at+"/approve", nil), "approved")
		refused(t, w.steward.post(t, at+"/approve", nil), http.StatusConflict, "bad_state")

		observation := path(t, x.get(t, "/v1/observations?indicator=insertion_hours").at(t, "/data/0/links/self"))
		if a := x.get(t, observation); a.at(t, "/state") != "approved" || number(t, a.at(t, "/approved_version")) != "1" {
			t.Errorf("%s", a.body)
		}
		// A correction to an approved observation awaits review; the approved one counts until then.
		a = x.do(t, "PATCH", observation, object{"value": 1}, header{"If-Match", `"v1"`})
		if a.status != http.StatusOK || a.at(t, "/state") != "submitted" || number(t, a.at(t, "/approved_version")) != "1" || number(t, a.at(t, "/version")) != "2" {
			t.Errorf("%d %s", a.status, a.body)
		}
		state(w.steward.post(t, at+"/approve", nil), "approved")
		if a := x.get(t, observation); number(t, a.at(t, "/approved_version")) != "2" {
			t.Errorf("%s", a.body)
		}
		state(x.post(t, at+"/reopen", nil), "draft")
		state(x.post(t, at+"/submit", nil), "submitted")
		state(w.steward.post(t, at+"/approve", nil), "approved")
		must(t, w.store.LockPeriod(context.Background(), impact.Principal{Client: "s", Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)}, impact.YearPeriod(2025)))
		refused(t, x.post(t, at+"/reopen", nil), http.StatusLocked, "period_locked")
		refused(t, x.post(t, "/v1/observations", hours(object{"value": 2, "period": "2025"})), http.StatusLocked, "period_locked")
		refused(t, x.do(t, "DELETE", observation, nil, header{"If-Match", `"v2"`}), http.StatusLocked, "period_locked")
		refused(t, x.do(t, "PATCH", observation, object{"value": 3}, header{"If-Match", `"v2"`}), http.StatusLocked, "period_locked")
	})
}

func TestReviewMayBeAutomatic(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		w.questionnaire(t, "auto", "automatic", "insertion_hours")
		a, at := x.open(t, object{"period": "2025", "questionnaire": "auto", "observations": []any{hours()}})
		if a.at(t, "/review") != "automatic" {
			t.Errorf("%s", a.body)
		}
		if a := x.post(t, at+"/submit", nil); a.at(t, "/state") != "approved" {
			t.Errorf("without error or warning it is approved: %d %s", a.status, a.body)
		}
		// A warning asks for a person.
		_, at = x.open(t, object{"period": "2024", "questionnaire": "auto", "observations": []any{hours(object{"period": "2024-Q1", "value": 100}), hours(object{"period": "2024-Q2", "value": 100000})}})
		if a := x.post(t, at+"/submit", nil); a.at(t, "/state") != "submitted" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestDraftsChangeAndGo(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		w.questionnaire(t, "auto", "automatic", "insertion_hours")
		opened, at := x.open(t, object{"period": "2025", "observations": []any{hours()}})
		tag := opened.header.Get("ETag")
		refused(t, x.do(t, "PATCH", at, object{"source": "s"}), http.StatusPreconditionRequired, "precondition_required")
		a := x.do(t, "PATCH", at, object{"source": "s", "questionnaire": "auto"}, header{"If-Match", tag})
		if a.status != http.StatusOK || a.at(t, "/source") != "s" || a.at(t, "/questionnaire") != "auto" || a.at(t, "/review") != "automatic" || a.header.Get("ETag") == tag {
			t.Fatalf("%d %s", a.status, a.body)
		}
		refused(t, x.do(t, "PATCH", at, object{"source": "s"}, header{"If-Match", tag}), http.StatusPreconditionFailed, "precondition_failed")
		tag = a.header.Get("ETag")
		for _, wrong := range []object{{"period": "demain"}, {"period": nil}, {"questionnaire": "nothing"}, {"state": "approved"}, {"organisation": string(w.bocage.ID)}, {"period": "2024"}} {
			refused(t, x.do(t, "PATCH", at, wrong, header{"If-Match", tag}), http.StatusUnprocessableEntity, "validation_failed")
		}
		refused(t, x.do(t, "DELETE", at, nil), http.StatusPreconditionRequired, "precondition_required")
		refused(t, x.do(t, "DELETE", at, nil, header{"If-Match", `"v99"`}), http.StatusPreconditionFailed, "precondition_failed")
		left := func(query string) (deleted []any) {
			for _, u := range x.get(t, "/v1/submissions"+query).at(t, "/data").([]any) {
				if gone := u.(map[string]any)["deleted"]; gone == true {
					deleted = append(deleted, gone)
				}
			}
			return deleted
		}
		defer func() {
			if n := len(left("?updated_since=2000-01-01T00:00:00Z")); n != 1 {
				t.Errorf("%d tombstones", n)
			}
			if n := len(left("")) + len(left("?updated_since=2000-01-01T00:00:00Z&include_deleted=false")); n != 0 {
				t.Errorf("%d tombstones where none was asked for", n)
			}
		}()
		if a := x.do(t, "DELETE", at, nil, header{"If-Match", tag}); a.status != http.StatusNoContent {
			t.Fatalf("%d %s", a.status, a.body)
		}
		refused(t, x.get(t, at), http.StatusNotFound, "not_found")
		if got := ids(t, x.get(t, "/v1/observations")); len(got) != 0 {
			t.Errorf("observations of a deleted draft: %v", got)
		}
		if got := ids(t, x.get(t, "/v1/observations?include_deleted=true")); len(got) != 1 {
			t.Errorf("no tombstone: %v", got)
		}
	})
}

func TestObservationsSentAloneFindTheirSubmission(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		opened, _ := x.open(t, object{"period": "2025"})
		if a := x.post(t, "/v1/observations", hours()); a.at(t, "/submission") != opened.at(t, "/id") {
			t.Errorf("it joins the open submission whose period contains its own: %s", a.body)
		}
		a := x.post(t, "/v1/observations", hours(object{"period": "2024-Q1"}))
		b := x.get(t, "/v1/submissions/"+a.at(t, "/submission").(string))
		if b.at(t, "/period") != "2024" || b.at(t, "/state") != "draft" || b.at(t, "/questionnaire") != nil {
			t.Errorf("else it opens one for its calendar year: %s", b.body)
		}
	})
}

func TestSubmissionsAreListed(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		w.questionnaire(t, "q", "manual", "insertion_hours")
		var all []string
		for _, year := range []int{2019, 2020, 2021, 2022, 2023} {
			a, _ := x.open(t, object{"period": fmt.Sprint(year), "observations": []any{hours(object{"period": fmt.Sprintf("%d-Q1", year)})}})
			all = append(all, a.at(t, "/id").(string))
		}
		a, _ := x.open(t, object{"period": "2024", "questionnaire": "q", "observations": []any{hours(object{"period": "2024-Q1"})}})
		asked := a.at(t, "/id").(string)
		all = append(all, asked)
		if a := x.post(t, "/v1/submissions/"+all[0]+"/submit", nil); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for query, want := range map[string][]string{
			"": all, "questionnaire=q": {asked}, "state=submitted": {all[0]}, "state=draft": all[1:], "period=2020/2021": all[1:3], "period=2019": all[:1],
			"organisation=" + string(w.atelier.ID): all, "updated_since=2999-01-01T00:00:00Z": {},
		} {
			got := ids(t, x.get(t, "/v1/submissions?"+query))
			slices.Sort(got)
			want := slices.Clone(want)
			slices.Sort(want)
			if diff := cmp.Diff(want, append([]string{}, got...)); diff != "" {
				t.Errorf("%s: %s", query, diff)
			}
		}
		for _, first := range []string{"/v1/submissions?limit=2", "/v1/submissions?limit=2&updated_since=2000-01-01T00:00:00Z"} {
			seen := map[string]int{}
			for next := first; next != ""; {
				a := x.get(t, next)
				for _, id := range ids(t, a) {
					seen[id]++
				}
				next = ""
				if link := a.at(t, "/links/next"); link != nil {
					next = path(t, link)
				}
			}
			for _, id := range all {
				if seen[id] != 1 {
					t.Errorf("%s: %s was given %d times", first, id, seen[id])
				}
			}
		}
		if got := ids(t, w.steward.get(t, "/v1/submissions")); !slices.Contains(got, all[0]) {
			t.Errorf("a steward does not see what was submitted: %v", got)
		}
		refused(t, x.get(t, "/v1/submissions?state=lost"), http.StatusBadRequest, "invalid_parameter")
		refused(t, x.get(t, "/v1/submissions?organisation=siren:552100554"), http.StatusUnprocessableEntity, "validation_failed")
	})
}

func TestQuestionnaires(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.administrator
		body := object{
			"code": "insertion-2025", "label": object{"fr": "Insertion 2025"}, "indicators": []any{object{"indicator": "insertion_hours", "required": true}, object{"indicator": "insertion_people"}},
			"structure_kinds": []string{"ACI"}, "from": "2025-01-01",
		}
		a := x.post(t, "/v1/questionnaires", body)
		if a.status != http.StatusCreated || a.header.Get("ETag") != `"v1"` || a.at(t, "/review") != "manual" || a.at(t, "/from") != "2025-01-01" || a.at(t, "/to") != nil || a.at(t, "/indicators/1/required") != false {
			t.Fatalf("%d %s", a.status, a.body)
		}
		at := path(t, a.header.Get("Location"))
		if a := x.post(t, "/v1/questionnaires", body); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
		other := object{"code": "insertion-2025", "label": object{"fr": "Autre"}, "indicators": []any{object{"indicator": "insertion_hours"}}}
		conflict := x.post(t, "/v1/questionnaires", other)
		refused(t, conflict, http.StatusConflict, "already_exists")
		if path(t, conflict.at(t, "/links/related")) != at {
			t.Errorf("%s", conflict.body)
		}
		if a := w.anonymous.get(t, at); a.status != http.StatusOK || a.at(t, "/label/fr") != "Insertion 2025" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := w.anonymous.get(t, at, header{"If-None-Match", `"v1"`}); a.status != http.StatusNotModified {
			t.Errorf("%d", a.status)
		}
		if a := w.anonymous.get(t, "/v1/questionnaires"); number(t, a.at(t, "/meta/row_count")) != "1" {
			t.Errorf("%s", a.body)
		}
		refused(t, w.anonymous.get(t, "/v1/questionnaires/nothing"), http.StatusNotFound, "not_found")
		refused(t, x.do(t, "PATCH", at, object{"review": "automatic"}), http.StatusPreconditionRequired, "precondition_required")
		if a := x.do(t, "PATCH", at, object{"review": "automatic", "structure_kinds": nil}, header{"If-Match", `"v1"`}); a.status != http.StatusOK || a.header.Get("ETag") != `"v2"` || a.at(t, "/review") != "automatic" {
			t.Errorf("%d %s", a.status, a.body)
		}
		refused(t, x.do(t, "PATCH", at, object{"review": "manual"}, header{"If-Match", `"v1"`}), http.StatusPreconditionFailed, "precondition_failed")
		b := x.do(t, "PATCH", at, object{"code": "x"}, header{"If-Match", `"v2"`})
		refused(t, b, http.StatusUnprocessableEntity, "validation_failed")
		b = x.post(t, "/v1/questionnaires", object{
			"code": "Q 1", "label": object{"en": "x"}, "indicators": []any{object{"indicator": "recovery_rate"}, object{"indicator": "hours"}, object{"indicator": "insertion_hours"}, object{"indicator": "insertion_hours"}},
			"structure_kinds": []string{"XX"}, "review": "never", "from": "2025-02-01", "to": "2025-01-01",
		})
		refused(t, b, http.StatusUnprocessableEntity, "validation_failed")
		want := []string{"derived_indicator /indicators/0/indicator", "inconsistent /indicators/3/indicator", "invalid_date /to", "invalid_type /code", "missing_field /label/fr", "unknown_code /review", "unknown_code /structure_kinds/0", "unknown_indicator /indicators/1/indicator"}
		if diff := cmp.Diff(want, faults(t, b)); diff != "" {
			t.Error(diff)
		}
		refused(t, w.organisation.post(t, "/v1/questionnaires", body), http.StatusForbidden, "insufficient_scope")
		refused(t, w.anonymous.post(t, "/v1/questionnaires", body), http.StatusUnauthorized, "missing_token")
	})
}

package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// listed gives the names that a list of organisations shows.
func listed(t *testing.T, a answer) []string {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	names := []string{}
	for _, o := range a.at(t, "/data").([]any) {
		names = append(names, o.(object)["name"].(string))
	}
	slices.Sort(names)
	return names
}

func TestConsentsAreGivenAndWithdrawn(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		at := "/v1/organisations/" + string(w.atelier.ID)
		all := x.get(t, at+"/consents")
		if len(all.at(t, "/data").([]any)) != 4 || all.at(t, "/data/0/kind") != "listed" || all.at(t, "/data/0/given") != false || all.at(t, "/data/0/purpose/fr") == "" {
			t.Fatalf("%d %s", all.status, all.body)
		}
		refused(t, w.anonymous.get(t, at), http.StatusNotFound, "not_found")
		given := x.do(t, "PUT", at+"/consents/listed", nil)
		if given.status != http.StatusCreated || given.at(t, "/given") != true || given.at(t, "/wording") != impact.ConsentWording || given.header.Get("Consistency-Token") == "" {
			t.Fatalf("%d %s", given.status, given.body)
		}
		if again := x.do(t, "PUT", at+"/consents/listed", nil); again.status != http.StatusOK || again.at(t, "/version") != json.Number("1") {
			t.Errorf("%d %s", again.status, again.body)
		}
		shown := w.anonymous.get(t, at)
		if shown.status != http.StatusOK || shown.at(t, "/name") != w.atelier.Name || shown.at(t, "/view") != "public" || shown.at(t, "/siren") != "732829320" {
			t.Fatalf("%d %s", shown.status, shown.body)
		}
		if gone := x.do(t, "DELETE", at+"/consents/listed", nil); gone.status != http.StatusNoContent {
			t.Errorf("%d %s", gone.status, gone.body)
		}
		refused(t, w.anonymous.get(t, at, header{"If-None-Match", shown.header.Get("ETag")}), http.StatusNotFound, "not_found")
		if names := listed(t, w.anonymous.get(t, "/v1/organisations")); len(names) > 0 {
			t.Error(names)
		}
		if gone := x.do(t, "DELETE", at+"/consents/secrecy_waiver", nil); gone.status != http.StatusNoContent {
			t.Errorf("%d %s", gone.status, gone.body)
		}
		after := x.get(t, at+"/consents")
		if after.at(t, "/data/0/version") != json.Number("2") || after.at(t, "/data/0/withdrawn_at") == nil || len(after.at(t, "/data/0/history").([]any)) != 2 || after.at(t, "/data/3/version") != json.Number("0") {
			t.Errorf("%s", after.body)
		}
		refused(t, x.do(t, "PUT", at+"/consents/everything", nil), http.StatusNotFound, "not_found")
	})
}

// What everyone reads tells nothing of what partners know, nor when it changes.
func TestThePublicRegisterLeaksNothing(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		at := "/v1/organisations/" + string(w.atelier.ID)
		change := func(by *caller, patch object) {
			t.Helper()
			a := by.do(t, "PATCH", at, patch, header{"If-Match", x.get(t, at).header.Get("ETag")})
			if a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		x.do(t, "PUT", at+"/consents/listed", nil)
		change(x, object{"external_ids": []any{object{"source": "crm", "id": "canary-1"}}})
		before := w.anonymous.get(t, at)
		change(x, object{"external_ids": []any{object{"source": "crm", "id": "canary-2"}}})
		change(w.administrator, object{"group": "canary-group", "questionnaires": []string{}})
		after := w.anonymous.get(t, at)
		if string(before.body) != string(after.body) || before.header.Get("ETag") != after.header.Get("ETag") || strings.Contains(string(after.body), "canary") {
			t.Errorf("a private change shows:\n%s %v\n%s %v", before.body, before.header, after.body, after.header)
		}
		if same := w.anonymous.get(t, at, header{"If-None-Match", after.header.Get("ETag")}); same.status != http.StatusNotModified {
			t.Errorf("%d", same.status)
		}
		change(x, object{"name": "L'Atelier"})
		if renamed := w.anonymous.get(t, at, header{"If-None-Match", after.header.Get("ETag")}); renamed.status != http.StatusOK || renamed.at(t, "/name") != "L'Atelier" {
			t.Errorf("%d %s", renamed.status, renamed.body)
		}
		for query, want := range map[string]int{
			"": 1, "?q=atelier": 1, "?siren=732829320": 1, "?siren=552100554": 0, "?organisation_class=company": 0, "?external_id=crm:canary-2": 0,
			"?updated_since=2000-01-01T00:00:00Z": 0, "?q=canary": 0,
		} {
			for who, by := range map[string]*caller{"anyone": w.anonymous, "a buyer": w.buyer} {
				a := by.get(t, "/v1/organisations"+query)
				if got := listed(t, a); len(got) != want || a.at(t, "/links/next") != nil {
					t.Errorf("%s of %s: %s", query, who, a.body)
				}
			}
		}
		refused(t, w.anonymous.get(t, "/v1/organisations/ext:crm:canary-2"), http.StatusNotFound, "not_found")
		if a := w.anonymous.get(t, "/v1/organisations/siren:732%20829%20320"); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
		if names := listed(t, w.other.get(t, "/v1/organisations")); len(names) != 2 {
			t.Errorf("another organisation sees %v", names)
		}
		// By its consent one is read, not written, and not spoken for.
		refused(t, w.other.do(t, "PATCH", at, object{"name": "Mine"}, header{"If-Match", `"v1"`}), http.StatusNotFound, "not_found")
		if a := w.other.post(t, "/v1/observations", of("siren:732829320")); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// A buyer reads the approved observations of who agreed to it, and each reading
// is noted.
func TestBuyersReadByConsent(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		at := "/v1/organisations/" + string(w.atelier.ID)
		opened, submission := x.open(t, object{"period": "2024", "observations": []any{hours(object{"period": "2024-Q1", "value": 11}), hours(object{"period": "2024-Q2", "value": 22})}})
		x.post(t, submission+"/submit", nil)
		if a := w.steward.post(t, submission+"/approve", nil); a.status != http.StatusOK {
			t.Fatalf("%d %s %s", a.status, a.body, opened.body)
		}
		x.post(t, "/v1/observations", hours(object{"period": "2023-Q1", "value": 33})) // a draft
		one := x.get(t, "/v1/observations?period=2024-Q1").at(t, "/data/0/id").(string)
		count := func(by *caller, query string) int {
			t.Helper()
			a := by.get(t, "/v1/observations"+query)
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", query, a.status, a.body)
			}
			return len(a.at(t, "/data").([]any))
		}
		if n := count(w.buyer, ""); n != 0 {
			t.Errorf("%d rows without consent", n)
		}
		refused(t, w.buyer.get(t, at), http.StatusForbidden, "consent_required")
		refused(t, w.buyer.get(t, "/v1/organisations/nobody"), http.StatusForbidden, "consent_required")
		x.do(t, "PUT", at+"/consents/listed", nil)
		if n := count(w.buyer, ""); n != 0 {
			t.Errorf("%d rows by being listed", n)
		}
		x.do(t, "PUT", at+"/consents/visible_to_buyer", nil)
		if n := count(w.buyer, "?organisation=siren:732829320&include_deleted=true"); n != 2 {
			t.Errorf("%d rows, want the two approved ones", n)
		}
		if a := w.buyer.get(t, "/v1/observations/"+one); a.status != http.StatusOK || a.at(t, "/value") != json.Number("11") {
			t.Errorf("%d %s", a.status, a.body)
		}
		refused(t, w.buyer.get(t, "/v1/observations/"+one+"/history"), http.StatusNotFound, "not_found")
		refused(t, w.buyer.do(t, "PATCH", "/v1/observations/"+one, object{"value": 1}, header{"If-Match", `"v1"`}), http.StatusForbidden, "insufficient_scope")
		// A correction hides the value until it is approved.
		fix := x.post(t, "/v1/observations", hours(object{"period": "2024-Q1", "value": 12}))
		if fix.status != http.StatusOK {
			t.Fatalf("%d %s", fix.status, fix.body)
		}
		if n := count(w.buyer, "?period=2024"); n != 1 {
			t.Errorf("%d rows beside a correction", n)
		}
		x.do(t, "DELETE", at+"/consents/visible_to_buyer", nil)
		if n := count(w.buyer, ""); n != 0 {
			t.Errorf("%d rows after the withdrawal", n)
		}
		refused(t, w.buyer.get(t, "/v1/observations/"+one), http.StatusNotFound, "not_found")
	})
}

package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/release"
)

// makes builds what tests of the life of a release need: two units, one of which
// holds how many releases there were before.
func makes(_ context.Context, b *publish.Bench) (impact.Release, error) {
	var d release.Digest
	for i, text := range []string{"always the same\n", fmt.Sprintf("after %d\n", len(b.Former))} {
		u := release.Sealed{Unit: release.Unit{Family: "insertion_hours", Year: 2024 + i}, Figures: []byte(text), Digest: sha256.Sum256([]byte(text)), Ledger: []byte("canary-ledger")}
		if err := b.Keep(u); err != nil {
			return impact.Release{}, err
		}
		d.Add(&u)
		a := impact.ReleaseAudit{Family: u.Unit.Family, Year: u.Unit.Year, Counts: impact.AuditCounts{Units: 1, Secrets: 2}, Reasons: []impact.ReleaseReason{{Cell: "one", Reason: "few_contributors"}, {Cell: "two", Reason: "would_tell", Against: "one"}}}
		if err := b.Found(a); err != nil {
			return impact.Release{}, err
		}
	}
	return impact.Release{
		Vintage: 2026, Method: "1", Ruleset: "strict-1", Reference: "1", Methodology: map[impact.IndicatorCode]string{"insertion_hours": "1.0"}, Digest: d.String(),
		Counts: impact.ReleaseCounts{Cells: 3, Shown: 1, Withheld: 2, New: 1, Units: 2}, Audited: impact.AuditCounts{Units: 2, Secrets: 4},
	}, nil
}

// candidate has a release built by the steward and waits for it.
func (w *world) candidate(t testing.TB, body any) answer {
	t.Helper()
	a := w.steward.post(t, "/v1/releases", body)
	if a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	at := path(t, a.header.Get("Location"))
	for range 500 {
		if a = w.steward.get(t, at); a.at(t, "/state") != "building" {
			return a
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it is still building: %s", a.body)
	return a
}

func TestLifeOfARelease(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		refused(t, w.anonymous.get(t, "/v1/releases/latest"), 404, "not_found")
		if a := w.anonymous.get(t, "/v1"); a.at(t, "/latest_release") != nil {
			t.Errorf("%s", a.body)
		}
		one := w.candidate(t, object{"day": "2026-11-15", "embargo_days": 30})
		if one.at(t, "/state") != "candidate" || one.at(t, "/number") != json.Number("1") || one.at(t, "/progress/units_done") != json.Number("2") || one.at(t, "/audit/passed") != true ||
			one.header.Get("Cache-Control") != "private, no-store" || one.at(t, "/requested_by") != w.steward.id {
			t.Fatalf("%s %v", one.body, one.header)
		}
		refused(t, w.steward.post(t, "/v1/releases", object{}), 409, "bad_state")
		refused(t, w.anonymous.get(t, "/v1/releases/1"), 404, "not_found")
		if list := w.anonymous.get(t, "/v1/releases"); list.at(t, "/meta/row_count") != json.Number("0") || !strings.Contains(list.header.Get("Cache-Control"), "public") || !strings.Contains(list.header.Get("Vary"), "Authorization") {
			t.Errorf("%s %v", list.body, list.header)
		}
		if list := w.administrator.get(t, "/v1/releases?state=candidate"); list.at(t, "/meta/row_count") != json.Number("1") || list.header.Get("Cache-Control") != "private, no-store" {
			t.Errorf("%s %v", list.body, list.header)
		}
		feed := w.anonymous.began(t, "")
		refused(t, w.steward.post(t, "/v1/releases/1/publish", nil, header{"If-Match", `"v1"`}), 412, "precondition_failed")
		a := w.steward.post(t, "/v1/releases/1/publish", nil, header{"If-Match", one.header.Get("ETag")})
		if a.status != 200 || a.at(t, "/state") != "published" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		refused(t, w.steward.post(t, "/v1/releases/1/publish", nil), 409, "bad_state")
		refused(t, w.steward.post(t, "/v1/releases/1/discard", nil), 409, "bad_state")

		latest := w.anonymous.get(t, "/v1/releases/latest")
		shown := w.organisation.get(t, "/v1/releases/1")
		for _, a := range []answer{latest, shown} {
			if a.status != 200 || a.at(t, "/day") != "2026-11-15" || a.at(t, "/embargo_days") != json.Number("30") || a.at(t, "/counts/withheld") != json.Number("2") || a.at(t, "/progress") != nil ||
				a.at(t, "/audit") != nil || a.at(t, "/requested_by") != nil || a.at(t, "/links/audit") != nil || a.at(t, "/methodology/insertion_hours") != "1.0" || a.header.Get("Cache-Control") != "public, max-age=300, stale-while-revalidate=3600" {
				t.Errorf("%s %v", a.body, a.header)
			}
		}
		for at, tag := range map[string]string{"/v1/releases/latest": latest.header.Get("ETag"), "/v1/releases/1": shown.header.Get("ETag")} {
			if a := w.anonymous.get(t, at, header{"If-None-Match", tag}); a.status != 304 {
				t.Errorf("%s: %d", at, a.status)
			}
		}
		data, _ := w.anonymous.changed(t, feed, "")
		if d := cmp.Diff([]string{"release created published"}, told(data)); d != "" || data[0].(map[string]any)["links"].(map[string]any)["self"] != publicURL+"/v1/releases/1" {
			t.Error(d, data)
		}

		if two := w.candidate(t, object{"publish": true}); two.at(t, "/state") != "published" || two.at(t, "/number") != json.Number("2") {
			t.Fatalf("%s", two.body)
		}
		if a := w.anonymous.get(t, "/v1/releases/latest", header{"If-None-Match", latest.header.Get("ETag")}); a.status != 200 || a.at(t, "/number") != json.Number("2") {
			t.Errorf("%d %s", a.status, a.body)
		}
		for pointer, body := range map[string]object{
			"/reason/en": {"reason": object{"fr": "x"}},
			"/successor": {"reason": object{"fr": "x", "en": "x"}, "successor": 7},
		} {
			if a := w.steward.post(t, "/v1/releases/1/withdraw", body); a.status != 422 || a.at(t, "/errors/0/pointer") != pointer {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		a = w.administrator.post(t, "/v1/releases/1/withdraw", object{"reason": object{"fr": "Erreur de saisie.", "en": "Wrong input."}})
		if a.status != 200 || a.at(t, "/state") != "withdrawn" || a.at(t, "/successor") != json.Number("2") {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := w.anonymous.get(t, "/v1/releases/1"); a.at(t, "/reason/en") != "Wrong input." || a.at(t, "/links/successor") != publicURL+"/v1/releases/2" || a.at(t, "/links/aggregates") != nil {
			t.Errorf("%s", a.body)
		}
		refused(t, w.steward.post(t, "/v1/releases/1/withdraw", object{"reason": object{"fr": "x", "en": "x"}}), 409, "bad_state")
		list := w.anonymous.get(t, "/v1/releases?limit=1")
		next := w.anonymous.get(t, path(t, list.at(t, "/links/next").(string)))
		if list.at(t, "/data/0/number") != json.Number("2") || next.at(t, "/data/0/state") != "withdrawn" || next.at(t, "/links/next") != nil {
			t.Errorf("%s %s", list.body, next.body)
		}
	})
}

func TestADryRunKeepsNothing(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		key := header{"Idempotency-Key", "dry"}
		a := w.steward.post(t, "/v1/releases?dry_run=true", object{}, key)
		again := w.steward.post(t, "/v1/releases?dry_run=true", object{}, key)
		if a.status != 202 || again.header.Get("Idempotent-Replayed") != "true" || string(a.body) != string(again.body) {
			t.Fatalf("%d %s %s", a.status, a.body, again.body)
		}
		at := path(t, a.header.Get("Location"))
		for range 500 {
			if a = w.steward.get(t, at); a.at(t, "/state") != "building" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if a.at(t, "/state") != "discarded" || a.at(t, "/counts/shown") != json.Number("1") || a.at(t, "/audit/secrets") != json.Number("4") || a.at(t, "/dry_run") != true {
			t.Errorf("%s", a.body)
		}
		refused(t, w.steward.get(t, "/v1/releases/1"), 404, "not_found")
		refused(t, w.anonymous.get(t, at), 404, "not_found")
		refused(t, w.steward.post(t, "/v1/releases?dry_run=true", object{"publish": true}), 422, "validation_failed")
		refused(t, w.steward.post(t, "/v1/releases", object{"embargo_days": -1, "day": "hier"}), 422, "validation_failed")
	})
}

// Two people see to it: who asked for a release does not audit it, and each
// reading is logged.
func TestTwoPeopleAuditARelease(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		scopes := append(impact.AllowedScopes(impact.RoleSteward), impact.ReleasesAudit)
		one := w.auditor(t, "Un", scopes...)
		two := w.auditor(t, "Deux", impact.ReleasesAudit)
		made := one.post(t, "/v1/releases", object{})
		at := path(t, made.header.Get("Location"))
		for two.get(t, at).at(t, "/state") == "building" {
			time.Sleep(10 * time.Millisecond)
		}
		refused(t, one.get(t, at+"/audit"), 403, "insufficient_scope")
		refused(t, w.steward.get(t, at+"/audit"), 403, "insufficient_scope")
		a := two.get(t, at+"/audit?limit=1")
		if a.status != 200 || a.at(t, "/data/0/year") != json.Number("2024") || a.at(t, "/data/0/withheld/1/protects") != "one" || a.header.Get("Cache-Control") != "private, no-store" || strings.Contains(string(a.body), "canary-ledger") {
			t.Fatalf("%d %s %v", a.status, a.body, a.header)
		}
		if next := two.get(t, path(t, a.at(t, "/links/next").(string))); next.at(t, "/data/0/year") != json.Number("2025") {
			t.Errorf("%s", next.body)
		}
		if log := w.administrator.get(t, "/v1/audit-log?action=release.audited"); log.at(t, "/meta/row_count") != json.Number("2") || log.at(t, "/data/0/client_id") != two.id {
			t.Errorf("%s", log.body)
		}
	})
}

func (w *world) auditor(t *testing.T, name string, scopes ...impact.Scope) *caller {
	t.Helper()
	x := w.client(t, impact.Client{Name: name, Role: impact.RoleSteward})
	token, _, err := w.issuer.Issue(impact.Client{ID: x.id, Role: impact.RoleSteward, Scopes: scopes}, nil)
	must(t, err)
	return x.with(token)
}

// A buyer hears of a release that was published, and of nothing before.
func TestAReleaseIsAnnounced(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		at := newCRM(t)
		secret := w.buyer.subscribe(t, object{"url": at.URL, "types": []string{"fr.grandlyon.retombees.release.published.v1"}}).at(t, "/secret")
		candidate := w.candidate(t, object{})
		w.tell(t)
		if events := at.events(t, secret); len(events) != 0 {
			t.Errorf("a candidate is announced: %v", events)
		}
		if a := w.steward.post(t, "/v1/releases/1/publish", nil); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		w.tell(t)
		events := at.events(t, secret)
		if len(events) != 1 || events[0]["subject"] != "releases/1" {
			t.Fatalf("%v", events)
		}
		data := events[0]["data"].(object)
		if data["release"] != "1" || data["state"] != "published" || data["links"].(object)["release"] != publicURL+"/v1/releases/1" || strings.Contains(fmt.Sprint(events[0]), candidate.at(t, "/id").(string)) {
			t.Errorf("%v", events[0])
		}
	})
}

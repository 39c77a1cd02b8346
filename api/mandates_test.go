package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// member makes Atelier a member of Fédération.
func (w *world) member(t testing.TB) {
	t.Helper()
	a := w.network.do(t, "PUT", "/v1/networks/FEDATE/members/"+string(w.atelier.ID), object{"from": "2024-01-01", "external_id": "4217"})
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

// grant lets Fédération act for Atelier, and gives the id of the mandate.
func (w *world) grant(t testing.TB, more object, scopes ...string) string {
	t.Helper()
	body := object{"to": object{"network": "FEDATE"}, "scopes": scopes}
	for k, v := range more {
		body[k] = v
	}
	a := w.organisation.post(t, "/v1/mandates", body)
	if a.status != http.StatusCreated || a.at(t, "/state") != "granted" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a.at(t, "/id").(string)
}

// uses lists the log of a mandate as "action rows", the last first, for both
// sides.
func (w *world) uses(t testing.TB, mandate string) (lines []string) {
	t.Helper()
	a := w.organisation.get(t, "/v1/mandates/"+mandate+"/usage")
	b := w.network.get(t, "/v1/mandates/"+mandate+"/usage")
	if a.status != 200 || fmt.Sprint(a.json(t)["data"]) != fmt.Sprint(b.json(t)["data"]) {
		t.Fatalf("the two sides read different logs: %s %s", a.body, b.body)
	}
	for _, x := range a.json(t)["data"].([]any) {
		line := x.(object)
		if line["client_id"] != w.network.id {
			t.Errorf("%v", line)
		}
		lines = append(lines, fmt.Sprint(line["action"], " ", line["rows"]))
	}
	return lines
}

// A request that waits is made once, and named only to who would be helped by it.
func TestAPendingRequest(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		w.member(t)
		ask := func(indicator, from string, status int) string {
			t.Helper()
			a := w.network.post(t, "/v1/mandates", object{"from": object{"organisation": "siren:732829320"}, "scopes": []string{"observations.write"}, "indicators": []string{indicator}, "periods": object{"from": from}})
			if a.status != status || a.at(t, "/periods/from") != "2026-Q2" && a.at(t, "/periods/from") != "2025" {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return a.at(t, "/id").(string)
		}
		first := ask("training_hours", "T2 2026", 201)
		if again := ask("training_hours", "2026-Q2", 200); again != first {
			t.Errorf("%s is requested again as %s", first, again)
		}
		if other := ask("training_hours", "2025", 201); other == first {
			t.Error("another period is another request")
		}
		row := func(indicator, period string) string {
			return string(w.network.post(t, "/v1/observations", object{"organisation": string(w.atelier.ID), "indicator": indicator, "territory": "commune-69266", "period": period, "value": 1, "unit": "h"}).body)
		}
		if got := row("training_hours", "2026-Q2"); !strings.Contains(got, first+"/grant") {
			t.Error(got)
		}
		for _, x := range [][2]string{{"volunteer_hours", "2026-Q2"}, {"training_hours", "2024"}} {
			if got := row(x[0], x[1]); !strings.Contains(got, "not_mandated") || strings.Contains(got, first) {
				t.Error(x, got)
			}
		}
		if a := w.organisation.post(t, "/v1/mandates/"+first+"/refuse", nil); a.status != 200 {
			t.Fatalf("%s", a.body)
		}
		if again := ask("training_hours", "2026-Q2", 201); again == first {
			t.Error("a refused request is asked anew")
		}
		a := w.network.post(t, "/v1/mandates", object{"from": object{"organisation": "siren:732829320"}, "scopes": []string{"observations.write"}, "indicators": []string{"formation"}})
		if faults := a.at(t, "/errors").([]any); len(faults) != 1 || faults[0].(object)["pointer"] != "/indicators/0" {
			t.Errorf("%s", a.body)
		}
	})
}

func TestLifeOfAMandate(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		ask := object{"from": object{"organisation": "siren:732829320"}, "scopes": []string{"observations.write"}, "indicators": []string{"recovery_rate", "insertion_hours"}, "periods": object{"from": "2024", "to": "2025-Q2"}, "valid_to": "2099-12-31"}
		refused(t, w.network.post(t, "/v1/mandates", ask), 422, "validation_failed")
		w.member(t)
		a := w.network.post(t, "/v1/mandates", ask)
		if a.status != 201 || a.at(t, "/state") != "requested" || a.at(t, "/started_by") != "network" || a.at(t, "/decided_at") != nil || a.header.Get("ETag") != `"v1"` {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got := fmt.Sprint(a.at(t, "/indicators")); !strings.Contains(got, "recovery_rate") || !strings.Contains(got, "waste_collected") {
			t.Errorf("a ratio comes with its components: %s", got)
		}
		if a.at(t, "/periods/from") != "2024" || a.at(t, "/periods/to") != "2025-S1" {
			t.Errorf("%s", a.body)
		}
		path := "/v1/mandates/" + a.at(t, "/id").(string)
		refused(t, w.network.post(t, path+"/grant", nil), 403, "not_mandated")
		refused(t, w.organisation.post(t, path+"/revoke", nil), 409, "bad_state")
		refused(t, w.other.post(t, path+"/grant", nil), 404, "not_found")
		g := w.organisation.post(t, path+"/grant", nil)
		if g.status != 200 || g.at(t, "/state") != "granted" || g.at(t, "/decided_by") != w.organisation.id || g.header.Get("ETag") != `"v2"` {
			t.Fatalf("%d %s", g.status, g.body)
		}
		refused(t, w.organisation.post(t, path+"/grant", nil), 409, "bad_state")
		for _, x := range []*caller{w.organisation, w.network} {
			if got := x.get(t, "/v1/mandates?state=granted"); got.at(t, "/meta/row_count") != json.Number("1") {
				t.Errorf("%s", got.body)
			}
			if got := x.get(t, "/v1/me"); got.at(t, "/mandates/0/organisation/name") != w.atelier.Name || got.at(t, "/mandates/0/network/name") != w.federation.Name {
				t.Errorf("%s", got.body)
			}
		}
		if got := w.other.get(t, "/v1/mandates"); got.at(t, "/meta/row_count") != json.Number("0") {
			t.Errorf("%s", got.body)
		}
		if r := w.network.post(t, path+"/revoke", nil); r.at(t, "/state") != "revoked" || r.at(t, "/decided_by") != w.network.id {
			t.Errorf("a network gives a mandate back: %s", r.body)
		}
		again := w.network.post(t, "/v1/mandates", ask).at(t, "/id").(string)
		if r := w.organisation.post(t, "/v1/mandates/"+again+"/refuse", nil); r.at(t, "/state") != "refused" {
			t.Errorf("%s", r.body)
		}
		for _, wrong := range []struct {
			member string
			value  any
			where  string
		}{
			{"scopes", []string{}, "/scopes"},
			{"scopes", []string{"imports.write"}, "/scopes/0"},
			{"scopes", []string{"observations.read", "observations.read"}, "/scopes/1"},
			{"indicators", []string{"heures"}, "/indicators/0"},
			{"indicators", []string{}, "/indicators"},
			{"periods", object{"from": "2025", "to": "2024"}, "/periods/to"},
			{"periods", object{"from": "soon"}, "/periods/from"},
			{"valid_to", "2001-01-01", "/valid_to"},
			{"valid_from", "31/12/2030", "/valid_from"},
			{"to", object{"network": "NOBODY"}, "/to/network"},
			{"from", object{"organisation": "siren:552100554"}, "/from/organisation"},
		} {
			body := object{"to": object{"network": "FEDATE"}, "scopes": []string{"observations.read"}}
			body[wrong.member] = wrong.value
			a := w.organisation.post(t, "/v1/mandates", body)
			if a.status != 422 || a.at(t, "/errors/0/pointer") != wrong.where {
				t.Errorf("%v: %d %s", wrong, a.status, a.body)
			}
		}
	})
}

// What a mandate does not cover is refused, row by row, with what is lacking.
// A key gives a network nothing that it lacks itself: who finds it would read by
// a mandate what the key does not open.
func TestAKeyGivesNoMoreThanItMay(t *testing.T) {
	w := embedded(t)
	w.network.do(t, "PUT", "/v1/networks/FEDATE/members/"+string(w.atelier.ID), object{})
	_, k := w.organisation.key(t, object{"scopes": []string{"mandates.manage", "observations.read"}})
	mandate := func(scopes ...string) object {
		return object{"from": object{"organisation": string(w.atelier.ID)}, "to": object{"network": string(w.federation.ID)}, "scopes": scopes}
	}
	refused(t, k.post(t, "/v1/mandates", mandate("observations.read", "observations.write")), http.StatusForbidden, "insufficient_scope")
	asked := w.network.post(t, "/v1/mandates", mandate("observations.write"))
	at := "/v1/mandates/" + asked.at(t, "/id").(string)
	refused(t, k.post(t, at+"/grant", nil), http.StatusForbidden, "insufficient_scope")
	for _, a := range []answer{k.post(t, "/v1/mandates", mandate("observations.read")), w.organisation.post(t, at+"/grant", nil), k.post(t, at+"/revoke", nil)} {
		if a.status >= 300 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

func TestANetworkWritesWithinItsMandate(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		w.member(t)
		x, siren := w.network, "siren:732829320"
		state := func(over object) object {
			o := hours(object{"organisation": siren, "period": "2024-Q1", "value": 10})
			for k, v := range over {
				o[k] = v
			}
			return o
		}
		lacks := func(why string, over object) {
			t.Helper()
			a := x.post(t, "/v1/observations", state(over))
			refused(t, a, 403, "not_mandated")
			if !strings.Contains(fmt.Sprint(a.at(t, "/errors/0/detail"), a.at(t, "/errors/0/pointer")), why) {
				t.Errorf("%s: %s", why, a.body)
			}
		}
		lacks("pas donné", nil)
		if a := x.post(t, "/v1/observations", state(object{"organisation": "siren:552100554"})); a.status != 422 || a.at(t, "/errors/0/code") != "unknown_organisation" {
			t.Errorf("%s", a.body)
		}
		mandate := w.grant(t, object{"indicators": []string{"insertion_hours"}, "periods": object{"from": "2024", "to": "2024"}}, "observations.write")
		lacks("/indicator", object{"indicator": "waste_collected", "unit": "t"})
		lacks("/period", object{"period": "2023-Q4"})

		a := x.post(t, "/v1/observations", state(nil))
		if a.status != 201 || a.header.Get("Impact-Mandate") != mandate || a.at(t, "/mandate") != mandate || a.at(t, "/acted_by") != x.id || a.at(t, "/organisation") != string(w.atelier.ID) {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		path := "/v1/observations/" + a.at(t, "/id").(string)
		refused(t, x.get(t, path), 404, "not_found") // writing is not reading
		if got := w.organisation.get(t, path+"/history"); got.at(t, "/data/0/mandate") != mandate || got.at(t, "/data/0/acted_by") != x.id {
			t.Errorf("%s", got.body)
		}
		batch := x.post(t, "/v1/observations", object{"observations": []any{state(object{"period": "2024-Q2"}), state(object{"period": "2022-Q1"}), state(object{"organisation": siren, "period": "2024-Q3"})}})
		if batch.status != 200 || batch.header.Get("Impact-Mandate") != mandate || batch.at(t, "/data/1/errors/0/code") != "not_mandated" || batch.at(t, "/meta/counts/created") != json.Number("2") {
			t.Errorf("%s", batch.body)
		}
		if got := fmt.Sprint(w.uses(t, mandate)); got != "[observations.write 2 observations.write 1]" {
			t.Error(got)
		}
		// Correcting needs both scopes.
		reading := w.grant(t, object{"indicators": []string{"insertion_hours"}}, "observations.read")
		read := x.get(t, path)
		if read.status != 200 || read.header.Get("Impact-Mandate") != reading {
			t.Fatalf("%d %s", read.status, read.body)
		}
		b := x.do(t, "PATCH", path, object{"value": 12}, header{"If-Match", read.header.Get("ETag")})
		if b.status != 200 || b.header.Get("Impact-Mandate") != mandate {
			t.Errorf("%d %s", b.status, b.body)
		}
		if d := x.do(t, "DELETE", path, nil, header{"If-Match", b.header.Get("ETag")}); d.status != 204 || d.header.Get("Impact-Mandate") != mandate {
			t.Errorf("%d %s", d.status, d.body)
		}
		if got := w.uses(t, mandate)[:2]; fmt.Sprint(got) != "[observations.delete 1 observations.write 1]" {
			t.Error(got)
		}
		// Revocation holds from the very next request; what was written stays.
		if r := w.organisation.post(t, "/v1/mandates/"+mandate+"/revoke", nil); r.status != 200 {
			t.Fatalf("%s", r.body)
		}
		lacks("révoqué", nil)
		if got := x.get(t, "/v1/observations"); got.at(t, "/meta/row_count") != json.Number("2") {
			t.Errorf("%s", got.body)
		}
		if r := w.organisation.post(t, "/v1/mandates/"+reading+"/revoke", nil); r.status != 200 {
			t.Fatalf("%s", r.body)
		}
		if got := x.get(t, "/v1/observations"); got.at(t, "/meta/row_count") != json.Number("0") {
			t.Errorf("%s", got.body)
		}
		if got := w.organisation.get(t, "/v1/observations"); got.at(t, "/meta/row_count") != json.Number("2") || got.at(t, "/data/0/mandate") != mandate {
			t.Errorf("%s", got.body)
		}
		w.grant(t, object{"valid_from": "2098-01-01"}, "observations.write")
		lacks("2098-01-01", nil)
	})
}

// Lists and histories are those of the mandate: indicator and period included.
func TestANetworkReadsWithinItsMandate(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		w.member(t)
		beginning := w.network.get(t, "/v1/changes?types=observation").at(t, "/next_cursor").(string)
		for _, o := range []object{hours(object{"period": "2024-Q1", "value": 1}), hours(object{"period": "2023-Q1", "value": 2}), {"indicator": "waste_collected", "territory": "commune-69266", "period": "2024", "value": 10}} {
			if a := w.organisation.post(t, "/v1/observations", o); a.status != 201 {
				t.Fatalf("%s", a.body)
			}
		}
		mandate := w.grant(t, object{"indicators": []string{"insertion_hours"}, "periods": object{"from": "2024"}}, "observations.read", "submissions.manage")
		all := w.organisation.get(t, "/v1/observations").json(t)["data"].([]any)
		seen := 0
		for _, x := range all {
			o := x.(object)
			path := "/v1/observations/" + o["id"].(string)
			want := 404
			if o["indicator"] == "insertion_hours" && o["period"] == "2024-Q1" {
				want, seen = 200, seen+1
			}
			if a, h := w.network.get(t, path), w.network.get(t, path+"/history"); a.status != want || h.status != want {
				t.Errorf("%v: %d %d", o, a.status, h.status)
			}
		}
		for _, query := range []string{"", "?organisation=siren:732829320", "?updated_since=2000-01-01T00:00:00Z", "?indicator=insertion_hours"} {
			a := w.network.get(t, "/v1/observations"+query)
			if a.at(t, "/meta/row_count") != json.Number("1") || a.at(t, "/data/0/period") != "2024-Q1" || a.header.Get("Impact-Mandate") != mandate {
				t.Errorf("%s: %s", query, a.body)
			}
		}
		if got := w.network.get(t, "/v1/submissions"); got.at(t, "/meta/row_count") != json.Number("1") || got.at(t, "/data/0/period") != "2024" {
			t.Errorf("%s", got.body)
		}
		// The feed is a reading like another.
		feed := w.network.get(t, "/v1/changes?types=observation&cursor="+url.QueryEscape(beginning))
		if n := strings.Count(string(feed.body), `"insertion_hours"`); feed.status != 200 || n != 1 || strings.Contains(string(feed.body), "waste_collected") || strings.Contains(string(feed.body), "2023-Q1") {
			t.Errorf("%d %s", n, feed.body)
		}
		if seen != 1 || len(w.uses(t, mandate)) != 8 {
			t.Errorf("%d %v", seen, w.uses(t, mandate))
		}
	})
}

func TestANetworkManagesSubmissions(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		w.member(t)
		x := w.network
		body := object{"organisation": "siren:732829320", "period": "2024", "observations": []any{hours(object{"period": "2024-Q1", "value": 1})}}
		key := func(n int) header { return header{"Idempotency-Key", fmt.Sprint("m", n)} }
		refused(t, x.post(t, "/v1/submissions", body, key(1)), 403, "not_mandated")
		mandate := w.grant(t, object{"periods": object{"from": "2024", "to": "2024"}}, "submissions.manage")
		refused(t, x.post(t, "/v1/submissions", body, key(2)), 403, "not_mandated") // its observations are not covered
		writing := w.grant(t, nil, "observations.write")
		a := x.post(t, "/v1/submissions", body, key(3))
		if a.status != 201 || a.at(t, "/mandate") != mandate || a.header.Get("Impact-Mandate") != "" {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		if got := fmt.Sprint(w.uses(t, mandate), w.uses(t, writing)); got != "[submissions.manage 1] [observations.write 1]" {
			t.Error(got)
		}
		again := x.post(t, "/v1/submissions", body, key(3))
		if again.header.Get("Idempotent-Replayed") != "true" || string(again.body) != string(a.body) || len(w.uses(t, mandate)) != 1 {
			t.Errorf("%v %s", again.header, again.body)
		}
		path := "/v1/submissions/" + a.at(t, "/id").(string)
		p := x.do(t, "PATCH", path, object{"period": "2024-01-01/2025-12-31"}, header{"If-Match", x.get(t, path).header.Get("ETag")})
		refused(t, p, 403, "not_mandated") // it would leave the mandate's periods
		if s := x.post(t, path+"/submit", nil); s.status != 200 || s.at(t, "/state") != "submitted" || s.header.Get("Impact-Mandate") != mandate {
			t.Errorf("%d %s", s.status, s.body)
		}
		refused(t, x.post(t, path+"/approve", nil), 403, "insufficient_scope")
		w.organisation.post(t, "/v1/mandates/"+mandate+"/revoke", nil)
		refused(t, x.get(t, path), 404, "not_found")
		refused(t, x.post(t, path+"/submit", nil), 404, "not_found")
	})
}

// Live figures are for a network those of one member, within its mandate; what a
// mandate opened closes with it, whatever is held in a cache.
func TestANetworkReadsFiguresWithinItsMandate(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		w.member(t)
		for _, o := range []object{hours(object{"period": "2024-Q1", "value": 40}), hours(object{"period": "2023-Q4", "value": 30})} {
			if a := w.organisation.post(t, "/v1/observations", o); a.status != 201 {
				t.Fatalf("%s", a.body)
			}
		}
		q := func(more string) string {
			return "/v1/aggregates?release=live&state=draft&organisation=siren:732829320&territory=metropole-200046977&" + more
		}
		refused(t, w.network.get(t, q("indicator=insertion_hours&period=2024-Q1")), 403, "not_mandated")
		mandate := w.grant(t, object{"indicators": []string{"insertion_hours"}, "periods": object{"from": "2024", "to": "2024"}}, "aggregates.live")
		a := w.network.get(t, q("indicator=insertion_hours&period=2024-Q1"))
		if a.status != 200 || a.at(t, "/data/0/value") != json.Number("40") || a.header.Get("Impact-Mandate") != mandate {
			t.Fatalf("%d %s", a.status, a.body)
		}
		held := header{"If-None-Match", a.header.Get("ETag")}
		if got := w.network.get(t, q("indicator=insertion_hours&period=2024-Q1"), held); got.status != 304 {
			t.Errorf("%d", got.status)
		}
		for _, more := range []string{
			"indicator=insertion_hours&period=2023-Q4", "indicator=insertion_hours&period=2023/2024", "indicator=waste_collected&period=2024", "period=2024",
			"indicator=insertion_hours&period=2024-Q1&measures=value,change_previous", "indicator=insertion_hours&period=2024-Q1&split=prorata_days",
			"group_by=impact_type&period=2024",
		} {
			refused(t, w.network.get(t, q(more)), 403, "not_mandated")
		}
		refused(t, w.network.get(t, "/v1/aggregates?release=live&territory=metropole-200046977&indicator=insertion_hours&period=2024-Q1"), 403, "not_mandated")
		refused(t, w.network.get(t, strings.Replace(q("indicator=insertion_hours&period=2024-Q1"), "732829320", "552100554", 1)), 403, "not_mandated")
		explain := strings.Replace(q("indicator=insertion_hours&period=2024-Q1"), "/aggregates?", "/aggregates/explain?", 1)
		if got := w.network.get(t, explain); got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
		refused(t, w.network.get(t, strings.Replace(explain, "2024-Q1", "2023-Q4", 1)), 403, "not_mandated")
		if got := fmt.Sprint(w.uses(t, mandate)); got != "[aggregates.live 1 aggregates.live 1]" {
			t.Error(got)
		}
		w.organisation.post(t, "/v1/mandates/"+mandate+"/revoke", nil)
		refused(t, w.network.get(t, q("indicator=insertion_hours&period=2024-Q1"), held), 403, "not_mandated")
	})
}

// What a network states for itself needs no mandate.
func TestANetworkIsAnOrganisationToo(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		tag := w.administrator.get(t, "/v1/networks/FEDATE").header.Get("ETag")
		if a := w.administrator.do(t, "PATCH", "/v1/networks/FEDATE", object{"organisation": string(w.bocage.ID)}, header{"If-Match", tag}); a.status != 200 {
			t.Fatalf("%s", a.body)
		}
		a := w.network.post(t, "/v1/observations", hours(object{"period": "2024-Q1", "value": 1}))
		if a.status != 201 || a.at(t, "/organisation") != string(w.bocage.ID) || a.at(t, "/mandate") != nil || a.header.Get("Impact-Mandate") != "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		path := "/v1/observations/" + a.at(t, "/id").(string)
		if d := w.network.do(t, "DELETE", path, nil, header{"If-Match", w.network.get(t, path).header.Get("ETag")}); d.status != 204 {
			t.Errorf("%d %s", d.status, d.body)
		}
		if got := w.network.get(t, "/v1/aggregates?release=live&organisation=siren:552100554&indicator=insertion_hours&territory=metropole-200046977&period=2024"); got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
		refused(t, w.network.do(t, "PATCH", "/v1/networks/FEDATE", object{"code": "MINE"}, header{"If-Match", `"v2"`}), 422, "validation_failed")
		if got := w.network.do(t, "PATCH", "/v1/networks/FEDATE", object{"name": "Fédération"}, header{"If-Match", `"v2"`}); got.status != 200 || got.at(t, "/name") != "Fédération" {
			t.Errorf("%s", got.body)
		}
	})
}

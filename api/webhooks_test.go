package api_test

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/webhook"
)

const observationChanged = "fr.grandlyon.retombees.observation.changed.v1"

// crm is the server of a subscriber: TLS on a loopback address. It keeps what it
// was sent.
type crm struct {
	*httptest.Server
	mu    sync.Mutex
	heard []*http.Request
	body  [][]byte
}

func newCRM(t *testing.T) *crm {
	t.Helper()
	r := &crm{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err == nil {
			r.heard, r.body = append(r.heard, req), append(r.body, b)
		}
	}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

// events gives what was sent, each verified with the secret.
func (r *crm) events(t *testing.T, secret any) []object {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(secret.(string))
	must(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []object
	for i, req := range r.heard {
		if err := v.Verify(r.body[i], req.Header); err != nil {
			t.Error(err)
		}
		if ct := req.Header.Get("Content-Type"); ct != webhook.ContentType {
			t.Error(ct)
		}
		var e object
		must(t, json.Unmarshal(r.body[i], &e))
		if e["id"] != req.Header.Get("Webhook-Id") {
			t.Errorf("%s", r.body[i])
		}
		list = append(list, e)
	}
	return list
}

// tell lets one dispatcher do all there is to do.
func (w *world) tell(t *testing.T) {
	t.Helper()
	pool := x509.NewCertPool()
	any := httptest.NewTLSServer(nil) // all servers of httptest have one certificate
	pool.AddCert(any.Certificate())
	any.Close()
	d := webhook.NewDispatcher(webhook.Config{
		Store: w.store, Vault: w.config.Webhooks.Vault, Writer: w.writer, Guard: w.guard, Log: slog.New(slog.DiscardHandler), Now: now, Holder: "test", UserAgent: "test", Roots: pool,
	})
	for {
		must(t, d.Turn(t.Context()))
		d.Wait()
		due, err := w.store.DueDeliveries(t.Context(), 1)
		must(t, err)
		if len(due) == 0 {
			return
		}
	}
}

func (x *caller) subscribe(t *testing.T, body object) answer {
	t.Helper()
	a := x.post(t, "/v1/webhooks", body, fresh())
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a
}

func TestAWebhookFromSubscriptionToDeletion(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x, r := w.organisation, newCRM(t)
		key := fresh()
		body := object{"url": r.URL + "/hook", "types": []string{observationChanged}, "description": "CRM"}
		made := x.post(t, "/v1/webhooks", body, key)
		if made.status != http.StatusCreated || made.header.Get("ETag") != `"v1"` {
			t.Fatalf("%d %s", made.status, made.body)
		}
		at, secret := path(t, made.header.Get("Location")), made.at(t, "/secret")
		again := x.post(t, "/v1/webhooks", body, key)
		if string(again.body) != string(made.body) || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s\n%s", made.body, again.body)
		}
		refused(t, x.post(t, "/v1/webhooks", body, fresh()), http.StatusConflict, "already_exists")
		shown := x.get(t, at)
		if shown.status != http.StatusOK || strings.Contains(string(shown.body), "whsec_") || shown.header.Get("ETag") != `"v1"` {
			t.Errorf("%d %s", shown.status, shown.body)
		}
		got := shown.json(t)
		for _, k := range []string{"id", "client_id", "cursor", "links", "created_at", "updated_at"} {
			if got[k] == nil {
				t.Errorf("%s is missing", k)
			}
			delete(got, k)
		}
		want := object{
			"url": r.URL + "/hook", "types": []any{observationChanged}, "description": "CRM", "state": "active", "reason": nil, "pending": json.Number("0"), "failing_since": nil,
			"last_delivered_at": nil, "former_secrets_until": []any{}, "version": json.Number("1"),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if list := x.get(t, "/v1/webhooks"); len(list.at(t, "/data").([]any)) != 1 || strings.Contains(string(list.body), "whsec_") {
			t.Errorf("%s", list.body)
		}

		// What happens is told, and the event leads to it.
		if a := x.post(t, "/v1/observations", object{"observations": []any{hours(object{"value": json.Number("98765.25")}), hours(object{"period": "2025-Q2"})}}); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		w.tell(t)
		events := r.events(t, secret)
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		data := events[0]["data"].(object)
		if events[0]["type"] != observationChanged || events[0]["source"] != publicURL+"/v1" || data["organisation"] != string(w.atelier.ID) || data["count"] != 2.0 {
			t.Errorf("%v", events[0])
		}
		if strings.Contains(string(r.body[0]), "98765.25") {
			t.Errorf("an event carries a value: %s", r.body[0])
		}
		links := data["links"].(object)
		feed := x.get(t, path(t, links["changes"]))
		if feed.status != http.StatusOK || feed.at(t, "/data/0/type") != "observation" || feed.at(t, "/data/1/type") != "observation" || feed.at(t, "/data/2") != nil {
			t.Errorf("%d %s", feed.status, feed.body)
		}
		for _, name := range []string{"organisation", "observations"} {
			if a := x.get(t, path(t, links[name])); a.status != http.StatusOK {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
		refused(t, w.other.get(t, path(t, links["changes"])), http.StatusBadRequest, "cursor_mismatch")
		if a := x.get(t, path(t, shown.at(t, "/links/changes"))); a.status != http.StatusOK || a.at(t, "/data/0/type") != "observation" {
			t.Errorf("%d %s", a.status, a.body)
		}

		// Deliveries show it; a replay sends it again under its id.
		deliveries := x.get(t, at+"/deliveries?state=delivered")
		if deliveries.at(t, "/data/0/id") != events[0]["id"] || deliveries.at(t, "/data/0/state") != "delivered" || deliveries.at(t, "/data/0/attempts/0/status") != json.Number("200") || deliveries.at(t, "/data/0/attempts/0/failure") != nil || deliveries.at(t, "/data/1") != nil {
			t.Errorf("%s", deliveries.body)
		}
		for _, cursor := range []any{deliveries.at(t, "/data/0/cursor"), data["cursor"], feed.at(t, "/next_cursor")} {
			if a := x.post(t, at+"/replay", object{"from_cursor": cursor}); a.status != http.StatusAccepted {
				t.Errorf("%d %s", a.status, a.body)
			}
			w.tell(t)
		}
		if events := r.events(t, secret); len(events) != 3 || !cmp.Equal(events[0], events[1]) || !cmp.Equal(events[0], events[2]) {
			t.Errorf("%v", events) // the last cursor is where the webhook stood: it sends nothing
		}

		// A test is sent whatever the state.
		paused := x.do(t, "PATCH", at, object{"state": "paused"}, header{"If-Match", `"v1"`})
		if paused.status != http.StatusOK || paused.at(t, "/state") != "paused" || paused.header.Get("ETag") != `"v2"` {
			t.Fatalf("%d %s", paused.status, paused.body)
		}
		test := x.post(t, at+"/test", nil)
		if test.status != http.StatusAccepted || test.at(t, "/state") != "pending" || test.at(t, "/cursor") != nil {
			t.Errorf("%d %s", test.status, test.body)
		}
		x.post(t, "/v1/observations", hours(object{"period": "2025-Q1"}))
		w.tell(t)
		if events := r.events(t, secret); len(events) != 4 || events[3]["type"] != string(impact.TestEvent) || events[3]["id"] != test.at(t, "/id") {
			t.Errorf("%v", events)
		}

		// A new secret; both sign for a day.
		rotated := x.post(t, at+"/rotate-secret", nil)
		if rotated.status != http.StatusOK || rotated.at(t, "/secret") == secret || len(rotated.at(t, "/former_secrets_until").([]any)) != 1 || rotated.header.Get("ETag") != `"v3"` {
			t.Fatalf("%d %s", rotated.status, rotated.body)
		}
		refused(t, x.post(t, at+"/rotate-secret", nil, fresh()), http.StatusBadRequest, "invalid_header")
		if a := x.do(t, "PATCH", at, object{"state": "active", "description": nil}, header{"If-Match", `"v3"`}); a.status != http.StatusOK || a.at(t, "/description") != nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
		r.mu.Lock()
		r.heard, r.body = nil, nil
		r.mu.Unlock()
		w.tell(t)
		for _, s := range []any{secret, rotated.at(t, "/secret")} {
			if events := r.events(t, s); len(events) != 1 || events[0]["type"] != observationChanged {
				t.Errorf("%v", events)
			}
		}

		refused(t, x.do(t, "DELETE", at, nil), http.StatusPreconditionRequired, "precondition_required")
		refused(t, x.do(t, "DELETE", at, nil, header{"If-Match", `"v1"`}), http.StatusPreconditionFailed, "precondition_failed")
		if a := x.do(t, "DELETE", at, nil, header{"If-Match", `"v4"`}); a.status != http.StatusNoContent {
			t.Errorf("%d %s", a.status, a.body)
		}
		refused(t, x.get(t, at), http.StatusNotFound, "not_found")
	})
}

func TestWhatAWebhookCannotBe(t *testing.T) {
	w := embedded(t)
	x := w.organisation
	refused(t, x.post(t, "/v1/webhooks", object{"url": "https://crm.example.org/"}), http.StatusBadRequest, "missing_idempotency_key")
	for name, c := range map[string]struct {
		body object
		want []string
	}{
		"nothing":         {object{}, []string{"missing_field /url"}},
		"http":            {object{"url": "http://crm.example.org/"}, []string{"invalid_type /url"}},
		"private":         {object{"url": "https://10.0.0.1/"}, []string{"out_of_range /url"}},
		"metadata":        {object{"url": "https://[::ffff:169.254.169.254]/"}, []string{"out_of_range /url"}},
		"password":        {object{"url": "https://a:b@crm.example.org/"}, []string{"invalid_type /url"}},
		"long":            {object{"url": "https://crm.example.org/" + strings.Repeat("x", 2000)}, []string{"too_long /url"}},
		"no type":         {object{"url": "https://crm.example.org/", "types": []string{}}, []string{"missing_field /types"}},
		"unknown type":    {object{"url": "https://crm.example.org/", "types": []string{observationChanged, "observation.changed"}}, []string{"unknown_code /types/1"}},
		"test type":       {object{"url": "https://crm.example.org/", "types": []string{string(impact.TestEvent)}}, []string{"unknown_code /types/0"}},
		"description":     {object{"url": "https://crm.example.org/", "description": strings.Repeat("é", 501)}, []string{"too_long /description"}},
		"state":           {object{"url": "https://crm.example.org/", "state": "active"}, []string{"unknown_member /state"}},
		"several at once": {object{"url": "ftp://crm.example.org/", "types": []string{"x"}, "description": strings.Repeat("x", 501)}, []string{"invalid_type /url", "unknown_code /types/0", "too_long /description"}},
	} {
		a := x.post(t, "/v1/webhooks", c.body, fresh())
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		got := faults(t, a)
		slices.Sort(got)
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if strings.Contains(string(a.body), "a:b@") {
			t.Errorf("a password is repeated: %s", a.body)
		}
	}
	at := path(t, x.subscribe(t, object{"url": "https://crm.example.org/"}).header.Get("Location"))
	for _, state := range []string{"disabled", "asleep"} {
		if got := faults(t, x.do(t, "PATCH", at, object{"state": state}, header{"If-Match", `"v1"`})); !slices.Equal(got, []string{"unknown_code /state"}) {
			t.Errorf("%v", got)
		}
	}
	if got := faults(t, x.do(t, "PATCH", at, object{"url": "https://127.0.0.2/"}, header{"If-Match", `"v1"`})); !slices.Equal(got, []string{"out_of_range /url"}) {
		t.Errorf("%v", got)
	}
	refused(t, x.do(t, "PATCH", at, object{"secret": "whsec_AAAA"}, header{"If-Match", `"v1"`}), http.StatusUnprocessableEntity, "validation_failed")
	refused(t, x.post(t, at+"/replay", object{}), http.StatusUnprocessableEntity, "validation_failed")
	list := x.get(t, "/v1/webhooks?limit=1").at(t, "/data/0/cursor")
	for cursor, code := range map[string]string{"x": "invalid_cursor", "": "validation_failed", strings.ToUpper(list.(string)): "invalid_cursor"} {
		if a := x.post(t, at+"/replay", object{"from_cursor": cursor}); a.at(t, "/code") != code {
			t.Errorf("%q: %s", cursor, a.body)
		}
	}
}

// A webhook tells no more than the scopes of who writes it.
func TestAWebhookHearsWhatItsTokenMay(t *testing.T) {
	w := embedded(t)
	narrow := w.narrowed(t, w.organisation, impact.WebhooksManage, impact.MandatesManage)
	a := narrow.subscribe(t, object{"url": "https://crm.example.org/"})
	want := []any{"fr.grandlyon.retombees.mandate.granted.v1", "fr.grandlyon.retombees.mandate.revoked.v1", "fr.grandlyon.retombees.release.published.v1", "fr.grandlyon.retombees.webhook.disabled.v1"}
	if diff := cmp.Diff(want, a.at(t, "/types")); diff != "" {
		t.Error(diff)
	}
	at := path(t, a.header.Get("Location"))
	refused(t, narrow.post(t, "/v1/webhooks", object{"url": "https://other.example.org/", "types": []string{observationChanged}}, fresh()), http.StatusForbidden, "insufficient_scope")
	refused(t, narrow.do(t, "PATCH", at, object{"types": []string{observationChanged}}, header{"If-Match", `"v1"`}), http.StatusForbidden, "insufficient_scope")
	// A colleague with more scopes may; then the narrow one can no longer write it as it is.
	if a := w.organisation.do(t, "PATCH", at, object{"types": []string{observationChanged}}, header{"If-Match", `"v1"`}); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	refused(t, narrow.do(t, "PATCH", at, object{"url": "https://elsewhere.example.org/"}, header{"If-Match", `"v2"`}), http.StatusForbidden, "insufficient_scope")
	if types := w.administrator.subscribe(t, object{"url": "https://crm.example.org/"}).at(t, "/types"); !cmp.Equal(types, []any{"fr.grandlyon.retombees.release.published.v1", "fr.grandlyon.retombees.webhook.disabled.v1"}) {
		t.Errorf("an administrator hears %v", types)
	}
}

// narrowed gives the same client with a token of fewer scopes.
func (w *world) narrowed(t *testing.T, x *caller, scopes ...impact.Scope) *caller {
	t.Helper()
	text := make([]string, len(scopes))
	for i, s := range scopes {
		text[i] = string(s)
	}
	a := w.anonymous.post(t, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {x.id}, "client_secret": {x.secret}, "scope": {strings.Join(text, " ")}})
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return x.with(a.at(t, "/access_token").(string))
}

// kinds says what a receiver was told, in the order of commits: the middle words
// of the types, and the organisation.
func kinds(events []object) []string {
	var list []string
	for _, e := range events {
		kind := strings.TrimSuffix(strings.TrimPrefix(e["type"].(string), "fr.grandlyon.retombees."), ".v1")
		list = append(list, kind)
	}
	slices.Sort(list)
	return list
}

// A network hears of an organisation from the mandate on, and no more from its
// end on, whatever is still written; the organisation hears of both.
func TestAMandateOpensAndClosesTheEar(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		at, ear := newCRM(t), newCRM(t)
		own := w.organisation.subscribe(t, object{"url": at.URL, "types": []string{"fr.grandlyon.retombees.mandate.granted.v1", "fr.grandlyon.retombees.mandate.revoked.v1"}}).at(t, "/secret")
		network := w.network.subscribe(t, object{"url": ear.URL}).at(t, "/secret")
		state := func(value int) {
			t.Helper()
			if a := w.organisation.post(t, "/v1/observations", hours(object{"value": value})); a.status >= 300 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			w.tell(t)
		}
		state(1)
		mandate := w.grant(t, nil, "observations.read")
		state(2)
		if a := w.organisation.post(t, "/v1/mandates/"+mandate+"/revoke", nil); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		state(3)
		if diff := cmp.Diff([]string{"mandate.granted", "mandate.revoked"}, kinds(at.events(t, own))); diff != "" {
			t.Error(diff)
		}
		events := ear.events(t, network)
		if diff := cmp.Diff([]string{"mandate.granted", "mandate.revoked", "observation.changed"}, kinds(events)); diff != "" {
			t.Error(diff)
		}
		for _, e := range events {
			data := e["data"].(object)
			if id, ok := data["mandate"]; ok && (id != mandate || e["subject"] != "mandates/"+mandate || data["organisation"] != string(w.atelier.ID)) {
				t.Errorf("%v", e)
			}
		}
	})
}

// A late value in a year that is approved is one value and one submission, not
// the year again.
func TestALateValueIsOneEvent(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		first := x.post(t, "/v1/observations", object{"observations": []any{hours(), hours(object{"period": "2025-Q2"}), hours(object{"period": "2025-Q4"})}})
		if first.status != http.StatusOK {
			t.Fatalf("%d %s", first.status, first.body)
		}
		submission := "/v1/submissions/" + x.get(t, "/v1/submissions").at(t, "/data/0/id").(string)
		for _, a := range []answer{x.post(t, submission+"/submit", nil), w.steward.post(t, submission+"/approve", nil)} {
			if a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		type listener struct {
			who    *caller
			crm    *crm
			secret any
		}
		var all []listener
		for _, who := range []*caller{x, w.steward} {
			l := listener{who: who, crm: newCRM(t)}
			l.secret = who.subscribe(t, object{"url": l.crm.URL, "types": []string{observationChanged}}).at(t, "/secret")
			all = append(all, l)
		}
		heard := 0
		for _, do := range []func() answer{
			func() answer { return x.post(t, "/v1/observations", hours(object{"period": "2025-Q1"})) },
			func() answer { return w.steward.post(t, submission+"/approve", nil) },
		} {
			if a := do(); a.status >= 300 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			heard++
			w.tell(t)
			for _, l := range all {
				events := l.crm.events(t, l.secret)
				if len(events) != heard || events[heard-1]["data"].(object)["count"] != 1.0 {
					t.Errorf("%s, after %d: %v", l.who.id, heard, events)
				}
			}
		}
	})
}

func TestTheEndOfAnImportIsTold(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x, r := w.organisation, newCRM(t)
		secret := x.subscribe(t, object{"url": r.URL}).at(t, "/secret")
		done := x.sent(t, "", "indicator,territory,period,value,unit\ninsertion_hours,commune-69266,2025-Q1,12,h\ninsertion_hours,commune-69266,2025-Q2,13,h\n")
		w.tell(t)
		events := r.events(t, secret)
		if diff := cmp.Diff([]string{"import.completed", "observation.changed"}, kinds(events)); diff != "" {
			t.Fatal(diff)
		}
		for _, e := range events {
			data := e["data"].(object)
			if e["type"] == string(impact.ImportCompletedEvent) {
				if data["import"] != done.at(t, "/id") || data["state"] != "completed" || path(t, data["links"].(object)["import"]) != "/v1/imports/"+done.at(t, "/id").(string) {
					t.Errorf("%v", e)
				}
			} else if data["count"] != 2.0 {
				t.Errorf("%v", e)
			}
		}
	})
}

func TestARevokedKeyHearsNoMore(t *testing.T) {
	w := embedded(t)
	r := newCRM(t)
	id, script := w.organisation.key(t, object{"scopes": []string{"webhooks.manage", "observations.read"}})
	hook := script.subscribe(t, object{"url": r.URL})
	secret, at := hook.at(t, "/secret"), path(t, hook.header.Get("Location"))
	for i, want := range []int{1, 1} {
		if a := w.organisation.post(t, "/v1/observations", hours(object{"value": i + 1})); a.status >= 300 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		w.tell(t)
		if n := len(r.events(t, secret)); n != want {
			t.Errorf("%d events, want %d", n, want)
		}
		if i == 0 {
			if a := w.organisation.do(t, "DELETE", "/v1/api-keys/"+id, nil); a.status != http.StatusNoContent {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
	a := w.organisation.get(t, at)
	if a.at(t, "/state") != "disabled" || a.at(t, "/reason/code") != "client_revoked" || a.at(t, "/reason/text/fr") == "" {
		t.Errorf("%s", a.body)
	}
}

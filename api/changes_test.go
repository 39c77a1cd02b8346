package api_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/impact"
)

// began is a feed that was just begun: where to go on.
func (x *caller) began(t testing.TB, query string) (cursor string) {
	t.Helper()
	a := x.get(t, "/v1/changes"+query)
	if a.status != http.StatusOK || len(a.at(t, "/data").([]any)) != 0 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a.at(t, "/next_cursor").(string)
}

// changed reads a page from a cursor.
func (x *caller) changed(t testing.TB, cursor, query string) (data []any, a answer) {
	t.Helper()
	a = x.get(t, "/v1/changes?cursor="+url.QueryEscape(cursor)+query)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a.at(t, "/data").([]any), a
}

// told lists what changes say, "type op action", in their order.
func told(data []any) (list []string) {
	for _, d := range data {
		m := d.(map[string]any)
		line := m["type"].(string) + " " + m["op"].(string)
		if action, ok := m["action"].(string); ok {
			line += " " + action
		}
		list = append(list, line)
	}
	return list
}

func TestChangesAreFollowed(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		begun := x.get(t, "/v1/changes")
		if begun.at(t, "/snapshot/observation") != publicURL+"/v1/observations" || begun.at(t, "/caught_up") != false || begun.header.Get("Cache-Control") != "private, no-store" {
			t.Errorf("%s %v", begun.body, begun.header)
		}
		cursor, others, stewards := begun.at(t, "/next_cursor").(string), w.other.began(t, ""), w.steward.began(t, "?types=observation,submission")

		_, submission := x.open(t, object{"period": "2025", "observations": []any{hours(), hours(object{"period": "2025-Q2"})}})
		data, page := x.changed(t, cursor, "")
		if d := cmp.Diff([]string{"observation created", "observation created", "submission created open"}, told(data)); d != "" {
			t.Error(d)
		}
		if page.at(t, "/caught_up") != true || page.at(t, "/snapshot") != nil {
			t.Errorf("%s", page.body)
		}
		// The resource is what its own address shows.
		for i, d := range data {
			self := d.(map[string]any)["links"].(map[string]any)["self"].(string)
			shown := x.get(t, strings.TrimPrefix(self, publicURL))
			if diff := cmp.Diff(any(shown.json(t)), d.(map[string]any)["resource"]); diff != "" {
				t.Errorf("change %d is not what %s shows:\n%s", i, self, diff)
			}
		}
		// Page by page it is the same, from any change on.
		var one []any
		for at := cursor; ; {
			some, a := x.changed(t, at, "&limit=1")
			one = append(one, some...)
			if at = a.at(t, "/next_cursor").(string); a.at(t, "/caught_up") == true {
				break
			}
		}
		if d := cmp.Diff(data, one); d != "" {
			t.Error(d)
		}
		rest, _ := x.changed(t, data[0].(map[string]any)["cursor"].(string), "")
		if d := cmp.Diff(data[1:], rest); d != "" {
			t.Error(d)
		}
		cursor = page.at(t, "/next_cursor").(string)

		// Of a draft nobody else is told; handed in, the steward is.
		if data, _ := w.other.changed(t, others, ""); len(data) != 0 {
			t.Errorf("another organisation is told %v", told(data))
		}
		if data, _ := w.steward.changed(t, stewards, "&types=observation,submission"); len(data) != 0 {
			t.Errorf("a steward is told %v of a draft", told(data))
		}
		if a := x.post(t, submission+"/submit", nil); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		data, page = w.steward.changed(t, stewards, "&types=observation,submission")
		if d := cmp.Diff([]string{"observation created", "observation created", "submission updated submit"}, told(data)); d != "" {
			t.Error(d)
		}
		stewards = page.at(t, "/next_cursor").(string)
		// Returned, they are gone from the steward's copy, the submission is not.
		if a := w.steward.post(t, submission+"/return", object{"reason": "x"}); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		data, page = w.steward.changed(t, stewards, "&types=observation,submission")
		if d := cmp.Diff([]string{"observation deleted", "observation deleted", "submission updated return"}, told(data)); d != "" {
			t.Error(d)
		}
		if data[0].(map[string]any)["resource"] != nil {
			t.Errorf("%s", page.body)
		}
		// The organisation is told of both steps, and what its values count for now.
		data, page = x.changed(t, cursor, "")
		if d := cmp.Diff([]string{"submission updated submit", "observation updated", "observation updated", "submission updated return"}, told(data)); d != "" {
			t.Error(d)
		}
		cursor = page.at(t, "/next_cursor").(string)
		// A deletion, and the organisation itself.
		o := x.get(t, "/v1/observations?period=2025-Q2")
		a := x.do(t, http.MethodDelete, "/v1/observations/"+o.at(t, "/data/0/id").(string), nil, header{"If-Match", `"v1"`})
		if a.status != http.StatusNoContent {
			t.Fatalf("%d %s", a.status, a.body)
		}
		data, _ = x.changed(t, cursor, "")
		if d := cmp.Diff([]string{"observation deleted", "submission updated"}, told(data)); d != "" {
			t.Error(d)
		}
		// Administrators follow organisations and see no fact.
		data, _ = w.administrator.changed(t, w.administrator.began(t, ""), "")
		if len(data) != 0 {
			t.Errorf("%v", told(data))
		}
	})
}

// TestANetworkFollowsWithinItsMandates holds where the feed of a network begins
// and ends: with its mandate, no later than the next call.
func TestANetworkFollowsWithinItsMandates(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x, n := w.organisation, w.network
		x.post(t, "/v1/observations", hours())
		cursor := n.began(t, "")
		x.post(t, "/v1/observations", hours(object{"period": "2025-Q2"}))
		if data, _ := n.changed(t, cursor, ""); len(data) != 0 {
			t.Fatalf("without mandate it is told %v", told(data))
		}
		granted := x.post(t, "/v1/mandates", object{
			"to": object{"network": string(w.federation.ID)}, "scopes": []string{"observations.read", "observations.write"}, "periods": object{"from": "2025-Q1", "to": "2025-Q2"},
		})
		if granted.status != http.StatusCreated {
			t.Fatalf("%d %s", granted.status, granted.body)
		}
		x.post(t, "/v1/observations", hours(object{"period": "2025-Q3", "value": 7}))
		data, a := n.changed(t, cursor, "")
		// What is read anew is what it may see now: the observation of the second
		// quarter, written before the mandate, and the mandate.
		if d := cmp.Diff([]string{"observation created", "mandate created granted"}, told(data)); d != "" {
			t.Fatal(d)
		}
		mandate := data[1].(map[string]any)
		shown := x.get(t, strings.TrimPrefix(mandate["links"].(map[string]any)["self"].(string), publicURL))
		if d := cmp.Diff(any(shown.json(t)), mandate["resource"]); d != "" {
			t.Error(d)
		}
		// The way to what it opened; the organisation has nothing to copy.
		links := mandate["links"].(map[string]any)
		opened := n.get(t, strings.TrimPrefix(links["snapshot"].(string), publicURL))
		if len(opened.at(t, "/data").([]any)) != 1 || links["forget"] != nil {
			t.Errorf("%v %s", links, opened.body)
		}
		// The organisation sees what the network writes for it, and the reverse.
		theirs := x.began(t, "?types=observation")
		cursor = a.at(t, "/next_cursor").(string)
		own := x.began(t, "?types=mandate")
		if a := n.post(t, "/v1/observations", hours(object{"organisation": string(w.atelier.ID), "period": "2025-Q1", "value": 12})); a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for _, c := range []struct {
			who    *caller
			cursor string
			query  string
		}{{x, theirs, "&types=observation"}, {n, cursor, ""}} {
			data, _ := c.who.changed(t, c.cursor, c.query)
			if d := cmp.Diff([]string{"observation created"}, told(data)); d != "" {
				t.Error(d)
			}
		}
		// Revoked, it is told so and nothing else, the value it has just written included.
		if a := x.post(t, path(t, granted.header.Get("Location"))+"/revoke", nil); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		data, _ = n.changed(t, cursor, "")
		if d := cmp.Diff([]string{"mandate updated revoked"}, told(data)); d != "" {
			t.Error(d)
		}
		// What to drop is what it gives no more: here all of it.
		links = data[0].(map[string]any)["links"].(map[string]any)
		if links["snapshot"] != nil || links["forget"] == nil {
			t.Fatalf("%v", links)
		}
		refused(t, n.get(t, path(t, links["forget"])), http.StatusUnprocessableEntity, "validation_failed")
		// The organisation keeps what is its own.
		data, _ = x.changed(t, own, "&types=mandate")
		for _, d := range data {
			links := d.(map[string]any)["links"].(map[string]any)
			if links["snapshot"] != nil || links["forget"] != nil {
				t.Errorf("%v", links)
			}
		}
		if len(data) != 1 {
			t.Errorf("%v", told(data))
		}
	})
}

// TestANetworkIsToldOfOtherEnds holds what a network is told to copy and to
// drop by the other things that open and close: a mandate that is asked for
// opens nothing, a member that leaves takes its entry along.
func TestANetworkIsToldOfOtherEnds(t *testing.T) {
	w := embedded(t)
	x, n := w.organisation, w.network
	cursor := n.began(t, "")
	last := func(kind string) map[string]any {
		t.Helper()
		data, a := n.changed(t, cursor, "")
		if cursor = a.at(t, "/next_cursor").(string); len(data) == 0 {
			t.Fatalf("nothing is told of the %s", kind)
		}
		m := data[len(data)-1].(map[string]any)
		if m["type"] != kind {
			t.Fatalf("%v", m)
		}
		return m["links"].(map[string]any)
	}
	member := "/v1/networks/" + string(w.federation.ID) + "/members/siren:732829320"
	n.do(t, http.MethodPut, member, object{"from": "2024-01-01"})
	if links := last("membership"); links["snapshot"] == nil || links["forget"] != nil {
		t.Errorf("joined: %v", links)
	}
	asked := n.post(t, "/v1/mandates", object{"from": object{"organisation": "siren:732829320"}, "scopes": []string{"observations.read"}})
	if asked.status != http.StatusCreated {
		t.Fatalf("%d %s", asked.status, asked.body)
	}
	if links := last("mandate"); links["snapshot"] != nil || links["forget"] != nil {
		t.Errorf("asked for: %v", links)
	}
	if a := x.post(t, path(t, asked.header.Get("Location"))+"/refuse", nil); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if links := last("mandate"); links["snapshot"] != nil || links["forget"] != nil {
		t.Errorf("refused: %v", links)
	}
	n.do(t, http.MethodDelete, member, nil)
	links := last("membership")
	if links["snapshot"] != nil || links["forget"] == nil {
		t.Fatalf("left: %v", links)
	}
	refused(t, n.get(t, path(t, links["forget"])), http.StatusNotFound, "not_found")
}

// TestEveryTypeShowsItsResource holds that each type of change has a source and
// a form.
func TestEveryTypeShowsItsResource(t *testing.T) {
	w := embedded(t)
	x, n := w.organisation, w.network
	cursor, theirs, public := x.began(t, ""), n.began(t, ""), w.anonymous.began(t, "")
	for _, a := range []answer{
		x.post(t, "/v1/observations", hours()),
		x.do(t, http.MethodPut, "/v1/organisations/"+string(w.atelier.ID)+"/consents/listed", nil),
		x.do(t, http.MethodPatch, "/v1/organisations/"+string(w.atelier.ID), object{"name": "Atelier"}, header{"If-Match", `"v1"`}),
		n.do(t, http.MethodPut, "/v1/networks/"+string(w.federation.ID)+"/members/siren:732829320", object{"from": "2024-01-01"}),
		x.post(t, "/v1/mandates", object{"to": object{"network": string(w.federation.ID)}, "scopes": []string{"observations.read"}}),
		x.post(t, "/v1/imports", "indicator;territory;period;value;unit\ninsertion_hours;commune-69266;2025-Q2;5;h\n", header{"Content-Type", "text/csv"}, fresh()),
	} {
		if a.status >= 300 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	w.candidate(t, object{"publish": true})
	reference := w.config.Catalogue.Reference()
	reference.Version += "-next"
	reference.Indicators, reference.Territories = slices.Clone(reference.Indicators), slices.Clone(reference.Territories)
	reference.Indicators[0].Label.FR += " (revu)"
	reference.Territories[0].Name += " (revu)"
	must(t, w.store.LoadReference(context.Background(), reference))

	seen := map[string]bool{}
	for _, r := range []struct {
		who    *caller
		cursor string
	}{{x, cursor}, {n, theirs}, {w.anonymous, public}} {
		data, _ := r.who.changed(t, r.cursor, "")
		for _, d := range data {
			m := d.(map[string]any)
			kind := m["type"].(string)
			seen[kind] = true
			if open := impact.ChangeType(kind).Public(); open != (m["resource"] == nil) {
				t.Errorf("%s: resource %v", kind, m["resource"])
			}
			if a := r.who.get(t, strings.TrimPrefix(m["links"].(map[string]any)["self"].(string), publicURL)); a.status != http.StatusOK {
				t.Errorf("%s: its address answers %d %s", kind, a.status, a.body)
			}
		}
		a := r.who.get(t, "/v1/changes")
		for kind, address := range a.at(t, "/snapshot").(map[string]any) {
			if a := r.who.get(t, strings.TrimPrefix(address.(string), publicURL)); a.status != http.StatusOK {
				t.Errorf("%s: the snapshot answers %d %s", kind, a.status, a.body)
			}
		}
	}
	for _, kind := range impact.ChangeTypes() {
		if !seen[string(kind)] {
			t.Errorf("no change of type %s", kind)
		}
	}
}

func TestChangesWait(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		cursor := x.began(t, "")
		type page struct {
			data []any
			at   time.Time
		}
		came := make(chan page, 1)
		go func() {
			data, _ := x.changed(t, cursor, "&wait=20")
			came <- page{data, time.Now()}
		}()
		time.Sleep(50 * time.Millisecond) // it waits, or will find the change at once
		if a := w.other.post(t, "/v1/observations", hours(object{"value": 5})); a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		select {
		case p := <-came:
			t.Fatalf("another organisation's change ended the wait: %v", told(p.data))
		case <-time.After(300 * time.Millisecond):
		}
		if a := x.post(t, "/v1/observations", hours()); a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		written := time.Now()
		p := <-came
		if d := cmp.Diff([]string{"observation created", "submission created open"}, told(p.data)); d != "" {
			t.Error(d)
		}
		t.Logf("told %v after it was written", p.at.Sub(written))
		// Nothing comes: the answer is empty and the place has moved on.
		cursor = x.began(t, "")
		if data, a := x.changed(t, cursor, "&wait=1"); len(data) != 0 || a.at(t, "/caught_up") != true {
			t.Errorf("%s", a.body)
		}
	})
}

// Whoever waits is asked who it is again before it is told anything: its key may
// have been revoked meanwhile.
func TestARevokedKeyIsToldNothingMore(t *testing.T) {
	w := embedded(t)
	id, k := w.organisation.key(t, nil)
	cursor := k.began(t, "?types=observation")
	came := make(chan answer, 1)
	go func() { came <- k.get(t, "/v1/changes?types=observation&wait=15&cursor="+url.QueryEscape(cursor)) }()
	time.Sleep(50 * time.Millisecond) // it waits, or is refused at once
	if a := w.organisation.do(t, "DELETE", "/v1/api-keys/"+id, nil); a.status != http.StatusNoContent {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := w.organisation.post(t, "/v1/observations", hours()); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	refused(t, <-came, http.StatusUnauthorized, "invalid_token")
}

// TestNobodyWaitsWhenTheServiceStops holds that a wait ends with the service.
func TestNobodyWaitsWhenTheServiceStops(t *testing.T) {
	w := embedded(t)
	ctx, stop := context.WithCancel(context.Background())
	w.config.Stopping = ctx
	handler, err := api.New(w.config)
	must(t, err)
	w.server.Config.Handler = handler
	cursor := w.organisation.began(t, "")
	came := make(chan []any, 1)
	go func() {
		data, _ := w.organisation.changed(t, cursor, "&wait=15")
		came <- data
	}()
	time.Sleep(50 * time.Millisecond)
	stop()
	if data := <-came; len(data) != 0 {
		t.Errorf("%v", told(data))
	}
}

func TestChangesOfReferenceData(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		a := w.anonymous.get(t, "/v1/changes")
		cursor := a.at(t, "/next_cursor").(string)
		if d := cmp.Diff(map[string]any{"indicator": publicURL + "/v1/indicators", "release": publicURL + "/v1/releases", "territory": publicURL + "/v1/territories"}, a.at(t, "/snapshot")); d != "" {
			t.Error(d)
		}
		// Nothing an anonymous caller is given moves with what is private.
		w.organisation.post(t, "/v1/observations", hours())
		data, page := w.anonymous.changed(t, cursor, "")
		if len(data) != 0 || page.at(t, "/next_cursor") != cursor || page.at(t, "/caught_up") != true {
			t.Errorf("a private commit shows: %s", page.body)
		}
		// A new indicator label is told, once.
		reference := w.config.Catalogue.Reference()
		reference.Version += "-next"
		reference.Indicators = slices.Clone(reference.Indicators)
		reference.Indicators[0].Label.FR += " (revu)"
		must(t, w.store.LoadReference(context.Background(), reference))
		data, _ = w.anonymous.changed(t, cursor, "&wait=5")
		if d := cmp.Diff([]string{"indicator updated"}, told(data)); d != "" {
			t.Fatal(d)
		}
		x := data[0].(map[string]any)
		if x["id"] != string(reference.Indicators[0].Code) || x["resource"] != nil || x["organisation"] != nil {
			t.Errorf("%v", x)
		}
	})
}

func TestChangesRefuse(t *testing.T) {
	w := embedded(t)
	x := w.organisation
	cursor := url.QueryEscape(x.began(t, ""))
	for _, c := range []struct {
		by           *caller
		query        string
		status       int
		code, reason string
	}{
		{x, "?cursor=abc", 400, "invalid_cursor", "not ours"},
		{w.other, "?cursor=" + cursor, 400, "cursor_mismatch", "of another organisation"},
		{x, "?types=observation&cursor=" + cursor, 400, "cursor_mismatch", "of other types"},
		{w.anonymous, "?cursor=" + cursor, 400, "cursor_mismatch", "of a rights holder"},
		{x, "?types=observations", 400, "invalid_parameter", "no such type"},
		{x, "?types=membership,import,consent,mandate,observation&wait=21", 400, "invalid_parameter", "too long a wait"},
		{x, "?limit=1001", 400, "invalid_parameter", "too large a page"},
		{w.anonymous, "?types=observation", 401, "missing_token", "a type with rights"},
		{w.administrator, "?types=observation", 403, "insufficient_scope", "a type without its scope"},
		{w.buyer, "?types=observation", 403, "insufficient_scope", "a buyer has no right"},
		{x, "?organisation=" + string(w.bocage.ID), 422, "validation_failed", "another organisation"},
	} {
		a := c.by.get(t, "/v1/changes"+c.query)
		refused(t, a, c.status, c.code)
		if t.Failed() {
			t.Fatalf("%s: %s", c.reason, c.query)
		}
		if strings.Contains(c.code, "cursor") && a.at(t, "/links/related") == nil {
			t.Errorf("%s: no way back: %s", c.reason, a.body)
		}
	}
}

// TestCursorsOfAnotherLifeExpire holds that a cursor is good for the log it was
// taken from: not for an emptied one, nor for one that took another way.
func TestCursorsOfAnotherLifeExpire(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		old := x.began(t, "")
		x.post(t, "/v1/observations", hours())
		x.post(t, "/v1/observations", hours(object{"period": "2025-Q2"}))
		if _, err := w.store.ForgetCommits(context.Background(), -time.Hour); err != nil { // all but the last
			t.Fatal(err)
		}
		gone := x.get(t, "/v1/changes?cursor="+url.QueryEscape(old))
		refused(t, gone, http.StatusGone, "cursor_expired")
		if gone.at(t, "/links/related") != publicURL+"/v1/changes" {
			t.Errorf("%s", gone.body)
		}
		// The way back is a place that holds.
		if data, a := x.changed(t, x.began(t, ""), ""); len(data) != 0 || a.at(t, "/caught_up") != true {
			t.Errorf("%s", a.body)
		}
		before, err := w.store.Seq(context.Background())
		must(t, err)
		x.post(t, "/v1/observations", hours(object{"period": "2025-Q1"}))
		if after, err := w.store.Seq(context.Background()); err != nil || after != before+1 {
			t.Errorf("numbers went from %d to %d: %v", before, after, err)
		}
		// Anonymous callers lose nothing: reference data is kept.
		if data, _ := w.anonymous.changed(t, w.anonymous.began(t, ""), ""); len(data) != 0 {
			t.Errorf("%v", told(data))
		}
	})
}

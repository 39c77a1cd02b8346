package client_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/client"
)

// The whole service answers the SDK in the tests of cmd/retombees; these are
// about what a healthy service does not do on demand: fail, redirect, refuse.

func serviceThat(t *testing.T, answer http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	c, err := client.New(t.Context(), client.Config{URL: s.URL + "/v1", APIKey: "key", Attempts: 3})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"code":%q,"title":"t","detail":"Détail.","hint":"Faites ceci.","request_id":"r1","errors":[{"code":"unknown_territory","field":"territory","value":"69627","hint":"Vouliez-vous dire 69267 ?"}]}`, status, code)
}

func TestARequestIsSentAgainUnderTheSameKey(t *testing.T) {
	var mu sync.Mutex
	var keys []string
	c := serviceThat(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte("waste_collected")) {
			t.Errorf("attempt %d has body %q", len(keys), body)
		}
		switch len(keys) {
		case 1:
			w.Header().Set("Retry-After", "0")
			refuse(w, http.StatusServiceUnavailable, "unavailable")
		case 2: // the first attempt is still running
			w.Header().Set("Retry-After", "0")
			refuse(w, http.StatusConflict, "idempotency_in_progress")
		default:
			fmt.Fprint(w, `{"data":[{"row":1,"outcome":"created"}],"meta":{"outcome":"succeeded"}}`)
		}
	})
	report, err := c.PutObservations(t.Context(), []client.Statement{{Indicator: "waste_collected"}}, "")
	if err != nil || report.Meta.Outcome != "succeeded" {
		t.Fatal(report, err)
	}
	if len(keys) != 3 || keys[0] == "" || slices.ContainsFunc(keys, func(k string) bool { return k != keys[0] }) {
		t.Errorf("keys %q, expected one key three times", keys)
	}
}

func TestAPostWithoutKeyIsSentOnce(t *testing.T) {
	var n atomic.Int32
	c := serviceThat(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.Header().Set("Retry-After", "0")
		refuse(w, http.StatusServiceUnavailable, "unavailable")
	})
	_, err := c.Call(t.Context(), client.Request{Method: http.MethodPost, Path: "/v1/networks", Body: struct{}{}}, nil)
	if p, ok := errors.AsType[*client.Problem](err); !ok || !p.Temporary() || n.Load() != 1 {
		t.Errorf("%d requests, error %v", n.Load(), err)
	}
}

func TestARefusalIsReadWhole(t *testing.T) {
	var n atomic.Int32
	c := serviceThat(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		refuse(w, http.StatusUnprocessableEntity, "validation_failed")
	})
	_, err := c.CreateImport(t.Context(), []byte("x"), client.ImportOptions{ContentType: "text/csv"})
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Code != "validation_failed" || p.Status != 422 || p.RequestID != "r1" || len(p.Errors) != 1 || n.Load() != 1 {
		t.Fatalf("%d requests, error %#v", n.Load(), err)
	}
	for _, said := range []string{"Détail", "Faites ceci.", "territory", "69627", "Vouliez-vous dire 69267 ?"} {
		if !strings.Contains(err.Error(), said) {
			t.Errorf("%q is not said in %q", said, err)
		}
	}
}

func TestAPageThatIsNotOursIsQuoted(t *testing.T) {
	c := serviceThat(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<html>proxy says no</html>")
	})
	_, err := c.Call(t.Context(), client.Request{Path: "/v1/me"}, nil)
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 403 || !strings.Contains(err.Error(), "proxy says no") {
		t.Error(err)
	}
}

func TestNoRedirectIsFollowedWithTheKey(t *testing.T) {
	var seen atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Store(true) }))
	defer other.Close()
	c := serviceThat(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	if _, err := c.Call(t.Context(), client.Request{Path: "/v1/me"}, nil); err == nil || seen.Load() {
		t.Errorf("error %v, followed %v", err, seen.Load())
	}
}

func TestPagesOfAnotherHostAreNotAsked(t *testing.T) {
	var other atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { other.Store(true) }))
	defer elsewhere.Close()
	c := serviceThat(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			fmt.Fprintf(w, `{"data":[{"id":"a"}],"links":{"next":%q}}`, elsewhere.URL+"/v1/observations?cursor=2")
			return
		}
		fmt.Fprint(w, `{"data":[{"id":"b"}],"links":{"next":null}}`)
	})
	var ids []string
	for o, err := range c.Observations(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, o.ID)
	}
	if !slices.Equal(ids, []string{"a", "b"}) || other.Load() {
		t.Errorf("ids %v, other host asked: %v", ids, other.Load())
	}
}

func TestImportsAreCompressedAndFollowed(t *testing.T) {
	var polls atomic.Int32
	c := serviceThat(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			if text, _ := io.ReadAll(z); string(text) != "a;b\n" {
				t.Errorf("body %q", text)
			}
			if q := r.URL.Query(); q.Get("mode") != "replace" || !slices.Equal(q["scope"], []string{"indicator:x", "period:2025"}) || q.Has("mapping") {
				t.Errorf("query %v", q)
			}
			if prefer := r.Header.Get("Prefer"); prefer != "wait=5" {
				t.Errorf("Prefer: %q", prefer)
			}
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"id":"i1","state":"queued"}`)
		case polls.Add(1) < 3:
			w.Header().Set("Retry-After", "0")
			fmt.Fprint(w, `{"id":"i1","state":"running","progress":{"rows_done":5,"rows_total":null,"rate":null,"ends_at":null}}`)
		default:
			fmt.Fprint(w, `{"id":"i1","state":"completed","outcome":"succeeded","counts":{"received":9,"created":9}}`)
		}
	})
	i, err := c.CreateImport(t.Context(), []byte("a;b\n"), client.ImportOptions{ContentType: "text/csv", Mode: "replace", Wait: 5 * time.Second, Scope: []string{"indicator:x", "period:2025"}})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	i, err = c.AwaitImport(t.Context(), i, func(i *client.Import) { states = append(states, i.State) })
	if err != nil || i.Counts.Created != 9 || !slices.Equal(states, []string{"queued", "running", "running", "completed"}) {
		t.Errorf("%+v %v, states %v", i, err, states)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.AwaitImport(ctx, &client.Import{ID: "i1", State: "running"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting goes on: %v", err)
	}
}

func TestChangesWaitOnceCaughtUp(t *testing.T) {
	var waits, cursors []string
	c := serviceThat(t, func(w http.ResponseWriter, r *http.Request) {
		waits, cursors = append(waits, r.URL.Query().Get("wait")), append(cursors, r.URL.Query().Get("cursor"))
		if len(waits) == 4 {
			refuse(w, http.StatusGone, "cursor_expired")
			return
		}
		fmt.Fprintf(w, `{"data":[{"id":"o%d","type":"observation"}],"next_cursor":"c%d","caught_up":%v}`, len(waits), len(waits), len(waits) == 2)
	})
	var last error
	for page, err := range c.Changes(t.Context(), "", nil) {
		if err != nil {
			last = err
			break
		}
		if len(page.Data) != 1 {
			t.Errorf("page %+v", page)
		}
	}
	if p, ok := errors.AsType[*client.Problem](last); !ok || p.Code != "cursor_expired" {
		t.Error(last)
	}
	if !slices.Equal(waits, []string{"0", "0", "20", "0"}) || !slices.Equal(cursors, []string{"", "c1", "c2", "c3"}) {
		t.Errorf("waits %v, cursors %v", waits, cursors)
	}
}

func TestTokensAreFetchedOnceAndRefusalsTold(t *testing.T) {
	var tokens atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/token" {
			if r.Header.Get("Authorization") != "Bearer t1" {
				t.Errorf("Authorization %q", r.Header.Get("Authorization"))
			}
			fmt.Fprint(w, `{}`)
			return
		}
		tokens.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if _, secret, _ := r.BasicAuth(); secret != "good" {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": "Unknown."})
			return
		}
		fmt.Fprint(w, `{"access_token":"t1","token_type":"Bearer","expires_in":900}`)
	}))
	defer s.Close()
	for secret, good := range map[string]bool{"good": true, "bad": false} {
		tokens.Store(0)
		c, err := client.New(t.Context(), client.Config{URL: s.URL, ClientID: "id", ClientSecret: secret})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err = c.Call(t.Context(), client.Request{Path: "/v1/me"}, nil)
			if p, refused := errors.AsType[*client.Problem](err); refused == good || refused && p.Code != "invalid_client" {
				t.Errorf("secret %q: %v", secret, err)
			}
		}
		if n := tokens.Load(); good && n != 1 {
			t.Errorf("%d tokens were asked for", n)
		}
	}
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	for _, c := range []client.Config{
		{},
		{URL: "impact.example"},
		{URL: "ftp://impact.example"},
		{URL: "https://user@impact.example"},
		{URL: "https://impact.example?x=1"},
		{URL: "https://impact.example", ClientID: "id"},
		{URL: "https://impact.example", ClientSecret: "s"},
		{URL: "https://impact.example", ClientID: "id", ClientSecret: "s", APIKey: "k"},
	} {
		if _, err := client.New(t.Context(), c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

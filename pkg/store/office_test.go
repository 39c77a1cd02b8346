package store_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
	"github.com/grandlyon/retombees/pkg/webhook"
)

// hand is a clock that moves when it is told to.
type hand struct {
	mu sync.Mutex
	at time.Time
}

func (h *hand) now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.at }

func (h *hand) pass(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.at = h.at.Add(d) }

// office is a store whose clock the test holds, and what is needed to tell
// webhooks from it.
type office struct {
	*store.Store
	t     *testing.T
	clock *hand
	vault *auth.Vault
}

func offices(t *testing.T, test func(t *testing.T, o *office)) {
	t.Helper()
	for name, url := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") },
		"postgres": func(t *testing.T) string { return pgtest.DSN(t) },
	} {
		t.Run(name, func(t *testing.T) {
			at := url(t)
			openLoaded(t, at)
			clock := &hand{at: time.Now().Truncate(time.Millisecond)}
			s, err := store.Open(context.Background(), at, store.Options{Now: clock.now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			vault, err := auth.NewVault([]byte(strings.Repeat("k", 32)))
			if err != nil {
				t.Fatal(err)
			}
			test(t, &office{s, t, clock, vault})
		})
	}
}

// subscribe makes a webhook of p, with its secret.
func (o *office) subscribe(p impact.Principal, url string, types ...impact.EventType) (impact.Webhook, string) {
	o.t.Helper()
	secret, id := auth.NewSigningSecret(), impact.WebhookID(uuid.NewString())
	if len(types) == 0 {
		types = slices.DeleteFunc(impact.EventTypes(), func(t impact.EventType) bool { return !p.Hears(t) })
	}
	w, err := o.CreateWebhook(context.Background(), p, impact.Webhook{ID: id, URL: url, Types: types, Secrets: []impact.WebhookSecret{{Sealed: o.vault.Seal(secret, string(id))}}})
	if err != nil {
		o.t.Fatal(err)
	}
	return w, secret
}

// dispatcher is one of a process, over its own view of the store.
func (o *office) dispatcher(holder string, s webhook.Store) *webhook.Dispatcher {
	d := webhook.NewDispatcher(webhook.Config{
		Store: s, Vault: o.vault, Guard: webhook.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, nil),
		Writer: &webhook.Writer{Base: "https://retombees.example", Cursor: func(_ *impact.Webhook, at impact.ChangePosition) string {
			return fmt.Sprintf("%d.%d.%s", at.Seq, at.Tx, at.Type)
		}},
		Log: slog.New(slog.DiscardHandler), Now: o.clock.now, Holder: holder, UserAgent: "test", Roots: roots(),
	})
	o.t.Cleanup(d.Wait)
	return d
}

// drain lets a dispatcher work until nothing is due.
func (o *office) drain(d *webhook.Dispatcher) {
	o.t.Helper()
	for {
		if err := d.Turn(o.t.Context()); err != nil {
			o.t.Fatal(err)
		}
		d.Wait()
		due, err := o.DueDeliveries(o.t.Context(), 1)
		if err != nil {
			o.t.Fatal(err)
		}
		if len(due) == 0 {
			return
		}
	}
}

func (o *office) webhook(p impact.Principal, id impact.WebhookID) impact.Webhook {
	o.t.Helper()
	w, err := o.Webhook(o.t.Context(), p, id)
	if err != nil {
		o.t.Fatal(err)
	}
	return w
}

func (o *office) deliveries(p impact.Principal, id impact.WebhookID) []impact.Delivery {
	o.t.Helper()
	list, _, err := o.Deliveries(o.t.Context(), p, id, "", impact.Page{Limit: 10_000})
	if err != nil {
		o.t.Fatal(err)
	}
	return list
}

// event is what a receiver reads of a body.
type event struct {
	ID, Type, Source, Subject, Time, SpecVersion, DataContentType string
	Data                                                          struct {
		Organisation, Submission, Webhook, Reason, Cursor string
		Count, Created, Updated, Deleted                  int
		Links                                             map[string]string
	}
}

// receiver is the server of a subscriber, over TLS on a loopback address.
type receiver struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	answer http.HandlerFunc
	heard  []event
	secret string // when set, every signature is verified
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

// roots trust the one certificate of all receivers.
var roots = sync.OnceValue(func() *x509.CertPool {
	any := httptest.NewTLSServer(nil)
	defer any.Close()
	pool := x509.NewCertPool()
	pool.AddCert(any.Certificate())
	return pool
})

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var e event
	if err = errors.Join(err, json.Unmarshal(body, &e)); err != nil {
		r.t.Errorf("%v: %s", err, body)
	}
	r.mu.Lock()
	r.heard = append(r.heard, e)
	answer, secret := r.answer, r.secret
	r.mu.Unlock()
	if e.ID != req.Header.Get("Webhook-Id") || e.SpecVersion != "1.0" || e.Source != "https://retombees.example/v1" || e.DataContentType != "application/json" || len(body) > webhook.MaxBody {
		r.t.Errorf("%s", body)
	}
	if _, err := time.Parse(time.RFC3339, e.Time); err != nil {
		r.t.Error(err)
	}
	if secret != "" {
		v, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			err = v.VerifyIgnoringTimestamp(body, req.Header)
		}
		if err != nil {
			r.t.Error(err)
		}
	}
	if answer != nil {
		answer(w, req)
	}
}

func (r *receiver) answers(h http.HandlerFunc) { r.mu.Lock(); defer r.mu.Unlock(); r.answer = h }

func (r *receiver) all() []event { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.heard) }

func (r *receiver) forget() { r.mu.Lock(); defer r.mu.Unlock(); r.heard = nil }

func answering(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// told says what a receiver heard of: the last words of the types.
func (r *receiver) told() []string {
	var list []string
	for _, e := range r.all() {
		list = append(list, strings.TrimPrefix(e.Type, "fr.grandlyon.retombees."))
	}
	slices.Sort(list)
	return list
}

func (o *office) drainOnce(d *webhook.Dispatcher) {
	o.t.Helper()
	if err := d.Turn(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	d.Wait()
}

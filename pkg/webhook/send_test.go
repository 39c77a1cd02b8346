package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

func now() time.Time { return time.Now() }

func delivery(id string) *impact.Delivery {
	return &impact.Delivery{ID: id, Webhook: "w", Type: impact.TestEvent, Body: []byte(`{"specversion":"1.0"}`)}
}

// receiver is what somebody else runs: a server that speaks TLS on a loopback
// address.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	heard  []heard
}

type heard struct {
	header http.Header
	body   []byte
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.heard = append(r.heard, heard{req.Header.Clone(), body})
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
	}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answers(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = h
}

func (r *receiver) all() []heard {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]heard(nil), r.heard...)
}

func (r *receiver) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	return pool
}

func (r *receiver) port() string {
	u, _ := url.Parse(r.URL)
	return u.Port()
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// The signature is checked by the verifier that Standard Webhooks publishes,
// which shares no line with ours.
func TestSignaturesAreStandard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) string {
			return secretPrefix + "c2VjcmV0IG9mIG9uZSB3ZWJob29rIA" + strings.Repeat("A", 4*rapid.IntRange(0, 3).Draw(t, name)) + "=="
		}
		secrets := []string{draw("current"), draw("former")}
		body := []byte(rapid.String().Draw(t, "body"))
		id := "evt_" + rapid.StringMatching(`[a-z2-7]{26}`).Draw(t, "id")
		at := time.Now()
		signature, err := sign(secrets, id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		h.Set("webhook-id", id)
		h.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
		h.Set("webhook-signature", signature)
		for _, s := range secrets {
			v, err := standardwebhooks.NewWebhook(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Verify(body, h); err != nil {
				t.Fatal(err)
			}
			if v.Verify(append(body, 'x'), h) == nil {
				t.Fatal("another body bears the same signature")
			}
		}
		other, err := standardwebhooks.NewWebhook(secretPrefix + "YW5vdGhlcg==")
		if err != nil {
			t.Fatal(err)
		}
		if other.Verify(body, h) == nil {
			t.Fatal("another secret verifies it")
		}
	})
}

func TestWhatAReceiverGets(t *testing.T) {
	r := newReceiver(t)
	s := newSender(NewGuard(loopbacks, nil), nil, r.roots(), "Retombees/1 (+https://x.example)", now)
	secret := secretPrefix + "c2VjcmV0"
	got, err := s.send(t.Context(), r.URL+"/hook?a=b", []string{secret}, delivery("evt_1"))
	if err != nil || got.attempt.Failure != "" || got.attempt.Status != 200 || got.attempt.At.IsZero() {
		t.Fatalf("%+v %v", got, err)
	}
	all := r.all()
	if len(all) != 1 {
		t.Fatalf("%d requests", len(all))
	}
	h := all[0].header
	if h.Get("Content-Type") != ContentType || h.Get("Webhook-Id") != "evt_1" || h.Get("User-Agent") != "Retombees/1 (+https://x.example)" || h.Get("Authorization") != "" {
		t.Errorf("%v", h)
	}
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(all[0].body, h); err != nil {
		t.Error(err)
	}
}

func TestWhatAnAttemptTells(t *testing.T) {
	r := newReceiver(t)
	elsewhere := newReceiver(t)
	guard := NewGuard(loopbacks, nil)
	s := newSender(guard, nil, r.roots(), "test", now)
	send := func(t *testing.T, url string) answered {
		t.Helper()
		got, err := s.send(t.Context(), url, []string{secretPrefix + "AAAA"}, delivery("evt_1"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		failure impact.AttemptFailure
		status  int
	}{
		{"taken", status(204), "", 204},
		{"taken for later", status(202), "", 202},
		{"wrong", status(400), impact.FailedStatus, 400},
		{"ill", status(503), impact.FailedStatus, 503},
		{"gone", status(410), impact.FailedStatus, 410},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, impact.FailedAnswer, 0},
		{"moved", func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, elsewhere.URL, http.StatusTemporaryRedirect)
		}, impact.FailedRedirect, 307},
		{"moved inside", func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://169.254.169.254/latest/", http.StatusFound)
		}, impact.FailedRedirect, 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.answers(c.answer)
			if got := send(t, r.URL).attempt; got.Failure != c.failure || got.Status != c.status {
				t.Errorf("%+v", got)
			}
		})
	}
	if n := len(elsewhere.all()); n != 0 {
		t.Errorf("a redirection was followed %d times", n)
	}
	t.Run("an endless answer is not read to its end", func(t *testing.T) {
		ended := make(chan int, 1)
		r.answers(func(w http.ResponseWriter, q *http.Request) {
			n := 0
			for q.Context().Err() == nil {
				m, err := w.Write([]byte(strings.Repeat("x", 1024)))
				if n += m; err != nil {
					break
				}
			}
			ended <- n
		})
		got := send(t, r.URL)
		if got.attempt.Failure != "" || len(got.excerpt) != impact.ExcerptKept {
			t.Errorf("%+v, %d bytes kept", got.attempt, len(got.excerpt))
		}
		<-ended // the connection was closed on it
	})
	t.Run("a certificate of nobody", func(t *testing.T) {
		distrustful := newSender(guard, nil, x509.NewCertPool(), "test", now)
		got, err := distrustful.send(t.Context(), r.URL, []string{secretPrefix + "AAAA"}, delivery("evt_1"))
		if err != nil || got.attempt.Failure != impact.FailedTLS {
			t.Errorf("%+v %v", got, err)
		}
	})
	t.Run("TLS of old", func(t *testing.T) {
		old := httptest.NewUnstartedServer(status(200))
		old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // that it is refused is the point
		old.Config.ErrorLog = log.New(io.Discard, "", 0)
		old.StartTLS()
		defer old.Close()
		if got := send(t, old.URL).attempt; got.Failure != impact.FailedTLS {
			t.Errorf("%+v", got)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		closed := newReceiver(t)
		closed.Close()
		if got := send(t, closed.URL).attempt; got.Failure != impact.FailedConnection {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a name nobody knows", func(t *testing.T) {
		lost := newSender(guard, newNameServer(t, nil), nil, "test", now)
		got, err := lost.send(t.Context(), "https://nobody.example.org/", []string{secretPrefix + "AAAA"}, delivery("evt_1"))
		if err != nil || got.attempt.Failure != impact.FailedName {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestProxiesOfTheEnvironmentAreNotAsked(t *testing.T) {
	proxy := newReceiver(t)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("HTTP_PROXY", proxy.URL)
	r := newReceiver(t)
	s := newSender(NewGuard(loopbacks, nil), nil, r.roots(), "test", now)
	if s.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy may be asked")
	}
	if got, err := s.send(t.Context(), r.URL, []string{secretPrefix + "AAAA"}, delivery("evt_1")); err != nil || got.attempt.Failure != "" {
		t.Errorf("%+v %v", got, err)
	}
	if n := len(proxy.all()); n != 0 {
		t.Errorf("the proxy heard %d requests", n)
	}
}

func TestPauses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, len(retries)).Draw(t, "failures")
		asked := time.Duration(rapid.Int64Range(0, int64(72*time.Hour)).Draw(t, "asked"))
		got, again := pause(n, asked)
		low, high := retries[n-1]*9/10, retries[n-1]*11/10
		switch {
		case !again:
			t.Fatal("given up too early")
		case got < low, got < min(asked, 24*time.Hour):
			t.Fatalf("%s after %d failures, %s asked", got, n, asked)
		case got > high && got > min(asked, 24*time.Hour):
			t.Fatalf("%s after %d failures, %s asked", got, n, asked)
		}
	})
	if _, again := pause(len(retries)+1, 0); again {
		t.Error("there is an attempt after the last")
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, " 7 ": 7 * time.Second, "-5": 0, "soon": 0, "1e9": 0, "99999999999999999999": 0,
		"Wed, 25 Nov 2026 12:10:00 GMT": 10 * time.Minute, "Wed, 25 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, at); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestExcerptsAreForPeople(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got := excerpt(rapid.SliceOf(rapid.Byte()).Draw(t, "answer"))
		if len(got) > impact.ExcerptKept || strings.ToValidUTF8(got, "") != got || strings.ContainsAny(got, "\x00\x1b\x7f") {
			t.Fatalf("%q", got)
		}
	})
	if got := excerpt([]byte(strings.Repeat("é", 600))); len(got) != 1000 {
		t.Errorf("%d bytes", len(got))
	}
}

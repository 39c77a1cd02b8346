package api_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// limited serves the same world under other rates, with a clock that stands
// still until it is moved.
func (w *world) limited(t testing.TB, r api.Rates, proxies ...string) (at func(*caller) *caller, wait func(time.Duration)) {
	t.Helper()
	var later atomic.Int64
	began := now()
	c := w.config
	c.Rates, c.Now = r, func() time.Time { return began.Add(time.Duration(later.Load())) }
	for _, p := range proxies {
		c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
	}
	handler, err := api.New(c)
	must(t, err)
	second := *w
	second.config, second.server = c, httptest.NewServer(handler)
	t.Cleanup(second.server.Close)
	return func(x *caller) *caller { return &caller{w: &second, id: x.id, secret: x.secret, token: x.token} },
		func(d time.Duration) { later.Add(int64(d)) }
}

func from(addresses ...string) header {
	return header{"X-Forwarded-For", strings.Join(addresses, ", ")}
}

func TestWhoAsksTooMuchIsToldWhenToComeBack(t *testing.T) {
	w := embedded(t)
	at, wait := w.limited(t, api.Rates{Anonymous: 6, Client: 12})
	x := at(w.anonymous)
	for i := range 6 {
		a := x.get(t, "/v1/status")
		if a.status != 200 || a.header.Get("RateLimit-Policy") != `"anon";q=6;w=60` || a.header.Get("RateLimit") != fmt.Sprintf(`"anon";r=%d;t=%d`, 5-i, 10*(i+1)) {
			t.Fatalf("request %d: %d %v", i, a.status, a.header)
		}
	}
	a := x.get(t, "/v1/status")
	refused(t, a, 429, "quota_exceeded")
	if a.header.Get("Retry-After") != "10" || a.header.Get("RateLimit") != `"anon";r=0;t=60` || a.at(t, "/hint") == nil {
		t.Errorf("%v %s", a.header, a.body)
	}
	// What is refused is not counted: coming back when told is enough.
	wait(10 * time.Second)
	if a := x.get(t, "/v1/status"); a.status != 200 {
		t.Errorf("after Retry-After: %d", a.status)
	}
	refused(t, x.get(t, "/v1/status"), 429, "quota_exceeded")
	// Reference data is counted apart, five times as much; clients by themselves.
	if a := x.get(t, "/v1/code-lists"); a.status != 200 || a.header.Get("RateLimit") != `"anon-reference";r=29;t=2` {
		t.Errorf("reference: %d %v", a.status, a.header)
	}
	if a := at(w.organisation).get(t, "/v1/me"); a.status != 200 || a.header.Get("RateLimit") != `"client";r=11;t=5` {
		t.Errorf("a client: %d %v", a.status, a.header)
	}
	if a := at(w.other).get(t, "/v1/code-lists"); a.header.Get("RateLimit") != `"client-reference";r=59;t=1` {
		t.Errorf("a client, reference: %v", a.header)
	}
	// Another token of the same client shares its quota.
	narrow, _, err := w.issuer.Issue(impact.Client{ID: w.organisation.id, Role: impact.RoleOrganisation, Organisation: w.atelier.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}, []impact.Scope{impact.OrganisationsRead})
	must(t, err)
	if a := at(w.anonymous.with(narrow)).get(t, "/v1/me"); a.header.Get("RateLimit") != `"client";r=10;t=10` {
		t.Errorf("another token: %v", a.header)
	}
	// Refusals count too, wherever they come from.
	refused(t, x.get(t, "/v1/me"), 429, "quota_exceeded")
	nowhere, _ := x.request(t, http.MethodGet, "/v1/nowhere", nil) // no operation of the contract
	refused(t, x.w.send(t, nowhere), 429, "quota_exceeded")
	refused(t, x.with("not a token").get(t, "/v1/me"), 429, "quota_exceeded")
}

func TestWhatIsNeverCounted(t *testing.T) {
	w := embedded(t)
	at, _ := w.limited(t, api.Rates{Anonymous: 1, Client: 1, Concurrent: 2})
	x := at(w.anonymous)
	for range 5 {
		for _, path := range []string{"/livez", "/readyz", "/version", "/v1/openapi.json", "/openapi.yaml", "/docs", "/docs/page.css"} {
			if a := x.get(t, path); a.status != 200 || a.header.Get("RateLimit") != "" {
				t.Errorf("%s: %d %v", path, a.status, a.header)
			}
		}
		for _, method := range []string{http.MethodHead, http.MethodOptions} {
			if a := x.do(t, method, "/v1/status", nil); a.status >= 300 || a.header.Get("RateLimit") != "" {
				t.Errorf("%s: %d %v", method, a.status, a.header)
			}
		}
	}
	// A 304 gives back what it took: all five reference reads are still there.
	tag := x.get(t, "/v1/code-lists").header.Get("ETag")
	for range 20 {
		if a := x.get(t, "/v1/code-lists", header{"If-None-Match", tag}); a.status != 304 || a.header.Get("RateLimit") != `"anon-reference";r=4;t=12` {
			t.Fatalf("%d %v", a.status, a.header)
		}
	}
}

// Nobody gets a quota of its own by saying that it is somebody else.
func TestAddressesAreBelievedFromTrustedProxiesOnly(t *testing.T) {
	w := embedded(t)
	at, _ := w.limited(t, api.Rates{Anonymous: 1})
	x := at(w.anonymous)
	x.get(t, "/v1/status", from("198.51.100.1"))
	refused(t, x.get(t, "/v1/status", from("198.51.100.2")), 429, "quota_exceeded")
	if n := strings.Count(w.log.String(), "--trusted-proxies"); n != 1 {
		t.Errorf("the operator is told %d times of a proxy that is not trusted", n)
	}

	at, _ = w.limited(t, api.Rates{Anonymous: 1}, "127.0.0.0/8", "10.0.0.0/8")
	x = at(w.anonymous)
	pass := func(why string, h ...header) {
		t.Helper()
		if a := x.get(t, "/v1/status", h...); a.status != 200 {
			t.Errorf("%s: %d %s", why, a.status, a.body)
		}
	}
	stop := func(why string, h ...header) {
		t.Helper()
		if a := x.get(t, "/v1/status", h...); a.status != 429 {
			t.Errorf("%s: %d", why, a.status)
		}
	}
	pass("the caller", from("198.51.100.1"))
	stop("again", from("198.51.100.1"))
	stop("a spoofed address before its own", from("203.0.113.9", "198.51.100.1"))
	stop("a spoofed trusted address before its own", from("10.1.1.1", "198.51.100.1"))
	stop("through two of our proxies", from("203.0.113.9", "198.51.100.1", "10.2.3.4"))
	stop("with a port", from("198.51.100.1:4711"))
	stop("as IPv6", from("::ffff:198.51.100.1"))
	pass("another caller", from("198.51.100.2"))
	pass("a subscriber", from("2001:db8:1:2::1"))
	stop("another address of its /64", from("[2001:db8:1:2:ffff::9]:443"))
	pass("another subscriber", from("2001:db8:1:3::1"))
	pass("who says nothing is the proxy", from(""))
	stop("what cannot be read is the proxy", from("198.51.100.77", "unknown"))
	if !strings.Contains(w.log.String(), `"remote":"2001:db8:1:2::1"`) {
		t.Error("the log does not name the caller")
	}
}

func TestLimitsAreShown(t *testing.T) {
	w := embedded(t)
	at, _ := w.limited(t, api.DefaultRates)
	for path, x := range map[string]*caller{"/v1": w.anonymous, "/v1/me": w.organisation} {
		a := at(x).get(t, path)
		for pointer, want := range map[string]string{
			"anonymous_requests_per_minute": "600", "client_requests_per_minute": "3000", "anonymous_reference_requests_per_minute": "3000",
			"client_reference_requests_per_minute": "15000", "concurrent_costly_requests": "20",
		} {
			if got := fmt.Sprint(a.at(t, "/limits/"+pointer)); got != want {
				t.Errorf("%s of %s is %s, want %s", pointer, path, got, want)
			}
		}
	}
}

// A caller's costly answers are prepared a few at once: the others wait, then
// are refused; neither another caller nor a probe waits with them.
func TestCostlyAnswersWaitForEachOther(t *testing.T) {
	w := embedded(t)
	const most = 2
	slow := make(chan struct{})
	var running, peak atomic.Int64
	w.config.Figures = heldFigures{w.config.Figures, func() {
		n := running.Add(1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		<-slow
		running.Add(-1)
	}}
	at, _ := w.limited(t, api.Rates{Concurrent: most})
	x := at(w.organisation)
	path := "/v1/aggregates?organisation=" + string(w.atelier.ID) + figures
	statuses := make(chan int, 100)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() { statuses <- x.get(t, path).status })
	}
	// 2 run and 8 wait: the other twenty are refused at once.
	for range 20 {
		if s := <-statuses; s != 503 {
			t.Errorf("status %d, want 503", s)
		}
	}
	refused(t, x.get(t, path), 503, "reduced_capacity")
	if a := x.get(t, path); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if a := at(w.anonymous).get(t, "/readyz"); a.status != 200 {
		t.Errorf("a probe: %d", a.status)
	}
	if a := at(w.anonymous).get(t, "/v1/openapi.json"); a.status != 200 {
		t.Errorf("another caller: %d", a.status)
	}
	close(slow)
	wg.Wait()
	close(statuses)
	for s := range statuses {
		if s != 200 {
			t.Errorf("status %d of one that waited, want 200", s)
		}
	}
	if peak.Load() != most {
		t.Errorf("%d at once, want %d", peak.Load(), most)
	}
}

// Files that arrive slowly are few at once: each has its room on the disk.
func TestFilesArriveFewAtOnce(t *testing.T) {
	w := embedded(t)
	at, _ := w.limited(t, api.Rates{Concurrent: 1})
	x := at(w.organisation)
	statuses := make(chan int, 20)
	for i := range 20 {
		conn, err := net.Dial("tcp", x.w.server.Listener.Addr().String())
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: slow-%d\r\nContent-Type: text/csv\r\nContent-Length: 1000000\r\n\r\nindicator", x.token, i)
		must(t, err)
		go func() {
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				resp.Body.Close()
				statuses <- resp.StatusCode
			}
		}()
	}
	// One arrives and four wait: the others are refused at once.
	for range 15 {
		if s := <-statuses; s != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", s)
		}
	}
}

// heldFigures are the real figures, once hold returns.
type heldFigures struct {
	api.FigureSource
	hold func()
}

func (f heldFigures) Figures(q calculation.Query) (*calculation.Result, error) {
	f.hold()
	return f.FigureSource.Figures(q)
}

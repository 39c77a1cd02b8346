package api_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/quick"
)

// counting tells how many answers were quick.
type counting struct {
	quick.Handler
	n atomic.Int64
}

func (c *counting) ServeKept(w http.ResponseWriter, r *http.Request) bool {
	ok := c.Handler.ServeKept(w, r)
	if ok {
		c.n.Add(1)
	}
	return ok
}

// twin is one of several servers of the same world, which differ in how they
// send what they have ready. Their quotas and logs are their own, their clock
// stands still unless moved.
type twin struct {
	name    string
	address string
	log     *logBook
	quick   *counting
	server  *httptest.Server
}

func (p *publisher) twins(t testing.TB, clock *atomic.Int64) []*twin {
	t.Helper()
	var out []*twin
	for _, name := range []string{"quick", "kept", "computed"} {
		x := &twin{name: name, log: &logBook{}}
		c := p.config
		c.Log = slog.New(slog.NewTextHandler(x.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		c.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
		c.NewID = func() string { return "made-here" }
		c.Rates = api.Rates{Anonymous: 30, Client: 60, Refused: 1000, Concurrent: 1000}
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
		if name == "computed" {
			c.AnswerCache = 0
		}
		h, err := api.New(c)
		must(t, err)
		x.server = httptest.NewUnstartedServer(h)
		s := x.server.Config
		s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout, s.MaxHeaderBytes = 250*time.Millisecond, 250*time.Millisecond, 5*time.Second, 5*time.Second, 32<<10
		s.ErrorLog = log.New(io.Discard, "", 0)
		if name == "quick" {
			x.quick = &counting{Handler: h.(quick.Handler)}
			x.server.Listener = &quick.Listener{Listener: x.server.Listener, Handler: x.quick, Now: now, Idle: s.IdleTimeout, Write: s.WriteTimeout}
		}
		x.server.Start()
		t.Cleanup(x.server.Close)
		x.address = x.server.Listener.Addr().String()
		out = append(out, x)
	}
	return out
}

// settling is the time net/http needs to see that its answer is out: what comes
// sooner it reads byte by byte, and the connection is quick no more.
const settling = time.Millisecond

const farewell = "GET /v1/nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// raw sends plain requests one after the other, then bytes in pieces, then the
// farewell, and gives all that came back. Whether a request is a HEAD is told by
// its first bytes.
func (x *twin) raw(t testing.TB, plain []string, pieces ...string) []byte {
	t.Helper()
	c, err := net.Dial("tcp", x.address)
	must(t, err)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var out bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &out))
	for _, s := range plain {
		time.Sleep(settling)
		_, err := io.WriteString(c, s)
		must(t, err)
		method, _, _ := strings.Cut(s, " ")
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %q is answered by %v", x.name, s, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || in.Buffered() > 0 {
			t.Fatalf("%s: %q is answered by too few or too many bytes: %v", x.name, s, err)
		}
		if resp.Close {
			return out.Bytes()
		}
	}
	for i, s := range append(pieces, farewell) {
		if i > 0 {
			time.Sleep(2 * time.Millisecond)
		}
		if _, err := io.WriteString(c, s); err != nil {
			break // closed after an answer that is still to be read
		}
	}
	_, _ = io.Copy(io.Discard, in)
	return out.Bytes()
}

var (
	heads      = regexp.MustCompile(`(?s)HTTP/1\.[01] \d{3} .*?\r\n\r\n`)
	statusLine = regexp.MustCompile(`HTTP/1\.[01] \d{3}`)
	dates      = regexp.MustCompile(`\r\nDate: [^\r]+`)
)

// even forgets the order of headers and the time.
func even(b []byte) string {
	return string(heads.ReplaceAllFunc(b, func(head []byte) []byte {
		if n := len(dates.FindAll(head, -1)); n > 1 {
			return fmt.Appendf(nil, "%d dates in %s", n, head)
		}
		lines := strings.Split(string(dates.ReplaceAll(head, nil)), "\r\n")
		slices.Sort(lines[1:])
		return []byte(strings.Join(lines, "\r\n"))
	}))
}

// requests are made at random of what may be understood in two ways.
type requests struct {
	*rand.Rand
	tags []string
}

func (r requests) of(s ...string) string { return s[r.IntN(len(s))] }

func (r requests) often(percent int) bool { return r.IntN(100) < percent }

// plain is a request in good form.
func (r requests) plain() string {
	h := ""
	add := func(percent int, name string, values ...string) {
		if r.often(percent) {
			h += r.of(name, strings.ToLower(name), strings.ToUpper(name)) + ":" + r.of(" ", "", "  ", "\t") + r.of(values...) + r.of("", "", " ", "\t ") + "\r\n"
		}
	}
	add(50, "Accept", "*/*", "text/csv", "application/json", "text/csv;q=0.5, application/json;q=0.4", "application/json;q=0", "text/html", "", "x", "application/geo+json, */*;q=0.1", "text/csv;q=2", ",,")
	add(5, "Accept", "text/csv")
	add(40, "Accept-Language", "en", "fr", "fr;q=0.1, en;q=0.2", "de", "en;q=0, fr;q=0", "*", "EN-gb", "en;q=x")
	add(5, "Accept-Language", "en")
	add(50, "Accept-Encoding", "gzip", "zstd", "gzip, zstd", "gzip;q=0.5, zstd;q=0.4", "gzip;q=0, zstd;q=0", "identity", "br", "*", "*;q=0", "identity;q=0", "x-gzip", "GZIP", "gzip;q=1.5", "")
	add(5, "Accept-Encoding", "zstd")
	add(40, "If-None-Match", append([]string{"*", "*", "*", "*", "*", "*", "*", " * ", `"x"`, `W/"x", "y"`, "", "x", `"`, ","}, r.tags...)...)
	add(10, "If-None-Match", r.tags...)
	add(15, "If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 31 Dec 2100 00:00:00 GMT", "x")
	add(70, "X-Forwarded-For", "192.0.2.1", "192.0.2.2", "192.0.2.3, 10.0.0.1", "192.0.2.9, 192.0.2.4", "10.0.0.1, 10.0.0.2", "2001:db8::1", "[2001:db8::2]:80", "unknown", "", "x, 192.0.2.5", "192.0.2.6:1234", "192.0.2.7,", strings.Repeat("10.0.0.1,", 20)+"192.0.2.8")
	add(20, "X-Forwarded-For", "192.0.2.11", "10.0.0.1", "y")
	add(30, "X-Request-Id", "mine", "a b", strings.Repeat("a", 65), "x\u00e9", "")
	add(10, "X-Request-Id", "other")
	add(10, "Connection", "keep-alive", "Keep-Alive")
	add(20, "Origin", "https://elsewhere.example", "null")
	add(20, "User-Agent", "curl/8", "x\u00e9", strings.Repeat("a", 300))
	add(10, "Cookie", "a=b; c=d")
	add(10, "Cache-Control", "no-cache", "only-if-cached")
	add(5, "Prefer", "return=minimal")
	add(5, "Consistency-Token", "x")
	add(5, "X-Http-Method-Override", "DELETE")
	add(5, "Forwarded", "for=192.0.2.60")
	add(5, "X-Real-Ip", "192.0.2.60")
	add(5, strings.Repeat("Long", 9), "x")
	return r.of("GET", "GET", "GET", "HEAD") + " " + r.target() + " HTTP/1.1\r\nHost: " + r.of("a", "a.example:80", "[::1]:80", "A", "a_b") + "\r\n" + h + "\r\n"
}

func (r requests) target() string {
	csv := strings.Replace(both2025, "aggregates?", "aggregates.csv?", 1)
	return r.of(both2025, both2025, both2025, csv, csv, both2025+"&release=1", both2025+"&release=2", both2025+"&release=latest", both2025+"&release=9", both2025+"&limit=1", both2025+"&x=1",
		communes2025, strings.Replace(communes2025, "=2025", "=%32025", 1), "/v1/aggregates/availability?indicator=insertion_hours", "/v1/nowhere", "/v1", "/livez", "/")
}

// odd is a request in some other form.
func (r requests) odd() string {
	s := r.plain()
	line := func(h string) string { return strings.Replace(s, "\r\n\r\n", "\r\n"+h+"\r\n\r\n", 1) }
	target := func(u string) string {
		f := strings.SplitN(s, " ", 3)
		return f[0] + " " + u + " " + f[2]
	}
	switch r.IntN(12) {
	case 0:
		s = line(r.of("Content-Length: 0", "Content-Length: 5", "content-length:+5", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5, 5", "Content-Length : 5", " Content-Length: 5", "Content_Length: 5", "Content-Length:", "Content-Length: 0x5")) + r.of("", "hello", "hello", "GET /")
	case 1:
		s = line(r.of("Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3", "Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding:\tchunked", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "X: x\nTransfer-Encoding: chunked")) + r.of("", "0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "5;x=\"\n\"\r\nhello\r\n0\r\n\r\n")
	case 2:
		s = line(r.of("Host: b", "Host: a", "host:", "Host : b", " Host: b", "X-Host: b", "X: 1\r\n Host: b", "X: 1\n Host: b", "X: 1\nHost: b", "X: 1\rHost: b"))
	case 3:
		s = regexp.MustCompile(`Host: [^\r]*`).ReplaceAllString(s, r.of("Host:", "Host: a b", `Host: "a"`, "Host: <a>", "Host: a/b", "Host: a@b", "Host: a,b", "Host: a\\b", "Host: \x00", "Host: é", "Host: a{", "Host: a|b", "Host: a%20", "Host: a#b", "Host: a?b", "X: y", "Host:\r\n a", "Host: "+strings.Repeat("a", 2000)))
	case 4:
		s = line(r.of("Connection: close", "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Upgrade: websocket", "Connection: keep-alive, close", "Connection: x-forwarded-for", "Connection: keep-alive\r\nConnection: close", "Proxy-Connection: close", "Keep-Alive: timeout=1", "Expect: 100-continue", "Expect: x", "Te: trailers", "Trailer: X", "Range: bytes=0-1", "If-Range: x", "If-Match: \"x\"", "Authorization: Bearer x", "Authorization:", "authorization : Bearer x"))
	case 5:
		s = target(r.of("http://b.example/v1/aggregates", "http://b.example"+both2025, "*", "//b.example"+both2025, "/"+both2025, "/v1//aggregates?indicator=insertion_hours", "/v1/./aggregates", "/v1/x/../aggregates", "/v1/%61ggregates", "/v1/aggregates%2e", "/v1/aggregates%00", "/%zz", both2025+"#x", both2025+"%", both2025+"&a=;", both2025+"\\", both2025+"é", both2025+"\t", both2025+"\x00", "/v1/aggregates;x?", "b.example:80", "", "?", both2025+" x", both2025+strings.Repeat("&a=b", 900), both2025+strings.Repeat("&a=b", 3000)))
	case 6:
		s = strings.Replace(s, "HTTP/1.1", r.of("HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "HTTP/01.1", "HTTP/1.10", "", "HTTP/1.1\r"), 1)
	case 7:
		m := r.of("POST", "get", "PUT", "OPTIONS", "CONNECT", "TRACE", "GET ", " GET", "G\tET", "GET\x00", "PRI", "DELETE", "\r\nGET", "\nGET", "\rGET", "GETX")
		s = m + s[strings.IndexByte(s, ' '):]
	case 8:
		if at := strings.Index(s, "\r\n"); r.often(50) {
			s = s[:at] + s[at+1:] // bare LF after the request line
		} else {
			s = strings.ReplaceAll(s, "\r\n", r.of("\n", "\r", "\n\r", "\r\r\n"))
		}
	case 9:
		s = line(r.of("X: \x00", "X\x00: y", "X: \x7f", "X: \x01", "X", ":", ": x", "X Y: z", "X\t: z", "Ⅹ: z", "X: y\r", "X: "+strings.Repeat("y", 4000), "X: "+strings.Repeat("y", 20000), "X: "+strings.Repeat("y", 40000), "(x): y", "X: \r\n\ty"))
	case 10: // two, or more, at once
		for range 1 + r.IntN(3) {
			s += r.plain()
		}
	case 11:
		b := []byte(s)
		for range 1 + r.IntN(3) {
			i := r.IntN(len(b))
			switch r.IntN(3) {
			case 0:
				b[i] = byte(r.IntN(256))
			case 1:
				b = slices.Insert(b, i, r.of("\r", "\n", " ", "\t", "\x00", ":", "\u00ff", "/", ",")[0])
			case 2:
				b = slices.Delete(b, i, i+1)
			}
		}
		s = string(b)
	}
	return s
}

func (r requests) pieces(s string) []string {
	var out []string
	for n := r.IntN(3); n > 0 && len(s) > 1; n-- {
		i := 1 + r.IntN(len(s)-1)
		out, s = append(out, s[:i]), s[i:]
	}
	return append(out, s)
}

// The same bytes sent to a server with the quick way, without it, and to one
// that keeps no answer bring the same bytes back: status, headers, body, quotas,
// and whatever comes next on the connection. So do their logs.
func TestTheQuickWayChangesNothing(t *testing.T) {
	w := embedded(t)
	p := w.publisher(t)
	smallWorld(t, w)
	p.publish(t, "commune-69123")
	p.publish(t)
	var clock atomic.Int64
	clock.Store(now().Unix())
	twins := p.twins(t, &clock)

	r := requests{rand.New(rand.NewPCG(20, 8)), nil}
	for range 40 {
		a := w.anonymous.get(t, r.target())
		if tag := a.header.Get("ETag"); tag != "" && !slices.Contains(r.tags, tag) {
			r.tags = append(r.tags, tag, tag+`, "x"`)
		}
	}
	warm := "GET " + both2025 + " HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.200\r\n\r\n"
	statuses := map[string]int{}
	alike := func(plain []string, pieces ...string) bool {
		t.Helper()
		clock.Add(4)
		want := even(twins[1].raw(t, plain, pieces...))
		for _, line := range statusLine.FindAllString(want, -1) {
			statuses[line[9:]]++
		}
		for _, x := range []*twin{twins[0], twins[2]} {
			if d := cmp.Diff(want, even(x.raw(t, plain, pieces...))); d != "" {
				t.Errorf("%s differs after %q and %q:\n%s", x.name, plain, pieces, d)
				return false
			}
		}
		return true
	}
	// Cut at each byte.
	whole := "HEAD " + both2025 + " HTTP/1.1\r\nHost: a\r\nAccept-Language: en\r\n\r\n"
	step := 1
	if testing.Short() {
		step = 9
	}
	for i := 1; i < len(whole); i += step {
		alike([]string{warm, warm}, whole[:i], whole[i:])
	}
	rounds := 150
	if testing.Short() {
		rounds = 60
	}
	for range rounds {
		plain := []string{warm}
		for range r.IntN(8) {
			plain = append(plain, r.plain())
		}
		if !alike(plain) {
			break
		}
	}
	if n := twins[0].quick.n.Load(); n < int64(rounds)/5 { // fewer on a busy machine
		t.Errorf("%d answers only were quick", n)
	}
	for range rounds {
		if !alike([]string{warm, warm}, r.pieces(r.odd())...) {
			break
		}
	}
	t.Logf("%d answers were quick; by status: %v", twins[0].quick.n.Load(), statuses)
	for _, x := range twins {
		x.server.Close()
	}
	lines := func(x *twin) []string {
		l := strings.Split(x.log.String(), "\n")
		slices.Sort(l)
		return l
	}
	if d := cmp.Diff(lines(twins[1]), lines(twins[0])); d != "" {
		t.Errorf("the log of the quick way differs: %s", d)
	}
}

// What was published or withdrawn is told by the very next answer of a
// connection that was quick before.
func TestTheQuickWayFollowsReleases(t *testing.T) {
	w := embedded(t)
	p := w.publisher(t)
	smallWorld(t, w)
	p.publish(t, "commune-69123")
	p.publish(t)
	var clock atomic.Int64
	clock.Store(now().Unix())
	x := p.twins(t, &clock)[0]
	var c net.Conn
	var in *bufio.Reader
	connect := func() {
		var err error
		c, err = net.Dial("tcp", x.address)
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		in = bufio.NewReader(c)
	}
	connect()
	ask := func(query, tag string) (status int, release string) {
		time.Sleep(settling)
		clock.Add(5)
		_, err := fmt.Fprintf(c, "GET %s%s HTTP/1.1\r\nHost: a\r\nIf-None-Match: %s\r\n\r\n", strings.Replace(both2025, "aggregates?", "aggregates.csv?", 1), query, tag)
		must(t, err)
		resp, err := http.ReadResponse(in, nil)
		must(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, errors.Join(err, resp.Body.Close()))
		return resp.StatusCode, resp.Header.Get("ETag")
	}
	_, second := ask("", `"x"`)
	for _, query := range []string{"", "&release=2", "&release=1", "&as_of=2999-01-01T00:00:00Z"} {
		_, _ = ask(query, `"x"`)
		_, _ = ask(query, second)
	}
	// quickly gives a connection that is quick.
	quickly := func() {
		t.Helper()
		for range 20 {
			connect()
			_, _ = ask("&release=1", `"x"`)
			time.Sleep(20 * settling)
			before := x.quick.n.Load()
			if _, _ = ask("&release=1", `"x"`); x.quick.n.Load() > before {
				return
			}
		}
		t.Fatal("no connection is quick")
	}
	quickly()
	before := x.quick.n.Load()
	for range 3 {
		if status, tag := ask("", `"x"`); status != 200 || tag != second {
			t.Errorf("%d %s", status, tag)
		}
		if status, tag := ask("", second); status != 304 || tag != second {
			t.Errorf("%d %s", status, tag)
		}
	}
	if n := x.quick.n.Load() - before; n != 6 {
		t.Errorf("%d of 6 answers were quick", n)
	}
	state := func(s impact.ReleaseState) {
		p.shelf.mu.Lock()
		defer p.shelf.mu.Unlock()
		p.shelf.releases[1].about.State = s
	}
	state(impact.ReleaseWithdrawn)
	for range 3 {
		for _, tag := range []string{`"x"`, second} {
			for _, query := range []string{"", "&as_of=2999-01-01T00:00:00Z"} {
				if status, got := ask(query, tag); status != 200 || !strings.HasPrefix(got, `W/"1-`) {
					t.Errorf("after the withdrawal %q is %d %s", query, status, got)
				}
			}
			if status, got := ask("&release=2", tag); status != http.StatusGone {
				t.Errorf("a withdrawn release is answered: %d %s", status, got)
			}
		}
	}
	quickly()
	state(impact.ReleasePublished)
	if status, tag := ask("", second); status != 304 || tag != second {
		t.Errorf("%d %s", status, tag)
	}
	quickly()
	p.publish(t)
	if status, tag := ask("", second); status != 200 || !strings.HasPrefix(tag, `W/"3-`) {
		t.Errorf("after a publication: %d %s", status, tag)
	}
}

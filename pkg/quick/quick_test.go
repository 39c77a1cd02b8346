package quick

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"
)

// parrot has answers for what begins with /kept, and tells what it saw.
type parrot struct{ body []byte }

func (p parrot) ServeKept(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasPrefix(r.RequestURI, "/kept") {
		return false
	}
	p.serve(w, r)
	w.Header().Set("X-Quick", "yes")
	return true
}

func (p parrot) serve(w http.ResponseWriter, r *http.Request) {
	body := fmt.Appendf(nil, "%s %q %s\n", r.RequestURI, r.Header.Values("Accept"), r.RemoteAddr)
	body = append(body, p.body...)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if r.Header.Get("If-None-Match") != "" {
		w.Header().Del("Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// counted knows how many connections are open.
type counted struct {
	net.Listener
	quick *Listener
	n     atomic.Int64
}

type countedConn struct {
	*net.TCPConn
	once sync.Once
	n    *atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.n.Add(1)
	return &countedConn{TCPConn: c.(*net.TCPConn), n: &l.n}, nil
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.n.Add(-1) })
	return c.TCPConn.Close()
}

// serve starts a server with a quick listener; requests it does not answer are
// told so by the body "slow".
func serve(t testing.TB, p parrot, open *counted) (address string, server *http.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if open == nil {
		open = &counted{}
	}
	open.Listener = l
	server = &http.Server{ReadHeaderTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, IdleTimeout: 3 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(w, "slow %s %s %s", r.Method, r.RequestURI, b)
	})}
	open.quick = &Listener{Listener: open, Handler: p, Now: time.Now, Idle: server.IdleTimeout, Write: server.WriteTimeout}
	go func() { _ = server.Serve(open.quick) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String(), server
}

// talk writes raw bytes in pieces and reads n answers.
func talk(t testing.TB, address string, n int, pieces ...string) []string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	go func() {
		for i, p := range pieces {
			if i > 0 {
				time.Sleep(20 * time.Millisecond)
			}
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
		}
	}()
	in := bufio.NewReader(c)
	var out []string
	for range n {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return append(out, err.Error())
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return append(out, err.Error())
		}
		first, _, _ := strings.Cut(string(b), "\n")
		if resp.Header.Get("X-Quick") != "" {
			first, _, _ = strings.Cut("quick "+first, ` [`)
		}
		out = append(out, fmt.Sprint(resp.StatusCode, " ", first))
	}
	return out
}

const (
	kept = "GET /kept HTTP/1.1\r\nHost: a\r\nAccept: x\r\n\r\n"
	slow = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n"
	post = "POST /kept HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
)

func TestPlainRequestsAreQuick(t *testing.T) {
	address, _ := serve(t, parrot{}, nil)
	for name, x := range map[string]struct {
		pieces []string
		want   []string
	}{
		"the first is net/http's":        {[]string{kept, kept, kept}, []string{"200 slow GET /kept ", "200 quick /kept", "200 quick /kept"}},
		"what is not kept is net/http's": {[]string{kept, slow, kept, slow, kept}, []string{"200 slow GET /kept ", "200 slow GET /other ", "200 quick /kept", "200 slow GET /other ", "200 quick /kept"}},
		"after a body all is net/http's": {[]string{kept, kept, post, kept, kept}, []string{"200 slow GET /kept ", "200 quick /kept", "200 slow POST /kept abc", "200 slow GET /kept ", "200 slow GET /kept "}},
		"two at once":                    {[]string{kept, kept + kept, kept}, []string{"200 slow GET /kept ", "200 slow GET /kept ", "200 slow GET /kept ", "200 slow GET /kept "}},
		"one and a half":                 {[]string{kept, kept + kept[:20], kept[20:], kept}, []string{"200 slow GET /kept ", "200 slow GET /kept ", "200 slow GET /kept ", "200 slow GET /kept "}},
		"in pieces":                      {[]string{kept, kept[:10], kept[10:30], kept[30:], kept}, []string{"200 slow GET /kept ", "200 slow GET /kept ", "200 slow GET /kept "}},
		"a body that looks like a request": {[]string{
			kept, fmt.Sprintf("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(kept)), kept, kept,
		}, []string{"200 slow GET /kept ", "200 slow POST /p " + strings.SplitN(kept, "\n", 2)[0], "200 slow GET /kept "}},
		"with credentials": {[]string{kept, strings.Replace(kept, "Accept", "Authorization", 1)}, []string{"200 slow GET /kept ", "200 slow GET /kept "}},
		"two hosts":        {[]string{kept, strings.Replace(kept, "Accept", "Host", 1)}, []string{"200 slow GET /kept ", "400 400 Bad Request"}},
		"304":              {[]string{kept, strings.Replace(kept, "Accept", "If-None-Match", 1), kept}, []string{"200 slow GET /kept ", "304 quick ", "200 quick /kept"}},
	} {
		got := talk(t, address, len(x.want), x.pieces...)
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// A client in good standing cannot tell, whatever the size.
func TestBothWaysAnswerAlike(t *testing.T) {
	for _, size := range []int{0, 100, whole, 1 << 20} {
		p := parrot{bytes.Repeat([]byte("x"), size)}
		address, _ := serve(t, p, nil)
		client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 4, MaxIdleConnsPerHost: 4}}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				quick := 0
				for range 30 {
					resp, err := client.Get("http://" + address + "/kept?q=%C3%A9&a=b")
					if err != nil {
						t.Error(err)
						return
					}
					b, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || resp.Header.Get("X-Quick") != "" && (!bytes.HasSuffix(b, p.body) || !strings.HasPrefix(string(b), "/kept?q=%C3%A9&a=b ") || resp.Header.Get("Date") == "") {
						t.Errorf("%v: %d bytes", err, len(b))
					}
					if resp.Header.Get("X-Quick") != "" {
						quick++
					}
				}
				if quick < 20 {
					t.Errorf("%d of 30 were quick", quick)
				}
			})
		}
		wg.Wait()
	}
}

func TestStoppingBreaksNoAnswer(t *testing.T) {
	l := &counted{}
	p := parrot{bytes.Repeat([]byte("x"), 1<<20)}
	address, server := serve(t, p, l)
	client := &http.Client{Transport: &http.Transport{}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				resp, err := client.Get("http://" + address + "/kept")
				if err != nil {
					return // refused: it has stopped
				}
				if b, err := io.ReadAll(resp.Body); err != nil || resp.Header.Get("X-Quick") != "" && len(b) < 1<<20 {
					t.Errorf("cut after %d bytes: %v", len(b), err)
				}
				resp.Body.Close()
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := errors.Join(server.Shutdown(ctx), l.quick.Wait(ctx)); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// stalled is a connection of one who asked for a large answer, quickly, and reads
// nothing of it.
func stalled(t testing.TB, address string, before ...string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	in := bufio.NewReader(c)
	for _, request := range before {
		_, _ = io.WriteString(c, request)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	_, _ = io.WriteString(c, kept)
	return c
}

// Who does not read is not written to for ever, whatever the connection was used
// for before: net/http takes its deadlines off when it has answered.
func TestAnswersThatAreNotReadEnd(t *testing.T) {
	open := &counted{}
	address, _ := serve(t, parrot{bytes.Repeat([]byte("x"), 16<<20)}, open)
	stalled(t, address, slow, kept, slow)
	for deadline := time.Now().Add(6 * time.Second); open.n.Load() > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an answer that nobody reads is still being written")
		}
	}
}

// One who does not read delays nobody, and no answer is cut that would be out
// in time.
func TestStoppingWaitsForNobodyAlone(t *testing.T) {
	l := &counted{}
	address, server := serve(t, parrot{bytes.Repeat([]byte("x"), 16<<20)}, l)
	slowReader := stalled(t, address, slow)
	stalled(t, address, slow)
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	began := time.Now()
	if err := server.Shutdown(ctx); err != nil || time.Since(began) > 15*time.Second {
		t.Errorf("stopping took %v: %v", time.Since(began), err)
	}
	go func() {
		in := bufio.NewReader(slowReader)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < 16<<20 {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
		_ = resp.Body.Close()
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("the connection is still open: %v", err)
		}
		cancel()
	}()
	if err := l.quick.Wait(ctx); err == nil {
		t.Error("an answer on its way was not waited for")
	}
	again, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.quick.Wait(again); err != nil {
		t.Errorf("after the time to write: %v", err)
	}
	if n := l.n.Load(); n > 0 {
		t.Errorf("%d connections are left", n)
	}
}

// A refusal is read by who is still sending: the connection is not reset under it.
func TestRefusalsAreRead(t *testing.T) {
	address, _ := serve(t, parrot{}, nil)
	for range 20 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 4<<20)+"\r\n\r\n")
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Fatalf("%v %v", resp, err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || !bytes.HasPrefix(b, []byte("431")) { // it ends with the connection
			t.Fatalf("%q: %v", b, err)
		}
		_ = resp.Body.Close()
		_ = c.Close()
	}
}

// liar says of its answers what is not so.
type liar struct{}

func (liar) ServeKept(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Set("X-A", "a\r\nX-B: b\r\n\r\n")
	h.Set("Content-Length", "1000")
	if r.Header.Get("If-None-Match") != "" {
		w.WriteHeader(http.StatusNotModified)
	}
	_, _ = io.WriteString(w, "abc")
	return true
}

func TestAnswersEndWhereTheySay(t *testing.T) {
	for _, head := range []bool{false, true} {
		for _, status := range []int{0, http.StatusOK, http.StatusNotModified} {
			method := map[bool]string{false: "GET", true: "HEAD"}[head]
			a := answer{header: http.Header{}, status: status}
			r := &http.Request{Method: method, Header: http.Header{}}
			if status == http.StatusNotModified {
				r.Header.Set("If-None-Match", "x")
			}
			liar{}.ServeKept(&a, r)
			out := string(a.appendHead(nil, time.Now(), head))
			if !head {
				out += string(a.body)
			}
			in := bufio.NewReader(strings.NewReader(out))
			resp, err := http.ReadResponse(in, r)
			if err != nil {
				t.Fatalf("%q: %v", out, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || in.Buffered() > 0 || resp.Header.Get("X-B") != "" {
				t.Errorf("%s %d: %q: %v", method, status, out, err)
			}
			_ = resp.Body.Close()
		}
	}
}

// Connections that fall silent are closed, however quick they were.
func TestIdleConnectionsEnd(t *testing.T) {
	address, _ := serve(t, parrot{}, nil)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for range 3 {
		_, _ = io.WriteString(c, kept)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	_ = c.SetReadDeadline(time.Now().Add(8 * time.Second))
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("after the idle time: %v", err)
	}
}

// What is taken for plain, net/http reads in the same way and to the same end.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		kept, slow, post, "HEAD / HTTP/1.1\r\nHost: x:80\r\nConnection: Keep-Alive\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nAccept: a\r\naccept:b\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "GET / HTTP/1.1\nHost: a\r\n\r\n", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET //a HTTP/1.1\r\nHost: [::1]\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: \"<a>\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := parse(b)
		if r == nil {
			return
		}
		in := bufio.NewReader(bytes.NewReader(b))
		want, err := http.ReadRequest(in)
		if err != nil {
			if strings.Contains(err.Error(), "invalid URL escape") {
				return // no answer is kept for it
			}
			t.Fatalf("net/http refuses %q: %v", b, err)
		}
		if in.Buffered() > 0 || want.ContentLength != 0 || len(want.TransferEncoding) > 0 || want.Close {
			t.Fatalf("%q is not whole", b)
		}
		if r.Method != want.Method || r.RequestURI != want.RequestURI || r.Host != want.Host {
			t.Fatalf("%q: %s %s %s, and net/http %s %s %s", b, r.Method, r.RequestURI, r.Host, want.Method, want.RequestURI, want.Host)
		}
		// What net/http's server looks at besides.
		if !httpguts.ValidHostHeader(want.Host) {
			t.Fatalf("%q: host %q", b, want.Host)
		}
		for name, values := range want.Header {
			if !httpguts.ValidHeaderFieldName(name) || !slices.ContainsFunc(values, httpguts.ValidHeaderFieldValue) {
				t.Fatalf("%q: %s", b, name)
			}
		}
		for _, name := range headers {
			if !slices.Equal(r.Header.Values(name), want.Header.Values(name)) {
				t.Fatalf("%q: %s is %q, and net/http's %q", b, name, r.Header.Values(name), want.Header.Values(name))
			}
		}
		for name := range connection {
			if want.Header.Get(name) != "" {
				t.Fatalf("%q has %s", b, name)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if parse([]byte(kept)) == nil {
			b.Fatal()
		}
	}
}

package api_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nginx puts a real nginx with a cache in front of the world's server, as an
// operator would, and gives its address. X-Cache tells what the cache did.
func (w *world) nginx(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		for _, p := range []string{"/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx"} {
			if _, err = os.Stat(p); err == nil {
				program = p
				break
			}
		}
	}
	if err != nil {
		t.Fatal("no nginx found: `make nginx` installs it")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := filepath.Join(dir, "nginx.conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, `%[1]s
worker_processes 1; pid %[2]s/pid; error_log %[2]s/error.log; daemon off;
events { worker_connections 256; }
http {
	access_log off; client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
	proxy_cache_path %[2]s/cache keys_zone=api:10m;
	upstream retombees { server %[4]s; keepalive 4; keepalive_requests 20; }
	server {
		listen %[3]s;
		location / {
			proxy_pass http://retombees; proxy_http_version 1.1; proxy_set_header Connection "";
			proxy_cache api; proxy_cache_lock on; proxy_cache_revalidate on; proxy_cache_bypass $http_x_past_the_cache;
			add_header X-Cache $upstream_cache_status always;
		}
	}
}`, user, dir, address, strings.TrimPrefix(w.server.URL, "http://")), 0o600))
	cmd := exec.Command(program, "-p", dir, "-c", conf, "-e", filepath.Join(dir, "error.log"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var said bytes.Buffer
	cmd.Stderr = &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return "http://" + address
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Fatalf("nginx does not start: %v %s %s", err, said.Bytes(), b)
		}
	}
}

// A cache that everybody shares stands in front of the API: nobody gets
// another answer than without it, and what is read with a right is never kept.
func TestASharedCacheChangesNothing(t *testing.T) {
	w := embedded(t)
	p := w.publisher(t)
	smallWorld(t, w)
	p.publish(t, "commune-69123")
	p.publish(t)
	front, err := url.Parse(w.nginx(t))
	must(t, err)

	type ask struct {
		method, path string
		body         any
		by           *caller
		h            []header
		kept         bool // the cache may answer the second time
	}
	name := func(a ask) string { return fmt.Sprintf("%s %s %v (%s)", a.method, a.path, a.h, a.by.id) }
	csvOf := strings.NewReplacer("aggregates?", "aggregates.csv?")
	own := "&release=live&organisation=" + string(w.atelier.ID)
	var asks []ask
	forms := [][]header{
		nil,
		{{"Accept", "text/csv"}},
		{{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}},
		{{"Accept-Language", "en"}},
		{{"Accept-Language", "fr-FR,fr;q=0.9"}},
		{{"Accept-Encoding", "gzip"}},
		{{"Accept-Encoding", "gzip, deflate, br, zstd"}},
		{{"Accept-Encoding", "identity"}},
		{{"Accept-Encoding", "zstd"}, {"Accept", "text/csv"}, {"Accept-Language", "en"}},
	}
	for _, path := range []string{
		both2025, both2025 + "&release=1", both2025 + "&release=2", csvOf.Replace(both2025), csvOf.Replace(both2025) + "&limit=1",
		"/v1/aggregates/availability?indicator=insertion_hours", "/v1/aggregates/explain?indicator=insertion_hours&period=2025&territory=commune-69123&release=1",
	} {
		for _, h := range forms {
			if strings.Contains(path, "/explain") || strings.Contains(path, "/avail") {
				if slices.ContainsFunc(h, func(x header) bool { return x[0] == "Accept" && x[1] == "text/csv" }) {
					asks = append(asks, ask{"GET", path, nil, w.anonymous, h, false}) // 406
					continue
				}
			}
			for _, x := range []*caller{w.steward, w.anonymous, w.buyer} {
				asks = append(asks, ask{"GET", path, nil, x, h, true})
			}
			asks = append(asks, ask{"HEAD", path, nil, w.anonymous, h, true})
		}
	}
	for _, path := range []string{
		both2025 + own, both2025 + "&release=live", both2025 + "&release=9", both2025 + "&nonsense=1", both2025 + "&organisation=x", "/v1/nowhere", csvOf.Replace(both2025) + own,
		"/v1/aggregates/explain?indicator=insertion_hours&period=2025&" + villeurbanne + own,
	} {
		for _, x := range []*caller{w.organisation, w.anonymous, w.steward, w.other, w.organisation} {
			asks = append(asks, ask{"GET", path, nil, x, nil, false}, ask{"HEAD", path, nil, x, nil, false})
		}
	}
	asks = append(asks,
		ask{"OPTIONS", both2025, nil, w.anonymous, []header{{"Origin", "https://elsewhere.example"}, {"Access-Control-Request-Method", "GET"}}, false},
		ask{"POST", "/v1/aggregates/query", `{"indicator":["insertion_hours"],"territory":["commune-69266"],"period":"2025"}`, w.anonymous, nil, false})

	hits := 0
	for _, a := range asks {
		req, _ := a.by.request(t, a.method, a.path, a.body, a.h...)
		want := w.send(t, req)
		for again := range 2 {
			req, _ := a.by.request(t, a.method, a.path, a.body, a.h...)
			req.URL.Host = front.Host
			got := w.send(t, req)
			if got.status != want.status || !bytes.Equal(masked(got.body), masked(want.body)) {
				t.Errorf("%s through the cache: %d %s, and without: %d %s", name(a), got.status, got.body, want.status, want.body)
			}
			for _, h := range []string{"Content-Type", "Content-Language", "Content-Encoding", "Cache-Control", "Vary", "Link", "Last-Modified", "Impact-Release", "Impact-Disclosure-Control", "Access-Control-Allow-Origin", "Allow"} {
				if d := cmp.Diff(want.header.Values(h), got.header.Values(h)); d != "" {
					t.Errorf("%s through the cache, %s: %s", name(a), h, d)
				}
			}
			if strings.TrimPrefix(got.header.Get("ETag"), "W/") != strings.TrimPrefix(want.header.Get("ETag"), "W/") {
				t.Errorf("%s: ETag %s, and without the cache %s", name(a), got.header.Get("ETag"), want.header.Get("ETag"))
			}
			hit := got.header.Get("X-Cache") == "HIT"
			if hit && !a.kept {
				t.Errorf("%s came from the cache", name(a))
			}
			if again == 1 && !hit && a.kept {
				t.Errorf("%s is not kept: %v", name(a), got.header)
			}
			if hit {
				hits++
			}
		}
		if tag := want.header.Get("ETag"); a.kept {
			req, _ := a.by.request(t, a.method, a.path, a.body, append(slices.Clone(a.h), header{"If-None-Match", tag})...)
			req.URL.Host = front.Host
			if got := w.send(t, req); got.status != http.StatusNotModified {
				t.Errorf("%s with %s through the cache: %d", name(a), tag, got.status)
			}
		}
	}
	if hits < len(asks)/2 {
		t.Errorf("%d hits of %d", hits, 2*len(asks))
	}

	// Past the cache, on the connections that it keeps alive.
	through := int64(0)
	asks = slices.DeleteFunc(asks, func(a ask) bool { return a.by != w.anonymous || !a.kept })
	for i := range 200 {
		a := asks[i%len(asks)]
		req, _ := a.by.request(t, a.method, a.path, a.body, a.h...)
		want := w.send(t, req)
		req, _ = a.by.request(t, a.method, a.path, a.body, append(slices.Clone(a.h), header{"X-Past-The-Cache", "1"})...)
		req.URL.Host = front.Host
		before := p.quick.n.Load()
		got := w.send(t, req)
		through += p.quick.n.Load() - before
		if got.status != want.status || !bytes.Equal(masked(got.body), masked(want.body)) {
			t.Errorf("%s past the cache: %d %s, and without: %d %s", name(a), got.status, got.body, want.status, want.body)
		}
	}
	if through == 0 {
		t.Error("no answer was quick")
	}
	t.Logf("%d answers were quick", through)
}

// masked forgets what differs between two requests for the same thing.
func masked(b []byte) []byte {
	i := bytes.Index(b, []byte(`"request_id":"`))
	if i < 0 {
		return b
	}
	i += len(`"request_id":"`)
	end := bytes.IndexByte(b[i:], '"')
	return append(slices.Clone(b[:i]), b[i+end:]...)
}

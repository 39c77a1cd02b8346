package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestHealthTellsWhetherTheServerServes(t *testing.T) {
	p := testPlace{t.TempDir(), []string{"RETOMBEES_TRUSTED_PROXIES="}} // as a compose file may leave it
	s := p.serve(t)
	_, addr, _ := strings.Cut(s.base, "//")
	if out, log, code := p.run(t, "health", "--addr", addr); code != 0 || out != "ok\n" {
		t.Errorf("exit %d %q %s", code, out, log)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, log, code := (testPlace{p.dir, []string{"RETOMBEES_ADDR=" + addr}}).run(t, "health"); code != 0 {
		t.Errorf("by the environment: exit %d %s", code, log)
	}
	if _, log, code := p.run(t, "health", "--addr", "0.0.0.0:"+port); code != 0 {
		t.Errorf("by the address listened on: exit %d %s", code, log)
	}
	s.stop()
	if _, log, code := p.run(t, "health", "--addr", addr); code != 1 || !strings.Contains(log, "refused") {
		t.Errorf("once stopped: exit %d %s", code, log)
	}
}

// The quotas of the command line hold, and are told at GET /v1; the address is
// the one a trusted proxy gives.
func TestRatesOfTheCommandLine(t *testing.T) {
	p := sqlitePlace(t)
	s := p.serve(t, "--rate-limit-anonymous", "3", "--trusted-proxies", "127.0.0.0/8,::1/128")
	defer s.stop()
	get := func(path, from string) (status int, policy string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", from)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("RateLimit-Policy")
	}
	var statuses []int
	for _, from := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"} {
		status, _ := get("/v1/status", from)
		statuses = append(statuses, status)
	}
	if fmt.Sprint(statuses) != "[200 200 200 429 200]" {
		t.Errorf("%v", statuses)
	}
	if _, policy := get("/v1/code-lists", "192.0.2.3"); policy != `"anon-reference";q=15;w=60` {
		t.Errorf("%s", policy)
	}
	if _, log, code := p.run(t, "serve", "--trusted-proxies", "10.0.0.1"); code == 0 || !strings.Contains(log, "trusted-proxies") {
		t.Errorf("not a range: exit %d %s", code, log)
	}
}

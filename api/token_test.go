package api_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/impact"
)

func basic(id, secret string) header {
	return header{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))}
}

func TestTokenIsGivenForASecret(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		grant := url.Values{"grant_type": {"client_credentials"}}
		for name, a := range map[string]answer{
			"in the header": w.anonymous.post(t, "/oauth/token", grant, basic(x.id, x.secret)),
			"in the form":   w.anonymous.post(t, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {x.id}, "client_secret": {x.secret}}),
		} {
			if a.status != http.StatusOK || a.at(t, "/token_type") != "Bearer" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
				t.Errorf("%s: %d %v %s", name, a.status, a.header, a.body)
			}
			if me := w.anonymous.with(a.at(t, "/access_token").(string)).get(t, "/v1/me"); me.at(t, "/organisation") != string(w.atelier.ID) {
				t.Errorf("%s: %s", name, me.body)
			}
		}
		fewer := w.anonymous.post(t, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"observations.read organisations.read observations.read"}}, basic(x.id, x.secret))
		if fewer.at(t, "/scope") != "observations.read organisations.read" {
			t.Errorf("fewer scopes: %s", fewer.body)
		}
		me := w.anonymous.with(fewer.at(t, "/access_token").(string)).get(t, "/v1/me")
		if n := len(me.at(t, "/scopes").([]any)); n != 2 {
			t.Errorf("fewer scopes: %s", me.body)
		}
	})
}

func TestTokenRefusalsFollowOAuth(t *testing.T) {
	w := embedded(t)
	x := w.organisation
	grant := url.Values{"grant_type": {"client_credentials"}}
	with := func(k, v string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, k: {v}}
	}
	revoked := w.client(t, impact.Client{Name: "Ancien", Role: impact.RoleSteward})
	_, err := w.store.RevokeClient(t.Context(), setup, revoked.id)
	must(t, err)
	for name, c := range map[string]struct {
		a      answer
		status int
		code   string
	}{
		"wrong secret":     {w.anonymous.post(t, "/oauth/token", grant, basic(x.id, "no")), 401, "invalid_client"},
		"unknown client":   {w.anonymous.post(t, "/oauth/token", grant, basic("nobody", x.secret)), 401, "invalid_client"},
		"nobody":           {w.anonymous.post(t, "/oauth/token", grant), 401, "invalid_client"},
		"revoked":          {w.anonymous.post(t, "/oauth/token", grant, basic(revoked.id, revoked.secret)), 401, "invalid_client"},
		"no grant":         {w.anonymous.post(t, "/oauth/token", url.Values{"scope": {"a"}}, basic(x.id, x.secret)), 400, "invalid_request"},
		"password grant":   {w.anonymous.post(t, "/oauth/token", url.Values{"grant_type": {"password"}}, basic(x.id, x.secret)), 400, "unsupported_grant_type"},
		"more than it has": {w.anonymous.post(t, "/oauth/token", with("scope", "submissions.review"), basic(x.id, x.secret)), 400, "invalid_scope"},
		"two ways":         {w.anonymous.post(t, "/oauth/token", with("client_secret", x.secret), basic(x.id, x.secret)), 400, "invalid_request"},
		"twice":            {w.anonymous.post(t, "/oauth/token", url.Values{"grant_type": {"client_credentials", "client_credentials"}}, basic(x.id, x.secret)), 400, "invalid_request"},
		"as JSON":          {w.anonymous.post(t, "/oauth/token", `{}`), 415, "invalid_request"},
		"too large":        {w.anonymous.post(t, "/oauth/token", url.Values{"scope": {strings.Repeat("a", 20<<10)}}), 413, "invalid_request"},
		"in the address":   {w.anonymous.post(t, "/oauth/token?client_secret=abc", grant), 400, "invalid_request"},
		"not base64":       {w.anonymous.post(t, "/oauth/token", grant, header{"Authorization", "Basic %%%"}), 400, "invalid_request"},
	} {
		if c.a.status != c.status || c.a.at(t, "/error") != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, c.a.status, c.a.body, c.status, c.code)
		}
		if c.a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached", name)
		}
		if c.status == 401 && !strings.HasPrefix(c.a.header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("%s: no challenge", name)
		}
	}
}

// Wrong secrets are slowed down for one client at one address, and for one
// address whatever the client; the right one is not held up where it was shown
// before, nor anywhere else.
func TestTryingSecretsGetsSlower(t *testing.T) {
	w := embedded(t)
	at, wait := w.limited(t, api.Rates{Refused: 50}, "127.0.0.1/32")
	grant := url.Values{"grant_type": {"client_credentials"}}
	try := func(id, secret string, from header) answer {
		return at(w.anonymous).post(t, "/oauth/token", grant, basic(id, secret), from)
	}
	pass := func(why string, a answer) {
		t.Helper()
		if a.status != 200 {
			t.Errorf("%s: %d %s", why, a.status, a.body)
		}
	}
	stop := func(why string, a answer) {
		t.Helper()
		if a.status != 429 || a.at(t, "/error") != "temporarily_unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s", why, a.status, a.header, a.body)
		}
	}
	attacker, office := from("198.51.100.66"), from("192.0.2.10")
	x, y := w.organisation, w.other
	pass("the client at its office", try(x.id, x.secret, office))
	for range 5 {
		if a := try(x.id, "guess", attacker); a.status != 401 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	stop("the sixth guess", try(x.id, "guess", attacker))
	stop("even the right secret, there", try(x.id, x.secret, attacker))
	pass("the same client at its office", try(x.id, x.secret, office))
	pass("another client at the attacker's address", try(y.id, y.secret, attacker))

	for i := range 50 {
		try(fmt.Sprintf("client-%d", i), "guess", attacker)
	}
	stop("any other client there", try(w.steward.id, w.steward.secret, attacker))
	pass("who is known there", try(y.id, y.secret, attacker))
	pass("who calls from elsewhere", try(w.steward.id, w.steward.secret, office))
	// At the office an attacker shuts nobody out who was there before.
	for range 60 {
		try(x.id, "guess", office)
	}
	pass("the client, beside its attacker", try(x.id, x.secret, office))
	wait(time.Minute)
	pass("after a minute", try(x.id, x.secret, attacker))
}

package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/impact"
)

var grant = url.Values{"grant_type": {"client_credentials"}}

func TestAClientIsRegisteredRotatedAndRevoked(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.administrator
		made := x.post(t, "/v1/clients", object{"name": " CRM ", "role": "organisation", "organisation": w.atelier.ID, "scopes": []string{"observations.read", "organisations.read"}})
		if made.status != http.StatusCreated || made.header.Get("ETag") != `"v1"` || made.at(t, "/name") != "CRM" || made.at(t, "/secrets").(interface{ String() string }).String() != "1" {
			t.Fatalf("%d %s", made.status, made.body)
		}
		id, secret := made.at(t, "/client_id").(string), made.at(t, "/client_secret").(string)
		own := "/v1/clients/" + id
		if made.header.Get("Location") != publicURL+own || made.header.Get("Cache-Control") != "private, no-store" {
			t.Errorf("%v", made.header)
		}
		tokenOf := func(secret string) (int, string) {
			a := w.anonymous.post(t, "/oauth/token", grant, basic(id, secret))
			token, _ := a.at(t, "/access_token").(string)
			return a.status, token
		}
		read := func() answer {
			a := x.get(t, own)
			for _, s := range []string{secret, "rtb_secret", "hash"} {
				if strings.Contains(string(a.body), s) {
					t.Errorf("a secret is shown again: %s", a.body)
				}
			}
			return a
		}
		if read().status != http.StatusOK || !strings.Contains(string(x.get(t, "/v1/clients?organisation="+string(w.atelier.ID)).body), id) {
			t.Error("the client is not listed")
		}
		_, token := tokenOf(secret)
		holder := w.anonymous.with(token)
		if me := holder.get(t, "/v1/me"); me.at(t, "/organisation") != string(w.atelier.ID) {
			t.Errorf("%s", me.body)
		}

		// Whom it acts for may be named as everywhere else.
		if a := x.post(t, "/v1/clients", object{"name": "CRM", "role": "organisation", "organisation": "siren:" + w.atelier.SIREN}); a.status != http.StatusCreated || a.at(t, "/organisation") != string(w.atelier.ID) {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := x.post(t, "/v1/clients", object{"name": "Nuit", "role": "network", "network": w.federation.Code}); a.status != http.StatusCreated || a.at(t, "/network") != string(w.federation.ID) {
			t.Errorf("%d %s", a.status, a.body)
		}
		for _, ref := range []string{"siret:12345678200011", "siret:00000001800010"} {
			if a := x.post(t, "/v1/clients", object{"name": "CRM", "role": "organisation", "organisation": ref}); a.status != http.StatusUnprocessableEntity || a.at(t, "/errors/0/pointer") != "/organisation" {
				t.Errorf("%s: %d %s", ref, a.status, a.body)
			}
		}

		// Both secrets while the programs change over; the leaked one never.
		second := x.post(t, own+"/rotate-secret", nil)
		if second.status != http.StatusOK || second.header.Get("ETag") != `"v2"` {
			t.Fatalf("%d %s", second.status, second.body)
		}
		third := x.post(t, own+"/rotate-secret", object{"former": "kept"})
		for i, want := range map[int]int{0: 401, 1: 200, 2: 200} {
			s := []string{secret, second.at(t, "/client_secret").(string), third.at(t, "/client_secret").(string)}[i]
			if got, _ := tokenOf(s); got != want {
				t.Errorf("secret %d: %d, want %d", i, got, want)
			}
		}
		last := x.post(t, own+"/rotate-secret", object{"former": "ended"}).at(t, "/client_secret").(string)
		if got, _ := tokenOf(third.at(t, "/client_secret").(string)); got != 401 {
			t.Errorf("an ended secret: %d", got)
		}
		if a := holder.get(t, "/v1/me"); a.status != http.StatusOK {
			t.Errorf("a rotation does not end tokens: %d", a.status)
		}

		// A scope taken away ends the tokens that carry it.
		if a := x.do(t, "PATCH", own, object{"scopes": []string{"organisations.read"}}, header{"If-Match", `"v4"`}); a.status != http.StatusOK || a.header.Get("ETag") != `"v5"` {
			t.Fatalf("%d %s", a.status, a.body)
		}
		refused(t, holder.get(t, "/v1/me"), 401, "invalid_token")
		if a := w.anonymous.post(t, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"observations.read"}}, basic(id, last)); a.at(t, "/error") != "invalid_scope" {
			t.Errorf("%d %s", a.status, a.body)
		}

		for range 2 {
			if a := x.do(t, "DELETE", own, nil); a.status != http.StatusNoContent {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		if got, _ := tokenOf(last); got != 401 {
			t.Errorf("a revoked client gets a token: %d", got)
		}
		if a := read(); a.at(t, "/revoked") != true {
			t.Errorf("%s", a.body)
		}
		refused(t, x.post(t, own+"/rotate-secret", nil), 409, "bad_state")
		refused(t, x.do(t, "PATCH", own, object{"name": "x"}, header{"If-Match", `"v6"`}), 404, "not_found")

		// The organisation reads in the audit log that somebody may act for it.
		lines, _, err := w.store.AuditLog(t.Context(), impact.Principal{Client: "x", Role: impact.RoleOrganisation, Organisation: w.atelier.ID}, impact.ClientCreated, impact.Page{Limit: 100})
		must(t, err)
		found := false
		for _, l := range lines {
			found = found || l.Resource == own && l.Actor == x.id
		}
		if !found {
			t.Errorf("%v", lines)
		}
	})
}

func TestWrongClientsAreRefused(t *testing.T) {
	w := embedded(t)
	x := w.administrator
	for name, c := range map[string]struct {
		body    object
		code    string
		pointer string
	}{
		"no name":                           {object{"role": "steward"}, "missing_field", "/name"},
		"a long name":                       {object{"name": strings.Repeat("é", 201), "role": "steward"}, "too_long", "/name"},
		"a role nobody has":                 {object{"name": "x", "role": "root"}, "unknown_code", "/role"},
		"an organisation's client for none": {object{"name": "x", "role": "organisation"}, "missing_field", "/organisation"},
		"one that does not exist":           {object{"name": "x", "role": "organisation", "organisation": "nobody"}, "unknown_organisation", "/organisation"},
		"a network that does not exist":     {object{"name": "x", "role": "network", "network": "nobody"}, "unknown_reference", "/network"},
		"a steward for a buyer":             {object{"name": "x", "role": "steward", "buyer": "metropole"}, "inconsistent", "/buyer"},
		"a long id":                         {object{"name": "x", "role": "buyer", "buyer": strings.Repeat("a", 65)}, "too_long", "/buyer"},
		"a scope above the role":            {object{"name": "x", "role": "buyer", "buyer": "metropole", "scopes": []string{"observations.read", "clients.manage"}}, "unknown_code", "/scopes/1"},
		"observations for an administrator": {object{"name": "x", "role": "administrator", "scopes": []string{"observations.read"}}, "unknown_code", "/scopes/0"},
		"a scope twice":                     {object{"name": "x", "role": "steward", "scopes": []string{"observations.read", "observations.read"}}, "inconsistent", "/scopes/1"},
		"a secret of one's own":             {object{"name": "x", "role": "steward", "client_secret": "mine"}, "unknown_member", "/client_secret"},
	} {
		a := x.post(t, "/v1/clients", c.body)
		refused(t, a, 422, "validation_failed")
		if a.at(t, "/errors/0/code") != c.code || a.at(t, "/errors/0/pointer") != c.pointer {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	refused(t, x.post(t, "/v1/clients", object{"name": "x", "role": "steward"}, header{"Idempotency-Key", "once"}), 400, "invalid_header")
	own := "/v1/clients/" + w.steward.id
	a := x.do(t, "PATCH", own, object{"role": "administrator", "buyer": "metropole"}, header{"If-Match", `"v1"`})
	refused(t, a, 422, "validation_failed")
	if a.at(t, "/errors/0/code") != "immutable_member" || a.at(t, "/errors/1/pointer") != "/buyer" {
		t.Errorf("%s", a.body)
	}
	refused(t, x.do(t, "PATCH", own, object{"scopes": []string{"reference.manage"}}, header{"If-Match", `"v1"`}), 422, "validation_failed")
	refused(t, x.post(t, own+"/rotate-secret", object{"former": "maybe"}), 422, "validation_failed")
	if a := x.get(t, own); a.at(t, "/version").(interface{ String() string }).String() != "1" {
		t.Errorf("a refusal changed something: %s", a.body)
	}
}

func TestATokenIsRevokedByItsClient(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		fresh := func() *caller {
			return w.anonymous.with(w.anonymous.post(t, "/oauth/token", grant, basic(x.id, x.secret)).at(t, "/access_token").(string))
		}
		revoke := func(token string, h ...header) answer {
			return w.anonymous.post(t, "/oauth/revoke", url.Values{"token": {token}, "token_type_hint": {"access_token"}}, h...)
		}
		mine, another := fresh(), fresh()
		if a := mine.get(t, "/v1/me"); a.status != http.StatusOK {
			t.Fatal(a.status)
		}
		if a := revoke(mine.token, basic(w.other.id, w.other.secret)); a.status != 400 || a.at(t, "/error") != "unauthorized_client" {
			t.Errorf("by another client: %d %s", a.status, a.body)
		}
		if a := mine.get(t, "/v1/me"); a.status != http.StatusOK {
			t.Errorf("another client ended it: %d", a.status)
		}
		for range 2 {
			if a := revoke(mine.token, basic(x.id, x.secret)); a.status != http.StatusOK || len(a.body) != 0 || a.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%d %s %v", a.status, a.body, a.header)
			}
			refused(t, mine.get(t, "/v1/me"), 401, "invalid_token")
			refused(t, mine.get(t, "/v1/territories"), 401, "invalid_token")
		}
		if a := another.get(t, "/v1/me"); a.status != http.StatusOK {
			t.Errorf("one token is ended, not all: %d", a.status)
		}
		if a := revoke(another.token, basic(w.administrator.id, w.administrator.secret)); a.status != http.StatusOK {
			t.Errorf("an administrator: %d %s", a.status, a.body)
		}
		refused(t, another.get(t, "/v1/me"), 401, "invalid_token")

		// Another replica, which verified the token before, learns it from the database.
		list, err := w.store.Revocations(t.Context(), now())
		must(t, err)
		if len(list) != 2 || list[0].Client != x.id {
			t.Errorf("%v", list)
		}
		for name, c := range map[string]struct {
			a      answer
			status int
			code   string
		}{
			"no client":       {revoke(mine.token), 401, "invalid_client"},
			"wrong secret":    {revoke(mine.token, basic(x.id, "no")), 401, "invalid_client"},
			"no token":        {w.anonymous.post(t, "/oauth/revoke", url.Values{"a": {"b"}}, basic(x.id, x.secret)), 400, "invalid_request"},
			"an API key":      {revoke("rtb_live_x", basic(x.id, x.secret)), 400, "unsupported_token_type"},
			"a bearer token":  {revoke(mine.token, header{"Authorization", "Bearer " + w.organisation.token}), 400, "invalid_request"},
			"two tokens":      {w.anonymous.post(t, "/oauth/revoke", url.Values{"token": {"a", "b"}}, basic(x.id, x.secret)), 400, "invalid_request"},
			"in the address":  {w.anonymous.post(t, "/oauth/revoke?token=a", url.Values{"token": {"a"}}, basic(x.id, x.secret)), 400, "invalid_request"},
			"a document":      {w.anonymous.post(t, "/oauth/revoke", `{}`), 415, "invalid_request"},
			"introspection":   {w.anonymous.post(t, "/oauth/introspect", url.Values{"token": {mine.token}}, basic(x.id, x.secret)), 403, "insufficient_scope"},
			"a steward's too": {w.anonymous.post(t, "/oauth/introspect", url.Values{"token": {mine.token}}, basic(w.steward.id, w.steward.secret)), 403, "insufficient_scope"},
			"by a stranger":   {w.anonymous.post(t, "/oauth/introspect", url.Values{"token": {mine.token}}, basic("nobody", x.secret)), 401, "invalid_client"},
		} {
			if c.a.status != c.status || c.a.at(t, "/error") != c.code {
				t.Errorf("%s: %d %s, want %d %s", name, c.a.status, c.a.body, c.status, c.code)
			}
		}
		for _, token := range []string{"nonsense", "a.b.c", strings.Repeat("a", 5000)} {
			if a := revoke(token, basic(x.id, x.secret)); a.status != http.StatusOK {
				t.Errorf("RFC 7009, 2.2: a token that does not hold is 200: %d %s", a.status, a.body)
			}
		}
	})
}

func TestATokenIsReadByTheClientsNamedForIt(t *testing.T) {
	w := embedded(t)
	made := w.administrator.post(t, "/v1/clients", object{"name": "Passerelle", "role": "steward", "scopes": []string{"tokens.introspect"}})
	reader := basic(made.at(t, "/client_id").(string), made.at(t, "/client_secret").(string))
	introspect := func(token string) answer {
		return w.anonymous.post(t, "/oauth/introspect", url.Values{"token": {token}}, reader)
	}
	a := introspect(w.organisation.token)
	for pointer, want := range map[string]any{
		"/active": true, "/client_id": w.organisation.id, "/sub": w.organisation.id, "/token_type": "Bearer", "/iss": publicURL, "/aud": publicURL,
		"/role": "organisation", "/organisation": string(w.atelier.ID), "/network": nil,
	} {
		if got := a.at(t, pointer); got != want {
			t.Errorf("%s: %v, want %v", pointer, got, want)
		}
	}
	if a.at(t, "/jti") == nil || a.at(t, "/exp") == nil || !strings.Contains(a.at(t, "/scope").(string), "observations.write") {
		t.Errorf("%s", a.body)
	}
	inactive := func(name, token string) {
		t.Helper()
		if a := introspect(token); a.status != http.StatusOK || strings.TrimSpace(string(a.body)) != `{"active":false}` {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for name, token := range w.forged(t) {
		inactive(name, token)
	}
	inactive("an API key", "rtb_live_abc")
	w.anonymous.post(t, "/oauth/revoke", url.Values{"token": {w.organisation.token}}, basic(w.organisation.id, w.organisation.secret))
	inactive("revoked", w.organisation.token)
}

// A token revoked, or whose client was, opens no route at all.
func TestRevokedTokensOpenNothing(t *testing.T) {
	w := embedded(t)
	if a := w.administrator.do(t, "DELETE", "/v1/clients/"+w.steward.id, nil); a.status != http.StatusNoContent {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, r := range api.Routes() {
		if !r.OAuth {
			refused(t, w.steward.do(t, r.Method, guessed(r, "0190b5d2-aaaa-7bbb-8ccc-000000000000"), nil), 401, "invalid_token")
		}
	}
}

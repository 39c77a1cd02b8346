package auth

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/auth/oidctest"
	"github.com/grandlyon/retombees/pkg/impact"
)

// trust is how a test trusts a provider: people with the role "instruction" are
// stewards, and so on.
func trust(p *oidctest.Provider, alg string) ExternalIssuer {
	return ExternalIssuer{
		Issuer: p.URL, Algorithms: []string{alg}, TokenTypes: []string{"JWT"},
		Claims: map[string]string{"role": "realm_access.roles", "organisation": "retombees.organisation", "network": "network", "buyer": "buyer", "name": "name"},
		Roles: map[string]impact.Role{
			"instruction": impact.RoleSteward, "member": impact.RoleOrganisation, "network": impact.RoleNetwork, "buyer": impact.RoleBuyer,
		},
		Scopes: []impact.Scope{impact.ObservationsRead, impact.AggregatesLive, impact.OrganisationsRead},
	}
}

func trusting(t testing.TB, now func() time.Time, trusted ...ExternalIssuer) *Issuer {
	t.Helper()
	i, err := NewIssuer(Config{Issuer: "https://api.test", Audience: "https://api.test/v1", Keys: keySet(t, newKey(t)), Now: now, External: trusted, AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newKey(t testing.TB) Key {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func roles(list ...any) map[string]any { return map[string]any{"roles": list} }

func TestATokenOfAnotherIssuerIsMapped(t *testing.T) {
	for _, alg := range externalAlgorithms {
		p := oidctest.Start(t, alg, "https://api.test/v1")
		i := trusting(t, time.Now, trust(p, alg))
		for name, c := range map[string]struct {
			claims map[string]any
			want   impact.Principal
		}{
			"a steward, with less than its role may have": {
				map[string]any{"realm_access": roles("instruction", "offline_access"), "scope": "observations.read", "name": "Marie"},
				impact.Principal{Role: impact.RoleSteward, Name: "Marie", Scopes: []impact.Scope{impact.ObservationsRead}},
			},
			"more than the ceiling": {
				map[string]any{"realm_access": roles("instruction"), "scope": []any{"submissions.review", "aggregates.live", "aggregates.live", "clients.manage", "tokens.introspect"}},
				impact.Principal{Role: impact.RoleSteward, Scopes: []impact.Scope{impact.AggregatesLive}},
			},
			"within the ceiling, beyond the role": {
				map[string]any{"realm_access": roles("buyer"), "buyer": "metropole", "scope": "aggregates.live observations.read"},
				impact.Principal{Role: impact.RoleBuyer, Buyer: "metropole", Scopes: []impact.Scope{impact.ObservationsRead}},
			},
			"an organisation": {
				map[string]any{"realm_access": roles("member"), "retombees": map[string]any{"organisation": "org-1"}, "network": "net-1", "scope": "organisations.read"},
				impact.Principal{Role: impact.RoleOrganisation, Organisation: "org-1", Scopes: []impact.Scope{impact.OrganisationsRead}},
			},
			"a network without scope": {
				map[string]any{"realm_access": roles("network"), "network": "net-1"},
				impact.Principal{Role: impact.RoleNetwork, Network: "net-1"},
			},
		} {
			token := p.Token(t, c.claims)
			c.want.Client = p.URL + "|marie"
			for _, reading := range []string{"verified", "from the cache"} {
				got, err := i.Verify(t.Context(), token)
				if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
					t.Errorf("%s, %s, %s: %v\n%s", alg, name, reading, err, diff)
				}
			}
		}
		if n := p.Fetches(); n != 1 {
			t.Errorf("%s: keys fetched %d times", alg, n)
		}
	}
}

func TestATokenOfAnotherIssuerThatDoesNotSayEnoughIsRefused(t *testing.T) {
	p := oidctest.Start(t, "RS256", "https://api.test/v1")
	i := trusting(t, time.Now, trust(p, "RS256"))
	for name, claims := range map[string]map[string]any{
		"no role":                        {"scope": "observations.read"},
		"a role that means nothing here": {"realm_access": roles("administrator")},
		"a role of ours, not mapped":     {"realm_access": roles("steward")},
		"two roles":                      {"realm_access": roles("instruction", "buyer"), "buyer": "metropole"},
		"a role that is a number":        {"realm_access": roles(1)},
		"roles that are one text":        {"realm_access": "instruction"},
		"an organisation's without one":  {"realm_access": roles("member")},
		"an organisation that is a list": {"realm_access": roles("member"), "retombees": map[string]any{"organisation": []any{"org-1"}}},
		"a network's without one":        {"realm_access": roles("network"), "retombees": map[string]any{"organisation": "org-1"}},
		"our role claim":                 {"role": "steward", "scope": "observations.read"},
		"a long id":                      {"realm_access": roles("buyer"), "buyer": string(make([]byte, 65))},
	} {
		_, err := i.Verify(t.Context(), p.Token(t, claims))
		refused(t, name, err)
	}
	good := map[string]any{"realm_access": roles("instruction"), "scope": "observations.read"}
	if _, err := i.Verify(t.Context(), p.Token(t, good)); err != nil {
		t.Fatalf("the same with all it needs: %v", err)
	}
	p.Act("marie", "https://other.test")
	_, err := i.Verify(t.Context(), p.Token(t, good))
	refused(t, "for another audience", err)
	p.Act("marie\n", "https://api.test/v1")
	_, err = i.Verify(t.Context(), p.Token(t, good))
	refused(t, "a subject with a line break", err)

	// An issuer that may give no JWT but at+jwt gives nothing with an ID token.
	strict := trust(p, "RS256")
	strict.TokenTypes = nil
	p.Act("marie", "https://api.test/v1")
	_, err = trusting(t, time.Now, strict).Verify(t.Context(), p.Token(t, good))
	refused(t, "typ JWT", err)
}

// Constants stand for what an issuer does not say.
func TestAnIssuerMayStandForOneBuyer(t *testing.T) {
	p := oidctest.Start(t, "RS256", "https://api.test/v1")
	e := ExternalIssuer{
		Issuer: p.URL, Algorithms: []string{"RS256"}, TokenTypes: []string{"jwt"}, JWKSURI: p.URL + "/keys",
		Constants: map[string]string{"role": "buyer", "buyer": "metropole", "scope": "observations.read organisations.read aggregates.live"},
		Scopes:    []impact.Scope{impact.ObservationsRead, impact.AggregatesLive},
	}
	got, err := trusting(t, time.Now, e).Verify(t.Context(), p.Token(t, map[string]any{"role": "steward", "buyer": "other", "scope": "clients.manage"}))
	want := impact.Principal{Client: p.URL + "|marie", Role: impact.RoleBuyer, Buyer: "metropole", Scopes: []impact.Scope{impact.ObservationsRead}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// Callers of different issuers never meet, nor do they meet a client of ours.
func TestTheSameSubjectOfTwoIssuersIsTwoCallers(t *testing.T) {
	a, b := oidctest.Start(t, "RS256", "https://api.test/v1"), oidctest.Start(t, "RS256", "https://api.test/v1")
	i := trusting(t, time.Now, trust(a, "RS256"), trust(b, "RS256"))
	good := map[string]any{"realm_access": roles("instruction"), "client_id": insertion.ID}
	a.Act(insertion.ID, "https://api.test/v1")
	b.Act(insertion.ID, "https://api.test/v1")
	first, err := i.Verify(t.Context(), a.Token(t, good))
	if err != nil {
		t.Fatal(err)
	}
	second, err := i.Verify(t.Context(), b.Token(t, good))
	if err != nil {
		t.Fatal(err)
	}
	own, _, err := i.Issue(insertion, nil)
	if err != nil {
		t.Fatal(err)
	}
	third, err := i.Verify(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	if first.Client == second.Client || first.Client == third.Client || second.Client == third.Client {
		t.Errorf("%q %q %q", first.Client, second.Client, third.Client)
	}
	i.Revoke(impact.EndTokens(insertion.ID, time.Now().Add(time.Minute)))
	if _, err := i.Verify(t.Context(), a.Token(t, good)); err != nil {
		t.Errorf("revoking a client of ours ends a namesake's token: %v", err)
	}
	token := a.Token(t, good)
	read, err := i.Inspect(t.Context(), token)
	if err != nil || read.Issuer != a.URL || read.ID == "" {
		t.Fatal(read, err)
	}
	i.Revoke(impact.Revocation{Client: read.Principal.Client, Token: read.ID, Expires: read.ExpiresAt})
	_, err = i.Verify(t.Context(), token)
	refused(t, "revoked here", err)
}

// An issuer replaces its keys: the new one is found when first met, once a
// minute at most, and the old one opens nothing once it is gone.
func TestAnotherIssuerReplacesItsKeys(t *testing.T) {
	p := oidctest.Start(t, "ES256", "https://api.test/v1")
	c := &clock{time.Now()}
	i := trusting(t, c.Now, trust(p, "ES256"))
	good := map[string]any{"realm_access": roles("instruction")}
	holds := func(name, token string, want bool) {
		t.Helper()
		_, err := i.Verify(t.Context(), token)
		if want && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !want {
			refused(t, name, err)
		}
	}
	old := p.Token(t, good)
	holds("at first", old, true)
	p.AddKey(t, "second", "ES256")
	next := p.Token(t, good)
	holds("a kid not known, a second after the last fetch", next, false)
	if n := p.Fetches(); n != 1 {
		t.Errorf("%d fetches within a minute", n)
	}
	c.now = c.now.Add(jwksPause)
	holds("the new key, a minute later", next, true)
	holds("the old one beside it", old, true)
	if n := p.Fetches(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	for range 50 {
		holds("a kid nobody has", forge(t, map[string]any{"alg": "ES256", "typ": "JWT", "kid": "nobody"}, map[string]any{"iss": p.URL}, func(string) []byte { return make([]byte, 64) }), false)
	}
	if n := p.Fetches(); n != 2 {
		t.Errorf("%d fetches: a stranger makes us ask", n)
	}
	p.DropKey()
	c.now = c.now.Add(2 * time.Minute)
	holds("within the time keys are believed", old, true)
	c.now = c.now.Add(jwksFresh)
	if _, err := i.external[p.URL].keys.find(t.Context(), "first", "ES256"); err == nil {
		t.Error("a key that went out of the set is still believed")
	}
	if _, err := i.external[p.URL].keys.find(t.Context(), "second", "ES256"); err != nil {
		t.Error(err)
	}
}

func TestIssuersThatCannotBeTrustedSafelyAreRefused(t *testing.T) {
	good := ExternalIssuer{
		Issuer: "https://sso.test/realms/a", Algorithms: []string{"RS256"}, Claims: map[string]string{"role": "roles"},
		Roles: map[string]impact.Role{"x": impact.RoleSteward}, Scopes: []impact.Scope{impact.ObservationsRead},
	}
	start := func(list ...ExternalIssuer) error {
		_, err := NewIssuer(Config{Issuer: "https://api.test", Audience: "a", Keys: keySet(t, newKey(t)), Now: time.Now, External: list})
		return err
	}
	if err := start(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ExternalIssuer){
		"no issuer":               func(e *ExternalIssuer) { e.Issuer = "" },
		"ours":                    func(e *ExternalIssuer) { e.Issuer = "https://api.test" },
		"ours, with a slash":      func(e *ExternalIssuer) { e.Issuer = "https://api.test/" },
		"http":                    func(e *ExternalIssuer) { e.Issuer = "http://sso.test" },
		"http on this machine":    func(e *ExternalIssuer) { e.Issuer = "http://127.0.0.1:8080" },
		"a file":                  func(e *ExternalIssuer) { e.JWKSURI = "file:///etc/passwd" },
		"keys over http":          func(e *ExternalIssuer) { e.JWKSURI = "http://sso.test/keys" },
		"a password in it":        func(e *ExternalIssuer) { e.JWKSURI = "https://a:b@sso.test/keys" },
		"a bar":                   func(e *ExternalIssuer) { e.Issuer = "https://sso.test/a|b" },
		"no algorithm":            func(e *ExternalIssuer) { e.Algorithms = nil },
		"none":                    func(e *ExternalIssuer) { e.Algorithms = []string{"none"} },
		"HMAC":                    func(e *ExternalIssuer) { e.Algorithms = []string{"RS256", "HS256"} },
		"no role":                 func(e *ExternalIssuer) { e.Claims = nil },
		"no meaning of a role":    func(e *ExternalIssuer) { e.Roles = nil },
		"a role nobody has":       func(e *ExternalIssuer) { e.Roles = map[string]impact.Role{"x": "root"} },
		"a constant role unknown": func(e *ExternalIssuer) { e.Claims, e.Constants = nil, map[string]string{"role": "root"} },
		"a claim of nothing":      func(e *ExternalIssuer) { e.Claims = map[string]string{"role": "r", "scopes": "s"} },
		"no ceiling":              func(e *ExternalIssuer) { e.Scopes = nil },
		"a scope unknown":         func(e *ExternalIssuer) { e.Scopes = []impact.Scope{"everything"} },
	} {
		e := good
		change(&e)
		if err := start(e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := start(good, good); err == nil {
		t.Error("an issuer given twice: accepted")
	}
	for name, text := range map[string]string{
		"a member misspelt": `[{"issuer":"https://sso.test","scope":["observations.read"]}]`,
		"two documents":     `[] []`,
		"an object":         `{}`,
		"nothing":           ``,
	} {
		if _, err := ParseIssuers([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if list, err := ParseIssuers([]byte(`[{"issuer":"https://sso.test","algorithms":["RS256"],"claims":{"role":"r"},"roles":{"x":"steward"},"scopes":["observations.read"]}]`)); err != nil || len(list) != 1 || list[0].Roles["x"] != impact.RoleSteward {
		t.Error(list, err)
	}
}

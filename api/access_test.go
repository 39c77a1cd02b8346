package api_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

var segment = regexp.MustCompile(`:[a-z]+`)

// guessed gives an address of the route with a guessed id.
func guessed(r api.Route, id string) string {
	if p, ok := sample[r.Path]; ok {
		return p
	}
	return segment.ReplaceAllString(r.Path, id)
}

func holds(scopes []impact.Scope, p []impact.Scope) bool {
	return slices.ContainsFunc(scopes, func(s impact.Scope) bool { return slices.Contains(p, s) })
}

// Every route × every kind of caller: a route opens to those whose role may
// have its scope, and to nobody else; a guessed id opens nothing.
func TestEveryRouteOpensToItsCallersOnly(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		roles := map[string]impact.Role{"anonymous": impact.Anonymous, "organisation": impact.RoleOrganisation, "other organisation": impact.RoleOrganisation, "buyer": impact.RoleBuyer, "steward": impact.RoleSteward, "administrator": impact.RoleAdministrator, "network": impact.RoleNetwork}
		for _, r := range api.Routes() {
			if r.OAuth {
				continue
			}
			path := guessed(r, "0190b5d2-aaaa-7bbb-8ccc-000000000000")
			var body any
			if r.Method != http.MethodGet && r.Method != http.MethodDelete {
				body = `{}`
			}
			for name, x := range w.callers() {
				a := x.do(t, r.Method, path, body)
				line := fmt.Sprintf("%s %s as %s: %d %s", r.Method, path, name, a.status, a.body)
				needed := r.Access.Scopes
				if r.Access.Published {
					needed = nil // for going beyond what is published
				}
				switch {
				case name == "anonymous" && !r.Access.Open && (len(needed) > 0 || r.Access.Token):
					refused(t, a, 401, "missing_token")
				case name != "anonymous" && len(needed) > 0 && !holds(needed, impact.AllowedScopes(roles[name])):
					refused(t, a, 403, "insufficient_scope")
				default:
					if a.status == 401 || a.status >= 500 {
						t.Error(line)
					}
					if strings.Contains(path, "0190b5d2") && a.status < 400 {
						t.Error("a guessed id opens something: " + line)
					}
				}
			}
		}
	})
}

// A token that was not issued here, for this API, and for now, opens nothing.
func TestForgedTokensOpenNothing(t *testing.T) {
	w := embedded(t)
	parts := strings.Split(w.organisation.token, ".")
	var head, claims map[string]any
	decode := func(s string, v any) {
		b, err := base64.RawURLEncoding.DecodeString(s)
		must(t, err)
		must(t, json.Unmarshal(b, v))
	}
	decode(parts[0], &head)
	decode(parts[1], &claims)
	encode := func(v any) string {
		b, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	with := func(m map[string]any, k string, v any) map[string]any {
		out := map[string]any{}
		for name, x := range m {
			out[name] = x
		}
		out[k] = v
		return out
	}
	signed := func(head, claims map[string]any, sign func([]byte) []byte) string {
		s := encode(head) + "." + encode(claims)
		return s + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(s)))
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	byStranger := func(b []byte) []byte { return ed25519.Sign(stranger, b) }
	issue := func(c auth.Config) string {
		t.Helper()
		other, err := auth.NewIssuer(c)
		must(t, err)
		token, _, err := other.Issue(impact.Client{ID: w.organisation.id, Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)}, nil)
		must(t, err)
		return token
	}
	ago := func() time.Time { return now().Add(-time.Hour) }
	for name, token := range map[string]string{
		"alg none":                 encode(with(head, "alg", "none")) + "." + parts[1] + ".",
		"alg none, signature kept": encode(with(head, "alg", "none")) + "." + parts[1] + "." + parts[2],
		"alg None":                 encode(with(head, "alg", "None")) + "." + parts[1] + ".",
		"HMAC keyed by the kid": signed(with(head, "alg", "HS256"), claims, func(b []byte) []byte {
			m := hmac.New(sha256.New, []byte(head["kid"].(string)))
			m.Write(b)
			return m.Sum(nil)
		}),
		"another role, same signature": parts[0] + "." + encode(with(claims, "role", "steward")) + "." + parts[2],
		"another organisation":         parts[0] + "." + encode(with(claims, "organisation", string(w.bocage.ID))) + "." + parts[2],
		"key of a stranger":            signed(head, claims, byStranger),
		"key of a stranger, jwk":       signed(with(head, "jwk", map[string]string{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(stranger.Public().(ed25519.PublicKey))}), claims, byStranger),
		"unknown kid":                  encode(with(head, "kid", "nobody")) + "." + parts[1] + "." + parts[2],
		"an ID token":                  encode(with(head, "typ", "JWT")) + "." + parts[1] + "." + parts[2],
		"signature cut":                parts[0] + "." + parts[1] + "." + parts[2][:20],
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"expired":                      issue(auth.Config{Issuer: publicURL, Audience: publicURL, Keys: w.keys, Now: ago}),
		"for another API":              issue(auth.Config{Issuer: publicURL, Audience: "https://other.example", Keys: w.keys, Now: now}),
		"of another issuer":            issue(auth.Config{Issuer: "https://other.example", Audience: publicURL, Keys: w.keys, Now: now}),
		"not yet":                      issue(auth.Config{Issuer: publicURL, Audience: publicURL, Keys: w.keys, Now: func() time.Time { return now().Add(time.Hour) }}),
		"nonsense":                     "a.b.c",
		"very long":                    strings.Repeat("a", 8000),
	} {
		for _, path := range []string{"/v1/me", "/v1/observations", "/v1/territories"} {
			a := w.anonymous.with(token).get(t, path)
			if a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%s: %s is %d %s", name, path, a.status, a.body)
			}
		}
	}
	// The same made honestly is accepted: the refusals above are not for another reason.
	if a := w.anonymous.with(issue(auth.Config{Issuer: publicURL, Audience: publicURL, Keys: w.keys, Now: now})).get(t, "/v1/me"); a.status != 200 {
		t.Errorf("an honest token: %d %s", a.status, a.body)
	}
}

// A narrower token does what it says and nothing more.
func TestNarrowTokenStaysNarrow(t *testing.T) {
	w := embedded(t)
	narrow, _, err := w.issuer.Issue(impact.Client{ID: w.organisation.id, Role: impact.RoleOrganisation, Organisation: w.atelier.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}, []impact.Scope{impact.OrganisationsRead})
	must(t, err)
	x := w.anonymous.with(narrow)
	if a := x.get(t, "/v1/organisations/"+string(w.atelier.ID)); a.status != 200 {
		t.Errorf("its own organisation: %d %s", a.status, a.body)
	}
	refused(t, x.get(t, "/v1/observations"), 403, "insufficient_scope")
	refused(t, x.post(t, "/v1/observations", `{}`), 403, "insufficient_scope")
	refused(t, x.get(t, "/v1/aggregates?release=live&indicator=insertion_hours&territory=metropole-200046977&period=2024&organisation="+string(w.atelier.ID)), 403, "insufficient_scope")
}

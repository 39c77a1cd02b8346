package api_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/auth"
)

// A stranger who knows the address alone finds the keys and checks a token with
// them.
func TestTokensAreVerifiedWithThePublishedKeys(t *testing.T) {
	w := embedded(t)
	metadata := w.anonymous.get(t, "/.well-known/oauth-authorization-server")
	if metadata.at(t, "/issuer") != publicURL {
		t.Errorf("RFC 8414, 3.3: the issuer is the address: %s", metadata.body)
	}
	published := func() map[string]ed25519.PublicKey {
		a := w.anonymous.get(t, strings.TrimPrefix(metadata.at(t, "/jwks_uri").(string), publicURL))
		if a.header.Get("Cache-Control") != "public, max-age=300" || a.header.Get("ETag") == "" {
			t.Errorf("%v", a.header)
		}
		keys := map[string]ed25519.PublicKey{}
		for _, k := range a.json(t)["keys"].([]any) {
			k := k.(map[string]any)
			x, err := base64.RawURLEncoding.DecodeString(k["x"].(string))
			must(t, err)
			if _, private := k["d"]; private || k["kty"] != "OKP" || k["crv"] != "Ed25519" || k["alg"] != "EdDSA" || k["use"] != "sig" {
				t.Errorf("%v", k)
			}
			keys[k["kid"].(string)] = x
		}
		return keys
	}
	verify := func(keys map[string]ed25519.PublicKey, token string) {
		t.Helper()
		_, err := jwt.Parse(token, func(t *jwt.Token) (any, error) { return keys[t.Header["kid"].(string)], nil }, jwt.WithValidMethods([]string{"EdDSA"}))
		if err != nil {
			t.Error(err)
		}
	}
	before := w.anonymous.get(t, "/oauth/jwks.json").header.Get("ETag")
	verify(published(), w.organisation.token)

	// The next key is published before it signs, and another ETag says so.
	next, err := auth.GenerateKey()
	must(t, err)
	next.SignsFrom = now().AddDate(0, 0, 1)
	both, err := w.keys.With(next)
	must(t, err)
	w.issuer.SetKeys(both)
	if keys := published(); len(keys) != 2 || keys[next.ID] == nil {
		t.Errorf("%v", keys)
	}
	if a := w.anonymous.get(t, "/oauth/jwks.json", header{"If-None-Match", before}); a.status != http.StatusOK {
		t.Errorf("the keys changed and the tag did not: %d", a.status)
	}
	verify(published(), w.organisation.token)
}

// The metadata name what is served, and nothing else.
func TestOAuthMetadataAreTrue(t *testing.T) {
	w := embedded(t)
	served := func(method string, address any) {
		t.Helper()
		path := strings.TrimPrefix(address.(string), publicURL)
		if !slices.ContainsFunc(api.Routes(), func(r api.Route) bool { return r.Method == method && r.Path == path }) {
			t.Errorf("%s %s is not served", method, path)
		}
	}
	refusal := w.anonymous.get(t, "/v1/me").header.Get("WWW-Authenticate")
	_, address, _ := strings.Cut(refusal, `resource_metadata="`)
	address, _, _ = strings.Cut(address, `"`)
	resource := w.anonymous.get(t, strings.TrimPrefix(address, publicURL))
	if resource.at(t, "/resource") != publicURL+"/v1" || resource.at(t, "/authorization_servers/0") != publicURL {
		t.Errorf("%s", resource.body)
	}
	served("GET", resource.at(t, "/jwks_uri"))
	m := w.anonymous.get(t, "/.well-known/oauth-authorization-server")
	for name, v := range m.json(t) {
		if strings.HasSuffix(name, "_endpoint") {
			served("POST", v)
		}
	}
	served("GET", m.at(t, "/jwks_uri"))
	for _, scope := range w.organisation.get(t, "/v1/me").at(t, "/scopes").([]any) {
		if !slices.Contains(m.at(t, "/scopes_supported").([]any), scope) {
			t.Errorf("scope %v is given and not listed", scope)
		}
	}
}

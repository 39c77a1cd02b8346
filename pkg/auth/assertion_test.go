package auth

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/grandlyon/retombees/pkg/impact"
)

// No text but the one the client signed says who it is, and no set of keys that
// is accepted brings the reader down.
func FuzzAssertion(f *testing.F) {
	i := issuer(f, func() time.Time { return noon })
	key := newKey(f)
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public, KeyID: "k"}}})
	if err != nil {
		f.Fatal(err)
	}
	good := forge(f, map[string]any{"alg": "EdDSA", "kid": "k"}, map[string]any{
		"iss": "crm", "sub": "crm", "aud": "https://api.test", "exp": noon.Add(time.Minute).Unix(), "jti": "1",
	}, signer(f, "EdDSA", key.private))
	if jti, expires, err := i.CheckAssertion(good, impact.Client{ID: "crm", JWKS: string(jwks)}); err != nil || jti != "1" || !expires.Equal(noon.Add(time.Minute)) {
		f.Fatal(jti, expires, err)
	}
	f.Add(good, string(jwks))
	f.Add(good[:len(good)-3], `{"keys":[{"kty":"oct","k":"AA","kid":"k"}]}`)
	f.Add("..", `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"k"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"k"}]}`)
	f.Fuzz(func(t *testing.T, assertion, keys string) {
		if _, _, err := i.CheckAssertion(assertion, impact.Client{ID: "crm", JWKS: string(jwks)}); err == nil && assertion != good {
			t.Fatalf("accepted %q", assertion)
		}
		if len(CheckClientKeys(keys)) == 0 {
			_, _, _ = i.CheckAssertion(assertion, impact.Client{ID: "crm", JWKS: keys})
		}
	})
}

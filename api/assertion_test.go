package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// publicJWK is a key as an administrator receives it from a client.
func publicJWK(t *testing.T, kid string, key crypto.Signer) object {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: key.Public(), KeyID: kid})
	must(t, err)
	var o object
	must(t, json.Unmarshal(b, &o))
	return o
}

// assertion signs who one is (RFC 7523).
func assertion(t *testing.T, alg, kid string, key any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	must(t, err)
	return s
}

func asserted(a string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {a}}
}

func TestAClientSignsInPlaceOfASecret(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		must(t, err)
		ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		_, edKey, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		made := w.administrator.post(t, "/v1/clients", object{"name": "CRM", "role": "organisation", "organisation": w.atelier.ID, "jwks": object{"keys": []any{
			publicJWK(t, "rsa", rsaKey), publicJWK(t, "ec", ecKey), publicJWK(t, "ed", edKey),
		}}})
		if made.status != http.StatusCreated || made.at(t, "/client_secret") != nil || made.at(t, "/jwks/keys/2/kid") != "ed" || fmt.Sprint(made.at(t, "/secrets")) != "0" {
			t.Fatalf("%d %s", made.status, made.body)
		}
		id := made.at(t, "/client_id").(string)
		n := 0
		claims := func(change jwt.MapClaims) jwt.MapClaims {
			n++
			c := jwt.MapClaims{"iss": id, "sub": id, "aud": publicURL, "exp": now().Add(5 * time.Minute).Unix(), "iat": now().Unix(), "jti": fmt.Sprint("assertion-", n)}
			for k, v := range change {
				if c[k] = v; v == nil {
					delete(c, k)
				}
			}
			return c
		}
		sign := func(change jwt.MapClaims) string { return assertion(t, "EdDSA", "ed", edKey, claims(change)) }
		for name, a := range map[string]string{
			"RS256":                 assertion(t, "RS256", "rsa", rsaKey, claims(nil)),
			"PS256":                 assertion(t, "PS256", "rsa", rsaKey, claims(nil)),
			"ES256":                 assertion(t, "ES256", "ec", ecKey, claims(nil)),
			"EdDSA":                 sign(nil),
			"for the token address": sign(jwt.MapClaims{"aud": publicURL + "/oauth/token"}),
		} {
			got := w.anonymous.post(t, "/oauth/token", asserted(a))
			if got.status != http.StatusOK {
				t.Errorf("%s: %d %s", name, got.status, got.body)
				continue
			}
			if me := w.anonymous.with(got.at(t, "/access_token").(string)).get(t, "/v1/me"); me.at(t, "/organisation") != string(w.atelier.ID) {
				t.Errorf("%s: %s", name, me.body)
			}
			if again := w.anonymous.post(t, "/oauth/token", asserted(a)); again.status != 401 || again.at(t, "/error") != "invalid_client" {
				t.Errorf("%s, sent again: %d %s", name, again.status, again.body)
			}
		}
		_, stranger, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		token := w.organisation.token
		for name, a := range map[string]string{
			"another's key under this kid": assertion(t, "EdDSA", "ed", stranger, claims(nil)),
			"no kid":                       assertion(t, "EdDSA", "", edKey, claims(nil)),
			"another key's kid":            assertion(t, "EdDSA", "ec", edKey, claims(nil)),
			"HMAC with the public key":     assertion(t, "HS256", "ed", []byte(edKey.Public().(ed25519.PublicKey)), claims(nil)),
			"none":                         assertion(t, "none", "ed", jwt.UnsafeAllowNoneSignatureType, claims(nil)),
			"a client without key":         sign(jwt.MapClaims{"iss": w.steward.id, "sub": w.steward.id}),
			"a client nobody knows":        sign(jwt.MapClaims{"iss": "nobody", "sub": "nobody"}),
			"in the name of another":       sign(jwt.MapClaims{"sub": w.steward.id}),
			"no subject":                   sign(jwt.MapClaims{"sub": nil}),
			"for another server":           sign(jwt.MapClaims{"aud": "https://evil.example"}),
			"for the API, not its tokens":  sign(jwt.MapClaims{"aud": publicURL + "/v1"}),
			"for nobody":                   sign(jwt.MapClaims{"aud": nil}),
			"expired":                      sign(jwt.MapClaims{"exp": now().Add(-time.Minute).Unix()}),
			"good for a day":               sign(jwt.MapClaims{"exp": now().Add(24 * time.Hour).Unix()}),
			"good for ever":                sign(jwt.MapClaims{"exp": nil}),
			"of tomorrow":                  sign(jwt.MapClaims{"iat": now().Add(24 * time.Hour).Unix()}),
			"no jti":                       sign(jwt.MapClaims{"jti": nil}),
			"a long jti":                   sign(jwt.MapClaims{"jti": strings.Repeat("a", 256)}),
			"an access token":              token,
			"nonsense":                     "a.b.c",
			"very long":                    strings.Repeat("a", 9000),
		} {
			got := w.anonymous.post(t, "/oauth/token", asserted(a))
			if got.status != 401 || got.at(t, "/error") != "invalid_client" {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
		form := func(change url.Values) url.Values {
			f := asserted(sign(nil))
			for k, v := range change {
				f[k] = v
			}
			return f
		}
		for name, c := range map[string]struct {
			got    answer
			status int
		}{
			"its own id beside":       {w.anonymous.post(t, "/oauth/token", form(url.Values{"client_id": {id}})), 200},
			"another's id beside":     {w.anonymous.post(t, "/oauth/token", form(url.Values{"client_id": {w.steward.id}})), 401},
			"another kind":            {w.anonymous.post(t, "/oauth/token", form(url.Values{"client_assertion_type": {"saml2"}})), 400},
			"a secret beside":         {w.anonymous.post(t, "/oauth/token", form(url.Values{"client_secret": {"x"}})), 400},
			"a header beside":         {w.anonymous.post(t, "/oauth/token", form(nil), basic(w.steward.id, w.steward.secret)), 400},
			"nothing but the kind":    {w.anonymous.post(t, "/oauth/token", form(url.Values{"client_assertion": {""}})), 400},
			"to end a token not ours": {w.anonymous.post(t, "/oauth/revoke", form(url.Values{"token": {"a.b.c"}})), 200},
		} {
			if c.got.status != c.status {
				t.Errorf("%s: %d %s", name, c.got.status, c.got.body)
			}
		}

		// One key is replaced by another; then the client is revoked.
		own := "/v1/clients/" + id
		if a := w.administrator.do(t, "PATCH", own, object{"jwks": object{"keys": []any{publicJWK(t, "new", stranger)}}}, header{"If-Match", `"v1"`}); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := w.anonymous.post(t, "/oauth/token", asserted(sign(nil))); a.status != 401 {
			t.Errorf("a key that was replaced: %d", a.status)
		}
		if a := w.anonymous.post(t, "/oauth/token", asserted(assertion(t, "EdDSA", "new", stranger, claims(nil)))); a.status != 200 {
			t.Errorf("the new key: %d %s", a.status, a.body)
		}
		w.administrator.do(t, "DELETE", own, nil)
		if a := w.anonymous.post(t, "/oauth/token", asserted(assertion(t, "EdDSA", "new", stranger, claims(nil)))); a.status != 401 {
			t.Errorf("a revoked client: %d", a.status)
		}
	})
}

func TestKeysThatVerifyNothingAreRefused(t *testing.T) {
	w := embedded(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	big, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	_, good, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	with := func(o object, k string, v any) object { o[k] = v; return o }
	key := func() object { return publicJWK(t, "good", good) }
	for name, c := range map[string]struct {
		keys    []any
		code    string
		pointer string
	}{
		"none":              {[]any{}, "out_of_range", "/jwks/keys"},
		"six":               {[]any{key(), key(), key(), key(), key(), key()}, "out_of_range", "/jwks/keys"},
		"RSA of 1024 bits":  {[]any{publicJWK(t, "weak", weak)}, "invalid_type", "/jwks/keys/0"},
		"P-384":             {[]any{publicJWK(t, "big", big)}, "invalid_type", "/jwks/keys/0"},
		"for encryption":    {[]any{with(key(), "use", "enc")}, "invalid_type", "/jwks/keys/0"},
		"for HMAC":          {[]any{with(key(), "alg", "HS256")}, "invalid_type", "/jwks/keys/0"},
		"without kid":       {[]any{with(key(), "kid", "")}, "missing_field", "/jwks/keys/0/kid"},
		"one kid for two":   {[]any{key(), key()}, "inconsistent", "/jwks/keys/1/kid"},
		"a private part":    {[]any{with(key(), "d", "AAAA")}, "unknown_member", "/jwks/keys/0/d"},
		"an address inside": {[]any{with(key(), "x5u", "https://evil.example")}, "unknown_member", "/jwks/keys/0/x5u"},
	} {
		a := w.administrator.post(t, "/v1/clients", object{"name": "x", "role": "steward", "jwks": object{"keys": c.keys}})
		refused(t, a, 422, "validation_failed")
		if a.at(t, "/errors/0/code") != c.code || a.at(t, "/errors/0/pointer") != c.pointer {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/grandlyon/retombees/pkg/auth/oidctest"
	"github.com/grandlyon/retombees/pkg/impact"
)

// published serves a key set as an attacker, or a careless issuer, could.
func published(t testing.TB, keys ...jose.JSONWebKey) *httptest.Server {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	t.Cleanup(s.Close)
	return s
}

func trustAt(url string, algorithms ...string) ExternalIssuer {
	return ExternalIssuer{
		Issuer: url, JWKSURI: url + "/keys", Algorithms: algorithms, Claims: map[string]string{"role": "role"},
		Roles: map[string]impact.Role{"instruction": impact.RoleSteward}, Scopes: []impact.Scope{impact.ObservationsRead},
	}
}

func signer(t testing.TB, alg string, key any) func(string) []byte {
	return func(signed string) []byte {
		t.Helper()
		b, err := jwt.GetSigningMethod(alg).Sign(signed, key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func TestForgedTokensOfAnotherIssuerAreRefused(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("a secret that was published by mistake, 32 bytes")
	server := published(t,
		jose.JSONWebKey{Key: rsaKey.Public(), KeyID: "rsa", Use: "sig"},
		jose.JSONWebKey{Key: rsaKey.Public(), KeyID: "rs-only", Algorithm: "RS256"},
		jose.JSONWebKey{Key: rsaKey.Public(), KeyID: "for-encryption", Use: "enc"},
		jose.JSONWebKey{Key: weak.Public(), KeyID: "weak"},
		jose.JSONWebKey{Key: ecKey.Public(), KeyID: "ec"},
		jose.JSONWebKey{Key: big.Public(), KeyID: "p384"},
		jose.JSONWebKey{Key: edKey.Public(), KeyID: "ed"},
		jose.JSONWebKey{Key: secret, KeyID: "secret"},
		jose.JSONWebKey{Key: ecKey, KeyID: "private"},
	)
	other := published(t, jose.JSONWebKey{Key: edKey.Public(), KeyID: "ed"})
	i := trusting(t, func() time.Time { return noon }, trustAt(server.URL, externalAlgorithms...), trustAt(other.URL, "EdDSA"))
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte) func(string) []byte {
		return func(s string) []byte { m := hmac.New(sha256.New, key); m.Write([]byte(s)); return m.Sum(nil) }
	}
	type change map[string]any
	header := map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": "rsa"}
	payload := map[string]any{
		"iss": server.URL, "aud": "https://api.test/v1", "sub": "marie", "iat": noon.Unix(), "exp": noon.Add(time.Hour).Unix(), "role": "instruction", "scope": "observations.read",
	}
	rs := signer(t, "RS256", rsaKey)
	for name, c := range map[string]struct {
		header, payload change
		sign            func(string) []byte
	}{
		"RS256":                            {nil, nil, rs},
		"PS256":                            {change{"alg": "PS256"}, nil, signer(t, "PS256", rsaKey)},
		"ES256":                            {change{"alg": "ES256", "kid": "ec"}, nil, signer(t, "ES256", ecKey)},
		"EdDSA":                            {change{"alg": "EdDSA", "kid": "ed"}, nil, signer(t, "EdDSA", edKey)},
		"aud among others":                 {nil, change{"aud": []string{"x", "https://api.test/v1"}}, rs},
		"a type written in full":           {change{"typ": "application/AT+jwt"}, nil, rs},
		"a clock some seconds in advance":  {nil, change{"iat": noon.Add(20 * time.Second).Unix()}, rs},
		"without jti, as some issuers do":  {nil, change{"jti": nil}, rs},
		"its own jwk, and signed honestly": {change{"jwk": change{"kty": "oct", "k": "AA"}, "jku": "https://evil.test"}, nil, rs},
	} {
		if _, err := i.Verify(t.Context(), forge(t, with(header, c.header), with(payload, c.payload), c.sign)); err != nil {
			t.Errorf("%s must be accepted, or the refusals below prove nothing: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		header, payload change
		sign            func(string) []byte
	}{
		"alg none":                         {change{"alg": "none"}, nil, func(string) []byte { return nil }},
		"HMAC with the public key":         {change{"alg": "HS256"}, nil, mac(der)},
		"HMAC with its modulus":            {change{"alg": "HS256"}, nil, mac(rsaKey.N.Bytes())},
		"HMAC with a published secret":     {change{"alg": "HS256", "kid": "secret"}, nil, mac(secret)},
		"RS256 under the key of another":   {change{"kid": "ec"}, nil, rs},
		"ES256 under an RSA key":           {change{"alg": "ES256"}, nil, signer(t, "ES256", ecKey)},
		"EdDSA under an RSA key":           {change{"alg": "EdDSA"}, nil, signer(t, "EdDSA", edKey)},
		"PS256 with a key for RS256":       {change{"alg": "PS256", "kid": "rs-only"}, nil, signer(t, "PS256", rsaKey)},
		"RS384, not allowed":               {change{"alg": "RS384"}, nil, signer(t, "RS384", rsaKey)},
		"RSA of 1024 bits":                 {change{"kid": "weak"}, nil, signer(t, "RS256", weak)},
		"ES384":                            {change{"alg": "ES384", "kid": "p384"}, nil, signer(t, "ES384", big)},
		"a key for encryption":             {change{"kid": "for-encryption"}, nil, rs},
		"a key whose private part is out":  {change{"alg": "ES256", "kid": "private"}, nil, signer(t, "ES256", ecKey)},
		"no kid":                           {change{"kid": nil}, nil, rs},
		"an empty kid":                     {change{"kid": ""}, nil, rs},
		"a kid that is a list":             {change{"kid": []string{"rsa"}}, nil, rs},
		"a kid in capitals":                {change{"kid": "RSA"}, nil, rs},
		"its own key":                      {change{"kid": "mine", "alg": "EdDSA", "jwk": change{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(edKey.Public().(ed25519.PublicKey)), "kid": "mine"}}, nil, signer(t, "EdDSA", edKey)},
		"its own address":                  {change{"kid": "mine", "jku": other.URL, "x5u": other.URL}, nil, rs},
		"an ID token":                      {change{"typ": "JWT"}, nil, rs},
		"no type":                          {change{"typ": nil}, nil, rs},
		"a critical extension":             {change{"crit": []string{"b64"}}, nil, rs},
		"expired":                          {nil, change{"exp": noon.Add(-31 * time.Second).Unix()}, rs},
		"no expiry":                        {nil, change{"exp": nil}, rs},
		"issued tomorrow":                  {nil, change{"iat": noon.Add(24 * time.Hour).Unix()}, rs},
		"no issue time":                    {nil, change{"iat": nil}, rs},
		"not yet":                          {nil, change{"nbf": noon.Add(time.Hour).Unix()}, rs},
		"for another audience":             {nil, change{"aud": "https://api.test"}, rs},
		"for nobody":                       {nil, change{"aud": nil}, rs},
		"no subject":                       {nil, change{"sub": nil}, rs},
		"a subject that is a number":       {nil, change{"sub": 7}, rs},
		"a long subject":                   {nil, change{"sub": strings.Repeat("a", 256)}, rs},
		"as us":                            {nil, change{"iss": "https://api.test", "client_id": "cocagne", "sub": "cocagne", "jti": "x"}, rs},
		"as us, with our kid":              {change{"kid": i.Keys().Keys()[0].ID, "alg": "EdDSA"}, change{"iss": "https://api.test", "client_id": "cocagne", "sub": "cocagne", "jti": "x", "role": "steward"}, signer(t, "EdDSA", edKey)},
		"as another trusted issuer":        {nil, change{"iss": other.URL}, rs},
		"as a stranger":                    {nil, change{"iss": "https://evil.test"}, rs},
		"as nobody":                        {nil, change{"iss": nil}, rs},
		"iss only in the header":           {change{"iss": server.URL}, change{"iss": nil}, rs},
		"iss in capitals":                  {nil, change{"iss": nil, "ISS": server.URL}, rs},
		"an issuer that begins like it":    {nil, change{"iss": server.URL + "/"}, rs},
		"signed by us, said to be its own": {change{"alg": "EdDSA", "kid": i.Keys().Keys()[0].ID}, nil, signer(t, "EdDSA", crypto.PrivateKey(i.Keys().Keys()[0].private))},
		"enormous":                         {nil, change{"groups": strings.Repeat("a", maxExternalBytes)}, rs},
	} {
		_, err := i.Verify(t.Context(), forge(t, with(header, c.header), with(payload, c.payload), c.sign))
		refused(t, name, err)
	}

	// The same claims said twice, whichever a reader would believe.
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	head, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(head, text string) string {
		signed := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(text))
		return signed + "." + base64.RawURLEncoding.EncodeToString(rs(signed))
	}
	if _, err := i.Verify(t.Context(), raw(string(head), string(text))); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"role twice":       raw(string(head), strings.Replace(string(text), "{", `{"role":"buyer",`, 1)),
		"iss in two cases": raw(string(head), strings.Replace(string(text), "{", `{"ISS":"https://api.test",`, 1)),
		"alg twice":        raw(strings.Replace(string(head), "{", `{"alg":"none",`, 1), string(text)),
		"a second object":  raw(string(head), string(text)+"{}"),
		"deep":             raw(string(head), strings.Replace(string(text), "{", `{"x":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`,`, 1)),
	} {
		_, err := i.Verify(t.Context(), token)
		refused(t, name, err)
	}
}

// What answers in place of an issuer is not followed, believed or waited for.
func TestKeysThatCannotBeReadOpenNothing(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "first"}}})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	t.Cleanup(elsewhere.Close)
	for name, answer := range map[string]http.HandlerFunc{
		"a redirection": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"an error with keys": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(set)
		},
		"a page": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no key": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"keys of a kind nobody has": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"PQ","kid":"first"}]}`))
		},
		"too much":                      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(set, make([]byte, maxJWKS)...)) },
		"another issuer's discovery":    discovery("https://evil.test", elsewhere.URL),
		"keys by discovery over http":   discovery("", "http://evil.test/keys"),
		"keys by discovery in a file":   discovery("", "file:///etc/passwd"),
		"a discovery that says nothing": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) },
	} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); answer(w, r) }))
		e := trustAt(server.URL, "ES256")
		if strings.Contains(name, "discovery") {
			e.JWKSURI = ""
		}
		i := trusting(t, func() time.Time { return noon }, e)
		token := forge(t, map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": "first"}, map[string]any{
			"iss": server.URL, "aud": "https://api.test/v1", "sub": "marie", "iat": noon.Unix(), "exp": noon.Add(time.Hour).Unix(), "role": "instruction",
		}, signer(t, "ES256", key))
		for range 3 {
			_, err := i.Verify(t.Context(), token)
			if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != "unavailable" || e.Kind != impact.Busy {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%s: asked %d times within a minute", name, n)
		}
		server.Close()
	}
}

// discovery names an issuer, the server itself when empty, and where keys are.
func discovery(issuer, keys string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if issuer == "" {
			issuer = "http://" + r.Host
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": keys})
	}
}

// An issuer that does not answer for a while does not shut its people out at
// once, and does not keep its keys for ever.
func TestKeysOutliveAShortSilence(t *testing.T) {
	p := oidctest.Start(t, "ES256", "https://api.test/v1")
	c := &clock{noon}
	silent := atomic.Bool{}
	i := trusting(t, c.Now, trust(p, "ES256"))
	keys := i.external[p.URL].keys
	keys.client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if silent.Load() {
			return nil, errors.New("no answer")
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	find := func() error { _, err := keys.find(t.Context(), "first", "ES256"); return err }
	if err := find(); err != nil {
		t.Fatal(err)
	}
	silent.Store(true)
	c.now = noon.Add(jwksStale - time.Second)
	if err := find(); err != nil {
		t.Errorf("within the hour: %v", err)
	}
	c.now = noon.Add(jwksStale)
	if err := find(); impact.KindOf(err) != impact.Busy {
		t.Errorf("after an hour: %v", err)
	}
	silent.Store(false)
	c.now = c.now.Add(jwksPause)
	if err := find(); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whatever a trusted issuer signs, nobody gets more than its ceiling.
func FuzzExternalClaims(f *testing.F) {
	e := &external{ExternalIssuer: ExternalIssuer{
		Issuer: "https://sso.test", Claims: map[string]string{"role": "a.role", "organisation": "org", "network": "net", "buyer": "buyer"},
		Roles:  map[string]impact.Role{"s": impact.RoleSteward, "o": impact.RoleOrganisation, "n": impact.RoleNetwork, "b": impact.RoleBuyer},
		Scopes: []impact.Scope{impact.ObservationsRead, impact.AggregatesLive, impact.ClientsManage},
	}}
	f.Add(`{"sub":"marie","iat":1,"exp":2,"a":{"role":["s"]},"scope":"observations.read clients.manage"}`)
	f.Add(`{"sub":"marie","iat":1,"exp":2,"a.role":"o","org":"x","scope":["aggregates.live"]}`)
	f.Add(`{"sub":"marie","iat":1e400,"exp":"2","a":{"role":{"s":1}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var c jwt.MapClaims
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		v, err := e.principal(c)
		if err != nil {
			return
		}
		p := v.principal
		if !strings.HasPrefix(p.Client, "https://sso.test|") || p.Role == impact.RoleAdministrator || p.IsAnonymous() {
			t.Fatalf("%+v", p)
		}
		for _, s := range p.Scopes {
			if !impact.MayHold(p.Role, s) || s != impact.ObservationsRead && s != impact.AggregatesLive {
				t.Fatalf("scope %s: %+v", s, p)
			}
		}
		parties := 0
		for _, id := range []string{string(p.Organisation), string(p.Network), p.Buyer} {
			if id != "" {
				parties++
			}
		}
		if parties > 1 || (p.Role == impact.RoleSteward) != (parties == 0) {
			t.Fatalf("acts for %d: %+v", parties, p)
		}
	})
}

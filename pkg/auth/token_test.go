package auth

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// clock is a clock the test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func issuer(t testing.TB, now func() time.Time, keys ...Key) *Issuer {
	t.Helper()
	if len(keys) == 0 {
		k, err := GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		keys = []Key{k}
	}
	set, err := NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	i, err := NewIssuer(Config{Issuer: "https://api.test", Audience: "https://api.test/v1", Keys: set, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

var insertion = impact.Client{
	ID: "cocagne", Name: "Cocagne", Role: impact.RoleOrganisation, Organisation: "org-1",
	Scopes: []impact.Scope{impact.ObservationsRead, impact.ObservationsWrite, impact.AggregatesLive},
}

func TestATokenCarriesTheClientAndOnlyTheScopesAsked(t *testing.T) {
	i := issuer(t, func() time.Time { return noon })
	token, expiresIn, err := i.Issue(insertion, []impact.Scope{impact.ObservationsRead})
	if err != nil {
		t.Fatal(err)
	}
	if expiresIn != 15*time.Minute {
		t.Errorf("expires in %v", expiresIn)
	}
	want := impact.Principal{
		Client: "cocagne", Name: "Cocagne", Role: impact.RoleOrganisation, Organisation: "org-1",
		Scopes: []impact.Scope{impact.ObservationsRead},
	}
	for _, reading := range []string{"verified", "from the cache"} {
		got, err := i.Verify(t.Context(), token)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", reading, err, diff)
		}
	}
	all, _, err := i.Issue(insertion, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := i.Verify(t.Context(), all); !cmp.Equal(p.Scopes, insertion.Scopes) {
		t.Errorf("no scope asked: got %v", p.Scopes)
	}
}

func TestATokenIsAnRFC9068AccessToken(t *testing.T) {
	i := issuer(t, func() time.Time { return noon })
	token, _, err := i.Issue(insertion, nil)
	if err != nil {
		t.Fatal(err)
	}
	header, payload := decode(t, token)
	if diff := cmp.Diff(map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": i.cfg.Keys.keys[0].ID}, header); diff != "" {
		t.Error(diff)
	}
	if jti, _ := payload["jti"].(string); len(jti) < 20 {
		t.Errorf("jti %q", jti)
	}
	delete(payload, "jti")
	want := map[string]any{
		"iss": "https://api.test", "aud": []any{"https://api.test/v1"}, "sub": "cocagne", "client_id": "cocagne",
		"iat": float64(noon.Unix()), "exp": float64(noon.Add(15 * time.Minute).Unix()),
		"scope": "observations.read observations.write aggregates.live",
		"role":  "organisation", "client_name": "Cocagne", "organisation": "org-1",
	}
	if diff := cmp.Diff(want, payload); diff != "" {
		t.Error(diff)
	}
}

func TestIssueRefusesAScopeNotHeldAndARevokedClient(t *testing.T) {
	i := issuer(t, func() time.Time { return noon })
	revoked := insertion
	revoked.Revoked = true
	for name, c := range map[string]struct {
		client impact.Client
		scopes []impact.Scope
		code   string
	}{
		"a scope not held": {insertion, []impact.Scope{impact.SubmissionsReview}, "invalid_scope"},
		"a revoked client": {revoked, nil, "invalid_client"},
	} {
		_, _, err := i.Issue(c.client, c.scopes)
		if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATokenLivesUntilItsExpiryAndThirtySecondsMore(t *testing.T) {
	for _, warm := range []bool{false, true} {
		c := &clock{noon}
		i := issuer(t, c.Now)
		token, _, err := i.Issue(insertion, nil)
		if err != nil {
			t.Fatal(err)
		}
		if warm {
			if _, err := i.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		c.now = noon.Add(15*time.Minute + 29*time.Second)
		if _, err := i.Verify(t.Context(), token); err != nil {
			t.Errorf("cached %v, within leeway: %v", warm, err)
		}
		c.now = noon.Add(15*time.Minute + 31*time.Second)
		_, err = i.Verify(t.Context(), token)
		refused(t, "after expiry", err)
		if e, _ := errors.AsType[*impact.Error](err); !strings.Contains(e.Detail.EN, "expired") {
			t.Errorf("cached %v: an expired token should say so: %v", warm, err)
		}
	}
}

func TestKeysAreReplacedWithoutRefusingTokensInFlight(t *testing.T) {
	now := func() time.Time { return noon }
	former, _ := GenerateKey()
	next, _ := GenerateKey()
	before := issuer(t, now, former)
	both := issuer(t, now, next, former)
	after := issuer(t, now, next)
	token, _, err := before.Issue(insertion, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := both.Verify(t.Context(), token); err != nil {
		t.Errorf("during the change: %v", err)
	}
	_, err = after.Verify(t.Context(), token)
	refused(t, "once the former key is gone", err)
}

// A replica that runs takes the keys of the file as they change: one key is
// known before it signs, and gone with the tokens it signed.
func TestKeysChangeWhileTheProgramRuns(t *testing.T) {
	c := &clock{noon}
	old, _ := GenerateKey()
	next, _ := GenerateKey()
	next.SignsFrom = noon.Add(10 * time.Minute)
	i := issuer(t, c.Now, old)
	issue := func(want Key) string {
		t.Helper()
		token, _, err := i.Issue(insertion, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header, _ := decode(t, token); header["kid"] != want.ID {
			t.Errorf("signed by another key: %v", header)
		}
		if _, err := i.Verify(t.Context(), token); err != nil {
			t.Error(err)
		}
		return token
	}
	first := issue(old)
	i.SetKeys(keySet(t, old, next))
	if n := len(i.Keys().Keys()); n != 2 {
		t.Errorf("%d keys published", n)
	}
	issue(old)
	c.now = next.SignsFrom
	issue(next)
	if _, err := i.Verify(t.Context(), first); err != nil {
		t.Errorf("the former key verifies: %v", err)
	}
	i.SetKeys(KeySet{}) // a file that cannot be read changes nothing
	issue(next)
	i.SetKeys(keySet(t, next))
	_, err := i.Verify(t.Context(), first)
	refused(t, "of a key that leaked, although it was verified before", err)
	issue(next)
}

// forge signs any header and claims with any method: what an attacker, or a
// careless issuer, could send.
func forge(t testing.TB, header, payload map[string]any, sign func(signed string) []byte) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	p, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(p)
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
}

func decode(t testing.TB, token string) (header, payload map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	for i, into := range []*map[string]any{&header, &payload} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

func refused(t testing.TB, name string, err error) {
	t.Helper()
	if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != "invalid_token" || e.Kind != impact.Unauthenticated {
		t.Errorf("%s: got %v, want invalid_token", name, err)
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	i := issuer(t, func() time.Time { return noon })
	key := i.cfg.Keys.keys[0]
	thief, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ours := func(s string) []byte { return ed25519.Sign(key.private, []byte(s)) }
	theirs := func(s string) []byte { return ed25519.Sign(thief.private, []byte(s)) }
	nothing := func(string) []byte { return nil }
	hmacWith := func(secret []byte) func(string) []byte {
		return func(s string) []byte { m := hmac.New(sha256.New, secret); m.Write([]byte(s)); return m.Sum(nil) }
	}
	pem, err := i.Keys().PEM()
	if err != nil {
		t.Fatal(err)
	}
	good, _, err := i.Issue(insertion, nil)
	if err != nil {
		t.Fatal(err)
	}
	header, payload := decode(t, good)

	// The base case must pass, or every refusal below would prove nothing.
	if _, err := i.Verify(t.Context(), forge(t, header, payload, ours)); err != nil {
		t.Fatalf("an untouched token must be accepted: %v", err)
	}

	type change map[string]any
	cases := []struct {
		name            string
		header, payload change // nil value = member removed
		sign            func(string) []byte
	}{
		{"alg none, no signature", change{"alg": "none"}, nil, nothing},
		{"alg None", change{"alg": "None"}, nil, nothing},
		{"alg none, our signature", change{"alg": "none"}, nil, ours},
		{"no alg", change{"alg": nil}, nil, ours},
		{"HS256 with the public key", change{"alg": "HS256"}, nil, hmacWith(key.Public)},
		{"HS256 with the PEM text", change{"alg": "HS256"}, nil, hmacWith(pem)},
		{"HS256 with an empty key", change{"alg": "HS256"}, nil, hmacWith(nil)},
		{"RS256", change{"alg": "RS256"}, nil, func(s string) []byte {
			b, err := jwt.SigningMethodRS256.Sign(s, rsaKey)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}},
		{"signed by another key under our kid", nil, nil, theirs},
		{"empty signature", nil, nil, nothing},
		{"kid of the thief", change{"kid": thief.ID}, nil, theirs},
		{"no kid", change{"kid": nil}, nil, ours},
		{"kid that is a path", change{"kid": "../../dev/null"}, nil, theirs},
		{"kid that is SQL", change{"kid": "x' OR '1'='1"}, nil, theirs},
		{"kid that is a list", change{"kid": []string{key.ID}}, nil, ours},
		{"own key in jwk", change{"kid": thief.ID, "jwk": change{"kty": "OKP", "crv": "Ed25519", "kid": thief.ID, "x": base64.RawURLEncoding.EncodeToString(thief.Public)}}, nil, theirs},
		{"own key in jwk under our kid", change{"jwk": change{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(thief.Public)}}, nil, theirs},
		{"own keys by jku", change{"kid": thief.ID, "jku": "https://evil.test/jwks.json"}, nil, theirs},
		{"own certificate by x5u", change{"kid": thief.ID, "x5u": "https://evil.test/cert.pem"}, nil, theirs},
		{"critical extension", change{"crit": []string{"b64"}, "b64": false}, nil, ours},
		{"an id token", change{"typ": "JWT"}, nil, ours},
		{"no typ", change{"typ": nil}, nil, ours},
		{"another issuer", nil, change{"iss": "https://evil.test"}, ours},
		{"no issuer", nil, change{"iss": nil}, ours},
		{"another audience", nil, change{"aud": "https://other.test/v1"}, ours},
		{"an audience that begins like ours", nil, change{"aud": "https://api.test/v1/admin"}, ours},
		{"no audience", nil, change{"aud": nil}, ours},
		{"empty audience", nil, change{"aud": []string{}}, ours},
		{"expired", nil, change{"exp": noon.Add(-31 * time.Second).Unix()}, ours},
		{"no expiry", nil, change{"exp": nil}, ours},
		{"expiry as text", nil, change{"exp": "tomorrow"}, ours},
		{"not yet valid", nil, change{"nbf": noon.Add(31 * time.Second).Unix()}, ours},
		{"issued in the future", nil, change{"iat": noon.Add(time.Hour).Unix()}, ours},
		{"no issue time", nil, change{"iat": nil}, ours},
		{"no jti", nil, change{"jti": nil}, ours},
		{"no subject", nil, change{"sub": nil}, ours},
		{"subject and client differ", nil, change{"sub": "someone-else"}, ours},
		{"unknown role", nil, change{"role": "root"}, ours},
		{"no role", nil, change{"role": nil}, ours},
		{"organisation's token without organisation", nil, change{"organisation": nil}, ours},
		{"buyer's token without buyer", nil, change{"role": "buyer"}, ours},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := i.Verify(t.Context(), forge(t, with(header, c.header), with(payload, c.payload), c.sign))
			refused(t, c.name, err)
		})
	}
}

func with(base, change map[string]any) map[string]any {
	m := maps.Clone(base)
	for k, v := range change {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

func TestDamagedTokensAreRefused(t *testing.T) {
	i := issuer(t, func() time.Time { return noon })
	good, _, err := i.Issue(insertion, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(t.Context(), good); err != nil { // the cache now knows the whole one
		t.Fatal(err)
	}
	for n := range len(good) {
		_, err := i.Verify(t.Context(), good[:n])
		refused(t, "truncated", err)
	}
	parts := strings.Split(good, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	raw[0] ^= 1
	for name, token := range map[string]string{
		"empty":                    "",
		"four parts":               good + ".x",
		"with spaces":              " " + good,
		"padded":                   good + "==",
		"with a newline":           good + "\n",
		"broken over lines":        good[:40] + "\r\n" + good[40:],
		"one bit of the signature": parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(raw),
		"huge":                     good + strings.Repeat("A", 1<<20),
		"huge and dotted":          strings.Repeat(".", 1<<20),
		"deep JSON":                base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 3000))) + "." + parts[1] + "." + parts[2],
		"Bearer kept":              "Bearer " + good,
	} {
		_, err := i.Verify(t.Context(), token)
		refused(t, name, err)
	}
	// A signature has one spelling: the unused bits of the last character may
	// not vary, or a blocked token could come back under another hash.
	last := good[:len(good)-1]
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if token := last + string(c); token != good {
			_, err := i.Verify(t.Context(), token)
			refused(t, "other last character", err)
		}
	}
}

func TestTheCacheIsBoundedAndKeepsTokensInUse(t *testing.T) {
	c := newCache[impact.Principal](4)
	sum := func(n int) (s [sha256.Size]byte) { s[0], s[1] = byte(n), byte(n>>8); return s }
	until := noon.Add(time.Minute)
	c.put(sum(0), impact.Principal{Client: "used"}, until)
	for n := 1; n < 1000; n++ {
		c.put(sum(n), impact.Principal{}, until)
		if _, ok := c.get(sum(0), noon); !ok {
			t.Fatalf("a token in use was forgotten after %d others", n)
		}
		if held := len(c.young) + len(c.old); held > 8 {
			t.Fatalf("%d tokens held", held)
		}
	}
	if _, ok := c.get(sum(1), noon); ok {
		t.Error("a token not used for long is still held")
	}
	if _, ok := c.get(sum(0), until); ok {
		t.Error("served at its expiry")
	}
}

func FuzzVerify(f *testing.F) {
	i := issuer(f, func() time.Time { return noon })
	good, _, err := i.Issue(insertion, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add(good[:len(good)-4])
	f.Fuzz(func(t *testing.T, token string) {
		p, err := i.Verify(t.Context(), token)
		if err == nil && token != good {
			t.Fatalf("accepted %q as %v", token, p)
		}
		if err != nil {
			refused(t, token, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	i := issuer(b, func() time.Time { return noon })
	token, _, err := i.Issue(insertion, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			i.held.Load().cache = newCache[verified](1)
			if _, err := i.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			if _, err := i.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
}

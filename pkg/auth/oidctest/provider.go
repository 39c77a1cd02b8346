// Package oidctest starts a real OpenID provider for tests.
package oidctest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Provider is an OpenID provider that listens: discovery, keys, and tokens for
// client credentials. What its administrators would decide (who has which
// claims, when a key is replaced) the test decides.
type Provider struct {
	// URL is its address and its issuer.
	URL     string
	fetches atomic.Int64 // of its keys
	directory
}

// directory is what the provider asks: who its clients are, what they may claim.
type directory struct {
	*storage.Storage
	mu            sync.Mutex
	keys          []key // the last signs
	claims        map[string]any
	audience, sub string
}

type key struct {
	id      string
	alg     jose.SignatureAlgorithm
	private crypto.Signer
	public  bool
}

func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return k.alg }
func (k key) Algorithm() jose.SignatureAlgorithm          { return k.alg }
func (k key) Use() string                                 { return "sig" }
func (k key) ID() string                                  { return k.id }
func (k key) Key() any {
	if k.public {
		return k.private.Public()
	}
	return k.private
}

func newKey(t testing.TB, id, alg string) key {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key{id: id, alg: jose.SignatureAlgorithm(alg), private: private}
}

// Start starts a provider that signs with alg (RS256, PS256, ES256 or EdDSA),
// under a key called "first". It gives tokens for audience, to one client.
func Start(t testing.TB, alg, audience string) *Provider {
	t.Helper()
	p := &Provider{directory: directory{audience: audience, sub: "marie", keys: []key{newKey(t, "first", alg)}}}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			p.fetches.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.URL = server.URL
	p.Storage = storage.NewStorage(storage.NewUserStore(p.URL))
	made, err := op.NewProvider(&op.Config{CryptoKey: [32]byte{1}}, &p.directory, op.StaticIssuer(p.URL), op.WithAllowInsecure())
	if err != nil {
		t.Fatal(err)
	}
	handler = made
	return p
}

// Fetches tells how often its keys were asked for.
func (p *Provider) Fetches() int64 { return p.fetches.Load() }

// AddKey publishes another key and signs with it.
func (p *Provider) AddKey(t testing.TB, id, alg string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, newKey(t, id, alg))
}

// DropKey takes the oldest key out.
func (p *Provider) DropKey() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = p.keys[1:]
}

// Act changes whom the next tokens are about, and for which API they are.
func (p *Provider) Act(sub, audience string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sub, p.audience = sub, audience
}

// SigningKey gives the key that signs.
func (d *directory) SigningKey(context.Context) (op.SigningKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[len(d.keys)-1], nil
}

func (d *directory) KeySet(context.Context) ([]op.Key, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []op.Key
	for _, k := range d.keys {
		k.public = true
		keys = append(keys, k)
	}
	return keys, nil
}

// ClientCredentials makes its clients receive JWT access tokens.
func (d *directory) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	c, err := d.Storage.ClientCredentials(ctx, id, secret)
	return jwtClient{c}, err
}

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (d *directory) ClientCredentialsTokenRequest(_ context.Context, _ string, scopes []string) (op.TokenRequest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &oidc.JWTTokenRequest{Subject: d.sub, Audience: []string{d.audience}, Scopes: scopes}, nil
}

func (d *directory) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.claims, nil
}

// Token asks for one over HTTP, for a caller with these claims.
func (p *Provider) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	p.mu.Lock()
	p.claims = claims
	p.mu.Unlock()
	var discovery struct {
		Token string `json:"token_endpoint"`
	}
	asked, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(asked)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&discovery); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, discovery.Token, strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("sid1", "verysecret")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	given, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = given.Body.Close() }()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(given.Body).Decode(&answer); err != nil || strings.Count(answer.Token, ".") != 2 {
		t.Fatalf("the provider gives no token: %d %v %q", given.StatusCode, err, answer.Token)
	}
	return answer.Token
}

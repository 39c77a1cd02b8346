package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/grandlyon/retombees/pkg/impact"
)

const (
	maxJWKS  = 256 << 10
	maxKeys  = 100
	leastRSA = 2048 // bits
	// jwksPause is the least time between two fetches, whatever is asked.
	jwksPause = time.Minute
	// jwksFresh is how long keys are used without looking again; jwksStale how
	// long they are when looking again fails.
	jwksFresh   = 10 * time.Minute
	jwksStale   = time.Hour
	jwksTimeout = 5 * time.Second
)

// remoteKeys is the key set of another issuer. Whatever tokens claim, it is
// fetched once a minute at most.
type remoteKeys struct {
	issuer, uri   string
	allowLoopback bool
	client        *http.Client
	now           func() time.Time

	one     singleflight.Group
	mu      sync.RWMutex
	keys    []jose.JSONWebKey
	fetched time.Time
	tried   time.Time
	failure error
}

// newFetcher is how documents of other issuers are read: no redirection, one
// short try, no bigger answer than header and body limits.
func newFetcher(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		Timeout:       jwksTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// find gives the key of kid that fits the algorithm. Unavailable (Busy) when no
// key could ever be fetched, or not for an hour.
func (r *remoteKeys) find(ctx context.Context, kid, alg string) (any, error) {
	if kid == "" {
		return nil, errors.New("no kid")
	}
	key, age := r.held(kid, alg)
	if key != nil && age < jwksFresh {
		return key, nil
	}
	r.refresh(ctx)
	key, age = r.held(kid, alg)
	switch {
	case age >= jwksStale:
		r.mu.RLock()
		defer r.mu.RUnlock()
		return nil, &impact.Error{Kind: impact.Busy, Code: "unavailable", Err: r.failure, Detail: impact.Text{
			FR: "Les clés de l'émetteur de ce jeton ne peuvent pas être lues.", EN: "The keys of this token's issuer cannot be read.",
		}, Hint: impact.Text{FR: "Réessayez dans une minute.", EN: "Try again in a minute."}}
	case key == nil:
		return nil, errors.New("unknown kid, or not for this algorithm")
	}
	return key, nil
}

func (r *remoteKeys) held(kid, alg string) (key any, age time.Duration) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, k := range r.keys {
		if k.KeyID == kid && (k.Algorithm == "" || k.Algorithm == alg) && fits(k.Key, alg) {
			key = k.Key
			break
		}
	}
	return key, r.now().Sub(r.fetched)
}

// fits tells that a key is of the algorithm's type, and strong enough.
func fits(key any, alg string) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return (alg == "RS256" || alg == "PS256") && k.N.BitLen() >= leastRSA
	case *ecdsa.PublicKey:
		return alg == "ES256" && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// refresh fetches the keys, unless that was tried in the last minute. Callers
// that come together share one fetch, which none of them can break off.
func (r *remoteKeys) refresh(ctx context.Context) {
	_, _, _ = r.one.Do("", func() (any, error) {
		r.mu.Lock()
		now := r.now()
		if now.Sub(r.tried) < jwksPause {
			r.mu.Unlock()
			return nil, nil
		}
		r.tried = now
		r.mu.Unlock()
		keys, err := r.fetch(context.WithoutCancel(ctx))
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.failure = err; err == nil {
			r.keys, r.fetched = keys, now
		}
		return nil, nil
	})
}

func (r *remoteKeys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	uri := r.uri
	if uri == "" {
		var d struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		if err := r.read(ctx, strings.TrimRight(r.issuer, "/")+"/.well-known/openid-configuration", &d); err != nil {
			return nil, err
		}
		if d.Issuer != r.issuer {
			return nil, fmt.Errorf("discovery names issuer %q, not %q", d.Issuer, r.issuer)
		}
		if err := fetchable(d.JWKSURI, r.allowLoopback); err != nil {
			return nil, fmt.Errorf("jwks_uri: %w", err)
		}
		uri = d.JWKSURI
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := r.read(ctx, uri, &set); err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys[:min(len(set.Keys), maxKeys)] {
		if k, ok := publicKey(text); ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no public key", uri)
	}
	return keys, nil
}

func (r *remoteKeys) read(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	res, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", address, res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxJWKS+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", address, err)
	}
	if len(text) > maxJWKS {
		return fmt.Errorf("%s is larger than %d bytes", address, maxJWKS)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading %s: %w", address, err)
	}
	return nil
}

package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/grandlyon/retombees/pkg/impact"
)

const (
	// MaxTokenBytes bounds a token of ours; they are under 1 kB.
	MaxTokenBytes = 4096
	// Leeway is the difference of clocks tolerated between replicas.
	Leeway = 30 * time.Second
	// TokenLife is how long a token holds when Config does not tell.
	TokenLife = 15 * time.Minute

	cacheSize = 8192
	tokenType = "at+jwt" // RFC 9068, 2.1
	algorithm = "EdDSA"
)

// Config says whose tokens these are.
type Config struct {
	Issuer   string // the public base URL
	Audience string // the API the tokens are for
	Keys     KeySet
	TTL      time.Duration // TokenLife when zero
	Now      func() time.Time
	// External are the other issuers whose tokens are taken. Transport reaches
	// them, http.DefaultTransport when nil; AllowLoopback lets them be on this
	// machine without TLS, for development.
	External      []ExternalIssuer
	Transport     http.RoundTripper
	AllowLoopback bool
}

// Issuer issues and verifies access tokens. It is safe for concurrent use.
type Issuer struct {
	cfg    Config
	parser *jwt.Parser
	held   atomic.Pointer[held]
	// revoked outlives the keys.
	revoked  *revoked
	external map[string]*external // by iss
}

// held is what goes together: what a key verified is forgotten with the key.
type held struct {
	keys  KeySet
	cache *cache[verified]
}

// verified is a token that held: who it is for, and which one it is.
type verified struct {
	principal       impact.Principal
	issuer, id      string // iss, jti
	issued, expires time.Time
}

// NewIssuer makes an issuer; issuer, audience, keys and clock are required.
func NewIssuer(cfg Config) (*Issuer, error) {
	if cfg.Issuer == "" || cfg.Audience == "" || cfg.Now == nil || len(cfg.Keys.keys) == 0 {
		return nil, errors.New("auth: issuer, audience, keys and clock are required")
	}
	if cfg.TTL > impact.LongestToken {
		return nil, fmt.Errorf("auth: tokens may hold %s at most", impact.LongestToken)
	}
	if cfg.TTL == 0 {
		cfg.TTL = TokenLife
	}
	i := &Issuer{
		cfg:      cfg,
		revoked:  newRevoked(),
		external: map[string]*external{},
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{algorithm}),
			jwt.WithIssuer(cfg.Issuer),
			jwt.WithAudience(cfg.Audience),
			jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(),
			jwt.WithLeeway(Leeway),
			jwt.WithTimeFunc(cfg.Now),
			jwt.WithStrictDecoding(),
		),
	}
	i.held.Store(&held{cfg.Keys, newCache[verified](cacheSize)})
	fetch := newFetcher(cfg.Transport)
	for _, e := range cfg.External {
		if i.external[e.Issuer] != nil {
			return nil, fmt.Errorf("external issuer %s is given twice", e.Issuer)
		}
		x, err := newExternal(e, &cfg, fetch)
		if err != nil {
			return nil, err
		}
		i.external[e.Issuer] = x
	}
	return i, nil
}

// SetKeys changes the keys from the next call on, tokens verified before
// included: those of a key that is gone are refused. An empty set and the keys
// already known change nothing, and it says so.
func (i *Issuer) SetKeys(keys KeySet) (changed bool) {
	if len(keys.keys) == 0 || keys.same(i.held.Load().keys) {
		return false
	}
	i.held.Store(&held{keys, newCache[verified](cacheSize)})
	return true
}

// Keys gives the keys in force: all of them verify, so all are published.
func (i *Issuer) Keys() KeySet { return i.held.Load().keys }

// Issuers names the other issuers whose tokens are taken, in order.
func (i *Issuer) Issuers() []string { return slices.Sorted(maps.Keys(i.external)) }

// claims are those of RFC 9068 and what the domain needs to know of a caller.
type claims struct {
	jwt.RegisteredClaims
	ClientID     string `json:"client_id"`
	Scope        string `json:"scope"`
	Role         string `json:"role"`
	Name         string `json:"client_name,omitempty"`
	Organisation string `json:"organisation,omitempty"`
	Network      string `json:"network,omitempty"`
	Buyer        string `json:"buyer,omitempty"`
}

// Issue signs a token for client, limited to scopes, or with all its scopes
// when none is asked. A scope the client does not hold is an error
// invalid_scope (Forbidden); a revoked client is invalid_client
// (Unauthenticated).
func (i *Issuer) Issue(client impact.Client, scopes []impact.Scope) (token string, expiresIn time.Duration, err error) {
	if client.Revoked {
		return "", 0, &impact.Error{Kind: impact.Unauthenticated, Code: "invalid_client", Detail: impact.Text{
			FR: "Ce client est révoqué.", EN: "This client is revoked.",
		}, Hint: impact.Text{
			FR: "Demandez de nouveaux identifiants à l'administrateur.", EN: "Ask the administrator for new credentials.",
		}}
	}
	if len(scopes) == 0 {
		scopes = client.Scopes
	}
	for _, s := range scopes {
		if !slices.Contains(client.Scopes, s) {
			held := strings.Join(impact.Words(client.Scopes), " ")
			return "", 0, &impact.Error{Kind: impact.Forbidden, Code: "invalid_scope", Detail: impact.Text{
				FR: fmt.Sprintf("Ce client n'a pas la portée %q.", s), EN: fmt.Sprintf("This client does not hold scope %q.", s),
			}, Hint: impact.Text{
				FR: "Portées de ce client : " + held + ".", EN: "Scopes of this client: " + held + ".",
			}}
		}
	}
	now := i.cfg.Now().Truncate(time.Second)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    i.cfg.Issuer,
			Subject:   client.ID,
			Audience:  jwt.ClaimStrings{i.cfg.Audience},
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(i.cfg.TTL)),
			ID:        rand.Text(),
		},
		ClientID:     client.ID,
		Scope:        strings.Join(impact.Words(scopes), " "),
		Role:         string(client.Role),
		Name:         client.Name,
		Organisation: string(client.Organisation),
		Network:      string(client.Network),
		Buyer:        client.Buyer,
	})
	key := i.Keys().Signer(now)
	t.Header["typ"], t.Header["kid"] = tokenType, key.ID
	if token, err = t.SignedString(key.private); err != nil {
		return "", 0, fmt.Errorf("signing a token: %w", err)
	}
	if len(token) > MaxTokenBytes {
		return "", 0, fmt.Errorf("the token of client %s would have %d bytes, more than %d", client.ID, len(token), MaxTokenBytes)
	}
	return token, i.cfg.TTL, nil
}

// Verify gives the principal of a token issued here or by a trusted issuer, for
// this audience, still valid and not revoked. Every other text is refused as
// invalid_token (Unauthenticated), and the message does not say which check
// failed, apart from expiry and revocation. unavailable (Busy) when the keys of
// a trusted issuer cannot be read.
func (i *Issuer) Verify(ctx context.Context, token string) (impact.Principal, error) {
	v, err := i.verify(ctx, token)
	return v.principal, err
}

func (i *Issuer) verify(ctx context.Context, token string) (verified, error) {
	if len(token) > maxExternalBytes {
		return verified{}, refuse(fmt.Errorf("%d bytes", len(token)))
	}
	// Go's base64 skips line breaks: one token would have many spellings.
	if strings.ContainsAny(token, "\r\n") {
		return verified{}, refuse(errors.New("line break"))
	}
	// A signature costs about 60 µs to verify, as much as a whole cached read,
	// and a client sends the same token for 15 minutes. The cache knows a token
	// by its SHA-256 (under 1 µs), only after a full verification, and never
	// beyond its expiry.
	sum := sha256.Sum256([]byte(token))
	held := i.held.Load()
	now := i.cfg.Now()
	v, ok := held.cache.get(sum, now)
	if !ok {
		claimed, err := peek(token)
		if err != nil {
			return verified{}, refuse(err)
		}
		until := now.Add(externalFresh)
		if other := i.external[claimed]; other != nil {
			v, err = other.verify(ctx, token)
		} else {
			v, err = i.own(held, token)
			until = v.expires.Add(Leeway)
		}
		if err != nil {
			return verified{}, err
		}
		if end := v.expires.Add(Leeway); end.Before(until) {
			until = end
		}
		held.cache.put(sum, v, until)
	}
	if i.revoked.has(v.principal.Client, v.id, v.issued) {
		return verified{}, refuse(errRevoked)
	}
	return v, nil
}

// own verifies a token that this issuer signed.
func (i *Issuer) own(held *held, token string) (verified, error) {
	if len(token) > MaxTokenBytes {
		return verified{}, refuse(fmt.Errorf("%d bytes", len(token)))
	}
	var c claims
	if _, err := i.parser.ParseWithClaims(token, &c, held.key); err != nil {
		return verified{}, refuse(err)
	}
	p, err := c.principal()
	if err != nil {
		return verified{}, refuse(err)
	}
	return verified{p, i.cfg.Issuer, c.ID, c.IssuedAt.Time, c.ExpiresAt.Time}, nil
}

// Token is what an access token says.
type Token struct {
	ID                  string // jti; a token of another issuer may have none
	Principal           impact.Principal
	Issuer              string
	IssuedAt, ExpiresAt time.Time
}

// Inspect reads a token as Verify does, and refuses what it refuses.
func (i *Issuer) Inspect(ctx context.Context, token string) (Token, error) {
	v, err := i.verify(ctx, token)
	if err != nil {
		return Token{}, err
	}
	return Token{v.id, v.principal, v.issuer, v.issued, v.expires}, nil
}

// Name is the issuer of the tokens signed here.
func (i *Issuer) Name() string { return i.cfg.Issuer }

// Audience is that of the tokens signed here.
func (i *Issuer) Audience() string { return i.cfg.Audience }

// key chooses the key by its kid among ours alone: the token's own jwk, jku,
// x5c and x5u are never looked at. A critical extension is refused, as RFC 7515
// asks of who does not know it.
func (h *held) key(t *jwt.Token) (any, error) {
	if err := acceptable(t, []string{tokenType}); err != nil {
		return nil, err
	}
	kid, _ := t.Header["kid"].(string)
	if public := h.keys.verifier(kid); public != nil {
		return public, nil
	}
	return nil, errors.New("unknown kid")
}

// acceptable checks what a header says beside the key: an access token, and no
// extension that is not known here.
func acceptable(t *jwt.Token, types []string) error {
	typ, _ := t.Header["typ"].(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if !slices.ContainsFunc(types, func(s string) bool { return strings.EqualFold(s, typ) }) {
		return fmt.Errorf("typ %q is not an access token", typ)
	}
	if _, ok := t.Header["crit"]; ok {
		return errors.New("critical header not understood")
	}
	return nil
}

func (c *claims) principal() (impact.Principal, error) {
	if c.Subject == "" || c.Subject != c.ClientID || c.ID == "" || c.IssuedAt == nil {
		return impact.Principal{}, errors.New("sub, client_id, jti and iat are required")
	}
	role := impact.Role(c.Role)
	switch role {
	case impact.RoleOrganisation:
		if c.Organisation == "" {
			return impact.Principal{}, errors.New("an organisation's token names it")
		}
	case impact.RoleNetwork:
		if c.Network == "" {
			return impact.Principal{}, errors.New("a network's token names it")
		}
	case impact.RoleBuyer:
		if c.Buyer == "" {
			return impact.Principal{}, errors.New("a buyer's token names it")
		}
	case impact.RoleSteward, impact.RoleAdministrator:
	default:
		return impact.Principal{}, errors.New("unknown role")
	}
	p := impact.Principal{
		Client: c.ClientID, Name: c.Name, Role: role,
		Organisation: impact.OrganisationID(c.Organisation), Network: impact.NetworkID(c.Network), Buyer: c.Buyer,
	}
	for s := range strings.FieldsSeq(c.Scope) {
		p.Scopes = append(p.Scopes, impact.Scope(s))
	}
	return p, nil
}

var errRevoked = errors.New("revoked")

func refuse(cause error) error {
	e := &impact.Error{Kind: impact.Unauthenticated, Code: "invalid_token", Err: cause, Detail: impact.Text{
		FR: "Ce jeton d'accès n'est pas valable ici.", EN: "This access token is not valid here.",
	}, Hint: impact.Text{
		FR: "Demandez-en un par POST /oauth/token et envoyez-le dans Authorization: Bearer.",
		EN: "Get one with POST /oauth/token and send it in Authorization: Bearer.",
	}}
	if errors.Is(cause, jwt.ErrTokenExpired) && !errors.Is(cause, jwt.ErrTokenSignatureInvalid) {
		e.Detail = impact.Text{FR: "Ce jeton d'accès a expiré.", EN: "This access token has expired."}
	} else if errors.Is(cause, errRevoked) {
		e.Detail = impact.Text{FR: "Ce jeton d'accès a été révoqué.", EN: "This access token was revoked."}
	}
	return e
}

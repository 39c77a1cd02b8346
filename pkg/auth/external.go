package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ExternalIssuer is an issuer of access tokens that is trusted here, up to what
// is written here. Its callers are known as "issuer|sub", never as a client of
// ours.
type ExternalIssuer struct {
	// Issuer is the iss of its tokens, to the letter.
	Issuer string `json:"issuer"`
	// JWKSURI is where its keys are; when absent, what its
	// /.well-known/openid-configuration says.
	JWKSURI string `json:"jwks_uri"`
	// Audience its tokens must name; ours when absent.
	Audience string `json:"audience"`
	// Algorithms it signs with, of RS256, PS256, ES256, EdDSA.
	Algorithms []string `json:"algorithms"`
	// TokenTypes are the typ of its access tokens: at+jwt (RFC 9068) when absent.
	// With "JWT", an ID token for the same audience would do as well.
	TokenTypes []string `json:"token_types"`
	// Claims names the claim that holds the role, organisation, network, buyer,
	// name or scope; "a.b" is b inside a. Constants gives one of them to every
	// token. Without either, scope is read from "scope".
	Claims    map[string]string `json:"claims"`
	Constants map[string]string `json:"constants"`
	// Roles are the values of the role claim that mean something here. A token
	// with none of them, or with two that differ, is refused.
	Roles map[string]impact.Role `json:"roles"`
	// Scopes is the ceiling: no token of this issuer gets another.
	Scopes []impact.Scope `json:"scopes"`
}

var (
	externalAlgorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
	externalMembers    = []string{"role", "organisation", "network", "buyer", "name", "scope"}
)

const (
	// maxExternalBytes bounds a token of another issuer: some list every role of
	// a person.
	maxExternalBytes = 8192
	// externalFresh is how long a verified token of another issuer is believed: a
	// key that goes out of its key set opens nothing after it and after
	// jwksFresh.
	externalFresh = time.Minute
	maxSubject    = 255
)

// ParseIssuers reads the JSON list of external issuers. An unknown member is an
// error: a restriction misspelt would be none.
func ParseIssuers(text []byte) ([]ExternalIssuer, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var list []ExternalIssuer
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("external issuers: %w", err)
	}
	if d.More() {
		return nil, errors.New("external issuers: one JSON list is expected")
	}
	return list, nil
}

func (e *ExternalIssuer) check(own string, allowLoopback bool) error {
	if err := fetchable(e.Issuer, allowLoopback); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if strings.TrimRight(e.Issuer, "/") == strings.TrimRight(own, "/") {
		return errors.New("issuer: this is ours")
	}
	if strings.ContainsAny(e.Issuer, "|?#") {
		return errors.New("issuer: | ? # are not allowed in it")
	}
	if e.JWKSURI != "" {
		if err := fetchable(e.JWKSURI, allowLoopback); err != nil {
			return fmt.Errorf("jwks_uri: %w", err)
		}
	}
	if len(e.Algorithms) == 0 {
		return fmt.Errorf("algorithms: name one at least of %s", strings.Join(externalAlgorithms, ", "))
	}
	for _, a := range e.Algorithms {
		if !slices.Contains(externalAlgorithms, a) {
			return fmt.Errorf("algorithms: %q is not one of %s", a, strings.Join(externalAlgorithms, ", "))
		}
	}
	for _, members := range []map[string]string{e.Claims, e.Constants} {
		for m := range members {
			if !slices.Contains(externalMembers, m) {
				return fmt.Errorf("%q is not one of %s", m, strings.Join(externalMembers, ", "))
			}
		}
	}
	if e.Claims["role"] == "" && impact.AllowedScopes(impact.Role(e.Constants["role"])) == nil {
		return errors.New("claims.role names the claim of the role, or constants.role gives one of ours")
	}
	if e.Claims["role"] != "" && len(e.Roles) == 0 {
		return errors.New("roles: say which values of the claim mean which role")
	}
	for value, role := range e.Roles {
		if impact.AllowedScopes(role) == nil {
			return fmt.Errorf("roles: %q means %q, which is not a role", value, role)
		}
	}
	if len(e.Scopes) == 0 {
		return errors.New("scopes: say which scopes its tokens may have")
	}
	for _, s := range e.Scopes {
		if !slices.Contains(impact.Scopes(), s) {
			return fmt.Errorf("scopes: %q is not a scope", s)
		}
	}
	return nil
}

// fetchable is an absolute https address without credentials; http is allowed
// to this very machine, for development.
func fetchable(address string, allowLoopback bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return fmt.Errorf("%q is not an absolute address", address)
	}
	host := u.Hostname()
	if u.Scheme == "https" || u.Scheme == "http" && allowLoopback && (host == "localhost" || host == "127.0.0.1" || host == "::1") {
		return nil
	}
	return fmt.Errorf("%q is not https", address)
}

// external verifies the tokens of one issuer.
type external struct {
	ExternalIssuer
	parser *jwt.Parser
	keys   *remoteKeys
}

func newExternal(e ExternalIssuer, c *Config, fetch *http.Client) (*external, error) {
	if err := e.check(c.Issuer, c.AllowLoopback); err != nil {
		return nil, fmt.Errorf("external issuer %s: %w", e.Issuer, err)
	}
	if e.Audience == "" {
		e.Audience = c.Audience
	}
	if len(e.TokenTypes) == 0 {
		e.TokenTypes = []string{tokenType}
	}
	return &external{
		ExternalIssuer: e,
		parser: jwt.NewParser(
			jwt.WithValidMethods(e.Algorithms), jwt.WithIssuer(e.Issuer), jwt.WithAudience(e.Audience), jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithTimeFunc(c.Now), jwt.WithStrictDecoding(),
		),
		keys: &remoteKeys{issuer: e.Issuer, uri: e.JWKSURI, allowLoopback: c.AllowLoopback, client: fetch, now: c.Now},
	}, nil
}

func (e *external) verify(ctx context.Context, token string) (verified, error) {
	c := jwt.MapClaims{}
	var unreachable error
	_, err := e.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		if err := acceptable(t, e.TokenTypes); err != nil {
			return nil, err
		}
		kid, _ := t.Header["kid"].(string)
		key, err := e.keys.find(ctx, kid, t.Method.Alg())
		if impact.KindOf(err) == impact.Busy {
			unreachable = err
		}
		return key, err
	})
	if unreachable != nil {
		return verified{}, unreachable
	}
	if err != nil {
		return verified{}, refuse(err)
	}
	v, err := e.principal(c)
	if err != nil {
		return verified{}, refuse(err)
	}
	return v, nil
}

// principal maps the claims. What the token may do is the least of three: what
// it says, what its issuer may give, and what its role may have.
func (e *external) principal(c jwt.MapClaims) (verified, error) {
	sub, _ := c["sub"].(string)
	issued, err := c.GetIssuedAt()
	expires, err2 := c.GetExpirationTime()
	if err = errors.Join(err, err2); err != nil || sub == "" || len(sub) > maxSubject || strings.ContainsFunc(sub, unicode.IsControl) || issued == nil || expires == nil {
		return verified{}, errors.Join(errors.New("sub, iat and exp are required"), err)
	}
	role, err := e.role(c)
	if err != nil {
		return verified{}, err
	}
	p := impact.Principal{Client: e.Issuer + "|" + sub, Name: e.text(c, "name"), Role: role}
	switch role {
	case impact.RoleOrganisation:
		p.Organisation = impact.OrganisationID(e.text(c, "organisation"))
	case impact.RoleNetwork:
		p.Network = impact.NetworkID(e.text(c, "network"))
	case impact.RoleBuyer:
		p.Buyer = e.text(c, "buyer")
	}
	if party := string(p.Organisation) + string(p.Network) + p.Buyer; (party == "") != (role == impact.RoleSteward || role == impact.RoleAdministrator) || len(party) > 64 {
		return verified{}, errors.New("the token does not say whom it acts for")
	}
	for _, s := range e.scopes(c) {
		if slices.Contains(e.Scopes, impact.Scope(s)) && impact.MayHold(role, impact.Scope(s)) && !p.Has(impact.Scope(s)) {
			p.Scopes = append(p.Scopes, impact.Scope(s))
		}
	}
	jti, _ := c["jti"].(string)
	return verified{p, e.Issuer, jti, issued.Time, expires.Time}, nil
}

func (e *external) role(c jwt.MapClaims) (impact.Role, error) {
	name := e.Claims["role"]
	if name == "" {
		return impact.Role(e.Constants["role"]), nil
	}
	var role impact.Role
	for _, value := range words(claim(c, name)) {
		switch r := e.Roles[value]; {
		case r == "" || r == role:
		case role == "":
			role = r
		default:
			return "", errors.New("the token has several roles")
		}
	}
	if role == "" {
		return "", errors.New("the token has no role here")
	}
	return role, nil
}

func (e *external) text(c jwt.MapClaims, member string) string {
	if name := e.Claims[member]; name != "" {
		s, _ := claim(c, name).(string)
		return s
	}
	return e.Constants[member]
}

func (e *external) scopes(c jwt.MapClaims) []string {
	if all, ok := e.Constants["scope"]; ok && e.Claims["scope"] == "" {
		return strings.Fields(all)
	}
	name := e.Claims["scope"]
	if name == "" {
		name = "scope"
	}
	return words(claim(c, name))
}

// claim follows a name: a claim of that very name, else "a.b" as b inside a.
func claim(c map[string]any, name string) any {
	if v, ok := c[name]; ok {
		return v
	}
	first, rest, nested := strings.Cut(name, ".")
	inside, ok := c[first].(map[string]any)
	if !nested || !ok {
		return nil
	}
	return claim(inside, rest)
}

// words reads a list, or words separated by spaces.
func words(v any) []string {
	switch v := v.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var list []string
		for _, x := range v {
			if s, ok := x.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

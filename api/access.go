package api

import (
	"errors"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// identify finds who calls and whether the route is open to them. A token that
// does not hold is refused on public routes too: nobody is silently taken for
// a passer-by.
func (c *call) identify() error {
	a := c.route.Access
	if !a.public() {
		c.w.Header().Set("Vary", varyByCaller)
	}
	if c.route.OAuth {
		return nil // POST /oauth/token reads its own credentials
	}
	h := c.r.Header.Values("Authorization")
	if len(h) == 0 {
		if a.public() || a.Open {
			return nil
		}
		return c.missingToken()
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(h[0]), " ")
	token = strings.TrimSpace(token)
	if len(h) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return &impact.Error{
			Kind: impact.Unauthenticated, Code: "invalid_token",
			Detail: impact.Text{FR: "L'en-tête Authorization n'est pas de la forme « Bearer {jeton} ».", EN: "The Authorization header is not of the form \"Bearer {token}\"."},
			Hint:   impact.Text{FR: "Échangez votre identifiant et votre secret contre un jeton : POST /oauth/token.", EN: "Exchange your client id and secret for a token: POST /oauth/token."},
		}
	}
	p, err := c.holder(token)
	if err != nil {
		return err
	}
	c.principal = p
	if a.Published {
		return nil
	}
	return c.holdsScope()
}

// holdsScope asks for one of the scopes of the route.
func (c *call) holdsScope() error {
	scopes := c.route.Access.Scopes
	if len(scopes) == 0 || slices.ContainsFunc(scopes, c.principal.Has) {
		return nil
	}
	return lacksScope(scopes...)
}

// rightHolder is asked before an answer goes beyond what is published: the
// answer is then the caller's alone.
func (c *call) rightHolder() error {
	c.private = true
	c.w.Header().Set("Vary", varyByCaller)
	if c.principal.IsAnonymous() {
		return c.missingToken()
	}
	return c.holdsScope()
}

// What answers depend on; those read with a right, on the caller too.
const (
	varyByForm   = "Accept, Accept-Encoding, Accept-Language"
	varyByCaller = varyByForm + ", Authorization"
)

// lacksScope refuses a token that has none of the scopes.
func lacksScope(scopes ...impact.Scope) error {
	need := impact.Words(scopes)
	fr, en := strings.Join(need, " ou "), strings.Join(need, " or ")
	return &impact.Error{
		Kind: impact.Forbidden, Code: "insufficient_scope",
		Detail: impact.Text{FR: "Ce jeton n'a pas la portée " + fr + ".", EN: "This token lacks the scope " + en + "."},
		Hint:   impact.Text{FR: "Demandez un jeton avec cette portée, si votre client l'a : GET /v1/me montre les portées présentes.", EN: "Ask for a token with this scope, if your client has it: GET /v1/me shows the present scopes."},
	}
}

// holder is who calls with an access token or an API key.
func (c *call) holder(credential string) (p impact.Principal, err error) {
	if auth.IsAPIKey(credential) && c.s.KeyRing != nil {
		p, err = c.keyHolder(credential)
	} else {
		p, err = c.s.Verifier.Verify(c.r.Context(), credential)
	}
	if impact.KindOf(err) == impact.Unauthenticated {
		if wait := c.s.damper.refused(c.s.Now(), "", c.remote); wait > 0 {
			return p, c.tooManyRefusals(wait)
		}
	}
	return p, err
}

// keyHolder is who calls with an API key, if it may be used from here and for
// this.
func (c *call) keyHolder(key string) (impact.Principal, error) {
	k, ok, err := c.s.KeyRing.Recall(key)
	if !ok {
		if wait := c.s.damper.held(c.s.Now(), auth.KeyHint(key), c.remote); wait > 0 {
			return impact.Principal{}, c.tooManyRefusals(wait)
		}
		if k, err = c.s.KeyRing.Find(c.r.Context(), key); err == nil {
			c.s.damper.accepted(c.s.Now(), auth.KeyHint(key), c.remote)
		}
	}
	if err == nil {
		err = k.Admit(c.remote, c.r.Method)
	}
	if err != nil {
		return impact.Principal{}, err
	}
	return k.Principal(), nil
}

func (c *call) missingToken() error {
	if _, err := parseQuery(c.r.URL.RawQuery, c.route.params()); errors.Is(err, errSecretInAddress) {
		return err // it is not missing, it is in the wrong place
	}
	detail := c.route.Access.Because
	if detail.IsZero() {
		detail = impact.Text{FR: "Cette adresse demande un jeton d'accès.", EN: "This address needs an access token."}
	}
	return &impact.Error{
		Kind: impact.Unauthenticated, Code: "missing_token", Detail: detail,
		Hint: impact.Text{
			FR: "POST /oauth/token avec grant_type=client_credentials, puis l'en-tête Authorization: Bearer {access_token}.",
			EN: "POST /oauth/token with grant_type=client_credentials, then the header Authorization: Bearer {access_token}.",
		},
	}
}

// challenge is the WWW-Authenticate of a refusal (RFC 6750, RFC 9728).
func (c *call) challenge(e *impact.Error) string {
	bearer := `Bearer realm="retombees", resource_metadata="` + c.address(protectedResource, "") + `"`
	switch e.Code {
	case "missing_token":
		return bearer
	case "invalid_token":
		return bearer + `, error="invalid_token"`
	case "insufficient_scope":
		var need []string
		if c.route != nil {
			need = impact.Words(c.route.Access.Scopes)
		}
		return bearer + `, error="insufficient_scope", scope="` + strings.Join(need, " ") + `"`
	}
	return ""
}

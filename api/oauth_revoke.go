package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// TokenInspector reads access tokens, and ends them on this replica. Name and
// Audience are those of the tokens that are ours.
type TokenInspector interface {
	Name() string
	Audience() string
	Inspect(ctx context.Context, token string) (auth.Token, error)
	Revoke(list ...impact.Revocation)
}

// RevocationStore keeps what was ended before its time, for every replica.
type RevocationStore interface {
	RevokeToken(ctx context.Context, p, of impact.Principal, token string, expires time.Time) (impact.Revocation, error)
}

// Introspection is what a token says (RFC 7662). Of a token that does not hold,
// active is false and nothing else is told.
type Introspection struct {
	Active   bool   `json:"active"`
	Scope    string `json:"scope,omitempty" example:"observations.read"`
	ClientID string `json:"client_id,omitempty"`
	// What people call the client.
	ClientName string `json:"client_name,omitempty"`
	TokenType  string `json:"token_type,omitempty" example:"Bearer"`
	ExpiresAt  int64  `json:"exp,omitempty" example:"1764072900"`
	IssuedAt   int64  `json:"iat,omitempty" example:"1764072000"`
	Subject    string `json:"sub,omitempty"`
	Audience   string `json:"aud,omitempty" example:"https://impact.example.org/v1"`
	Issuer     string `json:"iss,omitempty" example:"https://impact.example.org"`
	ID         string `json:"jti,omitempty"`
	Role       string `json:"role,omitempty" enums:"organisation,network,buyer,steward,administrator"`
	// Who the client acts for.
	Organisation string `json:"organisation,omitempty"`
	Network      string `json:"network,omitempty"`
	Buyer        string `json:"buyer,omitempty"`
}

// revoke ends an access token.
//
//	@Summary		Revoke an access token
//	@Description	RFC 7009. A client ends its own tokens, an administrator with `clients.manage` those of anybody, of trusted issuers too. The token is refused at once by the server that answers, and within 2 seconds by the others. A text that is no valid token answers 200: nothing is left to end.
//	@ID				revokeToken
//	@Tags			access
//	@Accept			x-www-form-urlencoded
//	@Produce		json
//	@Param			token			formData	string	true	"The access token"
//	@Param			token_type_hint	formData	string	false	"access_token; not needed"
//	@Param			client_id		formData	string	false	"Without HTTP Basic only"
//	@Param			client_secret	formData	string	false	"Without HTTP Basic only"
//	@Param			client_assertion_type	formData	string	false	"With client_assertion"	Enums(urn:ietf:params:oauth:client-assertion-type:jwt-bearer)
//	@Param			client_assertion	formData	string	false	"In place of a secret: a JWT signed with a registered key (RFC 7523)"
//	@Success		200		"The token does not hold any more"
//	@Failure		default	{object}	TokenError
//	@Security		ClientBasic
//	@Router			/oauth/revoke [post]
func (s *server) revoke(c *call) error {
	client, token, err := s.tokenSent(c)
	if err != nil {
		return err
	}
	if strings.HasPrefix(token, "rtb_") {
		return oauthRefusal(http.StatusBadRequest, "unsupported_token_type", "Secrets and API keys are not ended here: see /v1/clients and /v1/api-keys.")
	}
	t, err := s.Tokens.Inspect(c.r.Context(), token)
	if impact.KindOf(err) == impact.Unauthenticated {
		return c.empty()
	}
	if err != nil {
		return err
	}
	if t.ID == "" {
		return oauthRefusal(http.StatusBadRequest, "unsupported_token_type", "Its issuer gave this token no jti; it cannot be ended here.")
	}
	if t.Principal.Client != client.ID && !slices.Contains(client.Scopes, impact.ClientsManage) {
		return oauthRefusal(http.StatusBadRequest, "unauthorized_client", "The token is another client's.")
	}
	ended, err := s.Revocations.RevokeToken(c.r.Context(), c.principal, t.Principal, t.ID, t.ExpiresAt)
	if err != nil {
		return err
	}
	s.Tokens.Revoke(ended)
	return c.empty()
}

// introspect tells what a token says.
//
//	@Summary		What an access token says
//	@Description	RFC 7662, for clients that hold `tokens.introspect`: programs that receive our tokens and cannot verify them with the published keys, or must know at once of a revocation. API keys and tokens of other issuers are not told about.
//	@ID				introspectToken
//	@Tags			access
//	@Accept			x-www-form-urlencoded
//	@Produce		json
//	@Param			token			formData	string	true	"The access token"
//	@Param			token_type_hint	formData	string	false	"access_token; not needed"
//	@Param			client_id		formData	string	false	"Without HTTP Basic only"
//	@Param			client_secret	formData	string	false	"Without HTTP Basic only"
//	@Param			client_assertion_type	formData	string	false	"With client_assertion"	Enums(urn:ietf:params:oauth:client-assertion-type:jwt-bearer)
//	@Param			client_assertion	formData	string	false	"In place of a secret: a JWT signed with a registered key (RFC 7523)"
//	@Success		200		{object}	Introspection
//	@Failure		default	{object}	TokenError
//	@Security		ClientBasic
//	@Router			/oauth/introspect [post]
func (s *server) introspect(c *call) error {
	client, token, err := s.tokenSent(c)
	if err != nil {
		return err
	}
	if !slices.Contains(client.Scopes, impact.TokensIntrospect) {
		return oauthRefusal(http.StatusForbidden, "insufficient_scope", "This client lacks the scope tokens.introspect; an administrator gives it by name.")
	}
	t, err := s.Tokens.Inspect(c.r.Context(), token)
	if err != nil && impact.KindOf(err) != impact.Unauthenticated {
		return err
	}
	if err != nil || t.Issuer != s.Tokens.Name() {
		return c.answer(http.StatusOK, Introspection{})
	}
	p := t.Principal
	return c.answer(http.StatusOK, Introspection{
		Active: true, Scope: strings.Join(impact.Words(p.Scopes), " "), ClientID: p.Client, ClientName: p.Name, TokenType: "Bearer",
		ExpiresAt: t.ExpiresAt.Unix(), IssuedAt: t.IssuedAt.Unix(), Subject: p.Client, Audience: s.Tokens.Audience(), Issuer: t.Issuer, ID: t.ID,
		Role: string(p.Role), Organisation: string(p.Organisation), Network: string(p.Network), Buyer: p.Buyer,
	})
}

// tokenSent reads the form of a client that speaks of a token.
func (s *server) tokenSent(c *call) (impact.Client, string, error) {
	form, err := c.form()
	if err != nil {
		return impact.Client{}, "", err
	}
	client, err := s.authenticated(c, form)
	if err != nil {
		return impact.Client{}, "", err
	}
	token := form.Get("token")
	if token == "" {
		return impact.Client{}, "", oauthRefusal(http.StatusBadRequest, "invalid_request", "The parameter token is missing.")
	}
	return client, token, nil
}

// empty answers 200 without a body.
func (c *call) empty() error {
	c.caching(http.StatusOK)
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

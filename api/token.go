package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// TokenIssuer signs access tokens. A scope the client does not hold is refused
// with code invalid_scope, a revoked client with invalid_client.
type TokenIssuer interface {
	Issue(client impact.Client, scopes []impact.Scope) (token string, expiresIn time.Duration, err error)
}

// TokenRequest is the form of POST /oauth/token (RFC 6749, 4.4).
type TokenRequest struct {
	GrantType    string `form:"grant_type" enums:"client_credentials"`
	Scope        string `form:"scope"`
	ClientID     string `form:"client_id"`
	ClientSecret string `form:"client_secret"`
}

// TokenResponse is the answer (RFC 6749, 5.1).
type TokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type" example:"Bearer"`
	// Seconds until the token expires.
	ExpiresIn int    `json:"expires_in" example:"900"`
	Scope     string `json:"scope" example:"observations.read observations.write"`
}

// token exchanges a client's secret for an access token.
//
//	@Summary		Get an access token
//	@Description	OAuth 2.0 client credentials. The client id and its secret travel in the header (HTTP Basic) or in the form, never in the address; a client with registered keys signs an assertion instead (`private_key_jwt`): `iss` and `sub` its id, `aud` the issuer, `exp` within 10 minutes, a `jti` used once. `scope` asks for fewer scopes than the client holds. Errors have the form of RFC 6749.
//	@ID				createToken
//	@Tags			access
//	@Accept			x-www-form-urlencoded
//	@Produce		json
//	@Param			grant_type		formData	string	true	"Always client_credentials"	Enums(client_credentials)
//	@Param			scope			formData	string	false	"Scopes asked for, separated by spaces; all those of the client when absent"
//	@Param			client_id		formData	string	false	"Without HTTP Basic only"
//	@Param			client_secret	formData	string	false	"Without HTTP Basic only"
//	@Param			client_assertion_type	formData	string	false	"With client_assertion"	Enums(urn:ietf:params:oauth:client-assertion-type:jwt-bearer)
//	@Param			client_assertion	formData	string	false	"In place of a secret: a JWT signed with a registered key (RFC 7523)"
//	@Success		200		{object}	TokenResponse
//	@Failure		default	{object}	TokenError
//	@Security		ClientBasic
//	@Router			/oauth/token [post]
func (s *server) token(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	switch form.Get("grant_type") {
	case "client_credentials":
	case "":
		return oauthRefusal(http.StatusBadRequest, "invalid_request", "grant_type is missing; send grant_type=client_credentials.")
	default:
		return oauthRefusal(http.StatusBadRequest, "unsupported_grant_type", "Only client_credentials is served.")
	}
	client, err := s.authenticated(c, form)
	if err != nil {
		return err
	}
	var scopes []impact.Scope
	for word := range strings.FieldsSeq(form.Get("scope")) {
		if x := impact.Scope(word); !slices.Contains(scopes, x) {
			scopes = append(scopes, x)
		}
	}
	token, expires, err := s.Issuer.Issue(client, scopes)
	if err != nil {
		if e, ok := errors.AsType[*impact.Error](err); ok && e.Code == "invalid_scope" {
			return oauthRefusal(http.StatusBadRequest, "invalid_scope", e.Detail.EN+" "+e.Hint.EN)
		}
		return err
	}
	if scopes == nil {
		scopes = client.Scopes
	}
	return c.answer(http.StatusOK, TokenResponse{AccessToken: token, TokenType: "Bearer", ExpiresIn: int(expires / time.Second), Scope: strings.Join(impact.Words(scopes), " ")})
}

package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// TokenIssuer signs access tokens. A scope the client does not hold is refused
// with code invalid_scope, a revoked client with invalid_client.
type TokenIssuer interface {
	Issue(client impact.Client, scopes []impact.Scope) (token string, expiresIn time.Duration, err error)
}

// ClientSource finds a registered client; the error is of kind NotFound when
// there is none.
type ClientSource interface {
	Client(ctx context.Context, id string) (impact.Client, error)
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

// TokenError is a refusal in the form that OAuth requires (RFC 6749, 5.2).
type TokenError struct {
	Error       string `json:"error" example:"invalid_client"`
	Description string `json:"error_description,omitempty"`
}

// token exchanges a client's secret for an access token.
//
//	@Summary		Get an access token
//	@Description	OAuth 2.0 client credentials. The client id and its secret travel in the header (HTTP Basic) or in the form, never in the address. `scope` asks for fewer scopes than the client holds. Errors have the form of RFC 6749.
//	@ID				createToken
//	@Tags			access
//	@Accept			x-www-form-urlencoded
//	@Produce		json
//	@Param			grant_type		formData	string	true	"always client_credentials"	Enums(client_credentials)
//	@Param			scope			formData	string	false	"scopes asked for, separated by spaces; all those of the client when absent"
//	@Param			client_id		formData	string	false	"without HTTP Basic only"
//	@Param			client_secret	formData	string	false	"without HTTP Basic only"
//	@Success		200		{object}	TokenResponse
//	@Failure		default	{object}	TokenError
//	@Security		ClientBasic
//	@Router			/oauth/token [post]
func (s *server) token(c *call) error {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	body, err := c.readBody()
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return c.oauthError(http.StatusBadRequest, "invalid_request", "The form cannot be read.")
	}
	for name, v := range form {
		if len(v) > 1 {
			return c.oauthError(http.StatusBadRequest, "invalid_request", "The parameter "+strconv.Quote(name)+" is given several times.")
		}
	}
	switch form.Get("grant_type") {
	case "client_credentials":
	case "":
		return c.oauthError(http.StatusBadRequest, "invalid_request", "grant_type is missing; send grant_type=client_credentials.")
	default:
		return c.oauthError(http.StatusBadRequest, "unsupported_grant_type", "Only client_credentials is served.")
	}
	id, secret, basic, ok := credentials(c.r, form)
	if !ok {
		return c.oauthError(http.StatusBadRequest, "invalid_request", "Send the client id and secret once: in the Authorization header (Basic) or in the form.")
	}
	if id == "" || secret == "" {
		return c.oauthRefusal(basic)
	}
	if wait := s.damper.held(s.Now(), id, c.remote); wait > 0 {
		return c.tooManyRefusals(wait)
	}
	client, err := s.Clients.Client(c.r.Context(), id)
	if err != nil && impact.KindOf(err) != impact.NotFound {
		return err
	}
	// An unknown client is compared with a hash of nothing, so that it takes as
	// long, and the answer does not tell which of the two was wrong.
	hashes := client.SecretHashes
	if len(hashes) == 0 {
		hashes = noSecret
	}
	if !auth.CheckSecret(secret, hashes) || err != nil || client.Revoked {
		if wait := s.damper.refused(s.Now(), id, c.remote); wait > 0 {
			return c.tooManyRefusals(wait)
		}
		return c.oauthRefusal(basic)
	}
	s.damper.accepted(s.Now(), id, c.remote)
	c.principal = impact.Principal{Client: client.ID} // for the log; the answer gives no other right

	var scopes []impact.Scope
	for word := range strings.FieldsSeq(form.Get("scope")) {
		if x := impact.Scope(word); !slices.Contains(scopes, x) {
			scopes = append(scopes, x)
		}
	}
	token, expires, err := s.Issuer.Issue(client, scopes)
	if err != nil {
		if e, ok := errors.AsType[*impact.Error](err); ok && e.Code == "invalid_scope" {
			return c.oauthError(http.StatusBadRequest, "invalid_scope", e.Detail.EN+" "+e.Hint.EN)
		}
		return err
	}
	if scopes == nil {
		scopes = client.Scopes
	}
	words := make([]string, len(scopes))
	for i, x := range scopes {
		words[i] = string(x)
	}
	return c.answer(http.StatusOK, TokenResponse{AccessToken: token, TokenType: "Bearer", ExpiresIn: int(expires / time.Second), Scope: strings.Join(words, " ")})
}

// noSecret is the hash of no secret.
var noSecret = []string{strings.Repeat("-", 64)}

// credentials reads the client's id and secret from HTTP Basic (each part form
// encoded, RFC 6749 2.3.1) or from the form; using both is refused.
func credentials(r *http.Request, form url.Values) (id, secret string, basic, ok bool) {
	h := r.Header.Get("Authorization")
	if h == "" {
		return form.Get("client_id"), form.Get("client_secret"), false, true
	}
	scheme, rest, _ := strings.Cut(h, " ")
	if !strings.EqualFold(scheme, "Basic") || form.Has("client_secret") {
		return "", "", true, false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return "", "", true, false
	}
	id, secret, found := strings.Cut(string(raw), ":")
	if !found {
		return "", "", true, false
	}
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	if err1 != nil || err2 != nil || form.Has("client_id") && form.Get("client_id") != id {
		return "", "", true, false
	}
	return id, secret, true, true
}

func (c *call) oauthRefusal(basic bool) error {
	if basic || c.r.Header.Get("Authorization") == "" {
		c.w.Header().Set("WWW-Authenticate", `Basic realm="retombees"`)
	}
	return c.oauthError(http.StatusUnauthorized, "invalid_client", "The client is unknown, or its secret is wrong.")
}

// failOAuth gives a refusal met before or after the exchange itself (a body too
// large, a database away) the form of the others.
func (c *call) failOAuth(e *impact.Error, status int) {
	code := "invalid_request"
	switch {
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		code = "temporarily_unavailable"
	case status >= 500:
		code = "server_error"
	}
	if err := c.oauthError(status, code, strings.TrimSpace(e.Detail.EN+" "+e.Hint.EN)); err != nil {
		c.err = errors.Join(c.err, err)
	}
}

func (c *call) oauthError(status int, code, description string) error {
	b, err := json.Marshal(TokenError{code, description})
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Language", "en") // RFC 6749 allows ASCII only
	c.write(status, FormatJSON.Type, b)
	return nil
}

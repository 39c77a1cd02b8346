package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// ClientSource finds a registered client; the error is of kind NotFound when
// there is none.
type ClientSource interface {
	Client(ctx context.Context, id string) (impact.Client, error)
}

// TokenError is a refusal in the form that OAuth requires (RFC 6749, 5.2).
type TokenError struct {
	Error       string `json:"error" example:"invalid_client"`
	Description string `json:"error_description,omitempty"`
}

// oauthError is a refusal that has the form of RFC 6749 from the start.
type oauthError struct {
	status            int
	code, description string
}

func (r *oauthError) Error() string { return r.code + ": " + r.description }

func oauthRefusal(status int, code, description string) error {
	return &oauthError{status, code, description}
}

// form reads the body of an OAuth request: each parameter at most once. Nothing
// of the answer is kept by anybody.
func (c *call) form() (url.Values, error) {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	body, err := c.readBody()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, oauthRefusal(http.StatusBadRequest, "invalid_request", "The form cannot be read.")
	}
	for name, v := range form {
		if len(v) > 1 {
			return nil, oauthRefusal(http.StatusBadRequest, "invalid_request", "The parameter "+strconv.Quote(name)+" is given several times.")
		}
	}
	return form, nil
}

// AssertionChecker verifies what a client signed to prove who it is.
type AssertionChecker interface {
	CheckAssertion(assertion string, client impact.Client) (jti string, expires time.Time, err error)
}

// AssertionStore remembers which assertions were used: the error is of kind
// Conflict the second time.
type AssertionStore interface {
	UseAssertion(ctx context.Context, client, id string, expires time.Time) error
}

// authenticated gives the client that sends the form, once it has proved who it
// is: by its secret, or by what it signed.
func (s *server) authenticated(c *call, form url.Values) (impact.Client, error) {
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		return s.asserted(c, form)
	}
	id, secret, basic, ok := credentials(c.r, form)
	if !ok {
		return impact.Client{}, oauthRefusal(http.StatusBadRequest, "invalid_request", "Send the client id and secret once: in the Authorization header (Basic) or in the form.")
	}
	if id == "" || secret == "" {
		return impact.Client{}, c.unknownClient(basic)
	}
	if wait := s.damper.held(s.Now(), id, c.remote); wait > 0 {
		return impact.Client{}, c.tooManyRefusals(wait)
	}
	client, err := s.Clients.Client(c.r.Context(), id)
	if err != nil && impact.KindOf(err) != impact.NotFound {
		return impact.Client{}, err
	}
	// An unknown client is compared with a hash of nothing, so that it takes as
	// long, and the answer does not tell which of the two was wrong.
	hashes := client.SecretHashes
	if len(hashes) == 0 {
		hashes = noSecret
	}
	if !auth.CheckSecret(secret, hashes) || err != nil || client.Revoked {
		if wait := s.damper.refused(s.Now(), id, c.remote); wait > 0 {
			return impact.Client{}, c.tooManyRefusals(wait)
		}
		return impact.Client{}, c.unknownClient(basic)
	}
	s.damper.accepted(s.Now(), id, c.remote)
	c.principal = impact.Principal{Client: client.ID, Role: client.Role} // for the logs; the answer gives no other right
	return client, nil
}

// asserted is authenticated for private_key_jwt (RFC 7523).
func (s *server) asserted(c *call, form url.Values) (impact.Client, error) {
	assertion := form.Get("client_assertion")
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || assertion == "" {
		return impact.Client{}, oauthRefusal(http.StatusBadRequest, "invalid_request", "client_assertion goes with client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer.")
	}
	if c.r.Header.Get("Authorization") != "" || form.Has("client_secret") {
		return impact.Client{}, oauthRefusal(http.StatusBadRequest, "invalid_request", "Send a secret or an assertion, not both.")
	}
	refused := oauthRefusal(http.StatusUnauthorized, "invalid_client", "The assertion does not hold: RFC 7523, signed with a registered key, iss and sub the client id, aud the issuer, exp within 10 minutes, a new jti.")
	id, err := auth.AssertedClient(assertion)
	if err != nil || id == "" || form.Has("client_id") && form.Get("client_id") != id {
		return impact.Client{}, refused
	}
	if wait := s.damper.held(s.Now(), id, c.remote); wait > 0 {
		return impact.Client{}, c.tooManyRefusals(wait)
	}
	client, err := s.Clients.Client(c.r.Context(), id)
	if err != nil && impact.KindOf(err) != impact.NotFound {
		return impact.Client{}, err
	}
	var jti string
	var expires time.Time
	if err == nil && !client.Revoked {
		jti, expires, err = s.Assertions.CheckAssertion(assertion, client)
	}
	if err == nil && !client.Revoked {
		err = s.UsedAssertions.UseAssertion(c.r.Context(), id, jti, expires)
		if err != nil && impact.KindOf(err) != impact.Conflict {
			return impact.Client{}, err
		}
	}
	if err != nil || client.Revoked {
		if wait := s.damper.refused(s.Now(), id, c.remote); wait > 0 {
			return impact.Client{}, c.tooManyRefusals(wait)
		}
		return impact.Client{}, refused
	}
	s.damper.accepted(s.Now(), id, c.remote)
	c.principal = impact.Principal{Client: client.ID, Role: client.Role}
	return client, nil
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

func (c *call) unknownClient(basic bool) error {
	if basic || c.r.Header.Get("Authorization") == "" {
		c.w.Header().Set("WWW-Authenticate", `Basic realm="retombees"`)
	}
	return oauthRefusal(http.StatusUnauthorized, "invalid_client", "The client is unknown, or its secret is wrong.")
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
	c.refuseOAuth(&oauthError{status, code, strings.TrimSpace(e.Detail.EN + " " + e.Hint.EN)})
}

func (c *call) refuseOAuth(r *oauthError) {
	b, err := json.Marshal(TokenError{r.code, r.description})
	if err != nil {
		c.err = errors.Join(c.err, err)
	}
	c.w.Header().Set("Content-Language", "en") // RFC 6749 allows ASCII only
	c.write(r.status, FormatJSON.Type, b)
}

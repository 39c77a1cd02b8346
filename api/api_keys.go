package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// APIKeyStore keeps the keys of scripts.
type APIKeyStore interface {
	APIKeys(ctx context.Context, p impact.Principal) ([]impact.APIKey, error)
	CreateAPIKey(ctx context.Context, p impact.Principal, k impact.APIKey) (impact.APIKey, error)
	RevokeAPIKey(ctx context.Context, p impact.Principal, id string) error
}

// APIKeyInput is a key as it is asked for.
type APIKeyInput struct {
	// What it is for.
	Name string `json:"name" example:"export de nuit"`
	// Some of the scopes of the token it is made with; never keys.manage.
	Scopes []string `json:"scopes" example:"observations.write,organisations.read"`
	// A year at most from now.
	ExpiresAt string `json:"expires_at" format:"date-time" example:"2027-01-31T00:00:00Z"`
	// Ranges of addresses it may be used from, or single addresses, 20 at most; from anywhere when empty.
	AllowedCIDRs []string `json:"allowed_cidrs,omitempty" example:"192.0.2.0/24"`
	// Methods it may be used for, GET with HEAD; all when empty.
	AllowedMethods []string `json:"allowed_methods,omitempty" enums:"GET,POST,PUT,PATCH,DELETE" example:"GET,POST"`
	// Only live keys are made: there is no separate store for tests yet.
	Mode string `json:"mode,omitempty" enums:"live" example:"live"`
}

// APIKey lets a script call without asking for tokens.
type APIKey struct {
	ID   string `json:"id"`
	Name string `json:"name" example:"export de nuit"`
	// The key itself, in the answer that makes it and never again.
	Key string `json:"key,omitempty"`
	// How it begins, to recognise it by.
	Hint           string   `json:"hint" example:"rtb_live_k3m2qa"`
	State          string   `json:"state" enums:"active,expired,revoked" example:"active"`
	Scopes         []string `json:"scopes"`
	AllowedCIDRs   []string `json:"allowed_cidrs"`
	AllowedMethods []string `json:"allowed_methods"`
	// Client that made it; the key ends with it.
	CreatedBy string `json:"created_by"`
	CreatedAt string `json:"created_at" format:"date-time"`
	ExpiresAt string `json:"expires_at" format:"date-time"`
	// To the minute or so; null before its first use.
	LastUsedAt *string `json:"last_used_at" format:"date-time" extensions:"x-nullable"`
	RevokedAt  *string `json:"revoked_at" format:"date-time" extensions:"x-nullable"`
	Links      Links   `json:"links"`
}

// APIKeyPage is a page of keys.
type APIKeyPage = Page[APIKey] // @name APIKeyPage

// listAPIKeys lists the caller's keys.
//
//	@Summary		List API keys
//	@Description	The keys of the organisation, the network or the buyer that the caller acts for, whichever of its clients made them, the oldest first. Of those that ended, the last hundred are kept.
//	@ID				listAPIKeys
//	@Tags			access
//	@Produce		json
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	APIKeyPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/api-keys [get]
func (s *server) listAPIKeys(c *call) error {
	p, err := c.paging()
	if err != nil {
		return err
	}
	all, err := s.APIKeys.APIKeys(c.r.Context(), c.principal)
	if err != nil {
		return err
	}
	rows, next := cut(all, p, func(k impact.APIKey) string { return k.ID })
	data := make([]APIKey, len(rows))
	for i := range rows {
		data[i] = s.apiKey(c, &rows[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// getAPIKey reads one key.
//
//	@Summary		Read an API key
//	@Description	What it may do, and when it was last used; never the key itself.
//	@ID				getAPIKey
//	@Tags			access
//	@Produce		json
//	@Param			id	path		string	true	"Id of the key"
//	@Success		200	{object}	APIKey
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/api-keys/{id} [get]
func (s *server) getAPIKey(c *call) error {
	all, err := s.APIKeys.APIKeys(c.r.Context(), c.principal)
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].ID == c.param("id") {
			return c.answer(http.StatusOK, s.apiKey(c, &all[i]))
		}
	}
	return impact.NotFoundError()
}

// createAPIKey makes a key.
//
//	@Summary		Make an API key
//	@Description	For a script: the key is sent as `Authorization: Bearer rtb_live_…` in place of an access token, and is counted with its client. It carries some of the scopes of the token it is made with, and loses those that its client loses. The answer shows it once; only its hash is kept. A key cannot make keys. Nothing is remembered of the request: sent again, it makes another key.
//	@ID				createAPIKey
//	@Tags			access
//	@Accept			json
//	@Produce		json
//	@Param			body	body		APIKeyInput	true	"The key"
//	@Success		201		{object}	APIKey
//	@Header			201		{string}	Location	"Address of the key, without its secret"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/api-keys [post]
func (s *server) createAPIKey(c *call) error {
	in, err := decode[APIKeyInput](c)
	if err != nil {
		return err
	}
	k, err := s.apiKeyOf(c, &in)
	if err != nil {
		return err
	}
	secret := auth.NewAPIKey()
	k.Hint, k.Hash = auth.KeyHint(secret), auth.HashSecret(secret)
	made, err := s.APIKeys.CreateAPIKey(c.r.Context(), c.principal, k)
	if err != nil {
		return err
	}
	out := s.apiKey(c, &made)
	out.Key = secret
	c.w.Header().Set("Location", out.Links.Self)
	return c.answer(http.StatusCreated, out)
}

// revokeAPIKey ends a key.
//
//	@Summary		Revoke an API key
//	@Description	It opens nothing any more: at once on the server that answers, within two seconds on the others. The same again answers 204.
//	@ID				revokeAPIKey
//	@Tags			access
//	@Param			id	path	string	true	"Id of the key, never the key itself"
//	@Success		204	"It is revoked"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/api-keys/{id} [delete]
func (s *server) revokeAPIKey(c *call) error {
	if err := s.APIKeys.RevokeAPIKey(c.r.Context(), c.principal, c.param("id")); err != nil {
		return err
	}
	s.KeyRing.Forget()
	c.caching(http.StatusNoContent)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// apiKeyOf checks what was asked for and turns it into the domain's noun.
func (s *server) apiKeyOf(c *call, in *APIKeyInput) (impact.APIKey, error) {
	var faults []impact.Fault
	k := impact.APIKey{Name: strings.TrimSpace(in.Name), Scopes: scopesOf(in.Scopes), Methods: in.AllowedMethods}
	for i, text := range in.AllowedCIDRs {
		n, fault := impact.ParseKeyNetwork(text)
		if fault != nil {
			faults = append(faults, *at(*fault, pointerTo("/allowed_cidrs", i)))
		}
		k.Networks = append(k.Networks, n)
	}
	unreadable := false
	if in.ExpiresAt != "" {
		var err error
		if k.ExpiresAt, err = time.Parse(time.RFC3339, in.ExpiresAt); err != nil {
			unreadable = true
			faults = append(faults, impact.Fault{
				Code: "invalid_date", Pointer: "/expires_at", Value: in.ExpiresAt,
				Detail: impact.Text{FR: "Cet instant ne peut pas être lu.", EN: "This instant cannot be read."},
				Hint:   impact.Text{FR: "Écrivez-le ainsi : 2027-01-31T00:00:00Z.", EN: "Write it so: 2027-01-31T00:00:00Z."},
			})
		}
	}
	switch in.Mode {
	case "", "live":
	case "test":
		faults = append(faults, impact.Fault{
			Code: "unknown_code", Pointer: "/mode", Value: in.Mode, Suggestion: "live",
			Detail: impact.Text{FR: "Il n'y a pas encore de clés d'essai : elles demandent une base séparée, qui n'existe pas.", EN: "There are no test keys yet: they need a separate store, which does not exist."},
			Hint:   impact.Text{FR: "Pour essayer sans rien écrire, lancez votre propre serveur : retombees serve --demo.", EN: "To try without writing anything, run a server of your own: retombees serve --demo."},
		})
	default:
		faults = append(faults, impact.Fault{
			Code: "unknown_code", Pointer: "/mode", Value: in.Mode, Suggestion: "live",
			Detail: impact.Text{FR: "Mode inconnu.", EN: "Unknown mode."}, Hint: impact.Text{FR: "Laissez live, ou ôtez ce membre.", EN: "Say live, or leave this member out."},
		})
	}
	for _, f := range k.Check(c.principal, s.Now()) {
		if !unreadable || f.Pointer != "/expires_at" {
			faults = append(faults, f)
		}
	}
	return k, impact.Refuse(faults...)
}

func (s *server) apiKey(c *call, k *impact.APIKey) APIKey {
	w := APIKey{
		ID: k.ID, Name: k.Name, Hint: k.Hint, State: string(k.State(s.Now())), Scopes: impact.Words(k.Scopes), AllowedCIDRs: []string{}, AllowedMethods: append([]string{}, k.Methods...),
		CreatedBy: k.Client, CreatedAt: instant(k.CreatedAt), ExpiresAt: instant(k.ExpiresAt), LastUsedAt: moment(k.LastUsedAt), RevokedAt: moment(k.RevokedAt),
		Links: Links{Self: c.address("/v1/api-keys/"+k.ID, "")},
	}
	for _, n := range k.Networks {
		w.AllowedCIDRs = append(w.AllowedCIDRs, n.String())
	}
	return w
}

package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// ClientStore keeps the applications that may call the API; administrators
// change them.
type ClientStore interface {
	ClientSource
	CreateClient(ctx context.Context, p impact.Principal, c impact.Client) (impact.Client, error)
	Clients(ctx context.Context, p impact.Principal, f impact.ClientFilter, page impact.Page) ([]impact.Client, []string, error)
	UpdateClient(ctx context.Context, p impact.Principal, id string, version int, change func(*impact.Client) error) (impact.Client, error)
	RotateClient(ctx context.Context, p impact.Principal, id string, rotate func(hashes []string) []string) (impact.Client, error)
	RevokeClient(ctx context.Context, p impact.Principal, id string) (impact.Client, error)
}

// ClientInput is an application as an administrator registers it.
type ClientInput struct {
	// What people call it.
	Name string `json:"name" example:"CRM de l'association"`
	Role string `json:"role" enums:"organisation,network,buyer,steward,administrator" example:"organisation"`
	// Whom it acts for, as goes with the role, and no other. Id, or siret:…
	// siren:… rna:… ext:{source}:{id}.
	Organisation string `json:"organisation,omitempty" example:"siret:12345678200010"`
	// Id or code.
	Network string `json:"network,omitempty"`
	Buyer   string `json:"buyer,omitempty"`
	// Those it may ask for; all the ordinary ones of its role when absent.
	Scopes []string `json:"scopes,omitempty"`
	// Public keys of a client that signs instead of showing a secret
	// (private_key_jwt): it is then given none.
	JWKS *ClientKeys `json:"jwks,omitempty" extensions:"x-nullable"`
}

// ClientKeys are the public keys of a client (RFC 7517), 5 at most.
type ClientKeys struct {
	Keys []ClientKey `json:"keys"`
}

// ClientKey is one public key: RSA of 2048 bits at least, P-256, or Ed25519.
type ClientKey struct {
	KeyType   string   `json:"kty" enums:"RSA,EC,OKP" example:"OKP"`
	KeyID     string   `json:"kid" example:"2026-11"`
	Curve     string   `json:"crv,omitempty" enums:"P-256,Ed25519" example:"Ed25519"`
	X         string   `json:"x,omitempty" example:"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	Y         string   `json:"y,omitempty"`
	N         string   `json:"n,omitempty"`
	E         string   `json:"e,omitempty"`
	Use       string   `json:"use,omitempty" enums:"sig"`
	Uses      []string `json:"key_ops,omitempty"`
	Algorithm string   `json:"alg,omitempty" enums:"RS256,PS256,ES256,EdDSA"`
}

// ClientChange is a merge patch of a client; jwks replaces all its keys.
type ClientChange struct {
	Name   *string     `json:"name,omitempty"`
	Scopes []string    `json:"scopes,omitempty"`
	JWKS   *ClientKeys `json:"jwks,omitempty" extensions:"x-nullable"`
}

// ClientRotation says what becomes of the secret in use.
type ClientRotation struct {
	// kept: accepted beside the new one until the next rotation. ended: refused
	// at once, because it leaked.
	Former string `json:"former,omitempty" enums:"kept,ended" default:"kept"`
}

// Client is a registered application. Its name in the contract leaves the word
// Client to the clients that are generated from it.
type Client struct {
	ID           string   `json:"client_id"`
	Name         string   `json:"name" example:"CRM de l'association"`
	Role         string   `json:"role" enums:"organisation,network,buyer,steward,administrator" example:"organisation"`
	Organisation *string  `json:"organisation" extensions:"x-nullable"`
	Network      *string  `json:"network" extensions:"x-nullable"`
	Buyer        *string  `json:"buyer" extensions:"x-nullable"`
	Scopes       []string `json:"scopes" example:"observations.read,observations.write"`
	// Secrets accepted now: 2 while a former one overlaps.
	Secrets int `json:"secrets" example:"1"`
	// Public keys it may sign with; null when it has none.
	JWKS *ClientKeys `json:"jwks" extensions:"x-nullable"`
	// It gets no token any more.
	Revoked   bool   `json:"revoked"`
	Version   int    `json:"version" example:"1"`
	CreatedAt string `json:"created_at" format:"date-time"`
	UpdatedAt string `json:"updated_at" format:"date-time"`
	Links     Links  `json:"links"`
} // @name RegisteredClient

// ClientCredentials is a client with its new secret, which is shown this once.
type ClientCredentials struct {
	Client
	// null for a client registered with keys.
	Secret *string `json:"client_secret" extensions:"x-nullable" example:"rtb_secret_…"`
}

// ClientPage is a page of clients.
type ClientPage = Page[Client] // @name ClientPage

// listClients lists the registered applications.
//
//	@Summary		List clients
//	@Description	Registered applications, revoked ones included, without secrets.
//	@ID				listClients
//	@Tags			access
//	@Produce		json
//	@Param			role			query		string	false	"What they act as"	Enums(organisation, network, buyer, steward, administrator)
//	@Param			organisation	query		string	false	"Id of the organisation they act for"
//	@Param			network			query		string	false	"Id of the network they act for"
//	@Param			buyer			query		string	false	"Id of the buyer they act for"
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	ClientPage
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/clients [get]
func (s *server) listClients(c *call) error {
	p, err := c.paging()
	if err != nil {
		return err
	}
	f := impact.ClientFilter{
		Role: impact.Role(c.query.one("role")), Organisation: impact.OrganisationID(c.query.one("organisation")),
		Network: impact.NetworkID(c.query.one("network")), Buyer: c.query.one("buyer"),
	}
	if err := c.query.err(); err != nil {
		return err
	}
	rows, next, err := s.Clients.Clients(c.r.Context(), c.principal, f, p)
	if err != nil {
		return err
	}
	data := make([]Client, len(rows))
	for i := range rows {
		data[i] = client(c, &rows[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// createClient registers an application.
//
//	@Summary		Register a client
//	@Description	The secret is in this answer and nowhere else: it is stored hashed. For the same reason an Idempotency-Key is refused here; after a lost answer, revoke the client that GET /v1/clients shows, or rotate its secret. Whom the client acts for reads of it in the audit log.
//	@ID				createClient
//	@Tags			access
//	@Accept			json
//	@Produce		json
//	@Param			body	body		ClientInput	true	"The client"
//	@Success		201		{object}	ClientCredentials
//	@Header			201		{string}	Location	"Address of the client"
//	@Header			201		{string}	ETag		"Its version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/clients [post]
func (s *server) createClient(c *call) error {
	if err := c.notRepeatable(); err != nil {
		return err
	}
	in, err := decode[ClientInput](c)
	if err != nil {
		return err
	}
	role := impact.Role(in.Role)
	k := impact.Client{
		Name: strings.TrimSpace(in.Name), Role: role, Organisation: impact.OrganisationID(in.Organisation), Network: impact.NetworkID(in.Network),
		Buyer: in.Buyer, Scopes: scopesOf(in.Scopes),
	}
	if in.Scopes == nil {
		k.Scopes = impact.AllowedScopes(role)
	}
	if err := s.actsFor(c, &in, &k); err != nil {
		return err
	}
	var secret *string
	if in.JWKS == nil {
		made := auth.NewSecret()
		secret, k.SecretHashes = &made, auth.Rotate(nil, made)
	} else if k.JWKS, err = in.JWKS.text(); err != nil {
		return err
	}
	stored, err := s.Clients.CreateClient(c.r.Context(), c.principal, k)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.address("/v1/clients/"+stored.ID, ""))
	return c.done(http.StatusCreated, stored.Version, 0, ClientCredentials{client(c, &stored), secret})
}

// actsFor finds the organisation or the network that was named; what nobody
// knows is left as it is, and refused when the client is made.
func (s *server) actsFor(c *call, in *ClientInput, k *impact.Client) error {
	if in.Organisation != "" {
		found, _, err := s.find(c, in.Organisation)
		if e, ok := errors.AsType[*impact.Error](err); ok && len(e.Faults) == 1 {
			return impact.Refuse(*at(e.Faults[0], "/organisation"))
		}
		switch {
		case err != nil:
			return err
		case len(found) > 1:
			return impact.Refuse(*at(impact.AmbiguousOrganisation(in.Organisation, found), "/organisation"))
		case len(found) == 1:
			k.Organisation = found[0].ID
		}
	}
	if in.Network != "" {
		n, err := s.Networks.Network(c.r.Context(), in.Network)
		if err != nil && impact.KindOf(err) != impact.NotFound {
			return err
		}
		if err == nil {
			k.Network = n.ID
		}
	}
	return nil
}

// getClient reads one client.
//
//	@Summary		Read a client
//	@ID				getClient
//	@Tags			access
//	@Produce		json
//	@Param			id				path		string	true	"Id of the client"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Client
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/clients/{id} [get]
func (s *server) getClient(c *call) error {
	k, err := s.Clients.Client(c.r.Context(), c.param("id"))
	if err != nil {
		return err
	}
	if c.fresh(versionTag(k.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, client(c, &k))
}

// updateClient changes the name, the scopes and the keys of a client.
//
//	@Summary		Change a client
//	@Description	JSON Merge Patch of name, scopes and keys. A scope taken away ends the tokens the client holds, and its API keys lose it.
//	@ID				updateClient
//	@Tags			access
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			id			path		string			true	"Id of the client"
//	@Param			If-Match	header		string			true	"ETag of the version that is changed"
//	@Param			body		body		ClientChange	true	"Members to change"
//	@Success		200			{object}	Client
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/clients/{id} [patch]
func (s *server) updateClient(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[ClientInput](c)
	if err != nil {
		return err
	}
	ended := false
	stored, err := s.Clients.UpdateClient(c.r.Context(), c.principal, c.param("id"), version, func(k *impact.Client) error {
		before := clientInput(k)
		next, err := patch.apply(before)
		if err != nil {
			return err
		}
		var faults []impact.Fault
		for _, m := range []struct{ name, before, after string }{
			{"role", before.Role, next.Role}, {"organisation", before.Organisation, next.Organisation}, {"network", before.Network, next.Network}, {"buyer", before.Buyer, next.Buyer},
		} {
			if m.before != m.after {
				faults = append(faults, impact.Fault{
					Code: "immutable_member", Pointer: "/" + m.name, Value: m.after,
					Detail: impact.Text{FR: "Ce qu'un client représente ne change pas.", EN: "What a client acts for does not change."},
					Hint:   impact.Text{FR: "Créez un autre client et révoquez celui-ci.", EN: "Register another client and revoke this one."},
				})
			}
		}
		k.Name, k.Scopes, k.JWKS = strings.TrimSpace(next.Name), scopesOf(next.Scopes), ""
		if next.JWKS != nil {
			if k.JWKS, err = next.JWKS.text(); err != nil {
				return err
			}
		}
		ended = slices.ContainsFunc(before.Scopes, func(x string) bool { return !slices.Contains(next.Scopes, x) })
		return impact.Refuse(faults...)
	})
	if err != nil {
		return err
	}
	if ended {
		s.end(&stored)
	}
	return c.done(http.StatusOK, stored.Version, 0, client(c, &stored))
}

// revokeClient revokes a client.
//
//	@Summary		Revoke a client
//	@Description	It gets no token any more, and those it holds, and its API keys, are refused: at once by the server that answers, within 2 seconds by the others. The client stays listed. Done again, it changes nothing.
//	@ID				revokeClient
//	@Tags			access
//	@Param			id		path	string	true	"Id of the client"
//	@Success		204		"It is revoked"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/clients/{id} [delete]
func (s *server) revokeClient(c *call) error {
	k, err := s.Clients.RevokeClient(c.r.Context(), c.principal, c.param("id"))
	if err != nil {
		return err
	}
	s.end(&k)
	return c.done(http.StatusNoContent, 0, 0, nil)
}

// end makes this replica forget at once what a client could do until now.
func (s *server) end(k *impact.Client) {
	s.Tokens.Revoke(impact.EndTokens(k.ID, k.UpdatedAt))
	if s.KeyRing != nil {
		s.KeyRing.Forget()
	}
}

// rotateClientSecret gives a client a new secret.
//
//	@Summary		Give a client a new secret
//	@Description	The new secret is in this answer and nowhere else. The former one is accepted beside it until the next rotation, unless `former` is `ended`; older ones are refused. Tokens in use go on.
//	@ID				rotateClientSecret
//	@Tags			access
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string			true	"Id of the client"
//	@Param			body	body		ClientRotation	false	"What becomes of the secret in use"
//	@Success		200		{object}	ClientCredentials
//	@Header			200		{string}	ETag	"The new version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/clients/{id}/rotate-secret [post]
func (s *server) rotateClientSecret(c *call) error {
	if err := c.notRepeatable(); err != nil {
		return err
	}
	var in ClientRotation
	if c.r.ContentLength != 0 {
		var err error
		if in, err = decode[ClientRotation](c); err != nil {
			return err
		}
	}
	if in.Former = cmp.Or(in.Former, "kept"); in.Former != "kept" && in.Former != "ended" {
		return impact.Refuse(impact.Fault{
			Code: "unknown_code", Pointer: "/former", Value: in.Former,
			Detail: impact.Text{FR: "Valeur inconnue : " + in.Former + ".", EN: "Unknown value: " + in.Former + "."},
			Hint:   impact.Text{FR: "kept ou ended.", EN: "kept or ended."},
		})
	}
	secret := auth.NewSecret()
	stored, err := s.Clients.RotateClient(c.r.Context(), c.principal, c.param("id"), func(hashes []string) []string {
		if in.Former == "ended" {
			hashes = nil
		}
		return auth.Rotate(hashes, secret)
	})
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, stored.Version, 0, ClientCredentials{client(c, &stored), &secret})
}

// notRepeatable refuses an Idempotency-Key where the answer holds a secret: the
// answer to give again would have to be kept.
func (c *call) notRepeatable() error {
	if c.r.Header.Get("Idempotency-Key") == "" {
		return nil
	}
	return &impact.Error{
		Kind: impact.Malformed, Code: "invalid_header",
		Detail: impact.Text{FR: "Idempotency-Key n'est pas accepté ici : la réponse porte un secret, qui n'est gardé nulle part.", EN: "Idempotency-Key is not taken here: the answer holds a secret, which is kept nowhere."},
		Hint:   impact.Text{FR: "Envoyez sans cet en-tête ; si la réponse se perd, faites tourner le secret.", EN: "Send without this header; if the answer is lost, rotate the secret."},
		Faults: []impact.Fault{{Code: "invalid_type", Header: "Idempotency-Key"}},
	}
}

func scopesOf(names []string) []impact.Scope {
	scopes := make([]impact.Scope, len(names))
	for i, n := range names {
		scopes[i] = impact.Scope(n)
	}
	return scopes
}

func clientInput(k *impact.Client) ClientInput {
	return ClientInput{Name: k.Name, Role: string(k.Role), Organisation: string(k.Organisation), Network: string(k.Network), Buyer: k.Buyer, Scopes: impact.Words(k.Scopes), JWKS: clientKeys(k.JWKS)}
}

// text checks the keys and writes them as they are kept.
func (k *ClientKeys) text() (string, error) {
	b, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	return string(b), impact.Refuse(auth.CheckClientKeys(string(b))...)
}

// clientKeys reads kept keys, nil when there are none.
func clientKeys(jwks string) *ClientKeys {
	var k ClientKeys
	if jwks == "" || json.Unmarshal([]byte(jwks), &k) != nil {
		return nil
	}
	return &k
}

func client(c *call, k *impact.Client) Client {
	return Client{
		ID: k.ID, Name: k.Name, Role: string(k.Role), Organisation: optional(k.Organisation), Network: optional(k.Network), Buyer: optional(k.Buyer),
		Scopes: impact.Words(k.Scopes), Secrets: len(k.SecretHashes), JWKS: clientKeys(k.JWKS), Revoked: k.Revoked, Version: k.Version,
		CreatedAt: instant(k.CreatedAt), UpdatedAt: instant(k.UpdatedAt), Links: Links{Self: c.address("/v1/clients/"+k.ID, "")},
	}
}

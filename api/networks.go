package api

import (
	"context"
	"net/http"

	"github.com/grandlyon/retombees/pkg/impact"
)

// NetworkStore keeps networks and who belongs to them.
type NetworkStore interface {
	Networks(ctx context.Context, f impact.NetworkFilter, page impact.Page) ([]impact.Network, []string, error)
	// Network takes an id or a code.
	Network(ctx context.Context, ref string) (impact.Network, error)
	CreateNetwork(ctx context.Context, p impact.Principal, n impact.Network) (impact.Network, error)
	UpdateNetwork(ctx context.Context, p impact.Principal, id impact.NetworkID, version int, change func(*impact.Network) error) (impact.Network, error)
	Memberships(ctx context.Context, p impact.Principal, f impact.MembershipFilter, page impact.Page) ([]impact.Membership, []string, error)
	MemberCandidates(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error)
	PutMembership(ctx context.Context, p impact.Principal, network impact.NetworkID, o *impact.Organisation, m impact.Membership) (impact.Membership, impact.Outcome, error)
	DeleteMemberships(ctx context.Context, p impact.Principal, network impact.NetworkID, organisation impact.OrganisationID) error
}

// NetworkInput is what an administrator states about a network.
type NetworkInput struct {
	Name string `json:"name" example:"Fédération des jardins"`
	// Letters without accents, digits and hyphens; known as well as the id.
	Code string `json:"code,omitempty" example:"COORACE"`
	// Id of the organisation that the network is itself, as a legal entity: what
	// the network states for it needs no mandate.
	Organisation string `json:"organisation,omitempty"`
}

// NetworkChange is a merge patch of a network: null removes a member.
type NetworkChange struct {
	Name         *string `json:"name,omitempty"`
	Code         *string `json:"code,omitempty" extensions:"x-nullable"`
	Organisation *string `json:"organisation,omitempty" extensions:"x-nullable"`
}

// Network is a federation of organisations.
type Network struct {
	ID           string       `json:"id"`
	Name         string       `json:"name" example:"Fédération des jardins"`
	Code         *string      `json:"code" extensions:"x-nullable" example:"COORACE"`
	Organisation *string      `json:"organisation" extensions:"x-nullable"`
	Version      int          `json:"version" example:"1"`
	CreatedAt    string       `json:"created_at" format:"date-time"`
	UpdatedAt    string       `json:"updated_at" format:"date-time"`
	Links        NetworkLinks `json:"links"`
}

// NetworkLinks leads to what belongs to a network.
type NetworkLinks struct {
	Self    string `json:"self"`
	Members string `json:"members"`
}

// NetworkPage is a page of networks.
type NetworkPage = Page[Network] // @name NetworkPage

func (s *server) networkWire(c *call, n *impact.Network) Network {
	self := c.address("/v1/networks/"+string(n.ID), "")
	return Network{
		ID: string(n.ID), Name: n.Name, Code: optional(n.Code), Organisation: optional(n.Organisation), Version: n.Version,
		CreatedAt: instant(n.CreatedAt), UpdatedAt: instant(n.UpdatedAt), Links: NetworkLinks{Self: self, Members: self + "/members"},
	}
}

// listNetworks lists the networks.
//
//	@Summary		List networks
//	@Description	Everyone reads which networks there are; who belongs to one is read by itself.
//	@ID				listNetworks
//	@Tags			networks
//	@Produce		json
//	@Param			code			query		string	false	"Code of a network"
//	@Param			q				query		string	false	"Words of the name, without case and accents"
//	@Param			updated_since	query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	NetworkPage
//	@Failure		default			{object}	Problem
//	@Router			/v1/networks [get]
func (s *server) listNetworks(c *call) error {
	f := impact.NetworkFilter{Code: c.query.one("code"), Query: c.query.one("q"), UpdatedSince: since(c.query)}
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Networks.Networks(c.r.Context(), f, p)
	if err != nil {
		return err
	}
	data := make([]Network, len(rows))
	for i := range rows {
		data[i] = s.networkWire(c, &rows[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// getNetwork reads one network.
//
//	@Summary		Read a network
//	@ID				getNetwork
//	@Tags			networks
//	@Produce		json
//	@Param			id				path		string	true	"Id or code of the network"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Network
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Router			/v1/networks/{id} [get]
func (s *server) getNetwork(c *call) error {
	n, err := s.Networks.Network(c.r.Context(), c.param("id"))
	if err != nil {
		return err
	}
	if c.fresh(versionTag(n.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, s.networkWire(c, &n))
}

// createNetwork registers a network.
//
//	@Summary		Register a network
//	@Description	Administrators do. A code, and an organisation, are those of one network: 409 and a link to it otherwise.
//	@ID				createNetwork
//	@Tags			networks
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string			false	"Makes a repeated request answer what it answered first"
//	@Param			body			body		NetworkInput	true	"The network"
//	@Success		201				{object}	Network
//	@Header			201				{string}	Location	"Address of the network"
//	@Header			201				{string}	ETag		"Its version"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/networks [post]
func (s *server) createNetwork(c *call) error {
	in, err := decode[NetworkInput](c)
	if err != nil {
		return err
	}
	n := impact.Network{Name: in.Name, Code: in.Code, Organisation: impact.OrganisationID(in.Organisation)}
	n.Normalise()
	if faults := n.Check(); len(faults) > 0 {
		return impact.Refuse(faults...)
	}
	return c.repeatable(optionalKey, func(ctx context.Context) (*reply, error) {
		created, err := s.Networks.CreateNetwork(ctx, c.principal, n)
		if err != nil {
			return nil, err
		}
		return c.reply(http.StatusCreated, s.networkWire(c, &created)).at("/v1/networks/" + string(created.ID)).version(created.Version), nil
	})
}

// updateNetwork changes a network.
//
//	@Summary		Change a network
//	@Description	JSON Merge Patch. A network changes its own name; its code and the organisation it is are an administrator's.
//	@ID				updateNetwork
//	@Tags			networks
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			id			path		string			true	"Id or code of the network"
//	@Param			If-Match	header		string			true	"ETag of the version that is changed"
//	@Param			body		body		NetworkChange	true	"Members to change"
//	@Success		200			{object}	Network
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/networks/{id} [patch]
func (s *server) updateNetwork(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[NetworkInput](c)
	if err != nil {
		return err
	}
	current, err := s.Networks.Network(c.r.Context(), c.param("id"))
	if err != nil {
		return err
	}
	stored, err := s.Networks.UpdateNetwork(c.r.Context(), c.principal, current.ID, version, func(n *impact.Network) error {
		in, err := patch.apply(NetworkInput{Name: n.Name, Code: n.Code, Organisation: string(n.Organisation)})
		if err != nil {
			return err
		}
		next := *n
		next.Name, next.Code, next.Organisation = in.Name, in.Code, impact.OrganisationID(in.Organisation)
		next.Normalise()
		faults := next.Check()
		if c.principal.Role == impact.RoleNetwork {
			for _, m := range []struct{ pointer, before, after string }{
				{"/code", n.Code, next.Code}, {"/organisation", string(n.Organisation), string(next.Organisation)},
			} {
				if m.before != m.after {
					faults = append(faults, impact.Fault{
						Code: "immutable_member", Pointer: m.pointer, Value: m.after,
						Detail: impact.Text{FR: "Un réseau ne change pas lui-même ce membre.", EN: "A network does not change this member itself."},
						Hint:   impact.Text{FR: "Demandez-le à un administrateur.", EN: "Ask an administrator."},
					})
				}
			}
		}
		*n = next
		return impact.Refuse(faults...)
	})
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, stored.Version, 0, s.networkWire(c, &stored))
}

package api

import (
	"context"
	"net/http"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MembershipInput says when an organisation belongs to a network.
type MembershipInput struct {
	// First day; null or absent when it is not known.
	From string `json:"from,omitempty" format:"date" example:"2024-01-01" extensions:"x-nullable"`
	// Last day; null or absent while it lasts.
	To string `json:"to,omitempty" format:"date" extensions:"x-nullable"`
	// Id of the member in the network's own system.
	ExternalID string `json:"external_id,omitempty" example:"4217" extensions:"x-nullable"`
}

// Membership says that an organisation belongs to a network, over some days.
type Membership struct {
	ID           string      `json:"id"`
	Network      NetworkName `json:"network"`
	Organisation MemberName  `json:"organisation"`
	// First and last day, both included; null when open.
	From       *string `json:"from" format:"date" extensions:"x-nullable"`
	To         *string `json:"to" format:"date" extensions:"x-nullable"`
	ExternalID *string `json:"external_id" extensions:"x-nullable"`
	Version    int     `json:"version" example:"1"`
	CreatedAt  string  `json:"created_at" format:"date-time"`
	UpdatedAt  string  `json:"updated_at" format:"date-time"`
	Deleted    bool    `json:"deleted,omitempty"`
}

// NetworkName names a network.
type NetworkName struct {
	ID   string `json:"id"`
	Name string `json:"name" example:"Fédération des jardins"`
}

// MemberName names a member of a network.
type MemberName struct {
	ID    string  `json:"id"`
	Name  string  `json:"name" example:"Les Ateliers du Rhône"`
	SIRET *string `json:"siret" extensions:"x-nullable"`
	SIREN *string `json:"siren" extensions:"x-nullable"`
}

// MembershipPage is a page of memberships.
type MembershipPage = Page[Membership] // @name MembershipPage

func membership(m *impact.Membership) Membership {
	return Membership{
		ID: string(m.ID), Network: NetworkName{string(m.Network), m.NetworkName},
		Organisation: MemberName{ID: string(m.Organisation), Name: m.Name, SIRET: optional(m.SIRET), SIREN: optional(m.SIREN)},
		From:         day(m.From), To: day(m.To), ExternalID: optional(m.ExternalID), Version: m.Version,
		CreatedAt: instant(m.CreatedAt), UpdatedAt: instant(m.UpdatedAt), Deleted: m.Deleted,
	}
}

// listMembers lists who belongs to a network.
//
//	@Summary		List the memberships of a network
//	@Description	The network itself reads them, former ones included. A member that came back has one membership for each stay. With updated_since the order is that of changes, tombstones included.
//	@ID				listMembers
//	@Tags			networks
//	@Produce		json
//	@Param			id				path		string	true	"Id or code of the network"
//	@Param			on				query		string	false	"In force on that day"	Format(date)
//	@Param			updated_since	query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			include_deleted	query		boolean	false	"Tombstones too"
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	MembershipPage
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/networks/{id}/members [get]
func (s *server) listMembers(c *call) error {
	n, err := s.ownNetwork(c)
	if err != nil {
		return err
	}
	return s.memberships(c, impact.MembershipFilter{Network: n.ID})
}

// listMemberships lists the networks an organisation belongs to.
//
//	@Summary		List the memberships of an organisation
//	@Description	What networks say of the organisation: it reads them itself, and a network those in itself.
//	@ID				listMemberships
//	@Tags			networks
//	@Produce		json
//	@Param			id				path		string	true	"Id of the organisation, or siret:…, siren:…, rna:…, ext:{source}:{id}"
//	@Param			on				query		string	false	"In force on that day"	Format(date)
//	@Param			updated_since	query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			include_deleted	query		boolean	false	"Tombstones too"
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	MembershipPage
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations/{id}/memberships [get]
func (s *server) listMemberships(c *call) error {
	found, _, err := s.find(c, c.param("id"))
	if err != nil {
		return err
	}
	switch len(found) {
	case 0:
		return impact.NotFoundError()
	case 1:
	default:
		return impact.Refuse(impact.AmbiguousOrganisation(c.param("id"), found))
	}
	if err := s.witness(c, string(found[0].ID), found[0].ID); err != nil {
		return err
	}
	return s.memberships(c, impact.MembershipFilter{Organisation: found[0].ID})
}

func (s *server) memberships(c *call, f impact.MembershipFilter) error {
	q := c.query
	f.UpdatedSince = since(q)
	f.IncludeDeleted = q.boolean("include_deleted", !f.UpdatedSince.IsZero())
	if v := q.one("on"); v != "" {
		d, fault := impact.ParseDate(v)
		q.cannotRead("on", fault)
		f.On = &d
	}
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Networks.Memberships(c.r.Context(), c.principal, f, p)
	if err != nil {
		return err
	}
	data := make([]Membership, len(rows))
	for i := range rows {
		data[i] = membership(&rows[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// ownNetwork finds the network of a path, which must be the caller's.
func (s *server) ownNetwork(c *call) (impact.Network, error) {
	n, err := s.Networks.Network(c.r.Context(), c.param("id"))
	if err == nil && (c.principal.Role != impact.RoleNetwork || c.principal.Network != n.ID) {
		err = impact.NotFoundError()
	}
	return n, err
}

// member finds the one organisation that a path names as a member.
func (s *server) member(ctx context.Context, c *call) (*impact.Organisation, error) {
	ref, _, fault := impact.NormaliseReference(c.param("organisation"))
	if fault != nil {
		return nil, impact.Refuse(*fault)
	}
	found, err := s.Networks.MemberCandidates(ctx, c.principal, ref)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, impact.NotFoundError()
	case len(found) > 1:
		return nil, impact.Refuse(impact.AmbiguousOrganisation(ref, found))
	}
	return &found[0], nil
}

// putMember states a membership.
//
//	@Summary		State a membership
//	@Description	A membership is known by its first day: sent again with the same `from` it is changed; with an earlier one, and a `to` that is the same or absent, its beginning is corrected; with another one begins. Memberships of one organisation do not overlap. An organisation that left is given a last day, `to`. Being a member gives no right on the organisation's data: see mandates.
//	@ID				putMember
//	@Tags			networks
//	@Accept			json
//	@Produce		json
//	@Param			id				path		string			true	"Id or code of the network"
//	@Param			organisation	path		string			true	"Id of the organisation, or siret:…, siren:…, rna:…, ext:{source}:{id}"
//	@Param			body			body		MembershipInput	true	"From when to when"
//	@Success		200				{object}	Membership
//	@Success		201				{object}	Membership
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/networks/{id}/members/{organisation} [put]
func (s *server) putMember(c *call) error {
	in, err := decode[MembershipInput](c)
	if err != nil {
		return err
	}
	n, err := s.ownNetwork(c)
	if err != nil {
		return err
	}
	o, err := s.member(c.r.Context(), c)
	if err != nil {
		return err
	}
	m := impact.Membership{From: impact.MinDate, To: impact.MaxDate, ExternalID: in.ExternalID}
	if err := impact.Refuse(readDays(dayMember{"/from", in.From, &m.From}, dayMember{"/to", in.To, &m.To})...); err != nil {
		return err
	}
	stored, outcome, err := s.Networks.PutMembership(c.r.Context(), c.principal, n.ID, o, m)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if outcome == impact.Created {
		status = http.StatusCreated
	}
	return c.done(status, stored.Version, 0, membership(&stored))
}

// dayMember is a day as written, and where it goes.
type dayMember struct {
	pointer, text string
	to            *impact.Date
}

// readDays reads days of a body; absent ones stay as they are.
func readDays(members ...dayMember) (faults []impact.Fault) {
	for _, m := range members {
		if m.text == "" {
			continue
		}
		d, fault := impact.ParseDate(m.text)
		if fault != nil {
			faults = append(faults, *at(*fault, m.pointer))
			continue
		}
		*m.to = d
	}
	return faults
}

// deleteMember takes back every membership of an organisation.
//
//	@Summary		Take memberships back
//	@Description	For what was stated by mistake: every membership of the organisation in this network is deleted and leaves a tombstone. An organisation that left is given a last day instead: PUT with `to`.
//	@ID				deleteMember
//	@Tags			networks
//	@Produce		json
//	@Param			id				path	string	true	"Id or code of the network"
//	@Param			organisation	path	string	true	"Id of the organisation, or siret:…, siren:…, rna:…, ext:{source}:{id}"
//	@Success		204				"Deleted"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/networks/{id}/members/{organisation} [delete]
func (s *server) deleteMember(c *call) error {
	n, err := s.ownNetwork(c)
	if err != nil {
		return err
	}
	o, err := s.member(c.r.Context(), c)
	if err != nil {
		return err
	}
	if err := s.Networks.DeleteMemberships(c.r.Context(), c.principal, n.ID, o.ID); err != nil {
		return err
	}
	return c.done(http.StatusNoContent, 0, 0, nil)
}

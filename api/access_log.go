package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// AccessLogger keeps who read whose data.
type AccessLogger interface {
	LogAccess(ctx context.Context, lines ...impact.Access) error
}

// LogReader tells those concerned who read or wrote their data, and who changed
// which right.
type LogReader interface {
	AuditLog(ctx context.Context, p impact.Principal, action impact.AuditAction, page impact.Page) ([]impact.AuditEvent, []string, error)
	AccessLog(ctx context.Context, p impact.Principal, of impact.OrganisationID, right impact.AccessRight, page impact.Page) ([]impact.Access, []string, error)
}

// witness logs that a steward or a buyer reads observations, or the register,
// of some organisations, each named once for each row. It comes before the
// answer: nothing is read unlogged. What networks do is in the log of their
// mandates.
func (s *server) witness(c *call, resource string, of ...impact.OrganisationID) error {
	if r := c.principal.Role; r != impact.RoleSteward && r != impact.RoleBuyer {
		return nil
	}
	return s.note(c, resource, of...)
}

func (s *server) note(c *call, resource string, of ...impact.OrganisationID) error {
	rows := map[impact.OrganisationID]int{}
	for _, id := range of {
		rows[id]++
	}
	slices.Sort(of)
	of = slices.Compact(of)
	if len(of) == 0 {
		of = []impact.OrganisationID{""}
	}
	lines := make([]impact.Access, len(of))
	for i, id := range of {
		lines[i] = impact.Access{
			Client: c.principal.Client, Action: c.route.Method + " " + c.route.Path, Right: impact.RightOf(c.principal.Role), Organisation: id,
			Resource: resource, Rows: rows[id], At: s.Now(),
		}
	}
	if err := s.AccessLog.LogAccess(c.r.Context(), lines...); err != nil {
		return fmt.Errorf("logging an access: %w", err)
	}
	return nil
}

// AccessLine is one time somebody read or wrote the organisation's data.
type AccessLine struct {
	At string `json:"at" format:"date-time"`
	// By which right: the organisation's own, a mandate it gave, the duty of a steward, its consent to buyers, the register's administration.
	Right    string `json:"right" enums:"own,mandate,steward,consent,administration"`
	ClientID string `json:"client_id"`
	// Name of the client; null when it is not registered here any more.
	ClientName *string `json:"client_name" extensions:"x-nullable" example:"Observatoire"`
	// Route; under a mandate the scope that was used; write for one's own.
	Action string `json:"action" example:"GET /v1/observations"`
	// What was read: an id, or the query.
	Resource *string `json:"resource" extensions:"x-nullable"`
	// Rows of this organisation; null when they were not counted.
	Rows    *int         `json:"rows" extensions:"x-nullable" example:"12"`
	Mandate *string      `json:"mandate" extensions:"x-nullable"`
	Network *NetworkName `json:"network" extensions:"x-nullable"`
}

// AccessLinePage is a page of the log.
type AccessLinePage = Page[AccessLine] // @name AccessLinePage

// listAccesses tells an organisation who read or wrote its data.
//
//	@Summary		Who read or wrote the organisation's data
//	@Description	The last first, to the organisation alone: what networks did under its mandates, what stewards and consented buyers read, what administrators changed in its register entry, and its own writes. Its own readings are not kept. Lines stay three years at least.
//	@Tags			access
//	@ID				listAccesses
//	@Produce		json
//	@Param			id		path		string	true	"Id of the organisation, or siret:…, siren:…, rna:…, ext:{source}:{id}"
//	@Param			right	query		string	false	"By that right only"	Enums(own, mandate, steward, consent, administration)
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	AccessLinePage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations/{id}/access-log [get]
func (s *server) listAccesses(c *call) error {
	right := impact.AccessRight(c.query.enum("right", "", impact.Words(impact.AccessRights())...))
	p, err := c.paging()
	if err != nil {
		return err
	}
	o, warnings, err := s.named(c, c.param("id"))
	if err != nil {
		return err
	}
	rows, next, err := s.Logs.AccessLog(c.r.Context(), c.principal, o.ID, right, p)
	if err != nil {
		return err
	}
	data := make([]AccessLine, len(rows))
	for i, a := range rows {
		data[i] = AccessLine{
			At: instant(a.At), Right: string(a.Right), ClientID: a.Client, ClientName: optional(a.ClientName), Action: a.Action,
			Resource: optional(a.Resource), Mandate: optional(a.Mandate),
		}
		if a.Rows > 0 {
			data[i].Rows = &rows[i].Rows
		}
		if a.Network != "" {
			data[i].Network = &NetworkName{ID: string(a.Network), Name: a.NetworkName}
		}
	}
	return c.answer(http.StatusOK, page(c, data, next, warnings...))
}

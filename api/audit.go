package api

import (
	"net/http"

	"github.com/grandlyon/retombees/pkg/impact"
)

// AuditLine is one change of somebody's rights.
type AuditLine struct {
	// Grows with time.
	ID string `json:"id"`
	At string `json:"at" format:"date-time"`
	// What was done, to what.
	Action   string `json:"action" example:"mandate.granted"`
	Resource string `json:"resource" example:"/v1/mandates/0199"`
	// Client that did it; null for the operator's command line.
	ClientID *string `json:"client_id" extensions:"x-nullable"`
	Role     *string `json:"role" enums:"organisation,network,buyer,steward,administrator" extensions:"x-nullable"`
	// Parties it concerns: each of them reads the line.
	Organisation *string           `json:"organisation" extensions:"x-nullable"`
	Network      *string           `json:"network" extensions:"x-nullable"`
	Buyer        *string           `json:"buyer" extensions:"x-nullable"`
	Detail       map[string]string `json:"detail"`
}

// AuditLinePage is a page of the audit log.
type AuditLinePage = Page[AuditLine] // @name AuditLinePage

// listAudit tells who changed which right.
//
//	@Summary		Who changed which right
//	@Description	Clients, keys, mandates, memberships, consents: the last change first. An organisation, a network or a buyer reads the lines that concern it, every client those about itself, an administrator all; no line holds an observation. The log only grows; lines stay three years at least.
//	@Tags			access
//	@ID				listAudit
//	@Produce		json
//	@Param			action	query		string	false	"Lines of that action only, for instance consent.given"
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	AuditLinePage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/audit-log [get]
func (s *server) listAudit(c *call) error {
	action := impact.AuditAction(c.query.one("action"))
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Logs.AuditLog(c.r.Context(), c.principal, action, p)
	if err != nil {
		return err
	}
	data := make([]AuditLine, len(rows))
	for i, e := range rows {
		data[i] = AuditLine{
			ID: padded(e.ID), At: instant(e.At), Action: string(e.Action), Resource: e.Resource, ClientID: optional(e.Actor), Role: optional(e.Role),
			Organisation: optional(e.Organisation), Network: optional(e.Network), Buyer: optional(e.Buyer), Detail: e.Detail,
		}
		if e.Detail == nil {
			data[i].Detail = map[string]string{}
		}
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

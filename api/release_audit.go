package api

import (
	"net/http"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ReleaseAudit is what the auditor found in one unit: figures that sums tie
// together, protected as a whole.
type ReleaseAudit struct {
	// First indicator of the family, in alphabetical order.
	Family string      `json:"family" example:"insertion_hours"`
	Year   int         `json:"year" example:"2025"`
	Counts AuditCounts `json:"counts"`
	// Sentences about what could be recovered; none holds a value.
	Findings []string        `json:"findings"`
	Withheld []ReleaseReason `json:"withheld"`
}

// ReleaseReason is why a cell is withheld.
type ReleaseReason struct {
	Cell   string `json:"cell"`
	Reason string `json:"reason" enums:"few_contributors,dominated,nothing_but_zero,few_people,would_tell,would_narrow,told_in_part" example:"few_contributors"`
	// Cell that it protects; null when it is secret itself.
	Protects *string `json:"protects" extensions:"x-nullable"`
}

// ReleaseAuditPage is a page of an audit.
type ReleaseAuditPage = Page[ReleaseAudit] // @name ReleaseAuditPage

// getReleaseAudit tells auditors why cells are withheld.
//
//	@Summary		Why cells of a release are withheld
//	@Description	For auditors (`releases.audit`), who are not the ones who asked for the release: two people see to it. Reasons and findings, no hidden value; each reading is logged. The reasons are never public: they would tell how many organisations a cell has.
//	@ID				getReleaseAudit
//	@Tags			releases
//	@Produce		json
//	@Param			id		path		string	true	"Number of the release, or id of an attempt"
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(100)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	ReleaseAuditPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/releases/{id}/audit [get]
func (s *server) getReleaseAudit(c *call) error {
	r, err := s.ReleaseStore.Release(c.r.Context(), c.principal, c.param("id"))
	if err != nil {
		return err
	}
	if r.RequestedBy == c.principal.Client {
		return &impact.Error{
			Kind: impact.Forbidden, Code: "insufficient_scope",
			Detail: impact.Text{FR: "Qui a demandé une publication ne l'audite pas.", EN: "Whoever asked for a release does not audit it."},
			Hint:   impact.Text{FR: "Demandez-le à un autre titulaire de releases.audit.", EN: "Ask another holder of releases.audit."},
		}
	}
	p, err := c.paging()
	if err != nil {
		return err
	}
	if err := s.ReleaseStore.AuditRelease(c.r.Context(), c.principal, &r); err != nil {
		return err
	}
	rows, next, err := s.ReleaseStore.ReleaseAudits(c.r.Context(), r.Key, p)
	if err != nil {
		return err
	}
	data := make([]ReleaseAudit, len(rows))
	for i, a := range rows {
		data[i] = ReleaseAudit{Family: a.Family, Year: a.Year, Counts: auditCounts(a.Counts), Findings: append([]string{}, a.Findings...), Withheld: []ReleaseReason{}}
		for _, why := range a.Reasons {
			data[i].Withheld = append(data[i].Withheld, ReleaseReason{why.Cell, why.Reason, optional(why.Against)})
		}
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

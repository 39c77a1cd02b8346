package api

import (
	"context"
	"net/http"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ConsentStore keeps what organisations agree to; each speaks for itself only.
type ConsentStore interface {
	Consents(ctx context.Context, p impact.Principal, of impact.OrganisationID) ([]impact.Consent, error)
	SetConsent(ctx context.Context, p impact.Principal, of impact.OrganisationID, kind impact.ConsentKind, given bool) (impact.Consent, impact.Outcome, error)
}

// Consent is where an organisation stands on one purpose.
type Consent struct {
	Kind string `json:"kind" enums:"listed,visible_to_buyer,open_to_cooperation,secrecy_waiver"`
	// What is agreed to, in the sentence in force.
	Purpose Text `json:"purpose"`
	Given   bool `json:"given"`
	// The sentence that was agreed to; null when it never was.
	Wording *string `json:"wording" extensions:"x-nullable" example:"2026-11"`
	GivenAt *string `json:"given_at" format:"date-time" extensions:"x-nullable"`
	// Null while it is given.
	WithdrawnAt *string `json:"withdrawn_at" format:"date-time" extensions:"x-nullable"`
	// 0: the organisation never spoke about it, which is no.
	Version int `json:"version" example:"1"`
	// The last first, at most 100.
	History []ConsentVersion `json:"history"`
	Links   Links            `json:"links"`
}

// ConsentVersion is one time the organisation said yes or no.
type ConsentVersion struct {
	Version int     `json:"version" example:"1"`
	Given   bool    `json:"given"`
	Wording *string `json:"wording" extensions:"x-nullable" example:"2026-11"`
	At      string  `json:"at" format:"date-time"`
	// Client that said it.
	ActedBy string `json:"acted_by"`
}

// ConsentPage is every purpose.
type ConsentPage = Page[Consent] // @name ConsentPage

// listConsents tells what an organisation agrees to.
//
//	@Summary		What the organisation agrees to
//	@Description	Every purpose, those never spoken about included: nothing is agreed by default. Only the organisation itself reads and changes this; no mandate does.
//	@Tags			organisations
//	@ID				listConsents
//	@Produce		json
//	@Param			id		path		string	true	"Id of the organisation, or siret:…, siren:…, rna:…, ext:{source}:{id}"
//	@Success		200		{object}	ConsentPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations/{id}/consents [get]
func (s *server) listConsents(c *call) error {
	o, warnings, err := s.named(c, c.param("id"))
	if err != nil {
		return err
	}
	list, err := s.Consents.Consents(c.r.Context(), c.principal, o.ID)
	if err != nil {
		return err
	}
	data := make([]Consent, len(list))
	for i := range list {
		data[i] = consent(c, &list[i])
	}
	return c.answer(http.StatusOK, page(c, data, nil, warnings...))
}

// giveConsent agrees to a purpose.
//
//	@Summary		Agree to a purpose
//	@Description	In the sentence in force, which the answer shows. Acts on the next reading. 200 when it was given already.
//	@Tags			organisations
//	@ID				giveConsent
//	@Produce		json
//	@Param			id		path		string	true	"Id of the organisation"
//	@Param			kind	path		string	true	"Purpose"	Enums(listed, visible_to_buyer, open_to_cooperation, secrecy_waiver)
//	@Success		200		{object}	Consent
//	@Success		201		{object}	Consent
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations/{id}/consents/{kind} [put]
func (s *server) giveConsent(c *call) error {
	after, outcome, err := s.setConsent(c, true)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if outcome == impact.Created {
		status = http.StatusCreated
	}
	return c.done(status, after.Version, 0, consent(c, after))
}

// withdrawConsent takes a consent back.
//
//	@Summary		Withdraw a consent
//	@Description	Acts on the next reading: what it opened is hidden at once; published figures follow at the next release. What was agreed, and when, stays in the history.
//	@Tags			organisations
//	@ID				withdrawConsent
//	@Produce		json
//	@Param			id		path		string	true	"Id of the organisation"
//	@Param			kind	path		string	true	"Purpose"	Enums(listed, visible_to_buyer, open_to_cooperation, secrecy_waiver)
//	@Success		204		"Withdrawn, or never given"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations/{id}/consents/{kind} [delete]
func (s *server) withdrawConsent(c *call) error {
	if _, _, err := s.setConsent(c, false); err != nil {
		return err
	}
	return c.done(http.StatusNoContent, 0, 0, nil)
}

func (s *server) setConsent(c *call, given bool) (*impact.Consent, impact.Outcome, error) {
	o, _, err := s.named(c, c.param("id"))
	if err != nil {
		return nil, "", err
	}
	after, outcome, err := s.Consents.SetConsent(c.r.Context(), c.principal, o.ID, impact.ConsentKind(c.param("kind")), given)
	return &after, outcome, err
}

func consent(c *call, of *impact.Consent) Consent {
	out := Consent{
		Kind: string(of.Kind), Given: of.Given, Wording: optional(of.Wording), GivenAt: moment(of.GivenAt), WithdrawnAt: moment(of.WithdrawnAt),
		Version: of.Version, History: []ConsentVersion{},
		Links: Links{Self: c.address("/v1/organisations/"+string(of.Organisation)+"/consents", "")},
	}
	for _, k := range impact.ConsentKinds {
		if k.Kind == of.Kind {
			out.Purpose = text(k.Purpose)
		}
	}
	for _, v := range of.History {
		out.History = append(out.History, ConsentVersion{Version: v.Version, Given: v.Given, Wording: optional(v.Wording), At: instant(v.At), ActedBy: v.ActedBy})
	}
	return out
}

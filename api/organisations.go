package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// OrganisationStore is the register of organisations. Each method shows and
// changes what the principal may see and change, and nothing else exists for it.
type OrganisationStore interface {
	CreateOrganisation(ctx context.Context, p impact.Principal, o impact.Organisation) (impact.Organisation, impact.Outcome, error)
	Organisation(ctx context.Context, p impact.Principal, id impact.OrganisationID) (impact.Organisation, error)
	FindOrganisations(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error)
	// FindEachOrganisation is the same for many references.
	FindEachOrganisation(ctx context.Context, p impact.Principal, refs []string) (map[string][]impact.Organisation, error)
	UpdateOrganisation(ctx context.Context, p impact.Principal, id impact.OrganisationID, version int, change func(*impact.Organisation) error) (impact.Organisation, error)
	Organisations(ctx context.Context, p impact.Principal, f impact.OrganisationFilter, page impact.Page) ([]impact.Organisation, []string, error)
	ShownOrganisations(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error)
}

// needConsent is the answer to a buyer about an organisation it may not read:
// nothing tells whether that organisation exists.
func needConsent() error {
	return &impact.Error{
		Kind: impact.Forbidden, Code: "consent_required",
		Detail: impact.Text{FR: "Un acheteur ne voit que les organisations qui y consentent.", EN: "A buyer sees only organisations that agree to it."},
		Hint: impact.Text{
			FR: "GET /v1/organisations liste celles qui y consentent ; les autres le décident à PUT /v1/organisations/{id}/consents/visible_to_buyer.",
			EN: "GET /v1/organisations lists those that agree; the others decide at PUT /v1/organisations/{id}/consents/visible_to_buyer.",
		},
	}
}

// createOrganisation registers an organisation.
//
//	@Summary		Register an organisation
//	@Description	The same SIRET with the same structure kind is the same organisation: sent again it answers 200, with another content 409 and a link. An organisation registers the establishments of its own SIREN, an administrator any; a network registers a new member, which belongs to it from today.
//	@Tags			organisations
//	@ID				createOrganisation
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string				false	"Makes a repeated request answer what it answered first"
//	@Param			body			body		OrganisationInput	true	"The organisation"
//	@Success		201				{object}	Organisation
//	@Success		200				{object}	Organisation
//	@Header			201				{string}	Location			"Address of the organisation"
//	@Header			201				{string}	ETag				"Its version"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations [post]
func (s *server) createOrganisation(c *call) error {
	in, err := decode[OrganisationInput](c)
	if err != nil {
		return err
	}
	o, warnings, faults := in.organisation()
	if faults = append(faults, o.Check(s.Catalogue)...); len(faults) > 0 {
		return impact.Refuse(unique(faults)...)
	}
	if c.principal.Role == impact.RoleNetwork {
		if faults := notForItself(&impact.Organisation{SIREN: o.SIREN}, &o); len(faults) > 0 {
			return impact.Refuse(faults...)
		}
	}
	return c.repeatable(optionalKey, func(ctx context.Context) (*reply, error) {
		stored, outcome, err := s.Organisations.CreateOrganisation(ctx, c.principal, o)
		if err != nil {
			return nil, err
		}
		status := http.StatusOK
		if outcome == impact.Created {
			status = http.StatusCreated
		}
		return c.reply(status, s.organisation(c, &stored, warnings)).
			at("/v1/organisations/" + string(stored.ID)).version(stored.Version), nil
	})
}

// getOrganisation reads one organisation.
//
//	@Summary		Read an organisation
//	@Description	Without an account: the public members of an organisation that consented to be listed. With one, all members of organisations the caller has a right on; a buyer also reads the public members of those that are visible to buyers.
//	@Tags			organisations
//	@ID				getOrganisation
//	@Produce		json
//	@Param			id				path		string	true	"Id, or siret:…, siren:…, rna:…, ext:{source}:{id} when it gives exactly one"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Organisation
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations/{id} [get]
func (s *server) getOrganisation(c *call) error {
	found, warnings, err := s.findShown(c, c.param("id"))
	if err != nil {
		return err
	}
	o, err := s.only(c, c.param("id"), found)
	if err != nil {
		return err
	}
	if err := s.registered(c, []impact.Organisation{*o}); err != nil {
		return err
	}
	if err := s.witness(c, string(o.ID), o.ID); err != nil {
		return err
	}
	v := s.organisation(c, o, warnings)
	tag := versionTag(o.Version)
	if o.Public {
		// Versions count changes that are not public.
		shown, err := json.Marshal(v)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(shown)
		tag = c.weakTag("public-" + hex(sum[:8]))
	}
	if c.fresh(tag) {
		return nil
	}
	return c.answer(http.StatusOK, v)
}

// updateOrganisation changes an organisation.
//
//	@Summary		Change an organisation
//	@Description	JSON Merge Patch. An organisation changes itself, but neither its SIREN, its group, its successor nor the questionnaires asked of it.
//	@Tags			organisations
//	@ID				updateOrganisation
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			id			path		string				true	"Id of the organisation"
//	@Param			If-Match	header		string				true	"ETag of the version that is changed"
//	@Param			body		body		OrganisationChange	true	"Members to change"
//	@Success		200			{object}	Organisation
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations/{id} [patch]
func (s *server) updateOrganisation(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[OrganisationInput](c)
	if err != nil {
		return err
	}
	current, _, err := s.named(c, c.param("id"))
	if err != nil {
		return err
	}
	if c.principal.Role == impact.RoleAdministrator {
		if err := s.note(c, string(current.ID), current.ID); err != nil {
			return err
		}
	}
	var warnings []impact.Fault
	stored, err := s.Organisations.UpdateOrganisation(c.r.Context(), c.principal, current.ID, version, func(o *impact.Organisation) error {
		in, err := patch.apply(organisationInput(o))
		if err != nil {
			return err
		}
		next, understood, faults := in.organisation()
		warnings = understood
		next.Key, next.ID, next.Version, next.CreatedAt, next.UpdatedAt = o.Key, o.ID, o.Version, o.CreatedAt, o.UpdatedAt
		faults = append(faults, next.Check(s.Catalogue)...)
		if r := c.principal.Role; r == impact.RoleOrganisation || r == impact.RoleNetwork {
			faults = append(faults, notForItself(o, &next)...)
		}
		if len(faults) > 0 {
			return impact.Refuse(unique(faults)...)
		}
		*o = next
		return nil
	})
	if err != nil {
		return err
	}
	s.owned.forget(stored.ID)
	return c.done(http.StatusOK, stored.Version, 0, s.organisation(c, &stored, warnings))
}

// notForItself lists the members an organisation may not change on itself: who
// it counts with for secrecy, who took over, what is asked of it.
func notForItself(o, next *impact.Organisation) []impact.Fault {
	var faults []impact.Fault
	for _, m := range []struct {
		name    string
		changed bool
	}{
		{"siren", o.SIREN != next.SIREN},
		{"group", o.GroupID != next.GroupID},
		{"successor", o.Successor != next.Successor},
		{"questionnaires", !slices.Equal(o.Questionnaires, next.Questionnaires)},
	} {
		if m.changed {
			faults = append(faults, impact.Fault{
				Code: "immutable_member", Pointer: "/" + m.name,
				Detail: impact.Text{FR: "Une organisation ne change pas elle-même son " + m.name + ".", EN: "An organisation does not change its own " + m.name + "."},
				Hint:   impact.Text{FR: "Demandez-le à un administrateur.", EN: "Ask an administrator."},
			})
		}
	}
	return faults
}

// listOrganisations lists organisations.
//
//	@Summary		List organisations
//	@Description	Without an account: organisations that consented to be listed, by their public members; a buyer also sees those that are visible to buyers. updated_since and external_id look among the organisations the caller has a right on. Identifiers are not unique: siret, siren, rna and external_id each give a list. match=siret_then_siren falls back to the legal unit and meta.matched_by says so.
//	@Tags			organisations
//	@ID				listOrganisations
//	@Produce		json
//	@Param			siret				query		string	false	"SIRET"
//	@Param			siren				query		string	false	"SIREN"
//	@Param			rna					query		string	false	"RNA"
//	@Param			external_id			query		string	false	"source:id"
//	@Param			match				query		string	false	"What to do when no establishment bears the SIRET"	Enums(siret, siret_then_siren)
//	@Param			territory			query		string	false	"With a site there, descendants included"
//	@Param			ess					query		string	false	"Social and solidarity economy"	Enums(true, false, unknown)
//	@Param			structure_kind		query		string	false	"Structure kind"
//	@Param			organisation_class	query		string	false	"Legal family"
//	@Param			q					query		string	false	"Words of the name, without case and accents"
//	@Param			updated_since		query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			limit				query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor				query		string	false	"Where to go on, from links.next"
//	@Success		200					{object}	OrganisationPage
//	@Failure		default				{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/organisations [get]
func (s *server) listOrganisations(c *call) error {
	f, warnings := s.organisationFilter(c)
	thenSIREN := c.query.enum("match", "siret", "siret", "siret_then_siren") == "siret_then_siren"
	if thenSIREN && !c.query.has("siret") {
		c.query.unread("siret", "missing_parameter", "",
			impact.Text{FR: "match=siret_then_siren demande un siret.", EN: "match=siret_then_siren needs a siret."},
			impact.Text{FR: "Ajoutez siret=…", EN: "Add siret=…"})
	}
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Organisations.Organisations(c.r.Context(), c.principal, f, p)
	if err != nil {
		return err
	}
	matched := ""
	switch {
	case f.SIRET != "":
		matched = "siret"
	case f.SIREN != "":
		matched = "siren"
	}
	// A page of the fall-back has nothing of the SIRET either: the choice is
	// the same on every page.
	if thenSIREN && len(rows) == 0 {
		f.SIREN, f.SIRET = f.SIRET[:9], ""
		matched = "siren"
		if rows, next, err = s.Organisations.Organisations(c.r.Context(), c.principal, f, p); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		matched = ""
	}
	ids := make([]impact.OrganisationID, len(rows))
	data := make([]Organisation, len(rows))
	for i := range rows {
		ids[i], data[i] = rows[i].ID, s.organisation(c, &rows[i], nil)
	}
	if err := s.registered(c, rows); err != nil {
		return err
	}
	if err := s.witness(c, c.query.canonical("cursor"), ids...); err != nil {
		return err
	}
	g := page(c, data, next, warnings...)
	return c.answer(http.StatusOK, OrganisationPage{Data: g.Data, Links: g.Links, Meta: OrganisationPageMeta{PageMeta: g.Meta, MatchedBy: optional(matched)}})
}

func (s *server) organisationFilter(c *call) (f impact.OrganisationFilter, warnings []impact.Fault) {
	q := c.query
	identifier := func(name string, check func(string) (string, *impact.Fault)) string {
		v := q.one(name)
		if v == "" {
			return ""
		}
		normal, fault := check(v)
		q.refuse(name, fault)
		if fault == nil && normal != v {
			w := impact.IdentifierNormalised(v, normal)
			w.Parameter = name
			warnings = append(warnings, w)
		}
		return normal
	}
	f.SIRET = identifier("siret", impact.CheckSIRET)
	f.SIREN = identifier("siren", impact.CheckSIREN)
	f.RNA = identifier("rna", impact.CheckRNA)
	if v := q.one("external_id"); v != "" {
		source, id, ok := strings.Cut(v, ":")
		if !ok || source == "" || id == "" {
			q.unread("external_id", "invalid_type", v,
				impact.Text{FR: "external_id n'est pas de la forme source:id.", EN: "external_id is not of the form source:id."},
				impact.Text{FR: "Par exemple external_id=cocagne-crm:4217.", EN: "For instance external_id=cocagne-crm:4217."})
		}
		f.ExternalID = &impact.ExternalID{Source: source, ID: id}
	}
	for _, name := range q.list("territory") {
		t, understood := s.territoryInForce(c, "territory", name)
		warnings = append(warnings, understood...)
		if t == nil {
			continue
		}
		f.Territories = append(f.Territories, t.ID)
		for _, d := range s.Catalogue.Gazetteer().Descendants(t.Key, s.vintage(), "") {
			f.Territories = append(f.Territories, d.ID)
		}
	}
	f.ESS = q.enum("ess", "", "true", "false", "unknown")
	f.StructureKind = s.listed(c, "structure_kind", "structure_kind")
	f.Class = impact.OrganisationClass(s.listed(c, "organisation_class", "organisation_class"))
	f.Query = q.one("q")
	f.UpdatedSince = since(q)
	return f, warnings
}

// territoryInForce resolves a territory of a query in today's vintage; faults
// are noted in the query.
func (s *server) territoryInForce(c *call, parameter, name string) (*impact.Territory, []impact.Fault) {
	t, warnings, fault := s.Catalogue.Gazetteer().ForVintage(name, s.vintage())
	c.query.refuse(parameter, fault)
	for i := range warnings {
		warnings[i].Pointer, warnings[i].Parameter = "", parameter
	}
	return t, warnings
}

// listed reads a parameter whose value is a code of a list.
func (s *server) listed(c *call, parameter, list string) string {
	v := c.query.one(parameter)
	if v == "" || s.Catalogue.Code(list, v) != nil {
		return v
	}
	var codes []string
	for _, code := range s.Catalogue.List(list) {
		codes = append(codes, code.Code)
	}
	f := impact.Fault{
		Code: "unknown_code", Value: v, Suggestion: impact.Suggest(v, slices.Values(codes)),
		Detail: impact.Text{FR: "Code inconnu de la liste " + list + " : " + v + ".", EN: "Code unknown in the list " + list + ": " + v + "."},
		Hint:   impact.Text{FR: "GET /v1/code-lists/" + list + " donne les codes.", EN: "GET /v1/code-lists/" + list + " gives the codes."},
	}
	c.query.refuse(parameter, &f)
	return v
}

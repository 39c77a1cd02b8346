package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

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

// OrganisationInput is what a person states about an organisation.
type OrganisationInput struct {
	Name string `json:"name" example:"Les Ateliers du Rhône"`
	// 14 digits, spaces and dots allowed. One establishment may be several
	// organisations, one per structure kind.
	SIRET string `json:"siret,omitempty" example:"12345678200010"`
	// 9 digits; taken from the SIRET when absent.
	SIREN string `json:"siren,omitempty" example:"123456782"`
	RNA   string `json:"rna,omitempty" example:"W691234567"`
	// Ids in other systems.
	ExternalIDs []ExternalID `json:"external_ids,omitempty"`
	Class       string       `json:"organisation_class" example:"association"`
	// Code of the list structure_kind.
	StructureKind string `json:"structure_kind,omitempty" example:"ACI"`
	// INSEE legal category, 4 digits.
	LegalCategory string `json:"legal_category,omitempty" example:"9220"`
	NAF           string `json:"naf,omitempty" example:"38.11Z"`
	SizeClass     string `json:"size_class,omitempty" example:"small"`
	// Staff band of Sirene: NN 00 01 … 53.
	StaffBand string `json:"staff_band,omitempty" example:"12"`
	// Part of the social and solidarity economy; null when unknown.
	ESS *bool `json:"ess,omitempty" extensions:"x-nullable"`
	// Why: code of the list ess_basis.
	ESSBasis string `json:"ess_basis,omitempty" example:"statutory"`
	// Organisations of one group count as one contributor.
	Group string `json:"group,omitempty"`
	Sites []Site `json:"sites,omitempty"`
	// Codes of the questionnaires asked of it.
	Questionnaires []string `json:"questionnaires,omitempty"`
	// Id of the organisation that took over.
	Successor string `json:"successor,omitempty"`
	OpenedOn  string `json:"opened_on,omitempty" format:"date"`
	ClosedOn  string `json:"closed_on,omitempty" format:"date"`
}

// OrganisationChange is a merge patch of an organisation: null removes a member.
type OrganisationChange struct {
	Name           *string      `json:"name,omitempty"`
	SIRET          *string      `json:"siret,omitempty" extensions:"x-nullable"`
	SIREN          *string      `json:"siren,omitempty" extensions:"x-nullable"`
	RNA            *string      `json:"rna,omitempty" extensions:"x-nullable"`
	ExternalIDs    []ExternalID `json:"external_ids,omitempty" extensions:"x-nullable"`
	Class          *string      `json:"organisation_class,omitempty"`
	StructureKind  *string      `json:"structure_kind,omitempty" extensions:"x-nullable"`
	LegalCategory  *string      `json:"legal_category,omitempty" extensions:"x-nullable"`
	NAF            *string      `json:"naf,omitempty" extensions:"x-nullable"`
	SizeClass      *string      `json:"size_class,omitempty" extensions:"x-nullable"`
	StaffBand      *string      `json:"staff_band,omitempty" extensions:"x-nullable"`
	ESS            *bool        `json:"ess,omitempty" extensions:"x-nullable"`
	ESSBasis       *string      `json:"ess_basis,omitempty" extensions:"x-nullable"`
	Group          *string      `json:"group,omitempty" extensions:"x-nullable"`
	Sites          []Site       `json:"sites,omitempty" extensions:"x-nullable"`
	Questionnaires []string     `json:"questionnaires,omitempty" extensions:"x-nullable"`
	Successor      *string      `json:"successor,omitempty" extensions:"x-nullable"`
	OpenedOn       *string      `json:"opened_on,omitempty" format:"date" extensions:"x-nullable"`
	ClosedOn       *string      `json:"closed_on,omitempty" format:"date" extensions:"x-nullable"`
}

// ExternalID is the id of an organisation in somebody's system.
type ExternalID struct {
	Source string `json:"source" example:"cocagne-crm"`
	ID     string `json:"id" example:"4217"`
}

// Site is a place of an organisation.
type Site struct {
	SIRET string `json:"siret,omitempty" example:"12345678200010"`
	// The finest territory known.
	Territory string `json:"territory" example:"commune-69266"`
	From      string `json:"from,omitempty" format:"date"`
	To        string `json:"to,omitempty" format:"date"`
}

// Organisation is who acts. Read by its consent, or by a network it is in that
// has no mandate organisations.read, the members external_ids, group, questionnaires, version, created_at and
// updated_at are null: view says so.
type Organisation struct {
	ID string `json:"id"`
	// full: every member; public: what the organisation lets everyone read.
	View           string            `json:"view" enums:"full,public"`
	Name           string            `json:"name" example:"Les Ateliers du Rhône"`
	SIRET          *string           `json:"siret" extensions:"x-nullable"`
	SIREN          *string           `json:"siren" extensions:"x-nullable"`
	RNA            *string           `json:"rna" extensions:"x-nullable"`
	ExternalIDs    []ExternalID      `json:"external_ids" extensions:"x-nullable"`
	Class          *string           `json:"organisation_class" extensions:"x-nullable" example:"association"`
	StructureKind  *string           `json:"structure_kind" extensions:"x-nullable" example:"ACI"`
	LegalCategory  *string           `json:"legal_category" extensions:"x-nullable"`
	NAF            *string           `json:"naf" extensions:"x-nullable"`
	SizeClass      *string           `json:"size_class" extensions:"x-nullable"`
	StaffBand      *string           `json:"staff_band" extensions:"x-nullable"`
	ESS            *bool             `json:"ess" extensions:"x-nullable"`
	ESSBasis       *string           `json:"ess_basis" extensions:"x-nullable"`
	Group          *string           `json:"group" extensions:"x-nullable"`
	Sites          []Site            `json:"sites"`
	Questionnaires []string          `json:"questionnaires" extensions:"x-nullable"`
	Successor      *string           `json:"successor" extensions:"x-nullable"`
	OpenedOn       *string           `json:"opened_on" format:"date" extensions:"x-nullable"`
	ClosedOn       *string           `json:"closed_on" format:"date" extensions:"x-nullable"`
	Version        *int              `json:"version" extensions:"x-nullable" example:"1"`
	CreatedAt      *string           `json:"created_at" format:"date-time" extensions:"x-nullable"`
	UpdatedAt      *string           `json:"updated_at" format:"date-time" extensions:"x-nullable"`
	Links          OrganisationLinks `json:"links"`
	Meta           Warned            `json:"meta"`
}

// OrganisationLinks leads to what belongs to an organisation: the last two for
// itself only.
type OrganisationLinks struct {
	Self         string  `json:"self"`
	Observations *string `json:"observations" extensions:"x-nullable"`
	Submissions  *string `json:"submissions" extensions:"x-nullable"`
	Consents     *string `json:"consents" extensions:"x-nullable"`
	AccessLog    *string `json:"access_log" extensions:"x-nullable"`
}

// OrganisationPage is a page of the register.
type OrganisationPage struct {
	Data  []Organisation       `json:"data"`
	Links PageLinks            `json:"links"`
	Meta  OrganisationPageMeta `json:"meta"`
}

// OrganisationPageMeta says, beside the rows, which identifier gave them.
type OrganisationPageMeta struct {
	PageMeta
	// siret or siren when one was asked; null otherwise.
	MatchedBy *string `json:"matched_by" extensions:"x-nullable" example:"siret"`
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

// since reads updated_since.
func since(q *query) time.Time {
	v := q.one("updated_since")
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		q.unread("updated_since", "invalid_date", v,
			impact.Text{FR: "Ce n'est pas un instant RFC 3339.", EN: "This is not an RFC 3339 instant."},
			impact.Text{FR: "Par exemple updated_since=2026-03-31T00:00:00Z.", EN: "For instance updated_since=2026-03-31T00:00:00Z."})
	}
	return t.UTC()
}

// named finds the one organisation a path names: its id, or siret:…, siren:…,
// rna:…, ext:…
func (s *server) named(c *call, ref string) (*impact.Organisation, []impact.Fault, error) {
	found, warnings, err := s.find(c, ref)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.only(c, ref, found)
	return o, warnings, err
}

// only is the one organisation that was found.
func (s *server) only(c *call, ref string, found []impact.Organisation) (*impact.Organisation, error) {
	switch {
	case len(found) == 1:
		return &found[0], nil
	case len(found) > 1:
		return nil, impact.Refuse(impact.AmbiguousOrganisation(ref, found))
	case c.principal.Role == impact.RoleBuyer:
		return nil, needConsent()
	}
	return nil, impact.NotFoundError()
}

// findShown gives the organisations a reference may mean, as the caller is
// shown them.
func (s *server) findShown(c *call, ref string) ([]impact.Organisation, []impact.Fault, error) {
	return identified(ref, func(ref string) ([]impact.Organisation, error) {
		return s.Organisations.ShownOrganisations(c.r.Context(), c.principal, ref)
	})
}

// find gives the organisations a reference may mean; identifiers are
// normalised, with a warning.
func (s *server) find(c *call, ref string) ([]impact.Organisation, []impact.Fault, error) {
	return s.findIn(c.r.Context(), c, ref)
}

// findIn is find within the transaction of the context.
func (s *server) findIn(ctx context.Context, c *call, ref string) ([]impact.Organisation, []impact.Fault, error) {
	return identified(ref, func(ref string) ([]impact.Organisation, error) {
		return s.Organisations.FindOrganisations(ctx, c.principal, ref)
	})
}

func identified(ref string, find func(ref string) ([]impact.Organisation, error)) ([]impact.Organisation, []impact.Fault, error) {
	ref, warning, fault := impact.NormaliseReference(ref)
	if fault != nil {
		return nil, nil, impact.Refuse(*fault)
	}
	var warnings []impact.Fault
	if warning != nil {
		warnings = append(warnings, *warning)
	}
	found, err := find(ref)
	return found, warnings, err
}

// organisation turns what was stated into the domain's noun; identifiers are
// normalised, and what cannot be read is a fault.
func (in *OrganisationInput) organisation() (o impact.Organisation, warnings, faults []impact.Fault) {
	date := func(pointer, v string, open impact.Date) impact.Date {
		if v == "" {
			return open
		}
		d, fault := impact.ParseDate(v)
		if fault != nil {
			f := *fault
			f.Pointer = pointer
			faults = append(faults, f)
			return open
		}
		return d
	}
	o = impact.Organisation{
		Name:  strings.TrimSpace(in.Name),
		SIRET: in.SIRET, SIREN: in.SIREN, RNA: in.RNA,
		Class: impact.OrganisationClass(in.Class), StructureKind: in.StructureKind, LegalCategory: in.LegalCategory, NAF: in.NAF,
		SizeClass: in.SizeClass, StaffBand: in.StaffBand,
		ESS: "unknown", ESSBasis: in.ESSBasis, GroupID: in.Group,
		Questionnaires: in.Questionnaires, Successor: impact.OrganisationID(in.Successor),
		OpenedOn: date("/opened_on", in.OpenedOn, impact.MinDate), ClosedOn: date("/closed_on", in.ClosedOn, impact.MaxDate),
	}
	if in.ESS != nil {
		o.ESS = "false"
		if *in.ESS {
			o.ESS = "true"
		}
	}
	for _, x := range in.ExternalIDs {
		o.ExternalIDs = append(o.ExternalIDs, impact.ExternalID{Source: x.Source, ID: x.ID})
	}
	for i, x := range in.Sites {
		at := "/sites/" + strconv.Itoa(i)
		o.Sites = append(o.Sites, impact.Site{
			SIRET: x.SIRET, Territory: impact.TerritoryID(x.Territory),
			From: date(at+"/from", x.From, impact.MinDate), To: date(at+"/to", x.To, impact.MaxDate),
		})
	}
	return o, o.Normalise(), faults
}

// organisationInput is what one would state to get o, the document a merge
// patch is applied to.
func organisationInput(o *impact.Organisation) OrganisationInput {
	in := OrganisationInput{
		Name: o.Name, SIRET: o.SIRET, SIREN: o.SIREN, RNA: o.RNA, Class: string(o.Class), StructureKind: o.StructureKind,
		LegalCategory: o.LegalCategory, NAF: o.NAF, SizeClass: o.SizeClass, StaffBand: o.StaffBand, ESS: truth(o.ESS), ESSBasis: o.ESSBasis,
		Group: o.GroupID, Questionnaires: o.Questionnaires, Successor: string(o.Successor),
		OpenedOn: written(o.OpenedOn), ClosedOn: written(o.ClosedOn),
	}
	for _, x := range o.ExternalIDs {
		in.ExternalIDs = append(in.ExternalIDs, ExternalID{x.Source, x.ID})
	}
	in.Sites = sites(o.Sites)
	return in
}

func sites(of []impact.Site) []Site {
	out := make([]Site, 0, len(of))
	for _, x := range of {
		out = append(out, Site{SIRET: x.SIRET, Territory: string(x.Territory), From: written(x.From), To: written(x.To)})
	}
	return out
}

// written writes a date, nothing for an open end.
func written(d impact.Date) string {
	if s := day(d); s != nil {
		return *s
	}
	return ""
}

// truth reads "true", "false", "unknown".
func truth(s string) *bool {
	switch s {
	case "true", "false":
		b := s == "true"
		return &b
	}
	return nil
}

func (s *server) organisation(c *call, o *impact.Organisation, warnings []impact.Fault) Organisation {
	id := string(o.ID)
	self := "/v1/organisations/" + id
	out := Organisation{
		ID: id, View: "public", Name: o.Name, SIRET: optional(o.SIRET), SIREN: optional(o.SIREN), RNA: optional(o.RNA),
		Class: optional(o.Class), StructureKind: optional(o.StructureKind), LegalCategory: optional(o.LegalCategory), NAF: optional(o.NAF),
		SizeClass: optional(o.SizeClass), StaffBand: optional(o.StaffBand), ESS: truth(o.ESS), ESSBasis: optional(o.ESSBasis), Group: optional(o.GroupID),
		Sites: sites(o.Sites), Successor: optional(o.Successor), OpenedOn: day(o.OpenedOn), ClosedOn: day(o.ClosedOn),
		Links: OrganisationLinks{Self: c.address(self, "")}, Meta: Warned{Warnings: c.entries(warnings)},
	}
	if o.Public {
		return out
	}
	out.View, out.ExternalIDs, out.Questionnaires = "full", make([]ExternalID, 0, len(o.ExternalIDs)), slices.Concat([]string{}, o.Questionnaires)
	for _, x := range o.ExternalIDs {
		out.ExternalIDs = append(out.ExternalIDs, ExternalID{x.Source, x.ID})
	}
	created, updated := instant(o.CreatedAt), instant(o.UpdatedAt)
	out.Version, out.CreatedAt, out.UpdatedAt = &o.Version, &created, &updated
	link := func(path, query string) *string { a := c.address(path, query); return &a }
	out.Links.Observations, out.Links.Submissions = link("/v1/observations", "organisation="+id), link("/v1/submissions", "organisation="+id)
	if c.principal.Is(o.ID) {
		out.Links.Consents, out.Links.AccessLog = link(self+"/consents", ""), link(self+"/access-log", "")
	}
	return out
}

// unique keeps the first of the faults that say the same of the same place.
func unique(faults []impact.Fault) []impact.Fault {
	var out []impact.Fault
	for _, f := range faults {
		if !slices.ContainsFunc(out, func(g impact.Fault) bool { return g.Code == f.Code && g.Pointer == f.Pointer }) {
			out = append(out, f)
		}
	}
	return out
}

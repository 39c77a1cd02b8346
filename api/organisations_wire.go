package api

import (
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

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

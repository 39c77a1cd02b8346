package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// MappingStore keeps the mappings of an organisation or a network; those of
// others do not exist for it.
type MappingStore interface {
	CreateImportMapping(ctx context.Context, p impact.Principal, m impact.ImportMapping) (impact.ImportMapping, error)
	ImportMapping(ctx context.Context, p impact.Principal, id impact.MappingID) (impact.ImportMapping, error)
	ImportMappings(ctx context.Context, p impact.Principal, page impact.Page) ([]impact.ImportMapping, []string, error)
	UpdateImportMapping(ctx context.Context, p impact.Principal, id impact.MappingID, version int, change func(*impact.ImportMapping) error) (impact.ImportMapping, error)
	DeleteImportMapping(ctx context.Context, p impact.Principal, id impact.MappingID, version int) error
}

// ImportMappingInput says how a sender's headers and codes read.
type ImportMappingInput struct {
	Name string `json:"name" example:"Export Cocagne"`
	Kind string `json:"kind,omitempty" enums:"observations,members" default:"observations"`
	// From a header to a member; an empty member leaves the column out. Case and accents do not count.
	Columns map[string]string `json:"columns,omitempty" example:"Qté:value,Action menée:indicator,Remarques:"`
	// For a member, from a text of the file to the value meant: {"indicator":{"Bénévolat":"volunteer_hours"},"unit":{"nb h":"h"}}.
	// Case and accents do not count, unless only they tell two texts apart.
	Codes map[string]map[string]string `json:"codes,omitempty"`
}

// ImportMapping is how a sender's headers and codes read, kept under a name.
type ImportMapping struct {
	ID        string                       `json:"id"`
	Name      string                       `json:"name"`
	Kind      string                       `json:"kind" enums:"observations,members"`
	Columns   map[string]string            `json:"columns"`
	Codes     map[string]map[string]string `json:"codes"`
	Version   int                          `json:"version"`
	CreatedAt string                       `json:"created_at" format:"date-time"`
	UpdatedAt string                       `json:"updated_at" format:"date-time"`
	Links     Links                        `json:"links"`
}

// ImportMappingPage is a page of mappings.
type ImportMappingPage = Page[ImportMapping] // @name ImportMappingPage

func (s *server) mapping(c *call, m *impact.ImportMapping) ImportMapping {
	w := ImportMapping{
		ID: string(m.ID), Name: m.Name, Kind: string(m.Kind), Columns: m.Columns, Codes: m.Codes, Version: m.Version,
		CreatedAt: instant(m.CreatedAt), UpdatedAt: instant(m.UpdatedAt), Links: Links{Self: c.address("/v1/import-mappings/"+string(m.ID), "")},
	}
	if w.Columns == nil {
		w.Columns = map[string]string{}
	}
	if w.Codes == nil {
		w.Codes = map[string]map[string]string{}
	}
	return w
}

// mapping checks what was stated and gives the domain's noun.
func (in *ImportMappingInput) mapping() (impact.ImportMapping, []impact.Fault) {
	var faults []impact.Fault
	fault := func(code impact.FaultCode, pointer, value string, detail, hint impact.Text) {
		if len(faults) < maxFaults {
			faults = append(faults, impact.Fault{Code: code, Pointer: pointer, Value: value, Detail: detail, Hint: hint})
		}
	}
	if in.Name == "" {
		fault("missing_field", "/name", "", impact.Text{FR: "Il manque le nom.", EN: "The name is missing."}, impact.Text{FR: "Un nom qui dise d'où vient le fichier.", EN: "A name that says where the file comes from."})
	}
	kind := impact.ImportKind(in.Kind)
	schema := format.Observations
	switch kind {
	case "":
		kind = impact.ImportObservations
	case impact.ImportObservations:
	case impact.ImportMembers:
		schema = format.Members
	default:
		fault("unknown_code", "/kind", in.Kind, impact.Text{FR: "Cette sorte d'import n'existe pas.", EN: "There is no such kind of import."}, impact.Text{FR: "Écrivez observations ou members.", EN: "Write observations or members."})
	}
	var members []string
	for i := range schema.Fields {
		members = append(members, schema.Fields[i].Name)
	}
	known := func(pointer, member string) {
		head, name, family := strings.Cut(member, ".")
		if slices.Contains(members, member) && !strings.HasSuffix(member, ".") || family && name != "" && slices.Contains(members, head+".") {
			return
		}
		f := unknownMember(member, members)
		f.Pointer = pointer
		faults = append(faults, f)
	}
	length := func(pointer, text string) {
		if utf8.RuneCountInString(text) > 200 {
			fault("too_long", pointer, text, impact.Text{FR: "Ce texte dépasse 200 caractères.", EN: "This text is longer than 200 characters."}, impact.Text{FR: "Raccourcissez-le.", EN: "Shorten it."})
		}
	}
	length("/name", in.Name)
	codes := 0
	for _, header := range slices.Sorted(maps.Keys(in.Columns)) {
		at := "/columns/" + escapePointer(header)
		length(at, header)
		if member := in.Columns[header]; member != "" {
			known(at, member)
		}
	}
	for _, member := range slices.Sorted(maps.Keys(in.Codes)) {
		at := "/codes/" + escapePointer(member)
		known(at, member)
		for _, text := range slices.Sorted(maps.Keys(in.Codes[member])) {
			length(at+"/"+escapePointer(text), text)
			length(at+"/"+escapePointer(text), in.Codes[member][text])
		}
		codes += len(in.Codes[member])
	}
	for _, many := range []struct {
		at       string
		n, limit int
	}{{"/columns", len(in.Columns), impact.MappingColumns}, {"/codes", codes, impact.MappingCodes}} {
		if many.n > many.limit {
			limit := strconv.Itoa(many.limit)
			fault("too_long", many.at, strconv.Itoa(many.n), impact.Text{FR: "Plus de " + limit + " entrées.", EN: "More than " + limit + " entries."}, impact.Text{FR: "Gardez celles qui servent.", EN: "Keep those that are used."})
		}
	}
	return impact.ImportMapping{Name: in.Name, Kind: kind, Columns: in.Columns, Codes: in.Codes}, faults[:min(len(faults), maxFaults)]
}

// listImportMappings lists the caller's mappings.
//
//	@Summary		List import mappings
//	@ID				listImportMappings
//	@Tags			imports
//	@Produce		json
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	ImportMappingPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/import-mappings [get]
func (s *server) listImportMappings(c *call) error {
	p, err := c.paging()
	if err != nil {
		return err
	}
	list, next, err := s.Mappings.ImportMappings(c.r.Context(), c.principal, p)
	if err != nil {
		return err
	}
	data := make([]ImportMapping, len(list))
	for i := range list {
		data[i] = s.mapping(c, &list[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// createImportMapping keeps a mapping.
//
//	@Summary		Keep an import mapping
//	@Description	What the headers of a file and the codes in it mean, when they are not those of the tool. An import names it: mapping={id}.
//	@ID				createImportMapping
//	@Tags			imports
//	@Accept			json
//	@Produce		json
//	@Param			body	body		ImportMappingInput	true	"The mapping"
//	@Success		201		{object}	ImportMapping
//	@Header			201		{string}	Location	"Address of the mapping"
//	@Header			201		{string}	ETag		"Its version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/import-mappings [post]
func (s *server) createImportMapping(c *call) error {
	in, err := decode[ImportMappingInput](c)
	if err != nil {
		return err
	}
	return c.repeatable(optionalKey, func(ctx context.Context) (*reply, error) {
		stated, faults := in.mapping()
		if len(faults) > 0 {
			return nil, impact.Refuse(faults...)
		}
		m, err := s.Mappings.CreateImportMapping(ctx, c.principal, stated)
		if err != nil {
			return nil, err
		}
		return c.reply(http.StatusCreated, s.mapping(c, &m)).at("/v1/import-mappings/" + string(m.ID)).version(m.Version), nil
	})
}

// getImportMapping reads a mapping.
//
//	@Summary		Read an import mapping
//	@ID				getImportMapping
//	@Tags			imports
//	@Produce		json
//	@Param			id				path		string	true	"Id of the mapping"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	ImportMapping
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/import-mappings/{id} [get]
func (s *server) getImportMapping(c *call) error {
	m, err := s.Mappings.ImportMapping(c.r.Context(), c.principal, impact.MappingID(c.param("id")))
	if err != nil {
		return err
	}
	if c.fresh(versionTag(m.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, s.mapping(c, &m))
}

// updateImportMapping changes a mapping.
//
//	@Summary		Change an import mapping
//	@Description	JSON Merge Patch. Imports that named it stay as they are.
//	@ID				updateImportMapping
//	@Tags			imports
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			id			path		string				true	"Id of the mapping"
//	@Param			If-Match	header		string				true	"ETag of the version that is changed"
//	@Param			body		body		ImportMappingChange	true	"Members to change"
//	@Success		200			{object}	ImportMapping
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/import-mappings/{id} [patch]
func (s *server) updateImportMapping(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[ImportMappingInput](c)
	if err != nil {
		return err
	}
	m, err := s.Mappings.UpdateImportMapping(c.r.Context(), c.principal, impact.MappingID(c.param("id")), version, func(m *impact.ImportMapping) error {
		next, err := patch.apply(ImportMappingInput{Name: m.Name, Kind: string(m.Kind), Columns: m.Columns, Codes: m.Codes})
		if err != nil {
			return err
		}
		stated, faults := next.mapping()
		m.Name, m.Kind, m.Columns, m.Codes = stated.Name, stated.Kind, stated.Columns, stated.Codes
		return impact.Refuse(faults...)
	})
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, m.Version, 0, s.mapping(c, &m))
}

// ImportMappingChange is a merge patch of a mapping: null removes an entry.
type ImportMappingChange struct {
	Name    string                       `json:"name,omitempty"`
	Kind    string                       `json:"kind,omitempty" enums:"observations,members"`
	Columns map[string]string            `json:"columns,omitempty" swaggertype:"object" extensions:"x-nullable"`
	Codes   map[string]map[string]string `json:"codes,omitempty" swaggertype:"object" extensions:"x-nullable"`
}

// deleteImportMapping forgets a mapping.
//
//	@Summary		Delete an import mapping
//	@ID				deleteImportMapping
//	@Tags			imports
//	@Produce		json
//	@Param			id			path	string	true	"Id of the mapping"
//	@Param			If-Match	header	string	true	"ETag of the version that is deleted"
//	@Success		204			"Deleted"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/import-mappings/{id} [delete]
func (s *server) deleteImportMapping(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	if err := s.Mappings.DeleteImportMapping(c.r.Context(), c.principal, impact.MappingID(c.param("id")), version); err != nil {
		return err
	}
	return c.done(http.StatusNoContent, 0, 0, nil)
}

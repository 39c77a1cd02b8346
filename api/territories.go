package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	stdjson "encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/paulmach/orb"
	"github.com/paulmach/orb/planar"
	"github.com/paulmach/orb/simplify"

	"github.com/grandlyon/retombees/pkg/impact"
)

// GeometrySource gives the contours that were loaded, as GeoJSON geometries.
// Territories without contour are absent from the map.
type GeometrySource interface {
	Geometries(ctx context.Context, keys []impact.TerritoryKey) (map[impact.TerritoryKey][]byte, error)
}

// Territory is one version of a territory.
type Territory struct {
	// Type and code; the same id may name different territories in time.
	ID   string `json:"id" example:"commune-69266"`
	Type string `json:"type" enums:"pays,region,departement,metropole,ctm,commune,arrondissement" example:"commune"`
	Code string `json:"code" example:"69266"`
	Name string `json:"name" example:"Villeurbanne"`
	// Id of the territory just above.
	Parent *string `json:"parent" extensions:"x-nullable" example:"ctm-villeurbanne"`
	// First and last day in force; null when unknown, or still in force.
	ValidFrom *string `json:"valid_from" format:"date" extensions:"x-nullable"`
	ValidTo   *string `json:"valid_to" format:"date" extensions:"x-nullable"`
	// What took over when it ceased.
	Successors []Successor `json:"successors"`
	// Municipal population of population_year.
	Population     *int             `json:"population" extensions:"x-nullable" example:"163684"`
	PopulationYear *int             `json:"population_year" extensions:"x-nullable" example:"2023"`
	AreaKM2        *impact.Quantity `json:"area_km2" swaggertype:"number" extensions:"x-nullable" example:"14.52"`
	SIREN          *string          `json:"siren" extensions:"x-nullable"`
	// Given for information: a postal code is never a territory.
	PostalCodes []string `json:"postal_codes"`
	// Other ids accepted for it.
	Aliases []string `json:"aliases"`
	Note    string   `json:"note,omitempty"`
	// GeoJSON geometry (WGS 84), when asked for and loaded.
	Geometry stdjson.RawMessage `json:"geometry,omitempty" swaggertype:"object"`
	Links    TerritoryLinks     `json:"links"`
	// In a single resource only.
	Meta *Warned `json:"meta,omitempty"`
}

// Successor is a territory that took over, and for which share.
type Successor struct {
	ID   string `json:"id" example:"commune-69149"`
	Name string `json:"name" example:"Oullins-Pierre-Bénite"`
	// 1 for a merger, the declared weight for a split.
	Share impact.Quantity `json:"share" swaggertype:"number" example:"1"`
}

// TerritoryLinks leads around a territory.
type TerritoryLinks struct {
	Self      string `json:"self"`
	Children  string `json:"children"`
	Ancestors string `json:"ancestors"`
	History   string `json:"history"`
}

// TerritoryPage is a page of territories.
type TerritoryPage = Page[Territory] // @name TerritoryPage

func (s *server) territory(t *impact.Territory) Territory {
	self := s.PublicURL + "/v1/territories/" + string(t.ID)
	pin := ""
	// A version that is no longer the one its id names is reached by its year.
	if t.ValidTo != impact.MaxDate && len(s.Catalogue.Gazetteer().Versions(t.ID)) > 1 {
		pin = "@" + strconv.Itoa(t.ValidTo.Year())
	}
	w := Territory{
		ID: string(t.ID), Type: string(t.Type), Code: t.Code, Name: t.Name, Parent: optional(t.Parent), ValidFrom: day(t.ValidFrom), ValidTo: day(t.ValidTo),
		Successors: s.successors(t), SIREN: optional(t.SIREN), PostalCodes: impact.Words(t.PostalCodes), Aliases: impact.Words(t.Aliases), Note: t.Note,
		Links: TerritoryLinks{Self: self + pin, Children: self + pin + "/children", Ancestors: self + pin + "/ancestors", History: self + "/history"},
	}
	if t.Population > 0 {
		w.Population = &t.Population
		if t.PopulationYear > 0 {
			w.PopulationYear = &t.PopulationYear
		}
	}
	if t.AreaKM2 > 0 {
		w.AreaKM2 = &t.AreaKM2
	}
	return w
}

func (s *server) successors(t *impact.Territory) []Successor {
	out := []Successor{}
	for _, x := range t.Successors {
		n := Successor{ID: string(x.ID), Share: x.Share}
		if next := s.Catalogue.Gazetteer().At(x.ID, t.ValidTo+1); next != nil {
			n.Name = next.Name
		}
		out = append(out, n)
	}
	return out
}

// territoryTypes are the levels, from the widest to the finest.
var territoryTypes = []string{"pays", "region", "departement", "metropole", "ctm", "commune", "arrondissement"}

// askedVintage reads the vintage parameter, the current one when absent.
func (s *server) askedVintage(c *call) impact.Vintage {
	return impact.Vintage(c.query.integer("vintage", int(s.vintage()), 1943, int(s.vintage())+1))
}

// listTerritories finds territories.
//
//	@Summary		Territories
//	@Description	Territories in force on 1 January of the vintage. `q` finds names and codes without regard to accents and case, retired territories included unless a vintage is asked for. `contains` and `bbox` need contours, which the operator loads. As GeoJSON (suffix or Accept) each territory is a feature.
//	@ID				listTerritories
//	@Tags			reference
//	@Produce		json
//	@Produce		application/geo+json
//	@Param			type		query		[]string	false	"Levels"	collectionFormat(csv)
//	@Param			within		query		string		false	"Only what is below this territory"	example(metropole-200046977)
//	@Param			vintage		query		int			false	"Year of the official geographic code; the current one when absent"	example(2026)
//	@Param			bbox		query		string		false	"west,south,east,north in degrees"	example(4.7,45.6,5.1,45.9)
//	@Param			contains	query		string		false	"Longitude,latitude of a point"	example(4.835,45.764)
//	@Param			q			query		string		false	"Name or code"	example(pierre benite)
//	@Param			geometry	query		string		false	"Which geometry; simplified by default in GeoJSON, none in JSON"	Enums(none,centroid,simplified,full)
//	@Param			limit		query		int			false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor		query		string		false	"Where to go on, from links.next"
//	@Success		200			{object}	TerritoryPage
//	@Success		304		"The caller has it already"
//	@Failure		default		{object}	Problem
//	@Router			/v1/territories [get]
func (s *server) listTerritories(c *call) error {
	g := s.Catalogue.Gazetteer()
	types := c.words("type", territoryTypes...)
	v := s.askedVintage(c)
	q := c.query.one("q")
	var warnings []impact.Fault
	var within *impact.Territory
	if id := c.query.one("within"); id != "" {
		t, w, f := g.ForVintage(id, v)
		c.query.refuse("within", f)
		for i := range w {
			w[i].Parameter = "within"
		}
		within, warnings = t, w
	}
	bbox := c.degrees("bbox", 4)
	if bbox != nil && (bbox[0] > bbox[2] || bbox[1] > bbox[3]) {
		c.query.unread("bbox", "out_of_range", c.query.one("bbox"),
			impact.Text{FR: "Les bornes sont dans le mauvais ordre.", EN: "The bounds are in the wrong order."},
			impact.Text{FR: "ouest,sud,est,nord.", EN: "west,south,east,north."})
	}
	point := c.degrees("contains", 2)
	detail := s.askedGeometry(c)
	p, err := c.paging()
	if err != nil {
		return err
	}
	if detail == "full" && types == nil && within == nil && q == "" && bbox == nil && point == nil {
		return &impact.Error{
			Kind: impact.Malformed, Code: "filter_required",
			Detail: impact.Text{FR: "Tous les contours exacts à la fois seraient trop lourds.", EN: "All the exact contours at once would be too heavy."},
			Hint:   impact.Text{FR: "Ajoutez type, within, q, bbox ou contains, ou demandez geometry=simplified.", EN: "Add type, within, q, bbox or contains, or ask for geometry=simplified."},
		}
	}
	shapes, err := s.currentShapes(c)
	if err != nil {
		return err
	}
	if c.fresh(c.weakTag(s.Catalogue.Reference().Version + "-" + v.String() + "-" + shapes.tag)) {
		return nil
	}
	candidates := g.All()
	if q != "" {
		candidates = g.Search(q)
	}
	var below map[impact.TerritoryKey]bool
	if within != nil {
		below = map[impact.TerritoryKey]bool{}
		for _, t := range g.Descendants(within.Key, v, "") {
			below[t.Key] = true
		}
		if q != "" && !c.query.has("vintage") {
			for _, t := range candidates {
				if t.Key != within.Key && g.Encloses(within.Key, t.Key) {
					below[t.Key] = true
				}
			}
		}
	}
	var found []*impact.Territory
	for _, t := range candidates {
		inForce := t.ValidFrom <= v.Day() && v.Day() <= t.ValidTo
		if !inForce && (q == "" || c.query.has("vintage")) ||
			types != nil && !slices.Contains(types, string(t.Type)) ||
			below != nil && !below[t.Key] ||
			bbox != nil && !shapes.touches(t.Key, bbox) ||
			point != nil && !shapes.covers(t.Key, point) {
			continue
		}
		found = append(found, t)
	}
	found, next, err := cutAfterKey(found, p)
	if err != nil {
		return err
	}
	rows := make([]Territory, 0, len(found))
	for _, t := range found {
		w := s.territory(t)
		if w.Geometry, err = shapes.geometry(t.Key, detail); err != nil {
			return err
		}
		rows = append(rows, w)
	}
	pg := page(c, rows, next, warnings...)
	if c.format.Name == FormatGeoJSON.Name {
		return c.answer(http.StatusOK, features(pg))
	}
	return c.answer(http.StatusOK, pg)
}

// cutAfterKey pages rows that are in an order of their own (the best names
// first): the cursor names the last row seen.
func cutAfterKey(rows []*impact.Territory, p impact.Page) ([]*impact.Territory, []string, error) {
	if len(p.After) > 0 {
		i := slices.IndexFunc(rows, func(t *impact.Territory) bool { return strconv.Itoa(int(t.Key)) == p.After[0] })
		if i < 0 {
			return nil, nil, invalidCursor()
		}
		rows = rows[i+1:]
	}
	if len(rows) <= p.Limit {
		return rows, nil, nil
	}
	rows = rows[:p.Limit]
	return rows, []string{strconv.Itoa(int(rows[len(rows)-1].Key))}, nil
}

func (s *server) askedGeometry(c *call) string {
	def := "none"
	if c.format.Name == FormatGeoJSON.Name {
		def = "simplified"
	}
	return c.query.enum("geometry", def, "none", "centroid", "simplified", "full")
}

// degrees reads n numbers separated by commas: longitudes and latitudes.
func (c *call) degrees(param string, n int) []float64 {
	terms := c.query.list(param)
	if terms == nil {
		return nil
	}
	var out []float64
	for i, s := range terms {
		x, err := strconv.ParseFloat(s, 64)
		limit := 180.0
		if i%2 == 1 {
			limit = 90
		}
		if err != nil || math.IsNaN(x) || math.Abs(x) > limit {
			out = nil
			break
		}
		out = append(out, x)
	}
	if len(terms) != n || out == nil {
		c.query.unread(param, "invalid_number", strings.Join(terms, ","),
			impact.Text{FR: fmt.Sprintf("%s demande %d nombres en degrés, longitude avant latitude.", param, n), EN: fmt.Sprintf("%s needs %d numbers in degrees, longitude before latitude.", param, n)},
			impact.Text{FR: "Par exemple contains=4.835,45.764 ou bbox=4.7,45.6,5.1,45.9.", EN: "For instance contains=4.835,45.764 or bbox=4.7,45.6,5.1,45.9."})
		return nil
	}
	return out
}

// FeatureCollection is a page of territories as GeoJSON (RFC 7946).
type FeatureCollection struct {
	Type     string    `json:"type" enums:"FeatureCollection"`
	Features []Feature `json:"features"`
	Links    PageLinks `json:"links"`
	Meta     PageMeta  `json:"meta"`
}

// Feature is a territory as GeoJSON.
type Feature struct {
	Type string `json:"type" enums:"Feature"`
	ID   string `json:"id"`
	// Null when no contour is loaded.
	Geometry   stdjson.RawMessage `json:"geometry" swaggertype:"object" extensions:"x-nullable"`
	Properties Territory          `json:"properties"`
}

func feature(t Territory) Feature {
	f := Feature{Type: "Feature", ID: t.ID, Geometry: t.Geometry, Properties: t}
	f.Properties.Geometry = nil
	if f.Geometry == nil {
		f.Geometry = stdjson.RawMessage("null")
	}
	return f
}

func features(p TerritoryPage) FeatureCollection {
	fc := FeatureCollection{Type: "FeatureCollection", Features: []Feature{}, Links: p.Links, Meta: p.Meta}
	for _, t := range p.Data {
		fc.Features = append(fc.Features, feature(t))
	}
	return fc
}

// findTerritory reads the id of a path: "commune-69149", "commune-69149@2023",
// an alias, or a code borne by one territory only. A code once known is never
// 404. The warning retired_territory tells that it is no longer in force.
func (s *server) findTerritory(c *call) (*impact.Territory, []impact.Fault, error) {
	g := s.Catalogue.Gazetteer()
	asked := c.param("id")
	name, pin, pinned := strings.Cut(asked, "@")
	if c.query.has("vintage") && !pinned {
		pin, pinned = s.askedVintage(c).String(), true
		if err := c.query.err(); err != nil {
			return nil, nil, err
		}
	}
	var id impact.TerritoryID
	for _, t := range g.All() {
		if strings.EqualFold(string(t.ID), name) || slices.ContainsFunc(t.Aliases, func(a impact.TerritoryID) bool { return strings.EqualFold(string(a), name) }) {
			id = t.ID
			break
		}
	}
	if id == "" {
		t, _, f := g.ForVintage(name, s.vintage())
		if f != nil {
			return nil, nil, absent(f)
		}
		id = t.ID
	}
	versions := g.Versions(id)
	t := versions[len(versions)-1]
	if pinned {
		if _, err := strconv.Atoi(pin); err != nil || len(pin) != 4 {
			_, _, f := g.ForVintage(name+"@"+pin, s.vintage())
			return nil, nil, absent(f)
		}
		year, _ := strconv.Atoi(pin)
		t = g.At(id, impact.Vintage(year).Day())
		if t == nil {
			t = lastBefore(versions, impact.Vintage(year).Day())
		}
		if t == nil {
			_, _, f := g.ForVintage(string(id)+"@"+pin, s.vintage())
			return nil, nil, absent(f)
		}
	} else if now := g.At(id, impact.DateOf(s.Now())); now != nil {
		t = now
	}
	return t, s.retired(asked, t), nil
}

// lastBefore gives the version that ended last before a day.
func lastBefore(versions []*impact.Territory, on impact.Date) *impact.Territory {
	var last *impact.Territory
	for _, t := range versions {
		if t.ValidTo < on {
			last = t
		}
	}
	return last
}

func (s *server) retired(asked string, t *impact.Territory) []impact.Fault {
	if t.ValidTo >= impact.DateOf(s.Now()) {
		return nil
	}
	f := impact.Fault{
		Code: "retired_territory", Value: asked,
		Detail: impact.Text{FR: t.Name + " n'existe plus depuis le " + t.ValidTo.String() + " au soir.", EN: t.Name + " ceased to exist at the end of " + t.ValidTo.String() + "."},
	}
	if len(t.Successors) == 1 {
		f.Suggestion = string(t.Successors[0].ID)
	}
	if len(t.Successors) > 0 {
		f.Hint = impact.Text{FR: "Voyez successors.", EN: "See successors."}
	}
	return []impact.Fault{f}
}

// getTerritory gives one territory.
//
//	@Summary		One territory
//	@Description	Retired territories too, with valid_to, successors and a warning: a code once known is never 404. `commune-69149@2023` names the territory that bore the id in that vintage.
//	@ID				getTerritory
//	@Tags			reference
//	@Produce		json
//	@Produce		application/geo+json
//	@Param			id			path		string	true	"Id of the territory"	example(commune-69266)
//	@Param			vintage		query		int		false	"Year of the official geographic code"	example(2026)
//	@Param			geometry	query		string	false	"Which geometry; simplified by default in GeoJSON, none in JSON"	Enums(none,centroid,simplified,full)
//	@Success		200			{object}	Territory
//	@Success		304		"The caller has it already"
//	@Failure		default		{object}	Problem
//	@Router			/v1/territories/{id} [get]
func (s *server) getTerritory(c *call) error {
	detail := s.askedGeometry(c)
	if err := c.query.err(); err != nil {
		return err
	}
	t, warnings, err := s.findTerritory(c)
	if err != nil {
		return err
	}
	shapes, err := s.currentShapes(c)
	if err != nil {
		return err
	}
	if c.fresh(c.weakTag(s.Catalogue.Reference().Version + "-" + impact.DateOf(s.Now()).String() + "-" + shapes.tag)) {
		return nil
	}
	w := s.territory(t)
	w.Meta = &Warned{Warnings: c.entries(warnings)}
	if w.Geometry, err = shapes.geometry(t.Key, detail); err != nil {
		return err
	}
	if c.format.Name == FormatGeoJSON.Name {
		return c.answer(http.StatusOK, feature(w))
	}
	return c.answer(http.StatusOK, w)
}

// listTerritoryChildren gives what is directly below.
//
//	@Summary		Territories directly below
//	@Description	In force in the vintage.
//	@ID				listTerritoryChildren
//	@Tags			reference
//	@Produce		json
//	@Param			id		path		string	true	"Id of the territory"	example(metropole-200046977)
//	@Param			vintage	query		int		false	"Year of the official geographic code; the current one when absent"	example(2026)
//	@Success		200		{object}	TerritoryPage
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/territories/{id}/children [get]
func (s *server) listTerritoryChildren(c *call) error {
	return s.around(c, s.Catalogue.Gazetteer().Children)
}

// listTerritoryAncestors gives what is above, the nearest first.
//
//	@Summary		Territories above, the nearest first
//	@Description	In the vintage.
//	@ID				listTerritoryAncestors
//	@Tags			reference
//	@Produce		json
//	@Param			id		path		string	true	"Id of the territory"	example(commune-69266)
//	@Param			vintage	query		int		false	"Year of the official geographic code; the current one when absent"	example(2026)
//	@Success		200		{object}	TerritoryPage
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/territories/{id}/ancestors [get]
func (s *server) listTerritoryAncestors(c *call) error {
	return s.around(c, s.Catalogue.Gazetteer().Ancestors)
}

func (s *server) around(c *call, look func(impact.TerritoryKey, impact.Vintage) []*impact.Territory) error {
	t, warnings, err := s.findTerritory(c)
	if err != nil {
		return err
	}
	v := s.askedVintage(c)
	if err := c.query.err(); err != nil {
		return err
	}
	if c.fresh(c.weakTag(s.Catalogue.Reference().Version + "-" + impact.DateOf(s.Now()).String())) {
		return nil
	}
	var rows []Territory
	for _, x := range look(t.Key, v) {
		rows = append(rows, s.territory(x))
	}
	return c.answer(http.StatusOK, page(c, rows, nil, warnings...))
}

// TerritoryEvent is the end of one territory and what took over.
type TerritoryEvent struct {
	// First day of the new state.
	Date string `json:"date" format:"date" example:"2024-01-01"`
	// merger: several became one; split: one became several; change: one became one; end: nothing took over.
	Kind string         `json:"kind" enums:"merger,split,change,end" example:"merger"`
	From TerritoryStage `json:"from"`
	To   []Successor    `json:"to"`
}

// TerritoryStage names one version of a territory.
type TerritoryStage struct {
	ID        string  `json:"id" example:"commune-69152"`
	Name      string  `json:"name" example:"Pierre-Bénite"`
	ValidFrom *string `json:"valid_from" format:"date" extensions:"x-nullable"`
	ValidTo   *string `json:"valid_to" format:"date" extensions:"x-nullable"`
}

// TerritoryEventPage is the history of a territory.
type TerritoryEventPage = Page[TerritoryEvent] // @name TerritoryEventPage

// listTerritoryHistory tells the mergers and splits that lead to a territory
// and from it.
//
//	@Summary		Mergers and splits of a territory
//	@Description	What led to the territory and what it became, with the weights of splits, the oldest first.
//	@ID				listTerritoryHistory
//	@Tags			reference
//	@Produce		json
//	@Param			id		path		string	true	"Id of the territory"	example(commune-69149)
//	@Success		200		{object}	TerritoryEventPage
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/territories/{id}/history [get]
func (s *server) listTerritoryHistory(c *call) error {
	t, warnings, err := s.findTerritory(c)
	if err != nil {
		return err
	}
	if c.fresh(c.weakTag(s.Catalogue.Reference().Version + "-" + impact.DateOf(s.Now()).String())) {
		return nil
	}
	rows := []TerritoryEvent{}
	for _, e := range s.lineage(t.ID) {
		ev := TerritoryEvent{Date: (e.ValidTo + 1).String(), Kind: "change", From: TerritoryStage{ID: string(e.ID), Name: e.Name, ValidFrom: day(e.ValidFrom), ValidTo: day(e.ValidTo)}, To: s.successors(e)}
		switch {
		case len(e.Successors) == 0:
			ev.Kind = "end"
		case len(e.Successors) > 1:
			ev.Kind = "split"
		case s.sources(e.Successors[0].ID, e.ValidTo) > 1:
			ev.Kind = "merger"
		}
		rows = append(rows, ev)
	}
	return c.answer(http.StatusOK, page(c, rows, nil, warnings...))
}

// lineage gives every ended version tied to id by succession, the oldest first.
func (s *server) lineage(id impact.TerritoryID) []*impact.Territory {
	all := s.Catalogue.Gazetteer().All()
	known := map[impact.TerritoryID]bool{id: true}
	for grown := true; grown; {
		grown = false
		for _, t := range all {
			for _, x := range t.Successors {
				if known[x.ID] != known[t.ID] {
					known[x.ID], known[t.ID], grown = true, true, true
				}
			}
		}
	}
	var out []*impact.Territory
	for _, t := range all {
		if known[t.ID] && t.ValidTo != impact.MaxDate {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *impact.Territory) int {
		return cmp.Or(cmp.Compare(a.ValidTo, b.ValidTo), strings.Compare(string(a.ID), string(b.ID)))
	})
	return out
}

// sources counts the territories that became id on the same day.
func (s *server) sources(id impact.TerritoryID, ended impact.Date) int {
	n := 0
	for _, t := range s.Catalogue.Gazetteer().All() {
		if t.ValidTo == ended && slices.ContainsFunc(t.Successors, func(x impact.Succession) bool { return x.ID == id }) {
			n++
		}
	}
	return n
}

// shapeCache keeps the contours read from the store for a minute: they are
// loaded by a command, in another process.
type shapeCache struct {
	mu    sync.Mutex
	at    time.Time
	value *shapes
}

const shapesKept = time.Minute

// shapes are the contours of territories. tag changes with them.
type shapes struct {
	tag string
	raw map[impact.TerritoryKey][]byte
	geo map[impact.TerritoryKey]orb.Geometry
	// bounds are the rectangles around them.
	bounds map[impact.TerritoryKey]orb.Bound
}

// currentShapes are the outlines of all territories, as they were loaded last.
func (s *server) currentShapes(c *call) (*shapes, error) {
	return s.shapes.current(c.r.Context(), s.Geometries, s.Catalogue, s.Now())
}

func (k *shapeCache) current(ctx context.Context, source GeometrySource, cat *impact.Catalogue, now time.Time) (*shapes, error) {
	if source == nil {
		return &shapes{tag: "0"}, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.value != nil && now.Sub(k.at) < shapesKept && !now.Before(k.at) {
		return k.value, nil
	}
	var keys []impact.TerritoryKey
	for _, t := range cat.Gazetteer().All() {
		keys = append(keys, t.Key)
	}
	raw, err := source.Geometries(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("reading contours: %w", err)
	}
	sh := &shapes{raw: raw, geo: map[impact.TerritoryKey]orb.Geometry{}, bounds: map[impact.TerritoryKey]orb.Bound{}}
	h := sha256.New()
	for _, key := range keys {
		b, ok := raw[key]
		if !ok {
			continue
		}
		g, err := readGeometry(b)
		if err != nil {
			return nil, fmt.Errorf("reading the contour of territory %d: %w", key, err)
		}
		sh.geo[key], sh.bounds[key] = g, g.Bound()
		fmt.Fprintf(h, "%d:", key)
		h.Write(b)
	}
	sh.tag = hex(h.Sum(nil)[:4])
	k.value, k.at = sh, now
	return sh, nil
}

func (s *shapes) touches(k impact.TerritoryKey, b []float64) bool {
	bound, ok := s.bounds[k]
	return ok && bound.Intersects(orb.Bound{Min: orb.Point{b[0], b[1]}, Max: orb.Point{b[2], b[3]}})
}

func (s *shapes) covers(k impact.TerritoryKey, p []float64) bool {
	point := orb.Point{p[0], p[1]}
	if bound, ok := s.bounds[k]; !ok || !bound.Contains(point) {
		return false
	}
	switch g := s.geo[k].(type) {
	case orb.Polygon:
		return planar.PolygonContains(g, point)
	case orb.MultiPolygon:
		return planar.MultiPolygonContains(g, point)
	}
	return false
}

// simplifiedBy is in degrees: about fifty metres in Lyon.
const simplifiedBy = 0.0005

// geometry writes the contour with the detail asked for, nil when there is none.
func (s *shapes) geometry(k impact.TerritoryKey, detail string) (stdjson.RawMessage, error) {
	g, ok := s.geo[k]
	if !ok || detail == "none" {
		return nil, nil
	}
	switch detail {
	case "full":
		return s.raw[k], nil
	case "centroid":
		g, _ = planar.CentroidArea(g)
	default:
		g = simplify.DouglasPeucker(simplifiedBy).Simplify(orb.Clone(g))
	}
	g = orb.Round(g, 1e6)
	b, err := stdjson.Marshal(geometryJSON{g.GeoJSONType(), g})
	if err != nil {
		return nil, fmt.Errorf("writing a contour: %w", err)
	}
	return b, nil
}

// geometryJSON is a geometry as RFC 7946 writes it. (The geojson package of orb
// would bring a database driver with it.)
type geometryJSON struct {
	Type        string `json:"type"`
	Coordinates any    `json:"coordinates"`
}

// readGeometry reads a polygon or a multipolygon.
func readGeometry(b []byte) (orb.Geometry, error) {
	var raw struct {
		Type        string             `json:"type"`
		Coordinates stdjson.RawMessage `json:"coordinates"`
	}
	if err := stdjson.Unmarshal(b, &raw); err != nil {
		return nil, err
	}
	switch raw.Type {
	case "Polygon":
		var p orb.Polygon
		err := stdjson.Unmarshal(raw.Coordinates, &p)
		return p, err
	case "MultiPolygon":
		var p orb.MultiPolygon
		err := stdjson.Unmarshal(raw.Coordinates, &p)
		return p, err
	}
	return nil, fmt.Errorf("geometry of type %q", raw.Type)
}

package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// The facade of OGC API Features is for QGIS, GDAL and their like: they open the
// address, list the layers and read them. A layer is the territories of one type:
// their outlines (territories-commune), or the outlines with one column an
// indicator for one year of the latest release (impact-commune-2025), so that one
// layer is opened, and styled by one column. What disclosure control withholds has
// no value there either.

// crs84 is longitude and latitude on WGS 84: the one reference system of GeoJSON.
const crs84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"

// Media types of the facade.
const (
	typeJSON       = "application/json"
	typeGeoJSON    = "application/geo+json"
	typeSchema     = "application/schema+json"
	typeOpenAPI    = "application/vnd.oai.openapi+json;version=3.1"
	typeHTML       = "text/html"
	relSchema      = "http://www.opengis.net/def/rel/ogc/1.0/schema"
	relConformance = "http://www.opengis.net/def/rel/ogc/1.0/conformance"
	relData        = "http://www.opengis.net/def/rel/ogc/1.0/data"
)

// OGCLink is a link as OGC API writes it.
type OGCLink struct {
	Href  string `json:"href"`
	Rel   string `json:"rel" example:"items"`
	Type  string `json:"type,omitempty" example:"application/geo+json"`
	Title string `json:"title,omitempty"`
}

// OGCLanding is where a client of OGC API begins.
type OGCLanding struct {
	Title       string    `json:"title"`
	Description string    `json:"description"`
	Attribution string    `json:"attribution"`
	Links       []OGCLink `json:"links"`
}

// OGCConformance lists the classes of requirements that are met.
type OGCConformance struct {
	ConformsTo []string `json:"conformsTo"`
}

// ogcConformance is what the tests hold the facade to.
var ogcConformance = []string{
	"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
	"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
}

// ogcLanding is where QGIS is pointed at.
//
//	@Summary		Layers for QGIS and GDAL: where to begin
//	@Description	OGC API Features: in QGIS, add a connection "WFS / OGC API - Features" with this address; with GDAL, `OAPIF:` and this address. Each layer is the territories of one type, with the figures of one year of the latest release as columns, or alone.
//	@ID				getOGCLanding
//	@Tags			publication
//	@Produce		json
//	@Success		200		{object}	OGCLanding
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/ogc [get]
func (s *server) ogcLanding(c *call) error {
	if c.fresh(c.weakTag("ogc-" + s.Version)) {
		return nil
	}
	t := func(fr, en string) string { return impact.Text{FR: fr, EN: en}.In(c.lang) }
	return c.answer(http.StatusOK, OGCLanding{
		Title:       t("Retombées : territoires et chiffres d'impact", "Retombées: territories and impact figures"),
		Description: t("Les territoires, et leurs chiffres publiés après contrôle de la confidentialité, comme couches géographiques.", "Territories, and their figures published after disclosure control, as map layers."),
		Attribution: s.Publication.Publisher.Name,
		Links: []OGCLink{
			s.ogcLink("", "self", typeJSON, ""),
			{s.PublicURL + "/v1/openapi.json", "service-desc", typeOpenAPI, t("Le contrat (OpenAPI)", "The contract (OpenAPI)")},
			{s.PublicURL + "/docs", "service-doc", typeHTML, t("La documentation", "The documentation")},
			s.ogcLink("/conformance", "conformance", typeJSON, t("Exigences satisfaites", "Requirements met")),
			s.ogcLink("/conformance", relConformance, typeJSON, ""),
			s.ogcLink("/collections", "data", typeJSON, t("Les couches", "The layers")),
			s.ogcLink("/collections", relData, typeJSON, ""),
			{impact.Licence, "license", "", impact.LicenceText.In(c.lang)},
			{s.PublicURL + "/v1/catalog", "describedby", "application/ld+json", t("Le catalogue", "The catalogue")},
		},
	})
}

func (s *server) ogcLink(path, rel, typ, title string) OGCLink {
	return OGCLink{s.PublicURL + "/v1/ogc" + path, rel, typ, title}
}

// ogcConforms tells which classes are met.
//
//	@Summary		Layers: which requirements of OGC API are met
//	@Description	Core and GeoJSON of OGC API Features 1.0.
//	@ID				getOGCConformance
//	@Tags			publication
//	@Produce		json
//	@Success		200		{object}	OGCConformance
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/ogc/conformance [get]
func (s *server) ogcConforms(c *call) error {
	if c.fresh(c.weakTag("ogc-" + s.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, OGCConformance{ogcConformance})
}

// ogcAPI serves the contract where OGC clients look for it.
//
//	@Summary		Layers: the contract
//	@Description	The same document as /v1/openapi.json, where clients of OGC API look for it.
//	@ID				getOGCAPI
//	@Tags			publication
//	@Produce		json
//	@Success		200		{object}	map[string]any
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/ogc/api [get]
func (s *server) ogcAPI(c *call) error { return s.openapiJSON(c) }

// OGCCollections lists the layers.
type OGCCollections struct {
	Collections []OGCCollection `json:"collections"`
	Links       []OGCLink       `json:"links"`
}

// OGCCollection is a layer.
type OGCCollection struct {
	ID          string    `json:"id" example:"impact-commune-2025"`
	Title       string    `json:"title" example:"Communes : chiffres d'impact 2025"`
	Description string    `json:"description"`
	ItemType    string    `json:"itemType" enums:"feature"`
	CRS         []string  `json:"crs"`
	Extent      OGCExtent `json:"extent"`
	Links       []OGCLink `json:"links"`
}

// OGCExtent is where and when a layer is about.
type OGCExtent struct {
	Spatial  *OGCSpatial  `json:"spatial,omitempty"`
	Temporal *OGCTemporal `json:"temporal,omitempty"`
}

// OGCSpatial is a rectangle: west, south, east, north.
type OGCSpatial struct {
	BBox [][]float64 `json:"bbox"`
	CRS  string      `json:"crs"`
}

// OGCTemporal is from the first to the last instant.
type OGCTemporal struct {
	Interval [][]string `json:"interval"`
	TRS      string     `json:"trs"`
}

// ogcCollections lists the layers.
//
//	@Summary		Layers
//	@Description	For each type of territory, its outlines (`territories-commune`) and, for each year of the latest release, its figures (`impact-commune-2025`). Outlines are there once the operator has loaded them.
//	@ID				listOGCCollections
//	@Tags			publication
//	@Produce		json
//	@Success		200		{object}	OGCCollections
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/ogc/collections [get]
func (s *server) ogcCollections(c *call) error {
	set, err := s.ogcLayers(c, 0)
	if err != nil {
		return err
	}
	shapes, fresh, err := s.ogcShapes(c, set)
	if err != nil || fresh {
		return err
	}
	out := OGCCollections{Collections: []OGCCollection{}, Links: []OGCLink{
		s.ogcLink("/collections", "self", typeJSON, ""), s.ogcLink("", "root", typeJSON, ""),
	}}
	for _, l := range set.layers {
		out.Collections = append(out.Collections, s.ogcCollection(c, l, shapes))
	}
	return c.answer(http.StatusOK, out)
}

func (s *server) ogcCollection(c *call, l *layer, shapes *shapes) OGCCollection {
	path := "/collections/" + l.id
	out := OGCCollection{
		ID: l.id, Title: l.title.In(c.lang), Description: l.description().In(c.lang), ItemType: "feature", CRS: []string{crs84},
		Links: []OGCLink{
			s.ogcLink(path, "self", typeJSON, ""),
			s.ogcLink(path+"/items", "items", typeGeoJSON, l.title.In(c.lang)),
			s.ogcLink(path+"/schema", "describedby", typeSchema, ""),
			s.ogcLink(path+"/schema", relSchema, typeSchema, ""),
			{impact.Licence, "license", "", impact.LicenceText.In(c.lang)},
		},
	}
	if e := s.Publication.Extent; e.West < e.East {
		out.Extent.Spatial = &OGCSpatial{BBox: [][]float64{{e.West, e.South, e.East, e.North}}, CRS: crs84}
	}
	if b, ok := shapes.around(l.places); ok {
		out.Extent.Spatial = &OGCSpatial{BBox: [][]float64{{b.Min[0], b.Min[1], b.Max[0], b.Max[1]}}, CRS: crs84}
	}
	if l.release != nil {
		out.Extent.Temporal = &OGCTemporal{
			Interval: [][]string{{l.year.Start.String() + "T00:00:00Z", l.year.End.String() + "T23:59:59Z"}},
			TRS:      "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian",
		}
	}
	return out
}

// ogcCollectionByID describes one layer.
//
//	@Summary		A layer
//	@Description	What a layer is about, and the way to its features.
//	@ID				getOGCCollection
//	@Tags			publication
//	@Produce		json
//	@Param			id		path		string	true	"Id of the layer"	example(territories-commune)
//	@Success		200		{object}	OGCCollection
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/ogc/collections/{id} [get]
func (s *server) ogcCollectionByID(c *call) error {
	set, l, err := s.ogcLayer(c, 0)
	if err != nil {
		return err
	}
	shapes, fresh, err := s.ogcShapes(c, set)
	if err != nil || fresh {
		return err
	}
	return c.answer(http.StatusOK, s.ogcCollection(c, l, shapes))
}

// ogcSchema tells the type of each column, whatever the first rows hold.
//
//	@Summary		Columns of a layer
//	@Description	JSON Schema of the features: a column of figures is a number even where the first figures are withheld. The unit stands beside it.
//	@ID				getOGCSchema
//	@Tags			publication
//	@Produce		application/schema+json
//	@Param			id		path		string	true	"Id of the layer"	example(territories-commune)
//	@Success		200		{object}	map[string]any
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/ogc/collections/{id}/schema [get]
func (s *server) ogcSchema(c *call) error {
	set, l, err := s.ogcLayer(c, 0)
	if err != nil {
		return err
	}
	if c.fresh(c.weakTag(set.tag)) {
		return nil
	}
	props := members{}
	props.add("geometry", map[string]any{"format": "geometry-multipolygon", "x-ogc-role": "primary-geometry"})
	for _, col := range l.columns() {
		p := members{}
		p.add("title", col.title.In(c.lang))
		p.add("type", col.typ)
		if col.format != "" {
			p.add("format", col.format)
		}
		if col.unit != "" {
			p.add("x-ogc-unit", col.unit)
		}
		props.add(col.name, p)
	}
	doc := members{}
	doc.add("$schema", "https://json-schema.org/draft/2020-12/schema")
	doc.add("$id", s.PublicURL+"/v1/ogc/collections/"+l.id+"/schema")
	doc.add("title", l.title.In(c.lang))
	doc.add("type", "object")
	doc.add("properties", props)
	b, err := doc.MarshalJSON()
	if err != nil {
		return fmt.Errorf("writing the columns of a layer: %w", err)
	}
	c.write(http.StatusOK, typeSchema, b)
	return nil
}

// ogcShapes are the outlines that layers are drawn with; fresh when the caller has
// what is asked for already.
func (s *server) ogcShapes(c *call, set *layerSet) (shapes *shapes, fresh bool, err error) {
	if shapes, err = s.currentShapes(c); err != nil {
		return nil, false, err
	}
	return shapes, c.fresh(c.weakTag(set.tag + "-" + shapes.tag)), nil
}

// notALayer tells what there is instead.
func notALayer(set *layerSet, asked string) error {
	var ids []string
	for _, l := range set.layers {
		ids = append(ids, l.id)
	}
	return &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: impact.Text{FR: "Il n'y a pas de couche « " + asked + " ».", EN: "There is no layer \"" + asked + "\"."},
		Hint:   impact.Text{FR: "Couches : " + strings.Join(ids, ", ") + ".", EN: "Layers: " + strings.Join(ids, ", ") + "."},
	}
}

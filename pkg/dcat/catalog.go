package dcat

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Catalogue is who offers the datasets, where, and how they are reached.
type Catalogue struct {
	// Base of every address, and Identifiers, of every identifier: they are the
	// same until the service moves to another address, which identifiers do not
	// follow. Without a trailing slash.
	Base, Identifiers string
	Publisher         Publisher
	Contact           Contact
	Extent            Extent
}

// Publisher answers for what is published.
type Publisher struct {
	Name     string
	Homepage string // absolute; empty = none told
}

// Contact is whom to write to about the data.
type Contact struct {
	Name, Email string
}

// Extent is the rectangle that the figures are about, in degrees.
type Extent struct {
	Name                     string
	West, South, East, North float64
}

// Page is a part of the catalogue, in the order of identifiers.
type Page struct {
	Datasets []impact.Dataset
	// Total counts the datasets of all pages.
	Total int
	// Self is the absolute address of this page; First and Last those of its ends,
	// Previous and Next those beside it, empty where there is none.
	Self, First, Previous, Next, Last string
}

// DatasetURI names a dataset, for ever.
func (c *Catalogue) DatasetURI(id impact.DatasetID) string {
	return c.Identifiers + "/id/dataset/" + string(id)
}

// Graph describes the catalogue and the datasets of one page. The services stand
// on the first page, so that nobody meets them twice.
func (c *Catalogue) Graph(p Page) *Graph {
	g := newGraph()
	cat := g.node(iri(c.Base+"/v1/catalog"), "dcat:Catalog", "hydra:Collection")
	cat.add("dct:identifier", text(c.Identifiers+"/id/catalog", "")).
		add("dct:title", text("Retombées : mesure d'impact par territoire de la Métropole de Lyon", "fr")).
		add("dct:description", text("Chiffres d'impact social, environnemental et économique par territoire, publiés après contrôle de la confidentialité, avec les nomenclatures qui servent à les lire.", "fr")).
		add("dct:publisher", c.publisher(g)).
		add("dct:language", g.language("FRA")).
		add("foaf:homepage", g.document(c.Base+"/docs")).
		add("dct:license", g.licence()).
		add("dct:spatial", c.location(g)).
		add("dcat:themeTaxonomy", iri(authority+"data-theme"))
	g.node(iri(authority+"data-theme"), "skos:ConceptScheme").add("dct:title", text("Data theme", "en"))
	var issued, modified time.Time
	for i := range p.Datasets {
		d := &p.Datasets[i]
		if issued.IsZero() || d.Issued.Before(issued) {
			issued = d.Issued
		}
		if d.Modified.After(modified) {
			modified = d.Modified
		}
		cat.add("dcat:dataset", iri(c.DatasetURI(d.ID)))
	}
	if !issued.IsZero() {
		cat.add("dct:issued", instant(issued)).add("dct:modified", instant(modified))
	}
	first := p.Self == p.First
	if first {
		cat.add("dcat:service", c.services(g, p.Datasets)...)
	}
	view := g.node(iri(p.Self), "hydra:PartialCollectionView")
	cat.add("hydra:totalItems", typed(strconv.Itoa(p.Total), "xsd:integer")).add("hydra:view", view.id)
	for _, l := range [][2]string{{"hydra:first", p.First}, {"hydra:previous", p.Previous}, {"hydra:next", p.Next}, {"hydra:last", p.Last}} {
		if l[1] != "" {
			view.add(l[0], iri(l[1]))
		}
	}
	for i := range p.Datasets {
		c.dataset(g, &p.Datasets[i])
	}
	return g
}

// Dataset describes one dataset alone.
func (c *Catalogue) Dataset(d *impact.Dataset) *Graph {
	g := newGraph()
	c.dataset(g, d)
	return g
}

// Agent describes the publisher alone, Services the services alone.
func (c *Catalogue) Agent() *Graph {
	g := newGraph()
	c.publisher(g)
	return g
}

// Services describes the services that serve the datasets.
func (c *Catalogue) Services(datasets []impact.Dataset) *Graph {
	g := newGraph()
	c.services(g, datasets)
	for i := range datasets {
		c.dataset(g, &datasets[i])
	}
	return g
}

func (c *Catalogue) publisher(g *Graph) Term {
	id := iri(c.Identifiers + "/id/publisher")
	local := iri("http://purl.org/adms/publishertype/LocalAuthority")
	n := g.node(id, "foaf:Agent").add("foaf:name", text(c.Publisher.Name, "")).add("dct:type", local)
	g.node(local, "skos:Concept").add("skos:prefLabel", text("Local Authority", "en"))
	if c.Publisher.Homepage != "" {
		n.add("foaf:homepage", g.document(c.Publisher.Homepage))
	}
	return id
}

func (c *Catalogue) contact(g *Graph) Term {
	id := blank("contact")
	n := g.node(id, "vcard:Kind", "vcard:Organization").add("vcard:fn", text(c.Contact.Name, ""))
	if c.Contact.Email != "" {
		n.add("vcard:hasEmail", iri("mailto:"+c.Contact.Email))
	}
	return id
}

// location is a rectangle: as WKT, which DCAT-AP wants, and as GeoJSON, the only
// form of a rectangle that data.gouv.fr's harvester reads in RDF of its own accord.
func (c *Catalogue) location(g *Graph) Term {
	e, id := c.Extent, blank("extent")
	deg := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	w, s, o, n := deg(e.West), deg(e.South), deg(e.East), deg(e.North)
	ring := [][2]string{{w, s}, {o, s}, {o, n}, {w, n}, {w, s}}
	var wkt, json []string
	for _, p := range ring {
		wkt, json = append(wkt, p[0]+" "+p[1]), append(json, "["+p[0]+","+p[1]+"]")
	}
	centre := fmt.Sprintf("POINT(%s %s)", deg(middle(e.West, e.East)), deg(middle(e.South, e.North)))
	geojson := text(`{"type":"Polygon","coordinates":[[`+strings.Join(json, ",")+`]]}`, "")
	geojson.Type = geojsonType
	g.node(id, "dct:Location").
		add("dcat:bbox", typed("POLYGON(("+strings.Join(wkt, ",")+"))", "geosparql:wktLiteral")).
		add("dcat:centroid", typed(centre, "geosparql:wktLiteral")).
		add("geosparql:asGeoJSON", geojson)
	if e.Name != "" {
		g.node(id).add("skos:prefLabel", text(e.Name, "fr"))
	}
	return id
}

// middle is rounded to a ten-thousandth of a degree: ten metres.
func middle(a, b float64) float64 {
	x, err := strconv.ParseFloat(strconv.FormatFloat((a+b)/2, 'f', 4, 64), 64)
	if err != nil {
		return a // a number just written is read
	}
	return x
}

func (c *Catalogue) dataset(g *Graph, d *impact.Dataset) {
	uri := c.DatasetURI(d.ID)
	n := g.node(iri(uri), "dcat:Dataset").
		add("dct:identifier", text(uri, "")).
		add("dct:title", text(d.Title.FR, "fr")).
		add("dct:description", text(d.Description.FR, "fr")).
		add("dct:publisher", c.publisher(g)).
		add("dcat:contactPoint", c.contact(g)).
		add("dct:language", g.language("FRA")).
		add("dct:accrualPeriodicity", g.frequency(d.Frequency)).
		add("dct:license", g.licence()).
		add("dct:accessRights", g.public()).
		add("dct:spatial", c.location(g)).
		add("dcat:landingPage", g.document(c.Base+"/docs"))
	if d.Release > 0 {
		// dcat:version is the word of DCAT 3, owl:versionInfo the one that CKAN reads.
		version := text(strconv.Itoa(int(d.Release)), "")
		n.add("dcat:version", version).add("owl:versionInfo", version)
	}
	for _, k := range d.Keywords {
		n.add("dcat:keyword", text(k.FR, "fr"))
	}
	for _, code := range d.Themes {
		n.add("dcat:theme", g.theme(code))
	}
	if !d.Issued.IsZero() {
		n.add("dct:issued", instant(d.Issued))
	}
	if !d.Modified.IsZero() {
		n.add("dct:modified", instant(d.Modified))
	}
	temporal := d.Temporal
	if temporal == nil && !d.Modified.IsZero() {
		// Reference data are those in force on the day they were published.
		day := impact.DateOf(d.Modified)
		temporal = &impact.Period{Start: day, End: day}
	}
	if temporal != nil {
		// A blank node: the address of a period would be fetched.
		t := blank("period_" + strings.ReplaceAll(string(d.ID), "-", "_"))
		g.node(t, "dct:PeriodOfTime").
			add("dcat:startDate", typed(temporal.Start.String(), "xsd:date")).
			add("dcat:endDate", typed(temporal.End.String(), "xsd:date"))
		n.add("dct:temporal", t)
	}
	for i := range d.Files {
		n.add("dcat:distribution", c.distribution(g, d, &d.Files[i]))
	}
}

func (c *Catalogue) distribution(g *Graph, d *impact.Dataset, k *impact.FileKind) Term {
	uri := c.Identifiers + "/id/distribution/" + string(d.ID) + "-" + k.Name
	address := c.Base + impact.ExportPath(d.ID, 0, k.Suffix)
	id := iri(uri)
	n := g.node(id, "dcat:Distribution").
		add("dct:identifier", text(uri, "")).
		add("dct:title", text(k.Title.FR, "fr")).
		add("dct:description", text("Toutes les lignes de « "+d.Title.FR+" », telles que la dernière publication les donne. L'adresse ne change pas d'une publication à l'autre.", "fr")).
		add("dcat:accessURL", iri(address)).
		add("dcat:downloadURL", iri(address)).
		add("dct:format", g.fileType(k.FileType)).
		add("dcatap:availability", g.stable()).
		add("dct:license", g.licence())
	if t, ok := g.mediaType(k.MediaType); ok {
		n.add("dcat:mediaType", t)
	}
	if t, ok := g.mediaType(k.Compressed); ok {
		n.add("dcat:compressFormat", t)
	}
	if k.Name == impact.CSVFile.Name || k.Of == impact.CSVFile.Name {
		n.add("dct:conformsTo", g.standard(c.Base+impact.ExportPath(d.ID, 0, impact.TableSchemaSuffix), "Table Schema : "+d.Title.FR))
	}
	modified := d.Modified
	for i := range d.Distributions {
		f := &d.Distributions[i]
		if f.Kind.Name != k.Name {
			continue
		}
		modified = f.Modified
		n.add("dcat:byteSize", typed(strconv.FormatInt(f.Size, 10), "xsd:nonNegativeInteger"))
		sum := blank("sum_" + strings.ReplaceAll(string(d.ID)+"_"+k.Name, "-", "_"))
		g.node(sum, "spdx:Checksum").add("spdx:algorithm", g.sha256()).add("spdx:checksumValue", typed(f.SHA256, "xsd:hexBinary"))
		n.add("spdx:checksum", sum)
	}
	if !modified.IsZero() {
		n.add("dct:modified", instant(modified))
	}
	return id
}

// services are the ways to ask for the datasets. They are no access service of a
// distribution: data.gouv.fr's harvester leaves out those that are.
func (c *Catalogue) services(g *Graph, datasets []impact.Dataset) []Term {
	var out []Term
	add := func(id, title, description, endpoint, contract string, standard Term, serves func(*impact.Dataset) bool) {
		uri := c.Identifiers + "/id/service/" + id
		n := g.node(iri(uri), "dcat:DataService").
			add("dct:identifier", text(uri, "")).
			add("dct:title", text(title, "fr")).
			add("dct:description", text(description, "fr")).
			add("dct:publisher", c.publisher(g)).
			add("dcat:contactPoint", c.contact(g)).
			add("dcat:endpointURL", iri(endpoint)).
			add("dcat:endpointDescription", iri(contract)).
			add("dct:conformsTo", standard).
			add("dcat:theme", g.theme("SOCI")).
			add("dcat:keyword", text("api", "fr")).
			add("dcat:landingPage", g.document(c.Base+"/docs")).
			add("dct:license", g.licence()).
			add("dct:accessRights", g.public())
		for i := range datasets {
			if serves(&datasets[i]) {
				n.add("dcat:servesDataset", iri(c.DatasetURI(datasets[i].ID)))
			}
		}
		out = append(out, n.id)
	}
	add("api", "API Retombées", "Interroge les chiffres publiés par indicateur, territoire et période, en JSON, CSV et d'autres formats.",
		c.Base+"/v1", c.Base+"/v1/openapi.json", g.standard(openAPI, "OpenAPI 3.1"), func(*impact.Dataset) bool { return true })
	add("ogc", "Retombées : OGC API Features", "Les territoires et leurs chiffres publiés comme couches géographiques, pour QGIS et GDAL.",
		c.Base+"/v1/ogc", c.Base+"/v1/openapi.json", g.standard(ogcCore, "OGC API - Features - Part 1: Core"), func(d *impact.Dataset) bool { return d.Territorial })
	return out
}

func instant(t time.Time) Term {
	return typed(t.UTC().Truncate(time.Second).Format(time.RFC3339), "xsd:dateTime")
}

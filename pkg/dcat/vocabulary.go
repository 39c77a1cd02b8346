package dcat

import (
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

const (
	authority   = "http://publications.europa.eu/resource/authority/"
	mediaTypes  = "https://www.iana.org/assignments/media-types/"
	geojsonType = mediaTypes + "application/vnd.geo+json"
	openAPI     = "https://spec.openapis.org/oas/v3.1.0"
	ogcCore     = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"
)

// themes are the labels of the EU authority list data-theme.
var themes = map[string]string{
	"AGRI": "Agriculture, pêche, sylviculture et alimentation", "ECON": "Économie et finances", "EDUC": "Éducation, culture et sport",
	"ENER": "Énergie", "ENVI": "Environnement", "GOVE": "Gouvernement et secteur public", "HEAL": "Santé", "INTR": "Questions internationales",
	"JUST": "Justice, système juridique et sécurité publique", "REGI": "Régions et villes", "SOCI": "Population et société",
	"TECH": "Science et technologie", "TRAN": "Transports",
}

// frequencies are the labels of the EU authority list frequency that we use.
var frequencies = map[string]string{
	"ANNUAL": "annuel", "ANNUAL_2": "semestriel", "QUARTERLY": "trimestriel", "MONTHLY": "mensuel", "IRREG": "irrégulier",
	"UNKNOWN": "inconnu",
}

// Terms of authority lists are typed where they are used: readers do not fetch
// them, and validators without the lists know what they are.

func (g *Graph) theme(code string) Term {
	t := iri(authority + "data-theme/" + code)
	label := themes[code]
	if label == "" {
		label = code
	}
	scheme := iri(authority + "data-theme")
	g.node(t, "skos:Concept").add("skos:prefLabel", text(label, "fr")).add("skos:inScheme", scheme)
	g.node(scheme, "skos:ConceptScheme").add("dct:title", text("Data theme", "en"))
	return t
}

func (g *Graph) frequency(code string) Term {
	t := iri(authority + "frequency/" + code)
	n := g.node(t, "dct:Frequency")
	if label := frequencies[code]; label != "" {
		n.add("skos:prefLabel", text(label, "fr"))
	}
	return t
}

func (g *Graph) language(code string) Term {
	t := iri(authority + "language/" + code)
	g.node(t, "dct:LinguisticSystem")
	return t
}

func (g *Graph) fileType(code string) Term {
	t := iri(authority + "file-type/" + code)
	g.node(t, "dct:MediaTypeOrExtent").add("rdfs:label", text(code, ""))
	return t
}

// mediaType gives the IRI of a registered media type; the others have none.
func (g *Graph) mediaType(name string) (t Term, registered bool) {
	if name == "" || strings.Contains(name, "/x-") {
		return Term{}, false
	}
	t = iri(mediaTypes + name)
	g.node(t, "dct:MediaTypeOrExtent", "dct:MediaType").add("rdfs:label", text(name, ""))
	return t, true
}

func (g *Graph) public() Term {
	t := iri(authority + "access-right/PUBLIC")
	g.node(t, "dct:RightsStatement").add("rdfs:label", text("public", "fr"))
	return t
}

// stable tells that a distribution is meant to stay for the long term.
func (g *Graph) stable() Term {
	t := iri(authority + "planned-availability/STABLE")
	g.node(t, "skos:Concept").add("skos:prefLabel", text("stable", "fr"))
	return t
}

func (g *Graph) sha256() Term {
	t := name("spdx:checksumAlgorithm_sha256")
	g.node(t, "spdx:ChecksumAlgorithm")
	return t
}

func (g *Graph) document(address string) Term {
	t := iri(address)
	g.node(t, "foaf:Document")
	return t
}

func (g *Graph) standard(address, title string) Term {
	t := iri(address)
	n := g.node(t, "dct:Standard")
	if title != "" {
		n.add("dct:title", text(title, "fr"))
	}
	return t
}

func (g *Graph) licence() Term {
	t, attribution := iri(impact.Licence), iri("http://purl.org/adms/licencetype/Attribution")
	g.node(t, "dct:LicenseDocument").add("dct:type", attribution).add("dct:title", text(impact.LicenceText.FR, "fr"))
	g.node(attribution, "skos:Concept").add("skos:prefLabel", text("Attribution", "en"))
	return t
}

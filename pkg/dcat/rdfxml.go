package dcat

import (
	"bytes"
	"encoding/xml"
	"strings"
)

// RDFXML writes the graph in RDF/XML, one rdf:Description a subject.
func (g *Graph) RDFXML() []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rdf:RDF")
	for _, p := range g.used() {
		b.WriteString("\n  xmlns:" + p[0] + `="` + p[1] + `"`)
	}
	b.WriteString(">\n")
	for _, n := range g.nodes {
		b.WriteString("  <rdf:Description " + xmlRef("about", n.id) + ">\n")
		for _, t := range n.types {
			b.WriteString("    <rdf:type " + xmlRef("resource", Term{Kind: IRI, Value: t}) + "/>\n")
		}
		for _, p := range n.props {
			for _, o := range p.objects {
				b.WriteString("    <" + p.predicate)
				switch {
				case o.Kind != Literal:
					b.WriteString(" " + xmlRef("resource", o) + "/>\n")
					continue
				case o.Lang != "":
					b.WriteString(` xml:lang="` + o.Lang + `"`)
				case o.Type != "":
					b.WriteString(` rdf:datatype="` + xmlText(o.Type) + `"`)
				}
				b.WriteString(">" + xmlText(o.Value) + "</" + p.predicate + ">\n")
			}
		}
		b.WriteString("  </rdf:Description>\n")
	}
	b.WriteString("</rdf:RDF>\n")
	return b.Bytes()
}

func xmlRef(attribute string, t Term) string {
	if t.Kind == Blank {
		return `rdf:nodeID="` + t.Value + `"`
	}
	return "rdf:" + attribute + `="` + xmlText(t.Value) + `"`
}

func xmlText(s string) string {
	var b strings.Builder
	// A strings.Builder takes everything.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

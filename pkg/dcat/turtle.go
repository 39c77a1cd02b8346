package dcat

import (
	"bytes"
	"fmt"
	"strings"
)

// Turtle writes the graph in Turtle (RDF 1.1).
func (g *Graph) Turtle() []byte {
	var b bytes.Buffer
	for _, p := range g.used() {
		fmt.Fprintf(&b, "@prefix %s: <%s> .\n", p[0], p[1])
	}
	for _, n := range g.nodes {
		b.WriteString("\n" + turtleTerm(n.id))
		sep := "\n    "
		if len(n.types) > 0 {
			b.WriteString(sep + "a ")
			for i, t := range n.types {
				if i > 0 {
					b.WriteString(", ")
				}
				b.WriteString(turtleIRI(t))
			}
			sep = " ;\n    "
		}
		for _, p := range n.props {
			b.WriteString(sep + p.predicate + " ")
			for i, o := range p.objects {
				if i > 0 {
					b.WriteString(" ,\n        ")
				}
				b.WriteString(turtleTerm(o))
			}
			sep = " ;\n    "
		}
		b.WriteString(" .\n")
	}
	return b.Bytes()
}

func turtleIRI(s string) string {
	if n, ok := compact(s); ok {
		return n
	}
	return "<" + s + ">"
}

func turtleTerm(t Term) string {
	switch t.Kind {
	case IRI:
		return turtleIRI(t.Value)
	case Blank:
		return "_:" + t.Value
	}
	s := `"` + turtleEscapes.Replace(t.Value) + `"`
	switch {
	case t.Lang != "":
		return s + "@" + t.Lang
	case t.Type != "":
		return s + "^^" + turtleIRI(t.Type)
	}
	return s
}

var turtleEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

package dcat

import (
	"strings"
	"unicode/utf8"
)

// Term is what stands in a statement: an IRI, a blank node or a literal.
type Term struct {
	Kind  Kind
	Value string // the IRI, the label of the blank node, the text
	Lang  string // of a literal
	Type  string // datatype of a literal, as an IRI; empty for plain text
}

// Kind of term.
type Kind uint8

// Kinds.
const (
	IRI Kind = iota
	Blank
	Literal
)

// prefixes are the vocabularies in use. No name of ours is outside of them.
var prefixes = [][2]string{
	{"adms", "http://www.w3.org/ns/adms#"},
	{"dcat", "http://www.w3.org/ns/dcat#"},
	{"dcatap", "http://data.europa.eu/r5r/"},
	{"dct", "http://purl.org/dc/terms/"},
	{"foaf", "http://xmlns.com/foaf/0.1/"},
	{"geosparql", "http://www.opengis.net/ont/geosparql#"},
	{"hydra", "http://www.w3.org/ns/hydra/core#"},
	{"owl", "http://www.w3.org/2002/07/owl#"},
	{"rdf", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"},
	{"rdfs", "http://www.w3.org/2000/01/rdf-schema#"},
	{"skos", "http://www.w3.org/2004/02/skos/core#"},
	{"spdx", "http://spdx.org/rdf/terms#"},
	{"vcard", "http://www.w3.org/2006/vcard/ns#"},
	{"xsd", "http://www.w3.org/2001/XMLSchema#"},
}

var namespaces = func() map[string]string {
	m := map[string]string{}
	for _, p := range prefixes {
		m[p[0]] = p[1]
	}
	return m
}()

// expand writes a prefixed name in full; an unknown prefix is a fault of this package.
func expand(name string) string {
	prefix, local, _ := strings.Cut(name, ":")
	ns, ok := namespaces[prefix]
	if !ok {
		panic("dcat: unknown prefix in " + name)
	}
	return ns + local
}

// compact gives the prefixed name of an IRI; ok tells whether there is one that
// every syntax can write.
func compact(iri string) (name string, ok bool) {
	for _, p := range prefixes {
		if local, found := strings.CutPrefix(iri, p[1]); found && plainName(local) {
			return p[0] + ":" + local, true
		}
	}
	return "", false
}

func plainName(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		later := r >= '0' && r <= '9' || r == '_'
		if !letter && (i == 0 || !later) {
			return false
		}
	}
	return s != ""
}

// name is the IRI of a prefixed name.
func name(prefixed string) Term { return iri(expand(prefixed)) }

// iri keeps what an IRI cannot hold out of it.
func iri(s string) Term {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || strings.ContainsRune("<>\"{}|\\^`", r) || r == utf8.RuneError || r == 0x7F {
			const digits = "0123456789ABCDEF"
			for _, c := range []byte(string(r)) {
				b.WriteByte('%')
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			}
			continue
		}
		b.WriteRune(r)
	}
	return Term{Kind: IRI, Value: b.String()}
}

func blank(label string) Term { return Term{Kind: Blank, Value: label} }

// text is a literal in a language, plain when lang is empty. Characters that XML
// cannot hold are left out.
func text(s, lang string) Term {
	return Term{Kind: Literal, Lang: lang, Value: strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7F || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "�"))}
}

// typed is a literal of a datatype, given as a prefixed name.
func typed(s, datatype string) Term {
	t := text(s, "")
	t.Type = expand(datatype)
	return t
}

// Graph is a set of statements, in the order in which they were made.
type Graph struct {
	nodes []*node
	index map[Term]*node
}

type node struct {
	id    Term
	types []string // IRIs
	props []property
}

type property struct {
	predicate string // prefixed name
	objects   []Term
}

func newGraph() *Graph { return &Graph{index: map[Term]*node{}} }

// node gives the statements about a subject, which is of the given classes.
func (g *Graph) node(id Term, classes ...string) *node {
	n := g.index[id]
	if n == nil {
		n = &node{id: id}
		g.index[id] = n
		g.nodes = append(g.nodes, n)
	}
	for _, c := range classes {
		n.typed(c)
	}
	return n
}

func (n *node) typed(class string) {
	c := expand(class)
	for _, t := range n.types {
		if t == c {
			return
		}
	}
	n.types = append(n.types, c)
}

// add states predicate of each object. A statement made twice is made once.
func (n *node) add(predicate string, objects ...Term) *node {
	expand(predicate)
	for i := range n.props {
		if n.props[i].predicate == predicate {
			n.props[i].add(objects)
			return n
		}
	}
	if len(objects) > 0 {
		p := property{predicate: predicate}
		p.add(objects)
		n.props = append(n.props, p)
	}
	return n
}

func (p *property) add(objects []Term) {
	for _, o := range objects {
		known := false
		for _, k := range p.objects {
			known = known || k == o
		}
		if !known {
			p.objects = append(p.objects, o)
		}
	}
}

// Triples gives every statement in full.
func (g *Graph) Triples() [][3]Term {
	var out [][3]Term
	for _, n := range g.nodes {
		for _, t := range n.types {
			out = append(out, [3]Term{n.id, name("rdf:type"), {Kind: IRI, Value: t}})
		}
		for _, p := range n.props {
			for _, o := range p.objects {
				out = append(out, [3]Term{n.id, name(p.predicate), o})
			}
		}
	}
	return out
}

// used tells which prefixes the graph needs.
func (g *Graph) used() [][2]string {
	need := map[string]bool{"rdf": true, "xsd": true}
	see := func(i string) {
		if n, ok := compact(i); ok {
			prefix, _, _ := strings.Cut(n, ":")
			need[prefix] = true
		}
	}
	for _, t := range g.Triples() {
		for _, x := range t {
			if x.Kind == IRI {
				see(x.Value)
			} else {
				see(x.Type)
			}
		}
	}
	var out [][2]string
	for _, p := range prefixes {
		if need[p[0]] {
			out = append(out, p)
		}
	}
	return out
}

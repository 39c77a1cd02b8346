package dcat

import (
	"bytes"
	"encoding/json"
)

// JSONLD writes the graph in JSON-LD 1.1, flat, with its context inline: a
// context elsewhere would have to be fetched by every reader.
func (g *Graph) JSONLD() ([]byte, error) {
	context := object{}
	for _, p := range g.used() {
		context.set(p[0], p[1])
	}
	var graph []object
	for _, n := range g.nodes {
		o := object{}
		o.set("@id", jsonID(n.id))
		if len(n.types) > 0 {
			var types []any
			for _, t := range n.types {
				types = append(types, jsonName(t))
			}
			o.set("@type", alone(types))
		}
		for _, p := range n.props {
			var values []any
			for _, v := range p.objects {
				values = append(values, jsonTerm(v))
			}
			o.set(p.predicate, alone(values))
		}
		graph = append(graph, o)
	}
	doc := object{}
	doc.set("@context", context)
	doc.set("@graph", graph)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func alone(values []any) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}

func jsonName(iri string) string {
	if n, ok := compact(iri); ok {
		return n
	}
	return iri
}

// jsonID writes IRIs in full: a reader that knows little of JSON-LD finds the
// same text everywhere.
func jsonID(t Term) string {
	if t.Kind == Blank {
		return "_:" + t.Value
	}
	return t.Value
}

func jsonTerm(t Term) any {
	o := object{}
	switch {
	case t.Kind != Literal:
		o.set("@id", jsonID(t))
	case t.Lang != "":
		o.set("@value", t.Value)
		o.set("@language", t.Lang)
	case t.Type != "":
		o.set("@value", t.Value)
		o.set("@type", jsonName(t.Type))
	default:
		return t.Value
	}
	return o
}

// object is a JSON object whose members keep their order.
type object struct {
	names  []string
	values []any
}

func (o *object) set(name string, value any) {
	o.names, o.values = append(o.names, name), append(o.values, value)
}

// MarshalJSON writes the members in the order in which they were set.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := e.Encode(o.values[i]); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

package api

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/grandlyon/retombees/pkg/impact"
)

// The query language of figures (api.md 5.2) has two spellings, a query string
// and a JSON body. Both are read into criteria, so that one resolver gives
// them their meaning and names the place of each fault in the spelling used.

// Operators before a value. Words outside this list belong to the value:
// `last:4Q` and `siret:…` are values.
const (
	opEqual     = "eq"
	opNot       = "ne"
	opGreater   = "gt"
	opAtLeast   = "ge"
	opLess      = "lt"
	opAtMost    = "le"
	opStartWith = "sw"
)

var operators = []string{opEqual, opNot, opGreater, opAtLeast, opLess, opAtMost, opStartWith}

// place says where a value was written: a parameter of the query string, or a
// JSON Pointer of the body.
type place struct{ parameter, pointer string }

func (p place) mark(f impact.Fault) impact.Fault {
	f.Parameter, f.Pointer = p.parameter, p.pointer
	return f
}

// term is one value with the operator before it.
type term struct {
	op, value string
	at        place
}

// criterion is one condition as written once: its terms are alternatives (OR).
// Several criteria of one name must all hold (AND).
type criterion struct {
	name  string
	terms []term
	at    place
}

// readTerms cuts a decoded parameter value at its commas and takes the
// operator off each part. A comma inside double quotes belongs to the value,
// and a quoted value holds no operator. ok is false when a quote is not closed.
func readTerms(s string, at place) (terms []term, ok bool) {
	for {
		var t term
		if t, s, ok = cutTerm(s); !ok {
			return nil, false
		}
		t.at = at
		terms = append(terms, t)
		if s == "" {
			return terms, true
		}
		s = s[1:] // the comma
	}
}

// cutTerm reads the first term of s and leaves the comma after it in rest.
func cutTerm(s string) (t term, rest string, ok bool) {
	t.op = opEqual
	if op, after, found := strings.Cut(s, ":"); found && slices.Contains(operators, op) {
		t.op, s = op, after
	}
	if strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s[1:], '"')
		if end < 0 {
			return t, "", false
		}
		t.value, rest = s[1:1+end], s[2+end:]
		return t, rest, rest == "" || rest[0] == ','
	}
	if i := strings.IndexByte(s, ','); i >= 0 {
		t.value, rest = s[:i], s[i:]
	} else {
		t.value = s
	}
	return t, rest, true
}

// criteriaOfQuery reads the parameters of a query string, page parameters
// left out: they say which part of the answer is wanted, not which answer.
func criteriaOfQuery(q *query) (cs []criterion, faults []impact.Fault) {
	for _, name := range q.names {
		if name == "limit" || name == "cursor" {
			continue
		}
		at := place{parameter: name}
		for _, value := range q.values[name] {
			terms, ok := readTerms(value, at)
			switch f, empty := emptyTerm(terms); {
			case !ok:
				faults = append(faults, at.mark(faultUnclosedQuote(value)))
			case empty:
				faults = append(faults, f)
			default:
				cs = append(cs, criterion{name: name, terms: terms, at: at})
			}
		}
	}
	return cs, faults
}

func emptyTerm(terms []term) (impact.Fault, bool) {
	for _, t := range terms {
		if t.value == "" {
			return t.at.mark(faultEmptyValue()), true
		}
	}
	return impact.Fault{}, false
}

// criteriaOfBody reads the JSON form of the same query:
//
//	{"indicator":["…"],"territory":{"in":["…"],"type":"commune"},
//	 "period":{"range":"2023/2025","granularity":"quarter"},
//	 "group_by":["…"],"filters":[{"field":"value","op":"ge","value":100}],"release":"live"}
//
// Each member takes a value or a list of alternatives; members spell the
// parameters of the query string. A condition that must hold beside another on
// the same name goes into filters. An *impact.Error of kind Malformed tells
// that the text is not one JSON object.
func criteriaOfBody(body []byte) (cs []criterion, faults []impact.Fault, err error) {
	if err := checkDepth(body); err != nil {
		return nil, nil, err
	}
	r := bodyReader{dec: jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))}
	if k := r.dec.PeekKind(); k != jsontext.KindBeginObject && k != jsontext.KindInvalid {
		r.fault(place{}, faultType("a JSON object", "un objet JSON"))
		err = r.dec.SkipValue()
	} else {
		err = r.object(r.member)
	}
	if err != nil {
		return nil, nil, malformedAt(body, err)
	}
	if len(r.criteria) > maxParams {
		r.fault(place{pointer: "/filters"}, faultTooManyConditions(len(r.criteria)))
		r.criteria = r.criteria[:maxParams]
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, malformed(bilingual("Le corps contient autre chose après le document JSON.", "The body holds something else after the JSON document."),
			bilingual("Envoyez un seul document JSON.", "Send one JSON document."))
	}
	return r.criteria, r.faults, nil
}

type bodyReader struct {
	dec      *jsontext.Decoder
	criteria []criterion
	faults   []impact.Fault
}

// object reads one object, giving each member's name to fn, which must read
// its value.
func (r *bodyReader) object(fn func(name string) error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.dec.PeekKind() != jsontext.KindEndObject {
		tok, err := r.dec.ReadToken()
		if err != nil {
			return err
		}
		name := tok.String()
		if seen[name] {
			r.fault(r.at(), faultDuplicateMember(name))
			err = r.dec.SkipValue()
		} else {
			seen[name] = true
			err = fn(name)
		}
		if err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *bodyReader) at() place { return place{pointer: string(r.dec.StackPointer())} }

func (r *bodyReader) fault(at place, f impact.Fault) { r.faults = append(r.faults, at.mark(f)) }

func (r *bodyReader) member(name string) error {
	at := r.at()
	isObject := r.dec.PeekKind() == jsontext.KindBeginObject
	switch {
	case name == "filters":
		return r.filters()
	case isObject && name == "territory":
		return r.nested(map[string]string{"in": "territory", "type": "territory_type"})
	case isObject && name == "period":
		return r.nested(map[string]string{"in": "period", "range": "period", "granularity": "granularity"})
	}
	terms, err := r.values(opEqual)
	if err != nil {
		return err
	}
	r.add(name, terms, at)
	return nil
}

// add keeps a criterion unless its values are at fault.
func (r *bodyReader) add(name string, terms []term, at place) {
	if len(terms) > maxItems {
		r.fault(at, faultTooManyTerms(len(terms)))
		return
	}
	if f, empty := emptyTerm(terms); empty {
		r.faults = append(r.faults, f)
		return
	}
	if len(terms) > 0 {
		r.criteria = append(r.criteria, criterion{name: name, terms: terms, at: at})
	}
}

func (r *bodyReader) nested(names map[string]string) error {
	return r.object(func(member string) error {
		at := r.at()
		name, known := names[member]
		if !known {
			r.fault(at, faultUnknownMember(member, keysOf(names)))
			return r.dec.SkipValue()
		}
		terms, err := r.values(opEqual)
		if err != nil {
			return err
		}
		r.add(name, terms, at)
		return nil
	})
}

func (r *bodyReader) filters() error {
	at := r.at()
	if r.dec.PeekKind() != jsontext.KindBeginArray {
		r.fault(at, faultType("a list of {field, op, value}", "une liste de {field, op, value}"))
		return r.dec.SkipValue()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for r.dec.PeekKind() != jsontext.KindEndArray {
		if r.dec.PeekKind() != jsontext.KindBeginObject {
			if err := r.dec.SkipValue(); err != nil {
				return err
			}
			r.fault(r.at(), faultType("an object {field, op, value}", "un objet {field, op, value}"))
			continue
		}
		if err := r.filter(); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *bodyReader) filter() error {
	var (
		field, op string
		terms     []term
		at        place
		before    = len(r.faults)
	)
	err := r.object(func(member string) error {
		here := r.at()
		got, err := r.memberOfFilter(member, here)
		if err != nil {
			return err
		}
		switch {
		case member == "field" && len(got) == 1:
			field, at = got[0].value, here
		case member == "op" && len(got) == 1:
			op = got[0].value
			if !slices.Contains(operators, op) {
				r.fault(here, faultUnknownWord("op", op, operators))
			}
		case member == "value":
			terms = got
		}
		return nil
	})
	switch {
	case err != nil || len(r.faults) > before:
		return err
	case field == "" || terms == nil:
		f := faultMissing("field, value")
		r.fault(r.at(), f)
		return nil
	}
	if op == "" {
		// Without an operator a text is read as a query string writes it:
		// "ge:100,lt:5" has alternatives with operators of their own.
		var written []term
		for _, t := range terms {
			parts, ok := readTerms(t.value, t.at)
			if !ok {
				r.fault(t.at, faultUnclosedQuote(t.value))
				return nil
			}
			written = append(written, parts...)
		}
		terms = written
	} else {
		for i := range terms {
			terms[i].op = op
		}
	}
	r.add(field, terms, at)
	return nil
}

func (r *bodyReader) memberOfFilter(member string, here place) ([]term, error) {
	switch member {
	case "field", "op", "value":
		return r.values(opEqual)
	}
	r.fault(here, faultUnknownMember(member, []string{"field", "op", "value"}))
	return nil, r.dec.SkipValue()
}

// values reads a text, a number, a boolean, or a list of these.
func (r *bodyReader) values(op string) ([]term, error) {
	if r.dec.PeekKind() != jsontext.KindBeginArray {
		return r.value(nil, op)
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	var terms []term
	for r.dec.PeekKind() != jsontext.KindEndArray {
		var err error
		if terms, err = r.value(terms, op); err != nil {
			return nil, err
		}
	}
	_, err := r.dec.ReadToken()
	return terms, err
}

func (r *bodyReader) value(terms []term, op string) ([]term, error) {
	switch r.dec.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray, jsontext.KindNull:
		if err := r.dec.SkipValue(); err != nil {
			return nil, err
		}
		r.fault(r.at(), faultType("a text, a number, a boolean or a list of these", "un texte, un nombre, un booléen ou une liste de ceux-ci"))
		return terms, nil
	}
	tok, err := r.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	return append(terms, term{op: op, value: tok.String(), at: r.at()}), nil
}

func keysOf(m map[string]string) []string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

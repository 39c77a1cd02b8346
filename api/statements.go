package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/grandlyon/retombees/pkg/impact"
)

// stated is an observation as its sender wrote it, with what the form alone
// tells against it.
type stated struct {
	impact.Statement
	faults []impact.Fault
}

// statementReader reads observations from a document that is known to be well
// formed: jsontext judges it in one pass, and what remains is to walk through
// it without making a value of the whole. A batch repeats the same codes on each
// row: they are kept once.
type statementReader struct {
	validJSON
	words map[string]string
	st    *stated
	seen  uint64 // members of st already met, by their place in statementFields
}

// newStatementReader checks that b is one JSON document in UTF-8. Members
// written twice are told later, with the other faults of the row.
func newStatementReader(b []byte) (*statementReader, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(b), jsontext.AllowDuplicateNames(true))
	if err := dec.SkipValue(); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("data after the document")
		}
		return nil, err
	}
	return &statementReader{validJSON: validJSON{b: b}, words: make(map[string]string, 64)}, nil
}

// readStatements reads the body of POST /v1/observations: one observation, or
// {"observations":[…]}.
func (c *call) readStatements() (rows []stated, batch bool, err error) {
	b, err := c.readBody()
	if err != nil {
		return nil, false, err
	}
	if err := checkDepth(b); err != nil {
		return nil, false, err
	}
	r, err := newStatementReader(b)
	if err != nil {
		return nil, false, malformedAt(b, err)
	}
	return r.body()
}

func (r *statementReader) body() (rows []stated, batch bool, err error) {
	one := make([]stated, 1)
	r.begin(&one[0])
	if r.peek() != '{' {
		r.mismatch("", anObject)
		return one, false, nil
	}
	r.i++
	if !r.startsBatch() {
		r.members()
		return one, false, nil
	}
	if r.peek() != '[' {
		r.mismatch("/observations", aList)
		r.members()
		return one, false, nil
	}
	if rows, err = r.array(); err != nil {
		return nil, true, err
	}
	r.begin(&one[0])
	for r.peek() == '"' {
		r.fault(unknownMember(string(unquote(r.next())), []string{"observations"}))
		r.next()
	}
	if len(one[0].faults) > 0 {
		return one, false, nil // the document is wrong, not a row of it
	}
	return rows, true, nil
}

// startsBatch passes the name "observations" when it comes first.
func (r *statementReader) startsBatch() bool {
	start := r.i
	if r.peek() == '"' && string(unquote(r.next())) == "observations" {
		return true
	}
	r.i = start
	return false
}

// array reads [ {…}, … ], 1,000 at most.
func (r *statementReader) array() ([]stated, error) {
	r.i++
	rows := make([]stated, 0, min(BatchRows, 1+len(r.b)/100))
	for r.peek() != ']' {
		if len(rows) == BatchRows {
			return nil, &impact.Error{
				Kind: impact.TooLarge, Code: "body_too_large",
				Detail: impact.Text{FR: "Le corps porte plus de 1 000 observations.", EN: "The body carries more than 1,000 observations."},
				Hint:   impact.Text{FR: "Envoyez-les en lots de 1 000 au plus.", EN: "Send them in batches of 1,000 at most."},
			}
		}
		rows = append(rows, stated{})
		r.begin(&rows[len(rows)-1])
		if r.peek() != '{' {
			r.mismatch("", anObject)
			continue
		}
		r.i++
		r.members()
	}
	r.i++
	return rows, nil
}

func (r *statementReader) begin(st *stated) { r.st, r.seen = st, 0 }

// members reads the members of an object up to its closing brace.
func (r *statementReader) members() {
	for r.peek() == '"' {
		r.member(unquote(r.next()))
	}
	r.i++
}

// statementFields are the members a sender may write.
var statementFields = []struct {
	name string
	read func(*statementReader)
}{
	{"organisation", func(r *statementReader) { r.text("organisation", &r.st.Organisation) }},
	{"indicator", func(r *statementReader) { r.text("indicator", &r.st.Indicator) }},
	{"territory", func(r *statementReader) { r.text("territory", &r.st.Territory) }},
	{"period", func(r *statementReader) { r.text("period", &r.st.Period) }},
	{"value", func(r *statementReader) { r.value() }},
	{"components", func(r *statementReader) { r.numbers("components", &r.st.Components) }},
	{"unit", func(r *statementReader) { r.text("unit", &r.st.Unit) }},
	{"obs_status", func(r *statementReader) { r.text("obs_status", &r.st.Status) }},
	{"disaggregation", func(r *statementReader) { r.codes("disaggregation", &r.st.Disaggregation, false) }},
	{"qualifiers", func(r *statementReader) { r.codes("qualifiers", &r.st.Qualifiers, true) }},
	{"programme", func(r *statementReader) { r.text("programme", &r.st.Programme) }},
	{"note", func(r *statementReader) { r.text("note", &r.st.Note) }},
	{"evidence_url", func(r *statementReader) { r.text("evidence_url", &r.st.EvidenceURL) }},
	{"evidence_level", func(r *statementReader) { r.text("evidence_level", &r.st.EvidenceLevel) }},
	{"provenance", func(r *statementReader) { r.text("provenance", &r.st.Provenance) }},
	{"source", func(r *statementReader) { r.text("source", &r.st.Source) }},
	{"external_id", func(r *statementReader) { r.text("external_id", &r.st.ExternalID) }},
	{"reporting_perimeter", func(r *statementReader) { r.text("reporting_perimeter", &r.st.Perimeter) }},
	{"covers", func(r *statementReader) { r.list("covers", &r.st.Covers) }},
	{"transferred_to", func(r *statementReader) { r.text("transferred_to", &r.st.TransferredTo) }},
	{"attribution_share", func(r *statementReader) { r.number("attribution_share", &r.st.AttributionShare) }},
	{"counting", func(r *statementReader) { r.text("counting", &r.st.Counting) }},
	{"stakeholder", func(r *statementReader) { r.text("stakeholder", &r.st.Stakeholder) }},
	{"need", func(r *statementReader) { r.text("need", &r.st.Need) }},
	{"contract_uid", func(r *statementReader) { r.text("contract_uid", &r.st.ContractUID) }},
	{"cumulative", func(r *statementReader) { r.flag("cumulative", &r.st.Cumulative) }},
}

var (
	statementMembers = make([]string, len(statementFields))
	statementField   = make(map[string]int, len(statementFields))
)

func init() {
	for i, f := range statementFields {
		statementMembers[i], statementField[f.name] = f.name, i
	}
}

// readOnlyMembers are what an observation shows and nobody writes.
var readOnlyMembers = []string{
	"id", "methodology_version", "vintage", "submission", "state", "acted_by", "mandate", "version",
	"approved_version", "original_value", "original_unit", "updated_at", "deleted", "links", "meta",
}

// member reads the value of one member.
func (r *statementReader) member(name []byte) {
	i, ok := statementField[string(name)]
	switch {
	case !ok:
		r.unknown(string(name))
		r.next()
	case r.seen&(1<<i) != 0:
		r.twice("/" + statementMembers[i])
		r.next()
	default:
		r.seen |= 1 << i
		statementFields[i].read(r)
	}
}

func (r *statementReader) unknown(name string) {
	if slices.Contains(readOnlyMembers, name) {
		r.fault(impact.Fault{
			Code: "immutable_member", Pointer: "/" + name,
			Detail: impact.Text{FR: "Le membre " + name + " est écrit par le serveur.", EN: "The member " + name + " is written by the server."},
			Hint:   impact.Text{FR: "Ôtez ce membre.", EN: "Leave this member out."},
		})
		return
	}
	r.fault(unknownMember(name, statementMembers))
}

func (r *statementReader) twice(pointer string) {
	name := pointer[strings.LastIndexByte(pointer, '/')+1:]
	r.fault(impact.Fault{
		Code: "duplicate_member", Pointer: pointer,
		Detail: impact.Text{FR: "Le membre " + name + " est écrit deux fois.", EN: "The member " + name + " is written twice."},
		Hint:   impact.Text{FR: "Gardez-en un seul.", EN: "Keep one of them."},
	})
}

func unknownMember(name string, known []string) impact.Fault {
	f := impact.Fault{
		Code: "unknown_member", Pointer: "/" + escapePointer(name),
		Value:      name,
		Detail:     impact.Text{FR: "Membre inconnu : " + name + ".", EN: "Unknown member: " + name + "."},
		Hint:       impact.Text{FR: "Membres connus : " + strings.Join(known, ", ") + ".", EN: "Known members: " + strings.Join(known, ", ") + "."},
		Suggestion: impact.Suggest(name, slices.Values(known)),
	}
	if f.Suggestion != "" {
		f.Hint = impact.Text{FR: "Vouliez-vous dire " + f.Suggestion + " ?", EN: "Did you mean " + f.Suggestion + "?"}
	}
	return f
}

func (r *statementReader) fault(f impact.Fault) {
	if len(r.st.faults) < maxFaults {
		r.st.faults = append(r.st.faults, f)
	}
}

var (
	anObject = impact.Text{FR: "un objet {…}", EN: "an object {…}"}
	aList    = impact.Text{FR: "une liste […]", EN: "a list […]"}
	aText    = impact.Text{FR: "un texte entre guillemets", EN: "a text in double quotes"}
	aNumber  = impact.Text{FR: "un nombre JSON, sans guillemets et avec un point décimal", EN: "a JSON number, without quotes and with a decimal point"}
	aTruth   = impact.Text{FR: "true ou false", EN: "true or false"}
)

// text reads a string; null is the same as absent.
func (r *statementReader) text(member string, to *string) {
	switch r.peek() {
	case '"':
		*to = r.word(r.next())
	case 'n':
		r.next()
	default:
		r.mismatch("/"+member, aText)
	}
}

// value reads the digits of a number as they are written: never through a
// binary float.
func (r *statementReader) value() {
	switch r.peek() {
	case '0', 't', 'f':
		r.st.Value = string(r.next())
	case 'n':
		r.st.ValueNull = true
		r.next()
	default:
		r.mismatch("/value", aNumber)
	}
}

func (r *statementReader) number(member string, to *string) {
	switch r.peek() {
	case '0':
		*to = string(r.next())
	case 'n':
		r.next()
	default:
		r.mismatch("/"+member, aNumber)
	}
}

func (r *statementReader) flag(member string, to *bool) {
	switch r.peek() {
	case 't', 'f', 'n':
		*to = r.next()[0] == 't'
	default:
		r.mismatch("/"+member, aTruth)
	}
}

// numbers reads an object whose values are numbers.
func (r *statementReader) numbers(member string, to *map[string]string) {
	r.entries(member, func(name string) {
		switch r.peek() {
		case '0':
			r.set(to, member, name, string(r.next()))
		case 'n':
			r.next()
		default:
			r.mismatch(entryPointer(member, name), aNumber)
		}
	})
}

// codes reads an object whose values are codes; qualifiers also take numbers
// ("hours_basis": 1607).
func (r *statementReader) codes(member string, to *map[string]string, numbers bool) {
	r.entries(member, func(name string) {
		switch k := r.peek(); {
		case k == '"':
			r.set(to, member, name, r.word(r.next()))
		case k == '0' && numbers:
			r.set(to, member, name, string(r.next()))
		case k == 'n':
			r.next()
		default:
			r.mismatch(entryPointer(member, name), aText)
		}
	})
}

func (r *statementReader) set(to *map[string]string, member, name, value string) {
	if *to == nil {
		*to = make(map[string]string, 2)
	}
	if _, ok := (*to)[name]; ok {
		r.twice(entryPointer(member, name))
		return
	}
	(*to)[name] = value
}

func entryPointer(member, name string) string { return "/" + member + "/" + escapePointer(name) }

// entries reads an object member by member; null is the same as absent.
func (r *statementReader) entries(member string, each func(name string)) {
	switch r.peek() {
	case 'n':
		r.next()
	case '{':
		r.i++
		for r.peek() == '"' {
			each(r.word(r.next()))
		}
		r.i++
	default:
		r.mismatch("/"+member, anObject)
	}
}

func (r *statementReader) list(member string, to *[]string) {
	switch r.peek() {
	case 'n':
		r.next()
	case '[':
		r.i++
		for i := 0; r.peek() != ']'; i++ {
			if r.peek() == '"' {
				*to = append(*to, r.word(r.next()))
			} else {
				r.mismatch("/"+member+"/"+strconv.Itoa(i), aText)
			}
		}
		r.i++
	default:
		r.mismatch("/"+member, aList)
	}
}

// mismatch leaves a value of the wrong type aside and says so.
func (r *statementReader) mismatch(pointer string, expected impact.Text) {
	k, raw := r.peek(), r.next()
	f := impact.Fault{
		Code: "invalid_type", Pointer: pointer,
		Detail: impact.Text{FR: "Ce n'est pas " + expected.FR + ".", EN: "This is not " + expected.EN + "."},
		Hint:   impact.Text{FR: "Écrivez " + expected.FR + ".", EN: "Write " + expected.EN + "."},
	}
	switch k {
	case '"':
		f.Value = string(unquote(raw))
		if expected == aNumber {
			if _, fault := impact.ParseQuantity(f.Value); fault == nil {
				f.Suggestion = f.Value
			}
		}
	case '0', 't', 'f', 'n':
		f.Value = string(raw)
	}
	r.fault(f)
}

// word gives the text of a JSON string; equal texts of one body share memory.
func (r *statementReader) word(raw []byte) string {
	b := unquote(raw)
	if w, ok := r.words[string(b)]; ok {
		return w
	}
	w := string(b)
	if len(r.words) < 4*BatchRows {
		r.words[w] = w
	}
	return w
}

// unquote gives the text of a JSON string, in place when nothing is escaped.
func unquote(raw []byte) []byte {
	if b := raw[1 : len(raw)-1]; bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		panic(fmt.Sprintf("a string already read cannot be unquoted: %v", err))
	}
	return b
}

// validJSON walks through a well formed document. Commas and colons are spaces
// to it: where they stand has been checked.
type validJSON struct {
	b []byte
	i int
}

// peek goes to the next value, name or closing bracket and tells its kind: one
// of { } [ ] " t f n, 0 for a number.
func (v *validJSON) peek() byte {
	for {
		switch c := v.b[v.i]; c {
		case ' ', '\t', '\n', '\r', ',', ':':
			v.i++
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			return '0'
		default:
			return c
		}
	}
}

// next passes one value or name and gives its text.
func (v *validJSON) next() []byte {
	kind, start := v.peek(), v.i
	switch kind {
	case '"':
		v.text()
	case '{', '[':
		for depth := 0; ; {
			switch v.b[v.i] {
			case '"':
				v.text()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			v.i++
			if depth == 0 {
				return v.b[start:v.i]
			}
		}
	default:
		for v.i < len(v.b) && !endsScalar(v.b[v.i]) {
			v.i++
		}
	}
	return v.b[start:v.i]
}

func endsScalar(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', ',', ']', '}':
		return true
	}
	return false
}

// text passes a string.
func (v *validJSON) text() {
	for v.i++; v.b[v.i] != '"'; v.i++ {
		if v.b[v.i] == '\\' {
			v.i++
		}
	}
	v.i++
}

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

// maxBatch is the number of observations one body may carry.
const maxBatch = 1000

// errTooManyRows stops the reading of a batch.
var errTooManyRows = errors.New("more observations than one body may carry")

// stated is an observation as its sender wrote it, with what the form alone
// tells against it.
type stated struct {
	impact.Statement
	faults []impact.Fault
}

// statementReader reads observations from JSON without making a value of the
// whole body. A batch repeats the same codes on each row: they are kept once.
type statementReader struct {
	dec   *jsontext.Decoder
	words map[string]string
	st    *stated
	seen  uint64 // members of st already met, by their place in statementFields
}

func newStatementReader(b []byte) *statementReader {
	return &statementReader{
		// Members written twice are told with the other faults of the row.
		dec:   jsontext.NewDecoder(bytes.NewBuffer(b), jsontext.AllowDuplicateNames(true)),
		words: make(map[string]string, 64),
	}
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
	r := newStatementReader(b)
	rows, batch, err = r.body()
	switch {
	case errors.Is(err, errTooManyRows):
		return nil, batch, tooManyRows()
	case err == nil:
		err = r.end()
	}
	if err != nil {
		return nil, batch, malformedAt(b, err)
	}
	return rows, batch, nil
}

func tooManyRows() error {
	return &impact.Error{Kind: impact.TooLarge, Code: "body_too_large",
		Detail: impact.Text{FR: "Le corps porte plus de 1 000 observations.", EN: "The body carries more than 1,000 observations."},
		Hint:   impact.Text{FR: "Envoyez-les en lots de 1 000 au plus.", EN: "Send them in batches of 1,000 at most."}}
}

func (r *statementReader) body() (rows []stated, batch bool, err error) {
	one := make([]stated, 1)
	r.begin(&one[0])
	if k := r.dec.PeekKind(); k != '{' {
		return one, false, r.skip("", k, impact.Text{FR: "un objet {…}", EN: "an object {…}"})
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, false, err
	}
	if r.dec.PeekKind() != '"' {
		return one, false, r.members()
	}
	raw, err := r.dec.ReadValue()
	if err != nil {
		return nil, false, err
	}
	if string(unquote(raw)) != "observations" {
		if err := r.member(unquote(raw)); err != nil {
			return nil, false, err
		}
		return one, false, r.members()
	}
	if k := r.dec.PeekKind(); k != '[' {
		if err := r.skip("/observations", k, impact.Text{FR: "une liste […]", EN: "a list […]"}); err != nil {
			return nil, true, err
		}
		return one, false, r.members()
	}
	rows, err = r.array()
	if err != nil {
		return nil, true, err
	}
	r.begin(&one[0])
	if err := r.others("observations"); err != nil {
		return nil, true, err
	}
	if len(one[0].faults) > 0 {
		return one, false, nil // the document is wrong, not a row of it
	}
	return rows, true, nil
}

// others reads the remaining members of an object that should have none.
func (r *statementReader) others(known string) error {
	for r.dec.PeekKind() == '"' {
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		r.fault(unknownMember(string(unquote(raw)), []string{known}))
		if err := r.dec.SkipValue(); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *statementReader) begin(st *stated) { r.st, r.seen = st, 0 }

// array reads [ {…}, … ]; errTooManyRows when it is longer than maxBatch.
func (r *statementReader) array() ([]stated, error) {
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	rows := make([]stated, 0, 16)
	for r.dec.PeekKind() != ']' {
		if len(rows) == maxBatch {
			return nil, errTooManyRows
		}
		rows = append(rows, stated{})
		if err := r.object(&rows[len(rows)-1]); err != nil {
			return nil, err
		}
	}
	_, err := r.dec.ReadToken()
	return rows, err
}

// object reads one observation. What is wrong with its form goes to its faults;
// the error is for what is not JSON.
func (r *statementReader) object(st *stated) error {
	r.begin(st)
	if k := r.dec.PeekKind(); k != '{' {
		return r.skip("", k, impact.Text{FR: "un objet {…}", EN: "an object {…}"})
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	return r.members()
}

// members reads the members of an object up to its closing brace.
func (r *statementReader) members() error {
	for r.dec.PeekKind() == '"' {
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		if err := r.member(unquote(raw)); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken() // the brace, or why there is none
	return err
}

// statementFields are the members a sender may write.
var statementFields = []struct {
	name string
	read func(*statementReader) error
}{
	{"organisation", func(r *statementReader) error { return r.text("organisation", &r.st.Organisation) }},
	{"indicator", func(r *statementReader) error { return r.text("indicator", &r.st.Indicator) }},
	{"territory", func(r *statementReader) error { return r.text("territory", &r.st.Territory) }},
	{"period", func(r *statementReader) error { return r.text("period", &r.st.Period) }},
	{"value", func(r *statementReader) error { return r.value() }},
	{"components", func(r *statementReader) error { return r.numbers("components", &r.st.Components) }},
	{"unit", func(r *statementReader) error { return r.text("unit", &r.st.Unit) }},
	{"obs_status", func(r *statementReader) error { return r.text("obs_status", &r.st.Status) }},
	{"disaggregation", func(r *statementReader) error { return r.codes("disaggregation", &r.st.Disaggregation, false) }},
	{"qualifiers", func(r *statementReader) error { return r.codes("qualifiers", &r.st.Qualifiers, true) }},
	{"programme", func(r *statementReader) error { return r.text("programme", &r.st.Programme) }},
	{"note", func(r *statementReader) error { return r.text("note", &r.st.Note) }},
	{"evidence_url", func(r *statementReader) error { return r.text("evidence_url", &r.st.EvidenceURL) }},
	{"evidence_level", func(r *statementReader) error { return r.text("evidence_level", &r.st.EvidenceLevel) }},
	{"provenance", func(r *statementReader) error { return r.text("provenance", &r.st.Provenance) }},
	{"source", func(r *statementReader) error { return r.text("source", &r.st.Source) }},
	{"external_id", func(r *statementReader) error { return r.text("external_id", &r.st.ExternalID) }},
	{"reporting_perimeter", func(r *statementReader) error { return r.text("reporting_perimeter", &r.st.Perimeter) }},
	{"covers", func(r *statementReader) error { return r.list("covers", &r.st.Covers) }},
	{"transferred_to", func(r *statementReader) error { return r.text("transferred_to", &r.st.TransferredTo) }},
	{"attribution_share", func(r *statementReader) error { return r.number("attribution_share", &r.st.AttributionShare) }},
	{"counting", func(r *statementReader) error { return r.text("counting", &r.st.Counting) }},
	{"stakeholder", func(r *statementReader) error { return r.text("stakeholder", &r.st.Stakeholder) }},
	{"need", func(r *statementReader) error { return r.text("need", &r.st.Need) }},
	{"contract_uid", func(r *statementReader) error { return r.text("contract_uid", &r.st.ContractUID) }},
	{"cumulative", func(r *statementReader) error { return r.flag("cumulative", &r.st.Cumulative) }},
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
	"approved_version", "original_value", "original_unit", "updated_at", "links", "meta",
}

// member reads the value of one member. name is only good until the next read.
func (r *statementReader) member(name []byte) error {
	i, ok := statementField[string(name)]
	if !ok {
		r.unknown(string(name))
		return r.dec.SkipValue()
	}
	if r.seen&(1<<i) != 0 {
		r.twice("/" + statementMembers[i])
		return r.dec.SkipValue()
	}
	r.seen |= 1 << i
	return statementFields[i].read(r)
}

func (r *statementReader) unknown(name string) {
	if slices.Contains(readOnlyMembers, name) {
		r.fault(impact.Fault{Code: "immutable_member", Pointer: "/" + name,
			Detail: impact.Text{FR: "Le membre " + name + " est écrit par le serveur.", EN: "The member " + name + " is written by the server."},
			Hint:   impact.Text{FR: "Ôtez ce membre.", EN: "Leave this member out."}})
		return
	}
	r.fault(unknownMember(name, statementMembers))
}

func (r *statementReader) twice(pointer string) {
	name := pointer[strings.LastIndexByte(pointer, '/')+1:]
	r.fault(impact.Fault{Code: "duplicate_member", Pointer: pointer,
		Detail: impact.Text{FR: "Le membre " + name + " est écrit deux fois.", EN: "The member " + name + " is written twice."},
		Hint:   impact.Text{FR: "Gardez-en un seul.", EN: "Keep one of them."}})
}

func unknownMember(name string, known []string) impact.Fault {
	f := impact.Fault{Code: "unknown_member", Pointer: "/" + escapePointer(name),
		Value:      name,
		Detail:     impact.Text{FR: "Membre inconnu : " + name + ".", EN: "Unknown member: " + name + "."},
		Hint:       impact.Text{FR: "Membres connus : " + strings.Join(known, ", ") + ".", EN: "Known members: " + strings.Join(known, ", ") + "."},
		Suggestion: impact.Suggest(name, slices.Values(known))}
	if f.Suggestion != "" {
		f.Hint = impact.Text{FR: "Vouliez-vous dire " + f.Suggestion + " ?", EN: "Did you mean " + f.Suggestion + "?"}
	}
	return f
}

func (r *statementReader) fault(f impact.Fault) { r.st.faults = append(r.st.faults, f) }

// text reads a string; null is the same as absent.
func (r *statementReader) text(member string, to *string) error {
	switch k := r.dec.PeekKind(); k {
	case '"':
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		*to = r.word(raw)
		return nil
	case 'n':
		return r.dec.SkipValue()
	default:
		return r.skip("/"+member, k, impact.Text{FR: "un texte entre guillemets", EN: "a text in double quotes"})
	}
}

// value reads the digits of a number as they are written: never through a
// binary float.
func (r *statementReader) value() error {
	k := r.dec.PeekKind()
	switch k {
	case '0':
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		r.st.Value = string(raw)
		return nil
	case 'n':
		r.st.ValueNull = true
		return r.dec.SkipValue()
	case 't':
		r.st.Value = "true"
		return r.dec.SkipValue()
	case 'f':
		r.st.Value = "false"
		return r.dec.SkipValue()
	}
	return r.skip("/value", k, impact.Text{FR: "un nombre JSON, sans guillemets et avec un point décimal", EN: "a JSON number, without quotes and with a decimal point"})
}

func (r *statementReader) number(member string, to *string) error {
	switch k := r.dec.PeekKind(); k {
	case '0':
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		*to = string(raw)
		return nil
	case 'n':
		return r.dec.SkipValue()
	default:
		return r.skip("/"+member, k, impact.Text{FR: "un nombre JSON, sans guillemets", EN: "a JSON number, without quotes"})
	}
}

func (r *statementReader) flag(member string, to *bool) error {
	switch k := r.dec.PeekKind(); k {
	case 't':
		*to = true
		return r.dec.SkipValue()
	case 'f', 'n':
		return r.dec.SkipValue()
	default:
		return r.skip("/"+member, k, impact.Text{FR: "true ou false", EN: "true or false"})
	}
}

// numbers reads an object whose values are numbers.
func (r *statementReader) numbers(member string, to *map[string]string) error {
	return r.entries(member, func(name string) error {
		k := r.dec.PeekKind()
		if k != '0' {
			if k == 'n' {
				return r.dec.SkipValue()
			}
			return r.skip(entryPointer(member, name), k, impact.Text{FR: "un nombre JSON, sans guillemets", EN: "a JSON number, without quotes"})
		}
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		r.set(to, member, name, string(raw))
		return nil
	})
}

// codes reads an object whose values are codes; qualifiers also take numbers
// ("hours_basis": 1607).
func (r *statementReader) codes(member string, to *map[string]string, numbers bool) error {
	return r.entries(member, func(name string) error {
		k := r.dec.PeekKind()
		switch {
		case k == '"' || numbers && k == '0':
			raw, err := r.dec.ReadValue()
			if err != nil {
				return err
			}
			if k == '"' {
				r.set(to, member, name, r.word(raw))
			} else {
				r.set(to, member, name, string(raw))
			}
			return nil
		case k == 'n':
			return r.dec.SkipValue()
		}
		return r.skip(entryPointer(member, name), k, impact.Text{FR: "un code entre guillemets", EN: "a code in double quotes"})
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
func (r *statementReader) entries(member string, each func(name string) error) error {
	switch k := r.dec.PeekKind(); k {
	case 'n':
		return r.dec.SkipValue()
	case '{':
	default:
		return r.skip("/"+member, k, impact.Text{FR: "un objet {…}", EN: "an object {…}"})
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for r.dec.PeekKind() != '}' {
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		name := r.word(raw)
		if err := each(name); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *statementReader) list(member string, to *[]string) error {
	switch k := r.dec.PeekKind(); k {
	case 'n':
		return r.dec.SkipValue()
	case '[':
	default:
		return r.skip("/"+member, k, impact.Text{FR: "une liste […]", EN: "a list […]"})
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for i := 0; r.dec.PeekKind() != ']'; i++ {
		if k := r.dec.PeekKind(); k != '"' {
			if err := r.skip("/"+member+"/"+strconv.Itoa(i), k, impact.Text{FR: "un texte entre guillemets", EN: "a text in double quotes"}); err != nil {
				return err
			}
			continue
		}
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		*to = append(*to, r.word(raw))
	}
	_, err := r.dec.ReadToken()
	return err
}

// skip leaves a value of the wrong type aside and says so. A kind that opens no
// value is an error of the document itself, which reading tells.
func (r *statementReader) skip(pointer string, k jsontext.Kind, expected impact.Text) error {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return err
	}
	f := impact.Fault{Code: "invalid_type", Pointer: pointer,
		Detail: impact.Text{FR: "Ce n'est pas " + expected.FR + ".", EN: "This is not " + expected.EN + "."},
		Hint:   impact.Text{FR: "Écrivez " + expected.FR + ".", EN: "Write " + expected.EN + "."}}
	switch k {
	case '"':
		f.Value = string(unquote(raw))
		if pointer == "/value" || pointer == "/attribution_share" {
			if _, fault := impact.ParseQuantity(f.Value); fault == nil {
				f.Suggestion = f.Value
			}
		}
	case '0', 't', 'f', 'n':
		f.Value = string(raw)
	}
	r.fault(f)
	return nil
}

// word gives the text of a JSON string; equal texts of one body share memory.
func (r *statementReader) word(raw jsontext.Value) string {
	b := unquote(raw)
	if w, ok := r.words[string(b)]; ok {
		return w
	}
	w := string(b)
	if len(r.words) < 4*maxBatch {
		r.words[w] = w
	}
	return w
}

// unquote gives the text of a JSON string, in place when nothing is escaped.
func unquote(raw jsontext.Value) []byte {
	if b := raw[1 : len(raw)-1]; bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		panic(fmt.Sprintf("a string already read cannot be unquoted: %v", err))
	}
	return b
}

// end tells that nothing follows the document.
func (r *statementReader) end() error {
	_, err := r.dec.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("data after the document")
	}
	return err
}

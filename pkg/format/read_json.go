package format

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/grandlyon/retombees/pkg/impact"
)

// openJSON reads {"observations":[…]}, a bare list, or one object a line. Its
// members are those of the API, spelled exactly.
func (t *Table) openJSON(in *bufio.Reader, head []byte) error {
	text, err := decode(in, head, t.options.MediaType, &t.Layout)
	if err != nil {
		return err
	}
	j := &jsonSource{
		in: bufio.NewReaderSize(text, sampleSize), schema: t.options.Schema, limit: t.limits.Row,
		lines: t.Layout.Format == "ndjson", line: 1,
	}
	for i := range t.options.Schema.Fields {
		f := &t.options.Schema.Fields[i]
		if f.Flat {
			continue
		}
		name := f.Name
		if f.Object != "" {
			name = f.Object
		}
		t.Header = append(t.Header, name)
		t.Headers.fields = append(t.Headers.fields, match{field: f})
	}
	t.Headers.Members, t.width = t.Header, len(t.Header)
	j.members = t.Header
	t.source = j
	if j.lines {
		return nil
	}
	return j.start(t.options.Schema.List)
}

// jsonSource cuts a document into objects, then an object into cells.
type jsonSource struct {
	in      *bufio.Reader
	schema  *Schema
	members []string // of the header
	limit   int
	lines   bool // one object a line
	line    int
	bare    bool // the document is the list itself
	began   bool // an element was read
	buf     []byte
}

// sign skips white space and looks at the next byte; 0 at the end.
func (j *jsonSource) sign() (byte, error) {
	for {
		c, err := j.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		switch {
		case err != nil:
			return 0, err
		case c == '\n':
			j.line++
		case c == ' ', c == '\t', c == '\r':
		default:
			return c, j.in.UnreadByte()
		}
	}
}

// pass takes the next sign, which must be c.
func (j *jsonSource) pass(c byte) error {
	got, err := j.sign()
	if err != nil {
		return err
	}
	if got != c {
		return j.notJSON("“" + string(c) + "” was expected")
	}
	_, err = j.in.ReadByte()
	return err
}

// start goes to the first element of the list.
func (j *jsonSource) start(list string) error {
	c, err := j.sign()
	if err != nil {
		return readFailure(err)
	}
	if c == '[' {
		j.bare = true
		return j.pass('[')
	}
	if c == 0 {
		return malformed(impact.Text{FR: "Le fichier est vide.", EN: "The file is empty."}, impact.Text{FR: `Envoyez {"` + list + `":[…]}.`, EN: `Send {"` + list + `":[…]}.`})
	}
	if err := j.pass('{'); err != nil {
		return err
	}
	name, _, err := j.value()
	if err != nil {
		return readFailure(err)
	}
	if string(name) != `"`+list+`"` {
		var first string
		if s, err := jsontext.AppendUnquote(nil, name); err == nil {
			first = shorten(string(s))
		}
		f := unknownMember(first, []string{list})
		return unreadable(impact.Text{FR: `Le document doit être {"` + list + `":[…]}.`, EN: `The document must be {"` + list + `":[…]}.`},
			impact.Text{FR: "Mettez les lignes dans la liste " + list + ".", EN: "Put the rows in the list " + list + "."}, f)
	}
	if err := j.pass(':'); err != nil {
		return err
	}
	return j.pass('[')
}

func (j *jsonSource) next() (*Record, error) {
	c, err := j.sign()
	if err != nil {
		return nil, err
	}
	switch {
	case c == 0 && j.lines:
		return nil, io.EOF
	case j.lines:
	case c == ']':
		return nil, j.finish()
	case j.began:
		if err := j.pass(','); err != nil {
			return nil, err
		}
		if _, err := j.sign(); err != nil {
			return nil, err
		}
	}
	j.began = true
	r := &Record{Line: j.line, Cells: make([]string, len(j.members)), kinds: make([]kind, len(j.members))}
	raw, long, err := j.element()
	if err != nil {
		return nil, err
	}
	if long {
		r.Faults = append(r.Faults, rowTooLong(j.limit))
		return r, nil
	}
	return r, j.object(r, raw)
}

// finish makes sure that nothing comes after the list.
func (j *jsonSource) finish() error {
	if _, err := j.in.ReadByte(); err != nil {
		return readFailure(err)
	}
	if !j.bare {
		if c, err := j.sign(); err != nil || c == ',' {
			return j.notJSON(`the list is the only member`)
		}
		if err := j.pass('}'); err != nil {
			return err
		}
	}
	c, err := j.sign()
	if err != nil {
		return err
	}
	if c != 0 {
		return j.notJSON("data after the document")
	}
	return io.EOF
}

// element takes one row: a value, or a line.
func (j *jsonSource) element() (raw []byte, long bool, err error) {
	if !j.lines {
		return j.value()
	}
	j.buf = j.buf[:0]
	for {
		part, err := j.in.ReadSlice('\n')
		if long = long || len(j.buf)+len(part) > j.limit; !long {
			j.buf = append(j.buf, part...)
		}
		switch {
		case err == nil:
			j.line++
			return j.buf, long, nil
		case errors.Is(err, io.EOF):
			return j.buf, long, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
	}
}

// value takes one value of any kind, without judging it, no more than the limit
// kept of it.
func (j *jsonSource) value() (raw []byte, long bool, err error) {
	j.buf = j.buf[:0]
	depth, text, escaped := 0, false, false
	for {
		c, err := j.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil, false, j.notJSON("unexpected end")
		}
		if err != nil {
			return nil, false, err
		}
		if c == '\n' {
			j.line++
		}
		if !text && depth == 0 && len(j.buf) > 0 && (c == ',' || c == ']' || c == '}' || c == ':' || c <= ' ') {
			if c == '\n' {
				j.line--
			}
			return j.buf, long, j.in.UnreadByte()
		}
		if long = long || len(j.buf) >= j.limit; !long {
			j.buf = append(j.buf, c)
		}
		switch {
		case text:
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				text = false
			}
		case c == '"':
			text = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if !text && depth <= 0 && (c == '"' || c == '}' || c == ']') {
			return j.buf, long, nil
		}
	}
}

func (j *jsonSource) notJSON(reason string) error {
	n := strconv.Itoa(j.line)
	return malformed(impact.Text{FR: "Ligne " + n + " : ce n'est pas du JSON (" + reason + ").", EN: "Line " + n + ": this is not JSON (" + reason + ")."},
		impact.Text{FR: "Corrigez la ligne " + n + ".", EN: "Mend line " + n + "."},
		impact.Fault{Code: "encoding", Detail: impact.Text{FR: "Ligne " + n + " : " + reason, EN: "Line " + n + ": " + reason}})
}

// object reads the members of one row into its cells.
func (j *jsonSource) object(r *Record, raw []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if k := dec.PeekKind(); k != '{' && jsontext.Value(raw).IsValid() {
		r.Faults = append(r.Faults, wrongType("", string(bytes.TrimSpace(raw)), anObject))
		return nil
	}
	err := j.walk(r, dec)
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("data after the object")
	}
	if !j.lines {
		return j.notJSON(err.Error())
	}
	r.Faults = append(r.Faults, impact.Fault{ // one bad line leaves the others readable
		Code: "encoding", Value: shorten(strings.ToValidUTF8(string(bytes.TrimSpace(raw)), "\uFFFD")),
		Detail: impact.Text{FR: "Cette ligne n'est pas un objet JSON : " + err.Error(), EN: "This line is not a JSON object: " + err.Error()},
		Hint:   impact.Text{FR: "Écrivez un objet JSON complet par ligne.", EN: "Write one whole JSON object a line."},
	})
	return nil
}

func (j *jsonSource) walk(r *Record, dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == '"' {
		tok, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := tok.String()
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		i := slices.Index(j.members, name)
		switch {
		case i < 0 && slices.Contains(j.schema.ReadOnly, name):
			r.Faults = append(r.Faults, readOnlyMember(name))
		case i < 0:
			r.Faults = append(r.Faults, unknownMember(name, j.members))
		case r.Cells[i] != "" || r.kinds[i] != plain:
			r.Faults = append(r.Faults, memberTwice("/"+name, name))
		default:
			r.Cells[i], r.kinds[i] = j.cell(r, j.schema.byName[name], raw)
		}
	}
	_, err := dec.ReadToken()
	return err
}

// Kinds of values, as they are called in a fault.
var (
	anObject = impact.Text{FR: "un objet {…}", EN: "an object {…}"}
	aList    = impact.Text{FR: "une liste de textes", EN: "a list of texts"}
	aText    = impact.Text{FR: "un texte entre guillemets", EN: "a text in double quotes"}
	aNumber  = impact.Text{FR: "un nombre JSON, sans guillemets et avec un point décimal", EN: "a JSON number, without quotes and with a decimal point"}
	aTruth   = impact.Text{FR: "true ou false", EN: "true or false"}
)

// cell gives the text of a member and what it is known to be.
func (j *jsonSource) cell(r *Record, f *Field, raw jsontext.Value) (string, kind) {
	refuse := func(wanted impact.Text) (string, kind) {
		r.Faults = append(r.Faults, wrongType("/"+f.jsonName(), string(raw), wanted))
		return string(raw), invalid
	}
	k := raw.Kind()
	if k == 'n' {
		return "", null
	}
	switch {
	case f.Object != "":
		if k != '{' {
			return refuse(anObject)
		}
		if !j.entries(r, f, raw) {
			return string(raw), invalid
		}
		return string(raw), member
	case f.kind == member:
		if k != '[' || !texts(raw) {
			return refuse(aList)
		}
		return string(raw), member
	case f.kind == truth:
		if k != 't' && k != 'f' {
			return refuse(aTruth)
		}
		return string(raw), truth
	case f.kind == figure && k == '0':
		return string(raw), figure
	case f.Name == "value" && (k == 't' || k == 'f'):
		return string(raw), truth
	case f.kind == figure:
		return refuse(aNumber)
	case k != '"':
		return refuse(aText)
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil || !utf8.Valid(s) {
		clean := strings.ToValidUTF8(string(s), "\uFFFD")
		b := brokenText(0, clean)
		b.Pointer = "/" + f.jsonName()
		r.Faults = append(r.Faults, b)
		return clean, invalid
	}
	return string(s), plain
}

func (f *Field) jsonName() string {
	if f.Object != "" {
		return f.Object
	}
	return f.Name
}

// entries checks the values of an object: numbers for components, texts for
// disaggregations, either for qualifiers.
func (j *jsonSource) entries(r *Record, f *Field, raw jsontext.Value) bool {
	before := len(r.Faults)
	dec := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	seen := map[string]bool{}
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() == '"' {
		tok, _ := dec.ReadToken()
		name := tok.String()
		v, err := dec.ReadValue()
		if err != nil {
			break
		}
		pointer := "/" + f.Object + "/" + escapePointer(name)
		k, wanted := v.Kind(), aText
		if f.kind == figure {
			wanted = aNumber
		}
		switch {
		case seen[name]:
			r.Faults = append(r.Faults, memberTwice(pointer, name))
		case k == 'n', k == '0' && (f.kind == figure || f.Object == "qualifiers"), k == '"' && f.kind != figure:
		default:
			r.Faults = append(r.Faults, wrongType(pointer, string(v), wanted))
		}
		seen[name] = true
	}
	return len(r.Faults) == before
}

// texts tells that a JSON list holds texts only.
func texts(raw jsontext.Value) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() == '"' {
		if dec.SkipValue() != nil {
			return false
		}
	}
	return dec.PeekKind() == ']'
}

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

func unknownMember(name string, known []string) impact.Fault {
	f := impact.Fault{
		Code: "unknown_member", Pointer: "/" + escapePointer(name), Value: shorten(name),
		Detail:     impact.Text{FR: "Membre inconnu : " + shorten(name) + ".", EN: "Unknown member: " + shorten(name) + "."},
		Hint:       impact.Text{FR: "Membres connus : " + strings.Join(known, ", ") + ".", EN: "Known members: " + strings.Join(known, ", ") + "."},
		Suggestion: impact.Suggest(name, slices.Values(known)),
	}
	if f.Suggestion != "" {
		f.Hint = impact.Text{FR: "Vouliez-vous dire " + f.Suggestion + " ?", EN: "Did you mean " + f.Suggestion + "?"}
	}
	return f
}

func readOnlyMember(name string) impact.Fault {
	return impact.Fault{
		Code: "immutable_member", Pointer: "/" + name,
		Detail: impact.Text{FR: "Le membre " + name + " est écrit par le serveur.", EN: "The member " + name + " is written by the server."},
		Hint:   impact.Text{FR: "Ôtez ce membre.", EN: "Leave this member out."},
	}
}

func memberTwice(pointer, name string) impact.Fault {
	return impact.Fault{
		Code: "duplicate_member", Pointer: pointer,
		Detail: impact.Text{FR: "Le membre " + name + " est écrit deux fois.", EN: "The member " + name + " is written twice."},
		Hint:   impact.Text{FR: "Gardez-en un seul.", EN: "Keep one of them."},
	}
}

func wrongType(pointer, raw string, wanted impact.Text) impact.Fault {
	f := impact.Fault{
		Code: "invalid_type", Pointer: pointer, Value: shorten(strings.ToValidUTF8(raw, "\uFFFD")),
		Detail: impact.Text{FR: "Ce n'est pas " + wanted.FR + ".", EN: "This is not " + wanted.EN + "."},
		Hint:   impact.Text{FR: "Écrivez " + wanted.FR + ".", EN: "Write " + wanted.EN + "."},
	}
	if bare := strings.Trim(raw, `"`); wanted == aNumber && bare != raw {
		if _, bad := impact.ParseQuantity(bare); bad == nil {
			f.Suggestion = bare
		}
	}
	return f
}

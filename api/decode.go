package api

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/grandlyon/retombees/pkg/impact"
)

// maxDepth is how far a body may nest; maxFaults how many faults are told.
const (
	maxDepth  = 32
	maxFaults = 1000
)

// Scalar is a member that may be a number, true, false, null, or absent, kept
// as the digits or the word sent: numbers never pass through a binary float.
type Scalar struct {
	// Text is "1840.5", "true" or "false"; empty for null and when absent.
	Text string
	// Null: the member was written null.
	Null bool
}

// UnmarshalJSON keeps the text of a number or of a boolean.
func (s *Scalar) UnmarshalJSON(b []byte) error {
	switch jsontext.Value(b).Kind() {
	case '0', 't', 'f':
		*s = Scalar{Text: string(b)}
	case 'n':
		*s = Scalar{Null: true}
	default:
		return errors.New("not a number")
	}
	return nil
}

// IsZero tells that the member was absent.
func (s Scalar) IsZero() bool { return s == Scalar{} }

func (s Scalar) wanted() impact.Text { return impact.Text{FR: "un nombre", EN: "a number"} }

// MarshalJSON writes the digits as they came.
func (s Scalar) MarshalJSON() ([]byte, error) {
	if s.Text == "" {
		return []byte("null"), nil
	}
	return []byte(s.Text), nil
}

// readBody gives the whole body, once the media type and the size are right.
func (c *call) readBody() ([]byte, error) {
	if c.bodyRead {
		return c.body, nil
	}
	if e := c.r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, c.unsupported(impact.Text{FR: "Corps compressé (" + e + ") : non lu ici.", EN: "Compressed body (" + e + "): not read here."})
	}
	typ, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(c.route.consumes(), typ) {
		return nil, c.unsupported(impact.Text{FR: "Type de contenu absent ou inconnu ici.", EN: "Content type absent or unknown here."})
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") && !strings.EqualFold(cs, "utf8") {
		return nil, c.unsupported(impact.Text{FR: "Seul UTF-8 est lu.", EN: "Only UTF-8 is read."})
	}
	limit := c.route.maxBody()
	if c.r.ContentLength > limit {
		c.w.Header().Set("Connection", "close")
		return nil, bodyTooLarge(limit)
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.w.ResponseWriter, c.r.Body, limit))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, bodyTooLarge(limit)
		}
		return nil, malformed(impact.Text{FR: "Le corps n'est pas arrivé entier.", EN: "The body did not arrive whole."}, impact.Text{FR: "Renvoyez la requête.", EN: "Send the request again."})
	}
	c.body, c.bodyRead = b, true
	return b, nil
}

func (c *call) unsupported(detail impact.Text) error {
	types := strings.Join(c.route.consumes(), ", ")
	return &impact.Error{
		Kind: impact.Malformed, Code: "unsupported_media_type", Detail: detail,
		Hint: impact.Text{FR: "Envoyez Content-Type: " + types + ".", EN: "Send Content-Type: " + types + "."},
	}
}

func bodyTooLarge(limit int64) error {
	size := strconv.FormatInt(limit>>10, 10)
	return &impact.Error{
		Kind: impact.TooLarge, Code: "body_too_large",
		Detail: impact.Text{FR: "Le corps dépasse " + size + " ko.", EN: "The body is larger than " + size + " kB."},
		Hint:   impact.Text{FR: "Envoyez-le en plusieurs fois.", EN: "Send it in several parts."},
	}
}

func malformed(detail, hint impact.Text, faults ...impact.Fault) error {
	return &impact.Error{Kind: impact.Malformed, Code: "malformed_body", Detail: detail, Hint: hint, Faults: faults}
}

// decode reads the body of the request as one T, strictly: a 400 when it is
// not one JSON document, a 422 with every fault when members are unknown,
// repeated or of the wrong type.
func decode[T any](c *call) (T, error) {
	var v T
	b, err := c.readBody()
	if err != nil {
		return v, err
	}
	err = decodeJSON(b, &v)
	return v, err
}

// decodeJSON reads b into the struct v points at. The quick way is one pass;
// only a body that does not fit is walked again to tell everything wrong.
func decodeJSON(b []byte, v any) error {
	if err := checkDepth(b); err != nil {
		return err
	}
	err := json.Unmarshal(b, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	w := &walker{dec: jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true))}
	if serr := w.value(reflect.TypeOf(v).Elem(), ""); serr != nil {
		return malformedAt(b, serr)
	}
	if _, serr := w.dec.ReadToken(); !errors.Is(serr, io.EOF) {
		return malformed(impact.Text{FR: "Le corps contient autre chose après le document JSON.", EN: "The body holds something else after the JSON document."},
			impact.Text{FR: "Envoyez un seul document JSON.", EN: "Send one JSON document."})
	}
	if len(w.faults) == 0 {
		w.add("", "invalid_type", "", impact.Text{FR: "Ce corps n'a pas la forme attendue.", EN: "This body does not have the expected form."}, impact.Text{FR: "Voyez GET /v1/docs.", EN: "See GET /v1/docs."})
	}
	return impact.Refuse(w.faults...)
}

func checkDepth(b []byte) error {
	depth, text, escaped := 0, false, false
	for _, x := range b {
		switch {
		case text:
			switch {
			case escaped:
				escaped = false
			case x == '\\':
				escaped = true
			case x == '"':
				text = false
			}
		case x == '"':
			text = true
		case x == '{' || x == '[':
			if depth++; depth > maxDepth {
				return malformed(impact.Text{FR: "Le document s'emboîte sur plus de 32 niveaux.", EN: "The document nests deeper than 32 levels."},
					impact.Text{FR: "Aucun corps de cette API n'en demande plus de 6.", EN: "No body of this API needs more than 6."})
			}
		case x == '}' || x == ']':
			depth--
		}
	}
	return nil
}

// malformedAt says where a document stops being JSON.
func malformedAt(b []byte, err error) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return malformed(impact.Text{FR: "Le corps est vide.", EN: "The body is empty."}, impact.Text{FR: "Envoyez un document JSON.", EN: "Send a JSON document."})
	}
	offset := int64(len(b))
	reason := "unexpected end"
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		offset = min(s.ByteOffset, offset)
		reason = s.Err.Error()
	}
	line := 1 + bytes.Count(b[:offset], []byte("\n"))
	column := offset - int64(bytes.LastIndexByte(b[:offset], '\n'))
	f := impact.Fault{
		Code: "encoding",
		Detail: impact.Text{
			FR: fmt.Sprintf("Ligne %d, colonne %d (octet %d) : %s", line, column, offset, reason),
			EN: fmt.Sprintf("Line %d, column %d (byte %d): %s", line, column, offset, reason),
		},
	}
	if !utf8.Valid(b) {
		f.Hint = impact.Text{FR: "Le texte n'est pas en UTF-8 : enregistrez-le en UTF-8.", EN: "The text is not UTF-8: save it as UTF-8."}
	}
	return malformed(impact.Text{FR: "Le corps n'est pas un document JSON.", EN: "The body is not a JSON document."},
		impact.Text{
			FR: fmt.Sprintf("Corrigez la ligne %d, colonne %d.", line, column),
			EN: fmt.Sprintf("Mend line %d, column %d.", line, column),
		}, f)
}

// walker goes through a document beside the type it should have had.
type walker struct {
	dec    *jsontext.Decoder
	faults []impact.Fault
}

func (w *walker) add(pointer string, code impact.FaultCode, value string, detail, hint impact.Text) {
	if len(w.faults) < maxFaults {
		w.faults = append(w.faults, impact.Fault{Code: code, Pointer: pointer, Value: value, Detail: detail, Hint: hint})
	}
}

func (w *walker) mismatch(pointer string, wanted impact.Text) error {
	raw, err := w.dec.ReadValue()
	if err != nil {
		return err
	}
	w.add(pointer, "invalid_type", string(raw),
		impact.Text{FR: "Il faut ici " + wanted.FR + ", pas " + kindText(raw.Kind()).FR + ".", EN: "Here " + wanted.EN + " is needed, not " + kindText(raw.Kind()).EN + "."},
		impact.Text{FR: "Envoyez " + wanted.FR + ".", EN: "Send " + wanted.EN + "."})
	return nil
}

func kindText(k jsontext.Kind) impact.Text {
	switch k {
	case '"':
		return impact.Text{FR: "un texte", EN: "a text"}
	case '0':
		return impact.Text{FR: "un nombre", EN: "a number"}
	case 't', 'f':
		return impact.Text{FR: "vrai ou faux", EN: "true or false"}
	case '{':
		return impact.Text{FR: "un objet", EN: "an object"}
	case '[':
		return impact.Text{FR: "une liste", EN: "a list"}
	}
	return impact.Text{FR: "null", EN: "null"}
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// value reads one value that should be a t. The error is one of syntax.
func (w *walker) value(t reflect.Type, pointer string) error {
	kind := w.dec.PeekKind()
	if kind == 0 {
		_, err := w.dec.ReadToken()
		return err
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if pt := reflect.PointerTo(t); pt.Implements(reflect.TypeFor[json.Unmarshaler]()) || pt.Implements(reflect.TypeFor[json.UnmarshalerFrom]()) || pt.Implements(textUnmarshaler) {
		return w.custom(t, pointer)
	}
	if kind == 'n' {
		return w.dec.SkipValue()
	}
	switch t.Kind() {
	case reflect.Struct:
		return w.object(t, pointer)
	case reflect.Map:
		if kind != '{' {
			return w.mismatch(pointer, kindText('{'))
		}
		return w.members(pointer, func(name string) (reflect.Type, bool) { return t.Elem(), true }, nil)
	case reflect.Slice:
		if t == reflect.TypeFor[jsontext.Value]() {
			return w.dec.SkipValue()
		}
		if kind != '[' {
			return w.mismatch(pointer, kindText('['))
		}
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		for i := 0; w.dec.PeekKind() != ']'; i++ {
			if err := w.value(t.Elem(), pointer+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
		_, err := w.dec.ReadToken()
		return err
	case reflect.String:
		if kind != '"' {
			return w.mismatch(pointer, kindText('"'))
		}
	case reflect.Bool:
		if kind != 't' && kind != 'f' {
			return w.mismatch(pointer, kindText('t'))
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if kind != '0' {
			return w.mismatch(pointer, impact.Text{FR: "un nombre entier", EN: "a whole number"})
		}
		raw, err := w.dec.ReadValue()
		if err != nil {
			return err
		}
		if _, err := strconv.ParseInt(string(raw), 10, t.Bits()); err != nil {
			w.add(pointer, "invalid_number", string(raw), impact.Text{FR: "Ce n'est pas un nombre entier permis.", EN: "This is not an allowed whole number."}, impact.Text{FR: "Envoyez un nombre entier.", EN: "Send a whole number."})
		}
		return nil
	}
	return w.dec.SkipValue()
}

// custom reads a type that reads itself.
func (w *walker) custom(t reflect.Type, pointer string) error {
	raw, err := w.dec.ReadValue()
	if err != nil {
		return err
	}
	v := reflect.New(t)
	if err := json.Unmarshal(raw, v.Interface()); err != nil {
		wanted := impact.Text{FR: "une autre forme", EN: "another form"}
		if x, ok := v.Interface().(interface{ wanted() impact.Text }); ok {
			wanted = x.wanted()
		}
		w.add(pointer, "invalid_type", string(raw),
			impact.Text{FR: "Il faut ici " + wanted.FR + ", pas " + kindText(raw.Kind()).FR + ".", EN: "Here " + wanted.EN + " is needed, not " + kindText(raw.Kind()).EN + "."},
			impact.Text{FR: "Envoyez " + wanted.FR + ".", EN: "Send " + wanted.EN + "."})
	}
	return nil
}

func (w *walker) object(t reflect.Type, pointer string) error {
	if w.dec.PeekKind() != '{' {
		return w.mismatch(pointer, kindText('{'))
	}
	fields := fieldsOf(t)
	return w.members(pointer, func(name string) (reflect.Type, bool) { ft, ok := fields[name]; return ft, ok }, func() []string { return slices.Sorted(maps.Keys(fields)) })
}

// members reads an object whose members have the types of typeOf.
func (w *walker) members(pointer string, typeOf func(string) (reflect.Type, bool), known func() []string) error {
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for w.dec.PeekKind() != '}' {
		tok, err := w.dec.ReadToken()
		if err != nil {
			return err
		}
		name := tok.String()
		at := pointer + "/" + escapePointer(name)
		if seen[name] {
			w.add(at, "duplicate_member", "",
				impact.Text{FR: "Le membre " + name + " est écrit deux fois.", EN: "The member " + name + " is written twice."},
				impact.Text{FR: "Gardez-en un seul.", EN: "Keep one of them."})
			if err := w.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		seen[name] = true
		t, ok := typeOf(name)
		if !ok {
			w.unknown(at, name, known())
			if err := w.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := w.value(t, at); err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

func (w *walker) unknown(pointer, name string, known []string) {
	suggestion := impact.Suggest(name, slices.Values(known))
	list := strings.Join(known, ", ")
	hint := impact.Text{FR: "Membres connus : " + list + ".", EN: "Known members: " + list + "."}
	if suggestion != "" {
		hint = impact.Text{FR: "Vouliez-vous dire " + suggestion + " ?", EN: "Did you mean " + suggestion + "?"}
	}
	w.add(pointer, "unknown_member", name,
		impact.Text{FR: "Membre inconnu : " + name + ".", EN: "Unknown member: " + name + "."}, hint)
	if n := len(w.faults); n > 0 && w.faults[n-1].Pointer == pointer {
		w.faults[n-1].Suggestion = suggestion
	}
}

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

var fieldCache sync.Map // reflect.Type → map[string]reflect.Type

// fieldsOf gives the JSON members of a struct, embedded structs included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if m, ok := fieldCache.Load(t); ok {
		return m.(map[string]reflect.Type)
	}
	m := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		m[name] = f.Type
	}
	fieldCache.Store(t, m)
	return m
}

// mergePatch is a JSON Merge Patch (RFC 7396) on the writable members of T.
type mergePatch[T any] struct{ raw jsontext.Value }

// decodePatch reads a merge patch; its members must be members of T.
func decodePatch[T any](c *call) (mergePatch[T], error) {
	b, err := c.readBody()
	if err != nil {
		return mergePatch[T]{}, err
	}
	var v T
	if err := decodeJSON(b, &v); err != nil {
		return mergePatch[T]{}, err
	}
	raw := jsontext.Value(bytes.TrimSpace(b))
	if raw.Kind() != '{' {
		return mergePatch[T]{}, impact.Refuse(impact.Fault{
			Code:   "invalid_type",
			Detail: impact.Text{FR: "Un changement est un objet JSON.", EN: "A change is a JSON object."},
			Hint:   impact.Text{FR: `Par exemple {"name":"…"}.`, EN: `For instance {"name":"…"}.`},
		})
	}
	return mergePatch[T]{raw}, nil
}

// has tells that the patch speaks of a top-level member.
func (p mergePatch[T]) has(member string) bool {
	var m map[string]jsontext.Value
	if json.Unmarshal(p.raw, &m) != nil {
		return false
	}
	_, ok := m[member]
	return ok
}

// apply gives current with the patch merged into it. A member set to null is
// removed: it becomes the zero value.
func (p mergePatch[T]) apply(current T) (T, error) {
	var next T
	old, err := json.Marshal(current)
	if err != nil {
		return next, fmt.Errorf("writing the resource before its change: %w", err)
	}
	merged, err := mergeJSON(old, p.raw)
	if err != nil {
		return next, err
	}
	err = decodeJSON(merged, &next)
	return next, err
}

func mergeJSON(target, patch jsontext.Value) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		return patch, nil
	}
	var change map[string]jsontext.Value
	if err := json.Unmarshal(patch, &change); err != nil {
		return nil, fmt.Errorf("reading a merge patch: %w", err)
	}
	current := map[string]jsontext.Value{}
	if target.Kind() == '{' {
		if err := json.Unmarshal(target, &current); err != nil {
			return nil, fmt.Errorf("reading what a merge patch changes: %w", err)
		}
	}
	for name, v := range change {
		if v.Kind() == 'n' {
			delete(current, name)
			continue
		}
		merged, err := mergeJSON(current[name], v)
		if err != nil {
			return nil, err
		}
		current[name] = merged
	}
	out, err := json.Marshal(current, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("writing a merge patch: %w", err)
	}
	return out, nil
}

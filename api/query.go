package api

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Limits of a query (api.md 15).
const (
	maxURI    = 4 << 10
	maxParams = 50
	maxItems  = 500
)

var errSecretInAddress = errors.New("a secret in the address")

// query holds the parameters of a request. The getters give the zero value
// when a parameter is absent or wrong, and note the fault; err gives them all.
type query struct {
	names  []string            // in the order written, without repetition
	values map[string][]string // decoded, one entry per occurrence
	// unreadable faults answer 400, wrong ones 422.
	unreadable, wrong []impact.Fault
}

// parseQuery reads the raw query of a request to a route that knows the given
// parameters. A parameter that is not known, a ";" and a bad escape are
// refused: a filter silently dropped gives a wrong total with a 200.
func parseQuery(raw string, known []string) (*query, error) {
	q := &query{values: map[string][]string{}}
	if raw == "" {
		return q, nil
	}
	if strings.Contains(raw, ";") {
		return nil, malformedQuery(";", impact.Text{
			FR: "Un « ; » n'est pas permis dans une requête.", EN: "A \";\" is not allowed in a query.",
		}, impact.Text{
			FR: "Séparez les paramètres par « & » ; écrivez %3B pour un point-virgule littéral.", EN: "Separate parameters with \"&\"; write %3B for a literal semicolon.",
		})
	}
	n := 0
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		if n++; n > maxParams {
			return nil, malformedQuery("", impact.Text{
				FR: fmt.Sprintf("Plus de %d paramètres.", maxParams), EN: fmt.Sprintf("More than %d parameters.", maxParams),
			}, impact.Text{
				FR: "Groupez les valeurs d'un paramètre par des virgules.", EN: "Group the values of a parameter with commas.",
			})
		}
		name, value, _ := strings.Cut(part, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || !validText(name) || !validText(value) {
			return nil, malformedQuery(part, impact.Text{
				FR: "Un échappement « % » est incorrect, ou le texte n'est pas en UTF-8.", EN: "A \"%\" escape is wrong, or the text is not UTF-8.",
			}, impact.Text{
				FR: "Encodez chaque valeur (encodeURIComponent, urllib.parse.quote).", EN: "Encode each value (encodeURIComponent, urllib.parse.quote).",
			})
		}
		if credential(name) || auth.IsSecret(value) {
			return nil, &impact.Error{
				Kind: impact.Malformed, Code: "invalid_parameter", Err: errSecretInAddress,
				Detail: impact.Text{FR: "Un secret ne voyage jamais dans une adresse.", EN: "A secret never travels in an address."},
				Hint: impact.Text{
					FR: "Révoquez-le, il a pu être journalisé en chemin, puis envoyez le nouveau dans l'en-tête Authorization: Bearer.",
					EN: "Revoke it, it may have been logged on the way, then send the new one in the header Authorization: Bearer.",
				},
				Faults: []impact.Fault{{
					Code: "unknown_parameter", Parameter: name,
					Detail: impact.Text{FR: "Paramètre réservé aux secrets.", EN: "Parameter that carries a secret."},
				}},
			}
		}
		if !slices.ContainsFunc(known, func(k string) bool { return matches(k, name) }) {
			q.unreadable = append(q.unreadable, unknownParameter(name, value, known))
			continue
		}
		if strings.Count(value, ",") >= maxItems {
			q.unreadable = append(q.unreadable, impact.Fault{
				Code: "too_long", Parameter: name,
				Detail: impact.Text{FR: fmt.Sprintf("Plus de %d valeurs.", maxItems), EN: fmt.Sprintf("More than %d values.", maxItems)},
				Hint:   impact.Text{FR: "Faites plusieurs requêtes.", EN: "Make several requests."},
			})
			continue
		}
		if _, ok := q.values[name]; !ok {
			q.names = append(q.names, name)
		}
		q.values[name] = append(q.values[name], value)
	}
	return q, q.err()
}

func matches(known, name string) bool {
	if prefix, ok := strings.CutSuffix(known, "*"); ok {
		return len(name) > len(prefix) && strings.HasPrefix(name, prefix)
	}
	return known == name
}

func validText(s string) bool {
	for _, r := range s {
		if r == '\uFFFD' || r < ' ' || r == 0x7F {
			return false
		}
	}
	return true
}

func credential(name string) bool {
	switch strings.ToLower(strings.ReplaceAll(name, "-", "_")) {
	case "access_token", "token", "api_key", "apikey", "authorization", "client_secret", "jwt", "bearer", "password", "secret":
		return true
	}
	return false
}

func unknownParameter(name, value string, known []string) impact.Fault {
	f := impact.Fault{
		Code: "unknown_parameter", Parameter: name, Value: value,
		Detail: impact.Text{FR: "Paramètre inconnu ici : " + name + ".", EN: "Unknown parameter here: " + name + "."},
	}
	f.Suggestion = impact.Suggest(name, slices.Values(known))
	list := strings.Join(known, ", ")
	switch {
	case f.Suggestion != "":
		f.Hint = impact.Text{FR: "Vouliez-vous dire " + f.Suggestion + " ?", EN: "Did you mean " + f.Suggestion + "?"}
	case list == "":
		f.Hint = impact.Text{FR: "Cette adresse ne prend aucun paramètre.", EN: "This address takes no parameter."}
	default:
		f.Hint = impact.Text{FR: "Paramètres connus : " + list + ".", EN: "Known parameters: " + list + "."}
	}
	return f
}

func malformedQuery(part string, detail, hint impact.Text) error {
	e := &impact.Error{Kind: impact.Malformed, Code: "malformed_query", Detail: detail, Hint: hint}
	if part != "" {
		e.Faults = []impact.Fault{{Code: "encoding", Parameter: strings.ToValidUTF8(part, "�"), Detail: detail, Hint: hint}}
	}
	return e
}

// has tells that the parameter was written, even empty.
func (q *query) has(name string) bool { return len(q.values[name]) > 0 }

// one gives the whole text of a parameter that takes a single value.
func (q *query) one(name string) string {
	v := q.values[name]
	if len(v) > 1 {
		q.unread(name, "conflicting_parameters", strings.Join(v, " "),
			impact.Text{FR: name + " est donné plusieurs fois.", EN: name + " is given several times."},
			impact.Text{FR: "Donnez-le une fois.", EN: "Give it once."})
		return ""
	}
	if len(v) == 0 {
		return ""
	}
	if v[0] == "" {
		q.unread(name, "invalid_type", "",
			impact.Text{FR: name + " est vide.", EN: name + " is empty."},
			impact.Text{FR: "Donnez une valeur, ou ôtez le paramètre.", EN: "Give a value, or leave the parameter out."})
		return ""
	}
	return v[0]
}

// list gives the values of a parameter written once, separated by commas: one
// of them is enough (OR).
func (q *query) list(name string) []string {
	v := q.values[name]
	if len(v) > 1 {
		q.unread(name, "conflicting_parameters", strings.Join(v, " "),
			impact.Text{FR: name + " est répété, ce qui voudrait dire « toutes ces valeurs à la fois ».", EN: name + " is repeated, which would mean \"all these values at once\"."},
			impact.Text{FR: "Séparez les valeurs par des virgules pour « l'une d'elles ».", EN: "Separate values with commas for \"one of them\"."})
		return nil
	}
	all := q.all(name)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// all gives every occurrence of a parameter (AND), each with its values (OR).
func (q *query) all(name string) [][]string {
	var out [][]string
	for _, v := range q.values[name] {
		terms := splitTerms(v)
		if slices.Contains(terms, "") {
			q.unread(name, "invalid_type", v,
				impact.Text{FR: "Une valeur de " + name + " est vide.", EN: "A value of " + name + " is empty."},
				impact.Text{FR: "Ôtez la virgule en trop, ou le paramètre.", EN: "Remove the extra comma, or the parameter."})
			return nil
		}
		out = append(out, terms)
	}
	return out
}

// splitTerms cuts at commas outside double quotes; the quotes around a term
// are removed.
func splitTerms(v string) []string {
	if !strings.Contains(v, `"`) {
		return strings.Split(v, ",")
	}
	var out []string
	var b strings.Builder
	quoted := false
	for _, r := range v {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	return append(out, b.String())
}

// integer gives the parameter as a whole number within bounds, def when absent.
func (q *query) integer(name string, def, lowest, highest int) int {
	s := q.one(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lowest || n > highest {
		q.unread(name, "out_of_range", s,
			impact.Text{FR: name + " n'est pas un entier permis.", EN: name + " is not an allowed whole number."},
			impact.Text{FR: fmt.Sprintf("Un entier de %d à %d, par exemple %s=%d.", lowest, highest, name, def), EN: fmt.Sprintf("A whole number from %d to %d, for instance %s=%d.", lowest, highest, name, def)})
		return def
	}
	return n
}

// boolean reads true or false.
func (q *query) boolean(name string, def bool) bool {
	switch q.enum(name, "", "true", "false") {
	case "true":
		return true
	case "false":
		return false
	}
	return def
}

// enum gives one of the allowed words, def when absent.
func (q *query) enum(name, def string, allowed ...string) string {
	s := q.one(name)
	if s == "" {
		return def
	}
	if !slices.Contains(allowed, s) {
		suggestion := impact.Suggest(s, slices.Values(allowed))
		words := strings.Join(allowed, ", ")
		q.unreadable = append(q.unreadable, impact.Fault{
			Code: "unknown_code", Parameter: name, Value: s, Suggestion: suggestion,
			Detail: impact.Text{FR: "Valeur inconnue pour " + name + " : " + s + ".", EN: "Unknown value for " + name + ": " + s + "."},
			Hint:   impact.Text{FR: "Valeurs permises : " + words + ".", EN: "Allowed values: " + words + "."},
		})
		return def
	}
	return s
}

// unread notes a value that cannot be read: 400.
func (q *query) unread(name string, code impact.FaultCode, value string, detail, hint impact.Text) {
	q.unreadable = append(q.unreadable, impact.Fault{Code: code, Parameter: name, Value: value, Detail: detail, Hint: hint})
}

// cannotRead notes a fault of the domain as one of the form of a parameter (a
// period that is not one): 400. Nil is no fault.
func (q *query) cannotRead(name string, f *impact.Fault) {
	if f != nil {
		g := *f
		g.Pointer, g.Parameter = "", name
		q.unreadable = append(q.unreadable, g)
	}
}

// refuse notes a fault of the domain in a parameter that could be read (a
// territory that does not exist): 422. Nil is no fault.
func (q *query) refuse(name string, f *impact.Fault) {
	if f != nil {
		g := *f
		g.Pointer, g.Parameter = "", name
		q.wrong = append(q.wrong, g)
	}
}

// err gives every fault noted so far, nil when there is none.
func (q *query) err() error {
	switch {
	case len(q.unreadable) > 0:
		code := "invalid_parameter"
		switch first := q.unreadable[0].Code; first {
		case "unknown_parameter", "missing_parameter", "conflicting_parameters":
			code = string(first)
		}
		return &impact.Error{
			Kind: impact.Malformed, Code: code,
			Detail: q.unreadable[0].Detail, Hint: q.unreadable[0].Hint, Faults: slices.Concat(q.unreadable, q.wrong),
		}
	case len(q.wrong) > 0:
		return impact.Refuse(q.wrong...)
	}
	return nil
}

// canonical writes the query in one order and one spelling, without the named
// parameters; two requests that ask the same give the same text.
func (q *query) canonical(without ...string) string {
	names := slices.Clone(q.names)
	sort.Strings(names)
	var b strings.Builder
	for _, n := range names {
		if slices.Contains(without, n) {
			continue
		}
		for _, v := range q.values[n] {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(url.QueryEscape(n) + "=" + readable.Replace(url.QueryEscape(v)))
		}
	}
	return b.String()
}

// readable keeps the characters that need no escape in a query.
var readable = strings.NewReplacer("%2C", ",", "%3A", ":", "%2F", "/", "%40", "@")

// since reads updated_since.
func since(q *query) time.Time {
	v := q.one("updated_since")
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		q.unread("updated_since", "invalid_date", v,
			impact.Text{FR: "Ce n'est pas un instant RFC 3339.", EN: "This is not an RFC 3339 instant."},
			impact.Text{FR: "Par exemple updated_since=2026-03-31T00:00:00Z.", EN: "For instance updated_since=2026-03-31T00:00:00Z."})
	}
	return t.UTC()
}

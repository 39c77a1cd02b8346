package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Problem is what every error looks like (RFC 9457).
type Problem struct {
	// Address of the description of the code.
	Type   string `json:"type" example:"https://impact.example/v1/problems/validation_failed"`
	Title  string `json:"title" example:"Requête invalide"`
	Status int    `json:"status" example:"422"`
	// Stable code of the closed list served at /v1/problems.
	Code   string `json:"code" example:"validation_failed"`
	Detail string `json:"detail,omitempty" example:"2 champs à corriger"`
	// How to mend it.
	Hint     string `json:"hint,omitempty"`
	Instance string `json:"instance" example:"/v1/observations"`
	// Quote it when writing to us.
	RequestID string `json:"request_id"`
	// Every fault at once.
	Errors []ProblemEntry `json:"errors,omitempty"`
	// The resource in conflict, the version now in force, or where to start again.
	Links *ProblemLinks `json:"links,omitempty"`
	// ETag now in force, when If-Match is no longer true.
	CurrentETag string `json:"current_etag,omitempty" example:"\"v8\""`
	// What disclosure control did: BLOCKED when no release answers such a query.
	DisclosureControl *DisclosureControl `json:"disclosure_control,omitempty"`
}

// ProblemLinks leads on from a problem.
type ProblemLinks struct {
	Related string `json:"related"`
	// Queries close to this one that a release answers.
	Nearest []string `json:"nearest,omitempty"`
}

// ProblemEntry is one fault, or one warning, at one place.
type ProblemEntry struct {
	Code string `json:"code" example:"unknown_indicator"`
	// JSON Pointer of the member; or the query parameter; or the header.
	Pointer   string `json:"pointer,omitempty" example:"/indicator"`
	Parameter string `json:"parameter,omitempty"`
	Header    string `json:"header,omitempty"`
	// What was sent, cut at 200 characters.
	Value  string `json:"value,omitempty" example:"heure_insertion"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty" example:"Vouliez-vous dire insertion_hours ?"`
	// A value that would be accepted.
	Suggestion string `json:"suggestion,omitempty" example:"insertion_hours"`
	// Address of the description of the code.
	Docs string `json:"docs,omitempty"`
}

const maxValue = 200

// entries writes faults in the language of the caller; never nil.
func (c *call) entries(faults []impact.Fault) []ProblemEntry {
	out := make([]ProblemEntry, 0, len(faults))
	for _, f := range faults {
		value := f.Value
		if utf8.RuneCountInString(value) > maxValue {
			value = string([]rune(value)[:maxValue]) + "…"
		}
		out = append(out, ProblemEntry{
			Code: string(f.Code), Pointer: f.Pointer, Parameter: f.Parameter, Header: f.Header,
			Value: value, Detail: f.Detail.In(c.lang), Hint: f.Hint.In(c.lang), Suggestion: f.Suggestion,
			Docs: "/v1/problems/" + string(f.Code),
		})
	}
	return out
}

// fail is the one place where an error becomes HTTP.
func (c *call) fail(err error) {
	if r, ok := errors.AsType[*oauthError](err); ok {
		c.code = r.code
		c.refuseOAuth(r)
		return
	}
	e, ok := errors.AsType[*impact.Error](err)
	if !ok {
		e = c.foreign(err)
	}
	kind, known := problemKinds[e.Code]
	if !known {
		// A kind without a code of its own.
		e = &impact.Error{Kind: e.Kind, Code: codeOfKind(e.Kind), Detail: e.Detail, Hint: e.Hint, Faults: e.Faults, Link: e.Link, Current: e.Current, Err: e}
		kind = problemKinds[e.Code]
	}
	c.code = e.Code
	// A caller who left is nobody's error.
	if kind.Status >= 500 && !errors.Is(err, context.Canceled) {
		c.err = err
	}
	h := c.w.Header()
	if challenge := c.challenge(e); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	switch e.Code {
	case "method_not_allowed":
		h.Set("Allow", strings.Join(c.s.allowed(c.path), ", "))
	case "unsupported_media_type":
		if c.route != nil && c.route.Method == http.MethodPatch {
			h.Set("Accept-Patch", strings.Join(c.route.consumes(), ", "))
		} else if c.route != nil {
			h.Set("Accept-Post", strings.Join(c.route.consumes(), ", "))
		}
	case "unavailable", "idempotency_in_progress", "reduced_capacity":
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "2")
		}
	}
	// What a half-made answer promised no longer holds.
	for _, name := range []string{"ETag", "Last-Modified", "Link", "Location", "Content-Disposition", "Content-Encoding", "Impact-Release", "Impact-Disclosure-Control"} {
		h.Del(name)
	}
	if c.route != nil && c.route.OAuth {
		c.failOAuth(e, kind.Status)
		return
	}
	p := Problem{
		Type: c.s.PublicURL + "/v1/problems/" + e.Code, Title: impact.ProblemCodes[e.Code].In(c.lang), Status: kind.Status, Code: e.Code,
		Detail: e.Detail.In(c.lang), Hint: e.Hint.In(c.lang), Instance: c.r.URL.EscapedPath() + c.suffix, RequestID: c.id,
	}
	if len(e.Faults) > 0 {
		p.Errors = c.entries(e.Faults)
		if p.Detail == "" {
			p.Detail = countFaults(len(e.Faults)).In(c.lang)
		}
	}
	if e.Link != "" {
		link := e.Link
		if strings.HasPrefix(link, "/") {
			link = c.s.PublicURL + link
		}
		p.Links = &ProblemLinks{Related: link}
	}
	if b, ok := errors.AsType[*blocked](err); ok {
		c.leadOn(&p, b)
	}
	if e.Current > 0 {
		p.CurrentETag = versionTag(e.Current)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		c.err = errors.Join(c.err, err)
	}
	h.Set("Content-Language", string(c.lang))
	c.write(p.Status, "application/problem+json; charset=utf-8", b.Bytes())
}

// foreign gives a refusal for an error that has no kind.
func (c *call) foreign(err error) *impact.Error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &impact.Error{
			Kind: impact.Busy, Code: "query_timeout", Err: err,
			Detail: impact.Text{FR: "La réponse demandait plus de temps que permis.", EN: "The answer needed more time than allowed."},
			Hint:   impact.Text{FR: "Demandez moins à la fois : une période plus courte, moins de territoires.", EN: "Ask for less at once: a shorter period, fewer territories."},
		}
	}
	if errors.Is(err, context.Canceled) {
		return &impact.Error{Kind: impact.Busy, Code: "unavailable", Err: err}
	}
	return &impact.Error{
		Kind: impact.Internal, Code: "internal_error", Err: err,
		Detail: impact.Text{FR: "L'erreur vient de chez nous ; elle est enregistrée.", EN: "The error is ours; it has been recorded."},
		Hint:   impact.Text{FR: "Écrivez-nous en citant request_id.", EN: "Write to us quoting request_id."},
	}
}

func codeOfKind(k impact.Kind) string {
	switch k {
	case impact.Malformed:
		return "malformed_body"
	case impact.Invalid:
		return "validation_failed"
	case impact.NotFound:
		return "not_found"
	case impact.Conflict:
		return "bad_state"
	case impact.Forbidden:
		return "not_mandated"
	case impact.Unauthenticated:
		return "invalid_token"
	case impact.Stale:
		return "precondition_failed"
	case impact.Unconditional:
		return "precondition_required"
	case impact.TooLarge:
		return "body_too_large"
	case impact.Locked:
		return "period_locked"
	case impact.Gone:
		return "gone"
	case impact.Busy:
		return "unavailable"
	}
	return "internal_error"
}

func countFaults(n int) impact.Text {
	if n == 1 {
		return impact.Text{FR: "1 point à corriger.", EN: "1 point to mend."}
	}
	s := strconv.Itoa(n)
	return impact.Text{FR: s + " points à corriger.", EN: s + " points to mend."}
}

// routingError explains what Echo could not route.
func (c *call) routingError(err error) error {
	if he, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch he.Code {
		case http.StatusMethodNotAllowed:
			methods := c.s.allowed(c.path)
			list := strings.Join(methods, ", ")
			return &impact.Error{
				Kind: impact.Malformed, Code: "method_not_allowed",
				Detail: impact.Text{FR: "Cette adresse ne connaît pas cette méthode.", EN: "This address does not know this method."},
				Hint:   impact.Text{FR: "Méthodes permises : " + list + ".", EN: "Allowed methods: " + list + "."},
			}
		case http.StatusNotFound:
			return c.noRoute()
		}
	}
	return err
}

// noRoute is the 404 of an address that is no route; it names the nearest one.
func (c *call) noRoute() error {
	e := &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: impact.Text{FR: "Aucune adresse de l'API ne ressemble à cela.", EN: "No address of the API looks like this."},
		Hint:   impact.Text{FR: "Toutes les adresses : GET /v1 et GET /v1/openapi.json.", EN: "All the addresses: GET /v1 and GET /v1/openapi.json."},
	}
	switch near := c.s.nearest(c.path); {
	case c.path == "/":
		e.Detail = impact.Text{FR: "Rien n'est servi à la racine.", EN: "Nothing is served at the root."}
		e.Hint = impact.Text{FR: "Un programme commence à GET /v1, une personne à /docs.", EN: "A program starts at GET /v1, a person at /docs."}
		e.Link = "/docs"
	case near != "":
		e.Hint = impact.Text{FR: "Vouliez-vous dire " + near + " ?", EN: "Did you mean " + near + "?"}
		e.Link = near
	}
	return e
}

// nearest gives the address of a route most like path, empty when none is
// near. It keeps what stands in the place of parameters.
func (s *server) nearest(path string) string {
	trimmed := strings.TrimRight(path, "/")
	for _, candidate := range []string{trimmed, strings.ToLower(trimmed), strings.ReplaceAll(strings.ToLower(trimmed), "_", "-"), "/v1" + trimmed} {
		if candidate != "" && candidate != path && s.allowed(candidate) != nil {
			return candidate
		}
	}
	segments := strings.Split(trimmed, "/")
	var candidates []string
	for i := range s.routes {
		pattern := strings.Split(s.routes[i].Path, "/")
		if len(pattern) != len(segments) {
			continue
		}
		for j, p := range pattern {
			if strings.HasPrefix(p, ":") {
				pattern[j] = segments[j]
			}
		}
		if candidate := strings.Join(pattern, "/"); candidate != path && !slices.Contains(candidates, candidate) {
			candidates = append(candidates, candidate)
		}
	}
	near := impact.Suggest(trimmed, slices.Values(candidates))
	if strings.HasPrefix(trimmed, "/v1/") && !strings.HasPrefix(near, "/v1/") {
		return ""
	}
	return near
}

func uriTooLong() error {
	return &impact.Error{
		Kind: impact.TooLarge, Code: "uri_too_long",
		Detail: impact.Text{FR: "L'adresse dépasse 4 Kio.", EN: "The address is longer than 4 KiB."},
		Hint:   impact.Text{FR: "Les agrégats se demandent aussi par POST /v1/aggregates/query, les mêmes noms en JSON.", EN: "Aggregates can be asked by POST /v1/aggregates/query too, the same names in JSON."},
		Link:   "/v1/aggregates/query",
	}
}

package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/oauth2"
)

// Problem is a refusal by the service (RFC 9457): what, where, how to mend it.
type Problem struct { //nolint:errname // the word of RFC 9457
	Status    int     `json:"status"`
	Code      string  `json:"code"` // of the closed list at /v1/problems
	Title     string  `json:"title"`
	Detail    string  `json:"detail"`
	Hint      string  `json:"hint"`
	RequestID string  `json:"request_id"`
	Errors    []Fault `json:"errors"`
	Links     struct {
		Related string `json:"related"`
	} `json:"links"`
}

// Fault is one thing that is wrong, or that was understood differently.
type Fault struct {
	Code       string `json:"code"`
	Field      string `json:"field"`
	Column     int    `json:"column"`
	Pointer    string `json:"pointer"`
	Parameter  string `json:"parameter"`
	Header     string `json:"header"`
	Value      string `json:"value"`
	Detail     string `json:"detail"`
	Hint       string `json:"hint"`
	Suggestion string `json:"suggestion"`
}

// Error is everything the service said, one fault a line.
func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d %s)", strings.TrimSuffix(first(p.Detail, p.Title, http.StatusText(p.Status)), "."), p.Status, p.Code)
	if p.Hint != "" {
		b.WriteString(". " + p.Hint)
	}
	for _, f := range p.Errors {
		b.WriteString("\n  " + f.String())
	}
	if p.Status >= 500 && p.RequestID != "" {
		b.WriteString("\n  X-Request-Id: " + p.RequestID)
	}
	return b.String()
}

// String is the fault on one line.
func (f Fault) String() string {
	s := first(f.Field, f.Pointer, f.Parameter, f.Header)
	if s != "" && f.Value != "" {
		s += fmt.Sprintf(" « %s »", f.Value)
	}
	if s != "" {
		s += " : "
	}
	s += first(f.Detail, f.Code)
	if f.Hint != "" {
		s += " " + f.Hint
	}
	return s
}

// Temporary tells that the same request may succeed later.
func (p *Problem) Temporary() bool { return p.Status == http.StatusTooManyRequests || p.Status >= 500 }

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func problem(answer *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	p := &Problem{}
	if err == nil {
		err = json.Unmarshal(text, p)
	}
	p.Status = answer.StatusCode
	if err != nil || p.Code == "" { // a proxy's page, not ours
		p.Code, p.Detail = "", strings.TrimSpace(string(text[:min(len(text), 200)]))
	}
	if p.RequestID == "" {
		p.RequestID = answer.Header.Get("X-Request-Id")
	}
	return p
}

// refusedToken gives the refusal of POST /oauth/token, whose form is that of
// RFC 6749, the form of all the others.
func refusedToken(err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return err
	}
	return &Problem{Status: refused.Response.StatusCode, Code: refused.ErrorCode, Detail: refused.ErrorDescription, Title: "POST /oauth/token"}
}

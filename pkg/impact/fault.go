package impact

import (
	"errors"
	"strings"
)

// FaultCode is a stable word of the closed list of api.md 8.2; it is never
// translated and never renamed.
type FaultCode string

// Fault is one thing that is wrong, or one thing that was understood
// differently from what was written (a warning), at one place.
type Fault struct {
	Code FaultCode
	// Pointer is the JSON Pointer of the member; Parameter and Header name a
	// query parameter or a header. One of the three is set at the edge.
	Pointer   string
	Parameter string
	Header    string
	// Column is the place of the cell in a file, counted from 1; 0 elsewhere.
	Column int
	// Value is what was sent, as text; empty when there is nothing to show.
	Value string
	// Detail says what is wrong, Hint how to mend it.
	Detail, Hint Text
	// Suggestion is a value that would be accepted in place of Value.
	Suggestion string
}

// At gives the fault with its pointer prefixed: At("/observations/0") turns
// "/indicator" into "/observations/0/indicator".
func (f Fault) At(prefix string) Fault {
	f.Pointer = prefix + f.Pointer
	return f
}

// Kind tells what a caller can do about an error.
type Kind int

// Kinds of errors. The API maps each to one HTTP status (api.md 8.1).
const (
	Internal        Kind = iota // ours
	Malformed                   // 400: cannot be read
	Invalid                     // 422: readable but wrong
	NotFound                    // 404: absent, or not yours to see
	Conflict                    // 409
	Forbidden                   // 403
	Unauthenticated             // 401
	Stale                       // 412: If-Match no longer true
	Unconditional               // 428: If-Match missing
	TooLarge                    // 413
	Locked                      // 423
	Gone                        // 410: no longer kept
	Busy                        // 503: try again
)

// Error is a refusal a person can act on. Code is one of api.md 8.1.
type Error struct {
	Kind   Kind
	Code   string
	Detail Text
	Hint   Text
	Faults []Fault
	// Link leads to the resource in conflict, to the form to use, or is empty.
	Link string
	// Current is the ETag version now in force when Kind is Stale.
	Current int
	Err     error
}

// Error says the refusal in English, for logs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	if e.Detail.EN != "" {
		b.WriteString(": " + e.Detail.EN)
	}
	for _, f := range e.Faults {
		b.WriteString("; " + string(f.Code) + " at " + f.Pointer + f.Parameter + f.Header)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of the first *Error in the chain, Internal if none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Refuse makes a validation refusal from faults; nil when there is none.
func Refuse(faults ...Fault) error {
	if len(faults) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Code: "validation_failed", Faults: faults}
}

// NotFoundError is the answer for what is absent and for what the caller may
// not see: the two cannot be told apart.
func NotFoundError() error {
	return &Error{Kind: NotFound, Code: "not_found", Detail: Text{
		FR: "Cette ressource n'existe pas, ou vous n'y avez pas accès.",
		EN: "This resource does not exist, or you may not see it.",
	}}
}

func newFault(code FaultCode, value, fr, en, hintFR, hintEN string) *Fault {
	return &Fault{
		Code: code, Value: value,
		Detail: Text{FR: fr, EN: en},
		Hint:   Text{FR: hintFR, EN: hintEN},
	}
}

// at sets the place of a new fault.
func (f *Fault) at(pointer string) *Fault {
	f.Pointer = pointer
	return f
}

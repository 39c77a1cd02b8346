package impact

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// MandateID is the public id of a mandate.
type MandateID string

// MandateState is where a mandate stands in its life-cycle (api.md 12).
type MandateState string

// requested → granted | refused | revoked; granted → revoked. A granted mandate
// whose last day is over is expired: nothing is written, the calendar says so.
const (
	Requested MandateState = "requested"
	Granted   MandateState = "granted"
	Refused   MandateState = "refused"
	Revoked   MandateState = "revoked"
	Expired   MandateState = "expired"
)

// Mandate is a right that an organisation gives a network on its data. Either
// side starts one: the network requests, the organisation grants at once. Only
// the organisation grants and refuses; the organisation withdraws its mandate
// (revoke), and so may the network give it back or take its request back.
type Mandate struct {
	ID               MandateID
	Organisation     OrganisationID // who gives the right
	OrganisationName string
	Network          NetworkID // who receives it
	NetworkName      string
	Scopes           []Scope
	// Indicators it is about, in the order of keys; nil is all of them. A
	// composed indicator stands with its components (see Spread).
	Indicators []IndicatorKey
	// Periods of the data it is about; MinDate and MaxDate when open.
	Periods Period
	// ValidFrom and ValidTo are the first and last day it may be used.
	ValidFrom, ValidTo Date
	// State as decided; StateOn tells also what the calendar says.
	State       MandateState
	StartedBy   Role   // RoleNetwork or RoleOrganisation
	RequestedBy string // client that started it
	DecidedBy   string // client of the last decision, empty before
	DecidedAt   time.Time
	Version     int
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// MandateScopes are the scopes a mandate may hold. None implies another: who
// may write does not read what others wrote, and who corrects or deletes what
// stands (PATCH, DELETE) needs both. Imports are a way of sending, not a right:
// their rows need ObservationsWrite.
func MandateScopes() []Scope {
	return []Scope{
		ObservationsRead, ObservationsWrite, SubmissionsManage, AggregatesLive, OrganisationsRead, OrganisationsWrite,
	}
}

// StateOn is the state on a day: a granted mandate is expired after ValidTo.
func (m *Mandate) StateOn(today Date) MandateState {
	if m.State == Granted && today > m.ValidTo {
		return Expired
	}
	return m.State
}

// SameRequest tells that granting one of two requests of a network would give it
// what the other asks for; those that begin today at the latest begin alike.
func (m *Mandate) SameRequest(o *Mandate, today Date) bool {
	scopes := func(m *Mandate) []Scope { return slices.Sorted(slices.Values(m.Scopes)) }
	return m.State == Requested && o.State == Requested && m.Network == o.Network && m.Organisation == o.Organisation &&
		slices.Equal(scopes(m), scopes(o)) && (m.Indicators == nil) == (o.Indicators == nil) && slices.Equal(m.Indicators, o.Indicators) &&
		m.Periods == o.Periods && max(m.ValidFrom, today) == max(o.ValidFrom, today) && m.ValidTo == o.ValidTo
}

// Spread adds to the indicators their components: a right on a ratio is a right
// on what it is computed from. nil, all indicators, stays nil.
func (m *Mandate) Spread(c *Catalogue) {
	if m.Indicators == nil {
		return
	}
	all := slices.Clone(m.Indicators)
	for _, k := range m.Indicators {
		if ind := c.IndicatorByKey(k); ind != nil {
			for _, leaf := range c.Leaves(ind) {
				all = append(all, leaf.Key)
			}
		}
	}
	slices.Sort(all)
	m.Indicators = slices.Compact(all)
}

// AnyIndicator stands for a use that is about no indicator in particular: the
// register entry, the life of a submission.
const AnyIndicator IndicatorKey = 0

// AnyPeriod stands for a use that is about no period in particular.
var AnyPeriod = Period{Start: MaxDate, End: MinDate}

// Use is something a principal does on the data of one organisation.
type Use struct {
	Organisation OrganisationKey
	Scope        Scope
	Indicator    IndicatorKey // AnyIndicator
	Period       Period       // AnyPeriod
}

// Lack says what stands between a mandate and a use. The larger it is, the
// nearer the mandate came.
type Lack int

// What a mandate may lack; LacksNothing means that it covers the use.
const (
	LacksMandate Lack = iota // none that would help was asked for, or all were refused
	LacksScope
	LacksRevoked
	LacksDecision // requested, not yet decided
	LacksExpired
	LacksStart
	LacksIndicator
	LacksPeriod
	LacksNothing
)

// Covers decides whether the mandate allows the use on that day, and else what
// it lacks. It looks neither at the parties nor at the token.
func (m *Mandate) Covers(u Use, today Date) Lack {
	switch {
	case m.State == Refused:
		return LacksMandate
	case !slices.Contains(m.Scopes, u.Scope):
		return LacksScope
	case m.State == Revoked:
		return LacksRevoked
	case m.State != Granted:
		granted := *m
		granted.State = Granted
		if l := granted.Covers(u, today); l != LacksNothing && l != LacksStart {
			return LacksMandate
		}
		return LacksDecision
	case today > m.ValidTo:
		return LacksExpired
	case today < m.ValidFrom:
		return LacksStart
	case u.Indicator != AnyIndicator && m.Indicators != nil && !slices.Contains(m.Indicators, u.Indicator):
		return LacksIndicator
	case u.Period != AnyPeriod && !m.Periods.Contains(u.Period):
		return LacksPeriod
	}
	return LacksNothing
}

// FindMandate gives the mandate that covers the use, the oldest when several
// do; else the one that came nearest, nil when there is none, and what it
// lacks. The mandates are those between one organisation and one network.
func FindMandate(mandates []*Mandate, u Use, today Date) (*Mandate, Lack) {
	var nearest *Mandate
	lack := LacksMandate
	for _, m := range mandates {
		l := m.Covers(u, today)
		if l > lack || nearest == nil || l == lack && m.ID < nearest.ID {
			nearest, lack = m, l
		}
	}
	return nearest, lack
}

// Refusal says why a use is refused and how to be allowed: a fault not_mandated
// without place. nearest may be nil.
func (l Lack) Refusal(u Use, nearest *Mandate, c *Catalogue) Fault {
	scope := string(u.Scope)
	f := Fault{Code: "not_mandated", Hint: Text{
		FR: "Demandez-le à l'organisation : POST /v1/mandates avec scopes [\"" + scope + "\"] ; elle l'accorde par POST /v1/mandates/{id}/grant.",
		EN: "Ask the organisation: POST /v1/mandates with scopes [\"" + scope + "\"]; it grants it by POST /v1/mandates/{id}/grant.",
	}}
	id := ""
	if nearest != nil {
		id = string(nearest.ID)
	}
	switch l {
	case LacksRevoked:
		f.Detail = Text{FR: "Le mandat " + id + " a été révoqué.", EN: "Mandate " + id + " has been revoked."}
	case LacksDecision:
		f.Detail = Text{FR: "Le mandat " + id + " est demandé ; l'organisation ne l'a pas encore accordé.", EN: "Mandate " + id + " is requested; the organisation has not granted it yet."}
		f.Hint = Text{FR: "L'organisation l'accorde par POST /v1/mandates/" + id + "/grant.", EN: "The organisation grants it by POST /v1/mandates/" + id + "/grant."}
	case LacksExpired:
		f.Detail = Text{FR: "Le mandat " + id + " a expiré le " + nearest.ValidTo.String() + ".", EN: "Mandate " + id + " expired on " + nearest.ValidTo.String() + "."}
	case LacksStart:
		f.Detail = Text{FR: "Le mandat " + id + " ne commence que le " + nearest.ValidFrom.String() + ".", EN: "Mandate " + id + " begins on " + nearest.ValidFrom.String() + " only."}
		f.Hint = Text{FR: "Attendez ce jour, ou demandez un mandat qui commence avant.", EN: "Wait until that day, or ask for a mandate that begins before."}
	case LacksScope:
		f.Detail = Text{FR: "Le mandat " + id + " ne porte pas la portée " + scope + ".", EN: "Mandate " + id + " does not hold the scope " + scope + "."}
	case LacksIndicator:
		name := ""
		if ind := c.IndicatorByKey(u.Indicator); ind != nil {
			name = string(ind.Code)
		}
		f.Pointer, f.Value = "/indicator", name
		f.Detail = Text{FR: "Le mandat " + id + " ne porte pas sur l'indicateur " + name + ".", EN: "Mandate " + id + " is not about the indicator " + name + "."}
		f.Hint = Text{FR: "GET /v1/mandates/" + id + " donne ses indicateurs ; demandez-en un autre : POST /v1/mandates.", EN: "GET /v1/mandates/" + id + " gives its indicators; ask for another one: POST /v1/mandates."}
	case LacksPeriod:
		interval := boundary(nearest.Periods.Start) + "/" + boundary(nearest.Periods.End)
		f.Pointer, f.Value = "/period", u.Period.String()
		f.Detail = Text{FR: "Le mandat " + id + " porte sur les périodes " + interval + ".", EN: "Mandate " + id + " is about the periods " + interval + "."}
		f.Hint = Text{FR: "Demandez un mandat qui contient " + u.Period.String() + " : POST /v1/mandates.", EN: "Ask for a mandate that contains " + u.Period.String() + ": POST /v1/mandates."}
	default:
		f.Detail = Text{FR: "Cette organisation ne vous a pas donné de mandat.", EN: "This organisation has given you no mandate."}
	}
	return f
}

// Permit is the answer to one use: the mandate that allows it, empty when the
// organisation is the caller's own; or the fault not_mandated.
type Permit struct {
	Mandate MandateID
	Fault   *Fault
}

// MandateAction is a step of the life-cycle.
type MandateAction string

// Actions.
const (
	GrantMandate  MandateAction = "grant"
	RefuseMandate MandateAction = "refuse"
	RevokeMandate MandateAction = "revoke"
)

// Decide moves the mandate one step, by one of its two sides (RoleOrganisation
// or RoleNetwork). Errors: not_mandated when the other side decides that, bad_state
// when the step does not exist from where it stands.
func (m *Mandate) Decide(by Role, action MandateAction, today Date) error {
	state := m.StateOn(today)
	if action != RevokeMandate && by != RoleOrganisation {
		return &Error{
			Kind: Forbidden, Code: "not_mandated",
			Detail: Text{FR: "Seule l'organisation accorde ou refuse un mandat sur ses données.", EN: "Only the organisation grants or refuses a mandate on its data."},
			Hint:   Text{FR: "Le réseau retire sa demande par …/revoke.", EN: "The network takes its request back by …/revoke."},
		}
	}
	switch {
	case action == GrantMandate && state == Requested && today <= m.ValidTo:
		m.State = Granted
	case action == RefuseMandate && state == Requested:
		m.State = Refused
	case action == RevokeMandate && (state == Granted || state == Requested && by == RoleNetwork):
		m.State = Revoked
	default:
		return mandateBadState(state, by, today > m.ValidTo)
	}
	return nil
}

func mandateBadState(state MandateState, by Role, over bool) error {
	hint := Text{FR: "Un mandat terminé ne change plus : demandez-en ou accordez-en un autre, POST /v1/mandates.", EN: "A mandate that has ended changes no more: request or grant another one, POST /v1/mandates."}
	switch {
	case state == Requested && over:
		hint = Text{FR: "Son dernier jour est passé : refusez-le, et accordez-en un autre.", EN: "Its last day is over: refuse it, and grant another one."}
	case state == Requested && by == RoleOrganisation:
		hint = Text{FR: "Actions possibles : grant, refuse.", EN: "Possible actions: grant, refuse."}
	case state == Granted:
		hint = Text{FR: "Action possible : revoke.", EN: "Possible action: revoke."}
	}
	return &Error{Kind: Conflict, Code: "bad_state", Hint: hint, Detail: Text{
		FR: "Le mandat est dans l'état " + string(state) + ".", EN: "The mandate is in state " + string(state) + ".",
	}}
}

// MayGive refuses an API key that would give a network what the key itself may
// not do: whoever finds a key gets no further by it than the key. A token is
// not held to its scopes, its client may ask for others at any time.
func (p Principal) MayGive(m *Mandate) error {
	for _, s := range m.Scopes {
		if p.Key != "" && !p.Has(s) {
			return &Error{
				Kind: Forbidden, Code: "insufficient_scope",
				Detail: Text{FR: "Cette clé n'a pas la portée " + string(s) + " : elle ne peut pas la donner.", EN: "This key lacks the scope " + string(s) + ": it cannot give it."},
				Hint:   Text{FR: "Accordez le mandat avec un jeton, ou une clé qui a ses portées.", EN: "Grant the mandate with a token, or a key that has its scopes."},
			}
		}
	}
	return nil
}

// Check gives what is wrong with a mandate as stated: missing_field,
// unknown_code, invalid_date, period_not_allowed.
func (m *Mandate) Check(today Date) []Fault {
	var faults []Fault
	add := func(f *Fault, pointer string) {
		if f != nil {
			faults = append(faults, *f.at(pointer))
		}
	}
	scopes := strings.Join(Words(MandateScopes()), ", ")
	if len(m.Scopes) == 0 {
		add(missingField("Dites ce que le mandat permet : "+scopes+".", "Say what the mandate allows: "+scopes+"."), "/scopes")
	}
	seen := map[Scope]bool{}
	for i, s := range m.Scopes {
		at := "/scopes/" + strconv.Itoa(i)
		switch {
		case !slices.Contains(MandateScopes(), s):
			f := newFault("unknown_code", string(s),
				"Un mandat ne peut pas porter cette portée.", "A mandate cannot hold this scope.",
				"Portées d'un mandat : "+scopes+".", "Scopes of a mandate: "+scopes+".")
			f.Suggestion = Suggest(string(s), slices.Values(Words(MandateScopes())))
			add(f, at)
		case seen[s]:
			add(newFault("inconsistent", string(s), "Cette portée est donnée deux fois.", "This scope is given twice.", "Gardez-en une.", "Keep one of them."), at)
		}
		seen[s] = true
	}
	if m.Indicators != nil && len(m.Indicators) == 0 {
		add(missingField("Nommez les indicateurs, ou écrivez null pour tous.", "Name the indicators, or write null for all of them."), "/indicators")
	}
	if m.Periods.Start > m.Periods.End {
		add(newFault("inconsistent", m.Periods.Start.String(), "La fin précède le début.", "The end comes before the beginning.",
			"Vérifiez les deux périodes.", "Check the two periods."), "/periods/to")
	}
	add(checkOrder(m.ValidFrom, m.ValidTo), "/valid_to")
	if m.ValidTo < today && m.ValidFrom <= m.ValidTo {
		add(newFault("invalid_date", m.ValidTo.String(), "Ce jour est passé : le mandat ne servirait jamais.", "This day is over: the mandate would never be of use.",
			"Donnez le dernier jour où le mandat peut servir.", "Give the last day the mandate may be used."), "/valid_to")
	}
	return faults
}

// MandateUse is one line of the log of a mandate: who did what with it, on how
// many rows.
type MandateUse struct {
	Mandate MandateID
	At      time.Time
	Client  string
	Action  string // a scope, or "observations.delete"
	Rows    int
}

package impact

import (
	"slices"
	"time"
)

// ChangeType names the kind of resource that a change is about; it is also
// what a reader of the feed filters by (api.md 9.2).
type ChangeType string

// Types of changes. Those of organisations are seen by who has a right on
// them, those of reference data and of releases by everyone.
const (
	OrganisationChange ChangeType = "organisation"
	ObservationChange  ChangeType = "observation"
	SubmissionChange   ChangeType = "submission"
	MembershipChange   ChangeType = "membership"
	MandateChange      ChangeType = "mandate"
	ConsentChange      ChangeType = "consent"
	ImportChange       ChangeType = "import"
	IndicatorChange    ChangeType = "indicator"
	TerritoryChange    ChangeType = "territory"
	ReleaseChange      ChangeType = "release"
)

// ChangeOp is what happened to the resource.
type ChangeOp string

// Operations.
const (
	OpCreated ChangeOp = "created"
	OpUpdated ChangeOp = "updated"
	OpDeleted ChangeOp = "deleted"
)

// Change is one event of the commit log: a resource and what one committed
// transaction did to it. Changes are read in the order of commits, and inside
// a commit in the order of (Type, Key).
//
// What was changed again by a later commit is told there only, with one
// exception: each step in the life of a submission is told, with its Action.
// A change is therefore to be applied as "this resource is now so", and
// applying it twice does no harm.
type Change struct {
	Seq  int64 // number of the commit
	Tx   int64 // name of its transaction
	Type ChangeType
	Key  string // place among the changes of this type in the commit, opaque
	Op   ChangeOp
	// Action is the step of a life-cycle, if it was one: submit, approve, return…
	Action string
	ID     string
	// Organisation whose data it is, empty for reference data.
	Organisation OrganisationID
	Version      int
	At           time.Time // of the commit
	// Resource is what it is now, one of this package's types by value; nil
	// for a deletion, and for reference data and releases, which everyone may read.
	Resource any
}

// Position is where a reader stands who has taken this change.
func (c *Change) Position() ChangePosition { return ChangePosition{c.Seq, c.Tx, c.Type, c.Key} }

// ChangePosition says how far a reader has come: up to commit Seq, which was
// transaction Tx, and inside it up to Key of Type, or to its end when Type is
// empty. Tx is what tells that a database was restored and that its log has
// taken another way since. The zero value is before the first commit.
type ChangePosition struct {
	Seq, Tx int64
	Type    ChangeType
	Key     string
}

// Start is the position before all of the commit p lies in.
func (p ChangePosition) Start() ChangePosition { return startOf(p.Seq, p.Tx) }

func startOf(seq, tx int64) ChangePosition {
	return ChangePosition{Seq: seq, Tx: tx, Type: ChangeTypes()[0]}
}

// ChangeFilter narrows the changes that are read; zero fields narrow nothing.
type ChangeFilter struct {
	Types        []ChangeType
	Organisation OrganisationID
}

// ChangeTypes lists the types in their order inside a commit.
func ChangeTypes() []ChangeType {
	return []ChangeType{
		ConsentChange, ImportChange, IndicatorChange, MandateChange, MembershipChange, ObservationChange, OrganisationChange, ReleaseChange, SubmissionChange, TerritoryChange,
	}
}

// Public tells that anyone may follow changes of this type.
func (t ChangeType) Public() bool {
	return t == IndicatorChange || t == TerritoryChange || t == ReleaseChange
}

// Scopes are those of which a caller needs one to follow changes of this type:
// the scopes that read the resource itself.
func (t ChangeType) Scopes() []Scope {
	switch t {
	case OrganisationChange, MembershipChange:
		return []Scope{OrganisationsRead}
	case ObservationChange:
		return []Scope{ObservationsRead}
	case SubmissionChange:
		return []Scope{SubmissionsManage, SubmissionsReview}
	case MandateChange:
		return []Scope{MandatesManage}
	case ConsentChange:
		return []Scope{ConsentsManage}
	case ImportChange:
		return []Scope{ImportsWrite, SubmissionsReview}
	}
	return nil
}

// Follows tells that the caller may follow changes of type t. Which of them it
// sees is decided row by row, as in the collection of the same name. A buyer
// follows no observations and no organisations: what it sees of them rests on a
// consent, and ends with it without a trace.
func (p Principal) Follows(t ChangeType) bool {
	if p.Role == RoleBuyer && t != MandateChange {
		return t.Public()
	}
	return t.Public() || slices.ContainsFunc(t.Scopes(), p.Has)
}

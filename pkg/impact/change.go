package impact

import "time"

// ChangeType names the kind of resource that a change is about; it is also
// what a reader of the feed filters by (api.md 9.2).
type ChangeType string

// Types of changes. Those of organisations are seen by who has a right on
// them, those of reference data by everyone.
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
// a commit in the order of (Type, ID); Seq and Ordinal say where a reader
// stands.
type Change struct {
	Seq     int64 // number of the commit
	Ordinal int   // place in the commit, from 1
	Type    ChangeType
	Op      ChangeOp
	ID      string
	// Organisation whose data it is, empty for reference data.
	Organisation OrganisationID
	Version      int
	At           time.Time
	// Resource is what it became, one of this package's types by value; nil
	// for a deletion and when a later commit changed it again.
	Resource any
}

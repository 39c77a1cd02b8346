package impact

import "time"

// ReleaseNumber names a release: 1, 2, 3… in the order of publication, without
// gaps. A candidate bears the number it would be published under.
type ReleaseNumber int

// ReleaseState is where a release stands.
type ReleaseState string

// States: building → candidate → published → withdrawn; building → failed;
// candidate → discarded. Only published and withdrawn releases are known to
// the public; a candidate is stale when another one took its number.
const (
	ReleaseBuilding  ReleaseState = "building"
	ReleaseCandidate ReleaseState = "candidate"
	ReleasePublished ReleaseState = "published"
	ReleaseWithdrawn ReleaseState = "withdrawn"
	ReleaseDiscarded ReleaseState = "discarded"
	ReleaseFailed    ReleaseState = "failed"
)

// Release is an immutable set of figures that passed disclosure control, for
// everyone. A wrong one is withdrawn, never changed.
type Release struct {
	// Key names the attempt, candidates included: made by the server, opaque.
	Key    string
	Number ReleaseNumber
	State  ReleaseState
	// Day is the day the figures were closed: only periods that ended Embargo
	// days before it are in them. Seq is the commit they rest on.
	Day     Date
	Embargo int
	Seq     int64
	// What the figures were made with.
	Vintage   Vintage
	Method    string // version of the rules of calculation
	Ruleset   string // of disclosure control
	Reference string // version of the reference data
	// Methodology is the version of each indicator in it.
	Methodology map[IndicatorCode]string
	// Digest is the SHA-256, in hexadecimal, of the figures: two builds from the
	// same facts and the same earlier releases have the same one.
	Digest string
	Counts ReleaseCounts

	RequestedBy  string
	CreatedAt    time.Time
	BuiltAt      time.Time
	PublishedAt  time.Time
	WithdrawnAt  time.Time
	ScheduledFor time.Time // zero when asked for by a person
	// Reason of a withdrawal, or of a failure.
	Reason Text
	// Successor is read in the place of a withdrawn release; 0 = none yet.
	Successor ReleaseNumber
	Version   int
}

// ReleaseCounts sums a release up. Withheld counts cells hidden by disclosure
// control; the others compare with the release before.
type ReleaseCounts struct {
	Cells, Shown, Withheld          int
	New, Revised, Hidden, Unchanged int
	Units                           int // systems of sums protected together
}

// Public tells that everyone may know of the release.
func (r *Release) Public() bool {
	return r.State == ReleasePublished || r.State == ReleaseWithdrawn
}

package impact

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

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

	// DryRun tells the counts and what the auditor found, and keeps no candidate;
	// Publish asks that it be published once it has passed the audit.
	DryRun, Publish bool
	// Done of Total units are made, while it is building.
	Done, Total int
	Audited     AuditCounts

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

// NewRelease is what is asked for when a release is to be built.
type NewRelease struct {
	Day             Date
	Embargo         int
	DryRun, Publish bool
	// ScheduledFor is the instant of the calendar; zero when a person asks.
	ScheduledFor time.Time
}

// Check gives the faults of what is asked for on a day; pointers are those of
// POST /v1/releases.
func (n *NewRelease) Check(today Date) (faults []Fault) {
	if n.Day > today {
		faults = append(faults, Fault{
			Code: "future_period", Pointer: "/day", Value: n.Day.String(),
			Detail: Text{FR: "Ce jour est à venir.", EN: "This day is to come."},
			Hint:   Text{FR: "Au plus tard aujourd'hui, " + today.String() + ".", EN: "At the latest today, " + today.String() + "."},
		})
	}
	if n.Embargo < 0 || n.Embargo > longestEmbargo {
		faults = append(faults, Fault{
			Code: "out_of_range", Pointer: "/embargo_days", Value: strconv.Itoa(n.Embargo),
			Detail: Text{FR: "De 0 à 3660 jours.", EN: "0 to 3660 days."}, Hint: Text{FR: "45 d'ordinaire.", EN: "45 usually."},
		})
	}
	if n.Publish && n.DryRun {
		faults = append(faults, Fault{
			Code: "inconsistent", Pointer: "/publish",
			Detail: Text{FR: "Un essai (dry_run) ne garde rien qui puisse être publié.", EN: "A dry run keeps nothing that could be published."},
			Hint:   Text{FR: "Retirez l'un des deux.", EN: "Leave one of the two out."},
		})
	}
	return faults
}

// CheckWithdrawal gives the faults of a reason for which a release is withdrawn;
// pointers are those of POST /v1/releases/{id}/withdraw.
func CheckWithdrawal(reason Text) (faults []Fault) {
	for _, said := range []struct{ pointer, text string }{{"/reason/fr", reason.FR}, {"/reason/en", reason.EN}} {
		switch {
		case strings.TrimSpace(said.text) == "":
			faults = append(faults, Fault{
				Code: "missing_field", Pointer: said.pointer,
				Detail: Text{FR: "Une publication ne se retire pas sans dire pourquoi.", EN: "A release is not withdrawn without saying why."},
				Hint:   Text{FR: "Écrivez la raison en français et en anglais : tout le monde la lit.", EN: "Write the reason in French and in English: everybody reads it."},
			})
		case utf8.RuneCountInString(said.text) > longestReason:
			faults = append(faults, Fault{
				Code: "too_long", Pointer: said.pointer, Detail: Text{FR: "Plus de 2 000 caractères.", EN: "More than 2,000 characters."},
				Hint: Text{FR: "Résumez.", EN: "Sum it up."},
			})
		}
	}
	return faults
}

const (
	longestEmbargo = 3660 // days
	longestReason  = 2000 // characters
)

// DefaultEmbargo is how many days a period has been over before its figures are
// released.
const DefaultEmbargo = 45

// ReleaseJob is a build under way, held by one process.
type ReleaseJob struct {
	Release
	Lease string
}

// AuditCounts sums up what the auditor, who shares no code with the engine of
// disclosure control, could recover from a release. Exact, Narrow and Insiders
// must be zero: a release that fails is not published.
type AuditCounts struct {
	Units, Secrets          int
	Exact, Narrow, Insiders int
	// Unsettled secrets are neither safe nor recovered: the auditor gave up.
	Unsettled int
	// Skipped tells that the build was told to do without: a demonstration, a test.
	Skipped bool `json:",omitempty"`
}

// Add counts another unit.
func (a *AuditCounts) Add(b AuditCounts) {
	a.Units += b.Units
	a.Secrets += b.Secrets
	a.Exact += b.Exact
	a.Narrow += b.Narrow
	a.Insiders += b.Insiders
	a.Unsettled += b.Unsettled
}

// Passed tells that an audit was made and nothing was recovered.
func (a AuditCounts) Passed() bool {
	return a.Units > 0 && a.Exact == 0 && a.Narrow == 0 && a.Insiders == 0
}

// ReleaseReason is why a cell is withheld, and what the auditor found of it: for
// auditors only, and without a value.
type ReleaseReason struct {
	Cell    string // its name in the unit
	Reason  string
	Against string // the cell it protects, where there is one
}

// ReleaseAudit is what the auditor found in one unit.
type ReleaseAudit struct {
	Family   string
	Year     int
	Counts   AuditCounts
	Findings []string // sentences in English, without a value
	Reasons  []ReleaseReason
}

// ReleaseFilter narrows a list of releases; zero fields narrow nothing.
type ReleaseFilter struct {
	State ReleaseState
}

// SeesCandidates tells that the caller prepares releases or audits them: it sees
// those that are not public.
func (p Principal) SeesCandidates() bool { return p.Has(ReleasesPublish) || p.Has(ReleasesAudit) }

// ReleaseCounts sums a release up. Withheld counts cells hidden by disclosure
// control; the others compare with the release before.
type ReleaseCounts struct {
	Cells, Shown, Withheld          int
	New, Revised, Hidden, Unchanged int
	Units                           int // systems of sums protected together
}

// AuditPassed tells that the release may be published: every unit of it was
// audited and nothing was recovered, or it has none, or it was built to do without.
func (r *Release) AuditPassed() bool {
	a := &r.Audited
	return a.Skipped || a.Units == r.Counts.Units && (a.Units == 0 || a.Passed())
}

// PublishesItself tells that it may be published when nobody decides: a secret
// the auditor could not settle waits for a person.
func (r *Release) PublishesItself() bool { return r.AuditPassed() && r.Audited.Unsettled == 0 }

// Public tells that everyone may know of the release.
func (r *Release) Public() bool {
	return r.State == ReleasePublished || r.State == ReleaseWithdrawn
}

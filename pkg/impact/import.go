package impact

import (
	"slices"
	"time"
)

// Limits of imports (api.md 15).
const (
	// ImportChunk is the number of rows written in one transaction, hence how many
	// may still be written once an import is cancelled. Half as many is a quarter
	// slower on PostgreSQL; more takes memory and keeps locks for longer. Rows that state
	// the same fact are told whatever lies between them; rows that contradict each
	// other otherwise (C3, E1 to E3) meet within a chunk, and further apart the
	// first one stands.
	ImportChunk = 2000
	// ImportSyncRows is the number of rows that a caller waits for.
	ImportSyncRows = 2000
	// ImportConcurrent is how many imports of one client may be under way.
	ImportConcurrent = 2
	// ImportRowFaults is how many faults, and how many warnings, are kept of one row.
	ImportRowFaults = 50
)

// How long what an import leaves behind is kept.
const (
	ImportSourceKept = 30 * 24 * time.Hour
	ImportReportKept = 400 * 24 * time.Hour
	// ImportBytesKept bounds the files kept of one organisation or network, in
	// compressed bytes: beyond, the oldest ones are forgotten first.
	ImportBytesKept = 256 << 20
)

// ImportID names an import.
type ImportID string

// ImportKind says what a file brings.
type ImportKind string

// Kinds of imports.
const (
	ImportObservations ImportKind = "observations"
	ImportMembers      ImportKind = "members"
)

// Scope is what it takes to send a file of this kind, to decide on it and to get
// it back.
func (k ImportKind) Scope() Scope {
	if k == ImportMembers {
		return MembersSync
	}
	return ImportsWrite
}

// ImportState is where an import stands: pending → running → completed, failed
// or cancelled; running → held → pending when deletions await a confirmation.
type ImportState string

// States of an import. Failed is a file that could not be processed; one whose
// every row was refused is completed, with the outcome failed.
const (
	ImportPending   ImportState = "pending"
	ImportRunning   ImportState = "running"
	ImportHeld      ImportState = "awaiting_confirmation"
	ImportCompleted ImportState = "completed"
	ImportFailed    ImportState = "failed"
	ImportCancelled ImportState = "cancelled"
)

// ImportStates lists the states, in the order of life.
var ImportStates = []ImportState{ImportPending, ImportRunning, ImportHeld, ImportCompleted, ImportFailed, ImportCancelled}

// Ended tells that nothing more will happen.
func (s ImportState) Ended() bool {
	return s == ImportCompleted || s == ImportFailed || s == ImportCancelled
}

// ImportOutcome sums up a completed import.
type ImportOutcome string

// Outcomes of an import.
const (
	ImportSucceeded          ImportOutcome = "succeeded"
	ImportPartiallySucceeded ImportOutcome = "partially_succeeded"
	ImportNothingSucceeded   ImportOutcome = "failed"
)

// ImportMode says what a row does to what is known.
type ImportMode string

// Modes of observations, then of members.
const (
	ImportMerge    ImportMode = "merge"   // upsert; an empty cell leaves what is known
	ImportReplace  ImportMode = "replace" // upsert, and what the file leaves out of the scope is deleted
	ImportDelete   ImportMode = "delete"  // the keys listed are deleted
	ImportSnapshot ImportMode = "snapshot"
	ImportDelta    ImportMode = "delta"
)

// ImportOptions are what the sender asked for.
type ImportOptions struct {
	Mode           ImportMode  `json:"mode"`
	DryRun         bool        `json:"dry_run,omitempty"`
	AllOrNothing   bool        `json:"all_or_nothing,omitempty"`
	RejectWarnings bool        `json:"reject_warnings,omitempty"`
	Scope          ImportScope `json:"scope,omitzero"`
	// MaxDeleteRatio is the share of a scope that may be deleted unasked, in
	// thousandths.
	MaxDeleteRatio int `json:"max_delete_ratio"`
	// Confirmed: the deletions announced may go on.
	Confirmed           bool      `json:"confirmed,omitempty"`
	DefaultOrganisation string    `json:"default_organisation,omitempty"`
	DefaultPeriod       string    `json:"default_period,omitempty"`
	DefaultTerritory    string    `json:"default_territory,omitempty"`
	Dialect             string    `json:"dialect,omitempty"`
	Mapping             MappingID `json:"mapping,omitempty"`
	RetryOf             ImportID  `json:"retry_of,omitempty"`
	Network             NetworkID `json:"network,omitempty"` // whose members
}

// ImportScope is what a replacing file speaks for: what it leaves out of there
// is deleted. Empty members do not narrow.
type ImportScope struct {
	Organisations []OrganisationID `json:"organisations,omitempty"`
	Indicators    []IndicatorCode  `json:"indicators,omitempty"`
	Periods       []Period         `json:"periods,omitempty"`
	Network       NetworkID        `json:"network,omitempty"`
}

// IsZero tells that nothing was said.
func (s ImportScope) IsZero() bool {
	return len(s.Organisations) == 0 && len(s.Indicators) == 0 && len(s.Periods) == 0 && s.Network == ""
}

// ImportFile says what was sent and how it was understood.
type ImportFile struct {
	Name      string `json:"name,omitempty"`
	MediaType string `json:"media_type"`
	SHA256    string `json:"sha256"`
	Size      int64  `json:"size"`
	// What reading told: format, delimiter… and columns.
	Format    string `json:"format,omitempty"`
	Delimiter string `json:"delimiter,omitempty"`
	Decimal   string `json:"decimal,omitempty"`
	Encoding  string `json:"encoding,omitempty"`
	BOM       bool   `json:"bom,omitempty"`
	Sheet     string `json:"sheet,omitempty"`
	// HeaderMapping tells what each column was taken for, Ignored the others.
	HeaderMapping map[string]string `json:"header_mapping,omitempty"`
	Ignored       []string          `json:"ignored,omitempty"`
	Warnings      []Fault           `json:"warnings,omitempty"`
}

// ImportCounts counts rows by what became of them, and warnings. Deleted also
// counts what a replacing file left out.
type ImportCounts struct {
	Received    int `json:"received"`
	Created     int `json:"created"`
	Updated     int `json:"updated"`
	Unchanged   int `json:"unchanged"`
	Deleted     int `json:"deleted"`
	WouldCreate int `json:"would_create"`
	WouldUpdate int `json:"would_update"`
	WouldLeave  int `json:"would_leave"`
	WouldDelete int `json:"would_delete"`
	Rejected    int `json:"rejected"`
	Warnings    int `json:"warnings"`
}

// Add counts one row.
func (c *ImportCounts) Add(r *ImportRow) {
	c.Received++
	c.count(r.Outcome)
	c.Warnings += len(r.Warnings)
}

func (c *ImportCounts) count(o Outcome) {
	switch o {
	case Created:
		c.Created++
	case Updated:
		c.Updated++
	case Unchanged:
		c.Unchanged++
	case Removed:
		c.Deleted++
	case Rejected:
		c.Rejected++
	}
}

// Undone tells the same when nothing was kept: what would have happened.
func (c *ImportCounts) Undone() {
	c.WouldCreate, c.WouldUpdate, c.WouldLeave, c.WouldDelete = c.Created, c.Updated, c.Unchanged, c.Deleted
	c.Created, c.Updated, c.Unchanged, c.Deleted = 0, 0, 0, 0
}

// Outcome sums up: failed when no row was accepted.
func (c *ImportCounts) Outcome() ImportOutcome {
	switch c.Rejected {
	case 0:
		return ImportSucceeded
	case c.Received:
		return ImportNothingSucceeded
	}
	return ImportPartiallySucceeded
}

// CodeCount says how often a fault was met, and where first.
type CodeCount struct {
	Code      FaultCode `json:"code"`
	Count     int       `json:"count"`
	FirstRows []int     `json:"first_rows"`
}

const firstRows = 5

// ImportReport is what is known of an import so far.
type ImportReport struct {
	Counts ImportCounts `json:"counts"`
	// Codes counts the faults, Warnings what was understood otherwise.
	Codes    []CodeCount `json:"codes,omitempty"`
	Warnings []CodeCount `json:"warnings,omitempty"`
	// Planned is what a replacing file would delete, among so many of its scope.
	Planned int `json:"planned,omitempty"`
	Scoped  int `json:"scoped,omitempty"`
	// Registered are the organisations that a list of members made known.
	Registered int `json:"registered,omitempty"`
	// Withheld says why what was planned was not done.
	Withheld Text `json:"withheld,omitzero"`
	// Passed: the guard on deletions let them go on.
	Passed bool `json:"passed,omitempty"`
	// Problem is why the file could not be processed.
	Problem *ImportProblem `json:"problem,omitempty"`
}

// ImportProblem is the refusal of a whole file.
type ImportProblem struct {
	Code   string  `json:"code"`
	Detail Text    `json:"detail"`
	Hint   Text    `json:"hint"`
	Faults []Fault `json:"faults,omitempty"`
}

// Add counts one row and its faults.
func (r *ImportReport) Add(row *ImportRow) {
	r.Counts.Add(row)
	for i := range row.Faults {
		r.Codes = counted(r.Codes, row.Faults[i].Code, row.Row)
	}
	for i := range row.Warnings {
		r.Warnings = counted(r.Warnings, row.Warnings[i].Code, row.Row)
	}
}

func counted(codes []CodeCount, code FaultCode, row int) []CodeCount {
	i := slices.IndexFunc(codes, func(c CodeCount) bool { return c.Code == code })
	if i < 0 {
		i = len(codes)
		codes = append(codes, CodeCount{Code: code})
	}
	c := &codes[i]
	c.Count++
	if n := len(c.FirstRows); n < firstRows && (n == 0 || c.FirstRows[n-1] != row) {
		c.FirstRows = append(c.FirstRows, row)
	}
	return codes
}

// Clone gives a report that can be added to apart.
func (r *ImportReport) Clone() ImportReport {
	out := *r
	for _, codes := range []*[]CodeCount{&out.Codes, &out.Warnings} {
		*codes = slices.Clone(*codes)
		for i := range *codes {
			(*codes)[i].FirstRows = slices.Clone((*codes)[i].FirstRows)
		}
	}
	return out
}

// ImportRow is what became of one row of the file.
type ImportRow struct {
	Row     int     `json:"row"`
	Line    int     `json:"line"`
	Outcome Outcome `json:"outcome"`
	// Observation that the row states, empty when it was rejected.
	Observation ObservationID `json:"observation,omitempty"`
	// Organisation that the row registered or joined, of members.
	Organisation OrganisationID `json:"organisation,omitempty"`
	Key          *ImportKey     `json:"key,omitempty"` // as written, of rows that something is said about
	Faults       []Fault        `json:"faults,omitempty"`
	Warnings     []Fault        `json:"warnings,omitempty"`
}

// ImportKey is the key of a row as its sender wrote it.
type ImportKey struct {
	Organisation string `json:"organisation,omitempty"`
	Indicator    string `json:"indicator,omitempty"`
	Territory    string `json:"territory,omitempty"`
	Period       string `json:"period,omitempty"`
}

// Import is one bulk job and its report.
type Import struct {
	ID           ImportID
	Kind         ImportKind
	Client       string
	Organisation OrganisationID // whose client sent it, or
	Network      NetworkID
	State        ImportState
	Outcome      ImportOutcome // of a completed import
	Options      ImportOptions
	File         ImportFile
	Report       ImportReport
	RowsTotal    int // 0 until the file was read once
	RowsDone     int
	Chunks       int // transactions recorded
	Cancelling   bool
	Version      int
	CreatedAt    time.Time
	StartedAt    time.Time // zero until then
	FinishedAt   time.Time
	UpdatedAt    time.Time
}

// ImportFilter narrows a list of imports; zero fields narrow nothing.
type ImportFilter struct {
	Kind         ImportKind
	State        ImportState
	UpdatedSince time.Time // inclusive; order (UpdatedAt, ID)
}

// NewImport is an import as it is asked for.
type NewImport struct {
	Kind    ImportKind
	Options ImportOptions
	File    ImportFile
	// Key and Fingerprint make the same request answer with the same import for
	// 24 h.
	Key         string
	Fingerprint [32]byte
}

// ImportJob is an import under way, held by one worker.
type ImportJob struct {
	Import
	Principal Principal
	Lease     string
}

// PackedRows are what became of consecutive rows of a file, ready to be kept.
type PackedRows struct {
	First, Last int
	Outcomes    string // words found in them, each between spaces
	Packed      []byte
}

// ImportProgress is what one step of a job did.
type ImportProgress struct {
	Rows   []PackedRows
	Report ImportReport
	// RowsDone and RowsTotal count from the beginning of the file.
	RowsDone, RowsTotal int
	File                *ImportFile // what reading told, nil when it is known
	// State, when the step ends the job or holds it.
	State   ImportState
	Outcome ImportOutcome
	// Undo takes back what the step wrote; the rest of the progress is kept.
	Undo bool
}

// MappingID names a saved mapping.
type MappingID string

// ImportMapping is how a sender's headers and codes read.
type ImportMapping struct {
	ID           MappingID
	Name         string
	Kind         ImportKind
	Organisation OrganisationID // whose it is, or
	Network      NetworkID
	Columns      map[string]string            // header → member, "" ignores the column
	Codes        map[string]map[string]string // member → value as written → value meant
	Version      int
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Limits of a mapping.
const (
	MappingColumns = 200
	MappingCodes   = 5000
	MappingsKept   = 100 // of one owner
)

package impact

// Batch is what one request states, each row already resolved. Whether the
// principal may state it, and under which mandate, is found while it is written.
type Batch struct {
	Principal Principal
	Rows      []*Row
	Checker   *Checker
	// Submission the rows join. Empty: each stays in the submission it is in,
	// else joins the open submission of its organisation whose period contains
	// its own, else opens one for its calendar year.
	Submission SubmissionID
	// AllOrNothing refuses the whole batch for the fault of one row.
	AllOrNothing bool
	// RejectWarnings takes each warning of a row for a fault.
	RejectWarnings bool
	// IfVersion, when not 0, is the version that the only row must find on
	// record; the whole is refused (Stale) when it is another.
	IfVersion int
	// Pointer leads to the list of rows in the request: with "/observations",
	// a refusal of the whole points at "/observations/0/indicator"; when empty,
	// at "/indicator".
	Pointer string
}

// Results are in the order of the rows. Seq is the commit a reader waits for to
// see them. Mandates are those that were used, sorted: a network needs one for
// each organisation.
type Results struct {
	Seq      int64
	Rows     []RowResult
	Mandates []MandateID
}

// RowResult says what became of one row. A rejected row has its faults in
// Faults and no observation; of a composed indicator the observation is the
// view of its parts.
type RowResult struct {
	Outcome     Outcome
	Observation Observation
	Faults      []Fault
	Warnings    []Fault
}

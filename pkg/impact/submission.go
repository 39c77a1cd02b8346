package impact

import "time"

// SubmissionID is the public id of a submission.
type SubmissionID string

// SubmissionState is where a submission stands in its life-cycle (api.md 4.1).
type SubmissionState string

// draft → submitted → approved | returned; returned → submitted;
// approved → draft by reopen while the period is open.
const (
	Draft     SubmissionState = "draft"
	Submitted SubmissionState = "submitted"
	Approved  SubmissionState = "approved"
	Returned  SubmissionState = "returned"
)

// Submission gathers the observations of one organisation for one period, with
// its review.
type Submission struct {
	ID            SubmissionID
	Organisation  OrganisationID
	Owner         OrganisationKey // number of the organisation, set by the store
	Period        Period
	Questionnaire string // code or empty
	Source        string
	State         SubmissionState
	Review        Review
	Reason        string // of the last return
	Observations  int
	ActedBy       string
	Mandate       string // under which it was opened
	Version       int
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Deleted       bool
	// Under are the mandates used by the write this is the answer to.
	Under []MandateID
}

// Review tells who approves: a steward, or the rules alone.
type Review string

// Reviews.
const (
	Manual    Review = "manual"
	Automatic Review = "automatic"
)

// Questionnaire is what is asked, of whom, when.
type Questionnaire struct {
	Code           string
	Label          Text
	Indicators     []QuestionnaireItem
	StructureKinds []string // empty = every kind
	From, To       Date
	Review         Review
	Version        int
	UpdatedAt      time.Time
}

// QuestionnaireItem is one indicator asked for.
type QuestionnaireItem struct {
	Indicator IndicatorCode
	Required  bool
}

package impact

import "time"

// Status is a letter of SDMX CL_OBS_STATUS (domain.md C5).
type Status byte

// Statuses that may be sent. Q (suppressed) exists in figures only.
const (
	Normal        Status = 'A'
	Estimated     Status = 'E'
	Provisional   Status = 'P'
	Imputed       Status = 'I'
	Break         Status = 'B'
	NotCollected  Status = 'L'
	NotApplicable Status = 'M'
	Missing       Status = 'O'
	Suppressed    Status = 'Q'
)

// HasNumber tells that a value must stand beside the status.
func (s Status) HasNumber() bool {
	switch s {
	case Normal, Estimated, Provisional, Imputed, Break:
		return true
	}
	return false
}

// Statement is an observation as a sender states it: codes unresolved, number
// as the digits sent. Empty strings are absent members.
type Statement struct {
	Organisation string // id, or siret:… siren:… rna:… ext:{source}:{id}
	Indicator    string
	Territory    string
	Period       string
	// Value holds the digits of the JSON number, or "true"/"false" for booleans.
	Value          string
	ValueNull      bool              // "value": null was written
	Components     map[string]string // numerator, denominator, weight, or leaf codes → digits
	Unit           string
	Status         string
	Disaggregation map[string]string
	Qualifiers     map[string]string
	Programme      string
	Details
}

// Details are the facts about a fact: optional, kept with each version.
type Details struct {
	Note             string   `json:"note,omitempty"`
	EvidenceURL      string   `json:"evidence_url,omitempty"`
	EvidenceLevel    string   `json:"evidence_level,omitempty"` // declared documented verified
	Provenance       string   `json:"provenance,omitempty"`     // p r e a s d
	Source           string   `json:"source,omitempty"`
	ExternalID       string   `json:"external_id,omitempty"`
	Perimeter        string   `json:"reporting_perimeter,omitempty"` // establishment legal_unit group programme
	Covers           []string `json:"covers,omitempty"`              // organisation ids or SIREN included
	TransferredTo    string   `json:"transferred_to,omitempty"`      // SIRET
	AttributionShare string   `json:"attribution_share,omitempty"`   // ]0;1]
	Counting         string   `json:"counting,omitempty"`            // unique attendances
	Stakeholder      string   `json:"stakeholder,omitempty"`
	Need             string   `json:"need,omitempty"`
	ContractUID      string   `json:"contract_uid,omitempty"`
	Cumulative       bool     `json:"cumulative,omitempty"` // refused: running totals are not stored
	OriginalValue    string   `json:"original_value,omitempty"`
	OriginalUnit     string   `json:"original_unit,omitempty"`
}

// CellKey is the natural key of an observation: at most one current value.
type CellKey struct {
	Organisation OrganisationKey
	Indicator    IndicatorKey
	Territory    TerritoryKey
	Period       Period
	// Cut is the canonical text of programme and disaggregation: "" for the
	// whole, else sorted "dimension=code" joined by ";" and, when there is a
	// programme, "programme=…" among them.
	Cut string
}

// Observation is one fact by one organisation, resolved and exact.
type Observation struct {
	CellKey
	Value      *Quantity // nil with a status without number
	Status     Status
	Qualifiers map[string]string
	Details
	MethodologyVersion string

	// Set by the store.
	ID             ObservationID
	OrganisationID OrganisationID
	// Parts are the component observations of the view of a ratio or survey
	// share; such a view is computed and never stored (Value is then the
	// quotient, Version the sum of the versions of its parts).
	Parts []Observation
	// Profile is what the organisation was when this version was written;
	// figures by class use it, not today's attributes (domain.md E24).
	Profile         Profile
	Submission      SubmissionID
	State           SubmissionState // of this version: draft, submitted, approved, returned
	Version         int
	ApprovedVersion int    // 0 = none
	ActedBy         string // client id of who wrote this version
	Mandate         string
	UpdatedAt       time.Time
	Deleted         bool
}

// ObservationID is the opaque public id of an observation. It is derived from
// the natural key: the same fact meets the same id, before and after deletion.
type ObservationID string

// Profile is the class of an organisation at one moment.
type Profile struct {
	Class         OrganisationClass
	StructureKind string
	SizeClass     string
	ESS           string
}

// Outcome says what a write did to one cell.
type Outcome string

// Outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
	Removed   Outcome = "deleted"
	Rejected  Outcome = "rejected"
)

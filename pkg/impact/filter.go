package impact

import "time"

// OrganisationFilter narrows a list of organisations; zero fields narrow
// nothing. Identifiers are normalised (digits only).
type OrganisationFilter struct {
	SIRET, SIREN, RNA string
	ExternalID        *ExternalID
	// Territories: a site in one of them is enough. Descendants are already
	// listed by who asks.
	Territories   []TerritoryID
	ESS           string // "true", "false", "unknown"
	StructureKind string
	Class         OrganisationClass
	Query         string // words of the name, without case and accents
	// UpdatedSince is inclusive; the list is then in the order (UpdatedAt, ID),
	// else in the order of ID.
	UpdatedSince time.Time
}

// ObservationFilter narrows a list of observations; zero fields narrow nothing.
type ObservationFilter struct {
	Organisation OrganisationID
	Indicators   []IndicatorKey
	// Territories: the place of impact is one of them. Descendants are already
	// listed by who asks.
	Territories []TerritoryKey
	// Within: the period of the observation is contained in it.
	Within         *Period
	Submission     SubmissionID
	State          SubmissionState
	UpdatedSince   time.Time // inclusive; order (UpdatedAt, ID)
	IncludeDeleted bool      // tombstones too
}

// SubmissionFilter narrows a list of submissions; zero fields narrow nothing.
type SubmissionFilter struct {
	Organisation   OrganisationID
	Within         *Period
	Questionnaire  string
	State          SubmissionState
	UpdatedSince   time.Time // inclusive; order (UpdatedAt, ID)
	IncludeDeleted bool      // tombstones too
}

// NetworkFilter narrows a list of networks; zero fields narrow nothing.
type NetworkFilter struct {
	Code         string
	Query        string    // words of the name, without case and accents
	UpdatedSince time.Time // inclusive; order (UpdatedAt, ID)
}

// MembershipFilter narrows a list of memberships; zero fields narrow nothing.
type MembershipFilter struct {
	Network        NetworkID
	Organisation   OrganisationID
	On             *Date     // in force on that day
	UpdatedSince   time.Time // inclusive; order (UpdatedAt, ID)
	IncludeDeleted bool      // tombstones too
}

// MandateFilter narrows a list of mandates; zero fields narrow nothing.
type MandateFilter struct {
	Organisation OrganisationID
	Network      NetworkID
	// State on the day Today, which tells granted from expired.
	State        MandateState
	UpdatedSince time.Time // inclusive; order (UpdatedAt, ID)
}

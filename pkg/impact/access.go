package impact

import "time"

// AccessRight is the right by which somebody read or wrote the data of an
// organisation.
type AccessRight string

// Rights.
const (
	RightOwn            AccessRight = "own"
	RightMandate        AccessRight = "mandate"
	RightSteward        AccessRight = "steward"
	RightConsent        AccessRight = "consent"
	RightAdministration AccessRight = "administration" // of the register, never of observations
)

// AccessRights are all of them.
func AccessRights() []AccessRight {
	return []AccessRight{RightOwn, RightMandate, RightSteward, RightConsent, RightAdministration}
}

// RightOf is the right of a role on data that are neither its own nor mandated.
func RightOf(r Role) AccessRight {
	switch r {
	case RoleBuyer:
		return RightConsent
	case RoleAdministrator:
		return RightAdministration
	}
	return RightSteward
}

// Access is one line of the log of who read or wrote an organisation's data.
type Access struct {
	Client       string
	ClientName   string // read, never written
	Action       string // "GET /v1/observations"; a scope under a mandate; "write" of one's own
	Right        AccessRight
	Mandate      MandateID
	Network      NetworkID // that used the mandate
	NetworkName  string
	Organisation OrganisationID // empty: of several organisations
	Resource     string         // id of what was read, or the query
	Rows         int            // about that organisation; 0 when not counted
	At           time.Time
}

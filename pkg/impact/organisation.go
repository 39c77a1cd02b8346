package impact

import "time"

// OrganisationID is the public, opaque id of an organisation.
type OrganisationID string

// OrganisationKey is the database's small number for an organisation.
type OrganisationKey int64

// OrganisationClass is the broad legal family (api.md 5.3).
type OrganisationClass string

// Classes.
const (
	Association OrganisationClass = "association"
	Cooperative OrganisationClass = "cooperative"
	Mutual      OrganisationClass = "mutual"
	Foundation  OrganisationClass = "foundation"
	Company     OrganisationClass = "company"
	PublicBody  OrganisationClass = "public_body"
	OtherClass  OrganisationClass = "other"
)

// Organisation is who acts. SIREN, SIRET, RNA and external ids are attributes
// and not unique: one SIRET can be an ACI and an EI.
type Organisation struct {
	Key            OrganisationKey
	ID             OrganisationID
	Name           string
	SIRET          string // 14 digits or empty
	SIREN          string // 9 digits or empty; implied by SIRET
	RNA            string
	ExternalIDs    []ExternalID
	Class          OrganisationClass
	StructureKind  string // EI, ACI ... or empty
	LegalCategory  string // INSEE, 4 digits
	NAF            string // "38.11Z"
	SizeClass      string // selfEmployed micro small medium sme large
	StaffBand      string // Sirene: NN 00 01 ... 53
	ESS            string // "true", "false", "unknown": social and solidarity economy
	ESSBasis       string // statutory commercial_ess esus assimilated declared
	GroupID        string // organisations of one group are one contributor for secrecy
	Sites          []Site
	Questionnaires []string // codes of questionnaires asked of it
	Successor      OrganisationID
	OpenedOn       Date // MinDate when unknown
	ClosedOn       Date // MaxDate while open
	Version        int
	CreatedAt      time.Time
	UpdatedAt      time.Time
	// Public: only what everyone may read is filled (PublicForm).
	Public bool
}

// ExternalID is the id of an organisation in somebody's system.
type ExternalID struct{ Source, ID string }

// Site is a place of the organisation; Territory is the finest known.
type Site struct {
	SIRET     string
	Territory TerritoryID
	From, To  Date
}

// LegalUnit is what is counted as one contributor: the SIREN, else the
// organisation itself.
func (o *Organisation) LegalUnit() string {
	if o.SIREN != "" {
		return "siren:" + o.SIREN
	}
	return "id:" + string(o.ID)
}

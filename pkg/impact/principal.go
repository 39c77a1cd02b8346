package impact

import "slices"

// Role is what a client acts as.
type Role string

// Roles (api.md, "Who"). A buyer is not a rights holder; an administrator sees
// no observation.
const (
	Anonymous         Role = ""
	RoleOrganisation  Role = "organisation"
	RoleNetwork       Role = "network"
	RoleBuyer         Role = "buyer"
	RoleSteward       Role = "steward"
	RoleAdministrator Role = "administrator"
)

// Scope opens the door of a route; the right on an organisation is another
// matter, decided here in the domain.
type Scope string

// Scopes of this version (api.md 12).
const (
	ObservationsRead   Scope = "observations.read"
	ObservationsWrite  Scope = "observations.write"
	SubmissionsManage  Scope = "submissions.manage"
	SubmissionsReview  Scope = "submissions.review"
	OrganisationsRead  Scope = "organisations.read"
	OrganisationsWrite Scope = "organisations.write"
	AggregatesLive     Scope = "aggregates.live"
	ReferenceManage    Scope = "reference.manage"
	ClientsManage      Scope = "clients.manage"
	ImportsWrite       Scope = "imports.write"
	MembersSync        Scope = "members.sync"
	MandatesManage     Scope = "mandates.manage"
	ConsentsManage     Scope = "consents.manage"
	WebhooksManage     Scope = "webhooks.manage"
	TokensIntrospect   Scope = "tokens.introspect"
	KeysManage         Scope = "keys.manage"
	ReleasesPublish    Scope = "releases.publish"
	ReleasesAudit      Scope = "releases.audit"
)

// NetworkID names a network: made by the server, opaque.
type NetworkID string

// Principal is who calls, and what the token allows. The zero value is an
// anonymous caller.
type Principal struct {
	Client       string // client id, also the subject of the token
	Name         string
	Role         Role
	Organisation OrganisationID // for RoleOrganisation
	Network      NetworkID      // for RoleNetwork
	Buyer        string         // for RoleBuyer
	Scopes       []Scope
	Key          string // id of the API key the call was made with, or empty
}

// IsAnonymous tells that nobody is known behind the call.
func (p Principal) IsAnonymous() bool { return p.Role == Anonymous }

// Has tells that the token carries the scope.
func (p Principal) Has(s Scope) bool { return slices.Contains(p.Scopes, s) }

// Is tells that the caller is the organisation itself, which needs no mandate.
func (p Principal) Is(org OrganisationID) bool {
	return p.Role == RoleOrganisation && org != "" && p.Organisation == org
}

// AllowedScopes is what a client of this role is given unless told otherwise,
// and with the scopes given by name the ceiling of it (api.md 12, MayHold).
func AllowedScopes(r Role) []Scope {
	switch r {
	case RoleOrganisation:
		return []Scope{
			ObservationsRead, ObservationsWrite, ImportsWrite, SubmissionsManage, OrganisationsRead, OrganisationsWrite,
			AggregatesLive, MandatesManage, ConsentsManage, WebhooksManage, KeysManage,
		}
	case RoleNetwork:
		return []Scope{
			ObservationsRead, ObservationsWrite, ImportsWrite, SubmissionsManage, OrganisationsRead, OrganisationsWrite,
			AggregatesLive, MembersSync, MandatesManage, WebhooksManage, KeysManage,
		}
	case RoleBuyer:
		return []Scope{ObservationsRead, OrganisationsRead, MandatesManage, WebhooksManage, KeysManage}
	case RoleSteward:
		return []Scope{ObservationsRead, SubmissionsReview, OrganisationsRead, AggregatesLive, ReleasesPublish, WebhooksManage}
	case RoleAdministrator:
		return []Scope{OrganisationsRead, OrganisationsWrite, ReferenceManage, ClientsManage, ReleasesPublish, WebhooksManage}
	}
	return nil
}

// byName are scopes that no client gets without being named for them: they tell
// about others.
var byName = map[Role][]Scope{
	RoleSteward:       {TokensIntrospect, ReleasesAudit},
	RoleAdministrator: {TokensIntrospect},
}

// MayHold tells whether a client of this role may be given the scope.
func MayHold(r Role, s Scope) bool {
	return slices.Contains(AllowedScopes(r), s) || slices.Contains(byName[r], s)
}

// Ceiling lists what MayHold allows.
func Ceiling(r Role) []Scope { return slices.Concat(AllowedScopes(r), byName[r]) }

// Scopes lists every scope that some client may hold, in alphabetical order.
func Scopes() []Scope {
	var all []Scope
	for _, r := range []Role{RoleOrganisation, RoleNetwork, RoleBuyer, RoleSteward, RoleAdministrator} {
		all = append(all, Ceiling(r)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

package api

import (
	"context"

	"github.com/grandlyon/retombees/pkg/impact"
)

// NetworkStore keeps networks and who belongs to them.
type NetworkStore interface {
	Networks(ctx context.Context, f impact.NetworkFilter, page impact.Page) ([]impact.Network, []string, error)
	// Network takes an id or a code.
	Network(ctx context.Context, ref string) (impact.Network, error)
	CreateNetwork(ctx context.Context, p impact.Principal, n impact.Network) (impact.Network, error)
	UpdateNetwork(ctx context.Context, p impact.Principal, id impact.NetworkID, version int, change func(*impact.Network) error) (impact.Network, error)
	Memberships(ctx context.Context, p impact.Principal, f impact.MembershipFilter, page impact.Page) ([]impact.Membership, []string, error)
	MemberCandidates(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error)
	PutMembership(ctx context.Context, p impact.Principal, network impact.NetworkID, o *impact.Organisation, m impact.Membership) (impact.Membership, impact.Outcome, error)
	RemoveMember(ctx context.Context, p impact.Principal, network impact.NetworkID, organisation impact.OrganisationID) error
}

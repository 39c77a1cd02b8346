package api

import (
	"context"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MandateStore keeps the mandates that organisations give to networks, and what
// is done with them. Each method shows and changes what the principal is a side
// of, and nothing else exists for it.
type MandateStore interface {
	Mandates(ctx context.Context, p impact.Principal, f impact.MandateFilter, page impact.Page) ([]impact.Mandate, []string, error)
	Mandate(ctx context.Context, p impact.Principal, id impact.MandateID) (impact.Mandate, error)
	CreateMandate(ctx context.Context, p impact.Principal, m impact.Mandate) (impact.Mandate, error)
	DecideMandate(ctx context.Context, p impact.Principal, id impact.MandateID, action impact.MandateAction) (impact.Mandate, error)
	MandateUses(ctx context.Context, p impact.Principal, id impact.MandateID, page impact.Page) ([]impact.MandateUse, []string, error)
	// Mandated tells which uses a network's mandates allow today, LogUses keeps
	// what was done with them.
	Mandated(ctx context.Context, p impact.Principal, uses ...impact.Use) ([]impact.Permit, error)
	LogUses(ctx context.Context, p impact.Principal, action string, rows map[impact.MandateID]int) error
}

package store

import (
	"context"
	"fmt"

	"github.com/grandlyon/retombees/pkg/impact"
)

type accessRow struct {
	ID             int64 `gorm:"primaryKey;autoIncrement:false"`
	At             int64
	Client, Action string
	Organisation   impact.OrganisationID
	Resource       string
}

func (accessRow) TableName() string { return "access_log" }

// LogAccess notes who read or wrote whose data. At is now when zero. The log is
// append-only.
func (s *Store) LogAccess(ctx context.Context, lines ...impact.Access) error {
	if len(lines) == 0 {
		return nil
	}
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
		now := s.now()
		rows := make([]accessRow, len(lines))
		for i, a := range lines {
			if a.At.IsZero() {
				a.At = now
			}
			rows[i] = accessRow{s.clock.next(now), a.At.UnixMilli(), a.Client, a.Action, a.Organisation, a.Resource}
		}
		return s.orm(ctx).CreateInBatches(rows, 500).Error
	})
	if err != nil {
		return fmt.Errorf("logging an access: %w", err)
	}
	return nil
}

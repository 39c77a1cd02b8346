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

// LogAccess notes who read or wrote an organisation's data. At is now when
// zero. The log is append-only.
func (s *Store) LogAccess(ctx context.Context, a impact.Access) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		at := a.At
		if at.IsZero() {
			at = s.now()
		}
		return s.orm(ctx).Create(&accessRow{s.clock.next(s.now()), at.UnixMilli(), a.Client, a.Action, a.Organisation, a.Resource}).Error
	})
	if err != nil {
		return fmt.Errorf("logging an access: %w", err)
	}
	return nil
}

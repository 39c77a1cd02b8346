package store

import (
	"context"
	"fmt"
	"time"

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

// Accesses gives who read or wrote the data of an organisation, the last
// first, at most limit.
func (s *Store) Accesses(ctx context.Context, of impact.OrganisationID, limit int) ([]impact.Access, error) {
	var rows []accessRow
	err := s.orm(ctx).Where("organisation = ?", of).Order("id DESC").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the log of accesses: %w", err)
	}
	list := make([]impact.Access, len(rows))
	for i, r := range rows {
		list[i] = impact.Access{Client: r.Client, Action: r.Action, Organisation: r.Organisation, Resource: r.Resource, At: time.UnixMilli(r.At).UTC()}
	}
	return list, nil
}

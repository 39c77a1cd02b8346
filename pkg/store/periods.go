package store

import (
	"context"
	"fmt"

	"github.com/grandlyon/retombees/pkg/impact"
)

// LockPeriod closes a period: no observation that touches it can be written or
// deleted any more, by anyone. Stewards close and reopen.
func (s *Store) LockPeriod(ctx context.Context, p impact.Principal, period impact.Period) error {
	return s.setLock(ctx, p, `INSERT INTO locked_periods (period_start, period_end, locked_at) SELECT CAST($1 AS INTEGER), CAST($2 AS INTEGER), CAST($3 AS BIGINT)
		WHERE NOT EXISTS (SELECT 1 FROM locked_periods WHERE period_start = $1 AND period_end = $2)`, int32(period.Start), int32(period.End), s.now().UnixMilli())
}

// UnlockPeriod opens a period again, just as it was closed.
func (s *Store) UnlockPeriod(ctx context.Context, p impact.Principal, period impact.Period) error {
	return s.setLock(ctx, p, `DELETE FROM locked_periods WHERE period_start = $1 AND period_end = $2`, int32(period.Start), int32(period.End))
}

func (s *Store) setLock(ctx context.Context, p impact.Principal, query string, args ...any) error {
	if p.Role != impact.RoleSteward {
		return forbidden("submissions.review")
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		_, err := t.tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("closing or reopening a period: %w", err)
	}
	return nil
}

// LockedPeriods lists the closed periods.
func (s *Store) LockedPeriods(ctx context.Context) ([]impact.Period, error) {
	var list []impact.Period
	err := s.snapshot(ctx, func(ctx context.Context, t *txn) error { return s.dialect.run(ctx, t, lockedPeriods(&list)) })
	if err != nil {
		return nil, fmt.Errorf("reading the closed periods: %w", err)
	}
	return list, nil
}

func lockedPeriods(into *[]impact.Period) step {
	return step{
		query: `SELECT period_start, period_end FROM locked_periods ORDER BY period_start, period_end`, numbers: 2,
		each: func(n []int64, _ []bool, _ []string) error {
			*into = append(*into, impact.Period{Start: impact.Date(n[0]), End: impact.Date(n[1])})
			return nil
		},
	}
}

// unlocked refuses what touches a closed period.
func (s *Store) unlocked(locked []impact.Period, p impact.Period) error {
	for _, closed := range locked {
		if closed.Overlaps(p) {
			return &impact.Error{Kind: impact.Locked, Code: "period_locked", Detail: impact.Text{
				FR: "La période " + closed.String() + " est close.", EN: "The period " + closed.String() + " is closed.",
			}, Hint: impact.Text{
				FR: "Un instructeur de la Métropole peut la rouvrir.", EN: "A steward of the Métropole can reopen it.",
			}}
		}
	}
	return nil
}

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ClaimRelease takes up a build that waits, or whose process died: the one named,
// or "" for the oldest. Nil when there is none, or when another process is
// building: one at a time, among all replicas. What a former process left of it is
// forgotten, and it begins afresh; after releaseAttempts it has failed.
func (s *Store) ClaimRelease(ctx context.Context, id string, lease time.Duration) (job *impact.ReleaseJob, err error) {
	waiting := func(ctx context.Context) (rows []releaseRow, err error) {
		db := s.orm(ctx).Where("state = ?", impact.ReleaseBuilding)
		if id != "" {
			db = db.Where("id = ?", id)
		}
		return rows, db.Order("created_at, id").Limit(1).Find(&rows).Error
	}
	// Looking first costs no transaction when there is nothing to do.
	if rows, err := waiting(ctx); err != nil || len(rows) == 0 {
		return nil, err
	}
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		job = nil
		holder := s.newID()
		done, err := t.tx.ExecContext(ctx, `UPDATE release_lease SET holder = $1, until = $2 WHERE key = 1 AND (holder = '' OR until < $3)`,
			holder, s.now().Add(lease).UnixMilli(), s.now().UnixMilli())
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		rows, err := waiting(ctx)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return s.endLease(ctx, t, holder)
		}
		r := &rows[0]
		if err := emptyRelease(ctx, t, r.ID); err != nil {
			return err
		}
		r.Attempts++
		r.UnitsDone, r.UnitsTotal = 0, 0
		if r.Attempts > releaseAttempts {
			r.State, r.UpdatedAt = impact.ReleaseFailed, instant(t.id).UnixMilli()
			r.Version++
			err := inJSON(map[*string]any{&r.Reason: impact.Text{
				FR: "La préparation s'est interrompue plusieurs fois.", EN: "The build broke off several times.",
			}})
			return errors.Join(err, s.orm(ctx).Save(r).Error, s.endLease(ctx, t, holder))
		}
		if err := s.orm(ctx).Save(r).Error; err != nil {
			return err
		}
		job = &impact.ReleaseJob{Lease: holder}
		job.Release, err = r.release()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("taking up a release: %w", err)
	}
	return job, nil
}

// releaseAttempts is how often a build is begun again after its process died.
const releaseAttempts = 3

func (s *Store) endLease(ctx context.Context, t *txn, holder string) error {
	_, err := t.tx.ExecContext(ctx, `UPDATE release_lease SET holder = '', until = 0 WHERE key = 1 AND holder = $1`, holder)
	return err
}

// ErrReleaseLost tells a builder that its release was taken up by another
// process, or discarded.
var ErrReleaseLost = errors.New("the release is held by another process, or was discarded")

// held keeps the lease of a job until the transaction ends.
func (s *Store) held(ctx context.Context, t *txn, job *impact.ReleaseJob) (r releaseRow, err error) {
	done, err := t.tx.ExecContext(ctx, `UPDATE release_lease SET until = until WHERE key = 1 AND holder = $1`, job.Lease)
	if err != nil {
		return r, err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return r, cmp.Or(err, ErrReleaseLost)
	}
	var rows []releaseRow
	if err := s.orm(ctx).Where("id = ? AND state = ?", job.Key, impact.ReleaseBuilding).Find(&rows).Error; err != nil {
		return r, err
	}
	if len(rows) == 0 {
		return r, ErrReleaseLost
	}
	return rows[0], nil
}

// HoldRelease prolongs a lease and notes how far the build is; ErrReleaseLost
// when it is no longer ours.
func (s *Store) HoldRelease(ctx context.Context, job *impact.ReleaseJob, lease time.Duration, done, total int) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		if _, err := s.held(ctx, t, job); err != nil {
			return err
		}
		if _, err := t.tx.ExecContext(ctx, `UPDATE release_lease SET until = $1 WHERE key = 1`, s.now().Add(lease).UnixMilli()); err != nil {
			return err
		}
		_, err := t.tx.ExecContext(ctx, `UPDATE releases SET units_done = $1, units_total = $2 WHERE id = $3`, done, total, job.Key)
		return err
	})
	if err != nil {
		return fmt.Errorf("holding a release: %w", err)
	}
	return nil
}

// LeaveRelease lets another process take up the build at once.
func (s *Store) LeaveRelease(ctx context.Context, job *impact.ReleaseJob) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		switch _, err := s.held(ctx, t, job); {
		case errors.Is(err, ErrReleaseLost):
			return s.endLease(ctx, t, job.Lease) // discarded
		case err != nil:
			return err
		}
		if _, err := t.tx.ExecContext(ctx, `UPDATE releases SET attempts = attempts - 1 WHERE id = $1 AND attempts > 0`, job.Key); err != nil {
			return err
		}
		return s.endLease(ctx, t, job.Lease)
	})
	if err != nil {
		return fmt.Errorf("leaving a release: %w", err)
	}
	return nil
}

// FinishRelease ends a build. What was made becomes a candidate; it is published
// in the same transaction when that was asked for and the auditor found nothing.
// A dry run keeps its counts only.
func (s *Store) FinishRelease(ctx context.Context, job *impact.ReleaseJob, made *impact.Release) (after impact.Release, err error) {
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, err := s.held(ctx, t, job)
		if err != nil {
			return err
		}
		now := instant(t.id).UnixMilli()
		row.State, row.BuiltAt, row.UpdatedAt = impact.ReleaseCandidate, now, now
		row.Version++
		if err := row.describe(made); err != nil {
			return err
		}
		if row.DryRun != 0 {
			row.State = impact.ReleaseDiscarded
			if err := emptyRelease(ctx, t, row.ID); err != nil {
				return err
			}
		}
		err = s.orm(ctx).Save(&row).Error
		if err == nil {
			after, err = row.release()
		}
		if err == nil && row.State == impact.ReleaseCandidate && row.Publish != 0 && after.PublishesItself() {
			after, err = s.publish(ctx, t, impact.Principal{Client: row.RequestedBy}, &row)
		}
		if err == nil {
			err = s.sweep(ctx, t)
		}
		return errors.Join(err, s.endLease(ctx, t, job.Lease))
	})
	if err != nil {
		return impact.Release{}, fmt.Errorf("finishing a release: %w", err)
	}
	return after, nil
}

// FailRelease ends a build that cannot succeed, with the reason.
func (s *Store) FailRelease(ctx context.Context, job *impact.ReleaseJob, reason impact.Text) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, err := s.held(ctx, t, job)
		if errors.Is(err, ErrReleaseLost) {
			return s.endLease(ctx, t, job.Lease) // discarded meanwhile
		}
		if err != nil {
			return err
		}
		row.State, row.UpdatedAt = impact.ReleaseFailed, instant(t.id).UnixMilli()
		row.Version++
		err = inJSON(map[*string]any{&row.Reason: reason})
		if err == nil {
			err = s.orm(ctx).Save(&row).Error
		}
		if err == nil {
			err = emptyRelease(ctx, t, row.ID)
		}
		if err == nil {
			err = s.sweep(ctx, t)
		}
		return errors.Join(err, s.endLease(ctx, t, job.Lease))
	})
	if err != nil {
		return fmt.Errorf("giving a release up: %w", err)
	}
	return nil
}

// FollowCalendar gives the last instant of the calendar that was served, or the
// one at which somebody first followed this calendar: now, when nobody did.
func (s *Store) FollowCalendar(ctx context.Context, expression string, now time.Time) (last time.Time, err error) {
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		if _, err := t.tx.ExecContext(ctx, `INSERT INTO release_calendars (expression, since) VALUES ($1, $2) ON CONFLICT (expression) DO NOTHING`, expression, now.UnixMilli()); err != nil {
			return err
		}
		var since, served int64
		err := t.tx.QueryRowContext(ctx, `SELECT since, (SELECT coalesce(max(scheduled_for), 0) FROM releases) FROM release_calendars WHERE expression = $1`, expression).Scan(&since, &served)
		last = moment(max(since, served))
		return err
	})
	if err != nil {
		return last, fmt.Errorf("following a calendar: %w", err)
	}
	return last, nil
}

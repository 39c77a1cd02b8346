// Package publish has releases built: one at a time among all replicas, under a
// lease, from a snapshot of its own that no writer waits for. A build whose
// process dies is begun afresh by another one; until it is whole nobody sees any
// of it, and the release before keeps serving.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// Snapshot is all that figures are made from, at one commit.
type Snapshot struct {
	Cube   *calculation.Cube
	Seq    int64
	Waived map[impact.OrganisationID]bool // agreed to be recognised
}

// Store keeps releases.
type Store interface {
	Calendar
	ClaimRelease(ctx context.Context, id string, lease time.Duration) (*impact.ReleaseJob, error)
	HoldRelease(ctx context.Context, job *impact.ReleaseJob, lease time.Duration, done, total int) error
	LeaveRelease(ctx context.Context, job *impact.ReleaseJob) error
	KeepUnits(ctx context.Context, job *impact.ReleaseJob, units ...release.Sealed) error
	KeepAudit(ctx context.Context, job *impact.ReleaseJob, found ...impact.ReleaseAudit) error
	FinishRelease(ctx context.Context, job *impact.ReleaseJob, made *impact.Release) (impact.Release, error)
	FailRelease(ctx context.Context, job *impact.ReleaseJob, reason impact.Text) error
	PublicReleases(ctx context.Context) ([]impact.Release, error)
	UnitNames(ctx context.Context, id string) ([]release.Unit, error)
	UnitBefore(ctx context.Context, id string, unit release.Unit) (*release.Sealed, error)
	AuditBefore(ctx context.Context, id string, unit release.Unit, input [32]byte) (*impact.ReleaseAudit, error)
}

// Config of a Runner.
type Config struct {
	Store Store
	// Snapshot reads the facts at one instant.
	Snapshot func(context.Context) (Snapshot, error)
	// Make lays a release out, protects it and audits it: see Make of this package.
	Make func(context.Context, *Bench) (impact.Release, error)
	Log  *slog.Logger
	Now  func() time.Time
	// Lease is how long a build is left to a process that gives no sign of life,
	// Poll how often builds without a process are looked for.
	Lease, Poll time.Duration
	// Workers bound how many units are protected at once: half of the processors
	// unless told, so that requests are served meanwhile.
	Workers int
	// Schedule is when releases are built and published by themselves; nil = never.
	Schedule *Schedule
	// Published is called when a release was published or withdrawn here.
	Published func(context.Context) error
}

// Bench is what one build is made on.
type Bench struct {
	Job      impact.ReleaseJob
	Snapshot Snapshot
	Workers  int
	// Former are the releases that were published, withdrawn ones included.
	Former []impact.Release
	// Names lists the units of the last of them; Before gives one with its ledger,
	// nil when there is none.
	Names  []release.Unit
	Before func(release.Unit) (*release.Sealed, error)
	// Audited is what the auditor found in a unit of that release which was made from
	// the same, nil when there is none.
	Audited func(*release.Sealed) (*impact.ReleaseAudit, error)
	// Keep takes units as they are sealed, Sealed gives one back; Found takes what the
	// auditor says of them; Progress how many are done. All are safe for concurrent use.
	Keep     func(release.Sealed) error
	Sealed   func(release.Unit) (*release.Sealed, error)
	Found    func(impact.ReleaseAudit) error
	Progress func(done, total int)
}

// Runner builds releases until it is closed.
type Runner struct {
	Config
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
	wake chan struct{}
}

// Start begins to work on what waits.
func Start(c Config) *Runner {
	ctx, stop := context.WithCancel(context.Background())
	r := &Runner{Config: c, ctx: ctx, stop: stop, wake: make(chan struct{}, 1)}
	r.work.Go(r.poll)
	return r
}

// Close stops: what is under way is begun afresh by another process, or when the
// program starts again.
func (r *Runner) Close() {
	r.stop()
	r.work.Wait()
}

// Wake has the runner look for work now.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Moved has this process serve what was just published or withdrawn.
func (r *Runner) Moved(ctx context.Context) error {
	if r.Published == nil {
		return nil
	}
	return r.Published(ctx)
}

func (r *Runner) poll() {
	ticker := time.NewTicker(r.Poll)
	defer ticker.Stop()
	for {
		if r.Schedule != nil {
			if err := r.Schedule.ask(r.ctx, r.Store, r.Now()); err != nil && r.ctx.Err() == nil {
				r.Log.Error("asking for the release of the calendar", "error", err)
			}
		}
		for r.ctx.Err() == nil {
			done, _, err := r.Work(r.ctx, "")
			if err != nil && r.ctx.Err() == nil {
				r.Log.Error("building a release", "error", err)
			}
			if !done || err != nil {
				break
			}
		}
		select {
		case <-r.ctx.Done():
			return
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// Work builds one release: the one named, or the oldest that waits. done is false
// when there is none, or when another process is building.
func (c *Config) Work(ctx context.Context, id string) (done bool, made impact.Release, err error) {
	job, err := c.Store.ClaimRelease(ctx, id, c.Lease)
	if err != nil || job == nil {
		return false, impact.Release{}, err
	}
	began := c.Now()
	c.Log.Info("building a release", "number", job.Number, "id", job.Key, "day", job.Day)
	building, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	var unitsDone, unitsTotal atomic.Int64
	var holding sync.WaitGroup
	holding.Go(func() { c.hold(building, lost, job, &unitsDone, &unitsTotal) })
	made, err = c.build(building, job, func(done, total int) {
		unitsDone.Store(int64(done))
		unitsTotal.Store(int64(total))
	})
	held := context.Cause(building)
	lost(nil)
	holding.Wait()
	switch {
	case err == nil:
		c.Log.Info("release built", "number", made.Number, "id", made.Key, "state", made.State, "cells", made.Counts.Cells, "shown", made.Counts.Shown,
			"withheld", made.Counts.Withheld, "took", c.Now().Sub(began).Round(time.Millisecond))
		if made.State == impact.ReleasePublished && c.Published != nil {
			err = c.Published(ctx)
		}
		return true, made, err
	case ctx.Err() != nil:
		// Stopping: another process need not wait for the lease to end.
		return true, made, errors.Join(err, c.Store.LeaveRelease(context.WithoutCancel(ctx), job))
	case held != nil && !errors.Is(held, context.Canceled):
		c.Log.Warn("a build was discarded, or taken up by another process", "id", job.Key, "error", held)
		return true, made, errors.Join(held, c.Store.LeaveRelease(ctx, job))
	default:
		failed := c.Store.FailRelease(ctx, job, impact.Text{
			FR: "La préparation a échoué : le journal du service dit pourquoi.", EN: "The build failed: the log of the service tells why.",
		})
		return true, made, errors.Join(err, failed)
	}
}

// hold prolongs the lease while a release is built.
func (c *Config) hold(ctx context.Context, lost context.CancelCauseFunc, job *impact.ReleaseJob, done, total *atomic.Int64) {
	ticker := time.NewTicker(c.Lease / 4)
	defer ticker.Stop()
	failing := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := c.Store.HoldRelease(ctx, job, c.Lease, int(done.Load()), int(total.Load()))
		if err == nil {
			failing = 0
			continue
		}
		// The database may be away for a moment; the lease is longer than that.
		if failing++; failing == 2 {
			lost(err)
			return
		}
	}
}

// build makes one release and ends it in the store.
func (c *Config) build(ctx context.Context, job *impact.ReleaseJob, progress func(done, total int)) (made impact.Release, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	b := &Bench{Job: *job, Workers: c.Workers, Progress: progress}
	if b.Workers <= 0 {
		b.Workers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if b.Former, err = c.Store.PublicReleases(ctx); err != nil {
		return made, err
	}
	b.Before = func(release.Unit) (*release.Sealed, error) { return nil, nil }
	b.Audited = func(*release.Sealed) (*impact.ReleaseAudit, error) { return nil, nil }
	if n := len(b.Former); n > 0 {
		last := b.Former[n-1].Key
		if b.Names, err = c.Store.UnitNames(ctx, last); err != nil {
			return made, err
		}
		b.Before = func(u release.Unit) (*release.Sealed, error) { return c.Store.UnitBefore(ctx, last, u) }
		b.Audited = func(u *release.Sealed) (*impact.ReleaseAudit, error) {
			return c.Store.AuditBefore(ctx, last, u.Unit, u.Input)
		}
	}
	if b.Snapshot, err = c.Snapshot(ctx); err != nil {
		return made, err
	}
	kept := &batch{store: c.Store, job: job, ctx: ctx}
	b.Keep, b.Sealed, b.Found = kept.keep, kept.sealed, kept.found
	if made, err = c.Make(ctx, b); err != nil {
		return made, err
	}
	if err := kept.flush(); err != nil {
		return made, err
	}
	made.Seq = b.Snapshot.Seq
	return c.Store.FinishRelease(ctx, job, &made)
}

// batch gathers units into transactions that are neither many nor long: on SQLite
// other writers wait for them.
type batch struct {
	store Store
	job   *impact.ReleaseJob
	ctx   context.Context

	mu     sync.Mutex
	units  []release.Sealed
	audits []impact.ReleaseAudit
	bytes  int
}

const (
	batchUnits = 64
	batchBytes = 1 << 20
)

func (s *batch) keep(u release.Sealed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units, s.bytes = append(s.units, u), s.bytes+len(u.Figures)+len(u.Ledger)
	if len(s.units) < batchUnits && s.bytes < batchBytes {
		return nil
	}
	return s.write()
}

func (s *batch) found(a impact.ReleaseAudit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.audits = append(s.audits, a); len(s.audits) < batchUnits {
		return nil
	}
	return s.write()
}

// sealed reads a unit back as the next release will.
func (s *batch) sealed(u release.Unit) (*release.Sealed, error) {
	s.mu.Lock()
	var err error
	if len(s.units) > 0 {
		err = s.write()
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	kept, err := s.store.UnitBefore(s.ctx, s.job.Key, u)
	if err == nil && kept == nil {
		err = fmt.Errorf("unit %s %d was not kept", u.Family, u.Year)
	}
	return kept, err
}

func (s *batch) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write()
}

func (s *batch) write() error {
	if len(s.units) > 0 {
		if err := s.store.KeepUnits(s.ctx, s.job, s.units...); err != nil {
			return err
		}
	}
	if len(s.audits) > 0 {
		if err := s.store.KeepAudit(s.ctx, s.job, s.audits...); err != nil {
			return err
		}
	}
	s.units, s.audits, s.bytes = nil, nil, 0
	return nil
}

// Package imports turns files into facts. An import is a job: recorded with its
// file, taken up by one worker among those of every replica, read twice (once to
// know its rows, once to write them), written two thousand rows at a time. Each
// such step is one transaction that also records how far the job is, so that
// a job whose worker dies goes on where it stood and writes nothing twice.
package imports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Store keeps jobs and what they write.
type Store interface {
	ClaimImport(ctx context.Context, id impact.ImportID, lease time.Duration) (*impact.ImportJob, error)
	HoldImport(ctx context.Context, job *impact.ImportJob, lease time.Duration) error
	ReleaseImport(ctx context.Context, job *impact.ImportJob) error
	ImportCancelled(ctx context.Context, job *impact.ImportJob) (bool, error)
	WriteImport(ctx context.Context, job *impact.ImportJob, do func(context.Context) (impact.ImportProgress, error)) error
	PackImportRows(rows []impact.ImportRow) (impact.PackedRows, error)
	JobSource(ctx context.Context, job *impact.ImportJob) io.Reader
	ImportMapping(ctx context.Context, p impact.Principal, id impact.MappingID) (impact.ImportMapping, error)

	Catalogue(ctx context.Context) (*impact.Catalogue, error)
	FindEachOrganisation(ctx context.Context, p impact.Principal, refs []string) (map[string][]impact.Organisation, error)
	Observations(ctx context.Context, p impact.Principal, f impact.ObservationFilter, page impact.Page) ([]impact.Observation, []string, error)
	PutObservations(ctx context.Context, b impact.Batch) (impact.Results, error)
	SyncMembers(ctx context.Context, p impact.Principal, list impact.MemberSync) (impact.MemberResults, error)
}

// Config of a Runner.
type Config struct {
	Store Store
	Log   *slog.Logger
	Now   func() time.Time
	// Lease is how long a job is left to a worker that gives no sign of life,
	// Poll how often jobs without a worker are looked for.
	Lease, Poll time.Duration
}

// Lanes: files that are soon done do not wait for long ones, and the long ones
// that are under way at once bound the memory of the process.
const (
	shortLanes = 4
	longLanes  = 2
	shortFile  = 256 << 10
)

// Runner works on imports until it is closed.
type Runner struct {
	Config
	ctx         context.Context
	stop        context.CancelFunc
	work        sync.WaitGroup
	short, long chan struct{}
}

// Start begins to work on what waits.
func Start(c Config) *Runner {
	ctx, stop := context.WithCancel(context.Background())
	r := &Runner{Config: c, ctx: ctx, stop: stop, short: make(chan struct{}, shortLanes), long: make(chan struct{}, longLanes)}
	r.work.Go(r.poll)
	return r
}

// Close stops at the next step: what is under way is taken up again by another
// worker, or when the program starts again.
func (r *Runner) Close() {
	r.stop()
	r.work.Wait()
}

// Run begins to work on an import that was just recorded. done is closed when it
// no longer runs here, long when it has more rows than a caller waits for.
func (r *Runner) Run(id impact.ImportID, size int64) (done, long <-chan struct{}) {
	lane := r.short
	if size > shortFile {
		lane = r.long
	}
	ended, tooLong := make(chan struct{}), make(chan struct{})
	r.work.Go(func() {
		defer close(ended)
		select {
		case lane <- struct{}{}:
		case <-r.ctx.Done():
			return
		}
		defer func() { <-lane }()
		r.take(id, func() { close(tooLong) })
	})
	return ended, tooLong
}

// poll takes up what no worker holds.
func (r *Runner) poll() {
	ticker := time.NewTicker(r.Poll)
	defer ticker.Stop()
	for {
		select {
		case r.long <- struct{}{}:
			for r.ctx.Err() == nil && r.take("", func() {}) {
			}
			<-r.long
		default: // every lane is taken
		}
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// take works on a job, any one when id is empty, and tells whether there was
// one.
func (r *Runner) take(id impact.ImportID, long func()) bool {
	job, err := r.Store.ClaimImport(r.ctx, id, r.Lease)
	if err != nil && r.ctx.Err() == nil {
		r.Log.Error("taking up an import", "error", err)
	}
	if err != nil || job == nil {
		return false
	}
	ctx, lost := context.WithCancel(r.ctx)
	defer lost()
	var holding sync.WaitGroup
	holder := *job // as it is now: the worker renews its own
	holding.Go(func() { r.hold(ctx, lost, &holder) })
	err = r.do(ctx, job, long)
	held := ctx.Err() == nil
	lost()
	holding.Wait()
	switch {
	case err == nil:
		r.Log.Info("import", "id", job.ID, "kind", job.Kind, "state", job.State, "rows", job.RowsDone)
	case r.ctx.Err() != nil:
		// Stopping: another worker need not wait for the lease to end.
		if err := r.Store.ReleaseImport(context.WithoutCancel(ctx), job); err != nil {
			r.Log.Error("releasing an import", "id", job.ID, "error", err)
		}
	case !held:
		r.Log.Warn("an import was taken up by another worker", "id", job.ID)
	default:
		r.Log.Error("an import broke off and will be taken up again", "id", job.ID, "error", err)
	}
	return true
}

// hold prolongs the lease while the job is worked on.
func (r *Runner) hold(ctx context.Context, lost context.CancelFunc, job *impact.ImportJob) {
	ticker := time.NewTicker(r.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := r.Store.HoldImport(ctx, job, r.Lease); err != nil && ctx.Err() == nil {
			r.Log.Warn("holding an import", "id", job.ID, "error", err)
			lost()
			return
		}
	}
}

// do works on a job until it ends. A file that cannot be processed ends it too;
// any other error leaves it to be taken up again.
func (r *Runner) do(ctx context.Context, job *impact.ImportJob, long func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	w := &worker{Runner: r, job: job, asked: job.Options, long: long}
	err = w.run(ctx)
	refusal, refused := errors.AsType[*impact.Error](err)
	if !refused || refusal.Kind == impact.Internal || refusal.Kind == impact.Busy {
		return err
	}
	return r.Store.WriteImport(ctx, job, func(context.Context) (impact.ImportProgress, error) {
		report := job.Report.Clone()
		report.Problem = &impact.ImportProblem{Code: refusal.Code, Detail: refusal.Detail, Hint: refusal.Hint, Faults: refusal.Faults}
		return impact.ImportProgress{Report: report, RowsDone: job.RowsDone, RowsTotal: job.RowsTotal, State: impact.ImportFailed}, nil
	})
}

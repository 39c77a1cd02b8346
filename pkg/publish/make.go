package publish

import (
	"context"
	"fmt"
	"sync"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// Auditor looks for what can be recovered from one unit.
type Auditor func(*release.AuditCase, disclosure.Rules) (impact.ReleaseAudit, error)

// Make gives the Maker of releases: laid out and protected by package release,
// then held to an auditor, nil for none.
func Make(rules disclosure.Rules, audit Auditor) func(context.Context, *Bench) (impact.Release, error) {
	return func(ctx context.Context, b *Bench) (made impact.Release, err error) {
		var withdrawn []impact.ReleaseNumber
		for i := range b.Former {
			if b.Former[i].State == impact.ReleaseWithdrawn {
				withdrawn = append(withdrawn, b.Former[i].Number)
			}
		}
		auditors := newAuditors(ctx, b, rules, audit)
		built, err := release.Build(ctx, release.Input{
			Cube: b.Snapshot.Cube, Day: b.Job.Day, Embargo: b.Job.Embargo, Number: b.Job.Number, Rules: rules,
			Waived:  func(id impact.OrganisationID) bool { return b.Snapshot.Waived[id] },
			Earlier: b.Names, Before: b.Before, Withdrawn: withdrawn, Workers: b.Workers, Progress: b.Progress,
		}, func(u *release.Sealed) error {
			if err := b.Keep(*u); err != nil {
				return err
			}
			return auditors.take(u)
		})
		counts, aerr := auditors.end()
		switch {
		case err != nil:
			return made, fmt.Errorf("building a release: %w", err)
		case aerr != nil:
			return made, fmt.Errorf("auditing a release: %w", aerr)
		}
		return impact.Release{
			Seq: built.Seq, Vintage: built.Vintage, Method: built.Method, Ruleset: built.Ruleset, Reference: built.Reference,
			Methodology: built.Methodology, Digest: built.Digest, Counts: built.Counts, Audited: counts,
		}, nil
	}
}

// auditors audit units beside the build, as many at once as it has workers.
type auditors struct {
	ctx   context.Context
	bench *Bench
	rules disclosure.Rules
	audit Auditor
	slots chan struct{}
	work  sync.WaitGroup

	mu     sync.Mutex
	counts impact.AuditCounts
	err    error
}

func newAuditors(ctx context.Context, b *Bench, rules disclosure.Rules, audit Auditor) *auditors {
	return &auditors{ctx: ctx, bench: b, rules: rules, audit: audit, slots: make(chan struct{}, max(1, b.Workers))}
}

func (a *auditors) take(u *release.Sealed) error {
	if a.audit == nil {
		return nil
	}
	select {
	case a.slots <- struct{}{}:
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
	a.work.Go(func() {
		defer func() { <-a.slots }()
		found, err := a.one(u)
		if err == nil {
			err = a.bench.Found(found)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil && a.err == nil {
			a.err = err
		}
		a.counts.Add(found.Counts)
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *auditors) one(u *release.Sealed) (found impact.ReleaseAudit, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("unit %s %d: panic: %v", u.Unit.Family, u.Unit.Year, p)
		}
	}()
	// What is the same was audited already.
	if former, err := a.bench.Audited(u); err != nil || former != nil {
		if err != nil {
			return found, err
		}
		return *former, nil
	}
	waived := func(id impact.OrganisationID) bool { return a.bench.Snapshot.Waived[id] }
	asked, err := release.Case(a.bench.Snapshot.Cube.Catalogue(), u, a.bench.Job.Number, a.rules, waived)
	if err == nil {
		found, err = a.audit(asked, a.rules)
	}
	if err != nil {
		return found, fmt.Errorf("unit %s %d: %w", u.Unit.Family, u.Unit.Year, err)
	}
	return found, nil
}

func (a *auditors) end() (impact.AuditCounts, error) {
	a.work.Wait()
	return a.counts, a.err
}

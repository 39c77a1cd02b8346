package publish

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// Auditor looks for what can be recovered from one unit.
type Auditor func(*release.AuditCase, disclosure.Rules) (impact.ReleaseAudit, error)

// Make gives what makes releases: laid out and protected by package release, then
// held to an auditor: nil for demonstrations and tests, whose releases say that
// nobody audited them. Neither takes more than the workers of the bench
// at once: requests are served meanwhile.
func Make(rules disclosure.Rules, audit Auditor) func(context.Context, *Bench) (impact.Release, error) {
	return func(ctx context.Context, b *Bench) (made impact.Release, err error) {
		var withdrawn []impact.ReleaseNumber
		for i := range b.Former {
			if b.Former[i].State == impact.ReleaseWithdrawn {
				withdrawn = append(withdrawn, b.Former[i].Number)
			}
		}
		var units []release.Unit
		built, err := release.Build(ctx, release.Input{
			Cube: b.Snapshot.Cube, Day: b.Job.Day, Embargo: b.Job.Embargo, Number: b.Job.Number, Rules: rules, Waived: b.waived,
			Earlier: b.Names, Before: b.Before, Withdrawn: withdrawn, Workers: b.Workers, Progress: b.Progress,
		}, func(u *release.Sealed) error {
			units = append(units, u.Unit)
			return b.Keep(*u)
		})
		if err != nil {
			return made, fmt.Errorf("building a release: %w", err)
		}
		made = impact.Release{
			Seq: built.Seq, Vintage: built.Vintage, Method: built.Method, Ruleset: built.Ruleset, Reference: built.Reference,
			Methodology: built.Methodology, Digest: built.Digest, Counts: built.Counts,
		}
		if made.Audited.Skipped = audit == nil; audit != nil {
			made.Audited, err = b.audit(ctx, units, rules, audit)
		}
		return made, err
	}
}

func (b *Bench) waived(id impact.OrganisationID) bool { return b.Snapshot.Waived[id] }

// audit has every unit audited, as it was kept.
func (b *Bench) audit(ctx context.Context, units []release.Unit, rules disclosure.Rules, audit Auditor) (counts impact.AuditCounts, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, b.Workers))
	for _, u := range units {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			found, err := b.auditOne(u, rules, audit)
			if err == nil {
				err = b.Found(found)
			}
			if err != nil {
				return fmt.Errorf("auditing unit %s %d: %w", u.Family, u.Year, err)
			}
			mu.Lock()
			defer mu.Unlock()
			counts.Add(found.Counts)
			return nil
		})
	}
	err = g.Wait()
	return counts, err
}

func (b *Bench) auditOne(unit release.Unit, rules disclosure.Rules, audit Auditor) (found impact.ReleaseAudit, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	u, err := b.Sealed(unit)
	if err != nil {
		return found, err
	}
	// What is the same was audited already.
	if former, err := b.Audited(u); err != nil {
		return found, err
	} else if former != nil {
		return *former, nil
	}
	asked, err := release.Case(b.Snapshot.Cube.Catalogue(), u, b.Job.Number, rules, b.waived)
	if err != nil {
		return found, err
	}
	return audit(asked, rules)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/store"
)

type releaseCmd struct {
	Build    releaseBuildCmd    `cmd:"" help:"Build a candidate from what is committed now, beside a running service."`
	Publish  releasePublishCmd  `cmd:"" help:"Publish a candidate: it becomes the latest release, for ever."`
	Discard  releaseDiscardCmd  `cmd:"" help:"Give a candidate, or a build under way, up."`
	Withdraw releaseWithdrawCmd `cmd:"" help:"Take a published release back, with the reason that everybody will read."`
	List     releaseListCmd     `cmd:"" help:"List releases and attempts at them, the last one first."`
	Audit    releaseAuditCmd    `cmd:"" help:"Tell what the auditor found in a release, and why cells are withheld. Secret."`
}

// releaseFlags say how releases are made.
type releaseFlags struct {
	ReleaseRules   string        `env:"RETOMBEES_RELEASE_RULES" default:"strict-1" enum:"strict-1,standard-1" help:"Rule set of disclosure control: ${enum}."`
	ReleaseWorkers int           `env:"RETOMBEES_RELEASE_WORKERS" default:"0" help:"How many tables are protected at once during a build. 0: half of the processors."`
	ReleaseLease   time.Duration `env:"RETOMBEES_RELEASE_LEASE" default:"30s" help:"How long a build is left to a process that gives no sign of life, before another one begins it afresh."`
}

// scheduleFlags say when releases are made by themselves.
type scheduleFlags struct {
	ReleaseSchedule string `env:"RETOMBEES_RELEASE_SCHEDULE" placeholder:"CRON" help:"When releases are built, audited and published by themselves, in the time of Paris: \"0 4 15 2,5,8,11 *\" is at 4:00 on the 15th of four months. Replicas do it once; an instant missed is caught up. Default: never."`
	ReleaseEmbargo  int    `env:"RETOMBEES_RELEASE_EMBARGO" default:"45" help:"Days a period has been over before the calendar releases its figures."`
}

// config makes what builds releases.
func (f releaseFlags) config(w *world, s *store.Store) (publish.Config, error) {
	rules, ok := disclosure.NamedRules(f.ReleaseRules)
	if !ok {
		return publish.Config{}, fmt.Errorf("no rule set of disclosure control is called %s", f.ReleaseRules)
	}
	if f.ReleaseLease < time.Second {
		return publish.Config{}, errors.New("the lease of a build is a second at least")
	}
	return publish.Config{
		Store: s, Snapshot: snapshots(s), Make: publish.Make(rules, publish.Audit), Log: w.log, Now: w.now,
		Lease: f.ReleaseLease, Poll: min(2*time.Second, f.ReleaseLease), Workers: f.ReleaseWorkers,
	}, nil
}

func snapshots(s *store.Store) func(context.Context) (publish.Snapshot, error) {
	return func(ctx context.Context) (publish.Snapshot, error) {
		n, err := s.Snapshot(ctx)
		if err != nil {
			return publish.Snapshot{}, err
		}
		return publish.Snapshot{Cube: n.Cube, Seq: n.Seq, Waived: n.Waived}, nil
	}
}

// releaseReader sees every attempt, as who runs this program on the database does.
func releaseReader() impact.Principal {
	p := operator()
	p.Scopes = append(slices.Clone(p.Scopes), impact.ReleasesAudit)
	return p
}

type releaseBuildCmd struct {
	databaseFlags
	releaseFlags
	Day     string `placeholder:"DATE" help:"Day the figures are closed: 2026-11-15. Default: today."`
	Embargo int    `default:"45" help:"Days a period has been over before its figures are in."`
	Publish bool   `xor:"what" help:"Publish it when the auditor has found nothing."`
	DryRun  bool   `xor:"what" help:"Tell the counts and what the auditor found; keep nothing."`
}

// Run builds here, unless a service that runs on the same database is quicker to
// take it up.
func (c releaseBuildCmd) Run(w *world) (err error) {
	n := impact.NewRelease{Day: impact.DateOf(w.now()), Embargo: c.Embargo, Publish: c.Publish, DryRun: c.DryRun}
	if c.Day != "" {
		day, fault := impact.ParseDate(c.Day)
		if fault != nil {
			return errors.New(fault.Detail.EN + " " + fault.Hint.EN)
		}
		n.Day = day
	}
	if err := faulty(n.Check(impact.DateOf(w.now()))); err != nil {
		return err
	}
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	config, err := c.config(w, s)
	if err != nil {
		return err
	}
	r, err := buildRelease(w, s, config, n)
	if err != nil {
		return err
	}
	return c.tell(w, &r)
}

// buildRelease has a release built and waits for it, wherever it is built.
func buildRelease(w *world, s *store.Store, config publish.Config, n impact.NewRelease) (impact.Release, error) {
	asked, _, err := s.RequestRelease(w.ctx, operator(), n)
	if err != nil {
		return asked, err
	}
	for {
		done, r, err := config.Work(w.ctx, asked.Key)
		if err != nil {
			return r, err
		}
		if !done {
			if r, err = s.Release(w.ctx, releaseReader(), asked.Key); err != nil {
				return r, err
			}
		}
		if r.State != impact.ReleaseBuilding {
			return r, nil
		}
		select {
		case <-w.ctx.Done():
			return r, w.ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c releaseBuildCmd) tell(w *world, r *impact.Release) error {
	describeRelease(w.stdout, r)
	switch {
	case r.State == impact.ReleaseFailed:
		return fmt.Errorf("release %d could not be built: %s", r.Number, r.Reason.EN)
	case r.State == impact.ReleaseCandidate && !r.AuditPassed():
		return exit(3, fmt.Errorf("the auditor recovered secrets from it: it cannot be published. Please report it; `retombees release audit %s` tells more", r.Key))
	case r.State == impact.ReleaseCandidate:
		fmt.Fprintf(w.stdout, "\nTo publish it: retombees release publish %d\n", r.Number)
	}
	return nil
}

// english writes numbers as people read them.
var english = message.NewPrinter(language.English)

func describeRelease(to io.Writer, r *impact.Release) {
	what := map[impact.ReleaseState]string{
		impact.ReleaseCandidate: "is a candidate", impact.ReleasePublished: "is published", impact.ReleaseWithdrawn: "is withdrawn", impact.ReleaseFailed: "failed",
		impact.ReleaseBuilding: "is being built", impact.ReleaseDiscarded: "was discarded",
	}[r.State]
	if r.DryRun {
		what = "was tried, and is not kept"
	}
	english.Fprintf(to, "Release %d %s: figures closed on %s, periods that ended %d days before, commit %s.\n", r.Number, what, r.Day, r.Embargo, strconv.FormatInt(r.Seq, 10))
	n := r.Counts
	english.Fprintf(to, "  cells      %d: %d shown, %d withheld (%s)\n", n.Cells, n.Shown, n.Withheld, share(n.Withheld, n.Cells))
	english.Fprintf(to, "  since      the release before: %d new, %d revised, %d no longer shown, %d unchanged\n", n.New, n.Revised, n.Hidden, n.Unchanged)
	if a := r.Audited; a.Units > 0 {
		english.Fprintf(to, "  audit      %d secrets in %d units: %d recovered exactly, %d too precisely, %d by a contributor, %d unsettled\n", a.Secrets, a.Units, a.Exact, a.Narrow, a.Insiders, a.Unsettled)
	}
	fmt.Fprintf(to, "  rules      %s; reference data %s; vintage %d\n  digest     %s\n", r.Ruleset, r.Reference, r.Vintage, r.Digest)
	if !r.Reason.IsZero() {
		fmt.Fprintf(to, "  reason     %s / %s\n", r.Reason.FR, r.Reason.EN)
	}
}

func share(part, of int) string {
	if of == 0 {
		return "0 %"
	}
	return strconv.FormatFloat(100*float64(part)/float64(of), 'f', 1, 64) + " %"
}

// faulty says on the command line what is wrong.
func faulty(faults []impact.Fault) error {
	var errs []error
	for _, f := range faults {
		errs = append(errs, errors.New(f.Detail.EN+" "+f.Hint.EN))
	}
	return errors.Join(errs...)
}

// releaseRef names a release on the command line.
type releaseRef struct {
	Release string `arg:"" help:"Its number, or the id of an attempt."`
}

type releasePublishCmd struct {
	databaseFlags
	releaseRef
}

func (c releasePublishCmd) Run(w *world) error {
	return c.move(w, func(s *store.Store) (impact.Release, error) {
		return s.PublishRelease(w.ctx, operator(), c.Release, 0)
	})
}

type releaseDiscardCmd struct {
	databaseFlags
	releaseRef
}

func (c releaseDiscardCmd) Run(w *world) error {
	return c.move(w, func(s *store.Store) (impact.Release, error) {
		return s.DiscardRelease(w.ctx, operator(), c.Release, 0)
	})
}

type releaseWithdrawCmd struct {
	databaseFlags
	releaseRef
	ReasonFR  string `name:"reason-fr" required:"" placeholder:"TEXT" help:"Why, in French: everybody reads it."`
	ReasonEN  string `name:"reason-en" required:"" placeholder:"TEXT" help:"Why, in English."`
	Successor int    `placeholder:"N" help:"Release to read in its place. Default: the next one that is published."`
}

func (c releaseWithdrawCmd) Run(w *world) error {
	reason := impact.Text{FR: c.ReasonFR, EN: c.ReasonEN}
	if err := faulty(impact.CheckWithdrawal(reason)); err != nil {
		return err
	}
	return c.move(w, func(s *store.Store) (impact.Release, error) {
		return s.WithdrawRelease(w.ctx, operator(), c.Release, 0, reason, impact.ReleaseNumber(c.Successor))
	})
}

// move changes the state of a release and says what it is now; a running service
// notices within two seconds.
func (f databaseFlags) move(w *world, do func(*store.Store) (impact.Release, error)) (err error) {
	s, err := f.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r, err := do(s)
	if err != nil {
		return noRelease(err)
	}
	describeRelease(w.stdout, &r)
	return nil
}

func noRelease(err error) error {
	if impact.KindOf(err) == impact.NotFound {
		return errors.New("there is no such release; `retombees release list` shows them")
	}
	return err
}

type releaseListCmd struct {
	databaseFlags
	State string `enum:",building,candidate,published,withdrawn,discarded,failed" default:"" help:"Those in that state only."`
}

func (c releaseListCmd) Run(w *world) (err error) {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NUMBER\tSTATE\tCLOSED ON\tPUBLISHED AT\tCELLS\tSHOWN\tWITHHELD\tDIGEST\tID")
	page := impact.Page{Limit: 1000}
	for {
		list, next, err := s.Releases(w.ctx, releaseReader(), impact.ReleaseFilter{State: impact.ReleaseState(c.State)}, page)
		if err != nil {
			return err
		}
		for i := range list {
			r := &list[i]
			at := ""
			if !r.PublishedAt.IsZero() {
				at = r.PublishedAt.Format("2006-01-02 15:04:05Z")
			}
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%d\t%s\t%.12s\t%s\n", r.Number, r.State, r.Day, at, r.Counts.Cells, r.Counts.Shown, share(r.Counts.Withheld, r.Counts.Cells), r.Digest, r.Key)
		}
		if next == nil {
			return t.Flush()
		}
		page.After = next
	}
}

type releaseAuditCmd struct {
	databaseFlags
	releaseRef
	Cells bool `help:"Name each withheld cell, why, and which one it protects."`
}

// Run prints what the auditor found when the release was built. It ends with 3
// when something could be recovered.
func (c releaseAuditCmd) Run(w *world) (err error) {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r, err := s.Release(w.ctx, releaseReader(), c.Release)
	if err != nil {
		return noRelease(err)
	}
	if err := s.AuditRelease(w.ctx, releaseReader(), &r); err != nil {
		return err
	}
	describeRelease(w.stdout, &r)
	reasons := map[string]int{}
	page := impact.Page{Limit: 100}
	for {
		list, next, err := s.ReleaseAudits(w.ctx, r.Key, page)
		if err != nil {
			return err
		}
		for _, a := range list {
			for _, f := range a.Findings {
				fmt.Fprintf(w.stdout, "  FOUND      %s %d: %s\n", a.Family, a.Year, f)
			}
			for _, why := range a.Reasons {
				reasons[why.Reason]++
				if c.Cells {
					fmt.Fprintf(w.stdout, "  %-18s %s %d: %s", why.Reason, a.Family, a.Year, why.Cell)
					if why.Against != "" {
						fmt.Fprintf(w.stdout, " (protects %s)", why.Against)
					}
					fmt.Fprintln(w.stdout)
				}
			}
		}
		if next == nil {
			break
		}
		page.After = next
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		english.Fprintf(w.stdout, "  %-18s %d cells\n", reason, reasons[reason])
	}
	switch a := r.Audited; {
	case a.Units == 0:
		return errors.New("nobody audited it, so no reason is known (those of the demonstration are not audited); `retombees release build` audits what it makes")
	case !a.Passed():
		return exit(3, errors.New("the auditor recovered secrets from it"))
	}
	return nil
}

// releasesKept is how many releases beside the latest are kept in memory once they
// were asked for; releasesEvery how often what other processes published is looked for.
const (
	releasesKept  = 3
	releasesEvery = time.Second
)

// releases has releases built while the service runs.
func (c serveCmd) releases(w *world, s *store.Store, published func(context.Context) error) (*publish.Runner, error) {
	config, err := c.config(w, s)
	if err != nil {
		return nil, err
	}
	if c.ReleaseSchedule != "" {
		if config.Schedule, err = publish.ParseSchedule(c.ReleaseSchedule, c.ReleaseEmbargo); err != nil {
			return nil, err
		}
		w.log.Info("releases follow a calendar", slog.String("schedule", c.ReleaseSchedule), slog.Time("next", config.Schedule.Next(w.now())))
	}
	config.Published = published
	return publish.Start(config), nil
}

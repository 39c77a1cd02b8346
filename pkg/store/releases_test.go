package store_test

import (
	std "cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/storetest"
)

var publisher = entitled(impact.Principal{Client: "publisher", Role: impact.RoleSteward})

func unit(family string, year int, text, ledger string) release.Sealed {
	u := release.Sealed{Unit: release.Unit{Family: family, Year: year}, Figures: []byte(text), Ledger: []byte(ledger), Input: sha256.Sum256([]byte(text + ledger))}
	u.Digest = sha256.Sum256(u.Figures)
	return u
}

func request(t *testing.T, s *store.Store, n impact.NewRelease) impact.Release {
	t.Helper()
	r, made, err := s.RequestRelease(context.Background(), publisher, n)
	if err != nil || !made || r.State != impact.ReleaseBuilding {
		t.Fatalf("%+v %v %v", r, made, err)
	}
	return r
}

func claimRelease(t *testing.T, s *store.Store, id string) *impact.ReleaseJob {
	t.Helper()
	job, err := s.ClaimRelease(context.Background(), id, lease)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// finish builds a release of hand-made units.
func finish(t *testing.T, s *store.Store, job *impact.ReleaseJob, units ...release.Sealed) impact.Release {
	t.Helper()
	var d release.Digest
	inOrder := slices.SortedFunc(slices.Values(units), func(a, b release.Sealed) int {
		return std.Or(strings.Compare(a.Unit.Family, b.Unit.Family), a.Unit.Year-b.Unit.Year)
	})
	for i := range units {
		d.Add(&inOrder[i])
		if err := s.KeepUnits(context.Background(), job, units[i]); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.FinishRelease(context.Background(), job, &impact.Release{
		Seq: 7, Vintage: 2026, Method: "1", Ruleset: "strict-1", Reference: "1.0", Methodology: map[impact.IndicatorCode]string{"a": "2.1"}, Digest: d.String(),
		Counts: impact.ReleaseCounts{Cells: 10, Shown: 7, Withheld: 3, New: 10, Units: len(units)}, Audited: impact.AuditCounts{Units: len(units), Secrets: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func published(t *testing.T, s *store.Store, units ...release.Sealed) impact.Release {
	t.Helper()
	request(t, s, impact.NewRelease{Day: impact.NewDate(2026, 11, 15), Embargo: 45, Publish: true})
	r := finish(t, s, claimRelease(t, s, ""), units...)
	if r.State != impact.ReleasePublished {
		t.Fatalf("%+v", r)
	}
	return r
}

func texts(t *testing.T, s *store.Store, id string) (list []string) {
	t.Helper()
	for u, err := range s.ReleaseUnits(context.Background(), id) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Ledger != nil {
			t.Error("a ledger left the store")
		}
		list = append(list, fmt.Sprintf("%s %d %s", u.Unit.Family, u.Unit.Year, u.Figures))
	}
	return list
}

func TestLifeOfARelease(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		if _, _, err := s.RequestRelease(ctx, buyer, impact.NewRelease{}); code(err) != "insufficient_scope" {
			t.Error(err)
		}
		asked := request(t, s, impact.NewRelease{Day: impact.NewDate(2026, 11, 15), Embargo: 45})
		if _, _, err := s.RequestRelease(ctx, publisher, impact.NewRelease{}); code(err) != "bad_state" {
			t.Errorf("two attempts at once: %v", err)
		}
		for _, p := range []impact.Principal{{}, entitled(buyer)} {
			if _, err := s.Release(ctx, p, "1"); code(err) != "not_found" {
				t.Errorf("%s sees what is being built: %v", p.Role, err)
			}
			if _, err := s.Release(ctx, p, asked.Key); code(err) != "not_found" {
				t.Errorf("%s sees what is being built: %v", p.Role, err)
			}
		}
		if _, err := s.PublishRelease(ctx, publisher, "1", 0); code(err) != "bad_state" {
			t.Errorf("half a release was published: %v", err)
		}
		job := claimRelease(t, s, "")
		if other := claimRelease(t, s, ""); job == nil || job.Key != asked.Key || other != nil {
			t.Fatalf("%+v %+v", job, other)
		}
		if err := s.HoldRelease(ctx, job, lease, 1, 2); err != nil {
			t.Error(err)
		}
		a, b := unit("b", 2024, "b,2024\n", "secret"), unit("a", 2025, "a,2025\n", "secret")
		candidate := finish(t, s, job, b, a)
		want := impact.Release{
			Key: asked.Key, Number: 1, State: impact.ReleaseCandidate, Day: impact.NewDate(2026, 11, 15), Embargo: 45, Seq: 7, Vintage: 2026, Method: "1", Ruleset: "strict-1", Reference: "1.0",
			Methodology: map[impact.IndicatorCode]string{"a": "2.1"}, Digest: candidate.Digest, Counts: impact.ReleaseCounts{Cells: 10, Shown: 7, Withheld: 3, New: 10, Units: 2},
			Done: 2, Total: 2, Audited: impact.AuditCounts{Units: 2, Secrets: 3}, RequestedBy: "publisher", CreatedAt: asked.CreatedAt, BuiltAt: candidate.BuiltAt, Version: 2,
		}
		if d := cmp.Diff(want, candidate); d != "" {
			t.Error(d)
		}
		if list, _, err := s.Releases(ctx, impact.Principal{}, impact.ReleaseFilter{}, impact.Page{Limit: 10}); err != nil || len(list) != 0 {
			t.Errorf("a candidate is seen: %v %v", list, err)
		}
		anyone := followChanges(t, s, impact.Principal{})
		if _, err := s.PublishRelease(ctx, publisher, "1", 1); impact.KindOf(err) != impact.Stale {
			t.Error(err)
		}
		first, err := s.PublishRelease(ctx, publisher, "1", 2)
		if err != nil || first.State != impact.ReleasePublished || first.PublishedAt.IsZero() {
			t.Fatalf("%+v %v", first, err)
		}
		if _, err := s.PublishRelease(ctx, publisher, "1", 0); code(err) != "bad_state" {
			t.Errorf("published twice: %v", err)
		}
		if d := cmp.Diff([]string{"a 2025 a,2025\n", "b 2024 b,2024\n"}, texts(t, s, first.Key)); d != "" {
			t.Error(d)
		}
		changes, next, _, err := s.Changes(ctx, impact.Principal{}, impact.ChangeFilter{}, anyone.at, 10)
		if err != nil || len(changes) != 1 || changes[0].ID != "1" || changes[0].Op != impact.OpCreated || changes[0].Action != "published" || changes[0].Type != impact.ReleaseChange {
			t.Errorf("%+v %v", changes, err)
		}

		second := published(t, s, b, unit("b", 2024, "b,2024 corrected\n", "secret"))
		if latest, err := s.LatestRelease(ctx); err != nil || latest.Number != 2 {
			t.Error(latest, err)
		}
		withdrawn, err := s.WithdrawRelease(ctx, publisher, "1", 0, impact.Text{FR: "erreur", EN: "error"}, 0)
		if err != nil || withdrawn.State != impact.ReleaseWithdrawn || withdrawn.Successor != 2 || withdrawn.Reason.EN != "error" {
			t.Errorf("%+v %v", withdrawn, err)
		}
		if _, err := s.WithdrawRelease(ctx, publisher, "2", 0, impact.Text{}, 1); code(err) != "validation_failed" {
			t.Errorf("a withdrawn release takes the place of another: %v", err)
		}
		if _, err := s.WithdrawRelease(ctx, publisher, "2", 0, impact.Text{FR: "x", EN: "x"}, 0); err != nil {
			t.Error(err)
		}
		if _, err := s.LatestRelease(ctx); code(err) != "not_found" {
			t.Error(err)
		}
		if r, err := s.Release(ctx, impact.Principal{}, "2"); err != nil || r.Successor != 0 || r.Key != second.Key {
			t.Errorf("everybody reads why: %+v %v", r, err)
		}
		if third := published(t, s, a); third.Number != 3 {
			t.Errorf("a number was used twice: %d", third.Number)
		}
		if r, err := s.Release(ctx, impact.Principal{}, "2"); err != nil || r.Successor != 3 {
			t.Errorf("%+v %v", r, err)
		}
		list, err := s.PublicReleases(ctx)
		if err != nil || len(list) != 3 || list[0].State != impact.ReleaseWithdrawn || list[2].State != impact.ReleasePublished {
			t.Error(list, err)
		}
		changes, _, _, err = s.Changes(ctx, impact.Principal{}, impact.ChangeFilter{}, next, 10)
		if err != nil || len(changes) != 3 || changes[0].Action != "withdrawn" || changes[0].Op != impact.OpUpdated || changes[2].ID != "3" {
			t.Errorf("%+v %v", changes, err)
		}
		page, at, err := s.Releases(ctx, impact.Principal{}, impact.ReleaseFilter{}, impact.Page{Limit: 2})
		if err != nil || len(page) != 2 || page[0].Number != 3 {
			t.Error(page, err)
		}
		if page, at, err = s.Releases(ctx, impact.Principal{}, impact.ReleaseFilter{}, impact.Page{Limit: 2, After: at}); err != nil || len(page) != 1 || at != nil {
			t.Error(page, at, err)
		}
	})
}

// What is the same is there once; what was sealed cannot be altered unnoticed;
// what no release holds goes.
func TestUnitsOfReleasesAreImmutable(t *testing.T) {
	test := func(t *testing.T, url string) {
		s := open(t, url)
		ctx := context.Background()
		same := unit("a", 2024, strings.Repeat("a,2024\n", 100), "ledger")
		published(t, s, same, unit("a", 2025, "one\n", "ledger one"))
		second := published(t, s, same, unit("a", 2025, "two\n", "ledger two"))
		driver, source := "pgx", url
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			driver, source = "sqlite", path
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		count := func(table string) (n int) {
			t.Helper()
			if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := count("release_units"); n != 3 {
			t.Errorf("%d units are stored for 3 that differ", n)
		}
		before, err := s.UnitBefore(ctx, second.Key, release.Unit{Family: "a", Year: 2025})
		if err != nil || string(before.Ledger) != "ledger two" || string(before.Figures) != "two\n" || before.Input != unit("a", 2025, "two\n", "ledger two").Input {
			t.Errorf("%+v %v", before, err)
		}
		if none, err := s.UnitBefore(ctx, second.Key, release.Unit{Family: "a", Year: 2031}); none != nil || err != nil {
			t.Error(none, err)
		}
		request(t, s, impact.NewRelease{})
		candidate := finish(t, s, claimRelease(t, s, ""), unit("a", 2025, "three\n", ""))
		if _, err := s.DiscardRelease(ctx, publisher, candidate.Key, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DiscardRelease(ctx, publisher, "2", 0); code(err) != "bad_state" {
			t.Errorf("a published release was discarded: %v", err)
		}
		request(t, s, impact.NewRelease{DryRun: true})
		if r := finish(t, s, claimRelease(t, s, ""), unit("a", 2025, "four\n", "")); r.State != impact.ReleaseDiscarded || r.Counts.Shown != 7 {
			t.Errorf("%+v", r)
		}
		if units, ledgers := count("release_units"), count("release_ledgers"); units != 3 || ledgers != 3 {
			t.Errorf("%d units and %d ledgers are left", units, ledgers)
		}
		if _, err := db.Exec(`UPDATE release_units SET figures = (SELECT figures FROM release_units AS u WHERE u.year = 2024 LIMIT 1) WHERE year = 2025`); err != nil {
			t.Fatal(err)
		}
		var altered error
		for _, err := range s.ReleaseUnits(ctx, second.Key) {
			altered = errors.Join(altered, err)
		}
		if altered == nil || !strings.Contains(altered.Error(), "not what was sealed") {
			t.Errorf("an altered unit was read: %v", altered)
		}
	}
	t.Run("sqlite", func(t *testing.T) { test(t, storetest.SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, storetest.Postgres(t)) })
}

// A build whose process died is begun afresh by another one; what it had made is
// neither seen nor kept; and it does not go on for ever.
func TestABuildOutlivesItsProcess(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := context.Background()
		request(t, o.Store, impact.NewRelease{Publish: true})
		dead := claimRelease(t, o.Store, "")
		if err := o.KeepUnits(ctx, dead, unit("a", 2024, "half\n", "")); err != nil {
			t.Fatal(err)
		}
		if job := claimRelease(t, o.Store, ""); job != nil {
			t.Error("a build is taken from a process that lives")
		}
		o.clock.pass(2 * lease)
		job := claimRelease(t, o.Store, "")
		if job == nil {
			t.Fatal("nobody takes it up")
		}
		if err := o.KeepUnits(ctx, dead, unit("b", 2024, "x", "")); !errors.Is(err, store.ErrReleaseLost) {
			t.Errorf("the dead go on writing: %v", err)
		}
		if _, err := o.FinishRelease(ctx, dead, &impact.Release{}); !errors.Is(err, store.ErrReleaseLost) {
			t.Errorf("the dead publish: %v", err)
		}
		if err := o.LeaveRelease(ctx, job); err != nil { // stopped in good order: at once
			t.Fatal(err)
		}
		if job = claimRelease(t, o.Store, ""); job == nil {
			t.Fatal("nobody takes it up")
		}
		r := finish(t, o.Store, job, unit("a", 2024, "whole\n", ""))
		if d := cmp.Diff([]string{"a 2024 whole\n"}, texts(t, o.Store, r.Key)); d != "" || r.State != impact.ReleasePublished {
			t.Error(d, r.State)
		}
		asked := request(t, o.Store, impact.NewRelease{})
		for claimRelease(t, o.Store, "") != nil {
			o.clock.pass(2 * lease)
		}
		if r, err := o.Release(ctx, publisher, asked.Key); err != nil || r.State != impact.ReleaseFailed || r.Reason.EN == "" {
			t.Errorf("%+v %v", r, err)
		}
		if latest, err := o.LatestRelease(ctx); err != nil || latest.Number != 1 {
			t.Error(latest, err)
		}
	})
}

// An instant of the calendar is served once, whoever looks at the clock, and does
// not wait for a candidate that was forgotten.
func TestAnInstantOfTheCalendarIsServedOnce(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		request(t, s, impact.NewRelease{})
		forgotten := finish(t, s, claimRelease(t, s, ""))
		at := time.Date(2026, 11, 15, 3, 0, 0, 0, time.UTC)
		one := request(t, s, impact.NewRelease{ScheduledFor: at, Publish: true})
		if r, err := s.Release(ctx, publisher, forgotten.Key); err != nil || r.State != impact.ReleaseDiscarded {
			t.Error(r.State, err)
		}
		for range 2 {
			again, made, err := s.RequestRelease(ctx, publisher, impact.NewRelease{ScheduledFor: at, Publish: true})
			if err != nil || made || again.Key != one.Key {
				t.Error(again.Key, made, err)
			}
		}
		if _, _, err := s.RequestRelease(ctx, publisher, impact.NewRelease{ScheduledFor: at.Add(time.Hour)}); code(err) != "bad_state" {
			t.Error(err)
		}
		finish(t, s, claimRelease(t, s, one.Key))
		if again, made, err := s.RequestRelease(ctx, publisher, impact.NewRelease{ScheduledFor: at}); err != nil || made || again.State != impact.ReleasePublished {
			t.Errorf("%+v %v %v", again, made, err)
		}
	})
}

func TestAnAuditThatFindsSomethingForbidsToPublish(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		request(t, s, impact.NewRelease{Publish: true})
		job := claimRelease(t, s, "")
		found := impact.ReleaseAudit{Family: "a", Year: 2024, Counts: impact.AuditCounts{Units: 1, Secrets: 4, Exact: 1}, Reasons: []impact.ReleaseReason{{Cell: "c", Reason: "few_contributors"}}}
		if err := s.KeepAudit(ctx, job, found); err != nil {
			t.Fatal(err)
		}
		var none release.Digest
		r, err := s.FinishRelease(ctx, job, &impact.Release{Digest: none.String(), Audited: found.Counts})
		if err != nil || r.State != impact.ReleaseCandidate {
			t.Fatalf("%+v %v", r, err)
		}
		if _, err := s.PublishRelease(ctx, publisher, "1", 0); code(err) != "bad_state" {
			t.Error(err)
		}
		list, next, err := s.ReleaseAudits(ctx, r.Key, impact.Page{Limit: 10})
		if d := cmp.Diff([]impact.ReleaseAudit{found}, list); d != "" || next != nil || err != nil {
			t.Error(d, next, err)
		}
		if former, err := s.AuditBefore(ctx, r.Key, release.Unit{Family: "a", Year: 2024}, [32]byte{1}); former != nil || err != nil {
			t.Errorf("an audit of something else is taken for ours: %v %v", former, err)
		}
	})
}

// A snapshot is one instant, and writers do not wait for whoever reads it.
func TestASnapshotIsOneInstant(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		id := w.one(hours("commune-69266", "2025-Q1", "10")).Observation.Submission
		transition(t, s, w.p, id, "submit", "")
		transition(t, s, steward, id, "approve", "")
		if _, _, err := s.SetConsent(ctx, w.p, w.org.ID, impact.SecrecyWaiver, true); err != nil {
			t.Fatal(err)
		}
		one, err := s.Snapshot(ctx)
		if err != nil || one.Cube.ObservationCount() != 1 || !one.Waived[w.org.ID] || len(one.Waived) != 1 {
			t.Fatalf("%+v %v", one, err)
		}
		w.one(hours("commune-69266", "2025-Q2", "12"))
		if n := one.Cube.ObservationCount(); n != 1 {
			t.Errorf("a write reached a snapshot: %d", n)
		}
		two, err := s.Snapshot(ctx)
		if err != nil || two.Cube.ObservationCount() != 2 || two.Seq <= one.Seq {
			t.Errorf("%+v %v", two, err)
		}
	})
}

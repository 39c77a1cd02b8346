package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// BenchmarkChanges reads the changes of BENCH_ROWS observations (200,000 by
// default, in batches of 1,000) in pages of 500: all of them as a steward, those
// of one organisation among the others, and, caught up, nothing. The base of
// comparison is one statement that scans the same versions in the same order.
// Run it with -benchtime 1x.
func BenchmarkChanges(b *testing.B) {
	rows := 200_000
	if v := os.Getenv("BENCH_ROWS"); v != "" {
		if _, err := fmt.Sscan(v, &rows); err != nil {
			b.Fatal(err)
		}
	}
	for _, database := range []struct {
		name string
		url  func(*testing.B) string
	}{
		{"postgres", func(b *testing.B) string { return pgtest.DSN(b) }},
		{"sqlite", func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "bench.db") }},
	} {
		b.Run(database.name, func(b *testing.B) {
			for b.Loop() {
				benchChanges(b, database.url(b), rows)
			}
		})
	}
}

func benchChanges(b *testing.B, url string, rows int) {
	ctx := context.Background()
	w := newBenchWorld(b, url, min(rows/benchBatch, 1000))
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	start, err := w.s.LastChange(ctx, impact.Principal{Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)})
	check(err)
	w.ingest(b, 0, rows/benchBatch, 4, 0, impact.Created)
	steward := impact.Principal{Client: "s", Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)}
	one := impact.Principal{Client: "o", Role: impact.RoleOrganisation, Organisation: w.orgs[len(w.orgs)/2].ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}
	follow := func(p impact.Principal, at impact.ChangePosition) (n int, end impact.ChangePosition, took time.Duration) {
		began := time.Now()
		for {
			list, next, caughtUp, err := w.s.Changes(ctx, p, impact.ChangeFilter{}, at, 500)
			check(err)
			n, at = n+len(list), next
			if caughtUp {
				return n, at, time.Since(began)
			}
		}
	}
	scan := func() time.Duration {
		began, n := time.Now(), 0
		found, err := w.s.read.QueryContext(ctx, `SELECT c.seq, v.value, v.tx, v.organisation, v.indicator, v.territory, v.period_start, v.period_end, v.cut, v.version, v.details
			FROM commit_log AS c JOIN observation_versions AS v ON v.tx = c.tx ORDER BY c.seq`)
		check(err)
		defer found.Close()
		for found.Next() {
			var numbers [10]any
			var text string
			into := []any{&text}
			for i := range numbers {
				into = append([]any{&numbers[i]}, into...)
			}
			check(found.Scan(into...))
			n++
		}
		check(found.Err())
		if n < rows {
			b.Fatalf("%d versions", n)
		}
		return time.Since(began)
	}

	alone, end, took := follow(one, start)
	if alone < benchBatch {
		b.Fatalf("an organisation is told %d changes", alone)
	}
	b.ReportMetric(float64(rows)/took.Seconds(), "rows/s-passed-by")
	// Handed in, everything is there for a steward.
	_, err = w.s.write.ExecContext(ctx, `UPDATE submissions SET state = 'submitted'`)
	check(err)
	all, _, took := follow(steward, start)
	if all < rows {
		b.Fatalf("a steward is told %d changes of %d", all, rows)
	}
	b.ReportMetric(float64(all)/took.Seconds(), "changes/s")
	base := scan()
	b.ReportMetric(float64(rows)/base.Seconds(), "scan-rows/s")
	b.ReportMetric(took.Seconds()/base.Seconds(), "times-the-scan")
	// One commit in which all of it changes again.
	if _, _, err = w.s.CreateOrganisation(ctx, impact.Principal{Role: impact.RoleAdministrator}, impact.Organisation{Name: "last", Class: impact.Association, ESS: "true"}); err != nil {
		b.Fatal(err)
	}
	last, err := w.s.LastChange(ctx, steward)
	check(err)
	_, err = w.s.write.ExecContext(ctx, `UPDATE observations SET moved = $1`, last.Tx)
	check(err)
	all, end, took = follow(steward, end)
	if all < rows {
		b.Fatalf("a steward is told %d changes of %d", all, rows)
	}
	b.ReportMetric(float64(all)/took.Seconds(), "changes/s-of-one-commit")
	began := time.Now()
	const polls = 200
	for range polls {
		_, _, _ = follow(one, end)
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/polls, "µs/empty-poll")
}

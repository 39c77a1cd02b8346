package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// database is one of the two engines, and the best it can do by itself.
type database interface {
	url() string
	// bulk loads the rows that the server wrote, facts then versions, sorted,
	// into empty tables with the same indexes, the engine's fastest way. It
	// gives the time, the number of facts and the bytes both tables take.
	bulk(ctx context.Context, dir string) (took time.Duration, rows int, size int64, err error)
	bulkName() string
	// query gives the median time of hand-written SQL over the copy made by
	// bulk, with the product's indexes and with one added for these queries.
	query(ctx context.Context, q query, times int) (timings, error)
	// singleWrites gives transactions a second of the same inserts at sixteen
	// connections; 0 when the engine has no tool for it.
	singleWrites(ctx context.Context, dir string, seconds int) (float64, error)
	// facts opens the live database, with the expression for the year of
	// period_start and what brings the planner up to date.
	facts() (db *sql.DB, year, refresh string, err error)
	replicas() bool
	close()
}

type timings struct{ plain, covered time.Duration }

func openDatabase(ctx context.Context, name, dir string) (database, error) {
	switch name {
	case "postgres":
		return openPostgres(ctx)
	case "sqlite":
		return openSQLite(dir)
	}
	return nil, fmt.Errorf("no such database: %s (postgres, sqlite)", name)
}

// order is the primary key of the facts, by which both tables are sorted.
const order = "organisation, indicator, territory, period_start, period_end, cut"

// sql gives the query as a person would write it for the tables of this
// project; year is the engine's expression for the year of period_start. It
// counts distinct legal units and adds values up. The server also works out
// coverage, exclusions and statuses, so the comparison favours SQL.
func (q query) sql(year string, territory, from, to int) string {
	if !q.all {
		return fmt.Sprintf(`
SELECT o.indicator, sum(o.value), count(*), count(DISTINCT org.siren)
FROM observations o JOIN organisations org ON org.key = o.organisation
WHERE o.territory = %d AND o.period_start >= %d AND o.period_end <= %d AND o.deleted = 0 AND o.approved_version = o.version
GROUP BY o.indicator`, territory, from, to)
	}
	return fmt.Sprintf(`
SELECT o.territory, i.impact_type, o.year, count(DISTINCT org.siren), sum(o.n)
FROM (SELECT territory, indicator, organisation, %[1]s AS year, count(*) AS n
      FROM observations
      WHERE period_start >= %[2]d AND period_end <= %[3]d AND deleted = 0 AND approved_version = version
      GROUP BY territory, indicator, organisation, %[1]s) o
JOIN organisations org ON org.key = o.organisation
JOIN indicators i ON i.key = o.indicator
GROUP BY o.territory, i.impact_type, o.year`, year, from, to)
}

// coveringIndex is the index one would add for these queries. The product does
// not have it: it would slow every write down.
const coveringIndex = "CREATE INDEX covering ON observations (territory, indicator, period_start, period_end, organisation, value, approved_version, version, deleted)"

// loadSorted copies the organisations, which the queries join, and times the
// facts and their versions.
func loadSorted(load func(table, by string) (time.Duration, error)) (time.Duration, error) {
	if _, err := load("organisations", "key"); err != nil {
		return 0, err
	}
	facts, err := load("observations", order)
	if err != nil {
		return 0, err
	}
	versions, err := load("observation_versions", order+", version")
	return facts + versions, err
}

// timeBoth times the query with the product's indexes, then with the covering
// one, which is dropped again; refresh brings the planner up to date.
func (q query) timeBoth(ctx context.Context, db *sql.DB, year string, times int, refresh string) (t timings, err error) {
	if t.plain, err = q.time(ctx, db, year, times); err != nil {
		return t, err
	}
	for _, statement := range []string{coveringIndex, refresh} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return t, err
		}
	}
	if t.covered, err = q.time(ctx, db, year, times); err != nil {
		return t, err
	}
	_, err = db.ExecContext(ctx, "DROP INDEX covering")
	return t, err
}

// time runs the query with each choice of territory and year and gives the
// median.
func (q query) time(ctx context.Context, db *sql.DB, year string, times int) (time.Duration, error) {
	territories, err := places(ctx, db)
	if err != nil {
		return 0, err
	}
	var took []time.Duration
	for i := range times {
		y := firstYear + i%(quarters/4)
		from, to := impact.YearPeriod(y).Start, impact.YearPeriod(y).End
		if q.all {
			from, to = impact.YearPeriod(firstYear).Start, impact.YearPeriod(firstYear+quarters/4-1).End
		}
		start := time.Now()
		if err := drain(ctx, db, q.sql(year, territories[i*7%len(territories)], int(from), int(to))); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// places lists the territories that observations are stated for.
func places(ctx context.Context, db *sql.DB) (keys []int, err error) {
	rows, err := db.QueryContext(ctx, "SELECT DISTINCT territory FROM observations WHERE organisation < 200 ORDER BY territory")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key int
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// drain reads every row and keeps none.
func drain(ctx context.Context, db *sql.DB, statement string) error {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
	}
	return rows.Err()
}

// openMigrated opens the database at url with the project's tables and reference
// data in it.
func openMigrated(ctx context.Context, url string) (*store.Store, error) {
	s, err := store.Open(ctx, url, store.Options{Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }})
	if err != nil {
		return nil, err
	}
	reference, err := codelist.Load()
	if err == nil {
		err = errors.Join(s.Migrate(ctx), s.LoadReference(ctx, reference))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// makeTables makes the project's tables, empty of facts, in the database at url.
func makeTables(ctx context.Context, url string) error {
	s, err := openMigrated(ctx, url)
	if err != nil {
		return err
	}
	return s.Close()
}

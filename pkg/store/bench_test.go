package store

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// The world of the benchmark: each organisation states 1,000 values a batch.
const benchBatch = 1000

type benchWorld struct {
	s          *Store
	catalogue  *impact.Catalogue
	checker    *impact.Checker
	indicators []*impact.Indicator
	towns      []impact.TerritoryKey
	orgs       []impact.Organisation
}

func newBenchWorld(b *testing.B, url string, organisations int) *benchWorld {
	b.Helper()
	ctx := context.Background()
	s, err := Open(ctx, url, Options{Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }})
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	check(err)
	b.Cleanup(func() { _ = s.Close() })
	check(s.Migrate(ctx))
	r, err := codelist.Load()
	check(err)
	check(s.LoadReference(ctx, r))
	w := &benchWorld{s: s}
	w.catalogue, err = s.Catalogue(ctx)
	check(err)
	w.checker = &impact.Checker{Catalogue: w.catalogue, Today: impact.NewDate(2026, 11, 25)}
	for _, ind := range w.catalogue.Indicators() {
		// Random values break the rules between indicators: take those that stand alone.
		alone := len(w.checker.Neighbours([]*impact.Row{{Organisation: &impact.Organisation{}, Resolved: impact.Resolved{
			Indicator: ind, Cells: []impact.Observation{{CellKey: impact.CellKey{Indicator: ind.Key}}},
		}}})) == 1
		if alone && !ind.Composed() && !ind.Derived && (ind.Kind == impact.Flow || ind.Kind == impact.Stock) {
			w.indicators = append(w.indicators, ind)
		}
	}
	g := w.catalogue.Gazetteer()
	for _, t := range g.Descendants(g.At("metropole-200046977", w.checker.Today).Key, 2026, impact.Commune) {
		w.towns = append(w.towns, t.Key)
	}
	for i := range organisations {
		o, _, err := s.CreateOrganisation(ctx, impact.Principal{Role: impact.RoleAdministrator}, impact.Organisation{Name: fmt.Sprint("o", i), Class: impact.Association, ESS: "true"})
		check(err)
		w.orgs = append(w.orgs, o)
	}
	return w
}

// batch is what organisation n states: 25 indicators in 10 communes over the
// four quarters of a year, in random order.
func (w *benchWorld) batch(n int, plus int64) impact.Batch {
	rnd := rand.New(rand.NewPCG(uint64(n), 9))
	if len(w.indicators) < 25 {
		panic("too few indicators stand alone")
	}
	org := &w.orgs[n%len(w.orgs)]
	year := 2016 + (n/len(w.orgs)+n)%10
	towns := rnd.Perm(len(w.towns))[:10]
	rows := make([]*impact.Row, 0, benchBatch)
	for _, i := range rnd.Perm(len(w.indicators))[:25] {
		for _, t := range towns {
			for _, p := range impact.YearPeriod(year).Buckets(impact.Quarter) {
				v := impact.Quantity(rnd.Int64N(1_000_000)+plus) * impact.One / 100
				ind := w.indicators[i]
				rows = append(rows, &impact.Row{Organisation: org, Resolved: impact.Resolved{
					Indicator: ind, Territory: w.catalogue.Gazetteer().ByKey(w.towns[t]), Period: p,
					Cells: []impact.Observation{{CellKey: impact.CellKey{Organisation: org.Key, Indicator: ind.Key, Territory: w.towns[t], Period: p}, Value: &v, Status: impact.Normal}},
				}})
			}
		}
	}
	rnd.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return impact.Batch{Principal: impact.Principal{Client: "bench", Role: impact.RoleOrganisation, Organisation: org.ID}, Rows: rows, Checker: w.checker}
}

// ingest writes batches from to upto with some writers at once.
func (w *benchWorld) ingest(b *testing.B, from, upto, writers int, plus int64, want impact.Outcome) time.Duration {
	todo := make(chan impact.Batch, 2*writers)
	var wg sync.WaitGroup
	var idle atomic.Int64 // time spent on waiting for a batch to be made up
	start := time.Now()
	for range writers {
		wg.Go(func() {
			for {
				wait := time.Now()
				batch, more := <-todo
				idle.Add(int64(time.Since(wait)))
				if !more {
					return
				}
				results, err := w.s.PutObservations(context.Background(), batch)
				if err != nil {
					b.Error(err)
					return
				}
				for i, r := range results.Rows {
					if r.Outcome != want {
						b.Errorf("row %d: %s %+v, want %s", i, r.Outcome, r.Faults, want)
						return
					}
				}
			}
		})
	}
	for n := from; n < upto; n++ {
		todo <- w.batch(n, plus)
	}
	close(todo)
	wg.Wait()
	return time.Since(start) - time.Duration(idle.Load()/int64(writers))
}

// BenchmarkIngest writes BENCH_ROWS observations (a million by default) in
// batches of 1,000 through PutObservations, sends them again, and compares with
// the database's own bulk load of the same rows, sorted, into the same indexed
// tables. Run it with -benchtime 1x.
func BenchmarkIngest(b *testing.B) {
	rows := 1_000_000
	if v := os.Getenv("BENCH_ROWS"); v != "" {
		if _, err := fmt.Sscan(v, &rows); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("postgres", func(b *testing.B) {
		cluster, err := pgtest.Start(pgtest.Options{Durable: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = cluster.Stop() })
		dsn, err := cluster.CreateDatabase(context.Background(), "bench")
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			benchIngest(b, dsn, rows, func(w *benchWorld) time.Duration { return twoCopies(b, dsn) })
		}
	})
	b.Run("sqlite", func(b *testing.B) {
		for b.Loop() {
			path := filepath.Join(b.TempDir(), "bench.db")
			benchIngest(b, "sqlite:"+path, rows, func(w *benchWorld) time.Duration { return twoImports(b, w, path) })
		}
	})
}

func benchIngest(b *testing.B, url string, rows int, baseline func(*benchWorld) time.Duration) {
	batches := rows / benchBatch
	w := newBenchWorld(b, url, min(batches, 1000))
	alone := w.ingest(b, 0, batches/2, 1, 0, impact.Created)
	together := w.ingest(b, batches/2, batches, 4, 0, impact.Created)
	same := w.ingest(b, 0, batches/10, 1, 0, impact.Unchanged)
	other := w.ingest(b, 0, batches/10, 1, 1, impact.Updated)
	start := time.Now()
	cube := calculation.NewCube(w.catalogue)
	f, err := w.s.Follow(context.Background(), cube, time.Second)
	if err != nil {
		b.Fatal(err)
	}
	if err := f.WaitFor(context.Background(), 0); err != nil {
		b.Fatal(err)
	}
	load := time.Since(start)
	f.Close()
	if cube.ObservationCount() != rows {
		b.Fatalf("the cube holds %d", cube.ObservationCount())
	}
	b.ReportMetric(float64(rows/2)/alone.Seconds(), "rows/s-1-writer")
	b.ReportMetric(float64(rows/2)/together.Seconds(), "rows/s-4-writers")
	b.ReportMetric(float64(rows/10)/same.Seconds(), "unchanged/s")
	b.ReportMetric(float64(rows/10)/other.Seconds(), "corrected/s")
	b.ReportMetric(load.Seconds(), "cube-load-s")
	for table, bytes := range tableSizes(b, w.s) {
		b.ReportMetric(float64(bytes)/float64(rows), table+"-B/obs")
	}
	limit := baseline(w)
	b.ReportMetric(float64(rows)/limit.Seconds(), "limit-rows/s")
	b.ReportMetric(limit.Seconds()/2/alone.Seconds(), "of-limit-1-writer")
	b.ReportMetric(limit.Seconds()/2/together.Seconds(), "of-limit-4-writers")
}

func tableSizes(b *testing.B, s *Store) map[string]int64 {
	sizes := map[string]int64{}
	for _, table := range []string{"observations", "observation_versions"} {
		var n int64
		err := s.read.QueryRow(`SELECT pg_total_relation_size('` + table + `')`).Scan(&n)
		if err != nil {
			err = s.read.QueryRow(`SELECT sum(pgsize) FROM dbstat WHERE name IN ('` + table + `', '` + table + `_tx')`).Scan(&n)
		}
		if err != nil {
			b.Log("size of", table, err)
			continue
		}
		sizes[strings.TrimPrefix(table, "observation_")] = n
	}
	return sizes
}

// twoCopies loads the first versions again, sorted, into empty copies of both
// tables with their indexes.
func twoCopies(b *testing.B, dsn string) time.Duration {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	var values [][]any
	rows, err := conn.Query(ctx, `SELECT `+strings.Join(versionNames, ", ")+` FROM observation_versions WHERE version = 1 ORDER BY organisation, indicator, territory, period_start, period_end, cut`)
	if err != nil {
		b.Fatal(err)
	}
	for rows.Next() {
		v, err := rows.Values()
		if err != nil {
			b.Fatal(err)
		}
		values = append(values, v)
	}
	if _, err := conn.Exec(ctx, `CREATE TABLE limit_observations (LIKE observations INCLUDING ALL); CREATE TABLE limit_versions (LIKE observation_versions INCLUDING ALL); CHECKPOINT`); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for table, names := range map[string][]string{"limit_observations": factNames, "limit_versions": versionNames} {
		i := -1
		_, err := conn.CopyFrom(ctx, pgx.Identifier{table}, names, pgx.CopyFromFunc(func() ([]any, error) {
			if i++; i == len(values) {
				return nil, nil
			}
			if len(names) == len(factNames) {
				return append(slices.Clip(values[i]), int32(0)), nil
			}
			return values[i], nil
		}))
		if err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// twoImports lets the sqlite3 shell .import the same rows, sorted, into empty
// copies of both tables.
func twoImports(b *testing.B, w *benchWorld, path string) time.Duration {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		b.Skip("no sqlite3 shell to compare with")
	}
	dir := b.TempDir()
	run := func(db, script string) {
		cmd := exec.Command(shell, db)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	var schema []string
	rows, err := w.s.read.Query(`SELECT sql FROM sqlite_master WHERE tbl_name IN ('observations', 'observation_versions') AND sql IS NOT NULL ORDER BY type DESC`)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text sql.NullString
		if err := rows.Scan(&text); err != nil {
			b.Fatal(err)
		}
		schema = append(schema, text.String+";")
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	columns := strings.Join(versionNames, ", ")
	inOrder := strings.Replace(columns, "version,", "version, 0,", 1) // .import goes by position
	export := `.mode csv
.once ` + dir + `/facts.csv
SELECT ` + inOrder + ` FROM observation_versions WHERE version = 1 ORDER BY organisation, indicator, territory, period_start, period_end, cut;
.once ` + dir + `/versions.csv
SELECT ` + columns + ` FROM observation_versions WHERE version = 1 ORDER BY organisation, indicator, territory, period_start, period_end, cut;
`
	run(path, export)
	limit := filepath.Join(dir, "limit.db")
	run(limit, "PRAGMA journal_mode = WAL;\n"+strings.Join(schema, "\n"))
	start := time.Now()
	run(limit, "PRAGMA synchronous = NORMAL;\n.mode csv\n.import "+dir+"/facts.csv observations\n.import "+dir+"/versions.csv observation_versions\n")
	return time.Since(start)
}

// BenchmarkSingleWrites has 16 callers state one value after the other.
func BenchmarkSingleWrites(b *testing.B) {
	run := func(b *testing.B, url string) {
		w := newBenchWorld(b, url, 64)
		batches := make(chan impact.Batch, 1<<16)
		go func() {
			defer close(batches)
			for n := 0; ; n++ {
				all := w.batch(n, 0)
				for i := range all.Rows {
					one := all
					one.Rows = all.Rows[i : i+1]
					select {
					case batches <- one:
					case <-b.Context().Done():
						return
					}
				}
			}
		}()
		time.Sleep(time.Second) // some are ready before the clock runs
		b.SetParallelism(8)     // times GOMAXPROCS
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := w.s.PutObservations(context.Background(), <-batches); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	}
	b.Run("postgres", func(b *testing.B) {
		cluster, err := pgtest.Start(pgtest.Options{Durable: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = cluster.Stop() })
		dsn, err := cluster.CreateDatabase(context.Background(), "bench")
		if err != nil {
			b.Fatal(err)
		}
		run(b, dsn)
	})
	b.Run("sqlite", func(b *testing.B) { run(b, "sqlite:"+filepath.Join(b.TempDir(), "bench.db")) })
}

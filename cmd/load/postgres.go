package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"

	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// postgres is a cluster of this run's own, with the durability PostgreSQL has
// by default: acknowledged means on disk.
type postgres struct {
	cluster    *pgtest.Cluster
	live, copy string // connection strings
}

func openPostgres(ctx context.Context) (*postgres, error) {
	cluster, err := pgtest.Start(pgtest.Options{Durable: true, Settings: map[string]string{
		"shared_buffers": "1GB", "max_wal_size": "8GB", "work_mem": "256MB",
	}})
	if err != nil {
		return nil, err
	}
	p := &postgres{cluster: cluster}
	if p.live, err = cluster.CreateDatabase(ctx, "live"); err == nil {
		p.copy, err = cluster.CreateDatabase(ctx, "copy")
	}
	if err != nil {
		return nil, errors.Join(err, cluster.Stop())
	}
	return p, nil
}

func (p *postgres) url() string      { return p.live }
func (p *postgres) replicas() bool   { return true }
func (p *postgres) bulkName() string { return "two sorted COPYs" }
func (p *postgres) close()           { _ = p.cluster.Stop() }

func (p *postgres) bulk(ctx context.Context, _ string) (took time.Duration, rows int, size int64, err error) {
	if err := makeTables(ctx, p.copy); err != nil {
		return 0, 0, 0, err
	}
	from, err := pgx.Connect(ctx, p.live)
	if err != nil {
		return 0, 0, 0, err
	}
	defer from.Close(ctx)
	to, err := pgx.Connect(ctx, p.copy)
	if err != nil {
		return 0, 0, 0, err
	}
	defer to.Close(ctx)
	load := func(table, by string) (time.Duration, error) {
		var data bytes.Buffer
		if _, err := from.PgConn().CopyTo(ctx, &data, fmt.Sprintf("COPY (SELECT * FROM %s ORDER BY %s) TO STDOUT (FORMAT binary)", table, by)); err != nil {
			return 0, err
		}
		if _, err := to.Exec(ctx, "CHECKPOINT"); err != nil {
			return 0, err
		}
		start := time.Now()
		_, err := to.PgConn().CopyFrom(ctx, &data, fmt.Sprintf("COPY %s FROM STDIN (FORMAT binary)", table))
		return time.Since(start), err
	}
	if took, err = loadSorted(load); err != nil {
		return 0, 0, 0, err
	}
	if _, err := to.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return 0, 0, 0, err
	}
	err = from.QueryRow(ctx, "SELECT (SELECT count(*) FROM observations), pg_total_relation_size('observations') + pg_total_relation_size('observation_versions')").Scan(&rows, &size)
	return took, rows, size, err
}

func (p *postgres) query(ctx context.Context, q query, times int) (timings, error) {
	const year = "extract(year FROM date '1970-01-01' + period_start)"
	db, err := sql.Open("pgx", p.copy)
	if err != nil {
		return timings{}, err
	}
	defer func() { _ = db.Close() }()
	return q.timeBoth(ctx, db, year, times, "VACUUM ANALYZE observations")
}

// single is what the store inserts for one new observation: the fact, its
// version, the commit. No lock is taken and the number comes from a sequence,
// which favours pgbench.
const single = `\set organisation random(1, 5000)
BEGIN;
SELECT nextval('load') AS n \gset
INSERT INTO observations (value, tx, organisation, territory, period_start, period_end, cut, submission, profile, actor, version, approved_version, indicator, obs_status, deleted, details)
VALUES (100000000, :n, :organisation, 1, :n, :n, 0, 1, 1, 1, 1, 1, 1, 65, 0, '');
INSERT INTO observation_versions (value, tx, organisation, territory, period_start, period_end, cut, submission, profile, actor, version, indicator, obs_status, deleted, details)
VALUES (100000000, :n, :organisation, 1, :n, :n, 0, 1, 1, 1, 1, 1, 65, 0, '');
INSERT INTO commit_log (seq, tx, kind, at) VALUES (:n, :n, 'observations', 0);
COMMIT;
`

func (p *postgres) singleWrites(ctx context.Context, dir string, seconds int) (float64, error) {
	conn, err := pgx.Connect(ctx, p.copy)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE SEQUENCE load START 1000000 CACHE 100"); err != nil {
		return 0, err
	}
	file := filepath.Join(dir, "single.sql")
	if err := os.WriteFile(file, []byte(single), 0o644); err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, "pgbench", "--no-vacuum", "--protocol=prepared", "--client="+strconv.Itoa(singles), "--jobs=2",
		"--time="+strconv.Itoa(seconds), "--file="+file, p.copy).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "tps = "); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("no tps in the output of pgbench:\n%s", out)
}

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
	"strings"
	"time"

	_ "modernc.org/sqlite" // database/sql driver "sqlite"
)

// sqlite is the embedded database, a file in the folder of this run. The best
// it can do by itself is measured with its own shell.
type sqlite struct{ live, copy string }

func openSQLite(dir string) (*sqlite, error) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		return nil, errors.New("the sqlite3 shell is missing: install the package sqlite3")
	}
	return &sqlite{live: filepath.Join(dir, "live.db"), copy: filepath.Join(dir, "copy.db")}, nil
}

func (s *sqlite) url() string      { return "sqlite:" + s.live }
func (s *sqlite) replicas() bool   { return false }
func (s *sqlite) bulkName() string { return "two .import of the shell" }
func (s *sqlite) close()           {}

func (s *sqlite) bulk(ctx context.Context, dir string) (took time.Duration, rows int, size int64, err error) {
	if err := makeTables(ctx, "sqlite:"+s.copy); err != nil {
		return 0, 0, 0, err
	}
	load := func(table, by string) (time.Duration, error) {
		file := filepath.Join(dir, table+".csv")
		if err := export(ctx, s.live, fmt.Sprintf("SELECT * FROM %s ORDER BY %s", table, by), file); err != nil {
			return 0, err
		}
		start := time.Now()
		_, err := shell(ctx, s.copy, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536;", ".import --csv "+file+" "+table)
		return time.Since(start), err
	}
	if took, err = loadSorted(load); err != nil {
		return 0, 0, 0, err
	}
	out, err := shell(ctx, s.copy, "ANALYZE; SELECT count(*) FROM observations; SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'observation%' OR name LIKE 'sqlite_autoindex_observation%';")
	if err != nil {
		return 0, 0, 0, err
	}
	_, err = fmt.Sscan(out, &rows, &size)
	return took, rows, size, err
}

func (s *sqlite) query(ctx context.Context, q query, times int) (timings, error) {
	const year = "CAST(strftime('%Y', period_start * 86400, 'unixepoch') AS INTEGER)"
	db, err := sql.Open("sqlite", s.copy)
	if err != nil {
		return timings{}, err
	}
	defer func() { _ = db.Close() }()
	if q.all {
		times = 3 // seconds each
	}
	return q.timeBoth(ctx, db, year, times, "ANALYZE")
}

// singleWrites: SQLite has one writer and no load tool; nothing to compare with.
func (s *sqlite) singleWrites(context.Context, string, int) (float64, error) { return 0, nil }

func export(ctx context.Context, file, query, to string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sqlite3", "-readonly", "-csv", "-noheader", file, query)
	var problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &problems
	err = cmd.Run()
	if err != nil {
		err = fmt.Errorf("sqlite3: %w\n%s", err, problems.String())
	}
	return errors.Join(err, out.Close())
}

func shell(ctx context.Context, file string, commands ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "sqlite3", "-bail", file)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("sqlite3: %w\n%s", err, out)
	}
	return string(out), nil
}

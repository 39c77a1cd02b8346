package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// dialect is all that differs between the two databases. Every other file of
// the package speaks to both at once, in SQL with $1 placeholders.
type dialect interface {
	open(ctx context.Context, url string) (write, read *sql.DB, err error)
	close(write, read *sql.DB) error
	dialector(pool gorm.ConnPool) gorm.Dialector
	migrator(db *sql.DB, texts fs.FS) (*goose.Provider, error)

	// lockCommits makes the caller the only one that takes a commit number
	// until its transaction ends; lockReference does the same for the reference
	// data, lockOrganisations for the facts of some organisations (keys sorted).
	lockCommits() []step
	lockReference() []step
	lockOrganisations(keys []int32) []step
	// lockUnits does it for the legal units of some organisations, after their
	// own locks.
	lockUnits(keys []int64) []step
	// tryLock takes a lock by name until the transaction ends, false if
	// another transaction has it.
	tryLock(ctx context.Context, tx *sql.Tx, name string) (bool, error)

	// snapshot begins a read-only transaction in which all statements see the
	// same instant.
	snapshot(ctx context.Context, db *sql.DB) (*sql.Conn, *sql.Tx, error)

	// anyOf is the condition that a column has one of the values, from
	// placeholder n on.
	anyOf(column string, n int, values []int64) (condition string, args []any)
	// probe joins a table by look-ups in its index, row by row: what is joined is
	// always known keys, few beside the table, and a planner without statistics
	// would read all of it. how is JOIN or LEFT JOIN.
	probe(how, table, alias, condition string) string
	// facts reads old facts of (organisation, indicator) pairs in the columns
	// of factColumns.
	facts(pairs []pair, columns string) (query string, args []any)
	// keyed is a table k of natural keys, to be joined.
	keyed(keys []factKey) (table string, args []any)
	// insertFacts, updateFacts and insertVersions write rows sorted by key, or
	// give the step that will.
	insertFacts(ctx context.Context, t *txn, rows []factRow) ([]step, error)
	updateFacts(ctx context.Context, t *txn, rows []factRow) ([]step, error)
	insertVersions(ctx context.Context, t *txn, rows []factRow) ([]step, error)
	// run does some steps in their order, on PostgreSQL in one round trip.
	run(ctx context.Context, t *txn, steps ...step) error

	// forUpdate locks the rows that a gorm query reads until the transaction ends;
	// skip leaves out those that another transaction has locked.
	forUpdate(skip bool) []clause.Expression

	duplicate(err error) bool // a unique key is taken
	transient(err error) bool // the same transaction may succeed when run again
}

// step is a statement of several that are run together. Its rows are numbers,
// then texts; each is nil when there is nothing to read.
type step struct {
	query          string
	args           []any
	numbers, texts int
	each           func(numbers []int64, null []bool, texts []string) error
}

func dialectOf(url string) (dialect, error) {
	switch {
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return &postgresDialect{}, nil
	case strings.HasPrefix(url, "sqlite:"):
		return &sqliteDialect{statements: map[statementKey]driver.Stmt{}}, nil
	}
	return nil, errors.New("the database URL must begin with postgres:// or sqlite: and name what follows")
}

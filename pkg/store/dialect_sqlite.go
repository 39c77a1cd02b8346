package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"modernc.org/sqlite"
)

const (
	sqliteBusy       = 5
	sqliteUnique     = 2067
	sqlitePrimaryKey = 1555
)

type statementKey struct {
	conn any
	text string
}

type sqliteDialect struct {
	mu         sync.Mutex
	statements map[statementKey]driver.Stmt // of the one writing connection
}

func (d *sqliteDialect) open(_ context.Context, address string) (*sql.DB, *sql.DB, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(address, "sqlite:"), "//")
	if path == "" || strings.Contains(path, ":memory:") {
		return nil, nil, errors.New("sqlite: needs the path of a file (sqlite:retombees.db)")
	}
	path, _, _ = strings.Cut(path, "?")
	if err := ownerOnly(path); err != nil {
		return nil, nil, err
	}
	file := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	dsn := func(more ...string) string {
		q := url.Values{"_pragma": append([]string{"busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)"}, more...)}
		return file.String() + "?" + q.Encode()
	}
	// One connection writes. immediate: a transaction that will write says so at
	// once, instead of failing when it must.
	write, err := sql.Open("sqlite", dsn("journal_mode(WAL)", "cache_size(-65536)", "temp_store(MEMORY)")+"&_txlock=immediate")
	if err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	write.SetMaxIdleConns(1)
	read, err := sql.Open("sqlite", dsn("query_only(1)", "cache_size(-32768)", "temp_store(MEMORY)"))
	if err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	read.SetConnMaxIdleTime(5 * time.Minute)
	return write, read, nil
}

// close finalises the statements of the connection there is; those of one that
// was lost went with it.
// ownerOnly makes the file when it is absent: what it will hold is private. The
// journals beside it take the same rights from SQLite.
func ownerOnly(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (d *sqliteDialect) close(write, read *sql.DB) error {
	var finalised error
	conn, err := write.Conn(context.Background())
	if err == nil {
		finalised = conn.Raw(func(dc any) (err error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			for k, s := range d.statements {
				if k.conn == dc {
					err = errors.Join(err, s.Close())
				}
			}
			return err
		})
		finalised = errors.Join(finalised, conn.Close())
	}
	return errors.Join(finalised, read.Close(), write.Close())
}

func (d *sqliteDialect) dialector(pool gorm.ConnPool) gorm.Dialector {
	return gormsqlite.Dialector{DriverName: "sqlite", Conn: pool}
}

func (d *sqliteDialect) migrator(db *sql.DB, texts fs.FS) (*goose.Provider, error) {
	return goose.NewProvider(goose.DialectSQLite3, db, textFor{texts, "sqlite"}, goose.WithDisableGlobalRegistry(true))
}

// textFor makes the comments of the migrations that address one database count
// there: /* sqlite … */, /* postgres … */, and /* WITHOUT ROWID */ on SQLite.
type textFor struct {
	fs.FS
	database string
}

func (w textFor) Open(name string) (fs.File, error) {
	f, err := w.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return f, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if w.database == "sqlite" {
		text = bytes.ReplaceAll(text, []byte("/* WITHOUT ROWID */"), []byte("WITHOUT ROWID"))
	}
	text = regexp.MustCompile(`(?s)/\* `+w.database+`\n(.*?)\*/`).ReplaceAll(text, []byte("${1}"))
	return textFile{f, bytes.NewReader(text)}, nil
}

type textFile struct {
	fs.File
	text io.Reader
}

func (f textFile) Read(b []byte) (int, error) { return f.text.Read(b) }

// The single writer holds every lock there is.
func (d *sqliteDialect) lockCommits() []step                                    { return nil }
func (d *sqliteDialect) lockReference() []step                                  { return nil }
func (d *sqliteDialect) lockOrganisations([]int32) []step                       { return nil }
func (d *sqliteDialect) lockUnits([]int64) []step                               { return nil }
func (d *sqliteDialect) tryLock(context.Context, *sql.Tx, string) (bool, error) { return true, nil }

func (d *sqliteDialect) snapshot(ctx context.Context, db *sql.DB) (*sql.Conn, *sql.Tx, error) {
	return beginSnapshot(ctx, db, nil)
}

// The numbers of the three methods below come from the domain's own integers:
// nothing to escape, and no limit on parameters to meet.

func (d *sqliteDialect) anyOf(column string, _ int, values []int64) (string, []any) {
	var list strings.Builder
	for i, v := range values {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprint(&list, v)
	}
	return column + " IN (" + list.String() + ")", nil
}

func (d *sqliteDialect) keyed(keys []factKey) (string, []any) {
	var values strings.Builder
	for i, k := range keys {
		if i > 0 {
			values.WriteByte(',')
		}
		fmt.Fprintf(&values, "(%d,%d,%d,%d,%d,%d)", k.organisation, k.indicator, k.territory, k.start, k.end, k.cut)
	}
	return `(SELECT column1 AS organisation, column2 AS indicator, column3 AS territory, column4 AS period_start, column5 AS period_end, column6 AS cut
		FROM (VALUES ` + values.String() + `)) AS k`, nil
}

func (d *sqliteDialect) facts(pairs []pair, columns string) (string, []any) {
	var values strings.Builder
	for i, p := range pairs {
		if i > 0 {
			values.WriteByte(',')
		}
		fmt.Fprintf(&values, "(%d,%d)", p.organisation, p.indicator)
	}
	return `WITH p (organisation, indicator) AS (VALUES ` + values.String() + `)
		SELECT ` + columns + ` FROM p CROSS JOIN observations AS f ON f.organisation = p.organisation AND f.indicator = p.indicator`, nil
}

// probe: SQLite keeps the two sides of a CROSS JOIN in the order written.
func (d *sqliteDialect) probe(how, table, alias, condition string) string {
	if strings.TrimSpace(how) == "JOIN" {
		how = " CROSS JOIN"
	}
	return how + ` ` + table + ` AS ` + alias + ` ON ` + condition
}

func (d *sqliteDialect) insertFacts(ctx context.Context, t *txn, rows []factRow) ([]step, error) {
	return nil, d.insert(ctx, t, "observations", factNames, "", rows)
}

func (d *sqliteDialect) insertVersions(ctx context.Context, t *txn, rows []factRow) ([]step, error) {
	return nil, d.insert(ctx, t, "observation_versions", versionNames, "", rows)
}

func (d *sqliteDialect) updateFacts(ctx context.Context, t *txn, rows []factRow) ([]step, error) {
	return nil, d.insert(ctx, t, "observations", factNames, onConflict, rows)
}

// insert writes 100 rows a statement; statements stay prepared on the one
// connection that writes.
func (d *sqliteDialect) insert(ctx context.Context, t *txn, table string, names []string, conflict string, rows []factRow) error {
	if len(rows) == 0 {
		return nil
	}
	return t.conn.Raw(func(dc any) error {
		args := make([]driver.NamedValue, 0, 100*len(names))
		for len(rows) > 0 {
			n := 1
			if len(rows) >= 100 {
				n = 100
			} else if len(rows) >= 10 {
				n = 10
			}
			stmt, err := d.statement(ctx, dc, table, names, conflict, n)
			if err != nil {
				return err
			}
			args = args[:0]
			for i := range rows[:n] {
				r := &rows[i]
				var value driver.Value
				if r.value.Valid {
					value = r.value.V
				}
				columns := [...]driver.Value{
					value, r.tx, int64(r.organisation), int64(r.territory), int64(r.start), int64(r.end), int64(r.cut), int64(r.submission),
					int64(r.profile), int64(r.actor), int64(r.version), int64(r.indicator), int64(r.status), int64(r.deleted), r.details, int64(r.approved),
				}
				for _, v := range columns[:len(names)] {
					args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v})
				}
			}
			if _, err := stmt.(driver.StmtExecContext).ExecContext(ctx, args); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	})
}

func (d *sqliteDialect) statement(ctx context.Context, dc any, table string, names []string, conflict string, n int) (driver.Stmt, error) {
	marks := "(" + strings.Repeat("?, ", len(names)-1) + "?)"
	key := statementKey{dc, `INSERT INTO ` + table + ` (` + strings.Join(names, ", ") + `) VALUES ` + strings.Repeat(marks+", ", n-1) + marks + conflict}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.statements[key]; s != nil {
		return s, nil
	}
	s, err := dc.(driver.ConnPrepareContext).PrepareContext(ctx, key.text)
	if err == nil {
		d.statements[key] = s
	}
	return s, err
}

func (d *sqliteDialect) run(ctx context.Context, t *txn, steps ...step) error {
	for i := range steps {
		if err := d.step(ctx, t, &steps[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *sqliteDialect) step(ctx context.Context, t *txn, s *step) error {
	if s.each == nil {
		_, err := t.tx.ExecContext(ctx, s.query, s.args...)
		return err
	}
	rows, err := t.tx.QueryContext(ctx, s.query, s.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	nullable := make([]sql.NullInt64, s.numbers)
	values, null, words := make([]int64, s.numbers), make([]bool, s.numbers), make([]string, s.texts)
	targets := make([]any, 0, s.numbers+s.texts)
	for i := range nullable {
		targets = append(targets, &nullable[i])
	}
	for i := range words {
		targets = append(targets, &words[i])
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		for i, v := range nullable {
			values[i], null[i] = v.Int64, !v.Valid
		}
		if err := s.each(values, null, words); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (d *sqliteDialect) forUpdate(bool) []clause.Expression { return nil }

func (d *sqliteDialect) duplicate(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqliteUnique || e.Code() == sqlitePrimaryKey)
}

func (d *sqliteDialect) transient(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqliteBusy
}

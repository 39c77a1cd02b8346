package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/driver/postgres"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"modernc.org/sqlite"
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

// ---- PostgreSQL

// Advisory locks: one class of two-int locks for organisations, single-int
// locks for the rest, so that no two can meet.
const (
	organisationLocks = 0x0726 // class of (class, organisation key)
	unitLocks         = 0x0727 // class of (class, hash of a SIREN)
	commitLock        = 0x7265746f6d626501
	referenceLock     = 0x7265746f6d626502
)

// copyFrom is the number of rows from which COPY beats an INSERT of arrays.
const copyFrom = 64

type postgresDialect struct{ write, read *pgxpool.Pool }

// poolSize is for each of the two pools; pool_max_conns in the URL replaces it.
// A writer may need to read beside its transaction: if it had to wait for a
// connection that another writer holds, all could wait for each other.
const poolSize = 12

// patience is how long the server waits for us, in milliseconds; the URL may say
// otherwise. A caller's own time is up before: these are for a process that was
// killed or cut off, whose statements and locks would else outlive it.
var patience = map[string]string{
	"lock_timeout":                        "20000",
	"idle_in_transaction_session_timeout": "120000",
	"client_connection_check_interval":    "10000",
}

func (d *postgresDialect) open(ctx context.Context, url string) (*sql.DB, *sql.DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, err
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = poolSize
	}
	for name, value := range patience {
		if config.ConnConfig.RuntimeParams[name] == "" {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	dbs := [2]*sql.DB{}
	for i, pool := range []**pgxpool.Pool{&d.write, &d.read} {
		if *pool, err = pgxpool.NewWithConfig(ctx, config.Copy()); err != nil {
			if d.write != nil {
				d.write.Close()
			}
			return nil, nil, err
		}
		dbs[i] = stdlib.OpenDBFromPool(*pool)
		// The pool of pgx keeps idle connections, this one only hands them over.
		dbs[i].SetMaxIdleConns(0)
	}
	return dbs[0], dbs[1], nil
}

func (d *postgresDialect) close(write, read *sql.DB) error {
	err := errors.Join(write.Close(), read.Close())
	d.write.Close()
	d.read.Close()
	return err
}

func (d *postgresDialect) dialector(pool gorm.ConnPool) gorm.Dialector {
	return postgres.New(postgres.Config{Conn: pool})
}

func (d *postgresDialect) migrator(db *sql.DB, texts fs.FS) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, textFor{texts, "postgres"}, goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
}

func (d *postgresDialect) lockCommits() []step {
	return []step{{query: `SELECT pg_advisory_xact_lock($1)`, args: []any{int64(commitLock)}}}
}

func (d *postgresDialect) lockReference() []step {
	return []step{{query: `SELECT pg_advisory_xact_lock($1)`, args: []any{int64(referenceLock)}}}
}

func (d *postgresDialect) lockOrganisations(keys []int32) []step {
	return []step{{query: `SELECT pg_advisory_xact_lock($1, k) FROM unnest($2::int[]) AS k`, args: []any{int32(organisationLocks), keys}}}
}

func (d *postgresDialect) lockUnits(keys []int64) []step {
	return []step{{query: `SELECT pg_advisory_xact_lock($1, u.hash)
		FROM (SELECT DISTINCT hashtext(siren) AS hash FROM organisations WHERE key = ANY($2::bigint[]) ORDER BY 1) AS u`, args: []any{int32(unitLocks), keys}}}
}

func (d *postgresDialect) tryLock(ctx context.Context, tx *sql.Tx, name string) (ok bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))`, name).Scan(&ok)
	return ok, err
}

func (d *postgresDialect) snapshot(ctx context.Context, db *sql.DB) (*sql.Conn, *sql.Tx, error) {
	return beginSnapshot(ctx, db, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
}

func beginSnapshot(ctx context.Context, db *sql.DB, opts *sql.TxOptions) (*sql.Conn, *sql.Tx, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	tx, err := conn.BeginTx(ctx, opts)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, tx, nil
}

func (d *postgresDialect) anyOf(column string, n int, values []int64) (string, []any) {
	return fmt.Sprintf("%s = ANY($%d::bigint[])", column, n), []any{values}
}

func (d *postgresDialect) keyed(keys []factKey) (string, []any) {
	columns := make([][]int32, 6)
	for i := range columns {
		columns[i] = make([]int32, len(keys))
	}
	for i, k := range keys {
		for c, v := range [...]int32{k.organisation, int32(k.indicator), k.territory, k.start, k.end, k.cut} {
			columns[c][i] = v
		}
	}
	return `unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[]) AS k (organisation, indicator, territory, period_start, period_end, cut)`,
		[]any{columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]}
}

func (d *postgresDialect) facts(pairs []pair, columns string) (string, []any) {
	organisations, indicators := make([]int32, len(pairs)), make([]int16, len(pairs))
	for i, p := range pairs {
		organisations[i], indicators[i] = p.organisation, p.indicator
	}
	return `SELECT ` + columns + ` FROM unnest($1::int[], $2::smallint[]) AS p (organisation, indicator)
		` + d.probe("JOIN", "observations", "f", "f.organisation = p.organisation AND f.indicator = p.indicator"), []any{organisations, indicators}
}

// probe: OFFSET 0 keeps PostgreSQL from turning the look-up into a hash join.
func (d *postgresDialect) probe(how, table, alias, condition string) string {
	return how + ` LATERAL (SELECT * FROM ` + table + ` AS ` + alias + ` WHERE ` + condition + ` OFFSET 0) AS ` + alias + ` ON true`
}

var (
	versionNames = []string{"value", "tx", "organisation", "territory", "period_start", "period_end", "cut", "submission", "profile", "actor", "version", "indicator", "obs_status", "deleted", "details"}
	factNames    = append(versionNames[:len(versionNames):len(versionNames)], "approved_version")
)

func (d *postgresDialect) insertFacts(ctx context.Context, t *txn, rows []factRow) ([]step, error) {
	return d.insert(ctx, t, "observations", factNames, rows)
}

func (d *postgresDialect) insertVersions(ctx context.Context, t *txn, rows []factRow) ([]step, error) {
	return d.insert(ctx, t, "observation_versions", versionNames, rows)
}

func (d *postgresDialect) insert(ctx context.Context, t *txn, table string, names []string, rows []factRow) ([]step, error) {
	switch {
	case len(rows) == 0:
		return nil, nil
	case len(rows) < copyFrom:
		return []step{{query: insertArrays(table, names), args: columnsOf(rows)[:len(names)]}}, nil
	}
	return nil, t.conn.Raw(func(dc any) error {
		text := `COPY ` + table + ` (` + strings.Join(names, ", ") + `) FROM STDIN (FORMAT binary)`
		_, err := dc.(*stdlib.Conn).Conn().PgConn().CopyFrom(ctx, bytes.NewReader(binaryRows(rows, len(names))), text)
		return err
	})
}

// updateFacts replaces: an UPDATE joined to the arrays would read the whole
// table.
func (d *postgresDialect) updateFacts(_ context.Context, _ *txn, rows []factRow) ([]step, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	return []step{{query: insertArrays("observations", factNames) + onConflict, args: columnsOf(rows)}}, nil
}

// onConflict lets an insertion replace the fact on record.
const onConflict = ` ON CONFLICT (organisation, indicator, territory, period_start, period_end, cut) DO UPDATE SET
	value = excluded.value, tx = excluded.tx, submission = excluded.submission, profile = excluded.profile, actor = excluded.actor, version = excluded.version,
	obs_status = excluded.obs_status, deleted = excluded.deleted, details = excluded.details, approved_version = excluded.approved_version`

// insertArrays is an insertion of one array per column, see columnsOf.
func insertArrays(table string, names []string) string {
	query := `INSERT INTO ` + table + ` (` + strings.Join(names, ", ") + `) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::int[], $5::int[], $6::int[],
		$7::int[], $8::int[], $9::int[], $10::int[], $11::int[], $12::smallint[], $13::smallint[], $14::smallint[], $15::text[]`
	if len(names) == len(factNames) {
		query += `, $16::int[]`
	}
	return query + `)`
}

// binaryRows writes rows as COPY reads them, in the order of factNames. pgx would
// ask the server for the types and look up an encoder for each value.
func binaryRows(rows []factRow, columns int) []byte {
	size := 32
	for i := range rows {
		size += 144 + len(rows[i].details)
	}
	b := append(make([]byte, 0, size), "PGCOPY\n\377\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	order := binary.BigEndian
	for i := range rows {
		r := &rows[i]
		b = order.AppendUint16(b, uint16(columns))
		if r.value.Valid {
			b = order.AppendUint64(order.AppendUint32(b, 8), uint64(r.value.V))
		} else {
			b = order.AppendUint32(b, 1<<32-1)
		}
		b = order.AppendUint64(order.AppendUint32(b, 8), uint64(r.tx))
		for _, v := range [...]int32{r.organisation, r.territory, r.start, r.end, r.cut, r.submission, r.profile, r.actor, r.version} {
			b = order.AppendUint32(order.AppendUint32(b, 4), uint32(v))
		}
		for _, v := range [...]int16{r.indicator, r.status, r.deleted} {
			b = order.AppendUint16(order.AppendUint32(b, 2), uint16(v))
		}
		b = append(order.AppendUint32(b, uint32(len(r.details))), r.details...)
		if columns == len(factNames) {
			b = order.AppendUint32(order.AppendUint32(b, 4), uint32(r.approved))
		}
	}
	return order.AppendUint16(b, 1<<16-1)
}

// columnsOf turns rows into one array per column, in the order of factNames.
func columnsOf(rows []factRow) []any {
	n := len(rows)
	values, txs, details := make([]*int64, n), make([]int64, n), make([]string, n)
	ints := make([][]int32, 10) // organisation … version, approved_version
	for i := range ints {
		ints[i] = make([]int32, n)
	}
	smalls := [3][]int16{make([]int16, n), make([]int16, n), make([]int16, n)}
	for i := range rows {
		r := &rows[i]
		if r.value.Valid {
			values[i] = &r.value.V
		}
		txs[i], details[i] = r.tx, r.details
		for c, v := range [...]int32{r.organisation, r.territory, r.start, r.end, r.cut, r.submission, r.profile, r.actor, r.version, r.approved} {
			ints[c][i] = v
		}
		smalls[0][i], smalls[1][i], smalls[2][i] = r.indicator, r.status, r.deleted
	}
	return []any{
		values, txs, ints[0], ints[1], ints[2], ints[3], ints[4], ints[5], ints[6], ints[7], ints[8],
		smalls[0], smalls[1], smalls[2], details, ints[9],
	}
}

// run reads pgx's binary rows without a detour through interfaces: this is what
// a replica waits for when it starts.
func (d *postgresDialect) run(ctx context.Context, t *txn, steps ...step) error {
	if len(steps) == 0 {
		return nil
	}
	return t.conn.Raw(func(dc any) error {
		conn := dc.(*stdlib.Conn).Conn()
		if len(steps) == 1 {
			rows, err := conn.Query(ctx, steps[0].query, steps[0].args...)
			return readRows(rows, err, &steps[0])
		}
		var batch pgx.Batch
		for i := range steps {
			batch.Queue(steps[i].query, steps[i].args...)
		}
		answers := conn.SendBatch(ctx, &batch)
		for i := range steps {
			rows, err := answers.Query()
			if err := readRows(rows, err, &steps[i]); err != nil {
				_ = answers.Close()
				return err
			}
		}
		return answers.Close()
	})
}

func readRows(rows pgx.Rows, err error, s *step) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	values, null, words := make([]int64, s.numbers), make([]bool, s.numbers), make([]string, s.texts)
	for rows.Next() {
		if s.each == nil {
			continue
		}
		raw := rows.RawValues()
		for i := range s.numbers {
			null[i] = raw[i] == nil
			values[i] = bigEndian(raw[i])
		}
		for i := range s.texts {
			words[i] = string(raw[s.numbers+i])
		}
		if err := s.each(values, null, words); err != nil {
			return err
		}
	}
	return rows.Err()
}

// bigEndian reads an integer of 2, 4 or 8 bytes as PostgreSQL sends it.
func bigEndian(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	v := int64(int8(b[0]))
	for _, c := range b[1:] {
		v = v<<8 | int64(c)
	}
	return v
}

func (d *postgresDialect) forUpdate(skip bool) []clause.Expression {
	if skip {
		return []clause.Expression{clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}}
	}
	return []clause.Expression{clause.Locking{Strength: "UPDATE"}}
}

func (d *postgresDialect) duplicate(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505"
}

func (d *postgresDialect) transient(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300":
			return true
		case "23505": // two processes drew the same transaction id
			return e.TableName == "commit_log"
		}
		return false
	}
	return errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err)
}

// ---- SQLite

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

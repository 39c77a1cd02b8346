package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

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

// settings are those of our sessions; the URL may say otherwise. The first are
// how long the server waits for us, in milliseconds. A caller's own time is up
// before: these are for a process that was killed or cut off, whose statements and
// locks would else outlive it. Compiling a query (jit) takes up to a second when
// its tables have no statistics yet, and ours last milliseconds.
var settings = map[string]string{
	"lock_timeout":                        "20000",
	"idle_in_transaction_session_timeout": "120000",
	"client_connection_check_interval":    "10000",
	"jit":                                 "off",
}

func (d *postgresDialect) open(ctx context.Context, url string) (*sql.DB, *sql.DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, err
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = poolSize
	}
	for name, value := range settings {
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

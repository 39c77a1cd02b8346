// Package store keeps what people entrust to Retombées: organisations, their
// observations with every version, submissions, clients, the reference data.
//
// One implementation serves two databases, PostgreSQL and SQLite; dialect.go
// is the only file that knows. Reading and changing one thing at a time goes
// through gorm, observations in bulk through plain SQL. Every query filters by
// the principal; what a caller may not see does not exist for it. Errors that
// a person can act on are *impact.Error, all others are wrapped as they are.
//
// Order is that of commits: a transaction takes its number in commit_log
// last, under a lock held until it ends, so a reader that follows the numbers
// misses nothing (Follow).
package store

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Options of a store. Now and NewID are required outside of tests of this
// package: the store knows no clock of its own.
type Options struct {
	Log   *slog.Logger
	Now   func() time.Time
	NewID func() string // unique, and growing with time (UUIDv7)
	// ImportBytes replaces impact.ImportBytesKept when it is not 0.
	ImportBytes int64
}

// Store is safe for concurrent use.
type Store struct {
	log     *slog.Logger
	now     func() time.Time
	newID   func() string
	kept    int64 // bytes of imported files, of one owner
	dialect dialect
	write   *sql.DB // one connection on SQLite
	read    *sql.DB
	gormDB  *gorm.DB // its connection is set by each use: see orm

	clock     clock
	catalogue atomic.Pointer[impact.Catalogue]
	cuts      dictionary[string]
	profiles  dictionary[profile]
	actors    dictionary[actor]

	submissionKeys reserve
	kinships       kinships
	recent         recent
	group          *group
	running        running
}

// Open connects to `postgres://…` or `sqlite:PATH` and checks that the
// database answers. Nothing is created but the file of SQLite: see Migrate.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil || opts.NewID == nil {
		return nil, errors.New("opening the store: a clock and an id maker are required")
	}
	d, err := dialectOf(url)
	if err != nil {
		return nil, err
	}
	write, read, err := d.open(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	s := &Store{
		log: opts.Log, now: opts.Now, newID: opts.NewID, kept: cmp.Or(opts.ImportBytes, impact.ImportBytesKept), dialect: d, write: write, read: read,
		cuts: cutDictionary(), profiles: profileDictionary(), actors: actorDictionary(),
		submissionKeys: reserve{counter: "submission", ahead: 1024},
	}
	s.gormDB, err = gorm.Open(d.dialector(read), &gorm.Config{
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		Logger:                 logger.Discard,
		NowFunc:                func() time.Time { return s.now().UTC() },
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", err), s.closePools())
	}
	if err := write.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", err), s.closePools())
	}
	s.recent.init()
	s.group = newGroup(s)
	return s, nil
}

// Close waits for the writes already accepted and closes every connection.
func (s *Store) Close() error {
	s.group.close()
	return s.closePools()
}

func (s *Store) closePools() error {
	return s.dialect.close(s.write, s.read)
}

//go:embed migrations/*.sql
var migrations embed.FS

func (s *Store) migrator() (*goose.Provider, error) {
	texts, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return s.dialect.migrator(s.write, texts)
}

// Migrate brings the schema up to date. Several processes may do so at once:
// on PostgreSQL one works and the others wait.
func (s *Store) Migrate(ctx context.Context) error {
	m, err := s.migrator()
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	done, err := m.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	for _, r := range done {
		s.log.Info("migrated", "migration", r.Source.Path, "took", r.Duration)
	}
	return nil
}

// Ready tells whether the database answers, its schema is that of this
// program and reference data is loaded: nil, or Busy with the reason.
func (s *Store) Ready(ctx context.Context) error {
	var reason impact.Text
	var version sql.NullString
	m, err := s.migrator()
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if err := s.read.PingContext(ctx); err != nil {
		reason = impact.Text{FR: "La base de données ne répond pas.", EN: "The database does not answer."}
		return &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: reason, Err: err}
	}
	pending, err := m.HasPending(ctx)
	if err == nil && !pending {
		err = s.read.QueryRowContext(ctx, `SELECT max(version) FROM reference_versions`).Scan(&version)
	}
	switch {
	case err != nil || pending:
		reason = impact.Text{FR: "Le schéma de la base n'est pas à jour : `retombees migrate`.", EN: "The database schema is not up to date: `retombees migrate`."}
	case !version.Valid:
		reason = impact.Text{FR: "Les données de référence ne sont pas chargées.", EN: "The reference data is not loaded."}
	default:
		return nil
	}
	return &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: reason, Err: err}
}

// txn is a transaction under way. It travels in the context, so that methods
// called inside Idempotent join it.
type txn struct {
	store *Store
	conn  *sql.Conn
	tx    *sql.Tx
	orm   *gorm.DB
	id    int64 // names the transaction in every table it touches
	seq   int64 // 0 until taken
	depth int
	kinds []string            // of what it commits
	words map[committed]int32 // new words of the dictionaries
	done  *commit             // what the follower of this process will be told
}

type txnKey struct{}

func txnOf(ctx context.Context) *txn {
	t, _ := ctx.Value(txnKey{}).(*txn)
	return t
}

// querier is what *sql.DB, *sql.Conn and *sql.Tx have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// sql gives where to read: the transaction of the context, else the pool.
func (s *Store) sql(ctx context.Context) querier {
	if t := txnOf(ctx); t != nil {
		return t.tx
	}
	return s.read
}

// orm is the same for gorm.
func (s *Store) orm(ctx context.Context) *gorm.DB {
	if t := txnOf(ctx); t != nil {
		return t.orm.WithContext(ctx)
	}
	return s.gormDB.WithContext(ctx)
}

// attempts bounds how often a transaction is run again after the database
// gave up on it (deadlock, lost race).
const attempts = 4

// transact runs fn in a transaction; inside another one, in a savepoint of it.
// fn may run several times and must not keep anything of a failed attempt.
func (s *Store) transact(ctx context.Context, fn func(context.Context, *txn) error) error {
	if outer := txnOf(ctx); outer != nil {
		return outer.nested(ctx, fn)
	}
	for attempt := 1; ; attempt++ {
		err := s.attempt(ctx, fn)
		if err == nil || attempt == attempts || !s.dialect.transient(err) || ctx.Err() != nil {
			return s.refusal(err)
		}
		pause := time.NewTimer(time.Duration(attempt*attempt) * 5 * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func (s *Store) attempt(ctx context.Context, fn func(context.Context, *txn) error) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("waiting for a connection: %w", err)
	}
	defer conn.Close()
	// A caller that leaves stops the statement under way, and fn with it. The
	// transaction itself is ended here: database/sql would throw the connection
	// away, and the statements prepared on it.
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	ended := false
	defer func() {
		if !ended { // fn panicked: let go of the connection, which may be the only one
			_ = tx.Rollback()
		}
	}()
	t := &txn{store: s, conn: conn, tx: tx, id: s.clock.next(s.now())}
	t.orm = s.gormDB.Session(&gorm.Session{NewDB: true, Context: ctx}) // with a context, a statement of its own
	t.orm.Statement.ConnPool = tx
	err = fn(context.WithValue(ctx, txnKey{}, t), t)
	ended = true
	if err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	for w, key := range t.words {
		w.remember(key)
	}
	for _, kind := range t.kinds {
		s.kinships.changed(kind)
	}
	if t.seq > 0 {
		s.recent.publish(t.seq, t.done)
	}
	return nil
}

func (t *txn) nested(ctx context.Context, fn func(context.Context, *txn) error) error {
	t.depth++
	defer func() { t.depth-- }()
	name := fmt.Sprintf("inner_%d", t.depth)
	seq, words := t.seq, maps.Clone(t.words)
	if _, err := t.tx.ExecContext(ctx, "SAVEPOINT "+name); err != nil {
		return fmt.Errorf("opening a savepoint: %w", err)
	}
	if err := fn(ctx, t); err != nil {
		t.seq, t.words = seq, words
		_, undone := t.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+name)
		return t.store.refusal(errors.Join(err, undone))
	}
	if _, err := t.tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name); err != nil {
		return fmt.Errorf("closing a savepoint: %w", err)
	}
	return nil
}

// commit takes the transaction's number, after the steps that are left to do. It
// is the last thing a method does: the lock it holds until the end keeps every
// other writer from ending. changes nil = the followers read them back from the
// tables.
func (t *txn) commit(ctx context.Context, kind string, changes *commit, left ...step) (int64, error) {
	d := t.store.dialect
	if !slices.Contains(t.kinds, kind) {
		t.kinds = append(t.kinds, kind)
	}
	if t.seq > 0 {
		t.done = nil
		if err := d.run(ctx, t, left...); err != nil {
			return 0, fmt.Errorf("writing: %w", err)
		}
		return t.seq, nil
	}
	seq := t.seq
	left = append(left, d.lockCommits()...)
	left = append(left, step{
		query: `INSERT INTO commit_log (seq, tx, kind, at)
			SELECT coalesce(max(seq), 0) + 1, CAST($1 AS BIGINT), CAST($2 AS TEXT), CAST($3 AS BIGINT) FROM commit_log RETURNING seq`,
		args: []any{t.id, kind, instant(t.id).UnixMilli()}, numbers: 1,
		each: func(n []int64, _ []bool, _ []string) error { seq = n[0]; return nil },
	})
	if err := d.run(ctx, t, left...); err != nil {
		return 0, fmt.Errorf("writing and taking a commit number: %w", err)
	}
	t.seq, t.done = seq, changes
	return seq, nil
}

// Seq is the number of the last commit: a reader that waits for it sees
// everything acknowledged before the call.
func (s *Store) Seq(ctx context.Context) (int64, error) {
	var seq int64
	err := s.sql(ctx).QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM commit_log`).Scan(&seq)
	if err != nil {
		return 0, fmt.Errorf("reading the commit log: %w", err)
	}
	return seq, nil
}

// next takes the next number of a counter, n at once: the last of them is
// returned.
func (t *txn) next(ctx context.Context, counter string, n int) (int64, error) {
	var last int64
	err := t.tx.QueryRowContext(ctx, `UPDATE counters SET value = value + $1 WHERE name = $2 RETURNING value`, n, counter).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("counting %ss: %w", counter, err)
	}
	return last, nil
}

// refusal turns what the database says into a kind a caller can act on.
func (s *Store) refusal(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*impact.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, sql.ErrNoRows):
		return impact.NotFoundError()
	case s.dialect.duplicate(err):
		return &impact.Error{Kind: impact.Conflict, Code: "already_exists", Err: err, Detail: impact.Text{
			FR: "Une ressource de même clé existe déjà.", EN: "A resource with the same key already exists.",
		}}
	case s.dialect.transient(err):
		return &impact.Error{Kind: impact.Busy, Code: "unavailable", Err: err, Detail: impact.Text{
			FR: "La base de données est occupée ; réessayez dans un instant.", EN: "The database is busy; try again in a moment.",
		}}
	}
	return err
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func stale(version int) error {
	return &impact.Error{Kind: impact.Stale, Code: "precondition_failed", Current: version, Detail: impact.Text{
		FR: "La ressource a changé depuis que vous l'avez lue.", EN: "The resource has changed since you read it.",
	}, Hint: impact.Text{
		FR: "Relisez-la, refaites la modification, renvoyez-la avec le nouvel ETag.", EN: "Read it again, redo the change, send it with the new ETag.",
	}}
}

func forbidden(scope string) error {
	return &impact.Error{Kind: impact.Forbidden, Code: "insufficient_scope", Detail: impact.Text{
		FR: "Votre rôle ne permet pas cette action.", EN: "Your role does not allow this action.",
	}, Hint: impact.Text{FR: scope, EN: scope}}
}

package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// A reading looks at leastWindow to mostWindow commits at a time, of at most
// mostRows observations unless one commit has more, and at mostCommits in all: a
// caller may see little of what a busy log holds.
const (
	leastWindow = 32
	mostWindow  = 2048
	mostRows    = 16_000
	mostCommits = 20_000
)

// changeWindow is the part of the log a source reads: the commits from first to
// last, of first only what comes after key when there is one.
type changeWindow struct {
	first, last int64
	key         string
	until       *factKey // of a commit too large for one window: how far it goes
	limit       int
	filter      impact.ChangeFilter
	commits     map[int64]placed
	reference   bool // one of them changed reference data
	releases    bool // one of them published or withdrew a release
}

// changeSource reads the changes of one type that a principal may see, as the
// collection of that type shows them, at most limit, in the order (Seq, Key).
type changeSource func(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error)

// changeSources is the registry: one entry for each of impact.ChangeTypes.
var changeSources = map[impact.ChangeType]changeSource{
	impact.ConsentChange:      consentChanges,
	impact.ImportChange:       importChanges,
	impact.IndicatorChange:    indicatorChanges,
	impact.MandateChange:      mandateChanges,
	impact.MembershipChange:   membershipChanges,
	impact.ObservationChange:  observationChanges,
	impact.OrganisationChange: organisationChanges,
	impact.ReleaseChange:      releaseChanges,
	impact.SubmissionChange:   submissionChanges,
	impact.TerritoryChange:    territoryChanges,
}

// referenceCommit is the kind of commits that change reference data.
const referenceCommit = "reference"

// publicKinds is the condition of commits whose changes everybody may follow;
// they are kept for ever.
const publicKinds = `kind IN ('` + referenceCommit + `', '` + releaseCommit + `')`

// logOf is the log as a principal sees it. Who may follow public types only
// sees the commits of those only: nothing it is given moves with a commit that
// is private.
const wholeLog = `commit_log`

func logOf(p impact.Principal) string {
	if slices.ContainsFunc(impact.ChangeTypes(), func(t impact.ChangeType) bool { return !t.Public() && p.Follows(t) }) {
		return wholeLog
	}
	return `(SELECT * FROM commit_log WHERE ` + publicKinds + `) AS commit_log`
}

// LastChange is where a reader stands who knows everything committed so far:
// taken before a copy of the collections, it is where to follow them from.
func (s *Store) LastChange(ctx context.Context, p impact.Principal) (impact.ChangePosition, error) {
	var at impact.ChangePosition
	err := s.sql(ctx).QueryRowContext(ctx, `SELECT seq, tx FROM `+logOf(p)+` ORDER BY seq DESC LIMIT 1`).Scan(&at.Seq, &at.Tx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return at, fmt.Errorf("reading the commit log: %w", err)
	}
	return at, nil
}

// otherReplicas is how often a reader that waits looks for what other processes
// committed; what this one commits wakes it up.
const otherReplicas = 200 * time.Millisecond

// AwaitChange returns when the log holds a commit after the position, or with
// the error of the context.
func (s *Store) AwaitChange(ctx context.Context, p impact.Principal, after impact.ChangePosition) error {
	wake, leave := s.recent.wakeUp(false)
	defer leave()
	ticker := time.NewTicker(otherReplicas)
	defer ticker.Stop()
	for {
		last, err := s.LastChange(ctx, p)
		if err != nil || last.Seq > after.Seq {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-ticker.C:
		}
	}
}

// Changes reads the commit log after a position: at most limit changes that p
// may see, in the order of commits, and the position that follows them.
// caughtUp tells that there was nothing more at the instant of reading; without
// it there may be, even when no change is given. cursor_expired (Gone) when the
// log no longer holds what came after the position, or is not the log the
// position was taken from.
func (s *Store) Changes(ctx context.Context, p impact.Principal, f impact.ChangeFilter, after impact.ChangePosition, limit int) (list []impact.Change, next impact.ChangePosition, caughtUp bool, err error) {
	types := impact.ChangeTypes()
	types = slices.DeleteFunc(types, func(t impact.ChangeType) bool {
		return !p.Follows(t) || len(f.Types) > 0 && !slices.Contains(f.Types, t)
	})
	next = after
	err = s.snapshot(ctx, func(ctx context.Context, _ *txn) error {
		if err := s.followable(ctx, p, after); err != nil {
			return err
		}
		head, err := s.LastChange(ctx, p)
		if err != nil {
			return err
		}
		size, rows := min(max(limit, leastWindow), mostWindow), 2*limit
		if !slices.Contains(types, impact.ObservationChange) {
			rows = math.MaxInt32 - 1 // nothing else is as numerous
		}
		for seen := 0; len(list) < limit && seen < mostCommits && (next.Seq != head.Seq || next.Type != ""); seen += size {
			w, end, err := s.window(ctx, p, next, size, rows)
			if err != nil {
				return err
			}
			w.limit, w.filter = limit-len(list), f
			found, whole, err := s.changesOf(ctx, p, types, w, next)
			if err != nil {
				return err
			}
			list = append(list, found...)
			if !whole {
				next = list[len(list)-1].Position()
				break
			}
			next, size, rows = end, min(2*size, mostWindow), max(rows, min(2*rows, mostRows))
		}
		caughtUp = next.Seq == head.Seq && next.Type == ""
		return nil
	})
	if err != nil {
		return nil, after, false, fmt.Errorf("reading changes: %w", err)
	}
	return list, next, caughtUp, nil
}

// changesOf reads one window; whole tells that it holds no more than what is
// given.
func (s *Store) changesOf(ctx context.Context, p impact.Principal, types []impact.ChangeType, w changeWindow, after impact.ChangePosition) (list []impact.Change, whole bool, err error) {
	limit := w.limit
	w.limit++
	if w.until != nil { // what comes after observations is for the last window of the commit
		types = slices.DeleteFunc(slices.Clone(types), func(t impact.ChangeType) bool { return t > impact.ObservationChange })
	}
	// The most numerous first: when they fill the page alone, the others are read
	// no further than they go.
	if i := slices.Index(types, impact.ObservationChange); i > 0 {
		types = slices.Concat(types[i:i+1], types[:i], types[i+1:])
	}
	for _, t := range types {
		w.first, w.key = after.Seq+1, ""
		if after.Type != "" && t >= after.Type {
			w.first = after.Seq
			if t == after.Type {
				w.key = after.Key
			}
		}
		found, err := changeSources[t](ctx, s, p, w)
		if err != nil {
			return nil, false, fmt.Errorf("%ss: %w", t, err)
		}
		list = append(list, found...)
		if len(found) == w.limit {
			w.last = found[len(found)-1].Seq
		}
	}
	slices.SortStableFunc(list, func(a, b impact.Change) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Type, b.Type)) })
	if len(list) > limit {
		return list[:limit], false, nil
	}
	return list, true, nil
}

// window gives the next commits after a position, at most size and as many as
// have changed some rows of observations, and the position after them. When one
// commit has more rows than that, the window is a part of it.
func (s *Store) window(ctx context.Context, p impact.Principal, after impact.ChangePosition, size, rows int) (w changeWindow, end impact.ChangePosition, err error) {
	first := after.Seq
	if after.Type == "" {
		first++
	}
	w.commits = map[int64]placed{}
	// Rows of a commit: the versions it wrote, and the facts it moved.
	found, err := s.sql(ctx).QueryContext(ctx, `SELECT seq, tx, at, kind, (SELECT count(*) FROM (SELECT 1 FROM observation_versions AS v WHERE v.tx = commit_log.tx LIMIT $3) AS counted)
			+ (SELECT count(*) FROM (SELECT 1 FROM observations AS f WHERE f.moved > 0 AND f.moved = commit_log.tx LIMIT $3) AS stepped)
		FROM `+logOf(p)+` WHERE seq >= $1 ORDER BY seq LIMIT $2`, first, size, rows+1)
	if err != nil {
		return w, end, err
	}
	defer found.Close()
	total := 0
	for found.Next() {
		var c placed
		var kind string
		var n int
		if err := found.Scan(&c.Seq, &c.CommitTx, &c.At, &kind, &n); err != nil {
			return w, end, err
		}
		if total+n > rows && len(w.commits) > 0 {
			break
		}
		total += n
		w.commits[c.Seq] = c
		w.reference, w.releases = w.reference || kind == referenceCommit, w.releases || kind == releaseCommit
		w.last = c.Seq
		end = impact.ChangePosition{Seq: c.Seq, Tx: c.CommitTx}
	}
	if err := errors.Join(found.Err(), found.Close()); err != nil || len(w.commits) != 1 || total <= rows || after.Type > impact.ObservationChange {
		return w, end, err
	}
	w.until, err = s.partOfCommit(ctx, end, after, rows)
	if w.until != nil {
		end.Type, end.Key = impact.ObservationChange, w.until.position()
	}
	return w, end, err
}

// followable refuses a position whose commit is not in the log under the same
// name, or after which commits are missing: those that are public are kept
// for ever, the others from a first one on.
func (s *Store) followable(ctx context.Context, p impact.Principal, after impact.ChangePosition) error {
	if after != (impact.ChangePosition{}) {
		var tx int64
		err := s.sql(ctx).QueryRowContext(ctx, `SELECT tx FROM commit_log WHERE seq = $1`, after.Seq).Scan(&tx)
		if errors.Is(err, sql.ErrNoRows) || err == nil && tx != after.Tx {
			return cursorExpired()
		}
		if err != nil {
			return err
		}
	}
	if logOf(p) != wholeLog {
		return nil
	}
	var first, kept int64
	err := s.sql(ctx).QueryRowContext(ctx, `SELECT seq FROM commit_log WHERE NOT `+publicKinds+` ORDER BY seq LIMIT 1`).Scan(&first)
	if errors.Is(err, sql.ErrNoRows) || err == nil && after.Seq >= first-1 {
		return nil
	}
	if err == nil {
		err = s.sql(ctx).QueryRowContext(ctx, `SELECT count(*) FROM commit_log WHERE seq > $1 AND seq < $2`, after.Seq, first).Scan(&kept)
	}
	if err == nil && kept < first-after.Seq-1 {
		return cursorExpired()
	}
	return err
}

func cursorExpired() error {
	return &impact.Error{
		Kind: impact.Gone, Code: "cursor_expired",
		Detail: impact.Text{FR: "Le journal ne contient plus ce qui suivait ce curseur.", EN: "The log no longer holds what followed this cursor."},
		Hint: impact.Text{
			FR: "Repartez sans cursor : recopiez les collections, puis suivez le nouveau curseur.",
			EN: "Start again without cursor: copy the collections, then follow the new cursor.",
		},
	}
}

// Lag is how long the oldest commit after seq has been waiting, 0 when there is
// none.
func (s *Store) Lag(ctx context.Context, seq int64) (time.Duration, error) {
	var at int64
	err := s.sql(ctx).QueryRowContext(ctx, `SELECT at FROM commit_log WHERE seq > $1 ORDER BY seq LIMIT 1`, seq).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the commit log: %w", err)
	}
	return max(0, s.now().Sub(time.UnixMilli(at))), nil
}

// ForgetCommits drops the numbers of commits older than the age, 10,000 at a
// time; what they wrote stays. The last commit and those that are public are
// kept. It gives how many were dropped.
func (s *Store) ForgetCommits(ctx context.Context, age time.Duration) (dropped int64, err error) {
	before := s.now().Add(-age).UnixMilli()
	for {
		var some int64
		err := s.transact(ctx, func(ctx context.Context, t *txn) error {
			done, err := t.tx.ExecContext(ctx, `DELETE FROM commit_log WHERE seq IN (
				SELECT seq FROM commit_log WHERE at < $1 AND NOT `+publicKinds+` AND seq < (SELECT max(seq) FROM commit_log) ORDER BY seq LIMIT 10000)`, before)
			if err != nil {
				return err
			}
			some, err = done.RowsAffected()
			return err
		})
		if err != nil {
			return dropped, fmt.Errorf("forgetting old commits: %w", err)
		}
		if dropped += some; some < 10_000 {
			return dropped, nil
		}
	}
}

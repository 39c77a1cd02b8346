package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// commit is what one transaction did to the cells, as far as the writer knew
// without reading again.
type commit = calculation.Changes

// recent keeps the last commits of this process, so that its own follower need
// not read them back, and wakes followers up.
type recent struct {
	mu      sync.Mutex
	commits map[int64]*commit
	kept    []int64                // their numbers, the oldest first
	cells   int                    // in all of them
	wakers  map[chan struct{}]bool // true: will ask for commits
	readers int                    // how many of these
	newest  int64
}

// What is kept is bounded by both: imports change thousands of cells at a time.
const (
	recentCommits = 1024
	recentCells   = 20_000
)

func (r *recent) init() {
	r.commits, r.wakers = map[int64]*commit{}, map[chan struct{}]bool{}
}

func (r *recent) publish(seq int64, c *commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest = max(r.newest, seq)
	if c != nil && r.readers > 0 {
		r.commits[seq], r.kept, r.cells = c, append(r.kept, seq), r.cells+len(c.Cells)
		for len(r.kept) > recentCommits || r.cells > recentCells {
			oldest := r.kept[0]
			r.cells -= len(r.commits[oldest].Cells)
			delete(r.commits, oldest)
			r.kept = r.kept[1:]
		}
	}
	for w := range r.wakers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (r *recent) at(seq int64) *commit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commits[seq]
}

// followed tells that somebody will ask for commits.
func (r *recent) followed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readers > 0
}

// last is the newest commit of this process.
func (r *recent) last() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest
}

// follow wakes its caller at each commit, and keeps commits for it.
func (r *recent) follow() (wake chan struct{}, leave func()) { return r.wakeUp(true) }

// wakeUp wakes its caller at each commit; reads says that it will ask for them.
func (r *recent) wakeUp(reads bool) (wake chan struct{}, leave func()) {
	wake = make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakers[wake] = reads
	if reads {
		r.readers++
	}
	return wake, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.wakers, wake)
		if reads {
			r.readers--
		}
		if r.readers == 0 {
			clear(r.commits)
			r.kept, r.cells = nil, 0
		}
	}
}

// attributes remembers what facts have in common: few texts, many facts.
type attributes map[attributeKey]calculation.Attrs

type attributeKey struct {
	profile, cut int32
	details      string
}

func (a attributes) of(ctx context.Context, s *Store, k attributeKey) (calculation.Attrs, error) {
	if found, ok := a[k]; ok {
		return found, nil
	}
	cut, err := s.cuts.value(ctx, s, k.cut)
	if err != nil {
		return calculation.Attrs{}, err
	}
	was, err := s.profiles.value(ctx, s, k.profile)
	if err != nil {
		return calculation.Attrs{}, err
	}
	o := impact.Observation{CellKey: impact.CellKey{Cut: cut}, Profile: was.Profile, MethodologyVersion: was.methodology}
	if k.details != "" {
		var d factDetails
		if err := json.Unmarshal([]byte(k.details), &d); err != nil {
			return calculation.Attrs{}, fmt.Errorf("reading details: %w", err)
		}
		o.Details, o.Qualifiers = d.Details, d.Qualifiers
	}
	made, err := calculation.FactOf(&o)
	if err != nil {
		return calculation.Attrs{}, fmt.Errorf("reading details: %w", err)
	}
	if len(a) < 100_000 {
		a[k] = made.Attrs
	}
	return made.Attrs, nil
}

// version gives one version of a cell as calculation takes it, nil for a
// tombstone.
func (a attributes) version(ctx context.Context, s *Store, r *factRow) (*calculation.Fact, error) {
	if r.deleted != 0 {
		return nil, nil
	}
	attrs, err := a.of(ctx, s, attributeKey{r.profile, r.cut, r.details})
	if err != nil {
		return nil, err
	}
	return &calculation.Fact{Value: impact.Quantity(r.value.V), HasValue: r.value.Valid, Status: impact.Status(r.status), Attrs: attrs}, nil
}

// change gives the whole state of a cell. approved is the approved version when
// it is not the current one.
func (a attributes) change(ctx context.Context, s *Store, now *factRow, state impact.SubmissionState, approved *factRow) (calculation.Change, error) {
	cut, err := s.cuts.value(ctx, s, now.cut)
	if err != nil {
		return calculation.Change{}, err
	}
	c := calculation.Change{State: state, Key: impact.CellKey{
		Organisation: impact.OrganisationKey(now.organisation), Indicator: impact.IndicatorKey(now.indicator), Territory: impact.TerritoryKey(now.territory),
		Period: now.period(), Cut: cut,
	}}
	if c.Current, err = a.version(ctx, s, now); err != nil {
		return c, err
	}
	switch {
	case now.approved == now.version:
		c.State, c.Approved = impact.Approved, c.Current
	case now.approved > 0 && approved != nil:
		c.Approved, err = a.version(ctx, s, approved)
	}
	return c, err
}

// changes tells the follower of this process what the workspace did; nil when
// it must read the tables.
func (w *workspace) changes(ctx context.Context) (*commit, error) {
	if w.whole || !w.s.recent.followed() {
		return nil, nil
	}
	done := &commit{Cells: make([]calculation.Change, 0, len(w.revised))}
	for _, c := range w.revised {
		var approved *factRow
		if c.now.approved > 0 && c.now.approved != c.now.version {
			if c.now.approved != c.before.version {
				return nil, nil
			}
			approved = &c.before
		}
		change, err := w.attributes.change(ctx, w.s, &c.now, c.submission.State, approved)
		if err != nil {
			return nil, err
		}
		done.Cells = append(done.Cells, change)
	}
	return done, nil
}

// Follower keeps a cube up to date.
type Follower struct {
	s    *Store
	cube *calculation.Cube
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	loaded  bool
	advance chan struct{} // closed and replaced at each step
}

// Follow fills the cube from one snapshot and then applies every commit, those
// of this process at once, those of others when they are seen: every, usually
// 100 ms. It returns immediately; Ready and WaitFor tell how far the cube is.
// Failures are logged and tried again until ctx ends or Close is called.
func (s *Store) Follow(ctx context.Context, cube *calculation.Cube, every time.Duration) (*Follower, error) {
	if every <= 0 {
		return nil, errors.New("following the commit log: the pause must be positive")
	}
	ctx, stop := context.WithCancel(ctx)
	f := &Follower{s: s, cube: cube, stop: stop, done: make(chan struct{}), advance: make(chan struct{})}
	go f.run(ctx, every)
	return f, nil
}

// Close stops following; the cube stays as it is.
func (f *Follower) Close() {
	f.stop()
	<-f.done
}

// Ready tells that the cube has been loaded.
func (f *Follower) Ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded
}

// WaitFor returns when the cube is loaded and knows commit seq, as well as every
// commit of this process acknowledged so far: what one writes here is in the
// next figures read here.
func (f *Follower) WaitFor(ctx context.Context, seq int64) error {
	seq = max(seq, f.s.recent.last())
	for {
		f.mu.Lock()
		loaded, next := f.loaded, f.advance
		f.mu.Unlock()
		if loaded && f.cube.Seq() >= seq {
			return nil
		}
		select {
		case <-next:
		case <-f.done:
			return &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: impact.Text{FR: "Le service s'arrête.", EN: "The service is stopping."}}
		case <-ctx.Done():
			return &impact.Error{Kind: impact.Busy, Code: "unavailable", Err: ctx.Err(), Detail: impact.Text{
				FR: "Les chiffres n'ont pas encore reçu cette écriture.", EN: "The figures have not received this write yet.",
			}, Hint: impact.Text{FR: "Réessayez dans un instant.", EN: "Try again in a moment."}}
		}
	}
}

func (f *Follower) step() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded = true
	close(f.advance)
	f.advance = make(chan struct{})
}

func (f *Follower) run(ctx context.Context, every time.Duration) {
	defer close(f.done)
	wake, leave := f.s.recent.follow()
	defer leave()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	load := true
	for ctx.Err() == nil {
		err := f.catchUp(ctx, load)
		load = false
		if err != nil && ctx.Err() == nil {
			f.s.log.Error("following the commit log", "err", err, "seq", f.cube.Seq())
			// A cube that refused a change is filled anew.
			load = !f.Ready() || errors.Is(err, errCube)
			select {
			case <-ctx.Done():
			case <-time.After(10 * every):
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-ticker.C:
		}
	}
}

var errCube = errors.New("the cube refused a change")

func (f *Follower) catchUp(ctx context.Context, load bool) error {
	if load {
		if err := f.load(ctx); err != nil {
			return fmt.Errorf("loading the cube: %w", err)
		}
		f.step()
	}
	for {
		for {
			c := f.s.recent.at(f.cube.Seq() + 1)
			if c == nil {
				break
			}
			if err := f.cube.Apply(f.cube.Seq()+1, *c); err != nil {
				return errors.Join(errCube, err)
			}
			f.step()
		}
		more, err := f.read(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// snapshot runs do with a context in which all reading sees one instant; inside
// a transaction it is that of the transaction.
func (s *Store) snapshot(ctx context.Context, do func(context.Context, *txn) error) error {
	if t := txnOf(ctx); t != nil {
		return do(ctx, t)
	}
	conn, tx, err := s.dialect.snapshot(ctx, s.read)
	if err != nil {
		return fmt.Errorf("opening a snapshot: %w", err)
	}
	defer conn.Close()
	defer func() { _ = tx.Rollback() }()
	t := &txn{store: s, conn: conn, tx: tx}
	t.orm = s.gormDB.Session(&gorm.Session{NewDB: true, Context: ctx})
	t.orm.Statement.ConnPool = tx
	return do(context.WithValue(ctx, txnKey{}, t), t)
}

func (f *Follower) load(ctx context.Context) error {
	return f.s.snapshot(ctx, func(ctx context.Context, t *txn) error { return f.s.fill(ctx, t, f.cube) })
}

// fill loads a cube with all that is committed at the instant of the
// transaction.
func (s *Store) fill(ctx context.Context, t *txn, cube *calculation.Cube) error {
	seq, err := s.Seq(ctx)
	if err != nil {
		return err
	}
	questionnaires, err := s.Questionnaires(ctx)
	if err != nil {
		return err
	}
	return cube.Load(s.allOrganisations(ctx), questionnaires, s.allCells(ctx, t), seq)
}

func (s *Store) allOrganisations(ctx context.Context) iter.Seq2[calculation.Organisation, error] {
	return func(yield func(calculation.Organisation, error) bool) {
		var last impact.OrganisationKey
		for {
			list, err := s.organisations(s.orm(ctx).Where("key > ?", last).Order("key").Limit(1000))
			if err != nil {
				yield(calculation.Organisation{}, fmt.Errorf("reading organisations: %w", err))
				return
			}
			if len(list) == 0 {
				return
			}
			for i := range list {
				if !yield(calculation.OrganisationOf(&list[i]), nil) {
					return
				}
			}
			last = list[len(list)-1].Key
		}
	}
}

var errEnough = errors.New("enough")

// allCells streams the state of every cell that is not gone. Versions that are approved and no longer current are few and are
// read first: a join would make the database read every version.
func (s *Store) allCells(ctx context.Context, t *txn) iter.Seq2[calculation.Change, error] {
	return func(yield func(calculation.Change, error) bool) {
		states, err := s.submissionStates(ctx, t)
		if err != nil {
			yield(calculation.Change{}, err)
			return
		}
		former := map[factKey]factRow{}
		err = s.dialect.run(ctx, t, step{`SELECT ` + approvedColumns + ` FROM observations AS f ` + s.dialect.probe("JOIN", "observation_versions", "a", `a.organisation = f.organisation
			AND a.indicator = f.indicator AND a.territory = f.territory AND a.period_start = f.period_start
			AND a.period_end = f.period_end AND a.cut = f.cut AND a.version = f.approved_version`) + ` WHERE f.approved_version > 0 AND f.approved_version <> f.version`, nil, factNumbers, 1, func(n []int64, null []bool, text []string) error {
			r := scanFact(n, null, text[0])
			former[r.factKey] = r
			return nil
		}})
		if err != nil {
			yield(calculation.Change{}, fmt.Errorf("reading approved versions: %w", err))
			return
		}
		known := attributes{}
		err = s.dialect.run(ctx, t, step{`SELECT ` + factColumns + ` FROM observations AS f
			WHERE NOT (f.deleted = 1 AND (f.approved_version = 0 OR f.approved_version = f.version))`, nil, factNumbers, 1, func(n []int64, null []bool, text []string) error {
			r := scanFact(n, null, text[0])
			var approved *factRow
			if r.approved > 0 && r.approved != r.version {
				a := former[r.factKey]
				approved = &a
			}
			c, err := known.change(ctx, s, &r, states[r.submission], approved)
			if err == nil && !yield(c, nil) {
				err = errEnough
			}
			return err
		}})
		if err != nil && !errors.Is(err, errEnough) {
			yield(calculation.Change{}, fmt.Errorf("reading facts: %w", err))
		}
	}
}

// approvedColumns are factColumns of the approved version a of a fact f.
const approvedColumns = `a.value, a.tx, a.organisation, a.territory, a.period_start, a.period_end, a.cut, a.submission, a.profile, a.actor,
	a.version, f.approved_version, a.indicator, a.obs_status, a.deleted, f.moved, a.details`

func (s *Store) submissionStates(ctx context.Context, t *txn) (map[int32]impact.SubmissionState, error) {
	rows, err := t.tx.QueryContext(ctx, `SELECT key, state FROM submissions`)
	if err != nil {
		return nil, fmt.Errorf("reading submissions: %w", err)
	}
	defer rows.Close()
	states := map[int32]impact.SubmissionState{}
	for rows.Next() {
		var key int32
		var state impact.SubmissionState
		if err := rows.Scan(&key, &state); err != nil {
			return nil, fmt.Errorf("reading submissions: %w", err)
		}
		states[key] = state
	}
	return states, rows.Err()
}

// read applies what the tables say of the commits after the cube's, all in one
// step: the state of a cell is whole, so an older state in between is not
// missed by anyone.
func (f *Follower) read(ctx context.Context) (more bool, err error) {
	var last int64
	err = f.s.read.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM commit_log`).Scan(&last)
	if err != nil || last <= f.cube.Seq() {
		return false, err
	}
	var seq int64
	var done commit
	err = f.s.snapshot(ctx, func(ctx context.Context, t *txn) error {
		seq, done, err = f.s.since(ctx, t, f.cube.Seq())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reading commits: %w", err)
	}
	if seq <= f.cube.Seq() {
		return false, nil
	}
	if err := f.cube.Apply(seq, done); err != nil {
		return false, errors.Join(errCube, err)
	}
	f.step()
	return true, nil
}

// since gathers what the commits after seq touched, in its present state, and
// the last of them.
func (s *Store) since(ctx context.Context, t *txn, after int64) (seq int64, done commit, err error) {
	rows, err := t.tx.QueryContext(ctx, `SELECT seq, tx FROM commit_log WHERE seq > $1 ORDER BY seq`, after)
	if err != nil {
		return 0, done, err
	}
	defer rows.Close()
	var txs []int64
	for rows.Next() {
		var tx int64
		if err := rows.Scan(&seq, &tx); err != nil {
			return 0, done, err
		}
		txs = append(txs, tx)
	}
	if err := rows.Err(); err != nil {
		return 0, done, err
	}
	rows.Close()
	touched := map[factKey]bool{}
	for some := range slices.Chunk(txs, 1000) {
		if err := s.touched(ctx, t, some, touched); err != nil {
			return 0, done, err
		}
		organisations, err := s.organisations(s.orm(ctx).Where("tx IN ?", some).Order("key"))
		if err != nil {
			return 0, done, err
		}
		for i := range organisations {
			done.Organisations = append(done.Organisations, calculation.OrganisationOf(&organisations[i]))
		}
		questionnaires, err := questionnairesOf(s.orm(ctx).Where("tx IN ?", some))
		if err != nil {
			return 0, done, err
		}
		done.Questionnaires = append(done.Questionnaires, questionnaires...)
	}
	keys := make([]factKey, 0, len(touched))
	for k := range touched {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, factKey.compare)
	known := attributes{}
	for some := range slices.Chunk(keys, 1000) {
		if err := s.states(ctx, t, some, known, &done); err != nil {
			return 0, done, err
		}
	}
	return seq, done, nil
}

const keyColumns = `organisation, indicator, territory, period_start, period_end, cut`

// touched gathers the cells some transactions wrote, and all those of
// submissions whose state they moved.
func (s *Store) touched(ctx context.Context, t *txn, txs []int64, into map[factKey]bool) error {
	gather := func(n []int64, _ []bool, _ []string) error {
		into[factKey{int32(n[0]), int16(n[1]), int32(n[2]), int32(n[3]), int32(n[4]), int32(n[5])}] = true
		return nil
	}
	condition, args := s.dialect.anyOf("tx", 1, txs)
	if err := s.dialect.run(ctx, t, step{`SELECT ` + keyColumns + ` FROM observation_versions WHERE ` + condition, args, 6, 0, gather}); err != nil {
		return err
	}
	var moved []submissionRow
	if err := s.orm(ctx).Where("tx IN ?", txs).Find(&moved).Error; err != nil {
		return err
	}
	for _, u := range moved {
		err := s.dialect.run(ctx, t, step{`SELECT ` + keyColumns + ` FROM observations WHERE organisation = $1 AND submission = $2`, []any{u.Organisation, u.Key}, 6, 0, gather})
		if err != nil {
			return err
		}
	}
	return nil
}

// states adds the present state of some cells.
func (s *Store) states(ctx context.Context, t *txn, keys []factKey, known attributes, done *commit) error {
	table, args := s.dialect.keyed(keys)
	type seen struct {
		now      factRow
		state    impact.SubmissionState
		approved *factRow
	}
	list := make([]seen, 0, len(keys))
	codes := []impact.SubmissionState{impact.Draft, impact.Submitted, impact.Approved, impact.Returned}
	err := s.dialect.run(ctx, t, step{
		`SELECT ` + numberColumns + `, CASE submissions.state WHEN 'draft' THEN 0 WHEN 'submitted' THEN 1 WHEN 'approved' THEN 2 ELSE 3 END,
			a.value, a.profile, a.obs_status, a.deleted, a.version, f.details, coalesce(a.details, '')
		FROM ` + table + s.dialect.probe(" JOIN", "observations", "f", `f.organisation = k.organisation AND f.indicator = k.indicator AND f.territory = k.territory
			AND f.period_start = k.period_start AND f.period_end = k.period_end AND f.cut = k.cut`) + `
		JOIN submissions ON submissions.key = f.submission ` + s.dialect.probe("LEFT JOIN", "observation_versions", "a", `f.approved_version > 0 AND f.approved_version <> f.version
			AND a.organisation = f.organisation AND a.indicator = f.indicator AND a.territory = f.territory
			AND a.period_start = f.period_start AND a.period_end = f.period_end AND a.cut = f.cut AND a.version = f.approved_version`),
		args, factNumbers + 6, 2, func(n []int64, null []bool, text []string) error {
			x := seen{now: scanFact(n, null, text[0]), state: codes[n[factNumbers]]}
			if !null[factNumbers+5] {
				a := x.now
				a.value.V, a.value.Valid = n[factNumbers+1], !null[factNumbers+1]
				a.profile, a.status, a.deleted, a.version, a.details = int32(n[factNumbers+2]), int16(n[factNumbers+3]), int16(n[factNumbers+4]), int32(n[factNumbers+5]), text[1]
				x.approved = &a
			}
			list = append(list, x)
			return nil
		},
	})
	if err != nil {
		return err
	}
	for i := range list {
		c, err := known.change(ctx, s, &list[i].now, list[i].state, list[i].approved)
		if err != nil {
			return err
		}
		done.Cells = append(done.Cells, c)
	}
	return nil
}

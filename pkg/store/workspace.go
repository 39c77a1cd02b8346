package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// cell is a fact as the transaction sees it. before is what the database
// holds, the zero row when nothing; now is what it will hold.
type cell struct {
	before, now factRow
	between     []factRow // versions written by this transaction and no longer current
	exists      bool      // the database has a row, be it a tombstone
	dirty       bool
	submission  *submissionState
}

func (c *cell) live() bool { return c.now.version > 0 && c.now.deleted == 0 }

// submissionState is a submission as the transaction sees it.
type submissionState struct {
	submissionRow
	before submissionRow
	fresh  bool
	events []eventRow
}

// workspace is everything a transaction on observations reads at its start
// and writes at its end; in between there is no database.
type workspace struct {
	s             *Store
	t             *txn
	acting        []impact.Principal // whose rights are read
	rights        *rights
	uses          uses
	catalogue     *impact.Catalogue
	organisations map[int32]*organisationState
	locked        []impact.Period
	cells         map[factKey]*cell
	byPair        map[pair][]*cell
	submissions   map[int32][]*submissionState // by organisation
	byKey         map[int32]*submissionState
	named         map[externalKey]factKey // external ids
	renamed       map[externalKey]bool    // those to write or remove
	revised       []*cell
	attributes    attributes
	whole         bool // what changed goes beyond the cells written
	kin           kin
}

type organisationState struct {
	key     int32
	id      impact.OrganisationID
	profile impact.Profile
}

// read locks the organisations and reads all that the rows can meet.
func (w *workspace) read(ctx context.Context, keys []int32, pairs []pair, names map[externalKey]bool) error {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.organisation, b.organisation), cmp.Compare(a.indicator, b.indicator))
	})
	pairs = slices.Compact(pairs)
	w.cells, w.byPair = make(map[factKey]*cell, len(pairs)), make(map[pair][]*cell, len(pairs))
	w.organisations, w.submissions, w.byKey = map[int32]*organisationState{}, map[int32][]*submissionState{}, map[int32]*submissionState{}
	w.named, w.renamed = map[externalKey]factKey{}, map[externalKey]bool{}
	w.attributes = attributes{}
	if len(keys) == 0 {
		return nil
	}
	d := w.s.dialect
	steps := append(d.lockOrganisations(keys), w.readOrganisations(keys), lockedPeriods(&w.locked), w.readSubmissions(keys))
	family := w.s.kinships.of(keys, w.s.now())
	steps = append(append(steps, family.missing(d)...), w.readFacts(pairs)...)
	if err := d.run(ctx, w.t, steps...); err != nil {
		return fmt.Errorf("locking organisations and reading their facts: %w", err)
	}
	w.s.kinships.learn(family)
	if err := w.readKin(ctx, family, pairs); err != nil {
		return err
	}
	wanted := make([]impact.OrganisationKey, len(keys))
	for i, k := range keys {
		wanted[i] = impact.OrganisationKey(k)
	}
	var err error
	if w.rights, err = w.s.rightsOf(ctx, w.acting, wanted); err != nil {
		return fmt.Errorf("reading mandates: %w", err)
	}
	return w.readNames(ctx, names)
}

func (w *workspace) readFacts(pairs []pair) (steps []step) {
	for some := range slices.Chunk(pairs, 5000) {
		query, args := w.s.dialect.facts(some, factColumns)
		steps = append(steps, step{query, args, factNumbers, 1, func(n []int64, null []bool, text []string) error {
			w.hold(scanFact(n, null, text[0]))
			return nil
		}})
	}
	return steps
}

func (w *workspace) hold(r factRow) *cell {
	c := &cell{before: r, now: r, exists: true, submission: w.byKey[r.submission]}
	w.cells[r.factKey] = c
	p := pair{r.organisation, r.indicator}
	w.byPair[p] = append(w.byPair[p], c)
	return c
}

func (w *workspace) readOrganisations(keys []int32) step {
	condition, args := w.s.dialect.anyOf("key", 1, wide(keys))
	query := `SELECT key, id, class, structure_kind, size_class, ess FROM organisations WHERE ` + condition
	return step{query, args, 1, 5, func(n []int64, _ []bool, text []string) error {
		o := &organisationState{key: int32(n[0]), id: impact.OrganisationID(text[0]), profile: impact.Profile{
			Class: impact.OrganisationClass(text[1]), StructureKind: text[2], SizeClass: text[3], ESS: text[4],
		}}
		w.organisations[o.key] = o
		return nil
	}}
}

func (w *workspace) readSubmissions(keys []int32) step {
	condition, args := w.s.dialect.anyOf("organisation", 1, wide(keys))
	query := `SELECT key, organisation, period_start, period_end, observations, warned, version, created_at, updated_at, tx, written,
			id, questionnaire, source, state, review, reason, acted_by, mandate
		FROM submissions WHERE ` + condition + ` AND deleted = 0 ORDER BY key`
	return step{query, args, 11, 8, func(n []int64, _ []bool, text []string) error {
		u := &submissionState{submissionRow: submissionRow{
			Key: int32(n[0]), Organisation: int32(n[1]), PeriodStart: impact.Date(n[2]), PeriodEnd: impact.Date(n[3]), Observations: int32(n[4]),
			Warned: int16(n[5]), Version: int32(n[6]), CreatedAt: n[7], UpdatedAt: n[8], Tx: n[9], Written: n[10],
			ID: impact.SubmissionID(text[0]), Questionnaire: text[1], Source: text[2], State: impact.SubmissionState(text[3]), Review: impact.Review(text[4]),
			Reason: text[5], ActedBy: text[6], Mandate: text[7],
		}}
		u.before = u.submissionRow
		w.submissions[u.Organisation] = append(w.submissions[u.Organisation], u)
		w.byKey[u.Key] = u
		return nil
	}}
}

// revise makes next the version in force.
func (w *workspace) revise(c *cell, next factRow) {
	next.tx, next.version = w.t.id, c.now.version+1
	if c.dirty {
		c.between = append(c.between, c.now)
	} else {
		w.revised = append(w.revised, c)
	}
	c.now, c.dirty = next, true
}

// move puts a cell into a submission and keeps count.
func (w *workspace) move(c *cell, from, to *submissionState, was, is bool) {
	c.submission = to
	if was && from != nil && (!is || from != to) {
		from.Observations--
	}
	if is && (!was || from != to) {
		to.Observations++
	}
}

// join gives the submission a fact belongs to: the one it is in; else the
// narrowest that contains its period, open ones first; else a new one for its
// calendar year.
func (w *workspace) join(c *cell, current *submissionState, p impact.Period, client, mandate string) *submissionState {
	if current != nil {
		return current
	}
	organisation := c.now.organisation
	var best *submissionState
	better := func(u *submissionState) bool {
		if best == nil {
			return true
		}
		if (u.State == impact.Approved) != (best.State == impact.Approved) {
			return u.State != impact.Approved
		}
		return u.period().Days() < best.period().Days()
	}
	for _, u := range w.submissions[organisation] {
		if u.period().Contains(p) && better(u) {
			best = u
		}
	}
	if best != nil {
		return best
	}
	first, last := impact.YearPeriod(p.Start.Year()), impact.YearPeriod(p.End.Year())
	return w.open(submissionRow{
		ID: impact.SubmissionID(w.s.newID()), Organisation: organisation, PeriodStart: first.Start, PeriodEnd: last.End,
		State: impact.Draft, Review: impact.Manual, ActedBy: client, Mandate: mandate,
	})
}

func (w *workspace) open(row submissionRow) *submissionState {
	now := instant(w.t.id).UnixMilli()
	row.Version, row.CreatedAt, row.UpdatedAt, row.Tx, row.Written = 1, now, now, w.t.id, w.t.id
	u := &submissionState{submissionRow: row, fresh: true, events: []eventRow{{Action: "open", State: row.State, ActedBy: row.ActedBy}}}
	w.submissions[row.Organisation] = append(w.submissions[row.Organisation], u)
	return u
}

// write flushes the workspace, sorted by key, and takes the commit number: 0
// when nothing changed.
func (w *workspace) write(ctx context.Context, kind string) (int64, error) {
	if err := w.logUses(ctx); err != nil {
		return 0, err
	}
	changed, left, err := w.writeSubmissions(ctx)
	if err != nil {
		return 0, fmt.Errorf("writing submissions: %w", err)
	}
	if len(w.revised) == 0 && !changed {
		return 0, nil
	}
	slices.SortFunc(w.revised, func(a, b *cell) int { return a.now.compare(b.now.factKey) })
	versions := make([]factRow, 0, len(w.revised))
	var inserts, updates []factRow
	for _, c := range w.revised {
		c.now.submission = c.submission.Key
		for _, v := range c.between {
			v.submission = c.submission.Key
			versions = append(versions, v)
		}
		versions = append(versions, c.now)
		if c.exists {
			updates = append(updates, c.now)
		} else {
			inserts = append(inserts, c.now)
		}
	}
	d := w.s.dialect
	for _, write := range []struct {
		what string
		do   func(context.Context, *txn, []factRow) ([]step, error)
		rows []factRow
	}{{"new facts", d.insertFacts, inserts}, {"changed facts", d.updateFacts, updates}, {"versions", d.insertVersions, versions}} {
		steps, err := write.do(ctx, w.t, write.rows)
		if err != nil {
			return 0, fmt.Errorf("writing %s: %w", write.what, err)
		}
		left = append(left, steps...)
	}
	if err := w.writeNames(ctx); err != nil {
		return 0, fmt.Errorf("writing external ids: %w", err)
	}
	changes, err := w.changes(ctx)
	if err != nil {
		return 0, err
	}
	return w.t.commit(ctx, kind, changes, left...)
}

func (w *workspace) cutOf(ctx context.Context, o *impact.Observation) int32 {
	k, _ := w.keyOf(ctx, o) // the number is known by now
	return k.cut
}

// observation gives the domain form of a cell.
func (w *workspace) observation(ctx context.Context, c *cell) (impact.Observation, error) {
	o := fact{factRow: c.now, organisationID: w.organisations[c.now.organisation].id}
	if c.submission != nil {
		o.submissionID, o.state = c.submission.ID, c.submission.State
	}
	return w.s.observation(ctx, &o)
}

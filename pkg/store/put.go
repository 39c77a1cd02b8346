package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

// PutObservations writes what a batch states: a cell that says the same as
// before is left alone, another value makes a new version, and every version
// stays readable. Small batches of concurrent callers share a transaction;
// whatever the number of callers, one that fails does not touch the others.
//
// Rows with faults are left out (Rejected), or all is refused with
// AllOrNothing: validation_failed with every fault, period_locked (Locked)
// when nothing else is wrong, already_exists (Conflict) when an external id
// already names another fact.
func (s *Store) PutObservations(ctx context.Context, b impact.Batch) (impact.Results, error) {
	m := newMember(ctx, b)
	err := s.stock(ctx)
	switch {
	case err != nil:
	case txnOf(ctx) != nil || len(b.Rows) > groupRows:
		err = s.transact(ctx, func(ctx context.Context, t *txn) error { return s.put(ctx, t, []*member{m}) })
		if err == nil {
			err = m.err
		}
	default:
		err = s.group.put(ctx, m)
	}
	if err != nil {
		m.restore()
		return impact.Results{}, fmt.Errorf("writing observations: %w", err)
	}
	if m.results.Seq == 0 {
		if m.results.Seq, err = s.Seq(ctx); err != nil {
			return impact.Results{}, err
		}
	}
	return m.results, nil
}

// member is one batch among those that share a transaction.
type member struct {
	ctx context.Context
	impact.Batch
	faults, warnings []int // how many each row came with: a second attempt starts from there
	results          impact.Results
	mandates         map[*impact.Row][]impact.MandateID // of the cells of a row; none for an organisation
	err              error                              // a refusal of this batch; the others go on
	done             chan struct{}
}

func newMember(ctx context.Context, b impact.Batch) *member {
	m := &member{ctx: ctx, Batch: b, done: make(chan struct{})}
	for _, r := range b.Rows {
		m.faults, m.warnings = append(m.faults, len(r.Faults)), append(m.warnings, len(r.Warnings))
	}
	return m
}

func (m *member) reset() {
	m.err, m.results, m.mandates = nil, impact.Results{Rows: make([]impact.RowResult, len(m.Rows))}, nil
	m.restore()
}

// restore takes back what was found about the rows.
func (m *member) restore() {
	for i, r := range m.Rows {
		r.Faults, r.Warnings = r.Faults[:m.faults[i]:m.faults[i]], r.Warnings[:m.warnings[i]:m.warnings[i]]
	}
}

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

type externalKey struct {
	organisation       int32
	source, externalID string
}

// put runs in a transaction and may run again: members are reset first.
func (s *Store) put(ctx context.Context, t *txn, members []*member) error {
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return err
	}
	w := &workspace{s: s, t: t, catalogue: catalogue}
	var keys []int32
	var pairs []pair
	names := map[externalKey]bool{}
	for _, m := range members {
		m.reset()
		w.acting = append(w.acting, m.Principal)
		for _, r := range m.Rows {
			if len(r.Faults) > 0 || r.Organisation == nil {
				continue
			}
			keys = append(keys, int32(r.Organisation.Key))
			for _, c := range r.Cells {
				pairs = append(pairs, pair{int32(c.Organisation), int16(c.Indicator)})
				if c.ExternalID != "" {
					names[externalKey{int32(c.Organisation), c.Source, c.ExternalID}] = true
				}
			}
		}
		for _, n := range m.Checker.Neighbours(m.Rows) {
			pairs = append(pairs, pair{int32(n.Organisation), int16(n.Indicator)})
			keys = append(keys, int32(n.Organisation))
		}
	}
	if err := w.read(ctx, keys, pairs, names); err != nil {
		return err
	}
	for _, m := range members {
		if m.err = w.accept(ctx, m); m.err != nil {
			if _, refusal := errors.AsType[*impact.Error](m.err); !refusal || errors.Is(m.err, errHalfDone) {
				return m.err
			}
		}
	}
	seq, err := w.write(ctx, "observations")
	if err != nil {
		return err
	}
	for _, m := range members {
		m.results.Seq = seq
		if err := w.answer(ctx, m); err != nil {
			return err
		}
	}
	return nil
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

func (w *workspace) readNames(ctx context.Context, names map[externalKey]bool) error {
	byOrganisation := map[int32][]string{}
	for n := range names {
		byOrganisation[n.organisation] = append(byOrganisation[n.organisation], n.externalID)
	}
	for organisation, ids := range byOrganisation {
		for some := range slices.Chunk(ids, 500) {
			var rows []externalFactRow
			if err := w.t.orm.WithContext(ctx).Where("organisation = ? AND external_id IN ?", organisation, some).Find(&rows).Error; err != nil {
				return fmt.Errorf("reading external ids: %w", err)
			}
			for _, r := range rows {
				w.named[externalKey{r.Organisation, r.Source, r.ExternalID}] = r.key()
			}
		}
	}
	return nil
}

type externalFactRow struct {
	Organisation           int32  `gorm:"primaryKey;autoIncrement:false"`
	Source                 string `gorm:"primaryKey"`
	ExternalID             string `gorm:"primaryKey"`
	Indicator              int16
	Territory              int32
	PeriodStart, PeriodEnd int32
	Cut                    int32
}

func (externalFactRow) TableName() string { return "observation_external_ids" }

func (r externalFactRow) key() factKey {
	return factKey{r.Organisation, r.Indicator, r.Territory, r.PeriodStart, r.PeriodEnd, r.Cut}
}

// errHalfDone marks an error met after a batch began to change the workspace:
// the transaction cannot go on.
var errHalfDone = errors.New("half done")

// accept checks the rows of one batch against the workspace and takes those
// without fault into it.
func (w *workspace) accept(ctx context.Context, m *member) error {
	for _, r := range m.Rows {
		w.admit(m, r)
	}
	known := map[impact.Neighbour][]impact.Observation{}
	for _, n := range m.Checker.Neighbours(m.Rows) {
		for _, c := range w.byPair[pair{int32(n.Organisation), int16(n.Indicator)}] {
			if !c.live() {
				continue
			}
			o, err := w.observation(ctx, c)
			if err != nil {
				return err
			}
			known[n] = append(known[n], o)
		}
	}
	if err := w.refuseOverwriting(ctx, m); err != nil {
		return err
	}
	if err := w.refuseForeignCovers(ctx, m); err != nil {
		return err
	}
	if err := w.refuseDoubles(ctx, m); err != nil {
		return err
	}
	if err := w.reconcile(ctx, m, known); err != nil {
		return err
	}
	target, err := w.target(m)
	if err != nil {
		return err
	}
	names := map[externalKey]factKey{}
	for _, r := range m.Rows {
		if len(r.Faults) == 0 {
			if err := w.name(ctx, r, names); err != nil {
				return err
			}
		}
	}
	if err := w.checkVersion(ctx, m); err != nil {
		return err
	}
	if m.RejectWarnings {
		for i, r := range m.Rows {
			r.Faults, r.Warnings = append(r.Faults, r.Warnings...), r.Warnings[:m.warnings[i]]
		}
	}
	if m.AllOrNothing {
		if err := m.refusal(); err != nil {
			return err
		}
	}
	if err := w.take(ctx, m, target); err != nil {
		return errors.Join(err, errHalfDone)
	}
	return nil
}

// reconcile compares what is stated with what stays: cells that the same batch
// deletes are no longer there.
func (w *workspace) reconcile(ctx context.Context, m *member, known map[impact.Neighbour][]impact.Observation) error {
	stated := m.Rows
	if slices.ContainsFunc(m.Rows, func(r *impact.Row) bool { return r.Delete }) {
		stated = nil
		gone := map[impact.ObservationID]bool{}
		for _, r := range m.Rows {
			if !r.Delete {
				stated = append(stated, r)
				continue
			}
			for i := range r.Cells {
				k, err := w.keyOf(ctx, &r.Cells[i])
				if err != nil {
					return err
				}
				gone[idOf(k)] = len(r.Faults) == 0
			}
		}
		for n, list := range known {
			known[n] = slices.DeleteFunc(list, func(o impact.Observation) bool { return gone[o.ID] })
		}
	}
	m.Checker.Reconcile(stated, known)
	return nil
}

// admit refuses what the principal may not write, and what is closed.
func (w *workspace) admit(m *member, r *impact.Row) {
	if len(r.Faults) > 0 {
		return
	}
	if !w.entitled(m, r) {
		return
	}
	for _, closed := range w.locked {
		if closed.Overlaps(r.Period) {
			r.Faults = append(r.Faults, impact.Fault{
				Code: "period_locked", Pointer: "/period", Value: r.Period.String(),
				Detail: impact.Text{FR: "La période " + closed.String() + " est close.", EN: "The period " + closed.String() + " is closed."},
				Hint:   impact.Text{FR: "Un instructeur de la Métropole peut la rouvrir.", EN: "A steward of the Métropole can reopen it."},
			})
			return
		}
	}
}

// entitled finds the right by which each cell of a row is written; a cell
// without one is a fault of the row.
func (w *workspace) entitled(m *member, r *impact.Row) bool {
	if m.Principal.Role != impact.RoleNetwork || len(r.Cells) == 0 {
		u := impact.Use{Scope: impact.ObservationsWrite, Period: impact.AnyPeriod}
		if r.Organisation != nil {
			u.Organisation = r.Organisation.Key
		}
		_, fault := w.may(m.Principal, u)
		return fault == nil || blame(r, fault)
	}
	mandates := make([]impact.MandateID, len(r.Cells))
	for i := range r.Cells {
		c := &r.Cells[i]
		var fault *impact.Fault
		mandates[i], fault = w.may(m.Principal, impact.Use{Organisation: c.Organisation, Scope: impact.ObservationsWrite, Indicator: c.Indicator, Period: c.Period})
		if fault != nil {
			return blame(r, fault)
		}
	}
	if m.mandates == nil {
		m.mandates = make(map[*impact.Row][]impact.MandateID, len(m.Rows))
	}
	m.mandates[r] = mandates
	return true
}

func blame(r *impact.Row, f *impact.Fault) bool {
	if f.Pointer == "" {
		f.Pointer = "/organisation"
	}
	r.Faults = append(r.Faults, *f)
	return false
}

// mandateOf is the mandate under which a cell of a row is written, "" when the
// organisation writes for itself.
func (m *member) mandateOf(r *impact.Row, cell int) impact.MandateID {
	if list := m.mandates[r]; cell < len(list) {
		return list[cell]
	}
	return ""
}

// note keeps the mandates under which a row is written, and counts the row in
// their logs.
func (w *workspace) note(m *member, r *impact.Row) {
	list := slices.Clone(m.mandates[r])
	slices.Sort(list)
	for _, mandate := range slices.Compact(list) {
		if mandate == "" {
			continue
		}
		if !r.Delete { // counted where it is buried
			w.uses.add(m.Principal, string(impact.ObservationsWrite), mandate)
		}
		if i, found := slices.BinarySearch(m.results.Mandates, mandate); !found {
			m.results.Mandates = slices.Insert(m.results.Mandates, i, mandate)
		}
	}
}

// target finds the submission a batch names and refuses rows that cannot join.
func (w *workspace) target(m *member) (*submissionState, error) {
	if m.Submission == "" {
		return nil, nil
	}
	var target *submissionState
	for key, list := range w.submissions {
		for _, u := range list {
			if u.ID != m.Submission {
				continue
			}
			if _, fault := w.may(m.Principal, impact.Use{Organisation: impact.OrganisationKey(key), Scope: impact.SubmissionsManage, Period: u.period()}); fault == nil {
				target = u
			}
		}
	}
	if target == nil {
		if !slices.ContainsFunc(m.Rows, func(r *impact.Row) bool { return len(r.Faults) == 0 }) {
			return nil, nil
		}
		return nil, impact.NotFoundError()
	}
	for _, r := range m.Rows {
		if len(r.Faults) > 0 {
			continue
		}
		switch {
		case int32(r.Organisation.Key) != target.Organisation:
			r.Faults = append(r.Faults, impact.Fault{
				Code: "inconsistent", Pointer: "/organisation",
				Detail: impact.Text{FR: "La déclaration est celle d'une autre organisation.", EN: "The submission belongs to another organisation."},
				Hint:   impact.Text{FR: "Une déclaration par organisation.", EN: "One submission per organisation."},
			})
		case !target.period().Contains(r.Period):
			r.Faults = append(r.Faults, impact.Fault{
				Code: "period_not_allowed", Pointer: "/period", Value: r.Period.String(),
				Detail: impact.Text{FR: "La déclaration porte sur " + target.period().String() + ".", EN: "The submission is about " + target.period().String() + "."},
				Hint:   impact.Text{FR: "Envoyez cette valeur dans la déclaration de sa période.", EN: "Send this value in the submission of its period."},
			})
		}
	}
	return target, nil
}

// name refuses an external id that already names another fact.
func (w *workspace) name(ctx context.Context, r *impact.Row, names map[externalKey]factKey) error {
	if len(r.Cells) == 0 || r.Cells[0].ExternalID == "" {
		return nil
	}
	n, k, err := w.nameOf(ctx, r)
	if err != nil {
		return err
	}
	other, taken := w.named[n]
	if !taken {
		other, taken = names[n]
	}
	if taken && other != k {
		r.Faults = append(r.Faults, impact.Fault{
			Code: "already_exists", Pointer: "/external_id", Value: n.externalID,
			Detail:     impact.Text{FR: "Cet identifiant désigne déjà une autre observation.", EN: "This id already names another observation."},
			Hint:       impact.Text{FR: "La clé d'une observation ne change pas : supprimez l'ancienne, ou choisissez un autre identifiant.", EN: "The key of an observation does not change: delete the former one, or choose another id."},
			Suggestion: "/v1/observations/" + string(idOf(other)),
		})
		return nil
	}
	names[n] = k
	return nil
}

// nameOf gives the external id of a row and the key it names, that of the
// view for a composed indicator.
func (w *workspace) nameOf(ctx context.Context, r *impact.Row) (externalKey, factKey, error) {
	c := &r.Cells[0]
	k, err := w.keyOf(ctx, c)
	if r.View {
		k.indicator = int16(r.Indicator.Key)
	}
	return externalKey{int32(c.Organisation), c.Source, c.ExternalID}, k, err
}

func (w *workspace) keyOf(ctx context.Context, o *impact.Observation) (factKey, error) {
	cut, err := numberOf(ctx, w.t, &w.s.cuts, o.Cut)
	return factKey{int32(o.Organisation), int16(o.Indicator), int32(o.Territory), int32(o.Period.Start), int32(o.Period.End), cut}, err
}

// checkVersion holds the only row of a batch against the version its sender
// has seen.
func (w *workspace) checkVersion(ctx context.Context, m *member) error {
	if m.IfVersion == 0 || len(m.Rows) != 1 || len(m.Rows[0].Faults) > 0 {
		return nil
	}
	version := 0
	for i := range m.Rows[0].Cells {
		k, err := w.keyOf(ctx, &m.Rows[0].Cells[i])
		if err != nil {
			return err
		}
		if c := w.cells[k]; c != nil && c.live() {
			version += int(c.now.version)
		}
	}
	switch version {
	case 0:
		return impact.NotFoundError()
	case m.IfVersion:
		return nil
	}
	return stale(version)
}

// refusal is the error of a batch that is taken whole or not at all.
func (m *member) refusal() error {
	var faults []impact.Fault
	for i, r := range m.Rows {
		for _, f := range r.Faults {
			if m.Pointer != "" {
				f = f.At(m.Pointer + "/" + strconv.Itoa(i))
			}
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	e := &impact.Error{Kind: impact.Invalid, Code: "validation_failed", Faults: faults}
	all := func(code impact.FaultCode) bool {
		return !slices.ContainsFunc(faults, func(f impact.Fault) bool { return f.Code != code })
	}
	switch {
	case all("period_locked"):
		e.Kind, e.Code = impact.Locked, "period_locked"
	case all("not_mandated"):
		e.Kind, e.Code = impact.Forbidden, "not_mandated"
	case all("already_exists"):
		e.Kind, e.Code, e.Link = impact.Conflict, "already_exists", faults[0].Suggestion
	default:
		return e
	}
	e.Detail, e.Hint = faults[0].Detail, faults[0].Hint
	return e
}

// take writes the rows without fault into the workspace.
func (w *workspace) take(ctx context.Context, m *member, target *submissionState) error {
	warned := map[*submissionState]bool{}
	written := map[*submissionState][]*cell{}
	for i, r := range m.Rows {
		result := &m.results.Rows[i]
		if len(r.Faults) > 0 {
			result.Outcome = impact.Rejected
			continue
		}
		w.note(m, r)
		if r.Delete {
			removed, err := w.remove(ctx, m, r)
			if err != nil {
				return err
			}
			result.Outcome = impact.Unchanged
			for _, c := range removed {
				result.Outcome = impact.Removed
				written[c.submission] = append(written[c.submission], c)
			}
			continue
		}
		outcomes := map[impact.Outcome]int{}
		for j := range r.Cells {
			c, outcome, err := w.state(ctx, m, r, j, target)
			if err != nil {
				return err
			}
			outcomes[outcome]++
			if outcome == impact.Unchanged {
				continue
			}
			written[c.submission] = append(written[c.submission], c)
			warned[c.submission] = warned[c.submission] || len(r.Warnings) > 0
		}
		result.Outcome = impact.Updated
		for _, only := range []impact.Outcome{impact.Created, impact.Unchanged} {
			if outcomes[only] == len(r.Cells) {
				result.Outcome = only
			}
		}
		if len(r.Cells) > 0 && r.Cells[0].ExternalID != "" && result.Outcome != impact.Unchanged {
			n, k, err := w.nameOf(ctx, r)
			if err != nil {
				return err
			}
			w.named[n], w.renamed[n] = k, true
		}
	}
	for u, cells := range written {
		w.reviewAgain(u, cells, warned[u], m.Principal.Client)
	}
	return nil
}

// remove buries the cells of a row and gives those that lived.
func (w *workspace) remove(ctx context.Context, m *member, r *impact.Row) ([]*cell, error) {
	var lived []*cell
	for i := range r.Cells {
		k, err := w.keyOf(ctx, &r.Cells[i])
		if err != nil {
			return nil, err
		}
		if c := w.cells[k]; c != nil && c.live() {
			lived = append(lived, c)
		}
	}
	return lived, w.bury(ctx, m.Principal, lived)
}

// reviewAgain says what a write does to the review of a submission. One that
// is approved stays so when rules alone decide and nothing is suspect; else it
// awaits review again, while its approved versions count.
func (w *workspace) reviewAgain(u *submissionState, cells []*cell, warned bool, who string) {
	if warned {
		u.Warned = 1
	}
	if u.State != impact.Approved {
		return
	}
	if u.Review == impact.Automatic && !warned {
		for _, c := range cells {
			c.now.approved = c.now.version
		}
		return
	}
	u.State = impact.Submitted
	u.events = append(u.events, eventRow{Action: "correct", State: u.State, ActedBy: who})
	w.whole = true
}

// state writes one cell, unless it says the same already.
func (w *workspace) state(ctx context.Context, m *member, r *impact.Row, n int, target *submissionState) (*cell, impact.Outcome, error) {
	o, mandate := &r.Cells[n], string(m.mandateOf(r, n))
	k, err := w.keyOf(ctx, o)
	if err != nil {
		return nil, "", err
	}
	indicator := w.catalogue.IndicatorByKey(o.Indicator)
	if indicator == nil || w.catalogue.Gazetteer().ByKey(o.Territory) == nil {
		w.s.catalogue.Store(nil) // another process may have loaded a newer one
		return nil, "", &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: impact.Text{
			FR: "Les données de référence viennent de changer ; réessayez.", EN: "The reference data has just changed; try again.",
		}}
	}
	c := w.cells[k]
	if c == nil {
		c = &cell{now: factRow{factKey: k}}
		w.cells[k] = c
		p := pair{k.organisation, k.indicator}
		w.byPair[p] = append(w.byPair[p], c)
	}
	o, next, methodology, unchanged, err := w.restate(ctx, r, o, c)
	if err != nil || unchanged {
		return c, impact.Unchanged, err
	}
	outcome := impact.Updated
	if !c.live() {
		outcome = impact.Created
	}
	if next.actor, err = numberOf(ctx, w.t, &w.s.actors, actor{m.Principal.Client, mandate}); err != nil {
		return nil, "", err
	}
	if next.profile, err = numberOf(ctx, w.t, &w.s.profiles, profile{w.organisations[k.organisation].profile, methodology}); err != nil {
		return nil, "", err
	}
	w.unname(c, o.Source, o.ExternalID)
	from, live := c.submission, c.live()
	w.revise(c, next)
	to := target
	if to == nil {
		to = w.join(c, from, r.Period, m.Principal.Client, mandate)
	}
	w.move(c, from, to, live, true)
	return c, outcome, nil
}

// restate gives a fact as a row states it: the observation, details kept
// included, the version that would be written, its methodology, and whether
// all that is on record already.
func (w *workspace) restate(ctx context.Context, r *impact.Row, o *impact.Observation, c *cell) (stated *impact.Observation, next factRow, methodology string, unchanged bool, err error) {
	if r.Merge && c.live() {
		merged := *o // the row stays as it was stated: this may run again
		if err := keepDetails(&merged, c.now.details); err != nil {
			return nil, next, "", false, err
		}
		o = &merged
	}
	details, err := detailsText(o)
	if err != nil {
		return nil, next, "", false, err
	}
	methodology = o.MethodologyVersion
	if indicator := w.catalogue.IndicatorByKey(o.Indicator); methodology == "" && indicator != nil {
		methodology = indicator.MethodologyVersion
	}
	next = c.now
	next.status, next.details, next.deleted, next.value.Valid = int16(o.Status), details, 0, o.Value != nil
	next.value.V = 0
	if o.Value != nil {
		next.value.V = int64(*o.Value)
	}
	if c.live() && next == c.now {
		former, err := w.s.profiles.value(ctx, w.s, c.now.profile)
		return o, next, methodology, err == nil && former.methodology == methodology, err
	}
	return o, next, methodology, false, nil
}

// unname forgets the external id a version had when the next has another.
func (w *workspace) unname(c *cell, source, externalID string) {
	if !strings.Contains(c.now.details, `"external_id"`) {
		return
	}
	var d factDetails
	if json.Unmarshal([]byte(c.now.details), &d) != nil || d.Source == source && d.ExternalID == externalID {
		return
	}
	n := externalKey{c.now.organisation, d.Source, d.ExternalID}
	delete(w.named, n)
	w.renamed[n] = true
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

func (w *workspace) writeNames(ctx context.Context) error {
	orm := w.t.orm.WithContext(ctx)
	var rows []externalFactRow
	for n := range maps.Keys(w.renamed) {
		k, named := w.named[n]
		if !named {
			if err := orm.Where("organisation = ? AND source = ? AND external_id = ?", n.organisation, n.source, n.externalID).Delete(&externalFactRow{}).Error; err != nil {
				return err
			}
			continue
		}
		rows = append(rows, externalFactRow{n.organisation, n.source, n.externalID, k.indicator, k.territory, k.start, k.end, k.cut})
	}
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b externalFactRow) int {
		return cmp.Or(cmp.Compare(a.Organisation, b.Organisation), cmp.Compare(a.Source, b.Source), cmp.Compare(a.ExternalID, b.ExternalID))
	})
	return orm.Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "organisation"}, {Name: "source"}, {Name: "external_id"}}, UpdateAll: true,
	}).CreateInBatches(rows, 500).Error
}

// answer fills the results of a batch from the workspace as written.
func (w *workspace) answer(ctx context.Context, m *member) error {
	for i, r := range m.Rows {
		result := &m.results.Rows[i]
		result.Faults, result.Warnings = r.Faults, r.Warnings
		if m.err != nil || result.Outcome == impact.Rejected {
			continue
		}
		parts := make([]impact.Observation, len(r.Cells))
		for j := range r.Cells {
			k, err := w.keyOf(ctx, &r.Cells[j])
			if err != nil {
				return err
			}
			if w.cells[k] == nil { // a deletion of what never was
				parts[j] = missingPart(k)
				continue
			}
			if parts[j], err = w.observation(ctx, w.cells[k]); err != nil {
				return err
			}
		}
		if r.View {
			result.Observation = viewOf(r.Indicator, parts, w.cutOf(ctx, &r.Cells[0]))
		} else if len(parts) > 0 {
			result.Observation = parts[0]
		}
	}
	return nil
}

func (w *workspace) cutOf(ctx context.Context, o *impact.Observation) int32 {
	k, _ := w.keyOf(ctx, o) // the number is known by now
	return k.cut
}

// observation gives the domain form of a cell.
func (w *workspace) observation(ctx context.Context, c *cell) (impact.Observation, error) {
	o := fact{factRow: c.now, organisationID: w.organisations[c.now.organisation].id}
	if c.submission != nil {
		o.submissionID, o.state, o.moved = c.submission.ID, c.submission.State, c.submission.Tx
	}
	return w.s.observation(ctx, &o)
}

// factDetails is the JSON kept with each version.
type factDetails struct {
	impact.Details
	Qualifiers map[string]string `json:"qualifiers,omitempty"`
}

// keepDetails fills what a statement leaves out with what is on record. The
// quantity as it was sent belongs to its value and is not kept with another.
func keepDetails(o *impact.Observation, text string) error {
	if text == "" {
		return nil
	}
	var held factDetails
	if err := json.Unmarshal([]byte(text), &held); err != nil {
		return fmt.Errorf("reading details: %w", err)
	}
	held.OriginalValue, held.OriginalUnit = "", ""
	now, before := reflect.ValueOf(&o.Details).Elem(), reflect.ValueOf(&held.Details).Elem()
	for i := range now.NumField() {
		if now.Field(i).IsZero() {
			now.Field(i).Set(before.Field(i))
		}
	}
	if len(held.Qualifiers) > 0 {
		merged := maps.Clone(held.Qualifiers)
		maps.Copy(merged, o.Qualifiers)
		o.Qualifiers = merged
	}
	return nil
}

// detailsText is the same text for the same details: "" when there is nothing.
func detailsText(o *impact.Observation) (string, error) {
	if len(o.Qualifiers) == 0 && reflect.ValueOf(&o.Details).Elem().IsZero() {
		return "", nil
	}
	text, err := json.Marshal(factDetails{o.Details, o.Qualifiers})
	if string(text) == "{}" {
		return "", err
	}
	return string(text), err
}

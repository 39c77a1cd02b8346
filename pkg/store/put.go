package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

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
	m.Checker.Reconcile(stated, known, func(o *impact.Observation) impact.Sight { return w.sight(m.Principal, o) })
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

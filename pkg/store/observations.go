package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// fact is a row of observations with what belongs to it elsewhere.
type fact struct {
	factRow
	place          int64 // in the order of what it was read from
	organisationID impact.OrganisationID
	submissionID   impact.SubmissionID
	state          impact.SubmissionState // of the submission
}

// ObservationID is the public id of a cell. It is "" when the cut was never
// used: no such observation has ever been.
func (s *Store) ObservationID(ctx context.Context, k impact.CellKey) (impact.ObservationID, error) {
	cut, found, err := s.cuts.find(ctx, s, k.Cut)
	if err != nil || !found {
		return "", err
	}
	return idOf(factKey{int32(k.Organisation), int16(k.Indicator), int32(k.Territory), int32(k.Period.Start), int32(k.Period.End), cut}), nil
}

// observation gives the domain form of a fact.
func (s *Store) observation(ctx context.Context, f *fact) (impact.Observation, error) {
	cut, err := s.cuts.value(ctx, s, f.cut)
	if err != nil {
		return impact.Observation{}, err
	}
	was, err := s.profiles.value(ctx, s, f.profile)
	if err != nil {
		return impact.Observation{}, err
	}
	who, err := s.actors.value(ctx, s, f.actor)
	if err != nil {
		return impact.Observation{}, err
	}
	o := impact.Observation{
		CellKey: impact.CellKey{
			Organisation: impact.OrganisationKey(f.organisation), Indicator: impact.IndicatorKey(f.indicator), Territory: impact.TerritoryKey(f.territory),
			Period: f.period(), Cut: cut,
		},
		Status: impact.Status(f.status), MethodologyVersion: was.methodology, ID: idOf(f.factKey), OrganisationID: f.organisationID,
		Profile: was.Profile, Submission: f.submissionID, State: f.state, Version: int(f.version), ApprovedVersion: int(f.approved),
		ActedBy: who.client, Mandate: who.mandate, UpdatedAt: instant(max(f.tx, f.moved)), Deleted: f.deleted != 0,
	}
	if f.value.Valid {
		v := impact.Quantity(f.value.V)
		o.Value = &v
	}
	if f.version == f.approved {
		o.State = impact.Approved
	}
	if f.details != "" {
		var d factDetails
		if err := json.Unmarshal([]byte(f.details), &d); err != nil {
			return o, fmt.Errorf("reading the details of %s: %w", o.ID, err)
		}
		o.Details, o.Qualifiers = d.Details, d.Qualifiers
	}
	return o, nil
}

// viewOf computes the observation of a composed indicator from those of its
// leaf components, in the order of Catalogue.Leaves.
func viewOf(ind *impact.Indicator, parts []impact.Observation, cut int32) impact.Observation {
	o := parts[0]
	o.Indicator, o.MethodologyVersion, o.Parts = ind.Key, ind.MethodologyVersion, parts
	o.ID = idOf(factKey{int32(o.Organisation), int16(ind.Key), int32(o.Territory), int32(o.Period.Start), int32(o.Period.End), cut})
	o.Value, o.Version, o.ApprovedVersion, o.Deleted = impact.QuotientOf(ind, parts), 0, 0, true
	approved := true
	order := []impact.SubmissionState{impact.Approved, impact.Submitted, impact.Draft, impact.Returned}
	o.Status = impact.NotApplicable // a denominator of zero
	if o.Value != nil {
		o.Status = impact.Normal
	}
	worst := []impact.Status{impact.Normal, impact.Break, impact.Imputed, impact.Provisional, impact.Estimated}
	for _, p := range parts {
		o.Version += p.Version
		o.ApprovedVersion += p.ApprovedVersion
		approved = approved && p.ApprovedVersion > 0
		o.Deleted = o.Deleted && p.Deleted
		if p.UpdatedAt.After(o.UpdatedAt) {
			o.UpdatedAt, o.ActedBy, o.Mandate = p.UpdatedAt, p.ActedBy, p.Mandate
		}
		if slices.Index(order, p.State) > slices.Index(order, o.State) {
			o.State = p.State
		}
		switch {
		case p.Value == nil:
			o.Status = p.Status
		case o.Value != nil && slices.Index(worst, p.Status) > slices.Index(worst, o.Status):
			o.Status = p.Status
		}
	}
	if !approved {
		o.ApprovedVersion = 0
	}
	return o
}

// statement builds SQL with numbered placeholders.
type statement struct {
	text strings.Builder
	args []any
}

func (q *statement) add(text string, args ...any) {
	for _, a := range args {
		q.args = append(q.args, a)
		text = strings.Replace(text, "?", "$"+strconv.Itoa(len(q.args)), 1)
	}
	q.text.WriteString(text)
}

func (q *statement) anyOf(d dialect, column string, values []int64) {
	condition, args := d.anyOf(column, len(q.args)+1, values)
	q.text.WriteString(" AND " + condition)
	q.args = append(q.args, args...)
}

// factSource is where a query on facts starts: the observations as f, reached
// from what orders them, and place, the number that says where a row stands in
// that order.
type factSource struct{ from, place string }

var allFacts = factSource{"observations AS f", "0"}

// visible begins a query on the facts a principal may see, in the columns of
// scan. A steward sees what has been handed in: of a draft correction it sees
// the approved version only. For the others see seesObservation. now gives the
// SQL of a column in the version that is seen.
func (s *Store) visible(q *statement, p impact.Principal, from factSource) (now func(column string) string) {
	now = func(column string) string { return "f." + column }
	if p.Role == impact.RoleSteward {
		now = func(column string) string {
			return "CASE WHEN a.version IS NULL THEN f." + column + " ELSE a." + column + " END"
		}
	}
	columns := make([]string, 0, len(factNames))
	for _, c := range []string{"value", "tx", "organisation", "territory", "period_start", "period_end", "cut", "submission", "profile", "actor", "version", "approved_version", "indicator", "obs_status", "deleted", "details"} {
		switch c {
		case "approved_version", "organisation", "territory", "period_start", "period_end", "cut", "indicator", "submission":
			columns = append(columns, "f."+c)
		default:
			columns = append(columns, now(c))
		}
	}
	q.add(`SELECT ` + strings.Join(columns, ", ") + `, organisations.id, submissions.id, submissions.state, f.moved, ` + from.place + `
		FROM ` + from.from + ` JOIN organisations ON organisations.key = f.organisation JOIN submissions ON submissions.key = f.submission`)
	if p.Role == impact.RoleSteward {
		q.add(` LEFT JOIN observation_versions AS a ON submissions.state NOT IN ('submitted', 'approved') AND f.approved_version <> f.version
			AND a.organisation = f.organisation AND a.indicator = f.indicator AND a.territory = f.territory AND a.period_start = f.period_start
			AND a.period_end = f.period_end AND a.cut = f.cut AND a.version = f.approved_version
			WHERE (submissions.state IN ('submitted', 'approved') OR f.approved_version > 0)`)
		return now
	}
	condition, args := s.seesObservation(p)
	q.add(` WHERE `+condition, args...)
	return now
}

func (s *Store) facts(ctx context.Context, q *statement) ([]fact, error) {
	rows, err := s.sql(ctx).QueryContext(ctx, q.text.String(), q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []fact
	for rows.Next() {
		var f fact
		err := rows.Scan(&f.value, &f.tx, &f.organisation, &f.territory, &f.start, &f.end, &f.cut, &f.submission, &f.profile, &f.actor, &f.version, &f.approved,
			&f.indicator, &f.status, &f.deleted, &f.details, &f.organisationID, &f.submissionID, &f.state, &f.moved, &f.place)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, rows.Err()
}

const sameKey = ` AND f.organisation = ? AND f.indicator = ? AND f.territory = ? AND f.period_start = ? AND f.period_end = ? AND f.cut = ?`

func (k factKey) args() []any {
	return []any{k.organisation, k.indicator, k.territory, k.start, k.end, k.cut}
}

// leafKeys gives the cells an id stands for: itself, or the leaf components of a
// composed indicator, which is then returned.
func (s *Store) leafKeys(ctx context.Context, id impact.ObservationID) ([]factKey, *impact.Indicator, error) {
	k, ok := keyOfID(id)
	if !ok {
		return nil, nil, impact.NotFoundError()
	}
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, nil, err
	}
	ind := catalogue.IndicatorByKey(impact.IndicatorKey(k.indicator))
	if ind == nil {
		return nil, nil, impact.NotFoundError()
	}
	if !ind.Composed() {
		return []factKey{k}, nil, nil
	}
	var keys []factKey
	for _, leaf := range catalogue.Leaves(ind) {
		part := k
		part.indicator = int16(leaf.Key)
		keys = append(keys, part)
	}
	return keys, ind, nil
}

// Observation gives one observation, or the view of a composed one;
// not_found when the caller may not see it or it is deleted.
func (s *Store) Observation(ctx context.Context, p impact.Principal, id impact.ObservationID) (impact.Observation, error) {
	keys, composed, err := s.leafKeys(ctx, id)
	if err != nil {
		return impact.Observation{}, fmt.Errorf("reading an observation: %w", err)
	}
	parts := make([]impact.Observation, len(keys))
	live := false
	for i, k := range keys {
		var q statement
		now := s.visible(&q, p, allFacts)
		q.add(sameKey, k.args()...)
		q.add(` AND ` + now("deleted") + ` = 0`)
		found, err := s.facts(ctx, &q)
		if err != nil {
			return impact.Observation{}, fmt.Errorf("reading an observation: %w", err)
		}
		if len(found) == 0 {
			parts[i] = missingPart(k)
			continue
		}
		live = true
		if parts[i], err = s.observation(ctx, &found[0]); err != nil {
			return impact.Observation{}, err
		}
	}
	switch {
	case !live:
		return impact.Observation{}, fmt.Errorf("reading an observation: %w", impact.NotFoundError())
	case composed == nil:
		return parts[0], nil
	}
	return presentView(composed, parts, keys[0].cut), nil
}

func missingPart(k factKey) impact.Observation {
	return impact.Observation{
		CellKey: impact.CellKey{Organisation: impact.OrganisationKey(k.organisation), Indicator: impact.IndicatorKey(k.indicator), Territory: impact.TerritoryKey(k.territory), Period: k.period()},
		Status:  impact.Missing, Deleted: true,
	}
}

// presentView is the view when some parts may be missing: what the view shares
// with its parts comes from one that is there.
func presentView(ind *impact.Indicator, parts []impact.Observation, cut int32) impact.Observation {
	o := viewOf(ind, parts, cut)
	for _, p := range parts {
		if p.ID != "" {
			o.Cut, o.Details, o.Qualifiers, o.OrganisationID, o.Submission, o.Profile = p.Cut, p.Details, p.Qualifiers, p.OrganisationID, p.Submission, p.Profile
			break
		}
	}
	return o
}

// History gives every version the caller may see, oldest first, tombstones
// included; of a composed indicator the view after each change of a part. The
// State of a former version is where its submission stood when the next one
// was written.
func (s *Store) History(ctx context.Context, p impact.Principal, id impact.ObservationID) ([]impact.Observation, error) {
	keys, composed, err := s.leafKeys(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading a history: %w", err)
	}
	histories := make([][]impact.Observation, len(keys))
	var moments []time.Time
	for i, k := range keys {
		if histories[i], err = s.history(ctx, p, k); err != nil {
			return nil, fmt.Errorf("reading a history: %w", err)
		}
		for _, o := range histories[i] {
			moments = append(moments, o.UpdatedAt)
		}
	}
	if len(moments) == 0 {
		return nil, fmt.Errorf("reading a history: %w", impact.NotFoundError())
	}
	if composed == nil {
		return histories[0], nil
	}
	slices.SortFunc(moments, time.Time.Compare)
	moments = slices.CompactFunc(moments, time.Time.Equal)
	views := make([]impact.Observation, 0, len(moments))
	for _, at := range moments {
		parts := make([]impact.Observation, len(keys))
		for i, k := range keys {
			parts[i] = missingPart(k)
			for _, o := range histories[i] {
				if !o.UpdatedAt.After(at) {
					parts[i] = o
				}
			}
		}
		views = append(views, presentView(composed, parts, keys[0].cut))
	}
	return views, nil
}

func (s *Store) history(ctx context.Context, p impact.Principal, k factKey) ([]impact.Observation, error) {
	if p.Role == impact.RoleBuyer { // consents are about what is approved, not about how it came to be
		return nil, nil
	}
	var q statement
	q.add(`SELECT v.value, v.tx, v.organisation, v.territory, v.period_start, v.period_end, v.cut, v.submission, v.profile, v.actor, v.version, f.approved_version,
			v.indicator, v.obs_status, v.deleted, v.details, organisations.id, own.id, submissions.state, 0, 0
		FROM observations AS f JOIN organisations ON organisations.key = f.organisation JOIN submissions ON submissions.key = f.submission
		JOIN observation_versions AS v ON v.organisation = f.organisation AND v.indicator = f.indicator AND v.territory = f.territory
			AND v.period_start = f.period_start AND v.period_end = f.period_end AND v.cut = f.cut
		JOIN submissions AS own ON own.key = v.submission WHERE `)
	condition, args := s.seesObservation(p)
	q.add(condition, args...)
	if p.Role == impact.RoleSteward {
		q.add(` AND (submissions.state IN ('submitted', 'approved') OR v.version <= f.approved_version)`)
	}
	q.add(sameKey, k.args()...)
	q.add(` ORDER BY v.version`)
	rows, err := s.facts(ctx, &q)
	if err != nil {
		return nil, err
	}
	events := map[int32][]eventRow{}
	list := make([]impact.Observation, len(rows))
	for i := range rows {
		if i+1 < len(rows) {
			of, read := events[rows[i].submission]
			if !read {
				if err := s.orm(ctx).Where("submission = ?", rows[i].submission).Order("tx, version").Find(&of).Error; err != nil {
					return nil, err
				}
				events[rows[i].submission] = of
			}
			for _, e := range of {
				if e.Tx < rows[i+1].tx {
					rows[i].state = e.State
				}
			}
		}
		if list[i], err = s.observation(ctx, &rows[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// DeleteObservation leaves a tombstone. The version is the one the caller has
// seen. What was approved keeps counting until the deletion is approved. A view
// over components cannot be deleted (bad_state): its components are facts of
// their own, which other views may show too.
func (s *Store) DeleteObservation(ctx context.Context, p impact.Principal, id impact.ObservationID, version int) (done impact.Results, err error) {
	current, err := s.Observation(ctx, p, id)
	if err != nil {
		return done, err
	}
	if p.Role != impact.RoleNetwork && !p.Is(current.OrganisationID) {
		return done, forbidden("observations.write")
	}
	if len(current.Parts) > 0 {
		return done, viewCannotBeDeleted(current.Parts)
	}
	key, _ := keyOfID(id) // an id that was just read
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		w := &workspace{s: s, t: t, acting: []impact.Principal{p}}
		if w.catalogue, err = s.Catalogue(ctx); err != nil {
			return err
		}
		if err := w.read(ctx, []int32{key.organisation}, []pair{{key.organisation, key.indicator}}, nil); err != nil {
			return err
		}
		if err := s.unlocked(w.locked, key.period()); err != nil {
			return err
		}
		c := w.cells[key]
		if c == nil || !c.live() {
			return impact.NotFoundError()
		}
		if held := int(c.now.version); held != version {
			return stale(held)
		}
		cells := []*cell{c}
		if err := w.bury(ctx, p, cells); err != nil {
			return err
		}
		w.reviewAgain(c.submission, cells, false, p.Client)
		done.Mandates = w.uses.mandates()
		done.Seq, err = w.write(ctx, "observations")
		return err
	})
	if err != nil {
		return impact.Results{}, fmt.Errorf("deleting an observation: %w", err)
	}
	return done, nil
}

func viewCannotBeDeleted(parts []impact.Observation) error {
	ids := make([]string, len(parts))
	for i, part := range parts {
		ids[i] = string(part.ID)
	}
	list := strings.Join(ids, ", ")
	return &impact.Error{
		Kind: impact.Conflict, Code: "bad_state",
		Detail: impact.Text{FR: "Un ratio se calcule sur ses composantes : il ne se supprime pas.", EN: "A ratio is computed from its components: it cannot be deleted."},
		Hint:   impact.Text{FR: "Supprimez celles qui sont fausses : " + list + ".", EN: "Delete those that are wrong: " + list + "."},
	}
}

package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type submissionRow struct {
	Key                    int32 `gorm:"primaryKey;autoIncrement:false"`
	ID                     impact.SubmissionID
	Organisation           int32
	PeriodStart, PeriodEnd impact.Date
	Questionnaire, Source  string
	State                  impact.SubmissionState
	Review                 impact.Review
	Reason                 string
	Observations           int32
	Warned                 int16 // a value in it came with a warning
	ActedBy, Mandate       string
	Version                int32
	CreatedAt              int64 `gorm:"autoCreateTime:false"`
	UpdatedAt              int64 `gorm:"autoUpdateTime:false"`
	Tx                     int64 // the last transaction that changed its state
	Written                int64 // the last transaction that wrote it
	Deleted                int16
}

type eventRow struct {
	Submission int32 `gorm:"primaryKey;autoIncrement:false"`
	Version    int32 `gorm:"primaryKey;autoIncrement:false"`
	Tx         int64
	Action     string
	State      impact.SubmissionState
	Reason     string
	ActedBy    string
}

func (submissionRow) TableName() string { return "submissions" }
func (eventRow) TableName() string      { return "submission_events" }

func (r *submissionRow) period() impact.Period {
	return impact.Period{Start: r.PeriodStart, End: r.PeriodEnd}
}

func (r *submissionRow) submission(organisation impact.OrganisationID) impact.Submission {
	return impact.Submission{
		ID: r.ID, Organisation: organisation, Owner: impact.OrganisationKey(r.Organisation), Period: r.period(), Questionnaire: r.Questionnaire, Source: r.Source, State: r.State, Review: r.Review,
		Reason: r.Reason, Observations: int(r.Observations), ActedBy: r.ActedBy, Mandate: r.Mandate, Version: int(r.Version),
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
		Deleted: r.Deleted != 0,
	}
}

// seesSubmissions keeps the submissions a caller may see: its own for an
// organisation; for a network its own and those it may manage; those that have
// been handed in for a steward.
func (s *Store) seesSubmissions(p impact.Principal) (string, []any) {
	switch p.Role {
	case impact.RoleSteward:
		return "submissions.state <> 'draft'", nil
	case impact.RoleOrganisation:
		return "organisations.id = ?", []any{p.Organisation}
	case impact.RoleNetwork:
		return s.mandated(p, impact.SubmissionsManage, "submissions.organisation", "AND r.period_start <= submissions.period_start AND r.period_end >= submissions.period_end")
	}
	return "1 = 0", nil
}

// foundSubmission is a submission with the id of its organisation.
type foundSubmission struct {
	Row            submissionRow `gorm:"embedded"`
	OrganisationID impact.OrganisationID
}

func (s *Store) submissionQuery(ctx context.Context, p impact.Principal) *gorm.DB {
	condition, args := s.seesSubmissions(p)
	return s.orm(ctx).Table("submissions").Select("submissions.*, organisations.id AS organisation_id").
		Joins("JOIN organisations ON organisations.key = submissions.organisation").
		Where(condition, args...)
}

// CreateSubmission opens a submission, with the observations of b, if any, all
// or nothing. already_exists with a Link when the organisation has one for the
// same period and questionnaire. Who reviews is told by the questionnaire.
func (s *Store) CreateSubmission(ctx context.Context, p impact.Principal, stated impact.Submission, b *impact.Batch) (impact.Submission, impact.Results, error) {
	var created impact.Submission
	var results impact.Results
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		organisations, err := s.organisations(s.orm(ctx).Scopes(s.ownOrganisation(p)).Where("id = ?", stated.Organisation))
		if err != nil {
			return err
		}
		if len(organisations) == 0 || p.Role != impact.RoleNetwork && !p.Is(stated.Organisation) {
			return impact.NotFoundError()
		}
		key := int32(organisations[0].Key)
		w := &workspace{s: s, t: t, acting: []impact.Principal{p}}
		if w.catalogue, err = s.Catalogue(ctx); err != nil {
			return err
		}
		if err := w.read(ctx, []int32{key}, nil, nil); err != nil {
			return err
		}
		mandate, err := w.manage(p, key, stated.Period)
		if err != nil {
			return err
		}
		for _, u := range w.submissions[key] {
			if u.period() == stated.Period && u.Questionnaire == stated.Questionnaire {
				return alreadyExists("/v1/submissions/" + string(u.ID))
			}
		}
		if err := s.unlocked(w.locked, stated.Period); err != nil {
			return err
		}
		review, err := s.reviewOf(ctx, stated.Questionnaire)
		if err != nil {
			return err
		}
		u := w.open(submissionRow{
			ID: impact.SubmissionID(s.newID()), Organisation: key, PeriodStart: stated.Period.Start, PeriodEnd: stated.Period.End,
			Questionnaire: stated.Questionnaire, Source: stated.Source, State: impact.Draft, Review: review, ActedBy: p.Client, Mandate: string(mandate),
		})
		under := w.uses.mandates()
		if err := w.logUses(ctx); err != nil {
			return err
		}
		_, left, err := w.writeSubmissions(ctx)
		if err != nil {
			return err
		}
		if err := s.dialect.run(ctx, t, left...); err != nil {
			return err
		}
		created = u.submission(stated.Organisation)
		if b != nil && len(b.Rows) > 0 {
			inline := *b
			inline.Principal, inline.Submission, inline.AllOrNothing = p, u.ID, true
			if results, err = s.PutObservations(ctx, inline); err != nil {
				return err
			}
			var row submissionRow
			if err := s.orm(ctx).Where("key = ?", u.Key).Take(&row).Error; err != nil {
				return err
			}
			created = row.submission(stated.Organisation)
			under = append(under, results.Mandates...)
			slices.Sort(under)
		}
		created.Under = slices.Compact(under)
		results.Seq, err = t.commit(ctx, "submission", nil)
		return err
	})
	if err != nil {
		return impact.Submission{}, impact.Results{}, fmt.Errorf("opening a submission: %w", err)
	}
	return created, results, nil
}

// reviewOf tells who reviews the answers to a questionnaire.
func (s *Store) reviewOf(ctx context.Context, code string) (impact.Review, error) {
	if code == "" {
		return impact.Manual, nil
	}
	q, err := s.Questionnaire(ctx, code)
	if impact.KindOf(err) == impact.NotFound {
		return "", impact.Refuse(impact.Fault{
			Code: "unknown_reference", Pointer: "/questionnaire", Value: code,
			Detail: impact.Text{FR: "Ce questionnaire n'existe pas.", EN: "This questionnaire does not exist."},
			Hint:   impact.Text{FR: "GET /v1/questionnaires les liste.", EN: "GET /v1/questionnaires lists them."},
		})
	}
	if err != nil {
		return "", err
	}
	if q.Review == "" {
		return impact.Manual, nil
	}
	return q.Review, nil
}

// Submission gives one submission, not_found if the caller may not see it.
func (s *Store) Submission(ctx context.Context, p impact.Principal, id impact.SubmissionID) (impact.Submission, error) {
	row, err := s.findSubmission(ctx, p, id)
	if err != nil {
		return impact.Submission{}, fmt.Errorf("reading a submission: %w", err)
	}
	return row.Row.submission(row.OrganisationID), nil
}

func (s *Store) findSubmission(ctx context.Context, p impact.Principal, id impact.SubmissionID) (foundSubmission, error) {
	var row foundSubmission
	err := s.submissionQuery(ctx, p).Where("submissions.deleted = 0 AND submissions.id = ?", id).Take(&row).Error
	return row, s.refusal(err)
}

// Submissions lists those the caller may see, in the order of ids, or of
// (UpdatedAt, ID) with UpdatedSince. next is nil on the last page.
func (s *Store) Submissions(ctx context.Context, p impact.Principal, f impact.SubmissionFilter, page impact.Page) ([]impact.Submission, []string, error) {
	db := s.submissionQuery(ctx, p)
	if !f.IncludeDeleted {
		db = db.Where("submissions.deleted = 0")
	}
	if f.Organisation != "" {
		db = db.Where("organisations.id = ?", f.Organisation)
	}
	if f.Within != nil {
		db = db.Where("submissions.period_start >= ? AND submissions.period_end <= ?", f.Within.Start, f.Within.End)
	}
	if f.Questionnaire != "" {
		db = db.Where("submissions.questionnaire = ?", f.Questionnaire)
	}
	if f.State != "" {
		db = db.Where("submissions.state = ?", f.State)
	}
	db, err := keyset(db, page, f.UpdatedSince, "submissions.")
	if err != nil {
		return nil, nil, err
	}
	var rows []foundSubmission
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing submissions: %w", err)
	}
	rows, next := pageOf(rows, page, func(r foundSubmission) []string {
		return keysetPosition(f.UpdatedSince, string(r.Row.ID), r.Row.UpdatedAt)
	})
	list := make([]impact.Submission, len(rows))
	for i := range rows {
		list[i] = rows[i].Row.submission(rows[i].OrganisationID)
	}
	return list, next, nil
}

// change runs do on a submission the caller may see, its organisation locked,
// its version checked.
func (s *Store) changeSubmission(ctx context.Context, p impact.Principal, id impact.SubmissionID, version int, do func(context.Context, *workspace, *submissionState) error) (impact.Submission, error) {
	var after impact.Submission
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		found, err := s.findSubmission(ctx, p, id)
		if err != nil {
			return err
		}
		w := &workspace{s: s, t: t, acting: []impact.Principal{p}}
		if w.catalogue, err = s.Catalogue(ctx); err != nil {
			return err
		}
		if err := w.read(ctx, []int32{found.Row.Organisation}, nil, nil); err != nil {
			return err
		}
		u := w.byKey[found.Row.Key]
		if u == nil {
			return impact.NotFoundError()
		}
		if version != 0 && int(u.Version) != version { // 0: whatever it is, the state is the condition
			return stale(int(u.Version))
		}
		if err := do(ctx, w, u); err != nil {
			return err
		}
		under := w.uses.mandates()
		if _, err := w.write(ctx, "submission"); err != nil {
			return err
		}
		after = u.submission(found.OrganisationID)
		after.Under = under
		return nil
	})
	return after, err
}

// UpdateSubmission lets change alter period, questionnaire and source of a
// draft. The period keeps containing the observations.
func (s *Store) UpdateSubmission(ctx context.Context, p impact.Principal, id impact.SubmissionID, version int, change func(*impact.Submission) error) (impact.Submission, error) {
	after, err := s.changeSubmission(ctx, p, id, version, func(ctx context.Context, w *workspace, u *submissionState) error {
		if _, err := w.manage(p, u.Organisation, u.period()); err != nil {
			return err
		}
		if u.State != impact.Draft {
			return badState(u.State)
		}
		stated := u.submission(w.organisations[u.Organisation].id)
		if err := change(&stated); err != nil {
			return err
		}
		if stated.Questionnaire != u.Questionnaire {
			review, err := s.reviewOf(ctx, stated.Questionnaire)
			if err != nil {
				return err
			}
			u.Review = review
		}
		if stated.Period != u.period() {
			if _, err := w.manage(p, u.Organisation, stated.Period); err != nil {
				return err
			}
		}
		if err := s.unlocked(w.locked, stated.Period); err != nil {
			return err
		}
		var outside int
		err := w.t.tx.QueryRowContext(ctx, `SELECT count(*) FROM observations WHERE organisation = $1 AND submission = $2 AND deleted = 0
			AND (period_start < $3 OR period_end > $4)`, u.Organisation, u.Key, int32(stated.Period.Start), int32(stated.Period.End)).Scan(&outside)
		if err != nil {
			return err
		}
		if outside > 0 {
			return impact.Refuse(impact.Fault{
				Code: "period_not_allowed", Pointer: "/period", Value: stated.Period.String(),
				Detail: impact.Text{FR: fmt.Sprintf("%d observation(s) sortent de cette période.", outside), EN: fmt.Sprintf("%d observation(s) leave this period.", outside)},
				Hint:   impact.Text{FR: "Choisissez une période qui les contient.", EN: "Choose a period that contains them."},
			})
		}
		u.PeriodStart, u.PeriodEnd, u.Questionnaire, u.Source = stated.Period.Start, stated.Period.End, stated.Questionnaire, stated.Source
		for _, other := range w.submissions[u.Organisation] {
			if other != u && other.period() == u.period() && other.Questionnaire == u.Questionnaire {
				return alreadyExists("/v1/submissions/" + string(other.ID))
			}
		}
		return nil
	})
	if err != nil {
		return impact.Submission{}, fmt.Errorf("changing a submission: %w", err)
	}
	return after, nil
}

// DeleteSubmission withdraws a draft that was never approved; its observations
// get tombstones.
func (s *Store) DeleteSubmission(ctx context.Context, p impact.Principal, id impact.SubmissionID, version int) (impact.Results, error) {
	after, err := s.changeSubmission(ctx, p, id, version, func(ctx context.Context, w *workspace, u *submissionState) error {
		if _, err := w.manage(p, u.Organisation, u.period()); err != nil {
			return err
		}
		if u.State != impact.Draft {
			return badState(u.State)
		}
		cells, err := w.cellsOf(ctx, u)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(cells, func(c *cell) bool { return c.now.approved > 0 }) {
			return badState(u.State)
		}
		if err := w.bury(ctx, p, cells); err != nil {
			return err
		}
		u.Deleted = 1
		u.events = append(u.events, eventRow{Action: "delete", State: u.State, ActedBy: p.Client})
		return nil
	})
	if err != nil {
		return impact.Results{}, fmt.Errorf("deleting a submission: %w", err)
	}
	seq, err := s.Seq(ctx)
	return impact.Results{Seq: seq, Mandates: after.Under}, err
}

// cellsOf reads the facts of a submission, tombstones included.
func (w *workspace) cellsOf(ctx context.Context, u *submissionState) ([]*cell, error) {
	var cells []*cell
	err := w.s.dialect.run(ctx, w.t, step{
		`SELECT ` + factColumns + ` FROM observations AS f WHERE f.organisation = $1 AND f.submission = $2`,
		[]any{u.Organisation, u.Key},
		factNumbers, 1, func(n []int64, null []bool, text []string) error {
			cells = append(cells, w.hold(scanFact(n, null, text[0])))
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("reading the facts of a submission: %w", err)
	}
	return cells, nil
}

// bury writes tombstones on what lives; not_mandated when the principal may not
// write one of them.
func (w *workspace) bury(ctx context.Context, p impact.Principal, cells []*cell) error {
	for _, c := range cells {
		if !c.live() {
			continue
		}
		mandate, fault := w.may(p, impact.Use{
			Organisation: impact.OrganisationKey(c.now.organisation), Scope: impact.ObservationsWrite, Indicator: impact.IndicatorKey(c.now.indicator), Period: c.now.period(),
		})
		if fault != nil {
			return notMandated(fault)
		}
		fault, err := w.overwrites(ctx, p, c)
		if err != nil {
			return err
		}
		if fault != nil {
			return impact.Refuse(*fault)
		}
		w.uses.add(p, usedToDelete, mandate)
		who, err := numberOf(ctx, w.t, &w.s.actors, actor{p.Client, string(mandate)})
		if err != nil {
			return err
		}
		w.unname(c, "", "")
		next := c.now
		next.value.V, next.value.Valid, next.details, next.deleted, next.actor = 0, false, "", 1, who
		w.revise(c, next)
		w.move(c, c.submission, c.submission, true, false)
	}
	return nil
}

// transitions says who may do what from where.
var transitions = map[string]struct {
	from []impact.SubmissionState
	to   impact.SubmissionState
	role impact.Role
}{
	"submit":  {[]impact.SubmissionState{impact.Draft, impact.Returned}, impact.Submitted, impact.RoleOrganisation},
	"approve": {[]impact.SubmissionState{impact.Submitted}, impact.Approved, impact.RoleSteward},
	"return":  {[]impact.SubmissionState{impact.Submitted}, impact.Returned, impact.RoleSteward},
	"reopen":  {[]impact.SubmissionState{impact.Approved}, impact.Draft, impact.RoleOrganisation},
}

// Transition moves a submission along its life-cycle: submit and reopen by the
// organisation, approve and return (with a reason) by a steward. bad_state when
// the step does not exist from where it stands; incomplete with the missing
// answers on submit; period_locked on reopen. With an automatic review,
// submitting what came without warning approves it.
func (s *Store) Transition(ctx context.Context, p impact.Principal, id impact.SubmissionID, version int, action, reason string) (impact.Submission, error) {
	after, err := s.changeSubmission(ctx, p, id, version, func(ctx context.Context, w *workspace, u *submissionState) error {
		step, known := transitions[action]
		if !known {
			return impact.NotFoundError()
		}
		switch {
		case step.role == impact.RoleOrganisation: // or a network for it
			if _, err := w.manage(p, u.Organisation, u.period()); err != nil {
				return err
			}
		case p.Role != step.role:
			return forbidden("submissions.review")
		}
		if !slices.Contains(step.from, u.State) {
			return badState(u.State)
		}
		u.Reason = ""
		u.State = step.to
		switch action {
		case "submit":
			c, err := s.completeness(ctx, w.catalogue, u.submissionRow)
			if err != nil {
				return err
			}
			if !c.Complete() {
				return &impact.Error{Kind: impact.Invalid, Code: "incomplete", Faults: c.Blocking, Detail: impact.Text{
					FR: "Il manque des réponses demandées.", EN: "Required answers are missing.",
				}, Hint: impact.Text{FR: "GET …/completeness en donne la liste.", EN: "GET …/completeness lists them."}}
			}
			if u.Review == impact.Automatic && u.Warned == 0 {
				u.State = impact.Approved
			}
		case "return":
			if strings.TrimSpace(reason) == "" {
				return impact.Refuse(impact.Fault{
					Code: "missing_field", Pointer: "/reason",
					Detail: impact.Text{FR: "Dites pourquoi la déclaration est renvoyée.", EN: "Say why the submission is returned."},
					Hint:   impact.Text{FR: "L'organisation lira cette phrase.", EN: "The organisation will read this sentence."},
				})
			}
			u.Reason = reason
		case "reopen":
			if err := s.unlocked(w.locked, u.period()); err != nil {
				return err
			}
		}
		// What is approved stays so whatever becomes of the submission; the rest
		// goes with it.
		change := "moved = $1"
		if u.State == impact.Approved {
			u.Warned = 0
			change += ", approved_version = version"
		}
		_, err := w.t.tx.ExecContext(ctx, `UPDATE observations SET `+change+` WHERE organisation = $2 AND submission = $3 AND approved_version <> version`, w.t.id, u.Organisation, u.Key)
		if err != nil {
			return fmt.Errorf("moving the versions that await approval: %w", err)
		}
		u.events = append(u.events, eventRow{Action: action, State: u.State, Reason: u.Reason, ActedBy: p.Client})
		return nil
	})
	if err != nil {
		return impact.Submission{}, fmt.Errorf("moving a submission: %w", err)
	}
	return after, nil
}

func badState(state impact.SubmissionState) error {
	var allowed []string
	for action, step := range transitions {
		if slices.Contains(step.from, state) {
			allowed = append(allowed, action)
		}
	}
	if state == impact.Draft {
		allowed = append(allowed, "PATCH", "DELETE")
	}
	slices.Sort(allowed)
	list := strings.Join(allowed, ", ")
	return &impact.Error{Kind: impact.Conflict, Code: "bad_state", Detail: impact.Text{
		FR: "La déclaration est dans l'état " + string(state) + ".", EN: "The submission is in state " + string(state) + ".",
	}, Hint: impact.Text{FR: "Actions possibles : " + list + ".", EN: "Possible actions: " + list + "."}}
}

// Completeness compares a submission with its questionnaire.
func (s *Store) Completeness(ctx context.Context, p impact.Principal, id impact.SubmissionID) (impact.Completeness, error) {
	row, err := s.findSubmission(ctx, p, id)
	if err != nil {
		return impact.Completeness{}, fmt.Errorf("reading a submission: %w", err)
	}
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return impact.Completeness{}, err
	}
	return s.completeness(ctx, catalogue, row.Row)
}

func (s *Store) completeness(ctx context.Context, catalogue *impact.Catalogue, row submissionRow) (impact.Completeness, error) {
	var q *impact.Questionnaire
	if row.Questionnaire != "" {
		found, err := s.Questionnaire(ctx, row.Questionnaire)
		if err != nil {
			return impact.Completeness{}, fmt.Errorf("reading the questionnaire: %w", err)
		}
		q = &found
	}
	rows, err := s.sql(ctx).QueryContext(ctx, `SELECT indicator, obs_status FROM observations WHERE organisation = $1 AND submission = $2 AND deleted = 0`, row.Organisation, row.Key)
	if err != nil {
		return impact.Completeness{}, fmt.Errorf("reading the answers: %w", err)
	}
	defer rows.Close()
	var answers []impact.Observation
	for rows.Next() {
		var indicator int32
		var status int16
		if err := rows.Scan(&indicator, &status); err != nil {
			return impact.Completeness{}, fmt.Errorf("reading the answers: %w", err)
		}
		answers = append(answers, impact.Observation{CellKey: impact.CellKey{Indicator: impact.IndicatorKey(indicator)}, Status: impact.Status(status)})
	}
	if err := rows.Err(); err != nil {
		return impact.Completeness{}, fmt.Errorf("reading the answers: %w", err)
	}
	c := impact.NewCompleteness(catalogue, q, answers)
	c.Submission = row.ID
	return c, nil
}

// writeSubmissions numbers the new ones and writes what moved; the steps left
// to do write the new, the counts and the events of their life.
func (w *workspace) writeSubmissions(ctx context.Context) (changed bool, left []step, err error) {
	var fresh, moved []*submissionState
	var counted []*submissionState // only the count or the warning moved
	for _, list := range w.submissions {
		for _, u := range list {
			if u.fresh {
				fresh = append(fresh, u)
				continue
			}
			if u.submissionRow == u.before {
				continue
			}
			u.Version = u.before.Version + int32(max(1, len(u.events)))
			u.UpdatedAt, u.Written = instant(w.t.id).UnixMilli(), w.t.id
			if u.State != u.before.State {
				u.Tx = w.t.id
			}
			same := u.submissionRow
			same.Observations, same.Warned, same.Version = u.before.Observations, u.before.Warned, u.before.Version
			same.UpdatedAt, same.Written = u.before.UpdatedAt, u.before.Written
			if same == u.before {
				counted = append(counted, u)
			} else {
				moved = append(moved, u)
			}
		}
	}
	byKey := func(a, b *submissionState) int { return int(a.Key - b.Key) }
	slices.SortFunc(moved, byKey)
	slices.SortFunc(counted, byKey)
	if len(fresh) > 0 {
		slices.SortFunc(fresh, func(a, b *submissionState) int { return strings.Compare(string(a.ID), string(b.ID)) })
		last, err := w.s.submissionKeys.take(ctx, w.t, int32(len(fresh)))
		if err != nil {
			return false, nil, err
		}
		for i, u := range fresh {
			u.Key = last - int32(len(fresh)-1-i)
			left = append(left, insertSubmission(&u.submissionRow))
		}
	}
	for _, u := range moved {
		if err := w.t.orm.WithContext(ctx).Save(&u.submissionRow).Error; err != nil {
			return false, nil, err
		}
	}
	left = append(left, w.writeCounts(counted)...)
	for _, u := range slices.Concat(fresh, moved) {
		for i, e := range u.events {
			left = append(left, step{
				query: `INSERT INTO submission_events (submission, version, tx, action, state, reason, acted_by) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
				args:  []any{u.Key, u.Version - int32(len(u.events)-1-i), w.t.id, e.Action, string(e.State), e.Reason, e.ActedBy},
			})
		}
	}
	for _, u := range slices.Concat(fresh, moved, counted) {
		u.before, u.fresh, u.events = u.submissionRow, false, nil
	}
	if len(moved) > 0 {
		w.whole = true
	}
	return len(fresh)+len(moved)+len(counted) > 0, left, nil
}

func insertSubmission(r *submissionRow) step {
	return step{
		query: `INSERT INTO submissions (key, id, organisation, period_start, period_end, questionnaire, source, state, review, reason, observations, warned,
				acted_by, mandate, version, created_at, updated_at, tx, written, deleted)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`,
		args: []any{
			r.Key, string(r.ID), r.Organisation, int32(r.PeriodStart), int32(r.PeriodEnd), r.Questionnaire, r.Source, string(r.State), string(r.Review), r.Reason,
			r.Observations, r.Warned, r.ActedBy, r.Mandate, r.Version, r.CreatedAt, r.UpdatedAt, r.Tx, r.Written, r.Deleted,
		},
	}
}

// writeCounts writes 16 rows a statement; the last row fills an incomplete one
// up, so that the databases see two texts only.
func (w *workspace) writeCounts(rows []*submissionState) (steps []step) {
	for some := range slices.Chunk(rows, 16) {
		n := 1
		if len(some) > 1 {
			n = 16
		}
		marks := make([]string, n)
		args := make([]any, 0, 2+4*n)
		args = append(args, instant(w.t.id).UnixMilli(), w.t.id)
		for i := range n {
			u := some[min(i, len(some)-1)]
			args = append(args, u.Key, u.Observations, u.Warned, u.Version)
			marks[i] = fmt.Sprintf("(CAST($%d AS INTEGER), CAST($%d AS INTEGER), CAST($%d AS SMALLINT), CAST($%d AS INTEGER))", len(args)-3, len(args)-2, len(args)-1, len(args))
		}
		steps = append(steps, step{query: `UPDATE submissions SET updated_at = $1, written = $2, observations = n.column2, warned = n.column3, version = n.column4
			FROM (VALUES ` + strings.Join(marks, ", ") + `) AS n WHERE submissions.key = n.column1`, args: args})
	}
	return steps
}

package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

// placed is where a row read by a source stands in the log.
type placed struct{ Seq, CommitTx, At int64 }

const placedColumns = `commit_log.seq, commit_log.tx AS commit_tx, commit_log.at`

func (c placed) change(t impact.ChangeType, id string, version int, deleted bool) impact.Change {
	change := impact.Change{Seq: c.Seq, Tx: c.CommitTx, Type: t, Key: id, ID: id, Op: impact.OpUpdated, Version: version, At: time.UnixMilli(c.At).UTC()}
	switch {
	case deleted:
		change.Op = impact.OpDeleted
	case version == 1:
		change.Op = impact.OpCreated
	}
	return change
}

// rows begins a query on the changes of a table with the columns id and tx, the
// last transaction that wrote the row; more are columns beside its own. All that
// is left to do is to keep what the principal may see.
func (w changeWindow) rows(ctx context.Context, s *Store, table string, more ...string) *gorm.DB {
	columns := strings.Join(append([]string{table + ".*", placedColumns}, more...), ", ")
	db := s.orm(ctx).Table("commit_log").Select(columns).Joins("JOIN "+table+" ON "+table+".tx = commit_log.tx").
		Where("commit_log.seq BETWEEN ? AND ?", w.first, w.last)
	if w.key != "" {
		db = db.Where("(commit_log.seq, "+table+".id) > (?, ?)", w.first, w.key)
	}
	return db.Order("commit_log.seq, " + table + ".id").Limit(w.limit)
}

func organisationChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	db := w.ofOrganisation(w.rows(ctx, s, "organisations").Scopes(s.ownOrganisation(p)))
	var rows []struct {
		Row   organisationRow `gorm:"embedded"`
		Place placed          `gorm:"embedded"`
	}
	if err := db.Find(&rows).Error; err != nil {
		return nil, err
	}
	changed := make([]organisationRow, len(rows))
	for i, r := range rows {
		changed[i] = r.Row
	}
	now, err := organisationsOf(changed)
	if err == nil {
		err = s.asShown(ctx, p, now)
	}
	if err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		list[i] = r.Place.change(impact.OrganisationChange, string(r.Row.ID), r.Row.Version, false)
		list[i].Organisation, list[i].Resource = r.Row.ID, now[i]
	}
	return list, nil
}

// submissionChanges tells each step in the life of a submission, and the last
// writing of what else its row says. A steward is told nothing of a draft, but
// that a submission it knew is one again.
func submissionChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	condition, args := s.seesSubmissions(p)
	if p.Role == impact.RoleSteward {
		condition = "((" + condition + ") AND (step.state IS NULL OR step.state <> 'draft') OR step.action = 'reopen')"
	}
	if w.filter.Organisation != "" {
		condition, args = condition+" AND organisations.id = ?", append(args, w.filter.Organisation)
	}
	if w.key != "" {
		condition, args = condition+" AND (touched.seq, submissions.id) > (?, ?)", append(args, w.first, w.key)
	}
	var rows []struct {
		Row            submissionRow `gorm:"embedded"`
		Place          placed        `gorm:"embedded"`
		OrganisationID impact.OrganisationID
		Action         string
		First          int
	}
	err := s.orm(ctx).Raw(`SELECT submissions.*, organisations.id AS organisation_id, touched.seq, touched.commit_tx, touched.at, coalesce(step.action, '') AS action, touched.first
		FROM (
			SELECT `+placedColumns+`, e.submission, max(e.version) AS step, min(e.version) AS first FROM commit_log JOIN submission_events AS e ON e.tx = commit_log.tx
			WHERE commit_log.seq BETWEEN ? AND ? GROUP BY commit_log.seq, commit_log.tx, commit_log.at, e.submission
			UNION ALL
			SELECT `+placedColumns+`, u.key, 0, 0 FROM commit_log JOIN submissions AS u ON u.written = commit_log.tx
			WHERE commit_log.seq BETWEEN ? AND ? AND NOT EXISTS (SELECT 1 FROM submission_events AS e WHERE e.submission = u.key AND e.tx = commit_log.tx)
		) AS touched JOIN submissions ON submissions.key = touched.submission JOIN organisations ON organisations.key = submissions.organisation
		LEFT JOIN submission_events AS step ON step.submission = touched.submission AND step.version = touched.step
		WHERE `+condition+` ORDER BY touched.seq, submissions.id LIMIT ?`,
		slices.Concat([]any{w.first, w.last, w.first, w.last}, args, []any{w.limit})...).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		gone := r.Row.Deleted != 0 || p.Role == impact.RoleSteward && r.Row.State == impact.Draft
		list[i] = r.Place.change(impact.SubmissionChange, string(r.Row.ID), r.First, gone)
		list[i].Organisation, list[i].Version, list[i].Action = r.OrganisationID, int(r.Row.Version), r.Action
		if !gone {
			list[i].Resource = r.Row.submission(r.OrganisationID)
		}
	}
	return list, nil
}

// ofOrganisation narrows a query beside organisations to the one asked for.
func (w changeWindow) ofOrganisation(db *gorm.DB) *gorm.DB {
	if w.filter.Organisation == "" {
		return db
	}
	return db.Where("organisations.id = ?", w.filter.Organisation)
}

func mandateChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	condition, args := seesMandate(p)
	var rows []struct {
		Found foundMandate `gorm:"embedded"`
		Place placed       `gorm:"embedded"`
	}
	err := w.ofOrganisation(w.rows(ctx, s, "mandates", mandateNames).Joins(mandateSides).Where(condition, args...)).Find(&rows).Error
	if err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		m, err := r.Found.mandate()
		if err != nil {
			return nil, err
		}
		list[i] = r.Place.change(impact.MandateChange, string(m.ID), m.Version, false)
		list[i].Organisation, list[i].Action, list[i].Resource = m.Organisation, string(m.State), m
	}
	return list, nil
}

func membershipChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	condition, args := seesMembership(p)
	var rows []struct {
		Found foundMembership `gorm:"embedded"`
		Place placed          `gorm:"embedded"`
	}
	err := w.ofOrganisation(w.rows(ctx, s, "memberships", membershipNames).Joins(membershipSides).Where(condition, args...)).Find(&rows).Error
	if err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		m := r.Found.membership()
		list[i] = r.Place.change(impact.MembershipChange, string(m.ID), m.Version, m.Deleted)
		list[i].Organisation = m.Organisation
		if !m.Deleted {
			list[i].Resource = m
		}
	}
	return list, nil
}

// consentChanges are told to the organisation alone; the id of a consent is its
// kind.
func consentChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	if p.Role != impact.RoleOrganisation || w.filter.Organisation != "" && w.filter.Organisation != p.Organisation {
		return nil, nil
	}
	var rows []struct {
		Kind    impact.ConsentKind
		Version int
		Place   placed `gorm:"embedded"`
	}
	err := s.orm(ctx).Raw(`SELECT consents.kind, consents.version, `+placedColumns+` FROM commit_log JOIN consents ON consents.tx = commit_log.tx
		JOIN organisations ON organisations.key = consents.organisation
		WHERE organisations.id = ? AND commit_log.seq BETWEEN ? AND ? AND (commit_log.seq, consents.kind) > (?, ?) ORDER BY commit_log.seq, consents.kind LIMIT ?`,
		p.Organisation, w.first, w.last, w.first, w.key, w.limit).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		list[i] = r.Place.change(impact.ConsentChange, string(r.Kind), r.Version, false)
		list[i].Organisation = p.Organisation
		if list[i].Resource, err = s.consent(ctx, p.Organisation, r.Kind); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func importChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	condition, args := seesImports(p)
	db := w.rows(ctx, s, "imports").Where(condition, args...)
	if w.filter.Organisation != "" {
		db = db.Where("imports.organisation = ?", w.filter.Organisation)
	}
	var rows []struct {
		Row   importRow `gorm:"embedded"`
		Place placed    `gorm:"embedded"`
	}
	if err := db.Find(&rows).Error; err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		m, err := r.Row.imported()
		gone := impact.KindOf(err) == impact.NotFound // only its report is
		if err != nil && !gone {
			return nil, err
		}
		list[i] = r.Place.change(impact.ImportChange, string(m.ID), m.Version, gone)
		list[i].Organisation, list[i].Action = m.Organisation, string(m.State)
		if !gone {
			list[i].Resource = m
		}
	}
	return list, nil
}

func indicatorChanges(ctx context.Context, s *Store, _ impact.Principal, w changeWindow) ([]impact.Change, error) {
	return referenceChanges(ctx, s, w, impact.IndicatorChange, `SELECT tx, code AS id FROM indicators`)
}

func territoryChanges(ctx context.Context, s *Store, _ impact.Principal, w changeWindow) ([]impact.Change, error) {
	return referenceChanges(ctx, s, w, impact.TerritoryChange, `SELECT DISTINCT tx, id FROM territories`)
}

// referenceChanges are without resource: everyone reads it at its address.
func referenceChanges(ctx context.Context, s *Store, w changeWindow, t impact.ChangeType, entries string) ([]impact.Change, error) {
	if !w.reference {
		return nil, nil
	}
	condition, args := "", []any{w.first, w.last}
	if w.key != "" {
		condition, args = " AND (commit_log.seq, r.id) > (?, ?)", append(args, w.first, w.key)
	}
	var rows []struct {
		Place placed `gorm:"embedded"`
		ID    string
	}
	err := s.orm(ctx).Raw(`SELECT `+placedColumns+`, r.id FROM commit_log JOIN (`+entries+`) AS r ON r.tx = commit_log.tx
		WHERE commit_log.kind = '`+referenceCommit+`' AND commit_log.seq BETWEEN ? AND ?`+condition+` ORDER BY commit_log.seq, r.id LIMIT ?`, append(args, w.limit)...).Scan(&rows).Error
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		list[i] = r.Place.change(t, r.ID, 0, false)
	}
	return list, err
}

// releaseChanges are without resource, as those of reference data: a release that
// was published, or withdrawn. The id is its number.
func releaseChanges(ctx context.Context, s *Store, _ impact.Principal, w changeWindow) ([]impact.Change, error) {
	if !w.releases {
		return nil, nil
	}
	var rows []struct {
		Row   releaseRow `gorm:"embedded"`
		Place placed     `gorm:"embedded"`
	}
	if err := w.rows(ctx, s, "releases").Where("releases.state IN ?", publicReleases).Find(&rows).Error; err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		list[i] = r.Place.change(impact.ReleaseChange, r.Row.ID, 1, false)
		list[i].ID, list[i].Version, list[i].Action = strconv.Itoa(int(r.Row.Number)), r.Row.Version, string(r.Row.State)
		if r.Row.State == impact.ReleaseWithdrawn {
			list[i].Op = impact.OpUpdated
		}
	}
	return list, nil
}

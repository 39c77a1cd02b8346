package store

import (
	"cmp"
	"context"
	"fmt"
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
// last transaction that wrote the row. All that is left to do is to keep what
// the principal may see.
func (w changeWindow) rows(s *Store, ctx context.Context, table string) *gorm.DB {
	db := s.orm(ctx).Table("commit_log").Select(table+".*, "+placedColumns).Joins("JOIN "+table+" ON "+table+".tx = commit_log.tx").
		Where("commit_log.seq BETWEEN ? AND ?", w.first, w.last)
	if w.key != "" {
		db = db.Where("(commit_log.seq, "+table+".id) > (?, ?)", w.first, w.key)
	}
	return db.Order("commit_log.seq, " + table + ".id").Limit(w.limit)
}

func organisationChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	db := w.rows(s, ctx, "organisations").Scopes(s.ownOrganisation(p))
	if w.filter.Organisation != "" {
		db = db.Where("organisations.id = ?", w.filter.Organisation)
	}
	var rows []struct {
		Row   organisationRow `gorm:"embedded"`
		Place placed          `gorm:"embedded"`
	}
	if err := db.Find(&rows).Error; err != nil {
		return nil, err
	}
	list := make([]impact.Change, len(rows))
	for i, r := range rows {
		now, err := organisationsOf([]organisationRow{r.Row})
		if err != nil {
			return nil, err
		}
		list[i] = r.Place.change(impact.OrganisationChange, string(r.Row.ID), r.Row.Version, false)
		list[i].Organisation, list[i].Resource = r.Row.ID, now[0]
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

// keyOrder are the columns of the primary key of the facts of an alias, in its
// order.
func keyOrder(alias string) string {
	return alias + `.organisation, ` + alias + `.indicator, ` + alias + `.territory, ` + alias + `.period_start, ` + alias + `.period_end, ` + alias + `.cut`
}

func sameFact(a, b string) string {
	return fmt.Sprintf(`%[1]s.organisation = %[2]s.organisation AND %[1]s.indicator = %[2]s.indicator AND %[1]s.territory = %[2]s.territory
		AND %[1]s.period_start = %[2]s.period_start AND %[1]s.period_end = %[2]s.period_end AND %[1]s.cut = %[2]s.cut`, a, b)
}

// observationChanges tells of an observation when the version that the
// principal sees was written, and when its submission moved: that changes what
// the value counts for, and whether a steward sees it.
func observationChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	var written, moved statement
	d := s.dialect
	now := s.visible(&written, p, factSource{
		`commit_log AS c` + d.probe(" JOIN", "observation_versions", "v", "v.tx = c.tx") + d.probe(" JOIN", "observations", "f", sameFact("f", "v")), "c.seq",
	})
	written.add(` AND v.version = ` + now("version") + ` AND (submissions.tx = c.tx OR NOT EXISTS (
		SELECT 1 FROM commit_log AS m WHERE m.tx = submissions.tx AND m.seq > c.seq))`)
	now = s.visible(&moved, p, factSource{
		`commit_log AS c` + d.probe(" JOIN", "submissions", "u", "u.tx = c.tx") + d.probe(" JOIN", "observations", "f", "f.organisation = u.organisation AND f.submission = u.key"), "c.seq",
	})
	moved.add(` AND ` + now("tx") + ` <> c.tx`)
	statements := []*statement{&written, &moved}
	if p.Role == impact.RoleSteward {
		statements = append(statements, withdrawnFacts(d))
	}
	var list []impact.Change
	for i, q := range statements {
		if w.filter.Organisation != "" {
			q.add(` AND organisations.id = ?`, string(w.filter.Organisation))
		}
		if err := w.ofFacts(q); err != nil {
			return nil, err
		}
		found, err := s.facts(ctx, q)
		if err != nil {
			return nil, err
		}
		for j := range found {
			o, err := s.observation(ctx, &found[j])
			if err != nil {
				return nil, err
			}
			change := w.commits[found[j].place].change(impact.ObservationChange, string(o.ID), o.Version, o.Deleted || i == 2)
			change.Key, change.Organisation = found[j].position(), o.OrganisationID
			if change.Op != impact.OpDeleted {
				change.Resource = o
			}
			if i > 0 && change.Op == impact.OpCreated && p.Role != impact.RoleSteward {
				change.Op = impact.OpUpdated // it was created by another commit
			}
			list = append(list, change)
		}
	}
	slices.SortFunc(list, func(a, b impact.Change) int {
		ka, _ := positionOf(a.Key) // just written
		kb, _ := positionOf(b.Key)
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), ka.compare(kb))
	})
	return list[:min(len(list), w.limit)], nil
}

// withdrawnFacts begins the query on what stewards saw and see no more: facts of
// a submission that was returned or reopened after they were written, of which
// no version is approved. What was written later was never seen and stays
// unknown.
func withdrawnFacts(d dialect) *statement {
	q := &statement{}
	q.add(`SELECT f.value, f.tx, f.organisation, f.territory, f.period_start, f.period_end, f.cut, f.submission, f.profile, f.actor, f.version, f.approved_version,
			f.indicator, f.obs_status, 1, f.details, organisations.id, submissions.id, submissions.state, c.seq
		FROM commit_log AS c` + d.probe(" JOIN", "submissions", "submissions", "submissions.tx = c.tx") +
		d.probe(" JOIN", "observations", "f", "f.organisation = submissions.organisation AND f.submission = submissions.key") + `
		JOIN organisations ON organisations.key = f.organisation
		JOIN observation_versions AS first ON ` + sameFact("first", "f") + ` AND first.version = 1 LEFT JOIN commit_log AS born ON born.tx = first.tx
		WHERE submissions.state NOT IN ('submitted', 'approved') AND f.approved_version = 0 AND coalesce(born.seq, 0) < (
			SELECT max(hidden.seq) FROM submission_events AS e JOIN commit_log AS hidden ON hidden.tx = e.tx
			WHERE e.submission = submissions.key AND e.action IN ('return', 'reopen'))`)
	return q
}

// ofFacts ends a query on facts reached from commit_log AS c.
func (w changeWindow) ofFacts(q *statement) error {
	q.add(` AND c.seq BETWEEN ? AND ?`, w.first, w.last)
	order := `c.seq, ` + keyOrder("f")
	if w.key != "" {
		k, err := positionOf(w.key)
		if err != nil {
			return err
		}
		q.add(` AND (`+order+`) > (CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))`,
			append([]any{w.first}, k.args()...)...)
	}
	q.add(` ORDER BY `+order+` LIMIT ?`, w.limit)
	return nil
}

// position writes a key so that a reader can come back to it.
func (k factKey) position() string {
	return fmt.Sprintf("%d.%d.%d.%d.%d.%d", k.organisation, k.indicator, k.territory, k.start, k.end, k.cut)
}

func positionOf(text string) (k factKey, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 6 {
		return k, badCursor()
	}
	var n [6]int64
	for i, bits := range []int{32, 16, 32, 32, 32, 32} {
		if n[i], err = strconv.ParseInt(parts[i], 10, bits); err != nil {
			return k, badCursor()
		}
	}
	return factKey{int32(n[0]), int16(n[1]), int32(n[2]), int32(n[3]), int32(n[4]), int32(n[5])}, nil
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

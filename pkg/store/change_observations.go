package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

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
// principal sees was written, and when a step of its submission moved it: that
// changes what the value counts for, and whether a steward sees it. The last of
// the two tells.
func observationChanges(ctx context.Context, s *Store, p impact.Principal, w changeWindow) ([]impact.Change, error) {
	var written, moved statement
	d := s.dialect
	now := s.visible(&written, p, factSource{
		`commit_log AS c` + d.probe(" JOIN", "observation_versions", "v", "v.tx = c.tx") + d.probe(" JOIN", "observations", "f", sameFact("f", "v")), "c.seq",
	})
	written.add(` AND v.version = ` + now("version") + ` AND NOT EXISTS (SELECT 1 FROM commit_log AS m WHERE m.tx = f.moved AND m.seq > c.seq)`)
	stepped := factSource{`commit_log AS c` + d.probe(" JOIN", "observations", "f", "f.moved > 0 AND f.moved = c.tx"), "c.seq"}
	now = s.visible(&moved, p, stepped)
	moved.add(` AND NOT EXISTS (SELECT 1 FROM commit_log AS m WHERE m.tx = ` + now("tx") + ` AND m.seq >= c.seq)`)
	statements := []*statement{&written, &moved}
	if p.Role == impact.RoleSteward {
		statements = append(statements, withdrawnFacts(stepped))
	}
	var list []impact.Change
	for i, q := range statements {
		if w.filter.Organisation != "" {
			q.add(` AND organisations.id = ?`, string(w.filter.Organisation))
		}
		if err := w.ofFacts(q, []string{"v", "f", "f"}[i]); err != nil {
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
		if len(found) == w.limit {
			w.last = found[len(found)-1].place
		}
	}
	slices.SortFunc(list, func(a, b impact.Change) int {
		ka, _ := positionOf(a.Key) // just written
		kb, _ := positionOf(b.Key)
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), ka.compare(kb))
	})
	return list[:min(len(list), w.limit)], nil
}

// withdrawnFacts begins the query on what stewards saw and see no more, as
// tombstones: facts of which no version is approved, in a submission that was
// handed in with them and then returned. What was written later was never seen
// and stays unknown.
func withdrawnFacts(from factSource) *statement {
	q := &statement{}
	q.add(`SELECT NULL, first.tx, f.organisation, f.territory, f.period_start, f.period_end, f.cut, f.submission, first.profile, first.actor, first.version, 0,
			f.indicator, first.obs_status, 1, '', organisations.id, submissions.id, submissions.state, f.moved, ` + from.place + `
		FROM ` + from.from + ` JOIN organisations ON organisations.key = f.organisation JOIN submissions ON submissions.key = f.submission
		JOIN observation_versions AS first ON ` + sameFact("first", "f") + ` AND first.version = 1
		WHERE submissions.state NOT IN ('submitted', 'approved') AND f.approved_version = 0 AND f.moved > 0`)
	return q
}

// ofFacts ends a query on facts reached from commit_log AS c; lead is the alias
// whose keys are known first.
func (w changeWindow) ofFacts(q *statement, lead string) error {
	const key = `(CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))`
	q.add(` AND c.seq BETWEEN ? AND ?`, w.first, w.last)
	if w.key != "" {
		k, err := positionOf(w.key)
		if err != nil {
			return err
		}
		q.add(` AND (c.seq > CAST(? AS BIGINT) OR (`+keyOrder(lead)+`) > `+key+`)`, append([]any{w.first}, k.args()...)...)
	}
	if w.until != nil {
		q.add(` AND (`+keyOrder(lead)+`) <= `+key, w.until.args()...)
	}
	q.add(` ORDER BY c.seq, `+keyOrder("f")+` LIMIT ?`, w.limit)
	return nil
}

// partOfCommit gives the key of the last of some rows that a commit touched
// after a position, nil when there are no more than that.
func (s *Store) partOfCommit(ctx context.Context, commit, after impact.ChangePosition, rows int) (*factKey, error) {
	var q statement
	q.add(`SELECT `+keyOrder("k")+` FROM (SELECT `+keyOrder("v")+` FROM observation_versions AS v WHERE v.tx = CAST(? AS BIGINT)
		UNION SELECT `+keyOrder("f")+` FROM observations AS f WHERE f.moved > 0 AND f.moved = CAST(? AS BIGINT)) AS k`, commit.Tx, commit.Tx)
	if after.Type == impact.ObservationChange && after.Seq == commit.Seq {
		k, err := positionOf(after.Key)
		if err != nil {
			return nil, err
		}
		q.add(` WHERE (`+keyOrder("k")+`) > (?, ?, ?, ?, ?, ?)`, k.args()...)
	}
	q.add(` ORDER BY `+keyOrder("k")+` LIMIT 2 OFFSET ?`, rows-1)
	found, err := s.sql(ctx).QueryContext(ctx, q.text.String(), q.args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var some []factKey
	for found.Next() {
		var k factKey
		if err := found.Scan(&k.organisation, &k.indicator, &k.territory, &k.start, &k.end, &k.cut); err != nil {
			return nil, err
		}
		some = append(some, k)
	}
	if len(some) < 2 { // the rest is no more than that
		return nil, found.Err()
	}
	return &some[0], found.Err()
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

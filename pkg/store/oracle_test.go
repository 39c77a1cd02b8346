package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// oracle gives calculation the same facts as the follower, by other means: one
// joined statement per question, no log, no dictionary in memory.
type oracle struct{ s *Store }

// Oracle is the second way to the facts.
func (s *Store) Oracle() calculation.Source { return oracle{s} }

func (o oracle) Organisations(ctx context.Context) iter.Seq2[calculation.Organisation, error] {
	return func(yield func(calculation.Organisation, error) bool) {
		list, err := o.s.organisations(o.s.orm(ctx).Order("id"))
		if err != nil {
			yield(calculation.Organisation{}, err)
			return
		}
		for i := range list {
			if !yield(calculation.OrganisationOf(&list[i]), nil) {
				return
			}
		}
	}
}

func (o oracle) Questionnaires(ctx context.Context) ([]impact.Questionnaire, error) {
	return o.s.Questionnaires(ctx)
}

const oracleSQL = `
SELECT f.organisation, f.indicator, f.territory, f.period_start, f.period_end, cuts.text, s.state, f.version = f.approved_version AND f.approved_version > 0,
       f.deleted, f.value, f.obs_status, f.details, p.class, p.structure_kind, p.size_class, p.ess, p.methodology_version,
       a.version IS NOT NULL, coalesce(a.deleted, 0), a.value, coalesce(a.obs_status, 0), coalesce(a.details, ''),
       coalesce(ap.class, ''), coalesce(ap.structure_kind, ''), coalesce(ap.size_class, ''), coalesce(ap.ess, ''), coalesce(ap.methodology_version, '')
FROM observations f
JOIN submissions s ON s.key = f.submission
JOIN cuts ON cuts.key = f.cut
JOIN profiles p ON p.key = f.profile
LEFT JOIN observation_versions a ON a.organisation = f.organisation AND a.indicator = f.indicator AND a.territory = f.territory
     AND a.period_start = f.period_start AND a.period_end = f.period_end AND a.cut = f.cut AND a.version = f.approved_version
LEFT JOIN profiles ap ON ap.key = a.profile
WHERE f.indicator IN (%s) AND f.territory IN (%s) AND f.period_start <= $1 AND f.period_end >= $2
ORDER BY f.tx DESC`

func (o oracle) Cells(ctx context.Context, scope calculation.Scope) iter.Seq2[calculation.Change, error] {
	return func(yield func(calculation.Change, error) bool) {
		query := fmt.Sprintf(oracleSQL, numbers(scope.Indicators), numbers(scope.Territories))
		rows, err := o.s.read.QueryContext(ctx, query, int32(scope.Span.End), int32(scope.Span.Start))
		if err != nil {
			yield(calculation.Change{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var c calculation.Change
			var isApproved, hasApproved bool
			var now, was struct {
				deleted int
				value   *int64
				status  int
				details string
				profile
			}
			err := rows.Scan(&c.Key.Organisation, &c.Key.Indicator, &c.Key.Territory, &c.Key.Period.Start, &c.Key.Period.End, &c.Key.Cut, &c.State, &isApproved,
				&now.deleted, &now.value, &now.status, &now.details, &now.Class, &now.StructureKind, &now.SizeClass, &now.ESS, &now.methodology,
				&hasApproved, &was.deleted, &was.value, &was.status, &was.details, &was.Class, &was.StructureKind, &was.SizeClass, &was.ESS, &was.methodology)
			if err != nil {
				yield(c, err)
				return
			}
			version := func(deleted int, value *int64, status int, details string, p profile) *calculation.Fact {
				if deleted != 0 {
					return nil
				}
				obs := impact.Observation{CellKey: c.Key, Status: impact.Status(status), Profile: p.Profile, MethodologyVersion: p.methodology, Value: (*impact.Quantity)(value)}
				var d factDetails
				if details != "" {
					if err = json.Unmarshal([]byte(details), &d); err != nil {
						return nil
					}
				}
				obs.Details, obs.Qualifiers = d.Details, d.Qualifiers
				f, e := calculation.FactOf(&obs)
				err = e
				return &f
			}
			c.Current = version(now.deleted, now.value, now.status, now.details, now.profile)
			if hasApproved {
				c.Approved = version(was.deleted, was.value, was.status, was.details, was.profile)
			}
			if isApproved {
				c.State = impact.Approved
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(calculation.Change{}, err)
		}
	}
}

func numbers[T ~int32](keys []T) string {
	list := []string{"-1"}
	for _, k := range keys {
		list = append(list, fmt.Sprint(k))
	}
	return strings.Join(list, ",")
}

// promises are what must hold after any number of writes, failures and
// deletions, each as a query that finds what breaks it.
var promises = map[string]string{
	"commit numbers have no gap": `SELECT count(*) FROM (SELECT max(seq) AS last, count(*) AS n FROM commit_log) AS l WHERE coalesce(last, 0) <> n`,
	"every version belongs to a logged commit": `SELECT count(*) FROM observation_versions AS v
		WHERE NOT EXISTS (SELECT 1 FROM commit_log AS c WHERE c.tx = v.tx)`,
	"every fact has all its versions, the last being the current": `SELECT count(*) FROM observations AS f WHERE f.version <>
		(SELECT count(*) FROM observation_versions AS v WHERE v.organisation = f.organisation AND v.indicator = f.indicator AND v.territory = f.territory
			AND v.period_start = f.period_start AND v.period_end = f.period_end AND v.cut = f.cut AND v.version BETWEEN 1 AND f.version)
		OR NOT EXISTS (SELECT 1 FROM observation_versions AS v WHERE v.organisation = f.organisation AND v.indicator = f.indicator AND v.territory = f.territory
			AND v.period_start = f.period_start AND v.period_end = f.period_end AND v.cut = f.cut AND v.version = f.version AND v.tx = f.tx
			AND coalesce(v.value, -1) = coalesce(f.value, -1) AND v.deleted = f.deleted AND v.details = f.details AND v.obs_status = f.obs_status
			AND v.profile = f.profile AND v.actor = f.actor)`,
	"no version without its fact": `SELECT count(*) FROM observation_versions AS v WHERE NOT EXISTS (SELECT 1 FROM observations AS f
		WHERE v.organisation = f.organisation AND v.indicator = f.indicator AND v.territory = f.territory
			AND v.period_start = f.period_start AND v.period_end = f.period_end AND v.cut = f.cut AND f.version >= v.version)`,
	"the approved version exists": `SELECT count(*) FROM observations AS f WHERE f.approved_version > f.version OR f.approved_version < 0`,
	"in an approved submission every version is approved": `SELECT count(*) FROM observations AS f JOIN submissions AS s ON s.key = f.submission
		WHERE s.state = 'approved' AND f.approved_version <> f.version`,
	"submissions count their facts": `SELECT count(*) FROM submissions AS s WHERE s.observations <>
		(SELECT count(*) FROM observations AS f WHERE f.organisation = s.organisation AND f.submission = s.key AND f.deleted = 0)`,
	"keys name something": `SELECT count(*) FROM observations AS f WHERE NOT EXISTS (SELECT 1 FROM indicators WHERE key = f.indicator)
		OR NOT EXISTS (SELECT 1 FROM territories WHERE key = f.territory) OR NOT EXISTS (SELECT 1 FROM organisations WHERE key = f.organisation)
		OR NOT EXISTS (SELECT 1 FROM submissions WHERE key = f.submission) OR NOT EXISTS (SELECT 1 FROM cuts WHERE key = f.cut)
		OR NOT EXISTS (SELECT 1 FROM profiles WHERE key = f.profile) OR NOT EXISTS (SELECT 1 FROM actors WHERE key = f.actor)`,
	"the period of a fact is in that of its submission": `SELECT count(*) FROM observations AS f JOIN submissions AS s ON s.key = f.submission
		WHERE f.period_start < s.period_start OR f.period_end > s.period_end`,
}

// BrokenPromises lists those that do not hold.
func (s *Store) BrokenPromises(ctx context.Context) ([]string, error) {
	var broken []string
	for name, query := range promises {
		var n int
		if err := s.read.QueryRowContext(ctx, query).Scan(&n); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if n > 0 {
			broken = append(broken, fmt.Sprintf("%s: %d exceptions", name, n))
		}
	}
	return broken, nil
}

// AccessLines counts the lines of the access log.
func (s *Store) AccessLines(ctx context.Context) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT count(*) FROM access_log`).Scan(&n)
	return n, err
}

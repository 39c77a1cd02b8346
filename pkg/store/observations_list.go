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

// Observations lists the facts the caller may see, in the order of their keys,
// or with UpdatedSince of (UpdatedAt, key). A composed indicator in the filter
// means its leaf components. next is nil on the last page.
func (s *Store) Observations(ctx context.Context, p impact.Principal, f impact.ObservationFilter, page impact.Page) ([]impact.Observation, []string, error) {
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, nil, err
	}
	var found []fact
	for _, l := range s.factLists(p, f) {
		s.narrow(&l, catalogue, f)
		if err := l.page(f, page); err != nil {
			return nil, nil, err
		}
		some, err := s.facts(ctx, l.statement)
		if err != nil {
			return nil, nil, fmt.Errorf("listing observations: %w", err)
		}
		found = append(found, some...)
	}
	slices.SortFunc(found, func(a, b fact) int { return cmp.Or(cmp.Compare(a.place, b.place), a.compare(b.factKey)) })
	found, next := pageOf(found, page, func(r fact) []string {
		var position []string
		if !f.UpdatedSince.IsZero() {
			position = append(position, strconv.FormatInt(r.place, 10))
		}
		for _, v := range []int64{int64(r.organisation), int64(r.indicator), int64(r.territory), int64(r.start), int64(r.end), int64(r.cut)} {
			position = append(position, strconv.FormatInt(v, 10))
		}
		return position
	})
	list := make([]impact.Observation, len(found))
	for i := range found {
		if list[i], err = s.observation(ctx, &found[i]); err != nil {
			return nil, nil, err
		}
	}
	return list, next, nil
}

// factList is a query on facts, and the column that orders them before their
// key, if any.
type factList struct {
	*statement
	now   func(column string) string
	place string
}

// factLists are the queries that together give what is asked, no fact twice.
// Without UpdatedSince it is one, in the order of keys. With it there is one for
// each reason a fact has changed since: its version, or a step of its
// submission; each is led by an index. Stewards are also told what was
// withdrawn from them.
func (s *Store) factLists(p impact.Principal, f impact.ObservationFilter) []factList {
	if f.UpdatedSince.IsZero() {
		q := &statement{}
		return []factList{{q, s.visible(q, p, allFacts), ""}}
	}
	since := fmt.Sprint(firstAt(f.UpdatedSince))
	d := s.dialect
	written, moved := &statement{}, &statement{}
	now := s.visible(written, p, factSource{`observation_versions AS v` + d.probe(" JOIN", "observations", "f", sameFact("f", "v")), "v.tx"})
	written.add(` AND v.tx >= ` + since + ` AND v.version = ` + now("version") + ` AND f.moved <= v.tx`)
	s.visible(moved, p, factSource{allFacts.from, "f.moved"})
	moved.add(` AND f.moved > 0 AND f.moved >= ` + since + ` AND ` + now("tx") + ` < f.moved`)
	lists := []factList{{written, now, "v.tx"}, {moved, now, "f.moved"}}
	if p.Role == impact.RoleSteward && f.IncludeDeleted && f.State == "" {
		withdrawn := withdrawnFacts(factSource{allFacts.from, "f.moved"})
		withdrawn.add(` AND f.moved >= ` + since)
		lists = append(lists, factList{withdrawn, func(column string) string { return "first." + column }, "f.moved"})
	}
	return lists
}

// narrow adds the filter.
func (s *Store) narrow(q *factList, catalogue *impact.Catalogue, f impact.ObservationFilter) {
	if f.Organisation != "" {
		q.add(` AND organisations.id = ?`, string(f.Organisation))
	}
	if f.Indicators != nil {
		keys := []int64{-1}
		for _, k := range f.Indicators {
			keys = append(keys, int64(k))
			if ind := catalogue.IndicatorByKey(k); ind != nil {
				for _, leaf := range catalogue.Leaves(ind) {
					keys = append(keys, int64(leaf.Key))
				}
			}
		}
		q.anyOf(s.dialect, "f.indicator", keys)
	}
	if f.Territories != nil {
		keys := []int64{-1}
		for _, k := range f.Territories {
			keys = append(keys, int64(k))
		}
		q.anyOf(s.dialect, "f.territory", keys)
	}
	if f.Within != nil {
		q.add(` AND f.period_start >= ? AND f.period_end <= ?`, int32(f.Within.Start), int32(f.Within.End))
	}
	if f.Submission != "" {
		q.add(` AND submissions.id = ?`, string(f.Submission))
	}
	if f.State != "" {
		q.add(` AND CASE WHEN `+q.now("version")+` = f.approved_version THEN 'approved' ELSE submissions.state END = ?`, string(f.State))
	}
	if !f.IncludeDeleted {
		q.add(` AND ` + q.now("deleted") + ` = 0`)
	}
}

// page ends the query: what comes after the position, one row more than asked.
func (q *factList) page(f impact.ObservationFilter, page impact.Page) error {
	order, length := keyOrder("f"), 6
	if !f.UpdatedSince.IsZero() {
		order, length = q.place+`, `+order, 7
	}
	if len(page.After) > 0 {
		after := make([]any, len(page.After))
		for i, v := range page.After {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return badCursor()
			}
			after[i] = n
		}
		if len(after) != length {
			return badCursor()
		}
		q.add(` AND (`+order+`) > (`+strings.TrimSuffix(strings.Repeat("CAST(? AS BIGINT), ", length), ", ")+`)`, after...)
		if q.place != "" {
			q.add(` AND `+q.place+` >= ?`, after[0])
		}
	}
	q.add(` ORDER BY `+order+` LIMIT ?`, page.Limit+1)
	return nil
}

package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

type accessRow struct {
	ID             int64 `gorm:"primaryKey;autoIncrement:false"`
	At             int64
	Client, Action string
	Organisation   impact.OrganisationID
	Resource       string
	Basis          impact.AccessRight
	RowCount       int
}

func (accessRow) TableName() string { return "access_log" }

// LogAccess notes who read or wrote whose data. At is now when zero. The log is
// append-only.
func (s *Store) LogAccess(ctx context.Context, lines ...impact.Access) error {
	if len(lines) == 0 {
		return nil
	}
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
		now := s.now()
		rows := make([]accessRow, len(lines))
		for i, a := range lines {
			if a.At.IsZero() {
				a.At = now
			}
			rows[i] = accessRow{s.clock.next(now), a.At.UnixMilli(), a.Client, a.Action, a.Organisation, a.Resource, a.Right, a.Rows}
		}
		return s.orm(ctx).CreateInBatches(rows, 500).Error
	})
	if err != nil {
		return fmt.Errorf("logging an access: %w", err)
	}
	return nil
}

// AccessLog gives who read or wrote the data of an organisation, the last
// first, to itself; not_found for others. right "" = every right. It has three
// sources, whose ids are of one clock: what stewards, buyers and administrators
// did; the uses of mandates; one's own writes, from the versions themselves.
// One's own readings are not kept. next is nil on the last page.
func (s *Store) AccessLog(ctx context.Context, p impact.Principal, of impact.OrganisationID, right impact.AccessRight, page impact.Page) (list []impact.Access, next []string, err error) {
	if !p.Is(of) {
		return nil, nil, fmt.Errorf("reading the log of accesses: %w", impact.NotFoundError())
	}
	after := accessPosition{math.MaxInt64, ""}
	if len(page.After) > 0 {
		if len(page.After) != 2 {
			return nil, nil, badCursor()
		}
		if after.id, err = strconv.ParseInt(page.After[0], 10, 64); err != nil {
			return nil, nil, badCursor()
		}
		after.client = page.After[1]
	}
	var found []accessLine
	for _, source := range accessSources {
		if right != "" && !slices.Contains(source.rights, right) {
			continue
		}
		var lines []accessLine
		err := s.orm(ctx).Raw(source.query, of, after.id, after.id, after.client, right, right, page.Limit+1).Scan(&lines).Error
		if err != nil {
			return nil, nil, fmt.Errorf("reading the log of accesses: %w", err)
		}
		found = append(found, lines...)
	}
	slices.SortFunc(found, func(a, b accessLine) int { return cmp.Or(cmp.Compare(b.ID, a.ID), cmp.Compare(a.Client, b.Client)) })
	found, next = pageOf(found[:min(len(found), page.Limit+1)], page, func(l accessLine) []string { return []string{strconv.FormatInt(l.ID, 10), l.Client} })
	for _, l := range found {
		a := impact.Access{
			Client: l.Client, ClientName: l.ClientName, Action: l.Action, Right: l.Basis, Mandate: l.Mandate, Network: l.Network, NetworkName: l.NetworkName,
			Organisation: of, Resource: l.Resource, Rows: l.RowCount, At: time.UnixMilli(l.At).UTC(),
		}
		if l.At == 0 {
			a.At = instant(l.ID)
		}
		list = append(list, a)
	}
	return list, next, nil
}

type accessPosition struct {
	id     int64
	client string
}

type accessLine struct {
	ID, At                                            int64
	Client, ClientName, Action, Resource, NetworkName string
	Basis                                             impact.AccessRight
	RowCount                                          int
	Mandate                                           impact.MandateID
	Network                                           impact.NetworkID
}

// accessSources take the organisation, the position (id, id, client), the right
// twice, and how many.
var accessSources = []struct {
	rights []impact.AccessRight
	query  string
}{
	{[]impact.AccessRight{impact.RightSteward, impact.RightConsent, impact.RightAdministration}, `
		SELECT l.id, l.at, l.client, l.action, l.resource, l.basis, l.row_count, coalesce(c.name, '') AS client_name, '' AS mandate, '' AS network, '' AS network_name
		FROM access_log AS l LEFT JOIN clients AS c ON c.id = l.client
		WHERE l.organisation = ? AND (l.id < ? OR l.id = ? AND l.client > ?) AND (? = '' OR l.basis = ?)
		ORDER BY l.id DESC, l.client LIMIT ?`},
	{[]impact.AccessRight{impact.RightMandate}, `
		SELECT u.id, u.at, u.client, u.action, '' AS resource, 'mandate' AS basis, u.rows AS row_count, coalesce(c.name, '') AS client_name,
			m.id AS mandate, n.id AS network, n.name AS network_name
		FROM mandates AS m JOIN organisations AS o ON o.key = m.organisation JOIN mandate_uses AS u ON u.mandate = m.id
			JOIN networks AS n ON n.id = m.network LEFT JOIN clients AS c ON c.id = u.client
		WHERE o.id = ? AND (u.id < ? OR u.id = ? AND u.client > ?) AND (? = '' OR 'mandate' = ?)
		ORDER BY u.id DESC, u.client LIMIT ?`},
	{[]impact.AccessRight{impact.RightOwn}, `
		SELECT w.id, 0 AS at, a.client, 'write' AS action, '' AS resource, 'own' AS basis, w.row_count, coalesce(c.name, '') AS client_name,
			'' AS mandate, '' AS network, '' AS network_name
		FROM (SELECT v.tx AS id, v.actor, count(*) AS row_count FROM observation_versions AS v
			WHERE v.organisation = (SELECT key FROM organisations WHERE id = ?) GROUP BY v.tx, v.actor) AS w
			JOIN actors AS a ON a.key = w.actor AND a.mandate = '' LEFT JOIN clients AS c ON c.id = a.client
		WHERE (w.id < ? OR w.id = ? AND a.client > ?) AND (? = '' OR 'own' = ?)
		ORDER BY w.id DESC, a.client LIMIT ?`},
}

package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// refuseForeignCovers refuses a figure that would take the values of others out
// of totals (a group, or distinct people) when nothing in the register ties
// them to who states it: the same SIREN, the same group, membership of its
// network. The other figures that cover somebody only shrink themselves.
func (w *workspace) refuseForeignCovers(ctx context.Context, m *member) error {
	for _, r := range m.Rows {
		if len(r.Faults) > 0 || r.Organisation == nil || r.Delete || len(r.Cells) == 0 || len(r.Cells[0].Covers) == 0 {
			continue
		}
		o := &r.Cells[0]
		if o.Perimeter != "group" && r.Indicator.Kind != impact.Distinct {
			continue
		}
		tied, err := w.tied(ctx, o)
		if err != nil {
			return fmt.Errorf("looking up who is covered: %w", err)
		}
		for i, name := range o.Covers {
			if known, ok := tied[strings.TrimPrefix(name, "siren:")]; ok && !known {
				r.Faults = append(r.Faults, impact.Fault{
					Code: "inconsistent", Pointer: "/covers/" + strconv.Itoa(i), Value: name,
					Detail: impact.Text{FR: "Rien au registre ne lie cette organisation à la vôtre : ni groupe, ni réseau.", EN: "Nothing in the register ties this organisation to yours: no group, no network."},
					Hint:   impact.Text{FR: "Demandez à un administrateur de rattacher les deux au même groupe, ou retirez-la de covers.", EN: "Ask an administrator to put both in the same group, or take it out of covers."},
				})
			}
		}
	}
	return nil
}

// tied tells of each covered id or SIREN that is registered whether all it names
// are tied to the organisation of o.
func (w *workspace) tied(ctx context.Context, o *impact.Observation) (map[string]bool, error) {
	names := make([]string, len(o.Covers))
	for i, name := range o.Covers {
		names[i] = strings.TrimPrefix(name, "siren:")
	}
	orm := w.t.orm.WithContext(ctx)
	var own organisationRow
	if err := orm.Select("key", "siren", "group_id").Where("key = ?", o.Organisation).Take(&own).Error; err != nil {
		return nil, err
	}
	var members []impact.OrganisationKey
	err := orm.Raw(`SELECT m.organisation FROM memberships AS m JOIN networks AS n ON n.id = m.network
		WHERE n.organisation = ? AND m.deleted = 0 AND m.from_day <= ? AND m.to_day >= ?`, own.Key, o.Period.End, o.Period.Start).Scan(&members).Error
	if err != nil {
		return nil, err
	}
	tied := map[string]bool{}
	for some := range slices.Chunk(names, 500) {
		var rows []organisationRow
		if err := orm.Select("key", "id", "siren", "group_id").Where("id IN ? OR siren <> '' AND siren IN ?", some, some).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, c := range rows {
			ok := c.Key == own.Key || own.SIREN != "" && c.SIREN == own.SIREN || own.GroupID != "" && c.GroupID == own.GroupID || slices.Contains(members, c.Key)
			for _, name := range []string{string(c.ID), c.SIREN} {
				if was, seen := tied[name]; name != "" && slices.Contains(some, name) {
					tied[name] = ok && (was || !seen)
				}
			}
		}
	}
	return tied, nil
}

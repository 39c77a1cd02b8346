package store

import (
	"context"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// refuseOverwriting refuses the rows by which a network would replace or delete
// what it has not stated itself. Saying the same again is no overwriting.
func (w *workspace) refuseOverwriting(ctx context.Context, m *member) error {
	if m.Principal.Role != impact.RoleNetwork {
		return nil
	}
	for _, r := range m.Rows {
		for i := range r.Cells {
			if len(r.Faults) > 0 {
				break
			}
			k, err := w.keyOf(ctx, &r.Cells[i])
			if err != nil {
				return err
			}
			c := w.cells[k]
			if c == nil || !c.live() {
				continue
			}
			f, err := w.overwrites(ctx, m.Principal, c)
			if err != nil {
				return err
			}
			if f == nil {
				continue
			}
			if !r.Delete {
				if _, _, _, unchanged, err := w.restate(ctx, r, &r.Cells[i], c); err != nil || unchanged {
					if err != nil {
						return err
					}
					continue
				}
			}
			r.Faults = append(r.Faults, *f)
		}
	}
	return nil
}

// overwrites gives the fault of a principal that would change a fact, nil when
// it may. Who stated a version is told by its mandate: none for the organisation
// itself, which is also the network when the fact is about its own organisation.
func (w *workspace) overwrites(ctx context.Context, p impact.Principal, c *cell) (*impact.Fault, error) {
	organisation := impact.OrganisationKey(c.now.organisation)
	if p.Role != impact.RoleNetwork || w.rights.own[p.Network] == organisation {
		return nil, nil
	}
	who, err := w.s.actors.value(ctx, w.s, c.now.actor)
	if err != nil {
		return nil, err
	}
	by := impact.ReportedByOtherNetwork
	switch {
	case who.mandate == "":
		by = impact.ReportedByOrganisation
	case slices.ContainsFunc(w.rights.mandates[sides{p.Network, organisation}], func(m *impact.Mandate) bool { return string(m.ID) == who.mandate }):
		by = impact.ReportedByNetwork
	}
	return impact.Overwrites(by), nil
}

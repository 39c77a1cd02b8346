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
	return impact.Overwrites(w.reporter(p, organisation, impact.MandateID(who.mandate))), nil
}

// reporter tells who stated a version that bears a mandate, or none.
func (w *workspace) reporter(p impact.Principal, organisation impact.OrganisationKey, mandate impact.MandateID) impact.Reporter {
	switch {
	case mandate == "":
		return impact.ReportedByOrganisation
	case slices.ContainsFunc(w.rights.mandates[sides{p.Network, organisation}], func(m *impact.Mandate) bool { return m.ID == mandate }):
		return impact.ReportedByNetwork
	}
	return impact.ReportedByOtherNetwork
}

// sight tells what a principal may know of a value that its own cannot stand
// beside.
func (w *workspace) sight(p impact.Principal, o *impact.Observation) impact.Sight {
	s := impact.Sight{By: w.reporter(p, o.Organisation, impact.MandateID(o.Mandate))}
	if p.Is(o.OrganisationID) || p.Role == impact.RoleNetwork && w.rights.own[p.Network] == o.Organisation {
		s.Owner, s.Reads = true, true
		return s
	}
	_, lack, _ := w.rights.allows(p.Network, impact.Use{Organisation: o.Organisation, Scope: impact.ObservationsRead, Indicator: o.Indicator, Period: o.Period})
	s.Reads = lack == impact.LacksNothing
	return s
}

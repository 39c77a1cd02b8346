package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// What a network sees and does is decided in two ways that say the same: by
// SQL conditions over mandate_rights where rows are listed, and by
// impact.Mandate.Covers where one row is written. Both look at the day.

// seesOrganisation is the condition on the register for a caller: itself for an
// organisation; for a network itself, its members of today and to come, and who
// has given it a mandate in force; all for stewards and administrators; none
// for others.
func (s *Store) seesOrganisation(p impact.Principal) (string, []any) {
	switch p.Role {
	case impact.RoleSteward, impact.RoleAdministrator:
		return "1 = 1", nil
	case impact.RoleOrganisation:
		return "organisations.id = ?", []any{p.Organisation}
	case impact.RoleNetwork:
		today := s.today()
		return `(organisations.key IN (SELECT n.organisation FROM networks AS n WHERE n.id = ?
			UNION SELECT m.organisation FROM memberships AS m WHERE m.network = ? AND m.deleted = 0 AND m.to_day >= ?
			UNION SELECT r.organisation FROM mandate_rights AS r WHERE r.network = ? AND r.valid_from <= ? AND r.valid_to >= ?))`,
			[]any{p.Network, p.Network, today, p.Network, today, today}
	}
	return "1 = 0", nil
}

// knowsOrganisation is the condition that a caller may read all of an
// organisation: itself, or one that gave its network a mandate for it.
func (s *Store) knowsOrganisation(p impact.Principal) (string, []any) {
	if p.Role != impact.RoleNetwork {
		return s.seesOrganisation(p)
	}
	today := int32(s.today())
	return `(organisations.key IN (SELECT n.organisation FROM networks AS n WHERE n.id = ?
		UNION SELECT r.organisation FROM mandate_rights AS r WHERE r.network = ? AND r.scope IN (?, ?) AND r.valid_from <= ? AND r.valid_to >= ?))`,
		[]any{string(p.Network), string(p.Network), string(impact.OrganisationsRead), string(impact.OrganisationsWrite), today, today}
}

// seesObservation is the condition on facts, as table f beside organisations: an
// organisation's own; for a network its own, and those a mandate in force lets
// it read, organisation, indicator and period alike; for a buyer what is
// approved, of organisations that agreed to it. Stewards are not narrowed here:
// what they see depends on the submission. None for others.
func (s *Store) seesObservation(p impact.Principal) (string, []any) {
	switch p.Role {
	case impact.RoleSteward:
		return "1 = 1", nil
	case impact.RoleOrganisation:
		return "organisations.id = ?", []any{string(p.Organisation)}
	case impact.RoleNetwork:
		return s.mandated(p, impact.ObservationsRead, "f.organisation", "AND r.indicator IN (0, f.indicator) AND r.period_start <= f.period_start AND r.period_end >= f.period_end")
	case impact.RoleBuyer:
		return `f.version = f.approved_version AND f.deleted = 0 AND EXISTS (
			SELECT 1 FROM consents WHERE consents.organisation = f.organisation AND consents.kind = ? AND consents.given = 1)`, []any{string(impact.VisibleToBuyer)}
	}
	return "1 = 0", nil
}

// mandated is the condition that a row is about the network's own organisation,
// or about one that lets it use the scope; more narrows the right r.
func (s *Store) mandated(p impact.Principal, scope impact.Scope, organisation, more string) (string, []any) {
	today := int32(s.today())
	return `(` + organisation + ` = (SELECT n.organisation FROM networks AS n WHERE n.id = ?)
		OR EXISTS (SELECT 1 FROM mandate_rights AS r WHERE r.network = ? AND r.organisation = ` + organisation + ` AND r.scope = ?
			AND r.valid_from <= ? AND r.valid_to >= ? ` + more + `))`,
		[]any{string(p.Network), string(p.Network), string(scope), today, today}
}

// rights is what the networks that act in a transaction may do: their own
// organisation, and their mandates by organisation. Read under the locks of the
// organisations, it holds until the transaction ends.
type rights struct {
	today    impact.Date
	own      map[impact.NetworkID]impact.OrganisationKey
	mandates map[sides][]*impact.Mandate
}

type sides struct {
	network      impact.NetworkID
	organisation impact.OrganisationKey
}

// rightsOf reads the rights of the networks among some principals on some
// organisations; of the other principals there is nothing to read.
func (s *Store) rightsOf(ctx context.Context, principals []impact.Principal, keys []impact.OrganisationKey) (*rights, error) {
	r := &rights{today: s.today()}
	var networks []impact.NetworkID
	for _, p := range principals {
		if p.Role == impact.RoleNetwork && !slices.Contains(networks, p.Network) {
			networks = append(networks, p.Network)
		}
	}
	if len(networks) == 0 {
		return r, nil
	}
	r.own, r.mandates = map[impact.NetworkID]impact.OrganisationKey{}, map[sides][]*impact.Mandate{}
	var rows []networkRow
	if err := s.orm(ctx).Where("id IN ?", networks).Find(&rows).Error; err != nil {
		return nil, err
	}
	for _, n := range rows {
		r.own[n.ID] = n.Organisation
	}
	keys = slices.Clone(keys)
	slices.Sort(keys)
	for some := range slices.Chunk(slices.Compact(keys), 5000) {
		var found []mandateRow
		err := s.orm(ctx).Where("network IN ? AND organisation IN ?", networks, some).Order("id").Find(&found).Error
		if err != nil {
			return nil, err
		}
		for i := range found {
			f := foundMandate{Row: found[i]}
			m, err := f.mandate()
			if err != nil {
				return nil, err
			}
			pair := sides{m.Network, found[i].Organisation}
			r.mandates[pair] = append(r.mandates[pair], &m)
		}
	}
	return r, nil
}

// allows tells by which mandate the network does something, "" for its own
// organisation; else what is lacking, of the mandate that came nearest.
func (r *rights) allows(network impact.NetworkID, u impact.Use) (mandate impact.MandateID, lack impact.Lack, nearest *impact.Mandate) {
	if own := r.own[network]; own != 0 && own == u.Organisation {
		return "", impact.LacksNothing, nil
	}
	m, lack := impact.FindMandate(r.mandates[sides{network, u.Organisation}], u, r.today)
	if lack == impact.LacksNothing {
		return m.ID, lack, m
	}
	return "", lack, m
}

// Mandated tells for each use of a network whether one of its mandates allows
// it today, in one query. It takes organisations that the caller already sees.
func (s *Store) Mandated(ctx context.Context, p impact.Principal, uses ...impact.Use) ([]impact.Permit, error) {
	keys := make([]impact.OrganisationKey, len(uses))
	for i, u := range uses {
		keys[i] = u.Organisation
	}
	r, err := s.rightsOf(ctx, []impact.Principal{p}, keys)
	if err != nil {
		return nil, err
	}
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	permits := make([]impact.Permit, len(uses))
	for i, u := range uses {
		mandate, lack, nearest := r.allows(p.Network, u)
		permits[i].Mandate = mandate
		if lack != impact.LacksNothing {
			f := lack.Refusal(u, nearest, catalogue)
			permits[i].Fault = &f
		}
	}
	return permits, nil
}

// notMandated refuses a whole request for the lack of a mandate.
func notMandated(f *impact.Fault) error {
	return &impact.Error{Kind: impact.Forbidden, Code: "not_mandated", Detail: f.Detail, Hint: f.Hint}
}

// may tells by which right the principal does something to an organisation of
// the workspace: its own, "", or a mandate; else the fault that says why not.
func (w *workspace) may(p impact.Principal, u impact.Use) (impact.MandateID, *impact.Fault) {
	o := w.organisations[int32(u.Organisation)]
	switch {
	case o != nil && p.Is(o.id):
		return "", nil
	case o != nil && p.Role == impact.RoleNetwork:
		mandate, lack, nearest := w.rights.allows(p.Network, u)
		if lack == impact.LacksNothing {
			return mandate, nil
		}
		f := lack.Refusal(u, nearest, w.catalogue)
		return "", &f
	}
	return "", &impact.Fault{
		Code:   "not_mandated",
		Detail: impact.Text{FR: "Vous n'avez pas le droit d'écrire pour cette organisation.", EN: "You may not write for this organisation."},
		Hint:   impact.Text{FR: "Utilisez un client qui agit pour elle.", EN: "Use a client that acts for it."},
	}
}

// manage is may for the life of a submission of an organisation, over a period;
// the use is logged when the transaction writes.
func (w *workspace) manage(p impact.Principal, organisation int32, period impact.Period) (impact.MandateID, error) {
	if p.Role != impact.RoleOrganisation && p.Role != impact.RoleNetwork {
		return "", forbidden("submissions.manage")
	}
	mandate, fault := w.may(p, impact.Use{Organisation: impact.OrganisationKey(organisation), Scope: impact.SubmissionsManage, Period: period})
	if fault != nil {
		return "", notMandated(fault)
	}
	w.uses.add(p, string(impact.SubmissionsManage), mandate)
	return mandate, nil
}

// usedToDelete is the action of a deletion in the log of a mandate; the other
// actions are named by their scope.
const usedToDelete = "observations.delete"

// uses counts what is done under mandates in a transaction.
type uses map[use]int

type use struct {
	client, action string
	mandate        impact.MandateID
}

func (u *uses) add(p impact.Principal, action string, mandate impact.MandateID) {
	if mandate == "" {
		return
	}
	if *u == nil {
		*u = uses{}
	}
	(*u)[use{p.Client, action, mandate}]++
}

// mandates lists the mandates used so far.
func (u uses) mandates() []impact.MandateID {
	var list []impact.MandateID
	for k := range u {
		list = append(list, k.mandate)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// logUses writes the uses of the transaction, and forgets them.
func (w *workspace) logUses(ctx context.Context) error {
	lines := make([]useRow, 0, len(w.uses))
	for u, n := range w.uses {
		lines = append(lines, useRow{Mandate: u.mandate, Client: u.client, Action: u.action, Rows: n})
	}
	w.uses = nil
	return w.s.insertUses(ctx, lines)
}

// insertUses numbers and writes lines of the logs of mandates.
func (s *Store) insertUses(ctx context.Context, lines []useRow) error {
	if len(lines) == 0 {
		return nil
	}
	slices.SortFunc(lines, func(a, b useRow) int {
		return cmp.Or(cmp.Compare(a.Mandate, b.Mandate), cmp.Compare(a.Action, b.Action))
	})
	now := s.now()
	for i := range lines {
		lines[i].ID, lines[i].At = s.clock.next(now), now.UnixMilli()
	}
	return s.orm(ctx).CreateInBatches(lines, 500).Error
}

package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type membershipRow struct {
	ID           impact.MembershipID `gorm:"primaryKey"`
	Network      impact.NetworkID
	Organisation impact.OrganisationKey
	FromDay      impact.Date
	ToDay        impact.Date
	ExternalID   string
	Version      int
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
	Tx           int64
	Deleted      int16
}

func (membershipRow) TableName() string { return "memberships" }

// foundMembership is a membership with what names its two sides.
type foundMembership struct {
	Row                           membershipRow `gorm:"embedded"`
	OrganisationID                impact.OrganisationID
	OrganisationName, NetworkName string
	SIRET                         string `gorm:"column:siret"`
	SIREN                         string `gorm:"column:siren"`
}

func (f *foundMembership) membership() impact.Membership {
	r := &f.Row
	return impact.Membership{
		ID: r.ID, Network: r.Network, NetworkName: f.NetworkName, Organisation: f.OrganisationID, Name: f.OrganisationName, SIRET: f.SIRET, SIREN: f.SIREN,
		From: r.FromDay, To: r.ToDay, ExternalID: r.ExternalID, Version: r.Version,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(), Deleted: r.Deleted != 0,
	}
}

// seesMembership keeps the memberships a caller may see: those of its own
// network, those of its own organisation, all for stewards and administrators.
func seesMembership(p impact.Principal) (string, []any) {
	switch p.Role {
	case impact.RoleSteward, impact.RoleAdministrator:
		return "1 = 1", nil
	case impact.RoleNetwork:
		return "memberships.network = ?", []any{p.Network}
	case impact.RoleOrganisation:
		return "organisations.id = ?", []any{p.Organisation}
	}
	return "1 = 0", nil
}

// membershipNames name the two sides of a membership, joined by membershipSides.
const (
	membershipNames = `organisations.id AS organisation_id, organisations.name AS organisation_name, organisations.siret, organisations.siren,
		networks.name AS network_name`
	membershipSides = `JOIN organisations ON organisations.key = memberships.organisation JOIN networks ON networks.id = memberships.network`
)

func (s *Store) membershipQuery(ctx context.Context) *gorm.DB {
	return s.orm(ctx).Table("memberships").Select("memberships.*, " + membershipNames).Joins(membershipSides)
}

// Memberships lists those the caller may see, in the order of ids, or of
// (UpdatedAt, ID) with UpdatedSince. next is nil on the last page.
func (s *Store) Memberships(ctx context.Context, p impact.Principal, f impact.MembershipFilter, page impact.Page) ([]impact.Membership, []string, error) {
	condition, args := seesMembership(p)
	db := s.membershipQuery(ctx).Where(condition, args...)
	if f.Network != "" {
		db = db.Where("memberships.network = ?", f.Network)
	}
	if f.Organisation != "" {
		db = db.Where("organisations.id = ?", f.Organisation)
	}
	if f.On != nil {
		db = db.Where("memberships.from_day <= ? AND memberships.to_day >= ?", *f.On, *f.On)
	}
	if !f.IncludeDeleted {
		db = db.Where("memberships.deleted = 0")
	}
	db, err := keyset(db, page, f.UpdatedSince, "memberships.")
	if err != nil {
		return nil, nil, err
	}
	var rows []foundMembership
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing memberships: %w", err)
	}
	rows, next := pageOf(rows, page, func(r foundMembership) []string {
		return keysetPosition(f.UpdatedSince, string(r.Row.ID), r.Row.UpdatedAt)
	})
	list := make([]impact.Membership, len(rows))
	for i := range rows {
		list[i] = rows[i].membership()
	}
	return list, next, nil
}

// roster is the memberships of one network as a transaction sees them, read at
// its start and written at its end.
type roster struct {
	s       *Store
	t       *txn
	p       impact.Principal
	network impact.Network
	today   impact.Date
	members map[impact.OrganisationKey][]*enrolled
	all     []*enrolled
	marks   map[*enrolled]mark
}

// enrolled is a membership with the number of its organisation.
type enrolled struct {
	impact.Membership
	key impact.OrganisationKey
}

// mark says what has become of a membership.
type mark int

const (
	added mark = iota + 1
	altered
)

// openRoster reads the memberships of the caller's own network, all or those of
// one organisation, and keeps other writers of the same network waiting.
// not_found for any other network.
func (s *Store) openRoster(ctx context.Context, t *txn, p impact.Principal, id impact.NetworkID, only impact.OrganisationKey) (*roster, error) {
	if p.Role != impact.RoleNetwork || p.Network != id {
		return nil, impact.NotFoundError()
	}
	if err := s.orm(ctx).Exec("UPDATE networks SET tx = tx WHERE id = ?", id).Error; err != nil { // locks the row
		return nil, err
	}
	network, err := s.Network(ctx, string(id))
	if err != nil {
		return nil, err
	}
	db := s.membershipQuery(ctx).Where("memberships.network = ? AND memberships.deleted = 0", id)
	if only != 0 {
		db = db.Where("memberships.organisation = ?", only)
	}
	var rows []foundMembership
	if err := db.Order("memberships.organisation, memberships.from_day").Find(&rows).Error; err != nil {
		return nil, err
	}
	r := &roster{s: s, t: t, p: p, network: network, today: s.today(), members: map[impact.OrganisationKey][]*enrolled{}, marks: map[*enrolled]mark{}}
	for i := range rows {
		r.hold(&enrolled{rows[i].membership(), rows[i].Row.Organisation})
	}
	return r, nil
}

func (r *roster) hold(e *enrolled) {
	r.all = append(r.all, e)
	r.members[e.key] = append(r.members[e.key], e)
}

// state makes the membership of an organisation that begins on m.From what m
// says, or begins one; faults when it would overlap another.
func (r *roster) state(o *impact.Organisation, m impact.Membership) (*enrolled, impact.Outcome, []impact.Fault) {
	var held *enrolled
	others := make([]impact.Membership, 0, len(r.members[o.Key]))
	for _, e := range r.members[o.Key] {
		switch {
		case e.Deleted:
		case e.From == m.From:
			held = e
		default:
			others = append(others, e.Membership)
		}
	}
	if held == nil {
		if c := m.Corrects(others); c != nil {
			for _, e := range r.members[o.Key] {
				if e.ID == c.ID {
					held = e
				}
			}
			others = slices.DeleteFunc(others, func(o impact.Membership) bool { return o.ID == c.ID })
		}
	}
	if faults := m.Check(others); len(faults) > 0 {
		return nil, impact.Rejected, faults
	}
	if held == nil {
		m.ID, m.Network, m.NetworkName = impact.MembershipID(r.s.newID()), r.network.ID, r.network.Name
		m.Organisation, m.Name, m.SIRET, m.SIREN, m.Version, m.CreatedAt = o.ID, o.Name, o.SIRET, o.SIREN, 1, instant(r.t.id)
		m.UpdatedAt = m.CreatedAt
		e := &enrolled{m, o.Key}
		r.hold(e)
		r.marks[e] = added
		return e, impact.Created, nil
	}
	if held.From == m.From && held.To == m.To && held.ExternalID == m.ExternalID {
		return held, impact.Unchanged, nil
	}
	r.alter(held, func(e *enrolled) { e.From, e.To, e.ExternalID = m.From, m.To, m.ExternalID })
	return held, impact.Updated, nil
}

// alter changes a membership; once in a transaction its version grows.
func (r *roster) alter(e *enrolled, change func(*enrolled)) {
	if r.marks[e] == 0 {
		r.marks[e] = altered
		e.Version++
		e.UpdatedAt = instant(r.t.id)
	}
	change(e)
}

// end ends a membership on its last day; one that would end before it begins
// never was.
func (r *roster) end(e *enrolled, last impact.Date) {
	r.alter(e, func(e *enrolled) {
		if last < e.From {
			e.Deleted = true
			return
		}
		e.To = last
	})
}

// write flushes what changed and takes the commit number, 0 when nothing did.
func (r *roster) write(ctx context.Context) (int64, error) {
	var fresh []membershipRow
	for _, e := range r.all {
		how := r.marks[e]
		if how == 0 || how == added && e.Deleted {
			continue
		}
		row := membershipRow{e.ID, e.Network, e.key, e.From, e.To, e.ExternalID, e.Version, e.CreatedAt.UnixMilli(), e.UpdatedAt.UnixMilli(), r.t.id, 0}
		if e.Deleted {
			row.Deleted = 1
		}
		if how == added {
			fresh = append(fresh, row)
		} else if err := r.s.orm(ctx).Save(&row).Error; err != nil {
			return 0, err
		}
		action := impact.MembershipStarted
		if e.Deleted || e.To < r.today {
			action = impact.MembershipEnded
		} else if how != added {
			continue
		}
		line := impact.Audit(r.p, action, "/v1/networks/"+string(e.Network)+"/members/"+string(e.Organisation))
		line.Organisation, line.Network = e.Organisation, e.Network
		if err := r.s.audit(ctx, r.t, line); err != nil {
			return 0, err
		}
	}
	if len(r.marks) == 0 {
		return 0, nil
	}
	if len(fresh) > 0 {
		if err := r.s.orm(ctx).CreateInBatches(fresh, 500).Error; err != nil {
			return 0, err
		}
	}
	return r.t.commit(ctx, "membership", nil)
}

// MemberCandidates gives the organisations that a reference of a network to a
// member may mean: by its id or a public identifier (siret:, siren:, rna:) any
// organisation, by ext:{source}:{id} those the network sees.
func (s *Store) MemberCandidates(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error) {
	if p.Role == impact.RoleNetwork && !strings.HasPrefix(ref, "ext:") {
		p = impact.Principal{Role: impact.RoleAdministrator}
	}
	return s.FindOrganisations(ctx, p, ref)
}

// PutMembership states that an organisation is a member of the caller's own
// network from a day to another. A membership is known by its first day: the
// same one is changed; an earlier one corrects the beginning of the one it
// contains, another one begins. validation_failed when it overlaps another of
// the pair.
func (s *Store) PutMembership(ctx context.Context, p impact.Principal, network impact.NetworkID, o *impact.Organisation, m impact.Membership) (impact.Membership, impact.Outcome, error) {
	var after impact.Membership
	var outcome impact.Outcome
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		r, err := s.openRoster(ctx, t, p, network, o.Key)
		if err != nil {
			return err
		}
		e, what, faults := r.state(o, m)
		if len(faults) > 0 {
			return impact.Refuse(faults...)
		}
		after, outcome = e.Membership, what
		_, err = r.write(ctx)
		return err
	})
	if err != nil {
		return impact.Membership{}, "", fmt.Errorf("stating a membership: %w", err)
	}
	return after, outcome, nil
}

// DeleteMemberships takes back every membership of an organisation in the caller's
// own network, as stated by mistake; each leaves a tombstone. not_found when
// there is none. Who has left is said with PutMembership.
func (s *Store) DeleteMemberships(ctx context.Context, p impact.Principal, network impact.NetworkID, organisation impact.OrganisationID) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		r, err := s.openRoster(ctx, t, p, network, 0)
		if err != nil {
			return err
		}
		for _, e := range r.all {
			if e.Organisation == organisation {
				r.alter(e, func(e *enrolled) { e.Deleted = true })
			}
		}
		if len(r.marks) == 0 {
			return impact.NotFoundError()
		}
		_, err = r.write(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("taking memberships back: %w", err)
	}
	return nil
}

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type mandateRow struct {
	ID                     impact.MandateID `gorm:"primaryKey"`
	Organisation           impact.OrganisationKey
	Network                impact.NetworkID
	Scopes, Indicators     string
	PeriodStart, PeriodEnd impact.Date
	ValidFrom, ValidTo     impact.Date
	State                  impact.MandateState
	StartedBy              impact.Role
	RequestedBy, DecidedBy string
	DecidedAt              int64
	Version                int
	CreatedAt              int64 `gorm:"autoCreateTime:false"`
	UpdatedAt              int64 `gorm:"autoUpdateTime:false"`
	Tx                     int64
}

type rightRow struct {
	Network                impact.NetworkID
	Organisation           impact.OrganisationKey
	Scope                  impact.Scope
	Indicator              impact.IndicatorKey
	Mandate                impact.MandateID
	PeriodStart, PeriodEnd impact.Date
	ValidFrom, ValidTo     impact.Date
}

type useRow struct {
	ID             int64 `gorm:"primaryKey;autoIncrement:false"`
	Mandate        impact.MandateID
	At             int64
	Client, Action string
	Rows           int
}

func (mandateRow) TableName() string { return "mandates" }
func (rightRow) TableName() string   { return "mandate_rights" }
func (useRow) TableName() string     { return "mandate_uses" }

// foundMandate is a mandate with the names of its sides.
type foundMandate struct {
	Row                           mandateRow `gorm:"embedded"`
	OrganisationID                impact.OrganisationID
	OrganisationName, NetworkName string
}

func (f *foundMandate) mandate() (impact.Mandate, error) {
	r := &f.Row
	m := impact.Mandate{
		ID: r.ID, Organisation: f.OrganisationID, OrganisationName: f.OrganisationName, Network: r.Network, NetworkName: f.NetworkName,
		Periods: impact.Period{Start: r.PeriodStart, End: r.PeriodEnd}, ValidFrom: r.ValidFrom, ValidTo: r.ValidTo, State: r.State,
		StartedBy: r.StartedBy, RequestedBy: r.RequestedBy, DecidedBy: r.DecidedBy, Version: r.Version,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
	}
	if r.DecidedAt != 0 {
		m.DecidedAt = time.UnixMilli(r.DecidedAt).UTC()
	}
	if err := json.Unmarshal([]byte(r.Scopes), &m.Scopes); err != nil {
		return m, fmt.Errorf("reading mandate %s: %w", r.ID, err)
	}
	if r.Indicators != "" {
		if err := json.Unmarshal([]byte(r.Indicators), &m.Indicators); err != nil {
			return m, fmt.Errorf("reading mandate %s: %w", r.ID, err)
		}
	}
	return m, nil
}

func rowOfMandate(m *impact.Mandate, organisation impact.OrganisationKey, tx int64) (mandateRow, error) {
	scopes, err := json.Marshal(m.Scopes)
	if err != nil {
		return mandateRow{}, err
	}
	indicators := ""
	if m.Indicators != nil {
		text, err := json.Marshal(m.Indicators)
		if err != nil {
			return mandateRow{}, err
		}
		indicators = string(text)
	}
	r := mandateRow{
		ID: m.ID, Organisation: organisation, Network: m.Network, Scopes: string(scopes), Indicators: indicators,
		PeriodStart: m.Periods.Start, PeriodEnd: m.Periods.End, ValidFrom: m.ValidFrom, ValidTo: m.ValidTo, State: m.State, StartedBy: m.StartedBy,
		RequestedBy: m.RequestedBy, DecidedBy: m.DecidedBy, Version: m.Version, CreatedAt: m.CreatedAt.UnixMilli(), UpdatedAt: m.UpdatedAt.UnixMilli(), Tx: tx,
	}
	if !m.DecidedAt.IsZero() {
		r.DecidedAt = m.DecidedAt.UnixMilli()
	}
	return r, nil
}

// today is the civil day that decides whether a mandate is in force.
func (s *Store) today() impact.Date { return impact.DateOf(s.now()) }

// seesMandate keeps the mandates a caller is one of the two sides of.
func seesMandate(p impact.Principal) (string, []any) {
	switch p.Role {
	case impact.RoleNetwork:
		return "mandates.network = ?", []any{p.Network}
	case impact.RoleOrganisation:
		return "organisations.id = ?", []any{p.Organisation}
	}
	return "1 = 0", nil
}

// mandateNames name the two sides of a mandate, joined by mandateSides.
const (
	mandateNames = `organisations.id AS organisation_id, organisations.name AS organisation_name, networks.name AS network_name`
	mandateSides = `JOIN organisations ON organisations.key = mandates.organisation JOIN networks ON networks.id = mandates.network`
)

func (s *Store) mandateQuery(ctx context.Context) *gorm.DB {
	return s.orm(ctx).Table("mandates").Select("mandates.*, " + mandateNames).Joins(mandateSides)
}

func (s *Store) findMandate(ctx context.Context, p impact.Principal, id impact.MandateID) (f foundMandate, m impact.Mandate, err error) {
	condition, args := seesMandate(p)
	if err = s.mandateQuery(ctx).Where(condition, args...).Where("mandates.id = ?", id).Take(&f).Error; err != nil {
		return f, m, s.refusal(err)
	}
	m, err = f.mandate()
	return f, m, err
}

// Mandate gives one mandate, not_found to whoever is none of its two sides.
func (s *Store) Mandate(ctx context.Context, p impact.Principal, id impact.MandateID) (impact.Mandate, error) {
	_, m, err := s.findMandate(ctx, p, id)
	if err != nil {
		return m, fmt.Errorf("reading a mandate: %w", err)
	}
	return m, nil
}

// Mandates lists those the caller has given or received, in the order of ids,
// or of (UpdatedAt, ID) with UpdatedSince. next is nil on the last page.
func (s *Store) Mandates(ctx context.Context, p impact.Principal, f impact.MandateFilter, page impact.Page) ([]impact.Mandate, []string, error) {
	condition, args := seesMandate(p)
	db := s.mandateQuery(ctx).Where(condition, args...)
	if f.Organisation != "" {
		db = db.Where("organisations.id = ?", f.Organisation)
	}
	if f.Network != "" {
		db = db.Where("mandates.network = ?", f.Network)
	}
	switch f.State {
	case "":
	case impact.Granted:
		db = db.Where("mandates.state = ? AND mandates.valid_to >= ?", f.State, s.today())
	case impact.Expired:
		db = db.Where("mandates.state = ? AND mandates.valid_to < ?", impact.Granted, s.today())
	default:
		db = db.Where("mandates.state = ?", f.State)
	}
	db, err := keyset(db, page, f.UpdatedSince, "mandates.")
	if err != nil {
		return nil, nil, err
	}
	var rows []foundMandate
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing mandates: %w", err)
	}
	rows, next := pageOf(rows, page, func(r foundMandate) []string {
		return keysetPosition(f.UpdatedSince, string(r.Row.ID), r.Row.UpdatedAt)
	})
	list := make([]impact.Mandate, len(rows))
	for i := range rows {
		if list[i], err = rows[i].mandate(); err != nil {
			return nil, nil, err
		}
	}
	return list, next, nil
}

// maxMandates bounds the mandates of one organisation and one network that have
// not ended.
const maxMandates = 100

// CreateMandate begins a mandate: granted at once when the organisation states
// it, requested when the network does. The other side must exist, and an
// organisation be one that the network sees (unknown_organisation,
// unknown_reference). What the network has requested already, and nobody has
// decided, is not requested twice: Unchanged. bad_state when the two have too
// many of them.
func (s *Store) CreateMandate(ctx context.Context, p impact.Principal, stated impact.Mandate) (impact.Mandate, impact.Outcome, error) {
	var created impact.Mandate
	outcome := impact.Created
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		outcome = impact.Created
		m := stated
		m.ID, m.Version, m.StartedBy, m.RequestedBy = impact.MandateID(s.newID()), 1, p.Role, p.Client
		m.CreatedAt = instant(t.id)
		m.UpdatedAt = m.CreatedAt
		action := impact.MandateRequested
		switch p.Role {
		case impact.RoleNetwork:
			m.Network, m.State = p.Network, impact.Requested
		case impact.RoleOrganisation:
			m.Organisation, m.State, m.DecidedBy, m.DecidedAt = p.Organisation, impact.Granted, p.Client, m.CreatedAt
			action = impact.MandateGranted
			if err := p.MayGive(&m); err != nil {
				return err
			}
		default:
			return forbidden("mandates.manage")
		}
		organisations, err := s.organisations(s.orm(ctx).Scopes(s.ownOrganisation(p)).Where("id = ?", m.Organisation))
		if err != nil {
			return err
		}
		if len(organisations) == 0 {
			return impact.Refuse(impact.Fault{
				Code: "unknown_organisation", Pointer: "/from/organisation", Value: string(m.Organisation),
				Detail: impact.Text{FR: "Cette organisation n'existe pas, ou n'est pas un de vos membres.", EN: "This organisation does not exist, or is none of your members."},
				Hint:   impact.Text{FR: "Déclarez-la membre : PUT /v1/networks/{id}/members/siret:…", EN: "State it as a member: PUT /v1/networks/{id}/members/siret:…"},
			})
		}
		network, err := s.Network(ctx, string(m.Network))
		if impact.KindOf(err) == impact.NotFound {
			return impact.Refuse(impact.Fault{
				Code: "unknown_reference", Pointer: "/to/network", Value: string(m.Network),
				Detail: impact.Text{FR: "Ce réseau n'existe pas.", EN: "This network does not exist."},
				Hint:   impact.Text{FR: "GET /v1/networks donne les réseaux.", EN: "GET /v1/networks lists the networks."},
			})
		}
		if err != nil {
			return err
		}
		key := organisations[0].Key
		if err := s.dialect.run(ctx, t, s.dialect.lockOrganisations([]int32{int32(key)})...); err != nil {
			return err
		}
		if created, err = s.sameRequest(ctx, &m); err != nil {
			return err
		}
		if created.ID != "" {
			outcome = impact.Unchanged
			return nil
		}
		var open int64
		err = s.orm(ctx).Model(&mandateRow{}).Where("network = ? AND organisation = ? AND state IN ? AND valid_to >= ?", network.ID, key,
			[]impact.MandateState{impact.Requested, impact.Granted}, s.today()).Count(&open).Error
		if err != nil {
			return err
		}
		if open >= maxMandates {
			return &impact.Error{
				Kind: impact.Conflict, Code: "bad_state",
				Detail: impact.Text{FR: fmt.Sprintf("Ces deux parties ont déjà %d mandats en cours.", maxMandates), EN: fmt.Sprintf("These two sides have %d mandates already.", maxMandates)},
				Hint:   impact.Text{FR: "Révoquez ceux qui ne servent plus : POST /v1/mandates/{id}/revoke.", EN: "Revoke those of no use any more: POST /v1/mandates/{id}/revoke."},
			}
		}
		m.Network, m.NetworkName, m.Organisation, m.OrganisationName = network.ID, network.Name, organisations[0].ID, organisations[0].Name
		row, err := rowOfMandate(&m, key, t.id)
		if err != nil {
			return err
		}
		if err := s.orm(ctx).Create(&row).Error; err != nil {
			return err
		}
		created = m
		return s.sealMandate(ctx, t, p, key, &m, action)
	})
	if err != nil {
		return impact.Mandate{}, "", fmt.Errorf("beginning a mandate: %w", err)
	}
	return created, outcome, nil
}

// sameRequest finds the pending request that asks for what m asks for.
func (s *Store) sameRequest(ctx context.Context, m *impact.Mandate) (impact.Mandate, error) {
	if m.State != impact.Requested {
		return impact.Mandate{}, nil
	}
	var rows []foundMandate
	err := s.mandateQuery(ctx).Where("mandates.network = ? AND organisations.id = ? AND mandates.state = ?", m.Network, m.Organisation, impact.Requested).Order("mandates.id").Find(&rows).Error
	if err != nil {
		return impact.Mandate{}, err
	}
	for i := range rows {
		held, err := rows[i].mandate()
		if err != nil || held.SameRequest(m, s.today()) {
			return held, err
		}
	}
	return impact.Mandate{}, nil
}

// DecideMandate grants, refuses or revokes, whatever the version: the state is
// the condition (bad_state). What was written under a mandate that is revoked
// stays, marked, and is the organisation's.
func (s *Store) DecideMandate(ctx context.Context, p impact.Principal, id impact.MandateID, action impact.MandateAction) (impact.Mandate, error) {
	var after impact.Mandate
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		found, _, err := s.findMandate(ctx, p, id)
		if err != nil {
			return err
		}
		// Whoever writes under the mandate holds this lock: either it is done
		// before the decision is taken, or it sees the decision.
		if err := s.dialect.run(ctx, t, s.dialect.lockOrganisations([]int32{int32(found.Row.Organisation)})...); err != nil {
			return err
		}
		_, m, err := s.findMandate(ctx, p, id)
		if err != nil {
			return err
		}
		if err := m.Decide(p.Role, action, s.today()); err != nil {
			return err
		}
		if action == impact.GrantMandate {
			if err := p.MayGive(&m); err != nil {
				return err
			}
		}
		m.DecidedBy, m.DecidedAt, m.Version = p.Client, instant(t.id), m.Version+1
		m.UpdatedAt = m.DecidedAt
		row, err := rowOfMandate(&m, found.Row.Organisation, t.id)
		if err != nil {
			return err
		}
		if err := s.orm(ctx).Save(&row).Error; err != nil {
			return err
		}
		after = m
		return s.sealMandate(ctx, t, p, found.Row.Organisation, &m, map[impact.MandateAction]impact.AuditAction{
			impact.GrantMandate: impact.MandateGranted, impact.RefuseMandate: impact.MandateRefused, impact.RevokeMandate: impact.MandateRevoked,
		}[action])
	})
	if err != nil {
		return impact.Mandate{}, fmt.Errorf("deciding on a mandate: %w", err)
	}
	return after, nil
}

// sealMandate lays out the rights of a mandate as it now stands, and ends its
// transaction.
func (s *Store) sealMandate(ctx context.Context, t *txn, p impact.Principal, key impact.OrganisationKey, m *impact.Mandate, action impact.AuditAction) error {
	if err := s.orm(ctx).Where("mandate = ?", m.ID).Delete(&rightRow{}).Error; err != nil {
		return err
	}
	if m.State == impact.Granted {
		indicators := m.Indicators
		if indicators == nil {
			indicators = []impact.IndicatorKey{impact.AnyIndicator}
		}
		rights := make([]rightRow, 0, len(m.Scopes)*len(indicators))
		for _, scope := range m.Scopes {
			for _, indicator := range indicators {
				rights = append(rights, rightRow{m.Network, key, scope, indicator, m.ID, m.Periods.Start, m.Periods.End, m.ValidFrom, m.ValidTo})
			}
		}
		if err := s.orm(ctx).CreateInBatches(rights, 500).Error; err != nil {
			return err
		}
	}
	e := impact.Audit(p, action, "/v1/mandates/"+string(m.ID))
	e.Organisation, e.Network = m.Organisation, m.Network
	if err := s.audit(ctx, t, e); err != nil {
		return err
	}
	_, err := t.commit(ctx, "mandate", nil)
	return err
}

// MandateUses gives the log of a mandate to its two sides, the last use first.
// next is nil on the last page.
func (s *Store) MandateUses(ctx context.Context, p impact.Principal, id impact.MandateID, page impact.Page) ([]impact.MandateUse, []string, error) {
	if _, _, err := s.findMandate(ctx, p, id); err != nil {
		return nil, nil, fmt.Errorf("reading the uses of a mandate: %w", err)
	}
	db := s.orm(ctx).Where("mandate = ?", id)
	db, err := latest(db, page)
	if err != nil {
		return nil, nil, err
	}
	var rows []useRow
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("reading the uses of a mandate: %w", err)
	}
	rows, next := pageOf(rows, page, func(r useRow) []string { return []string{strconv.FormatInt(r.ID, 10)} })
	list := make([]impact.MandateUse, len(rows))
	for i, r := range rows {
		list[i] = impact.MandateUse{Mandate: r.Mandate, At: time.UnixMilli(r.At).UTC(), Client: r.Client, Action: r.Action, Rows: r.Rows}
	}
	return list, next, nil
}

// LogUses leaves a line for each mandate that a request of p used: rows is how
// many rows it was about. The log is append-only.
func (s *Store) LogUses(ctx context.Context, p impact.Principal, action string, rows map[impact.MandateID]int) error {
	if len(rows) == 0 {
		return nil
	}
	lines := make([]useRow, 0, len(rows))
	for id, n := range rows {
		lines = append(lines, useRow{Mandate: id, Client: p.Client, Action: action, Rows: n})
	}
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error { return s.insertUses(ctx, lines) })
	if err != nil {
		return fmt.Errorf("logging the use of a mandate: %w", err)
	}
	return nil
}

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

type auditRow struct {
	ID           int64 `gorm:"primaryKey;autoIncrement:false"`
	At           int64
	Actor        string
	Role         impact.Role
	Action       impact.AuditAction
	Resource     string
	Organisation impact.OrganisationID
	Network      impact.NetworkID
	Buyer        string
	Detail       string
}

func (auditRow) TableName() string { return "audit_log" }

// Audit writes one line of the audit log, in the transaction of the context
// when there is one.
func (s *Store) Audit(ctx context.Context, e impact.AuditEvent) error {
	return s.transact(ctx, func(ctx context.Context, t *txn) error { return s.audit(ctx, t, e) })
}

// audit writes the line of what the transaction does: it is there if and only
// if that was done.
func (s *Store) audit(ctx context.Context, t *txn, e impact.AuditEvent) error {
	detail := ""
	if len(e.Detail) > 0 {
		text, err := json.Marshal(e.Detail)
		if err != nil {
			return err
		}
		if detail = string(text); len(detail) > 2000 {
			return fmt.Errorf("auditing %s: %d bytes of detail", e.Action, len(detail))
		}
	}
	row := auditRow{
		ID: s.clock.next(s.now()), At: instant(t.id).UnixMilli(), Actor: e.Actor, Role: e.Role, Action: e.Action, Resource: e.Resource,
		Organisation: e.Organisation, Network: e.Network, Buyer: e.Buyer, Detail: detail,
	}
	if err := t.orm.WithContext(ctx).Create(&row).Error; err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	return nil
}

// AuditLog gives the lines that concern the caller, the last first: those of
// its organisation, network or buyer and those of its own client; all for
// administrators. Empty action = every action. next is nil on the last page.
func (s *Store) AuditLog(ctx context.Context, p impact.Principal, action impact.AuditAction, page impact.Page) (list []impact.AuditEvent, next []string, err error) {
	if p.IsAnonymous() {
		return nil, nil, nil
	}
	db, err := latest(s.orm(ctx).Scopes(ownAudit(p)), page)
	if err != nil {
		return nil, nil, err
	}
	if action != "" {
		db = db.Where("action = ?", action)
	}
	var rows []auditRow
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("reading the audit log: %w", err)
	}
	rows, next = pageOf(rows, page, func(r auditRow) []string { return []string{strconv.FormatInt(r.ID, 10)} })
	for _, r := range rows {
		e, err := r.event()
		if err != nil {
			return nil, nil, err
		}
		list = append(list, e)
	}
	return list, next, nil
}

func ownAudit(p impact.Principal) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		if p.Role == impact.RoleAdministrator {
			return db
		}
		query, args := "actor = ? OR resource = ?", []any{p.Client, "/v1/clients/" + p.Client}
		for column, party := range map[string]string{"organisation": string(p.Organisation), "network": string(p.Network), "buyer": p.Buyer} {
			if party != "" {
				query, args = query+" OR "+column+" = ?", append(args, party)
			}
		}
		return db.Where(query, args...)
	}
}

// latest orders a log by id, the last first, after the page's position.
func latest(db *gorm.DB, page impact.Page) (*gorm.DB, error) {
	switch len(page.After) {
	case 0:
	case 1:
		id, err := strconv.ParseInt(page.After[0], 10, 64)
		if err != nil {
			return nil, badCursor()
		}
		db = db.Where("id < ?", id)
	default:
		return nil, badCursor()
	}
	return db.Order("id DESC").Limit(page.Limit + 1), nil
}

func (r auditRow) event() (impact.AuditEvent, error) {
	e := impact.AuditEvent{
		ID: r.ID, At: time.UnixMilli(r.At).UTC(), Actor: r.Actor, Role: r.Role, Action: r.Action, Resource: r.Resource,
		Organisation: r.Organisation, Network: r.Network, Buyer: r.Buyer,
	}
	if r.Detail != "" {
		if err := json.Unmarshal([]byte(r.Detail), &e.Detail); err != nil {
			return e, fmt.Errorf("reading the audit log: %w", err)
		}
	}
	return e, nil
}

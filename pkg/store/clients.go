package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

type clientRow struct {
	ID                   string `gorm:"primaryKey"`
	Name                 string
	Role                 impact.Role
	Organisation         impact.OrganisationID
	Network              impact.NetworkID
	Buyer                string
	Scopes, SecretHashes string
	JWKS                 string `gorm:"column:jwks"`
	Revoked              int16
	Version              int
	CreatedAt            int64 `gorm:"autoCreateTime:false"`
	UpdatedAt            int64 `gorm:"autoUpdateTime:false"`
}

func (clientRow) TableName() string { return "clients" }

// CreateClient registers an application; its id is made when empty. Only
// administrators do (insufficient_scope); validation_failed lists everything
// that is wrong with it, an organisation or a network that does not exist
// included.
func (s *Store) CreateClient(ctx context.Context, p impact.Principal, c impact.Client) (impact.Client, error) {
	if p.Role != impact.RoleAdministrator {
		return impact.Client{}, forbidden(string(impact.ClientsManage))
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		faults := c.Check()
		missing, err := s.unknownParties(ctx, &c)
		if err != nil {
			return err
		}
		if err := impact.Refuse(append(faults, missing...)...); err != nil {
			return err
		}
		if c.ID == "" {
			c.ID = s.newID()
		}
		c.Version, c.Revoked = 1, false
		c.CreatedAt = instant(t.id)
		c.UpdatedAt = c.CreatedAt
		row, err := rowOfClient(c)
		if err != nil {
			return err
		}
		if err := s.orm(ctx).Create(&row).Error; err != nil {
			return err
		}
		return s.auditClient(ctx, t, p, impact.ClientCreated, &c, map[string]string{"scope": strings.Join(impact.Words(c.Scopes), " ")})
	})
	if err != nil {
		return impact.Client{}, fmt.Errorf("registering a client: %w", err)
	}
	return c, nil
}

// unknownParties lists whom the client would act for and nobody knows.
func (s *Store) unknownParties(ctx context.Context, c *impact.Client) ([]impact.Fault, error) {
	if c.Role == impact.RoleOrganisation && c.Organisation != "" {
		found, err := s.organisations(s.orm(ctx).Where("id = ?", c.Organisation))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return []impact.Fault{{
				Code: "unknown_organisation", Pointer: "/organisation", Value: string(c.Organisation),
				Detail: impact.Text{FR: "Cette organisation n'existe pas.", EN: "This organisation does not exist."},
				Hint:   impact.Text{FR: "Enregistrez-la d'abord.", EN: "Register it first."},
			}}, nil
		}
	}
	if c.Role == impact.RoleNetwork && c.Network != "" {
		var n int64
		if err := s.orm(ctx).Model(&networkRow{}).Where("id = ?", c.Network).Count(&n).Error; err != nil {
			return nil, err
		}
		if n == 0 {
			return []impact.Fault{{
				Code: "unknown_reference", Pointer: "/network", Value: string(c.Network),
				Detail: impact.Text{FR: "Ce réseau n'existe pas.", EN: "This network does not exist."},
				Hint:   impact.Text{FR: "Enregistrez-le d'abord : POST /v1/networks.", EN: "Register it first: POST /v1/networks."},
			}}, nil
		}
	}
	return nil, nil
}

// auditClient notes what was done to a client, for whom it acts for.
func (s *Store) auditClient(ctx context.Context, t *txn, p impact.Principal, action impact.AuditAction, c *impact.Client, detail map[string]string) error {
	e := impact.Audit(p, action, "/v1/clients/"+c.ID)
	e.Organisation, e.Network, e.Buyer = c.Organisation, c.Network, c.Buyer
	e.Detail = map[string]string{"name": c.Name, "role": string(c.Role)}
	maps.Copy(e.Detail, detail)
	return s.audit(ctx, t, e)
}

// Client gives a client, revoked ones included: not_found if it never was.
func (s *Store) Client(ctx context.Context, id string) (impact.Client, error) {
	var row clientRow
	if err := s.orm(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
		return impact.Client{}, fmt.Errorf("reading a client: %w", s.refusal(err))
	}
	return row.client()
}

// AllClients lists all clients by name, for the operator.
func (s *Store) AllClients(ctx context.Context) ([]impact.Client, error) {
	var rows []clientRow
	if err := s.orm(ctx).Order("name, id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing clients: %w", err)
	}
	list := make([]impact.Client, len(rows))
	for i, r := range rows {
		var err error
		if list[i], err = r.client(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Clients lists clients in the order of ids. Only administrators see them.
// next is nil on the last page.
func (s *Store) Clients(ctx context.Context, p impact.Principal, f impact.ClientFilter, page impact.Page) (list []impact.Client, next []string, err error) {
	if p.Role != impact.RoleAdministrator {
		return nil, nil, forbidden(string(impact.ClientsManage))
	}
	db := s.orm(ctx)
	for _, x := range []struct{ column, value string }{
		{"role", string(f.Role)}, {"organisation", string(f.Organisation)}, {"network", string(f.Network)}, {"buyer", f.Buyer},
	} {
		if x.value != "" {
			db = db.Where(x.column+" = ?", x.value)
		}
	}
	if len(page.After) == 1 {
		db = db.Where("id > ?", page.After[0])
	} else if len(page.After) > 1 {
		return nil, nil, badCursor()
	}
	var rows []clientRow
	if err := db.Order("id").Limit(page.Limit + 1).Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing clients: %w", err)
	}
	rows, next = pageOf(rows, page, func(r clientRow) []string { return []string{r.ID} })
	for _, r := range rows {
		c, err := r.client()
		if err != nil {
			return nil, nil, err
		}
		list = append(list, c)
	}
	return list, next, nil
}

// UpdateClient lets change alter name, scopes and keys of a client and writes the
// next version, or nothing when nothing changed. Stale when version is no
// longer current. A scope taken away ends the tokens that may carry it.
func (s *Store) UpdateClient(ctx context.Context, p impact.Principal, id string, version int, change func(*impact.Client) error) (impact.Client, error) {
	return s.changeClient(ctx, p, id, impact.ClientChanged, func(ctx context.Context, t *txn, c *impact.Client) (map[string]string, error) {
		if c.Revoked {
			return nil, impact.NotFoundError()
		}
		if c.Version != version {
			return nil, stale(c.Version)
		}
		before, keys := slices.Clone(c.Scopes), c.JWKS
		if err := change(c); err != nil {
			return nil, err
		}
		if err := impact.Refuse(c.Check()...); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(before, func(x impact.Scope) bool { return !slices.Contains(c.Scopes, x) }) {
			if err := s.endTokens(ctx, t, id); err != nil {
				return nil, err
			}
		}
		detail := map[string]string{"scope": strings.Join(impact.Words(c.Scopes), " ")}
		if c.JWKS != keys {
			detail["keys"] = "changed"
		}
		return detail, nil
	})
}

// RotateClient replaces the hashes of the secrets by what rotate makes of them:
// the current one, and the former one while both are accepted. bad_state for a
// revoked client.
func (s *Store) RotateClient(ctx context.Context, p impact.Principal, id string, rotate func(hashes []string) []string) (impact.Client, error) {
	return s.changeClient(ctx, p, id, impact.ClientRotated, func(_ context.Context, _ *txn, c *impact.Client) (map[string]string, error) {
		if c.Revoked {
			return nil, &impact.Error{Kind: impact.Conflict, Code: "bad_state", Detail: impact.Text{
				FR: "Ce client est révoqué.", EN: "This client is revoked.",
			}, Hint: impact.Text{FR: "Créez-en un autre.", EN: "Create another."}}
		}
		c.SecretHashes = rotate(c.SecretHashes)
		return map[string]string{"secrets": strconv.Itoa(len(c.SecretHashes))}, nil
	})
}

// RevokeClient ends what a client may do: it gets no token any more, and those
// it has are refused. Done again, it changes nothing.
func (s *Store) RevokeClient(ctx context.Context, p impact.Principal, id string) (impact.Client, error) {
	return s.changeClient(ctx, p, id, impact.ClientRevoked, func(ctx context.Context, t *txn, c *impact.Client) (map[string]string, error) {
		if c.Revoked {
			return nil, nil
		}
		c.Revoked = true
		return nil, s.endTokens(ctx, t, id)
	})
}

// changeClient runs change on the client and writes the next version, if
// anything is different, with a line of the audit log.
func (s *Store) changeClient(ctx context.Context, p impact.Principal, id string, action impact.AuditAction, change func(context.Context, *txn, *impact.Client) (map[string]string, error)) (impact.Client, error) {
	if p.Role != impact.RoleAdministrator {
		return impact.Client{}, forbidden(string(impact.ClientsManage))
	}
	var after impact.Client
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		var row clientRow
		if err := s.orm(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		c, err := row.client()
		if err != nil {
			return err
		}
		detail, err := change(ctx, t, &c)
		if err != nil {
			return err
		}
		next, err := rowOfClient(c)
		if err != nil {
			return err
		}
		after = c
		if next == row {
			return nil
		}
		after.Version, after.UpdatedAt = row.Version+1, instant(t.id)
		if next, err = rowOfClient(after); err != nil {
			return err
		}
		written := s.orm(ctx).Model(&clientRow{}).Where("id = ? AND version = ?", id, row.Version).Select("*").Updates(&next)
		if written.Error != nil {
			return written.Error
		}
		if written.RowsAffected == 0 {
			return stale(row.Version + 1)
		}
		return s.auditClient(ctx, t, p, action, &after, detail)
	})
	if err != nil {
		return impact.Client{}, fmt.Errorf("changing a client: %w", err)
	}
	return after, nil
}

func rowOfClient(c impact.Client) (clientRow, error) {
	scopes, err := json.Marshal(c.Scopes)
	if err != nil {
		return clientRow{}, err
	}
	hashes, err := json.Marshal(c.SecretHashes)
	row := clientRow{ID: c.ID, Name: c.Name, Role: c.Role, Organisation: c.Organisation, Network: c.Network, Buyer: c.Buyer, Scopes: string(scopes), SecretHashes: string(hashes), JWKS: c.JWKS, Version: c.Version, CreatedAt: c.CreatedAt.UnixMilli(), UpdatedAt: c.UpdatedAt.UnixMilli()}
	if c.Revoked {
		row.Revoked = 1
	}
	return row, err
}

func (r clientRow) client() (impact.Client, error) {
	c := impact.Client{ID: r.ID, Name: r.Name, Role: r.Role, Organisation: r.Organisation, Network: r.Network, Buyer: r.Buyer, JWKS: r.JWKS, Revoked: r.Revoked != 0, Version: r.Version, CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC()}
	if err := json.Unmarshal([]byte(r.Scopes), &c.Scopes); err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(r.SecretHashes), &c.SecretHashes)
}

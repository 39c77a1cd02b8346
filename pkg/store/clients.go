package store

import (
	"context"
	"encoding/json"
	"fmt"

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
	Revoked              int16
	Version              int
	CreatedAt            int64 `gorm:"autoCreateTime:false"`
	UpdatedAt            int64 `gorm:"autoUpdateTime:false"`
}

func (clientRow) TableName() string { return "clients" }

// CreateClient registers an application; its id is made when empty. A client
// that acts for an organisation needs that organisation to exist, and no client
// gets a scope its role may not have.
func (s *Store) CreateClient(ctx context.Context, c impact.Client) (impact.Client, error) {
	for _, scope := range c.Scopes {
		if !impact.MayHold(c.Role, scope) {
			return impact.Client{}, forbidden(string(scope))
		}
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		if c.Role == impact.RoleOrganisation {
			found, err := s.organisations(s.orm(ctx).Where("id = ?", c.Organisation))
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return impact.Refuse(impact.Fault{
					Code: "unknown_organisation", Pointer: "/organisation", Value: string(c.Organisation),
					Detail: impact.Text{FR: "Cette organisation n'existe pas.", EN: "This organisation does not exist."},
					Hint:   impact.Text{FR: "Enregistrez-la d'abord.", EN: "Register it first."},
				})
			}
		}
		if c.Role == impact.RoleNetwork {
			n, err := s.Network(ctx, string(c.Network))
			if impact.KindOf(err) == impact.NotFound {
				return impact.Refuse(impact.Fault{
					Code: "unknown_reference", Pointer: "/network", Value: string(c.Network),
					Detail: impact.Text{FR: "Ce réseau n'existe pas.", EN: "This network does not exist."},
					Hint:   impact.Text{FR: "Enregistrez-le d'abord : POST /v1/networks.", EN: "Register it first: POST /v1/networks."},
				})
			}
			if err != nil {
				return err
			}
			c.Network = n.ID
		}
		if c.ID == "" {
			c.ID = s.newID()
		}
		c.Version, c.Revoked = 1, false
		now := instant(t.id).UnixMilli()
		row, err := rowOfClient(c)
		if err != nil {
			return err
		}
		row.CreatedAt, row.UpdatedAt = now, now
		return s.orm(ctx).Create(&row).Error
	})
	if err != nil {
		return impact.Client{}, fmt.Errorf("registering a client: %w", err)
	}
	return c, nil
}

// Client gives a client, revoked ones included: not_found if it never was.
func (s *Store) Client(ctx context.Context, id string) (impact.Client, error) {
	var row clientRow
	if err := s.orm(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
		return impact.Client{}, fmt.Errorf("reading a client: %w", s.refusal(err))
	}
	return row.client()
}

// Clients lists all clients by name.
func (s *Store) Clients(ctx context.Context) ([]impact.Client, error) {
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

// SetClientSecrets replaces the hashes of the secrets: the current one, and
// the former one while both are accepted.
func (s *Store) SetClientSecrets(ctx context.Context, id string, hashes []string) error {
	text, err := json.Marshal(hashes)
	if err != nil {
		return err
	}
	return s.changeClient(ctx, id, map[string]any{"secret_hashes": string(text)})
}

// RevokeClient ends what a client may do: it gets no token any more.
func (s *Store) RevokeClient(ctx context.Context, id string) error {
	return s.changeClient(ctx, id, map[string]any{"revoked": 1})
}

func (s *Store) changeClient(ctx context.Context, id string, columns map[string]any) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		var row clientRow
		if err := s.orm(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		columns["version"], columns["updated_at"] = row.Version+1, instant(t.id).UnixMilli()
		return s.orm(ctx).Model(&clientRow{}).Where("id = ?", id).Updates(columns).Error
	})
	if err != nil {
		return fmt.Errorf("changing a client: %w", err)
	}
	return nil
}

func rowOfClient(c impact.Client) (clientRow, error) {
	scopes, err := json.Marshal(c.Scopes)
	if err != nil {
		return clientRow{}, err
	}
	hashes, err := json.Marshal(c.SecretHashes)
	row := clientRow{ID: c.ID, Name: c.Name, Role: c.Role, Organisation: c.Organisation, Network: c.Network, Buyer: c.Buyer, Scopes: string(scopes), SecretHashes: string(hashes), Version: c.Version}
	if c.Revoked {
		row.Revoked = 1
	}
	return row, err
}

func (r clientRow) client() (impact.Client, error) {
	c := impact.Client{ID: r.ID, Name: r.Name, Role: r.Role, Organisation: r.Organisation, Network: r.Network, Buyer: r.Buyer, Revoked: r.Revoked != 0, Version: r.Version}
	if err := json.Unmarshal([]byte(r.Scopes), &c.Scopes); err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(r.SecretHashes), &c.SecretHashes)
}

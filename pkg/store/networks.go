package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type networkRow struct {
	ID                 impact.NetworkID `gorm:"primaryKey"`
	Name, Search, Code string
	Organisation       impact.OrganisationKey // 0: none
	Version            int
	CreatedAt          int64 `gorm:"autoCreateTime:false"`
	UpdatedAt          int64 `gorm:"autoUpdateTime:false"`
	Tx                 int64
}

func (networkRow) TableName() string { return "networks" }

// foundNetwork is a network with the id of the organisation it is.
type foundNetwork struct {
	Row            networkRow `gorm:"embedded"`
	OrganisationID impact.OrganisationID
}

func (f *foundNetwork) network() impact.Network {
	return impact.Network{
		ID: f.Row.ID, Name: f.Row.Name, Code: f.Row.Code, Organisation: f.OrganisationID, Version: f.Row.Version,
		CreatedAt: time.UnixMilli(f.Row.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(f.Row.UpdatedAt).UTC(),
	}
}

func (s *Store) networkQuery(ctx context.Context) *gorm.DB {
	return s.orm(ctx).Table("networks").Select("networks.*, coalesce(organisations.id, '') AS organisation_id").
		Joins("LEFT JOIN organisations ON organisations.key = networks.organisation AND networks.organisation <> 0")
}

// CreateNetwork registers a network. Only administrators do (insufficient_scope).
// already_exists with a Link when its code, or its organisation, is that of
// another network; validation_failed when its organisation does not exist.
func (s *Store) CreateNetwork(ctx context.Context, p impact.Principal, n impact.Network) (impact.Network, error) {
	if p.Role != impact.RoleAdministrator {
		return impact.Network{}, forbidden("organisations.write")
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		n.ID, n.Version = impact.NetworkID(s.newID()), 1
		n.CreatedAt = instant(t.id)
		n.UpdatedAt = n.CreatedAt
		row, err := s.rowOfNetwork(ctx, t, &n)
		if err != nil {
			return err
		}
		if err := s.orm(ctx).Create(&row).Error; err != nil {
			return err
		}
		e := impact.Audit(p, impact.NetworkCreated, "/v1/networks/"+string(n.ID))
		e.Network = n.ID
		if err := s.audit(ctx, t, e); err != nil {
			return err
		}
		_, err = t.commit(ctx, "network", nil)
		return err
	})
	if err != nil {
		return impact.Network{}, fmt.Errorf("registering a network: %w", err)
	}
	return n, nil
}

// rowOfNetwork resolves the organisation of a network and refuses what another
// network has already.
func (s *Store) rowOfNetwork(ctx context.Context, t *txn, n *impact.Network) (networkRow, error) {
	row := networkRow{
		ID: n.ID, Name: n.Name, Search: fold(n.Name), Code: n.Code, Version: n.Version,
		CreatedAt: n.CreatedAt.UnixMilli(), UpdatedAt: n.UpdatedAt.UnixMilli(), Tx: t.id,
	}
	if n.Organisation != "" {
		found, err := s.organisations(s.orm(ctx).Where("id = ?", n.Organisation))
		if err != nil {
			return row, err
		}
		if len(found) == 0 {
			return row, impact.Refuse(impact.Fault{
				Code: "unknown_organisation", Pointer: "/organisation", Value: string(n.Organisation),
				Detail: impact.Text{FR: "Cette organisation n'existe pas.", EN: "This organisation does not exist."},
				Hint:   impact.Text{FR: "Enregistrez-la d'abord : POST /v1/organisations.", EN: "Register it first: POST /v1/organisations."},
			})
		}
		row.Organisation = found[0].Key
	}
	var same []networkRow
	err := s.orm(ctx).Where("id <> ?", n.ID).Where("code <> '' AND code = ? OR organisation <> 0 AND organisation = ?", row.Code, row.Organisation).Limit(1).Find(&same).Error
	if err != nil {
		return row, err
	}
	if len(same) > 0 {
		return row, alreadyExists("/v1/networks/" + string(same[0].ID))
	}
	return row, nil
}

// Network gives one network, by its id or its code. Everyone may read it.
func (s *Store) Network(ctx context.Context, ref string) (impact.Network, error) {
	var found foundNetwork
	if err := s.networkQuery(ctx).Where("networks.id = ? OR networks.code <> '' AND networks.code = ?", ref, ref).Take(&found).Error; err != nil {
		return impact.Network{}, fmt.Errorf("reading a network: %w", s.refusal(err))
	}
	return found.network(), nil
}

// Networks lists the networks in the order of ids, or of (UpdatedAt, ID) with
// UpdatedSince. next is nil on the last page.
func (s *Store) Networks(ctx context.Context, f impact.NetworkFilter, page impact.Page) ([]impact.Network, []string, error) {
	db := s.networkQuery(ctx)
	for _, word := range strings.Fields(fold(f.Query)) {
		db = db.Where(`networks.search LIKE ? ESCAPE '\'`, likeWord(word))
	}
	if f.Code != "" {
		db = db.Where("networks.code = ?", f.Code)
	}
	db, err := keyset(db, page, f.UpdatedSince, "networks.")
	if err != nil {
		return nil, nil, err
	}
	var rows []foundNetwork
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing networks: %w", err)
	}
	rows, next := pageOf(rows, page, func(r foundNetwork) []string {
		return keysetPosition(f.UpdatedSince, string(r.Row.ID), r.Row.UpdatedAt)
	})
	list := make([]impact.Network, len(rows))
	for i := range rows {
		list[i] = rows[i].network()
	}
	return list, next, nil
}

// UpdateNetwork lets change alter name, code and organisation of a network and
// writes the next version, or nothing when nothing changed. Administrators
// change any network, a network itself. Stale when version is no longer
// current.
func (s *Store) UpdateNetwork(ctx context.Context, p impact.Principal, id impact.NetworkID, version int, change func(*impact.Network) error) (impact.Network, error) {
	var after impact.Network
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		before, err := s.Network(ctx, string(id))
		if err != nil {
			return err
		}
		if p.Role != impact.RoleAdministrator && (p.Role != impact.RoleNetwork || p.Network != before.ID) {
			return forbidden("organisations.write")
		}
		if before.Version != version {
			return stale(before.Version)
		}
		after = before
		if err := change(&after); err != nil {
			return err
		}
		after.ID, after.CreatedAt, after.UpdatedAt, after.Version = before.ID, before.CreatedAt, before.UpdatedAt, before.Version
		if after == before {
			return nil
		}
		after.Version, after.UpdatedAt = before.Version+1, instant(t.id)
		row, err := s.rowOfNetwork(ctx, t, &after)
		if err != nil {
			return err
		}
		written := s.orm(ctx).Where("version = ?", version).Select("*").Updates(&row)
		if written.Error != nil {
			return written.Error
		}
		if written.RowsAffected == 0 { // another writer was first
			return stale(version + 1)
		}
		_, err = t.commit(ctx, "network", nil)
		return err
	})
	if err != nil {
		return impact.Network{}, fmt.Errorf("changing a network: %w", err)
	}
	return after, nil
}

func likeWord(word string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(word) + "%"
}

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

type mappingRow struct {
	ID             impact.MappingID `gorm:"primaryKey"`
	Name           string
	Kind           impact.ImportKind
	Organisation   impact.OrganisationID
	Network        impact.NetworkID
	Columns, Codes string
	Version        int
	CreatedAt      int64 `gorm:"autoCreateTime:false"`
	UpdatedAt      int64 `gorm:"autoUpdateTime:false"`
	Tx             int64
	Deleted        int16
}

func (mappingRow) TableName() string { return "import_mappings" }

func (r *mappingRow) mapping() (impact.ImportMapping, error) {
	m := impact.ImportMapping{
		ID: r.ID, Name: r.Name, Kind: r.Kind, Organisation: r.Organisation, Network: r.Network, Version: r.Version,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
	}
	if err := errors.Join(json.Unmarshal([]byte(r.Columns), &m.Columns), json.Unmarshal([]byte(r.Codes), &m.Codes)); err != nil {
		return m, fmt.Errorf("reading a mapping: %w", err)
	}
	return m, nil
}

// CreateImportMapping keeps a mapping for the caller's organisation or network:
// already_exists when it has one of that name, quota_exceeded when it has
// MappingsKept.
func (s *Store) CreateImportMapping(ctx context.Context, p impact.Principal, m impact.ImportMapping) (impact.ImportMapping, error) {
	var created impact.ImportMapping
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		condition, args := ownsImports(p)
		var held []mappingRow
		if err := s.orm(ctx).Where(condition, args...).Where("deleted = 0").Find(&held).Error; err != nil {
			return err
		}
		for _, h := range held {
			if h.Name == m.Name {
				return alreadyExists("/v1/import-mappings/" + string(h.ID))
			}
		}
		if len(held) >= impact.MappingsKept {
			return &impact.Error{Kind: impact.Conflict, Code: "quota_exceeded", Detail: impact.Text{
				FR: fmt.Sprintf("%d correspondances sont déjà enregistrées, le plus qu'il puisse y en avoir.", len(held)), EN: fmt.Sprintf("%d mappings are kept already, which is the most there may be.", len(held)),
			}, Hint: impact.Text{FR: "Supprimez-en une.", EN: "Delete one."}}
		}
		now := instant(t.id).UnixMilli()
		row := mappingRow{ID: impact.MappingID(s.newID()), Name: m.Name, Kind: m.Kind, Organisation: p.Organisation, Network: p.Network, Version: 1, CreatedAt: now, UpdatedAt: now, Tx: t.id}
		if err := inJSON(map[*string]any{&row.Columns: m.Columns, &row.Codes: m.Codes}); err != nil {
			return err
		}
		if err := s.orm(ctx).Create(&row).Error; err != nil {
			return err
		}
		var err error
		created, err = row.mapping()
		return err
	})
	if err != nil {
		return impact.ImportMapping{}, fmt.Errorf("keeping a mapping: %w", err)
	}
	return created, nil
}

// ImportMapping gives one mapping of the caller's organisation or network.
func (s *Store) ImportMapping(ctx context.Context, p impact.Principal, id impact.MappingID) (impact.ImportMapping, error) {
	row, err := s.mapping(ctx, p, id)
	if err != nil {
		return impact.ImportMapping{}, fmt.Errorf("reading a mapping: %w", err)
	}
	return row.mapping()
}

func (s *Store) mapping(ctx context.Context, p impact.Principal, id impact.MappingID) (mappingRow, error) {
	condition, args := ownsImports(p)
	var row mappingRow
	err := s.orm(ctx).Where(condition, args...).Where("id = ? AND deleted = 0", id).Take(&row).Error
	return row, s.refusal(err)
}

// ImportMappings lists those of the caller's organisation or network, in the
// order of ids. next is nil on the last page.
func (s *Store) ImportMappings(ctx context.Context, p impact.Principal, page impact.Page) ([]impact.ImportMapping, []string, error) {
	condition, args := ownsImports(p)
	db, err := keyset(s.orm(ctx).Where(condition, args...).Where("deleted = 0"), page, time.Time{}, "")
	if err != nil {
		return nil, nil, err
	}
	var rows []mappingRow
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing mappings: %w", err)
	}
	rows, next := pageOf(rows, page, func(r mappingRow) []string { return []string{string(r.ID)} })
	list := make([]impact.ImportMapping, len(rows))
	for i := range rows {
		if list[i], err = rows[i].mapping(); err != nil {
			return nil, nil, err
		}
	}
	return list, next, nil
}

// UpdateImportMapping lets change alter a mapping; Stale when version is no
// longer current, already_exists when another one bears the name.
func (s *Store) UpdateImportMapping(ctx context.Context, p impact.Principal, id impact.MappingID, version int, change func(*impact.ImportMapping) error) (impact.ImportMapping, error) {
	after, err := s.changeMapping(ctx, p, id, version, func(row *mappingRow) error {
		m, err := row.mapping()
		if err != nil {
			return err
		}
		if err := change(&m); err != nil {
			return err
		}
		row.Name, row.Kind = m.Name, m.Kind
		return inJSON(map[*string]any{&row.Columns: m.Columns, &row.Codes: m.Codes})
	})
	if err != nil {
		return impact.ImportMapping{}, fmt.Errorf("changing a mapping: %w", err)
	}
	return after, nil
}

// DeleteImportMapping forgets a mapping; Stale when version is no longer
// current.
func (s *Store) DeleteImportMapping(ctx context.Context, p impact.Principal, id impact.MappingID, version int) error {
	_, err := s.changeMapping(ctx, p, id, version, func(row *mappingRow) error {
		row.Deleted = 1
		return nil
	})
	if err != nil {
		return fmt.Errorf("deleting a mapping: %w", err)
	}
	return nil
}

func (s *Store) changeMapping(ctx context.Context, p impact.Principal, id impact.MappingID, version int, change func(*mappingRow) error) (impact.ImportMapping, error) {
	var after impact.ImportMapping
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, err := s.mapping(ctx, p, id)
		if err != nil {
			return err
		}
		if row.Version != version {
			return stale(row.Version)
		}
		if err := change(&row); err != nil {
			return err
		}
		row.Version++
		row.UpdatedAt, row.Tx = instant(t.id).UnixMilli(), t.id
		result := s.orm(ctx).Model(&row).Where("version = ?", version).Select("*").Updates(&row)
		if result.Error == nil && result.RowsAffected == 0 {
			return stale(version + 1)
		}
		if result.Error != nil {
			return result.Error
		}
		after, err = row.mapping()
		return err
	})
	return after, err
}

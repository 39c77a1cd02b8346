package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Reference rows keep what queries need in columns and the whole in body.
type (
	territoryRow struct {
		Key                          impact.TerritoryKey `gorm:"primaryKey;autoIncrement:false"`
		ID, Type, Code, Name, Parent string
		ValidFrom, ValidTo           impact.Date
		Body                         string
		Tx                           int64
	}
	indicatorRow struct {
		Key                    impact.IndicatorKey `gorm:"primaryKey;autoIncrement:false"`
		Code, Kind, ImpactType string
		Position               int
		Body                   string
		Tx                     int64
	}
	codeRow struct {
		List     string `gorm:"primaryKey"`
		Code     string `gorm:"primaryKey"`
		Position int
		Body     string
	}
)

func (territoryRow) TableName() string { return "territories" }
func (indicatorRow) TableName() string { return "indicators" }
func (codeRow) TableName() string      { return "codes" }

// Lists of the codes table that are not impact.Code.
const (
	impactTypeList  = "/impact-types"
	unitList        = "/units"
	measureKindList = "/measure-kinds"
)

// LoadReference puts the reference data in force. It does nothing when that
// version already is. Keys of territories and indicators stay with what they
// name: a reference that drops one or gives it another meaning is refused,
// since facts hold these numbers.
func (s *Store) LoadReference(ctx context.Context, r impact.Reference) error {
	if _, err := impact.NewCatalogue(r); err != nil {
		return fmt.Errorf("loading the reference data: %w", err)
	}
	current, err := s.referenceVersion(ctx)
	if err != nil || current == r.Version {
		return err
	}
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		if err := s.dialect.run(ctx, t, s.dialect.lockReference()...); err != nil {
			return err
		}
		if current, err := s.referenceVersion(ctx); err != nil || current == r.Version {
			return err
		}
		if err := s.loadTerritories(ctx, t.id, r.Territories); err != nil {
			return err
		}
		if err := s.loadIndicators(ctx, t.id, r.Indicators); err != nil {
			return err
		}
		if err := s.loadCodes(ctx, r); err != nil {
			return err
		}
		_, err := t.tx.ExecContext(ctx, `INSERT INTO reference_versions (position, version, loaded_at)
			SELECT coalesce(max(position), 0) + 1, CAST($1 AS TEXT), CAST($2 AS BIGINT) FROM reference_versions`, r.Version, s.now().UnixMilli())
		if err != nil {
			return err
		}
		_, err = t.commit(ctx, referenceCommit, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("loading the reference data: %w", err)
	}
	s.catalogue.Store(nil)
	return nil
}

// referenceVersion is the version in force, "" before the first load.
func (s *Store) referenceVersion(ctx context.Context) (string, error) {
	var version string
	err := s.sql(ctx).QueryRowContext(ctx, `SELECT coalesce((SELECT version FROM reference_versions ORDER BY position DESC LIMIT 1), '')`).Scan(&version)
	if err != nil {
		return "", fmt.Errorf("reading the version of the reference data: %w", err)
	}
	return version, nil
}

func (s *Store) loadTerritories(ctx context.Context, tx int64, territories []impact.Territory) error {
	rows := make([]territoryRow, len(territories))
	for i, t := range territories {
		body, err := json.Marshal(t)
		if err != nil {
			return err
		}
		rows[i] = territoryRow{t.Key, string(t.ID), string(t.Type), t.Code, t.Name, string(t.Parent), t.ValidFrom, t.ValidTo, string(body), tx}
	}
	var held []territoryRow
	if err := s.orm(ctx).Find(&held).Error; err != nil {
		return err
	}
	for _, h := range held {
		if !slices.ContainsFunc(rows, func(r territoryRow) bool { return r.Key == h.Key && r.ID == h.ID && r.ValidFrom == h.ValidFrom }) {
			return fmt.Errorf("key %d is %s since day %d for ever, and facts hold it", h.Key, h.ID, h.ValidFrom)
		}
		h.Tx = tx
		rows = slices.DeleteFunc(rows, func(r territoryRow) bool { return r == h })
	}
	if len(rows) == 0 {
		return nil
	}
	return s.orm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "key"}}, UpdateAll: true}).CreateInBatches(rows, 200).Error
}

func (s *Store) loadIndicators(ctx context.Context, tx int64, indicators []impact.Indicator) error {
	rows := make([]indicatorRow, len(indicators))
	for i, x := range indicators {
		body, err := json.Marshal(x)
		if err != nil {
			return err
		}
		rows[i] = indicatorRow{x.Key, string(x.Code), string(x.Kind), string(x.ImpactType), i, string(body), tx}
	}
	var held []indicatorRow
	if err := s.orm(ctx).Find(&held).Error; err != nil {
		return err
	}
	for _, h := range held {
		if !slices.ContainsFunc(rows, func(r indicatorRow) bool { return r.Key == h.Key && r.Code == h.Code }) {
			return fmt.Errorf("key %d is %s for ever, and facts hold it", h.Key, h.Code)
		}
		h.Tx = tx
		rows = slices.DeleteFunc(rows, func(r indicatorRow) bool { return r == h })
	}
	if len(rows) == 0 {
		return nil
	}
	return s.orm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "key"}}, UpdateAll: true}).CreateInBatches(rows, 200).Error
}

func (s *Store) loadCodes(ctx context.Context, r impact.Reference) error {
	var rows []codeRow
	add := func(list, code string, v any) error {
		body, err := json.Marshal(v)
		rows = append(rows, codeRow{list, code, len(rows), string(body)})
		return err
	}
	for _, t := range r.ImpactTypes {
		if err := add(impactTypeList, string(t.Code), t); err != nil {
			return err
		}
	}
	for _, u := range r.Units {
		if err := add(unitList, u.Code, u); err != nil {
			return err
		}
	}
	for _, k := range r.MeasureKinds {
		if err := add(measureKindList, k.Code, k); err != nil {
			return err
		}
	}
	for _, c := range r.Codes {
		if err := add(c.List, c.Code, c); err != nil {
			return err
		}
	}
	if err := s.orm(ctx).Where("1 = 1").Delete(&codeRow{}).Error; err != nil {
		return err
	}
	return s.orm(ctx).CreateInBatches(rows, 200).Error
}

// Catalogue is the reference data in force, read from the database once and
// kept until LoadReference changes it. Busy ("unavailable") before the first
// load.
func (s *Store) Catalogue(ctx context.Context) (*impact.Catalogue, error) {
	if c := s.catalogue.Load(); c != nil {
		return c, nil
	}
	r, err := s.reference(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the reference data: %w", err)
	}
	c, err := impact.NewCatalogue(r)
	if err != nil {
		return nil, fmt.Errorf("reading the reference data: %w", err)
	}
	s.catalogue.Store(c)
	return c, nil
}

func (s *Store) reference(ctx context.Context) (r impact.Reference, err error) {
	if r.Version, err = s.referenceVersion(ctx); err != nil {
		return r, err
	}
	if r.Version == "" {
		return r, &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: impact.Text{
			FR: "Les données de référence ne sont pas chargées.", EN: "The reference data is not loaded.",
		}}
	}
	var territories []territoryRow
	if err := s.orm(ctx).Order("key").Find(&territories).Error; err != nil {
		return r, err
	}
	for _, row := range territories {
		if r.Territories, err = appendJSON(r.Territories, row.Body); err != nil {
			return r, err
		}
	}
	var indicators []indicatorRow
	if err := s.orm(ctx).Order("position").Find(&indicators).Error; err != nil {
		return r, err
	}
	for _, row := range indicators {
		if r.Indicators, err = appendJSON(r.Indicators, row.Body); err != nil {
			return r, err
		}
	}
	var codes []codeRow
	if err := s.orm(ctx).Order("position").Find(&codes).Error; err != nil {
		return r, err
	}
	for _, row := range codes {
		switch row.List {
		case impactTypeList:
			r.ImpactTypes, err = appendJSON(r.ImpactTypes, row.Body)
		case unitList:
			r.Units, err = appendJSON(r.Units, row.Body)
		case measureKindList:
			r.MeasureKinds, err = appendJSON(r.MeasureKinds, row.Body)
		default:
			r.Codes, err = appendJSON(r.Codes, row.Body)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

func appendJSON[T any](to []T, body string) ([]T, error) {
	var v T
	err := json.Unmarshal([]byte(body), &v)
	return append(to, v), err
}

type geometryRow struct {
	Territory impact.TerritoryKey `gorm:"primaryKey;autoIncrement:false"`
	Geometry  string
	Source    string
	LoadedAt  int64
}

func (geometryRow) TableName() string { return "territory_geometries" }

// LoadGeometry keeps the contour (a GeoJSON geometry, as bytes) of each
// territory, in place of the former one. source names where it comes from.
func (s *Store) LoadGeometry(ctx context.Context, geometries map[impact.TerritoryKey][]byte, source string) error {
	rows := make([]geometryRow, 0, len(geometries))
	for k, g := range geometries {
		rows = append(rows, geometryRow{k, string(g), source, s.now().UnixMilli()})
	}
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b geometryRow) int { return int(a.Territory - b.Territory) })
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
		return s.orm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "territory"}}, UpdateAll: true}).CreateInBatches(rows, 100).Error
	})
	if err != nil {
		return fmt.Errorf("loading contours: %w", err)
	}
	return nil
}

// Geometries gives the contours there are; territories without one are absent.
func (s *Store) Geometries(ctx context.Context, keys []impact.TerritoryKey) (map[impact.TerritoryKey][]byte, error) {
	found := make(map[impact.TerritoryKey][]byte, len(keys))
	for some := range slices.Chunk(keys, 1000) {
		var rows []geometryRow
		if err := s.orm(ctx).Where("territory IN ?", some).Find(&rows).Error; err != nil {
			return nil, fmt.Errorf("reading contours: %w", err)
		}
		for _, r := range rows {
			found[r.Territory] = []byte(r.Geometry)
		}
	}
	return found, nil
}

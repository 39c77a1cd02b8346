package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

type externalKey struct {
	organisation       int32
	source, externalID string
}

func (w *workspace) readNames(ctx context.Context, names map[externalKey]bool) error {
	byOrganisation := map[int32][]string{}
	for n := range names {
		byOrganisation[n.organisation] = append(byOrganisation[n.organisation], n.externalID)
	}
	for organisation, ids := range byOrganisation {
		for some := range slices.Chunk(ids, 500) {
			var rows []externalFactRow
			if err := w.t.orm.WithContext(ctx).Where("organisation = ? AND external_id IN ?", organisation, some).Find(&rows).Error; err != nil {
				return fmt.Errorf("reading external ids: %w", err)
			}
			for _, r := range rows {
				w.named[externalKey{r.Organisation, r.Source, r.ExternalID}] = r.key()
			}
		}
	}
	return nil
}

type externalFactRow struct {
	Organisation           int32  `gorm:"primaryKey;autoIncrement:false"`
	Source                 string `gorm:"primaryKey"`
	ExternalID             string `gorm:"primaryKey"`
	Indicator              int16
	Territory              int32
	PeriodStart, PeriodEnd int32
	Cut                    int32
}

func (externalFactRow) TableName() string { return "observation_external_ids" }

func (r externalFactRow) key() factKey {
	return factKey{r.Organisation, r.Indicator, r.Territory, r.PeriodStart, r.PeriodEnd, r.Cut}
}

// name refuses an external id that already names another fact.
func (w *workspace) name(ctx context.Context, r *impact.Row, names map[externalKey]factKey) error {
	if len(r.Cells) == 0 || r.Cells[0].ExternalID == "" {
		return nil
	}
	n, k, err := w.nameOf(ctx, r)
	if err != nil {
		return err
	}
	other, taken := w.named[n]
	if !taken {
		other, taken = names[n]
	}
	if taken && other != k {
		r.Faults = append(r.Faults, impact.Fault{
			Code: "already_exists", Pointer: "/external_id", Value: n.externalID,
			Detail:     impact.Text{FR: "Cet identifiant désigne déjà une autre observation.", EN: "This id already names another observation."},
			Hint:       impact.Text{FR: "La clé d'une observation ne change pas : supprimez l'ancienne, ou choisissez un autre identifiant.", EN: "The key of an observation does not change: delete the former one, or choose another id."},
			Suggestion: "/v1/observations/" + string(idOf(other)),
		})
		return nil
	}
	names[n] = k
	return nil
}

// nameOf gives the external id of a row and the key it names, that of the
// view for a composed indicator.
func (w *workspace) nameOf(ctx context.Context, r *impact.Row) (externalKey, factKey, error) {
	c := &r.Cells[0]
	k, err := w.keyOf(ctx, c)
	if r.View {
		k.indicator = int16(r.Indicator.Key)
	}
	return externalKey{int32(c.Organisation), c.Source, c.ExternalID}, k, err
}

func (w *workspace) keyOf(ctx context.Context, o *impact.Observation) (factKey, error) {
	cut, err := numberOf(ctx, w.t, &w.s.cuts, o.Cut)
	return factKey{int32(o.Organisation), int16(o.Indicator), int32(o.Territory), int32(o.Period.Start), int32(o.Period.End), cut}, err
}

// unname forgets the external id a version had when the next has another.
func (w *workspace) unname(c *cell, source, externalID string) {
	if !strings.Contains(c.now.details, `"external_id"`) {
		return
	}
	var d factDetails
	if json.Unmarshal([]byte(c.now.details), &d) != nil || d.Source == source && d.ExternalID == externalID {
		return
	}
	n := externalKey{c.now.organisation, d.Source, d.ExternalID}
	delete(w.named, n)
	w.renamed[n] = true
}

func (w *workspace) writeNames(ctx context.Context) error {
	orm := w.t.orm.WithContext(ctx)
	var rows []externalFactRow
	for n := range maps.Keys(w.renamed) {
		k, named := w.named[n]
		if !named {
			if err := orm.Where("organisation = ? AND source = ? AND external_id = ?", n.organisation, n.source, n.externalID).Delete(&externalFactRow{}).Error; err != nil {
				return err
			}
			continue
		}
		rows = append(rows, externalFactRow{n.organisation, n.source, n.externalID, k.indicator, k.territory, k.start, k.end, k.cut})
	}
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b externalFactRow) int {
		return cmp.Or(cmp.Compare(a.Organisation, b.Organisation), cmp.Compare(a.Source, b.Source), cmp.Compare(a.ExternalID, b.ExternalID))
	})
	return orm.Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "organisation"}, {Name: "source"}, {Name: "external_id"}}, UpdateAll: true,
	}).CreateInBatches(rows, 500).Error
}

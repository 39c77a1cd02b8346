package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type questionnaireRow struct {
	Code                       string `gorm:"primaryKey"`
	LabelFR                    string `gorm:"column:label_fr"`
	LabelEN                    string `gorm:"column:label_en"`
	Indicators, StructureKinds string
	FromDay, ToDay             impact.Date
	Review                     impact.Review
	Version                    int
	UpdatedAt                  int64 `gorm:"autoUpdateTime:false"`
	Tx                         int64
}

func (questionnaireRow) TableName() string { return "questionnaires" }

// PutQuestionnaire creates a questionnaire (version 0) or changes it. Stale
// when version is no longer current, already_exists when version is 0 and it
// exists with other content.
func (s *Store) PutQuestionnaire(ctx context.Context, p impact.Principal, q impact.Questionnaire, version int) (impact.Questionnaire, error) {
	if p.Role != impact.RoleAdministrator {
		return impact.Questionnaire{}, forbidden("reference.manage")
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		var held []questionnaireRow
		if err := s.orm(ctx).Where("code = ?", q.Code).Find(&held).Error; err != nil {
			return err
		}
		indicators, err := json.Marshal(q.Indicators)
		if err != nil {
			return err
		}
		kinds, err := json.Marshal(q.StructureKinds)
		if err != nil {
			return err
		}
		row := questionnaireRow{q.Code, q.Label.FR, q.Label.EN, string(indicators), string(kinds), q.From, q.To, q.Review, 1, instant(t.id).UnixMilli(), t.id}
		if len(held) > 0 {
			same := held[0]
			same.Version, same.UpdatedAt, same.Tx = row.Version, row.UpdatedAt, row.Tx
			switch {
			case same == row && (version == 0 || version == held[0].Version):
				q.Version, q.UpdatedAt = held[0].Version, time.UnixMilli(held[0].UpdatedAt).UTC()
				return nil
			case version == 0:
				return alreadyExists("/v1/questionnaires/" + q.Code)
			case version != held[0].Version:
				return stale(held[0].Version)
			}
			row.Version = version + 1
		} else if version != 0 {
			return impact.NotFoundError()
		}
		q.Version, q.UpdatedAt = row.Version, instant(t.id)
		if err := s.orm(ctx).Save(&row).Error; err != nil {
			return err
		}
		_, err = t.commit(ctx, "questionnaire", nil)
		return err
	})
	if err != nil {
		return impact.Questionnaire{}, fmt.Errorf("writing a questionnaire: %w", err)
	}
	return q, nil
}

// Questionnaires lists all of them by code: they are public.
func (s *Store) Questionnaires(ctx context.Context) ([]impact.Questionnaire, error) {
	return questionnairesOf(s.orm(ctx))
}

// Questionnaire gives one, or not_found.
func (s *Store) Questionnaire(ctx context.Context, code string) (impact.Questionnaire, error) {
	list, err := questionnairesOf(s.orm(ctx).Where("code = ?", code))
	if err == nil && len(list) == 0 {
		err = impact.NotFoundError()
	}
	if err != nil {
		return impact.Questionnaire{}, err
	}
	return list[0], nil
}

func questionnairesOf(db *gorm.DB) ([]impact.Questionnaire, error) {
	var rows []questionnaireRow
	if err := db.Order("code").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading questionnaires: %w", err)
	}
	list := make([]impact.Questionnaire, len(rows))
	for i, r := range rows {
		list[i] = impact.Questionnaire{
			Code: r.Code, Label: impact.Text{FR: r.LabelFR, EN: r.LabelEN}, From: r.FromDay, To: r.ToDay,
			Review: r.Review, Version: r.Version, UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
		}
		if err := json.Unmarshal([]byte(r.Indicators), &list[i].Indicators); err != nil {
			return nil, fmt.Errorf("reading questionnaire %s: %w", r.Code, err)
		}
		if err := json.Unmarshal([]byte(r.StructureKinds), &list[i].StructureKinds); err != nil {
			return nil, fmt.Errorf("reading questionnaire %s: %w", r.Code, err)
		}
	}
	return list, nil
}

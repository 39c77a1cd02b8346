package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

type consentRow struct {
	Organisation         impact.OrganisationKey `gorm:"primaryKey;autoIncrement:false"`
	Kind                 impact.ConsentKind     `gorm:"primaryKey"`
	Given                int16
	Wording              string
	GivenAt, WithdrawnAt int64
	ActedBy              string
	Version              int
	UpdatedAt            int64 `gorm:"autoUpdateTime:false"`
	Tx                   int64
}

type consentVersionRow struct {
	Organisation impact.OrganisationKey `gorm:"primaryKey;autoIncrement:false"`
	Kind         impact.ConsentKind     `gorm:"primaryKey"`
	Version      int                    `gorm:"primaryKey;autoIncrement:false"`
	Given        int16
	Wording      string
	At           int64
	ActedBy      string
	Tx           int64
}

func (consentRow) TableName() string        { return "consents" }
func (consentVersionRow) TableName() string { return "consent_versions" }

// consentHistory is how many versions are shown.
const consentHistory = 100

// Consents gives where an organisation stands on every purpose, those it never
// spoke about included. Only itself reads it, not_found for others.
func (s *Store) Consents(ctx context.Context, p impact.Principal, of impact.OrganisationID) ([]impact.Consent, error) {
	if !p.Is(of) {
		return nil, fmt.Errorf("reading consents: %w", impact.NotFoundError())
	}
	list := make([]impact.Consent, len(impact.ConsentKinds))
	for i, k := range impact.ConsentKinds {
		var err error
		if list[i], err = s.consent(ctx, of, k.Kind); err != nil {
			return nil, fmt.Errorf("reading consents: %w", err)
		}
	}
	return list, nil
}

func (s *Store) consent(ctx context.Context, of impact.OrganisationID, kind impact.ConsentKind) (impact.Consent, error) {
	c := impact.Consent{Organisation: of, Kind: kind}
	const own = "organisation = (SELECT key FROM organisations WHERE id = ?) AND kind = ?"
	var row consentRow
	switch err := s.orm(ctx).Where(own, of, kind).Take(&row).Error; {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return c, nil
	case err != nil:
		return c, err
	}
	var versions []consentVersionRow
	if err := s.orm(ctx).Where(own, of, kind).Order("version DESC").Limit(consentHistory).Find(&versions).Error; err != nil {
		return c, err
	}
	c.Given, c.Wording, c.ActedBy, c.Version = row.Given != 0, row.Wording, row.ActedBy, row.Version
	c.GivenAt, c.WithdrawnAt, c.UpdatedAt = moment(row.GivenAt), moment(row.WithdrawnAt), moment(row.UpdatedAt)
	for _, v := range versions {
		c.History = append(c.History, impact.ConsentVersion{Version: v.Version, Given: v.Given != 0, Wording: v.Wording, At: moment(v.At), ActedBy: v.ActedBy})
	}
	return c, nil
}

// SetConsent gives or withdraws a consent of the caller's own organisation, in
// the wording of today. It acts on whatever is read next. Unchanged when the
// organisation said so already, Created when it was not given before;
// not_found for another organisation and for an unknown kind.
func (s *Store) SetConsent(ctx context.Context, p impact.Principal, of impact.OrganisationID, kind impact.ConsentKind, given bool) (impact.Consent, impact.Outcome, error) {
	if !p.Is(of) || !kind.Known() {
		return impact.Consent{}, "", fmt.Errorf("changing a consent: %w", impact.NotFoundError())
	}
	var after impact.Consent
	var outcome impact.Outcome
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		found, err := s.organisations(s.orm(ctx).Where("id = ?", of))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return impact.NotFoundError()
		}
		key := found[0].Key
		if err := s.dialect.run(ctx, t, s.dialect.lockOrganisations([]int32{int32(key)})...); err != nil {
			return err
		}
		before, err := s.consent(ctx, of, kind)
		if err != nil {
			return err
		}
		if before.Given == given && (!given || before.Wording == impact.ConsentWording) {
			after, outcome = before, impact.Unchanged
			return nil
		}
		now := instant(t.id).UnixMilli()
		row := consentRow{
			Organisation: key, Kind: kind, Wording: before.Wording, ActedBy: p.Client, Version: before.Version + 1, UpdatedAt: now, Tx: t.id,
		}
		action := impact.ConsentWithdrawn
		if given {
			row.Given, row.Wording, row.GivenAt, action = 1, impact.ConsentWording, now, impact.ConsentGiven
		} else {
			row.GivenAt, row.WithdrawnAt = before.GivenAt.UnixMilli(), now
		}
		if err := s.orm(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return err
		}
		version := consentVersionRow{key, kind, row.Version, row.Given, row.Wording, now, p.Client, t.id}
		if err := s.orm(ctx).Create(&version).Error; err != nil {
			return err
		}
		line := impact.Audit(p, action, "/v1/organisations/"+string(of)+"/consents/"+string(kind))
		line.Organisation, line.Detail = of, map[string]string{"wording": row.Wording}
		if err := s.audit(ctx, t, line); err != nil {
			return err
		}
		if after, err = s.consent(ctx, of, kind); err != nil {
			return err
		}
		outcome = impact.Updated
		if given && !before.Given {
			outcome = impact.Created
		}
		_, err = t.commit(ctx, "consent", nil)
		return err
	})
	if err != nil {
		return impact.Consent{}, "", fmt.Errorf("changing a consent: %w", err)
	}
	return after, outcome, nil
}

// consenting is the condition that an organisation agreed to one of the
// purposes.
func consenting(kinds []impact.ConsentKind) (string, []any) {
	return "EXISTS (SELECT 1 FROM consents AS c WHERE c.organisation = organisations.key AND c.given = 1 AND c.kind IN ?)", []any{kinds}
}

// shownOrganisation keeps the organisations a caller may see or that consented
// to be read by it.
func (s *Store) shownOrganisation(p impact.Principal) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		own, args := s.seesOrganisation(p)
		agreed, kinds := consenting(p.Shows())
		return db.Where("("+own+" OR "+agreed+")", append(args, kinds...)...)
	}
}

// asShown puts into public form the organisations of which the caller may not
// read everything: those it reads by their consent alone, and members that gave
// their network no mandate for it. That an organisation is a member is said by
// the network; what only partners know is opened by the organisation.
func (s *Store) asShown(ctx context.Context, p impact.Principal, list []impact.Organisation) error {
	if len(list) == 0 || p.Role == impact.RoleSteward || p.Role == impact.RoleAdministrator {
		return nil
	}
	keys := make([]impact.OrganisationKey, len(list))
	for i := range list {
		keys[i] = list[i].Key
	}
	condition, args := s.knowsOrganisation(p)
	var known []impact.OrganisationKey
	if err := s.orm(ctx).Model(&organisationRow{}).Where(condition, args...).Where("key IN ?", keys).Pluck("key", &known).Error; err != nil {
		return err
	}
	for i := range list {
		if !slices.Contains(known, list[i].Key) {
			list[i] = list[i].PublicForm()
		}
	}
	return nil
}

// ShownOrganisations gives those a reference may mean (see FindOrganisations) as
// a reader is shown them: those it may see, else those whose consent lets it
// read them. Ids in somebody's system find nothing among the latter, they are
// not public.
func (s *Store) ShownOrganisations(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error) {
	found, err := s.FindOrganisations(ctx, p, ref)
	if err == nil && len(found) == 0 {
		found, err = s.consentingOrganisations(ctx, p, ref)
	}
	if err == nil {
		err = s.asShown(ctx, p, found)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up an organisation: %w", err)
	}
	return found, nil
}

func (s *Store) consentingOrganisations(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error) {
	scheme, rest, _ := strings.Cut(ref, ":")
	column := "id"
	switch scheme {
	case "ext":
		return nil, nil
	case "siret", "siren", "rna":
		if rest == "" {
			return nil, nil
		}
		column, ref = scheme, rest
	}
	agreed, kinds := consenting(p.Shows())
	return s.organisations(s.orm(ctx).Where(agreed, kinds...).Where(column+" = ?", ref).Order("id").Limit(100))
}

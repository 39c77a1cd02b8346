package store

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type organisationRow struct {
	Key                          impact.OrganisationKey `gorm:"primaryKey;autoIncrement:false"`
	ID                           impact.OrganisationID
	Name, Search                 string
	SIRET                        string `gorm:"column:siret"`
	SIREN                        string `gorm:"column:siren"`
	RNA                          string `gorm:"column:rna"`
	Class                        impact.OrganisationClass
	StructureKind, LegalCategory string
	NAF                          string `gorm:"column:naf"`
	SizeClass, StaffBand         string
	ESS                          string `gorm:"column:ess"`
	ESSBasis                     string `gorm:"column:ess_basis"`
	GroupID, Questionnaires      string
	ExternalIDs                  string `gorm:"column:external_ids"`
	Sites                        string
	Successor                    impact.OrganisationID
	OpenedOn, ClosedOn           impact.Date
	Version                      int
	CreatedAt                    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt                    int64 `gorm:"autoUpdateTime:false"`
	Tx                           int64
}

type externalIDRow struct {
	Organisation       impact.OrganisationKey `gorm:"primaryKey;autoIncrement:false"`
	Position           int                    `gorm:"primaryKey;autoIncrement:false"`
	Source, ExternalID string
}

type siteRow struct {
	Organisation   impact.OrganisationKey `gorm:"primaryKey;autoIncrement:false"`
	Position       int                    `gorm:"primaryKey;autoIncrement:false"`
	SIRET          string                 `gorm:"column:siret"`
	Territory      impact.TerritoryID
	FromDay, ToDay impact.Date
}

func (organisationRow) TableName() string { return "organisations" }
func (externalIDRow) TableName() string   { return "organisation_external_ids" }
func (siteRow) TableName() string         { return "organisation_sites" }

// ownOrganisation keeps the organisations a caller may see.
func (s *Store) ownOrganisation(p impact.Principal) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		condition, args := s.seesOrganisation(p)
		return db.Where(condition, args...)
	}
}

// CreateOrganisation registers an organisation. The same SIRET with the same
// structure kind is the same organisation: Unchanged with the one on record if
// everything stated is the same, else already_exists with a Link to it.
// Administrators register anyone, an organisation the establishments of its own
// SIREN (not_mandated otherwise). A network registers a new member, which
// belongs to it from today; one that is known already it declares as a member
// (PutMembership).
func (s *Store) CreateOrganisation(ctx context.Context, p impact.Principal, o impact.Organisation) (impact.Organisation, impact.Outcome, error) {
	outcome := impact.Created
	var created impact.Organisation
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		if err := s.mayRegister(ctx, p, o); err != nil {
			return err
		}
		if o.SIRET != "" {
			same, err := s.organisations(s.orm(ctx).Where("siret = ? AND structure_kind = ?", o.SIRET, o.StructureKind))
			if err != nil {
				return err
			}
			if len(same) > 0 {
				outcome, created = impact.Unchanged, same[0]
				if p.Role == impact.RoleNetwork {
					return knownAlready(p.Network, o.SIRET)
				}
				if !sameOrganisation(same[0], o) {
					return alreadyExists("/v1/organisations/" + string(same[0].ID))
				}
				return nil
			}
		}
		var err error
		if created, err = s.enter(ctx, t, o); err != nil {
			return err
		}
		outcome = impact.Created
		if p.Role == impact.RoleNetwork {
			r, err := s.openRoster(ctx, t, p, p.Network, created.Key)
			if err != nil {
				return err
			}
			r.state(&created, impact.Membership{From: r.today, To: impact.MaxDate})
			_, err = r.write(ctx)
			return err
		}
		_, err = t.commit(ctx, "organisation", nil)
		return err
	})
	if err != nil {
		return impact.Organisation{}, "", fmt.Errorf("registering an organisation: %w", err)
	}
	return created, outcome, nil
}

// enter writes a new organisation into the register.
func (s *Store) enter(ctx context.Context, t *txn, o impact.Organisation) (impact.Organisation, error) {
	key, err := t.next(ctx, "organisation", 1)
	if err != nil {
		return o, err
	}
	o.Key, o.ID, o.Version = impact.OrganisationKey(key), impact.OrganisationID(s.newID()), 1
	o.CreatedAt = instant(t.id)
	o.UpdatedAt = o.CreatedAt
	if o.ClosedOn == 0 && o.OpenedOn == 0 {
		o.OpenedOn, o.ClosedOn = impact.MinDate, impact.MaxDate
	}
	row, err := rowOfOrganisation(&o, t.id)
	if err != nil {
		return o, err
	}
	if err := s.orm(ctx).Create(&row).Error; err != nil {
		return o, err
	}
	return o, s.writeParts(ctx, &o, nil)
}

func (s *Store) mayRegister(ctx context.Context, p impact.Principal, o impact.Organisation) error {
	switch p.Role {
	case impact.RoleAdministrator, impact.RoleNetwork:
		return nil
	case impact.RoleOrganisation:
		own, err := s.Organisation(ctx, p, p.Organisation)
		if err != nil {
			return err
		}
		if own.SIREN != "" && own.SIREN == o.SIREN {
			return nil
		}
		return &impact.Error{Kind: impact.Forbidden, Code: "not_mandated", Detail: impact.Text{
			FR: "Une organisation n'inscrit que les établissements de son propre SIREN.", EN: "An organisation registers only establishments of its own SIREN.",
		}, Hint: impact.Text{FR: "Demandez l'inscription à un administrateur.", EN: "Ask an administrator to register it."}}
	}
	return forbidden("organisations.write")
}

// knownAlready tells a network how to declare a member that is in the register;
// what the register says of it comes after.
func knownAlready(network impact.NetworkID, siret string) error {
	way := "PUT /v1/networks/" + string(network) + "/members/siret:" + siret
	return &impact.Error{Kind: impact.Conflict, Code: "already_exists", Detail: impact.Text{
		FR: "Cette organisation est déjà au registre.", EN: "This organisation is in the register already.",
	}, Hint: impact.Text{FR: "Déclarez-la membre de votre réseau : " + way + ".", EN: "Declare it a member of your network: " + way + "."}}
}

func alreadyExists(link string) error {
	return &impact.Error{Kind: impact.Conflict, Code: "already_exists", Link: link, Detail: impact.Text{
		FR: "Une ressource de même clé existe déjà, avec un autre contenu.", EN: "A resource with the same key already exists, with other content.",
	}, Hint: impact.Text{FR: "Modifiez-la à l'adresse indiquée.", EN: "Change it at the address given."}}
}

// sameOrganisation compares what a sender can state.
func sameOrganisation(a, b impact.Organisation) bool {
	for _, o := range []*impact.Organisation{&a, &b} {
		o.Key, o.ID, o.Version, o.CreatedAt, o.UpdatedAt = 0, "", 0, time.Time{}, time.Time{}
		if o.OpenedOn == 0 && o.ClosedOn == 0 {
			o.OpenedOn, o.ClosedOn = impact.MinDate, impact.MaxDate
		}
		o.ExternalIDs, o.Sites, o.Questionnaires = nilIfEmpty(o.ExternalIDs), nilIfEmpty(o.Sites), nilIfEmpty(o.Questionnaires)
	}
	return reflect.DeepEqual(a, b)
}

func nilIfEmpty[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// Organisation gives one organisation, not_found if the caller may not see it.
func (s *Store) Organisation(ctx context.Context, p impact.Principal, id impact.OrganisationID) (impact.Organisation, error) {
	found, err := s.organisations(s.orm(ctx).Scopes(s.ownOrganisation(p)).Where("id = ?", id))
	if err == nil && len(found) == 0 {
		err = impact.NotFoundError()
	}
	if err != nil {
		return impact.Organisation{}, fmt.Errorf("reading an organisation: %w", err)
	}
	return found[0], nil
}

// FindOrganisations gives every organisation a reference may mean among those
// the caller may see: an id, siret:…, siren:…, rna:… or ext:{source}:{id},
// identifiers normalised. Empty when none, more than one when ambiguous.
func (s *Store) FindOrganisations(ctx context.Context, p impact.Principal, ref string) ([]impact.Organisation, error) {
	db := s.orm(ctx).Scopes(s.ownOrganisation(p)).Order("id").Limit(100)
	scheme, rest, _ := strings.Cut(ref, ":")
	switch scheme {
	case "siret", "siren", "rna":
		if rest == "" {
			return nil, nil
		}
		db = db.Where(scheme+" = ?", rest)
	case "ext":
		source, id, _ := strings.Cut(rest, ":")
		db = db.Where("key IN (SELECT organisation FROM organisation_external_ids WHERE source = ? AND external_id = ?)", source, id)
	default:
		db = db.Where("id = ?", ref)
	}
	found, err := s.organisations(db)
	if err != nil {
		return nil, fmt.Errorf("looking up an organisation: %w", err)
	}
	return found, nil
}

// FindEachOrganisation is FindOrganisations for many references in a few
// queries. References that mean nobody are absent.
func (s *Store) FindEachOrganisation(ctx context.Context, p impact.Principal, refs []string) (map[string][]impact.Organisation, error) {
	columns := map[string][]string{}
	wanted := make(map[string]bool, len(refs))
	for _, ref := range refs {
		if wanted[ref] {
			continue
		}
		wanted[ref] = true
		scheme, rest, _ := strings.Cut(ref, ":")
		switch scheme {
		case "siret", "siren", "rna":
			columns[scheme] = append(columns[scheme], rest)
		case "ext":
			_, id, _ := strings.Cut(rest, ":")
			columns[scheme] = append(columns[scheme], id)
		default:
			columns["id"] = append(columns["id"], ref)
		}
	}
	found := make(map[string][]impact.Organisation, len(wanted))
	for column, values := range columns {
		for some := range slices.Chunk(values, 1000) {
			db := s.orm(ctx).Scopes(s.ownOrganisation(p)).Order("id")
			if column == "ext" {
				db = db.Where("key IN (SELECT organisation FROM organisation_external_ids WHERE external_id IN ?)", some)
			} else {
				db = db.Where(column+" IN ?", some)
			}
			list, err := s.organisations(db)
			if err != nil {
				return nil, fmt.Errorf("looking up organisations: %w", err)
			}
			for _, o := range list {
				for _, ref := range namesOf(&o, column) {
					if wanted[ref] {
						found[ref] = append(found[ref], o)
					}
				}
			}
		}
	}
	return found, nil
}

// namesOf gives the references of one scheme that mean an organisation.
func namesOf(o *impact.Organisation, scheme string) []string {
	switch scheme {
	case "id":
		return []string{string(o.ID)}
	case "siret":
		return []string{"siret:" + o.SIRET}
	case "siren":
		return []string{"siren:" + o.SIREN}
	case "rna":
		return []string{"rna:" + o.RNA}
	}
	var names []string
	for _, x := range o.ExternalIDs {
		if name := "ext:" + x.Source + ":" + x.ID; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Organisations lists those the caller may see, and in public form those that
// consented to it, in the order of ids. With UpdatedSince, or by an external id,
// it lists those the caller may see only, then in the order (UpdatedAt, ID):
// neither is public. next is nil on the last page.
func (s *Store) Organisations(ctx context.Context, p impact.Principal, f impact.OrganisationFilter, page impact.Page) (list []impact.Organisation, next []string, err error) {
	sight := s.shownOrganisation(p)
	if !f.UpdatedSince.IsZero() || f.ExternalID != nil {
		sight = s.ownOrganisation(p)
	}
	db := s.orm(ctx).Scopes(sight)
	equal := func(column, value string) {
		if value != "" {
			db = db.Where(column+" = ?", value)
		}
	}
	equal("siret", f.SIRET)
	equal("siren", f.SIREN)
	equal("rna", f.RNA)
	equal("ess", f.ESS)
	equal("structure_kind", f.StructureKind)
	equal("class", string(f.Class))
	if f.ExternalID != nil {
		db = db.Where("key IN (SELECT organisation FROM organisation_external_ids WHERE source = ? AND external_id = ?)", f.ExternalID.Source, f.ExternalID.ID)
	}
	if f.Territories != nil {
		db = db.Where("key IN (SELECT organisation FROM organisation_sites WHERE territory IN ?)", append(f.Territories, ""))
	}
	for _, word := range strings.Fields(fold(f.Query)) {
		db = db.Where(`search LIKE ? ESCAPE '\'`, likeWord(word))
	}
	db, err = keyset(db, page, f.UpdatedSince, "")
	if err != nil {
		return nil, nil, err
	}
	list, err = s.organisations(db)
	if err != nil {
		return nil, nil, fmt.Errorf("listing organisations: %w", err)
	}
	list, next = pageOf(list, page, func(o impact.Organisation) []string {
		return keysetPosition(f.UpdatedSince, string(o.ID), o.UpdatedAt.UnixMilli())
	})
	if err = s.asShown(ctx, p, list); err != nil {
		return nil, nil, fmt.Errorf("listing organisations: %w", err)
	}
	return list, next, nil
}

// keyset orders by (updated_at, id) or id of a table ("submissions."), starts
// after the page's position and asks for one row more than the page holds.
func keyset(db *gorm.DB, page impact.Page, since time.Time, table string) (*gorm.DB, error) {
	id, updated := table+"id", table+"updated_at"
	if since.IsZero() {
		switch len(page.After) {
		case 0:
		case 1:
			db = db.Where(id+" > ?", page.After[0])
		default:
			return nil, badCursor()
		}
		return db.Order(id).Limit(page.Limit + 1), nil
	}
	db = db.Where(updated+" >= ?", since.UnixMilli())
	switch len(page.After) {
	case 0:
	case 2:
		at, err := strconv.ParseInt(page.After[0], 10, 64)
		if err != nil {
			return nil, badCursor()
		}
		db = db.Where("("+updated+", "+id+") > (?, ?)", at, page.After[1])
	default:
		return nil, badCursor()
	}
	return db.Order(updated + ", " + id).Limit(page.Limit + 1), nil
}

// keysetPosition is where keyset starts after a row.
func keysetPosition(since time.Time, id string, updatedAt int64) []string {
	if since.IsZero() {
		return []string{id}
	}
	return []string{strconv.FormatInt(updatedAt, 10), id}
}

func badCursor() error {
	return &impact.Error{Kind: impact.Malformed, Code: "invalid_cursor", Detail: impact.Text{
		FR: "Ce curseur n'est pas de ceux que nous donnons.", EN: "This cursor is not one of ours.",
	}}
}

// pageOf cuts the surplus row and tells where the next page starts.
func pageOf[T any](rows []T, page impact.Page, position func(T) []string) ([]T, []string) {
	if len(rows) <= page.Limit {
		return rows, nil
	}
	rows = rows[:page.Limit]
	return rows, position(rows[len(rows)-1])
}

// UpdateOrganisation lets change alter what the sender may state and writes
// the next version, or nothing when nothing changed. Stale when version is no
// longer current. What has been written with an observation (class, structure
// kind, size, ESS) does not move.
func (s *Store) UpdateOrganisation(ctx context.Context, p impact.Principal, id impact.OrganisationID, version int, change func(*impact.Organisation) error) (impact.Organisation, error) {
	var after impact.Organisation
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		found, err := s.organisations(s.orm(ctx).Scopes(s.ownOrganisation(p)).Where("id = ?", id))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return impact.NotFoundError()
		}
		if p.Role != impact.RoleAdministrator && p.Role != impact.RoleNetwork && !p.Is(id) {
			return forbidden("organisations.write")
		}
		// Observations being written hold this lock: they freeze one profile.
		if err := s.dialect.run(ctx, t, s.dialect.lockOrganisations([]int32{int32(found[0].Key)})...); err != nil {
			return err
		}
		if err := s.mayChange(ctx, p, found[0].Key); err != nil {
			return err
		}
		found, err = s.organisations(s.orm(ctx).Where("id = ?", id))
		if err != nil {
			return err
		}
		before := found[0]
		if before.Version != version {
			return stale(before.Version)
		}
		after = before
		after.ExternalIDs, after.Sites, after.Questionnaires = slices.Clone(before.ExternalIDs), slices.Clone(before.Sites), slices.Clone(before.Questionnaires)
		if err := change(&after); err != nil {
			return err
		}
		after.Key, after.ID, after.CreatedAt = before.Key, before.ID, before.CreatedAt
		if sameOrganisation(before, after) {
			after = before
			return nil
		}
		after.Version, after.UpdatedAt = before.Version+1, instant(t.id)
		row, err := rowOfOrganisation(&after, t.id)
		if err != nil {
			return err
		}
		if err := s.orm(ctx).Save(&row).Error; err != nil {
			return err
		}
		if err := s.writeParts(ctx, &after, &before); err != nil {
			return err
		}
		_, err = t.commit(ctx, "organisation", nil)
		return err
	})
	if err != nil {
		return impact.Organisation{}, fmt.Errorf("changing an organisation: %w", err)
	}
	return after, nil
}

// mayChange refuses a network without mandate organisations.write, and logs the
// use of the mandate.
func (s *Store) mayChange(ctx context.Context, p impact.Principal, key impact.OrganisationKey) error {
	if p.Role != impact.RoleNetwork {
		return nil
	}
	permits, err := s.Mandated(ctx, p, impact.Use{Organisation: key, Scope: impact.OrganisationsWrite, Period: impact.AnyPeriod})
	switch {
	case err != nil:
		return err
	case permits[0].Fault != nil:
		return notMandated(permits[0].Fault)
	case permits[0].Mandate == "":
		return nil
	}
	return s.insertUses(ctx, []useRow{{Mandate: permits[0].Mandate, Client: p.Client, Action: string(impact.OrganisationsWrite), Rows: 1}})
}

// writeParts writes external ids and sites where they differ from before.
func (s *Store) writeParts(ctx context.Context, o, before *impact.Organisation) error {
	if before == nil || !slices.Equal(o.ExternalIDs, before.ExternalIDs) {
		if before != nil {
			if err := s.orm(ctx).Where("organisation = ?", o.Key).Delete(&externalIDRow{}).Error; err != nil {
				return err
			}
		}
		rows := make([]externalIDRow, len(o.ExternalIDs))
		for i, e := range o.ExternalIDs {
			rows[i] = externalIDRow{o.Key, i, e.Source, e.ID}
		}
		if len(rows) > 0 {
			if err := s.orm(ctx).Create(&rows).Error; err != nil {
				return err
			}
		}
	}
	if before != nil && slices.Equal(o.Sites, before.Sites) {
		return nil
	}
	if before != nil {
		if err := s.orm(ctx).Where("organisation = ?", o.Key).Delete(&siteRow{}).Error; err != nil {
			return err
		}
	}
	rows := make([]siteRow, len(o.Sites))
	for i, x := range o.Sites {
		rows[i] = siteRow{o.Key, i, x.SIRET, x.Territory, x.From, x.To}
	}
	if len(rows) == 0 {
		return nil
	}
	return s.orm(ctx).CreateInBatches(rows, 500).Error
}

func rowOfOrganisation(o *impact.Organisation, tx int64) (organisationRow, error) {
	var texts [3]string
	for i, list := range []any{o.Questionnaires, o.ExternalIDs, o.Sites} {
		text, err := json.Marshal(list)
		if err != nil {
			return organisationRow{}, err
		}
		texts[i] = string(text)
	}
	return organisationRow{
		Key: o.Key, ID: o.ID, Name: o.Name, Search: fold(o.Name), SIRET: o.SIRET, SIREN: o.SIREN, RNA: o.RNA, Class: o.Class,
		StructureKind: o.StructureKind, LegalCategory: o.LegalCategory, NAF: o.NAF, SizeClass: o.SizeClass, StaffBand: o.StaffBand,
		ESS: o.ESS, ESSBasis: o.ESSBasis, GroupID: o.GroupID, Questionnaires: texts[0], ExternalIDs: texts[1], Sites: texts[2], Successor: o.Successor,
		OpenedOn: o.OpenedOn, ClosedOn: o.ClosedOn, Version: o.Version, CreatedAt: o.CreatedAt.UnixMilli(), UpdatedAt: o.UpdatedAt.UnixMilli(), Tx: tx,
	}, nil
}

// organisations runs a query on the table.
func (s *Store) organisations(query *gorm.DB) ([]impact.Organisation, error) {
	var rows []organisationRow
	if err := query.Find(&rows).Error; err != nil {
		return nil, err
	}
	return organisationsOf(rows)
}

func organisationsOf(rows []organisationRow) ([]impact.Organisation, error) {
	list := make([]impact.Organisation, len(rows))
	for i, r := range rows {
		o := &list[i]
		*o = impact.Organisation{
			Key: r.Key, ID: r.ID, Name: r.Name, SIRET: r.SIRET, SIREN: r.SIREN, RNA: r.RNA, Class: r.Class, StructureKind: r.StructureKind,
			LegalCategory: r.LegalCategory, NAF: r.NAF, SizeClass: r.SizeClass, StaffBand: r.StaffBand, ESS: r.ESS, ESSBasis: r.ESSBasis,
			GroupID: r.GroupID, Successor: r.Successor, OpenedOn: r.OpenedOn, ClosedOn: r.ClosedOn, Version: r.Version,
			CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
		}
		for _, part := range []struct {
			text string
			into any
		}{{r.Questionnaires, &o.Questionnaires}, {r.ExternalIDs, &o.ExternalIDs}, {r.Sites, &o.Sites}} {
			if err := json.Unmarshal([]byte(part.text), part.into); err != nil {
				return nil, fmt.Errorf("reading organisation %s: %w", r.ID, err)
			}
		}
	}
	return list, nil
}

// fold takes case and accents away: "Régie Écully" is found by "ecully".
func fold(s string) string {
	t := transform.Chain(norm.NFD, runes.Remove(runes.In(unicode.Mn)), norm.NFC)
	folded, _, err := transform.String(t, s)
	if err != nil {
		folded = s
	}
	return strings.ToLower(strings.NewReplacer("œ", "oe", "Œ", "oe", "æ", "ae", "’", "'").Replace(folded))
}

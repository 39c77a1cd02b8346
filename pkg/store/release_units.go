package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// Snapshot is all that the figures of a release are made from, at one commit. It
// belongs to who asked for it: no write reaches its cube.
type Snapshot struct {
	Cube *calculation.Cube
	Seq  int64
	// Waived are the organisations that agreed to be recognised.
	Waived map[impact.OrganisationID]bool
}

// Snapshot reads one, in one transaction that only reads: writers go on.
func (s *Store) Snapshot(ctx context.Context) (*Snapshot, error) {
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading a snapshot: %w", err)
	}
	n := &Snapshot{Cube: calculation.NewCube(catalogue), Waived: map[impact.OrganisationID]bool{}}
	err = s.snapshot(ctx, func(ctx context.Context, t *txn) error {
		if err := s.fill(ctx, t, n.Cube); err != nil {
			return err
		}
		n.Seq = n.Cube.Seq()
		var waived []impact.OrganisationID
		err := s.orm(ctx).Raw(`SELECT organisations.id FROM consents JOIN organisations ON organisations.key = consents.organisation
			WHERE consents.kind = ? AND consents.given = 1`, impact.SecrecyWaiver).Scan(&waived).Error
		for _, id := range waived {
			n.Waived[id] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading a snapshot: %w", err)
	}
	return n, nil
}

type unitRow struct {
	Content string `gorm:"primaryKey"`
	Family  string
	Year    int
	Digest  string
	Input   string
	Figures []byte
}

func (unitRow) TableName() string { return "release_units" }

type ledgerRow struct {
	Content string `gorm:"primaryKey"`
	Ledger  []byte
}

func (ledgerRow) TableName() string { return "release_ledgers" }

type contentRow struct {
	Release string `gorm:"primaryKey"`
	Family  string `gorm:"primaryKey"`
	Year    int    `gorm:"primaryKey;autoIncrement:false"`
	Content string
}

func (contentRow) TableName() string { return "release_contents" }

type releaseAuditRow struct {
	Release string `gorm:"primaryKey"`
	Family  string `gorm:"primaryKey"`
	Year    int    `gorm:"primaryKey;autoIncrement:false"`
	Report  []byte
}

func (releaseAuditRow) TableName() string { return "release_audits" }

// packer and unpacker are safe for concurrent use as they are used here.
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0))
)

// contentOf names a sealed unit by all of it.
func contentOf(u *release.Sealed) string {
	ledger := sha256.Sum256(u.Ledger)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%x\n%x\n%x\n", u.Unit.Family, u.Unit.Year, u.Digest, u.Input, ledger))
	return hex.EncodeToString(sum[:])
}

// KeepUnits adds sealed units to a release that is being built. Those that some
// release has already are not stored again. ErrReleaseLost when the build is no
// longer ours.
func (s *Store) KeepUnits(ctx context.Context, job *impact.ReleaseJob, units ...release.Sealed) error {
	rows, ledgers, contents := make([]unitRow, len(units)), make([]ledgerRow, len(units)), make([]contentRow, len(units))
	for i := range units { // before the transaction: compressing takes its time
		u := &units[i]
		name := contentOf(u)
		rows[i] = unitRow{name, u.Unit.Family, u.Unit.Year, hex.EncodeToString(u.Digest[:]), hex.EncodeToString(u.Input[:]), packer.EncodeAll(u.Figures, nil)}
		ledgers[i] = ledgerRow{name, packer.EncodeAll(u.Ledger, nil)}
		contents[i] = contentRow{job.Key, u.Unit.Family, u.Unit.Year, name}
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		if _, err := s.held(ctx, t, job); err != nil {
			return err
		}
		once := s.orm(ctx).Clauses(clause.OnConflict{DoNothing: true})
		if err := once.CreateInBatches(&rows, 50).Error; err != nil {
			return err
		}
		if err := s.orm(ctx).Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(&ledgers, 50).Error; err != nil {
			return err
		}
		return s.orm(ctx).CreateInBatches(&contents, 100).Error
	})
	if err != nil {
		return fmt.Errorf("keeping units of a release: %w", err)
	}
	return nil
}

// sweep forgets units that are in no release. Whoever holds the lease does it:
// nobody else adds any meanwhile.
func (s *Store) sweep(ctx context.Context, t *txn) error {
	const orphans = ` WHERE NOT EXISTS (SELECT 1 FROM release_contents WHERE release_contents.content = `
	_, err := t.tx.ExecContext(ctx, `DELETE FROM release_ledgers`+orphans+`release_ledgers.content)`)
	if err == nil {
		_, err = t.tx.ExecContext(ctx, `DELETE FROM release_units`+orphans+`release_units.content)`)
	}
	return err
}

func (s *Store) contents(ctx context.Context, id string) ([]contentRow, error) {
	var rows []contentRow
	if err := s.orm(ctx).Where("release = ?", id).Find(&rows).Error; err != nil {
		return nil, err
	}
	// Not by the database: it may sort letters as a dictionary does.
	slices.SortFunc(rows, func(a, b contentRow) int { return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Year, b.Year)) })
	return rows, nil
}

// ReleaseUnits gives the sealed units of an attempt, by its id, in the order of
// family and year, without their ledgers. Each is held to its digest: a unit that
// somebody altered is an error.
func (s *Store) ReleaseUnits(ctx context.Context, id string) iter.Seq2[*release.Sealed, error] {
	return func(yield func(*release.Sealed, error) bool) {
		contents, err := s.contents(ctx, id)
		if err != nil {
			yield(nil, fmt.Errorf("reading the units of a release: %w", err))
			return
		}
		for some := range slices.Chunk(contents, 50) {
			names := make([]string, len(some))
			for i := range some {
				names[i] = some[i].Content
			}
			var rows []unitRow
			if err := s.orm(ctx).Where("content IN ?", names).Find(&rows).Error; err != nil {
				yield(nil, fmt.Errorf("reading the units of a release: %w", err))
				return
			}
			found := map[string]*unitRow{}
			for i := range rows {
				found[rows[i].Content] = &rows[i]
			}
			for _, c := range some {
				r := found[c.Content]
				if r == nil {
					yield(nil, fmt.Errorf("release %s: unit %s %d is missing", id, c.Family, c.Year))
					return
				}
				u, err := r.sealed()
				if !yield(u, err) || err != nil {
					return
				}
			}
		}
	}
}

func (r *unitRow) sealed() (*release.Sealed, error) {
	u := &release.Sealed{Unit: release.Unit{Family: r.Family, Year: r.Year}}
	var err error
	if u.Figures, err = unpacker.DecodeAll(r.Figures, nil); err != nil {
		return nil, fmt.Errorf("unit %s %d: %w", r.Family, r.Year, err)
	}
	u.Digest = sha256.Sum256(u.Figures)
	input, err := hex.DecodeString(r.Input)
	if err != nil || hex.EncodeToString(u.Digest[:]) != r.Digest || copy(u.Input[:], input) != len(u.Input) {
		return nil, fmt.Errorf("unit %s %d is not what was sealed", r.Family, r.Year)
	}
	return u, nil
}

// UnitBefore gives a unit of a release with its ledger, for the build of the next
// one; nil when the release has no such unit.
func (s *Store) UnitBefore(ctx context.Context, id string, unit release.Unit) (*release.Sealed, error) {
	var row struct {
		Unit   unitRow `gorm:"embedded"`
		Ledger []byte
	}
	found := s.orm(ctx).Raw(`SELECT u.*, l.ledger FROM release_contents AS c JOIN release_units AS u ON u.content = c.content JOIN release_ledgers AS l ON l.content = c.content
		WHERE c.release = ? AND c.family = ? AND c.year = ?`, id, unit.Family, unit.Year).Scan(&row)
	if found.Error != nil {
		return nil, fmt.Errorf("reading a former unit: %w", found.Error)
	}
	if found.RowsAffected == 0 {
		return nil, nil
	}
	u, err := row.Unit.sealed()
	if err == nil {
		u.Ledger, err = unpacker.DecodeAll(row.Ledger, nil)
	}
	if err == nil && contentOf(u) != row.Unit.Content {
		err = errors.New("its ledger is not what was sealed")
	}
	if err != nil {
		return nil, fmt.Errorf("reading a former unit: %w", err)
	}
	return u, nil
}

// UnitNames lists the units of an attempt, in order.
func (s *Store) UnitNames(ctx context.Context, id string) ([]release.Unit, error) {
	contents, err := s.contents(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading the units of a release: %w", err)
	}
	list := make([]release.Unit, len(contents))
	for i, c := range contents {
		list[i] = release.Unit{Family: c.Family, Year: c.Year}
	}
	return list, nil
}

// verify makes the digest of a release again.
func (s *Store) verify(ctx context.Context, r *releaseRow) error {
	var d release.Digest
	n := 0
	for u, err := range s.ReleaseUnits(ctx, r.ID) {
		if err != nil {
			return err
		}
		d.Add(u)
		n++
	}
	if d.String() != r.Digest || n != r.UnitsTotal {
		return fmt.Errorf("release %d is not what was built: %d units of %d, digest %s for %s", r.Number, n, r.UnitsTotal, d.String(), r.Digest)
	}
	return nil
}

// KeepAudit writes what the auditor found in units of a release being built.
func (s *Store) KeepAudit(ctx context.Context, job *impact.ReleaseJob, found ...impact.ReleaseAudit) error {
	rows := make([]releaseAuditRow, len(found))
	for i := range found {
		text, err := json.Marshal(found[i])
		if err != nil {
			return fmt.Errorf("keeping an audit: %w", err)
		}
		rows[i] = releaseAuditRow{job.Key, found[i].Family, found[i].Year, packer.EncodeAll(text, nil)}
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		if _, err := s.held(ctx, t, job); err != nil {
			return err
		}
		return s.orm(ctx).CreateInBatches(&rows, 100).Error
	})
	if err != nil {
		return fmt.Errorf("keeping an audit: %w", err)
	}
	return nil
}

// ReleaseAudits gives what the auditor found, unit by unit in their order. next
// is nil on the last page.
func (s *Store) ReleaseAudits(ctx context.Context, id string, page impact.Page) (list []impact.ReleaseAudit, next []string, err error) {
	db := s.orm(ctx).Where("release = ?", id)
	switch len(page.After) {
	case 0:
	case 2:
		year, err := strconv.Atoi(page.After[1])
		if err != nil {
			return nil, nil, badCursor()
		}
		db = db.Where("(family, year) > (?, ?)", page.After[0], year)
	default:
		return nil, nil, badCursor()
	}
	var rows []releaseAuditRow
	if err := db.Order("family, year").Limit(page.Limit + 1).Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("reading an audit: %w", err)
	}
	rows, next = pageOf(rows, page, func(r releaseAuditRow) []string { return []string{r.Family, strconv.Itoa(r.Year)} })
	for _, r := range rows {
		a, err := r.audit()
		if err != nil {
			return nil, nil, err
		}
		list = append(list, a)
	}
	return list, next, nil
}

func (r *releaseAuditRow) audit() (a impact.ReleaseAudit, err error) {
	text, err := unpacker.DecodeAll(r.Report, nil)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return a, fmt.Errorf("reading an audit: %w", err)
	}
	return a, nil
}

// AuditBefore gives what the auditor found in a unit of a release, nil when that
// unit was made from something else or not audited.
func (s *Store) AuditBefore(ctx context.Context, id string, unit release.Unit, input [32]byte) (*impact.ReleaseAudit, error) {
	var rows []releaseAuditRow
	err := s.orm(ctx).Raw(`SELECT a.* FROM release_audits AS a JOIN release_contents AS c ON c.release = a.release AND c.family = a.family AND c.year = a.year
		JOIN release_units AS u ON u.content = c.content WHERE a.release = ? AND a.family = ? AND a.year = ? AND u.input = ?`,
		id, unit.Family, unit.Year, hex.EncodeToString(input[:])).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading a former audit: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	a, err := rows[0].audit()
	return &a, err
}

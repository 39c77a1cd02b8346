package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type importRow struct {
	ID                               impact.ImportID `gorm:"primaryKey"`
	Kind                             impact.ImportKind
	Client                           string
	Organisation                     impact.OrganisationID
	Network                          impact.NetworkID
	State                            impact.ImportState
	Outcome                          impact.ImportOutcome
	Principal, Options, File, Report string
	IdempotencyKey, Fingerprint      string
	RowsTotal, RowsDone              int
	Chunks, Attempts                 int
	Cancelling                       int16
	LeaseOwner                       string
	LeaseUntil                       int64
	StartedAt, FinishedAt            int64
	Version                          int
	CreatedAt                        int64 `gorm:"autoCreateTime:false"`
	UpdatedAt                        int64 `gorm:"autoUpdateTime:false"`
	Tx                               int64
}

func (importRow) TableName() string { return "imports" }

// pieceSize is how much of a file one row of import_sources holds, gzipped.
const pieceSize = 256 << 10

type pieceRow struct {
	Import  impact.ImportID `gorm:"primaryKey"`
	Ordinal int             `gorm:"primaryKey;autoIncrement:false"`
	Piece   []byte
}

func (pieceRow) TableName() string { return "import_sources" }

func (r *importRow) imported() (impact.Import, error) {
	m := impact.Import{
		ID: r.ID, Kind: r.Kind, Client: r.Client, Organisation: r.Organisation, Network: r.Network, State: r.State, Outcome: r.Outcome,
		RowsTotal: r.RowsTotal, RowsDone: r.RowsDone, Chunks: r.Chunks, Cancelling: r.Cancelling != 0, Version: r.Version,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(), StartedAt: moment(r.StartedAt), FinishedAt: moment(r.FinishedAt),
	}
	if r.Report == "" {
		return m, gone()
	}
	err := errors.Join(json.Unmarshal([]byte(r.Options), &m.Options), json.Unmarshal([]byte(r.File), &m.File), json.Unmarshal([]byte(r.Report), &m.Report))
	if err != nil {
		return m, fmt.Errorf("reading an import: %w", err)
	}
	return m, nil
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func gone() error {
	return &impact.Error{Kind: impact.NotFound, Code: "gone", Detail: impact.Text{
		FR: "Un fichier est conservé 30 jours, moins longtemps si de plus récents prennent toute la place, le rapport 400 jours : celui-ci ne l'est plus.",
		EN: "A file is kept for 30 days, less when newer ones take all the room, the report for 400 days: this one no longer is.",
	}}
}

// seesImports keeps the imports a caller may see: those of its organisation or
// network, all for a steward.
func seesImports(p impact.Principal) (string, []any) {
	switch {
	case p.Role == impact.RoleSteward:
		return "1 = 1", nil
	case p.Role == impact.RoleOrganisation && p.Organisation != "":
		return "organisation = ?", []any{p.Organisation}
	case p.Role == impact.RoleNetwork && p.Network != "":
		return "network = ?", []any{p.Network}
	}
	return "1 = 0", nil
}

// ownsImports is seesImports without stewards, for files and decisions.
func ownsImports(p impact.Principal) (string, []any) {
	if p.Role == impact.RoleSteward {
		return "1 = 0", nil
	}
	return seesImports(p)
}

// CreateImport records an import that waits for a worker, and its file. With
// the key of an import of the last 24 h the answer is that import (replayed);
// idempotency_key_reused when the request was another one, quota_exceeded when
// ImportConcurrent imports of the client are under way.
func (s *Store) CreateImport(ctx context.Context, p impact.Principal, n impact.NewImport, file io.ReadSeeker) (created impact.Import, replayed bool, err error) {
	fingerprint := hex.EncodeToString(n.Fingerprint[:])
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		replayed = false
		free, err := s.dialect.tryLock(ctx, t.tx, "imports of "+hex.EncodeToString([]byte(p.Client)))
		if err != nil {
			return err
		}
		if !free {
			return inProgress()
		}
		now := instant(t.id)
		orm := s.orm(ctx)
		var held []importRow
		if err := orm.Where("client = ? AND kind = ? AND idempotency_key = ?", p.Client, n.Kind, n.Key).Find(&held).Error; err != nil {
			return err
		}
		if len(held) > 0 && now.Sub(time.UnixMilli(held[0].CreatedAt)) < idempotencyAge {
			if held[0].Fingerprint != fingerprint {
				return keyReused()
			}
			replayed = true
			created, err = held[0].imported()
			return err
		}
		if len(held) > 0 {
			if err := orm.Model(&importRow{}).Where("id = ?", held[0].ID).Update("idempotency_key", "").Error; err != nil {
				return err
			}
		}
		var underWay int64
		if err := orm.Model(&importRow{}).Where("client = ? AND state IN ?", p.Client, underWayStates).Count(&underWay).Error; err != nil {
			return err
		}
		if underWay >= impact.ImportConcurrent {
			return tooManyImports()
		}
		row := importRow{
			ID: impact.ImportID(s.newID()), Kind: n.Kind, Client: p.Client, Organisation: p.Organisation, Network: p.Network, State: impact.ImportPending,
			IdempotencyKey: n.Key, Fingerprint: fingerprint, Version: 1, CreatedAt: now.UnixMilli(), UpdatedAt: now.UnixMilli(), Tx: t.id,
			LeaseUntil: s.now().Add(headStart).UnixMilli(),
		}
		if err := inJSON(map[*string]any{&row.Principal: p, &row.Options: n.Options, &row.File: n.File, &row.Report: impact.ImportReport{}}); err != nil {
			return err
		}
		if err := orm.Create(&row).Error; err != nil {
			return err
		}
		if err := keepPieces(orm, row.ID, file); err != nil {
			return err
		}
		if err := s.makeRoom(ctx, p); err != nil {
			return err
		}
		if created, err = row.imported(); err != nil {
			return err
		}
		_, err = t.commit(ctx, "import", nil)
		return err
	})
	if err != nil {
		return impact.Import{}, false, fmt.Errorf("recording an import: %w", err)
	}
	return created, replayed, nil
}

// headStart is how long a new import is left to the process that recorded it,
// whose caller may be waiting.
const headStart = 5 * time.Second

var underWayStates = []impact.ImportState{impact.ImportPending, impact.ImportRunning}

func tooManyImports() error {
	return &impact.Error{Kind: impact.Busy, Code: "quota_exceeded", Detail: impact.Text{
		FR: "Deux imports de ce client sont en cours, le plus qu'il puisse y en avoir.", EN: "Two imports of this client are under way, which is the most there may be.",
	}, Hint: impact.Text{
		FR: "Attendez la fin de l'un d'eux (GET /v1/imports?state=running), ou annulez-le.", EN: "Wait until one of them ends (GET /v1/imports?state=running), or cancel it.",
	}}
}

func inJSON(texts map[*string]any) error {
	for to, v := range texts {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("writing an import: %w", err)
		}
		*to = string(b)
	}
	return nil
}

func keepPieces(orm *gorm.DB, id impact.ImportID, file io.ReadSeeker) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil { // the transaction may run again
		return fmt.Errorf("reading the file: %w", err)
	}
	buffer := make([]byte, pieceSize)
	for i := 0; ; i++ {
		n, err := io.ReadFull(file, buffer)
		if n > 0 {
			packed, err := compress(buffer[:n])
			if err == nil {
				err = orm.Create(&pieceRow{id, i, packed}).Error
			}
			if err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the file: %w", err)
		}
	}
}

// makeRoom forgets the oldest files of the caller's organisation or network
// beyond what is kept for it. The file of an import that is not over stays.
func (s *Store) makeRoom(ctx context.Context, p impact.Principal) error {
	condition, args := ownsImports(p)
	var files []struct {
		ID    impact.ImportID
		State impact.ImportState
		Bytes int64
	}
	err := s.orm(ctx).Model(&importRow{}).Select("imports.id, imports.state, SUM(LENGTH(piece)) AS bytes").
		Joins("JOIN import_sources ON import_sources.import = imports.id").Where(condition, args...).
		Group("imports.id, imports.state, imports.created_at").Order("imports.created_at DESC, imports.id DESC").Find(&files).Error
	if err != nil {
		return err
	}
	var kept int64
	var surplus []impact.ImportID
	for _, f := range files {
		if kept += f.Bytes; kept > s.kept && f.State.Ended() {
			surplus = append(surplus, f.ID)
		}
	}
	if len(surplus) == 0 {
		return nil
	}
	return s.orm(ctx).Where("import IN ?", surplus).Delete(&pieceRow{}).Error
}

// Import gives one import, not_found if the caller may not see it, gone when
// its report is no longer kept.
func (s *Store) Import(ctx context.Context, p impact.Principal, id impact.ImportID) (impact.Import, error) {
	condition, args := seesImports(p)
	m, err := s.oneImport(ctx, id, condition, args)
	if err != nil {
		return impact.Import{}, fmt.Errorf("reading an import: %w", err)
	}
	return m, nil
}

func (s *Store) oneImport(ctx context.Context, id impact.ImportID, condition string, args []any) (impact.Import, error) {
	var row importRow
	if err := s.orm(ctx).Where("id = ?", id).Where(condition, args...).Take(&row).Error; err != nil {
		return impact.Import{}, s.refusal(err)
	}
	return row.imported()
}

// Imports lists those the caller may see whose report is kept, the last one
// first, or in the order of (UpdatedAt, ID) with UpdatedSince. next is nil on
// the last page.
func (s *Store) Imports(ctx context.Context, p impact.Principal, f impact.ImportFilter, page impact.Page) ([]impact.Import, []string, error) {
	condition, args := seesImports(p)
	db := s.orm(ctx).Where(condition, args...).Where("report <> ''")
	if f.Kind != "" {
		db = db.Where("kind = ?", f.Kind)
	}
	if f.State != "" {
		db = db.Where("state = ?", f.State)
	}
	if f.UpdatedSince.IsZero() {
		switch len(page.After) {
		case 0:
		case 1:
			db = db.Where("id < ?", page.After[0])
		default:
			return nil, nil, badCursor()
		}
		db = db.Order("id DESC").Limit(page.Limit + 1)
	} else {
		var err error
		if db, err = keyset(db, page, f.UpdatedSince, ""); err != nil {
			return nil, nil, err
		}
	}
	var rows []importRow
	if err := db.Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing imports: %w", err)
	}
	rows, next := pageOf(rows, page, func(r importRow) []string { return keysetPosition(f.UpdatedSince, string(r.ID), r.UpdatedAt) })
	list := make([]impact.Import, len(rows))
	for i := range rows {
		var err error
		if list[i], err = rows[i].imported(); err != nil {
			return nil, nil, err
		}
	}
	return list, next, nil
}

// ImportRows gives what became of the rows of a file, in their order: those of
// one outcome, those with a warning ("warning"), or all (""). next is nil on the
// last page.
func (s *Store) ImportRows(ctx context.Context, p impact.Principal, id impact.ImportID, outcome string, page impact.Page) (rows []impact.ImportRow, next []string, err error) {
	if _, err := s.Import(ctx, p, id); err != nil {
		return nil, nil, err
	}
	after := 0
	if len(page.After) > 0 {
		if after, err = strconv.Atoi(page.After[0]); err != nil || len(page.After) > 1 {
			return nil, nil, badCursor()
		}
	}
	db := s.orm(ctx).Where("import = ? AND last_row > ?", id, after)
	if outcome != "" {
		db = db.Where("outcomes LIKE ?", "% "+outcome+" %")
	}
	for ordinal := -1; len(rows) <= page.Limit; {
		var found []importRowsRow
		if err := db.Session(&gorm.Session{}).Where("ordinal > ?", ordinal).Order("ordinal").Limit(1).Find(&found).Error; err != nil {
			return nil, nil, fmt.Errorf("reading rows of an import: %w", err)
		}
		if len(found) == 0 {
			break
		}
		ordinal = found[0].Ordinal
		all, err := found[0].unpack()
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, slices.DeleteFunc(all, func(r impact.ImportRow) bool {
			return r.Row <= after || outcome == "warning" && len(r.Warnings) == 0 || outcome != "" && outcome != "warning" && string(r.Outcome) != outcome
		})...)
	}
	rows, next = pageOf(rows, page, func(r impact.ImportRow) []string { return []string{strconv.Itoa(r.Row)} })
	return rows, next, nil
}

// ImportSource gives the file of an import as it was sent, to its owner: gone
// when it is no longer kept.
func (s *Store) ImportSource(ctx context.Context, p impact.Principal, id impact.ImportID) (io.Reader, error) {
	condition, args := ownsImports(p)
	if _, err := s.oneImport(ctx, id, condition, args); err != nil {
		return nil, fmt.Errorf("reading the file of an import: %w", err)
	}
	var first []pieceRow
	if err := s.orm(ctx).Where("import = ? AND ordinal = 0", id).Find(&first).Error; err != nil {
		return nil, fmt.Errorf("reading the file of an import: %w", err)
	}
	if len(first) == 0 {
		return nil, gone()
	}
	return &pieces{ctx: ctx, s: s, id: id}, nil
}

// pieces reads a file piece by piece.
type pieces struct {
	ctx  context.Context
	s    *Store
	id   impact.ImportID
	next int
	rest []byte
}

func (r *pieces) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		var found []pieceRow
		if err := r.s.orm(r.ctx).Where("import = ? AND ordinal = ?", r.id, r.next).Find(&found).Error; err != nil {
			return 0, fmt.Errorf("reading the file of an import: %w", err)
		}
		if len(found) == 0 {
			return 0, io.EOF
		}
		r.next++
		var err error
		if r.rest, err = expand(found[0].Piece); err != nil {
			return 0, fmt.Errorf("reading the file of an import: %w", err)
		}
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// CancelImport ends an import that waits, and asks one under way to stop after
// the rows being written: what was written stays. bad_state when it has ended.
func (s *Store) CancelImport(ctx context.Context, p impact.Principal, id impact.ImportID) (impact.Import, error) {
	return s.decideImport(ctx, p, id, func(r *importRow) error {
		switch r.State {
		case impact.ImportPending, impact.ImportHeld:
			r.State, r.FinishedAt = impact.ImportCancelled, r.UpdatedAt
		case impact.ImportRunning:
			r.Cancelling = 1
		default:
			return importState(r.State)
		}
		return nil
	})
}

// ConfirmImport lets the deletions go on that an import was held for; bad_state
// when it is not held.
func (s *Store) ConfirmImport(ctx context.Context, p impact.Principal, id impact.ImportID) (impact.Import, error) {
	return s.decideImport(ctx, p, id, func(r *importRow) error {
		if r.State != impact.ImportHeld {
			return importState(r.State)
		}
		m, err := r.imported()
		if err != nil {
			return err
		}
		m.Options.Confirmed = true
		r.State, r.Attempts = impact.ImportPending, 0
		return inJSON(map[*string]any{&r.Options: m.Options})
	})
}

func (s *Store) decideImport(ctx context.Context, p impact.Principal, id impact.ImportID, decide func(*importRow) error) (impact.Import, error) {
	var after impact.Import
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		condition, args := ownsImports(p)
		var row importRow
		if err := s.orm(ctx).Clauses(s.dialect.forUpdate(false)...).Where("id = ?", id).Where(condition, args...).Take(&row).Error; err != nil {
			return s.refusal(err)
		}
		row.Version++
		row.UpdatedAt, row.Tx = instant(t.id).UnixMilli(), t.id
		if err := decide(&row); err != nil {
			return err
		}
		if err := s.orm(ctx).Save(&row).Error; err != nil {
			return err
		}
		var err error
		if after, err = row.imported(); err != nil {
			return err
		}
		_, err = t.commit(ctx, "import", nil)
		return err
	})
	if err != nil {
		return impact.Import{}, fmt.Errorf("deciding on an import: %w", err)
	}
	return after, nil
}

func importState(s impact.ImportState) error {
	fr := map[impact.ImportState]string{
		impact.ImportPending: "attend d'être traité", impact.ImportRunning: "est en cours", impact.ImportHeld: "attend une confirmation",
		impact.ImportCompleted: "est terminé", impact.ImportFailed: "a échoué", impact.ImportCancelled: "est annulé",
	}[s]
	return &impact.Error{Kind: impact.Conflict, Code: "bad_state", Detail: impact.Text{
		FR: "L'import " + fr + ".", EN: "The import is " + strings.ReplaceAll(string(s), "_", " ") + ".",
	}, Hint: impact.Text{
		FR: "On annule un import qui n'est pas terminé ; on confirme celui qui attend une confirmation.", EN: "An import that has not ended can be cancelled; one that awaits a confirmation can be confirmed.",
	}}
}

// ForgetImports drops files older than 30 days, and what reports say after 400;
// serve calls it now and then. Imports under way keep both.
func (s *Store) ForgetImports(ctx context.Context) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		now, orm := instant(t.id), s.orm(ctx)
		old := func(age time.Duration) *gorm.DB {
			return s.orm(ctx).Model(&importRow{}).Select("id").Where("created_at < ? AND state NOT IN ?", now.Add(-age).UnixMilli(), underWayStates)
		}
		if err := orm.Where("import IN (?)", old(impact.ImportSourceKept)).Delete(&pieceRow{}).Error; err != nil {
			return err
		}
		if err := orm.Where("import IN (?)", old(impact.ImportReportKept)).Delete(&importRowsRow{}).Error; err != nil {
			return err
		}
		return orm.Model(&importRow{}).Where("created_at < ? AND report <> '' AND state NOT IN ?", now.Add(-impact.ImportReportKept).UnixMilli(), underWayStates).
			Updates(map[string]any{"report": "", "file": "", "options": "", "principal": ""}).Error
	})
	if err != nil {
		return fmt.Errorf("forgetting old imports: %w", err)
	}
	return nil
}

package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/grandlyon/retombees/pkg/impact"
)

// importAttempts is how often a job is taken up again after its worker died.
const importAttempts = 5

// ErrLeaseLost tells a worker that its job was taken up by another one.
var ErrLeaseLost = errors.New("the import is held by another worker")

// ClaimImport takes up a job that waits, or that was under way when its worker
// died: id names it, or "" takes the oldest. Nil when there is none, or when
// another worker holds it. The lease lasts unless it is held on to (HoldImport)
// or the job ends.
func (s *Store) ClaimImport(ctx context.Context, id impact.ImportID, lease time.Duration) (*impact.ImportJob, error) {
	waiting := func(ctx context.Context) (rows []importRow, err error) {
		db := s.orm(ctx).Where("state IN ?", underWayStates).Order("created_at, id").Limit(1)
		if id != "" {
			db = db.Where("id = ? AND (lease_owner = '' OR lease_until < ?)", id, s.now().UnixMilli())
		} else {
			db = db.Where("lease_until < ?", s.now().UnixMilli())
		}
		if txnOf(ctx) != nil {
			db = db.Clauses(s.dialect.forUpdate(true)...)
		}
		return rows, db.Find(&rows).Error
	}
	// Looking first costs no transaction when there is nothing to do.
	if rows, err := waiting(ctx); err != nil || len(rows) == 0 {
		return nil, err
	}
	var job *impact.ImportJob
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		job = nil
		rows, err := waiting(ctx)
		if err != nil || len(rows) == 0 {
			return err
		}
		r := &rows[0]
		began := r.State == impact.ImportPending
		now := instant(t.id).UnixMilli()
		r.LeaseOwner, r.LeaseUntil = s.newID(), s.now().Add(lease).UnixMilli()
		r.Attempts++
		m, err := r.imported()
		if err != nil {
			return err
		}
		var p impact.Principal
		if err := json.Unmarshal([]byte(r.Principal), &p); err != nil {
			return fmt.Errorf("reading an import: %w", err)
		}
		revoked, err := s.mayNoLonger(ctx, p, r.Kind)
		if err != nil {
			return err
		}
		switch {
		case r.Cancelling != 0 || revoked:
			r.end(t, impact.ImportCancelled)
		case r.Attempts > importAttempts:
			r.end(t, impact.ImportFailed)
			m.Report.Problem = &impact.ImportProblem{Code: "internal_error", Detail: impact.Text{
				FR: "L'import s'est interrompu plusieurs fois ; ce qui était écrit le reste.", EN: "The import broke off several times; what was written stays.",
			}, Hint: impact.Text{FR: "Renvoyez le fichier avec une nouvelle clé : rien ne sera doublé.", EN: "Send the file again with another key: nothing will be doubled."}}
			if err := inJSON(map[*string]any{&r.Report: m.Report}); err != nil {
				return err
			}
		case began:
			r.State = impact.ImportRunning
			r.Version++
			r.UpdatedAt, r.Tx = now, t.id
			if r.StartedAt == 0 {
				r.StartedAt = now
			}
		}
		if err := s.orm(ctx).Save(r).Error; err != nil {
			return err
		}
		if !r.State.Ended() {
			job = &impact.ImportJob{Lease: r.LeaseOwner, Principal: p}
			if job.Import, err = r.imported(); err != nil {
				return err
			}
		}
		if began || r.State.Ended() {
			_, err = t.commit(ctx, "import", nil)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("taking up an import: %w", err)
	}
	return job, nil
}

// mayNoLonger tells that whoever sent an import may send no other: the client or
// its API key was revoked, or the client lost the scope. What waits for it is
// not done, and what is under way stops. Clients of other issuers are not ours
// to know.
func (s *Store) mayNoLonger(ctx context.Context, p impact.Principal, kind impact.ImportKind) (bool, error) {
	var clients []clientRow
	if err := s.orm(ctx).Where("id = ?", p.Client).Find(&clients).Error; err != nil {
		return false, err
	}
	for _, row := range clients {
		c, err := row.client()
		if err != nil {
			return false, err
		}
		if c.Revoked || !slices.Contains(c.Scopes, kind.Scope()) {
			return true, nil
		}
	}
	if p.Key == "" {
		return false, nil
	}
	var standing int64
	err := s.orm(ctx).Model(&apiKeyRow{}).Where("id = ? AND revoked_at = 0", p.Key).Count(&standing).Error
	return standing == 0, err
}

func (r *importRow) end(t *txn, state impact.ImportState) {
	now := instant(t.id).UnixMilli()
	r.State, r.Cancelling, r.LeaseOwner, r.LeaseUntil = state, 0, "", 0
	r.Version++
	r.UpdatedAt, r.Tx = now, t.id
	if state.Ended() {
		r.FinishedAt = now
	}
}

// HoldImport prolongs a lease; ErrLeaseLost when it is another's.
func (s *Store) HoldImport(ctx context.Context, job *impact.ImportJob, lease time.Duration) error {
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
		r := s.orm(ctx).Model(&importRow{}).Where("id = ? AND lease_owner = ?", job.ID, job.Lease).Update("lease_until", s.now().Add(lease).UnixMilli())
		if r.Error == nil && r.RowsAffected == 0 {
			return ErrLeaseLost
		}
		return r.Error
	})
	if err != nil {
		return fmt.Errorf("holding an import: %w", err)
	}
	return nil
}

// ReleaseImport lets another worker take up the job at once.
func (s *Store) ReleaseImport(ctx context.Context, job *impact.ImportJob) error {
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
		return s.orm(ctx).Model(&importRow{}).Where("id = ? AND lease_owner = ?", job.ID, job.Lease).
			Updates(map[string]any{"lease_until": 0, "attempts": 0}).Error
	})
	if err != nil {
		return fmt.Errorf("releasing an import: %w", err)
	}
	return nil
}

// ImportCancelled tells whether a job under way was asked to stop, or its sender
// may no longer act.
func (s *Store) ImportCancelled(ctx context.Context, job *impact.ImportJob) (bool, error) {
	var row importRow
	if err := s.orm(ctx).Select("cancelling").Where("id = ?", job.ID).Take(&row).Error; err != nil {
		return false, fmt.Errorf("reading an import: %w", err)
	}
	revoked, err := s.mayNoLonger(ctx, job.Principal, job.Kind)
	if err != nil {
		return false, fmt.Errorf("reading an import: %w", err)
	}
	return row.Cancelling != 0 || revoked, nil
}

// JobSource gives the file of a job.
func (s *Store) JobSource(ctx context.Context, job *impact.ImportJob) io.Reader {
	return &pieces{ctx: ctx, s: s, id: job.ID}
}

var errUndone = errors.New("undone")

// WriteImport runs one step of a job: do writes, in a transaction that methods
// of the store called with its context join, and what it did is recorded in the
// same transaction. A crash therefore leaves either both or neither. With Undo
// what do wrote is taken back and the progress recorded alone. do may run more
// than once. ErrLeaseLost undoes all when another worker holds the job.
func (s *Store) WriteImport(ctx context.Context, job *impact.ImportJob, do func(context.Context) (impact.ImportProgress, error)) error {
	var progress impact.ImportProgress
	var after impact.Import
	if err := s.stock(ctx); err != nil {
		return fmt.Errorf("writing a part of an import: %w", err)
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) (err error) {
		if progress, err = do(ctx); err != nil {
			return err
		}
		if progress.Undo {
			return errUndone
		}
		after, err = s.recordProgress(ctx, t, job, &progress)
		return err
	})
	if errors.Is(err, errUndone) {
		err = s.transact(ctx, func(ctx context.Context, t *txn) (err error) {
			after, err = s.recordProgress(ctx, t, job, &progress)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("writing a part of an import: %w", err)
	}
	job.Import = after
	return nil
}

func (s *Store) recordProgress(ctx context.Context, t *txn, job *impact.ImportJob, p *impact.ImportProgress) (impact.Import, error) {
	orm := s.orm(ctx)
	var r importRow
	found := orm.Clauses(s.dialect.forUpdate(false)...).Where("id = ? AND lease_owner = ?", job.ID, job.Lease).Limit(1).Find(&r)
	if found.Error != nil {
		return impact.Import{}, found.Error
	}
	if found.RowsAffected == 0 {
		return impact.Import{}, ErrLeaseLost
	}
	for _, rows := range p.Rows {
		if err := orm.Create(&importRowsRow{r.ID, r.Chunks, rows.First, rows.Last, rows.Outcomes, rows.Packed}).Error; err != nil {
			return impact.Import{}, err
		}
		r.Chunks++
	}
	r.RowsDone, r.RowsTotal, r.Attempts = p.RowsDone, p.RowsTotal, 0
	if err := inJSON(map[*string]any{&r.Report: p.Report}); err != nil {
		return impact.Import{}, err
	}
	if p.File != nil {
		if err := inJSON(map[*string]any{&r.File: p.File}); err != nil {
			return impact.Import{}, err
		}
	}
	revoked, err := s.mayNoLonger(ctx, job.Principal, job.Kind)
	switch {
	case err != nil:
		return impact.Import{}, err
	case p.State != "":
		r.Outcome = p.Outcome
		r.end(t, p.State)
	case revoked:
		r.Cancelling = 1
	}
	if err := orm.Save(&r).Error; err != nil {
		return impact.Import{}, err
	}
	if p.State != "" {
		if _, err := t.commit(ctx, "import", nil); err != nil {
			return impact.Import{}, err
		}
	}
	return r.imported()
}

// importRowsRow holds what became of consecutive rows.
type importRowsRow struct {
	Import            impact.ImportID `gorm:"primaryKey"`
	Ordinal           int             `gorm:"primaryKey;autoIncrement:false"`
	FirstRow, LastRow int
	Outcomes          string
	Rows              []byte
}

func (importRowsRow) TableName() string { return "import_rows" }

// PackImportRows readies what became of consecutive rows to be kept: in little
// room, so that a long import need not hold all of it in memory.
func (s *Store) PackImportRows(rows []impact.ImportRow) (impact.PackedRows, error) {
	r := impact.PackedRows{Outcomes: " "}
	note := func(word string) {
		if !strings.Contains(r.Outcomes, " "+word+" ") {
			r.Outcomes += word + " "
		}
	}
	for i := range rows {
		note(string(rows[i].Outcome))
		if len(rows[i].Warnings) > 0 {
			note("warning")
		}
	}
	if len(rows) > 0 {
		r.First, r.Last = rows[0].Row, rows[len(rows)-1].Row
	}
	text, err := json.Marshal(rows)
	if err == nil {
		r.Packed, err = compress(text)
	}
	if err != nil {
		return r, fmt.Errorf("packing rows: %w", err)
	}
	return r, nil
}

func (r *importRowsRow) unpack() (rows []impact.ImportRow, err error) {
	text, err := expand(r.Rows)
	if err == nil {
		err = json.Unmarshal(text, &rows)
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking rows: %w", err)
	}
	return rows, nil
}

var compressors = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level there is
	return z
}}

func compress(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	z.Reset(&b)
	_, err := z.Write(text)
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}

func expand(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

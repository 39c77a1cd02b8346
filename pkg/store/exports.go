package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

type exportRow struct {
	Dataset    impact.DatasetID     `gorm:"primaryKey"`
	Number     impact.ReleaseNumber `gorm:"primaryKey;autoIncrement:false"`
	Kind       string               `gorm:"primaryKey"`
	Size       int64
	SHA256     string `gorm:"column:sha256"`
	RowCount   int
	ModifiedAt int64
	Variants   string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
}

func (exportRow) TableName() string { return "export_files" }

// exportPiece is how many bytes of a file are read and written at once.
const exportPiece = 512 << 10

type exportPieceRow struct {
	Content string `gorm:"primaryKey"`
	Ordinal int    `gorm:"primaryKey;autoIncrement:false"`
	Piece   []byte
}

func (exportPieceRow) TableName() string { return "export_pieces" }

// exportVariant is how a variant is written in a row.
type exportVariant struct {
	Encoding impact.FileEncoding `json:"encoding"`
	Size     int64               `json:"size"`
	SHA256   string              `json:"sha256"`
}

// file gives the domain's noun; false for a kind that this version of the
// program does not know.
func (r *exportRow) file() (f impact.ExportFile, known bool, err error) {
	d := impact.DatasetByID(r.Dataset)
	if d == nil {
		return f, false, nil
	}
	kind := d.FileNamed(r.Kind)
	if kind == nil {
		return f, false, nil
	}
	var variants []exportVariant
	if err := json.Unmarshal([]byte(r.Variants), &variants); err != nil {
		return f, false, fmt.Errorf("reading the export %s@%d %s: %w", r.Dataset, r.Number, r.Kind, err)
	}
	f = impact.ExportFile{
		Dataset: r.Dataset, Release: r.Number, Kind: *kind, Size: r.Size, SHA256: r.SHA256, Rows: r.RowCount,
		Modified: time.UnixMilli(r.ModifiedAt).UTC(),
	}
	for _, v := range variants {
		f.Variants = append(f.Variants, impact.ExportVariant(v))
	}
	return f, true, nil
}

// ExportFiles gives the files of a release that are made.
func (s *Store) ExportFiles(ctx context.Context, n impact.ReleaseNumber) ([]impact.ExportFile, error) {
	var rows []exportRow
	if err := s.orm(ctx).Where("number = ?", n).Order("dataset, kind").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the exports of release %d: %w", n, err)
	}
	files := make([]impact.ExportFile, 0, len(rows))
	for i := range rows {
		f, known, err := rows[i].file()
		if err != nil {
			return nil, err
		}
		if known {
			files = append(files, f)
		}
	}
	return files, nil
}

// KeepExport keeps a file that was made, with the bytes of its variants by the
// SHA-256 that names them. The first one kept stays: whoever comes later gets
// that one, and its own is forgotten. The bytes come before the file, piece by
// piece, so that no write waits long.
func (s *Store) KeepExport(ctx context.Context, f impact.ExportFile, contents map[string]io.Reader) (kept impact.ExportFile, err error) {
	fail := func(err error) (impact.ExportFile, error) {
		return impact.ExportFile{}, fmt.Errorf("keeping the export %s@%d %s: %w", f.Dataset, f.Release, f.Kind.Name, err)
	}
	variants := make([]exportVariant, len(f.Variants))
	for i, v := range f.Variants {
		variants[i] = exportVariant(v)
		if in := contents[v.SHA256]; in != nil {
			if err := s.keepExportBytes(ctx, v.SHA256, in); err != nil {
				return fail(err)
			}
		}
	}
	text, err := json.Marshal(variants)
	if err != nil {
		return fail(err)
	}
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		row := exportRow{
			Dataset: f.Dataset, Number: f.Release, Kind: f.Kind.Name, Size: f.Size, SHA256: f.SHA256, RowCount: f.Rows,
			ModifiedAt: f.Modified.UnixMilli(), Variants: string(text), CreatedAt: instant(t.id).UnixMilli(),
		}
		if err := s.orm(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
			return err
		}
		var rows []exportRow
		if err := s.orm(ctx).Where("dataset = ? AND number = ? AND kind = ?", f.Dataset, f.Release, f.Kind.Name).Find(&rows).Error; err != nil {
			return err
		}
		if len(rows) == 0 {
			return errors.New("it is not there")
		}
		kept, _, err = rows[0].file()
		return err
	})
	if err != nil {
		return fail(err)
	}
	return kept, nil
}

func (s *Store) keepExportBytes(ctx context.Context, content string, in io.Reader) error {
	buffer := make([]byte, exportPiece)
	for ordinal := 0; ; ordinal++ {
		n, err := io.ReadFull(in, buffer)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if n > 0 || ordinal == 0 {
			row := exportPieceRow{content, ordinal, bytes.Clone(buffer[:n])}
			err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
				return s.orm(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error
			})
			if err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// ExportBytes gives bytes that are kept, by their SHA-256.
func (s *Store) ExportBytes(ctx context.Context, content string) io.Reader {
	return &exportReader{ctx: ctx, s: s, content: content}
}

// exportReader reads piece by piece.
type exportReader struct {
	ctx     context.Context
	s       *Store
	content string
	next    int
	rest    []byte
}

func (r *exportReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		var found []exportPieceRow
		if err := r.s.orm(r.ctx).Where("content = ? AND ordinal = ?", r.content, r.next).Find(&found).Error; err != nil {
			return 0, fmt.Errorf("reading an export: %w", err)
		}
		if len(found) == 0 {
			return 0, io.EOF
		}
		r.next++
		r.rest = found[0].Piece
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

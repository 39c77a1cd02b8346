package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// longestMaking bounds the making of one file.
const longestMaking = 10 * time.Minute

// preparations is how often the files of a release are tried without being asked
// for.
const preparations = 3

// Prepare makes the files of the latest release that nobody has made yet. What
// fails again and again is left to those who ask for it.
func (x *Files) Prepare(ctx context.Context) error {
	list, err := x.public(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(r impact.Release) bool { return r.State == impact.ReleasePublished }) {
		return nil
	}
	r, err := x.find(ctx, 0)
	if err != nil {
		return err
	}
	x.mu.Lock()
	leave := x.whole[r.Number] || x.failed[r.Number] >= preparations
	x.mu.Unlock()
	if leave {
		return nil
	}
	if _, err := x.known(ctx, r.Number); err != nil {
		return err
	}
	var errs []error
	from := &source{x: x, release: r}
	for _, d := range impact.Datasets() {
		for i := range d.Files {
			if _, err := x.fileFrom(ctx, r, &d, &d.Files[i], from); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		x.mu.Lock()
		x.failed[r.Number]++
		x.mu.Unlock()
	} else {
		_, err = x.known(ctx, r.Number) // they are all there
		return err
	}
	return errors.Join(errs...)
}

// file gives a file that is made, or makes it.
func (x *Files) file(ctx context.Context, r *impact.Release, d *impact.Dataset, k *impact.FileKind) (impact.ExportFile, error) {
	return x.fileFrom(ctx, r, d, k, nil)
}

func (x *Files) fileFrom(ctx context.Context, r *impact.Release, d *impact.Dataset, k *impact.FileKind, from *source) (impact.ExportFile, error) {
	key := fileKey{d.ID, r.Number, k.Name}
	if f, ok := x.remembered(key); ok {
		return f, nil
	}
	if _, err := x.known(ctx, r.Number); err != nil {
		return impact.ExportFile{}, err
	}
	if f, ok := x.remembered(key); ok {
		return f, nil
	}
	// Whoever asks may leave: the file is made all the same, once.
	done := x.making.DoChan(fmt.Sprint(key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestMaking)
		defer cancel()
		x.turn <- struct{}{}
		defer func() { <-x.turn }()
		if f, ok := x.remembered(key); ok {
			return f, nil
		}
		if from == nil {
			from = &source{x: x, release: r}
		}
		f, err := x.make(ctx, r, d, k, from)
		if err != nil {
			return nil, fmt.Errorf("making %s of release %d: %w", string(d.ID)+k.Suffix, r.Number, err)
		}
		x.mu.Lock()
		x.made[key] = f
		x.mu.Unlock()
		return f, nil
	})
	select {
	case res := <-done:
		if res.Err != nil {
			return impact.ExportFile{}, res.Err
		}
		return res.Val.(impact.ExportFile), nil
	case <-ctx.Done():
		return impact.ExportFile{}, &impact.Error{
			Kind: impact.Busy, Code: "unavailable", Err: ctx.Err(),
			Detail: impact.Text{FR: "Ce fichier est en train d'être fait.", EN: "This file is being made."},
			Hint:   impact.Text{FR: "Redemandez-le dans une minute.", EN: "Ask for it again in a minute."},
		}
	}
}

func (x *Files) remembered(k fileKey) (impact.ExportFile, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, ok := x.made[k]
	return f, ok
}

// make writes a file, compresses it once and for all, and has it kept.
func (x *Files) make(ctx context.Context, r *impact.Release, d *impact.Dataset, k *impact.FileKind, from *source) (f impact.ExportFile, err error) {
	if k.Of != "" {
		return x.share(ctx, r, d, k, from)
	}
	plain, err := x.scratch()
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, plain.remove()) }()
	rows, err := from.write(ctx, plain, d, k)
	if err != nil {
		return f, err
	}
	f = impact.ExportFile{Dataset: d.ID, Release: r.Number, Kind: *k, Size: plain.size, SHA256: plain.name(), Rows: rows}
	contents := map[string]io.Reader{}
	if k.Dense {
		f.Variants = []impact.ExportVariant{{Encoding: impact.Identity, Size: f.Size, SHA256: f.SHA256}}
		if contents[f.SHA256], err = plain.again(); err != nil {
			return f, err
		}
	} else {
		for _, e := range []impact.FileEncoding{impact.Gzip, impact.Zstd} {
			packed, err := x.scratch()
			if err != nil {
				return f, err
			}
			defer func() { err = errors.Join(err, packed.remove()) }()
			if err := pack(e, packed, plain); err != nil {
				return f, err
			}
			f.Variants = append(f.Variants, impact.ExportVariant{Encoding: e, Size: packed.size, SHA256: packed.name()})
			if contents[packed.name()], err = packed.again(); err != nil {
				return f, err
			}
		}
	}
	if f.Modified, err = x.modified(ctx, r, d, k, f.SHA256); err != nil {
		return f, err
	}
	return x.Store.KeepExport(ctx, f, contents)
}

// share makes a file of the gzip bytes of another one.
func (x *Files) share(ctx context.Context, r *impact.Release, d *impact.Dataset, k *impact.FileKind, from *source) (f impact.ExportFile, err error) {
	of := fileKey{d.ID, r.Number, k.Of}
	origin, ok := x.remembered(of)
	if !ok {
		if origin, err = x.make(ctx, r, d, d.FileNamed(k.Of), from); err != nil {
			return f, err
		}
		x.mu.Lock()
		x.made[of] = origin
		x.mu.Unlock()
	}
	packed, ok := origin.Variant(impact.Gzip)
	if !ok {
		return f, fmt.Errorf("%s has no gzip bytes", k.Of)
	}
	f = impact.ExportFile{Dataset: d.ID, Release: r.Number, Kind: *k, Size: packed.Size, SHA256: packed.SHA256, Rows: origin.Rows}
	f.Variants = []impact.ExportVariant{{Encoding: impact.Identity, Size: f.Size, SHA256: f.SHA256}}
	if f.Modified, err = x.modified(ctx, r, d, k, f.SHA256); err != nil {
		return f, err
	}
	return x.Store.KeepExport(ctx, f, nil)
}

// modified is when the bytes of a file last moved: the publication of the first
// of the releases, up to this one, that give the same bytes without a break.
func (x *Files) modified(ctx context.Context, r *impact.Release, d *impact.Dataset, k *impact.FileKind, sha string) (time.Time, error) {
	list, err := x.public(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for i := range slices.Backward(list) {
		before := &list[i]
		if before.Number >= r.Number || before.State != impact.ReleasePublished {
			continue
		}
		files, err := x.Store.ExportFiles(ctx, before.Number)
		if err != nil {
			return time.Time{}, err
		}
		for _, f := range files {
			if f.Dataset == d.ID && f.Kind.Name == k.Name && f.SHA256 == sha {
				return f.Modified, nil
			}
		}
		break
	}
	return r.PublishedAt.Truncate(time.Second), nil // as precise as Last-Modified
}

// scratch is a file on the disk while it is made.
type scratch struct {
	file *os.File
	sum  hash.Hash
	size int64
}

func (x *Files) scratch() (*scratch, error) {
	f, err := os.CreateTemp(x.spool.dir, "made-*")
	if err != nil {
		return nil, err
	}
	return &scratch{file: f, sum: sha256.New()}, nil
}

func (s *scratch) Write(b []byte) (int, error) {
	n, err := s.file.Write(b)
	s.sum.Write(b[:n])
	s.size += int64(n)
	return n, err
}

func (s *scratch) name() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// again reads from the beginning.
func (s *scratch) again() (io.Reader, error) {
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

func (s *scratch) remove() error { return errors.Join(s.file.Close(), os.Remove(s.file.Name())) }

func pack(e impact.FileEncoding, to io.Writer, from *scratch) error {
	in, err := from.again()
	if err != nil {
		return err
	}
	var z io.WriteCloser
	if e == impact.Gzip {
		z, err = gzip.NewWriterLevel(to, 8)
	} else {
		z, err = zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(z, in)
	return errors.Join(err, z.Close())
}

// source holds what files of one release are written from, read when first asked
// for: several files made in a row read it once.
type source struct {
	x       *Files
	release *impact.Release
	loaded  bool
	figures []figure // of indicators
	counts  []figure // of organisations by impact type
	shapes  map[impact.TerritoryKey][]byte
}

func (s *source) load(ctx context.Context) error {
	if s.loaded {
		return nil
	}
	cat := s.x.Catalogue
	days := map[impact.ReleaseNumber]string{}
	list, err := s.x.public(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		days[list[i].Number] = list[i].Day.String()
	}
	periods := map[impact.Period]string{}
	for u, err := range s.x.Store.ReleaseUnits(ctx, s.release.Key) {
		if err != nil {
			return err
		}
		for c, err := range release.Cells(cat, u.Figures) {
			if err != nil {
				return err
			}
			f := figure{Cell: c, indicator: cat.Indicator(c.Figure.Indicator), place: cat.Gazetteer().ByKey(c.Figure.Territory)}
			if f.asOf = days[c.Moved]; f.asOf == "" {
				return fmt.Errorf("a cell moved in release %d, which was never published", c.Moved)
			}
			if f.period = periods[c.Figure.Period]; f.period == "" {
				f.period = c.Figure.Period.String()
				periods[c.Figure.Period] = f.period
			}
			switch {
			case c.Figure.Indicator == "":
				s.counts = append(s.counts, f)
			case f.indicator == nil:
				return fmt.Errorf("no indicator %s in the reference data", c.Figure.Indicator)
			default:
				s.figures = append(s.figures, f)
			}
		}
	}
	for _, list := range [][]figure{s.figures, s.counts} {
		slices.SortFunc(list, func(a, b figure) int { return compareFigures(&a, &b) })
	}
	if s.shapes, err = s.x.outlines(ctx, s.release.Vintage); err != nil {
		return err
	}
	s.loaded = true
	return nil
}

// write writes one file and tells how many rows it has.
func (s *source) write(ctx context.Context, w io.Writer, d *impact.Dataset, k *impact.FileKind) (rows int, err error) {
	cat := s.x.Catalogue
	about := format.About{
		Name: string(d.ID), Title: d.Title, Description: d.Description, Source: s.x.Publisher,
		Address: s.x.PublicURL + impact.ExportPath(d.ID, s.release.Number, k.Suffix),
		Release: fmt.Sprint(int(s.release.Number)), Published: impact.DateOf(s.release.PublishedAt).String(),
		Method: s.release.Method, Lang: impact.French,
	}
	switch d.ID {
	case impact.IndicatorsDataset:
		list := cat.Indicators()
		return len(list), write(w, k, indicatorColumns, list, nil, about)
	case impact.ImpactTypesDataset:
		list := cat.ImpactTypes()
		return len(list), write(w, k, impactTypeColumns, list, nil, about)
	case impact.TerritoriesDataset:
		if err := s.load(ctx); err != nil {
			return 0, err
		}
		list := territoriesOf(cat, s.release.Vintage)
		return len(list), write(w, k, territoryColumns, list, func(t **impact.Territory) []byte { return s.shapes[(*t).Key] }, about)
	}
	if err := s.load(ctx); err != nil {
		return 0, err
	}
	list, counts := s.figures, d.ID == impact.ContributorsDataset
	if counts {
		list = s.counts
	}
	cutting := true
	switch k.Name {
	case impact.GeoJSONFile.Name:
		// A map is of years, and of everybody: an outline stands in each feature.
		cutting = false
		list = slices.DeleteFunc(slices.Clone(list), func(f figure) bool {
			return f.Cut != "" || f.Figure.Period.Granularity() != impact.Year
		})
	case impact.JSONStatFile.Name, impact.XLSXFile.Name:
		// A cube that is cut one way at a time is nearly empty; a sheet has a
		// million rows, and its file is to be sent by mail.
		cutting = false
		list = slices.DeleteFunc(slices.Clone(list), func(f figure) bool { return f.Cut != "" })
	}
	return len(list), write(w, k, columns(cat, counts, cutting), list, func(f *figure) []byte { return s.shapes[f.place.Key] }, about)
}

func write[R any](w io.Writer, k *impact.FileKind, columns []format.Column[R], rows []R, shape format.Shape[R], about format.About) error {
	switch k.Name {
	case impact.CSVFile.Name:
		return format.WriteCSV(w, format.RFC4180, columns, rows)
	case impact.FrenchCSVFile.Name:
		return format.WriteCSV(w, format.French, columns, rows)
	case impact.GeoJSONFile.Name:
		return format.WriteGeoJSON(w, columns, rows, shape, about)
	case impact.XLSXFile.Name:
		if len(rows) >= format.MaxSheetRows {
			return fmt.Errorf("%d rows are more than a sheet holds", len(rows))
		}
		return format.WriteXLSX(w, columns, rows, format.Book{About: about, Codes: format.CodeLabels(columns, rows)})
	case impact.NDJSONFile.Name:
		return format.WriteNDJSON(w, columns, rows)
	case impact.ParquetFile.Name:
		return format.WriteParquet(w, columns, rows, about)
	case impact.JSONStatFile.Name:
		return format.WriteJSONStat(w, columns, rows, about)
	case impact.SDMXCSVFile.Name:
		return format.WriteSDMXCSV(w, columns, rows, about)
	}
	return fmt.Errorf("no way to write %s", k.Name)
}

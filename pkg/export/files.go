// Package export makes the files of releases: every figure of a release, and the
// lists of codes it uses, in each format, once. What is made is kept by the store
// and stays as it is, whatever a later version of the program would write.
package export

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/singleflight"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// Store keeps releases and the files made of them.
type Store interface {
	// PublicReleases gives those ever published, in the order of numbers, and
	// ReleasesSeen changes when one of them does.
	PublicReleases(context.Context) ([]impact.Release, error)
	ReleasesSeen(context.Context) (int64, error)
	// ReleaseUnits gives the units of a release by its key, UnitNames their names
	// alone.
	ReleaseUnits(ctx context.Context, key string) iter.Seq2[*release.Sealed, error]
	UnitNames(ctx context.Context, key string) ([]release.Unit, error)
	Geometries(context.Context, []impact.TerritoryKey) (map[impact.TerritoryKey][]byte, error)

	ExportFiles(context.Context, impact.ReleaseNumber) ([]impact.ExportFile, error)
	// KeepExport keeps a file unless another one was kept in its place, and gives
	// the one that is kept.
	KeepExport(ctx context.Context, f impact.ExportFile, contents map[string]io.Reader) (impact.ExportFile, error)
	ExportBytes(ctx context.Context, sha256 string) io.Reader
}

// Config is what Files needs from outside.
type Config struct {
	Store     Store
	Catalogue *impact.Catalogue
	// PublicURL is the base of addresses, Publisher who publishes.
	PublicURL, Publisher string
	// Dir is a folder of this process alone, for files that are being sent;
	// MaxBytes is how much of them is kept.
	Dir      string
	MaxBytes int64
}

// Files gives the files of releases.
type Files struct {
	Config
	spool  *spool
	making singleflight.Group
	turn   chan struct{} // files are made one at a time: each takes memory

	mu       sync.Mutex
	seen     int64
	releases []impact.Release
	made     map[fileKey]impact.ExportFile
	whole    map[impact.ReleaseNumber]bool // all files of it are known to be made
	years    map[string]impact.Period      // of a release, by its key
	failed   map[impact.ReleaseNumber]int  // how often its files could not be made
}

type fileKey struct {
	dataset impact.DatasetID
	number  impact.ReleaseNumber
	kind    string
}

func keyOf(f *impact.ExportFile) fileKey { return fileKey{f.Dataset, f.Release, f.Kind.Name} }

// New prepares the folder.
func New(c Config) (*Files, error) {
	s, err := newSpool(c.Dir, c.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("preparing the folder of exports: %w", err)
	}
	return &Files{
		Config: c, spool: s, turn: make(chan struct{}, 1), seen: -1,
		made: map[fileKey]impact.ExportFile{}, whole: map[impact.ReleaseNumber]bool{}, years: map[string]impact.Period{}, failed: map[impact.ReleaseNumber]int{},
	}, nil
}

// public gives the releases ever published, read again when one moved.
func (x *Files) public(ctx context.Context) ([]impact.Release, error) {
	seen, err := x.Store.ReleasesSeen(ctx)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if seen == x.seen {
		return x.releases, nil
	}
	list, err := x.Store.PublicReleases(ctx)
	if err != nil {
		return nil, err
	}
	x.seen, x.releases = seen, list
	return list, nil
}

// find gives a release that may be read; 0 is the latest.
func (x *Files) find(ctx context.Context, n impact.ReleaseNumber) (*impact.Release, error) {
	list, err := x.public(ctx)
	if err != nil {
		return nil, err
	}
	for i := range slices.Backward(list) {
		r := &list[i]
		switch {
		case n == 0 && r.State == impact.ReleasePublished:
			return r, nil
		case n == 0 || r.Number != n:
		case r.State == impact.ReleaseWithdrawn:
			return nil, withdrawn(r)
		default:
			return r, nil
		}
	}
	e := &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: impact.Text{FR: "Cette publication n'existe pas.", EN: "There is no such release."},
		Hint:   impact.Text{FR: "GET /v1/releases liste les publications.", EN: "GET /v1/releases lists the releases."},
	}
	if n == 0 {
		e.Detail = impact.Text{FR: "Aucune publication n'existe encore.", EN: "No release exists yet."}
	}
	return nil, e
}

func withdrawn(r *impact.Release) error {
	e := &impact.Error{
		Kind: impact.Gone, Code: "release_withdrawn",
		Detail: impact.Text{FR: fmt.Sprintf("La publication %d a été retirée. Motif : %s", r.Number, r.Reason.FR), EN: fmt.Sprintf("Release %d was withdrawn. Reason: %s", r.Number, r.Reason.In(impact.English))},
		Hint:   impact.Text{FR: "Lisez la dernière publication, sans @ dans l'adresse.", EN: "Read the latest release, without @ in the address."},
	}
	if r.Successor != 0 {
		e.Link = "/v1/releases/" + strconv.Itoa(int(r.Successor))
		e.Hint = impact.Text{FR: fmt.Sprintf("La publication %d la remplace.", r.Successor), EN: fmt.Sprintf("Release %d takes its place.", r.Successor)}
	}
	return e
}

// known gives the files of a release that are made.
func (x *Files) known(ctx context.Context, n impact.ReleaseNumber) ([]impact.ExportFile, error) {
	x.mu.Lock()
	whole := x.whole[n]
	var files []impact.ExportFile
	if whole {
		for k, f := range x.made {
			if k.number == n {
				files = append(files, f)
			}
		}
	}
	x.mu.Unlock()
	if whole {
		return files, nil
	}
	files, err := x.Store.ExportFiles(ctx, n)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range files {
		x.made[keyOf(&files[i])] = files[i]
	}
	x.whole[n] = len(files) == kinds()
	return files, nil
}

// kinds counts the files of one release.
func kinds() (n int) {
	for _, d := range impact.Datasets() {
		n += len(d.Files)
	}
	return n
}

// Datasets describes every dataset as a release holds it.
func (x *Files) Datasets(ctx context.Context, n impact.ReleaseNumber) ([]impact.Dataset, error) {
	all := impact.Datasets()
	list, err := x.public(ctx)
	if err != nil {
		return nil, err
	}
	if n == 0 && !slices.ContainsFunc(list, func(r impact.Release) bool { return r.State == impact.ReleasePublished }) {
		return all, nil
	}
	r, err := x.find(ctx, n)
	if err != nil {
		return nil, err
	}
	files, err := x.known(ctx, r.Number)
	if err != nil {
		return nil, err
	}
	about, err := x.about(ctx, r)
	if err != nil {
		return nil, err
	}
	for i := range all {
		d := &all[i]
		d.Release, d.Issued = r.Number, list[0].PublishedAt
		if d.Figures {
			d.Temporal = about
		}
		for _, k := range d.Files {
			for _, f := range files {
				if f.Dataset == d.ID && f.Kind.Name == k.Name {
					d.Distributions = append(d.Distributions, f)
					if f.Modified.After(d.Modified) {
						d.Modified = f.Modified
					}
				}
			}
		}
		if d.Modified.IsZero() {
			d.Modified = r.PublishedAt
		}
	}
	return all, nil
}

// about gives the days the figures of a release are about, nil when it has none.
func (x *Files) about(ctx context.Context, r *impact.Release) (*impact.Period, error) {
	x.mu.Lock()
	p, ok := x.years[r.Key]
	x.mu.Unlock()
	if !ok {
		first, last := 0, 0
		units, err := x.Store.UnitNames(ctx, r.Key)
		if err != nil {
			return nil, err
		}
		for _, u := range units {
			if first == 0 || u.Year < first {
				first = u.Year
			}
			last = max(last, u.Year)
		}
		if first > 0 {
			p = impact.Period{Start: impact.NewDate(first, time.January, 1), End: impact.NewDate(last, time.December, 31)}
		}
		x.mu.Lock()
		x.years[r.Key] = p
		x.mu.Unlock()
	}
	if p == (impact.Period{}) {
		return nil, nil
	}
	return &p, nil
}

// Versions gives the releases that hold a dataset, the newest first: all of
// them, since each dataset is in each release.
func (x *Files) Versions(ctx context.Context, id impact.DatasetID) ([]impact.Release, error) {
	if impact.DatasetByID(id) == nil {
		return nil, noDataset()
	}
	list, err := x.public(ctx)
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list)
	slices.Reverse(list)
	return list, nil
}

func noDataset() error {
	return &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: impact.Text{FR: "Aucun jeu de données ne porte ce nom.", EN: "No dataset has this name."},
		Hint:   impact.Text{FR: "GET /v1/datasets les liste.", EN: "GET /v1/datasets lists them."},
	}
}

// Open gives a file in the first of the accepted encodings that it is kept in,
// and makes it when nobody has yet.
func (x *Files) Open(ctx context.Context, id impact.DatasetID, n impact.ReleaseNumber, suffix string, accepted []impact.FileEncoding) (impact.ExportBody, error) {
	d := impact.DatasetByID(id)
	if d == nil {
		return impact.ExportBody{}, noDataset()
	}
	kind := d.File(suffix)
	if kind == nil {
		return impact.ExportBody{}, noDataset()
	}
	r, err := x.find(ctx, n)
	if err != nil {
		return impact.ExportBody{}, err
	}
	f, err := x.file(ctx, r, d, kind)
	if err != nil {
		return impact.ExportBody{}, err
	}
	v := impact.ExportVariant{Encoding: impact.Identity, Size: f.Size, SHA256: f.SHA256}
	for _, e := range accepted {
		if e == impact.Identity {
			break
		}
		if kept, ok := f.Variant(e); ok {
			v = kept
			break
		}
	}
	return impact.ExportBody{File: f, Variant: v, Content: &lazy{size: v.Size, open: func() (*os.File, error) {
		return x.spool.open(v.SHA256, func() (io.ReadCloser, error) { return x.bytes(context.WithoutCancel(ctx), &f, v) })
	}}}, nil
}

// bytes reads a variant from the store; those that are not kept as they are, from
// their gzip.
func (x *Files) bytes(ctx context.Context, f *impact.ExportFile, v impact.ExportVariant) (io.ReadCloser, error) {
	packed, is := f.Variant(impact.Gzip)
	if v.Encoding != impact.Identity || !is {
		return io.NopCloser(x.Store.ExportBytes(ctx, v.SHA256)), nil
	}
	z, err := gzip.NewReader(x.Store.ExportBytes(ctx, packed.SHA256))
	if err != nil {
		return nil, fmt.Errorf("reading an export: %w", err)
	}
	return z, nil
}

// Document writes what stands beside the CSV of a dataset: its Table Schema or
// its CSV on the Web metadata, by suffix.
func (x *Files) Document(ctx context.Context, id impact.DatasetID, n impact.ReleaseNumber, suffix string) ([]byte, error) {
	d := impact.DatasetByID(id)
	if d == nil {
		return nil, noDataset()
	}
	described := format.Described{About: format.About{
		Name: string(d.ID), Title: d.Title, Description: d.Description, Source: x.Publisher,
		Address: x.PublicURL + impact.ExportPath(d.ID, n, ".csv"),
	}}
	described.File = described.About.Address
	if n != 0 {
		r, err := x.find(ctx, n)
		if err != nil {
			return nil, err
		}
		described.Modified = r.PublishedAt.UTC().Format(time.RFC3339)
	}
	concepts := Concepts(x.Catalogue, id)
	if suffix == impact.CSVWSuffix {
		return format.AppendCSVW(nil, concepts, described), nil
	}
	return format.AppendTableSchema(nil, concepts, described), nil
}

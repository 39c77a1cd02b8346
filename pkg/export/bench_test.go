package export_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/export"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// memory is a store that holds one release.
type memory struct {
	units []release.Sealed
	files []impact.ExportFile
	bytes map[string][]byte
}

var only = impact.Release{Key: "one", Number: 1, State: impact.ReleasePublished, Day: impact.NewDate(2026, 11, 22), Vintage: 2026, Method: "1.0", PublishedAt: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)}

func (m *memory) PublicReleases(context.Context) ([]impact.Release, error) {
	return []impact.Release{only}, nil
}

func (m *memory) ReleasesSeen(context.Context) (int64, error) { return 1, nil }

func (m *memory) ReleaseUnits(context.Context, string) iter.Seq2[*release.Sealed, error] {
	return func(yield func(*release.Sealed, error) bool) {
		for i := range m.units {
			if !yield(&m.units[i], nil) {
				return
			}
		}
	}
}

func (m *memory) UnitNames(context.Context, string) (names []release.Unit, err error) {
	for i := range m.units {
		names = append(names, m.units[i].Unit)
	}
	return names, nil
}

func (m *memory) Geometries(context.Context, []impact.TerritoryKey) (map[impact.TerritoryKey][]byte, error) {
	return nil, nil
}

func (m *memory) ExportFiles(context.Context, impact.ReleaseNumber) ([]impact.ExportFile, error) {
	return slices.Clone(m.files), nil
}

func (m *memory) KeepExport(_ context.Context, f impact.ExportFile, contents map[string]io.Reader) (impact.ExportFile, error) {
	for name, in := range contents {
		b, err := io.ReadAll(in)
		if err != nil {
			return f, err
		}
		m.bytes[name] = b
	}
	m.files = append(m.files, f)
	return f, nil
}

func (m *memory) ExportBytes(_ context.Context, name string) io.Reader {
	return bytes.NewReader(m.bytes[name])
}

// lyon makes a release the size of Lyon's: 60 indicators, the territories of the
// Métropole, ten years with their quarters, three classes cut at the top; half of
// the figures are withheld.
func lyon(t testing.TB) (*impact.Catalogue, *memory, int) {
	ref, err := codelist.Load()
	if err != nil {
		t.Fatal(err)
	}
	cat, err := impact.NewCatalogue(ref)
	if err != nil {
		t.Fatal(err)
	}
	g := cat.Gazetteer()
	top := g.At("metropole-200046977", impact.Vintage(2026).Day())
	places := append([]*impact.Territory{top}, g.Descendants(top.Key, 2026, impact.CTM)...)
	whole := len(places)
	places = append(places, g.Descendants(top.Key, 2026, impact.Commune)...)
	var measured []*impact.Indicator
	for _, ind := range cat.Indicators() {
		if ind.Kind == impact.Flow && len(measured) < 60 {
			measured = append(measured, ind)
		}
	}
	m := &memory{bytes: map[string][]byte{}}
	r := rand.New(rand.NewPCG(1, 2))
	n := 0
	for _, ind := range measured {
		for year := 2016; year <= 2025; year++ {
			var cells []release.Cell
			add := func(at *impact.Territory, p impact.Period, cut calculation.Dimension, code string) {
				c := release.Cell{Moved: 1, Cause: release.FirstRelease, Cut: cut, Figure: calculation.Figure{Indicator: ind.Code, ImpactType: ind.ImpactType, Kind: ind.Kind, Territory: at.Key, Vintage: 2026, Period: p, Status: impact.Suppressed, MethodologyVersion: ind.MethodologyVersion}}
				if cut != "" {
					c.Figure.Codes = []string{code}
				}
				if r.IntN(2) == 0 {
					v, share := impact.Quantity(r.IntN(20_000_000))*impact.One/2, impact.Quantity(r.IntN(10_000))*impact.One/10_000
					c.Figure.Status, c.Figure.Value, c.Figure.Coverage, c.Figure.Additive = impact.Normal, &v, &share, true
					c.Figure.Organisations, c.Figure.Observations = 3+r.IntN(400), 3+r.IntN(900)
				}
				cells = append(cells, c)
			}
			y := impact.YearPeriod(year)
			for i, at := range places {
				add(at, y, "", "")
				for _, q := range y.Buckets(impact.Quarter) {
					add(at, q, "", "")
				}
				if i < whole {
					for _, code := range []string{"association", "cooperative", "company"} {
						add(at, y, calculation.ByOrganisationClass, code)
					}
				}
			}
			text, err := release.Encode(cat, cells)
			if err != nil {
				t.Fatal(err)
			}
			n += len(cells)
			m.units = append(m.units, release.Sealed{Unit: release.Unit{Family: string(ind.Code), Year: year}, Figures: text, Digest: sha256.Sum256(text)})
		}
	}
	return cat, m, n
}

// BenchmarkFilesOfLyon makes every file of a release of Lyon's size, and tells
// its size and the time it takes (go test ./pkg/export -bench Lyon -benchtime 1x).
// RETOMBEES_BENCH_DIR keeps the files, to be read by other programs.
func BenchmarkFilesOfLyon(b *testing.B) {
	cat, m, cells := lyon(b)
	files, err := export.New(export.Config{Store: m, Catalogue: cat, PublicURL: "https://retombees.example", Publisher: "Métropole de Lyon", Dir: b.TempDir() + "/spool", MaxBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	d := impact.DatasetByID(impact.AggregatesDataset)
	for _, k := range d.Files {
		b.Run(k.Name, func(b *testing.B) {
			for b.Loop() {
				runtime.GC()
				began := time.Now()
				body, err := files.Open(ctx, d.ID, 0, k.Suffix, []impact.FileEncoding{impact.Identity})
				if err != nil {
					b.Fatal(err)
				}
				took := time.Since(began) // the first time; then it is there
				if body.File.Size == 0 {
					b.Fatal("empty")
				}
				b.ReportMetric(float64(body.File.Size)/1e6, "MB")
				for _, v := range body.File.Variants {
					if v.Encoding != impact.Identity {
						b.ReportMetric(float64(v.Size)/1e6, string(v.Encoding)+"-MB")
					}
				}
				b.ReportMetric(float64(body.File.Rows), "rows")
				if took > time.Millisecond {
					b.ReportMetric(took.Seconds(), "s/file")
				}
				if dir := os.Getenv("RETOMBEES_BENCH_DIR"); dir != "" {
					data, err := io.ReadAll(body.Content)
					if err != nil {
						b.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(dir, string(d.ID)+k.Suffix), data, 0o600); err != nil {
						b.Fatal(err)
					}
				}
				body.Content.Close()
			}
		})
	}
	b.Logf("%d cells", cells)
}

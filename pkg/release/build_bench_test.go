package release

import (
	"context"
	options "flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

var (
	benchObservations = options.Int("observations", 1_000_000, "observations of the world of BenchmarkBuild")
	benchWorkers      = options.Int("workers", 2, "workers of BenchmarkBuild")
)

// bigWorld is the world of BenchmarkBuild: 5,000 organisations of very unequal size
// (Pareto) in 59 communes of very unequal size (Zipf), ten years, the indicators
// of the catalogue. Each reports the same pairs of place and family every year:
// twenty values a year for a million observations, two hundred for ten.
type bigWorld struct {
	orgs  []calculation.Organisation
	cells int
	seed  uint64
	// changed is the share of cells that are stated otherwise.
	changed float64
}

const benchOrganisations, benchFrom, benchYears = 5000, 2015, 10

func newBigWorld(observations int) *bigWorld {
	r := rand.New(rand.NewPCG(1, 2))
	w := &bigWorld{cells: observations / benchOrganisations / benchYears, seed: 3}
	for i := range benchOrganisations {
		siren := fmt.Sprintf("%09d", i)
		group := "siren:" + siren
		if r.IntN(20) == 0 {
			group = fmt.Sprintf("group:%d", r.IntN(60))
		}
		w.orgs = append(w.orgs, calculation.Organisation{
			Key: impact.OrganisationKey(i + 1), ID: impact.OrganisationID(fmt.Sprintf("org%05d", i)), LegalUnit: "siren:" + siren, Group: group, SIREN: siren,
			Profile: impact.Profile{
				Class:         pick(r, impact.Association, impact.Association, impact.Company, impact.Company, impact.Cooperative, impact.PublicBody),
				StructureKind: pick(r, "", "", "", "ACI", "EI", "EA", "ETTI"), SizeClass: pick(r, "micro", "micro", "small", "small", "medium", "large"),
			},
		})
	}
	return w
}

func (w *bigWorld) feed(yield func(calculation.Change, error) bool) {
	cat := reference()
	var communes []impact.TerritoryKey
	for _, t := range cat.Gazetteer().Descendants(cat.Gazetteer().At("metropole-200046977", impact.Vintage(2026).Day()).Key, 2026, "") {
		if t.ID != "commune-69123" && (t.Type == impact.Commune || t.Type == impact.Arrondissement) {
			communes = append(communes, t.Key)
		}
	}
	var families []Family
	for _, f := range Families(cat) {
		if Released(f.Indicators[0].Kind) && f.Indicators[0].Kind != impact.Boolean && f.Indicators[0].Kind != impact.SurveyMean {
			families = append(families, f)
		}
	}
	r := rand.New(rand.NewPCG(w.seed, 5))
	change := rand.New(rand.NewPCG(w.seed, 7))
	where := rand.NewZipf(r, 1.3, 2, uint64(len(communes)-1))
	which := rand.NewZipf(r, 1.1, 4, uint64(len(families)-1))
	type spot struct {
		at impact.TerritoryKey
		f  int
	}
	for i := range w.orgs {
		o := &w.orgs[i]
		size := math.Pow(1-r.Float64(), -1/1.2)
		seen := map[spot]bool{}
		home := communes[where.Uint64()]
		for left, tries := w.cells, 0; left > 0 && tries < 400; tries++ {
			s := spot{home, int(which.Uint64())}
			if len(seen) > 3 {
				s.at = communes[where.Uint64()]
			}
			if seen[s] {
				continue
			}
			seen[s] = true
			for _, ind := range families[s.f].Indicators {
				if ind.Composed() || left <= 0 {
					continue
				}
				granularities := Granularities(ind)
				gran := granularities[len(granularities)-1]
				n := len(impact.YearPeriod(2020).Buckets(gran))
				left -= n
				for y := range benchYears {
					for _, p := range impact.YearPeriod(benchFrom + y).Buckets(gran) {
						v := impact.Quantity(1+size*100*(0.5+r.Float64())) * impact.One
						if r.IntN(40) == 0 {
							v = 0
						}
						if w.changed > 0 && y == benchYears-1 && change.Float64() < w.changed*benchYears {
							v += impact.Quantity(1+change.IntN(50)) * impact.One
						}
						c := calculation.Change{
							Key:     impact.CellKey{Organisation: o.Key, Indicator: ind.Key, Territory: s.at, Period: p},
							Current: &calculation.Fact{Value: v, HasValue: true, Status: impact.Normal, Attrs: calculation.Attrs{Profile: o.Profile}}, State: impact.Approved,
						}
						if !yield(c, nil) {
							return
						}
					}
				}
			}
		}
	}
}

func (w *bigWorld) cube(tb testing.TB) *calculation.Cube {
	c := calculation.NewCube(reference())
	organisations := func(yield func(calculation.Organisation, error) bool) {
		for _, o := range w.orgs {
			if !yield(o, nil) {
				return
			}
		}
	}
	if err := c.Load(organisations, nil, w.feed, 1); err != nil {
		tb.Fatal(err)
	}
	return c
}

// peak is the most memory the process ever had, in bytes.
func peak() float64 {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f", &kb); err == nil {
			return kb * 1024
		}
	}
	return 0
}

// cpu is the processor time of the process: on a shared machine it says more
// than the clock.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// BenchmarkBuild makes a first release of a Lyon, then one after 1 % of its
// observations, all in the last year, were corrected: go test ./pkg/release -run ^$
// -bench Build -benchtime 1x -timeout 60m -observations 1000000
func BenchmarkBuild(b *testing.B) {
	w := newBigWorld(*benchObservations)
	cube := w.cube(b)
	n := float64(cube.ObservationCount())
	sealed := map[Unit]*Sealed{}
	var units []Unit
	in := Input{Cube: cube, Day: impact.NewDate(2026, 6, 1), Embargo: 45, Number: 1, Rules: disclosure.Strict1, Workers: *benchWorkers}
	loaded := peak()
	b.Logf("%.0f observations, %.0f MB with the cube", n, loaded/1e6)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			clear(sealed)
			units = units[:0]
			var figures, ledgers int
			start, busy := time.Now(), cpu()
			var slowest time.Duration
			last := start
			built, err := Build(context.Background(), in, func(s *Sealed) error {
				sealed[s.Unit] = s
				units = append(units, s.Unit)
				figures += len(s.Figures)
				ledgers += len(s.Ledger)
				slowest = max(slowest, time.Since(last))
				last = time.Now()
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			took := time.Since(start).Seconds()
			b.ReportMetric(cpu()-busy, "cpu-s")
			b.ReportMetric(n/took, "rows/s")
			b.ReportMetric(float64(built.Counts.Cells)/took, "cells/s")
			b.ReportMetric(float64(built.Counts.Cells), "cells")
			b.ReportMetric(float64(built.Counts.Shown)/float64(built.Counts.Cells), "shown")
			b.ReportMetric(float64(built.Counts.Units), "units")
			b.ReportMetric(float64(figures)/1e6, "figuresMB")
			b.ReportMetric(float64(ledgers)/1e6, "ledgersMB")
			b.ReportMetric(slowest.Seconds()*1e3, "longest-wait-ms")
			b.ReportMetric((peak()-loaded)/1e6, "peakMB-over-cube")
		}
	})
	if len(units) == 0 {
		return
	}
	b.Run("second", func(b *testing.B) {
		w.changed = 0.01
		in.Cube = w.cube(b)
		in.Number, in.Earlier = 2, units
		in.Before = func(u Unit) (*Sealed, error) { return sealed[u], nil }
		for b.Loop() {
			start, busy := time.Now(), cpu()
			built, err := Build(context.Background(), in, func(*Sealed) error { return nil })
			if err != nil {
				b.Fatal(err)
			}
			took := time.Since(start).Seconds()
			b.ReportMetric(cpu()-busy, "cpu-s")
			b.ReportMetric(n/took, "rows/s")
			b.ReportMetric(float64(built.Reused), "units-reused")
			b.ReportMetric(float64(built.Counts.Revised), "revised")
			b.ReportMetric(float64(built.Counts.Shown)/float64(built.Counts.Cells), "shown")
		}
	})
}

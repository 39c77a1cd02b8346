package calculation

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// The world of the issue: 1,000,000 observations of 5,000 organisations × 60
// indicators × 58 communes × 40 quarters. Each organisation has five
// (commune, indicator) pairs over forty quarters.

const (
	benchOrganisations = 5000
	benchIndicators    = 60
	benchCommunes      = 58
	benchQuarters      = 40
	benchPairs         = 5
)

func benchCatalogue(tb testing.TB) *impact.Catalogue {
	r := impact.Reference{Version: "bench", Units: []impact.Unit{{Code: "1", Base: "1", Num: 1, Den: 1}}}
	open := func(k impact.TerritoryKey, id impact.TerritoryID, typ impact.TerritoryType, parent impact.TerritoryID) {
		r.Territories = append(r.Territories, impact.Territory{
			Key: k, ID: id, Type: typ, Code: string(id), Name: string(id), Parent: parent,
			ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
		})
	}
	open(1, "pays-FR", impact.Country, "")
	open(2, "region-84", impact.Region, "pays-FR")
	open(3, "metropole-200046977", impact.Metropole, "region-84")
	for i := range 10 {
		open(impact.TerritoryKey(4+i), impact.TerritoryID(fmt.Sprintf("ctm-%d", i)), impact.CTM, "metropole-200046977")
	}
	for i := range benchCommunes {
		open(impact.TerritoryKey(14+i), impact.TerritoryID(fmt.Sprintf("commune-%05d", i)), impact.Commune, impact.TerritoryID(fmt.Sprintf("ctm-%d", i%10)))
	}
	for i := range 6 {
		r.ImpactTypes = append(r.ImpactTypes, impact.ImpactType{Code: impact.ImpactTypeCode(fmt.Sprintf("type%d", i))})
	}
	kinds := []impact.MeasureKind{impact.Flow, impact.Flow, impact.Flow, impact.Stock, impact.StockAvg, impact.Flow}
	for i := range benchIndicators {
		r.Indicators = append(r.Indicators, impact.Indicator{
			Key: impact.IndicatorKey(i + 1), Code: impact.IndicatorCode(fmt.Sprintf("indicator_%02d", i)),
			Kind: kinds[i%len(kinds)], Unit: "1", Decimals: 2, ImpactType: impact.ImpactTypeCode(fmt.Sprintf("type%d", i/10)), MethodologyVersion: "1",
		})
	}
	cat, err := impact.NewCatalogue(r)
	if err != nil {
		tb.Fatal(err)
	}
	return cat
}

func benchOrgs() iter.Seq2[Organisation, error] {
	return func(yield func(Organisation, error) bool) {
		for i := range benchOrganisations {
			o := Organisation{
				Key: impact.OrganisationKey(i + 1), ID: impact.OrganisationID(fmt.Sprintf("org%d", i)), LegalUnit: fmt.Sprintf("siren:%09d", i),
				SIREN: fmt.Sprintf("%09d", i), SIRET: fmt.Sprintf("%09d00010", i), Questionnaires: []string{"q"},
				Sites: []impact.Site{{Territory: impact.TerritoryID(fmt.Sprintf("commune-%05d", i%benchCommunes)), From: impact.MinDate, To: impact.MaxDate}},
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

var benchQuestionnaires = []impact.Questionnaire{{
	Code: "q", From: impact.MinDate, To: impact.MaxDate,
	Indicators: []impact.QuestionnaireItem{{Indicator: "indicator_00"}, {Indicator: "indicator_01"}, {Indicator: "indicator_02"}, {Indicator: "indicator_03"}, {Indicator: "indicator_04"}},
}}

var benchProfiles = []impact.Profile{
	{Class: impact.Association, StructureKind: "ACI", SizeClass: "small"},
	{Class: impact.Company, StructureKind: "EI", SizeClass: "medium"},
	{Class: impact.Cooperative, SizeClass: "micro"},
	{Class: impact.Company, SizeClass: "large"},
}

func benchCell(org, pair, quarter int, value int64) Change {
	h := uint64(org)*0x9e3779b97f4a7c15 + uint64(pair)*0xbf58476d1ce4e5b9
	h ^= h >> 29
	p := impact.YearPeriod(2016 + quarter/4).Buckets(impact.Quarter)[quarter%4]
	f := &Fact{
		Value: impact.Quantity(value), HasValue: true, Status: impact.Normal,
		Attrs: Attrs{Profile: benchProfiles[org%len(benchProfiles)], Method: "1", Perimeter: "establishment"},
	}
	return Change{
		Key: impact.CellKey{
			Organisation: impact.OrganisationKey(org + 1), Indicator: impact.IndicatorKey((h>>8+uint64(pair))%benchIndicators + 1),
			Territory: impact.TerritoryKey(14 + (uint64(org)+h>>40)%benchCommunes), Period: p, Cut: "",
		},
		Current: f, State: impact.Approved,
	}
}

// benchCells feeds in the order of the primary key of the store: organisation,
// indicator, territory, period.
func benchCells(yield func(Change, error) bool) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[[2]int64]bool{}
	for org := range benchOrganisations {
		clear(seen)
		for pair := range benchPairs * 3 {
			c := benchCell(org, pair, 0, 0)
			k := [2]int64{int64(c.Key.Indicator), int64(c.Key.Territory)}
			if seen[k] || len(seen) == benchPairs {
				continue
			}
			seen[k] = true
			for quarter := range benchQuarters {
				if !yield(benchCell(org, pair, quarter, r.Int64N(1e12)), nil) {
					return
				}
			}
		}
	}
}

var benchCube *Cube

func loaded(tb testing.TB) *Cube {
	if benchCube == nil {
		c := NewCube(benchCatalogue(tb))
		if err := c.Load(benchOrgs(), benchQuestionnaires, benchCells, 1); err != nil {
			tb.Fatal(err)
		}
		benchCube = c
		runtime.GC()
	}
	return benchCube
}

// cpu is the processor time of the process: on a shared machine it says more
// than the clock.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkLoad(b *testing.B) {
	cat := benchCatalogue(b)
	benchCube = nil
	var cells []Change
	for c, err := range benchCells {
		if err != nil {
			b.Fatal(err)
		}
		cells = append(cells, c)
	}
	for b.Loop() {
		c := NewCube(cat)
		if err := c.Load(benchOrgs(), benchQuestionnaires, seq(cells), 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(cells)), "obs")
}

func BenchmarkBytesPerObservation(b *testing.B) {
	benchCube = nil
	for b.Loop() {
		before := heap()
		c := NewCube(benchCatalogue(b))
		if err := c.Load(benchOrgs(), benchQuestionnaires, benchCells, 1); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(heap()-before)/float64(c.ObservationCount()), "B/obs")
		b.ReportMetric(float64(c.Stats().Bytes)/float64(c.ObservationCount()), "columnB/obs")
		runtime.KeepAlive(c)
	}
}

func benchQuery(c *Cube, indicators int, territory impact.TerritoryKey, year int) Query {
	q := Query{Territories: []impact.TerritoryKey{territory}, Vintage: 2026, Periods: []impact.Period{impact.YearPeriod(year)}}
	for _, ind := range c.Catalogue().Indicators()[:indicators] {
		q.Indicators = append(q.Indicators, ind.Code)
	}
	return q
}

func run(b *testing.B, c *Cube, next func() Query) {
	b.ReportAllocs()
	figures := 0
	before := cpu()
	for b.Loop() {
		res, err := c.Figures(next())
		if err != nil {
			b.Fatal(err)
		}
		figures += len(res.Figures)
	}
	b.ReportMetric(float64(cpu()-before)/1000/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(figures)/float64(b.N), "figures")
}

func BenchmarkQ1Commune(b *testing.B) {
	c := loaded(b)
	r := rand.New(rand.NewPCG(3, 4))
	run(b, c, func() Query {
		return benchQuery(c, benchIndicators, impact.TerritoryKey(14+r.IntN(benchCommunes)), 2016+r.IntN(10))
	})
}

func BenchmarkQ1Metropole(b *testing.B) {
	c := loaded(b)
	r := rand.New(rand.NewPCG(3, 4))
	run(b, c, func() Query { return benchQuery(c, benchIndicators, 3, 2016+r.IntN(10)) })
}

func wide58(c *Cube) Query {
	q := Query{Vintage: 2026}
	for i := range benchCommunes {
		q.Territories = append(q.Territories, impact.TerritoryKey(14+i))
	}
	for y := range 10 {
		q.Periods = append(q.Periods, impact.YearPeriod(2016+y))
	}
	return q
}

// One impact type: its ten indicators, 58 communes, 10 years.
func BenchmarkQ2Indicators(b *testing.B) {
	c := loaded(b)
	q := wide58(c)
	for _, ind := range c.Catalogue().Indicators()[:10] {
		q.Indicators = append(q.Indicators, ind.Code)
	}
	run(b, c, func() Query { return q })
}

// All six types as counts, 58 communes, 10 years: every observation is met.
func BenchmarkQ2Types(b *testing.B) {
	c := loaded(b)
	q := wide58(c)
	for i := range 6 {
		q.ImpactTypes = append(q.ImpactTypes, impact.ImpactTypeCode(fmt.Sprintf("type%d", i)))
	}
	run(b, c, func() Query { return q })
}

func BenchmarkQ1CommuneByClass(b *testing.B) {
	c := loaded(b)
	run(b, c, func() Query {
		q := benchQuery(c, benchIndicators, 20, 2020)
		q.Cuts = []Dimension{ByOrganisationClass}
		return q
	})
}

func BenchmarkApply1000(b *testing.B) {
	c := loaded(b)
	r := rand.New(rand.NewPCG(5, 6))
	next := c.Seq() + 1
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		var ch Changes
		for range 1000 {
			ch.Cells = append(ch.Cells, benchCell(r.IntN(benchOrganisations), r.IntN(benchPairs), r.IntN(benchQuarters), r.Int64N(1e12)))
		}
		b.StartTimer()
		start := time.Now()
		if err := c.Apply(next, ch); err != nil {
			b.Fatal(err)
		}
		spent += time.Since(start)
		next++
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N)/1000, "ms/apply")
}

func BenchmarkAvailable(b *testing.B) {
	c := loaded(b)
	for b.Loop() {
		if _, err := c.Available(Query{Vintage: 2026}); err != nil {
			b.Fatal(err)
		}
	}
}

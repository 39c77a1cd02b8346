package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

func follow(t testing.TB, s *store.Store) (*calculation.Cube, *store.Follower) {
	t.Helper()
	catalogue, err := s.Catalogue(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	cube := calculation.NewCube(catalogue)
	f, err := s.Follow(context.Background(), cube, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return cube, f
}

// arrive waits until the follower knows all that has been committed.
func arrive(t testing.TB, s *store.Store, f *store.Follower) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	seq, err := s.Seq(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WaitFor(ctx, seq); err != nil {
		t.Fatal(err)
	}
}

func keepPromises(t testing.TB, s *store.Store) {
	t.Helper()
	broken, err := s.BrokenPromises(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// questions are asked of the cube and of the oracle.
func questions(c *impact.Catalogue) []calculation.Query {
	g := c.Gazetteer()
	today := impact.NewDate(2026, 11, 25)
	metropole := g.At("metropole-200046977", today).Key
	var quarters, years []impact.Period
	for y := 2022; y <= 2025; y++ {
		years = append(years, impact.YearPeriod(y))
		quarters = append(quarters, impact.YearPeriod(y).Buckets(impact.Quarter)...)
	}
	var list []calculation.Query
	for _, state := range []impact.SubmissionState{impact.Draft, impact.Submitted, impact.Approved} {
		for _, vintage := range []impact.Vintage{2023, 2026} {
			towns := []impact.TerritoryKey{metropole}
			for _, t := range g.Descendants(metropole, vintage, impact.Commune) {
				towns = append(towns, t.Key)
			}
			base := calculation.Query{State: state, Vintage: vintage, Territories: towns, AllowBounds: true, KeepRefused: true}
			flows, classes, types := base, base, base
			flows.Indicators, flows.Periods = []impact.IndicatorCode{"insertion_hours", "headcount", "waste_diversion_rate"}, quarters
			classes.Indicators, classes.Periods, classes.Cuts = []impact.IndicatorCode{"insertion_hours", "waste_generated"}, years, []calculation.Dimension{calculation.ByOrganisationClass}
			types.ImpactTypes, types.Periods = []impact.ImpactTypeCode{"inclusion", "environment"}, years
			list = append(list, flows, classes, types)
		}
	}
	return list
}

func sameFigures(t testing.TB, s *store.Store, cube *calculation.Cube) (figures int) {
	t.Helper()
	for i, q := range questions(cube.Catalogue()) {
		want, err := calculation.FiguresFrom(context.Background(), cube.Catalogue(), s.Oracle(), q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := cube.Figures(q)
		if err != nil {
			t.Fatal(err)
		}
		d := cmp.Diff(want, got, cmpopts.IgnoreFields(calculation.Result{}, "Seq"), cmpopts.IgnoreUnexported(calculation.Figure{}), cmpopts.EquateEmpty())
		if d != "" {
			t.Fatalf("question %d (%s, vintage %d): SQL and cube differ:\n%s", i, q.State, q.Vintage, d)
		}
		for _, f := range got.Figures {
			if f.Value != nil {
				figures++
			}
		}
	}
	return figures
}

// life does random things that are allowed, as several organisations would.
type life struct {
	t   testing.TB
	s   *store.Store
	rnd *rand.Rand
	w   []writer
}

func newLife(t testing.TB, s *store.Store, seed uint64, organisations int) *life {
	l := &life{t: t, s: s, rnd: rand.New(rand.NewPCG(seed, 1))}
	for i := range organisations {
		l.w = append(l.w, writing(t, s, register(t, s, fmt.Sprint("organisation ", i))))
	}
	return l
}

func (l *life) statement() impact.Statement {
	year := 2022 + l.rnd.IntN(4)
	town := communes[l.rnd.IntN(6)]
	switch {
	case year < 2024 && l.rnd.IntN(3) == 0: // communes merged on 2024-01-01
		town = []string{"commune-69152", "commune-69149"}[l.rnd.IntN(2)]
	case l.rnd.IntN(8) == 0:
		town = "metropole-200046977"
	}
	value := fmt.Sprint(l.rnd.IntN(500), ".", l.rnd.IntN(1000))
	st := impact.Statement{Indicator: "insertion_hours", Territory: town, Period: fmt.Sprintf("%d-Q%d", year, 1+l.rnd.IntN(4)), Value: value}
	switch l.rnd.IntN(5) {
	case 0:
		st.Indicator, st.Value, st.Components = "waste_diversion_rate", "", map[string]string{"numerator": fmt.Sprint(l.rnd.IntN(100)), "denominator": fmt.Sprint(100 + l.rnd.IntN(100))}
	case 1:
		st.Indicator, st.Value = "headcount", fmt.Sprint(l.rnd.IntN(80))
		st.Qualifiers = map[string]string{"headcount_method": "period_end"}
	case 2:
		st.Value, st.Status = "", "L"
	}
	return st
}

// step does one thing; what the rules refuse is part of life.
func (l *life) step() {
	ctx := context.Background()
	w := l.w[l.rnd.IntN(len(l.w))]
	refused := func(err error) {
		if err != nil && impact.KindOf(err) == impact.Internal {
			l.t.Error(err)
		}
	}
	switch n := l.rnd.IntN(20); {
	case n < 11:
		var some []impact.Statement
		for range 1 + l.rnd.IntN(8)*l.rnd.IntN(12) {
			some = append(some, l.statement())
		}
		_, err := l.s.PutObservations(ctx, w.batch(some...))
		refused(err)
	case n < 13:
		list, _, err := l.s.Observations(ctx, w.p, impact.ObservationFilter{}, impact.Page{Limit: 200})
		refused(err)
		if len(list) > 0 {
			o := list[l.rnd.IntN(len(list))]
			_, err := l.s.DeleteObservation(ctx, w.p, o.ID, o.Version)
			refused(err)
		}
	case n < 19:
		list, _, err := l.s.Submissions(ctx, w.p, impact.SubmissionFilter{}, impact.Page{Limit: 100})
		refused(err)
		if len(list) > 0 {
			u := list[l.rnd.IntN(len(list))]
			action := map[impact.SubmissionState]string{impact.Draft: "submit", impact.Returned: "submit", impact.Submitted: "approve", impact.Approved: "reopen"}[u.State]
			p := w.p
			if u.State == impact.Submitted {
				p = steward
				if l.rnd.IntN(3) == 0 {
					action = "return"
				}
			}
			if u.State == impact.Draft && l.rnd.IntN(8) == 0 {
				_, err = l.s.DeleteSubmission(ctx, p, u.ID, u.Version)
			} else {
				_, err = l.s.Transition(ctx, p, u.ID, u.Version, action, "because")
			}
			refused(err)
		}
	default:
		o, err := l.s.Organisation(ctx, w.p, w.org.ID)
		refused(err)
		_, err = l.s.UpdateOrganisation(ctx, w.p, o.ID, o.Version, func(o *impact.Organisation) error {
			o.Class = []impact.OrganisationClass{impact.Association, impact.Company, impact.Cooperative}[l.rnd.IntN(3)]
			return nil
		})
		refused(err)
	}
}

func TestCubeEqualsSQL(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		l := newLife(t, s, 7, 5)
		cube, f := follow(t, s)
		for i := 1; i <= 400; i++ {
			l.step()
			if i%100 == 0 {
				arrive(t, s, f)
				if n := sameFigures(t, s, cube); n < 20 {
					t.Errorf("only %d figures have a value: nothing is compared", n)
				}
			}
		}
		fresh, g := follow(t, s)
		arrive(t, s, g)
		if fresh.ObservationCount() != cube.ObservationCount() {
			t.Errorf("a cube loaded now holds %d versions, one that followed %d", fresh.ObservationCount(), cube.ObservationCount())
		}
		sameFigures(t, s, fresh)
		keepPromises(t, s)
	})
}

func TestAWriteIsInTheNextAnswer(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		w := writing(t, s, register(t, s, "Une"))
		cube, f := follow(t, s)
		for i := range 20 {
			results := w.put(hours("commune-69266", "2025-Q1", fmt.Sprint(100+i)))
			if err := f.WaitFor(ctx, results.Seq); err != nil {
				t.Fatal(err)
			}
			q := calculation.Query{
				Indicators: []impact.IndicatorCode{"insertion_hours"}, Vintage: 2026, State: impact.Draft, Periods: []impact.Period{impact.YearPeriod(2025)},
				Territories: []impact.TerritoryKey{results.Rows[0].Observation.Territory},
			}
			r, err := cube.Figures(q)
			if err != nil || len(r.Figures) != 1 || r.Figures[0].Value == nil || *r.Figures[0].Value != *quantity(int64(100 + i)) {
				t.Fatalf("after writing %d: %+v %v", 100+i, r, err)
			}
		}
		if !f.Ready() {
			t.Error("not ready")
		}
		late, stop := context.WithTimeout(ctx, 20*time.Millisecond)
		defer stop()
		if err := f.WaitFor(late, 1_000_000); impact.KindOf(err) != impact.Busy {
			t.Error(err)
		}
	})
}

// torture lets many writers loose on some stores of one database while a reader
// follows each of them.
func torture(t *testing.T, stores ...*store.Store) {
	ctx := context.Background()
	const writers, each = 12, 40
	var cubes []*calculation.Cube
	var followers []*store.Follower
	for _, s := range stores {
		c, f := follow(t, s)
		cubes, followers = append(cubes, c), append(followers, f)
	}
	shared := register(t, stores[0], "shared")
	var wg sync.WaitGroup
	var acknowledged atomic.Int64
	for n := range writers {
		s := stores[n%len(stores)]
		org := shared
		if n%3 != 0 {
			org = register(t, s, fmt.Sprint("writer ", n))
		}
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), 3))
			w := writing(t, s, org)
			for range each {
				var some []impact.Statement
				for range 1 + rnd.IntN(3) {
					some = append(some, hours(communes[rnd.IntN(58)], fmt.Sprintf("202%d-Q%d", rnd.IntN(5), 1+rnd.IntN(4)), fmt.Sprint(rnd.IntN(1000))))
				}
				if rnd.IntN(10) == 0 {
					for range 80 {
						some = append(some, hours(communes[rnd.IntN(58)], fmt.Sprintf("202%d-Q%d", rnd.IntN(5), 1+rnd.IntN(4)), fmt.Sprint(rnd.IntN(1000))))
					}
				}
				results, err := s.PutObservations(ctx, w.batch(some...))
				if err != nil {
					t.Error(err)
					return
				}
				acknowledged.Store(max(acknowledged.Load(), results.Seq))
				time.Sleep(time.Duration(rnd.IntN(4)) * time.Millisecond)
			}
		})
	}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	for i := range cubes {
		watch.Go(func() {
			last := int64(-1)
			for {
				if seq := cubes[i].Seq(); seq < last {
					t.Errorf("cube %d went back from %d to %d", i, last, seq)
				} else {
					last = seq
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	wg.Wait()
	for i, s := range stores {
		arrive(t, s, followers[i])
		if cubes[i].Seq() < acknowledged.Load() {
			t.Errorf("cube %d stands at %d, %d was acknowledged", i, cubes[i].Seq(), acknowledged.Load())
		}
	}
	close(stop)
	watch.Wait()
	for i, s := range stores {
		if n := sameFigures(t, s, cubes[i]); n < 50 {
			t.Errorf("only %d figures have a value", n)
		}
	}
	keepPromises(t, stores[0])
}

func TestConcurrentWriters(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) { torture(t, s) })
}

func TestTwoReplicas(t *testing.T) {
	dsn := pgtest.DSN(t)
	a := openLoaded(t, dsn)
	b := open(t, dsn)
	torture(t, a, b)
	t.Run("a write on one is in the figures of the other soon", func(t *testing.T) {
		_, f := follow(t, b)
		arrive(t, b, f)
		w := writing(t, a, register(t, a, "Une"))
		var lags []time.Duration
		for i := range 30 {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond) // not in step with the follower
			seq := w.put(hours("commune-69266", "2025-Q1", fmt.Sprint(100+i))).Seq
			start := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if err := f.WaitFor(ctx, seq); err != nil {
				t.Fatal(err)
			}
			cancel()
			lags = append(lags, time.Since(start))
		}
		slices.Sort(lags)
		t.Logf("lag of another replica: median %v, maximum %v", lags[len(lags)/2], lags[len(lags)-1])
		if lags[len(lags)/2] > time.Second {
			t.Error("the median is beyond a second")
		}
	})
}

func TestACallerThatLeavesLeavesNothingHalfDone(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		w := writing(t, s, register(t, s, "Une"))
		// More than a group takes: the transaction is the caller's own.
		many := make([]impact.Statement, 0, 1160)
		for q := range 20 {
			for c := range 58 {
				many = append(many, hours(communes[c], fmt.Sprintf("%d-Q%d", 2020+q/4, 1+q%4), "1"))
			}
		}
		rnd := rand.New(rand.NewPCG(5, 5))
		left := 0
		for i := range 40 {
			for j := range many {
				many[j].Value = fmt.Sprint(i)
			}
			b := w.batch(many...)
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(60_000))*time.Microsecond)
			if _, err := s.PutObservations(ctx, b); err != nil {
				left++
			}
			cancel()
		}
		if left == 0 {
			t.Error("nobody left: nothing was tested")
		}
		keepPromises(t, s)
		list, _, err := s.Observations(context.Background(), w.p, impact.ObservationFilter{}, impact.Page{Limit: 2000})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if *o.Value != *list[0].Value {
				t.Fatal("a batch is there by half")
			}
		}
	})
}

package publish_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/storetest"
)

// BenchmarkWritesDuringABuild writes one fact at a time, first alone, then while
// releases are built one after the other in the same process, and tells the median
// and the 95th percentile of both, and their ratios.
func BenchmarkWritesDuringABuild(b *testing.B) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			s, err := store.Open(context.Background(), url(b), store.Options{Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			w := fill(b, s, 60, 240)
			alone := w.write(b, 300)
			var c clock
			c.set(time.Now())
			config := c.config(s)
			config.Now, config.Make, config.Workers = time.Now, publish.Make(disclosure.Strict1, nil), 0
			ctx, stop := context.WithCancel(context.Background())
			done, builds := make(chan struct{}), 0
			go func() {
				defer close(done)
				for ctx.Err() == nil {
					asked, _, err := s.RequestRelease(ctx, publisher, impact.NewRelease{Day: impact.NewDate(2026, 11, 25), Embargo: 45, DryRun: true})
					if err == nil {
						_, _, err = config.Work(ctx, asked.Key)
					}
					if err != nil && ctx.Err() == nil {
						b.Error(err)
						return
					}
					builds++
				}
			}()
			b.ResetTimer()
			during := w.write(b, 300)
			b.StopTimer()
			stop()
			<-done
			for _, p := range []struct {
				name string
				at   int
			}{{"p50", 50}, {"p95", 95}} {
				one, two := alone[len(alone)*p.at/100], during[len(during)*p.at/100]
				b.ReportMetric(float64(one.Microseconds())/1000, "ms-alone-"+p.name)
				b.ReportMetric(float64(two.Microseconds())/1000, "ms-building-"+p.name)
				b.ReportMetric(float64(two)/float64(one), "ratio-"+p.name)
			}
			b.ReportMetric(float64(builds), "builds")
		})
	}
}

type writers struct {
	s       *store.Store
	checker *impact.Checker
	orgs    []impact.Organisation
	written int
}

// fill registers organisations that state so many facts each.
func fill(b *testing.B, s *store.Store, organisations, facts int) *writers {
	b.Helper()
	catalogue, err := s.Catalogue(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	w := &writers{s: s, checker: &impact.Checker{Catalogue: catalogue, Today: impact.NewDate(2026, 11, 25)}}
	admin := impact.Principal{Client: "setup", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}
	for i := range organisations {
		o, _, err := s.CreateOrganisation(context.Background(), admin, impact.Organisation{Name: fmt.Sprintf("Organisation %d", i), Class: impact.Association, OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
		if err != nil {
			b.Fatal(err)
		}
		w.orgs = append(w.orgs, o)
		w.state(b, i, facts)
		w.approve(b, i)
	}
	return w
}

// approve has all that was stated counted in releases.
func (w *writers) approve(b *testing.B, i int) {
	b.Helper()
	ctx := context.Background()
	p := impact.Principal{Client: "writer", Role: impact.RoleOrganisation, Organisation: w.orgs[i].ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}
	list, _, err := w.s.Submissions(ctx, p, impact.SubmissionFilter{}, impact.Page{Limit: 100})
	if err != nil {
		b.Fatal(err)
	}
	for _, u := range list {
		if _, err := w.s.Transition(ctx, p, u.ID, 0, "submit", ""); err != nil {
			b.Fatal(err)
		}
		if _, err := w.s.Transition(ctx, publisher, u.ID, 0, "approve", ""); err != nil {
			b.Fatal(err)
		}
	}
}

// communes are some of the Métropole.
var communes = []string{"commune-69266", "commune-69259", "commune-69256", "commune-69029", "commune-69034", "commune-69282", "commune-69286", "commune-69290"}

func (w *writers) state(b *testing.B, i, facts int) {
	b.Helper()
	p := impact.Principal{Client: "writer", Role: impact.RoleOrganisation, Organisation: w.orgs[i].ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}
	batch := impact.Batch{Principal: p, Checker: w.checker}
	for range facts {
		n := w.written
		w.written++
		st := impact.Statement{
			Indicator: []string{"volunteer_hours", "training_hours", "insertion_hours"}[n%3], Territory: communes[n/3%len(communes)],
			Period: fmt.Sprintf("%d-Q%d", 2018+n/96%8, 1+n/24%4), Value: fmt.Sprint(100 + n%977),
		}
		row := &impact.Row{Organisation: &w.orgs[i]}
		row.Resolved, row.Faults, row.Warnings = w.checker.Resolve(&st, &w.orgs[i])
		batch.Rows = append(batch.Rows, row)
	}
	if _, err := w.s.PutObservations(context.Background(), batch); err != nil {
		b.Fatal(err)
	}
}

// write states one fact at a time, and gives how long each took, in order.
func (w *writers) write(b *testing.B, n int) (took []time.Duration) {
	b.Helper()
	for i := range n {
		began := time.Now()
		w.state(b, i%len(w.orgs), 1)
		took = append(took, time.Since(began))
		time.Sleep(2 * time.Millisecond)
	}
	slices.Sort(took)
	return took
}

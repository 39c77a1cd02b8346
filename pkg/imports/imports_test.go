package imports_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/imports"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench is a store and a runner over it.
type bench struct {
	testing.TB
	s      *store.Store
	runner *imports.Runner
	keys   int
}

func databases(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.DSN(t)) })
}

func newBench(t testing.TB, url string) *bench {
	t.Helper()
	ctx := context.Background()
	s, err := store.Open(ctx, url, store.Options{Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Migrate(ctx))
	reference, err := codelist.Load()
	must(t, err)
	must(t, s.LoadReference(ctx, reference))
	b := &bench{TB: t, s: s}
	b.start()
	t.Cleanup(func() { b.runner.Close() })
	return b
}

func (b *bench) start() {
	b.runner = imports.Start(imports.Config{Store: b.s, Log: slog.New(slog.DiscardHandler), Now: time.Now, Lease: time.Second, Poll: 20 * time.Millisecond})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// register gives an organisation and who acts for it.
func (b *bench) register(name string) impact.Principal {
	b.Helper()
	admin := impact.Principal{Client: "admin", Role: impact.RoleAdministrator}
	o, _, err := b.s.CreateOrganisation(context.Background(), admin, impact.Organisation{Name: name, Class: impact.Association, SizeClass: "small", ESS: "true", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
	must(b, err)
	return impact.Principal{Client: "client of " + name, Role: impact.RoleOrganisation, Organisation: o.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}
}

func (b *bench) send(p impact.Principal, o impact.ImportOptions, file []byte) impact.Import {
	b.Helper()
	b.keys++
	m, _, err := b.s.CreateImport(context.Background(), p, impact.NewImport{
		Kind: impact.ImportObservations, Options: o, File: impact.ImportFile{MediaType: "text/csv"}, Key: fmt.Sprint(b.keys),
	}, bytes.NewReader(file))
	must(b, err)
	return m
}

// finish waits until an import has ended, whoever works on it.
func (b *bench) finish(p impact.Principal, id impact.ImportID) impact.Import {
	b.Helper()
	for range 3000 {
		m, err := b.s.Import(context.Background(), p, id)
		must(b, err)
		if m.State.Ended() {
			return m
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("the import does not end")
	return impact.Import{}
}

// table is all that an organisation has stated, in an order of its own.
func (b *bench) table(p impact.Principal) string {
	b.Helper()
	catalogue, err := b.s.Catalogue(context.Background())
	must(b, err)
	var lines []string
	for page := (impact.Page{Limit: 1000}); ; {
		list, next, err := b.s.Observations(context.Background(), p, impact.ObservationFilter{}, page)
		must(b, err)
		for _, o := range list {
			value := "none"
			if o.Value != nil {
				value = o.Value.String()
			}
			lines = append(lines, fmt.Sprint(catalogue.IndicatorByKey(o.Indicator).Code, " ", o.Territory, " ", o.Period, " ", o.Cut, " ", value, " ", o.Note, " v", o.Version))
		}
		if page.After = next; next == nil {
			break
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const header = "indicator,territory,period,value,unit,note\n"

// rows makes facts that do not contradict each other.
func rows(random *rand.Rand, n int) []string {
	communes := []string{"commune-69266", "commune-69029", "commune-69034", "commune-69259", "commune-69282"}
	indicators := []string{"insertion_hours", "volunteer_hours", "waste_collected"}
	seen := map[string]bool{}
	var out []string
	for len(out) < n {
		place, indicator, month := communes[random.IntN(len(communes))], indicators[random.IntN(len(indicators))], random.IntN(12*15)
		period := fmt.Sprintf("%d-%02d", 2010+month/12, month%12+1)
		if key := place + indicator + period; seen[key] {
			continue
		} else {
			seen[key] = true
		}
		unit := "h"
		if indicator == "waste_collected" {
			unit = "t"
		}
		out = append(out, fmt.Sprintf("%s,%s,%s,%d.%d,%s,n%d\n", indicator, place, period, 1+random.IntN(999), random.IntN(10), unit, random.IntN(3)))
	}
	return out
}

// However a file is cut, shuffled, sent again, and whoever stops in the middle,
// the same facts are there in the end, each in its first version.
func TestAFileGivesTheSameTableHoweverItArrives(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		b := newBench(t, url)
		random := rand.New(rand.NewPCG(3, 4))
		all := rows(random, 2400)
		whole := b.register("whole")
		if m := b.finish(whole, b.send(whole, impact.ImportOptions{Mode: impact.ImportMerge}, []byte(header+strings.Join(all, ""))).ID); m.Report.Counts.Created != len(all) {
			t.Fatalf("%+v", m.Report)
		}
		want := b.table(whole)
		for round := range 4 {
			p := b.register(fmt.Sprint("round ", round))
			shuffled := slices.Clone(all)
			random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			for from := 0; from < len(shuffled); {
				to := min(len(shuffled), from+1+random.IntN(1800))
				m := b.send(p, impact.ImportOptions{Mode: impact.ImportMerge, AllOrNothing: random.IntN(3) == 0}, []byte(header+strings.Join(shuffled[from:to], "")))
				b.runner.Run(m.ID, m.File.Size)
				if random.IntN(2) == 0 { // the worker stops somewhere in it
					time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
					b.runner.Close()
					b.start()
				}
				m = b.finish(p, m.ID)
				if c := m.Report.Counts; m.State != impact.ImportCompleted || c.Received != to-from || c.Created+c.Unchanged != to-from {
					t.Fatalf("%s %+v", m.State, m.Report)
				}
				if to == len(shuffled) {
					break
				}
				from = to - random.IntN((to-from)/3+1) // some of it again
			}
			if got := b.table(p); got != want {
				t.Fatalf("round %d: the table differs (%d lines, want %d)", round, strings.Count(got, "\n"), strings.Count(want, "\n"))
			}
		}
	})
}

// A cancelled import stops between two steps: what it says it wrote is there,
// and nothing else.
func TestACancelledImportSaysWhatStays(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		b := newBench(t, url)
		file := []byte(header + strings.Join(rows(rand.New(rand.NewPCG(5, 6)), 2600), ""))
		for _, o := range []impact.ImportOptions{{Mode: impact.ImportMerge}, {Mode: impact.ImportMerge, AllOrNothing: true}} {
			p, m := b.cancelled(o, file)
			held := 0
			if table := b.table(p); table != "" {
				held = strings.Count(table, "\n") + 1
			}
			if m.Report.Counts.Created == 2600 || held != m.Report.Counts.Created || o.AllOrNothing && held > 0 {
				t.Errorf("%+v, %d are there", m.Report.Counts, held)
			}
		}
	})
}

// cancelled sends a file and cancels the import once it was read; a worker that
// was quicker is given another one.
func (b *bench) cancelled(o impact.ImportOptions, file []byte) (impact.Principal, impact.Import) {
	b.Helper()
	for attempt := range 20 {
		p := b.register(fmt.Sprint("cancelling ", o.AllOrNothing, attempt))
		m := b.send(p, o, file)
		_, long := b.runner.Run(m.ID, m.File.Size)
		<-long
		_, err := b.s.CancelImport(context.Background(), p, m.ID)
		if impact.KindOf(err) == impact.Conflict {
			continue
		}
		must(b, err)
		if m = b.finish(p, m.ID); m.State == impact.ImportCancelled {
			return p, m
		}
	}
	b.Fatal("no import could be cancelled")
	return impact.Principal{}, impact.Import{}
}

package publish_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/release"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
	"github.com/grandlyon/retombees/pkg/store/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// clock moves when it is told to.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time  { return time.UnixMilli(c.at.Load()).UTC() }
func (c *clock) set(t time.Time) { c.at.Store(t.UnixMilli()) }
func at(text string) time.Time   { t, _ := time.Parse(time.RFC3339, text); return t }
func (c *clock) config(s *store.Store) publish.Config {
	return publish.Config{
		Store: s, Log: slog.New(slog.DiscardHandler), Now: c.now, Lease: time.Minute, Poll: 10 * time.Millisecond, Workers: 2,
		Make: publish.Make(disclosure.Strict1, publish.Audit),
		Snapshot: func(ctx context.Context) (publish.Snapshot, error) {
			n, err := s.Snapshot(ctx)
			if err != nil {
				return publish.Snapshot{}, err
			}
			return publish.Snapshot{Cube: n.Cube, Seq: n.Seq, Waived: n.Waived}, nil
		},
	}
}

func databases(t *testing.T, test func(t *testing.T, c *clock, open func() *store.Store)) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(name, func(t *testing.T) {
			where, c := url(t), &clock{}
			c.set(at("2026-11-14T12:00:00Z"))
			test(t, c, func() *store.Store {
				s, err := store.Open(context.Background(), where, store.Options{Now: c.now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				return s
			})
		})
	}
}

var publisher = impact.Principal{Client: "publisher", Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(what)
}

func public(t *testing.T, s *store.Store) []impact.Release {
	t.Helper()
	list, err := s.PublicReleases(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// The calendar is in the time of Paris, summer or winter.
func TestTheCalendarIsThatOfParis(t *testing.T) {
	s, err := publish.ParseSchedule("0 4 15 2,5,8,11 *", 45)
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{"2026-02-01T00:00:00Z": "2026-02-15T03:00:00Z", "2026-04-01T00:00:00Z": "2026-05-15T02:00:00Z"} {
		if next := s.Next(at(from)); !next.Equal(at(want)) {
			t.Errorf("after %s: %s", from, next.UTC())
		}
	}
	if due, ok := s.Due(at("2025-01-01T00:00:00Z"), at("2026-09-01T00:00:00Z")); !ok || !due.Equal(at("2026-08-15T02:00:00Z")) {
		t.Errorf("of several missed instants the last is due: %s", due)
	}
	if _, ok := s.Due(at("2026-08-15T02:00:00Z"), at("2026-09-01T00:00:00Z")); ok {
		t.Error("an instant is due twice")
	}
	for _, wrong := range []string{"", "4 15 2", "0 25 * * *", "@every"} {
		if _, err := publish.ParseSchedule(wrong, 45); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}

// Replicas and restarts serve an instant once, one that was missed is caught up
// once, and nothing is made for the past before the calendar was followed.
func TestTheCalendarIsServedOnce(t *testing.T) {
	databases(t, func(t *testing.T, c *clock, open func() *store.Store) {
		replica := func() *publish.Runner {
			config := c.config(open())
			config.Schedule, _ = publish.ParseSchedule("0 4 15 2,5,8,11 *", 45)
			return publish.Start(config)
		}
		s := open()
		one, two := replica(), replica()
		time.Sleep(100 * time.Millisecond)
		if n := len(public(t, s)); n != 0 {
			t.Fatalf("%d releases before the first instant", n)
		}
		c.set(at("2026-11-15T03:00:01Z"))
		eventually(t, "nothing was released", func() bool { return len(public(t, s)) == 1 })
		time.Sleep(100 * time.Millisecond)
		one.Close()
		two.Close()
		c.set(at("2027-06-01T00:00:00Z")) // two instants were missed
		three, four := replica(), replica()
		defer three.Close()
		defer four.Close()
		eventually(t, "nothing was caught up", func() bool { return len(public(t, s)) == 2 })
		time.Sleep(100 * time.Millisecond)
		list := public(t, s)
		if len(list) != 2 || list[0].Day != impact.NewDate(2026, 11, 15) || list[1].Day != impact.NewDate(2027, 5, 15) || list[1].RequestedBy != "schedule" || list[1].Embargo != 45 {
			t.Errorf("%+v", list)
		}
		all, _, err := s.Releases(context.Background(), publisher, impact.ReleaseFilter{}, impact.Page{Limit: 10})
		if err != nil || len(all) != 2 {
			t.Errorf("%d attempts %v", len(all), err)
		}
	})
}

// A build that is discarded stops, one that fails says so, and the next is not
// kept waiting.
func TestBuildsThatDoNotEndWell(t *testing.T) {
	databases(t, func(t *testing.T, c *clock, open func() *store.Store) {
		ctx, s := context.Background(), open()
		config := c.config(s)
		config.Lease = 200 * time.Millisecond
		var once sync.Once
		began := make(chan struct{})
		config.Make = func(ctx context.Context, b *publish.Bench) (impact.Release, error) {
			once.Do(func() { close(began) })
			switch b.Job.Embargo {
			case 1:
				<-ctx.Done()
				return impact.Release{}, ctx.Err()
			case 2:
				return impact.Release{}, errors.New("no more room")
			case 3:
				panic("a bug")
			}
			return publish.Make(disclosure.Strict1, nil)(ctx, b)
		}
		r := publish.Start(config)
		defer r.Close()
		ask := func(embargo int) impact.Release {
			t.Helper()
			asked, _, err := s.RequestRelease(ctx, publisher, impact.NewRelease{Day: impact.NewDate(2026, 11, 14), Embargo: embargo, Publish: true})
			if err != nil {
				t.Fatal(err)
			}
			r.Wake()
			return asked
		}
		state := func(asked impact.Release) impact.ReleaseState {
			t.Helper()
			now, err := s.Release(ctx, publisher, asked.Key)
			if err != nil {
				t.Fatal(err)
			}
			return now.State
		}
		endless := ask(1)
		<-began
		if _, err := s.DiscardRelease(ctx, publisher, endless.Key, 0); err != nil {
			t.Fatal(err)
		}
		for _, embargo := range []int{2, 3} {
			broken := ask(embargo)
			eventually(t, "it does not fail", func() bool { return state(broken) == impact.ReleaseFailed })
		}
		good := ask(45)
		eventually(t, "it is not published", func() bool { return state(good) == impact.ReleasePublished })
	})
}

// An auditor that finds something keeps a release from being published.
func TestWhatTheAuditorFindsIsKept(t *testing.T) {
	databases(t, func(t *testing.T, c *clock, open func() *store.Store) {
		ctx, s := context.Background(), open()
		config := c.config(s)
		config.Make = func(_ context.Context, b *publish.Bench) (impact.Release, error) {
			var d release.Digest
			found := impact.ReleaseAudit{Family: "a", Year: 2024, Counts: impact.AuditCounts{Units: 1, Secrets: 1, Insiders: 1}, Findings: []string{"one"}}
			return impact.Release{Digest: d.String(), Counts: impact.ReleaseCounts{Units: 1}, Audited: found.Counts}, b.Found(found)
		}
		asked, _, err := s.RequestRelease(ctx, publisher, impact.NewRelease{Publish: true})
		if err != nil {
			t.Fatal(err)
		}
		if done, made, err := config.Work(ctx, asked.Key); !done || made.State != impact.ReleaseCandidate || err != nil {
			t.Errorf("%v %+v %v", done, made, err)
		}
		if list, _, err := s.ReleaseAudits(ctx, asked.Key, impact.Page{Limit: 1}); err != nil || len(list) != 1 || list[0].Findings[0] != "one" {
			t.Errorf("%+v %v", list, err)
		}
	})
}

package store_test

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// entitled gives a principal every scope of its role.
func entitled(p impact.Principal) impact.Principal {
	p.Scopes = impact.AllowedScopes(p.Role)
	return p
}

// copyist keeps a copy of what a principal may see by following changes. It
// saves its copy and its place together, as a database would; what it had
// done since is lost when it is killed.
type copyist struct {
	t    testing.TB
	p    impact.Principal
	rows map[string]string
	at   impact.ChangePosition
	// again: a right began or ended since the copy was made.
	again bool
}

// followChanges begins a copy: the place first, then the tables.
func followChanges(t testing.TB, s *store.Store, p impact.Principal) *copyist {
	t.Helper()
	at, err := s.LastChange(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return &copyist{t: t, p: p, at: at, rows: tables(context.Background(), t, s, p)}
}

// read takes one page and tells whether it was the last.
func (c *copyist) read(ctx context.Context, s *store.Store, limit int) (caughtUp bool) {
	c.t.Helper()
	list, next, caughtUp, err := s.Changes(ctx, c.p, impact.ChangeFilter{}, c.at, limit)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(list) > limit {
		c.t.Fatalf("%d changes, %d asked for", len(list), limit)
	}
	last := c.at
	for _, change := range list {
		at := change.Position()
		if at.Seq < last.Seq || at.Seq == last.Seq && last.Type == "" || at.Seq == last.Seq && at.Type < last.Type {
			c.t.Fatalf("%+v comes after %+v", at, last)
		}
		last = at
		name := string(change.Type) + " " + change.ID
		if c.p.Role == impact.RoleNetwork && (change.Type == impact.MandateChange || change.Type == impact.MembershipChange) {
			c.again = true
		}
		switch {
		case change.Type.Public():
		case change.Op == impact.OpDeleted:
			delete(c.rows, name)
		case change.Resource == nil:
			c.t.Fatalf("%s is without resource: %+v", name, change)
		default:
			if o, ok := change.Resource.(impact.Organisation); ok && o.Public { // see tables
				delete(c.rows, name)
				continue
			}
			c.rows[name] = written(c.t, change.Resource)
		}
	}
	c.at = next
	if caughtUp && c.again { // what a right opens was written before it began
		rights := c.rows
		c.rows, c.again = tables(ctx, c.t, s, c.p), false
		for name, row := range rights {
			if kind, _, _ := strings.Cut(name, " "); kind == "mandate" || kind == "membership" {
				c.rows[name] = row // these are told in full
			}
		}
	}
	return caughtUp
}

// same compares the copy with the tables as they are.
func (c *copyist) same(ctx context.Context, s *store.Store) {
	c.t.Helper()
	if d := cmp.Diff(tables(ctx, c.t, s, c.p), c.rows); d != "" {
		c.t.Fatalf("the copy of a %s is not what the tables hold (-tables +copy):\n%s", c.p.Role, d)
	}
}

func written(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tables is all a principal sees by listing.
func tables(ctx context.Context, t testing.TB, s *store.Store, p impact.Principal) map[string]string {
	t.Helper()
	rows := map[string]string{}
	page := impact.Page{Limit: 1_000_000}
	organisations, _, err := s.Organisations(ctx, p, impact.OrganisationFilter{}, page)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range organisations {
		if o.Public { // shown by a consent, which ends without a trace, or of a member without mandate
			continue
		}
		rows["organisation "+string(o.ID)] = written(t, o)
	}
	submissions, _, err := s.Submissions(ctx, p, impact.SubmissionFilter{}, page)
	if err != nil {
		t.Fatal(err)
	}
	if p.Follows(impact.SubmissionChange) {
		for _, u := range submissions {
			rows["submission "+string(u.ID)] = written(t, u)
		}
	}
	memberships, _, err := s.Memberships(ctx, p, impact.MembershipFilter{}, page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range memberships {
		rows["membership "+string(m.ID)] = written(t, m)
	}
	mandates, _, err := s.Mandates(ctx, p, impact.MandateFilter{}, page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mandates {
		rows["mandate "+string(m.ID)] = written(t, m)
	}
	if p.Role == impact.RoleOrganisation {
		consents, err := s.Consents(ctx, p, p.Organisation)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range consents {
			if c.Version > 0 {
				rows["consent "+string(c.Kind)] = written(t, c)
			}
		}
	}
	observations, _, err := s.Observations(ctx, p, impact.ObservationFilter{}, page)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range observations {
		rows["observation "+string(o.ID)] = written(t, o)
	}
	return rows
}

// mandate does one thing between an organisation and a network: a membership, a
// mandate, its end, a consent.
func (l *life) mandate(network impact.Network) {
	l.t.Helper()
	ctx := context.Background()
	w := l.w[l.rnd.IntN(len(l.w))]
	self := impact.Principal{Client: "network", Role: impact.RoleNetwork, Network: network.ID}
	var err error
	switch l.rnd.IntN(5) {
	case 0:
		_, _, err = l.s.PutMembership(ctx, self, network.ID, &w.org, impact.Membership{From: impact.MinDate, To: impact.NewDate(2027, 1, 1+l.rnd.IntN(30))})
	case 1:
		err = l.s.DeleteMemberships(ctx, self, network.ID, w.org.ID)
	case 2:
		m := impact.Mandate{
			Network: network.ID, Scopes: []impact.Scope{impact.ObservationsRead, impact.SubmissionsManage, impact.OrganisationsRead}, Periods: impact.YearPeriod(2022 + l.rnd.IntN(4)),
			ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
		}
		if l.rnd.IntN(3) == 0 {
			m.Periods = impact.Period{Start: impact.MinDate, End: impact.MaxDate}
		}
		_, _, err = l.s.CreateMandate(ctx, w.p, m)
	case 3:
		var list []impact.Mandate
		if list, _, err = l.s.Mandates(ctx, w.p, impact.MandateFilter{State: impact.Granted}, impact.Page{Limit: 1}); len(list) > 0 {
			_, err = l.s.DecideMandate(ctx, w.p, list[0].ID, impact.RevokeMandate)
		}
	default:
		_, _, err = l.s.SetConsent(ctx, w.p, w.org.ID, impact.Listed, l.rnd.IntN(2) == 0)
	}
	if err != nil && impact.KindOf(err) == impact.Internal {
		l.t.Error(err)
	}
}

// TestCopiesFollow lets organisations live and compares, at every caught up,
// the copies of every kind of reader with the tables; new readers begin on the
// way, and those who read little at a time read across commits.
func TestCopiesFollow(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		l := newLife(t, s, 11, 4)
		rnd := rand.New(rand.NewPCG(11, 2))
		network, err := s.CreateNetwork(ctx, admin, impact.Network{Name: "Réseau"})
		if err != nil {
			t.Fatal(err)
		}
		readers := []*copyist{}
		begin := func() {
			readers = append(readers, followChanges(t, s, entitled(steward)), followChanges(t, s, entitled(admin)),
				followChanges(t, s, entitled(impact.Principal{Client: "other client", Role: impact.RoleNetwork, Network: network.ID})))
			for _, w := range l.w[:2] {
				readers = append(readers, followChanges(t, s, entitled(w.p)))
			}
		}
		begin()
		for _, r := range readers { // the same from the beginning, without a copy
			late := &copyist{t: t, p: r.p, rows: map[string]string{}}
			for !late.read(ctx, s, 1000) { // the reference data
			}
			readers = append(readers, late)
		}
		for i := 1; i <= 160; i++ {
			if l.step(); rnd.IntN(6) == 0 {
				l.mandate(network)
			}
			if i == 60 || i == 120 {
				begin()
			}
			for _, r := range readers {
				if rnd.IntN(8) != 0 && i < 160 {
					continue
				}
				for !r.read(ctx, s, []int{1, 7, 50, 500}[rnd.IntN(4)]) {
				}
				r.same(ctx, s)
			}
		}
		if n := len(tables(ctx, t, s, steward)); n < 100 {
			t.Errorf("a steward sees %d rows only: little was compared", n)
		}
	})
}

// TestConnectorsFollow holds what connectors rely on that know nothing but
// updated_since: to ask for what has changed since the last instant they saw
// keeps a copy of observations true, for stewards too, to whom values appear
// and disappear with the state of their submission.
func TestConnectorsFollow(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		l := newLife(t, s, 13, 3)
		type connector struct {
			p    impact.Principal
			last time.Time
			rows map[string]string
		}
		connectors := []*connector{{p: entitled(steward)}, {p: entitled(l.w[0].p)}, {p: entitled(l.w[1].p)}}
		for i := 1; i <= 160; i++ {
			l.step()
			if i%10 != 0 {
				continue
			}
			for _, c := range connectors {
				if c.rows == nil {
					c.last, c.rows = time.UnixMilli(1_600_000_000_000), map[string]string{}
				}
				f := impact.ObservationFilter{UpdatedSince: c.last, IncludeDeleted: true}
				page := impact.Page{Limit: 40}
				for {
					list, next, err := s.Observations(ctx, c.p, f, page)
					if err != nil {
						t.Fatal(err)
					}
					for _, o := range list {
						if o.UpdatedAt.Before(c.last) {
							t.Fatalf("%s, changed at %v, comes after %v", o.ID, o.UpdatedAt, c.last)
						}
						c.last = o.UpdatedAt
						if o.Deleted {
							if o.Value != nil || o.Note != "" {
								t.Fatalf("a tombstone says something: %+v", o)
							}
							delete(c.rows, "observation "+string(o.ID))
							continue
						}
						c.rows["observation "+string(o.ID)] = written(t, o)
					}
					if next == nil {
						break
					}
					page.After = next
				}
				want := tables(ctx, t, s, c.p)
				maps.DeleteFunc(want, func(name, _ string) bool { return !strings.HasPrefix(name, "observation ") })
				if d := cmp.Diff(want, c.rows); d != "" {
					t.Fatalf("step %d: the copy of a %s is not what the table holds:\n%s", i, c.p.Role, d)
				}
			}
		}
	})
}

// TestLag holds that the lag is the age of the oldest commit not yet known.
func TestLag(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		first := w.put(hours("commune-69266", "2025-Q1", "1")).Seq
		time.Sleep(20 * time.Millisecond)
		last := w.put(hours("commune-69266", "2025-Q1", "2")).Seq
		older, err := s.Lag(ctx, first-1)
		if err != nil {
			t.Fatal(err)
		}
		newer, err := s.Lag(ctx, first)
		if err != nil || older-newer < 15*time.Millisecond {
			t.Errorf("behind two commits %v, behind one %v, %v", older, newer, err)
		}
		if none, err := s.Lag(ctx, last); err != nil || none != 0 {
			t.Errorf("%v, %v", none, err)
		}
	})
}

// unlike tells whether two forms of an observation say something different.
func unlike(a, b impact.Observation) bool {
	a.UpdatedAt, b.UpdatedAt = time.Time{}, time.Time{}
	return !cmp.Equal(a, b)
}

// TestNothingIsToldInVain holds that a reader who has read everything is told
// of an observation when what it sees of it has changed, and that updated_since
// gives no other.
func TestNothingIsToldInVain(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		l := newLife(t, s, 17, 2)
		type reader struct {
			p     impact.Principal
			at    impact.ChangePosition
			known map[string]impact.Observation
		}
		var readers []*reader
		for _, p := range []impact.Principal{entitled(steward), entitled(l.w[0].p), entitled(l.w[1].p)} {
			at, err := s.LastChange(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			readers = append(readers, &reader{p, at, map[string]impact.Observation{}})
		}
		told := 0
		for range 150 {
			l.step()
			for _, r := range readers {
				list, next, caughtUp, err := s.Changes(ctx, r.p, impact.ChangeFilter{Types: []impact.ChangeType{impact.ObservationChange}}, r.at, 10_000)
				if err != nil || !caughtUp {
					t.Fatal(caughtUp, err)
				}
				r.at = next
				for _, change := range list {
					if change.Op == impact.OpDeleted {
						delete(r.known, change.ID)
						continue
					}
					now, before := change.Resource.(impact.Observation), r.known[change.ID]
					if told++; !unlike(before, now) {
						t.Fatalf("a %s is told again of %+v", r.p.Role, now)
					}
					r.known[change.ID] = now
				}
			}
		}
		for _, r := range readers {
			listed, _, err := s.Observations(ctx, r.p, impact.ObservationFilter{UpdatedSince: s1970}, impact.Page{Limit: 10_000})
			if err != nil || len(listed) != len(r.known) {
				t.Fatalf("a %s is given %d observations by updated_since and knows %d, %v", r.p.Role, len(listed), len(r.known), err)
			}
			for _, o := range listed {
				if d := cmp.Diff(r.known[string(o.ID)], o); d != "" {
					t.Errorf("a %s knows otherwise (-told +listed):\n%s", r.p.Role, d)
				}
			}
		}
		if told < 500 {
			t.Errorf("%d changes only", told)
		}
	})
}

// TestALateValueIsOneChange holds what a late value in a year that is approved
// tells: itself and the submission it sends back to review, and the same again
// when that is approved.
func TestALateValueIsOneChange(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		var year []impact.Statement
		for _, town := range communes[:20] {
			year = append(year, hours(town, "2025-Q1", "10"))
		}
		id := w.put(year...).Rows[0].Observation.Submission
		transition(t, s, w.p, id, "submit", "")
		transition(t, s, steward, id, "approve", "")
		for _, c := range []struct {
			what string
			do   func()
			// How many observations an organisation and a steward are told of.
			own, reviewed int
		}{
			{"a late value", func() { w.one(hours(communes[20], "2025-Q1", "10")) }, 1, 1},
			{"its approval", func() { transition(t, s, steward, id, "approve", "") }, 1, 1},
			{"a correction", func() { w.one(hours(communes[0], "2025-Q1", "11")) }, 1, 1},
			{"its return", func() { transition(t, s, steward, id, "return", "why?") }, 1, 1}, // a steward sees the approved version again
			{"another correction", func() { w.one(hours(communes[1], "2025-Q1", "11")) }, 1, 0},
			{"both handed in", func() { transition(t, s, w.p, id, "submit", "") }, 2, 2},
			{"both approved", func() { transition(t, s, steward, id, "approve", "") }, 2, 2},
			{"the year reopened", func() { transition(t, s, w.p, id, "reopen", "") }, 0, 0},
			{"a new value in it", func() { w.one(hours(communes[21], "2025-Q1", "10")) }, 1, 0},
			{"it handed in", func() { transition(t, s, w.p, id, "submit", "") }, 1, 1},
		} {
			readers := [2]impact.Principal{entitled(w.p), entitled(steward)}
			var at [2]impact.ChangePosition
			for i, p := range readers {
				var err error
				if at[i], err = s.LastChange(ctx, p); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Millisecond) // instants are in milliseconds
			before := time.Now()
			c.do()
			for i, p := range readers {
				want := []int{c.own, c.reviewed}[i]
				list, _, _, err := s.Changes(ctx, p, impact.ChangeFilter{Types: []impact.ChangeType{impact.ObservationChange}}, at[i], 100)
				if err != nil || len(list) != want {
					t.Errorf("%s: a %s is told of %d observations, want %d, %v", c.what, p.Role, len(list), want, err)
				}
				since, _, err := s.Observations(ctx, p, impact.ObservationFilter{UpdatedSince: before}, impact.Page{Limit: 100})
				if err != nil || len(since) != want {
					t.Errorf("%s: updated_since gives a %s %d observations, want %d, %v", c.what, p.Role, len(since), want, err)
				}
				submissions, _, _, err := s.Changes(ctx, p, impact.ChangeFilter{Types: []impact.ChangeType{impact.SubmissionChange}}, at[i], 100)
				if err != nil || len(submissions) > 1 {
					t.Errorf("%s: a %s is told of %d submissions, %v", c.what, p.Role, len(submissions), err)
				}
			}
		}
	})
}

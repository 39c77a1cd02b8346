package store_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"

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
		switch {
		case change.Type.Public():
		case change.Op == impact.OpDeleted:
			delete(c.rows, name)
		case change.Resource == nil:
			c.t.Fatalf("%s is without resource: %+v", name, change)
		default:
			c.rows[name] = written(c.t, change.Resource)
		}
	}
	c.at = next
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
	observations, _, err := s.Observations(ctx, p, impact.ObservationFilter{}, page)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range observations {
		rows["observation "+string(o.ID)] = written(t, o)
	}
	return rows
}

// TestCopiesFollow lets organisations live and compares, at every caught up,
// the copies of every kind of reader with the tables; new readers begin on the
// way, and those who read little at a time read across commits.
func TestCopiesFollow(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		l := newLife(t, s, 11, 4)
		rnd := rand.New(rand.NewPCG(11, 2))
		readers := []*copyist{}
		begin := func() {
			readers = append(readers, followChanges(t, s, entitled(steward)), followChanges(t, s, entitled(admin)))
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
		for i := 1; i <= 300; i++ {
			l.step()
			if i == 100 || i == 200 {
				begin()
			}
			for _, r := range readers {
				if rnd.IntN(8) != 0 && i < 300 {
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

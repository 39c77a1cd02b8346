package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// writer states observations for one organisation.
type writer struct {
	t   testing.TB
	s   *store.Store
	org impact.Organisation
	p   impact.Principal
}

func writing(t testing.TB, s *store.Store, org impact.Organisation) writer {
	return writer{t, s, org, acting(org.ID)}
}

func (w writer) batch(statements ...impact.Statement) impact.Batch {
	w.t.Helper()
	catalogue, err := w.s.Catalogue(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	checker := &impact.Checker{Catalogue: catalogue, Today: impact.NewDate(2026, 11, 25)}
	b := impact.Batch{Principal: w.p, Checker: checker}
	for _, st := range statements {
		r := &impact.Row{Organisation: &w.org}
		r.Resolved, r.Faults, r.Warnings = checker.Resolve(&st, &w.org)
		b.Rows = append(b.Rows, r)
	}
	return b
}

func (w writer) put(statements ...impact.Statement) impact.Results {
	w.t.Helper()
	results, err := w.s.PutObservations(context.Background(), w.batch(statements...))
	if err != nil {
		w.t.Fatal(err)
	}
	return results
}

// one puts a single statement that must be accepted.
func (w writer) one(st impact.Statement) impact.RowResult {
	w.t.Helper()
	r := w.put(st).Rows[0]
	if r.Outcome == impact.Rejected {
		w.t.Fatalf("rejected: %+v", r.Faults)
	}
	return r
}

func hours(territory, period, value string) impact.Statement {
	return impact.Statement{Indicator: "insertion_hours", Territory: territory, Period: period, Value: value}
}

func quantity(units int64) *impact.Quantity {
	q := impact.Quantity(units) * impact.One
	return &q
}

func TestOneObservation(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		first := w.one(hours("commune-69266", "2025-Q3", "1840"))
		if first.Outcome != impact.Created || first.Observation.Version != 1 || *first.Observation.Value != *quantity(1840) || first.Observation.State != impact.Draft {
			t.Fatalf("%+v", first)
		}
		id := first.Observation.ID
		read, err := s.Observation(ctx, w.p, id)
		if d := cmp.Diff(first.Observation, read); err != nil || d != "" {
			t.Fatal(err, d)
		}
		if made, err := s.ObservationID(ctx, read.CellKey); err != nil || made != id {
			t.Error(made, err)
		}
		t.Run("the same again writes nothing", func(t *testing.T) {
			before, _ := s.Seq(ctx)
			again := w.one(hours("commune-69266", "2025-Q3", "1840.0"))
			after, _ := s.Seq(ctx)
			if again.Outcome != impact.Unchanged || before != after {
				t.Error(again.Outcome, before, after)
			}
			if d := cmp.Diff(first.Observation, again.Observation); d != "" {
				t.Error(d)
			}
		})
		t.Run("another value is a new version, the former stays readable", func(t *testing.T) {
			st := hours("commune-69266", "2025-Q3", "1900")
			st.Note = "after the audit"
			next := w.one(st)
			if next.Outcome != impact.Updated || next.Observation.Version != 2 || next.Observation.ID != id {
				t.Errorf("%+v", next)
			}
			history, err := s.History(ctx, w.p, id)
			if err != nil || len(history) != 2 || *history[0].Value != *quantity(1840) || *history[1].Value != *quantity(1900) || history[1].Note != "after the audit" {
				t.Errorf("%+v %v", history, err)
			}
		})
		t.Run("a deletion is a version, and wants the current one", func(t *testing.T) {
			if _, err := s.DeleteObservation(ctx, w.p, id, 1); impact.KindOf(err) != impact.Stale {
				t.Error(err)
			}
			if _, err := s.DeleteObservation(ctx, w.p, id, 2); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Observation(ctx, w.p, id); code(err) != "not_found" {
				t.Error(err)
			}
			history, err := s.History(ctx, w.p, id)
			if err != nil || len(history) != 3 || !history[2].Deleted || history[2].Value != nil {
				t.Errorf("%+v %v", history, err)
			}
			back := w.one(hours("commune-69266", "2025-Q3", "1900"))
			if back.Outcome != impact.Created || back.Observation.Version != 4 || back.Observation.ID != id {
				t.Errorf("%+v", back)
			}
		})
		t.Run("nobody else sees it, a draft not even a steward", func(t *testing.T) {
			other := register(t, s, "Autre")
			for _, p := range []impact.Principal{acting(other.ID), steward, admin, buyer, {}} {
				if _, err := s.Observation(ctx, p, id); code(err) != "not_found" {
					t.Errorf("%s reads it: %v", p.Role, err)
				}
				if _, err := s.History(ctx, p, id); code(err) != "not_found" {
					t.Errorf("%s reads its history: %v", p.Role, err)
				}
				if _, err := s.DeleteObservation(ctx, p, id, 4); code(err) != "not_found" {
					t.Errorf("%s deletes it: %v", p.Role, err)
				}
				list, _, err := s.Observations(ctx, p, impact.ObservationFilter{Organisation: w.org.ID, IncludeDeleted: true}, impact.Page{Limit: 10})
				if err != nil || len(list) != 0 {
					t.Errorf("%s lists it: %v %v", p.Role, list, err)
				}
				b := w.batch(hours("commune-69266", "2025-Q3", "1"))
				b.Principal = p
				results, err := s.PutObservations(ctx, b)
				if err != nil || results.Rows[0].Outcome != impact.Rejected || results.Rows[0].Faults[0].Code != "not_mandated" {
					t.Errorf("%s writes it: %+v %v", p.Role, results, err)
				}
			}
			if o, err := s.Observation(ctx, w.p, id); err != nil || *o.Value != *quantity(1900) {
				t.Error(o, err)
			}
		})
		t.Run("what is not an id of ours is not found", func(t *testing.T) {
			for _, id := range []impact.ObservationID{"", "x", "AAAA", id + "A", "' OR 1=1 --", impact.ObservationID(string(id[:len(id)-1]) + "-")} {
				if _, err := s.Observation(ctx, w.p, id); code(err) != "not_found" {
					t.Error(id, err)
				}
			}
		})
	})
}

func TestBatch(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		many := make([]impact.Statement, 0, 232)
		for q := 1; q <= 4; q++ {
			for c := range 58 {
				many = append(many, hours(communes[c], fmt.Sprintf("2024-Q%d", q), fmt.Sprint(100*q+c)))
			}
		}
		wrong := hours("commune-69266", "2024-Q5", "1")
		t.Run("all or nothing", func(t *testing.T) {
			b := w.batch(append(many[:10:10], wrong)...)
			b.AllOrNothing, b.Pointer = true, "/observations"
			_, err := s.PutObservations(ctx, b)
			if code(err) != "validation_failed" {
				t.Fatal(err)
			}
			list, _, err := s.Observations(ctx, w.p, impact.ObservationFilter{}, impact.Page{Limit: 10})
			if err != nil || len(list) != 0 {
				t.Error(list, err)
			}
		})
		results := w.put(append(many, wrong)...)
		for i, r := range results.Rows {
			want := impact.Created
			if i == len(many) {
				want = impact.Rejected
			}
			if r.Outcome != want {
				t.Errorf("row %d: %s %+v", i, r.Outcome, r.Faults)
			}
		}
		many[7].Value, many[200].Value = "7777", "8888"
		for i, r := range w.put(many...).Rows {
			want := impact.Unchanged
			if i == 7 || i == 200 {
				want = impact.Updated
			}
			if r.Outcome != want {
				t.Errorf("row %d: %s %+v", i, r.Outcome, r.Faults)
			}
		}
		t.Run("pages give every fact once, in either order", func(t *testing.T) {
			for _, f := range []impact.ObservationFilter{{}, {UpdatedSince: s1970}} {
				seen := map[impact.ObservationID]int{}
				page := impact.Page{Limit: 50}
				for {
					list, next, err := s.Observations(ctx, w.p, f, page)
					if err != nil {
						t.Fatal(err)
					}
					for _, o := range list {
						seen[o.ID]++
					}
					if page.After = next; next == nil {
						break
					}
				}
				if len(seen) != 232 {
					t.Errorf("%d facts", len(seen))
				}
				for id, n := range seen {
					if n != 1 {
						t.Errorf("%s %d times", id, n)
					}
				}
				if _, _, err := s.Observations(ctx, w.p, f, impact.Page{Limit: 1, After: []string{"1", "2"}}); code(err) != "invalid_cursor" {
					t.Error(err)
				}
			}
		})
		t.Run("filters", func(t *testing.T) {
			catalogue, _ := s.Catalogue(ctx)
			first := results.Rows[0].Observation
			q1 := impact.YearPeriod(2024)
			q1.End = impact.NewDate(2024, 3, 31)
			for name, c := range map[string]struct {
				f    impact.ObservationFilter
				want int
			}{
				"indicator":          {impact.ObservationFilter{Indicators: []impact.IndicatorKey{first.Indicator}}, 232},
				"another indicator":  {impact.ObservationFilter{Indicators: []impact.IndicatorKey{catalogue.Indicator("headcount").Key}}, 0},
				"no indicator":       {impact.ObservationFilter{Indicators: []impact.IndicatorKey{}}, 0},
				"territory":          {impact.ObservationFilter{Territories: []impact.TerritoryKey{first.Territory}}, 4},
				"period":             {impact.ObservationFilter{Within: &q1}, 58},
				"submission":         {impact.ObservationFilter{Submission: first.Submission}, 232},
				"another submission": {impact.ObservationFilter{Submission: "x"}, 0},
				"draft":              {impact.ObservationFilter{State: impact.Draft}, 232},
				"approved":           {impact.ObservationFilter{State: impact.Approved}, 0},
				"organisation":       {impact.ObservationFilter{Organisation: w.org.ID}, 232},
			} {
				list, _, err := s.Observations(ctx, w.p, c.f, impact.Page{Limit: 1000})
				if err != nil || len(list) != c.want {
					t.Errorf("%s: %d, want %d (%v)", name, len(list), c.want, err)
				}
			}
		})
	})
}

func TestComposedIndicatorIsAView(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		st := impact.Statement{Indicator: "waste_diversion_rate", Territory: "commune-69266", Period: "2025", Components: map[string]string{"numerator": "20", "denominator": "80"}}
		made := w.one(st)
		o := made.Observation
		if made.Outcome != impact.Created || o.Value == nil || *o.Value != impact.One/4 || len(o.Parts) != 2 || o.Version != 2 {
			t.Fatalf("%+v", made)
		}
		read, err := s.Observation(ctx, w.p, o.ID)
		if d := cmp.Diff(o, read); err != nil || d != "" {
			t.Error(err, d)
		}
		if again := w.one(st); again.Outcome != impact.Unchanged {
			t.Error(again.Outcome)
		}
		st.Components["numerator"] = "40"
		if next := w.one(st); next.Outcome != impact.Updated || next.Observation.Version != 3 || *next.Observation.Value != impact.One/2 {
			t.Errorf("%+v", next)
		}
		history, err := s.History(ctx, w.p, o.ID)
		if err != nil || len(history) != 2 || *history[0].Value != impact.One/4 || *history[1].Value != impact.One/2 || history[0].Version != 2 {
			t.Errorf("%+v %v", history, err)
		}
		b := w.batch(st)
		b.IfVersion = 2
		if _, err := s.PutObservations(ctx, b); impact.KindOf(err) != impact.Stale {
			t.Error(err)
		}
		list, _, err := s.Observations(ctx, w.p, impact.ObservationFilter{Indicators: []impact.IndicatorKey{o.Indicator}}, impact.Page{Limit: 10})
		if err != nil || len(list) != 2 {
			t.Error("the list holds the parts:", list, err)
		}
		// Its parts are facts that other ratios may show too: they go one by one.
		if _, err := s.DeleteObservation(ctx, w.p, o.ID, 3); code(err) != "bad_state" {
			t.Error(err)
		}
		for _, part := range list {
			if _, err := s.DeleteObservation(ctx, w.p, part.ID, part.Version); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Observation(ctx, w.p, o.ID); code(err) != "not_found" {
			t.Error(err)
		}
	})
}

func TestExternalIDNamesOneFact(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		named := func(st impact.Statement, id string) impact.Statement {
			st.Source, st.ExternalID = "crm", id
			return st
		}
		first := w.one(named(hours("commune-69266", "2025-Q1", "10"), "a"))
		elsewhere := w.batch(named(hours("commune-69123", "2025-Q1", "10"), "a"))
		elsewhere.AllOrNothing = true
		_, err := s.PutObservations(ctx, elsewhere)
		if impact.KindOf(err) != impact.Conflict || code(err) != "already_exists" {
			t.Error(err)
		}
		if r := w.one(named(hours("commune-69266", "2025-Q1", "11"), "a")); r.Outcome != impact.Updated {
			t.Errorf("%+v", r)
		}
		t.Run("a new name frees the former", func(t *testing.T) {
			w.one(named(hours("commune-69266", "2025-Q1", "11"), "b"))
			w.one(named(hours("commune-69123", "2025-Q1", "10"), "a"))
		})
		t.Run("so does a deletion", func(t *testing.T) {
			if _, err := s.DeleteObservation(ctx, w.p, first.Observation.ID, 3); err != nil {
				t.Fatal(err)
			}
			w.one(named(hours("commune-69029", "2025-Q1", "10"), "b"))
		})
		t.Run("another organisation has its own names", func(t *testing.T) {
			writing(t, s, register(t, s, "Autre")).one(named(hours("commune-69266", "2025-Q1", "10"), "a"))
		})
		r := w.put(named(hours("commune-69202", "2025-Q1", "1"), "c"), named(hours("commune-69259", "2025-Q1", "1"), "c"))
		if r.Rows[0].Outcome != impact.Created || r.Rows[1].Outcome != impact.Rejected {
			t.Errorf("%+v", r)
		}
	})
}

func TestClosedPeriod(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		o := w.one(hours("commune-69266", "2024-Q4", "10")).Observation
		for _, p := range []impact.Principal{w.p, admin, buyer, {}} {
			if err := s.LockPeriod(ctx, p, impact.YearPeriod(2024)); code(err) != "insufficient_scope" {
				t.Errorf("%s: %v", p.Role, err)
			}
		}
		if err := s.LockPeriod(ctx, steward, impact.YearPeriod(2024)); err != nil {
			t.Fatal(err)
		}
		b := w.batch(hours("commune-69266", "2024-Q4", "11"))
		b.AllOrNothing = true
		if _, err := s.PutObservations(ctx, b); impact.KindOf(err) != impact.Locked {
			t.Error(err)
		}
		if r := w.put(hours("commune-69266", "2024-Q4", "11"), hours("commune-69266", "2025-Q1", "11")); r.Rows[0].Outcome != impact.Rejected || r.Rows[1].Outcome != impact.Created {
			t.Errorf("%+v", r)
		}
		if _, err := s.DeleteObservation(ctx, w.p, o.ID, 1); impact.KindOf(err) != impact.Locked {
			t.Error(err)
		}
		if err := s.UnlockPeriod(ctx, steward, impact.YearPeriod(2024)); err != nil {
			t.Fatal(err)
		}
		if r := w.one(hours("commune-69266", "2024-Q4", "11")); r.Outcome != impact.Updated {
			t.Error(r)
		}
	})
}

func TestProfileIsFrozenWithTheValue(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		st := hours("commune-69266", "2025-Q1", "10")
		w.one(st)
		if _, err := s.UpdateOrganisation(ctx, admin, w.org.ID, 1, func(o *impact.Organisation) error { o.Class, o.ESS = impact.Company, "false"; return nil }); err != nil {
			t.Fatal(err)
		}
		same := w.one(st)
		if same.Outcome != impact.Unchanged || same.Observation.Profile.Class != impact.Association {
			t.Errorf("%+v", same)
		}
		st.Value = "12"
		if next := w.one(st); next.Observation.Profile != (impact.Profile{Class: impact.Company, ESS: "false"}) {
			t.Errorf("%+v", next.Observation.Profile)
		}
	})
}

var ignoreTimes = cmpopts.IgnoreFields(impact.Submission{}, "UpdatedAt", "CreatedAt")

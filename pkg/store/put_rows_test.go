package store_test

import (
	"context"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

func TestMergedRowKeepsTheDetailsItLeavesOut(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		w := writing(t, s, register(t, s, "Une"))
		st := hours("commune-69266", "2025-Q3", "1840")
		st.Note, st.Source, st.ExternalID = "counted by hand", "crm", "7"
		w.one(st)

		b := w.batch(hours("commune-69266", "2025-Q3", "1900"))
		b.Rows[0].Merge = true
		results, err := s.PutObservations(context.Background(), b)
		if err != nil {
			t.Fatal(err)
		}
		r := results.Rows[0]
		if r.Outcome != impact.Updated || *r.Observation.Value != *quantity(1900) || r.Observation.Note != "counted by hand" || r.Observation.ExternalID != "7" {
			t.Errorf("%+v", r)
		}
		b = w.batch(hours("commune-69266", "2025-Q3", "1900"))
		b.Rows[0].Merge = true
		if results, err = s.PutObservations(context.Background(), b); err != nil || results.Rows[0].Outcome != impact.Unchanged {
			t.Errorf("%v %v", results.Rows[0].Outcome, err)
		}
		if r := w.one(hours("commune-69266", "2025-Q3", "1900")); r.Outcome != impact.Updated || r.Observation.Note != "" {
			t.Errorf("without merge the statement is the whole: %+v", r)
		}
	})
}

func TestDeletedRows(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		other := writing(t, s, register(t, s, "Autre"))
		w.one(hours("commune-69266", "2025", "1840"))
		other.one(hours("commune-69266", "2025", "5"))
		ratio := impact.Statement{Indicator: "waste_diversion_rate", Territory: "commune-69266", Period: "2025", Components: map[string]string{"numerator": "4", "denominator": "10"}}
		w.one(ratio)

		deleting := func(w writer, statements ...impact.Statement) impact.Batch {
			b := w.batch(statements...)
			for i, r := range b.Rows {
				r.Delete = true
				r.Resolved, r.Faults, r.Warnings = b.Checker.ResolveKey(&statements[i], &w.org)
				if len(r.Faults) > 0 {
					t.Fatalf("%+v", r.Faults)
				}
			}
			return b
		}
		// What is deleted makes room for what the same batch states: quarters in
		// place of a year.
		b := deleting(w, hours("commune-69266", "2025", ""), hours("commune-69266", "2024", ""), ratio)
		b.Rows = append(b.Rows, w.batch(hours("commune-69266", "2025-Q1", "460")).Rows...)
		results, err := s.PutObservations(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []impact.Outcome{impact.Removed, impact.Unchanged, impact.Removed, impact.Created} {
			if got := results.Rows[i].Outcome; got != want {
				t.Errorf("row %d: %s, want %s (%+v)", i, got, want, results.Rows[i].Faults)
			}
		}
		if _, err := s.Observation(ctx, w.p, results.Rows[0].Observation.ID); impact.KindOf(err) != impact.NotFound {
			t.Error("still there:", err)
		}
		// Nobody deletes what belongs to somebody else.
		b = deleting(other, hours("commune-69266", "2025", ""))
		b.Principal = w.p
		if results, err = s.PutObservations(ctx, b); err != nil || results.Rows[0].Outcome != impact.Rejected || results.Rows[0].Faults[0].Code != "not_mandated" {
			t.Errorf("%+v %v", results.Rows[0], err)
		}
	})
}

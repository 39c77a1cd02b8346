package store_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

func TestReferenceDataComesBackAsItWas(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		want, err := codelist.Load()
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Catalogue(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got := c.Reference()
		byKey := cmpopts.SortSlices(func(a, b impact.Territory) bool { return a.Key < b.Key })
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), byKey); d != "" {
			t.Error(d)
		}
	})
}

func TestReferenceKeysNeverDangle(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		r, err := codelist.Load()
		if err != nil {
			t.Fatal(err)
		}
		t.Run("the same version is not loaded again", func(t *testing.T) {
			same := r
			same.Indicators = append([]impact.Indicator(nil), r.Indicators...)
			same.Indicators[0].Label.EN = "Changed"
			if err := s.LoadReference(ctx, same); err != nil {
				t.Fatal(err)
			}
			if c, _ := s.Catalogue(ctx); c.Indicators()[0].Label.EN == "Changed" {
				t.Error("it was")
			}
			same.Version += "+"
			if err := s.LoadReference(ctx, same); err != nil {
				t.Fatal(err)
			}
			if c, _ := s.Catalogue(ctx); c.Indicators()[0].Label.EN != "Changed" {
				t.Error("a new version is")
			}
		})
		t.Run("a key keeps its meaning", func(t *testing.T) {
			moved := r
			moved.Version = "moved"
			moved.Territories = append([]impact.Territory(nil), r.Territories...)
			for i := range moved.Territories {
				if moved.Territories[i].ID == "commune-69266" {
					moved.Territories[i].Key += 100_000
				}
			}
			if err := s.LoadReference(ctx, moved); err == nil {
				t.Error("the key of Villeurbanne moved and nobody minded")
			}
		})
	})
}

func TestReady(t *testing.T) {
	for name, url := range map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "été 1.db"), "postgres": pgtest.DSN(t)} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s := open(t, url)
			if err := s.Ready(ctx); impact.KindOf(err) != impact.Busy {
				t.Error("without schema:", err)
			}
			if err := s.Migrate(ctx); err != nil {
				t.Fatal(err)
			}
			if err := s.Migrate(ctx); err != nil {
				t.Fatal("twice:", err)
			}
			if err := s.Ready(ctx); impact.KindOf(err) != impact.Busy {
				t.Error("without reference data:", err)
			}
			if _, err := s.Catalogue(ctx); impact.KindOf(err) != impact.Busy {
				t.Error(err)
			}
			r, err := codelist.Load()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.LoadReference(ctx, r); err != nil {
				t.Fatal(err)
			}
			if err := s.Ready(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for _, url := range []string{"", "mysql://x", "sqlite:", "sqlite::memory:"} {
		if s, err := store.Open(context.Background(), url, store.Options{Now: nil}); err == nil {
			_ = s.Close()
			t.Errorf("%q opened", url)
		}
	}
}

func TestGeometry(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		want := map[impact.TerritoryKey][]byte{4: []byte(`{"type":"Point","coordinates":[4.85,45.75]}`), 5: []byte(`{"type":"Point","coordinates":[4.9,45.7]}`)}
		for range 2 {
			if err := s.LoadGeometry(ctx, want, "test"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Geometries(ctx, []impact.TerritoryKey{4, 5, 6})
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Error(err, d)
		}
	})
}

func TestQuestionnaires(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		q := impact.Questionnaire{
			Code: "q", Label: impact.Text{FR: "Q", EN: "Q"}, Indicators: []impact.QuestionnaireItem{{Indicator: "insertion_hours", Required: true}},
			StructureKinds: []string{"ACI"}, From: impact.NewDate(2025, 1, 1), To: impact.MaxDate, Review: impact.Manual,
		}
		for _, p := range []impact.Principal{steward, buyer, acting("x"), {}} {
			if _, err := s.PutQuestionnaire(ctx, p, q, 0); code(err) != "insufficient_scope" {
				t.Errorf("%s: %v", p.Role, err)
			}
		}
		made, err := s.PutQuestionnaire(ctx, admin, q, 0)
		if err != nil || made.Version != 1 {
			t.Fatal(made, err)
		}
		if again, err := s.PutQuestionnaire(ctx, admin, q, 0); err != nil || again.Version != 1 {
			t.Error(again, err)
		}
		q.Label.EN = "Other"
		if _, err := s.PutQuestionnaire(ctx, admin, q, 0); code(err) != "already_exists" {
			t.Error(err)
		}
		if _, err := s.PutQuestionnaire(ctx, admin, q, 5); impact.KindOf(err) != impact.Stale {
			t.Error(err)
		}
		made, err = s.PutQuestionnaire(ctx, admin, q, 1)
		if err != nil || made.Version != 2 {
			t.Fatal(made, err)
		}
		read, err := s.Questionnaire(ctx, "q")
		if d := cmp.Diff(made, read); err != nil || d != "" {
			t.Error(err, d)
		}
		if _, err := s.Questionnaire(ctx, "other"); code(err) != "not_found" {
			t.Error(err)
		}
		if list, err := s.Questionnaires(ctx); err != nil || len(list) != 1 {
			t.Error(list, err)
		}
	})
}

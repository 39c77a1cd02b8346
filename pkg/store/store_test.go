package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
	"github.com/grandlyon/retombees/pkg/store/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// databases runs a test on both; each run gets an empty database with the
// schema and the reference data.
func databases(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, open(t, storetest.SQLite(t))) })
	t.Run("postgres", func(t *testing.T) { test(t, open(t, storetest.Postgres(t))) })
}

func open(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), url, store.Options{Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openLoaded(t testing.TB, url string) *store.Store {
	t.Helper()
	s := open(t, url)
	ctx := context.Background()
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := codelist.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.LoadReference(ctx, r); err != nil {
		t.Fatal(err)
	}
	return s
}

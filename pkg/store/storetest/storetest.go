// Package storetest gives tests databases that are ready: migrated, with the reference data. They are made once in a
// process and copied for each test.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// SQLite gives the URL of a ready database of the test's own.
func SQLite(t testing.TB) string {
	t.Helper()
	content, err := readyFile()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

// Postgres gives the URL of a ready database of the test's own.
func Postgres(t testing.TB) string {
	t.Helper()
	return pgtest.Copy(t, prepare)
}

var readyFile = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "storetest-*")
	if err != nil {
		return nil, fmt.Errorf("making a database: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "ready.db")
	if err := prepare("sqlite:" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// prepare makes an empty database ready; nothing is connected to it afterwards.
func prepare(url string) (err error) {
	ctx := context.Background()
	s, err := store.Open(ctx, url, store.Options{Now: time.Now, NewID: uuid.NewString, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Migrate(ctx); err != nil {
		return err
	}
	reference, err := codelist.Load()
	if err != nil {
		return err
	}
	return s.LoadReference(ctx, reference)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// databaseFlags are those of every command that opens the database.
type databaseFlags struct {
	DatabaseURL string `env:"DATABASE_URL" default:"sqlite:retombees.db" placeholder:"URL" help:"Where the data are: sqlite:PATH (one file, made when absent) or postgres://user:password@host/database. Default: sqlite:retombees.db."`
}

// open opens the database, migrates it and loads the reference data of this
// version; both change nothing when they are already there.
func (f databaseFlags) open(w *world) (*store.Store, error) {
	s, err := store.Open(w.ctx, f.DatabaseURL, store.Options{Log: w.log, Now: w.now, NewID: w.newID})
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := prepare(w.ctx, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func prepare(ctx context.Context, s *store.Store) error {
	if err := s.Migrate(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	reference, err := codelist.Load()
	if err != nil {
		return fmt.Errorf("reading the embedded reference data: %w", err)
	}
	if err := s.LoadReference(ctx, reference); err != nil {
		return fmt.Errorf("loading the reference data: %w", err)
	}
	return nil
}

// sqlitePath gives the file of a sqlite: URL; "" for another database.
func (f databaseFlags) sqlitePath() string {
	path, ok := strings.CutPrefix(f.DatabaseURL, "sqlite:")
	if !ok {
		return ""
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "//"), "?")
	return path
}

type migrateCmd struct{ databaseFlags }

func (c migrateCmd) Run(w *world) error {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	catalogue, err := s.Catalogue(w.ctx)
	if err == nil {
		_, err = fmt.Fprintf(w.stdout, "The database is up to date (reference data %s).\n", catalogue.Reference().Version)
	}
	return errors.Join(err, s.Close())
}

// explain says an error to the person at the keyboard: the sentence and the
// hint of a refusal, in English as the commands are.
func explain(err error) string {
	e, ok := errors.AsType[*impact.Error](err)
	if !ok || e.Detail.IsZero() && len(e.Faults) == 0 {
		return err.Error()
	}
	lines := []string{e.Detail.In(impact.English), e.Hint.In(impact.English)}
	for _, f := range e.Faults {
		line := f.Detail.In(impact.English) + " " + f.Hint.In(impact.English)
		if f.Pointer != "" {
			line = strings.TrimPrefix(f.Pointer, "/") + ": " + line
		}
		lines = append(lines, line)
	}
	said := lines[:0]
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" {
			said = append(said, l)
		}
	}
	return strings.Join(said, "\n  ")
}

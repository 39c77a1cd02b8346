package store

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// The databases themselves keep the two logs: a line never changes, and goes
// after three years only.
func TestLogsOnlyGrow(t *testing.T) {
	ctx := context.Background()
	for name, url := range map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "test.db"), "postgres": pgtest.DSN(t)} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(ctx, url, Options{Now: time.Now, NewID: uuid.NewString, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			if err := s.Migrate(ctx); err != nil {
				t.Fatal(err)
			}
			for _, query := range []string{
				`INSERT INTO audit_log VALUES (1, $1, '', '', '', '', '', '', '', '')`,
				`INSERT INTO access_log (id, at, client, action, organisation, resource) VALUES (1, $1, '', '', '', '')`,
			} {
				if _, err := s.write.ExecContext(ctx, query, time.Now().UnixMilli()); err != nil {
					t.Fatal(err)
				}
			}
			refused := []string{`UPDATE audit_log SET actor = 'x'`, `DELETE FROM audit_log`, `UPDATE access_log SET client = 'x'`, `DELETE FROM access_log`}
			if name == "postgres" {
				refused = append(refused, `TRUNCATE audit_log`, `TRUNCATE access_log`)
			}
			for _, query := range refused {
				if _, err := s.write.ExecContext(ctx, query); err == nil {
					t.Errorf("%s was done", query)
				}
			}
			for _, query := range []string{
				`INSERT INTO audit_log VALUES (2, $1, '', '', '', '', '', '', '', '')`,
				`DELETE FROM audit_log WHERE at <= $1`,
			} {
				if _, err := s.write.ExecContext(ctx, query, time.Now().AddDate(-3, 0, -2).UnixMilli()); err != nil {
					t.Errorf("%s: %v", query, err)
				}
			}
		})
	}
}

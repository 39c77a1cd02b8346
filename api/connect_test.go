package api_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/imports"
	"github.com/grandlyon/retombees/pkg/webhook"
)

// connect ties the configuration to the stores of organisations, observations
// and submissions, and to figures that follow what is written.
func (w *world) connect(t testing.TB) {
	t.Helper()
	cube := calculation.NewCube(w.config.Catalogue)
	follower, err := w.store.Follow(context.Background(), cube, 20*time.Millisecond)
	must(t, err)
	t.Cleanup(follower.Close)
	must(t, follower.WaitFor(context.Background(), 0))
	c := &w.config
	c.Figures, c.Follower, c.ObservationIDs = cube, follower, w.store
	c.Organisations, c.Observations, c.Submissions, c.Questionnaires = w.store, w.store, w.store, w.store
	c.Networks, c.Mandates = w.store, w.store
	c.Imports, c.Mappings = w.store, w.store
	runner := imports.Start(imports.Config{Store: w.store, Now: now, Log: slog.New(slog.DiscardHandler), Lease: 15 * time.Second, Poll: 500 * time.Millisecond})
	t.Cleanup(runner.Close)
	c.ImportRunner = runner
	c.Idempotency, c.AccessLog, c.Commits = w.store, w.store, w.store
	c.Consents, c.Changes = w.store, w.store
	vault, err := auth.NewVault([]byte(strings.Repeat("k", 32)))
	must(t, err)
	w.guard = webhook.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, nil)
	w.writer = &webhook.Writer{Base: publicURL, Cursor: api.FeedCursor(c.CursorKey)}
	c.Webhooks = api.Webhooks{Store: w.store, Vault: vault, CheckURL: w.guard.CheckURL, Test: w.writer.Test}
	c.Logs = w.store
}

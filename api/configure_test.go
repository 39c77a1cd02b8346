package api_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/docs"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/imports"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/webhook"
)

// configure ties the API to the store, as cmd/retombees does: figures follow
// what is written, imports are worked on; webhooks are made and not told.
func (w *world) configure(t testing.TB, catalogue *impact.Catalogue) {
	t.Helper()
	s := w.store
	ui, err := fs.Sub(docs.UI, "ui")
	must(t, err)
	cube := calculation.NewCube(catalogue)
	follower, err := s.Follow(context.Background(), cube, 20*time.Millisecond)
	must(t, err)
	t.Cleanup(follower.Close)
	must(t, follower.WaitFor(context.Background(), 0))
	runner := imports.Start(imports.Config{Store: s, Now: now, Log: slog.New(slog.DiscardHandler), Lease: 15 * time.Second, Poll: 500 * time.Millisecond})
	t.Cleanup(runner.Close)
	vault, err := auth.NewVault([]byte(strings.Repeat("k", 32)))
	must(t, err)
	cursorKey := []byte("the same on every replica")
	w.guard = webhook.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, nil)
	w.writer = &webhook.Writer{Base: publicURL, Cursor: api.FeedCursor(cursorKey)}
	w.builder = publish.Start(w.building())
	t.Cleanup(w.builder.Close)
	w.config = api.Config{
		PublicURL: publicURL, Version: "0.0.0-test", Now: now, NewID: newID, Log: slog.New(slog.NewJSONHandler(w.log, nil)), CursorKey: cursorKey,
		OpenAPIJSON: docs.OpenAPIJSON, OpenAPIYAML: docs.OpenAPIYAML(), DocsUI: ui, DocsPolicy: docs.UIPolicy, Guides: docs.Guides,
		Verifier: w.issuer, Issuer: w.issuer, Keys: w.issuer, Tokens: w.issuer, Revocations: s,
		Clients: s, Assertions: w.issuer, UsedAssertions: s, APIKeys: s, KeyRing: auth.NewKeyRing(s, now),
		Rates: patient, AccessLog: s, Logs: s,
		Catalogue: catalogue, Geometries: s, Questionnaires: s,
		Organisations: s, Consents: s, Networks: s, Mandates: s,
		Observations: s, Submissions: s, Idempotency: s, Commits: s,
		Imports: s, Mappings: s, ImportRunner: runner,
		Figures: cube, Follower: follower, ObservationIDs: s,
		ReleaseStore: s, ReleaseRunner: w.builder,
		Changes: s, Webhooks: api.Webhooks{Store: s, Vault: vault, CheckURL: w.guard.CheckURL, Test: w.writer.Test},
		Ready: s.Ready,
	}
}

// building has releases built as the service does, without waiting.
func (w *world) building() publish.Config {
	return publish.Config{
		Store: w.store, Log: slog.New(slog.DiscardHandler), Now: now, Lease: 15 * time.Second, Poll: 200 * time.Millisecond,
		Snapshot: func(ctx context.Context) (publish.Snapshot, error) {
			n, err := w.store.Snapshot(ctx)
			if err != nil {
				return publish.Snapshot{}, err
			}
			return publish.Snapshot{Cube: n.Cube, Seq: n.Seq, Waived: n.Waived}, nil
		},
		Make: makes,
	}
}

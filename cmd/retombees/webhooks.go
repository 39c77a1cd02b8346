package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/webhook"
)

// webhookFlags say which receivers may be spoken to beside the public Internet.
type webhookFlags struct {
	WebhookAllow []netip.Prefix `env:"RETOMBEES_WEBHOOK_ALLOW" placeholder:"CIDR,..." help:"Private networks whose receivers may be told of changes all the same: 10.20.0.0/16. Everyone who may make a webhook can then make this server speak to them. A loopback network among them allows http there, for development."`
	WebhookDeny  []netip.Prefix `env:"RETOMBEES_WEBHOOK_DENY" placeholder:"CIDR,..." help:"Public networks that are never spoken to: your own."`
}

// webhookPace is how often the log is looked at for webhooks.
const webhookPace = 500 * time.Millisecond

// webhooks gives what the API needs to serve webhooks, and who tells them.
func (c serveCmd) webhooks(w *world, s *store.Store, keys auth.KeySet, cursorKey []byte) (api.Webhooks, *webhook.Dispatcher, error) {
	key, err := keys.Derive("retombees webhook secrets 1")
	if err != nil {
		return api.Webhooks{}, nil, fmt.Errorf("deriving the key of webhook secrets: %w", err)
	}
	vault, err := auth.NewVault(key)
	if err != nil {
		return api.Webhooks{}, nil, err
	}
	guard := webhook.NewGuard(c.WebhookAllow, c.WebhookDeny)
	writer := &webhook.Writer{Base: c.PublicURL, Cursor: api.FeedCursor(cursorKey)}
	d := webhook.NewDispatcher(webhook.Config{
		Store: s, Vault: vault, Writer: writer, Guard: guard, Log: w.log, Now: w.now, Holder: w.newID(),
		UserAgent: "Retombees/" + programVersion() + " (+" + c.PublicURL + ")",
	})
	return api.Webhooks{Store: s, Vault: vault, CheckURL: guard.CheckURL, Test: writer.Test}, d, nil
}

// tell lets the dispatcher work until stop is called, which waits for the
// attempts under way.
func tell(ctx context.Context, d *webhook.Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx, webhookPace)
	}()
	return func() { cancel(); <-done }
}

package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Bounds of what is under way at once. A receiver that is slow holds its own
// places only.
const (
	webhookSends = 4
	hostSends    = 8
	allSends     = 64
)

const (
	leaseTime  = 10 * time.Second // a dispatcher that died is replaced after that
	renewAfter = 3 * time.Second
	readLimit  = 500 // changes in one reading of the feed
)

// Store is the queue and the feed.
type Store interface {
	LeaseWebhooks(ctx context.Context, holder string, lasting time.Duration) (held bool, err error)
	ActiveWebhooks(ctx context.Context) ([]impact.Webhook, error)
	// Seq is the number of the last commit.
	Seq(ctx context.Context) (int64, error)
	Changes(ctx context.Context, p impact.Principal, f impact.ChangeFilter, after impact.ChangePosition, limit int) (list []impact.Change, next impact.ChangePosition, caughtUp bool, err error)
	QueueDeliveries(ctx context.Context, id impact.WebhookID, from, to impact.ChangePosition, events []impact.Delivery) (moved bool, err error)
	AdvanceWebhooks(ctx context.Context, moves []impact.WebhookMove) error
	DueDeliveries(ctx context.Context, perWebhook int) ([]impact.Delivery, error)
	RecordAttempt(ctx context.Context, d impact.Delivery) (stopped *impact.Webhook, err error)
	StopWebhook(ctx context.Context, id impact.WebhookID, reason impact.WebhookReason) (stopped *impact.Webhook, err error)
	AnnounceStop(ctx context.Context, stopped *impact.Webhook, event impact.Delivery) error
}

// Vault opens the secrets of webhooks; context is the id of the webhook.
type Vault interface {
	Open(sealed, context string) (secret string, err error)
}

// Config of a dispatcher. Resolver and Roots are the system's when nil.
type Config struct {
	Store     Store
	Vault     Vault
	Writer    *Writer
	Guard     *Guard
	Log       *slog.Logger
	Now       func() time.Time
	Holder    string // names this process among the replicas
	UserAgent string
	Resolver  *net.Resolver
	Roots     *x509.CertPool
}

// Dispatcher reads the feed and sends, one for all replicas: the others wait for
// its lease to end.
type Dispatcher struct {
	Config
	sender *sender

	leased time.Time // when the lease was last renewed
	mine   bool

	mu      sync.Mutex
	sending map[place]bool
	busy    map[string]int // by host, and by webhook
	done    sync.WaitGroup
	ended   chan struct{} // wakes Run when a place is free
}

type place struct {
	webhook impact.WebhookID
	id      string
}

// NewDispatcher makes one; Run makes it work.
func NewDispatcher(c Config) *Dispatcher {
	return &Dispatcher{
		Config: c, sender: newSender(c.Guard, c.Resolver, c.Roots, c.UserAgent, c.Now),
		sending: map[place]bool{}, busy: map[string]int{}, ended: make(chan struct{}, 1),
	}
}

// Run works until ctx ends, looking at the log at this pace. It returns when the
// attempts under way have ended, ten seconds later at most.
func (d *Dispatcher) Run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		pauses := 1
		if err := d.Turn(ctx); err != nil && ctx.Err() == nil {
			d.Log.Error("telling webhooks", "err", err)
			pauses = 20 // a database that is away is not asked twice a second
		}
		for ; pauses > 0; pauses-- {
			select {
			case <-ctx.Done():
				pauses = 0
			case <-ticker.C:
			case <-d.ended:
			}
		}
	}
	d.Wait()
	if d.mine { // another process need not wait for the lease to end
		if _, err := d.Store.LeaseWebhooks(context.WithoutCancel(ctx), d.Holder, 0); err != nil {
			d.Log.Warn("giving the webhooks back", "err", err)
		}
	}
}

// Wait returns when no attempt is under way.
func (d *Dispatcher) Wait() { d.done.Wait() }

// Turn does once all there is to do: it reads what the feed has new for every
// webhook and starts the attempts that are due and have room. It waits for none.
func (d *Dispatcher) Turn(ctx context.Context) error {
	if held, err := d.lease(ctx); err != nil || !held {
		return err
	}
	webhooks, err := d.Store.ActiveWebhooks(ctx)
	if err != nil {
		return err
	}
	last, err := d.Store.Seq(ctx)
	if err != nil {
		return err
	}
	byID := make(map[impact.WebhookID]*impact.Webhook, len(webhooks))
	var failed []error
	var moves []impact.WebhookMove
	for i := range webhooks {
		w := &webhooks[i]
		byID[w.ID] = w
		// One webhook that cannot be read for does not silence the others.
		move, err := d.read(ctx, w, last)
		if err != nil {
			failed = append(failed, fmt.Errorf("webhook %s: %w", w.ID, err))
		} else if move.From != move.To {
			moves = append(moves, move)
		}
	}
	failed = append(failed, d.Store.AdvanceWebhooks(ctx, moves))
	due, err := d.Store.DueDeliveries(ctx, webhookSends)
	failed = append(failed, err)
	for i := range due {
		if w := byID[due[i].Webhook]; w != nil {
			d.start(ctx, w, due[i])
		}
	}
	return errors.Join(failed...)
}

func (d *Dispatcher) lease(ctx context.Context) (held bool, err error) {
	now := d.Now()
	if d.mine && now.Sub(d.leased) < renewAfter {
		return true, nil
	}
	held, err = d.Store.LeaseWebhooks(ctx, d.Holder, leaseTime)
	if held && !d.mine {
		d.Log.Info("this process tells the webhooks", "holder", d.Holder)
	}
	d.mine, d.leased = held && err == nil, now
	return d.mine, err
}

// read puts what the feed has new for a webhook, up to commit last at least, in
// its queue, as long as there is room in it. move is how far it then read without meeting an event, left to
// be written down.
func (d *Dispatcher) read(ctx context.Context, w *impact.Webhook, last int64) (move impact.WebhookMove, err error) {
	if w.State != impact.WebhookActive {
		return move, nil
	}
	if w.Client.IsAnonymous() {
		return move, d.stop(ctx, w, impact.StoppedClient)
	}
	filter := impact.ChangeFilter{Types: slices.DeleteFunc(w.Follows(), func(t impact.ChangeType) bool { return !w.Client.Follows(t) })}
	if len(filter.Types) == 0 || w.Position == (impact.ChangePosition{Seq: last, Tx: w.Position.Tx}) {
		return move, nil
	}
	move = impact.WebhookMove{Webhook: w.ID, From: w.Position, To: w.Position}
	g := &gathering{webhook: w, writer: d.Writer}
	next := w.Position
	for caughtUp := false; !caughtUp && w.Pending < impact.PendingKept; {
		var list []impact.Change
		list, next, caughtUp, err = d.Store.Changes(ctx, w.Client, filter, next, readLimit)
		if impact.KindOf(err) == impact.Gone {
			return move, d.stop(ctx, w, impact.StoppedLog)
		}
		if err != nil {
			return move, err
		}
		for i := range list {
			if err := g.add(&list[i]); err != nil {
				return move, err
			}
		}
		if next.Type != "" {
			continue // inside a commit
		}
		if err := g.flush(); err != nil {
			return move, err
		}
		move.To = next
		if len(g.events) == 0 {
			continue
		}
		moved, err := d.Store.QueueDeliveries(ctx, w.ID, move.From, move.To, g.events)
		move.From = move.To
		if err != nil || !moved {
			return move, err
		}
		w.Pending += len(g.events)
		g.events = nil
	}
	return move, nil
}

// stop disables a webhook and tells its owner's others.
func (d *Dispatcher) stop(ctx context.Context, w *impact.Webhook, reason impact.WebhookReason) error {
	stopped, err := d.Store.StopWebhook(ctx, w.ID, reason)
	if err != nil || stopped == nil {
		return err
	}
	return d.announce(ctx, stopped)
}

func (d *Dispatcher) announce(ctx context.Context, stopped *impact.Webhook) error {
	d.Log.Warn("a webhook is disabled", "webhook", stopped.ID, "reason", stopped.Reason)
	event, err := d.Writer.disabled(stopped)
	if err != nil {
		return err
	}
	return d.Store.AnnounceStop(ctx, stopped, event)
}

// start makes an attempt of its own, if it is not under way and there is room.
func (d *Dispatcher) start(ctx context.Context, w *impact.Webhook, delivery impact.Delivery) {
	host := w.URL
	if u, err := url.Parse(w.URL); err == nil {
		host = u.Host
	}
	at := place{delivery.Webhook, delivery.ID}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sending[at] || len(d.sending) >= allSends || d.busy[host] >= hostSends || d.busy[string(w.ID)] >= webhookSends {
		return
	}
	d.sending[at] = true
	d.busy[host]++
	d.busy[string(w.ID)]++
	// Who is asked to stop finishes what it began.
	ctx = context.WithoutCancel(ctx)
	d.done.Go(func() {
		if err := d.attempt(ctx, w, delivery); err != nil {
			d.Log.Error("telling a webhook", "webhook", w.ID, "delivery", delivery.ID, "err", err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.sending, at)
		for _, name := range []string{host, string(w.ID)} {
			if d.busy[name]--; d.busy[name] == 0 {
				delete(d.busy, name)
			}
		}
		select {
		case d.ended <- struct{}{}:
		default:
		}
	})
}

// attempt sends and writes down what came of it.
func (d *Dispatcher) attempt(ctx context.Context, w *impact.Webhook, delivery impact.Delivery) error {
	var secrets []string
	for _, s := range w.Signing(d.Now()) {
		secret, err := d.Vault.Open(s.Sealed, string(w.ID))
		if err != nil {
			return errors.Join(err, d.stop(ctx, w, impact.StoppedSecret))
		}
		secrets = append(secrets, secret)
	}
	got, err := d.sender.send(ctx, w.URL, secrets, &delivery)
	if err != nil {
		return err
	}
	settle(&delivery, got)
	stopped, err := d.Store.RecordAttempt(ctx, delivery)
	if err != nil || stopped == nil {
		return err
	}
	return d.announce(ctx, stopped)
}

// settle says where a delivery stands after an attempt.
func settle(d *impact.Delivery, got answered) {
	a := got.attempt
	d.Attempts = append(d.Attempts, a)
	if over := len(d.Attempts) - impact.AttemptsKept; over > 0 {
		d.Attempts = d.Attempts[over:]
	}
	d.Tried++
	d.Excerpt, d.NextAt = got.excerpt, time.Time{}
	if a.Failure == "" {
		d.State = impact.DeliveryDelivered
		return
	}
	wait, again := pause(d.Tried, got.retryAfter)
	if !again || d.Type == impact.TestEvent {
		d.State = impact.DeliveryFailed
		return
	}
	d.NextAt = a.At.Add(a.Duration + wait)
}

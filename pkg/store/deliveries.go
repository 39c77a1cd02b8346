package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

type deliveryRow struct {
	Webhook   int32  `gorm:"primaryKey;autoIncrement:false"`
	ID        string `gorm:"primaryKey"`
	Type      impact.EventType
	Seq, Tx   int64
	Body      string
	State     int16 // of deliveryStates
	Attempts  string
	Tried     int
	NextAt    int64
	Excerpt   string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (deliveryRow) TableName() string { return "webhook_deliveries" }

var deliveryStates = []impact.DeliveryState{impact.DeliveryPending, impact.DeliveryDelivered, impact.DeliveryFailed}

// Deliveries lists those of a webhook of the caller's owner, the last first; an
// empty state is any. next is nil on the last page.
func (s *Store) Deliveries(ctx context.Context, p impact.Principal, id impact.WebhookID, state impact.DeliveryState, page impact.Page) (list []impact.Delivery, next []string, err error) {
	webhook, _, err := s.findWebhook(ctx, p, id)
	if err != nil {
		return nil, nil, fmt.Errorf("reading a webhook: %w", err)
	}
	db := s.orm(ctx).Where("webhook = ?", webhook.Key)
	if state != "" {
		db = db.Where("state = ?", slices.Index(deliveryStates, state))
	}
	switch len(page.After) {
	case 0:
	case 2:
		at, err := strconv.ParseInt(page.After[0], 10, 64)
		if err != nil {
			return nil, nil, badCursor()
		}
		db = db.Where("(created_at, id) < (?, ?)", at, page.After[1])
	default:
		return nil, nil, badCursor()
	}
	var rows []deliveryRow
	if err := db.Order("created_at DESC, id DESC").Limit(page.Limit + 1).Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing deliveries: %w", err)
	}
	rows, next = pageOf(rows, page, func(r deliveryRow) []string { return []string{strconv.FormatInt(r.CreatedAt, 10), r.ID} })
	for i := range rows {
		d, err := rows[i].delivery(id)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, d)
	}
	return list, next, nil
}

// QueueTest puts one delivery in the queue of a webhook, whatever its state.
// bad_state when its queue is full.
func (s *Store) QueueTest(ctx context.Context, p impact.Principal, id impact.WebhookID, d impact.Delivery) (impact.Delivery, error) {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, w, err := s.findWebhook(ctx, p, id)
		if err != nil {
			return err
		}
		if w.Pending >= impact.PendingKept {
			return &impact.Error{Kind: impact.Conflict, Code: "bad_state", Detail: impact.Text{
				FR: "La file de ce webhook est pleine.", EN: "The queue of this webhook is full.",
			}, Hint: impact.Text{
				FR: "GET …/deliveries dit pourquoi les envois échouent.", EN: "GET …/deliveries tells why the deliveries fail.",
			}}
		}
		d.Webhook, d.State, d.CreatedAt, d.NextAt = id, impact.DeliveryPending, instant(t.id), instant(t.id)
		waiting := queued(row.Key, &d, instant(t.id).UnixMilli())
		return s.orm(ctx).Create(&waiting).Error
	})
	if err != nil {
		return impact.Delivery{}, fmt.Errorf("queueing a test: %w", err)
	}
	return d, nil
}

// restart makes what waits due now, with all its attempts before it.
func (s *Store) restart(ctx context.Context, t *txn, webhook int32) error {
	return s.orm(ctx).Model(&deliveryRow{}).Where("webhook = ? AND state = 0", webhook).Updates(map[string]any{"tried": 0, "next_at": instant(t.id).UnixMilli()}).Error
}

// ---- What the dispatcher asks

// LeaseWebhooks makes holder the one process that reads and sends for webhooks,
// until the time given passes; false while another one is.
func (s *Store) LeaseWebhooks(ctx context.Context, holder string, lasting time.Duration) (held bool, err error) {
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		now := s.now()
		done, err := t.tx.ExecContext(ctx, `UPDATE webhook_lease SET holder = $1, until = $2 WHERE key = 1 AND (holder = $1 OR until < $3)`,
			holder, now.Add(lasting).UnixMilli(), now.UnixMilli())
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		held = n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("leasing the webhooks: %w", err)
	}
	return held, nil
}

// ActiveWebhooks gives those that hear events, or have a test to be sent. Client
// is what the client may see today: the scopes it had when it wrote the webhook
// and still has; nothing when it, or the API key it used, was revoked or has
// expired.
func (s *Store) ActiveWebhooks(ctx context.Context) ([]impact.Webhook, error) {
	var rows []webhookRow
	err := s.orm(ctx).Where(`state = 'active' OR EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.webhook = webhooks.key AND d.state = 0 AND d.seq = 0)`).Order("key").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading webhooks: %w", err)
	}
	list, err := s.webhooksOf(ctx, rows)
	if err != nil {
		return nil, err
	}
	var clients, keys []string
	for i := range list {
		clients, keys = append(clients, list[i].Client.Client), append(keys, list[i].Client.Key)
	}
	scopes := map[string][]impact.Scope{} // of clients on record; those of other issuers are not
	ended := map[string]bool{}            // clients and keys
	var known []clientRow
	var used []apiKeyRow
	if err := errors.Join(s.orm(ctx).Where("id IN ?", clients).Find(&known).Error, s.orm(ctx).Where("id IN ?", keys).Find(&used).Error); err != nil {
		return nil, fmt.Errorf("reading the clients of webhooks: %w", err)
	}
	for _, row := range known {
		c, err := row.client()
		if err != nil {
			return nil, err
		}
		scopes[c.ID], ended[c.ID] = c.Scopes, c.Revoked
	}
	for _, row := range used {
		k, err := row.key()
		if err != nil {
			return nil, err
		}
		ended[k.ID] = k.State(s.now()) != impact.KeyActive
	}
	for i := range list {
		p := &list[i].Client
		if ended[p.Client] || p.Key != "" && ended[p.Key] {
			*p = impact.Principal{Client: p.Client}
		} else if now, ok := scopes[p.Client]; ok {
			p.Scopes = slices.DeleteFunc(p.Scopes, func(x impact.Scope) bool { return !slices.Contains(now, x) })
		}
	}
	return list, nil
}

// QueueDeliveries puts the events of the commits after from, up to to, in the
// queue of a webhook and moves it there, all or nothing. False, and nothing
// done, when the webhook is no longer at from (a replay, another process) or no
// longer active. An event already there is sent again.
func (s *Store) QueueDeliveries(ctx context.Context, id impact.WebhookID, from, to impact.ChangePosition, events []impact.Delivery) (moved bool, err error) {
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		var key int32
		err := t.tx.QueryRowContext(ctx, `UPDATE webhooks SET position = $1 WHERE id = $2 AND position = $3 AND state = 'active' RETURNING key`,
			positionText(to), string(id), positionText(from)).Scan(&key)
		moved = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil || len(events) == 0 {
			return err
		}
		now := instant(t.id).UnixMilli()
		waiting := make([]deliveryRow, len(events))
		for i := range events {
			waiting[i] = queued(key, &events[i], now)
		}
		again := clause.OnConflict{
			Columns:   []clause.Column{{Name: "webhook"}, {Name: "id"}},
			DoUpdates: clause.AssignmentColumns([]string{"body", "state", "tried", "next_at"}),
		}
		return s.orm(ctx).Clauses(again).CreateInBatches(waiting, 500).Error
	})
	if err != nil {
		return false, fmt.Errorf("queueing deliveries: %w", err)
	}
	return moved, nil
}

// AdvanceWebhooks moves webhooks that had nothing to be told of, those that are
// still where they were.
func (s *Store) AdvanceWebhooks(ctx context.Context, moves []impact.WebhookMove) error {
	if len(moves) == 0 {
		return nil
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		steps := make([]step, len(moves))
		for i, m := range moves {
			steps[i] = step{query: `UPDATE webhooks SET position = $1 WHERE id = $2 AND position = $3`, args: []any{positionText(m.To), string(m.Webhook), positionText(m.From)}}
		}
		return s.dialect.run(ctx, t, steps...)
	})
	if err != nil {
		return fmt.Errorf("moving webhooks: %w", err)
	}
	return nil
}

// DueDeliveries gives what is to be sent now, at most some for each webhook, the
// one that has waited longest first. A disabled or paused webhook has only its
// tests sent.
func (s *Store) DueDeliveries(ctx context.Context, perWebhook int) ([]impact.Delivery, error) {
	var rows []struct {
		Row       deliveryRow `gorm:"embedded"`
		WebhookID impact.WebhookID
	}
	err := s.orm(ctx).Raw(`SELECT d.*, due.webhook_id FROM (
			SELECT q.webhook, q.id, w.id AS webhook_id, row_number() OVER (PARTITION BY q.webhook ORDER BY q.next_at, q.seq, q.id) AS place
			FROM webhook_deliveries AS q JOIN webhooks AS w ON w.key = q.webhook
			WHERE q.state = 0 AND q.next_at <= ? AND (w.state = 'active' OR q.seq = 0)
		) AS due JOIN webhook_deliveries AS d ON d.webhook = due.webhook AND d.id = due.id
		WHERE due.place <= ? ORDER BY d.next_at, d.seq, d.id`, s.now().UnixMilli(), perWebhook).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading due deliveries: %w", err)
	}
	list := make([]impact.Delivery, len(rows))
	for i := range rows {
		if list[i], err = rows[i].Row.delivery(rows[i].WebhookID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// RecordAttempt writes where a delivery stands after its last attempt, and what
// that tells of its webhook. Nothing is written when the webhook was deleted or
// the delivery put in the queue again meanwhile. stopped is the webhook when
// this attempt disabled it.
func (s *Store) RecordAttempt(ctx context.Context, d impact.Delivery) (stopped *impact.Webhook, err error) {
	attempts, err := json.Marshal(d.Attempts)
	if err != nil {
		return nil, err
	}
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		stopped = nil
		if _, err := t.tx.ExecContext(ctx, `UPDATE webhooks SET version = version WHERE id = $1`, string(d.Webhook)); err != nil {
			return err
		}
		var rows []webhookRow
		if err := s.orm(ctx).Where("id = ?", d.Webhook).Find(&rows).Error; err != nil || len(rows) == 0 {
			return err
		}
		row := rows[0]
		done := s.orm(ctx).Model(&deliveryRow{}).Where("webhook = ? AND id = ? AND state = 0 AND tried = ?", row.Key, d.ID, d.Tried-1).Updates(map[string]any{
			"state": slices.Index(deliveryStates, d.State), "attempts": string(attempts), "tried": d.Tried, "next_at": millis(d.NextAt), "excerpt": d.Excerpt,
		})
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error
		}
		w, err := row.webhook()
		if err != nil {
			return err
		}
		w.Attempted(d.Attempts[len(d.Attempts)-1])
		if w.State != row.State {
			w.Version, w.UpdatedAt, stopped = row.Version+1, instant(t.id), &w
		}
		next, err := rowOfWebhook(&w)
		if err != nil {
			return err
		}
		next.Key = row.Key
		return s.orm(ctx).Save(&next).Error
	})
	if err != nil {
		return nil, fmt.Errorf("recording an attempt: %w", err)
	}
	return stopped, nil
}

// StopWebhook disables a webhook for a reason that is not its receiver's; nil
// when it was not active any more.
func (s *Store) StopWebhook(ctx context.Context, id impact.WebhookID, reason impact.WebhookReason) (stopped *impact.Webhook, err error) {
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		stopped = nil
		done, err := t.tx.ExecContext(ctx, `UPDATE webhooks SET state = 'disabled', reason = $1, version = version + 1, updated_at = $2 WHERE id = $3 AND state = 'active'`,
			string(reason), instant(t.id).UnixMilli(), string(id))
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		var row webhookRow
		if err := s.orm(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		w, err := row.webhook()
		stopped = &w
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("disabling a webhook: %w", err)
	}
	return stopped, nil
}

// AnnounceStop gives the event of a disabled webhook to the owner's others, if
// they listen for it and have room.
func (s *Store) AnnounceStop(ctx context.Context, stopped *impact.Webhook, event impact.Delivery) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		var rows []webhookRow
		err := s.orm(ctx).Where("owner = ? AND id <> ? AND state = 'active'", webhookOwner(stopped.Client), stopped.ID).Find(&rows).Error
		if err != nil {
			return err
		}
		others, err := s.webhooksOf(ctx, rows)
		if err != nil {
			return err
		}
		for i := range others {
			if others[i].Pending >= impact.PendingKept || !slices.Contains(others[i].Types, event.Type) {
				continue
			}
			row := queued(rows[i].Key, &event, instant(t.id).UnixMilli())
			if err := s.orm(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("announcing a disabled webhook: %w", err)
	}
	return nil
}

// queued is the row of a delivery that is due at once.
func queued(webhook int32, d *impact.Delivery, now int64) deliveryRow {
	return deliveryRow{Webhook: webhook, ID: d.ID, Type: d.Type, Seq: d.Seq, Tx: d.Tx, Body: string(d.Body), Attempts: "[]", NextAt: now, CreatedAt: now}
}

// ForgetDeliveries drops what was delivered, or given up, more than
// impact.DeliveriesKept ago; serve calls it now and then.
func (s *Store) ForgetDeliveries(ctx context.Context) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		return s.orm(ctx).Where("state <> 0 AND created_at < ?", instant(t.id).Add(-impact.DeliveriesKept).UnixMilli()).Delete(&deliveryRow{}).Error
	})
	if err != nil {
		return fmt.Errorf("forgetting old deliveries: %w", err)
	}
	return nil
}

// DeliveryDelay is how late the oldest due delivery is, 0 when none is.
func (s *Store) DeliveryDelay(ctx context.Context) (time.Duration, error) {
	var oldest int64
	now := s.now().UnixMilli()
	err := s.sql(ctx).QueryRowContext(ctx, `SELECT coalesce(min(d.next_at), $1) FROM webhook_deliveries AS d JOIN webhooks AS w ON w.key = d.webhook WHERE d.state = 0 AND w.state = 'active'`, now).Scan(&oldest)
	if err != nil {
		return 0, fmt.Errorf("reading the delay of deliveries: %w", err)
	}
	return time.Duration(max(0, now-oldest)) * time.Millisecond, nil
}

func (r *deliveryRow) delivery(webhook impact.WebhookID) (impact.Delivery, error) {
	d := impact.Delivery{
		ID: r.ID, Webhook: webhook, Type: r.Type, Seq: r.Seq, Tx: r.Tx, Body: []byte(r.Body), State: deliveryStates[r.State], Tried: r.Tried, NextAt: moment(r.NextAt),
		Excerpt: r.Excerpt, CreatedAt: moment(r.CreatedAt),
	}
	if err := json.Unmarshal([]byte(r.Attempts), &d.Attempts); err != nil {
		return d, fmt.Errorf("reading the attempts of a delivery: %w", err)
	}
	return d, nil
}

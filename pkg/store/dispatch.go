package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

// What the dispatcher of webhooks asks: one process at a time reads the changes
// for them and sends what is due.

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

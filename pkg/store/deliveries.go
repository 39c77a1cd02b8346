package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

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

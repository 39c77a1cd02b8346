package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type webhookRow struct {
	Key                       int32 `gorm:"primaryKey;autoIncrement:false"`
	ID                        impact.WebhookID
	Owner                     string
	Client                    string
	APIKey                    string
	Role                      impact.Role
	Organisation              impact.OrganisationID
	Network                   impact.NetworkID
	Buyer, Scopes             string
	URL                       string
	Types                     string
	Description, Secrets      string
	State                     impact.WebhookState
	Reason                    impact.WebhookReason
	Position                  string
	FailingSince, DeliveredAt int64
	Version                   int
	CreatedAt                 int64 `gorm:"autoCreateTime:false"`
	UpdatedAt                 int64 `gorm:"autoUpdateTime:false"`
}

func (webhookRow) TableName() string { return "webhooks" }

// webhookOwner names whom the webhooks of a client belong to. Stewards act for
// one institution, administrators for another: they share.
func webhookOwner(p impact.Principal) string {
	switch p.Role {
	case impact.RoleOrganisation:
		return "organisation:" + string(p.Organisation)
	case impact.RoleNetwork:
		return "network:" + string(p.Network)
	case impact.RoleBuyer:
		return "buyer:" + p.Buyer
	}
	return string(p.Role)
}

// ownWebhooks keeps those of the caller's owner.
func ownWebhooks(p impact.Principal) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		if p.IsAnonymous() {
			return db.Where("1 = 0")
		}
		return db.Where("owner = ?", webhookOwner(p))
	}
}

// CreateWebhook subscribes an address to what p may see, from now on.
// already_exists with a Link when the owner has that address; bad_state when it
// has impact.WebhooksPerOwner of them.
func (s *Store) CreateWebhook(ctx context.Context, p impact.Principal, w impact.Webhook) (impact.Webhook, error) {
	if p.IsAnonymous() {
		return impact.Webhook{}, forbidden(string(impact.WebhooksManage))
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		// The counter's row is locked until the end: nobody else counts meanwhile.
		key, err := t.next(ctx, "webhook", 1)
		if err != nil {
			return err
		}
		var held []webhookRow
		if err := s.orm(ctx).Scopes(ownWebhooks(p)).Find(&held).Error; err != nil {
			return err
		}
		for i := range held {
			if held[i].URL == w.URL {
				return alreadyExists("/v1/webhooks/" + string(held[i].ID))
			}
		}
		if len(held) >= impact.WebhooksPerOwner {
			return tooManyWebhooks()
		}
		if w.Position, err = s.LastChange(ctx, p); err != nil {
			return err
		}
		w.Client, w.State, w.Version, w.CreatedAt, w.UpdatedAt = p, impact.WebhookActive, 1, instant(t.id), instant(t.id)
		row, err := rowOfWebhook(&w)
		if err != nil {
			return err
		}
		row.Key = int32(key)
		if err := s.orm(ctx).Create(&row).Error; err != nil {
			return err
		}
		return s.auditWebhook(ctx, t, p, impact.WebhookCreated, &w)
	})
	if err != nil {
		return impact.Webhook{}, fmt.Errorf("creating a webhook: %w", err)
	}
	return w, nil
}

func tooManyWebhooks() error {
	return &impact.Error{Kind: impact.Conflict, Code: "bad_state", Detail: impact.Text{
		FR: fmt.Sprintf("Vous avez déjà %d webhooks, c'est le plus qu'on puisse en avoir.", impact.WebhooksPerOwner),
		EN: fmt.Sprintf("You already have %d webhooks, the most one can have.", impact.WebhooksPerOwner),
	}, Hint: impact.Text{
		FR: "Supprimez-en un (DELETE /v1/webhooks/{id}), ou abonnez-en un à plus de types.", EN: "Delete one (DELETE /v1/webhooks/{id}), or subscribe one to more types.",
	}}
}

// auditWebhook says where data may go: an address is told, its query and its
// user's secrets are not.
func (s *Store) auditWebhook(ctx context.Context, t *txn, p impact.Principal, action impact.AuditAction, w *impact.Webhook) error {
	e := impact.Audit(p, action, "/v1/webhooks/"+string(w.ID))
	e.Organisation, e.Network, e.Buyer = p.Organisation, p.Network, p.Buyer
	e.Detail = map[string]string{"state": string(w.State)}
	if u, err := url.Parse(w.URL); err == nil {
		e.Detail["host"] = u.Host
	}
	return s.audit(ctx, t, e)
}

// Webhooks lists those of the caller's owner in the order of ids.
func (s *Store) Webhooks(ctx context.Context, p impact.Principal, page impact.Page) (list []impact.Webhook, next []string, err error) {
	db := s.orm(ctx).Scopes(ownWebhooks(p))
	switch len(page.After) {
	case 0:
	case 1:
		db = db.Where("id > ?", page.After[0])
	default:
		return nil, nil, badCursor()
	}
	var rows []webhookRow
	if err := db.Order("id").Limit(page.Limit + 1).Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing webhooks: %w", err)
	}
	rows, next = pageOf(rows, page, func(r webhookRow) []string { return []string{string(r.ID)} })
	list, err = s.webhooksOf(ctx, rows)
	return list, next, err
}

// Webhook gives one of the caller's owner, or not_found.
func (s *Store) Webhook(ctx context.Context, p impact.Principal, id impact.WebhookID) (impact.Webhook, error) {
	_, w, err := s.findWebhook(ctx, p, id)
	if err != nil {
		return impact.Webhook{}, fmt.Errorf("reading a webhook: %w", err)
	}
	return w, nil
}

func (s *Store) findWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID) (webhookRow, impact.Webhook, error) {
	var rows []webhookRow
	if err := s.orm(ctx).Scopes(ownWebhooks(p)).Where("id = ?", id).Find(&rows).Error; err != nil {
		return webhookRow{}, impact.Webhook{}, err
	}
	if len(rows) == 0 {
		return webhookRow{}, impact.Webhook{}, impact.NotFoundError()
	}
	list, err := s.webhooksOf(ctx, rows)
	if err != nil {
		return webhookRow{}, impact.Webhook{}, err
	}
	return rows[0], list[0], nil
}

// holdWebhook finds a webhook that nobody else changes until the transaction
// ends.
func (s *Store) holdWebhook(ctx context.Context, t *txn, p impact.Principal, id impact.WebhookID) (webhookRow, impact.Webhook, error) {
	if _, err := t.tx.ExecContext(ctx, `UPDATE webhooks SET version = version WHERE id = $1 AND owner = $2`, string(id), webhookOwner(p)); err != nil {
		return webhookRow{}, impact.Webhook{}, err
	}
	return s.findWebhook(ctx, p, id)
}

// webhooksOf turns rows into the domain's noun, with what each has to deliver.
func (s *Store) webhooksOf(ctx context.Context, rows []webhookRow) ([]impact.Webhook, error) {
	keys := make([]int32, len(rows))
	for i := range rows {
		keys[i] = rows[i].Key
	}
	var counts []struct {
		Webhook int32
		N       int
	}
	err := s.orm(ctx).Table("webhook_deliveries").Select("webhook, count(*) AS n").Where("state = 0 AND webhook IN ?", keys).Group("webhook").Find(&counts).Error
	if err != nil {
		return nil, fmt.Errorf("counting deliveries: %w", err)
	}
	pending := map[int32]int{}
	for _, c := range counts {
		pending[c.Webhook] = c.N
	}
	list := make([]impact.Webhook, len(rows))
	for i := range rows {
		if list[i], err = rows[i].webhook(); err != nil {
			return nil, fmt.Errorf("reading webhook %s: %w", rows[i].ID, err)
		}
		list[i].Pending = pending[rows[i].Key]
	}
	return list, nil
}

// UpdateWebhook lets change alter the address, the types, the description and
// the state, and makes p the client it sees with. Stale when version is no
// longer current. Made active again, it starts afresh: what waits is due now.
func (s *Store) UpdateWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, version int, change func(*impact.Webhook) error) (impact.Webhook, error) {
	var after impact.Webhook
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, before, err := s.holdWebhook(ctx, t, p, id)
		if err != nil {
			return err
		}
		if before.Version != version {
			return stale(before.Version)
		}
		after = before
		if err := change(&after); err != nil {
			return err
		}
		after.Client, after.Version, after.UpdatedAt = p, version+1, instant(t.id)
		// Nothing was read for it: it begins now, as a new one.
		if before.Reason == impact.StoppedLog && after.State == impact.WebhookActive || len(before.Follows()) == 0 {
			if after.Position, err = s.LastChange(ctx, p); err != nil {
				return err
			}
		}
		if after.State == impact.WebhookActive && before.State != impact.WebhookActive {
			after.Reason, after.FailingSince = "", time.Time{}
			if err := s.restart(ctx, t, row.Key); err != nil {
				return err
			}
		}
		next, err := rowOfWebhook(&after)
		if err != nil {
			return err
		}
		next.Key = row.Key
		if err := s.orm(ctx).Save(&next).Error; err != nil {
			return err
		}
		return s.auditWebhook(ctx, t, p, impact.WebhookChanged, &after)
	})
	if err != nil {
		return impact.Webhook{}, fmt.Errorf("changing a webhook: %w", err)
	}
	return after, nil
}

// RotateWebhook makes a sealed secret the current one; the former one still
// signs for impact.SecretOverlap.
func (s *Store) RotateWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, sealed string) (impact.Webhook, error) {
	var after impact.Webhook
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, w, err := s.holdWebhook(ctx, t, p, id)
		if err != nil {
			return err
		}
		w.Secrets, w.Version, w.UpdatedAt = w.Rotate(sealed, instant(t.id)), w.Version+1, instant(t.id)
		next, err := rowOfWebhook(&w)
		if err != nil {
			return err
		}
		after, next.Key = w, row.Key
		if err := s.orm(ctx).Save(&next).Error; err != nil {
			return err
		}
		return s.auditWebhook(ctx, t, p, impact.WebhookRotated, &w)
	})
	if err != nil {
		return impact.Webhook{}, fmt.Errorf("rotating the secret of a webhook: %w", err)
	}
	return after, nil
}

// DeleteWebhook forgets a webhook and its deliveries. Stale when version is no
// longer current.
func (s *Store) DeleteWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, version int) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, w, err := s.holdWebhook(ctx, t, p, id)
		if err != nil {
			return err
		}
		if w.Version != version {
			return stale(w.Version)
		}
		if err := s.orm(ctx).Where("webhook = ?", row.Key).Delete(&deliveryRow{}).Error; err != nil {
			return err
		}
		if err := s.orm(ctx).Where("key = ?", row.Key).Delete(&webhookRow{}).Error; err != nil {
			return err
		}
		return s.auditWebhook(ctx, t, p, impact.WebhookDeleted, &w)
	})
	if err != nil {
		return fmt.Errorf("deleting a webhook: %w", err)
	}
	return nil
}

// ReplayWebhook takes a webhook back to a position of the change feed: every
// event after it that p may still see is sent again, under the id it had. A
// position further on than the webhook's changes nothing. cursor_expired when the
// log no longer holds what follows it.
func (s *Store) ReplayWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, after impact.ChangePosition) (impact.Webhook, error) {
	if after.Type != "" { // whole commits only: an event counts all of one
		after = after.Start()
	}
	var w impact.Webhook
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		var row webhookRow
		var err error
		if row, w, err = s.holdWebhook(ctx, t, p, id); err != nil {
			return err
		}
		if err := s.followable(ctx, p, after); err != nil {
			return err
		}
		if after.Seq > w.Position.Seq || after.Seq == w.Position.Seq && after.Type == "" {
			return nil
		}
		w.Position = after
		return s.orm(ctx).Model(&webhookRow{}).Where("key = ?", row.Key).Update("position", positionText(after)).Error
	})
	if err != nil {
		return impact.Webhook{}, fmt.Errorf("replaying a webhook: %w", err)
	}
	return w, nil
}

// positionText writes a position so that equal ones have equal texts.
func positionText(at impact.ChangePosition) string {
	return fmt.Sprintf("%d %d %s %s", at.Seq, at.Tx, at.Type, at.Key)
}

func parsePosition(text string) (at impact.ChangePosition, err error) {
	part := strings.SplitN(text, " ", 4)
	if len(part) != 4 {
		return at, fmt.Errorf("%q is no position", text)
	}
	at.Type, at.Key = impact.ChangeType(part[2]), part[3]
	if at.Seq, err = strconv.ParseInt(part[0], 10, 64); err != nil {
		return at, err
	}
	at.Tx, err = strconv.ParseInt(part[1], 10, 64)
	return at, err
}

func rowOfWebhook(w *impact.Webhook) (webhookRow, error) {
	scopes, err := json.Marshal(w.Client.Scopes)
	if err != nil {
		return webhookRow{}, err
	}
	types, err := json.Marshal(w.Types)
	if err != nil {
		return webhookRow{}, err
	}
	secrets, err := json.Marshal(w.Secrets)
	return webhookRow{
		ID: w.ID, Owner: webhookOwner(w.Client), Client: w.Client.Client, APIKey: w.Client.Key, Role: w.Client.Role, Organisation: w.Client.Organisation, Network: w.Client.Network, Buyer: w.Client.Buyer,
		Scopes: string(scopes), URL: w.URL, Types: string(types), Description: w.Description, Secrets: string(secrets), State: w.State, Reason: w.Reason,
		Position: positionText(w.Position), FailingSince: millis(w.FailingSince), DeliveredAt: millis(w.DeliveredAt),
		Version: w.Version, CreatedAt: millis(w.CreatedAt), UpdatedAt: millis(w.UpdatedAt),
	}, err
}

func (r *webhookRow) webhook() (impact.Webhook, error) {
	w := impact.Webhook{
		ID: r.ID, Client: impact.Principal{Client: r.Client, Key: r.APIKey, Role: r.Role, Organisation: r.Organisation, Network: r.Network, Buyer: r.Buyer},
		URL: r.URL, Description: r.Description, State: r.State, Reason: r.Reason,
		FailingSince: moment(r.FailingSince), DeliveredAt: moment(r.DeliveredAt), Version: r.Version, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	var err error
	if w.Position, err = parsePosition(r.Position); err != nil {
		return w, err
	}
	if err := json.Unmarshal([]byte(r.Scopes), &w.Client.Scopes); err != nil {
		return w, err
	}
	if err := json.Unmarshal([]byte(r.Types), &w.Types); err != nil {
		return w, err
	}
	return w, json.Unmarshal([]byte(r.Secrets), &w.Secrets)
}

// millis writes a moment as a number, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

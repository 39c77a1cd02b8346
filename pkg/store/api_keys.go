package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/grandlyon/retombees/pkg/impact"
)

type apiKeyRow struct {
	ID, Name, Hint, Hash      string
	Client                    string
	Role                      impact.Role
	Organisation              impact.OrganisationID
	Network                   impact.NetworkID
	Buyer                     string
	Scopes, Networks, Methods string
	CreatedAt                 int64 `gorm:"autoCreateTime:false"`
	ExpiresAt                 int64
	RevokedAt, LastUsedAt     int64
}

func (apiKeyRow) TableName() string { return "api_keys" }

// endedKeysKept is how many keys that are no longer in force an owner still
// sees.
const endedKeysKept = 100

// ownKeys are the keys of whom the caller is or acts for.
func ownKeys(p impact.Principal) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		return db.Where("role = ? AND organisation = ? AND network = ? AND buyer = ?", p.Role, p.Organisation, p.Network, p.Buyer)
	}
}

// CreateAPIKey keeps a new key of the caller; only its hash is known here. The
// caller is a client registered here and not itself a key. Forbidden otherwise,
// and out_of_range when its owner has impact.MaxKeysOfOwner in force.
func (s *Store) CreateAPIKey(ctx context.Context, p impact.Principal, k impact.APIKey) (impact.APIKey, error) {
	if !slices.Contains(impact.AllowedScopes(p.Role), impact.KeysManage) || p.Key != "" {
		return impact.APIKey{}, forbidden(string(impact.KeysManage))
	}
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		client, err := s.Client(ctx, p.Client)
		if err != nil && impact.KindOf(err) != impact.NotFound {
			return err
		}
		if err != nil || client.Revoked {
			return &impact.Error{Kind: impact.Forbidden, Code: "insufficient_scope", Detail: impact.Text{
				FR: "Seul un client enregistré ici fait des clés.", EN: "Only a client registered here makes keys.",
			}, Hint: impact.Text{
				FR: "Demandez à l'administrateur d'enregistrer votre application.", EN: "Ask the administrator to register your application.",
			}}
		}
		now := instant(t.id)
		var ended []apiKeyRow
		own := s.orm(ctx).Model(&apiKeyRow{}).Scopes(ownKeys(p))
		if err := own.Session(&gorm.Session{}).Where("revoked_at <> 0 OR expires_at <= ?", now.UnixMilli()).
			Order("id DESC").Offset(endedKeysKept).Limit(1000).Find(&ended).Error; err != nil {
			return err
		}
		for _, old := range ended {
			if err := s.orm(ctx).Delete(&apiKeyRow{}, "id = ?", old.ID).Error; err != nil {
				return err
			}
		}
		var active int64
		if err := own.Session(&gorm.Session{}).Where("revoked_at = 0 AND expires_at > ?", now.UnixMilli()).Count(&active).Error; err != nil {
			return err
		}
		if active >= impact.MaxKeysOfOwner {
			return impact.Refuse(impact.Fault{
				Code:   "out_of_range",
				Detail: impact.Text{FR: fmt.Sprintf("Déjà %d clés en vigueur.", active), EN: fmt.Sprintf("Already %d keys in force.", active)},
				Hint:   impact.Text{FR: "Révoquez celles qui ne servent plus : DELETE /v1/api-keys/{id}.", EN: "Revoke those no longer used: DELETE /v1/api-keys/{id}."},
			})
		}
		k.ID, k.Client, k.Role, k.Organisation, k.Network, k.Buyer = s.newID(), p.Client, p.Role, p.Organisation, p.Network, p.Buyer
		k.CreatedAt, k.ExpiresAt = now, k.ExpiresAt.UTC().Truncate(time.Millisecond)
		row, err := rowOfKey(k)
		if err != nil {
			return err
		}
		if err := s.orm(ctx).Create(&row).Error; err != nil {
			return err
		}
		return s.audit(ctx, t, keyEvent(p, impact.KeyCreated, &k))
	})
	if err != nil {
		return impact.APIKey{}, fmt.Errorf("making an API key: %w", err)
	}
	return k, nil
}

// keyEvent is the line of the audit log about a key.
func keyEvent(p impact.Principal, action impact.AuditAction, k *impact.APIKey) impact.AuditEvent {
	e := impact.Audit(p, action, "/v1/api-keys/"+k.ID)
	e.Organisation, e.Network, e.Buyer = k.Organisation, k.Network, k.Buyer
	e.Detail = map[string]string{"name": k.Name, "expires_at": k.ExpiresAt.Format(time.RFC3339)}
	return e
}

// APIKeys lists the keys of whom the caller is or acts for, the oldest first,
// those that ended included. There are few: no page.
func (s *Store) APIKeys(ctx context.Context, p impact.Principal) ([]impact.APIKey, error) {
	var rows []apiKeyRow
	if err := s.orm(ctx).Scopes(ownKeys(p)).Order("id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing API keys: %w", err)
	}
	list := make([]impact.APIKey, len(rows))
	for i := range rows {
		var err error
		if list[i], err = rows[i].key(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// RevokeAPIKey ends a key of the caller's owner, whichever of its clients made it;
// one that is already revoked stays as it is. NotFound when it is another's.
func (s *Store) RevokeAPIKey(ctx context.Context, p impact.Principal, id string) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		var row apiKeyRow
		if err := s.orm(ctx).Scopes(ownKeys(p)).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		if row.RevokedAt != 0 {
			return nil
		}
		if err := s.orm(ctx).Model(&apiKeyRow{}).Where("id = ?", id).Update("revoked_at", instant(t.id).UnixMilli()).Error; err != nil {
			return err
		}
		k, err := row.key()
		if err != nil {
			return err
		}
		return s.audit(ctx, t, keyEvent(p, impact.KeyRevoked, &k))
	})
	if err != nil {
		return fmt.Errorf("revoking an API key: %w", err)
	}
	return nil
}

// KeyByHash gives the key of a hash, also when it ended, with the scopes that
// its client still holds; NotFound when there is none or its client is revoked.
func (s *Store) KeyByHash(ctx context.Context, hash string) (impact.APIKey, error) {
	var row apiKeyRow
	if err := s.orm(ctx).Where("hash = ?", hash).Take(&row).Error; err != nil {
		return impact.APIKey{}, fmt.Errorf("reading an API key: %w", s.refusal(err))
	}
	k, err := row.key()
	if err != nil {
		return impact.APIKey{}, err
	}
	client, err := s.Client(ctx, k.Client)
	if err != nil {
		return impact.APIKey{}, err
	}
	if client.Revoked {
		return impact.APIKey{}, impact.NotFoundError()
	}
	k.Scopes = slices.DeleteFunc(k.Scopes, func(x impact.Scope) bool { return !slices.Contains(client.Scopes, x) })
	return k, nil
}

// NoteKeyUses writes when keys were last used.
func (s *Store) NoteKeyUses(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
		for id, at := range used {
			if err := s.orm(ctx).Model(&apiKeyRow{}).Where("id = ? AND last_used_at < ?", id, at.UnixMilli()).Update("last_used_at", at.UnixMilli()).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting the use of API keys: %w", err)
	}
	return nil
}

func rowOfKey(k impact.APIKey) (apiKeyRow, error) {
	r := apiKeyRow{
		ID: k.ID, Name: k.Name, Hint: k.Hint, Hash: k.Hash, Client: k.Client, Role: k.Role, Organisation: k.Organisation, Network: k.Network, Buyer: k.Buyer,
		CreatedAt: k.CreatedAt.UnixMilli(), ExpiresAt: k.ExpiresAt.UnixMilli(),
	}
	for _, list := range []struct {
		from any
		to   *string
	}{{k.Scopes, &r.Scopes}, {k.Networks, &r.Networks}, {k.Methods, &r.Methods}} {
		text, err := json.Marshal(list.from)
		if err != nil {
			return r, err
		}
		*list.to = string(text)
	}
	return r, nil
}

func (r *apiKeyRow) key() (impact.APIKey, error) {
	k := impact.APIKey{
		ID: r.ID, Name: r.Name, Hint: r.Hint, Hash: r.Hash, Client: r.Client, Role: r.Role, Organisation: r.Organisation, Network: r.Network, Buyer: r.Buyer,
		CreatedAt: moment(r.CreatedAt), ExpiresAt: moment(r.ExpiresAt), RevokedAt: moment(r.RevokedAt), LastUsedAt: moment(r.LastUsedAt),
	}
	for _, list := range []struct {
		from string
		to   any
	}{{r.Scopes, &k.Scopes}, {r.Networks, &k.Networks}, {r.Methods, &k.Methods}} {
		if err := json.Unmarshal([]byte(list.from), list.to); err != nil {
			return k, fmt.Errorf("reading API key %s: %w", r.ID, err)
		}
	}
	return k, nil
}

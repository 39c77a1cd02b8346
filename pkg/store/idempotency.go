package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

// idempotencyAge is how long an answer is kept.
const idempotencyAge = 24 * time.Hour

type idempotencyRow struct {
	Client       string `gorm:"primaryKey"`
	Route        string `gorm:"primaryKey"`
	Key          string `gorm:"primaryKey"`
	Fingerprint  string
	Status       int
	Header, Body string
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
}

func (idempotencyRow) TableName() string { return "idempotency_keys" }

// running names the keyed requests of this process that are under way.
type running struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (r *running) begin(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = map[string]bool{}
	}
	if r.keys[key] {
		return false
	}
	r.keys[key] = true
	return true
}

func (r *running) end(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, key)
}

// Idempotent answers a keyed request once. do runs inside a transaction that
// the context carries (methods of the store called with it join in); its
// answer is kept in the same transaction. When do fails nothing is kept and
// nothing was done. The same key within 24 h gives the first answer again
// (replayed); idempotency_in_progress while the first is under way;
// idempotency_key_reused when the request is another one. do may run more than
// once if the database asks for it.
func (s *Store) Idempotent(ctx context.Context, key impact.IdempotencyKey, do func(context.Context) (impact.StoredResponse, error)) (answer impact.StoredResponse, replayed bool, err error) {
	name := key.Client + "\x00" + key.Route + "\x00" + key.Key
	if !s.running.begin(name) {
		return answer, false, inProgress()
	}
	defer s.running.end(name)
	fingerprint := hex.EncodeToString(key.Fingerprint[:])
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		replayed = false
		// PostgreSQL keeps no NUL in a text.
		free, err := s.dialect.tryLock(ctx, t.tx, hex.EncodeToString([]byte(name)))
		if err != nil {
			return err
		}
		if !free {
			return inProgress()
		}
		var held []idempotencyRow
		if err := s.orm(ctx).Where("client = ? AND route = ? AND key = ?", key.Client, key.Route, key.Key).Find(&held).Error; err != nil {
			return err
		}
		oldest := instant(t.id).Add(-idempotencyAge).UnixMilli()
		if len(held) > 0 && held[0].CreatedAt > oldest {
			if held[0].Fingerprint != fingerprint {
				return keyReused()
			}
			replayed = true
			answer = impact.StoredResponse{Status: held[0].Status, Body: []byte(held[0].Body)}
			return json.Unmarshal([]byte(held[0].Header), &answer.Header)
		}
		if answer, err = do(ctx); err != nil {
			return err
		}
		header, err := json.Marshal(answer.Header)
		if err != nil {
			return err
		}
		row := idempotencyRow{key.Client, key.Route, key.Key, fingerprint, answer.Status, string(header), string(answer.Body), instant(t.id).UnixMilli()}
		return s.orm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "client"}, {Name: "route"}, {Name: "key"}}, UpdateAll: true}).Create(&row).Error
	})
	if err != nil {
		return impact.StoredResponse{}, false, err
	}
	return answer, replayed, nil
}

// ForgetAnswers drops the answers older than 24 h; serve calls it now and then.
func (s *Store) ForgetAnswers(ctx context.Context) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		return s.orm(ctx).Where("created_at < ?", instant(t.id).Add(-idempotencyAge).UnixMilli()).Delete(&idempotencyRow{}).Error
	})
	if err != nil {
		return fmt.Errorf("forgetting old answers: %w", err)
	}
	return nil
}

func keyReused() error {
	return &impact.Error{Kind: impact.Invalid, Code: "idempotency_key_reused", Detail: impact.Text{
		FR: "Cette clé d'idempotence a déjà servi pour une autre requête.", EN: "This idempotency key was already used for another request.",
	}, Hint: impact.Text{FR: "Une clé neuve par requête nouvelle (un UUID).", EN: "A fresh key for each new request (a UUID)."}}
}

func inProgress() error {
	return &impact.Error{Kind: impact.Conflict, Code: "idempotency_in_progress", Detail: impact.Text{
		FR: "La première requête portant cette clé est en cours.", EN: "The first request with this key is still running.",
	}, Hint: impact.Text{FR: "Réessayez dans une seconde.", EN: "Try again in a second."}}
}

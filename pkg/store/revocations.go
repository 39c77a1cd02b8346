package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm/clause"

	"github.com/grandlyon/retombees/pkg/impact"
)

type revocationRow struct {
	Client    string `gorm:"primaryKey"`
	Token     string `gorm:"primaryKey"`
	Until     int64
	ExpiresAt int64
	Tx        int64
}

func (revocationRow) TableName() string { return "revoked_tokens" }

func (r revocationRow) revocation() impact.Revocation {
	return impact.Revocation{Client: r.Client, Token: r.Token, Until: time.UnixMilli(r.Until).UTC(), Expires: time.UnixMilli(r.ExpiresAt).UTC()}
}

// RevokeToken ends one token, whose holder is of and which would have expired at
// expires. Done again, it changes nothing.
func (s *Store) RevokeToken(ctx context.Context, p, of impact.Principal, token string, expires time.Time) (impact.Revocation, error) {
	var row revocationRow
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		row = revocationRow{Client: of.Client, Token: token, Until: instant(t.id).UnixMilli(), ExpiresAt: expires.UnixMilli(), Tx: t.id}
		done := s.orm(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error
		}
		e := impact.Audit(p, impact.TokenRevoked, "/oauth/revoke")
		e.Organisation, e.Network, e.Buyer, e.Detail = of.Organisation, of.Network, of.Buyer, map[string]string{"client": of.Client}
		return s.audit(ctx, t, e)
	})
	if err != nil {
		return impact.Revocation{}, fmt.Errorf("revoking a token: %w", err)
	}
	return row.revocation(), nil
}

// endTokens ends every token that a client has got until now.
func (s *Store) endTokens(ctx context.Context, t *txn, client string) error {
	end := impact.EndTokens(client, instant(t.id))
	row := revocationRow{Client: client, Until: end.Until.UnixMilli(), ExpiresAt: end.Expires.UnixMilli(), Tx: t.id}
	return s.orm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "client"}, {Name: "token"}}, UpdateAll: true}).Create(&row).Error
}

// lateCommit is the longest a transaction may take: what it wrote bears the
// instant of its beginning and is seen at its end.
const lateCommit = time.Minute

// Revocations gives those still needed that were written since an instant, and
// some before it: readers that ask again every few seconds miss none, even when
// clocks differ.
func (s *Store) Revocations(ctx context.Context, since time.Time) ([]impact.Revocation, error) {
	from := int64(0)
	if !since.IsZero() {
		from = firstAt(since.Add(-lateCommit))
	}
	var rows []revocationRow
	if err := s.orm(ctx).Where("tx >= ? AND expires_at > ?", from, s.now().UnixMilli()).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading revoked tokens: %w", err)
	}
	list := make([]impact.Revocation, len(rows))
	for i, r := range rows {
		list[i] = r.revocation()
	}
	return list, nil
}

// assertionRow is an assertion that opened the door once.
type assertionRow struct {
	Client    string `gorm:"primaryKey"`
	ID        string `gorm:"primaryKey"`
	ExpiresAt int64
}

func (assertionRow) TableName() string { return "used_assertions" }

// UseAssertion notes that a client used an assertion, which holds until expires.
// already_exists (Conflict) when it was used before, on any replica.
func (s *Store) UseAssertion(ctx context.Context, client, id string, expires time.Time) error {
	err := s.transact(ctx, func(ctx context.Context, _ *txn) error {
		return s.orm(ctx).Create(&assertionRow{client, id, expires.UnixMilli()}).Error
	})
	if err != nil {
		return fmt.Errorf("using an assertion: %w", err)
	}
	return nil
}

// ForgetRevocations drops what no living token and no living assertion needs;
// serve calls it now and then.
func (s *Store) ForgetRevocations(ctx context.Context) error {
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		past := instant(t.id).Add(-lateCommit).UnixMilli()
		if err := s.orm(ctx).Where("expires_at < ?", past).Delete(&assertionRow{}).Error; err != nil {
			return err
		}
		return s.orm(ctx).Where("expires_at < ?", past).Delete(&revocationRow{}).Error
	})
	if err != nil {
		return fmt.Errorf("forgetting revoked tokens: %w", err)
	}
	return nil
}

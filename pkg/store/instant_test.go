package store

import "context"

// AtOneInstant lets a test compare readings of one instant while others write.
func (s *Store) AtOneInstant(ctx context.Context, do func(context.Context) error) error {
	return s.snapshot(ctx, func(ctx context.Context, _ *txn) error { return do(ctx) })
}

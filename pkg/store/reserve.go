package store

import (
	"context"
	"sync"
)

// reserve holds numbers counted ahead, in a transaction of their own: a counter
// is a row, and a writer that held it until its end would make all others wait.
// What is not used when the process ends is lost, which harms nobody.
type reserve struct {
	counter string
	ahead   int32 // how many at once; more are fetched when a quarter is left

	mu         sync.Mutex
	last, upto int32 // last given, last owned
}

// take gives the last of n consecutive numbers: from what is there, else, as
// inside a transaction nothing can be fetched, from the counter itself.
func (r *reserve) take(ctx context.Context, t *txn, n int32) (last int32, err error) {
	if last, ok := r.held(n); ok {
		return last, nil
	}
	counted, err := t.next(ctx, r.counter, int(n))
	return int32(counted), err
}

func (r *reserve) held(n int32) (last int32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.upto-r.last < n {
		return 0, false
	}
	r.last += n
	return r.last, true
}

func (r *reserve) low() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.upto-r.last < r.ahead/4
}

// stock fetches numbers for what writes need, before their transaction begins.
func (s *Store) stock(ctx context.Context) error {
	if txnOf(ctx) != nil {
		return nil
	}
	for _, r := range []*reserve{&s.submissionKeys, &s.cuts.reserve, &s.profiles.reserve, &s.actors.reserve} {
		if !r.low() {
			continue
		}
		var upto int64
		err := s.transact(ctx, func(ctx context.Context, t *txn) (err error) {
			upto, err = t.next(ctx, r.counter, int(r.ahead))
			return err
		})
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.last, r.upto = int32(upto)-r.ahead, int32(upto)
		r.mu.Unlock()
	}
	return nil
}

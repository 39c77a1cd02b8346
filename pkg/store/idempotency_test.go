package store_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

func TestIdempotent(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		key := impact.IdempotencyKey{Client: "c", Route: "POST /v1/observations", Key: "k1", Fingerprint: [32]byte{1}}
		answer := impact.StoredResponse{Status: 201, Header: map[string]string{"ETag": `"v1"`}, Body: []byte(`{"é":1}`)}
		runs := 0
		write := func(ctx context.Context) (impact.StoredResponse, error) {
			runs++
			results, err := s.PutObservations(ctx, w.batch(hours("commune-69266", "2025-Q1", "10")))
			if err == nil && results.Seq == 0 {
				t.Error("the number of the commit is not known inside")
			}
			return answer, err
		}
		first, replayed, err := s.Idempotent(ctx, key, write)
		if d := cmp.Diff(answer, first); err != nil || replayed || d != "" {
			t.Fatal(err, replayed, d)
		}
		again, replayed, err := s.Idempotent(ctx, key, write)
		if d := cmp.Diff(answer, again); err != nil || !replayed || d != "" || runs != 1 {
			t.Error(err, replayed, runs, d)
		}
		other := key
		other.Fingerprint[0] = 2
		if _, _, err := s.Idempotent(ctx, other, write); code(err) != "idempotency_key_reused" {
			t.Error(err)
		}
		other.Client = "another client"
		if _, replayed, err := s.Idempotent(ctx, other, write); err != nil || replayed {
			t.Error("keys belong to a client:", replayed, err)
		}
		t.Run("what fails leaves nothing, neither answer nor write", func(t *testing.T) {
			key.Key = "k2"
			boom := errors.New("boom")
			_, _, err := s.Idempotent(ctx, key, func(ctx context.Context) (impact.StoredResponse, error) {
				if _, err := s.PutObservations(ctx, w.batch(hours("commune-69123", "2025-Q1", "10"))); err != nil {
					t.Error(err)
				}
				return answer, boom
			})
			if !errors.Is(err, boom) {
				t.Error(err)
			}
			list, _, _ := s.Observations(ctx, w.p, impact.ObservationFilter{}, impact.Page{Limit: 10})
			if len(list) != 1 {
				t.Error(list)
			}
			if _, replayed, err := s.Idempotent(ctx, key, write); err != nil || replayed {
				t.Error(replayed, err)
			}
		})
		t.Run("a refused inner write does not spoil the answer", func(t *testing.T) {
			key.Key = "k3"
			_, _, err := s.Idempotent(ctx, key, func(ctx context.Context) (impact.StoredResponse, error) {
				b := w.batch(hours("commune-69123", "2025-Q2", "10"), hours("commune-69123", "bad", "10"))
				b.AllOrNothing = true
				_, err := s.PutObservations(ctx, b)
				if code(err) != "validation_failed" {
					t.Error(err)
				}
				return impact.StoredResponse{Status: 422}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			refused, replayed, err := s.Idempotent(ctx, key, write)
			if err != nil || !replayed || refused.Status != 422 {
				t.Error(refused, replayed, err)
			}
		})
		keepPromises(t, s)
	})
}

func TestTheSameKeyAtOnceRunsOnce(t *testing.T) {
	race := func(t *testing.T, stores ...*store.Store) {
		key := impact.IdempotencyKey{Client: "c", Route: "POST /v1/submissions", Key: "k"}
		var runs, busy atomic.Int64
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				_, _, err := stores[i%len(stores)].Idempotent(context.Background(), key, func(context.Context) (impact.StoredResponse, error) {
					runs.Add(1)
					return impact.StoredResponse{Status: 201}, nil
				})
				switch {
				case code(err) == "idempotency_in_progress":
					busy.Add(1)
				case err != nil:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 1 {
			t.Errorf("it ran %d times", runs.Load())
		}
	}
	databases(t, func(t *testing.T, s *store.Store) { race(t, s) })
	t.Run("two replicas", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		race(t, openLoaded(t, dsn), open(t, dsn))
	})
}

func TestAccessLog(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		lines := []impact.Access{{Client: "steward", Action: "GET /v1/observations", Organisation: "a"}, {Client: "steward", Action: "GET /v1/observations", Organisation: "b"}}
		if err := s.LogAccess(ctx, lines...); err != nil {
			t.Fatal(err)
		}
		if err := s.LogAccess(ctx); err != nil {
			t.Error(err)
		}
		n, err := s.AccessLines(ctx)
		if err != nil || n != 2 {
			t.Error(n, err)
		}
	})
}

func TestAFailingMemberDoesNotFailTheOthers(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		w := writing(t, s, register(t, s, "Une"))
		stranger := writing(t, s, register(t, s, "Autre"))
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				ctx := context.Background()
				switch i % 4 {
				case 0: // not one's own organisation
					b := w.batch(hours(communes[i%58], "2025-Q1", "1"))
					b.Principal, b.AllOrNothing = stranger.p, true
					if _, err := s.PutObservations(ctx, b); code(err) != "not_mandated" {
						t.Error(err)
					}
				case 1: // a submission that is not there
					b := w.batch(hours(communes[i%58], "2025-Q1", "1"))
					b.Submission = "nowhere"
					if _, err := s.PutObservations(ctx, b); code(err) != "not_found" {
						t.Error(err)
					}
				case 2: // a checker that breaks
					b := w.batch(hours(communes[i%58], "2025-Q1", "1"))
					b.Checker = nil
					if _, err := s.PutObservations(ctx, b); err == nil {
						t.Error("no checker, no complaint")
					}
				default:
					r, err := s.PutObservations(ctx, w.batch(hours(communes[i%58], "2025-Q1", "1")))
					if err != nil || r.Rows[0].Outcome == impact.Rejected {
						t.Error(r, err)
					}
				}
			})
		}
		wg.Wait()
		keepPromises(t, s)
		if list, _, err := s.Observations(context.Background(), w.p, impact.ObservationFilter{}, impact.Page{Limit: 100}); err != nil || len(list) != 15 {
			t.Error(len(list), err)
		}
	})
}

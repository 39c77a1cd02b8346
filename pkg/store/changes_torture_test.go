package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// slowly runs a step of a life inside one transaction that dawdles before the
// step, when nothing of it is numbered, and after, when everything is. What the
// rules refuse inside undoes the transaction.
func (l *life) slowly() {
	key := impact.IdempotencyKey{Client: "torture", Route: "POST /torture", Key: fmt.Sprint(l.rnd.Uint64()), Fingerprint: [32]byte{1}}
	ctx := context.Background()
	w := l.w[l.rnd.IntN(len(l.w))]
	var some []impact.Statement
	for range 1 + l.rnd.IntN(6) {
		some = append(some, l.statement())
	}
	before, after := time.Duration(l.rnd.IntN(12))*time.Millisecond, time.Duration(l.rnd.IntN(4))*time.Millisecond
	given := errors.New("given up")
	giveUp := l.rnd.IntN(6) == 0
	_, _, err := l.s.Idempotent(ctx, key, func(ctx context.Context) (impact.StoredResponse, error) {
		time.Sleep(before)
		_, err := l.s.PutObservations(ctx, w.batch(some...))
		time.Sleep(after)
		if err == nil && giveUp {
			err = given
		}
		return impact.StoredResponse{Status: 200, Body: []byte("{}")}, err
	})
	if err != nil && !errors.Is(err, given) && impact.KindOf(err) == impact.Internal {
		l.t.Error(err)
	}
}

// tortureReaders lets many organisations live at once on some stores of one
// database, while a reader of each kind copies what it sees, is killed between
// and in the middle of pages, and goes on from what it had saved, on any of
// the stores. At every caught up its copy must be the tables of that instant.
func tortureReaders(t *testing.T, stores ...*store.Store) {
	const writers, steps = 8, 60
	ctx := context.Background()
	network, err := stores[0].CreateNetwork(ctx, admin, impact.Network{Name: "Réseau"})
	if err != nil {
		t.Fatal(err)
	}
	lives := make([]*life, writers)
	for i := range lives {
		s := stores[i%len(stores)]
		lives[i] = newLife(t, s, uint64(100+i), 1)
		if i > 0 { // some organisations have several writers
			lives[i].w = append(lives[i].w, writer{t, s, lives[0].w[0].org, lives[0].w[0].p})
		}
	}
	var writing, reading sync.WaitGroup
	var done atomic.Bool
	for i, l := range lives {
		writing.Go(func() {
			for n := range steps {
				switch {
				case l.rnd.IntN(3) == 0:
					l.slowly()
				case l.rnd.IntN(12) == 0:
					l.mandate(network)
				default:
					l.step()
				}
				if n%10 == 0 && i == 0 {
					time.Sleep(time.Duration(l.rnd.IntN(10)) * time.Millisecond)
				}
			}
		})
	}
	principals := []impact.Principal{
		entitled(steward), entitled(admin), entitled(lives[0].w[0].p), entitled(lives[1].w[0].p),
		entitled(impact.Principal{Client: "reader", Role: impact.RoleNetwork, Network: network.ID}),
	}
	var compared, killed, rows atomic.Int64
	for i, p := range principals {
		reading.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 9))
			c := followChanges(t, stores[0], p)
			saved := *c
			saved.rows = maps.Clone(c.rows)
			for last := false; !last && !t.Failed(); {
				last = done.Load() // then everything is there to be read
				s := stores[rnd.IntN(len(stores))]
				caughtUp := c.read(ctx, s, 1+rnd.IntN(60))
				switch n := rnd.IntN(10); {
				case n < 2: // killed: what was not saved is lost
					killed.Add(1)
					c.rows, c.at, c.again = maps.Clone(saved.rows), saved.at, saved.again
					last = false
				case n < 5:
					saved.rows, saved.at, saved.again = maps.Clone(c.rows), c.at, c.again
				}
				if !caughtUp && !last {
					continue
				}
				err := s.AtOneInstant(ctx, func(ctx context.Context) error {
					for !c.read(ctx, s, 1000) {
					}
					c.same(ctx, s)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				rest := 4
				if compared.Add(1) > 300 { // the writers have the machine
					rest = 100
				}
				time.Sleep(time.Duration(rnd.IntN(rest)) * time.Millisecond)
			}
			rows.Add(int64(len(c.rows)))
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()
	t.Logf("%d comparisons, %d kills, %d rows in the copies", compared.Load(), killed.Load(), rows.Load())
	if compared.Load() < 50 || killed.Load() < 10 || rows.Load() < 500 {
		t.Error("little was tried")
	}
	keepPromises(t, stores[0])
}

func TestReadersUnderTorture(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) { tortureReaders(t, s) })
}

func TestReadersOfTwoReplicasUnderTorture(t *testing.T) {
	dsn := pgtest.DSN(t)
	tortureReaders(t, openLoaded(t, dsn), open(t, dsn))
}

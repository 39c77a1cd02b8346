package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// federation makes a network and a principal that acts for it.
func federation(t testing.TB, s *store.Store) (impact.Network, impact.Principal) {
	t.Helper()
	n, err := s.CreateNetwork(context.Background(), admin, impact.Network{Name: "Fédération"})
	if err != nil {
		t.Fatal(err)
	}
	return n, impact.Principal{Client: "network", Role: impact.RoleNetwork, Network: n.ID, Scopes: impact.AllowedScopes(impact.RoleNetwork)}
}

func mandate(network impact.NetworkID, scopes ...impact.Scope) impact.Mandate {
	return impact.Mandate{
		Network: network, Scopes: scopes, Periods: impact.Period{Start: impact.MinDate, End: impact.MaxDate}, ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
	}
}

// The lists, filtered in SQL, and the decision on one row, taken in Go, say the
// same whatever the mandates.
func TestListsFollowMandates(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		n, p := federation(t, s)
		w := writing(t, s, register(t, s, "Membre"))
		var rows []impact.Statement
		for y := 2020; y < 2026; y++ {
			for q := 1; q <= 4; q++ {
				rows = append(rows, hours(communes[0], fmt.Sprintf("%d-Q%d", y, q), "10"))
			}
		}
		if _, err := s.PutObservations(ctx, w.batch(rows...)); err != nil {
			t.Fatal(err)
		}
		all, _, err := s.Observations(ctx, w.p, impact.ObservationFilter{}, impact.Page{Limit: 1000})
		if err != nil || len(all) != len(rows) {
			t.Fatal(len(all), err)
		}
		r := rand.New(rand.NewPCG(5, 5))
		today := impact.DateOf(time.Now())
		for round := range 15 {
			var given []*impact.Mandate
			for range 1 + r.IntN(3) {
				m := mandate(n.ID, []impact.Scope{impact.ObservationsRead, impact.ObservationsWrite}[r.IntN(2)])
				m.Periods = impact.Period{Start: impact.NewDate(2019+r.IntN(6), time.Month(1+3*r.IntN(4)), 1), End: impact.NewDate(2021+r.IntN(6), 1, 1) - 1}
				if r.IntN(3) == 0 {
					m.Indicators = []impact.IndicatorKey{all[0].Indicator + impact.IndicatorKey(r.IntN(2))}
				}
				m.ValidFrom, m.ValidTo = today+impact.Date(r.IntN(3)-1), today+impact.Date(r.IntN(2))
				created, _, err := s.CreateMandate(ctx, w.p, m)
				if err != nil {
					t.Fatal(err)
				}
				given = append(given, &created)
			}
			seen := map[impact.ObservationID]bool{}
			list, _, err := s.Observations(ctx, p, impact.ObservationFilter{}, impact.Page{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range list {
				seen[o.ID] = true
			}
			for _, o := range all {
				_, lack := impact.FindMandate(given, impact.Use{Scope: impact.ObservationsRead, Indicator: o.Indicator, Period: o.Period}, today)
				if seen[o.ID] != (lack == impact.LacksNothing) {
					t.Fatalf("round %d: %s listed %v, lack %d of %+v", round, o.Period, seen[o.ID], lack, given[0])
				}
				if _, err := s.Observation(ctx, p, o.ID); (err == nil) != seen[o.ID] {
					t.Fatalf("round %d: %s read alone: %v", round, o.Period, err)
				}
			}
			for _, m := range given {
				if _, err := s.DecideMandate(ctx, w.p, m.ID, impact.RevokeMandate); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A write and a revocation that meet are one before the other: no version is
// written under a mandate after its revocation was acknowledged.
func TestRevocationHoldsAtOnce(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		n, p := federation(t, s)
		w := writing(t, s, register(t, s, "Membre"))
		for round := range 10 {
			m, _, err := s.CreateMandate(ctx, w.p, mandate(n.ID, impact.ObservationsWrite))
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			var revoked sync.Map
			for i := range 8 {
				wg.Go(func() {
					for j := range 10 {
						_, before := revoked.Load("done")
						b := w.batch(hours(communes[i], fmt.Sprintf("%d-Q%d", 2015+j, 1+round%4), fmt.Sprint(100+round*20+j)))
						b.Principal, b.AllOrNothing = p, true
						_, err := s.PutObservations(ctx, b)
						if before && err == nil {
							t.Error("written after the revocation was acknowledged")
						}
						if err != nil && code(err) != "not_mandated" {
							t.Error(err)
						}
					}
				})
			}
			wg.Go(func() {
				if _, err := s.DecideMandate(ctx, w.p, m.ID, impact.RevokeMandate); err != nil {
					t.Error(err)
				}
				revoked.Store("done", true)
			})
			wg.Wait()
		}
	})
}

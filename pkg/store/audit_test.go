package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

func TestAuditLog(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		one, two := register(t, s, "Une"), register(t, s, "Deux")
		write := func(p impact.Principal, action impact.AuditAction, resource string, of impact.OrganisationID, network impact.NetworkID) {
			t.Helper()
			e := impact.Audit(p, action, resource)
			e.Organisation, e.Network, e.Detail = of, network, map[string]string{"kind": "listed"}
			if err := s.Audit(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		network := impact.Principal{Client: "sync", Role: impact.RoleNetwork, Network: "n1"}
		write(acting(one.ID), impact.ConsentGiven, "/v1/organisations/1", one.ID, "")
		write(acting(two.ID), impact.MandateGranted, "/v1/mandates/2", two.ID, "n1")
		write(impact.Principal{}, impact.ClientRotated, "/v1/clients/steward", "", "")
		write(admin, impact.ClientCreated, "/v1/clients/3", "", "")
		for name, want := range map[string]struct {
			by    impact.Principal
			lines []impact.AuditAction
		}{
			"an organisation":    {acting(one.ID), []impact.AuditAction{impact.ConsentGiven}},
			"another":            {acting(two.ID), []impact.AuditAction{impact.MandateGranted}},
			"the network":        {network, []impact.AuditAction{impact.MandateGranted}},
			"another network":    {impact.Principal{Client: "x", Role: impact.RoleNetwork, Network: "n2"}, nil},
			"a steward":          {steward, []impact.AuditAction{impact.ClientRotated}},
			"nobody":             {impact.Principal{}, nil},
			"a buyer":            {buyer, nil},
			"the administrators": {admin, []impact.AuditAction{impact.ClientCreated, impact.ClientRotated, impact.MandateGranted, impact.ConsentGiven}},
		} {
			var got []impact.AuditAction
			page := impact.Page{Limit: 1}
			for pages := 0; pages < 10; pages++ {
				list, next, err := s.AuditLog(ctx, want.by, "", page)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range list {
					got = append(got, e.Action)
				}
				if next == nil {
					break
				}
				page.After = next
			}
			if !slices.Equal(got, want.lines) {
				t.Errorf("%s reads %v, want %v", name, got, want.lines)
			}
		}
		list, _, err := s.AuditLog(ctx, admin, impact.MandateGranted, impact.Page{Limit: 10})
		if err != nil || len(list) != 1 || list[0].Actor != acting(two.ID).Client || list[0].Detail["kind"] != "listed" || list[0].Resource != "/v1/mandates/2" {
			t.Errorf("%+v %v", list, err)
		}
		if _, _, err := s.AuditLog(ctx, admin, "", impact.Page{After: []string{"x"}, Limit: 1}); code(err) != "invalid_cursor" {
			t.Error(err)
		}
	})
}

// A line is there if and only if what it tells was done.
func TestAuditLineGoesWithItsTransaction(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		undone := errors.New("undone")
		key := impact.IdempotencyKey{Client: "admin", Route: "POST /", Key: "k"}
		_, _, err := s.Idempotent(ctx, key, func(ctx context.Context) (impact.StoredResponse, error) {
			if err := s.Audit(ctx, impact.Audit(admin, impact.ClientCreated, "/v1/clients/4")); err != nil {
				t.Fatal(err)
			}
			return impact.StoredResponse{}, undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		if list, _, err := s.AuditLog(ctx, admin, "", impact.Page{Limit: 10}); err != nil || len(list) > 0 {
			t.Errorf("%+v %v", list, err)
		}
		if err := s.Audit(ctx, impact.AuditEvent{Action: impact.KeyCreated, Detail: map[string]string{"x": strings.Repeat("a", 2000)}}); err == nil {
			t.Error("a line without end was kept")
		}
	})
}

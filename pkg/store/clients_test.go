package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

func TestClients(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		o := register(t, s, "Une")
		write := []impact.Scope{impact.ObservationsWrite}
		c, err := s.CreateClient(ctx, admin, impact.Client{Name: "app", Role: impact.RoleOrganisation, Organisation: o.ID, Scopes: write, SecretHashes: []string{"h1"}})
		if err != nil {
			t.Fatal(err)
		}
		for name, wrong := range map[string]impact.Client{
			"an organisation nobody knows":  {Name: "app", Role: impact.RoleOrganisation, Organisation: "nobody"},
			"a network nobody knows":        {Name: "app", Role: impact.RoleNetwork, Network: "nobody"},
			"a scope above its role":        {Name: "app", Role: impact.RoleBuyer, Buyer: "metropole", Scopes: []impact.Scope{impact.ClientsManage}},
			"no name":                       {Role: impact.RoleSteward},
			"no role":                       {Name: "app"},
			"a steward for an organisation": {Name: "app", Role: impact.RoleSteward, Organisation: o.ID},
		} {
			if _, err := s.CreateClient(ctx, admin, wrong); code(err) != "validation_failed" {
				t.Errorf("%s: %v", name, err)
			}
		}
		rotated, err := s.RotateClient(ctx, admin, c.ID, func(h []string) []string { return append([]string{"h2"}, h...) })
		if err != nil || rotated.Version != 2 || !slices.Equal(rotated.SecretHashes, []string{"h2", "h1"}) {
			t.Fatal(rotated, err)
		}
		named := func(c *impact.Client) error { c.Name = "other"; return nil }
		if _, err := s.UpdateClient(ctx, admin, c.ID, 1, named); code(err) != "precondition_failed" {
			t.Error(err)
		}
		updated, err := s.UpdateClient(ctx, admin, c.ID, 2, named)
		if err != nil || updated.Version != 3 {
			t.Error(updated, err)
		}
		if again, err := s.UpdateClient(ctx, admin, c.ID, 3, named); err != nil || again.Version != 3 {
			t.Errorf("nothing changed: %v %v", again, err)
		}
		if n := len(revocations(t, s, time.Time{})); n != 0 {
			t.Errorf("%d revocations of a client that lost nothing", n)
		}
		last, err := s.RevokeClient(ctx, admin, c.ID)
		if err != nil || !last.Revoked || last.Version != 4 {
			t.Fatal(last, err)
		}
		if again, err := s.RevokeClient(ctx, admin, c.ID); err != nil || again.Version != 4 {
			t.Errorf("revoked again: %v %v", again, err)
		}
		read, err := s.Client(ctx, c.ID)
		if d := cmp.Diff(last, read); d != "" || err != nil {
			t.Error(d, err)
		}
		if list, err := s.AllClients(ctx); err != nil || len(list) != 1 {
			t.Error(list, err)
		}
		keep := func(h []string) []string { return h }
		if _, err := s.RotateClient(ctx, admin, c.ID, keep); code(err) != "bad_state" {
			t.Error(err)
		}
		if _, err := s.UpdateClient(ctx, admin, c.ID, 4, named); code(err) != "not_found" {
			t.Error(err)
		}
		_, err1 := s.RevokeClient(ctx, admin, "nobody")
		_, err2 := s.RotateClient(ctx, admin, "nobody", keep)
		if code(err1) != "not_found" || code(err2) != "not_found" {
			t.Error(err1, err2)
		}

		// Nobody else does any of it.
		for _, p := range []impact.Principal{{}, steward, buyer, acting(o.ID)} {
			_, err1 := s.CreateClient(ctx, p, impact.Client{Name: "app", Role: impact.RoleSteward})
			_, err2 := s.UpdateClient(ctx, p, c.ID, 4, named)
			_, err3 := s.RotateClient(ctx, p, c.ID, keep)
			_, err4 := s.RevokeClient(ctx, p, c.ID)
			_, _, err5 := s.Clients(ctx, p, impact.ClientFilter{}, impact.Page{Limit: 10})
			for i, err := range []error{err1, err2, err3, err4, err5} {
				if code(err) != "insufficient_scope" {
					t.Errorf("%s, %d: %v", p.Role, i, err)
				}
			}
		}

		// The organisation reads what was done to a client that acts for it.
		lines, _, err := s.AuditLog(ctx, acting(o.ID), "", impact.Page{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var done []impact.AuditAction
		for _, l := range lines {
			done = append(done, l.Action)
			if l.Actor != admin.Client || l.Resource != "/v1/clients/"+c.ID {
				t.Errorf("%+v", l)
			}
		}
		if want := []impact.AuditAction{impact.ClientRevoked, impact.ClientChanged, impact.ClientRotated, impact.ClientCreated}; !slices.Equal(done, want) {
			t.Errorf("audit log %v, want %v", done, want)
		}
	})
}

func TestClientsAreListedByPage(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		want := []string{}
		for range 5 {
			c, err := s.CreateClient(ctx, admin, impact.Client{Name: "app", Role: impact.RoleSteward})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, c.ID)
		}
		if _, err := s.CreateClient(ctx, admin, impact.Client{Name: "app", Role: impact.RoleBuyer, Buyer: "metropole"}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		got, page := []string{}, impact.Page{Limit: 2}
		for {
			list, next, err := s.Clients(ctx, admin, impact.ClientFilter{Role: impact.RoleSteward}, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				got = append(got, c.ID)
			}
			if next == nil {
				break
			}
			page.After = next
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if list, _, err := s.Clients(ctx, admin, impact.ClientFilter{Buyer: "metropole"}, impact.Page{Limit: 10}); err != nil || len(list) != 1 {
			t.Error(list, err)
		}
	})
}

func revocations(t *testing.T, s *store.Store, since time.Time) []impact.Revocation {
	t.Helper()
	list, err := s.Revocations(context.Background(), since)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRevocationsAreKeptUntilNoTokenNeedsThem(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		now := time.Now()
		o := register(t, s, "Une")
		p := impact.Principal{Client: "crm", Role: impact.RoleOrganisation, Organisation: o.ID}
		for range 2 {
			r, err := s.RevokeToken(ctx, p, p, "jti-1", now.Add(time.Minute))
			if err != nil || r.Token != "jti-1" || r.Client != "crm" || r.Expires.Unix() != now.Add(time.Minute).Unix() {
				t.Fatal(r, err)
			}
		}
		if _, err := s.RevokeToken(ctx, admin, p, "old", now.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		c, err := s.CreateClient(ctx, admin, impact.Client{Name: "app", Role: impact.RoleSteward, Scopes: []impact.Scope{impact.ObservationsRead, impact.AggregatesLive}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.UpdateClient(ctx, admin, c.ID, 1, func(c *impact.Client) error { c.Scopes = c.Scopes[:1]; return nil }); err != nil {
			t.Fatal(err)
		}
		list := revocations(t, s, time.Time{})
		if len(list) != 2 {
			t.Fatalf("%v", list)
		}
		slices.SortFunc(list, func(a, b impact.Revocation) int { return len(b.Token) - len(a.Token) })
		if r := list[1]; r.Client != c.ID || r.Token != "" || r.Until.Before(now.Add(-time.Second)) || r.Expires.Sub(r.Until) != impact.LongestToken {
			t.Errorf("%+v", r)
		}
		// What was begun a little before is told again, in case it ended after.
		if n := len(revocations(t, s, time.Now().Add(30*time.Second))); n != 2 {
			t.Errorf("%d of the last minute", n)
		}
		if n := len(revocations(t, s, time.Now().Add(2*time.Minute))); n != 0 {
			t.Errorf("%d since later", n)
		}
		if err := s.ForgetRevocations(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(revocations(t, s, time.Time{})); n != 2 {
			t.Errorf("%d left", n)
		}
		lines, _, err := s.AuditLog(ctx, acting(o.ID), impact.TokenRevoked, impact.Page{Limit: 10})
		if err != nil || len(lines) != 2 {
			t.Errorf("one line for each token: %v %v", lines, err)
		}
	})
}

func TestAnAssertionIsUsedOnce(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx, now := context.Background(), time.Now()
		for _, c := range []struct {
			client, id string
			expires    time.Time
			want       string
		}{
			{"a", "1", now.Add(time.Minute), ""},
			{"a", "1", now.Add(time.Minute), "already_exists"},
			{"b", "1", now.Add(time.Minute), ""},
			{"a", "2", now.Add(-time.Hour), ""},
		} {
			if err := s.UseAssertion(ctx, c.client, c.id, c.expires); code(err) != c.want {
				t.Errorf("%v: %v", c, err)
			}
		}
		if err := s.ForgetRevocations(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.UseAssertion(ctx, "a", "1", now.Add(time.Minute)); code(err) != "already_exists" {
			t.Errorf("forgotten while it holds: %v", err)
		}
		if err := s.UseAssertion(ctx, "a", "2", now); err != nil {
			t.Errorf("not forgotten once expired: %v", err)
		}
	})
}

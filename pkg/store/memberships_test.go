package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

func member(over impact.MemberRow) *impact.MemberRow {
	if over.From == 0 {
		over.From = impact.MinDate
	}
	if over.To == 0 {
		over.To = impact.MaxDate
	}
	return &over
}

func TestSyncMembers(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		n, p := federation(t, s)
		today := impact.DateOf(time.Now())
		var known []impact.Organisation
		for i := range 10 {
			o, _, err := s.CreateOrganisation(ctx, admin, impact.Organisation{Name: fmt.Sprint("Membre ", i), RNA: fmt.Sprintf("W69100000%d", i), Class: impact.Association, ESS: "true"})
			if err != nil {
				t.Fatal(err)
			}
			known = append(known, o)
		}
		list := func(from, to int) (rows []*impact.MemberRow) {
			for i := from; i < to; i++ {
				rows = append(rows, member(impact.MemberRow{RNA: fmt.Sprintf("W69100000%d", i), ExternalID: fmt.Sprint("crm-", i)}))
			}
			return rows
		}
		sync := func(rows []*impact.MemberRow, over func(*impact.MemberSync)) (impact.MemberResults, error) {
			y := impact.MemberSync{Network: n.ID, Mode: impact.ImportSnapshot, Rows: rows, MaxDeleteRatio: 100}
			if over != nil {
				over(&y)
			}
			return s.SyncMembers(ctx, p, y)
		}
		inForce := func() int {
			list, _, err := s.Memberships(ctx, p, impact.MembershipFilter{Network: n.ID, On: &today}, impact.Page{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		all := func(r impact.MemberResults, outcome impact.Outcome) {
			t.Helper()
			for i, row := range r.Rows {
				if row.Outcome != outcome {
					t.Errorf("row %d: %s %v", i, row.Outcome, row.Faults)
				}
			}
		}
		dry, err := sync(list(0, 10), func(y *impact.MemberSync) { y.DryRun = true })
		if err != nil || inForce() != 0 {
			t.Fatal(err, inForce())
		}
		all(dry, impact.Created)
		done, err := sync(list(0, 10), nil)
		if err != nil || inForce() != 10 {
			t.Fatal(err, inForce())
		}
		all(done, impact.Created)
		again, err := sync(list(0, 10), nil)
		if err != nil || inForce() != 10 {
			t.Fatal(err)
		}
		all(again, impact.Unchanged)

		// A list cut short ends nothing, unless confirmed.
		if _, err := sync(list(0, 5), nil); code(err) != "delete_guard" || inForce() != 10 {
			t.Error(err, inForce())
		}
		if r, err := sync(list(0, 9), nil); err != nil || len(r.Ended) != 1 || inForce() != 9 {
			t.Error(err, r.Ended, inForce())
		}
		// A row that names nobody: nobody is taken for absent.
		unread := append(list(0, 8), member(impact.MemberRow{Name: "Illisible", Faults: []impact.Fault{{Code: "invalid_rna", Pointer: "/rna"}}}))
		if r, err := sync(unread, nil); err != nil || len(r.Ended) != 0 || len(r.Withheld) != 1 || inForce() != 9 {
			t.Error(err, r.Ended, r.Withheld, inForce())
		}
		if r, err := sync(list(0, 5), func(y *impact.MemberSync) { y.Confirmed = true }); err != nil || len(r.Ended) != 4 || inForce() != 5 {
			t.Error(err, inForce())
		}
		// It comes back: another stay, from today.
		if r, err := sync(list(9, 10), func(y *impact.MemberSync) { y.Mode = impact.ImportDelta }); err != nil || r.Rows[0].Outcome != impact.Created || r.Rows[0].Membership.From != today || inForce() != 6 {
			t.Error(err, r.Rows, inForce())
		}
		// By the network's own id, and gone.
		gone := member(impact.MemberRow{ExternalID: "crm-0", Removed: true})
		if r, err := sync([]*impact.MemberRow{gone}, func(y *impact.MemberSync) { y.Mode = impact.ImportDelta }); err != nil || r.Rows[0].Outcome != impact.Removed || inForce() != 5 {
			t.Error(err, r.Rows, inForce())
		}
		// Twice in a list: both are refused.
		twice := append(list(1, 2), list(1, 2)...)
		if r, err := sync(twice, func(y *impact.MemberSync) { y.Mode = impact.ImportDelta }); err != nil || r.Rows[0].Outcome != impact.Rejected || r.Rows[1].Faults[0].Code != "duplicate_in_file" {
			t.Error(err, r.Rows)
		}
		// Unknown: registered when the row says enough.
		fresh := []*impact.MemberRow{
			member(impact.MemberRow{SIRET: "73282932000074", Name: "Neuve", StructureKind: "ACI"}),
			member(impact.MemberRow{SIRET: "55210055400013", Name: "Sans nature"}),
		}
		r, err := sync(fresh, func(y *impact.MemberSync) { y.Mode = impact.ImportDelta })
		if err != nil || r.Registered != 1 || r.Rows[0].Outcome != impact.Created || r.Rows[1].Faults[0].Code != "unknown_organisation" || inForce() != 6 {
			t.Error(err, r, inForce())
		}
		if o, err := s.FindOrganisations(ctx, p, "siret:73282932000074"); err != nil || len(o) != 1 {
			t.Error(o, err)
		}
		// Another network's list is nobody's.
		if _, err := s.SyncMembers(ctx, impact.Principal{Client: "x", Role: impact.RoleNetwork, Network: "other"}, impact.MemberSync{Network: n.ID}); code(err) != "not_found" {
			t.Error(err)
		}
		// A former member is out of sight.
		if o, err := s.FindOrganisations(ctx, p, string(known[0].ID)); err != nil || len(o) != 0 {
			t.Error(o, err)
		}
	})
}

func TestPutMembership(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		n, p := federation(t, s)
		o := register(t, s, "Membre")
		day := func(y int) impact.Date { return impact.NewDate(y, 1, 1) }
		put := func(from, to impact.Date) (impact.Membership, impact.Outcome, error) {
			return s.PutMembership(ctx, p, n.ID, &o, impact.Membership{From: from, To: to})
		}
		if m, outcome, err := put(day(2020), day(2021)-1); err != nil || outcome != impact.Created || m.Version != 1 {
			t.Fatal(m, outcome, err)
		}
		if _, outcome, err := put(day(2020), day(2021)-1); err != nil || outcome != impact.Unchanged {
			t.Error(outcome, err)
		}
		if m, outcome, err := put(day(2020), day(2022)-1); err != nil || outcome != impact.Updated || m.Version != 2 {
			t.Error(m, outcome, err)
		}
		if _, _, err := put(day(2021), impact.MaxDate); code(err) != "validation_failed" {
			t.Error(err)
		}
		if _, outcome, err := put(day(2024), impact.MaxDate); err != nil || outcome != impact.Created {
			t.Error(outcome, err)
		}
		// A beginning that was known too late is corrected, up to another stay.
		if m, outcome, err := put(day(2023), impact.MaxDate); err != nil || outcome != impact.Updated || m.From != day(2023) || m.Version != 2 {
			t.Error(m, outcome, err)
		}
		for _, over := range [][2]impact.Date{{day(2021), impact.MaxDate}, {day(2022), day(2024)}, {day(2019), impact.MaxDate}} {
			if _, _, err := put(over[0], over[1]); code(err) != "validation_failed" {
				t.Error(over, err)
			}
		}
		own := impact.Principal{Client: "o", Role: impact.RoleOrganisation, Organisation: o.ID}
		if list, _, err := s.Memberships(ctx, own, impact.MembershipFilter{}, impact.Page{Limit: 10}); err != nil || len(list) != 2 || list[0].NetworkName != "Fédération" {
			t.Error(list, err)
		}
		if err := s.DeleteMemberships(ctx, p, n.ID, o.ID); err != nil {
			t.Error(err)
		}
		if err := s.DeleteMemberships(ctx, p, n.ID, o.ID); code(err) != "not_found" {
			t.Error(err)
		}
		list, _, err := s.Memberships(ctx, p, impact.MembershipFilter{UpdatedSince: time.Unix(0, 0), IncludeDeleted: true}, impact.Page{Limit: 10})
		if err != nil || len(list) != 2 || !list[0].Deleted || !list[1].Deleted {
			t.Error(list, err)
		}
	})
}

// TestANetworkKnowsAMemberByMandate: that an organisation is a member is said by
// the network alone, so it opens no more than everyone may know.
func TestANetworkKnowsAMemberByMandate(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		network, err := s.CreateNetwork(ctx, admin, impact.Network{Name: "Réseau"})
		if err != nil {
			t.Fatal(err)
		}
		org, _, err := s.CreateOrganisation(ctx, admin, impact.Organisation{
			Name: "Une", SIRET: "73282932000074", SIREN: "732829320", Class: impact.Association, StructureKind: "ACI", GroupID: "holding",
			ExternalIDs: []impact.ExternalID{{Source: "bank", ID: "secret"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		self := impact.Principal{Client: "network", Role: impact.RoleNetwork, Network: network.ID}
		sees := func() (full, public int) {
			t.Helper()
			list, _, err := s.Organisations(ctx, self, impact.OrganisationFilter{}, impact.Page{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			one, err := s.ShownOrganisations(ctx, self, "siret:73282932000074")
			if err != nil || len(one) != len(list) {
				t.Fatal(one, err)
			}
			for i, o := range list {
				if o.Public != one[i].Public || o.Public != (o.GroupID == "") || o.Public != (len(o.ExternalIDs) == 0) {
					t.Errorf("%+v %+v", o, one[i])
				}
				if o.Public {
					public++
				} else {
					full++
				}
			}
			return full, public
		}
		if full, public := sees(); full+public > 0 {
			t.Errorf("a stranger is seen: %d, %d", full, public)
		}
		if _, _, err := s.PutMembership(ctx, self, network.ID, &org, impact.Membership{From: impact.MinDate, To: impact.MaxDate}); err != nil {
			t.Fatal(err)
		}
		if full, public := sees(); full != 0 || public != 1 {
			t.Errorf("a member without mandate: %d in full, %d in public form", full, public)
		}
		owner := impact.Principal{Client: "one", Role: impact.RoleOrganisation, Organisation: org.ID}
		everything := impact.Period{Start: impact.MinDate, End: impact.MaxDate}
		m, _, err := s.CreateMandate(ctx, owner, impact.Mandate{
			Network: network.ID, Scopes: []impact.Scope{impact.OrganisationsRead}, Periods: everything, ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
		})
		if err != nil {
			t.Fatal(err)
		}
		if full, _ := sees(); full != 1 {
			t.Errorf("with a mandate: %d in full", full)
		}
		if _, err := s.DecideMandate(ctx, owner, m.ID, impact.RevokeMandate); err != nil {
			t.Fatal(err)
		}
		if full, public := sees(); full != 0 || public != 1 {
			t.Errorf("after it: %d in full, %d in public form", full, public)
		}
	})
}

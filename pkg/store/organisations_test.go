package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

var (
	admin   = impact.Principal{Client: "admin", Role: impact.RoleAdministrator}
	steward = impact.Principal{Client: "steward", Role: impact.RoleSteward}
	buyer   = impact.Principal{Client: "buyer", Role: impact.RoleBuyer, Buyer: "metropole"}
)

func acting(id impact.OrganisationID) impact.Principal {
	return impact.Principal{Client: "client-" + string(id), Role: impact.RoleOrganisation, Organisation: id}
}

// register makes an organisation without identifiers.
func register(t testing.TB, s *store.Store, name string) impact.Organisation {
	t.Helper()
	o, _, err := s.CreateOrganisation(context.Background(), admin, impact.Organisation{Name: name, Class: impact.Association, ESS: "true"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func code(err error) string {
	if e, ok := errors.AsType[*impact.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestOrganisations(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		stated := impact.Organisation{
			Name: "Régie d'Écully", SIRET: "35600000000048", SIREN: "356000000", Class: impact.Association, StructureKind: "ACI", ESS: "true",
			ExternalIDs:    []impact.ExternalID{{Source: "coorace", ID: "42"}},
			Sites:          []impact.Site{{SIRET: "35600000000048", Territory: "commune-69081", From: impact.MinDate, To: impact.MaxDate}},
			Questionnaires: []string{"insertion-2025"},
		}
		aci, outcome, err := s.CreateOrganisation(ctx, admin, stated)
		if err != nil || outcome != impact.Created || aci.ID == "" || aci.Version != 1 {
			t.Fatalf("got %v %v %v", aci, outcome, err)
		}
		t.Run("the same again changes nothing", func(t *testing.T) {
			again, outcome, err := s.CreateOrganisation(ctx, admin, stated)
			if err != nil || outcome != impact.Unchanged {
				t.Fatal(outcome, err)
			}
			if d := cmp.Diff(aci, again); d != "" {
				t.Error(d)
			}
		})
		t.Run("the same establishment and kind with another name already exists", func(t *testing.T) {
			other := stated
			other.Name = "Autre"
			_, _, err := s.CreateOrganisation(ctx, admin, other)
			e, _ := errors.AsType[*impact.Error](err)
			if e == nil || e.Code != "already_exists" || e.Link != "/v1/organisations/"+string(aci.ID) {
				t.Error(err)
			}
		})
		t.Run("one establishment can be an ACI and an EI", func(t *testing.T) {
			ei := stated
			ei.StructureKind = "EI"
			if _, outcome, err := s.CreateOrganisation(ctx, admin, ei); err != nil || outcome != impact.Created {
				t.Error(outcome, err)
			}
			for _, ref := range []string{"siret:35600000000048", "siren:356000000", "ext:coorace:42"} {
				if found, err := s.FindOrganisations(ctx, steward, ref); err != nil || len(found) != 2 {
					t.Errorf("%s gives %d organisations, want 2 (%v)", ref, len(found), err)
				}
			}
		})
		t.Run("only itself, stewards and administrators see an organisation", func(t *testing.T) {
			other := register(t, s, "Autre")
			for who, sees := range map[*impact.Principal]bool{&admin: true, &steward: true, &buyer: false, {}: false} {
				_, err := s.Organisation(ctx, *who, aci.ID)
				if sees != (err == nil) || !sees && code(err) != "not_found" {
					t.Errorf("%s: %v", who.Role, err)
				}
			}
			if _, err := s.Organisation(ctx, acting(other.ID), aci.ID); code(err) != "not_found" {
				t.Error(err)
			}
			if o, err := s.Organisation(ctx, acting(aci.ID), aci.ID); err != nil || cmp.Diff(aci, o) != "" {
				t.Error(err, cmp.Diff(aci, o))
			}
			if found, err := s.FindOrganisations(ctx, acting(other.ID), "siret:35600000000048"); err != nil || len(found) != 0 {
				t.Error(found, err)
			}
			if _, _, err := s.CreateOrganisation(ctx, acting(other.ID), stated); code(err) != "not_mandated" {
				t.Error("an organisation must not learn who exists:", err)
			}
			list, _, err := s.Organisations(ctx, acting(aci.ID), impact.OrganisationFilter{}, impact.Page{Limit: 10})
			if err != nil || len(list) != 1 || list[0].ID != aci.ID {
				t.Error(list, err)
			}
		})
		t.Run("a change makes a version and wants the current one", func(t *testing.T) {
			rename := func(o *impact.Organisation) error { o.Name = "Régie nouvelle"; o.Sites = nil; return nil }
			if _, err := s.UpdateOrganisation(ctx, admin, aci.ID, 7, rename); impact.KindOf(err) != impact.Stale {
				t.Error(err)
			}
			changed, err := s.UpdateOrganisation(ctx, acting(aci.ID), aci.ID, 1, rename)
			if err != nil || changed.Version != 2 {
				t.Fatal(changed, err)
			}
			same, err := s.UpdateOrganisation(ctx, acting(aci.ID), aci.ID, 2, rename)
			if err != nil || same.Version != 2 {
				t.Error(same, err)
			}
			read, err := s.Organisation(ctx, admin, aci.ID)
			if err != nil || cmp.Diff(changed, read) != "" {
				t.Error(err, cmp.Diff(changed, read))
			}
			for _, who := range []impact.Principal{steward, buyer, {}} {
				if _, err := s.UpdateOrganisation(ctx, who, aci.ID, 2, rename); err == nil {
					t.Errorf("%s changed it", who.Role)
				}
			}
		})
		t.Run("filters", func(t *testing.T) {
			for want, f := range map[string]impact.OrganisationFilter{
				"Régie nouvelle": {SIRET: "35600000000048", StructureKind: "ACI"},
				"Régie d'Écully": {Query: "ecully REGIE", ExternalID: &impact.ExternalID{Source: "coorace", ID: "42"}},
			} {
				list, next, err := s.Organisations(ctx, admin, f, impact.Page{Limit: 10})
				if err != nil || len(list) != 1 || list[0].Name != want || next != nil {
					t.Errorf("%+v gives %v %v", f, list, err)
				}
			}
			list, _, err := s.Organisations(ctx, admin, impact.OrganisationFilter{Territories: []impact.TerritoryID{"commune-69081"}}, impact.Page{Limit: 10})
			if err != nil || len(list) != 1 || list[0].StructureKind != "EI" {
				t.Error(list, err)
			}
		})
	})
}

func TestPagesSurviveInserts(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		want := map[impact.OrganisationID]bool{}
		for i := range 7 {
			want[register(t, s, fmt.Sprint("n", i)).ID] = true
		}
		page := impact.Page{Limit: 2}
		seen := map[impact.OrganisationID]bool{}
		for n := 0; ; n++ {
			list, next, err := s.Organisations(ctx, steward, impact.OrganisationFilter{}, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range list {
				if seen[o.ID] {
					t.Errorf("%s twice", o.Name)
				}
				seen[o.ID] = true
			}
			if next == nil {
				break
			}
			page.After = next
			if n < 3 {
				register(t, s, "late")
			}
		}
		for id := range want {
			if !seen[id] {
				t.Errorf("%s was lost", id)
			}
		}
		if _, _, err := s.Organisations(ctx, steward, impact.OrganisationFilter{}, impact.Page{Limit: 2, After: []string{"a", "b", "c"}}); code(err) != "invalid_cursor" {
			t.Error(err)
		}
	})
}

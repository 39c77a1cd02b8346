package store_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// names of the organisations a caller lists, public forms marked by a star.
func registered(t *testing.T, s *store.Store, p impact.Principal, f impact.OrganisationFilter) []string {
	t.Helper()
	var names []string
	page := impact.Page{Limit: 1}
	for {
		list, next, err := s.Organisations(context.Background(), p, f, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if o.Public {
				if o.ExternalIDs != nil || o.GroupID != "" || o.Questionnaires != nil || o.Version != 0 || !o.UpdatedAt.IsZero() || !o.CreatedAt.IsZero() {
					t.Errorf("%s shows more than everyone may read: %+v", o.Name, o)
				}
				o.Name += "*"
			}
			names = append(names, o.Name)
		}
		if next == nil {
			slices.Sort(names)
			return names
		}
		page.After = next
	}
}

func TestConsentsOpenTheRegister(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		make := func(name, siret string) impact.Organisation {
			o, _, err := s.CreateOrganisation(ctx, admin, impact.Organisation{
				Name: name, SIRET: siret, SIREN: siret[:9], Class: impact.Association, ESS: "true", GroupID: "g",
				ExternalIDs: []impact.ExternalID{{Source: "crm", ID: name}}, Questionnaires: []string{"q"},
			})
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		open, half, shut := make("Ouverte", "35600000000048"), make("Acheteurs", "73282932000074"), make("Fermée", "55210055400013")
		set := func(o impact.Organisation, kind impact.ConsentKind, given bool, want impact.Outcome) impact.Consent {
			t.Helper()
			c, outcome, err := s.SetConsent(ctx, acting(o.ID), o.ID, kind, given)
			if err != nil || outcome != want {
				t.Fatalf("%s %v: %v %v", kind, given, outcome, err)
			}
			return c
		}
		set(open, impact.Listed, true, impact.Created)
		set(open, impact.Listed, true, impact.Unchanged)
		set(half, impact.VisibleToBuyer, true, impact.Created)
		set(shut, impact.SecrecyWaiver, true, impact.Created)
		set(shut, impact.OpenToCooperation, true, impact.Created)
		nobody := impact.Principal{}
		for name, want := range map[string]struct {
			by    impact.Principal
			f     impact.OrganisationFilter
			names []string
		}{
			"anyone":                       {by: nobody, names: []string{"Ouverte*"}},
			"a buyer":                      {by: buyer, names: []string{"Acheteurs*", "Ouverte*"}},
			"an organisation, itself too":  {by: acting(half.ID), names: []string{"Acheteurs", "Ouverte*"}},
			"a listed one, itself in full": {by: acting(open.ID), names: []string{"Ouverte"}},
			"a steward":                    {by: steward, names: []string{"Acheteurs", "Fermée", "Ouverte"}},
			"anyone by a public member":    {by: nobody, f: impact.OrganisationFilter{SIREN: "356000000"}, names: []string{"Ouverte*"}},
			"anyone by another":            {by: nobody, f: impact.OrganisationFilter{SIREN: "552100554"}},
			"anyone by an id of partners":  {by: nobody, f: impact.OrganisationFilter{ExternalID: &impact.ExternalID{Source: "crm", ID: "Ouverte"}}},
			"anyone by date":               {by: nobody, f: impact.OrganisationFilter{UpdatedSince: open.UpdatedAt}},
		} {
			if got := registered(t, s, want.by, want.f); !slices.Equal(got, want.names) {
				t.Errorf("%s lists %v, want %v", name, got, want.names)
			}
		}
		for ref, want := range map[string]int{
			string(open.ID): 1, "siret:35600000000048": 1, "siren:356000000": 1, "siren:": 0, "ext:crm:Ouverte": 0, string(half.ID): 0, "siren:552100554": 0, "": 0,
		} {
			found, err := s.ShownOrganisations(ctx, nobody, ref)
			if err != nil || len(found) != want || want == 1 && (!found[0].Public || found[0].ExternalIDs != nil) {
				t.Errorf("%s: %+v %v", ref, found, err)
			}
		}

		t.Run("a withdrawal acts at once and the history stays", func(t *testing.T) {
			gone := set(open, impact.Listed, false, impact.Updated)
			if gone.Given || gone.WithdrawnAt.IsZero() || gone.GivenAt.IsZero() || gone.Version != 2 || len(gone.History) != 2 || gone.History[0].Given || !gone.History[1].Given {
				t.Errorf("%+v", gone)
			}
			if got := registered(t, s, nobody, impact.OrganisationFilter{}); got != nil {
				t.Error(got)
			}
			if found, err := s.ShownOrganisations(ctx, nobody, string(open.ID)); err != nil || len(found) > 0 {
				t.Error(found, err)
			}
			set(open, impact.Listed, false, impact.Unchanged)
			if back := set(open, impact.Listed, true, impact.Created); back.Version != 3 || !back.WithdrawnAt.IsZero() || back.Wording != impact.ConsentWording {
				t.Errorf("%+v", back)
			}
		})
		t.Run("only the organisation speaks for itself", func(t *testing.T) {
			for _, p := range []impact.Principal{nobody, buyer, steward, admin, acting(half.ID), {Client: "n", Role: impact.RoleNetwork, Network: "n"}} {
				if _, err := s.Consents(ctx, p, open.ID); code(err) != "not_found" {
					t.Errorf("%s reads: %v", p.Role, err)
				}
				if _, _, err := s.SetConsent(ctx, p, open.ID, impact.Listed, false); code(err) != "not_found" {
					t.Errorf("%s withdraws: %v", p.Role, err)
				}
			}
			if _, _, err := s.SetConsent(ctx, acting(open.ID), open.ID, "everything", true); code(err) != "not_found" {
				t.Error(err)
			}
			list, err := s.Consents(ctx, acting(open.ID), open.ID)
			if err != nil || len(list) != 4 || !list[0].Given || list[1].Given || list[1].Version != 0 {
				t.Errorf("%+v %v", list, err)
			}
		})
		t.Run("every change is in the audit log", func(t *testing.T) {
			list, _, err := s.AuditLog(ctx, acting(open.ID), "", impact.Page{Limit: 10})
			if err != nil || len(list) != 3 || list[1].Action != impact.ConsentWithdrawn || list[1].Resource != "/v1/organisations/"+string(open.ID)+"/consents/listed" {
				t.Errorf("%+v %v", list, err)
			}
		})
		t.Run("at the same time", func(t *testing.T) {
			var wait sync.WaitGroup
			for i := range 8 {
				wait.Go(func() {
					if _, _, err := s.SetConsent(ctx, acting(shut.ID), shut.ID, impact.Listed, i%2 == 0); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			list, err := s.Consents(ctx, acting(shut.ID), shut.ID)
			if err != nil || len(list[0].History) != list[0].Version || list[0].Version > 0 && list[0].History[0].Given != list[0].Given {
				t.Errorf("%+v %v", list, err)
			}
		})
	})
}

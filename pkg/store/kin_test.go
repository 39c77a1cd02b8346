package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// enlist registers an organisation with identifiers.
func enlist(t testing.TB, s *store.Store, name, siren, siret, kind string) impact.Organisation {
	t.Helper()
	o, _, err := s.CreateOrganisation(context.Background(), admin, impact.Organisation{Name: name, SIREN: siren, SIRET: siret, StructureKind: kind, Class: impact.Association, ESS: "true"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// found says what became of each row: its outcome, or the code of its fault.
func found(r impact.Results) []string {
	var list []string
	for _, row := range r.Rows {
		if len(row.Faults) > 0 {
			list = append(list, string(row.Faults[0].Code))
			continue
		}
		list = append(list, string(row.Outcome))
	}
	return list
}

// federate makes a network of some members, all mandating it to write.
func federate(t testing.TB, s *store.Store, name string, own impact.OrganisationID, members ...impact.Organisation) impact.Principal {
	t.Helper()
	ctx := context.Background()
	n, err := s.CreateNetwork(ctx, admin, impact.Network{Name: name, Organisation: own})
	if err != nil {
		t.Fatal(err)
	}
	p := impact.Principal{Client: "client-" + name, Role: impact.RoleNetwork, Network: n.ID, Scopes: impact.AllowedScopes(impact.RoleNetwork)}
	for _, o := range members {
		if _, _, err := s.PutMembership(ctx, p, n.ID, &o, impact.Membership{From: impact.MinDate, To: impact.MaxDate}); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.CreateMandate(ctx, acting(o.ID), impact.Mandate{
			Network: n.ID, Scopes: impact.MandateScopes(), Periods: impact.Period{Start: impact.MinDate, End: impact.MaxDate}, ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// by is the same organisation spoken for by somebody else.
func (w writer) by(p impact.Principal) writer { w.p = p; return w }

// together puts the rows of several organisations into one batch.
func together(first impact.Batch, more ...impact.Batch) impact.Batch {
	for _, b := range more {
		first.Rows = append(first.Rows, b.Rows...)
	}
	return first
}

func expect(t testing.TB, what string, r impact.Results, want ...string) {
	t.Helper()
	if got := fmt.Sprint(found(r)); got != fmt.Sprint(want) {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestALegalUnitAndItsEstablishments(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		alone := writing(t, s, enlist(t, s, "Seule", "552100554", "", ""))
		unit := writing(t, s, enlist(t, s, "Siège", "356000000", "", ""))
		expect(t, "before it has establishments", unit.put(hours("commune-69029", "2025-Q1", "5")), "created")
		// What was known of the legal unit a moment ago is not known any more.
		shop := writing(t, s, enlist(t, s, "Atelier", "356000000", "35600000000048", "ACI"))
		twin := writing(t, s, enlist(t, s, "Atelier EI", "356000000", "35600000000048", "EI"))

		expect(t, "an establishment", shop.put(hours("commune-69266", "2025-Q3", "10")), "created")
		expect(t, "a second one", twin.put(hours("commune-69266", "2025-Q3", "20")), "created")
		expect(t, "the total", unit.put(hours("commune-69266", "2025-Q3", "30"), hours("commune-69266", "2025-Q2", "30")), "parent_and_establishment", "created")
		expect(t, "beside the total", shop.put(hours("commune-69266", "2025-Q2", "1"), hours("commune-69029", "2025-Q1", "1")), "parent_and_establishment", "parent_and_establishment")
		expect(t, "nobody's kin", alone.put(hours("commune-69266", "2025-Q3", "1")), "created")

		whole := hours("commune-69266", "2025-Q3", "40")
		whole.Perimeter = "legal_unit"
		expect(t, "a value that becomes the total", shop.put(whole), "parent_and_establishment")
		expect(t, "a correction of what stands", shop.put(hours("commune-69266", "2025-Q3", "11")), "updated")
		expect(t, "no number", unit.put(impact.Statement{Indicator: "insertion_hours", Territory: "commune-69266", Period: "2025-Q3", ValueNull: true, Status: "L"}), "created")

		id := shop.one(hours("commune-69034", "2025-Q3", "1")).Observation
		expect(t, "the total beside one", unit.put(hours("commune-69034", "2025-Q3", "1")), "parent_and_establishment")
		if _, err := s.DeleteObservation(context.Background(), shop.p, id.ID, id.Version); err != nil {
			t.Fatal(err)
		}
		expect(t, "the total once it is deleted", unit.put(hours("commune-69034", "2025-Q3", "1")), "created")
	})
}

// One batch may hold both: neither is better than the other.
func TestALegalUnitAndItsEstablishmentInOneBatch(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		unit, shop := enlist(t, s, "Siège", "356000000", "", ""), enlist(t, s, "Atelier", "356000000", "35600000000048", "ACI")
		head := enlist(t, s, "Tête de réseau", "732829320", "", "")
		p := federate(t, s, "Réseau", head.ID, unit, shop)
		u, e, h := writing(t, s, unit).by(p), writing(t, s, shop).by(p), writing(t, s, head).by(p)
		r, err := s.PutObservations(ctx, together(u.batch(hours("commune-69266", "2025-Q3", "30"), hours("commune-69266", "2025-Q2", "30")), e.batch(hours("commune-69266", "2025-Q3", "10"))))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "both", r, "parent_and_establishment", "created", "parent_and_establishment")

		// Its own figure counts, the one of the member it covers does not.
		own := hours("commune-69266", "2025-Q1", "1000")
		own.Perimeter, own.Covers = "programme", []string{string(shop.ID)}
		r, err = s.PutObservations(ctx, together(e.batch(hours("commune-69266", "2025-Q1", "300")), h.batch(own)))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "a figure and one that it covers", r, "covered_by_network", "created")
	})
}

func TestANetworkDoesNotOverwriteOthers(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		org := enlist(t, s, "Membre", "356000000", "", "")
		own := writing(t, s, org)
		first, second := own.by(federate(t, s, "Premier", "", org)), own.by(federate(t, s, "Second", "", org))
		at := func(period, value string) impact.Statement { return hours("commune-69266", period, value) }

		expect(t, "the member", own.put(at("2025-Q1", "100")), "created")
		expect(t, "a network", first.put(at("2025-Q1", "101"), at("2025-Q2", "102")), "reported_by_other", "created")
		expect(t, "a network that says the same", first.put(at("2025-Q1", "100")), "unchanged")
		expect(t, "another network", second.put(at("2025-Q2", "103"), at("2025-Q3", "103")), "reported_by_other", "created")
		expect(t, "the network corrects itself", first.put(at("2025-Q2", "104")), "updated")
		expect(t, "the member corrects a network", own.put(at("2025-Q2", "105")), "updated")
		expect(t, "the network after the member", first.put(at("2025-Q2", "104")), "reported_by_other")

		gone := second.batch(at("2025-Q1", "1"), at("2025-Q3", "1"))
		for _, r := range gone.Rows {
			r.Delete = true
		}
		r, err := s.PutObservations(ctx, gone)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "a network that deletes", r, "reported_by_other", "deleted")
		kept := own.put(at("2025-Q1", "100")).Rows[0].Observation
		if _, err := s.DeleteObservation(ctx, first.p, kept.ID, kept.Version); code(err) != "validation_failed" {
			t.Errorf("a network deletes what the member stated: %v", err)
		}
		if _, err := s.DeleteObservation(ctx, own.p, kept.ID, kept.Version); err != nil {
			t.Error(err)
		}
		expect(t, "what the member has given up", first.put(at("2025-Q1", "101")), "created")
		if o := own.put(at("2025-Q1", "101")).Rows[0].Observation; o.Mandate == "" || o.ActedBy != first.p.Client {
			t.Errorf("saying the same takes over what a network stated: %+v", o)
		}
	})
}

func TestANetworksOwnFigureCoversItsMembers(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		head := writing(t, s, enlist(t, s, "Tête de réseau", "732829320", "", ""))
		member := writing(t, s, enlist(t, s, "Membre", "356000000", "", ""))
		stranger := writing(t, s, enlist(t, s, "Autre", "552100554", "", ""))
		figure := func(territory, period, value string, covers ...string) impact.Statement {
			st := hours(territory, period, value)
			st.Perimeter, st.Covers = "programme", covers
			return st
		}
		all := []string{"356000000", string(stranger.org.ID)}
		expect(t, "the network's own", head.put(figure("commune-69266", "2025-Q3", "1000", all...)), "created")
		expect(t, "before any network exists", member.put(hours("commune-69266", "2025-Q3", "1")), "created")
		federate(t, s, "Réseau du Rhône", head.org.ID, member.org)
		expect(t, "what stands may be corrected", member.put(hours("commune-69266", "2025-Q3", "2")), "updated")
		expect(t, "another figure of the network", head.put(figure("commune-69266", "2025-Q2", "1000", all...), figure("commune-69266", "2025-Q1", "1000")), "created", "created")
		refused := member.put(hours("commune-69266", "2025-Q2", "300"), hours("commune-69266", "2025-Q1", "300"), hours("commune-69029", "2025-Q2", "300"))
		expect(t, "a covered member", refused, "covered_by_network", "created", "created")
		if f := refused.Rows[0].Faults[0]; f.Detail.EN != "The own figure of the network Réseau du Rhône for this territory and period covers you already." {
			t.Error(f.Detail.EN)
		}
		expect(t, "who is no member", stranger.put(hours("commune-69266", "2025-Q2", "300")), "created")
		expect(t, "the network takes its member out", head.put(figure("commune-69266", "2025-Q2", "700", string(stranger.org.ID))), "updated")
		expect(t, "the member", member.put(hours("commune-69266", "2025-Q2", "300")), "created")
	})
}

// A network says alone who its members are. Who has given it no right to write
// states its own figures, whatever the network says to cover.
func TestANetworkCoversWhoLetsItWrite(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		head := writing(t, s, enlist(t, s, "Tête de réseau", "732829320", "", ""))
		member := writing(t, s, enlist(t, s, "Membre malgré lui", "356000000", "", ""))
		p := federate(t, s, "Réseau", head.org.ID)
		if _, _, err := s.PutMembership(ctx, p, p.Network, &member.org, impact.Membership{From: impact.MinDate, To: impact.MaxDate}); err != nil {
			t.Fatal(err)
		}
		figure := func(period string) impact.Statement {
			st := hours("commune-69266", period, "0")
			st.Perimeter, st.Covers = "programme", []string{string(member.org.ID)}
			return st
		}
		expect(t, "the network", head.put(figure("2024-Q1"), figure("2024-Q2"), figure("2024-Q3"), figure("2025-Q1")), "created", "created", "created", "created")
		expect(t, "without any mandate", member.put(hours("commune-69266", "2024-Q1", "77")), "created")

		catalogue, err := s.Catalogue(ctx)
		if err != nil {
			t.Fatal(err)
		}
		grant := func(scope impact.Scope, indicator impact.IndicatorCode) impact.Mandate {
			t.Helper()
			m, _, err := s.CreateMandate(ctx, member.p, impact.Mandate{
				Network: p.Network, Scopes: []impact.Scope{scope}, Indicators: []impact.IndicatorKey{catalogue.Indicator(indicator).Key},
				Periods: impact.YearPeriod(2024), ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
			})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		grant(impact.ObservationsRead, "insertion_hours")
		grant(impact.ObservationsWrite, "waste_collected")
		m := grant(impact.ObservationsWrite, "insertion_hours")
		expect(t, "within the mandate, and beyond", member.put(hours("commune-69266", "2024-Q2", "77"), hours("commune-69266", "2025-Q1", "77")), "covered_by_network", "created")
		if _, err := s.DecideMandate(ctx, member.p, m.ID, impact.RevokeMandate); err != nil {
			t.Fatal(err)
		}
		expect(t, "once it is revoked", member.put(hours("commune-69266", "2024-Q2", "77"), hours("commune-69266", "2024-Q3", "77")), "created", "created")
	})
}

// Writers of one legal unit never wait for each other for ever, and whatever
// their order no cell holds a total beside one of its parts.
func TestWritersOfOneLegalUnit(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		var units, shops []writer
		for i, siren := range []string{"356000000", "732829320", "552100554"} {
			units = append(units, writing(t, s, enlist(t, s, "Siège", siren, "", "")))
			siret := []string{"35600000000048", "73282932000074", "55210055400013"}[i]
			shops = append(shops, writing(t, s, enlist(t, s, "Atelier", siren, siret, "ACI")), writing(t, s, enlist(t, s, "Atelier EI", siren, siret, "EI")))
		}
		all := append(append([]writer{}, units...), shops...)
		indicators := []string{"insertion_hours", "waste_collected"}
		var wait sync.WaitGroup
		for n := range 8 {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			wait.Go(func() {
				for range 25 {
					w := all[random.IntN(len(all))]
					var statements []impact.Statement
					for _, commune := range communes[:4] {
						st := hours(commune, "2025-Q3", fmt.Sprint(1+random.IntN(100)))
						st.Indicator = indicators[random.IntN(2)]
						statements = append(statements, st)
					}
					if _, err := s.PutObservations(ctx, w.batch(statements...)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		for i, u := range units {
			held := map[string]bool{}
			page := impact.Page{Limit: 1000}
			for _, w := range []writer{shops[2*i], shops[2*i+1]} {
				list, _, err := s.Observations(ctx, w.p, impact.ObservationFilter{}, page)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range list {
					held[fmt.Sprint(o.Indicator, o.Territory, o.Period)] = true
				}
			}
			list, _, err := s.Observations(ctx, u.p, impact.ObservationFilter{}, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range list {
				if held[fmt.Sprint(o.Indicator, o.Territory, o.Period)] {
					t.Errorf("%s holds a total beside an establishment: %+v", u.org.Name, o.CellKey)
				}
			}
		}
	})
}

// A group takes the values of its subsidiaries out of totals: only those that
// the register knows as such.
func TestAGroupCoversItsOwn(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		in := func(name, siren, group string) impact.Organisation {
			o, _, err := s.CreateOrganisation(context.Background(), admin, impact.Organisation{Name: name, SIREN: siren, GroupID: group, Class: impact.Company, ESS: "false"})
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		head, part, rival := in("Groupe", "356000000", "g"), in("Filiale", "732829320", "g"), in("Concurrent", "552100554", "")
		member := in("Membre", "", "")
		federate(t, s, "Réseau", head.ID, member)
		w := writing(t, s, head)
		cover := func(indicator, perimeter, period string, covers ...string) impact.Statement {
			st := hours("commune-69266", period, "10")
			st.Indicator, st.Perimeter, st.Covers = indicator, perimeter, covers
			if indicator == "participants" {
				st.Counting = "unique"
			}
			return st
		}
		expect(t, "its subsidiary, itself, one that is not registered", w.put(cover("insertion_hours", "group", "2025-Q1", "732829320", string(part.ID), "siren:356000000", "200046977")), "created")
		expect(t, "a rival", w.put(cover("insertion_hours", "group", "2025-Q2", "732829320", "552100554"), cover("insertion_hours", "group", "2025-Q3", string(rival.ID))), "inconsistent", "inconsistent")
		expect(t, "a programme that only shrinks itself", w.put(cover("insertion_hours", "programme", "2025-Q4", "552100554")), "created")
		expect(t, "people counted once", w.put(cover("participants", "programme", "2024", string(member.ID)), cover("participants", "programme", "2025", string(rival.ID))), "created", "inconsistent")
	})
}

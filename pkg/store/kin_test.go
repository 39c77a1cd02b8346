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

func TestANetworksOwnFigureCoversItsMembers(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
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
		n, err := s.CreateNetwork(ctx, admin, impact.Network{Name: "Réseau du Rhône", Organisation: head.org.ID})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Enrol(ctx, n.ID, member.org.Key); err != nil {
			t.Fatal(err)
		}
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

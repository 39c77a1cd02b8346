package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// federated makes Atelier and Bocage members of a network that may state
// figures as an organisation of its own, and write for both.
func (w *world) federated(t *testing.T) (network, head *caller) {
	t.Helper()
	own := w.register(t, setup, impact.Organisation{Name: "Fédération", SIREN: "356000000", Class: impact.Association, ESS: "true", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
	created := w.administrator.post(t, "/v1/networks", object{"name": "Réseau", "organisation": string(own.ID)})
	if created.status != http.StatusCreated {
		t.Fatalf("%d %s", created.status, created.body)
	}
	id := created.at(t, "/id").(string)
	network = w.client(t, impact.Client{Name: "Réseau", Role: impact.RoleNetwork, Network: impact.NetworkID(id)})
	for _, m := range []struct {
		of     *caller
		member impact.Organisation
	}{{w.organisation, w.atelier}, {w.other, w.bocage}} {
		joined := network.do(t, "PUT", "/v1/networks/"+id+"/members/"+string(m.member.ID), object{"from": "2020-01-01"})
		granted := m.of.post(t, "/v1/mandates", object{"to": object{"network": id}, "scopes": []string{"observations.write"}})
		if joined.status != http.StatusCreated || granted.status != http.StatusCreated {
			t.Fatalf("%s %s", joined.body, granted.body)
		}
	}
	return network, w.client(t, impact.Client{Name: "Tête de réseau", Role: impact.RoleOrganisation, Organisation: own.ID})
}

// programme is a network's own figure that covers Atelier and Bocage.
func (w *world) programme(over ...object) object {
	return hours(append([]object{{"reporting_perimeter": "programme", "covers": []string{"732829320", string(w.bocage.ID)}}}, over...)...)
}

func TestDoubleCountingIsRefused(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		network, head := w.federated(t)
		said := func(x *caller, body object, code string) {
			t.Helper()
			a := x.post(t, "/v1/observations", body)
			switch {
			case code == "" && a.status >= 300:
				t.Errorf("%v: %d %s", body, a.status, a.body)
			case code != "" && (a.status != http.StatusUnprocessableEntity || !slices.Contains(faults(t, a), code+" /organisation")):
				t.Errorf("%v: %d %s, want %s", body, a.status, a.body, code)
			case code != "" && strings.Contains(string(a.body), "987"):
				t.Errorf("the value of somebody else is told: %s", a.body)
			}
		}
		at := func(period string, value int) object { return object{"period": period, "value": value} }

		said(head, w.programme(at("2024-Q1", 9871)), "")
		said(w.organisation, hours(at("2024-Q1", 300)), "covered_by_network")
		said(network, hours(at("2024-Q1", 300), object{"organisation": string(w.atelier.ID)}), "covered_by_network")
		said(w.organisation, hours(at("2024-Q2", 300)), "")

		said(network, hours(at("2024-Q2", 9872), object{"organisation": string(w.atelier.ID)}), "reported_by_other")
		said(network, hours(at("2024-Q3", 9873), object{"organisation": string(w.atelier.ID)}), "")
		said(w.organisation, hours(at("2024-Q3", 301)), "")

		shop := w.register(t, setup, impact.Organisation{Name: "Atelier, Gerland", SIREN: "732829320", SIRET: "73282932000074", Class: impact.Association, ESS: "true", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
		y := w.client(t, impact.Client{Name: "Gerland", Role: impact.RoleOrganisation, Organisation: shop.ID})
		said(y, hours(at("2024-Q2", 9874)), "parent_and_establishment")
		said(y, hours(at("2023-Q2", 9875)), "")
		said(w.organisation, hours(at("2023-Q2", 300)), "parent_and_establishment")
	})
}

// Whatever arrives first, and whatever is refused, the total of a network and
// its members never counts an hour twice (domain.md E1): each order of arrival
// takes a quarter of its own.
func TestTotalsOfANetworkDoNotDependOnTheOrder(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		_, head := w.federated(t)
		quarter := 0
		orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
		for _, x := range []struct{ own, atelier, bocage, want int }{
			{1000, 300, 200, 1000},
			{1000, 300, 700, 1000},
			{400, 300, 200, 0}, // more than the network says: at most 500
		} {
			for _, order := range orders {
				period := fmt.Sprintf("%d-Q%d", 2018+quarter/4, quarter%4+1)
				quarter++
				sends := []func() answer{
					func() answer {
						return head.post(t, "/v1/observations", w.programme(object{"period": period, "value": x.own}))
					},
					func() answer {
						return w.organisation.post(t, "/v1/observations", hours(object{"period": period, "value": x.atelier}))
					},
					func() answer {
						return w.other.post(t, "/v1/observations", hours(object{"period": period, "value": x.bocage}))
					},
				}
				for _, i := range order {
					if a := sends[i](); a.status != http.StatusCreated && (a.status != http.StatusUnprocessableEntity || !slices.Contains(faults(t, a), "covered_by_network /organisation")) {
						t.Fatalf("%d %s", a.status, a.body)
					}
				}
				var token string
				for _, o := range []*caller{w.organisation, w.other, head} {
					list := o.get(t, "/v1/submissions?period="+period[:4])
					for _, u := range list.at(t, "/data").([]any) {
						at := "/v1/submissions/" + u.(object)["id"].(string)
						o.post(t, at+"/submit", nil)
						token = w.steward.post(t, at+"/approve", nil).header.Get("Consistency-Token")
					}
				}
				live := w.steward.get(t, "/v1/aggregates?indicator=insertion_hours&territory=commune-69266&period="+period+"&release=live", header{"Consistency-Token", token})
				total, err := live.at(t, "/data/0/value").(json.Number).Int64()
				if err != nil {
					t.Fatalf("%s", live.body)
				}
				if right := int64(max(x.own, x.atelier+x.bocage)); total > right || x.want > 0 && total != int64(x.want) {
					t.Errorf("%+v in the order %v: %d", x, order, total)
				}
			}
		}
	})
}

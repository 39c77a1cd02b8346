package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// BenchmarkBatchOfANetwork writes 1,000 new observations a body for 200 members
// under their mandates; "organisation" is the same body for one's own, so that
// the ratio of the two is what mandates and many organisations cost.
func BenchmarkBatchOfANetwork(b *testing.B) {
	for _, members := range []int{0, 1, 200} {
		name := fmt.Sprintf("members=%d", members)
		if members == 0 {
			name = "organisation"
		}
		b.Run(name, func(b *testing.B) {
			w := embedded(b)
			g := w.config.Catalogue.Gazetteer()
			var communes []string
			for _, d := range g.Descendants(g.At("metropole-200046977", impact.NewDate(2025, 1, 1)).Key, 2025, impact.Commune) {
				communes = append(communes, string(d.ID))
			}
			x := w.network
			refs := []string{string(w.atelier.ID)}
			if members == 0 {
				x = w.organisation
			} else {
				refs = w.mandatedMembers(b, members)
			}
			round := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				rows := make([]any, 1000)
				for i := range rows {
					k := round*1000 + i
					cell := k / len(refs) % (100 * len(communes))
					quarter := cell / len(communes)
					rows[i] = object{
						"organisation": refs[k%len(refs)], "indicator": "waste_collected", "territory": communes[cell%len(communes)],
						"period": fmt.Sprintf("%d-Q%d", 2000+quarter/4, 1+quarter%4), "value": json.Number(fmt.Sprintf("%d.5", 100+(k/5800+k)%50)),
					}
				}
				round++
				req, _ := x.request(b, "POST", "/v1/observations", object{"observations": rows})
				b.StartTimer()
				resp, err := plain.Do(req)
				must(b, err)
				var report struct{ Meta struct{ Outcome string } }
				must(b, json.NewDecoder(resp.Body).Decode(&report))
				must(b, resp.Body.Close())
				if resp.StatusCode != http.StatusOK || report.Meta.Outcome != "succeeded" {
					b.Fatalf("%d %+v", resp.StatusCode, report)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
		})
	}
}

// mandatedMembers registers members of Fédération with a mandate each.
func (w *world) mandatedMembers(b testing.TB, n int) []string {
	b.Helper()
	admin := impact.Principal{Client: "setup", Role: impact.RoleAdministrator}
	refs := make([]string, n)
	for i := range refs {
		o := w.register(b, admin, impact.Organisation{Name: fmt.Sprint("Membre ", i), Class: impact.Association, ESS: "true", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
		_, _, err := w.store.CreateMandate(b.Context(), impact.Principal{Client: "setup", Role: impact.RoleOrganisation, Organisation: o.ID}, impact.Mandate{
			Network: w.federation.ID, Scopes: []impact.Scope{impact.ObservationsWrite, impact.ObservationsRead},
			Periods: impact.Period{Start: impact.MinDate, End: impact.MaxDate}, ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
		})
		must(b, err)
		refs[i] = string(o.ID)
	}
	return refs
}

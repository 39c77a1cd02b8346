package api_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// BenchmarkBatchOverHTTP writes 1,000 new observations a body, over a real
// listener into a real SQLite file, revision log included: 58 communes × 100
// quarters of one indicator by organisation. BenchmarkReadBatch tells what of it
// is reading and resolving.
func BenchmarkBatchOverHTTP(b *testing.B) {
	w := embedded(b)
	g := w.config.Catalogue.Gazetteer()
	var communes []string
	for _, d := range g.Descendants(g.At("metropole-200046977", impact.NewDate(2025, 1, 1)).Key, 2025, impact.Commune) {
		communes = append(communes, string(d.ID))
	}
	admin := impact.Principal{Client: "setup", Role: impact.RoleAdministrator}
	next, stop := iter.Pull(func(yield func(*http.Request) bool) {
		for n := 0; ; n++ {
			o := w.register(b, admin, impact.Organisation{Name: fmt.Sprint("Organisation ", n), Class: impact.Association, ESS: "unknown", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
			token, _, err := w.issuer.Issue(impact.Client{ID: fmt.Sprint("client-", n), Role: impact.RoleOrganisation, Organisation: o.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}, nil)
			must(b, err)
			x := w.anonymous.with(token)
			for batch := range len(communes) * 100 / 1000 {
				rows := make([]any, 1000)
				for i := range rows {
					k := batch*1000 + i
					quarter := k / len(communes)
					rows[i] = object{"indicator": "waste_collected", "territory": communes[k%len(communes)], "period": fmt.Sprintf("%d-Q%d", 2000+quarter/4, 1+quarter%4), "value": json.Number(fmt.Sprintf("%d.5", 100+k%50))}
				}
				if r, _ := x.request(b, "POST", "/v1/observations", object{"observations": rows}); !yield(r) {
					return
				}
			}
		}
	})
	defer stop()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		req, _ := next()
		b.StartTimer()
		resp, err := plain.Do(req)
		must(b, err)
		var report struct {
			Meta struct{ Outcome string }
			Data []struct{ Errors []any }
		}
		must(b, json.NewDecoder(resp.Body).Decode(&report))
		must(b, resp.Body.Close())
		if resp.StatusCode != http.StatusOK || report.Meta.Outcome != "succeeded" {
			b.Fatalf("%d %+v", resp.StatusCode, report)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
}

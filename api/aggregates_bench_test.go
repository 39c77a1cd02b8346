package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

// unlogged stands where the log of accesses stands, to measure what the
// reading itself costs.
type unlogged struct{}

func (unlogged) LogAccess(context.Context, ...impact.Access) error { return nil }

// still is a log of commits to which nothing is added.
type still struct{}

func (still) WaitFor(context.Context, int64) error { return nil }

// manyFacts is the API over a cube of 5,000 organisations × 5 pairs of commune
// and indicator × 40 quarters: a million facts.
func manyFacts(b *testing.B) (http.Handler, string) {
	b.Helper()
	reference, err := codelist.Load()
	must(b, err)
	catalogue, err := impact.NewCatalogue(reference)
	must(b, err)
	var flows []*impact.Indicator
	for _, i := range catalogue.Indicators() {
		if i.Kind == impact.Flow && !i.Composed() && len(i.HomogeneousBy) == 0 {
			flows = append(flows, i)
		}
	}
	flows = flows[:min(60, len(flows))]
	g := catalogue.Gazetteer()
	metropole := g.At("metropole-200046977", impact.NewDate(2026, 1, 1))
	communes := g.Descendants(metropole.Key, 2026, impact.Commune)
	const organisations = 5000
	orgs := func(yield func(calculation.Organisation, error) bool) {
		for i := range organisations {
			id := fmt.Sprintf("org-%d", i)
			if !yield(calculation.Organisation{Key: impact.OrganisationKey(i + 1), ID: impact.OrganisationID(id), LegalUnit: "id:" + id, Group: "id:" + id, Profile: impact.Profile{Class: impact.Association}}, nil) {
				return
			}
		}
	}
	// Two pairs of one organisation may meet: the second is dropped.
	seen := map[impact.CellKey]bool{}
	cells := func(yield func(calculation.Change, error) bool) {
		for o := range organisations {
			for pair := range 5 {
				h := uint64(o*5+pair+1) * 0x9e3779b97f4a7c15
				ind, place := flows[h>>32%uint64(len(flows))], communes[h>>17%uint64(len(communes))]
				for q := range 40 {
					f := &calculation.Fact{Value: impact.Quantity(h % 1e9), HasValue: true, Status: impact.Normal, Attrs: calculation.Attrs{Profile: impact.Profile{Class: impact.Association}}}
					p := impact.YearPeriod(2016 + q/4).Buckets(impact.Quarter)[q%4]
					key := impact.CellKey{Organisation: impact.OrganisationKey(o + 1), Indicator: ind.Key, Territory: place.Key, Period: p}
					if seen[key] {
						continue
					}
					seen[key] = true
					if !yield(calculation.Change{Key: key, Current: f, State: impact.Approved, Approved: f}, nil) {
						return
					}
				}
			}
		}
	}
	cube := calculation.NewCube(catalogue)
	must(b, cube.Load(orgs, nil, cells, 1))
	key, err := auth.GenerateKey()
	must(b, err)
	keys, err := auth.NewKeySet(key)
	must(b, err)
	issuer, err := auth.NewIssuer(auth.Config{Issuer: publicURL, Audience: publicURL, Keys: keys, Now: time.Now})
	must(b, err)
	scopes := impact.AllowedScopes(impact.RoleSteward)
	token, _, err := issuer.Issue(impact.Client{ID: "bench", Role: impact.RoleSteward, Scopes: scopes}, scopes)
	must(b, err)
	h, err := api.New(api.Config{
		PublicURL: publicURL, Version: "bench", Now: time.Now, NewID: func() string { return "id" }, Log: slog.New(slog.DiscardHandler), CursorKey: make([]byte, 32),
		Catalogue: catalogue, Verifier: issuer, Figures: cube, Follower: still{}, AccessLog: unlogged{},
	})
	must(b, err)
	return h, token
}

// BenchmarkAggregates answers over HTTP, one connection, nothing cached.
func BenchmarkAggregates(b *testing.B) {
	h, token := manyFacts(b)
	server := httptest.NewServer(h)
	b.Cleanup(server.Close)
	for _, q := range []struct{ name, query string }{
		{"one commune, all indicators, one year", "/v1/aggregates?territory=commune-69266&period=2024&release=live"},
		{"one commune, all indicators, one year, CSV", "/v1/aggregates.csv?territory=commune-69266&period=2024&release=live"},
		{"communes × environment × 10 years", "/v1/aggregates?territory=metropole-200046977&territory_type=commune&impact_type=environment&period=2016/2025&release=live&limit=10000"},
		{"communes × impact types × 10 years", "/v1/aggregates?territory=metropole-200046977&territory_type=commune&group_by=impact_type,territory,period&period=2016/2025&release=live&limit=10000"},
	} {
		b.Run(q.name, func(b *testing.B) {
			var took []time.Duration
			size := 0
			for b.Loop() {
				req, err := http.NewRequest(http.MethodGet, server.URL+q.query, nil)
				must(b, err)
				req.Header.Set("Authorization", "Bearer "+token)
				start := time.Now()
				resp, err := plain.Do(req)
				must(b, err)
				n, err := io.Copy(io.Discard, resp.Body)
				must(b, err)
				must(b, resp.Body.Close())
				took = append(took, time.Since(start))
				if size = int(n); resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

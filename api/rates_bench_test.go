package api_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/grandlyon/retombees/api"
)

// BenchmarkReferenceRead is the cheapest answer there is, without the network:
// what quotas, tokens and keys add to it is the most they can weigh.
func BenchmarkReferenceRead(b *testing.B) {
	w := embedded(b)
	_, key := w.organisation.key(b, nil)
	for _, c := range []struct {
		name       string
		rates      api.Rates
		credential string
	}{
		{"no limit", api.Rates{}, ""},
		{"limits, address", patient, ""},
		{"no limit, token", api.Rates{}, w.organisation.token},
		{"limits, token", patient, w.organisation.token},
		{"limits, API key", patient, key.token},
	} {
		config := w.config
		config.Rates = c.rates
		h, err := api.New(config)
		must(b, err)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			req := httptest.NewRequest(http.MethodGet, "/v1/territories/commune-69266", nil)
			if c.credential != "" {
				req.Header.Set("Authorization", "Bearer "+c.credential)
			}
			n := 0
			for b.Loop() {
				n++
				req.RemoteAddr = "192.0.2." + strconv.Itoa(n%250) + ":1234"
				rec := httptest.NewRecorder()
				if h.ServeHTTP(rec, req); rec.Code != http.StatusOK {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}

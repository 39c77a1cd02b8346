package api_test

import (
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/store/storetest"
)

// sink is a connection that costs nothing.
type sink struct {
	h      http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.bytes += len(b); return len(b), nil }

// BenchmarkReleasedAnswers measures what an answer of a release costs beside the
// connection: the first time, and again.
func BenchmarkReleasedAnswers(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b))
	w.config.Log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	p := w.publisher(b)
	smallWorld(b, w)
	p.publish(b, "commune-69123")
	tag := w.anonymous.get(b, both2025).header.Get("ETag")
	for _, bench := range []struct {
		name  string
		cache int64
		h     header
		want  int
	}{
		{"kept", 32 << 20, header{}, http.StatusOK},
		{"kept, 304", 32 << 20, header{"If-None-Match", tag}, http.StatusNotModified},
		{"kept, gzip", 32 << 20, header{"Accept-Encoding", "gzip"}, http.StatusOK},
		{"computed", 0, header{}, http.StatusOK},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w.config.AnswerCache = bench.cache
			h, err := api.New(w.config)
			must(b, err)
			req, _ := w.anonymous.request(b, http.MethodGet, both2025, nil)
			req.RequestURI, req.RemoteAddr = both2025, "192.0.2.1:1234"
			if bench.h[0] != "" {
				req.Header.Set(bench.h[0], bench.h[1])
			}
			out := &sink{h: http.Header{}}
			h.ServeHTTP(out, req)
			b.ReportAllocs()
			for b.Loop() {
				clear(out.h)
				h.ServeHTTP(out, req)
				if out.status != bench.want {
					b.Fatal(out.status)
				}
			}
		})
	}
}

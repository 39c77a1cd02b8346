package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/dcat"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// offered is what a release would offer, without a release: what the catalogue
// says does not depend on how files are made.
type offered struct {
	api.Exports
	datasets []impact.Dataset
}

func (o *offered) Datasets(context.Context, impact.ReleaseNumber) ([]impact.Dataset, error) {
	return o.datasets, nil
}

// portal serves the API with these datasets in the catalogue.
func (w *world) portal(t *testing.T, datasets []impact.Dataset) {
	t.Helper()
	c := w.config
	c.Exports = &offered{datasets: datasets}
	c.Publication = dcat.Catalogue{Publisher: dcat.Publisher{Name: "Métropole"}, Contact: dcat.Contact{Name: "Données", Email: "donnees@example.org"}, Extent: dcat.Extent{West: 4.6, South: 45.5, East: 5.1, North: 46}}
	handler, err := api.New(c)
	must(t, err)
	w.server = httptest.NewServer(handler)
	t.Cleanup(w.server.Close)
}

func thirdRelease() []impact.Dataset {
	all := impact.Datasets()
	for i := range all {
		all[i].Release, all[i].Issued = 3, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		all[i].Modified = time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)
	}
	return all
}

func TestCatalogueIsServedInEachSyntax(t *testing.T) {
	w := embedded(t)
	w.portal(t, thirdRelease())
	for path, typ := range map[string]string{
		"/v1/catalog": "application/ld+json; charset=utf-8", "/v1/catalog.jsonld": "application/ld+json; charset=utf-8",
		"/v1/catalog.ttl": "text/turtle; charset=utf-8", "/v1/catalog.rdf": "application/rdf+xml; charset=utf-8",
	} {
		a := w.anonymous.get(t, path)
		if a.status != 200 || a.header.Get("Content-Type") != typ || a.header.Get("Cache-Control") != "public, max-age=300" || a.header.Get("RateLimit") != "" {
			t.Fatalf("%s: %d %v", path, a.status, a.header)
		}
		for _, want := range []string{publicURL + "/id/dataset/impact-aggregates", publicURL + "/v1/exports/impact-aggregates.csv", "PartialCollectionView"} {
			if !bytes.Contains(a.body, []byte(want)) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
		if bytes.Contains(a.body, []byte("127.0.0.1")) {
			t.Errorf("%s gives an address made from Host", path)
		}
		h := w.anonymous.do(t, http.MethodHead, path, nil)
		if h.status != 200 || len(h.body) > 0 || h.header.Get("Content-Length") == "0" || h.header.Get("Content-Type") != typ || h.header.Get("ETag") != a.header.Get("ETag") {
			t.Errorf("HEAD %s: %d %v", path, h.status, h.header)
		}
		if again := w.anonymous.get(t, path, header{"If-None-Match", a.header.Get("ETag")}); again.status != 304 || len(again.body) > 0 {
			t.Errorf("%s again: %d", path, again.status)
		}
		if a.header.Get("Last-Modified") != "Mon, 05 Jan 2026 00:00:00 GMT" {
			t.Errorf("%s moved %s", path, a.header.Get("Last-Modified"))
		}
	}
	for accept, typ := range map[string]string{
		"text/turtle": "text/turtle", "application/rdf+xml;q=0.9, text/html": "application/rdf+xml", "application/ld+json": "application/ld+json", "application/json": "application/ld+json",
		"text/html,application/xhtml+xml,*/*;q=0.8": "application/ld+json",
	} {
		if a := w.anonymous.get(t, "/v1/catalog", header{"Accept", accept}); !strings.HasPrefix(a.header.Get("Content-Type"), typ) {
			t.Errorf("Accept: %s gives %s", accept, a.header.Get("Content-Type"))
		}
	}
	refused(t, w.anonymous.get(t, "/v1/catalog", header{"Accept", "text/csv"}), 406, "not_acceptable")
	refused(t, w.anonymous.get(t, "/v1/catalog.csv"), 406, "not_acceptable")
	refused(t, w.anonymous.get(t, "/v1/catalog?modified_since=yesterday"), 400, "invalid_parameter")
	refused(t, w.anonymous.get(t, "/v1/catalog?limit=0"), 400, "invalid_parameter")
	if o := w.anonymous.do(t, http.MethodOptions, "/v1/catalog.ttl", nil, header{"Origin", "https://portal.example"}, header{"Access-Control-Request-Method", "GET"}); o.status != 204 || o.header.Get("Access-Control-Allow-Origin") != "*" || o.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("OPTIONS: %d %v", o.status, o.header)
	}
	if a := w.anonymous.get(t, "/v1"); a.at(t, "/links/catalog") != publicURL+"/v1/catalog" || !strings.Contains(strings.Join(a.header.Values("Link"), " "), "/v1/catalog>") {
		t.Errorf("the landing page does not lead to the catalogue: %s", a.body)
	}
}

// TestCataloguePagesLeadToOneAnother reads the pages as harvesters do, whatever
// their size, and wants each dataset once.
func TestCataloguePagesLeadToOneAnother(t *testing.T) {
	w := embedded(t)
	w.portal(t, thirdRelease())
	whole := catalogued(t, w.anonymous.get(t, "/v1/catalog.ttl"))
	if len(whole) != 5 || !slices.IsSorted(whole) {
		t.Fatalf("%v", whole)
	}
	next, previous := regexp.MustCompile(`hydra:next <([^>]*)>`), regexp.MustCompile(`hydra:previous <([^>]*)>`)
	last := regexp.MustCompile(`hydra:last <([^>]*)>`)
	for _, size := range []string{"1", "2", "3", "5"} {
		var got, seen []string
		path := "/v1/catalog.ttl?limit=" + size
		for path != "" {
			if slices.Contains(seen, path) {
				t.Fatalf("a page leads back to %s", path)
			}
			seen = append(seen, path)
			a := w.anonymous.get(t, path)
			got = append(got, catalogued(t, a)...)
			if strings.Contains(string(a.body), "dcat:DataService") != (len(seen) == 1) {
				t.Errorf("services on page %d", len(seen))
			}
			if m := previous.FindSubmatch(a.body); len(seen) > 1 && (m == nil || strings.TrimPrefix(string(m[1]), publicURL) != seen[len(seen)-2]) {
				t.Errorf("page %d is preceded by %s", len(seen), m)
			}
			m := next.FindSubmatch(a.body)
			if m == nil {
				if l := last.FindSubmatch(a.body); strings.TrimPrefix(string(l[1]), publicURL) != path {
					t.Errorf("the last page is %s, not %s", l[1], path)
				}
				break
			}
			path = strings.TrimPrefix(string(m[1]), publicURL)
			if !strings.HasPrefix(path, "/v1/catalog.ttl?") {
				t.Fatalf("the next page is in another syntax, or elsewhere: %s", m[1])
			}
		}
		if !cmp.Equal(got, whole) {
			t.Errorf("pages of %s: %v", size, got)
		}
	}
	// Asked for by Accept, the next page is in the same syntax too.
	a := w.anonymous.get(t, "/v1/catalog?limit=2", header{"Accept", "application/rdf+xml"})
	if !bytes.Contains(a.body, []byte(publicURL+"/v1/catalog.rdf?")) {
		t.Errorf("%s", a.body)
	}
	since := catalogued(t, w.anonymous.get(t, "/v1/catalog.ttl?modified_since=2026-01-04"))
	if len(since) != 2 || !cmp.Equal(since, catalogued(t, w.anonymous.get(t, "/v1/catalog.ttl?modified_since=2026-01-04T00:00:00Z"))) {
		t.Errorf("since the 4th: %v", since)
	}
}

var dataset = regexp.MustCompile(`(?m)^<([^>]*/id/dataset/[^>]*)>\n    a dcat:Dataset`)

// catalogued lists the datasets a page describes.
func catalogued(t *testing.T, a answer) []string {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var out []string
	for _, m := range dataset.FindAllSubmatch(a.body, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

func TestIdentifiersOfTheCatalogueAnswer(t *testing.T) {
	w := embedded(t)
	w.portal(t, thirdRelease())
	var doc struct {
		Graph []map[string]any `json:"@graph"`
	}
	must(t, json.Unmarshal(w.anonymous.get(t, "/v1/catalog").body, &doc))
	followed := 0
	for _, n := range doc.Graph {
		id := n["@id"].(string)
		path, ours := strings.CutPrefix(id, publicURL+"/id/")
		if !ours {
			continue
		}
		followed++
		if a := w.anonymous.get(t, "/id/"+path+".ttl"); a.status != 200 || !bytes.Contains(a.body, []byte("\n<"+id+">\n    a ")) {
			t.Errorf("%s: %d %s", id, a.status, a.body)
		}
	}
	if followed < 30 {
		t.Errorf("%d identifiers only", followed)
	}
	if a := w.anonymous.get(t, "/v1/datasets/indicators.ttl"); a.status != 200 || len(catalogued(t, a)) != 1 {
		t.Errorf("a dataset in Turtle: %d %s", a.status, a.body)
	}
	if a := w.anonymous.get(t, "/v1/datasets/indicators", header{"Accept", "application/json"}); a.at(t, "/id") != "indicators" {
		t.Errorf("a dataset in JSON: %d %s", a.status, a.body)
	}
	refused(t, w.anonymous.get(t, "/id/dataset/nothing"), 404, "not_found")
	refused(t, w.anonymous.get(t, "/id/nothing"), 404, "not_found")
	if a := w.anonymous.get(t, "/id/catalog.ttl"); a.status != 200 || len(catalogued(t, a)) != 5 {
		t.Errorf("the catalogue by its identifier: %d", a.status)
	}
}

func TestCatalogueBeforeTheFirstRelease(t *testing.T) {
	w := embedded(t)
	for _, datasets := range [][]impact.Dataset{nil, impact.Datasets()} {
		w.portal(t, datasets)
		a := w.anonymous.get(t, "/v1/catalog.ttl")
		if len(catalogued(t, a)) != 0 || !bytes.Contains(a.body, []byte("dcat:DataService")) || a.header.Get("Last-Modified") != "" {
			t.Errorf("%s", a.body)
		}
	}
}

// TestCatalogueNeverComesFromTheFuture: portals drop what will be modified.
func TestCatalogueNeverComesFromTheFuture(t *testing.T) {
	w := embedded(t)
	all := thirdRelease()
	for i := range all {
		all[i].Modified = time.Now().Add(time.Hour)
	}
	w.portal(t, all)
	for _, m := range regexp.MustCompile(`dct:modified "([^"]*)"`).FindAllSubmatch(w.anonymous.get(t, "/v1/catalog.ttl").body, -1) {
		if at, err := time.Parse(time.RFC3339, string(m[1])); err != nil || at.After(time.Now()) {
			t.Errorf("modified %s", m[1])
		}
	}
}

func TestCatalogueIsNeverCounted(t *testing.T) {
	w := embedded(t)
	w.config.Rates = api.Rates{Anonymous: 1, Concurrent: 1000}
	w.portal(t, thirdRelease())
	for range 20 {
		if a := w.anonymous.get(t, "/v1/catalog.ttl"); a.status != 200 || a.header.Get("RateLimit-Policy") != "" {
			t.Fatalf("%d %v", a.status, a.header)
		}
	}
}

// TestCatalogueAndLayersFollowReleases holds the catalogue and the layers to real
// releases: sizes and sums are those of the files, identifiers stay, what is
// withheld has no value.
func TestCatalogueAndLayersFollowReleases(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.exporter(t)
		if got := catalogued(t, w.anonymous.get(t, "/v1/catalog.ttl")); len(got) != 0 {
			t.Errorf("before the first release: %v", got)
		}
		var before []string
		for n, value := range []int64{37000, 38000} {
			r := x.publish(t, value)
			// The service looks for new releases by itself; here it is started again.
			w.config.Releases = api.ReleasesOn(release.NewShelf(w.store, 2))
			handler, err := api.New(w.config)
			must(t, err)
			w.server = httptest.NewServer(handler)
			t.Cleanup(w.server.Close)
			file := w.anonymous.get(t, "/v1/exports/impact-aggregates.csv")
			sum := sha256.Sum256(file.body)
			a := w.anonymous.get(t, "/v1/catalog.ttl")
			ids := catalogued(t, a)
			if len(ids) != 5 || before != nil && !cmp.Equal(before, ids) {
				t.Errorf("identifiers of release %d: %v", r.Number, ids)
			}
			before = ids
			for _, want := range []string{
				hex.EncodeToString(sum[:]), fmt.Sprintf(`dcat:byteSize "%d"`, len(file.body)), fmt.Sprintf(`dcat:version "%d"`, r.Number),
				`dct:modified "` + r.PublishedAt.UTC().Truncate(time.Second).Format(time.RFC3339) + `"`, `dcat:startDate "2024-01-01"`,
			} {
				if !bytes.Contains(a.body, []byte(want)) {
					t.Errorf("the catalogue of release %d lacks %s", r.Number, want)
				}
			}
			layer := layerPage(t, w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items"))
			got := map[string]any{}
			for _, f := range layer.Features {
				got[f.ID] = []any{f.Properties["insertion_hours"], f.Properties["insertion_hours_status"], f.Properties["release"]}
			}
			if want := []any{float64(value) / 2, "A", float64(n + 1)}; !cmp.Equal(got["commune-69266"], any(want)) {
				t.Errorf("Villeurbanne: %v", got["commune-69266"])
			}
			if want := []any{nil, "Q", float64(n + 1)}; !cmp.Equal(got["commune-69123"], any(want)) {
				t.Errorf("Lyon, which is withheld: %v", got["commune-69123"])
			}
		}
	})
}

package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/dcat"
	"github.com/grandlyon/retombees/pkg/impact"
)

// atlas serves the layers of releases that stand on a shelf.
func (w *world) atlas(t *testing.T) *publisher {
	t.Helper()
	w.config.Publication = dcat.Catalogue{Publisher: dcat.Publisher{Name: "Métropole"}, Extent: dcat.Extent{West: 4.6, South: 45.5, East: 5.1, North: 46}}
	return w.publisher(t)
}

// worked states 100 hours in the first place, 200 in the second, and so on.
func (w *world) worked(t *testing.T, places ...string) {
	t.Helper()
	var facts []fact
	for i, place := range places {
		facts = append(facts, fact{"indicator": "insertion_hours", "territory": place, "period": "2024", "value": 100 * (i + 1)})
	}
	w.states(t, w.organisation, facts...)
}

// square loads an outline.
func (w *world) square(t *testing.T, id impact.TerritoryID, west, south float64) {
	t.Helper()
	outline := fmt.Sprintf(`{"type":"Polygon","coordinates":[[[%v,%v],[%v,%v],[%v,%v],[%v,%v],[%[1]v,%[2]v]]]}`, west, south, west+0.05, south, west+0.05, south+0.05, west, south+0.05)
	all := w.config.Catalogue.Gazetteer().Versions(id)
	must(t, w.store.LoadGeometry(context.Background(), map[impact.TerritoryKey][]byte{all[len(all)-1].Key: []byte(outline)}, "test"))
}

type ogcPage struct {
	NumberMatched, NumberReturned int
	Features                      []struct {
		ID         string
		Geometry   any
		Properties map[string]any
	}
	Links []struct{ Href, Rel, Type string }
}

func (p *ogcPage) ids() []string {
	var out []string
	for _, f := range p.Features {
		out = append(out, f.ID)
	}
	return out
}

func (p *ogcPage) next() string {
	for _, l := range p.Links {
		if l.Rel == "next" {
			return strings.TrimPrefix(l.Href, publicURL)
		}
	}
	return ""
}

func layerPage(t *testing.T, a answer) *ogcPage {
	t.Helper()
	if a.status != 200 || a.header.Get("Content-Type") != "application/geo+json" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	var p ogcPage
	must(t, json.Unmarshal(a.body, &p))
	if p.NumberReturned != len(p.Features) {
		t.Errorf("%d features are said to be %d", len(p.Features), p.NumberReturned)
	}
	return &p
}

func TestLayersHoldFiguresAndHideWhatIsWithheld(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		w.worked(t, "commune-69266", "commune-69259", "commune-69256")
		w.square(t, "commune-69266", 4.86, 45.75)
		w.square(t, "commune-69259", 4.90, 45.68)
		w.atlas(t).publish(t, "commune-69256")

		list := w.anonymous.get(t, "/v1/ogc/collections")
		if list.status != 200 {
			t.Fatalf("%d %s", list.status, list.body)
		}
		for _, id := range []string{"territories-commune", "territories-arrondissement", "impact-commune-2024", "impact-metropole-2024"} {
			if !bytes.Contains(list.body, []byte(`"id":"`+id+`"`)) {
				t.Errorf("no layer %s", id)
			}
		}
		if e := w.anonymous.get(t, "/v1/ogc/collections/territories-commune").at(t, "/extent/spatial/bbox/0"); fmt.Sprint(e) != "[4.86 45.68 4.95 45.8]" {
			t.Errorf("the communes lie in %v", e)
		}
		if e := w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024").at(t, "/extent/temporal/interval/0"); fmt.Sprint(e) != "[2024-01-01T00:00:00Z 2024-12-31T23:59:59Z]" {
			t.Errorf("their figures are of %v", e)
		}
		a := w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items?limit=1000")
		p := layerPage(t, a)
		values := map[string]any{}
		for _, f := range p.Features {
			values[f.ID] = []any{f.Properties["insertion_hours"], f.Properties["insertion_hours_status"], f.Geometry != nil}
		}
		want := map[string]any{"commune-69266": []any{100.0, "A", true}, "commune-69259": []any{200.0, "A", true}, "commune-69256": []any{nil, "Q", false}, "commune-69034": []any{nil, nil, false}}
		for id, v := range want {
			if diff := cmp.Diff(v, values[id]); diff != "" {
				t.Errorf("%s: %s", id, diff)
			}
		}
		if p.NumberMatched != 58 || p.Features[0].ID != "commune-69123" {
			t.Errorf("%d communes, the first is %v", p.NumberMatched, p.Features[0].ID)
		}
		if again := w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items?limit=1000", header{"If-None-Match", a.header.Get("ETag")}); again.status != 304 {
			t.Errorf("again: %d", again.status)
		}
		if h := w.anonymous.do(t, http.MethodHead, "/v1/ogc/collections/impact-commune-2024/items?limit=1000", nil); h.status != 200 || h.header.Get("Content-Type") != "application/geo+json" {
			t.Errorf("HEAD: %d", h.status)
		}
		// A column of figures is a number whatever the first rows hold.
		if s := w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/schema"); s.at(t, "/properties/insertion_hours/type") != "number" || s.at(t, "/properties/insertion_hours/x-ogc-unit") != "h" {
			t.Errorf("%s", s.body)
		}
		one := w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items/commune-69266")
		if one.at(t, "/properties/insertion_hours").(json.Number) != "100.0" || one.at(t, "/geometry/type") != "Polygon" {
			t.Errorf("%s", one.body)
		}
		refused(t, w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items/commune-00000"), 404, "not_found")
		refused(t, w.anonymous.get(t, "/v1/ogc/collections/impact-commune-1999/items"), 404, "not_found")

		for query, want := range map[string][]string{
			"bbox=4.85,45.74,4.89,45.77":                                    {"commune-69266"},
			"bbox=4.85,45.74,0,4.89,45.77,400":                              {"commune-69266"},
			"bbox=4.9501,45.6,5,45.7":                                       nil,
			"bbox=170,-50,-170,50":                                          nil,
			"territory=commune-69259":                                       {"commune-69259"},
			"code=69266&datetime=2024-06-01T00:00:00Z":                      {"commune-69266"},
			"code=69266&datetime=2023-01-01T00:00:00Z/2023-12-31T23:59:59Z": nil,
			"code=69266&datetime=2024-12-31T10:00:00Z/..":                   {"commune-69266"},
			"code=69266&datetime=../2023-12-31T23:59:59Z":                   nil,
		} {
			if got := layerPage(t, w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items?"+query)).ids(); !cmp.Equal(got, want) {
				t.Errorf("%s: %v", query, got)
			}
		}
		for _, wrong := range []string{"bbox=1,2,3", "bbox=4.8,46,4.9,45", "datetime=yesterday", "datetime=2025-01-01/2024-01-01", "limit=0", "limit=x", "colour=red", "cursor=x"} {
			if a := w.anonymous.get(t, "/v1/ogc/collections/territories-commune/items?"+wrong); a.status != 400 {
				t.Errorf("%s: %d", wrong, a.status)
			}
		}
		if p := layerPage(t, w.anonymous.get(t, "/v1/ogc/collections/territories-commune/items?limit=1000000")); p.NumberReturned != 1000 || p.next() == "" {
			t.Errorf("a limit too great gives %d of %d", p.NumberReturned, p.NumberMatched)
		}
	})
}

// TestPagesOfALayerAreOfOneRelease: what is published while somebody reads does
// not mix with what they have read.
func TestPagesOfALayerAreOfOneRelease(t *testing.T) {
	w := embedded(t)
	w.worked(t, "commune-69266", "commune-69259", "commune-69256")
	p := w.atlas(t)
	p.publish(t, "commune-69256")
	var got []string
	of := map[any]int{}
	path := "/v1/ogc/collections/impact-commune-2024/items?limit=7"
	for n := 0; path != ""; n++ {
		some := layerPage(t, w.anonymous.get(t, path))
		got = append(got, some.ids()...)
		for _, f := range some.Features {
			of[f.Properties["release"]]++
		}
		if path = some.next(); n == 2 {
			p.publish(t, "commune-69266")
		}
	}
	whole := layerPage(t, w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items?limit=1000"))
	if !cmp.Equal(got, whole.ids()) || len(of) != 1 || of[1.0] != len(got) {
		t.Errorf("%d features of releases %v", len(got), of)
	}
	if whole.Features[0].Properties["release"] != 2.0 {
		t.Errorf("the layer is of release %v", whole.Features[0].Properties["release"])
	}
}

func TestLayersBeforeTheFirstRelease(t *testing.T) {
	w := embedded(t)
	w.atlas(t)
	a := w.anonymous.get(t, "/v1/ogc/collections")
	if bytes.Contains(a.body, []byte("impact-")) || !bytes.Contains(a.body, []byte("territories-commune")) {
		t.Errorf("%s", a.body)
	}
}

// TestLayersAndAggregatesSayTheSame compares each cell of a layer with what
// GET /v1/aggregates answers of it.
func TestLayersAndAggregatesSayTheSame(t *testing.T) {
	w := embedded(t)
	w.worked(t, "commune-69266", "commune-69259", "commune-69256")
	w.states(t, w.other,
		fact{"indicator": "waste_collected", "territory": "commune-69266", "period": "2024", "value": json.Number("100.125"), "unit": "t"},
		fact{"indicator": "waste_reused", "territory": "commune-69266", "period": "2024", "value": 33, "unit": "t"})
	w.atlas(t).publish(t, "commune-69259")
	layer := layerPage(t, w.anonymous.get(t, "/v1/ogc/collections/impact-commune-2024/items?limit=1000"))
	compared := 0
	for _, f := range layer.Features {
		for column, value := range f.Properties {
			status, figure := f.Properties[column+"_status"]
			if !figure || status == nil {
				continue
			}
			compared++
			a := w.anonymous.get(t, "/v1/aggregates?period=2024&indicator="+column+"&territory="+f.ID)
			if a.status != 200 {
				t.Fatalf("%s of %s: %d %s", column, f.ID, a.status, a.body)
			}
			if got, want := fmt.Sprint(value, status), fmt.Sprint(a.at(t, "/data/0/value"), a.at(t, "/data/0/obs_status")); got != want {
				t.Errorf("%s of %s: %s in the layer, %s in the aggregates", column, f.ID, got, want)
			}
		}
	}
	if compared < 5 {
		t.Errorf("%d figures compared", compared)
	}
}

// TestLayersLeadFromTheLandingPage follows each link of the facade, as OGC API
// clients do, and wants the relations its requirements name.
func TestLayersLeadFromTheLandingPage(t *testing.T) {
	w := embedded(t)
	w.worked(t, "commune-69266")
	w.atlas(t).publish(t, "commune-69256")
	seen := map[string]bool{}
	queue := []string{"/v1/ogc"}
	rels := map[string]bool{}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] || len(seen) > 400 {
			continue
		}
		seen[path] = true
		a := w.anonymous.get(t, path)
		if a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
			continue
		}
		var links func(v any)
		links = func(v any) {
			switch v := v.(type) {
			case []any:
				for _, x := range v {
					links(x)
				}
			case map[string]any:
				href, _ := v["href"].(string)
				rel, _ := v["rel"].(string)
				if href != "" && rel != "" {
					rels[rel] = true
					if to, ours := strings.CutPrefix(href, publicURL); ours && (strings.HasPrefix(to, "/v1/ogc") || rel == "service-desc") {
						queue = append(queue, to)
					}
				}
				for _, x := range v {
					links(x)
				}
			}
		}
		if strings.HasPrefix(path, "/v1/ogc") && !strings.HasSuffix(path, "/api") {
			links(a.json(t))
		}
	}
	for _, rel := range []string{"self", "service-desc", "service-doc", "conformance", "data", "items", "describedby", "license", "collection", "next"} {
		if !rels[rel] {
			t.Errorf("no link %s", rel)
		}
	}
	if a := w.anonymous.get(t, "/v1/ogc/conformance"); !bytes.Contains(a.body, []byte("/conf/core")) {
		t.Errorf("%s", a.body)
	}
}

package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/export"
	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// exporter is a world with its exports; releases come from the test.
type exporter struct {
	*world
	files *export.Files
}

func (w *world) exporter(t testing.TB) *exporter {
	t.Helper()
	w.builder.Close() // releases of this world are sealed by the test
	x := &exporter{world: w, files: w.exports(t)}
	w.config.Exports, w.config.Releases = x.files, api.ReleasesOn(release.NewShelf(w.store, 2))
	h, err := api.New(w.config)
	must(t, err)
	w.server = httptest.NewServer(h)
	t.Cleanup(w.server.Close)
	return x
}

// exports gives another replica's view of the same store.
func (w *world) exports(t testing.TB) *export.Files {
	t.Helper()
	files, err := export.New(export.Config{
		Store: w.store, Catalogue: w.config.Catalogue, PublicURL: publicURL, Publisher: "Métropole de Lyon", Dir: t.TempDir() + "/spool", MaxBytes: 64 << 20,
	})
	must(t, err)
	return files
}

// sealed is the text of a unit.
func (x *exporter) sealed(t testing.TB, family string, year int, cells []release.Cell) release.Sealed {
	t.Helper()
	text, err := release.Encode(x.config.Catalogue, cells)
	must(t, err)
	return release.Sealed{Unit: release.Unit{Family: family, Year: year}, Figures: text, Digest: sha256.Sum256(text), Ledger: []byte("canary-ledger")}
}

// publish seals a release: figures of communes, of the Métropole by class, of a
// ratio, and counts by impact type, some withheld. value is that of one commune.
func (x *exporter) publish(t testing.TB, value int64) impact.Release {
	t.Helper()
	ctx := context.Background()
	cat := x.config.Catalogue
	place := func(id impact.TerritoryID) impact.TerritoryKey {
		return cat.Gazetteer().At(id, impact.Vintage(2026).Day()).Key
	}
	q := func(n int64) *impact.Quantity { v := impact.Quantity(n) * impact.One / 2; return &v }
	latest, err := x.store.PublicReleases(ctx)
	must(t, err)
	moved := impact.ReleaseNumber(len(latest) + 1)
	var hours, women []release.Cell
	year := impact.YearPeriod(2024)
	add := func(list *[]release.Cell, indicator impact.IndicatorCode, at impact.TerritoryID, p impact.Period, value *impact.Quantity, edit func(*release.Cell)) {
		ind := cat.Indicator(indicator)
		c := release.Cell{Moved: 1, Cause: release.FirstRelease, Figure: calculation.Figure{
			Indicator: indicator, ImpactType: ind.ImpactType, Kind: ind.Kind, Territory: place(at), Vintage: 2026, Period: p, Status: impact.Normal,
			Value: value, Organisations: 7, Observations: 9, Reporters: 7, Expected: 8, Coverage: q(1), Additive: true, MethodologyVersion: ind.MethodologyVersion,
		}}
		if value == nil {
			c.Figure = calculation.Figure{Indicator: indicator, ImpactType: ind.ImpactType, Kind: ind.Kind, Territory: place(at), Vintage: 2026, Period: p, Status: impact.Suppressed, MethodologyVersion: ind.MethodologyVersion}
		}
		if edit != nil {
			edit(&c)
		}
		*list = append(*list, c)
	}
	add(&hours, "insertion_hours", "commune-69266", year, q(value), func(c *release.Cell) { c.Moved = moved })
	add(&hours, "insertion_hours", "commune-69123", year, nil, nil)
	add(&hours, "insertion_hours", "commune-69123", year.Buckets(impact.Quarter)[1], q(0), func(c *release.Cell) { c.Figure.Status = impact.Provisional })
	add(&hours, "insertion_hours", "metropole-200046977", year, q(1_999_999_999_999), func(c *release.Cell) { c.Figure.Notes = []calculation.Note{calculation.SplitMapping} })
	for code, v := range map[string]*impact.Quantity{"association": q(84), "company": nil, "": q(3)} {
		add(&hours, "insertion_hours", "metropole-200046977", year, v, func(c *release.Cell) {
			c.Cut, c.Figure.Codes = calculation.ByOrganisationClass, []string{code}
		})
	}
	add(&women, "women_share", "metropole-200046977", year, q(1), func(c *release.Cell) {
		c.Figure.Numerator, c.Figure.Denominator, c.Figure.Additive = q(50), q(100), false
	})
	women = append(women, release.Cell{Moved: 1, Cause: release.FirstRelease, Figure: calculation.Figure{ImpactType: "inclusion", Territory: place("commune-69266"), Vintage: 2026, Period: year, Status: impact.Normal, Organisations: 7, Observations: 9}},
		release.Cell{Moved: 1, Cause: release.FirstRelease, Figure: calculation.Figure{ImpactType: "inclusion", Territory: place("commune-69123"), Vintage: 2026, Period: year, Status: impact.Suppressed}})
	units := []release.Sealed{x.sealed(t, "insertion_hours", 2024, hours), x.sealed(t, "women_share", 2024, women)}

	asks := impact.Principal{Client: "publisher", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}
	_, _, err = x.store.RequestRelease(ctx, asks, impact.NewRelease{Day: impact.NewDate(2026, time.November, 10+int(moved)), Embargo: 45, Publish: true})
	must(t, err)
	job, err := x.store.ClaimRelease(ctx, "", time.Minute)
	must(t, err)
	must(t, x.store.KeepUnits(ctx, job, units...))
	var d release.Digest
	for i := range units {
		must(t, x.store.KeepAudit(ctx, job, impact.ReleaseAudit{Family: units[i].Unit.Family, Year: 2024, Counts: impact.AuditCounts{Units: 1}}))
		d.Add(&units[i])
	}
	r, err := x.store.FinishRelease(ctx, job, &impact.Release{
		Vintage: 2026, Method: calculation.MethodVersion, Ruleset: "strict-1", Reference: cat.Reference().Version, Methodology: map[impact.IndicatorCode]string{"insertion_hours": "1.0"},
		Digest: d.String(), Counts: impact.ReleaseCounts{Cells: 10, Shown: 7, Withheld: 3, Units: 2}, Audited: impact.AuditCounts{Units: 2},
	})
	must(t, err)
	if r.State != impact.ReleasePublished {
		t.Fatalf("%+v", r)
	}
	return r
}

// One release, any file: the same rows, numbers and statuses, hidden figures
// included; and those of a query of the release.
func TestExportsHoldTheFiguresOfARelease(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		refused(t, w.exporter(t).anonymous.get(t, "/v1/exports/impact-aggregates.csv"), 404, "not_found")
		x := w.exporter(t)
		x.publish(t, 36841)
		whole := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv")
		rows := csvTable(t, whole.body, ',')
		if len(rows) != 8 {
			t.Fatalf("%s", whole.body)
		}
		for _, suffix := range []string{".fr.csv", ".ndjson", ".parquet", ".sdmx.csv"} {
			sameTable(t, suffix, whole.body, x.anonymous.get(t, "/v1/exports/impact-aggregates"+suffix))
		}
		// The others have no columns of cuts, and rows of whole years on a map.
		part := func(keep func(tableRow) bool) []byte {
			var kept []string
			lines := strings.SplitAfter(string(whole.body), "\r\n")
			drop := map[int]bool{}
			for i, name := range strings.Split(strings.TrimSpace(lines[0]), ",") {
				drop[i] = name == "organisation_class" || name == "structure_kind" || name == "size_class"
			}
			for i, line := range lines[:len(lines)-1] {
				if i > 0 && (rows[i-1]["organisation_class"] != "_T" || !keep(rows[i-1])) {
					continue
				}
				var fields []string
				for k, f := range strings.Split(strings.TrimSuffix(line, "\r\n"), ",") {
					if !drop[k] {
						fields = append(fields, f)
					}
				}
				kept = append(kept, strings.Join(fields, ","))
			}
			return []byte(strings.Join(kept, "\r\n") + "\r\n")
		}
		all := func(tableRow) bool { return true }
		sameTable(t, ".xlsx", part(all), x.anonymous.get(t, "/v1/exports/impact-aggregates.xlsx"))
		sameTable(t, ".jsonstat.json", part(all), x.anonymous.get(t, "/v1/exports/impact-aggregates.jsonstat.json"))
		sameTable(t, ".geojson", part(func(r tableRow) bool { return len(r["period"]) == 4 }), x.anonymous.get(t, "/v1/exports/impact-aggregates.geojson"))

		hidden := 0
		for _, r := range rows {
			if r["obs_status"] != "Q" {
				continue
			}
			hidden++
			for name, v := range r {
				switch name {
				case "indicator", "territory", "period", "organisation_class", "structure_kind", "size_class", "unit", "obs_status", "vintage", "as_of":
				case "conf_status":
					if v != "C" {
						t.Errorf("a withheld figure is %s", v)
					}
				default:
					if v != "" {
						t.Errorf("a withheld figure tells %s=%s", name, v)
					}
				}
			}
		}
		if hidden != 2 {
			t.Errorf("%d withheld figures", hidden)
		}
		query := x.anonymous.get(t, "/v1/aggregates.csv?indicator=insertion_hours,women_share&territory=metropole-200046977,commune-69266,commune-69123&period=2024&measures=value,numerator,denominator,n_organisations,n_observations,coverage")
		asked := csvTable(t, query.body, ',')
		if len(asked) < 4 {
			t.Fatalf("%s", query.body)
		}
		for _, a := range asked {
			found := false
			for _, r := range rows {
				if r["indicator"] != a["indicator"] || r["territory"] != a["territory"] || r["period"] != a["period"] || r["organisation_class"] != "_T" {
					continue
				}
				found = true
				for name, v := range a {
					if other, has := r[name]; has && other != v {
						t.Errorf("%s of %v: %q in the answer, %q in the file", name, a, v, other)
					} else if !has && v != "" {
						t.Errorf("the file has no column %s=%q", name, v)
					}
				}
			}
			if !found && a["obs_status"] != "O" {
				t.Errorf("%v is not in the file", a)
			}
		}
		for _, name := range strings.Split(strings.SplitN(string(query.body), "\r\n", 2)[0]+","+strings.SplitN(string(whole.body), "\r\n", 2)[0], ",") {
			if !format.IsDescribed(name) {
				t.Errorf("column %s has no description for those who read the file", name)
			}
		}
		counts := csvTable(t, x.anonymous.get(t, "/v1/exports/impact-contributors.csv").body, ',')
		if len(counts) != 2 || counts[0]["n_organisations"]+counts[1]["n_organisations"] != "7" {
			t.Errorf("%v", counts)
		}
		for _, name := range []string{"indicators", "impact-types", "territories"} {
			list := x.anonymous.get(t, "/v1/exports/"+name+".csv")
			if len(csvTable(t, list.body, ',')) < 10 {
				t.Errorf("%s: %.200s", name, list.body)
			}
			for _, suffix := range []string{".fr.csv", ".ndjson", ".parquet"} {
				sameTable(t, suffix, list.body, x.anonymous.get(t, "/v1/exports/"+name+suffix))
			}
		}
		refused(t, x.anonymous.get(t, "/v1/exports/indicators.geojson"), 406, "not_acceptable")
		refused(t, x.anonymous.get(t, "/v1/exports/indicators.ttl"), 406, "not_acceptable")
		refused(t, x.anonymous.get(t, "/v1/exports/nothing.csv"), 404, "not_found")
		refused(t, x.anonymous.get(t, "/v1/exports/indicators@01.csv"), 404, "not_found")
	})
}

// Files behave as portals and caches expect.
func TestExportsAreFiles(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.exporter(t)
		first := x.publish(t, 2)
		a := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv")
		h := a.header
		sum := sha256.Sum256(a.body)
		want := map[string]string{
			"Content-Type": "text/csv; charset=utf-8; header=present", "Content-Length": fmt.Sprint(len(a.body)), "Accept-Ranges": "bytes",
			"Etag": `"` + hex.EncodeToString(sum[:])[:32] + `"`, "Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":",
			"Last-Modified": first.PublishedAt.UTC().Format(http.TimeFormat), "Cache-Control": "public, max-age=300", "Vary": "Accept-Encoding",
			"Content-Disposition": "attachment; filename=impact-aggregates.csv", "Access-Control-Allow-Origin": "*",
		}
		for name, v := range want {
			if h.Get(name) != v {
				t.Errorf("%s: %q, want %q", name, h.Get(name), v)
			}
		}
		links := strings.Join(h.Values("Link"), ", ")
		for _, part := range []string{`rel="license"`, `impact-aggregates@1.tableschema.json>; rel="describedby"`, publicURL + `/v1/exports/impact-aggregates@1.csv>; rel="canonical"`} {
			if !strings.Contains(links, part) {
				t.Errorf("no %s in %s", part, links)
			}
		}
		if h.Get("RateLimit") != "" {
			t.Error("exports are counted")
		}
		// HEAD answers what GET would.
		head := x.anonymous.do(t, http.MethodHead, "/v1/exports/impact-aggregates.csv", nil)
		for name := range want {
			if head.header.Get(name) != h.Get(name) {
				t.Errorf("HEAD %s: %q, GET %q", name, head.header.Get(name), h.Get(name))
			}
		}
		// Encodings have tags of their own, and the same bytes inside.
		for encoding, open := range map[string]func(io.Reader) (io.Reader, error){
			"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
			"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
		} {
			req, _ := x.anonymous.request(t, http.MethodGet, "/v1/exports/impact-aggregates.csv", nil, header{"Accept-Encoding", encoding})
			resp, err := plain.Do(req)
			must(t, err)
			packed, err := io.ReadAll(resp.Body)
			must(t, err)
			must(t, resp.Body.Close())
			r, err := open(bytes.NewReader(packed))
			must(t, err)
			body, err := io.ReadAll(r)
			must(t, err)
			if !bytes.Equal(body, a.body) || resp.Header.Get("Content-Encoding") != encoding || resp.Header.Get("Etag") == h.Get("Etag") || resp.Header.Get("Content-Length") != fmt.Sprint(len(packed)) {
				t.Errorf("%s: %v", encoding, resp.Header)
			}
			if again := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv", header{"Accept-Encoding", encoding}, header{"If-None-Match", resp.Header.Get("Etag")}); again.status != 304 {
				t.Errorf("%s: %d", encoding, again.status)
			}
		}
		gz := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv.gz", header{"Accept-Encoding", "gzip, zstd"})
		r, err := gzip.NewReader(bytes.NewReader(gz.body))
		must(t, err)
		if body, err := io.ReadAll(r); err != nil || !bytes.Equal(body, a.body) || gz.header.Get("Content-Type") != "application/gzip" || gz.header.Get("Content-Encoding") != "" {
			t.Errorf(".csv.gz: %v %v", err, gz.header)
		}
		// Parts, and what became of them.
		part := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv", header{"Range", "bytes=10-19"})
		if part.status != 206 || !bytes.Equal(part.body, a.body[10:20]) || part.header.Get("Content-Range") != fmt.Sprintf("bytes 10-19/%d", len(a.body)) {
			t.Errorf("%d %s %v", part.status, part.body, part.header)
		}
		if same := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv", header{"Range", "bytes=10-19"}, header{"If-Range", h.Get("Etag")}); same.status != 206 {
			t.Errorf("If-Range with the tag: %d", same.status)
		}
		if moved := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv", header{"Range", "bytes=10-19"}, header{"If-Range", `"other"`}); moved.status != 200 || len(moved.body) != len(a.body) {
			t.Errorf("If-Range with another tag: %d", moved.status)
		}
		outside := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv", header{"Range", "bytes=9000000-"})
		refused(t, outside, 416, "range_not_satisfiable")
		if outside.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", len(a.body)) {
			t.Errorf("%v", outside.header)
		}
		if since := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv", header{"If-Modified-Since", h.Get("Last-Modified")}); since.status != 304 {
			t.Errorf("If-Modified-Since: %d", since.status)
		}
		// Version 1 is the same bytes, for ever; another replica gives them too.
		one := x.anonymous.get(t, "/v1/exports/impact-aggregates@1.csv")
		if !bytes.Equal(one.body, a.body) || one.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || one.header.Get("Etag") != h.Get("Etag") {
			t.Errorf("%v", one.header)
		}
		types := x.anonymous.get(t, "/v1/exports/impact-types.csv")
		time.Sleep(1100 * time.Millisecond) // Last-Modified counts seconds
		second := x.publish(t, 4)
		latest := x.anonymous.get(t, "/v1/exports/impact-aggregates.csv")
		if bytes.Equal(latest.body, a.body) || latest.header.Get("Last-Modified") != second.PublishedAt.UTC().Format(http.TimeFormat) {
			t.Errorf("the latest is still the first: %v", latest.header)
		}
		if again := x.anonymous.get(t, "/v1/exports/impact-aggregates@1.csv"); !bytes.Equal(again.body, a.body) {
			t.Error("version 1 moved")
		}
		if unmoved := x.anonymous.get(t, "/v1/exports/impact-types.csv"); unmoved.header.Get("Last-Modified") != types.header.Get("Last-Modified") || unmoved.header.Get("Etag") != types.header.Get("Etag") {
			t.Errorf("a file that is the same says it moved: %v", unmoved.header)
		}
		replica, err := w.exports(t).Open(context.Background(), impact.AggregatesDataset, 1, ".csv", []impact.FileEncoding{impact.Identity})
		must(t, err)
		if body, err := io.ReadAll(replica.Content); err != nil || !bytes.Equal(body, a.body) {
			t.Errorf("another replica: %v", err)
		}
		must(t, replica.Content.Close())
		changes := x.anonymous.get(t, "/v1/datasets/impact-aggregates/versions/2/changes")
		if changes.at(t, "/data/0/territory") != "commune-69266" || changes.at(t, "/meta/row_count") != json.Number("1") {
			t.Errorf("%s", changes.body)
		}
		refused(t, x.anonymous.get(t, "/v1/datasets/indicators/versions/2/changes"), 404, "not_found")
		// A withdrawn version is gone, and says what took its place.
		asks := impact.Principal{Client: "publisher", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}
		_, err = x.store.WithdrawRelease(context.Background(), asks, "1", 0, impact.Text{FR: "Erreur d'unité.", EN: "Wrong unit."}, 2)
		must(t, err)
		gone := x.anonymous.get(t, "/v1/exports/impact-aggregates@1.csv")
		refused(t, gone, 410, "release_withdrawn")
		if !strings.Contains(string(gone.body), "/v1/releases/2") {
			t.Errorf("%s", gone.body)
		}
		refused(t, x.anonymous.get(t, "/v1/datasets/impact-aggregates/versions/1"), 410, "release_withdrawn")
		versions := x.anonymous.get(t, "/v1/datasets/impact-aggregates/versions")
		if versions.at(t, "/data/0/version") != json.Number("2") || versions.at(t, "/data/1/state") != "withdrawn" || versions.at(t, "/data/1/successor") != json.Number("2") {
			t.Errorf("%s", versions.body)
		}
	})
}

// Everything is made after a publication, once.
func TestExportsArePrepared(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.exporter(t)
		must(t, x.files.Prepare(context.Background()))
		if a := x.anonymous.get(t, "/v1/datasets/impact-aggregates"); a.at(t, "/version") != nil || len(a.at(t, "/distributions").([]any)) > 0 {
			t.Errorf("%s", a.body)
		}
		x.publish(t, 2)
		must(t, x.files.Prepare(context.Background()))
		for _, d := range impact.Datasets() {
			a := x.anonymous.get(t, "/v1/datasets/"+string(d.ID))
			list := a.at(t, "/distributions").([]any)
			if len(list) != len(d.Files) {
				t.Errorf("%s: %s", d.ID, a.body)
			}
			for _, f := range list {
				m := f.(map[string]any)
				url := strings.TrimPrefix(m["url"].(string), publicURL)
				head := x.anonymous.do(t, http.MethodHead, url, nil)
				if m["size"] == nil || head.header.Get("Content-Length") != m["size"].(json.Number).String() || head.status != 200 {
					t.Errorf("%s: %v, %v", url, m["size"], head.header)
				}
			}
		}
		// A second replica finds them all made, and makes none.
		files, err := x.store.ExportFiles(context.Background(), 1)
		must(t, err)
		must(t, w.exports(t).Prepare(context.Background()))
		again, err := x.store.ExportFiles(context.Background(), 1)
		must(t, err)
		if d := cmp.Diff(files, again); d != "" {
			t.Error(d)
		}
		// Two replicas that make the same file keep one.
		for _, d := range []impact.DatasetID{impact.AggregatesDataset, impact.IndicatorsDataset} {
			schema := x.anonymous.get(t, "/v1/exports/"+string(d)+".tableschema.json")
			csvw := x.anonymous.get(t, "/v1/exports/"+string(d)+".csv-metadata.json")
			header := strings.Split(strings.SplitN(string(x.anonymous.get(t, "/v1/exports/"+string(d)+".csv").body), "\r\n", 2)[0], ",")
			fields := schema.at(t, "/fields").([]any)
			columns := csvw.at(t, "/tableSchema/columns").([]any)
			if len(fields) != len(header) || len(columns) != len(header) {
				t.Fatalf("%s: %d fields, %d columns, the file has %d", d, len(fields), len(columns), len(header))
			}
			for i, name := range header {
				if fields[i].(map[string]any)["name"] != name || columns[i].(map[string]any)["titles"] != name {
					t.Errorf("column %s is described as %v, %v", name, fields[i], columns[i])
				}
			}
		}
	})
}

package api_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/quick"
)

// frozen is a release made of the facts of one moment, of which a few figures
// are withheld. It stands where pkg/release stands: what is tested here is what
// the API makes of a release.
type frozen struct {
	*calculation.Cube
	about  impact.Release
	hidden func(*calculation.Figure) bool
	asked  int // how many times figures were computed
}

func (f *frozen) Release() *impact.Release { return &f.about }

func (f *frozen) Figures(q calculation.Query) (*calculation.Result, error) {
	f.asked++
	if err := f.declared(q); err != nil {
		return nil, err
	}
	res, err := f.Cube.Figures(q)
	if err != nil {
		return nil, err
	}
	for i := range res.Figures {
		res.Figures[i] = f.seal(res.Figures[i])
	}
	return res, nil
}

func (f *frozen) Explain(q calculation.Query) (*calculation.Explanation, error) {
	if err := f.declared(q); err != nil {
		return nil, err
	}
	e, err := f.Cube.Explain(q)
	if err != nil {
		return nil, err
	}
	e.Figure, e.Contributors, e.LeftOut = f.seal(e.Figure), nil, nil
	if e.Figure.Status == impact.Suppressed {
		e.Inputs, e.Excluded, e.Withheld = nil, nil, impact.Text{FR: "secret", EN: "secret"}
	}
	return e, nil
}

func (f *frozen) declared(q calculation.Query) error {
	if q.MergeTerritories || q.MergePeriods || len(q.Cuts) > 1 || len(q.Filters) > 1 {
		return &impact.Error{Kind: impact.Invalid, Code: "disclosure_uncontrolled_slice", Detail: impact.Text{FR: "Non.", EN: "No."}}
	}
	return nil
}

func (f *frozen) seal(x calculation.Figure) calculation.Figure {
	x.Moved = f.about.Day
	if !f.hidden(&x) {
		return x
	}
	return calculation.Figure{
		Indicator: x.Indicator, ImpactType: x.ImpactType, Kind: x.Kind, Territory: x.Territory, Vintage: x.Vintage, Period: x.Period,
		Codes: x.Codes, Qualifiers: x.Qualifiers, Status: impact.Suppressed, MethodologyVersion: x.MethodologyVersion, Moved: x.Moved,
	}
}

// shelf holds the releases of a test.
type shelf struct {
	mu       sync.Mutex
	releases []*frozen
}

func (s *shelf) Latest(ctx context.Context) (*frozen, error) {
	return s.At(ctx, now().AddDate(1, 0, 0))
}

func (s *shelf) Get(_ context.Context, n impact.ReleaseNumber) (*frozen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 1 || int(n) > len(s.releases) {
		return nil, impact.NotFoundError()
	}
	r := s.releases[n-1]
	if r.about.State == impact.ReleaseWithdrawn {
		return nil, &impact.Error{Kind: impact.Gone, Code: "release_withdrawn", Link: "/v1/releases/latest"}
	}
	return r, nil
}

func (s *shelf) At(_ context.Context, t time.Time) (*frozen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.releases) {
		if r.about.State == impact.ReleasePublished && !r.about.PublishedAt.After(t) {
			return r, nil
		}
	}
	return nil, impact.NotFoundError()
}

// publisher serves the API of a world with releases on a shelf.
type publisher struct {
	*world
	shelf *shelf
	quick *counting
}

func (w *world) publisher(t testing.TB) *publisher {
	t.Helper()
	p := &publisher{world: w, shelf: &shelf{}}
	w.config.Releases, w.config.AnswerCache = api.ReleasesOn(p.shelf), 32<<20
	h, err := api.New(w.config)
	must(t, err)
	w.server = httptest.NewUnstartedServer(h)
	p.quick = &counting{Handler: h.(quick.Handler)}
	w.server.Listener = &quick.Listener{Listener: w.server.Listener, Handler: p.quick, Now: now, Idle: time.Minute, Write: time.Minute}
	w.server.Start()
	t.Cleanup(w.server.Close)
	return p
}

// publish makes a release of what is known, without the figures of the hidden
// territories.
func (p *publisher) publish(t testing.TB, hidden ...impact.TerritoryID) *frozen {
	t.Helper()
	cube := calculation.NewCube(p.config.Catalogue)
	follower, err := p.store.Follow(context.Background(), cube, time.Millisecond)
	must(t, err)
	must(t, follower.WaitFor(context.Background(), 0))
	follower.Close()
	g := p.config.Catalogue.Gazetteer()
	n := len(p.shelf.releases) + 1
	r := &frozen{Cube: cube, about: impact.Release{
		Number: impact.ReleaseNumber(n), State: impact.ReleasePublished, Day: impact.DateOf(now()) - impact.Date(100-n), Vintage: g.CurrentVintage(impact.DateOf(now())),
		Method: calculation.MethodVersion, Ruleset: "strict-1", Digest: fmt.Sprintf("digest-%d", n),
		PublishedAt: now().Add(time.Duration(n-100) * time.Hour).Truncate(time.Millisecond), Methodology: map[impact.IndicatorCode]string{"insertion_hours": "9.9"},
	}}
	r.hidden = func(f *calculation.Figure) bool {
		at := g.ByKey(f.Territory)
		return at != nil && slices.Contains(hidden, at.ID)
	}
	p.shelf.mu.Lock()
	defer p.shelf.mu.Unlock()
	p.shelf.releases = append(p.shelf.releases, r)
	return r
}

const (
	communes2025 = "/v1/aggregates?indicator=insertion_hours&period=2025&territory=metropole-200046977&territory_type=commune"
	both2025     = "/v1/aggregates?indicator=insertion_hours&period=2025&territory=commune-69266,commune-69123"
)

func TestEveryoneReadsTheLatestRelease(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		p := w.publisher(t)
		seen := smallWorld(t, w)
		p.publish(t, "commune-69123")

		a := w.anonymous.get(t, both2025)
		same(t, rows(t, a, "territory", "value", "obs_status", "conf_status", "n_organisations", "coverage", "as_of"),
			"commune-69123 <nil> Q C <nil> <nil> "+p.shelf.releases[0].about.Day.String(),
			fmt.Sprintf("commune-69266 350.5 A F 2 %v %s", a.at(t, "/data/1/coverage"), p.shelf.releases[0].about.Day))
		for pointer, want := range map[string]any{
			"/meta/release": "1", "/meta/query/release": "1", "/meta/disclosure_control/status": "SUPPRESSED", "/meta/disclosure_control/ruleset": "strict-1",
			"/meta/methodology/insertion_hours": "9.9", "/meta/published_at": p.shelf.releases[0].about.PublishedAt.UTC().Format("2006-01-02T15:04:05.000Z"),
		} {
			if got := a.at(t, pointer); got != want {
				t.Errorf("%s is %v, not %v", pointer, got, want)
			}
		}
		if n := fmt.Sprint(a.at(t, "/meta/disclosure_control/suppressed_cells")); n != "1" {
			t.Errorf("%s suppressed", n)
		}
		if s := w.anonymous.get(t, strings.Replace(both2025, ",commune-69123", "", 1)).at(t, "/meta/disclosure_control/status"); s != "OK" {
			t.Errorf("nothing is withheld: %v", s)
		}

		// What is written since is for the next release; a token changes nothing.
		w.states(t, w.other, fact{"indicator": "insertion_hours", "territory": "commune-69266", "period": "2025-Q1", "value": 70, "unit": "h"})
		for name, x := range w.callers() {
			got := x.get(t, both2025, seen)
			if !bytes.Equal(got.body, a.body) || got.header.Get("ETag") != a.header.Get("ETag") {
				t.Errorf("%s reads another answer:\n%s\n%s", name, a.body, got.body)
			}
			if v := got.header.Get("Vary"); strings.Contains(v, "Authorization") {
				t.Errorf("Vary: %s", v)
			}
		}
		refused(t, w.anonymous.with("forged").get(t, both2025), http.StatusUnauthorized, "invalid_token")

		p.publish(t)
		same(t, rows(t, w.anonymous.get(t, both2025), "territory", "value"), "commune-69123 10", "commune-69266 370.5")
		same(t, rows(t, w.anonymous.get(t, both2025+"&release=latest"), "value"), "10", "370.5")
		same(t, rows(t, w.anonymous.get(t, both2025+"&release=1"), "value"), "<nil>", "350.5")
		instant := p.shelf.releases[0].about.PublishedAt.Add(time.Minute).UTC().Format(time.RFC3339)
		same(t, rows(t, w.anonymous.get(t, both2025+"&as_of="+instant), "value"), "<nil>", "350.5")
		refused(t, w.anonymous.get(t, both2025+"&as_of=1999-01-01T00:00:00Z"), http.StatusNotFound, "not_found")
		refused(t, w.anonymous.get(t, both2025+"&release=3"), http.StatusNotFound, "not_found")
		refused(t, w.anonymous.get(t, both2025+"&release=0"), http.StatusBadRequest, "invalid_parameter")

		// Live figures stay for rights holders, and for them alone.
		refused(t, w.anonymous.get(t, both2025+"&release=live"), http.StatusUnauthorized, "missing_token")
		refused(t, w.buyer.get(t, both2025+"&release=live"), http.StatusForbidden, "insufficient_scope")
		live := w.steward.get(t, both2025+"&release=live")
		if live.header.Get("Cache-Control") != "private, no-store" || !strings.Contains(live.header.Get("Vary"), "Authorization") || live.at(t, "/meta/disclosure_control/status") != "LIVE" {
			t.Errorf("live: %v", live.header)
		}

		p.shelf.mu.Lock()
		p.shelf.releases[1].about.State = impact.ReleaseWithdrawn
		p.shelf.mu.Unlock()
		refused(t, w.anonymous.get(t, both2025+"&release=2"), http.StatusGone, "release_withdrawn")
		same(t, rows(t, w.anonymous.get(t, both2025), "value"), "<nil>", "350.5")
	})
}

// Nothing that can be asked depends on a hidden value.
func TestWhatIsWithheldDecidesNothing(t *testing.T) {
	w := embedded(t)
	p := w.publisher(t)
	smallWorld(t, w)
	lyon := func(value int) fact {
		return fact{"indicator": "insertion_hours", "territory": "commune-69123", "period": "2025-Q2", "value": value, "unit": "h"}
	}
	w.states(t, w.organisation, lyon(5)) // and the third quarter, 999
	// The release with Lyon hidden, and one in which its value is another.
	p.publish(t, "commune-69123")
	w.states(t, w.organisation, lyon(100000))
	p.publish(t, "commune-69123", "metropole-200046977")
	ask := func(n int, q string) answer {
		return w.anonymous.get(t, fmt.Sprintf("%s&release=%d%s", both2025, n, q))
	}
	for _, q := range []string{
		"", "&value=ge:0", "&value=lt:0,ge:0", "&value=ne:5", "&n_organisations=ge:0", "&n_organisations=lt:1", "&coverage=ge:0", "&order_by=value", "&order_by=-value", "&order_by=-n_organisations",
		"&measures=value,numerator,denominator,n_organisations,n_observations,coverage", "&measures=value,change_previous", "&limit=1", "&limit=1&order_by=-n_organisations,-value",
	} {
		one, two := ask(1, q), ask(2, q)
		forget := strings.NewReplacer(`release=1`, `release=N`, `release=2`, `release=N`, `"release":"1"`, `"release":"N"`, `"release":"2"`, `"release":"N"`,
			p.shelf.releases[0].about.Day.String(), "D", p.shelf.releases[1].about.Day.String(), "D")
		rowsOf := func(a answer) string {
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", q, a.status, a.body)
			}
			return forget.Replace(fmt.Sprint(a.json(t)["data"]))
		}
		if d := cmp.Diff(rowsOf(one), rowsOf(two)); d != "" {
			t.Errorf("%s tells the hidden value: %s", q, d)
		}
	}
	same(t, rows(t, ask(1, "&value=ge:0"), "territory"), "commune-69266")
	same(t, rows(t, ask(1, "&n_organisations=lt:1"), "territory"))
	same(t, rows(t, ask(1, "&order_by=value"), "territory"), "commune-69266", "commune-69123")
	same(t, rows(t, ask(1, "&order_by=-value"), "territory"), "commune-69266", "commune-69123")
	// Pages go past what is withheld.
	for _, order := range []string{"", "&order_by=-n_organisations", "&order_by=value", "&order_by=-value&measures=value,n_observations"} {
		var got []string
		next := strings.TrimPrefix(fmt.Sprint(ask(1, order+"&limit=1").at(t, "/links/next")), publicURL)
		got = append(got, rows(t, ask(1, order+"&limit=1"), "territory")...)
		got = append(got, rows(t, w.anonymous.get(t, next), "territory")...)
		same(t, got, rows(t, ask(1, order), "territory")...)
	}
	// A share or a change is shown when both its operands are.
	share := communes2025 + "&measures=value,share_of_total&totals=territory&release="
	same(t, rows(t, w.anonymous.get(t, share+"1"), "territory", "value", "share_of_total"),
		"commune-69123 <nil> <nil>", "commune-69266 1349.5 0.985396", "_T 1369.5 <nil>")
	same(t, rows(t, w.anonymous.get(t, share+"2"), "territory", "value", "share_of_total"),
		"commune-69123 <nil> <nil>", "commune-69266 1349.5 <nil>", "_T <nil> <nil>")

	// Every format says it alike, never by a zero.
	flat := w.anonymous.get(t, strings.Replace(both2025, "aggregates?", "aggregates.csv?", 1)+"&release=1")
	records, err := csv.NewReader(bytes.NewReader(flat.body)).ReadAll()
	must(t, err)
	at := func(row int, column string) string { return records[row][slices.Index(records[0], column)] }
	if at(1, "value") != "" || at(1, "obs_status") != "Q" || at(1, "conf_status") != "C" || at(1, "n_organisations") != "" || at(2, "value") != "1349.5" {
		t.Errorf("%s", flat.body)
	}
	if l := flat.header.Values("Link"); len(l) != 2 || flat.header.Get("Impact-Release") != "1" || flat.header.Get("Impact-Disclosure-Control") != "SUPPRESSED" {
		t.Errorf("a table does not say where it comes from: %v", flat.header)
	}
}

func TestAReleaseAnswersDeclaredCells(t *testing.T) {
	w := embedded(t)
	p := w.publisher(t)
	smallWorld(t, w)
	p.publish(t)
	for _, q := range []string{
		"&organisation=" + string(w.atelier.ID), "&state=submitted", "&split=prorata_days", "&allow_bounds=true", "&disaggregation.sex=F",
		"&group_by=organisation", "&group_by=indicator,territory,period,disaggregation.sex", "&group_by=indicator,period", "&group_by=indicator,territory",
		"&group_by=territory,period,organisation_class,structure_kind", "&organisation_class=company&size_class=small",
	} {
		for _, x := range []*caller{w.anonymous, w.steward} {
			a := x.get(t, both2025+q)
			refused(t, a, http.StatusUnprocessableEntity, "disclosure_uncontrolled_slice")
			if a.at(t, "/disclosure_control/status") != "BLOCKED" || a.at(t, "/hint") == nil && len(q) < 12 {
				t.Errorf("%s: %s", q, a.body)
			}
			near, _ := a.at(t, "/links/nearest").([]any)
			if len(near) == 0 {
				t.Errorf("%s leads nowhere: %s", q, a.body)
			}
			for _, link := range near {
				if got := w.anonymous.get(t, strings.TrimPrefix(link.(string), publicURL)); got.status != http.StatusOK || len(rows(t, got, "value")) == 0 {
					t.Errorf("%s → %s: %d %s", q, link, got.status, got.body)
				}
			}
		}
	}
	post := w.anonymous.post(t, "/v1/aggregates/query", map[string]any{"indicator": []string{"insertion_hours"}, "territory": []string{"commune-69266"}, "period": "2025", "state": "submitted"})
	refused(t, post, http.StatusUnprocessableEntity, "disclosure_uncontrolled_slice")
	if post.at(t, "/errors/0/pointer") != "/state" {
		t.Errorf("%s", post.body)
	}
}

func TestPublishedExplanationsAndAvailability(t *testing.T) {
	w := embedded(t)
	p := w.publisher(t)
	smallWorld(t, w)
	p.publish(t, "commune-69123")
	row := w.anonymous.get(t, both2025)
	hidden := w.anonymous.get(t, row.at(t, "/data/0/links/explain").(string))
	shown := w.anonymous.get(t, row.at(t, "/data/1/links/explain").(string))
	if shown.status != 200 || fmt.Sprint(shown.at(t, "/cell/value")) != "350.5" || shown.at(t, "/contributors") != nil || shown.at(t, "/withheld") != nil || shown.at(t, "/meta/release") != "1" {
		t.Errorf("%s", shown.body)
	}
	if hidden.status != 200 || hidden.at(t, "/cell/value") != nil || hidden.at(t, "/cell/n_organisations") != nil || hidden.at(t, "/withheld/fr") == nil || hidden.at(t, "/formula/fr") == nil || hidden.at(t, "/rules/time/fr") == nil {
		t.Errorf("%s", hidden.body)
	}
	for _, id := range []string{string(w.atelier.ID), string(w.bocage.ID)} {
		if bytes.Contains(hidden.body, []byte(id)) || bytes.Contains(shown.body, []byte(id)) {
			t.Errorf("a contributor is named")
		}
	}
	for _, path := range []string{"availability?indicator=insertion_hours", "availability?mode=available&indicator=insertion_hours&period=2025", "estimate?indicator=insertion_hours&period=2025&" + villeurbanne} {
		a := w.anonymous.get(t, "/v1/aggregates/"+path)
		if a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	a := w.anonymous.get(t, "/v1/aggregates/availability?indicator=insertion_hours")
	if a.at(t, "/meta/release") != "1" || a.header.Get("ETag") == "" {
		t.Errorf("%s", a.body)
	}
	refused(t, w.anonymous.get(t, "/v1/aggregates/availability?organisation="+string(w.atelier.ID)), http.StatusUnprocessableEntity, "disclosure_uncontrolled_slice")
	// The latest period is that of the release, whatever was written since.
	w.states(t, w.other, fact{"indicator": "insertion_hours", "territory": "commune-69266", "period": "2025-Q4", "value": 1, "unit": "h"})
	same(t, rows(t, w.anonymous.get(t, "/v1/aggregates?indicator=insertion_hours&period=latest&granularity=quarter&"+villeurbanne), "period"), "2025-Q2")
}

// What a cache needs: tags decided before any figure, dates, and for how long.
func TestReleasesAreCached(t *testing.T) {
	w := embedded(t)
	p := w.publisher(t)
	smallWorld(t, w)
	p.publish(t, "commune-69123")
	r := p.shelf.releases[0]
	modified := r.about.PublishedAt.UTC().Format(http.TimeFormat)
	explain := w.anonymous.get(t, both2025).at(t, "/data/1/links/explain").(string)
	for _, path := range []string{both2025, strings.Replace(both2025, "aggregates?", "aggregates.csv?", 1), explain, "/v1/aggregates/availability?indicator=insertion_hours"} {
		first := w.anonymous.get(t, path)
		tag := first.header.Get("ETag")
		if first.status != 200 || !strings.HasPrefix(tag, `W/"1-`) || first.header.Get("Last-Modified") != modified {
			t.Fatalf("%s: %d %v", path, first.status, first.header)
		}
		computed := r.asked
		for range 3 { // read, then kept
			if again := w.anonymous.get(t, path); !bytes.Equal(again.body, first.body) {
				t.Errorf("%s is answered otherwise:\n%s\n%s", path, first.body, again.body)
			} else if d := cmp.Diff(stable(first.header), stable(again.header)); d != "" {
				t.Errorf("%s: %s", path, d)
			}
		}
		for _, h := range [][]header{
			{{"If-None-Match", tag}},
			{{"If-None-Match", `"x", ` + tag}},
			{{"If-None-Match", "*"}},
			{{"If-None-Match", strings.TrimPrefix(tag, "W/")}},
			{{"If-Modified-Since", modified}},
			{{"If-None-Match", tag}, {"If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"}},
		} {
			for _, token := range []string{"", w.steward.token} {
				a := w.anonymous.with(token).get(t, path, h...)
				if a.status != http.StatusNotModified || len(a.body) > 0 || a.header.Get("ETag") != tag || a.header.Get("Vary") != first.header.Get("Vary") || a.header.Get("Cache-Control") != first.header.Get("Cache-Control") {
					t.Errorf("%s %v: %d %v", path, h, a.status, a.header)
				}
			}
		}
		for _, h := range [][]header{{{"If-None-Match", `"other"`}, {"If-Modified-Since", modified}}, {{"If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"}}, {{"If-None-Match", tag}, {"Accept-Language", "en"}}} {
			if a := w.anonymous.get(t, path, h...); a.status != http.StatusOK {
				t.Errorf("%s %v: %d", path, h, a.status)
			}
		}
		head := w.anonymous.do(t, http.MethodHead, path, nil)
		if d := cmp.Diff(stable(first.header), stable(head.header)); head.status != 200 || len(head.body) > 0 || d != "" {
			t.Errorf("HEAD %s: %d %s", path, head.status, d)
		}
		for _, encoding := range []string{"gzip", "zstd", "gzip, zstd", "br", "identity;q=0, gzip;q=0.5"} {
			a := w.anonymous.get(t, path, header{"Accept-Encoding", encoding})
			if a.header.Get("Content-Encoding") == "" && len(first.body) > 2000 && encoding != "br" || fmt.Sprint(a.wire) != a.header.Get("Content-Length") || !bytes.Equal(a.body, first.body) {
				t.Errorf("%s in %s: %v, %d bytes", path, encoding, a.header, a.wire)
			}
		}
		if r.asked > computed+2 { // the other language, with its whole and its change
			t.Errorf("%s was computed %d times more", path, r.asked-computed)
		}
	}
	for path, want := range map[string]string{
		both2025: "public, max-age=300, stale-while-revalidate=3600", both2025 + "&release=latest": "public, max-age=300, stale-while-revalidate=3600",
		both2025 + "&release=1": "public, max-age=31536000, immutable", both2025 + "&as_of=" + now().UTC().Format(time.RFC3339): "public, max-age=300, stale-while-revalidate=3600",
		both2025 + "&nonsense=1": "no-store", both2025 + "&release=2": "no-store", both2025 + "&organisation=x": "no-store",
	} {
		for range 2 {
			if got := w.anonymous.get(t, path).header.Get("Cache-Control"); got != want {
				t.Errorf("%s: %q, not %q", path, got, want)
			}
		}
	}
	// A stampede computes once.
	before := r.asked
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if a := w.anonymous.get(t, communes2025+"&order_by=-value"); a.status != 200 {
				t.Errorf("%d", a.status)
			}
		})
	}
	wg.Wait()
	if n := r.asked - before; n > 3 {
		t.Errorf("computed %d times", n)
	}
}

// stable are the headers that two identical requests share.
func stable(h http.Header) http.Header {
	h = maps.Clone(h)
	for _, name := range []string{"Date", "X-Request-Id", "Ratelimit", "Ratelimit-Policy"} {
		h.Del(name)
	}
	return h
}

// What an answer refers to can be read.
func TestPagesOfTheMethodAreServed(t *testing.T) {
	w := embedded(t)
	for _, page := range []string{"/docs/method.md", "/docs/guide-open-data.md"} {
		a := w.anonymous.get(t, page)
		if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") || !strings.Contains(a.header.Get("Cache-Control"), "public") || len(a.body) < 500 {
			t.Errorf("%s: %d %v", page, a.status, a.header)
		}
	}
	refused(t, w.anonymous.get(t, "/docs/docs.go"), http.StatusNotFound, "not_found")
	refused(t, w.anonymous.get(t, "/docs/nothing.md"), http.StatusNotFound, "not_found")
}

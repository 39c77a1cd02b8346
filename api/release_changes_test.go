package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// archive keeps releases of a test as a store does, for a real shelf.
type archive struct {
	catalogue *impact.Catalogue
	releases  []impact.Release
	units     map[string][]*release.Sealed
}

func (a *archive) PublicReleases(context.Context) ([]impact.Release, error) { return a.releases, nil }

func (a *archive) ReleasesSeen(context.Context) (int64, error) { return int64(len(a.releases)), nil }

func (a *archive) Catalogue(context.Context) (*impact.Catalogue, error) { return a.catalogue, nil }

func (a *archive) ReleaseUnits(_ context.Context, key string) iter.Seq2[*release.Sealed, error] {
	return func(yield func(*release.Sealed, error) bool) {
		for _, u := range a.units[key] {
			if !yield(u, nil) {
				return
			}
		}
	}
}

// toldCell is a cell as a test writes it: an indicator or a type to count, place, value ("" = withheld), the release it
// moved in and why.
type toldCell struct {
	indicator, place, value string
	moved                   impact.ReleaseNumber
	cause                   release.Cause
	before                  string
	quarter                 bool // the last one of 2025, not the year
}

func (a *archive) publish(t testing.TB, cells ...toldCell) {
	t.Helper()
	n := impact.ReleaseNumber(len(a.releases) + 1)
	number := func(s string) *impact.Quantity {
		if s == "" {
			return nil
		}
		q, f := impact.ParseQuantity(s)
		if f != nil {
			t.Fatal(f)
		}
		return &q
	}
	out := make([]release.Cell, len(cells))
	for i, c := range cells {
		place := a.catalogue.Gazetteer().At(impact.TerritoryID(c.place), impact.Vintage(2026).Day())
		out[i] = release.Cell{
			Figure: calculation.Figure{Territory: place.Key, Vintage: 2026, Period: impact.YearPeriod(2025), Value: number(c.value), Status: impact.Normal},
			Moved:  c.moved, Cause: c.cause, Before: number(c.before),
		}
		f := &out[i].Figure
		if ind := a.catalogue.Indicator(impact.IndicatorCode(c.indicator)); ind != nil {
			f.Indicator, f.ImpactType, f.Kind, f.MethodologyVersion = ind.Code, ind.ImpactType, ind.Kind, ind.MethodologyVersion
		} else {
			f.ImpactType, f.Value, f.Organisations = impact.ImpactTypeCode(c.indicator), nil, int(*number(c.value)/impact.One)
		}
		if c.quarter {
			f.Period = f.Period.Buckets(impact.Quarter)[3]
		}
		if c.value == "" {
			f.Status = impact.Suppressed
		}
	}
	text, err := release.Encode(a.catalogue, out)
	must(t, err)
	r := impact.Release{
		Key: fmt.Sprint("key", n), Number: n, State: impact.ReleasePublished, Day: impact.NewDate(2026, time.Month(n), 20), Embargo: 0, Vintage: 2026,
		PublishedAt: now().Add(time.Duration(n-10) * time.Hour),
	}
	a.releases, a.units[r.Key] = append(a.releases, r), []*release.Sealed{{Unit: release.Unit{Family: "all", Year: 2025}, Figures: text}}
}

func (w *world) serves(t testing.TB, a *archive) {
	t.Helper()
	w.config.Releases = api.ReleasesOn(release.NewShelf(a, 3))
	h, err := api.New(w.config)
	must(t, err)
	w.server = httptest.NewServer(h)
	t.Cleanup(w.server.Close)
}

func TestReleaseChanges(t *testing.T) {
	w := embedded(t) // the database has no part in it
	a := &archive{catalogue: w.config.Catalogue, units: map[string][]*release.Sealed{}}
	w.serves(t, a)
	refused(t, w.anonymous.get(t, "/v1/releases/latest/changes"), http.StatusNotFound, "not_found")

	const metropole, villeurbanne = "metropole-200046977", "commune-69266"
	a.publish(t, toldCell{"insertion_hours", metropole, "12", 1, release.FirstRelease, "", false}, toldCell{"insertion_hours", villeurbanne, "3", 1, release.FirstRelease, "", false})
	a.publish(t, toldCell{"insertion_hours", metropole, "15.5", 2, release.LateSubmissions, "12", false}, toldCell{"insertion_hours", villeurbanne, "3", 1, release.FirstRelease, "", false},
		toldCell{"waste_collected", metropole, "", 2, release.FirstRelease, "", false})
	a.publish(t, toldCell{"insertion_hours", metropole, "16", 3, release.Corrections, "15.5", false}, toldCell{"insertion_hours", villeurbanne, "", 3, release.DisclosureChange, "3", false},
		toldCell{"waste_collected", metropole, "9", 3, release.DisclosureChange, "", false})
	w.serves(t, a)

	rows := func(a answer) (out []string) {
		t.Helper()
		if a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for _, r := range a.at(t, "/data").([]any) {
			x := r.(map[string]any)
			out = append(out, fmt.Sprint(x["change"], " ", x["indicator"], " ", x["territory"], " ", x["before"], "→", x["after"], x["unit"], " ", x["obs_status"], x["conf_status"], " ", x["cause"]))
		}
		return out
	}
	third := []string{
		"withheld insertion_hours commune-69266 3→<nil>h QC disclosure_control",
		"revised insertion_hours metropole-200046977 15.5→16h AF corrections",
		"disclosed waste_collected metropole-200046977 <nil>→9t AF disclosure_control",
	}
	for path, want := range map[string][]string{
		"/v1/releases/latest/changes": third,
		"/v1/releases/3/changes":      third,
		"/v1/releases/2/changes":      {"revised insertion_hours metropole-200046977 12→15.5h AF late_submissions", "new waste_collected metropole-200046977 <nil>→<nil>t QC first_release"},
		"/v1/releases/1/changes":      {"new insertion_hours commune-69266 <nil>→3h AF first_release", "new insertion_hours metropole-200046977 <nil>→12h AF first_release"},
		"/v1/releases/3/changes?since=1": {
			"withheld insertion_hours commune-69266 3→<nil>h QC disclosure_control", "revised insertion_hours metropole-200046977 12→16h AF several",
			"new waste_collected metropole-200046977 <nil>→9t AF disclosure_control",
		},
		"/v1/releases/3/changes?change=withheld":                          third[:1],
		"/v1/releases/3/changes?indicator=waste_collected":                third[2:],
		"/v1/releases/3/changes?territory=metropole-200046977":            third[1:],
		"/v1/releases/3/changes?impact_type=inclusion":                    nil,
		"/v1/releases/3/changes?territory=commune-69266&change=disclosed": nil,
	} {
		if d := cmp.Diff(want, rows(w.anonymous.get(t, path))); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	first := w.anonymous.get(t, "/v1/releases/1/changes")
	if first.at(t, "/meta/since") != nil || first.at(t, "/meta/release") != "1" || !strings.Contains(first.header.Get("Cache-Control"), "public") {
		t.Errorf("%s %v", first.body, first.header)
	}
	if a := w.anonymous.get(t, "/v1/releases/1/changes", header{"If-None-Match", first.header.Get("ETag")}); a.status != http.StatusNotModified {
		t.Errorf("%d", a.status)
	}
	var paged []string
	next := "/v1/releases/3/changes?limit=1"
	for range 5 {
		a := w.anonymous.get(t, next)
		paged = append(paged, rows(a)...)
		link, more := a.at(t, "/links/next").(string)
		if !more {
			break
		}
		next = path(t, link)
	}
	if d := cmp.Diff(third, paged); d != "" {
		t.Error(d)
	}

	refused(t, w.anonymous.get(t, "/v1/releases/4/changes"), http.StatusNotFound, "not_found")
	refused(t, w.anonymous.get(t, "/v1/releases/key1/changes"), http.StatusNotFound, "not_found")
	refused(t, w.anonymous.get(t, "/v1/releases/2/changes?since=2"), http.StatusBadRequest, "invalid_parameter")
	refused(t, w.anonymous.get(t, "/v1/releases/2/changes?change=moved"), http.StatusBadRequest, "invalid_parameter")
	refused(t, w.anonymous.get(t, "/v1/releases/2/changes?indicator=nothing"), http.StatusUnprocessableEntity, "validation_failed")

	// A release that was withdrawn is compared with nothing; the one before it is
	// what the next one is held against.
	a.releases[1].State, a.releases[1].Successor = impact.ReleaseWithdrawn, 3
	w.serves(t, a)
	gone := w.anonymous.get(t, "/v1/releases/2/changes")
	refused(t, gone, http.StatusGone, "release_withdrawn")
	if a := w.anonymous.get(t, "/v1/releases/3/changes"); a.at(t, "/meta/since") != "1" || a.at(t, "/meta/row_count") != json.Number("3") {
		t.Errorf("%s", a.body)
	}
}

// Counts have years only: their latest period is no quarter.
func TestLatestPeriodOfCounts(t *testing.T) {
	w := embedded(t)
	a := &archive{catalogue: w.config.Catalogue, units: map[string][]*release.Sealed{}}
	a.publish(t, toldCell{"insertion_hours", "metropole-200046977", "3", 1, release.FirstRelease, "", true}, toldCell{"inclusion", "metropole-200046977", "14", 1, release.FirstRelease, "", false})
	w.serves(t, a)
	counts := w.anonymous.get(t, "/v1/aggregates?impact_type=inclusion&group_by=impact_type,territory,period&territory=metropole-200046977&period=latest")
	if counts.at(t, "/data/0/period") != "2025" || counts.at(t, "/data/0/n_organisations") != json.Number("14") {
		t.Errorf("%s", counts.body)
	}
	hours := w.anonymous.get(t, "/v1/aggregates?indicator=insertion_hours&territory=metropole-200046977&period=latest")
	if hours.at(t, "/data/0/period") != "2025-Q4" || hours.at(t, "/data/0/value") != json.Number("3") {
		t.Errorf("%s", hours.body)
	}
}

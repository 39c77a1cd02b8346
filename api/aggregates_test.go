package api_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/docs"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

var _ api.FigureSource = (*calculation.Cube)(nil)

type fact map[string]any

// states writes observations for a caller and has them approved by the steward.
// It gives the consistency token of the last write.
func (w *world) states(t testing.TB, x *caller, facts ...fact) string {
	t.Helper()
	a := x.post(t, "/v1/observations", map[string]any{"observations": facts})
	if a.status >= 300 || !bytes.Contains(a.body, []byte(`"outcome":"succeeded"`)) {
		t.Fatalf("stating: %d %s", a.status, a.body)
	}
	token := a.header.Get("Consistency-Token")
	move := func(by *caller, state, action string) {
		t.Helper()
		for _, s := range x.get(t, "/v1/submissions?state="+state).json(t)["data"].([]any) {
			m := s.(map[string]any)
			a := by.post(t, fmt.Sprintf("/v1/submissions/%s/%s", m["id"], action), nil, header{"If-Match", fmt.Sprintf(`"v%v"`, m["version"])})
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", action, a.status, a.body)
			}
			token = a.header.Get("Consistency-Token")
		}
	}
	move(x, "draft", "submit")
	move(w.steward, "submitted", "approve")
	return token
}

// smallWorld holds what two organisations did in 2025, all approved but the
// third quarter of Atelier (999 hours in Villeurbanne):
//
//	insertion_hours   Villeurbanne (69266)  Q1: Atelier 100.5, Bocage 50   Q2: Atelier 200
//	                  Lyon (69123)          Q1: Atelier 10
//	                  Métropole             Q2: Bocage 5, not localised
//	recovery_rate     Villeurbanne          2025: Atelier (20 + 30 + 10) ÷ 100
//	people served     Villeurbanne          2025: Atelier 40, Bocage 30
func smallWorld(t testing.TB, w *world) (seen header) {
	t.Helper()
	hours := func(territory, period, value string) fact {
		return fact{"indicator": "insertion_hours", "territory": territory, "period": period, "value": json.Number(value), "unit": "h"}
	}
	tonnes := func(indicator, value string) fact {
		return fact{"indicator": indicator, "territory": "commune-69266", "period": "2025", "value": json.Number(value), "unit": "t"}
	}
	w.states(t, w.organisation,
		hours("commune-69266", "2025-Q1", "100.5"), hours("commune-69266", "2025-Q2", "200"), hours("commune-69123", "2025-Q1", "10"),
		tonnes("waste_collected", "100"), tonnes("waste_reused", "20"), tonnes("waste_recycled", "30"), tonnes("waste_energy_recovered", "10"),
		fact{"indicator": "people_newly_served", "territory": "commune-69266", "period": "2025", "value": 40, "unit": "{person}", "counting": "unique"})
	token := w.states(t, w.other,
		hours("commune-69266", "2025-Q1", "50"), hours("metropole-200046977", "2025-Q2", "5"),
		fact{"indicator": "people_newly_served", "territory": "commune-69266", "period": "2025", "value": 30, "unit": "{person}", "counting": "unique"})
	// The year is approved: what is added to it awaits review.
	a := w.organisation.post(t, "/v1/observations", hours("commune-69266", "2025-Q3", "999"))
	if a.status != http.StatusCreated {
		t.Fatalf("a draft: %d %s", a.status, a.body)
	}
	if c := a.header.Get("Consistency-Token"); c != "" {
		token = c
	}
	return header{"Consistency-Token", token}
}

// rows gives the members asked for of each row, in order.
func rows(t testing.TB, a answer, members ...string) []string {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	out := []string{}
	for _, r := range a.json(t)["data"].([]any) {
		var cells []string
		for _, m := range members {
			v, there := r.(map[string]any)[m]
			if !there {
				cells = append(cells, "absent")
				continue
			}
			cells = append(cells, fmt.Sprint(v))
		}
		out = append(out, strings.Join(cells, " "))
	}
	return out
}

func same(t testing.TB, got []string, want ...string) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

const (
	villeurbanne = "territory=commune-69266"
	hours2025    = "/v1/aggregates?indicator=insertion_hours&period=2025&release=live"
)

func TestFiguresAreThoseOfASpreadsheet(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		seen := smallWorld(t, w)
		get := func(q string) answer { t.Helper(); return w.steward.get(t, "/v1/aggregates?release=live&"+q, seen) }

		same(t, rows(t, get("indicator=insertion_hours&period=2025&"+villeurbanne), "indicator", "territory", "period", "value", "unit", "obs_status", "conf_status", "vintage", "n_organisations"),
			fmt.Sprintf("insertion_hours commune-69266 2025 350.5 h A F %d 2", now().Year()))
		same(t, rows(t, get("indicator=insertion_hours&period=2025&territory=metropole-200046977"), "value"), "365.5")
		same(t, rows(t, get("indicator=insertion_hours&period=2025-Q1/2025-Q4&"+villeurbanne), "period", "value"), "2025-Q1 150.5", "2025-Q2 200")
		same(t, rows(t, get("indicator=insertion_hours&period=2025&territory=metropole-200046977&territory_type=commune&totals=territory"), "territory", "value"),
			"commune-69123 10", "commune-69266 350.5", "_T 365.5")
		same(t, rows(t, get("indicator=recovery_rate&period=2025&measures=value,numerator,denominator&"+villeurbanne), "value", "numerator", "denominator"), "0.6 60 100")
		same(t, rows(t, get("indicator=insertion_hours&period=2025&group_by=organisation_class&"+villeurbanne), "organisation_class", "value"), "association 300.5", "company 50")
		same(t, rows(t, get("indicator=insertion_hours&period=2025&organisation_class=company&"+villeurbanne), "value"), "50")
		same(t, rows(t, get("indicator=insertion_hours&period=2025-Q1,2025-Q2&measures=value,change_previous&"+villeurbanne), "value", "change_previous"), "150.5 <nil>", "200 49.5")
		same(t, rows(t, get("indicator=insertion_hours&period=2025&territory=commune-69266,commune-69123&measures=value,share_of_total"), "territory", "share_of_total"),
			"commune-69123 0.027739", "commune-69266 0.972261")
		same(t, rows(t, get("indicator=insertion_hours&period=2025&group_by=indicator&territory=commune-69266,commune-69123"), "value", "territory"), "360.5 absent")
		same(t, rows(t, get("indicator=insertion_hours&period=latest&granularity=quarter&"+villeurbanne), "period", "value"), "2025-Q2 200")
		same(t, rows(t, get("group_by=impact_type,period&impact_type=inclusion&period=2025&"+villeurbanne), "impact_type", "n_organisations", "n_observations", "value"), "inclusion 2 5 absent")

		// What is excluded is counted.
		a := get("indicator=insertion_hours&period=2025&" + villeurbanne)
		excluded := fmt.Sprint(a.at(t, "/meta/excluded"))
		for _, reason := range []string{"observations:1 reason:territory_coarser_than_requested", "observations:1 reason:not_approved"} {
			if !strings.Contains(excluded, reason) {
				t.Errorf("excluded: %s, without %s", excluded, reason)
			}
		}
		if got := a.at(t, "/meta/methodology/insertion_hours"); got == nil || a.at(t, "/meta/disclosure_control/status") != "LIVE" {
			t.Errorf("meta: %v", a.at(t, "/meta"))
		}
		// A submission under review counts for the steward who asks for it.
		same(t, rows(t, get("indicator=insertion_hours&period=2025&state=submitted&"+villeurbanne), "value"), "1349.5")
	})
}

// Figures are cut by what organisations are and by parts of their values.
func TestCutsOfFigures(t *testing.T) {
	w := embedded(t)
	part := func(status, value string) fact {
		return fact{"indicator": "waste_reused", "territory": "commune-69266", "period": "2025", "value": json.Number(value), "unit": "t", "disaggregation": map[string]string{"reuse_status": status}}
	}
	w.states(t, w.organisation, part("avoided_waste", "12"), part("prepared_for_reuse", "8"))
	seen := header{"Consistency-Token", w.states(t, w.other, part("avoided_waste", "1.5"))}
	get := func(q string) answer {
		t.Helper()
		return w.steward.get(t, "/v1/aggregates?release=live&indicator=waste_reused&period=2025&"+villeurbanne+"&"+q, seen)
	}
	same(t, rows(t, get(""), "value"), "21.5")
	same(t, rows(t, get("group_by=disaggregation.reuse_status"), "disaggregation", "value"), "map[reuse_status:avoided_waste] 13.5", "map[reuse_status:prepared_for_reuse] 8")
	same(t, rows(t, get("disaggregation.reuse_status=avoided_waste"), "value"), "13.5")
	same(t, rows(t, get("disaggregation.reuse_status=ne:avoided_waste"), "value"), "8")
	same(t, rows(t, get("disaggregation.reuse_status=avoided_waste&disaggregation.reuse_status=prepared_for_reuse"), "value"))
	same(t, rows(t, get("group_by=structure_kind&include_empty=true"), "structure_kind", "value"), "<nil> 1.5", "ACI 20")
	same(t, rows(t, get("size_class=medium&group_by=size_class"), "size_class", "value"), "medium 1.5")
	byOrganisation := rows(t, get("group_by=organisation&order_by=-value"), "organisation", "value")
	same(t, byOrganisation, string(w.atelier.ID)+" 20", string(w.bocage.ID)+" 1.5")
	table := w.steward.get(t, "/v1/aggregates.csv?release=live&indicator=waste_reused&period=2025&group_by=disaggregation.reuse_status&measures=value&labels=en&"+villeurbanne, seen)
	if !bytes.HasPrefix(table.body, []byte("disaggregation.reuse_status,disaggregation.reuse_status_label,value,unit,")) {
		t.Errorf("%s", table.body)
	}
}

// Values that differ by a qualifier never meet: each figure says what it shares,
// and has its own explanation.
func TestFiguresKeptApartByAQualifier(t *testing.T) {
	w := embedded(t)
	local := func(territory, scope, value string) fact {
		return fact{"indicator": "purchases_local", "territory": territory, "period": "2025", "value": json.Number(value), "unit": "EUR", "qualifiers": map[string]string{"local_scope": scope}}
	}
	w.states(t, w.organisation, local("commune-69266", "metropole", "1000"))
	seen := header{"Consistency-Token", w.states(t, w.other, local("commune-69266", "region", "2500"))}
	q := "/v1/aggregates?release=live&indicator=purchases_local&period=2025&" + villeurbanne
	a := w.steward.get(t, q, seen)
	same(t, rows(t, a, "qualifiers", "value"), "local_scope=metropole 1000", "local_scope=region 2500")
	for i, want := range []string{"1000", "2500"} {
		x := w.steward.get(t, a.at(t, fmt.Sprintf("/data/%d/links/explain", i)).(string), seen)
		if got := fmt.Sprint(x.at(t, "/cell/value")); x.status != http.StatusOK || got != want {
			t.Errorf("%d, value %s, want %s: %s", x.status, got, want, x.body)
		}
	}
	same(t, rows(t, w.steward.get(t, q+"&qualifiers=local_scope%3Dregion", seen), "value"), "2500")
	refused(t, w.steward.get(t, strings.Replace(q, "aggregates?", "aggregates/explain?", 1), seen), http.StatusUnprocessableEntity, "not_one_cell")
}

// What was stated for Pierre-Bénite in 2023 counts in Oullins-Pierre-Bénite in
// vintage 2024, in Pierre-Bénite in vintage 2023, and once in the Métropole in both.
func TestVintages(t *testing.T) {
	w := embedded(t)
	hours := func(territory, value string) fact {
		return fact{"indicator": "insertion_hours", "territory": territory, "period": "2023", "value": json.Number(value), "unit": "h"}
	}
	seen := header{"Consistency-Token", w.states(t, w.organisation, hours("commune-69152", "70"), hours("commune-69149", "30"))}
	get := func(q string) answer {
		t.Helper()
		return w.steward.get(t, "/v1/aggregates?release=live&indicator=insertion_hours&period=2023&"+q, seen)
	}
	same(t, rows(t, get("territory=commune-69149&vintage=2024"), "territory", "value", "vintage"), "commune-69149 100 2024")
	same(t, rows(t, get("territory=commune-69149,commune-69152&vintage=2023"), "territory", "value"), "commune-69149 30", "commune-69152 70")
	for _, vintage := range []string{"2023", "2024", "2026"} {
		same(t, rows(t, get("territory=metropole-200046977&vintage="+vintage), "value"), "100")
	}
	// A year that straddles quarters is excluded and counted, or shared by days on request.
	a := get("territory=metropole-200046977&granularity=quarter&include_empty=true")
	same(t, rows(t, a, "period", "value"), "2023-Q1 <nil>", "2023-Q2 <nil>", "2023-Q3 <nil>", "2023-Q4 <nil>")
	if got := fmt.Sprint(a.at(t, "/meta/excluded")); !strings.Contains(got, "period_straddles_bucket") {
		t.Errorf("excluded: %s", got)
	}
	same(t, rows(t, get("territory=metropole-200046977&granularity=quarter&split=prorata_days&order_by=-value&limit=1"), "period", "obs_status", "note"), "2023-Q3 E prorata")
}

func TestKindsThatDoNotAddUp(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	refused(t, w.steward.get(t, "/v1/aggregates?release=live&indicator=people_newly_served&period=2025&"+villeurbanne, seen), http.StatusUnprocessableEntity, "not_additive")
	same(t, rows(t, w.steward.get(t, "/v1/aggregates?release=live&indicator=people_newly_served&period=2025&allow_bounds=true&"+villeurbanne, seen), "value", "obs_status", "note", "lower_bound", "upper_bound"),
		"70 E upper_bound 40 70")
	// A broad question shows them without value instead of failing.
	broad := w.steward.get(t, "/v1/aggregates?release=live&impact_type=inclusion&period=2025&"+villeurbanne, seen)
	if got := rows(t, broad, "indicator", "value", "not_additive_over"); !slices.Contains(got, "people_newly_served <nil> organisation") || !slices.Contains(got, "insertion_hours 350.5 absent") {
		t.Errorf("%v", got)
	}
}

func TestWhoMayAskForLiveFigures(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	own, others := string(w.atelier.ID), string(w.bocage.ID)
	for _, path := range []string{"/v1/aggregates?", "/v1/aggregates/availability?", "/v1/aggregates/explain?", "/v1/aggregates/estimate?"} {
		q := path + "indicator=insertion_hours&period=2025&release=live&" + villeurbanne
		a := w.anonymous.get(t, q)
		refused(t, a, http.StatusUnauthorized, "missing_token")
		if !strings.Contains(fmt.Sprint(a.json(t)["detail"]), "release") {
			t.Errorf("%s does not say why: %s", path, a.body)
		}
		refused(t, w.buyer.get(t, q), http.StatusForbidden, "insufficient_scope")
		refused(t, w.administrator.get(t, q), http.StatusForbidden, "insufficient_scope")
		refused(t, w.organisation.get(t, q), http.StatusForbidden, "not_mandated")
		refused(t, w.organisation.get(t, q+"&organisation="+others), http.StatusForbidden, "not_mandated")
		refused(t, w.organisation.get(t, q+"&organisation=siren:552100554"), http.StatusForbidden, "not_mandated")
		for _, yes := range []answer{w.organisation.get(t, q+"&organisation="+own, seen), w.organisation.get(t, q+"&organisation=siren:732829320", seen), w.steward.get(t, q, seen), w.steward.get(t, q+"&organisation="+others, seen)} {
			if yes.status != http.StatusOK || yes.header.Get("Cache-Control") != "private, no-store" {
				t.Errorf("%s: %d %s", path, yes.status, yes.body)
			}
		}
	}
	// An organisation sees its part, drafts included, and the steward no draft.
	q := hours2025 + "&" + villeurbanne
	same(t, rows(t, w.organisation.get(t, q+"&organisation="+own, seen), "value", "n_organisations"), "300.5 1")
	same(t, rows(t, w.organisation.get(t, q+"&state=draft&organisation="+own, seen), "value"), "1299.5")
	same(t, rows(t, w.other.get(t, q+"&organisation="+others, seen), "value"), "50")
	refused(t, w.steward.get(t, q+"&state=draft"), http.StatusForbidden, "not_mandated")
	refused(t, w.steward.get(t, q+"&organisation=siren:999999999"), http.StatusUnprocessableEntity, "validation_failed")

	// No release exists: it is said, not guessed, to everyone alike.
	noRelease := strings.Replace(q, "&release=live", "", 1)
	for _, x := range w.callers() {
		refused(t, x.get(t, noRelease), http.StatusNotFound, "not_found")
		refused(t, x.get(t, noRelease+"&release=latest"), http.StatusNotFound, "not_found")
		refused(t, x.get(t, noRelease+"&release=7"), http.StatusNotFound, "not_found")
		refused(t, x.get(t, noRelease+"&as_of=2026-03-31T00:00:00Z"), http.StatusNotFound, "not_found")
	}
	refused(t, w.steward.get(t, noRelease+"&release=2026-11-22"), http.StatusBadRequest, "invalid_parameter")
	refused(t, w.steward.get(t, noRelease+"&release=live&release=latest"), http.StatusBadRequest, "conflicting_parameters")
	refused(t, w.anonymous.get(t, noRelease+"&release=live,latest"), http.StatusBadRequest, "conflicting_parameters")
	refused(t, w.steward.get(t, noRelease+"&release=latest&as_of=2026-03-31T00:00:00Z"), http.StatusBadRequest, "conflicting_parameters")
	refused(t, w.steward.get(t, q+"&as_of=2026-03-31T00:00:00Z"), http.StatusUnprocessableEntity, "validation_failed")
}

// One query, any format: same rows, same numbers, same statuses.
func TestFormatsHoldTheSameRows(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	q := "indicator=insertion_hours,recovery_rate,people_newly_served&period=2025-Q1,2025-Q2,2025&territory=metropole-200046977,commune-69266,commune-69123&allow_bounds=true&include_empty=true&release=live"
	page := w.steward.get(t, "/v1/aggregates?"+q, seen)
	var want []map[string]any
	for _, r := range page.json(t)["data"].([]any) {
		m := r.(map[string]any)
		delete(m, "links")
		want = append(want, m)
	}
	if len(want) < 20 {
		t.Fatalf("%d rows", len(want))
	}
	lines := w.steward.get(t, "/v1/aggregates.ndjson?"+q, seen)
	var ndjson []map[string]any
	for line := range strings.Lines(string(lines.body)) {
		var m map[string]any
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		must(t, d.Decode(&m))
		delete(m, "links")
		ndjson = append(ndjson, m)
	}
	if d := cmp.Diff(want, ndjson); d != "" {
		t.Errorf("NDJSON differs: %s", d)
	}
	flat := func(a answer, separator rune, comma bool) []map[string]any {
		t.Helper()
		r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(a.body), "\uFEFF")))
		r.Comma = separator
		records, err := r.ReadAll()
		must(t, err)
		var out []map[string]any
		for i, record := range records[1:] {
			m := map[string]any{}
			for k, v := range record {
				name := records[0][k]
				ref, there := want[i][name]
				switch {
				case strings.HasSuffix(name, "_label"):
				case v == "" && !there:
				case v == "":
					m[name] = nil
				default:
					if _, isNumber := ref.(json.Number); isNumber {
						if comma {
							v = strings.Replace(v, ",", ".", 1)
						}
						m[name] = json.Number(v)
					} else {
						m[name] = v
					}
				}
			}
			out = append(out, m)
		}
		return out
	}
	english := w.steward.get(t, "/v1/aggregates.csv?"+q, seen)
	if d := cmp.Diff(want, flat(english, ',', false)); d != "" {
		t.Errorf("CSV differs: %s", d)
	}
	french := w.steward.get(t, "/v1/aggregates?"+q, seen, header{"Accept", "text/csv; dialect=fr"})
	if !bytes.HasPrefix(french.body, []byte("\uFEFFindicator;indicator_label;territory;territory_label;")) || !bytes.Contains(french.body, []byte("150,5")) {
		t.Errorf("French CSV: %.200s", french.body)
	}
	if d := cmp.Diff(want, flat(french, ';', true)); d != "" {
		t.Errorf("French CSV differs: %s", d)
	}
	for _, suffix := range everySuffix {
		sameTable(t, suffix, english.body, w.steward.get(t, "/v1/aggregates"+suffix+"?"+q, seen))
	}
	refused(t, w.steward.get(t, "/v1/aggregates.ttl?"+q), http.StatusNotAcceptable, "not_acceptable")
	refused(t, w.steward.get(t, "/v1/aggregates.geojson?"+q+"&group_by=indicator,period"), http.StatusUnprocessableEntity, "validation_failed")
}

// The same query as a body gives the same rows, and names the GET it stands for.
func TestQueryInABody(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	get := w.steward.get(t, "/v1/aggregates?indicator=insertion_hours&territory=metropole-200046977&territory_type=commune&period=2025-Q1/2025-Q2&value=ge:100&release=live", seen)
	post := w.steward.post(t, "/v1/aggregates/query", map[string]any{
		"indicator": []string{"insertion_hours"}, "territory": map[string]any{"in": []string{"metropole-200046977"}, "type": "commune"},
		"period": map[string]any{"range": "2025-Q1/2025-Q2"}, "filters": []any{map[string]any{"field": "value", "op": "ge", "value": 100}}, "release": "live",
	}, seen)
	same(t, rows(t, get, "territory", "period", "value"), "commune-69266 2025-Q1 150.5", "commune-69266 2025-Q2 200")
	if d := cmp.Diff(get.json(t)["data"], post.json(t)["data"]); d != "" {
		t.Error(d)
	}
	// The normalised query of the answer is itself a body, and a GET.
	again := w.steward.post(t, "/v1/aggregates/query", get.at(t, "/meta/query"), seen)
	if d := cmp.Diff(get.json(t)["data"], again.json(t)["data"]); d != "" {
		t.Error(d)
	}
	location := strings.TrimPrefix(post.header.Get("Content-Location"), publicURL)
	if d := cmp.Diff(get.json(t)["data"], w.steward.get(t, location, seen).json(t)["data"]); d != "" {
		t.Error(d)
	}
	refused(t, w.steward.post(t, "/v1/aggregates/query", `{"territory":`), http.StatusBadRequest, "malformed_body")
	a := w.steward.post(t, "/v1/aggregates/query", `{"teritory":{"in":["commune-69266"]},"period":{"in":["2025"]}}`)
	refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
	if a.at(t, "/errors/0/pointer") == nil {
		t.Errorf("no pointer: %s", a.body)
	}
	// Pages are asked for in the body, and followed by GET.
	body := get.at(t, "/meta/query").(map[string]any)
	body["limit"] = 1
	first := w.steward.post(t, "/v1/aggregates/query", body, seen)
	same(t, rows(t, first, "period"), "2025-Q1")
	next := strings.TrimPrefix(first.at(t, "/links/next").(string), publicURL)
	same(t, rows(t, w.steward.get(t, next, seen), "period"), "2025-Q2")
	cursor, err := url.ParseQuery(next[strings.Index(next, "?")+1:])
	must(t, err)
	body["cursor"] = cursor.Get("cursor")
	same(t, rows(t, w.steward.post(t, "/v1/aggregates/query", body, seen), "period"), "2025-Q2")
	delete(body, "cursor")
	body["limit"] = 20000
	refused(t, w.steward.post(t, "/v1/aggregates/query", body), http.StatusUnprocessableEntity, "validation_failed")
	delete(body, "limit")
	csvAnswer := w.steward.post(t, "/v1/aggregates/query.csv", get.at(t, "/meta/query"), seen)
	if csvAnswer.status != http.StatusOK || !bytes.HasPrefix(csvAnswer.body, []byte("indicator,territory,period,value,unit,")) {
		t.Errorf("%d %s", csvAnswer.status, csvAnswer.body)
	}
}

// Pages follow each other without a hole when rows come and go between them.
func TestPagesOfFigures(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	for _, order := range []string{"", "&order_by=-value", "&order_by=value,-territory", "&order_by=n_organisations"} {
		q := "/v1/aggregates?indicator=insertion_hours,waste_collected,recovery_rate&territory=metropole-200046977,commune-69266,commune-69123&period=2025-Q1,2025-Q2,2025&include_empty=true&totals=territory&release=live" + order
		whole := rows(t, w.steward.get(t, q, seen), "indicator", "territory", "period", "value")
		var got []string
		next, pages := q+"&limit=5", 0
		for next != "" {
			a := w.steward.get(t, next, seen)
			got = append(got, rows(t, a, "indicator", "territory", "period", "value")...)
			link, _ := a.at(t, "/links/next").(string)
			if (link != "") != (a.at(t, "/meta/truncated") == true) || (link != "") != (a.header.Get("Link") != "") {
				t.Errorf("next, truncated and Link disagree: %s", a.body)
			}
			next = strings.TrimPrefix(link, publicURL)
			if pages++; pages > 20 {
				t.Fatal("pages without end")
			}
		}
		if d := cmp.Diff(whole, got); d != "" || pages < 5 {
			t.Errorf("%s in %d pages: %s", order, pages, d)
		}
	}
	q := "/v1/aggregates?indicator=insertion_hours&territory=metropole-200046977,commune-69266,commune-69123&period=2025&release=live&limit=1"
	next := strings.TrimPrefix(w.steward.get(t, q, seen).at(t, "/links/next").(string), publicURL)
	refused(t, w.steward.get(t, strings.Replace(next, "period=2025", "period=2024", 1)), http.StatusBadRequest, "cursor_mismatch")
	refused(t, w.steward.get(t, q+"&cursor=AAAA"), http.StatusBadRequest, "invalid_cursor")
	refused(t, w.steward.get(t, q+"0001"), http.StatusBadRequest, "invalid_parameter")
}

// A 304 is decided before anything is computed; it ends when a fact of the
// query moves, and only then.
func TestLiveFiguresRevalidate(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		seen := smallWorld(t, w)
		q := hours2025 + "&" + villeurbanne
		first := w.steward.get(t, q, seen)
		tag := first.header.Get("ETag")
		if !strings.HasPrefix(tag, `W/"live-`) {
			t.Fatalf("ETag %q", tag)
		}
		again := w.steward.get(t, q, seen, header{"If-None-Match", tag})
		if again.status != http.StatusNotModified || len(again.body) > 0 {
			t.Errorf("%d %s", again.status, again.body)
		}
		for name, other := range map[string]answer{
			"another caller":   w.organisation.get(t, q+"&organisation="+string(w.atelier.ID), seen, header{"If-None-Match", tag}),
			"another format":   w.steward.get(t, strings.Replace(q, "aggregates?", "aggregates.csv?", 1), seen, header{"If-None-Match", tag}),
			"another language": w.steward.get(t, q, seen, header{"If-None-Match", tag}, header{"Accept-Language", "en"}),
			"another query":    w.steward.get(t, q+"&vintage=2025", seen, header{"If-None-Match", tag}),
		} {
			if other.status != http.StatusOK {
				t.Errorf("%s: %d", name, other.status)
			}
		}
		// A write is in the next live answer that carries its token.
		token := w.states(t, w.other, fact{"indicator": "insertion_hours", "territory": "commune-69266", "period": "2025-Q1", "value": 70, "unit": "h"})
		after := w.steward.get(t, q, header{"Consistency-Token", token}, header{"If-None-Match", tag})
		same(t, rows(t, after, "value"), "370.5")
		refused(t, w.steward.get(t, q, header{"Consistency-Token", "soon"}), http.StatusBadRequest, "invalid_header")
		head := w.steward.do(t, http.MethodHead, q, nil, seen)
		if head.status != http.StatusOK || head.header.Get("ETag") == "" {
			t.Errorf("HEAD: %d %v", head.status, head.header)
		}
	})
}

func TestEachReadingByAStewardIsLogged(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	q := url.Values{"indicator": {"insertion_hours"}}.Encode() + "&period=2025&release=live&" + villeurbanne
	var lines []string
	w.watchAccess(t, &lines)
	w.steward.get(t, "/v1/aggregates?"+q, seen)
	w.steward.get(t, "/v1/aggregates/explain?organisation="+string(w.bocage.ID)+"&"+q, seen)
	w.steward.get(t, "/v1/aggregates/availability?"+q, seen)
	w.organisation.get(t, "/v1/aggregates?organisation="+string(w.atelier.ID)+"&"+q, seen)
	same(t, lines,
		"GET /v1/aggregates ", "GET /v1/aggregates/explain "+string(w.bocage.ID), "GET /v1/aggregates/availability ")
}

func TestExplanationsAddUp(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	row := w.steward.get(t, hours2025+"&"+villeurbanne, seen)
	link, ok := row.at(t, "/data/0/links/explain").(string)
	if !ok {
		t.Fatalf("no link: %s", row.body)
	}
	a := w.steward.get(t, link, seen)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got := fmt.Sprintf("%v %v %v %v", a.at(t, "/cell/value"), a.at(t, "/cell/n_organisations"), a.at(t, "/measure_kind"), a.at(t, "/inputs/0/value")); got != "350.5 2 flow 350.5" {
		t.Errorf("%s", got)
	}
	sums := map[string]bool{}
	for _, c := range a.json(t)["contributors"].([]any) {
		m := c.(map[string]any)
		sums[fmt.Sprint(m["organisation"], " ", m["period"], " ", m["counted"])] = true
		o := w.steward.get(t, "/v1/observations/"+m["observation"].(string))
		if o.status != http.StatusOK || fmt.Sprint(o.json(t)["value"]) != fmt.Sprint(m["value"]) {
			t.Errorf("the observation behind: %d %s", o.status, o.body)
		}
	}
	want := map[string]bool{string(w.atelier.ID) + " 2025-Q1 100.5": true, string(w.atelier.ID) + " 2025-Q2 200": true, string(w.bocage.ID) + " 2025-Q1 50": true}
	if d := cmp.Diff(want, sums); d != "" {
		t.Error(d)
	}
	if a.at(t, "/rules/organisations/fr") == nil || a.at(t, "/formula/fr") == "" || a.at(t, "/formula/en") == "" {
		t.Errorf("%s", a.body)
	}

	// An organisation sees its own contributions and no other.
	mine := w.organisation.get(t, "/v1/aggregates/explain?indicator=insertion_hours&period=2025&release=live&organisation="+string(w.atelier.ID)+"&"+villeurbanne, seen)
	if mine.status != http.StatusOK || bytes.Contains(mine.body, []byte(w.bocage.ID)) {
		t.Errorf("%d %s", mine.status, mine.body)
	}
	rate := w.steward.get(t, "/v1/aggregates/explain?indicator=recovery_rate&period=2025&release=live&"+villeurbanne, seen)
	if got := rate.at(t, "/formula/machine"); got == nil || len(rate.json(t)["inputs"].([]any)) != 4 {
		t.Errorf("%s", rate.body)
	}
	for _, q := range []string{
		"indicator=insertion_hours,waste_collected&period=2025&" + villeurbanne, "indicator=insertion_hours&period=2024/2025&" + villeurbanne,
		"indicator=insertion_hours&period=2025&territory=commune-69266,commune-69123",
	} {
		refused(t, w.steward.get(t, "/v1/aggregates/explain?release=live&"+q, seen), http.StatusUnprocessableEntity, "not_one_cell")
	}
}

func TestWhatCanStillBeAsked(t *testing.T) {
	w := embedded(t)
	seen := smallWorld(t, w)
	exact := w.steward.get(t, "/v1/aggregates/availability?indicator=insertion_hours&release=live&"+villeurbanne, seen)
	d := func(a answer, name string) string { t.Helper(); return fmt.Sprint(a.at(t, "/dimensions/"+name)) }
	if got := d(exact, "indicator"); got != "[insertion_hours]" {
		t.Error(got)
	}
	if got := d(exact, "period"); got != "[2025-Q1 2025-Q2]" {
		t.Error(got)
	}
	if got := d(exact, "organisation_class"); got != "[association company]" {
		t.Error(got)
	}
	wide := w.steward.get(t, "/v1/aggregates/availability?mode=available&indicator=insertion_hours&release=live&"+villeurbanne, seen)
	if got := d(wide, "indicator"); !strings.Contains(got, "waste_collected") || !strings.Contains(got, "recovery_rate") {
		t.Error(got)
	}
	if got := d(wide, "territory"); !strings.Contains(got, "commune-69123") || !strings.Contains(got, "region-84") {
		t.Error(got)
	}
	if nothing := w.steward.get(t, "/v1/aggregates/availability?period=2019&release=live", seen); nothing.at(t, "/from") != nil || nothing.status != http.StatusOK {
		t.Errorf("%d %s", nothing.status, nothing.body)
	}
	refused(t, w.steward.get(t, "/v1/aggregates/availability?mode=all&release=live"), http.StatusBadRequest, "invalid_parameter")

	estimate := w.steward.get(t, "/v1/aggregates/estimate?territory=metropole-200046977&territory_type=commune&period=2016/2025&indicator=insertion_hours&release=live", seen)
	if got := fmt.Sprintf("%v %v %v", estimate.at(t, "/rows"), estimate.at(t, "/cells"), estimate.at(t, "/fits")); got != "580 580 true" {
		t.Error(got)
	}
	huge := "territory=metropole-200046977&territory_type=commune&period=2000/2026&granularity=month&release=live&group_by=indicator,territory,period,structure_kind"
	if got := w.steward.get(t, "/v1/aggregates/estimate?"+huge, seen); got.at(t, "/fits") != false {
		t.Errorf("%s", got.body)
	}
	refused(t, w.steward.get(t, "/v1/aggregates?"+huge, seen), http.StatusUnprocessableEntity, "result_too_large")
	refused(t, w.steward.get(t, "/v1/aggregates?territory=metropole-200046977&territory_type=commune&period=2020/2026&granularity=month&include_empty=true&release=live", seen), http.StatusUnprocessableEntity, "result_too_large")
}

func TestParametersOfFiguresAreRefusedByName(t *testing.T) {
	w := embedded(t)
	a := w.steward.get(t, hours2025+"&teritory=commune-69266")
	refused(t, a, http.StatusBadRequest, "unknown_parameter")
	if a.at(t, "/errors/0/suggestion") != "territory" {
		t.Errorf("%s", a.body)
	}
	a = w.steward.get(t, "/v1/aggregates?indicator=heure_insertion&territory=69003&period=2025&release=live", header{"Accept-Language", "en"})
	refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
	if len(a.json(t)["errors"].([]any)) < 1 || a.at(t, "/errors/0/parameter") == nil {
		t.Errorf("%s", a.body)
	}
	refused(t, w.steward.get(t, hours2025), http.StatusBadRequest, "missing_parameter")
	refused(t, w.steward.get(t, hours2025+"&"+villeurbanne+"&limit=0"), http.StatusBadRequest, "invalid_parameter")
	// A retired commune is read in the vintage, with a warning.
	a = w.steward.get(t, hours2025+"&territory=commune-69152&include_empty=true")
	if a.at(t, "/meta/warnings/0/code") != "retired_territory" || a.at(t, "/data/0/territory") != "commune-69149" {
		t.Errorf("%d %s", a.status, a.body)
	}
	labelled := w.steward.get(t, hours2025+"&"+villeurbanne+"&include_empty=true&labels=both")
	same(t, rows(t, labelled, "obs_status", "value"), "O <nil>")
	if labelled.at(t, "/data/0/labels/territory/fr") != "Villeurbanne" || labelled.at(t, "/data/0/labels/indicator/en") == nil {
		t.Errorf("%s", labelled.body)
	}
	table := w.steward.get(t, strings.Replace(hours2025, "aggregates?", "aggregates.csv?", 1)+"&"+villeurbanne+"&include_empty=true&labels=fr")
	if !bytes.HasPrefix(table.body, []byte("indicator,indicator_label,territory,territory_label,period,value,")) {
		t.Errorf("%s", table.body)
	}
}

// watchAccess copies what is logged from now on: action and organisation.
func (w *world) watchAccess(t testing.TB, lines *[]string) {
	t.Helper()
	w.config.AccessLog = accessBook{w.config.AccessLog, lines}
	handler, err := api.New(w.config)
	must(t, err)
	w.server.Config.Handler = handler
}

type accessBook struct {
	api.AccessLogger
	lines *[]string
}

func (b accessBook) LogAccess(ctx context.Context, lines ...impact.Access) error {
	for _, l := range lines {
		*b.lines = append(*b.lines, l.Action+" "+string(l.Organisation))
	}
	return b.AccessLogger.LogAccess(ctx, lines...)
}

// The contract names each disaggregation some indicator has.
func TestDisaggregationsAreInTheContract(t *testing.T) {
	reference, err := codelist.Load()
	must(t, err)
	for _, i := range reference.Indicators {
		for _, d := range i.Disaggregations {
			for _, member := range []string{`"name": "disaggregation.` + d + `"`, `"disaggregation.` + d + `": {`} {
				if !bytes.Contains(docs.OpenAPIJSON, []byte(member)) {
					t.Errorf("%s of %s is not in the contract: %s", d, i.Code, member)
				}
			}
		}
	}
}

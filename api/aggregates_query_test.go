package api

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

func reference(t testing.TB) *impact.Catalogue {
	t.Helper()
	ref, err := codelist.Load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := impact.NewCatalogue(ref)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// today is a day of the world of these tests.
var today = impact.NewDate(2026, 11, 25)

func reader(c *impact.Catalogue, inBody bool) aggregateReader {
	return aggregateReader{
		catalogue: c, today: today, inBody: inBody,
		latest: func(_ *aggregateQuery, g impact.Granularity) (impact.Period, bool) {
			p := impact.YearPeriod(2025)
			if g == impact.Quarter {
				p.Start = impact.NewDate(2025, 10, 1)
			}
			return p, true
		},
	}
}

func readGet(c *impact.Catalogue, raw string) (*aggregateQuery, error) {
	q, err := parseQuery(raw, append(strings.Fields(aggregateParams), "limit", "cursor"))
	if err != nil {
		return nil, err
	}
	cs, faults := criteriaOfQuery(q)
	return reader(c, false).read(cs, faults)
}

func readPost(c *impact.Catalogue, body string) (*aggregateQuery, error) {
	cs, faults, err := criteriaOfBody([]byte(body))
	if err != nil {
		return nil, err
	}
	return reader(c, true).read(cs, faults)
}

func TestOneQueryHasOneSpelling(t *testing.T) {
	c := reference(t)
	for name, tc := range map[string]struct{ raw, want string }{
		"defaults are written": {
			"territory=commune-69266&period=2025",
			"territory=commune-69266&vintage=2026&period=2025&granularity=year&group_by=indicator,territory,period&measures=value,n_organisations,coverage&state=approved",
		},
		"values are sorted, ids canonical, case forgotten": {
			"indicator=waste_reused,insertion_hours,waste_reused&territory=Commune-69266,METROPOLE-200046977&period=2025&release=live",
			"indicator=insertion_hours,waste_reused&territory=commune-69266,metropole-200046977&vintage=2026&period=2025&granularity=year&group_by=indicator,territory,period&measures=value,n_organisations,coverage&release=live&state=approved",
		},
		"a range is cut into buckets, which are written as one range": {
			"territory=commune-69266&period=2024/2025&granularity=quarter",
			"territory=commune-69266&vintage=2026&period=2024-Q1/2025-Q4&granularity=quarter&group_by=indicator,territory,period&measures=value,n_organisations,coverage&state=approved",
		},
		"relative periods are resolved": {
			"territory=commune-69266&period=last:4Q",
			"territory=commune-69266&vintage=2026&period=2025-Q4/2026-Q3&granularity=quarter&group_by=indicator,territory,period&measures=value,n_organisations,coverage&state=approved",
		},
		"latest is the latest with a value": {
			"territory=commune-69266&period=latest&granularity=quarter",
			"territory=commune-69266&vintage=2026&period=2025-Q4&granularity=quarter&group_by=indicator,territory,period&measures=value,n_organisations,coverage&state=approved",
		},
		"a repeated parameter must hold as well": {
			"indicator=waste_reused,waste_recycled&indicator=waste_recycled,insertion_hours&territory=commune-69266&period=2025",
			"indicator=insertion_hours,waste_recycled&indicator=waste_recycled,waste_reused&territory=commune-69266&vintage=2026&period=2025&granularity=year&group_by=indicator,territory,period&measures=value,n_organisations,coverage&state=approved",
		},
		"cuts, conditions, order and switches": {
			"indicator=waste_reused&territory=metropole-200046977&territory_type=commune&period=2025&structure_kind=EI,ACI&disaggregation.reuse_status=avoided_waste" +
				"&value=ge:100&value=lt:1e3&n_organisations=gt:4,eq:1&order_by=-value,territory&totals=territory&include_empty=true&labels=both&allow_bounds=true&split=prorata_days&state=submitted",
			"indicator=waste_reused&territory=metropole-200046977&territory_type=commune&vintage=2026&period=2025&granularity=year&group_by=indicator,territory,period" +
				"&structure_kind=ACI,EI&disaggregation.reuse_status=avoided_waste&measures=value,n_organisations,coverage&value=ge:100&value=lt:1000&n_organisations=gt:4,eq:1" +
				"&order_by=-value,territory&state=submitted&totals=territory&split=prorata_days&include_empty=true&allow_bounds=true&labels=both",
		},
		"a retired commune is read in the vintage asked for": {
			"territory=commune-69152&period=2023&vintage=2024",
			"territory=commune-69149&vintage=2024&period=2023&granularity=year&group_by=indicator,territory,period&measures=value,n_organisations,coverage&state=approved",
		},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := readGet(c, tc.raw)
			if err != nil {
				t.Fatal(err)
			}
			got := queryString(q.normalised())
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Fatal(d)
			}
			again, err := readGet(c, got)
			if err != nil {
				t.Fatalf("the canonical form is refused: %v", err)
			}
			if d := cmp.Diff(got, queryString(again.normalised())); d != "" {
				t.Errorf("the canonical form has another: %s", d)
			}
			body := string(queryBody(q.normalised()))
			posted, err := readPost(c, body)
			if err != nil {
				t.Fatalf("the body %s is refused: %v", body, err)
			}
			if d := cmp.Diff(got, queryString(posted.normalised())); d != "" {
				t.Errorf("the body %s means something else: %s", body, d)
			}
		})
	}
}

func TestBodyMeansTheSameAsParameters(t *testing.T) {
	c := reference(t)
	body := `{"indicator":["insertion_hours"],"group_by":["indicator","period"],"territory":{"in":["metropole-200046977"],"type":"commune"},
		"period":{"range":"2023/2025","granularity":"quarter"},"filters":[{"field":"value","op":"ge","value":100},{"field":"n_organisations","value":"gt:4"}],
		"vintage":2025,"include_empty":true,"release":"live"}`
	q, err := readPost(c, body)
	if err != nil {
		t.Fatal(err)
	}
	want := "indicator=insertion_hours&territory=metropole-200046977&territory_type=commune&vintage=2025&period=2023-Q1/2025-Q4&granularity=quarter&group_by=indicator,period" +
		"&measures=value,n_organisations,coverage&value=ge:100&n_organisations=gt:4&release=live&state=approved&include_empty=true"
	if d := cmp.Diff(want, queryString(q.normalised())); d != "" {
		t.Error(d)
	}
}

func TestSelections(t *testing.T) {
	c := reference(t)
	codes := func(q *aggregateQuery) []string {
		var out []string
		for _, i := range q.indicators {
			out = append(out, string(i.Code))
		}
		slices.Sort(out)
		return out
	}
	places := func(q *aggregateQuery) []string {
		var out []string
		for _, p := range q.territories {
			out = append(out, string(p.ID))
		}
		return out
	}
	read := func(raw string) *aggregateQuery {
		t.Helper()
		q, err := readGet(c, raw+"&territory=commune-69266&period=2025")
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		return q
	}
	if got := codes(read("indicator=sw:waste_")); !slices.Contains(got, "waste_reused") || slices.ContainsFunc(got, func(s string) bool { return !strings.HasPrefix(s, "waste_") }) {
		t.Errorf("sw: gives %v", got)
	}
	if got, all := codes(read("indicator=ne:waste_reused")), codes(read("")); len(got) != len(all)-1 || slices.Contains(got, "waste_reused") {
		t.Errorf("ne: gives %d of %d", len(got), len(all))
	}
	if got := codes(read("indicator=waste_reused,waste_recycled&indicator=waste_recycled")); !slices.Equal(got, []string{"waste_recycled"}) {
		t.Errorf("AND gives %v", got)
	}
	whole, alone, sub := codes(read("impact_type=inclusion")), codes(read("impact_type=inclusion.insertion")), read("impact_type=inclusion.insertion!")
	if len(whole) <= len(alone) || !slices.Contains(whole, "insertion_hours") || !slices.Equal(codes(sub), alone) {
		t.Errorf("a nature of impact with its sub-types: %v, one sub-type: %v, that one only: %v", whole, alone, codes(sub))
	}
	if _, err := readGet(c, "impact_type=inclusion!&territory=commune-69266&period=2025"); err == nil {
		t.Error("no indicator has the first level itself as its type, and the query is accepted")
	}
	if got := codes(read("impact_type=inclusion&indicator=insertion_hours,waste_reused")); !slices.Equal(got, []string{"insertion_hours"}) {
		t.Errorf("indicator and impact_type together give %v", got)
	}

	communes, err := readGet(c, "territory=metropole-200046977&territory_type=commune&period=2025")
	if err != nil {
		t.Fatal(err)
	}
	if got := places(communes); len(got) != 58 || !slices.IsSorted(got) || !slices.Contains(got, "commune-69123") {
		t.Errorf("the Métropole has %d communes", len(got))
	}
	if communes.parent == nil || communes.parent.ID != "metropole-200046977" {
		t.Errorf("the declared parent is %v", communes.parent)
	}
	without, err := readGet(c, "territory=metropole-200046977&territory=ne:commune-69123&territory_type=commune&period=2025")
	if err != nil {
		t.Fatal(err)
	}
	if got := places(without); len(got) != 57 || slices.Contains(got, "commune-69123") {
		t.Errorf("without Lyon there are %d communes", len(got))
	}
}

func TestCountsByImpactType(t *testing.T) {
	c := reference(t)
	q, err := readGet(c, "group_by=impact_type,territory,period&territory=commune-69266&period=2025")
	if err != nil {
		t.Fatal(err)
	}
	if len(q.types) != 6 || !q.counting {
		t.Errorf("types %v", q.types)
	}
	if d := cmp.Diff([]string{"n_organisations", "n_observations"}, q.measures); d != "" {
		t.Error(d)
	}
	cq := q.calculation()
	if len(cq.Indicators) != 0 || len(cq.ImpactTypes) != 6 {
		t.Errorf("the calculation is asked %v %v", cq.Indicators, cq.ImpactTypes)
	}
}

// faultsOf gives "code@place" of every fault, sorted.
func faultsOf(t *testing.T, err error) (code string, faults []string) {
	t.Helper()
	e, ok := errors.AsType[*impact.Error](err)
	if !ok {
		t.Fatalf("not a refusal: %v", err)
	}
	for _, f := range e.Faults {
		if f.Detail.FR == "" || f.Detail.EN == "" || f.Hint.FR == "" || f.Hint.EN == "" {
			t.Errorf("%s at %s%s lacks words: %+v", f.Code, f.Parameter, f.Pointer, f)
		}
		s := string(f.Code) + "@" + f.Parameter + f.Pointer
		if f.Suggestion != "" {
			s += "→" + f.Suggestion
		}
		faults = append(faults, s)
	}
	slices.Sort(faults)
	return e.Code, faults
}

func TestEveryFaultIsToldAtOnce(t *testing.T) {
	c := reference(t)
	for name, tc := range map[string]struct {
		raw  string
		code string
		want []string
	}{
		"everything wrong": {
			"indicator=heure_insertion&territory=commune-69999&period=2025-T1&value=ge:x&group_by=indicator,teritory&measures=valeu&order_by=nothing&labels=de&vintage=3000",
			"invalid_parameter",
			[]string{
				"ambiguous_period@period→2025-Q1", "invalid_number@value", "out_of_range@vintage", "unknown_code@group_by→territory", "unknown_code@labels",
				"unknown_code@measures→value", "unknown_code@order_by", "unknown_indicator@indicator→insertion_hours", "unknown_territory@territory",
			},
		},
		"what is missing": {"", "missing_parameter", []string{"missing_parameter@period", "missing_parameter@territory"}},
		"an operator that means nothing": {
			"territory=gt:commune-69266&period=ge:2024&value=sw:1&release=ne:live", "invalid_parameter",
			[]string{"unknown_code@period", "unknown_code@release", "unknown_code@territory", "unknown_code@value"},
		},
		"a parameter given twice": {"territory=commune-69266&period=2025&labels=fr&labels=en", "conflicting_parameters", []string{"conflicting_parameters@labels"}},
		"as_of beside a release":  {"territory=commune-69266&period=2025&release=latest&as_of=2026-03-31T00:00:00Z", "conflicting_parameters", []string{"conflicting_parameters@as_of"}},
		"an instant":              {"territory=commune-69266&period=2025&as_of=2026-03-31", "invalid_parameter", []string{"invalid_date@as_of"}},
		"a quote not closed":      {`territory=%22commune-69266&period=2025`, "invalid_parameter", []string{"invalid_type@territory", "missing_parameter@territory"}},
		"an empty value":          {"territory=commune-69266,&period=2025", "invalid_parameter", []string{"invalid_type@territory", "missing_parameter@territory"}},
		"too many dimensions": {
			"territory=commune-69266&period=2025&group_by=indicator,territory,period,organisation_class,size_class", "validation_failed", []string{"too_long@group_by"},
		},
		"a disaggregation that no indicator has": {
			"territory=commune-69266&period=2025&disaggregation.gender=F", "validation_failed", []string{"unknown_disaggregation@disaggregation.gender"},
		},
		"a code that no list has": {
			"territory=commune-69266&period=2025&organisation_class=asociation&structure_kind=XX", "validation_failed",
			[]string{"unknown_code@organisation_class→association", "unknown_code@structure_kind"},
		},
		"values of different indicators are never added": {
			"territory=commune-69266&period=2025&group_by=territory", "validation_failed", []string{"inconsistent@group_by"},
		},
		"a nature of impact has no value": {
			"territory=commune-69266&period=2025&group_by=impact_type&measures=value,n_organisations", "validation_failed", []string{"inconsistent@measures"},
		},
		"totals need the territory": {
			"indicator=waste_reused&territory=commune-69266&period=2025&group_by=indicator,period&totals=territory", "conflicting_parameters", []string{"conflicting_parameters@totals"},
		},
		"a change needs the period": {
			"territory=commune-69266&period=2025&group_by=indicator,territory&measures=change_previous", "validation_failed", []string{"inconsistent@measures"},
		},
		"a commune holds no commune": {
			"territory=commune-69266&territory_type=ctm&period=2025", "validation_failed", []string{"unknown_territory@territory"},
		},
		"more periods than anyone reads": {
			"territory=commune-69266&granularity=month&period=" + strings.Repeat("2000/2026,", 40) + "2025", "validation_failed", []string{"out_of_range@period"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readGet(c, tc.raw)
			if err == nil {
				t.Fatal("accepted")
			}
			code, faults := faultsOf(t, err)
			if d := cmp.Diff(tc.want, faults); code != tc.code || d != "" {
				t.Errorf("%s, want %s\n%s", code, tc.code, d)
			}
		})
	}
}

func TestFaultsOfABodyPointIntoIt(t *testing.T) {
	c := reference(t)
	for name, tc := range map[string]struct {
		body string
		want []string
	}{
		"members": {
			`{"indicator":["heure_insertion"],"teritory":["commune-69266"],"period":{"rang":"2025"},"filters":[{"field":"value","op":"gee","value":1},{"op":"ge"},3],"labels":null}`,
			[]string{
				"invalid_type@/filters/2", "invalid_type@/labels", "missing_field@/filters/1", "missing_field@/period", "missing_field@/territory",
				"unknown_code@/filters/0/op→ge", "unknown_indicator@/indicator/0→insertion_hours", "unknown_member@/period/rang→range", "unknown_member@/teritory→territory",
			},
		},
		"a member written twice": {
			`{"territory":"commune-69266","territory":"commune-69123","period":"2025"}`, []string{"duplicate_member@/territory"},
		},
		"more conditions than a query has": {
			`{"territory":"commune-69266","period":"2025","filters":[` + strings.Repeat(`{"field":"value","op":"ge","value":1},`, 60) + `{"field":"value","op":"ge","value":1}]}`,
			[]string{"too_long@/filters"},
		},
		"not an object": {`[1]`, []string{"invalid_type@", "missing_field@/period", "missing_field@/territory"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readPost(c, tc.body)
			if err == nil {
				t.Fatal("accepted")
			}
			code, faults := faultsOf(t, err)
			if d := cmp.Diff(tc.want, faults); code != "validation_failed" || d != "" {
				t.Errorf("%s\n%s", code, d)
			}
		})
	}
	for _, body := range []string{``, `{`, `{"a":1}x`, `{"a":1}{}`, "{\"a\":\"\xff\"}", strings.Repeat(`{"a":`, 40)} {
		_, err := readPost(c, body)
		if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != "malformed_body" {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestTermsOfAValue(t *testing.T) {
	for s, want := range map[string][]term{
		"a,b":           {{op: "eq", value: "a"}, {op: "eq", value: "b"}},
		"ge:1,lt:2":     {{op: "ge", value: "1"}, {op: "lt", value: "2"}},
		`"a,b",ne:"c"`:  {{op: "eq", value: "a,b"}, {op: "ne", value: "c"}},
		"last:4Q":       {{op: "eq", value: "last:4Q"}},
		"siret:1,eq:x":  {{op: "eq", value: "siret:1"}, {op: "eq", value: "x"}},
		`"ge:1"`:        {{op: "eq", value: "ge:1"}},
		"a,":            {{op: "eq", value: "a"}, {op: "eq", value: ""}},
		"":              {{op: "eq", value: ""}},
		`say "hi",then`: {{op: "eq", value: `say "hi"`}, {op: "eq", value: "then"}},
	} {
		got, ok := readTerms(s, place{})
		if d := cmp.Diff(want, got, cmp.AllowUnexported(term{}, place{})); !ok || d != "" {
			t.Errorf("%q: %v %s", s, ok, d)
		}
	}
	for _, s := range []string{`"a`, `"a"b`, `x,"`} {
		if got, ok := readTerms(s, place{}); ok {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

// Whatever is written, the reader answers or refuses with words, and what it
// accepts has a canonical form that means the same.
func FuzzAggregateQuery(f *testing.F) {
	for _, s := range []string{
		"territory=commune-69266&period=2025&release=live",
		"indicator=sw:waste_&territory=metropole-200046977&territory_type=commune&period=last:4Q&value=ge:1,lt:0.5&order_by=-value",
		"impact_type=inclusion!&territory=%2269266%22&period=2023/2025&granularity=month&disaggregation.sex=F",
		"group_by=impact_type&territory=commune-69149@2023&period=ytd:2025&vintage=2023",
		"territory=ne:commune-69266&period=../2023-12&totals=territory",
		`{"indicator":["waste_reused"],"territory":{"in":["commune-69266"]},"period":"latest","filters":[{"field":"value","value":"ge:1"}]}`,
	} {
		f.Add(s)
	}
	c := reference(f)
	f.Fuzz(func(t *testing.T, s string) {
		var (
			q   *aggregateQuery
			err error
		)
		if strings.HasPrefix(s, "{") {
			q, err = readPost(c, s)
		} else {
			q, err = readGet(c, s)
		}
		if err != nil {
			e, ok := errors.AsType[*impact.Error](err)
			if !ok || e.Kind != impact.Malformed && e.Kind != impact.Invalid {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		ps := q.normalised()
		get := queryString(ps)
		again, err := readGet(c, get)
		if err != nil {
			t.Fatalf("%q: canonical form %q refused: %v", s, get, err)
		}
		if second := queryString(again.normalised()); second != get {
			t.Fatalf("%q: %q has the canonical form %q", s, get, second)
		}
		if !slices.Equal(again.calculation().Periods, q.calculation().Periods) || !slices.Equal(again.calculation().Territories, q.calculation().Territories) || !slices.Equal(again.calculation().Indicators, q.calculation().Indicators) {
			t.Fatalf("%q: %q asks for something else", s, get)
		}
		body := queryBody(ps)
		if !json.Valid(body) {
			t.Fatalf("%q: body %s", s, body)
		}
		posted, err := readPost(c, string(body))
		if err != nil {
			t.Fatalf("%q: body %s refused: %v", s, body, err)
		}
		if second := queryString(posted.normalised()); second != get {
			t.Fatalf("%q: body %s has the canonical form %q, want %q", s, body, second, get)
		}
		if _, err := url.ParseQuery(get); err != nil {
			t.Fatal(err)
		}
	})
}

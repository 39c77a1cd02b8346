package impact_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

// catalogue is the embedded reference data, made once.
var catalogue = sync.OnceValue(func() *impact.Catalogue {
	ref, err := codelist.Load()
	if err != nil {
		panic(err)
	}
	c, err := impact.NewCatalogue(ref)
	if err != nil {
		panic(err)
	}
	return c
})

// checker lives on 25 November 2026.
func checker() *impact.Checker {
	return &impact.Checker{Catalogue: catalogue(), Today: impact.NewDate(2026, 11, 25)}
}

var iloe = &impact.Organisation{
	Key: 7, ID: "iloe", Name: "Iloé", SIRET: "20004697700019", SIREN: "200046977",
	Class: impact.Association, StructureKind: "EI", ESS: "true", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
}

// hours is a statement without fault; tests change what they are about.
func hours(change ...func(*impact.Statement)) impact.Statement {
	st := impact.Statement{Indicator: "insertion_hours", Territory: "commune-69266", Period: "2025-Q3", Value: "1840", Unit: "h"}
	for _, c := range change {
		c(&st)
	}
	return st
}

func statement(indicator, value string, change ...func(*impact.Statement)) impact.Statement {
	return hours(append([]func(*impact.Statement){func(st *impact.Statement) {
		st.Indicator, st.Value, st.Unit = indicator, value, ""
	}}, change...)...)
}

// places lists what was found as "code at pointer", sorted, the codes being
// what matters to programs.
func places(faults []impact.Fault) []string {
	out := []string{}
	for _, f := range faults {
		out = append(out, string(f.Code)+" "+f.Pointer)
	}
	slices.Sort(out)
	return out
}

// wellSaid fails when a fault is not in the closed list, does not speak both
// languages or does not say how to mend.
func wellSaid(t *testing.T, faults ...impact.Fault) {
	t.Helper()
	for _, f := range faults {
		if _, ok := impact.FaultCodes[f.Code]; !ok {
			t.Errorf("%s is not in the closed list", f.Code)
		}
		if f.Detail.FR == "" || f.Detail.EN == "" || f.Hint.FR == "" || f.Hint.EN == "" {
			t.Errorf("%s at %s leaves something unsaid: %+v", f.Code, f.Pointer, f)
		}
		produced.Store(f.Code, true)
	}
}

// produced gathers the codes that the tests of this package made appear.
var produced sync.Map

func TestResolveFaults(t *testing.T) {
	type S = impact.Statement
	for name, c := range map[string]struct {
		st   impact.Statement
		want []string
	}{
		"a clean row has no fault": {hours(), nil},
		"all faults of a row come at once": {
			S{Value: "x", Period: "2025-T3", Territory: "69003", Indicator: "insertion_hours", Status: "Z"},
			[]string{"ambiguous_period /period", "ambiguous_territory /territory", "invalid_number /value", "unknown_code /obs_status"},
		},
		"an empty row lacks its fields":         {S{}, []string{"missing_field /indicator", "missing_field /period", "missing_field /territory"}},
		"an unknown indicator is refused":       {statement("heure_insertion", "1"), []string{"unknown_indicator /indicator"}},
		"a derived indicator is never sent":     {statement("recovery_rate", "0.8"), []string{"derived_indicator /indicator"}},
		"a period to come is refused":           {hours(func(s *S) { s.Period = "2027" }), []string{"future_period /period"}},
		"a period before 2000 is refused":       {hours(func(s *S) { s.Period = "1999" }), []string{"period_not_allowed /period"}},
		"a period lasts two years at most":      {hours(func(s *S) { s.Period = "2020-01-01/2023-12-31" }), []string{"period_not_allowed /period"}},
		"weeks are refused":                     {hours(func(s *S) { s.Period = "2025-W10" }), []string{"period_not_allowed /period"}},
		"AGEC spend is stated by calendar year": {statement("reused_goods_spend", "10", func(s *S) { s.Period = "2025-Q1" }), []string{"period_not_allowed /period"}},
		"an unreadable period":                  {hours(func(s *S) { s.Period = "third quarter" }), []string{"unknown_period_format /period"}},
		"an unknown territory":                  {hours(func(s *S) { s.Territory = "commune-69999" }), []string{"unknown_territory /territory"}},
		"seven decimals are refused in JSON":    {hours(func(s *S) { s.Value = "1.0000001" }), []string{"too_many_decimals /value"}},
		"a negative quantity is out of range":   {hours(func(s *S) { s.Value = "-1" }), []string{"out_of_range /value"}},
		"a boolean for a number":                {hours(func(s *S) { s.Value = "true" }), []string{"invalid_type /value"}},
		"a number for a boolean":                {statement("ess_agreement", "1"), []string{"invalid_type /value"}},
		"a unit of something else":              {hours(func(s *S) { s.Unit = "t" }), []string{"unit_mismatch /unit"}},
		"an unknown unit":                       {hours(func(s *S) { s.Unit = "heurs" }), []string{"unit_mismatch /unit"}},
		"people do not convert to FTE":          {statement("fte_total", "3", func(s *S) { s.Unit = "{person}"; s.Qualifiers = map[string]string{"headcount_method": "period_end"} }), []string{"unit_mismatch /unit"}},
		"null without a status":                 {hours(func(s *S) { s.Value, s.ValueNull = "", true }), []string{"null_without_status /value"}},
		"null with a status of a number":        {hours(func(s *S) { s.Value, s.ValueNull, s.Status = "", true, "E" }), []string{"null_without_status /value"}},
		"nothing at all":                        {hours(func(s *S) { s.Value = "" }), []string{"missing_field /value"}},
		"a number with a missing status":        {hours(func(s *S) { s.Status = "M" }), []string{"value_with_missing_status /obs_status"}},
		"components with a missing status":      {statement("women_share", "", func(s *S) { s.Status = "L"; s.Components = map[string]string{"numerator": "1"} }), []string{"value_with_missing_status /obs_status"}},
		"Q is never accepted as input":          {hours(func(s *S) { s.Status = "Q" }), []string{"unknown_code /obs_status"}},
		"a ratio sent as its result":            {statement("women_share", "0.5"), []string{"ratio_requires_components /value"}},
		"a ratio sent as a percentage":          {statement("women_share", "50"), []string{"ratio_requires_components /value"}},
		"a ratio without its denominator":       {statement("women_share", "", func(s *S) { s.Components = map[string]string{"numerator": "20"} }), []string{"missing_component /components/denominator"}},
		"a ratio with nothing":                  {statement("women_share", ""), []string{"missing_component /components/denominator", "missing_component /components/numerator"}},
		"a ratio with an unknown part":          {statement("women_share", "", func(s *S) { s.Components = map[string]string{"numerateur": "20", "numerator": "1", "denominator": "2"} }), []string{"unknown_member /components/numerateur"}},
		"a part given twice with two values": {statement("women_share", "", func(s *S) {
			s.Components = map[string]string{"numerator": "20", "women": "20", "headcount": "100", "denominator": "101"}
		}), []string{"components_disagree /components/denominator"}},
		"a part above its whole":                         {statement("women_share", "", func(s *S) { s.Components = map[string]string{"numerator": "20", "denominator": "10"} }), []string{"part_exceeds_whole /components/numerator"}},
		"a value that its parts do not give":             {statement("women_share", "0.3", func(s *S) { s.Components = map[string]string{"numerator": "20", "denominator": "100"} }), []string{"components_disagree /value"}},
		"the keys of the pay gap are its leaf codes":     {statement("gender_pay_gap", "", func(s *S) { s.Components = map[string]string{"numerator": "20", "denominator": "100"} }), []string{"missing_component /components/gross_pay_men", "missing_component /components/gross_pay_women", "missing_component /components/paid_hours_men", "missing_component /components/paid_hours_women", "unknown_member /components/denominator", "unknown_member /components/numerator"}},
		"a survey mean without its count of answers":     {statement("employee_satisfaction", "4.1", func(s *S) { s.Qualifiers = map[string]string{"survey_scale": "1-5", "response_rate": "0.6"} }), []string{"missing_component /components/weight"}},
		"components of what has none":                    {hours(func(s *S) { s.Components = map[string]string{"numerator": "1"} }), []string{"unknown_member /components/numerator"}},
		"a running total":                                {hours(func(s *S) { s.Cumulative = true }), []string{"cumulative_not_accepted /cumulative"}},
		"a disaggregation of another indicator":          {hours(func(s *S) { s.Disaggregation = map[string]string{"sex": "F"} }), []string{"unknown_disaggregation /disaggregation/sex"}},
		"an unknown code of a disaggregation":            {statement("insertion_people", "3", func(s *S) { s.Disaggregation = map[string]string{"sex": "femme"} }), []string{"unknown_disaggregation /disaggregation/sex"}},
		"an unreadable code of an open disaggregation":   {statement("insertion_people", "3", func(s *S) { s.Disaggregation = map[string]string{"age_band": "a;b"} }), []string{"unknown_disaggregation /disaggregation/age_band"}},
		"an unreadable programme":                        {hours(func(s *S) { s.Programme = "a b" }), []string{"unknown_reference /programme"}},
		"required metadata":                              {statement("purchases_local", "3"), []string{"missing_field /qualifiers/local_scope"}},
		"avoided emissions need a method and a baseline": {statement("ghg_avoided", "3"), []string{"missing_field /attribution_share", "missing_field /qualifiers/baseline", "missing_field /qualifiers/method"}},
		"an unknown qualifier":                           {hours(func(s *S) { s.Qualifiers = map[string]string{"local": "x"} }), []string{"unknown_code /qualifiers/local"}},
		"a qualifier outside its list":                   {statement("purchases_local", "3", func(s *S) { s.Qualifiers = map[string]string{"local_scope": "60km"} }), []string{"unknown_code /qualifiers/local_scope"}},
		"an hours basis beyond a year":                   {statement("insertion_fte", "3", func(s *S) { s.Qualifiers = map[string]string{"hours_basis": "9000"} }), []string{"out_of_range /qualifiers/hours_basis"}},
		"an hours basis that is no number":               {statement("insertion_fte", "3", func(s *S) { s.Qualifiers = map[string]string{"hours_basis": "full"} }), []string{"invalid_number /qualifiers/hours_basis"}},
		"an empty text":                                  {statement("energy_saved", "3", func(s *S) { s.Qualifiers = map[string]string{"method": " ", "baseline": "2018"} }), []string{"missing_field /qualifiers/method"}},
		"80 for 0.8 is never divided": {statement("life_improved_share", "", func(s *S) {
			s.Components = map[string]string{"numerator": "8", "weight": "10"}
			s.Qualifiers = map[string]string{"sample_frame": "all", "response_rate": "80"}
		}), []string{"fraction_as_percentage /qualifiers/response_rate"}},
		"an attribution share of nothing":    {hours(func(s *S) { s.AttributionShare = "0" }), []string{"out_of_range /attribution_share"}},
		"participants are counted once each": {statement("participants", "3", func(s *S) { s.Counting = "attendances" }), []string{"inconsistent /counting"}},
		"codes of details":                   {hours(func(s *S) { s.EvidenceLevel, s.Provenance, s.Perimeter, s.Stakeholder = "sure", "z", "world", "cat" }), []string{"unknown_code /evidence_level", "unknown_code /provenance", "unknown_code /reporting_perimeter", "unknown_code /stakeholder"}},
		"an evidence that is no address":     {hours(func(s *S) { s.EvidenceURL = "javascript:alert(1)" }), []string{"invalid_type /evidence_url"}},
		"a note over 4 000 characters":       {hours(func(s *S) { s.Note = strings.Repeat("é", 4001) }), []string{"too_long /note"}},
		"a transfer to a wrong SIRET":        {hours(func(s *S) { s.TransferredTo = "12345678901234" }), []string{"invalid_siret /transferred_to"}},
		"a transfer to oneself":              {hours(func(s *S) { s.TransferredTo = iloe.SIRET }), []string{"inconsistent /transferred_to"}},
		"covers without a group":             {hours(func(s *S) { s.Covers = []string{"200046977"} }), []string{"inconsistent /covers"}},
		"covers with a wrong SIREN":          {hours(func(s *S) { s.Perimeter, s.Covers = "group", []string{"200 046 978"} }), []string{"invalid_siren /covers/0"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, faults, _ := checker().Resolve(&c.st, iloe)
			if d := cmp.Diff(places(faults), append([]string{}, c.want...)); d != "" {
				t.Error(d)
			}
			if (len(faults) == 0) != (len(r.Cells) > 0) {
				t.Errorf("%d faults and %d cells", len(faults), len(r.Cells))
			}
			wellSaid(t, faults...)
		})
	}
}

func TestResolveSuggestions(t *testing.T) {
	type S = impact.Statement
	for name, c := range map[string]struct {
		st      impact.Statement
		pointer string
		want    string
	}{
		"from the label in French":       {statement("heure_insertion", "1"), "/indicator", "insertion_hours"},
		"from the code":                  {statement("insertion_hour", "1"), "/indicator", "insertion_hours"},
		"the year of AGEC":               {statement("reused_goods_spend", "10", func(s *S) { s.Period = "2025-Q1" }), "/period", "2025"},
		"a quarter for T":                {hours(func(s *S) { s.Period = "T3 2025" }), "/period", "2025-Q3"},
		"the commune of a postal code":   {hours(func(s *S) { s.Territory = "69500" }), "/territory", "commune-69029"},
		"the unit":                       {hours(func(s *S) { s.Unit = "heurs" }), "/unit", "h"},
		"six decimals":                   {hours(func(s *S) { s.Value = "1.00000049" }), "/value", "1"},
		"the number without spaces":      {hours(func(s *S) { s.Value = "1 840,5" }), "/value", "1840.5"},
		"the fraction":                   {hours(func(s *S) { s.AttributionShare = "80" }), "/attribution_share", "0.8"},
		"the code of a label":            {statement("insertion_people", "3", func(s *S) { s.Disaggregation = map[string]string{"sex": "femme"} }), "/disaggregation/sex", "F"},
		"the unit of the parts":          {statement("women_share", "", func(s *S) { s.Unit, s.Components = "personn", map[string]string{"numerator": "2", "denominator": "5"} }), "/unit", "{person}"},
		"none when two are equally near": {hours(func(s *S) { s.Territory = "69627" }), "/territory", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults, _ := checker().Resolve(&c.st, iloe)
			i := slices.IndexFunc(faults, func(f impact.Fault) bool { return f.Pointer == c.pointer })
			if i < 0 {
				t.Fatalf("no fault at %s: %v", c.pointer, places(faults))
			}
			if got := faults[i].Suggestion; got != c.want {
				t.Errorf("suggestion %q, want %q (%+v)", got, c.want, faults[i])
			}
		})
	}
}

func TestARatioIsOfferedTheUnitsItTakes(t *testing.T) {
	st := statement("women_share", "", func(s *impact.Statement) {
		s.Unit, s.Components = "%", map[string]string{"numerator": "2", "denominator": "5"}
	})
	_, faults, _ := checker().Resolve(&st, iloe)
	if len(faults) != 1 || faults[0].Code != "unit_mismatch" || faults[0].Hint.EN != "Accepted units: 1, {person}." {
		t.Errorf("%+v", faults)
	}
}

func TestResolveWarnings(t *testing.T) {
	type S = impact.Statement
	closed := *iloe
	closed.ClosedOn = impact.NewDate(2024, 12, 31)
	for name, c := range map[string]struct {
		st   impact.Statement
		org  *impact.Organisation
		want []string
	}{
		"a usual value":                     {hours(), iloe, nil},
		"an unusual value":                  {hours(func(s *S) { s.Value = "600000" }), iloe, []string{"outlier /value"}},
		"minutes are rounded to hours":      {hours(func(s *S) { s.Value, s.Unit = "1", "min" }), iloe, []string{"rounded /value"}},
		"a retired commune after its end":   {hours(func(s *S) { s.Territory = "commune-69152" }), iloe, []string{"retired_territory /territory"}},
		"a retired commune during its life": {hours(func(s *S) { s.Territory, s.Period = "commune-69152", "2023" }), iloe, nil},
		"an establishment that had closed":  {hours(), &closed, []string{"establishment_not_open /period"}},
		"a pay gap below -1": {statement("gender_pay_gap", "", func(s *S) {
			s.Components = map[string]string{"gross_pay_women": "50", "paid_hours_women": "1", "gross_pay_men": "20", "paid_hours_men": "1"}
		}), iloe, []string{"out_of_range /components"}},
		"payment after sixty days":           {statement("payment_delay_days", "", func(s *S) { s.Components = map[string]string{"numerator": "7000", "denominator": "100"} }), iloe, []string{"outlier /components"}},
		"more participants than inhabitants": {statement("participants", "200000", func(s *S) { s.Counting = "unique" }), iloe, []string{"plausibility /value"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults, warnings := checker().Resolve(&c.st, c.org)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			if d := cmp.Diff(places(warnings), append([]string{}, c.want...)); d != "" {
				t.Error(d)
			}
			wellSaid(t, warnings...)
		})
	}
}

// said writes cells as people would: indicator territory period cut value status.
func said(cells []impact.Observation) []string {
	var out []string
	for _, o := range cells {
		value := "null"
		if o.Value != nil {
			value = o.Value.String()
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s%c %s",
			catalogue().IndicatorByKey(o.Indicator).Code, catalogue().Gazetteer().ByKey(o.Territory).ID, o.Period, value, o.Status, o.Cut)))
	}
	return out
}

func TestResolveCells(t *testing.T) {
	type S = impact.Statement
	for name, c := range map[string]struct {
		st   impact.Statement
		want []string
	}{
		"one value, one cell":               {hours(), []string{"insertion_hours commune-69266 2025-Q3 1840A"}},
		"kilograms become tonnes (E20)":     {statement("waste_collected", "3400", func(s *S) { s.Unit = "kg" }), []string{"waste_collected commune-69266 2025-Q3 3.4A"}},
		"zero is a value (C5)":              {hours(func(s *S) { s.Value = "0" }), []string{"insertion_hours commune-69266 2025-Q3 0A"}},
		"not collected is an answer (C5)":   {hours(func(s *S) { s.Value, s.ValueNull, s.Status = "", true, "L" }), []string{"insertion_hours commune-69266 2025-Q3 nullL"}},
		"a ratio states its two facts (C1)": {statement("women_share", "0.2", func(s *S) { s.Components = map[string]string{"numerator": "20", "denominator": "100"} }), []string{"women commune-69266 2025-Q3 20A", "headcount commune-69266 2025-Q3 100A"}},
		"a ratio not applicable":            {statement("women_share", "", func(s *S) { s.Status = "M" }), []string{"women commune-69266 2025-Q3 nullM", "headcount commune-69266 2025-Q3 nullM"}},
		"a survey mean and its answers": {statement("employee_satisfaction", "4.1", func(s *S) {
			s.Components = map[string]string{"weight": "12"}
			s.Qualifiers = map[string]string{"survey_scale": "1-5", "response_rate": "0.6"}
		}), []string{"employee_satisfaction commune-69266 2025-Q3 4.1A", "employee_satisfaction_answers commune-69266 2025-Q3 12A"}},
		"true is one": {statement("ess_agreement", "true"), []string{"ess_agreement commune-69266 2025-Q3 1A"}},
		"a cut is sorted": {statement("insertion_people", "3", func(s *S) {
			s.Programme = "p1"
			s.Disaggregation = map[string]string{"sex": "F", "qpv_resident": "yes"}
		}), []string{"insertion_people commune-69266 2025-Q3 3A programme=p1;qpv_resident=yes;sex=F"}},
		"_T is the whole":                   {statement("insertion_people", "3", func(s *S) { s.Disaggregation = map[string]string{"sex": "_T"} }), []string{"insertion_people commune-69266 2025-Q3 3A"}},
		"estimates by provenance (C5)":      {hours(func(s *S) { s.Provenance = "e" }), []string{"insertion_hours commune-69266 2025-Q3 1840E"}},
		"Oullins until 2023 (E10)":          {hours(func(s *S) { s.Territory, s.Period = "commune-69152", "2023-Q4" }), []string{"insertion_hours commune-69152 2023-Q4 1840A"}},
		"Oullins-Pierre-Bénite after (E10)": {hours(func(s *S) { s.Territory = "commune-69152" }), []string{"insertion_hours commune-69149 2025-Q3 1840A"}},
		"NPS by leaf codes": {statement("nps", "", func(s *S) {
			s.Components = map[string]string{"nps_promoters": "50", "nps_detractors": "20", "denominator": "100"}
			s.Qualifiers = map[string]string{"sample_frame": "all", "response_rate": "1"}
		}), []string{"nps_promoters commune-69266 2025-Q3 50A", "nps_detractors commune-69266 2025-Q3 20A", "nps_answers commune-69266 2025-Q3 100A"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, faults, _ := checker().Resolve(&c.st, iloe)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			if d := cmp.Diff(said(r.Cells), c.want); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestConvertedValueKeepsItsOrigin(t *testing.T) {
	st := statement("waste_collected", "3400", func(s *impact.Statement) { s.Unit = "kg" })
	r, _, _ := checker().Resolve(&st, iloe)
	if o := r.Cells[0]; o.OriginalValue != "3400" || o.OriginalUnit != "kg" {
		t.Errorf("original %q %q, want 3400 kg", o.OriginalValue, o.OriginalUnit)
	}
	want := impact.Profile{Class: impact.Association, StructureKind: "EI", ESS: "true"}
	if d := cmp.Diff(r.Cells[0].Profile, want); d != "" {
		t.Errorf("the profile is frozen with the value (E24): %s", d)
	}
}

func TestASharedComponentIsOneFactWhicheverRowStatesIt(t *testing.T) {
	row := func(indicator, id string, qualifiers map[string]string) impact.Observation {
		st := statement(indicator, "", func(s *impact.Statement) {
			s.Components = map[string]string{"numerator": "20", "denominator": "100"}
			s.ExternalID, s.Note, s.Source, s.Qualifiers = id, "note of "+id, "crm", qualifiers
		})
		r, faults, _ := checker().Resolve(&st, iloe)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if own := r.Cells[0]; own.ExternalID != id || len(own.Qualifiers) != len(qualifiers) {
			t.Errorf("what belongs to the row is kept with its own part: %+v", own)
		}
		return r.Cells[1]
	}
	a := row("women_share", "a", nil)
	b := row("qpv_staff_share", "b", map[string]string{"qpv_generation": "2024"})
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("headcount: %s", d)
	}
}

func TestQuotientOf(t *testing.T) {
	for _, c := range []struct {
		indicator, parts, want string
	}{
		{"recovery_rate", "2000 520 200 3400", "0.8"}, // fixture G4
		{"women_share", "830 1000", "0.83"},           // E5
		{"gender_pay_gap", "80 10 100 10", "0.2"},
		{"nps", "50 20 100", "0.3"},
		{"accident_frequency", "5 1000000", "5"},
		{"women_share", "0 0", "null"},
		{"women_share", "null 10", "null"},
	} {
		ind := catalogue().Indicator(impact.IndicatorCode(c.indicator))
		var parts []impact.Observation
		for s := range strings.FieldsSeq(c.parts) {
			var o impact.Observation
			if q, f := impact.ParseQuantity(s); f == nil {
				o.Value = &q
			}
			parts = append(parts, o)
		}
		got := "null"
		if q := impact.QuotientOf(ind, parts); q != nil {
			got = q.String()
		}
		if got != c.want {
			t.Errorf("%s of %s = %s, want %s", c.indicator, c.parts, got, c.want)
		}
	}
}

// batchOf resolves statements of iloe; none may have a fault of its own.
func batchOf(t testing.TB, statements ...impact.Statement) []*impact.Row {
	t.Helper()
	var rows []*impact.Row
	for i := range statements {
		r, faults, _ := checker().Resolve(&statements[i], iloe)
		if len(faults) > 0 {
			t.Fatalf("row %d: %+v", i, faults)
		}
		rows = append(rows, &impact.Row{Organisation: iloe, Resolved: r})
	}
	return rows
}

// knownFrom makes the database of the cells of earlier statements.
func knownFrom(rows []*impact.Row) map[impact.Neighbour][]impact.Observation {
	known := map[impact.Neighbour][]impact.Observation{}
	for _, r := range rows {
		for _, o := range r.Cells {
			k := impact.Neighbour{Organisation: o.Organisation, Indicator: o.Indicator}
			known[k] = append(known[k], o)
		}
	}
	return known
}

func TestReconcile(t *testing.T) {
	type S = impact.Statement
	at := func(territory, period string) func(*S) {
		return func(s *S) { s.Territory, s.Period = territory, period }
	}
	parts := func(n, d string) func(*S) {
		return func(s *S) { s.Components = map[string]string{"numerator": n, "denominator": d} }
	}
	sex := func(code string) func(*S) {
		return func(s *S) { s.Disaggregation = map[string]string{"sex": code} }
	}
	scope := func(s *S) { s.Qualifiers = map[string]string{"local_scope": "metropole"} }
	basis := func(s *S) { s.Qualifiers = map[string]string{"hours_basis": "1600"} }
	for name, c := range map[string]struct {
		known, rows []impact.Statement
		want        []string // per row: faults, then warnings after "|"
	}{
		"two clean rows":                              {nil, []S{hours(), hours(at("commune-69029", "2025-Q3"))}, []string{"", ""}},
		"two rows for one fact":                       {nil, []S{hours(), hours()}, []string{"duplicate_in_file ", "duplicate_in_file "}},
		"a ratio twice is said once":                  {nil, []S{statement("women_share", "", parts("2", "5")), statement("women_share", "", parts("2", "5"))}, []string{"duplicate_in_file ", "duplicate_in_file "}},
		"the same fact as in the database":            {[]S{hours()}, []S{hours(func(s *S) { s.Value = "1900" })}, []string{""}},
		"two ratios agree on a component":             {nil, []S{statement("women_share", "", parts("2", "5")), statement("permanent_contract_share", "", parts("4", "5"))}, []string{"", ""}},
		"two ratios disagree on a component":          {nil, []S{statement("women_share", "", parts("2", "5")), statement("permanent_contract_share", "", parts("4", "6"))}, []string{"components_disagree /components", "components_disagree /components"}},
		"a component sent by itself must agree":       {nil, []S{statement("women_share", "", parts("2", "5")), statement("headcount", "6")}, []string{"components_disagree /components", "components_disagree /value"}},
		"annual and quarterly in one batch":           {nil, []S{hours(at("commune-69266", "2025")), hours()}, []string{"overlapping_period /period", "overlapping_period /period"}},
		"annual here and quarterly there":             {nil, []S{hours(at("commune-69029", "2025")), hours()}, []string{"overlapping_period /period", "overlapping_period /period"}},
		"quarterly after annual in the database":      {[]S{hours(at("commune-69266", "2025"))}, []S{hours()}, []string{"overlapping_period /period"}},
		"months and quarters of one year":             {[]S{hours(at("commune-69266", "2025-01"))}, []S{hours()}, []string{"overlapping_period /period"}},
		"quarters of two years":                       {[]S{hours(at("commune-69266", "2024-01"))}, []S{hours()}, []string{""}},
		"a fiscal year over a calendar year":          {[]S{hours(at("commune-69266", "2024-07-01/2025-06-30"))}, []S{hours(at("commune-69266", "2025"))}, []string{"overlapping_period /period"}},
		"the Métropole and one of its communes":       {nil, []S{hours(at("metropole-200046977", "2025-Q3")), hours()}, []string{"overlapping_territory /territory", "overlapping_territory /territory"}},
		"an arrondissement under a stated Lyon":       {[]S{hours(at("commune-69123", "2025-Q3"))}, []S{hours(at("arrondissement-69388", "2025-Q3"))}, []string{"overlapping_territory /territory"}},
		"the Métropole above a stated commune":        {[]S{hours()}, []S{hours(at("metropole-200046977", "2025-Q3"))}, []string{"overlapping_territory /territory"}},
		"the Métropole in another quarter":            {[]S{hours()}, []S{hours(at("metropole-200046977", "2025-Q2"))}, []string{""}},
		"parts by sex add up to the whole":            {nil, []S{statement("insertion_people", "10"), statement("insertion_people", "6", sex("F")), statement("insertion_people", "4", sex("M"))}, []string{"", "", ""}},
		"parts by sex pass the whole":                 {[]S{statement("insertion_people", "10")}, []S{statement("insertion_people", "7", sex("F")), statement("insertion_people", "4", sex("M"))}, []string{"part_exceeds_whole /value", "part_exceeds_whole /value"}},
		"a whole below the parts of the database":     {[]S{statement("insertion_people", "7", sex("F"))}, []S{statement("insertion_people", "5")}, []string{"part_exceeds_whole /value"}},
		"roles overlap: each is at most the whole":    {[]S{statement("small_structures_awarded", "10")}, []S{statement("small_structures_awarded", "7", func(s *S) { s.Disaggregation = map[string]string{"award_role": "holder"} }), statement("small_structures_awarded", "6", func(s *S) { s.Disaggregation = map[string]string{"award_role": "subcontractor"} })}, []string{"", ""}},
		"local purchases above all purchases":         {[]S{statement("purchases_total", "100")}, []S{statement("purchases_local", "120", scope)}, []string{"part_exceeds_whole /value"}},
		"women above headcount, by the database":      {[]S{statement("headcount", "5")}, []S{statement("women", "6")}, []string{"part_exceeds_whole /value"}},
		"exits do not add up":                         {nil, []S{statement("dynamic_exits", "5"), statement("durable_exits", "2"), statement("transition_exits", "2"), statement("positive_exits", "2")}, []string{"inconsistent /value", "inconsistent /value", "inconsistent /value", "inconsistent /value"}},
		"outlets 10 % over the collection":            {[]S{statement("waste_collected", "100")}, []S{statement("waste_recycled", "110")}, []string{"|plausibility /value"}},
		"outlets 30 % over the collection":            {[]S{statement("waste_collected", "100")}, []S{statement("waste_recycled", "130")}, []string{"inconsistent /value"}},
		"outlets 5 % over the collection":             {[]S{statement("waste_collected", "100")}, []S{statement("waste_recycled", "105")}, []string{""}},
		"more hours than a person can work":           {[]S{statement("insertion_people", "1")}, []S{hours(func(s *S) { s.Value = "1900" })}, []string{"|plausibility /value"}},
		"FTE far from hours over the basis":           {nil, []S{hours(func(s *S) { s.Value = "1600" }), statement("insertion_fte", "1", basis)}, []string{"|plausibility /value", "|plausibility /value"}},
		"FTE of a quarter":                            {nil, []S{hours(func(s *S) { s.Value = "1600" }), statement("insertion_fte", "4", basis)}, []string{"", ""}},
		"energy without emissions":                    {[]S{statement("ghg_scope1", "0"), statement("energy_consumed", "10")}, []S{statement("ghg_scope2_location", "0")}, []string{"|plausibility /value"}},
		"ten times the quarter before":                {[]S{hours(at("commune-69266", "2025-Q2"), func(s *S) { s.Value = "100" })}, []S{hours()}, []string{"|unit_suspect /value"}},
		"six times the quarter before":                {[]S{hours(at("commune-69266", "2025-Q2"), func(s *S) { s.Value = "300" })}, []S{hours()}, []string{"|outlier /value"}},
		"twice the quarter before":                    {[]S{hours(at("commune-69266", "2025-Q2"), func(s *S) { s.Value = "900" })}, []S{hours()}, []string{""}},
		"zero after a value":                          {[]S{hours(at("commune-69266", "2025-Q2"))}, []S{hours(func(s *S) { s.Value = "0" })}, []string{"|zero_after_nonzero /value"}},
		"a change of sign":                            {[]S{statement("jobs_created_net", "5", at("commune-69266", "2025-Q2"))}, []S{statement("jobs_created_net", "-5")}, []string{"|sign_change /value"}},
		"a fiscal year after a fiscal year":           {[]S{hours(at("commune-69266", "2023-07-01/2024-06-30"), func(s *S) { s.Value = "1" })}, []S{hours(at("commune-69266", "2024-07-01/2025-06-30"))}, []string{"|unit_suspect /value"}},
		"quarterly in place of a withdrawn annual":    {[]S{hours(at("commune-69266", "2025"))}, []S{hours(at("commune-69266", "2025"), func(s *S) { s.Value, s.Status = "", "L" }), hours()}, []string{"", ""}},
		"a commune in place of a withdrawn Métropole": {[]S{hours(at("metropole-200046977", "2025-Q3"))}, []S{hours(at("metropole-200046977", "2025-Q3"), func(s *S) { s.Value, s.Status = "", "L" }), hours()}, []string{"", ""}},
		"a null overlaps nothing":                     {[]S{hours(at("commune-69266", "2025"), func(s *S) { s.Value, s.Status = "", "L" })}, []S{hours()}, []string{""}},
		"a retired commune and its successor's code":  {[]S{hours(at("commune-69152", "2023-Q3"))}, []S{hours(at("commune-69149", "2023-Q3"))}, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			rows := batchOf(t, c.rows...)
			checker().Reconcile(rows, knownFrom(batchOf(t, c.known...)), nil)
			var got []string
			for _, r := range rows {
				line := strings.Join(places(r.Faults), ", ")
				if len(r.Warnings) > 0 {
					line += "|" + strings.Join(places(r.Warnings), ", ")
				}
				got = append(got, line)
				wellSaid(t, r.Faults...)
				wellSaid(t, r.Warnings...)
			}
			if d := cmp.Diff(got, c.want); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestARejectedRowLeavesTheBatchAndHurtsNoOther(t *testing.T) {
	type S = impact.Statement
	at := func(territory, period string) func(*S) {
		return func(s *S) { s.Territory, s.Period = territory, period }
	}
	sex := func(code string) func(*S) {
		return func(s *S) { s.Disaggregation = map[string]string{"sex": code} }
	}
	null := func(s *S) { s.Value, s.Status = "", "L" }
	volunteers := func(value, territory string) S {
		return statement("volunteer_hours", value, at(territory, "2023"))
	}
	for name, c := range map[string]struct {
		known, rows []S
		want        []string
	}{
		"a territory above a stored one hurts no third": {
			[]S{volunteers("7", "commune-69003")},
			[]S{volunteers("5", "metropole-200046977"), volunteers("9", "commune-69266")},
			[]string{"overlapping_territory /territory", ""},
		},
		"good rows that conflict only with each other are both rejected": {
			[]S{volunteers("7", "commune-69003")},
			[]S{volunteers("5", "commune-69123"), volunteers("9", "arrondissement-69388"), volunteers("9", "commune-69266")},
			[]string{"overlapping_territory /territory", "overlapping_territory /territory", ""},
		},
		"a period that clashes with a stored one hurts no other period": {
			[]S{hours(at("commune-69266", "2024-Q4"))},
			[]S{hours(at("commune-69266", "2024-07-01/2025-06-30")), hours(at("commune-69266", "2025-Q1")), hours(at("commune-69266", "2024"))},
			[]string{"overlapping_period /period", "", "overlapping_period /period"},
		},
		"a rejected part does not weigh on the other part": {
			[]S{statement("insertion_people", "10")},
			[]S{statement("insertion_people", "11", sex("F")), statement("insertion_people", "4", sex("M"))},
			[]string{"part_exceeds_whole /value", ""},
		},
		"a rejected whole does not refuse a new part": {
			[]S{statement("insertion_people", "7", sex("F"))},
			[]S{statement("insertion_people", "5"), statement("insertion_people", "6", sex("M"))},
			[]string{"part_exceeds_whole /value", ""},
		},
		"parts that are good one by one are rejected together": {
			[]S{statement("insertion_people", "10")},
			[]S{statement("insertion_people", "7", sex("F")), statement("insertion_people", "6", sex("M"))},
			[]string{"part_exceeds_whole /value", "part_exceeds_whole /value"},
		},
		"an outlet above the collection hurts no other outlet": {
			[]S{statement("waste_collected", "100")},
			[]S{statement("waste_recycled", "130"), statement("waste_reused", "20")},
			[]string{"inconsistent /value", ""},
		},
		"a part and the whole that makes room for it": {
			[]S{statement("headcount", "5")},
			[]S{statement("headcount", "10"), statement("women", "6")},
			[]string{"", ""},
		},
		"what a rejected row would have replaced still stands": {
			[]S{statement("headcount", "5"), hours(at("commune-69266", "2025"))},
			[]S{statement("headcount", "10"), statement("headcount", "12"), statement("women", "6")},
			[]string{"duplicate_in_file ", "duplicate_in_file ", "part_exceeds_whole /value"},
		},
		"what a rejected row would have withdrawn still stands": {
			[]S{hours(at("commune-69266", "2025"))},
			[]S{hours(at("commune-69266", "2025"), null), hours(at("commune-69266", "2025"), null), hours()},
			[]string{"duplicate_in_file ", "duplicate_in_file ", "overlapping_period /period"},
		},
		"a fact stated twice, once impossibly": {
			[]S{statement("headcount", "5")},
			[]S{statement("women", "6"), statement("women", "3")},
			[]string{"part_exceeds_whole /value", ""},
		},
		"an annual value over four stored quarters has one fault": {
			[]S{hours(at("commune-69266", "2025-Q1")), hours(at("commune-69266", "2025-Q2")), hours(at("commune-69266", "2025-Q3")), hours(at("commune-69266", "2025-Q4"))},
			[]S{hours(at("commune-69266", "2025"))},
			[]string{"overlapping_period /period"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			known := knownFrom(batchOf(t, c.known...))
			for range 2 { // forwards, then backwards
				rows := batchOf(t, c.rows...)
				checker().Reconcile(rows, known, nil)
				var got []string
				for _, r := range rows {
					got = append(got, strings.Join(places(r.Faults), ", "))
					wellSaid(t, r.Faults...)
				}
				if d := cmp.Diff(got, c.want); d != "" {
					t.Error(d)
				}
				slices.Reverse(c.rows)
				slices.Reverse(c.want)
			}
		})
	}
}

func TestARowRejectedByItselfHurtsNoOther(t *testing.T) {
	rows := batchOf(t, hours(func(s *impact.Statement) { s.Territory = "metropole-200046977" }), hours())
	rows[0].Faults = []impact.Fault{{Code: "inconsistent"}}
	checker().Reconcile(rows, nil, nil)
	if len(rows[0].Faults) != 1 || len(rows[1].Faults) != 0 {
		t.Errorf("got %v and %v", places(rows[0].Faults), places(rows[1].Faults))
	}
}

func TestAnOverlappingPeriodListsAllStoredPeriods(t *testing.T) {
	period := func(p string) impact.Statement {
		return hours(func(s *impact.Statement) { s.Period = p })
	}
	rows := batchOf(t, period("2025"))
	checker().Reconcile(rows, knownFrom(batchOf(t, period("2025-Q3"), period("2025-Q1"), period("2025-Q2"))), nil)
	if len(rows[0].Faults) != 1 {
		t.Fatalf("want one fault, got %v", places(rows[0].Faults))
	}
	if d := rows[0].Faults[0].Detail; !strings.Contains(d.EN, "2025-Q1, commune-69266 (Villeurbanne), stated by you; and for 2025-Q2, 2025-Q3:") || !strings.Contains(d.FR, "et pour 2025-Q2, 2025-Q3 :") {
		t.Errorf("the detail lists the three quarters: %+v", d)
	}
}

func TestNeighboursHoldTheRelatedIndicators(t *testing.T) {
	rows := batchOf(t, statement("women", "3"), hours(), hours())
	var got []string
	for _, n := range checker().Neighbours(rows) {
		got = append(got, string(catalogue().IndicatorByKey(n.Indicator).Code))
	}
	want := []string{"insertion_hours", "insertion_people", "insertion_fte", "headcount", "women"}
	if d := cmp.Diff(got, want); d != "" {
		t.Error(d)
	}
}

func TestMergedCommunesStayDescendantsOfTheMetropole(t *testing.T) {
	g := catalogue().Gazetteer()
	metropole := g.Versions("metropole-200046977")[0]
	pierreBenite := g.Versions("commune-69152")[0]
	if !g.Encloses(metropole.Key, pierreBenite.Key) || g.Encloses(pierreBenite.Key, metropole.Key) {
		t.Error("the Métropole encloses Pierre-Bénite, not the other way round")
	}
}

// thousand makes a clean batch of 1,000 rows and the database around it, as in
// the benchmark data: 60 indicators, 58 communes, quarters.
func thousand(tb testing.TB) ([]*impact.Row, map[impact.Neighbour][]impact.Observation) {
	c := checker()
	var indicators []*impact.Indicator
	for _, ind := range catalogue().Indicators() {
		if !ind.Composed() && !ind.Derived && len(ind.RequiredMetadata) == 0 && ind.Kind == impact.Flow && !slices.Contains(ind.Disaggregations, "agec_category") {
			indicators = append(indicators, ind)
		}
	}
	communes := catalogue().Gazetteer().Descendants(catalogue().Gazetteer().Versions("metropole-200046977")[0].Key, 2026, impact.Commune)
	var rows []*impact.Row
	known := map[impact.Neighbour][]impact.Observation{}
	for i := range 1000 {
		org := *iloe
		org.Key = impact.OrganisationKey(1 + i/50)
		ind := indicators[i%len(indicators)]
		st := impact.Statement{Indicator: string(ind.Code), Territory: string(communes[i%58].ID), Period: fmt.Sprintf("2025-Q%d", 1+i%4), Value: "100"}
		r, faults, _ := c.Resolve(&st, &org)
		if len(faults) > 0 {
			tb.Fatal(faults)
		}
		rows = append(rows, &impact.Row{Organisation: &org, Resolved: r})
		for y := 2022; y < 2025; y++ {
			o := r.Cells[0]
			o.Period = impact.YearPeriod(y).Buckets(impact.Quarter)[i%4]
			k := impact.Neighbour{Organisation: o.Organisation, Indicator: o.Indicator}
			known[k] = append(known[k], o)
		}
	}
	return rows, known
}

func BenchmarkResolve(b *testing.B) {
	c := checker()
	st := hours(func(s *impact.Statement) { s.Source, s.ExternalID = "cocagne-crm", "ins-2025-03-17" })
	b.ReportAllocs()
	for b.Loop() {
		if r, _, _ := c.Resolve(&st, iloe); len(r.Cells) != 1 {
			b.Fatal("not clean")
		}
	}
}

func BenchmarkResolveRatio(b *testing.B) {
	c := checker()
	st := statement("women_share", "", func(s *impact.Statement) {
		s.Components = map[string]string{"numerator": "20", "denominator": "100"}
	})
	b.ReportAllocs()
	for b.Loop() {
		if r, _, _ := c.Resolve(&st, iloe); len(r.Cells) != 2 {
			b.Fatal("not clean")
		}
	}
}

func BenchmarkReconcile1000(b *testing.B) {
	c := checker()
	rows, known := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		c.Neighbours(rows)
		c.Reconcile(rows, known, nil)
	}
	for _, r := range rows {
		if len(r.Faults) > 0 {
			b.Fatal(r.Faults)
		}
	}
}

func BenchmarkResolveUnknownTerritory(b *testing.B) {
	c := checker()
	st := hours(func(s *impact.Statement) { s.Territory = "Vaulx en Vellin" })
	for b.Loop() {
		if _, faults, _ := c.Resolve(&st, iloe); len(faults) != 1 {
			b.Fatal(faults)
		}
	}
}

func BenchmarkNewCatalogue(b *testing.B) {
	ref, err := codelist.Load()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := impact.NewCatalogue(ref); err != nil {
			b.Fatal(err)
		}
	}
}

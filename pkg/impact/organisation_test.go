package impact_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestIdentifiers(t *testing.T) {
	for _, c := range []struct {
		check          func(string) (string, *impact.Fault)
		in, want, hint string
	}{
		{impact.CheckSIRET, "20004697700019", "20004697700019", ""},
		{impact.CheckSIRET, "200 046 977 00019", "20004697700019", ""},
		{impact.CheckSIRET, "200\u00a0046\u202f977.00019", "20004697700019", ""},
		{impact.CheckSIRET, "35600000000048", "35600000000048", ""}, // La Poste, head office: Luhn holds (E28)
		{impact.CheckSIRET, "35600000049837", "35600000049837", ""}, // La Poste: the digit sum holds (E28)
		{impact.CheckSIRET, "35600000049838", "invalid_siret", "14 digits"},
		{impact.CheckSIRET, "20004697700018", "invalid_siret", "14 digits"},
		{impact.CheckSIRET, "1,23457E+13", "invalid_siret", "as text"},
		{impact.CheckSIRET, "2.0004697700019E13", "invalid_siret", "as text"},
		{impact.CheckSIRET, "200046977", "invalid_siret", "establishment"},
		{impact.CheckSIRET, "2000469770001", "invalid_siret", "leading zero|restore the zero"},
		{impact.CheckSIRET, "FR20004697700", "invalid_siret", "14 digits"},
		{impact.CheckSIRET, "", "invalid_siret", "14 digits"},
		{impact.CheckSIREN, "200046977", "200046977", ""},
		{impact.CheckSIREN, "200 046 977", "200046977", ""},
		{impact.CheckSIREN, "200046978", "invalid_siren", "9 digits"},
		{impact.CheckSIREN, "20004697700019", "invalid_siren", "9 digits"},
		{impact.CheckSIREN, "2.0E8", "invalid_siren", "9 digits"},
		{impact.CheckRNA, "W691234567", "W691234567", ""},
		{impact.CheckRNA, "w9n1004567", "W9N1004567", ""},
		{impact.CheckRNA, "691234567", "invalid_rna", "receipt"},
	} {
		got, f := c.check(c.in)
		if f != nil {
			got = string(f.Code)
			wellSaid(t, *f)
			found := false
			for _, h := range strings.Split(c.hint, "|") {
				found = found || strings.Contains(f.Hint.EN+f.Detail.EN, h)
			}
			if !found {
				t.Errorf("%q: the hint %q does not speak of %s", c.in, f.Hint.EN, c.hint)
			}
		}
		if got != c.want {
			t.Errorf("%q = %s, want %s", c.in, got, c.want)
		}
	}
}

func FuzzSIRET(f *testing.F) {
	for _, s := range []string{"20004697700019", "35600000049837", "1,23457E+13", "200 046 977 00019", "²00046977"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, fault := impact.CheckSIRET(s)
		if fault != nil {
			wellSaid(t, *fault)
			if fault.Suggestion != "" {
				if _, again := impact.CheckSIRET(fault.Suggestion); again != nil {
					t.Fatalf("%q: the suggestion %q is refused", s, fault.Suggestion)
				}
			}
			return
		}
		if again, fault := impact.CheckSIRET(n); fault != nil || again != n || len(n) != 14 {
			t.Fatalf("%q in form is %q, which reads %q, %v", s, n, again, fault)
		}
	})
}

func TestOrganisationCheck(t *testing.T) {
	good := impact.Organisation{
		Name: "Iloé", SIRET: "20004697700019", SIREN: "200046977", RNA: "W691234567",
		ExternalIDs: []impact.ExternalID{{Source: "cocagne-crm", ID: "12"}},
		Class:       impact.Association, StructureKind: "EI", LegalCategory: "9220", NAF: "38.11Z",
		SizeClass: "small", StaffBand: "11", ESS: "true", ESSBasis: "statutory",
		Sites:    []impact.Site{{SIRET: "20004697700019", Territory: "arrondissement-69388", From: impact.MinDate, To: impact.MaxDate}},
		OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
	}
	for name, c := range map[string]struct {
		change func(*impact.Organisation)
		want   []string
	}{
		"nothing is wrong": {func(*impact.Organisation) {}, nil},
		"several faults at once": {
			func(o *impact.Organisation) { o.Name, o.SIRET, o.RNA, o.Class = " ", "1", "x", "" },
			[]string{"invalid_rna /rna", "invalid_siret /siret", "missing_field /name", "missing_field /organisation_class"},
		},
		"a SIREN of another": {func(o *impact.Organisation) { o.SIREN = "356000000" }, []string{"inconsistent /siren"}},
		"a wrong SIREN":      {func(o *impact.Organisation) { o.SIRET, o.SIREN = "", "123456789" }, []string{"invalid_siren /siren"}},
		"codes outside their lists": {func(o *impact.Organisation) {
			o.Class, o.StructureKind, o.SizeClass, o.StaffBand, o.ESS, o.ESSBasis = "club", "SIAE", "tiny", "99", "true", "faith"
		}, []string{"unknown_code /ess_basis", "unknown_code /organisation_class", "unknown_code /size_class", "unknown_code /staff_band", "unknown_code /structure_kind"}},
		"ess is one of three":           {func(o *impact.Organisation) { o.ESS, o.ESSBasis = "yes", "" }, []string{"unknown_code /ess"}},
		"a basis without being ESS":     {func(o *impact.Organisation) { o.ESS = "false" }, []string{"inconsistent /ess_basis"}},
		"a legal category has 4 digits": {func(o *impact.Organisation) { o.LegalCategory = "92" }, []string{"unknown_code /legal_category"}},
		"a NAF code":                    {func(o *impact.Organisation) { o.NAF = "waste" }, []string{"unknown_code /naf"}},
		"external ids":                  {func(o *impact.Organisation) { o.ExternalIDs = []impact.ExternalID{{Source: "a:b"}} }, []string{"invalid_type /external_ids/0/source", "missing_field /external_ids/0/id"}},
		"sites": {func(o *impact.Organisation) {
			o.Sites = []impact.Site{{SIRET: "1", Territory: "commune-1"}, {From: 2, To: 1}}
		}, []string{"invalid_date /sites/1/from", "invalid_siret /sites/0/siret", "missing_field /sites/1/territory", "unknown_territory /sites/0/territory"}},
		"a site in a former commune": {func(o *impact.Organisation) { o.Sites[0].Territory = "commune-69152" }, nil},
		"closed before it opened":    {func(o *impact.Organisation) { o.OpenedOn, o.ClosedOn = 10, 5 }, []string{"invalid_date /opened_on"}},
		"a name over 300 characters": {func(o *impact.Organisation) { o.Name = strings.Repeat("é", 301) }, []string{"too_long /name"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			o.Sites = append([]impact.Site{}, good.Sites...)
			c.change(&o)
			faults := o.Check(catalogue())
			wellSaid(t, faults...)
			if d := cmp.Diff(places(faults), append([]string{}, c.want...)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNormaliseSaysWhatItChanged(t *testing.T) {
	o := impact.Organisation{SIRET: "200 046 977 00019", RNA: "w691234567", NAF: "3811z", Sites: []impact.Site{{SIRET: "200.046.977.00019"}, {SIRET: "wrong"}}}
	warnings := o.Normalise()
	wellSaid(t, warnings...)
	want := []string{"identifier_normalised /naf", "identifier_normalised /rna", "identifier_normalised /siret", "identifier_normalised /sites/0/siret"}
	if d := cmp.Diff(places(warnings), want); d != "" {
		t.Error(d)
	}
	if o.SIRET != "20004697700019" || o.SIREN != "200046977" || o.RNA != "W691234567" || o.NAF != "38.11Z" || o.Sites[1].SIRET != "wrong" {
		t.Errorf("%+v", o)
	}
	if again := o.Normalise(); len(again) > 0 {
		t.Errorf("what is in form is left alone: %v", places(again))
	}
}

func TestPrincipals(t *testing.T) {
	for _, c := range []struct {
		who string
		p   impact.Principal
		is  bool
	}{
		{"nobody", impact.Principal{}, false},
		{"the organisation", impact.Principal{Role: impact.RoleOrganisation, Organisation: "iloe"}, true},
		{"another organisation", impact.Principal{Role: impact.RoleOrganisation, Organisation: "other"}, false},
		{"an organisation without id", impact.Principal{Role: impact.RoleOrganisation}, false},
		{"a steward", impact.Principal{Role: impact.RoleSteward}, false},
		{"a buyer", impact.Principal{Role: impact.RoleBuyer, Organisation: "iloe"}, false},
		{"an administrator", impact.Principal{Role: impact.RoleAdministrator, Organisation: "iloe"}, false},
	} {
		if got := c.p.Is("iloe"); got != c.is {
			t.Errorf("%s is the organisation: %v", c.who, got)
		}
		if c.p.Is("") {
			t.Errorf("%s and no organisation", c.who)
		}
	}
	if p := (impact.Principal{Role: impact.RoleSteward, Scopes: []impact.Scope{impact.SubmissionsReview}}); !p.Has(impact.SubmissionsReview) || p.Has(impact.ClientsManage) || p.IsAnonymous() {
		t.Error("a token carries the scopes it carries")
	}
	for _, s := range impact.AllowedScopes(impact.RoleAdministrator) {
		if s == impact.ObservationsRead || s == impact.AggregatesLive {
			t.Errorf("an administrator sees no observation: %s", s)
		}
	}
}

func TestCompleteness(t *testing.T) {
	q := &impact.Questionnaire{Code: "insertion-2025", Indicators: []impact.QuestionnaireItem{
		{Indicator: "insertion_hours", Required: true},
		{Indicator: "insertion_people", Required: true},
		{Indicator: "women_share", Required: true},
		{Indicator: "ghg_scope1"},
		{Indicator: "recovery_rate"},
	}}
	observe := func(indicator impact.IndicatorCode, s impact.Status) impact.Observation {
		o := impact.Observation{CellKey: impact.CellKey{Indicator: catalogue().Indicator(indicator).Key}, Status: s}
		if s.HasNumber() {
			v := impact.One
			o.Value = &v
		}
		return o
	}
	deleted := observe("ghg_scope1", impact.Normal)
	deleted.Deleted = true
	got := impact.NewCompleteness(catalogue(), q, []impact.Observation{
		observe("insertion_hours", impact.Normal), observe("insertion_hours", impact.Missing),
		observe("insertion_people", impact.Missing), observe("women", impact.NotApplicable), observe("headcount", impact.NotApplicable), deleted,
	})
	if got.Asked != 5 || got.Answered != 2 || got.Complete() || got.NoValue[impact.NotApplicable] != 2 || got.NoValue[impact.Missing] != 2 {
		t.Errorf("%+v", got)
	}
	if len(got.Blocking) != 1 || got.Blocking[0].Value != "insertion_people" {
		t.Errorf("missing (O) is not an answer: %+v", got.Blocking)
	}
	wellSaid(t, got.Blocking...)
	if item := got.Items[2]; !item.Answered || item.Observations != 2 {
		t.Errorf("a ratio is answered by its components: %+v", item)
	}
	if empty := impact.NewCompleteness(catalogue(), nil, nil); empty.Complete() {
		t.Error("an empty submission is incomplete")
	}
	if free := impact.NewCompleteness(catalogue(), nil, []impact.Observation{observe("insertion_hours", impact.Normal)}); !free.Complete() {
		t.Errorf("without questionnaire any observation will do: %+v", free.Blocking)
	}
}

func TestSuggest(t *testing.T) {
	list := func(words ...string) func(func(string) bool) {
		return func(yield func(string) bool) {
			for _, w := range words {
				if !yield(w) {
					return
				}
			}
		}
	}
	for _, c := range []struct {
		s, want string
		words   []string
	}{
		{"territoire", "territory", []string{"territory", "period"}},
		{"perido", "period", []string{"territory", "period"}},
		{"Décines", "decines", []string{"decines", "descines"}},
		{"abc", "", []string{"abd", "abe"}}, // two equally near
		{"abc", "", []string{"xyz"}},
		{"", "", []string{"a"}},
		{"a", "", nil},
	} {
		if got := impact.Suggest(c.s, list(c.words...)); got != c.want {
			t.Errorf("Suggest(%q, %v) = %q, want %q", c.s, c.words, got, c.want)
		}
	}
}

func TestFindImpactType(t *testing.T) {
	got, f := catalogue().FindImpactType("inclusion.insertion")
	if f != nil || got.Parent != "inclusion" {
		t.Errorf("%v, %v", got, f)
	}
	_, f = catalogue().FindImpactType("insertoin")
	if f == nil || f.Suggestion != "inclusion.insertion" {
		t.Errorf("%+v", f)
	}
	wellSaid(t, *f)
	if d := cmp.Diff(len(catalogue().Under("environment")), 10); d != "" {
		t.Errorf("environment and its nine: %s", d)
	}
}

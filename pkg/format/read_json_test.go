package format_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

func TestJSONIsReadStrictly(t *testing.T) {
	doc := `{"observations": [
{"organisation":"siret:34832377500018","indicator":"insertion_hours","territory":"commune-69266","period":"2025-Q3","value":123456789012.123456,"unit":"h"},
{"indicator":"x","value":null,"obs_status":"L","note":" =kept\n"},
{"indicator":"x","components":{"numerator":20,"denominator":1e2},"disaggregation":{"sex":"F"},"qualifiers":{"hours_basis":1607,"method":"a=b"},"covers":["123"]},
{"indicateur":"x","Value":1,"value":"12","value":1,"id":"a","siret":"1"},
{"value":1.1234567,"components":{"numerator":"1","numerator":1},"covers":"x","cumulative":1,"note":3,"disaggregation":[]},
[1], {"value":true}
] }`
	_, got := read(t, []byte(doc), format.ReadOptions{MediaType: "application/json"})
	want := []string{
		"1/2 siret:34832377500018|insertion_hours|commune-69266|2025-Q3|123456789012.123456 unit=h",
		"2/3 |x|||null status=L note= =kept\n",
		"3/4 |x||| map[denominator:1e2 numerator:20] map[sex:F] map[hours_basis:1607 method:a=b]",
		"4/5 |||| !unknown_member@0→indicator !unknown_member@0→value !invalid_type@0→12 !duplicate_member@0 !immutable_member@0 !invalid_siret@0",
		"5/6 ||||1.1234567 !invalid_type@0→1 !duplicate_member@0 !invalid_type@0 !invalid_type@0 !invalid_type@0 !invalid_type@0",
		"6/7 |||| !invalid_type@0",
		"7/7 ||||true",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestJSONNamesAnOrganisationByItsNumber(t *testing.T) {
	_, got := read(t, []byte("{\"siret\":\"34832377500018\",\"value\":1}\n{\"siren\":\"348 323 775\",\"value\":2}\n{\"siret\":34832377500018}\n"), format.ReadOptions{MediaType: "application/x-ndjson"})
	want := []string{"1/1 siret:34832377500018||||1", "2/2 siren:348323775||||2 ?identifier_normalised@0→348323775", "3/3 |||| !invalid_type@0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNDJSONLosesOneLineOnly(t *testing.T) {
	doc := "{\"indicator\":\"a\",\"value\":1}\n\n{\"indicator\":\"b\"\r\n{\"indicator\":\"c\",\"value\":3} x\n{\"note\":\"" + strings.Repeat("x", 70<<10) + "\"}\n{\"note\":\"\xff\"}\n{\"indicator\":\"d\",\"value\":4}"
	_, got := read(t, []byte(doc), format.ReadOptions{MediaType: "application/x-ndjson"})
	want := []string{
		"1/1 |a|||1",
		"2/3 |b||| !encoding@0",
		"3/4 |c|||3 !encoding@0",
		"4/5 |||| !row_too_long@0",
		"5/6 |||| !encoding@0",
		"6/7 |d|||4",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWhatIsNotTheDocumentIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ doc, code, says string }{
		"empty":            {"", "malformed_body", "vide"},
		"text":             {"bonjour", "malformed_body", "Ligne 1"},
		"one observation":  {`{"indicator":"x"}`, "import_unreadable", "observations"},
		"cut":              {"{\"observations\":[{\"value\":1},\n{\"val", "malformed_body", "Ligne 2"},
		"no comma":         {`{"observations":[{"value":1} {"value":1}]}`, "malformed_body", "Ligne 1"},
		"a comma too many": {`{"observations":[{"value":1},]}`, "malformed_body", "Ligne 1"},
		"more members":     {`{"observations":[],"x":1}`, "malformed_body", "only member"},
		"data after":       {`{"observations":[]} {}`, "malformed_body", "after"},
		"not JSON inside":  {`{"observations":[{value:1}]}`, "malformed_body", "Ligne 1"},
		"a bare word":      {`{"observations":[nul]}`, "malformed_body", "Ligne 1"},
		"a bracket":        {`{"observations":[}]}`, "malformed_body", "Ligne 1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := readAll(strings.NewReader(c.doc), format.ReadOptions{Schema: format.Observations, MediaType: "application/json"})
			e, ok := errors.AsType[*impact.Error](err)
			if !ok || e.Code != c.code || !strings.Contains(e.Detail.FR, c.says) || e.Detail.EN == "" || e.Hint.FR == "" || e.Hint.EN == "" {
				t.Errorf("%+v", err)
			}
		})
	}
	if err := readAll(strings.NewReader(`[{"value":1}]`), format.ReadOptions{Schema: format.Observations}); err != nil {
		t.Errorf("a bare list: %v", err)
	}
}

package docs_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/grandlyon/retombees/docs"
)

func TestYAMLReadsBackAsTheSameDocument(t *testing.T) {
	for name, document := range map[string]string{
		"scalars":           `{"a": "text", "b": 1, "c": 1.50, "d": true, "e": null, "f": "", "g": -0.000001}`,
		"look-alikes":       `["yes", "No", "null", "true", "1", "1e3", "2026-01-01", "~", "0x10", ".5", "y", "12:30", "01004"]`,
		"punctuation":       `["a: b", "a #b", "- a", "#a", "@a", "*a", "&a", "!a", "%a", "'a'", "\"a\"", "{a}", "[a]", "a,b", "a:", " a", "a ", "\ta", "?", "|", ">"]`,
		"keys":              `{"200": 1, "yes": 2, "/v1/a/{id}": 3, "a b": 4, "$ref": "#/x", "": 5, "application/json": 6, "é": 7}`,
		"several lines":     `{"a": "one\ntwo\n\nthree", "b": "ends\n", "c": " leads\nx", "d": "trailing \nx", "e": "\n", "f": ["x\n  y", {"g": "x\ny"}]}`,
		"nothing":           `{"a": {}, "b": [], "c": [[], {}]}`,
		"nesting":           `{"a": [{"b": [1, [2, [3]], {"c": {"d": [{"e": 1, "f": 2}]}}]}]}`,
		"control and emoji": `["\u0000", "\u0085", "\u2028", "\ufeffx", "é…😀", "\\", "a\\nb"]`,
		"bare":              `"just text"`,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := docs.YAML([]byte(document))
			if err != nil {
				t.Fatal(err)
			}
			var want, got any
			if err := json.Unmarshal([]byte(document), &want); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(text, &got); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			encoded, err := json.Marshal(got)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			var again any
			if err := json.Unmarshal(encoded, &again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, again); diff != "" {
				t.Errorf("-want +got\n%s\n%s", diff, text)
			}
		})
	}
}

func TestYAMLRefusesWhatIsNotOneDocument(t *testing.T) {
	for _, document := range []string{``, `{`, `{} {}`, `{"a":}`} {
		if text, err := docs.YAML([]byte(document)); err == nil {
			t.Errorf("%q became %q", document, text)
		}
	}
}

func TestServedYAMLIsTheFileOfTheRepository(t *testing.T) {
	file, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(file), string(docs.OpenAPIYAML())); diff != "" {
		t.Errorf("openapi.yaml is not docs/openapi.json (run make openapi): -file +served\n%s", diff)
	}
}

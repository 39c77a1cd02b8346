package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func TestFixtureBecomesTheGoldenDocument(t *testing.T) {
	got, err := generate("testdata/fixture/general.go", "testdata/fixture")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "fixture.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("-golden +generated\n%s", diff)
	}
	again, err := generate("testdata/fixture/general.go", "testdata/fixture")
	if err != nil || !bytes.Equal(got, again) {
		t.Errorf("generated twice, the document is not the same (%v)", err)
	}
}

// The published contract is what the annotations say today.
func TestPublishedDocumentIsCurrent(t *testing.T) {
	files, err := render("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		current, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(current), string(f.text)); diff != "" {
			t.Errorf("%s is stale, run `make openapi`: -file +annotations\n%s", f.path, diff)
		}
	}
}

func TestSchemaNamesCarryNoPackage(t *testing.T) {
	for name, want := range map[string]string{
		"api.Observation": "Observation",
		"ThingPage":       "ThingPage",
		"github_com_grandlyon_retombees_pkg_impact.Text": "Text",
		"api.Page-api_Need": "PageOfNeed",
		"api.Page-github_com_grandlyon_retombees_pkg_impact_Id": "PageOfId",
		"api.Pair-api_A-impact_B":                               "PairOfAAndB",
	} {
		if got := schemaName(name); got != want {
			t.Errorf("%s became %s, want %s", name, got, want)
		}
	}
}

func TestWhatAnAnnotationForgotIsReportedAtOnce(t *testing.T) {
	document := object{
		"components": object{"schemas": object{"a.Thing": object{"type": "object"}, "b.Thing": object{"type": "object"}}},
		"paths": object{
			"/v1/things": object{"get": object{
				"operationId": "ListThings",
				"tags":        []any{"unknown"},
				"parameters":  []any{object{"name": "limit", "in": "query"}},
				"responses":   object{"404": object{"description": "Not found"}},
			}},
			"/v1/others": object{"get": object{
				"operationId": "listOthers",
				"responses":   object{"200": object{"description": "OK"}},
			}},
		},
	}
	err := correct(document)
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		"two types would be called Thing: a.Thing and b.Thing",
		`@ID "ListThings" is not a verb`, "no @Summary", `tag "unknown" is not described`, "parameter limit has no description",
		"response 404 has no body", "no successful response",
		"no @Tags", "no error response",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

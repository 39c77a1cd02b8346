package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/docs"
	"github.com/grandlyon/retombees/docs/contract"
)

// Every route is an operation of openapi.yaml, and every operation a route.
func TestRoutesAreTheContract(t *testing.T) {
	v, err := contract.Load()
	must(t, err)
	var described, served []string
	for _, o := range v.Operations() {
		described = append(described, o.Method+" "+o.Path)
	}
	for _, r := range api.Routes() {
		served = append(served, r.Method+" "+braces(r.Path))
	}
	slices.Sort(described)
	slices.Sort(served)
	if diff := cmp.Diff(described, served); diff != "" {
		t.Errorf("the contract (-) and the routes (+) differ; run make openapi:\n%s", diff)
	}
}

// The query parameters that a route reads are those that its operation tells.
func TestParametersAreTheContract(t *testing.T) {
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	must(t, json.Unmarshal(docs.OpenAPIJSON, &document))
	for _, r := range api.Routes() {
		served := strings.Fields(r.Params)
		if r.Paged {
			served = append(served, "limit", "cursor")
		}
		var described []string
		for _, p := range document.Paths[braces(r.Path)][strings.ToLower(r.Method)].Parameters {
			if p.In == "query" {
				described = append(described, p.Name)
			}
		}
		// "disaggregation.*" cannot be written in OpenAPI: its examples are.
		open := slices.IndexFunc(served, func(s string) bool { return strings.HasSuffix(s, ".*") })
		if open >= 0 {
			prefix := strings.TrimSuffix(served[open], "*")
			served = slices.Delete(served, open, open+1)
			described = slices.DeleteFunc(described, func(s string) bool { return strings.HasPrefix(s, prefix) })
		}
		slices.Sort(served)
		slices.Sort(described)
		if diff := cmp.Diff(described, served, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s %s: the contract (-) and the route (+) differ:\n%s", r.Method, r.Path, diff)
		}
	}
}

func braces(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if name, ok := strings.CutPrefix(s, ":"); ok {
			segments[i] = "{" + name + "}"
		}
	}
	return strings.Join(segments, "/")
}

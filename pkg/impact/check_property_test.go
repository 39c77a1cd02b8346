package impact_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

// anyStatement draws what people send: mostly readable, often wrong.
func anyStatement(t *rapid.T) impact.Statement {
	one := func(label string, words ...string) string { return rapid.SampledFrom(words).Draw(t, label) }
	maybe := func(label string, words ...string) string {
		return rapid.SampledFrom(append(words, "", "", "")).Draw(t, label)
	}
	ind := rapid.SampledFrom(catalogue().Indicators()).Draw(t, "indicator")
	st := impact.Statement{
		Indicator:  one("code", string(ind.Code), string(ind.Code), string(ind.Code), "nothing", ""),
		Territory:  one("territory", "commune-69266", "commune-69152", "69003", "metropole-200046977", "commune-69149@2020", ""),
		Period:     one("period", "2025", "2023-Q4", "2024-07-01/2025-06-30", "T1 2024", "2031", ""),
		Value:      maybe("value", "0", "12", "-3", "80", "1e30", "true", "0.1234567", "x"),
		ValueNull:  rapid.Bool().Draw(t, "null"),
		Unit:       maybe("unit", ind.Unit, "kg", "min", "%", "furlong"),
		Status:     maybe("status", "A", "E", "L", "M", "O", "Q", "?"),
		Programme:  maybe("programme", "p-1", "a b"),
		Qualifiers: map[string]string{},
	}
	st.Counting, st.AttributionShare = maybe("counting", "unique", "attendances", "twice"), maybe("share", "0.5", "50", "-1")
	st.Perimeter, st.Covers = maybe("perimeter", "group", "moon"), nil
	for _, name := range append(slices.Clone(ind.RequiredMetadata), "hours_basis", "colour") {
		if v := maybe("qualifier "+name, "metropole", "2024", "1607", "0.6", "text", "period_end", "statutory"); v != "" {
			st.Qualifiers[name] = v
		}
	}
	names := []string{"numerator", "denominator", "weight", "other"}
	for _, leaf := range catalogue().Leaves(ind) {
		names = append(names, string(leaf.Code))
	}
	if rapid.Bool().Draw(t, "components") {
		st.Components = rapid.MapOf(rapid.SampledFrom(names), rapid.SampledFrom([]string{"0", "5", "100", "-1", "y"})).Draw(t, "parts")
	}
	if len(ind.Disaggregations) > 0 {
		if d := maybe("cut", "F", "yes", "_T", "zz", "a;b"); d != "" {
			st.Disaggregation = map[string]string{rapid.SampledFrom(ind.Disaggregations).Draw(t, "dimension"): d}
		}
	}
	return st
}

func TestStatementProperties(t *testing.T) {
	t.Run("a statement is either a fact or at fault, and says how to mend", rapid.MakeCheck(func(rt *rapid.T) {
		st := anyStatement(rt)
		before := fmt.Sprint(st)
		r, faults, warnings := checker().Resolve(&st, iloe)
		if (len(faults) == 0) != (len(r.Cells) > 0) {
			rt.Fatalf("%d cells and %v", len(r.Cells), places(faults))
		}
		wellSaid(t, faults...)
		wellSaid(t, warnings...)
		if t.Failed() {
			rt.Fatalf("badly said: %+v", st)
		}
		for _, o := range r.Cells {
			if o.Status.HasNumber() != (o.Value != nil) {
				rt.Fatalf("a number goes with its status: %+v", o)
			}
			if ind := catalogue().IndicatorByKey(o.Indicator); ind.Derived || ind.Composed() {
				rt.Fatalf("%s is not a fact", ind.Code)
			}
		}
		if fmt.Sprint(st) != before {
			rt.Fatal("the statement was changed")
		}
		again, faults2, warnings2 := checker().Resolve(&st, iloe)
		if d := cmp.Diff(places(faults), places(faults2)) + cmp.Diff(places(warnings), places(warnings2)) + cmp.Diff(r.Cells, again.Cells); d != "" {
			rt.Fatalf("the same statement is judged differently: %s", d)
		}
	}))
	t.Run("every suggestion is accepted where it is given", rapid.MakeCheck(func(rt *rapid.T) {
		st := anyStatement(rt)
		_, faults, _ := checker().Resolve(&st, iloe)
		for _, f := range faults {
			if f.Suggestion == "" {
				continue
			}
			mended := st
			switch f.Pointer {
			case "/territory":
				mended.Territory = f.Suggestion
			case "/period":
				mended.Period = f.Suggestion
			case "/indicator":
				mended.Indicator = f.Suggestion
			case "/unit":
				mended.Unit = f.Suggestion
			case "/obs_status":
				mended.Status = f.Suggestion
			case "/counting":
				mended.Counting = f.Suggestion
			default:
				continue
			}
			_, after, _ := checker().Resolve(&mended, iloe)
			if slices.ContainsFunc(after, func(g impact.Fault) bool { return g.Pointer == f.Pointer && g.Code == f.Code }) {
				rt.Fatalf("%s at %s suggests %q, which has the same fault", f.Code, f.Pointer, f.Suggestion)
			}
		}
	}))
	t.Run("the order of the rows does not matter", rapid.MakeCheck(func(rt *rapid.T) {
		words := func(label string, ws ...string) string { return rapid.SampledFrom(ws).Draw(rt, label) }
		var statements []impact.Statement
		for range rapid.IntRange(1, 6).Draw(rt, "rows") {
			st := impact.Statement{
				Indicator: words("indicator", "insertion_hours", "insertion_people", "waste_collected", "waste_recycled", "women", "headcount"),
				Territory: words("territory", "commune-69123", "arrondissement-69388", "metropole-200046977", "commune-69266"),
				Period:    words("period", "2025", "2025-Q1", "2025-Q2"),
				Value:     words("value", "0", "1", "50", "5000"),
			}
			if st.Indicator == "insertion_people" {
				if sex := words("sex", "", "F", "M"); sex != "" {
					st.Disaggregation = map[string]string{"sex": sex}
				}
			}
			statements = append(statements, st)
		}
		judge := func(order []int) map[int]string {
			var shuffled []impact.Statement
			for _, i := range order {
				shuffled = append(shuffled, statements[i])
			}
			rows := batchOf(t, shuffled...)
			checker().Reconcile(rows, nil, nil)
			out := map[int]string{}
			for at, i := range order {
				out[i] = strings.Join(slices.Compact(places(rows[at].Faults)), ", ") + "|" + strings.Join(slices.Compact(places(rows[at].Warnings)), ", ")
			}
			return out
		}
		order := make([]int, len(statements))
		for i := range order {
			order[i] = i
		}
		if d := cmp.Diff(judge(order), judge(rapid.Permutation(order).Draw(rt, "order"))); d != "" {
			rt.Fatal(d)
		}
	}))
}

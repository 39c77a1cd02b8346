package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

type object = map[string]any

// hours is an observation of insertion hours, with other members laid over it;
// a nil value takes a member away.
func hours(over ...object) object {
	o := object{"indicator": "insertion_hours", "territory": "commune-69266", "period": "2025-Q3", "value": 1840, "unit": "h"}
	for _, m := range over {
		for k, v := range m {
			if v == nil {
				delete(o, k)
			} else {
				o[k] = v
			}
		}
	}
	return o
}

// path is the address in a header or a link, without the public base.
func path(t testing.TB, address any) string {
	t.Helper()
	s, _ := address.(string)
	p, ok := strings.CutPrefix(s, publicURL)
	if !ok {
		t.Fatalf("%v is not an absolute address of ours", address)
	}
	return p
}

// faults gives code and place of every fault of a refusal, sorted.
func faults(t testing.TB, a answer) []string { return entries(a.json(t)["errors"]) }

func entries(list any) []string {
	out := []string{}
	l, _ := list.([]any)
	for _, x := range l {
		e := x.(object)
		place := ""
		for _, k := range []string{"pointer", "parameter", "header"} {
			if s, ok := e[k].(string); ok {
				place = s
			}
		}
		out = append(out, strings.TrimSpace(fmt.Sprint(e["code"], " ", place)))
	}
	slices.Sort(out)
	return out
}

func number(t testing.TB, v any) string {
	t.Helper()
	n, ok := v.(json.Number)
	if !ok {
		t.Errorf("%v (%T) is not a number", v, v)
	}
	return string(n)
}

func TestOneFactOneObservation(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		first := x.post(t, "/v1/observations", hours(object{"note": "T3", "source": "crm", "external_id": "ins-1", "evidence_level": "declared"}))
		if first.status != http.StatusCreated || first.header.Get("ETag") != `"v1"` || first.at(t, "/meta/outcome") != "created" {
			t.Fatalf("%d %v %s", first.status, first.header, first.body)
		}
		at := path(t, first.header.Get("Location"))
		if path(t, first.at(t, "/links/self")) != at || first.header.Get("Consistency-Token") == "" {
			t.Errorf("%v %s", first.header, first.body)
		}
		got := first.json(t)
		for _, k := range []string{"id", "submission", "acted_by", "updated_at", "links", "meta"} {
			if got[k] == nil || got[k] == "" {
				t.Errorf("%s is missing", k)
			}
			delete(got, k)
		}
		want := object{
			"organisation": string(w.atelier.ID), "indicator": "insertion_hours", "methodology_version": "1", "territory": "commune-69266", "vintage": "2025", "period": "2025-Q3",
			"value": json.Number("1840"), "components": nil, "unit": "h", "obs_status": "A", "disaggregation": object{}, "qualifiers": object{}, "programme": nil,
			"note": "T3", "source": "crm", "external_id": "ins-1", "evidence_level": "declared", "state": "draft", "mandate": nil, "version": json.Number("1"), "approved_version": nil,
			"reporting_perimeter": got["reporting_perimeter"],
		}
		if want["reporting_perimeter"] == nil {
			delete(want, "reporting_perimeter")
			delete(got, "reporting_perimeter")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}

		again := x.post(t, "/v1/observations", hours(object{"note": "T3", "source": "crm", "external_id": "ins-1", "evidence_level": "declared"}))
		if again.status != http.StatusOK || again.at(t, "/meta/outcome") != "unchanged" || again.header.Get("ETag") != `"v1"` || path(t, again.header.Get("Location")) != at {
			t.Errorf("the same fact sent twice: %d %s", again.status, again.body)
		}
		changed := x.post(t, "/v1/observations", hours(object{"value": json.Number("1841.5"), "note": "corrigé", "source": "crm", "external_id": "ins-1"}))
		if changed.status != http.StatusOK || changed.at(t, "/meta/outcome") != "updated" || changed.header.Get("ETag") != `"v2"` {
			t.Errorf("another value: %d %s", changed.status, changed.body)
		}
		read := x.get(t, at)
		if read.status != http.StatusOK || read.header.Get("ETag") != `"v2"` || number(t, read.at(t, "/value")) != "1841.5" || read.header.Get("Cache-Control") != "private, no-store" {
			t.Errorf("%d %v %s", read.status, read.header, read.body)
		}
		if a := x.get(t, at, header{"If-None-Match", `"v2"`}); a.status != http.StatusNotModified || len(a.body) > 0 {
			t.Errorf("%d %s", a.status, a.body)
		}
		history := x.get(t, path(t, read.at(t, "/links/history")))
		if number(t, history.at(t, "/meta/row_count")) != "2" || number(t, history.at(t, "/data/0/value")) != "1841.5" || number(t, history.at(t, "/data/0/previous_value")) != "1840" ||
			history.at(t, "/data/1/previous_value") != nil || history.at(t, "/data/0/note") != "corrigé" || history.at(t, "/data/1/note") != "T3" {
			t.Errorf("previous values are lost: %s", history.body)
		}
	})
}

func TestNumbersAreExact(t *testing.T) {
	w := embedded(t)
	for i, c := range []struct{ sent, unit, want, original, originalUnit string }{
		{"0.1", "t", "0.1", "", ""},
		{"1e3", "t", "1000", "", ""},
		{"12345678901.123456", "t", "12345678901.123456", "", ""},
		{"1500", "kg", "1.5", "1500", "kg"},
		{"2.0", "", "2", "", ""},
	} {
		o := hours(object{"indicator": "waste_collected", "period": fmt.Sprint(2019 + i), "value": json.Number(c.sent), "unit": c.unit})
		if c.unit == "" {
			delete(o, "unit")
		}
		a := w.organisation.post(t, "/v1/observations", o)
		if a.status != http.StatusCreated || number(t, a.at(t, "/value")) != c.want || a.at(t, "/unit") != "t" {
			t.Errorf("%s %s: %d %s", c.sent, c.unit, a.status, a.body)
		}
		if original, _ := a.at(t, "/original_value").(string); original != c.original {
			t.Errorf("%s %s: original value %q", c.sent, c.unit, original)
		}
		if unit, _ := a.at(t, "/original_unit").(string); unit != c.originalUnit {
			t.Errorf("%s %s: original unit %q", c.sent, c.unit, unit)
		}
	}
}

func TestRatiosAreSentAsTheirParts(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		ratio := object{"indicator": "women_share", "territory": "commune-69266", "period": "2025", "components": object{"numerator": 20, "denominator": 100}}
		a := x.post(t, "/v1/observations", ratio)
		if a.status != http.StatusCreated || number(t, a.at(t, "/value")) != "0.2" || number(t, a.at(t, "/components/numerator")) != "20" || number(t, a.at(t, "/components/denominator")) != "100" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		at := path(t, a.header.Get("Location"))
		if a := x.get(t, at); a.status != http.StatusOK || number(t, a.at(t, "/value")) != "0.2" || number(t, a.at(t, "/components/numerator")) != "20" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := x.post(t, "/v1/observations", ratio); a.at(t, "/meta/outcome") != "unchanged" {
			t.Errorf("the same parts again: %s", a.body)
		}
		// A merge patch changes one part and keeps the other.
		tag := x.get(t, at).header.Get("ETag")
		a = x.do(t, "PATCH", at, object{"components": object{"numerator": 25}}, header{"If-Match", tag})
		if a.status != http.StatusOK || number(t, a.at(t, "/value")) != "0.25" || number(t, a.at(t, "/components/denominator")) != "100" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a.header.Get("ETag") == tag {
			t.Error("the version of a computed value stands still")
		}
		refused(t, x.do(t, "PATCH", at, object{"components": object{"numerator": 26}}, header{"If-Match", tag}), http.StatusPreconditionFailed, "precondition_failed")
		// Other ratios may lean on the same headcount: a view is not deleted.
		refused(t, x.do(t, "DELETE", at, nil, header{"If-Match", a.header.Get("ETag")}), http.StatusConflict, "bad_state")
		if a := x.get(t, at); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestCorrectionsNameTheirVersion(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		at := path(t, x.post(t, "/v1/observations", hours()).header.Get("Location"))
		refused(t, x.do(t, "PATCH", at, object{"value": 1}), http.StatusPreconditionRequired, "precondition_required")
		refused(t, x.do(t, "PATCH", at, object{"value": 1}, header{"If-Match", "yesterday"}), http.StatusBadRequest, "invalid_header")
		refused(t, x.do(t, "DELETE", at, nil), http.StatusPreconditionRequired, "precondition_required")

		a := x.do(t, "PATCH", at, object{"value": 1900, "note": "recompté", "qualifiers": nil}, header{"If-Match", `"v1"`}, header{"Content-Type", "application/merge-patch+json"})
		if a.status != http.StatusOK || a.header.Get("ETag") != `"v2"` || number(t, a.at(t, "/value")) != "1900" || a.at(t, "/note") != "recompté" || a.header.Get("Consistency-Token") == "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		stale := x.do(t, "PATCH", at, object{"value": 1901}, header{"If-Match", `"v1"`})
		refused(t, stale, http.StatusPreconditionFailed, "precondition_failed")
		if stale.at(t, "/current_etag") != `"v2"` {
			t.Errorf("the version in force is not told: %s", stale.body)
		}
		// A proxy that compresses weakens the tag.
		if a := x.do(t, "PATCH", at, object{"note": nil}, header{"If-Match", `W/"v2-gzip"`}); a.status != http.StatusOK || a.at(t, "/note") != nil {
			t.Errorf("%d %s", a.status, a.body)
		}
		a = x.do(t, "PATCH", at, object{"territory": "commune-69123", "period": "2025-Q2", "indicator": "waste_collected", "disaggregation": object{"sex": "F"}, "programme": "p"}, header{"If-Match", `"v3"`})
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		if diff := cmp.Diff([]string{"immutable_member /disaggregation", "immutable_member /indicator", "immutable_member /period", "immutable_member /programme", "immutable_member /territory"}, faults(t, a)); diff != "" {
			t.Error(diff)
		}
		a = x.do(t, "PATCH", at, object{"value": nil}, header{"If-Match", `"v3"`})
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		a = x.do(t, "PATCH", at, object{"value": nil, "obs_status": "L"}, header{"If-Match", `"v3"`})
		if a.status != http.StatusOK || a.at(t, "/value") != nil || a.at(t, "/obs_status") != "L" {
			t.Errorf("%d %s", a.status, a.body)
		}
		a = x.do(t, "PATCH", at, object{"value": 12}, header{"If-Match", `"v4"`})
		if a.status != http.StatusOK || number(t, a.at(t, "/value")) != "12" || a.at(t, "/obs_status") != "A" {
			t.Errorf("a value where there was none: %d %s", a.status, a.body)
		}

		refused(t, x.do(t, "DELETE", at, nil, header{"If-Match", `"v1"`}), http.StatusPreconditionFailed, "precondition_failed")
		if a := x.do(t, "DELETE", at, nil, header{"If-Match", `"v5"`}); a.status != http.StatusNoContent || len(a.body) > 0 || a.header.Get("Consistency-Token") == "" {
			t.Errorf("%d %s", a.status, a.body)
		}
		id := at[strings.LastIndexByte(at, '/')+1:]
		if got := ids(t, x.get(t, "/v1/observations")); slices.Contains(got, id) {
			t.Error("a deleted observation is listed")
		}
		tombs := x.get(t, "/v1/observations?include_deleted=true")
		if !slices.Contains(ids(t, tombs), id) || tombs.at(t, "/data/0/deleted") != true {
			t.Errorf("there is no tombstone: %s", tombs.body)
		}
		history := x.get(t, at+"/history")
		if number(t, history.at(t, "/meta/row_count")) != "6" || history.at(t, "/data/0/deleted") != true {
			t.Errorf("history after deletion: %s", history.body)
		}
		// The same fact meets the same id, before and after deletion.
		if a := x.post(t, "/v1/observations", hours()); a.status != http.StatusCreated || path(t, a.header.Get("Location")) != at || a.header.Get("ETag") != `"v7"` {
			t.Errorf("%d %v %s", a.status, a.header.Get("Location"), a.body)
		}
	})
}

func TestOnlyOneOfManyCorrectionsWins(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		at := path(t, w.organisation.post(t, "/v1/observations", hours()).header.Get("Location"))
		var wg sync.WaitGroup
		statuses := make([]int, 16)
		for i := range statuses {
			wg.Go(func() {
				req, _ := w.organisation.request(t, "PATCH", at, object{"value": 2000 + i}, header{"If-Match", `"v1"`})
				statuses[i] = w.send(t, req).status
			})
		}
		wg.Wait()
		count := map[int]int{}
		for _, s := range statuses {
			count[s]++
		}
		if diff := cmp.Diff(map[int]int{200: 1, 412: 15}, count); diff != "" {
			t.Error(diff)
		}
		if a := w.organisation.get(t, at); a.header.Get("ETag") != `"v2"` {
			t.Errorf("%s %s", a.header.Get("ETag"), a.body)
		}
	})
}

func TestTheFiveKindsOfNoValue(t *testing.T) {
	w := embedded(t)
	for i, c := range []struct {
		over object
		want string // value and status, or the faults
	}{
		{object{"value": 0}, "0 A"},
		{object{"value": json.RawMessage("null"), "obs_status": "L"}, "<nil> L"},
		{object{"value": json.RawMessage("null"), "obs_status": "M"}, "<nil> M"},
		{object{"value": json.RawMessage("null"), "obs_status": "O"}, "<nil> O"},
		{object{"value": 5, "obs_status": "E"}, "5 E"},
		{object{"value": 5, "obs_status": "P"}, "5 P"},
		{object{"value": json.RawMessage("null")}, "[null_without_status /value]"},
		{object{"value": nil}, "[missing_field /value]"},
		{object{"value": 5, "obs_status": "L"}, "[value_with_missing_status /obs_status]"},
		{object{"value": json.RawMessage("null"), "obs_status": "Q"}, "[null_without_status /value unknown_code /obs_status]"},
	} {
		a := w.organisation.post(t, "/v1/observations", hours(object{"period": fmt.Sprintf("2025-%02d", i+1)}, c.over))
		var got string
		if a.status == http.StatusCreated {
			got = fmt.Sprint(a.at(t, "/value"), " ", a.at(t, "/obs_status"))
		} else {
			got = fmt.Sprint(faults(t, a))
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.over, got, c.want)
		}
	}
}

func TestEveryFaultOfAnObservationIsToldAtOnce(t *testing.T) {
	w := embedded(t)
	a := w.organisation.post(t, "/v1/observations", object{
		"organisation": "siret:12345678200011", "indicator": "insertion_hour", "territory": "commune-69999", "period": "T3 2025",
		"value": "1840", "unit": "min", "obs_status": "Z", "Note": "x",
	})
	refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
	want := []string{"ambiguous_period /period", "invalid_siret /organisation", "invalid_type /value", "unknown_code /obs_status", "unknown_indicator /indicator", "unknown_member /Note", "unknown_territory /territory"}
	if diff := cmp.Diff(want, faults(t, a)); diff != "" {
		t.Error(diff)
	}
	for _, e := range a.json(t)["errors"].([]any) {
		e := e.(object)
		if e["detail"] == "" || e["hint"] == nil || e["hint"] == "" {
			t.Errorf("nobody can mend this: %v", e)
		}
		switch e["pointer"] {
		case "/indicator":
			if e["suggestion"] != "insertion_hours" {
				t.Errorf("no did-you-mean: %v", e)
			}
		case "/period":
			if e["suggestion"] != "2025-Q3" {
				t.Errorf("no did-you-mean: %v", e)
			}
		case "/Note":
			if e["suggestion"] != "note" {
				t.Errorf("no did-you-mean: %v", e)
			}
		case "/value":
			if e["suggestion"] != "1840" {
				t.Errorf("no did-you-mean: %v", e)
			}
		}
	}
	// The same in English.
	b := w.organisation.post(t, "/v1/observations", object{"indicator": "insertion_hour"}, header{"Accept-Language", "en"})
	if !strings.Contains(string(b.body), "Did you mean insertion_hours?") {
		t.Errorf("%s", b.body)
	}
}

func TestBatchAnswersRowByRow(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		x.post(t, "/v1/observations", hours(object{"period": "2024-Q1"}))
		x.post(t, "/v1/observations", hours(object{"period": "2024-Q2"}))
		batch := object{"observations": []any{
			hours(object{"period": "2024-Q1"}),
			hours(object{"period": "2024-Q2", "value": 1850}),
			hours(object{"period": "2024-Q3"}),
			hours(object{"period": "2024-Q9"}),
			hours(object{"organisation": "siren:552100554", "period": "2024-Q4"}),
			hours(object{"period": "2023-Q1", "value": "x", "indicator": "nothing_like_it_at_all"}),
			hours(object{"period": "2023-Q2"}),
			hours(object{"period": "2023-Q2", "value": 7}),
			3,
		}}
		req, _ := x.request(t, "POST", "/v1/observations", batch) // two rows have not the form that the contract says
		a := w.send(t, req)
		if a.status != http.StatusOK || a.header.Get("Consistency-Token") == "" || a.header.Get("ETag") != "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		var got []string
		for i, r := range a.json(t)["data"].([]any) {
			r := r.(object)
			if number(t, r["row"]) != fmt.Sprint(i+1) {
				t.Errorf("row %v at %d", r["row"], i)
			}
			if (r["observation"] == nil) != (r["outcome"] == "rejected") {
				t.Errorf("%v", r)
			}
			if o, ok := r["observation"].(object); ok {
				if b := x.get(t, path(t, o["links"].(object)["self"])); b.status != http.StatusOK || b.at(t, "/id") != o["id"] {
					t.Errorf("%d %s", b.status, b.body)
				}
			}
			got = append(got, strings.TrimSpace(fmt.Sprint(r["outcome"], " ", strings.Join(entries(r["errors"]), ", "))))
		}
		want := []string{
			"unchanged", "updated", "created", "rejected unknown_period_format /period", "rejected unknown_organisation /organisation",
			"rejected invalid_type /value, unknown_indicator /indicator", "rejected duplicate_in_file", "rejected duplicate_in_file", "rejected invalid_type",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		counts := a.at(t, "/meta/counts").(object)
		delete(counts, "warnings")
		if diff := cmp.Diff(object{"received": json.Number("9"), "created": json.Number("1"), "updated": json.Number("1"), "unchanged": json.Number("1"), "rejected": json.Number("6")}, counts); diff != "" {
			t.Error(diff)
		}
		if a.at(t, "/meta/outcome") != "partially_succeeded" {
			t.Error(a.at(t, "/meta/outcome"))
		}
		if b := w.other.get(t, "/v1/observations"); number(t, b.at(t, "/meta/row_count")) != "0" {
			t.Errorf("a batch wrote for another organisation: %s", b.body)
		}
	})
}

func TestBatchesHaveAForm(t *testing.T) {
	w := embedded(t)
	x := w.organisation
	if a := x.post(t, "/v1/observations", `{"observations":[]}`); a.status != http.StatusOK || a.at(t, "/meta/outcome") != "succeeded" {
		t.Errorf("%d %s", a.status, a.body)
	}
	req, _ := x.request(t, "POST", "/v1/observations", object{"observations": []any{object{}}})
	if a := w.send(t, req); a.at(t, "/meta/outcome") != "failed" {
		t.Errorf("%d %s", a.status, a.body)
	}
	rows := make([]any, 1001)
	for i := range rows {
		rows[i] = object{}
	}
	refused(t, x.post(t, "/v1/observations", object{"observations": rows}), http.StatusRequestEntityTooLarge, "body_too_large")
	refused(t, x.post(t, "/v1/observations", `{"observations":{}}`), http.StatusUnprocessableEntity, "validation_failed")
	refused(t, x.post(t, "/v1/observations", `{"observations":[],"value":1}`), http.StatusUnprocessableEntity, "validation_failed")
	refused(t, x.post(t, "/v1/observations", `{"observations":[{]}`), http.StatusBadRequest, "malformed_body")
	refused(t, x.post(t, "/v1/observations", ``), http.StatusBadRequest, "malformed_body")
	refused(t, x.post(t, "/v1/observations", strings.Repeat(" ", 2<<20)+"{}"), http.StatusRequestEntityTooLarge, "body_too_large")
	refused(t, x.post(t, "/v1/observations", `indicator;value`, header{"Content-Type", "text/csv"}), http.StatusUnsupportedMediaType, "unsupported_media_type")
	deep := strings.Repeat(`{"components":`, 40) + "1" + strings.Repeat("}", 40)
	refused(t, x.post(t, "/v1/observations", deep), http.StatusBadRequest, "malformed_body")
}

func TestARepeatedRequestGetsItsFirstAnswer(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x, key := w.organisation, header{"Idempotency-Key", `"8e03978e-40d5-43e8-bc93-6894a57f9324"`}
		first := x.post(t, "/v1/observations", hours(), key)
		if first.status != http.StatusCreated || first.header.Get("Idempotent-Replayed") != "" {
			t.Fatalf("%d %s", first.status, first.body)
		}
		// The quotes are optional; what happened since does not change the answer.
		x.post(t, "/v1/observations", hours(object{"value": 3}))
		again := x.post(t, "/v1/observations", hours(), header{"Idempotency-Key", `8e03978e-40d5-43e8-bc93-6894a57f9324`})
		if again.status != http.StatusCreated || again.header.Get("Idempotent-Replayed") != "true" || string(again.body) != string(first.body) ||
			again.header.Get("ETag") != first.header.Get("ETag") || again.header.Get("Location") != first.header.Get("Location") || again.header.Get("Consistency-Token") == "" {
			t.Errorf("%d %v\n%s\n%s", again.status, again.header, first.body, again.body)
		}
		if a := x.get(t, path(t, first.header.Get("Location"))); number(t, a.at(t, "/value")) != "3" {
			t.Errorf("the repeated request was run again: %s", a.body)
		}
		refused(t, x.post(t, "/v1/observations", hours(object{"value": 4}), key), http.StatusUnprocessableEntity, "idempotency_key_reused")
		// A key belongs to who sent it.
		if a := w.other.post(t, "/v1/observations", hours(), key); a.status != http.StatusCreated || a.header.Get("Idempotent-Replayed") != "" || a.at(t, "/organisation") != string(w.bocage.ID) {
			t.Errorf("%d %s", a.status, a.body)
		}
		for _, bad := range []string{"a b", `""`, strings.Repeat("k", 256), "é"} {
			refused(t, x.post(t, "/v1/observations", hours(), header{"Idempotency-Key", bad}), http.StatusBadRequest, "invalid_header")
		}
		// What was refused was not done: the same key serves the mended request.
		key = header{"Idempotency-Key", "mended"}
		refused(t, x.post(t, "/v1/observations", hours(object{"period": "2024-Q9"}), key), http.StatusUnprocessableEntity, "validation_failed")
		if a := x.post(t, "/v1/observations", hours(object{"period": "2024-Q4"}), key); a.status != http.StatusCreated {
			t.Errorf("%d %s", a.status, a.body)
		}
		batch := object{"observations": []any{hours(object{"period": "2023-Q1"}), hours(object{"period": "2023-Q8"})}}
		one, two := x.post(t, "/v1/observations", batch, header{"Idempotency-Key", "batch"}), x.post(t, "/v1/observations", batch, header{"Idempotency-Key", "batch"})
		if one.status != http.StatusOK || string(one.body) != string(two.body) || two.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s\n%s", one.body, two.body)
		}
	})
}

func TestConcurrentRepetitionsWriteOnce(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		var wg sync.WaitGroup
		statuses := make([]int, 12)
		for i := range statuses {
			wg.Go(func() {
				req, _ := w.organisation.request(t, "POST", "/v1/observations", hours(object{"value": 99}), header{"Idempotency-Key", "once"})
				statuses[i] = w.send(t, req).status
			})
		}
		wg.Wait()
		for _, s := range statuses {
			if s != http.StatusCreated && s != http.StatusConflict {
				t.Errorf("status %d", s)
			}
		}
		if !slices.Contains(statuses, http.StatusCreated) {
			t.Errorf("nobody was answered: %v", statuses)
		}
	})
}

func TestObservationsAreFiltered(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		put := func(o object) string {
			a := x.post(t, "/v1/observations", o)
			if a.status != http.StatusCreated {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return a.at(t, "/id").(string)
		}
		lyon3 := put(hours(object{"territory": "arrondissement-69383", "period": "2024-Q1"}))
		bron := put(hours(object{"territory": "commune-69029", "period": "2024-Q2"}))
		metropole := put(hours(object{"territory": "metropole-200046977", "period": "2025-Q1", "value": 9}))
		pierreBenite := put(object{"indicator": "waste_collected", "territory": "commune-69152", "period": "2022", "value": 5})
		w.other.post(t, "/v1/observations", hours())

		for _, c := range []struct {
			query string
			want  []string
		}{
			{"", []string{lyon3, bron, metropole, pierreBenite}},
			{"indicator=insertion_hours", []string{lyon3, bron, metropole}},
			{"indicator=insertion_hours,waste_collected", []string{lyon3, bron, metropole, pierreBenite}},
			{"territory=commune-69123", []string{lyon3}},
			{"territory=metropole-200046977", []string{lyon3, bron, metropole, pierreBenite}},
			{"territory=commune-69149", []string{pierreBenite}}, // merged into Oullins-Pierre-Bénite
			{"territory=commune-69029,arrondissement-69383", []string{lyon3, bron}},
			{"period=2024", []string{lyon3, bron}},
			{"period=2022/2024", []string{lyon3, bron, pierreBenite}},
			{"period=2024-01-01/2024-03-31", []string{lyon3}},
			{"state=draft", []string{lyon3, bron, metropole, pierreBenite}},
			{"state=approved", nil},
			{"organisation=" + string(w.atelier.ID) + "&period=2024-Q2", []string{bron}},
			{"organisation=siren:732 829 320&period=2024-Q2", []string{bron}},
		} {
			got := ids(t, x.get(t, "/v1/observations?"+strings.ReplaceAll(c.query, " ", "%20")))
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got, cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
				t.Errorf("%s: %s", c.query, diff)
			}
		}
		one := x.get(t, "/v1/observations/"+bron)
		submission := one.at(t, "/submission").(string)
		if got := ids(t, x.get(t, "/v1/observations?submission="+submission)); len(got) != 2 {
			t.Errorf("submission of 2024: %v", got)
		}
		for query, code := range map[string]string{
			"indicator=insertion_hour": "validation_failed", "territory=commune-99999": "validation_failed", "organisation=siren:552100554": "validation_failed", "organisation=siret:1": "validation_failed",
			"period=yesterday": "invalid_parameter", "state=lost": "invalid_parameter", "updated_since=yesterday": "invalid_parameter", "indicateur=x": "unknown_parameter", "limit=0": "invalid_parameter",
			"cursor=zzz": "invalid_cursor", "include_deleted=maybe": "invalid_parameter",
		} {
			status := http.StatusBadRequest
			if code == "validation_failed" {
				status = http.StatusUnprocessableEntity
			}
			refused(t, x.get(t, "/v1/observations?"+query), status, code)
		}
	})
}

func TestPagesOfObservationsLoseAndDoubleNothing(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		add := func(year int) {
			var rows []any
			for q := 1; q <= 4; q++ {
				for _, place := range []string{"commune-69266", "commune-69029", "commune-69003"} {
					rows = append(rows, hours(object{"territory": place, "period": fmt.Sprintf("%d-Q%d", year, q)}))
				}
			}
			if a := x.post(t, "/v1/observations", object{"observations": rows}); a.at(t, "/meta/outcome") != "succeeded" {
				t.Fatalf("%s", a.body)
			}
		}
		add(2020)
		add(2022)
		for _, order := range []string{"/v1/observations?limit=5", "/v1/observations?limit=5&updated_since=2020-01-01T00:00:00Z"} {
			before := ids(t, x.get(t, strings.Replace(order, "limit=5", "limit=1000", 1)))
			seen := map[string]int{}
			for next := order; next != ""; {
				a := x.get(t, next)
				for _, id := range ids(t, a) {
					seen[id]++
				}
				next = ""
				if link := a.at(t, "/links/next"); link != nil {
					next = path(t, link)
				}
				if len(seen) == 5 {
					add(2021 + 2*len(order)%3) // rows arrive while the reader reads
				}
			}
			for id, n := range seen {
				if n != 1 {
					t.Errorf("%s: %s was given %d times", order, id, n)
				}
			}
			for _, id := range before {
				if seen[id] == 0 {
					t.Errorf("%s: %s was lost", order, id)
				}
			}
		}
		// Those who copy see deletions.
		since := time.Now().UTC().Format(time.RFC3339Nano)
		time.Sleep(5 * time.Millisecond)
		first := x.get(t, "/v1/observations?limit=1")
		at := path(t, first.at(t, "/data/0/links/self"))
		x.do(t, "DELETE", at, nil, header{"If-Match", fmt.Sprintf(`"v%s"`, number(t, first.at(t, "/data/0/version")))})
		a := x.get(t, "/v1/observations?updated_since="+since)
		if number(t, a.at(t, "/meta/row_count")) != "1" || a.at(t, "/data/0/deleted") != true {
			t.Errorf("%s", a.body)
		}
		if a := x.get(t, "/v1/observations?include_deleted=false&updated_since="+since); number(t, a.at(t, "/meta/row_count")) != "0" {
			t.Errorf("%s", a.body)
		}
	})
}

func TestOrganisationsAreNamedByWhatTheyAre(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		admin := impact.Principal{Client: "setup", Role: impact.RoleAdministrator}
		o := w.register(t, admin, impact.Organisation{
			Name: "La Poste", SIRET: "35600000000048", SIREN: "356000000", RNA: "W691234567", Class: impact.Company, ESS: "unknown",
			ExternalIDs: []impact.ExternalID{{Source: "crm", ID: "a:1"}}, OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
		})
		x := w.client(t, impact.Client{Name: "La Poste", Role: impact.RoleOrganisation, Organisation: o.ID})
		for i, ref := range []string{string(o.ID), "siret:35600000000048", "siren:356000000", "rna:W691234567", "ext:crm:a:1"} {
			if a := x.post(t, "/v1/observations", hours(object{"organisation": ref, "period": fmt.Sprintf("2025-%02d", i+1)})); a.status != http.StatusCreated || a.at(t, "/organisation") != string(o.ID) {
				t.Errorf("%s: %d %s", ref, a.status, a.body)
			}
		}
		a := x.post(t, "/v1/observations", hours(object{"organisation": "siret:356 000 000 00048", "period": "2025-09"}))
		if a.status != http.StatusCreated || !slices.Contains(entries(a.at(t, "/meta/warnings")), "identifier_normalised /organisation") {
			t.Errorf("%d %s", a.status, a.body)
		}
		for ref, code := range map[string]string{
			"siret:35600000000049": "invalid_siret", "siren:356000001": "invalid_siren", "rna:691234567": "invalid_rna",
			"siren:552100554": "unknown_organisation", string(w.atelier.ID): "unknown_organisation", "La Poste": "unknown_organisation", "ext:crm:b": "unknown_organisation",
		} {
			a := x.post(t, "/v1/observations", hours(object{"organisation": ref, "period": "2025-10"}))
			refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
			if diff := cmp.Diff([]string{code + " /organisation"}, faults(t, a)); diff != "" {
				t.Errorf("%s: %s", ref, diff)
			}
		}
	})
}

func TestAnExternalIdFindsTheSameRow(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		x.post(t, "/v1/observations", hours(object{"source": "crm", "external_id": "7"}))
		a := x.post(t, "/v1/observations", hours(object{"source": "crm", "external_id": "7", "period": "2025-Q2"}))
		refused(t, a, http.StatusConflict, "already_exists")
		if b := x.get(t, path(t, a.at(t, "/links/related"))); b.status != http.StatusOK || b.at(t, "/external_id") != "7" {
			t.Errorf("the link does not lead to the one that exists: %s", a.body)
		}
		if b := w.other.post(t, "/v1/observations", hours(object{"source": "crm", "external_id": "7", "period": "2025-Q2"})); b.status != http.StatusCreated {
			t.Errorf("an external id belongs to its sender: %d %s", b.status, b.body)
		}
	})
}

func TestStewardsReadingsAreLogged(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		a := w.organisation.post(t, "/v1/observations", hours())
		at := path(t, a.header.Get("Location"))
		submission := "/v1/submissions/" + a.at(t, "/submission").(string)
		if a := w.organisation.post(t, submission+"/submit", nil); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		reads := []string{at, at + "/history", "/v1/observations", "/v1/observations?indicator=insertion_hours", submission, "/v1/submissions", submission + "/completeness", "/v1/organisations", "/v1/organisations/" + string(w.atelier.ID)}
		for _, r := range reads {
			n := w.accesses(t)
			if a := w.steward.get(t, r); a.status != http.StatusOK {
				t.Errorf("%s: %d %s", r, a.status, a.body)
			}
			if got := w.accesses(t); got <= n {
				t.Errorf("%s by a steward left no trace", r)
			}
			n = w.accesses(t)
			w.organisation.get(t, r)
			if got := w.accesses(t); got != n {
				t.Errorf("%s by the organisation itself is logged", r)
			}
		}
	})
}

// accesses counts what is logged of the readings of Atelier's data.
func (w *world) accesses(t testing.TB) int {
	t.Helper()
	p := impact.Principal{Role: impact.RoleOrganisation, Organisation: w.atelier.ID}
	lines, _, err := w.store.AccessLog(context.Background(), p, w.atelier.ID, impact.RightSteward, impact.Page{Limit: 1000})
	must(t, err)
	return len(lines)
}

// Every fault code that a row or a member can have is reached over HTTP. Those
// reached elsewhere are named with the place, those to come with what brings
// them.
func TestEveryFaultCodeIsReached(t *testing.T) {
	w := embedded(t)
	x := w.organisation
	reached := map[string]bool{}
	note := func(a answer) []string {
		var got []string
		collect := func(list any) {
			for _, e := range entries(list) {
				code, _, _ := strings.Cut(e, " ")
				reached[code] = true
				got = append(got, code)
			}
		}
		m := a.json(t)
		collect(m["errors"])
		if meta, ok := m["meta"].(object); ok {
			collect(meta["warnings"])
		}
		if data, ok := m["data"].([]any); ok {
			for _, r := range data {
				if r, ok := r.(object); ok {
					collect(r["errors"])
					collect(r["warnings"])
				}
			}
		}
		return got
	}
	must(t, w.store.LockPeriod(context.Background(), impact.Principal{Client: "s", Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)}, impact.YearPeriod(2010)))
	setup := []object{
		hours(object{"period": "2021-Q1", "value": 100}),
		hours(object{"period": "2020-Q1", "territory": "commune-69029", "value": 100}),
		{"indicator": "jobs_created_net", "territory": "commune-69266", "period": "2021", "value": 4},
		{"indicator": "waste_collected", "territory": "commune-69266", "period": "2019", "value": 10},
	}
	for _, o := range setup {
		if a := x.post(t, "/v1/observations", o); a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for _, c := range []struct {
		code string
		body object
	}{
		{"missing_field", object{"indicator": "insertion_hours"}},
		{"unknown_member", hours(object{"valeur": 1})},
		{"immutable_member", hours(object{"id": "x"})},
		{"invalid_type", hours(object{"value": "12"})},
		{"too_many_decimals", hours(object{"value": json.Number("1.1234567")})},
		{"out_of_range", hours(object{"value": -1})},
		{"out_of_range", hours(object{"value": json.Number("1e13")})},
		{"too_long", hours(object{"note": strings.Repeat("x", 4001)})},
		{"unknown_indicator", hours(object{"indicator": "heures"})},
		{"derived_indicator", object{"indicator": "recovery_rate", "territory": "commune-69266", "period": "2025", "value": 1}},
		{"unknown_territory", hours(object{"territory": "commune-1"})},
		{"ambiguous_territory", hours(object{"territory": "84"})},
		{"unknown_organisation", hours(object{"organisation": "nobody"})},
		{"invalid_siret", hours(object{"transferred_to": "1"})},
		{"invalid_siren", hours(object{"reporting_perimeter": "group", "covers": []string{"123456789"}})},
		{"invalid_rna", hours(object{"organisation": "rna:1"})},
		{"unknown_disaggregation", hours(object{"disaggregation": object{"colour": "red"}})},
		{"unknown_code", hours(object{"evidence_level": "sworn"})},
		{"unknown_reference", hours(object{"programme": "un programme"})},
		{"unknown_period_format", hours(object{"period": "soon"})},
		{"ambiguous_period", hours(object{"period": "2024-T1"})},
		{"period_not_allowed", hours(object{"period": "2019-01-01/2024-12-31"})},
		{"future_period", hours(object{"period": "2099"})},
		{"period_locked", hours(object{"period": "2010-Q1"})},
		{"overlapping_period", hours(object{"period": "2021"})},
		{"unit_mismatch", hours(object{"unit": "kg"})},
		{"ratio_requires_components", object{"indicator": "women_share", "territory": "commune-69266", "period": "2025", "value": 0.2}},
		{"missing_component", object{"indicator": "women_share", "territory": "commune-69266", "period": "2025", "components": object{"numerator": 1}}},
		{"part_exceeds_whole", object{"indicator": "women_share", "territory": "commune-69266", "period": "2025", "components": object{"numerator": 2, "denominator": 1}}},
		{"components_disagree", object{"indicator": "women_share", "territory": "commune-69266", "period": "2025", "value": 0.7, "components": object{"numerator": 1, "denominator": 2}}},
		{"fraction_as_percentage", hours(object{"attribution_share": 80})},
		{"null_without_status", hours(object{"value": json.RawMessage("null")})},
		{"value_with_missing_status", hours(object{"obs_status": "M"})},
		{"cumulative_not_accepted", hours(object{"cumulative": true})},
		{"overlapping_territory", hours(object{"period": "2020-Q1", "territory": "metropole-200046977"})},
		{"inconsistent", hours(object{"covers": []string{"552100554"}})},
		{"duplicate_in_file", object{"observations": []any{hours(), hours()}}},
		// Warnings
		{"outlier", object{"indicator": "insertion_people", "territory": "commune-69003", "period": "2025", "value": 999999}},
		{"unit_suspect", hours(object{"period": "2021-Q2", "value": 100000})},
		{"sign_change", object{"indicator": "jobs_created_net", "territory": "commune-69266", "period": "2022", "value": -5}},
		{"zero_after_nonzero", object{"indicator": "waste_collected", "territory": "commune-69266", "period": "2020", "value": 0}},
		{"rounded", object{"indicator": "energy_consumed", "territory": "commune-69266", "period": "2018", "value": 1, "unit": "GJ"}},
		{"plausibility", object{"indicator": "participants", "territory": "commune-69266", "period": "2025", "value": 10000000, "counting": "unique"}},
		{"retired_territory", object{"indicator": "waste_collected", "territory": "commune-69152", "period": "2025", "value": 1}},
		{"identifier_normalised", hours(object{"organisation": "siren:732 829 320", "period": "2018-Q1"})},
	} {
		if got := note(x.post(t, "/v1/observations", c.body)); !slices.Contains(got, c.code) {
			t.Errorf("%v: %v, want %s", c.body, got, c.code)
		}
	}
	note(x.post(t, "/v1/observations", `{"indicator":"insertion_hours","indicator":"x"}`))
	note(x.post(t, "/v1/observations", "{\"indicator\":\"\xff\"}"))
	note(x.get(t, "/v1/indicators?impact_type=inclusio"))
	note(x.get(t, "/v1/observations?updated_since=x"))
	admin := impact.Principal{Client: "setup", Role: impact.RoleAdministrator}
	closed := w.register(t, admin, impact.Organisation{Name: "Fermée", SIREN: "356000000", Class: impact.Company, ESS: "unknown", OpenedOn: impact.NewDate(2010, 1, 1), ClosedOn: impact.NewDate(2020, 12, 31)})
	for _, kind := range []string{"ACI", "EI"} {
		w.register(t, admin, impact.Organisation{Name: "Deux fois", SIRET: "35600000000048", SIREN: "356000000", StructureKind: kind, Class: impact.Company, ESS: "unknown", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
	}
	y := w.client(t, impact.Client{Name: "Fermée", Role: impact.RoleOrganisation, Organisation: closed.ID})
	note(y.post(t, "/v1/observations", hours()))
	note(w.administrator.get(t, "/v1/organisations/siret:35600000000048"))
	w.member(t)
	note(w.network.post(t, "/v1/observations", hours(object{"organisation": "siren:732829320"})))

	// What only a file can have.
	const columns = "indicator,territory,period,value,unit\n"
	for _, f := range []struct{ code, file string }{
		{"row_too_long", columns + "insertion_hours,69266,2024-Q1,1,\"" + strings.Repeat("x", 70_000) + "\"\n"},
		{"column_count", columns + "insertion_hours,69266\n"},
		{"no_value_symbol", columns + "insertion_hours,69266,2024-Q1,n/a,h\n"},
		{"trimestre_read_as_quarter", columns + "insertion_hours,69266,T1 2024,1,h\n"},
		{"invalid_number", columns + "insertion_hours,69266,2024-Q1,trente,h\n"},
		{"unknown_column", "Humeur," + columns + "gaie,insertion_hours,69266,2024-Q1,1,h\n"},
		{"source_value_mapped", "indicator,commune,code_postal,period,value,unit\ninsertion_hours,Villeurbanne,69100,2024-Q1,1,h\n"},
		{"encoding_guessed", "indicator,territory,p\xe9riode,value,unit\ninsertion_hours,69266,2024-Q1,1,h\n"},
	} {
		a := x.sent(t, "?dry_run=true", f.file)
		var got []string
		for _, list := range []any{a.at(t, "/rows/0/errors"), a.at(t, "/rows/0/warnings"), a.at(t, "/meta/warnings")} {
			for _, e := range entries(list) {
				code, _, _ := strings.Cut(e, " ")
				reached[code], got = true, append(got, code)
			}
		}
		if !slices.Contains(got, f.code) {
			t.Errorf("%s: got %v", f.code, got)
		}
	}
	notHere := map[string]string{
		"formula_without_value": "reached by the tests of workbooks", "already_exists": "reached by TestAnExternalIdFindsTheSameRow",
		"covered_by_network": "reached by TestDoubleCountingIsRefused", "reported_by_other": "the same", "parent_and_establishment": "the same",
		"retired_territory_split": "no split in the reference data",
		"unknown_cpv":             "comes with needs", "personal_data": "comes with contributions",
		"place_unresolved": "comes with purchases", "place_label_mismatch": "the same", "supplier_unresolved": "the same", "organisation_not_ess": "the same",
	}
	for _, code := range slices.Sorted(maps.Keys(impact.FaultCodes)) {
		if !reached[string(code)] && notHere[string(code)] == "" {
			t.Errorf("%s was not reached", code)
		}
		if reached[string(code)] && notHere[string(code)] != "" {
			t.Errorf("%s is reached: take it out of the list", code)
		}
	}
	for code := range reached {
		if _, ok := impact.FaultCodes[impact.FaultCode(code)]; !ok {
			t.Errorf("%s is not in the closed list", code)
		}
	}
}

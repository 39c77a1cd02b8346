package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

// places gives code and pointer of each fault.
func places(faults []impact.Fault) []string {
	var out []string
	for _, f := range faults {
		out = append(out, string(f.Code)+" "+f.Pointer)
	}
	return out
}

func readBody(body string) ([]stated, bool, error) {
	r, err := newStatementReader([]byte(body))
	if err != nil {
		return nil, false, err
	}
	return r.body()
}

func TestStatementsAreReadAsWritten(t *testing.T) {
	body := `{"organisation":"siret:356 000 000 00048","indicator":"insertion_hours","territory":"commune-69266","period":"2025-Q3",
		"value":1840.500000,"components":{"numerator":20,"denominator":1e2},"unit":"h","obs_status":"A","disaggregation":{"sex":"F"},
		"qualifiers":{"hours_basis":1607,"method":"ADEME"},"programme":"p1","note":"caf\u00e9 \"noir\"","evidence_url":"https://example.org/r",
		"evidence_level":"declared","provenance":"r","source":"crm","external_id":"x-1","reporting_perimeter":"group","covers":["552100554"],
		"transferred_to":"35600000000048","attribution_share":0.5,"counting":"unique","stakeholder":"employee","need":"n1","contract_uid":"u1","cumulative":true}`
	rows, batch, err := readBody(body)
	if err != nil || batch || len(rows) != 1 || rows[0].faults != nil {
		t.Fatalf("batch %v, error %v, rows %+v", batch, err, rows)
	}
	want := impact.Statement{
		Organisation: "siret:356 000 000 00048", Indicator: "insertion_hours", Territory: "commune-69266", Period: "2025-Q3",
		Value: "1840.500000", Components: map[string]string{"numerator": "20", "denominator": "1e2"}, Unit: "h", Status: "A",
		Disaggregation: map[string]string{"sex": "F"}, Qualifiers: map[string]string{"hours_basis": "1607", "method": "ADEME"}, Programme: "p1",
		Details: impact.Details{
			Note: `café "noir"`, EvidenceURL: "https://example.org/r", EvidenceLevel: "declared", Provenance: "r", Source: "crm", ExternalID: "x-1",
			Perimeter: "group", Covers: []string{"552100554"}, TransferredTo: "35600000000048", AttributionShare: "0.5", Counting: "unique", Stakeholder: "employee",
			Need: "n1", ContractUID: "u1", Cumulative: true,
		},
	}
	if diff := cmp.Diff(want, rows[0].Statement); diff != "" {
		t.Error(diff)
	}
}

func TestFormOfStatements(t *testing.T) {
	for _, c := range []struct {
		body   string
		batch  bool
		faults []string // of the first row
	}{
		{`{"value":null}`, false, nil},
		{`{}`, false, nil},
		{`{"value":"12"}`, false, []string{"invalid_type /value"}},
		{`{"value":[1]}`, false, []string{"invalid_type /value"}},
		{`{"indicator":5,"period":{}}`, false, []string{"invalid_type /indicator", "invalid_type /period"}},
		{`{"Indicator":"a"}`, false, []string{"unknown_member /Indicator"}},
		{`{"value":1,"value":2}`, false, []string{"duplicate_member /value"}},
		{`{"disaggregation":{"sex":"F","sex":"M"}}`, false, []string{"duplicate_member /disaggregation/sex"}},
		{`{"disaggregation":{"a/b":1}}`, false, []string{"invalid_type /disaggregation/a~1b"}},
		{`{"components":{"numerator":"1"}}`, false, []string{"invalid_type /components/numerator"}},
		{`{"components":[]}`, false, []string{"invalid_type /components"}},
		{`{"covers":"x"}`, false, []string{"invalid_type /covers"}},
		{`{"covers":["552100554",2]}`, false, []string{"invalid_type /covers/1"}},
		{`{"cumulative":"yes"}`, false, []string{"invalid_type /cumulative"}},
		{`{"attribution_share":"0.5"}`, false, []string{"invalid_type /attribution_share"}},
		{`{"id":"x","version":2}`, false, []string{"immutable_member /id", "immutable_member /version"}},
		{`[]`, false, []string{"invalid_type "}},
		{`3`, false, []string{"invalid_type "}},
		{`{"observations":[]}`, true, nil},
		{`{"observations":[{"value":1},{"value":2}]}`, true, nil},
		{`{"observations":[3]}`, true, []string{"invalid_type "}},
		{`{"observations":{}}`, false, []string{"invalid_type /observations"}},
		{`{"observations":[],"value":1}`, false, []string{"unknown_member /value"}},
		{`{"value":1,"observations":[]}`, false, []string{"unknown_member /observations"}},
	} {
		rows, batch, err := readBody(c.body)
		if err != nil || batch != c.batch {
			t.Errorf("%s: batch %v, error %v", c.body, batch, err)
			continue
		}
		var got []string
		if len(rows) > 0 {
			got = places(rows[0].faults)
		}
		if diff := cmp.Diff(c.faults, got); diff != "" {
			t.Errorf("%s: %s", c.body, diff)
		}
	}
}

func TestWhatIsNoJSONIsNoStatement(t *testing.T) {
	for _, body := range []string{``, `{`, `{"value":1`, `{"value":01}`, `{"value":NaN}`, `{"note":"` + "\xff" + `"}`, `{"observations":[{"value":1}`, `{"observations":[{"value":1},]}`, `{} {}`, `{"value":1,}`} {
		if _, err := newStatementReader([]byte(body)); err == nil {
			t.Errorf("%q was read", body)
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	row := strings.Repeat(`{"value":1},`, BatchRows)
	if rows, _, err := readBody(`{"observations":[` + strings.TrimSuffix(row, ",") + `]}`); err != nil || len(rows) != BatchRows {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if _, _, err := readBody(`{"observations":[` + row + `{}]}`); impact.KindOf(err) != impact.TooLarge {
		t.Errorf("one row too many: %v", err)
	}
}

// The quick reader and the strict decoder of every other body agree.
func FuzzStatements(f *testing.F) {
	f.Add(`{"indicator":"insertion_hours","value":1840.5,"components":{"numerator":1},"qualifiers":{"hours_basis":1607}}`)
	f.Add(`{"observations":[{"value":null},{"covers":["x"]}]}`)
	f.Add(`{"note":"\ud83d\ude00","disaggregation":{"sex":"F"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		rows, batch, err := readBody(body)
		if err != nil || batch || len(rows[0].faults) > 0 {
			return
		}
		var in ObservationInput
		if err := decodeJSON([]byte(body), &in); err != nil {
			t.Fatalf("%q is a statement to one reader only: %v", body, err)
		}
		got, want := rows[0].Statement, in.statement(false)
		want.ValueNull = got.ValueNull
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
			t.Errorf("%q: %s", body, diff)
		}
	})
}

// thousand is a clean batch: 1,000 hours of as many months and communes.
func thousand(t testing.TB, c *impact.Catalogue) []byte {
	t.Helper()
	var communes []string
	for _, x := range c.Gazetteer().All() {
		if x.Type == impact.Commune && x.ValidTo == impact.MaxDate && x.Parent != "" {
			communes = append(communes, string(x.ID))
		}
	}
	rows := make([]ObservationInput, BatchRows)
	for i := range rows {
		rows[i] = ObservationInput{
			Indicator: "waste_collected", Territory: communes[i%50], Period: fmt.Sprintf("20%02d-Q%d", 20+i/200, 1+i/50%4), Unit: "t",
			Value: Scalar{Text: fmt.Sprintf("%d.25", 1000+i)}, ObservationDetails: ObservationDetails{Source: "crm"},
		}
	}
	b, err := json.Marshal(ObservationBatch{rows})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a row of a batch costs before the database: reading and resolving.
func BenchmarkReadBatch(b *testing.B) {
	c := reference(b)
	body := thousand(b, c)
	checker := &impact.Checker{Catalogue: c, Today: impact.NewDate(2026, 11, 1)}
	org := &impact.Organisation{Key: 1, ID: "o"}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if rows, _, err := readBody(string(body)); err != nil || len(rows) != BatchRows {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BatchRows, "ns/row")
	})
	b.Run("read and resolve", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rows, _, err := readBody(string(body))
			if err != nil {
				b.Fatal(err)
			}
			for i := range rows {
				if _, faults, _ := checker.Resolve(&rows[i].Statement, org); len(faults) > 0 {
					b.Fatal(faults)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BatchRows, "ns/row")
	})
}

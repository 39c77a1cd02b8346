package format_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

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

// read gives what a file states, one line of text for each record: the line, the
// statement, then its faults and warnings.
func read(t *testing.T, data []byte, o format.ReadOptions) (*format.Table, []string) {
	t.Helper()
	if o.Schema == nil {
		o.Schema = format.Observations
	}
	table, err := format.Open(bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for row, err := range table.Statements(format.StatementOptions{Catalogue: catalogue()}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, describe(row))
	}
	return table, out
}

func describe(row *format.StatementRow) string {
	var b strings.Builder
	st := row.Statement
	fmt.Fprintf(&b, "%d/%d %s|%s|%s|%s|%s", row.Row, row.Line, st.Organisation, st.Indicator, st.Territory, st.Period, st.Value)
	if st.ValueNull {
		b.WriteString("null")
	}
	for _, x := range []struct{ label, text string }{{"unit", st.Unit}, {"status", st.Status}, {"note", st.Note}} {
		if x.text != "" {
			fmt.Fprintf(&b, " %s=%s", x.label, x.text)
		}
	}
	for _, m := range []map[string]string{st.Components, st.Disaggregation, st.Qualifiers} {
		if len(m) > 0 {
			fmt.Fprintf(&b, " %v", m)
		}
	}
	if row.Action != 0 {
		fmt.Fprintf(&b, " action=%c", row.Action)
	}
	b.WriteString(codes("!", row.Faults) + codes("?", row.Warnings))
	return b.String()
}

func codes(sign string, faults []impact.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, " %s%s@%d", sign, f.Code, f.Column)
		if f.Suggestion != "" {
			b.WriteString("→" + f.Suggestion)
		}
	}
	return b.String()
}

const frenchFile = "Structure;SIRET;Indicateur;Commune;Période;Valeur;Unité;Remarque\r\n" +
	"Jardins;348 323 775 00018;insertion_hours;69266;T3 2025;1 234,5;h;vu\r\n" +
	";;;;;;;\r\n" +
	"Jardins;34832377500018;insertion_hours;Villeurbanne;3e trimestre 2025;\"1\u00a0240\";h;\"deux\r\nlignes\"\r\n" +
	"Jardins;34832377500018;insertion_hours;69266;2025-Q2;1.234;h;\r\n" +
	"Jardins;1,23457E+13;insertion_hours;69266;31/12/2025;n/a;h;\r\n" +
	";;;;;;;\r\n;;;;;;;\r\n"

func TestAFrenchSpreadsheetIsReadAsItIs(t *testing.T) {
	table, got := read(t, []byte(frenchFile), format.ReadOptions{})
	want := []string{
		"1/2 siret:34832377500018|insertion_hours|69266|2025-Q3|1234.5 unit=h ?identifier_normalised@2→34832377500018 ?trimestre_read_as_quarter@5→2025-Q3",
		"2/4 siret:34832377500018|insertion_hours|commune-69266|2025-Q3|1240 unit=h ?source_value_mapped@4→commune-69266",
		"3/6 siret:34832377500018|insertion_hours|69266|2025-Q2| unit=h !invalid_number@6",
		"4/7 |insertion_hours|69266||null unit=h status=L !invalid_siret@2 !unknown_period_format@5 ?no_value_symbol@6",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(format.Layout{Format: "csv", Delimiter: ";", Decimal: ",", Encoding: "utf-8", HeaderLine: 1}, table.Layout); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"Structure", "Remarque"}, table.Headers.Ignored); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"SIRET": "siret", "Indicateur": "indicator", "Commune": "territory", "Période": "period", "Valeur": "value", "Unité": "unit"}, table.Headers.ByHeader(table.Header)); d != "" {
		t.Error(d)
	}
}

func TestAFileWithoutAHeaderIsRefusedAndSaysWhich(t *testing.T) {
	_, err := format.Open(strings.NewReader("1;2;3\n4;5;6\n"), format.ReadOptions{Schema: format.Observations})
	e, ok := errors.AsType[*impact.Error](err)
	if !ok || e.Code != "import_unreadable" || !strings.Contains(e.Hint.FR, "indicator") {
		t.Errorf("%v", err)
	}
}

// readAll reads a file to its end and gives what stopped it.
func readAll(r io.Reader, o format.ReadOptions) error {
	table, err := format.Open(r, o)
	if err != nil {
		return err
	}
	for _, err := range table.Statements(format.StatementOptions{}) {
		if err != nil {
			return err
		}
	}
	return nil
}

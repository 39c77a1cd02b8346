package format_test

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

var writers = map[string]func(io.Writer, *format.Template) error{
	"csv":    func(w io.Writer, t *format.Template) error { return format.WriteTemplateCSV(w, format.RFC4180, t) },
	"fr.csv": func(w io.Writer, t *format.Template) error { return format.WriteTemplateCSV(w, format.French, t) },
	"xlsx":   format.WriteTemplateXLSX,
}

func TestATemplateIsReadyToFillIn(t *testing.T) {
	template := &format.Template{
		Rows: []format.TemplateRow{
			{Statement: impact.Statement{Organisation: "siret:34832377500018", Indicator: "insertion_hours", Territory: "commune-69266", Period: "2025", Value: "1840.5", Unit: "h"}, IndicatorLabel: "Heures d'insertion", TerritoryLabel: "Villeurbanne"},
			{Statement: impact.Statement{Indicator: "recruited_from_qpv", Components: map[string]string{"numerator": "", "denominator": ""}, Qualifiers: map[string]string{"qpv_generation": ""}}, IndicatorLabel: "=part"},
		},
		Choices: map[string][]string{"obs_status": {"A", "L", "M"}, "territory": {"commune-69266", "commune-69123"}},
		Notes:   [][]string{{"Une ligne par indicateur et territoire."}, {"insertion_hours", "heures"}},
	}
	var b bytes.Buffer
	check(t, format.WriteTemplateCSV(&b, format.French, template))
	want := "\uFEFForganisation;organisation_label;indicator;indicator_label;territory;territory_label;period;value;component.denominator;component.numerator;unit;obs_status;qualifier.qpv_generation;note\r\n" +
		"siret:34832377500018;;insertion_hours;Heures d'insertion;commune-69266;Villeurbanne;2025;1840,5;;;h;;;\r\n" +
		";;recruited_from_qpv;'=part;;;;;;;;;;\r\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}

	b.Reset()
	check(t, format.WriteTemplateXLSX(&b, template))
	f, err := excelize.OpenReader(bytes.NewReader(b.Bytes()))
	check(t, err)
	if d := cmp.Diff([]string{"Saisie", "Listes", "Aide"}, f.GetSheetList()); d != "" {
		t.Error(d)
	}
	validations, err := f.GetDataValidations("Saisie")
	check(t, err)
	var opened []string
	for _, v := range validations {
		opened = append(opened, v.Sqref+" "+v.Formula1)
	}
	if d := cmp.Diff([]string{"E2:E1002 Listes!$A$1:$A$2", "L2:L1002 Listes!$B$1:$B$3"}, opened); d != "" {
		t.Error(d)
	}
	// A value typed in the workbook comes back with the rest of its row.
	check(t, f.SetCellValue("Saisie", "J3", 20))
	check(t, f.SetCellValue("Saisie", "I3", 100))
	b.Reset()
	check(t, f.Write(&b))
	table, got := read(t, b.Bytes(), format.ReadOptions{})
	if d := cmp.Diff([]string{
		"1/2 siret:34832377500018|insertion_hours|commune-69266|2025|1840.5 unit=h",
		"2/3 |recruited_from_qpv||| map[denominator:100 numerator:20]",
	}, got); d != "" {
		t.Error(d)
	}
	if len(table.Warnings) > 0 {
		t.Errorf("our own columns are warned about: %v", table.Warnings)
	}
}

// Whatever a template holds, each of its forms reads back as the same statements.
func TestTemplatesReadBackAsTheyWere(t *testing.T) {
	word := rapid.StringMatching(`[a-z][a-z0-9_]{0,8}`)
	free := rapid.Custom(func(t *rapid.T) string {
		s := rapid.OneOf(rapid.StringMatching(`[-=+@'" ;,|é\n\ta]{0,8}`), rapid.StringMatching(`[^\x00-\x1f\x{d800}-\x{dfff}\x{fffe}\x{ffff}\x{fffd}]{0,10}`)).Draw(t, "text")
		return strings.Trim(s, " \t\r\n\u00a0\u202f\u2009\u2007\uFEFF")
	})
	number := rapid.Custom(func(t *rapid.T) string {
		return impact.Quantity(rapid.Int64Range(-int64(impact.MaxQuantity), int64(impact.MaxQuantity)).Draw(t, "q") / rapid.SampledFrom([]int64{1, 1_000, 1_000_000, 1_000_000_000_000}).Draw(t, "scale")).String()
	})
	names := rapid.SliceOfNDistinct(word, 0, 2, rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		template := &format.Template{Lang: rapid.SampledFrom([]impact.Lang{impact.French, impact.English}).Draw(t, "lang")}
		components, qualifiers := names.Draw(t, "components"), names.Draw(t, "qualifiers")
		for range rapid.IntRange(1, 5).Draw(t, "rows") {
			row := format.TemplateRow{IndicatorLabel: free.Draw(t, "label")}
			st := &row.Statement
			st.Indicator, st.Period = word.Draw(t, "indicator"), impact.YearPeriod(rapid.IntRange(2015, 2026).Draw(t, "year")).String()
			st.Organisation, st.Territory = word.Draw(t, "organisation"), word.Draw(t, "territory")
			st.Note, st.Unit = free.Draw(t, "note"), rapid.SampledFrom([]string{"", "h", "%", "t{CO2e}/MEUR"}).Draw(t, "unit")
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				st.Value = number.Draw(t, "value")
			case 1:
				st.ValueNull, st.Status = true, "L"
			}
			for _, name := range components {
				if st.Components == nil {
					st.Components = map[string]string{}
				}
				st.Components[name] = number.Draw(t, "component")
			}
			for _, name := range qualifiers {
				if v := free.Draw(t, "qualifier"); v != "" {
					if st.Qualifiers == nil {
						st.Qualifiers = map[string]string{}
					}
					st.Qualifiers[name] = v
				}
			}
			if len(st.Components) > 0 {
				st.ValueNull, st.Value = false, ""
			}
			template.Rows = append(template.Rows, row)
		}
		for _, name := range slices.Sorted(maps.Keys(writers)) {
			var b bytes.Buffer
			if err := writers[name](&b, template); err != nil {
				t.Fatal(err)
			}
			table, err := format.Open(bytes.NewReader(b.Bytes()), format.ReadOptions{Schema: format.Observations})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got, want []impact.Statement
			for row, err := range table.Statements(format.StatementOptions{}) {
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if len(row.Faults)+len(row.Warnings) > 0 {
					t.Errorf("%s: %s", name, describe(row))
				}
				got = append(got, row.Statement)
			}
			for _, r := range template.Rows {
				want = append(want, r.Statement)
			}
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
	})
}

package format_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// rejectsOf writes every row of a file that has a fault.
func rejectsOf(t *testing.T, data []byte, o format.ReadOptions, lang impact.Lang) []byte {
	t.Helper()
	o.Schema = format.Observations
	table, err := format.Open(bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := format.NewRejects(&b, table.Header, table.Layout, lang)
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range table.Statements(format.StatementOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if len(row.Faults) > 0 {
			if err := w.Add(row.Line, row.Cells, row.Faults); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRejectsAreTheSendersRowsWithWhatIsWrong(t *testing.T) {
	file := "Indicateur;Valeur;Mémo\r\ninsertion_hours;12;ok\r\ninsertion_hours;douze;=A1\r\ninsertion_hours;-12..5;\"a;b\"\r\nx;1;y;z\r\n"
	got := string(rejectsOf(t, []byte(file), format.ReadOptions{}, impact.French))
	want := []string{
		"Indicateur;Valeur;Mémo;erreur_ligne;erreur_codes;erreur_messages;erreur_conseils;erreur_suggestions",
		"insertion_hours;douze;'=A1;3;invalid_number;Valeur: Ce n'est pas un nombre.;Valeur: Écrivez un nombre seul, sans unité ni texte : 1840, 12,5 ou 1 250,5.;",
		`insertion_hours;-12..5;"a;b";4;invalid_number;Valeur: Ce n'est pas un nombre.;Valeur: Écrivez un nombre seul, sans unité ni texte : 1840, 12,5 ou 1 250,5.;`,
		"x;1;y;5;column_count;Cette ligne a 4 cellules, l'en-tête 3.;Entourez de guillemets les textes qui contiennent le séparateur ou un retour à la ligne.;;z",
		"",
	}
	if d := cmp.Diff(want, strings.Split(got, "\r\n")); d != "" {
		t.Error(d)
	}
	// Mended in place and sent again: the error columns are not read, and say so
	// by nothing.
	mended := strings.NewReplacer("douze", "12", "-12..5", "12,5", ";z", "").Replace(got)
	table, rows := read(t, []byte(mended), format.ReadOptions{})
	if d := cmp.Diff([]string{"1/2 |insertion_hours|||12", "2/3 |insertion_hours|||12.5", "3/4 |x|||1"}, rows); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"Mémo"}, table.Headers.Ignored); d != "" {
		t.Error(d)
	}
	// A second round has the error columns once.
	again := string(rejectsOf(t, []byte(got), format.ReadOptions{}, impact.English))
	if head, _, _ := strings.Cut(again, "\r\n"); head != "Indicateur;Valeur;Mémo;error_line;error_codes;error_messages;error_hints;error_suggestions" {
		t.Error(head)
	}
}

// The rejects of a workbook are French CSV: days, numbers and yes-or-no come back
// as what they were, though text has no types.
func TestRejectsOfAWorkbook(t *testing.T) {
	data := workbook(t, func(f *excelize.File) {
		check(t, f.SetSheetRow("Sheet1", "A1", &[]any{"Indicateur", "période début", "période fin", "Valeur", "unit", "SIRET", "action"}))
		check(t, f.SetSheetRow("Sheet1", "A2", &[]any{"x", time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), "31/12/2025", 1.234, "h", 34832377500018, "?"}))
		check(t, f.SetSheetRow("Sheet1", "A3", &[]any{"y", time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), "31/12/2025", true, "h", "", "?"}))
	})
	got := rejectsOf(t, data, format.ReadOptions{}, impact.English)
	if !bytes.HasPrefix(got, []byte("\uFEFFIndicateur;période début;")) {
		t.Errorf("%s", got)
	}
	_, rows := read(t, []byte(strings.ReplaceAll(string(got), "?", "M")), format.ReadOptions{})
	if d := cmp.Diff([]string{"1/2 siret:34832377500018|x||2025|1.234 unit=h action=M", "2/3 |y||2025|true unit=h action=M"}, rows); d != "" {
		t.Error(d)
	}
}

func TestRejectsOfJSON(t *testing.T) {
	got := rejectsOf(t, []byte(`{"observations":[{"indicator":"x","components":{"numerator":1.5,"denominator":2},"note":"a,b","covers":["1","2"],"valeur":3}]}`), format.ReadOptions{}, impact.French)
	table, rows := read(t, got, format.ReadOptions{})
	if d := cmp.Diff([]string{"1/2 |x||| note=a,b map[denominator:2 numerator:1.5]"}, rows); d != "" {
		t.Error(d)
	}
	if table.Layout.Delimiter != "," || len(table.Headers.Ignored) > 0 {
		t.Errorf("%+v %v", table.Layout, table.Headers.Ignored)
	}
}

// Whatever the cells hold, a file of rejects reads back as the same texts, and
// no cell begins a formula.
func TestRejectsReadBackAsTheyWere(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[-=+@' a";,\t\n\r|é]{0,6}`), rapid.StringMatching(`[^\x00]{0,12}`))
	rapid.Check(t, func(t *rapid.T) {
		layout := format.Layout{Format: "csv", Encoding: "utf-8", Delimiter: rapid.SampledFrom([]string{",", ";", "\t", "|"}).Draw(t, "delimiter")}
		header := []string{"indicator", "note", "value"}
		cells := []string{"insertion_hours", text.Draw(t, "note"), "12"}
		var b bytes.Buffer
		w, err := format.NewRejects(&b, header, layout, impact.French)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(7, cells, []impact.Fault{{Code: "x", Detail: impact.Text{FR: text.Draw(t, "detail")}, Suggestion: text.Draw(t, "suggestion")}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		table, err := format.Open(bytes.NewReader(b.Bytes()), format.ReadOptions{Schema: format.Observations})
		if err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		rows := 0
		for row, err := range table.Statements(format.StatementOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			rows++
			want := cells[1]
			if len(want) > 1 && want[0] == '\'' && strings.ContainsAny(want[1:2], "=+-@\t\r'") {
				want = want[1:] // was disarmed when it was first read
			}
			want = strings.Trim(want, " \t\r\n\u00a0\u202f\u2009\u2007\uFEFF")
			if len(row.Faults) > 0 || row.Statement.Note != want {
				t.Errorf("%q came back as %q %v", cells[1], row.Statement.Note, row.Faults)
			}
			for _, c := range row.Cells {
				if c != "" && (strings.ContainsAny(c[:1], "=@\t\r") || strings.ContainsAny(c[:1], "+-") && strings.Trim(c[1:]+"x", "0123456789., %€\u00a0\u202f") != "x") {
					t.Errorf("%q begins a formula", c)
				}
			}
		}
		if rows != 1 {
			t.Errorf("%d rows of %q", rows, b.String())
		}
	})
}

package format_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/charmap"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

func utf16Bytes(s string, big, bom bool) []byte {
	var out []byte
	if bom {
		s = "\uFEFF" + s
	}
	for _, u := range utf16.Encode([]rune(s)) {
		if big {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return out
}

// One file in every encoding gives one reading.
func TestEncodings(t *testing.T) {
	const file = "indicator;valeur;note\r\nx;1;Vénissieux œuvre à l’été\r\n"
	windows, err := charmap.Windows1252.NewEncoder().Bytes([]byte(file))
	check(t, err)
	late := file + strings.Repeat("x;1;ascii only\r\n", 10_000)
	lateWindows, err := charmap.Windows1252.NewEncoder().Bytes([]byte(late + "x;2;é\r\n"))
	check(t, err)
	for name, c := range map[string]struct {
		data      []byte
		mediaType string
		encoding  string
		bom       bool
		guessed   bool
	}{
		"utf-8":                   {[]byte(file), "text/csv", "utf-8", false, false},
		"utf-8 with a mark":       {[]byte("\uFEFF" + file), "text/csv; charset=windows-1252", "utf-8", true, false},
		"utf-16le with a mark":    {utf16Bytes(file, false, true), "text/csv", "utf-16le", true, false},
		"utf-16be with a mark":    {utf16Bytes(file, true, true), "", "utf-16be", true, false},
		"utf-16le":                {utf16Bytes(file, false, false), "", "utf-16le", false, true},
		"utf-16be":                {utf16Bytes(file, true, false), "", "utf-16be", false, true},
		"windows-1252":            {windows, "text/csv", "windows-1252", false, true},
		"windows-1252, declared":  {windows, "text/csv; charset=ISO-8859-1", "windows-1252", false, false},
		"first accent far below":  {lateWindows, "text/csv", "windows-1252", false, true},
		"an accent at the header": {[]byte("indicator;valeur;note;é\r\nx;1;Vénissieux œuvre à l’été;\r\n"), "", "utf-8", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			table, got := read(t, c.data, format.ReadOptions{MediaType: c.mediaType})
			if got[0] != "1/2 |x|||1 note=Vénissieux œuvre à l’été" {
				t.Error(got[0])
			}
			if l := table.Layout; l.Encoding != c.encoding || l.BOM != c.bom || l.Guessed != c.guessed {
				t.Errorf("%+v", l)
			}
			told := strings.Contains(codes("", table.Warnings), "encoding_guessed")
			if told != c.guessed {
				t.Errorf("warnings %v", table.Warnings)
			}
		})
	}
}

func TestBrokenBytesAreToldWhereTheyStand(t *testing.T) {
	_, got := read(t, []byte("indicator;value;note\nx;1;été\nx;2;\xe9t\xe9\nx;3;\"a;\xff\"\nx;4;\x00\n"), format.ReadOptions{MediaType: "text/csv; charset=utf-8"})
	want := []string{"1/2 |x|||1 note=été", "2/3 |x|||2 !encoding@3", "3/4 |x|||3 !encoding@3", "4/5 |x|||4 !encoding@3"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	_, got = read(t, []byte("indicator;value;note\nx;1;\x81\n"), format.ReadOptions{MediaType: "text/csv; charset=cp1252"})
	if d := cmp.Diff([]string{"1/2 |x|||1 !encoding@3"}, got); d != "" {
		t.Error(d)
	}
}

func TestSeparatorsAndQuotes(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"commas":                  {"indicator,value,note\nx,1.5,\"a,b\"\n", []string{"1/2 |x|||1.5 note=a,b"}},
		"tabs":                    {"indicator\tvalue\tnote\nx\t1,5\ta\n", []string{"1/2 |x|||1.5 note=a"}},
		"pipes":                   {"indicator|value|note\nx|1,5|a\n", []string{"1/2 |x|||1.5 note=a"}},
		"sep= of a spreadsheet":   {"sep=|\nindicator|value\nx|1\n", []string{"1/3 |x|||1"}},
		"commas inside semicolon": {"indicator;value;note\nx;1,5;a,b,c,d,e\n", []string{"1/2 |x|||1.5 note=a,b,c,d,e"}},
		"CR alone":                {"indicator;value\rx;1\ry;2\r", []string{"1/2 |x|||1", "2/3 |y|||2"}},
		"no break at the end":     {"indicator;value\nx;1", []string{"1/2 |x|||1"}},
		"line breaks in a cell":   {"indicator;note;value\nx;\"a\nb\r\n\";1\ny;\"\";2\n", []string{"1/2 |x|||1 note=a\nb", "2/5 |y|||2"}},
		"a quote in the middle":   {"indicator;note;value\nx;12\" pipe;1\n", []string{"1/2 |x|||1 note=12\" pipe"}},
		"doubled quotes":          {"indicator;note;value\nx;\"say \"\"yes\"\"\";1\n", []string{"1/2 |x|||1 note=say \"yes\""}},
		"text after a quote":      {"indicator;note;value\nx;\"a\"b;1\n", []string{"1/2 |x|||1 note=ab"}},
		"a quote never closed":    {"indicator;note;value\nx;\"a;1\ny;b;2\nz;c;3\n", []string{"1/2 |x|||1 note=\"a !column_count@0", "2/3 |y|||2 note=b", "3/4 |z|||3 note=c"}},
		"title lines":             {"Bilan 2025;;\n\nindicator;value;note\nx;1;a\n", []string{"1/4 |x|||1 note=a"}},
		"blank lines":             {"\n;;\nindicator;value;note\n\n;;\nx;1;a\n;;\n \n", []string{"1/6 |x|||1 note=a"}},
		"too many cells":          {"indicator;value\nx;1;2\n", []string{"1/2 |x|||1 !column_count@0"}},
		"a nameless column":       {"indicator;value;\nx;1;remark\ny;2;\n", []string{"1/2 |x|||1 ?unknown_column@3", "2/3 |y|||2"}},
		"cut before the value":    {"indicator;note;value\nx;a\n", []string{"1/2 |x||| note=a !column_count@0"}},
		"cut before a note":       {"indicator;value;note\nx;1\n", []string{"1/2 |x|||1"}},
		"a cell too long":         {"indicator;value;note\nx;1;" + strings.Repeat("é", 4001) + "\n", []string{"1/2 |x|||1 !too_long@3"}},
		"a row too long":          {"indicator;value;note\nx;1;" + strings.Repeat("e", 70<<10) + "\ny;2;\n", []string{"1/2 |x|||1 note=" + strings.Repeat("e", 196) + " !row_too_long@0", "2/3 |y|||2"}},
		"families":                {"indicator;component.numerator;Dénominateur;disaggregation.sex;qualifier.hours_basis;components\nx;1,5;2;F;1 607;\ny;;;;;\"{\"\"numerator\"\":1}\"\n", []string{"1/2 |x||| map[denominator:2 numerator:1.5] map[sex:F] map[hours_basis:1607]", "2/3 |y||| map[numerator:1]"}},
		"actions":                 {"action;indicator\nD;x\nm;x\n;x\nS;x\n", []string{"1/2 |x||| action=D", "2/3 |x||| action=M", "3/4 |x|||", "4/5 |x||| !unknown_code@1"}},
		"two days":                {"indicator;période début;période fin;value\nx;01/07/2023;30/06/2024;1\nx;2024-01-01;;1\nx;45657;45657;1\nx;2024-02-01;2024-01-01;1\n", []string{"1/2 |x||2023-07-01/2024-06-30|1", "2/3 |x|||1 !missing_field@2", "3/4 |x|||1 !invalid_date@2→2024-12-31 !invalid_date@3→2024-12-31", "4/5 |x|||1 !unknown_period_format@3"}},
		"a year and its quarter":  {"indicator;Année;Trimestre;value\nx;2025;T3;1\nx;2025;3;1\nx;2025;3e trimestre;1\nx;2025;;1\nx;2025;5;1\nx;;T3;1\n", []string{"1/2 |x||2025-Q3|1", "2/3 |x||2025-Q3|1", "3/4 |x||2025-Q3|1", "4/5 |x||2025|1", "5/6 |x|||1 !unknown_period_format@3", "6/7 |x|||1"}},
		"a year and its month":    {"indicator;annee;mois;value\nx;2025;mars;1\nx;2025;03;1\n", []string{"1/2 |x||2025-03|1", "2/3 |x||2025-03|1"}},
		"a quarter alone":         {"indicator;trimestre;value\nx;T3 2025;1\n", []string{"1/2 |x||2025-Q3|1 ?trimestre_read_as_quarter@2→2025-Q3"}},
		"no value":                {"indicator;value;statut\na;NaN;\nb;#N/A;M\nc;-;\nd;sans objet;\ne;;O\nf;;\n", []string{"1/2 |a|||null status=L ?no_value_symbol@2", "2/3 |b|||null status=M", "3/4 |c|||null status=L ?no_value_symbol@2", "4/5 |d|||null status=M ?no_value_symbol@2", "5/6 |e|||null status=O", "6/7 |f|||"}},
		"euros and percentages":   {"indicator;value;unit\na;12 €;\nb;12 €;kEUR\nc;12 %;\nd;12 %;%\ne;0,5;1\n", []string{"1/2 |a|||12 unit=EUR", "2/3 |b|||12 unit=kEUR !unit_mismatch@2", "3/4 |c|||12 !fraction_as_percentage@2→0.12", "4/5 |d|||12 unit=%", "5/6 |e|||0.5 unit=1"}},
		"truth":                   {"indicator;value;cumul\na;oui;non\nb;FAUX;peut-être\n", []string{"1/2 |a|||true", "2/3 |b|||false !invalid_type@3"}},
		"places":                  {"indicator;commune;code_postal;value\nx;LYON;69003;1\nx;Lyon;;1\nx;69266;69100;1\nx;Nulle Part;;1\n", []string{"1/2 |x|arrondissement-69383||1 ?source_value_mapped@2→arrondissement-69383", "2/3 |x|commune-69123||1 ?source_value_mapped@2→commune-69123", "3/4 |x|69266||1", "4/5 |x|Nulle Part||1"}},
		"organisations":           {"organisation;value\n34832377500018;1\n348323775;1\nW691234567;1\nsiret:1;1\n1,23457E+13;1\n3483237750001;1\n", []string{"1/2 siret:34832377500018||||1", "2/3 siren:348323775||||1", "3/4 rna:W691234567||||1", "4/5 siret:1||||1", "5/6 ||||1 !invalid_siret@1", "6/7 ||||1 !invalid_siret@1"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := read(t, []byte(c.file), format.ReadOptions{})
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDialectsDecideWhatFilesDoNot(t *testing.T) {
	for name, c := range map[string]struct{ dialect, file, want string }{
		"auto, no sign of the mark":    {"auto", "indicator;value\nx;1.234\n", "1/2 |x||| !invalid_number@2"},
		"auto, other numbers tell":     {"auto", "indicator;value\nx;1.234\ny;1.5\n", "1/2 |x|||1.234"},
		"auto, both marks about":       {"auto", "indicator;value\nx;1.234\ny;1.5\nz;1,5\n", "1/2 |x||| !invalid_number@2"},
		"auto, the comma is the mark":  {"auto", "indicator;value\nx;1,234\n", "1/2 |x|||1.234"},
		"auto, commas between cells":   {"auto", "indicator,value\nx,1.234\n", "1/2 |x|||1.234"},
		"auto, a comma in quotes":      {"auto", "indicator,value\nx,\"1,234\"\n", "1/2 |x||| !invalid_number@2"},
		"auto, tabs tell nothing":      {"auto", "indicator\tvalue\nx\t1.234\n", "1/2 |x||| !invalid_number@2"},
		"fr: dots group":               {"fr", "indicator;value\nx;1.234\n", "1/2 |x|||1234"},
		"fr: the comma is decimal":     {"fr", "indicator;value\nx;1,234\n", "1/2 |x|||1.234"},
		"rfc4180: the point":           {"rfc4180", "indicator,value\nx,1.234\n", "1/2 |x|||1.234"},
		"rfc4180: nothing but a point": {"rfc4180", "indicator,value\nx,\"1,5\"\n", "1/2 |x||| !invalid_number@2→1.5"},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := read(t, []byte(c.file), format.ReadOptions{Dialect: c.dialect})
			if got[0] != c.want {
				t.Errorf("got %q, want %q", got[0], c.want)
			}
		})
	}
	if err := readAll(strings.NewReader(""), format.ReadOptions{Schema: format.Observations, Dialect: "us"}); impact.KindOf(err) != impact.Malformed {
		t.Errorf("%v", err)
	}
}

func TestHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		header, want, ignored string
		decided               format.Mapping
	}{
		"exact":                       {header: "indicator,value", want: "indicator value"},
		"accents, case, punctuation":  {header: "CODE INSEE,  Période ,Unité", want: "territory period unit"},
		"a place beside its code":     {header: "commune,code_insee", want: "territory_name territory"},
		"a place alone":               {header: "Commune,Valeur", want: "territory value"},
		"a year alone":                {header: "année,valeur", want: "period value"},
		"a year and its month":        {header: "Année,Mois,période fin", want: "year month period_end"},
		"a name beside a SIRET":       {header: "Structure,N° SIRET", want: " siret", ignored: "Structure"},
		"a structure alone":           {header: "Structure,Valeur", want: "organisation value"},
		"labels of a template":        {header: "indicator,indicator_label,territory_label", want: "indicator  "},
		"decided by the sender":       {header: "Qté,Mesure X,Remarque", want: "value indicator ", decided: format.Mapping{Headers: map[string]string{"Qté": "value", "Mesure X": "indicator", "Remarque": ""}}},
		"a family decided":            {header: "nb,x", want: "component.numerator indicator", decided: format.Mapping{Headers: map[string]string{"nb": "component.numerator", "x": "indicator"}}},
		"unknown, with what was near": {header: "indicator,valeurs", want: "indicator ", ignored: "valeurs"},
	} {
		t.Run(name, func(t *testing.T) {
			m, faults, _ := format.MapHeader(strings.Split(c.header, ","), format.Observations, c.decided)
			if got := strings.Join(m.Members, " "); got != c.want || strings.Join(m.Ignored, " ") != c.ignored || len(faults) > 0 {
				t.Errorf("%q, ignored %q, %v", got, m.Ignored, faults)
			}
		})
	}
	for _, header := range []string{"value;Valeur\n1;2\n", "territory;Code INSEE\n1;2\n", "value;value\n1;2\n"} {
		err := readAll(strings.NewReader(header), format.ReadOptions{Schema: format.Observations})
		e, ok := errors.AsType[*impact.Error](err)
		if !ok || e.Code != "import_unreadable" || len(e.Faults) != 1 || e.Faults[0].Code != "duplicate_member" || e.Faults[0].Column != 2 {
			t.Errorf("%q: %+v", header, err)
		}
	}
}

func TestValuesAreTranslatedAsDecided(t *testing.T) {
	_, got := read(t, []byte("indicator;value\nHeures;1\n"), format.ReadOptions{Mapping: format.Mapping{Values: map[string]map[string]string{"indicator": {"Heures": "insertion_hours"}}}})
	if got[0] != "1/2 |insertion_hours|||1 ?source_value_mapped@1→insertion_hours" {
		t.Error(got[0])
	}
}

func TestWhatIsDecidedCountsWithoutCaseAndAccents(t *testing.T) {
	decided := format.Mapping{
		Headers: map[string]string{"Bénévolat (h)": "value", "Quoi": "indicator"},
		Values:  map[string]map[string]string{"indicator": {"Heures données": "volunteer_hours", "A": "jobs_a", "a": "jobs_b"}},
	}
	_, got := read(t, []byte("QUOI;bénévolat (H)\nheures donnees;1\nHEURES  DONNÉES;2\nA;3\na;4\nÀ;5\n"), format.ReadOptions{Mapping: decided})
	want := []string{
		"1/2 |volunteer_hours|||1 ?source_value_mapped@1→volunteer_hours",
		"2/3 |volunteer_hours|||2 ?source_value_mapped@1→volunteer_hours",
		"3/4 |jobs_a|||3 ?source_value_mapped@1→jobs_a",
		"4/5 |jobs_b|||4 ?source_value_mapped@1→jobs_b",
		"5/6 |À|||5", // two texts fit
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLabelsAndUnitsAsPeopleWriteThem(t *testing.T) {
	_, got := read(t, []byte("Indicateur;Commune;Valeur;Unité\nHeures de bénévolat;Lyon 3e;1;Heures\nHEURES DE BENEVOLAT;Ste Foy;2;€ HT\nHeures;Caluire;3;mWh\n"), format.ReadOptions{})
	want := []string{
		"1/2 |volunteer_hours|arrondissement-69383||1 unit=h ?source_value_mapped@1→volunteer_hours ?source_value_mapped@2→arrondissement-69383",
		"2/3 |volunteer_hours|commune-69202||2 unit=EUR ?source_value_mapped@1→volunteer_hours ?source_value_mapped@2→commune-69202",
		"3/4 |Heures|commune-69034||3 unit=mWh ?source_value_mapped@2→commune-69034",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLinesOfTotalsAreLeftOut(t *testing.T) {
	const file = "Structure;SIRET;Indicateur;Valeur\nJardins;34832377500018;volunteer_hours;1\nSous-total T3;;;1\nTotal Énergies;34832377500018;volunteer_hours;2\n;34832377500018;volunteer_hours;3\nTotal;;volunteer_hours;4\nTotalement neuf;;;5\n;TOTAL GÉNÉRAL;;6\n"
	table, got := read(t, []byte(file), format.ReadOptions{})
	want := []string{
		"1/2 siret:34832377500018|volunteer_hours|||1",
		"2/4 siret:34832377500018|volunteer_hours|||2",
		"3/5 siret:34832377500018|volunteer_hours|||3",
		"4/6 |volunteer_hours|||4",
		"5/7 ||||5",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	last := table.Warnings[len(table.Warnings)-1]
	if last.Code != "source_value_mapped" || !strings.HasPrefix(last.Detail.FR, "2 lignes de totaux") || !strings.Contains(last.Detail.EN, "line 3") {
		t.Errorf("%+v", table.Warnings)
	}
	wellTold(t, last)
	decided := format.Mapping{Values: map[string]map[string]string{"indicator": {"Total": "volunteer_hours"}}}
	if _, got := read(t, []byte("Indicateur;Valeur\nTotal;1\n"), format.ReadOptions{Mapping: decided}); len(got) != 1 {
		t.Errorf("what the sender decided is no total: %v", got)
	}
	if _, got := read(t, []byte(`{"observations":[{"note":"Total"}]}`), format.ReadOptions{}); len(got) != 1 {
		t.Errorf("JSON has no totals: %v", got)
	}
}

func TestHintsSpeakOfColumns(t *testing.T) {
	table, err := format.Open(strings.NewReader("SIRET;Indicateur;Valeur;Unité\n;durable_exit_rate;12;\n"), format.ReadOptions{Schema: format.Observations})
	check(t, err)
	for row, err := range table.Statements(format.StatementOptions{Catalogue: catalogue(), UnitRequired: true}) {
		check(t, err)
		row.Tell([]impact.Fault{
			{Code: "missing_field", Pointer: "/organisation"},
			{Code: "missing_field", Pointer: "/territory"},
			{Code: "ratio_requires_components", Pointer: "/value"},
			{Code: "missing_component", Pointer: "/components/numerator"},
		}, nil)
		var got []string
		for _, f := range row.Faults {
			got = append(got, f.Hint.FR)
		}
		want := []string{
			"Remplissez la colonne « SIRET ».", "Ajoutez une colonne Commune.",
			"Donnez ce qu'on divise, dans les colonnes Numérateur, Dénominateur.",
			"Remplissez la colonne Numérateur, ou écrivez L ou M dans obs_status quand le tout manque.",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	table, err = format.Open(strings.NewReader("Indicateur;Valeur;Unité\nvolunteer_hours;12;\n"), format.ReadOptions{Schema: format.Observations})
	check(t, err)
	for row, err := range table.Statements(format.StatementOptions{Catalogue: catalogue(), UnitRequired: true}) {
		check(t, err)
		if f := row.Faults[0]; !strings.HasPrefix(f.Hint.FR, "Remplissez la colonne « Unité ». Écrivez l'unité") || f.Suggestion != "h" {
			t.Errorf("%+v", f)
		}
	}
}

func TestWhatTheCheckerSaysIsPlaced(t *testing.T) {
	table, err := format.Open(strings.NewReader("Indicateur;SIRET;Valeur\nx;1;douze\n"), format.ReadOptions{Schema: format.Observations})
	check(t, err)
	for row, err := range table.Statements(format.StatementOptions{Period: "2025"}) {
		check(t, err)
		row.Tell([]impact.Fault{
			{Code: "unknown_indicator", Pointer: "/indicator", Value: "x"},
			{Code: "missing_field", Pointer: "/value"},
			{Code: "missing_field", Pointer: "/territory"},
		}, []impact.Fault{{Code: "outlier", Pointer: "/value", Value: "12"}})
		if got := codes("!", row.Faults) + codes("?", row.Warnings); got != " !invalid_number@3 !invalid_siret@2 !unknown_indicator@1 !missing_field@0 ?outlier@3" {
			t.Error(got)
		}
		if row.Statement.Period != "2025" || row.Warnings[0].Value != "douze" {
			t.Errorf("%+v", row)
		}
	}
}

func TestUnitsAreAskedForInFiles(t *testing.T) {
	for name, c := range map[string]struct{ file, mediaType, want string }{
		"a column left empty": {"indicator,value,unit\ninsertion_hours,5,\n", "text/csv", " !missing_field@3→h"},
		"no column":           {"indicator,value\nnowhere,5\n", "text/csv", " !missing_field@0"},
		"given":               {"indicator,value,unit\ninsertion_hours,5,h\n", "text/csv", ""},
		"nothing counted":     {"indicator,value,unit\ninsertion_hours,,\n", "text/csv", ""},
		"a deletion":          {"indicator,value,action\ninsertion_hours,5,D\n", "text/csv", ""},
		"true":                {"indicator,value\nx,oui\n", "text/csv", ""},
		"JSON":                {`[{"indicator":"insertion_hours","value":5}]`, "application/json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := format.Open(strings.NewReader(c.file), format.ReadOptions{Schema: format.Observations, MediaType: c.mediaType})
			check(t, err)
			for row, err := range table.Statements(format.StatementOptions{Catalogue: catalogue(), UnitRequired: true}) {
				check(t, err)
				if got := codes("!", row.Faults); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}

func TestGzipAndLimits(t *testing.T) {
	zip := func(s string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	_, got := read(t, zip("indicator;value\nx;1\n"), format.ReadOptions{Name: "a.csv.gz"})
	if got[0] != "1/2 |x|||1" {
		t.Error(got)
	}
	rows := func(n int) string { return "indicator;value\n" + strings.Repeat("x;1\n", n) }
	for name, c := range map[string]struct {
		data []byte
		o    format.ReadOptions
		code string
	}{
		"a bomb":             {zip(rows(2 << 20)), format.ReadOptions{Limits: format.Limits{Rows: 1 << 30}}, "body_too_large"},
		"too many rows":      {[]byte(rows(11)), format.ReadOptions{Limits: format.Limits{Rows: 10}}, "body_too_large"},
		"too many bytes":     {[]byte(rows(1000)), format.ReadOptions{Limits: format.Limits{Unzipped: 1000}}, "body_too_large"},
		"too many columns":   {[]byte("indicator" + strings.Repeat(";x", 200) + "\n"), format.ReadOptions{}, "body_too_large"},
		"a cut gzip":         {zip(rows(1000))[:40], format.ReadOptions{}, "malformed_body"},
		"not gzip":           {[]byte("\x1f\x8bxx"), format.ReadOptions{}, "malformed_body"},
		"nothing":            {nil, format.ReadOptions{}, "import_unreadable"},
		"no XLSX":            {[]byte("a;b"), format.ReadOptions{MediaType: format.MediaXLSX}, "malformed_body"},
		"a PDF":              {[]byte("%PDF-1.7"), format.ReadOptions{Name: "a.pdf"}, "unsupported_media_type"},
		"an image":           {[]byte("x"), format.ReadOptions{MediaType: "image/png"}, "unsupported_media_type"},
		"an ODS by its name": {[]byte("PK\x03\x04xxxx"), format.ReadOptions{Name: "a.ods"}, "unsupported_media_type"},
		"another charset":    {[]byte("indicator"), format.ReadOptions{MediaType: "text/csv; charset=koi8-r"}, "unsupported_media_type"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Schema = format.Observations
			err := readAll(bytes.NewReader(c.data), c.o)
			e, ok := errors.AsType[*impact.Error](err)
			if !ok || e.Code != c.code || e.Detail.EN == "" || e.Hint.FR == "" {
				t.Errorf("%+v", err)
			}
		})
	}
}

// What the standard library writes is cut into the same cells, whatever the
// pieces in which it arrives.
func TestRecordsAreThoseOfTheStandardLibrary(t *testing.T) {
	cell := rapid.OneOf(rapid.StringMatching(`[a"';,\n é]{0,6}`), rapid.StringMatching(`[a-z]{0,3}`), rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat("\"é\n;", rapid.IntRange(0, 800).Draw(t, "long"))
	}))
	rapid.Check(t, func(t *rapid.T) {
		comma := rapid.SampledFrom([]rune{',', ';', '\t', '|'}).Draw(t, "comma")
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		w.Comma, w.UseCRLF = comma, false
		rows := [][]string{{"indicator", "note", "value"}}
		lines := []int{1}
		line := 2
		for range rapid.IntRange(0, 60).Draw(t, "rows") {
			row := []string{cell.Draw(t, "a"), cell.Draw(t, "b"), "1"}
			rows, lines = append(rows, row), append(lines, line)
			line += 1 + strings.Count(row[0]+row[1], "\n")
		}
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		var in io.Reader = bytes.NewReader(b.Bytes())
		if rapid.Bool().Draw(t, "in small pieces") {
			in = iotest.HalfReader(in)
		}
		table, err := format.Open(in, format.ReadOptions{Schema: format.Observations})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for r, err := range table.Records() {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n >= len(rows) {
				t.Fatalf("%d records of %d", n, len(rows)-1)
			}
			if d := cmp.Diff(rows[n], r.Cells); d != "" || r.Line != lines[n] {
				t.Fatalf("record %d, line %d for %d: %s", n, r.Line, lines[n], d)
			}
		}
		if n != len(rows)-1 {
			t.Errorf("%d records of %d", n, len(rows)-1)
		}
	})
}

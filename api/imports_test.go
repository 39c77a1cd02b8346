package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// asCSV is the media type of the files of these tests.
var asCSV = header{"Content-Type", "text/csv"}

// importKey gives each file a key of its own.
func (w *world) importKey() header { return header{"Idempotency-Key", w.config.NewID()} }

// send imports a file and gives the answer.
func (x *caller) send(t testing.TB, query, file string, h ...header) answer {
	t.Helper()
	return x.post(t, "/v1/imports"+query, file, append([]header{asCSV, x.w.importKey()}, h...)...)
}

// sent imports a file that must be processed.
func (x *caller) sent(t testing.TB, query, file string, h ...header) answer {
	t.Helper()
	a := x.send(t, query, file, h...)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a
}

// counts gives the counters of rows that are not zero.
func counts(t testing.TB, a answer) string {
	t.Helper()
	var out []string
	for _, name := range []string{"received", "created", "updated", "unchanged", "deleted", "would_create", "would_update", "would_leave", "would_delete", "rejected"} {
		if n := fmt.Sprint(a.at(t, "/counts/"+name)); n != "0" {
			out = append(out, name+" "+n)
		}
	}
	return strings.Join(out, ", ")
}

const twoQuarters = "Indicateur;Commune;Période;Valeur;Unité;Remarque;Note\r\n" +
	"insertion_hours;69266;T1 2024;1 234,5;h;x;première\r\n" +
	"insertion_hours;69266;2024-Q2;900;h;;\r\n"

func TestImportOfAFile(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		a := x.sent(t, "", twoQuarters, header{"Content-Disposition", `attachment; filename="T3.csv"`})
		if got := counts(t, a); got != "received 2, created 2" {
			t.Errorf("%s: %s", got, a.body)
		}
		for pointer, want := range map[string]string{
			"/state": "completed", "/outcome": "succeeded", "/file/name": "T3.csv", "/file/rows": "2", "/file/dialect/delimiter": ";", "/file/dialect/decimal": ",",
			"/file/header_mapping/Commune": "territory", "/file/ignored_columns/0": "Remarque", "/meta/warnings/0/code": "unknown_column",
			"/rows/0/warnings/0/code": "trimestre_read_as_quarter", "/warnings_by_code/0/code": "trimestre_read_as_quarter", "/warnings_by_code/0/count": "1", "/rows/0/warnings/0/field": "period", "/rows/0/warnings/0/column": "3", "/rows/0/line": "2",
		} {
			if got := fmt.Sprint(a.at(t, pointer)); got != want {
				t.Errorf("%s: %s, want %s", pointer, got, want)
			}
		}
		list := x.get(t, "/v1/observations?period=2024-Q1")
		if list.at(t, "/data/0/value").(fmt.Stringer).String() != "1234.5" || list.at(t, "/data/0/note") != "première" {
			t.Errorf("%s", list.body)
		}
		at := strings.TrimPrefix(a.header.Get("Location"), publicURL)
		if read := x.get(t, at); read.status != http.StatusOK || counts(t, read) != counts(t, a) {
			t.Errorf("%d %s", read.status, read.body)
		}
		if rows := x.get(t, at+"/rows?outcome=created"); len(rows.json(t)["data"].([]any)) != 2 || rows.at(t, "/data/1/observation") == nil {
			t.Errorf("%s", rows.body)
		}
		if source := x.get(t, at+"/source"); string(source.body) != twoQuarters || !strings.Contains(source.header.Get("Content-Disposition"), "T3.csv") {
			t.Errorf("%v %s", source.header, source.body)
		}
		if again := x.sent(t, "", twoQuarters); counts(t, again) != "received 2, unchanged 2" {
			t.Errorf("the same file again: %s", counts(t, again))
		}
	})
}

func TestAFileMayBeWrittenAsPeopleWrite(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		a := x.sent(t, "", "Indicateur;Commune;Mois;Valeur;Unité\nHeures d'insertion;Lyon 3e;juil-24;1 250,5;Heures\nHEURES D'INSERTION;Ste Foy;3T2023;80;H\nTOTAL;;;1 330,5;\n")
		if got := counts(t, a); got != "received 2, created 2" || a.at(t, "/file/rows").(fmt.Stringer).String() != "2" {
			t.Fatalf("%s: %s", got, a.body)
		}
		for pointer, want := range map[string]string{
			"/rows/0/warnings/0/code": "source_value_mapped", "/rows/0/warnings/0/field": "indicator", "/rows/0/warnings/0/suggestion": "insertion_hours",
			"/rows/0/key/territory": "arrondissement-69383", "/rows/0/key/period": "2024-07", "/rows/1/key/territory": "commune-69202", "/rows/1/key/period": "2023-Q3",
			"/meta/warnings/0/code": "source_value_mapped", "/meta/warnings/0/value": "TOTAL",
		} {
			if got := fmt.Sprint(a.at(t, pointer)); got != want {
				t.Errorf("%s: %s, want %s", pointer, got, want)
			}
		}
		bad := x.sent(t, "", "Indicateur;Commune;Mois;Valeur;Unité\ninsertion_hours;69266;2024-01;1;\n", header{"Accept-Language", "fr"})
		if hint := fmt.Sprint(bad.at(t, "/rows/0/errors/0/hint")); !strings.HasPrefix(hint, "Remplissez la colonne « Unité ».") {
			t.Errorf("%s", bad.body)
		}
		ods := x.send(t, "", "x", header{"Content-Type", "application/vnd.oasis.opendocument.spreadsheet"}, header{"Accept-Language", "fr"})
		refused(t, ods, http.StatusUnsupportedMediaType, "unsupported_media_type")
		if !strings.Contains(string(ods.body), "au format .xlsx") {
			t.Errorf("%s", ods.body)
		}
		rejects := x.sent(t, "", "Indicateur;Commune;Mois;Valeur;Unité\nTotal;;;1;\ninsertion_hours;Atlantis;2024-02;1;h\n")
		back := x.get(t, strings.TrimPrefix(fmt.Sprint(rejects.at(t, "/links/rejects")), publicURL))
		if s := string(back.body); !strings.Contains(s, "Atlantis") || strings.Contains(s, "Total") {
			t.Errorf("%d %s", back.status, s)
		}
	})
}

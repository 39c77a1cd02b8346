package api_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

const importHeader = "indicator,territory,period,value,unit,note\n"

// file writes rows of hours: "69266 2024-Q1 10" is a place, a period, a value.
func file(rows ...string) string {
	b := importHeader
	for _, r := range rows {
		f := strings.Fields(r + " . .")
		note := strings.TrimPrefix(strings.Join(f[3:len(f)-2], " "), ".")
		if f[2] == "." {
			f[2] = ""
		}
		b += "insertion_hours," + f[0] + "," + f[1] + "," + f[2] + ",h," + note + "\n"
	}
	return b
}

// held gives the observations of a caller as "period value note".
func (x *caller) held(t testing.TB) string {
	t.Helper()
	var out []string
	for _, o := range x.get(t, "/v1/observations?limit=1000").json(t)["data"].([]any) {
		o := o.(object)
		out = append(out, strings.TrimSpace(fmt.Sprint(o["period"], " ", o["value"], " ", orEmpty(o["note"]))))
	}
	return strings.Join(out, "; ")
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

func TestImportModes(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		x.sent(t, "", file("69266 2024-Q1 10 first", "69266 2024-Q2 20", "69266 2024-Q3 30"))
		for _, step := range []struct{ name, query, file, counts, held string }{
			{
				"a dry run says what would happen and leaves all as it is", "?dry_run=true", file("69266 2024-Q1 11", "69266 2024-Q2 20", "69266 2024-Q4 40"),
				"received 3, would_create 1, would_update 1, would_leave 1", "2024-Q1 10 first; 2024-Q2 20; 2024-Q3 30",
			},
			{
				"merging leaves what the row leaves out", "", file("69266 2024-Q1 11", "69266 2024-Q2 ."),
				"received 2, updated 1, unchanged 1", "2024-Q1 11 first; 2024-Q2 20; 2024-Q3 30",
			},
			{
				"an action of the row goes before the mode", "", "action," + importHeader + "R,insertion_hours,69266,2024-Q1,12,h,\nD,insertion_hours,69266,2024-Q3,,,\nM,insertion_hours,69266,2024-Q4,40,h,\n",
				"received 3, created 1, updated 1, deleted 1", "2024-Q1 12; 2024-Q2 20; 2024-Q4 40",
			},
			{
				"keys are deleted, once", "?mode=delete", file("69266 2024-Q4 .", "69266 2024-Q3 ."),
				"received 2, unchanged 1, deleted 1", "2024-Q1 12; 2024-Q2 20",
			},
			{
				"all or nothing, all", "?atomicity=all", file("69266 2024-Q3 30", "69266 2024-Q4 40"),
				"received 2, created 2", "2024-Q1 12; 2024-Q2 20; 2024-Q3 30; 2024-Q4 40",
			},
			{
				"a replacing file that would delete less than it may", "?mode=replace&scope=period:2024&max_delete_ratio=0.25", file("69266 2024-Q1 12", "69266 2024-Q2 21", "69266 2024-Q3 30"),
				"received 3, updated 1, unchanged 2, deleted 1", "2024-Q1 12; 2024-Q2 21; 2024-Q3 30",
			},
			{
				"a replacing dry run tells its deletions", "?mode=replace&scope=period:2024&dry_run=true", file("69266 2024-Q1 12"),
				"received 1, would_leave 1, would_delete 2", "2024-Q1 12; 2024-Q2 21; 2024-Q3 30",
			},
			{
				"an empty cell of a replacing file deletes", "?mode=replace&scope=period:2024", file("69266 2024-Q1 12", "69266 2024-Q2 .", "69266 2024-Q3 30"),
				"received 3, unchanged 2, deleted 1", "2024-Q1 12; 2024-Q3 30",
			},
		} {
			a := x.sent(t, step.query, step.file)
			if got := counts(t, a); got != step.counts {
				t.Errorf("%s: %s, want %s: %.1500s", step.name, got, step.counts, a.body)
			}
			if got := x.held(t); got != step.held {
				t.Errorf("%s: left %s, want %s", step.name, got, step.held)
			}
		}
		t.Run("all or nothing, nothing", func(t *testing.T) {
			before := x.held(t)
			a := x.send(t, "?atomicity=all", file("69266 2024-Q1 99", "69266 2024-Q2 x"))
			refused(t, a, http.StatusUnprocessableEntity, "import_rejected")
			report := x.get(t, strings.TrimPrefix(a.at(t, "/links/related").(string), publicURL))
			if counts(t, report) != "received 2, would_update 1, rejected 1" || report.at(t, "/outcome") != "failed" || report.at(t, "/errors_by_code/0/code") != "invalid_number" {
				t.Errorf("%s", report.body)
			}
			if after := x.held(t); after != before {
				t.Errorf("something was written: %s", after)
			}
		})
		t.Run("a warning may reject its row", func(t *testing.T) {
			if a := x.sent(t, "?on_warning=reject", file("69266 T2_2023 1")); counts(t, a) != "received 1, rejected 1" {
				t.Errorf("%s", a.body)
			}
			a := x.sent(t, "?on_warning=reject", file("69266 2024-Q3 3000000")) // an outlier, known once it is compared
			if counts(t, a) != "received 1, rejected 1" || a.at(t, "/rows/0/errors/0/code") != "outlier" || a.at(t, "/rows/0/errors/0/column").(fmt.Stringer).String() != "4" {
				t.Errorf("%s", a.body)
			}
		})
	})
}

func TestDeletionsOfAnImportAreGuarded(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		x.sent(t, "", file("69266 2024-Q1 10", "69266 2024-Q2 20", "69266 2024-Q3 30", "69266 2023-Q1 5"))
		before := x.held(t)
		a := x.send(t, "?mode=replace&scope=period:2024", file("69266 2024-Q1 11"))
		refused(t, a, http.StatusConflict, "delete_guard")
		if after := x.held(t); after != before {
			t.Errorf("something was written before it was confirmed: %s", after)
		}
		at := strings.TrimPrefix(a.at(t, "/links/related").(string), publicURL)
		report := x.get(t, at)
		if report.at(t, "/state") != "awaiting_confirmation" || fmt.Sprint(report.at(t, "/deletions/planned"), " ", report.at(t, "/deletions/in_scope")) != "2 3" || report.at(t, "/links/confirm") != publicURL+at+"/confirm" {
			t.Errorf("%s", report.body)
		}
		done := x.post(t, at+"/confirm", nil)
		if done.status != http.StatusOK || counts(t, done) != "received 1, updated 1, deleted 2" {
			t.Errorf("%d %s", done.status, done.body)
		}
		if got := x.held(t); got != "2024-Q1 11; 2023-Q1 5" && got != "2023-Q1 5; 2024-Q1 11" {
			t.Error(got)
		}
		refused(t, x.post(t, at+"/confirm", nil), http.StatusConflict, "bad_state")
		refused(t, x.post(t, at+"/cancel", nil), http.StatusConflict, "bad_state")

		// A row that does not say what it is about may be the one to keep.
		a = x.send(t, "?mode=replace&scope=period:2024&max_delete_ratio=1", file("69266 2024-Q2 1", "nowhere 2024-Q1 11"))
		refused(t, a, http.StatusConflict, "delete_guard")
		at = strings.TrimPrefix(a.at(t, "/links/related").(string), publicURL)
		if c := x.post(t, at+"/cancel", nil); c.at(t, "/state") != "cancelled" {
			t.Errorf("%s", c.body)
		}
		refused(t, x.send(t, "?mode=replace", file("69266 2024-Q1 1")), http.StatusBadRequest, "missing_parameter")
		refused(t, x.send(t, "?scope=period:2024", file("69266 2024-Q1 1")), http.StatusBadRequest, "conflicting_parameters")
		refused(t, x.send(t, "?mode=replace&scope=place:here", file("69266 2024-Q1 1")), http.StatusBadRequest, "invalid_parameter")
		refused(t, x.send(t, "?mode=replace&scope=network:mine", file("69266 2024-Q1 1")), http.StatusUnprocessableEntity, "validation_failed")
		refused(t, x.send(t, "?mode=replace&scope=organisation:siren%3A552100554", file("69266 2024-Q1 1")), http.StatusUnprocessableEntity, "validation_failed")
	})
}

// Whoever may synchronise members decides nothing on observations, and does not
// get their file.
func TestAnImportIsDecidedOnWithItsScope(t *testing.T) {
	w := embedded(t)
	own := w.register(t, setup, impact.Organisation{Name: "Fédération", SIREN: "356000000", Class: impact.Association, ESS: "true", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
	n, err := w.store.CreateNetwork(t.Context(), setup, impact.Network{Name: "Réseau", Organisation: own.ID})
	must(t, err)
	x := w.client(t, impact.Client{Name: "Réseau", Role: impact.RoleNetwork, Network: n.ID})
	of := "default_organisation=" + string(own.ID)
	x.sent(t, "?"+of, file("69266 2024-Q1 10", "69266 2024-Q2 20"))
	a := x.send(t, "?mode=replace&scope=period:2024&"+of, file("69266 2024-Q1 11"))
	refused(t, a, http.StatusConflict, "delete_guard")
	at := strings.TrimPrefix(a.at(t, "/links/related").(string), publicURL)
	_, members := x.key(t, object{"scopes": []string{"members.sync"}})
	_, sender := x.key(t, object{"scopes": []string{"imports.write"}})
	refused(t, members.post(t, at+"/confirm", nil), http.StatusForbidden, "insufficient_scope")
	refused(t, members.post(t, at+"/cancel", nil), http.StatusForbidden, "insufficient_scope")
	refused(t, members.get(t, at+"/source"), http.StatusForbidden, "insufficient_scope")
	refused(t, members.get(t, at+"/rejects"), http.StatusForbidden, "insufficient_scope")
	if a := sender.post(t, at+"/confirm", nil); a.status != http.StatusOK || counts(t, a) != "received 1, updated 1, deleted 1" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestRejectsAreMendedAndSentAgain(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		sent := "Indicateur;Commune;Période;Valeur;Unité;Commentaire\r\ninsertion_hours;69266;2024-Q1;10;h;\r\ninsertion_hours;69999;2024-Q2;20;h;=SUM(A1)\r\ninsertion_hours;69266;T3;trente;h;\r\n"
		a := x.sent(t, "", sent, header{"Accept-Language", "en"}, header{"Content-Disposition", `attachment; filename="T3.csv"`})
		if counts(t, a) != "received 3, created 1, rejected 2" || a.at(t, "/outcome") != "partially_succeeded" {
			t.Fatalf("%s", a.body)
		}
		if e := a.at(t, "/rows/1/errors").([]any); len(e) < 2 {
			t.Errorf("all faults of a row are told at once: %v", e)
		}
		at := strings.TrimPrefix(a.header.Get("Location"), publicURL)
		rejects := x.get(t, at+"/rejects.csv", header{"Accept-Language", "fr"})
		text := string(rejects.body)
		if rejects.status != http.StatusOK || !strings.Contains(text, "unknown_territory") || !strings.Contains(text, "erreur_messages") || strings.Contains(text, "69266;2024-Q1") || !strings.Contains(rejects.header.Get("Content-Disposition"), "T3-rejects.csv") {
			t.Fatalf("%v %s", rejects.header, text)
		}
		if english := x.get(t, at+"/rejects.csv", header{"Accept-Language", "en"}); !strings.Contains(string(english.body), "error_messages") {
			t.Errorf("%s", english.body)
		}
		mended := strings.NewReplacer("69999", "69266", "T3;trente;h", "2024-Q3;30;h").Replace(text)
		again := x.sent(t, "?retry_of="+strings.TrimPrefix(at, "/v1/imports/"), mended)
		if counts(t, again) != "received 2, created 2" || again.at(t, "/retry_of") == nil {
			t.Errorf("%s\n%s", again.body, mended)
		}
		if got := x.held(t); got != "2024-Q1 10; 2024-Q2 20 =SUM(A1); 2024-Q3 30" {
			t.Error(got)
		}
		refused(t, x.send(t, "?retry_of=nothing", mended), http.StatusUnprocessableEntity, "validation_failed")
	})
}

func TestImportIsIdempotent(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x, key := w.organisation, w.importKey()
		first := x.post(t, "/v1/imports", file("69266 2024-Q1 10"), asCSV, key)
		again := x.post(t, "/v1/imports", file("69266 2024-Q1 10"), asCSV, key)
		if first.status != http.StatusOK || again.status != http.StatusOK || again.at(t, "/id") != first.at(t, "/id") || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%s\n%s", first.body, again.body)
		}
		refused(t, x.post(t, "/v1/imports", file("69266 2024-Q1 11"), asCSV, key), http.StatusUnprocessableEntity, "idempotency_key_reused")
		refused(t, x.post(t, "/v1/imports", file("69266 2024-Q1 11"), asCSV), http.StatusBadRequest, "missing_idempotency_key")
		// A form has another boundary each time, and carries the same file.
		form := func() (string, header) {
			var b bytes.Buffer
			f := multipart.NewWriter(&b)
			part, err := f.CreateFormFile("file", `C:\exports\T3.csv`)
			must(t, err)
			_, err = part.Write([]byte(file("69266 2024-Q2 20")))
			must(t, err)
			must(t, f.Close())
			return b.String(), header{"Content-Type", f.FormDataContentType()}
		}
		key = w.importKey()
		body, as := form()
		first = x.post(t, "/v1/imports", body, as, key)
		body, as = form()
		again = x.post(t, "/v1/imports", body, as, key)
		if first.status != http.StatusOK || first.at(t, "/file/name") != "T3.csv" || again.at(t, "/id") != first.at(t, "/id") {
			t.Errorf("%s\n%s", first.body, again.body)
		}
	})
}

func TestImportBodies(t *testing.T) {
	w := embedded(t)
	x := w.organisation
	compressed := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(s))
		must(t, err)
		must(t, z.Close())
		return b.String()
	}
	utf16 := func(s string) string {
		b := []byte{0xff, 0xfe}
		for _, r := range s {
			b = append(b, byte(r), byte(r>>8))
		}
		return string(b)
	}
	for _, c := range []struct {
		name, body, counts string
		h                  []header
	}{
		{"JSON", `{"observations":[{"indicator":"insertion_hours","territory":"commune-69266","period":"2024-Q1","value":10.5,"unit":"h"}]}`, "received 1, created 1", []header{{"Content-Type", "application/json"}}},
		{"NDJSON", `{"indicator":"insertion_hours","territory":"commune-69266","period":"2024-Q2","value":20,"unit":"h"}` + "\n", "received 1, created 1", []header{{"Content-Type", "application/x-ndjson"}}},
		{"gzip", compressed(file("69266 2024-Q3 30")), "received 1, created 1", []header{{"Content-Encoding", "gzip"}}},
		{"UTF-16", utf16("Indicateur;Commune;Période;Valeur;Unité\r\ninsertion_hours;69266;2024-Q4;40;h\r\n"), "received 1, created 1", nil},
		{"Windows-1252", "Indicateur;Commune;P\xe9riode;Valeur;Unit\xe9;Commentaire\r\ninsertion_hours;69266;2023-Q1;1\xa0234,5;h;\xe9t\xe9\r\n", "received 1, created 1", nil},
		{"empty rows at the end", file("69266 2023-Q2 1") + ",,,,,\n,,,,,\n", "received 1, created 1", nil},
		{"days", "indicator,territory,début,fin,value,unit\ninsertion_hours,69266,01/07/2023,30/09/2023,7,h\n", "received 1, created 1", nil},
		{"the same fact twice", file("69266 2022-Q1 1", "69266 2022-Q1 2", "69266 2022-Q2 3"), "received 3, created 1, rejected 2", nil},
		{"a SIRET in scientific notation", "siret," + importHeader + "\"7,32829E+13\",insertion_hours,69266,2022-Q3,1,h,\n", "received 1, rejected 1", nil},
		{"a SIREN with spaces", "siren," + importHeader + "732 829 320,insertion_hours,69266,2022-Q3,1,h,\n", "received 1, created 1", nil},
		{"nothing to say", file("69266 2022-Q4 n/a"), "received 1, created 1", nil},
	} {
		a := x.sent(t, "", c.body, c.h...)
		if got := counts(t, a); got != c.counts {
			t.Errorf("%s: %s, want %s: %.1500s", c.name, got, c.counts, a.body)
		}
	}
	twice := x.sent(t, "?dry_run=true", file("69266 2021-Q1 1", "69266 2021-Q2 1", "69266 2021-Q1 2"))
	if twice.at(t, "/rows/0/errors/0/code") != "duplicate_in_file" || twice.at(t, "/rows/0/errors/0/value") != "4" || twice.at(t, "/rows/1/errors/0/value") != "2" {
		t.Errorf("each of the two names the other's line: %s", twice.body)
	}
	for _, c := range []struct {
		name, body, code string
		status           int
		h                []header
	}{
		{"empty", "", "malformed_body", http.StatusBadRequest, nil},
		{"header alone", importHeader, "import_unreadable", http.StatusUnprocessableEntity, nil},
		{"no header", "1,2,3\n4,5,6\n", "import_unreadable", http.StatusUnprocessableEntity, nil},
		{"a column twice", "indicator,territory,period,value,valeur\ninsertion_hours,69266,2024,1,2\n", "import_unreadable", http.StatusUnprocessableEntity, nil},
		{"type unknown", "x", "unsupported_media_type", http.StatusUnsupportedMediaType, []header{{"Content-Type", "image/png"}}},
		{"compression unknown", "x", "unsupported_media_type", http.StatusUnsupportedMediaType, []header{{"Content-Encoding", "br"}}},
		{"too large", strings.Repeat("x", 20<<20+1), "body_too_large", http.StatusRequestEntityTooLarge, nil},
		{"inflated", compressed(file("69266 2024-Q1 1") + strings.Repeat("insertion_hours,69266,2024-Q1,1,h,\n", 40<<20/36)), "body_too_large", http.StatusRequestEntityTooLarge, []header{{"Content-Encoding", "gzip"}}},
		{"no workbook", "PK\x03\x04 not a workbook", "malformed_body", http.StatusBadRequest, []header{{"Content-Type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}}},
		{"patience unreadable", file("69266 2024-Q1 1"), "invalid_header", http.StatusBadRequest, []header{{"Prefer", "wait=soon"}}},
	} {
		a := x.send(t, "", c.body, c.h...)
		if a.status != c.status || a.at(t, "/code") != c.code {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
	}
}

func TestImportThatIsNotWaitedFor(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		a := x.send(t, "", file("69266 2024-Q1 10"), header{"Prefer", "respond-async"})
		if a.status != http.StatusAccepted || a.header.Get("Retry-After") == "" || a.header.Get("Preference-Applied") != "respond-async" {
			t.Errorf("%d %v", a.status, a.header)
		}
		done := x.finished(t, a)
		if counts(t, done) != "received 1, created 1" || done.at(t, "/progress/rows_done").(fmt.Stringer).String() != "1" {
			t.Errorf("%s", done.body)
		}
		// More rows than a caller waits for.
		var rows []string
		for i := range 2500 {
			rows = append(rows, fmt.Sprintf("69266 %d-%02d-%02d/%d-%02d-%02d %d", 2010+i/336, i/28%12+1, i%28+1, 2010+i/336, i/28%12+1, i%28+1, i))
		}
		a = x.send(t, "", file(rows...))
		if a.status != http.StatusAccepted {
			t.Errorf("%d %.300s", a.status, a.body)
		}
		if done = x.finished(t, a); counts(t, done) != "received 2500, created 2500" {
			t.Errorf("%.2000s", done.body)
		}
		if list := x.get(t, "/v1/imports?state=completed&kind=observations&limit=1"); list.at(t, "/data/0/id") != done.at(t, "/id") || list.at(t, "/links/next") == nil {
			t.Errorf("the last one comes first: %.600s", list.body)
		}
	})
}

// finished waits until an import has ended.
func (x *caller) finished(t testing.TB, a answer) answer {
	t.Helper()
	at := strings.TrimPrefix(a.header.Get("Location"), publicURL)
	for range 600 {
		read := x.get(t, at)
		switch read.at(t, "/state") {
		case "completed", "failed", "cancelled":
			return read
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the import does not end: %s", x.get(t, at).body)
	return answer{}
}

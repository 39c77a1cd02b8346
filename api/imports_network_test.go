package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

func TestANetworkImportsWithinItsMandates(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		grant := w.organisation.post(t, "/v1/mandates", object{"to": object{"network": "FEDATE"}, "scopes": []string{"observations.write", "observations.read", "organisations.read"}, "indicators": []string{"insertion_hours"}})
		if grant.status != http.StatusCreated {
			t.Fatalf("%d %s", grant.status, grant.body)
		}
		sent := "siren," + importHeader +
			"732829320,insertion_hours,69266,2024-Q1,10,h,\n" + // covered
			"732829320,volunteer_hours,69266,2024,10,h,\n" + // another indicator
			"552100554,insertion_hours,69266,2024-Q1,10,h,\n" + // no mandate at all
			",insertion_hours,69266,2024-Q1,10,h,\n" // nobody
		a := w.network.sent(t, "", sent)
		if counts(t, a) != "received 4, created 1, rejected 3" {
			t.Errorf("%s", a.body)
		}
		var codes []string
		for i := range 3 {
			codes = append(codes, fmt.Sprint(a.at(t, fmt.Sprintf("/rows/%d/errors/0/code", i))))
		}
		if strings.Join(codes, " ") != "not_mandated unknown_organisation missing_field" {
			t.Errorf("%v: %s", codes, a.body)
		}
		o := w.organisation.get(t, "/v1/observations")
		if o.at(t, "/data/0/acted_by") != w.network.id || o.at(t, "/data/0/mandate") != grant.at(t, "/id") {
			t.Errorf("who wrote under which mandate: %s", o.body)
		}
		at := strings.TrimPrefix(a.header.Get("Location"), publicURL)
		refused(t, w.organisation.get(t, at), http.StatusNotFound, "not_found")
		if template := w.template(t, w.network, "csv"); !strings.Contains(template, string(w.atelier.ID)+",insertion_hours") || strings.Contains(template, string(w.bocage.ID)) {
			t.Errorf("%s", template)
		}
		// What is revoked ends at once, also for a file that goes on with it.
		if r := w.organisation.post(t, "/v1/mandates/"+grant.at(t, "/id").(string)+"/revoke", nil); r.status != http.StatusOK {
			t.Fatalf("%s", r.body)
		}
		if a := w.network.sent(t, "", "siren,"+importHeader+"732829320,insertion_hours,69266,2024-Q2,10,h,\n"); counts(t, a) != "received 1, rejected 1" {
			t.Errorf("%s", a.body)
		}
	})
}

// template reads the template of a questionnaire.
func (w *world) template(t *testing.T, x *caller, suffix string) string {
	t.Helper()
	if a := w.anonymous.get(t, "/v1/questionnaires/template"); a.status == http.StatusNotFound {
		w.questionnaire(t, "template", "manual", "insertion_hours", "waste_collected")
	}
	a := x.get(t, "/v1/import-templates/template."+suffix+"?period=2025")
	if a.status != http.StatusOK || !strings.Contains(a.header.Get("Content-Disposition"), "template."+suffix) {
		t.Fatalf("%d %v %.300s", a.status, a.header, a.body)
	}
	return string(a.body)
}

func TestTemplatesComeBackAsTheyWere(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.organisation
		x.sent(t, "", file("69266 2024 1234.5 checked", "69029 2024 7"))
		for _, suffix := range []string{"csv", "fr.csv", "xlsx"} {
			plain := w.template(t, w.anonymous, suffix)
			filled := w.template(t, x, suffix)
			as := header{"Content-Type", "text/csv"}
			if suffix == "xlsx" {
				as[1] = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
				book, err := excelize.OpenReader(bytes.NewReader([]byte(filled)))
				must(t, err)
				must(t, book.Close())
			} else if !strings.Contains(filled, "checked") || strings.Contains(plain, "checked") {
				t.Errorf("%s:\n%s\n%s", suffix, plain, filled)
			}
			// Untouched, it changes nothing: two values known, and rows to fill in.
			if a := x.sent(t, "", filled, as); counts(t, a) != "received 5, unchanged 5" {
				t.Errorf("%s: %s: %s\n%s", suffix, counts(t, a), a.body, filled)
			}
			if a := x.sent(t, "", plain, as); counts(t, a) != "received 2, unchanged 2" {
				t.Errorf("%s: %s: %s", suffix, counts(t, a), a.body)
			}
		}
		refused(t, w.anonymous.get(t, "/v1/import-templates/none.csv"), http.StatusNotFound, "not_found")
		refused(t, w.anonymous.get(t, "/v1/import-templates/template.csv?period=soon"), http.StatusBadRequest, "invalid_parameter")
	})
}

func TestMembersAreSynchronised(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.network
		const sync = "/v1/networks/FEDATE/members/sync"
		send := func(query, list string) answer {
			t.Helper()
			return x.post(t, sync+query, list, asCSV, w.importKey())
		}
		members := func() string {
			var out []string
			for _, m := range x.get(t, "/v1/networks/FEDATE/members?on="+now().Format("2006-01-02")).json(t)["data"].([]any) {
				out = append(out, fmt.Sprint(m.(object)["organisation"].(object)["name"]))
			}
			return strings.Join(out, ", ")
		}
		before := members()
		a := send("?dry_run=true", "SIREN;Nom;Depuis\n732 829 320;L'Atelier;01/01/2020\n552100554;;\n123;x;\n")
		if a.status != http.StatusOK || a.at(t, "/kind") != "members" || a.at(t, "/mode") != "delta" || a.at(t, "/counts/rejected").(fmt.Stringer).String() != "1" || a.at(t, "/rows/1/errors/0/code") != "invalid_siren" || a.at(t, "/rows/1/errors/0/column").(fmt.Stringer).String() != "1" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if got := members(); got != before {
			t.Errorf("a dry run changed %s to %s", before, got)
		}
		a = send("?mode=snapshot", "SIREN;Nom\n732829320;L'Atelier\n552100554;Bocage\n")
		if a.status != http.StatusOK || a.at(t, "/outcome") != "succeeded" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		both := members()
		if !strings.Contains(both, "Atelier") || !strings.Contains(both, "Bocage") {
			t.Error(both)
		}
		at := strings.TrimPrefix(a.header.Get("Location"), publicURL)
		if rows := x.get(t, at+"/rows"); rows.at(t, "/data/0/organisation") != string(w.atelier.ID) {
			t.Errorf("%s", rows.body)
		}
		// A list cut short ends nothing unasked.
		a = send("?mode=snapshot", "SIREN;Nom\n732829320;L'Atelier\n")
		refused(t, a, http.StatusConflict, "delete_guard")
		if got := members(); got != both {
			t.Errorf("%s, and nothing was confirmed", got)
		}
		at = strings.TrimPrefix(a.at(t, "/links/related").(string), publicURL)
		held := x.get(t, at)
		if hint := a.at(t, "/hint").(string); !strings.Contains(hint, "POST "+at+"/confirm") || !strings.Contains(hint, "POST "+at+"/cancel") {
			t.Error(hint)
		}
		if fmt.Sprint(held.at(t, "/deletions/planned"), " ", held.at(t, "/deletions/in_scope")) != "1 2" {
			t.Errorf("%s", held.body)
		}
		if done := x.post(t, at+"/confirm", nil); done.status != http.StatusOK || done.at(t, "/counts/deleted").(fmt.Stringer).String() != "1" {
			t.Errorf("%d %s", done.status, done.body)
		}
		if got := members(); strings.Contains(got, "Bocage") {
			t.Error(got)
		}
		refused(t, send("?mode=merge", "SIREN\n732829320\n"), http.StatusBadRequest, "invalid_parameter")
		refused(t, x.post(t, strings.Replace(sync, "FEDATE", "NOBODY", 1), "SIREN\n732829320\n", asCSV, w.importKey()), http.StatusNotFound, "not_found")
	})
}

// A list of members never registers one twice by mistake, and registers plain
// associations.
func TestMembersAreRegisteredOnce(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.network
		const head, known, fresh = "N° adhérent;Nom;SIRET;Type;Date entrée;Date sortie\n", "34832377500018", "55210055400013"
		send := func(query, rows string) answer {
			t.Helper()
			a := x.post(t, "/v1/networks/FEDATE/members/sync"+query, head+rows, asCSV, w.importKey())
			if a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return a
		}
		told := func(a answer) string {
			t.Helper()
			out := fmt.Sprintf("%v %v %v +%v", a.at(t, "/counts/created"), a.at(t, "/counts/updated"), a.at(t, "/counts/rejected"), a.at(t, "/counts/organisations_registered"))
			rows, _ := a.json(t)["rows"].([]any) // absent when nothing is said
			for _, row := range rows {
				for _, e := range row.(object)["errors"].([]any) {
					out += fmt.Sprint(" ", e.(object)["code"], "@", e.(object)["field"])
				}
			}
			return out
		}
		expect := func(a answer, want string) {
			t.Helper()
			if got := told(a); got != want {
				t.Errorf("%s, not %s: %s", got, want, a.body)
			}
		}
		expect(send("", "A1;Val de Tri;"+known+";EI;01/02/2020;\n"), "1 0 0 +1")
		// Under another kind: the known one is named, and how to say there are two.
		a := send("?dry_run=true", "A1;Val de Tri;"+known+";ACI;;\n")
		if told(a) != "0 0 1 +0 inconsistent@structure_kind" || a.at(t, "/rows/0/errors/0/suggestion") != "EI" || !strings.Contains(string(a.body), "A1") {
			t.Errorf("%s", a.body)
		}
		expect(send("", "A1;Val de Tri;"+known+";ACI;;\nA1;Val de Tri;"+known+";ETTI;;\n"), "0 0 2 +0 inconsistent@structure_kind inconsistent@structure_kind")
		// A number that is another member's, and its departure under a wrong kind.
		expect(send("", "A1;Neuve;"+fresh+";ACI;;\n"), "0 0 1 +0 inconsistent@external_id")
		expect(send("", "A1;Val de Tri;"+known+";ACI;;31/12/2025\n"), "0 0 1 +0 inconsistent@structure_kind")
		// Both are named, or the second has a number of its own: there are two.
		expect(send("?dry_run=true", "A1;Val de Tri;"+known+";EI;;\nA1;Val de Tri;"+known+";ACI;;\n"), "0 0 0 +1")
		expect(send("", "A2;Val de Tri chantier;"+known+";ACI;;\n"), "1 0 0 +1")
		expect(send("", "A1;Val de Tri;"+known+";EI;;\nA2;Val de Tri chantier;"+known+";ACI;;\n"), "0 0 0 +0")
		// A plain association; the same again; its true beginning.
		expect(send("", "A3;Les Voisins;"+fresh+";Association;15/03/2024;\n"), "1 0 0 +1")
		expect(send("", "A3;Les Voisins;"+fresh+";association loi 1901;15/03/2024;\n"), "0 0 0 +0")
		expect(send("", "A3;Les Voisins;"+fresh+";Association;15/03/2023;\n"), "0 1 0 +0")
		made := x.post(t, "/v1/organisations", object{"name": "Les Amis", "siret": "35600000000048", "organisation_class": "association"})
		if made.status != http.StatusCreated {
			t.Fatalf("%d %s", made.status, made.body)
		}
		put := x.do(t, "PUT", "/v1/networks/FEDATE/members/siret:35600000000048", object{"from": "2024-03-15"})
		if put.status != http.StatusOK || put.at(t, "/from") != "2024-03-15" {
			t.Errorf("%d %s", put.status, put.body)
		}
		// Duplicates are told by their lines, and a snapshot held back says why.
		a = send("", "A3;;"+fresh+";;;\nA3;;"+fresh+";;;\n")
		if !strings.Contains(string(a.body), "La ligne 3 nomme") || !strings.Contains(string(a.body), "La ligne 2 nomme") {
			t.Errorf("%s", a.body)
		}
		a = send("?mode=snapshot&max_delete_ratio=1", "A3;;"+fresh+";;;\n;Personne;12345;;;\n")
		if why := fmt.Sprint(a.at(t, "/deletions/withheld")); !strings.Contains(why, "ligne 3") || a.at(t, "/counts/deleted").(fmt.Stringer).String() != "0" {
			t.Errorf("%s", a.body)
		}
	})
}

package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestAnOrganisationSeesWhoTouchedItsData(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x, at := w.organisation, "/v1/organisations/"+string(w.atelier.ID)
		_, submission := x.open(t, object{"period": "2024", "observations": []any{hours(object{"period": "2024-Q1"}), hours(object{"period": "2024-Q2"})}})
		x.post(t, submission+"/submit", nil)
		w.steward.get(t, "/v1/observations?organisation="+string(w.atelier.ID))
		w.steward.post(t, submission+"/approve", nil)
		x.do(t, "PUT", at+"/consents/visible_to_buyer", nil)
		w.buyer.get(t, "/v1/observations")
		w.buyer.get(t, at)
		tag := x.get(t, at).header.Get("ETag")
		if a := w.administrator.do(t, "PATCH", at, object{"naf": "38.11Z"}, header{"If-Match", tag}); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		log := x.get(t, at+"/access-log")
		lines := []string{}
		for _, l := range log.at(t, "/data").([]any) {
			o := l.(object)
			rows, _ := o["rows"].(json.Number)
			name, _ := o["client_name"].(string)
			lines = append(lines, strings.TrimSpace(o["right"].(string)+" "+o["action"].(string)+" "+rows.String()+" "+name))
		}
		want := []string{
			"administration PATCH /v1/organisations/:id 1 Administration", "consent GET /v1/organisations/:id 1 Métropole", "consent GET /v1/observations 2 Métropole",
			"steward POST /v1/submissions/:id/approve 1 Observatoire", "steward GET /v1/observations 2 Observatoire", "own write 2 Atelier",
		}
		if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
		first := x.get(t, at+"/access-log?right=consent&limit=1")
		next := x.get(t, path(t, first.at(t, "/links/next")))
		if next.at(t, "/data/0/action") != "GET /v1/observations" || next.at(t, "/links/next") != nil {
			t.Errorf("%s", next.body)
		}
		refused(t, x.get(t, at+"/access-log?right=love"), http.StatusBadRequest, "invalid_parameter")
		refused(t, w.other.get(t, at+"/access-log"), http.StatusNotFound, "not_found")
	})
}

func TestAuditLogIsReadByThoseConcerned(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x, at := w.organisation, "/v1/organisations/"+string(w.atelier.ID)
		x.do(t, "PUT", at+"/consents/listed", nil)
		x.do(t, "DELETE", at+"/consents/listed", nil)
		network, _ := w.federated(t)
		mine := x.get(t, "/v1/audit-log?limit=2")
		if mine.status != http.StatusOK || mine.at(t, "/data/0/action") != "mandate.granted" || mine.at(t, "/data/0/network") == nil || mine.at(t, "/data/0/client_id") != x.id || mine.at(t, "/links/next") == nil {
			t.Errorf("%d %s", mine.status, mine.body)
		}
		if a := x.get(t, "/v1/audit-log?action=consent.withdrawn"); a.at(t, "/meta/row_count") != json.Number("1") || a.at(t, "/data/0/resource") != at+"/consents/listed" || a.at(t, "/data/0/detail/wording") != impact.ConsentWording {
			t.Errorf("%s", a.body)
		}
		if a := network.get(t, "/v1/audit-log?action=mandate.granted"); a.at(t, "/meta/row_count") != json.Number("2") {
			t.Errorf("%s", a.body)
		}
		for who, other := range map[string]*caller{"another organisation": w.other, "a buyer": w.buyer, "a steward": w.steward, "another network": w.network} {
			if a := other.get(t, "/v1/audit-log?action=consent.given"); a.at(t, "/meta/row_count") != json.Number("0") {
				t.Errorf("%s: %s", who, a.body)
			}
		}
		if a := w.administrator.get(t, "/v1/audit-log?action=consent.given"); a.at(t, "/meta/row_count") != json.Number("1") {
			t.Errorf("%s", a.body)
		}
	})
}

package api_test

import (
	"encoding/json"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestNetworks(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		a := w.administrator.post(t, "/v1/networks", object{"name": "  Fédération des jardins ", "code": "JARDINS", "organisation": string(w.atelier.ID)}, header{"Idempotency-Key", "one"})
		if a.status != 201 || a.at(t, "/name") != "Fédération des jardins" || a.header.Get("ETag") != `"v1"` || a.header.Get("Location") != publicURL+"/v1/networks/"+a.at(t, "/id").(string) {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		refused(t, w.administrator.post(t, "/v1/networks", object{"name": "Autre", "code": "JARDINS"}), 409, "already_exists")
		refused(t, w.administrator.post(t, "/v1/networks", object{"name": "Autre", "organisation": string(w.atelier.ID)}), 409, "already_exists")
		for member, value := range map[string]any{"name": "", "code": "à b", "organisation": "nobody"} {
			body := object{"name": "Autre"}
			body[member] = value
			if got := w.administrator.post(t, "/v1/networks", body); got.status != 422 || got.at(t, "/errors/0/pointer") != "/"+member {
				t.Errorf("%s: %d %s", member, got.status, got.body)
			}
		}
		for query, rows := range map[string]string{"": "2", "?q=federation%20jardins": "1", "?code=JARDINS": "1", "?q=rien": "0", "?updated_since=2000-01-01T00:00:00Z": "2"} {
			if got := w.anonymous.get(t, "/v1/networks"+query); got.at(t, "/meta/row_count") != json.Number(rows) {
				t.Errorf("%s: %s", query, got.body)
			}
		}
		first := w.anonymous.get(t, "/v1/networks?limit=1")
		next := first.at(t, "/links/next").(string)
		if got := w.anonymous.get(t, next[len(publicURL):]); got.at(t, "/meta/row_count") != json.Number("1") || got.at(t, "/links/next") != nil {
			t.Errorf("%s", got.body)
		}
		if got := w.anonymous.do(t, "GET", "/v1/networks/JARDINS", nil, header{"If-None-Match", `"v1"`}); got.status != 304 {
			t.Errorf("%d", got.status)
		}
		refused(t, w.administrator.do(t, "PATCH", "/v1/networks/JARDINS", object{"name": "x"}), 428, "precondition_required")
		refused(t, w.administrator.do(t, "PATCH", "/v1/networks/JARDINS", object{"name": "x"}, header{"If-Match", `"v9"`}), 412, "precondition_failed")
		if got := w.administrator.do(t, "PATCH", "/v1/networks/JARDINS", object{"code": nil, "organisation": nil}, header{"If-Match", `"v1"`}); got.status != 200 || got.at(t, "/code") != nil || got.header.Get("ETag") != `"v2"` {
			t.Errorf("%s", got.body)
		}
	})
}

func TestMembers(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.network
		put := func(body object) answer {
			return x.do(t, "PUT", "/v1/networks/FEDATE/members/siren:732%20829%20320", body)
		}
		refused(t, x.get(t, "/v1/organisations/siren:732829320"), 404, "not_found")
		a := put(object{"from": "2020-01-01", "to": "2021-12-31", "external_id": "4217"})
		if a.status != 201 || a.at(t, "/organisation/name") != w.atelier.Name || a.at(t, "/network/name") != w.federation.Name {
			t.Fatalf("%d %s", a.status, a.body)
		}
		refused(t, x.get(t, "/v1/organisations/siren:732829320"), 404, "not_found") // it has left
		if got := put(object{"from": "2020-01-01", "to": "2022-12-31"}); got.status != 200 || got.at(t, "/version") != json.Number("2") {
			t.Errorf("%d %s", got.status, got.body)
		}
		refused(t, put(object{"from": "2021-06-01"}), 422, "validation_failed")
		refused(t, put(object{"from": "2021-06-01", "to": "2021-01-01"}), 422, "validation_failed")
		refused(t, put(object{"from": "hier"}), 422, "validation_failed")
		if got := put(object{"from": "2024-01-01"}); got.status != 201 {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := x.get(t, "/v1/organisations/siren:732829320"); got.status != 200 {
			t.Errorf("a network sees the register entry of a member: %d %s", got.status, got.body)
		}
		refused(t, x.do(t, "PATCH", "/v1/organisations/"+string(w.atelier.ID), object{"name": "x"}, header{"If-Match", `"v1"`}), 403, "not_mandated")
		if got := x.get(t, "/v1/observations?organisation=siren:732829320"); got.at(t, "/meta/row_count") != json.Number("0") {
			t.Errorf("being a member gives no right: %s", got.body)
		}
		mandate := w.grant(t, nil, "organisations.write")
		changed := x.do(t, "PATCH", "/v1/organisations/"+string(w.atelier.ID), object{"name": "Atelier"}, header{"If-Match", `"v1"`})
		if changed.status != 200 || changed.at(t, "/name") != "Atelier" || len(w.uses(t, mandate)) != 1 {
			t.Errorf("%d %s", changed.status, changed.body)
		}
		for query, rows := range map[string]string{"": "2", "?on=2021-01-01": "1", "?on=2023-06-01": "0", "?updated_since=2000-01-01T00:00:00Z": "2"} {
			got, own := x.get(t, "/v1/networks/FEDATE/members"+query), w.organisation.get(t, "/v1/organisations/siren:732829320/memberships"+query)
			if got.at(t, "/meta/row_count") != json.Number(rows) || own.at(t, "/meta/row_count") != json.Number(rows) {
				t.Errorf("%s: %s %s", query, got.body, own.body)
			}
		}
		if got := x.do(t, "DELETE", "/v1/networks/FEDATE/members/"+string(w.atelier.ID), nil); got.status != 204 {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := x.get(t, "/v1/networks/FEDATE/members?updated_since=2000-01-01T00:00:00Z"); got.at(t, "/data/0/deleted") != true || got.at(t, "/data/1/deleted") != true {
			t.Errorf("%s", got.body)
		}
		// A network registers a new member, and none for others.
		fresh := object{"name": "Neuve", "siret": "35600000000048", "structure_kind": "ACI", "organisation_class": "association"}
		if got := x.post(t, "/v1/organisations", fresh); got.status != 201 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got := x.get(t, "/v1/organisations/siret:35600000000048"); got.status != 200 {
			t.Errorf("%d", got.status)
		}
		refused(t, x.post(t, "/v1/organisations", fresh), 409, "already_exists")
		fresh["group"] = "g"
		refused(t, x.post(t, "/v1/organisations", fresh), 422, "validation_failed")
	})
}

func TestAClientOfANetworkNeedsOne(t *testing.T) {
	w := embedded(t)
	_, err := w.store.CreateClient(t.Context(), impact.Principal{Client: "setup", Role: impact.RoleAdministrator}, impact.Client{Name: "x", Role: impact.RoleNetwork, Network: "nobody"})
	if impact.KindOf(err) != impact.Invalid {
		t.Error(err)
	}
}

package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

// poste is an organisation as it would be stated, with other members laid over.
func poste(over ...object) object {
	o := object{
		"name": "La Poste Lyon", "siret": "35600000000048", "organisation_class": "company", "structure_kind": "ACI", "naf": "53.10Z", "size_class": "large", "ess": false,
		"external_ids": []any{object{"source": "crm", "id": "4217"}}, "sites": []any{object{"territory": "commune-69266", "from": "2020-01-01"}},
	}
	for _, m := range over {
		for k, v := range m {
			if v == nil {
				delete(o, k)
			} else {
				o[k] = v
			}
		}
	}
	return o
}

func TestOrganisationsAreRegisteredOnce(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.administrator
		a := x.post(t, "/v1/organisations", poste())
		if a.status != http.StatusCreated || a.header.Get("ETag") != `"v1"` || a.at(t, "/siren") != "356000000" || a.at(t, "/ess") != false || a.at(t, "/sites/0/from") != "2020-01-01" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		at := path(t, a.header.Get("Location"))
		if b := x.post(t, "/v1/organisations", poste()); b.status != http.StatusOK || b.at(t, "/id") != a.at(t, "/id") {
			t.Errorf("the same one again: %d %s", b.status, b.body)
		}
		conflict := x.post(t, "/v1/organisations", poste(object{"name": "Autre"}))
		refused(t, conflict, http.StatusConflict, "already_exists")
		if path(t, conflict.at(t, "/links/related")) != at {
			t.Errorf("no link to the one that exists: %s", conflict.body)
		}
		// One SIRET can be an ACI and an EI.
		if b := x.post(t, "/v1/organisations", poste(object{"structure_kind": "EI", "external_ids": nil})); b.status != http.StatusCreated {
			t.Errorf("%d %s", b.status, b.body)
		}
		refused(t, x.get(t, "/v1/organisations/siret:35600000000048"), http.StatusUnprocessableEntity, "validation_failed")
		for _, ref := range []string{"ext:crm:4217", "ext%3Acrm%3A4217"} {
			if b := x.get(t, "/v1/organisations/"+ref); b.status != http.StatusOK || b.at(t, "/id") != a.at(t, "/id") {
				t.Errorf("%s: %d %s", ref, b.status, b.body)
			}
		}
		refused(t, x.get(t, "/v1/organisations/siret:552100554"), http.StatusUnprocessableEntity, "validation_failed")
		refused(t, x.get(t, "/v1/organisations/siren:123456782"), http.StatusNotFound, "not_found")
		refused(t, x.get(t, "/v1/organisations/nobody"), http.StatusNotFound, "not_found")
		if b := x.get(t, at, header{"If-None-Match", `"v1"`}); b.status != http.StatusNotModified {
			t.Errorf("%d", b.status)
		}
		// A repeated request gets its first answer.
		key := header{"Idempotency-Key", "o-1"}
		one := x.post(t, "/v1/organisations", object{"name": "Sans numéro", "organisation_class": "association"}, key)
		two := x.post(t, "/v1/organisations", object{"name": "Sans numéro", "organisation_class": "association"}, key)
		if one.status != http.StatusCreated || string(one.body) != string(two.body) || two.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s\n%s", one.body, two.body)
		}
	})
}

func TestIdentifiersAreNormalisedNeverGuessed(t *testing.T) {
	w := embedded(t)
	x := w.administrator
	a := x.post(t, "/v1/organisations", poste(object{"siret": "356 000 000 00048", "rna": "w691234567", "naf": "5310z"}))
	if a.status != http.StatusCreated || a.at(t, "/siret") != "35600000000048" || a.at(t, "/rna") != "W691234567" || a.at(t, "/naf") != "53.10Z" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if diff := cmp.Diff([]string{"identifier_normalised /naf", "identifier_normalised /rna", "identifier_normalised /siret"}, entries(a.at(t, "/meta/warnings"))); diff != "" {
		t.Error(diff)
	}
	b := x.get(t, "/v1/organisations/siret:356.000.000%2000048")
	if b.status != http.StatusOK || !slices.Contains(entries(b.at(t, "/meta/warnings")), "identifier_normalised") {
		t.Errorf("%d %s", b.status, b.body)
	}
	list := x.get(t, "/v1/organisations?siret=356%20000%20000%2000048")
	if diff := cmp.Diff([]string{"identifier_normalised siret"}, entries(list.at(t, "/meta/warnings"))); diff != "" || len(ids(t, list)) != 1 {
		t.Errorf("%s %s", diff, list.body)
	}
	// La Poste: Luhn fails, the sum of digits is a multiple of 5 (E28).
	if a := x.post(t, "/v1/organisations", poste(object{"siret": "35600000049837", "external_ids": nil})); a.status != http.StatusCreated {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = x.post(t, "/v1/organisations", object{
		"siret": "1,23457E+13", "siren": "123456789", "rna": "691234567", "naf": "1", "organisation_class": "firm", "structure_kind": "XX", "size_class": "huge",
		"ess_basis": "because", "legal_category": "92", "opened_on": "hier", "external_ids": []any{object{"source": "", "id": ""}}, "sites": []any{object{"territory": "commune-00000", "siret": "1"}},
	})
	refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
	want := []string{
		"invalid_date /opened_on", "invalid_rna /rna", "invalid_siren /siren", "invalid_siret /siret", "invalid_siret /sites/0/siret", "inconsistent /ess_basis", "invalid_type /external_ids/0/source",
		"missing_field /external_ids/0/id", "missing_field /name", "unknown_code /ess_basis", "unknown_code /legal_category", "unknown_code /naf", "unknown_code /organisation_class",
		"unknown_code /size_class", "unknown_code /structure_kind", "unknown_territory /sites/0/territory",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, faults(t, a)); diff != "" {
		t.Error(diff)
	}
	refused(t, x.post(t, "/v1/organisations", poste(object{"siren": "552100554"})), http.StatusUnprocessableEntity, "validation_failed")
	refused(t, x.post(t, "/v1/organisations", poste(object{"id": "mine"})), http.StatusUnprocessableEntity, "validation_failed")
}

func TestOrganisationsChangeByVersion(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		at := "/v1/organisations/" + string(w.atelier.ID)
		x := w.organisation
		refused(t, x.do(t, "PATCH", at, object{"name": "N"}), http.StatusPreconditionRequired, "precondition_required")
		a := x.do(t, "PATCH", at, object{"name": "L'Atelier", "size_class": nil, "sites": []any{object{"territory": "commune-69266"}}}, header{"If-Match", `"v1"`}, header{"Content-Type", "application/merge-patch+json"})
		if a.status != http.StatusOK || a.header.Get("ETag") != `"v2"` || a.at(t, "/name") != "L'Atelier" || a.at(t, "/size_class") != nil || a.at(t, "/sites/0/territory") != "commune-69266" || a.at(t, "/siren") != "732829320" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		stale := x.do(t, "PATCH", at, object{"name": "N"}, header{"If-Match", `"v1"`})
		refused(t, stale, http.StatusPreconditionFailed, "precondition_failed")
		if stale.at(t, "/current_etag") != `"v2"` {
			t.Errorf("%s", stale.body)
		}
		if a := x.do(t, "PATCH", at, object{"name": "L'Atelier"}, header{"If-Match", `"v2"`}); a.header.Get("ETag") != `"v2"` {
			t.Errorf("nothing changed, and yet %s", a.header.Get("ETag"))
		}
		a = x.do(t, "PATCH", at, object{"siren": "552100554", "group": "g", "successor": string(w.bocage.ID), "questionnaires": []string{"q"}}, header{"If-Match", `"v2"`})
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		if diff := cmp.Diff([]string{"immutable_member /group", "immutable_member /questionnaires", "immutable_member /siren", "immutable_member /successor"}, faults(t, a)); diff != "" {
			t.Error(diff)
		}
		a = x.do(t, "PATCH", at, object{"organisation_class": nil, "structure_kind": "XX", "colour": 1}, header{"If-Match", `"v2"`})
		refused(t, a, http.StatusUnprocessableEntity, "validation_failed")
		if a := w.administrator.do(t, "PATCH", at, object{"group": "g", "questionnaires": []string{"q"}}, header{"If-Match", `"v2"`}); a.status != http.StatusOK || a.at(t, "/group") != "g" {
			t.Errorf("%d %s", a.status, a.body)
		}
		refused(t, w.steward.do(t, "PATCH", at, object{"name": "N"}, header{"If-Match", `"v3"`}), http.StatusForbidden, "insufficient_scope")

		var wg sync.WaitGroup
		statuses := make([]int, 12)
		for i := range statuses {
			wg.Go(func() {
				req, _ := x.request(t, "PATCH", at, object{"name": fmt.Sprint("N", i)}, header{"If-Match", `"v3"`})
				statuses[i] = w.send(t, req).status
			})
		}
		wg.Wait()
		slices.Sort(statuses)
		if statuses[0] != http.StatusOK || statuses[1] != http.StatusPreconditionFailed {
			t.Errorf("more than one change was made on version 3, or none: %v", statuses)
		}
	})
}

func TestAnOrganisationRegistersItsOwnEstablishments(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		admin := impact.Principal{Client: "setup", Role: impact.RoleAdministrator}
		o := w.register(t, admin, impact.Organisation{Name: "La Poste", SIRET: "35600000000048", SIREN: "356000000", Class: impact.Company, ESS: "unknown", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
		x := w.client(t, impact.Client{Name: "La Poste", Role: impact.RoleOrganisation, Organisation: o.ID})
		a := x.post(t, "/v1/organisations", poste(object{"siret": "35600000049837"}))
		if a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if b := x.post(t, "/v1/organisations", poste(object{"siret": "35600000049837"})); b.status != http.StatusOK || b.at(t, "/id") != a.at(t, "/id") {
			t.Errorf("%d %s", b.status, b.body)
		}
		refused(t, x.post(t, "/v1/organisations", object{"name": "Bocage", "siren": "552100554", "organisation_class": "company"}), http.StatusForbidden, "not_mandated")
		refused(t, x.post(t, "/v1/organisations", object{"name": "Sans SIREN", "organisation_class": "association"}), http.StatusForbidden, "not_mandated")
		if got := ids(t, x.get(t, "/v1/organisations")); len(got) != 1 || got[0] != string(o.ID) {
			t.Errorf("an organisation sees itself only: %v", got)
		}
	})
}

// An organisation without SIREN does not take that of somebody else, whose
// figures it would then keep from being stated (parent_and_establishment).
func TestAnOrganisationTakesNoSIREN(t *testing.T) {
	w := embedded(t)
	club := w.register(t, setup, impact.Organisation{Name: "Club", RNA: "W691234567", Class: impact.Association, ESS: "true", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
	x := w.client(t, impact.Client{Name: "Club", Role: impact.RoleOrganisation, Organisation: club.ID})
	at := "/v1/organisations/" + string(club.ID)
	for _, patch := range []object{{"siren": "732829320"}, {"siret": "73282932000074"}} {
		a := x.do(t, "PATCH", at, patch, header{"If-Match", `"v1"`})
		if a.status != http.StatusUnprocessableEntity || !slices.Contains(faults(t, a), "immutable_member /siren") {
			t.Errorf("%v: %d %s", patch, a.status, a.body)
		}
	}
	if a := w.administrator.do(t, "PATCH", at, object{"siren": "732829320"}, header{"If-Match", `"v1"`}); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestTheRegisterIsFiltered(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		x := w.administrator
		add := func(o object) string {
			a := x.post(t, "/v1/organisations", o)
			if a.status != http.StatusCreated {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return a.at(t, "/id").(string)
		}
		aci := add(poste())
		ei := add(poste(object{"structure_kind": "EI", "external_ids": nil}))
		assoc := add(object{"name": "Régie Écully", "organisation_class": "association", "rna": "W691234567", "ess": true, "ess_basis": "statutory", "sites": []any{object{"territory": "arrondissement-69383"}}})
		atelier, bocage := string(w.atelier.ID), string(w.bocage.ID)
		all := []string{aci, ei, assoc, atelier, bocage}
		for _, c := range []struct {
			query string
			want  []string
			match any
		}{
			{"", all, nil},
			{"siret=35600000000048", []string{aci, ei}, "siret"},
			{"siren=356000000", []string{aci, ei}, "siren"},
			{"siret=35600000049837", nil, nil},
			{"siret=35600000049837&match=siret_then_siren", []string{aci, ei}, "siren"},
			{"siret=35600000000048&match=siret_then_siren", []string{aci, ei}, "siret"},
			{"rna=W691234567", []string{assoc}, nil},
			{"external_id=crm:4217", []string{aci}, nil},
			{"territory=commune-69266", []string{aci, ei}, nil},
			{"territory=commune-69123", []string{assoc}, nil},
			{"territory=metropole-200046977", []string{aci, ei, assoc}, nil},
			{"ess=true", []string{assoc, atelier}, nil},
			{"ess=false", []string{aci, ei, bocage}, nil},
			{"structure_kind=ACI", []string{aci, atelier}, nil},
			{"organisation_class=association", []string{assoc, atelier}, nil},
			{"q=regie ecully", []string{assoc}, nil},
			{"q=100%", nil, nil},
			{"updated_since=2000-01-01T00:00:00Z", all, nil},
			{"updated_since=2999-01-01T00:00:00Z", nil, nil},
		} {
			query := strings.ReplaceAll(strings.ReplaceAll(c.query, "%", "%25"), " ", "%20")
			a := x.get(t, "/v1/organisations?"+query)
			got := ids(t, a)
			slices.Sort(got)
			want := append([]string{}, c.want...)
			slices.Sort(want)
			if diff := cmp.Diff(want, append([]string{}, got...)); diff != "" {
				t.Errorf("%s: %s", c.query, diff)
			}
			if diff := cmp.Diff(c.match, a.at(t, "/meta/matched_by")); diff != "" {
				t.Errorf("%s: matched by %s", c.query, diff)
			}
		}
		seen := map[string]int{}
		for next := "/v1/organisations?limit=2"; next != ""; {
			a := x.get(t, next)
			for _, id := range ids(t, a) {
				seen[id]++
			}
			next = ""
			if link := a.at(t, "/links/next"); link != nil {
				next = path(t, link)
				if a.header.Get("Link") != "<"+link.(string)+`>; rel="next"` {
					t.Errorf("Link: %s", a.header.Get("Link"))
				}
			}
		}
		for _, id := range all {
			if seen[id] != 1 {
				t.Errorf("%s was given %d times", id, seen[id])
			}
		}
		for query, code := range map[string]string{
			"siret=1": "validation_failed", "siren=1": "validation_failed", "rna=1": "validation_failed", "territory=commune-99999": "validation_failed", "structure_kind=XX": "validation_failed",
			"organisation_class=firm": "validation_failed", "ess=maybe": "invalid_parameter", "external_id=4217": "invalid_parameter", "match=luck": "invalid_parameter", "match=siret_then_siren": "missing_parameter",
			"updated_since=hier": "invalid_parameter", "nom=x": "unknown_parameter",
		} {
			status := http.StatusBadRequest
			if code == "validation_failed" {
				status = http.StatusUnprocessableEntity
			}
			refused(t, x.get(t, "/v1/organisations?"+query), status, code)
		}
	})
}

func TestAnonymousCallersAreToldWhy(t *testing.T) {
	w := embedded(t)
	a := w.anonymous.get(t, "/v1/observations", header{"Accept-Language", "en"})
	refused(t, a, http.StatusUnauthorized, "missing_token")
	if d, _ := a.at(t, "/detail").(string); len(d) < 60 || !strings.Contains(a.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("%s", a.body)
	}
}

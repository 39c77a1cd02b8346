package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// attackers, in the order of the columns of the table below. Each tries what
// belongs to Atelier. "other" is another organisation, "no scope" a client of Atelier
// whose token has every scope but those of the route; "network" has neither
// Atelier among its members nor a mandate.
var attackers = []string{"anonymous", "other", "no scope", "buyer", "steward", "administrator", "network"}

// attempt is one request and the status each attacker gets. {atelier}, {draft},
// {mandate} and the like (see plant) stand for ids of Atelier that an attacker
// may have guessed or overheard.
type attempt struct {
	path string
	body any
	want string
	h    []header
}

const (
	open      = "200 200 200 200 200 200 200"
	ownOnly   = "401 200 403 403 200 403 200"
	hidden    = "401 404 403 403 200 403 404"
	hiddenTo  = "401 404 403 403 404 403 404" // what stewards do not see either
	closed    = "401 404 403 403 403 403 404"
	register  = "200 200 403 200 200 200 200" // those that consented, and one's own
	agreed    = "401 200 403 200 200 403 200" // a buyer: those that consented
	silent    = "401 404 403 403 403 403 403" // the organisation's own word
	notTheirs = "401 404 403 404 404 404 404"
	noneYet   = "404 404 404 404 404 404 404"
	adminOnly = "401 403 403 403 403 %s 403"
	nothing   = "404 404 404 404 404 404 404"
	prepared  = "404 404 404 404 200 200 404" // by those who publish releases
	figures   = "&indicator=insertion_hours&territory=metropole-200046977&period=2024&release=live"
)

var (
	stale  = []header{{"If-Match", `"v99"`}}
	held   = []header{{"If-None-Match", `"v1", *`}}
	keyed  = []header{{"Idempotency-Key", "attack"}}
	posted = object{"indicator": "insertion_hours", "territory": "commune-69266", "period": "2024-Q1", "value": 1}
)

func of(ref string) object {
	o := object{"organisation": ref}
	for k, v := range posted {
		o[k] = v
	}
	return o
}

// attacks is every route with what is tried on it. A new route must be listed:
// what it shows to whom is a decision, not an accident.
var attacks = map[string][]attempt{
	"GET /v1":                {{path: "/v1", want: open}},
	"GET /v1/openapi.json":   {{path: "/v1/openapi.json", want: open}},
	"GET /v1/openapi.yaml":   {{path: "/v1/openapi.yaml", want: open}},
	"GET /openapi.json":      {{path: "/openapi.json", want: open}},
	"GET /openapi.yaml":      {{path: "/openapi.yaml", want: open}},
	"GET /docs":              {{path: "/docs", want: open}},
	"GET /v1/docs":           {{path: "/v1/docs", want: open}},
	"GET /v1/problems":       {{path: "/v1/problems", want: open}},
	"GET /v1/problems/:code": {{path: "/v1/problems/not_found", want: open}},
	"GET /v1/changelog":      {{path: "/v1/changelog", want: open}},
	"GET /v1/status":         {{path: "/v1/status", want: open}},
	"GET /livez":             {{path: "/livez", want: open}},
	"GET /readyz":            {{path: "/readyz", want: open}},
	"GET /version":           {{path: "/version", want: open}},

	"GET /.well-known/oauth-authorization-server":  {{path: "/.well-known/oauth-authorization-server", want: open}},
	"GET /.well-known/oauth-protected-resource/v1": {{path: "/.well-known/oauth-protected-resource/v1", want: open}},
	"GET /oauth/jwks.json":                         {{path: "/oauth/jwks.json", want: open}},
	"GET /v1/me":                                   {{path: "/v1/me", want: "401 200 200 200 200 200 200"}},
	"GET /v1/clients":                              {{path: "/v1/clients?role=organisation", want: fmt.Sprintf(adminOnly, "200")}},
	"POST /v1/clients":                             {{path: "/v1/clients", body: object{"name": "Mine", "role": "organisation", "organisation": "nobody"}, want: fmt.Sprintf(adminOnly, "422")}},
	"GET /v1/clients/:id":                          {{path: "/v1/clients/{client}", want: fmt.Sprintf(adminOnly, "200")}, {path: "/v1/clients/{client}", h: held, want: fmt.Sprintf(adminOnly, "304")}},
	"PATCH /v1/clients/:id":                        {{path: "/v1/clients/{client}", body: object{"scopes": []string{"observations.read"}}, h: stale, want: fmt.Sprintf(adminOnly, "412")}},
	// The administrator's own attempts name no client: what they do to one is in clients_test.go.
	"DELETE /v1/clients/:id":             {{path: "/v1/clients/guessed", want: fmt.Sprintf(adminOnly, "404")}},
	"POST /v1/clients/:id/rotate-secret": {{path: "/v1/clients/guessed/rotate-secret", want: fmt.Sprintf(adminOnly, "404")}},
	"GET /v1/api-keys":                   {{path: "/v1/api-keys", want: "401 200 403 200 403 403 200"}},
	"POST /v1/api-keys":                  {{path: "/v1/api-keys", body: object{"name": "x", "scopes": []string{"organisations.read"}, "expires_at": now().AddDate(0, 1, 0).Format(time.RFC3339)}, want: "401 201 403 201 403 403 201"}},
	"GET /v1/api-keys/:id":               {{path: "/v1/api-keys/{key}", want: "401 404 403 404 403 403 404"}},
	"DELETE /v1/api-keys/:id":            {{path: "/v1/api-keys/{key}", want: "401 404 403 404 403 403 404"}},
	"GET /v1/audit-log":                  {{path: "/v1/audit-log", want: "401 200 200 200 200 200 200"}, {path: "/v1/audit-log?action=consent.given", want: "401 200 200 200 200 200 200"}},

	"GET /v1/impact-types":              {{path: "/v1/impact-types", want: open}},
	"GET /v1/impact-types/:code":        {{path: "/v1/impact-types/inclusion", want: open}},
	"GET /v1/indicators":                {{path: "/v1/indicators", want: open}},
	"GET /v1/indicators/:code":          {{path: "/v1/indicators/insertion_hours", want: open}},
	"GET /v1/indicators/:code/versions": {{path: "/v1/indicators/insertion_hours/versions", want: open}},
	"GET /v1/territories":               {{path: "/v1/territories?q=Lyon", want: open}},
	"GET /v1/territories/:id":           {{path: "/v1/territories/commune-69266", want: open}},
	"GET /v1/territories/:id/children":  {{path: "/v1/territories/commune-69123/children", want: open}},
	"GET /v1/territories/:id/ancestors": {{path: "/v1/territories/commune-69123/ancestors", want: open}},
	"GET /v1/territories/:id/history":   {{path: "/v1/territories/commune-69123/history", want: open}},
	"GET /v1/code-lists":                {{path: "/v1/code-lists", want: open}},
	"GET /v1/code-lists/:id":            {{path: "/v1/code-lists/structure_kind", want: open}},
	"GET /v1/questionnaires":            {{path: "/v1/questionnaires", want: open}},
	"GET /v1/questionnaires/:code":      {{path: "/v1/questionnaires/asked", want: open}},
	"POST /v1/questionnaires":           {{path: "/v1/questionnaires", body: object{"code": "asked", "label": object{"fr": "x"}, "indicators": []any{object{"indicator": "waste_collected"}}}, want: fmt.Sprintf(adminOnly, "409")}},
	"PATCH /v1/questionnaires/:code":    {{path: "/v1/questionnaires/asked", body: object{"review": "automatic"}, h: stale, want: fmt.Sprintf(adminOnly, "412")}},

	"GET /v1/catalog":                        {{path: "/v1/catalog", want: open}, {path: "/v1/catalog.ttl?limit=1", want: open}},
	"GET /v1/ogc":                            {{path: "/v1/ogc", want: open}},
	"GET /v1/ogc/conformance":                {{path: "/v1/ogc/conformance", want: open}},
	"GET /v1/ogc/api":                        {{path: "/v1/ogc/api", want: open}},
	"GET /v1/ogc/collections":                {{path: "/v1/ogc/collections", want: open}},
	"GET /v1/ogc/collections/:id":            {{path: "/v1/ogc/collections/territories-commune", want: open}},
	"GET /v1/ogc/collections/:id/schema":     {{path: "/v1/ogc/collections/territories-commune/schema", want: open}},
	"GET /v1/ogc/collections/:id/items":      {{path: "/v1/ogc/collections/territories-commune/items?limit=2", want: open}},
	"GET /v1/ogc/collections/:id/items/:fid": {{path: "/v1/ogc/collections/territories-commune/items/commune-69266", want: open}},
	"GET /id/:name":                          {{path: "/id/publisher", want: open}},
	"GET /id/:kind/:name":                    {{path: "/id/service/api", want: open}},

	"GET /v1/organisations": {
		{path: "/v1/organisations", want: register},
		{path: "/v1/organisations?siren=732829320", want: register},
		{path: "/v1/organisations?siret=73282932000074&match=siret_then_siren", want: register},
		{path: "/v1/organisations?q=Atelier&structure_kind=ACI&ess=true&limit=1", want: register},
		{path: "/v1/organisations?q=Atelier&updated_since=2000-01-01T00:00:00Z", want: register},
		{path: "/v1/organisations?external_id=canary-crm:canary-org", want: register},
	},
	"POST /v1/organisations": {
		{path: "/v1/organisations", body: object{"name": "X", "siren": "732829320", "organisation_class": "association", "structure_kind": "XX"}, want: "401 422 403 403 403 422 422"},
		{path: "/v1/organisations", body: object{"name": "X", "siret": "73282932000074", "organisation_class": "association", "structure_kind": "ACI"}, want: "401 403 403 403 403 409 409"},
	},
	"GET /v1/organisations/:id": {
		{path: "/v1/organisations/{atelier}", want: "404 404 403 403 200 200 404"},
		{path: "/v1/organisations/{atelier}", h: held, want: "404 404 403 403 304 304 404"},
		{path: "/v1/organisations/siren:732829320", want: "404 404 403 403 200 200 404"},
		{path: "/v1/organisations/siret%3A73282932000074", want: "404 404 403 403 200 200 404"},
		{path: "/v1/organisations/ext:canary-crm:canary-org", want: "404 404 403 403 200 200 404"},
	},
	"PATCH /v1/organisations/:id": {
		{path: "/v1/organisations/{atelier}", body: object{"name": "Mine"}, h: stale, want: "401 404 403 403 403 412 404"},
		{path: "/v1/organisations/siren:732829320", body: object{"name": "Mine"}, h: stale, want: "401 404 403 403 403 412 404"},
	},

	"GET /v1/organisations/:id/consents": {
		{path: "/v1/organisations/{atelier}/consents", want: silent},
		{path: "/v1/organisations/siren:732829320/consents", want: silent},
	},
	"PUT /v1/organisations/:id/consents/:kind":    {{path: "/v1/organisations/{atelier}/consents/listed", want: silent}},
	"DELETE /v1/organisations/:id/consents/:kind": {{path: "/v1/organisations/{atelier}/consents/listed", want: silent}},

	"GET /v1/organisations/:id/access-log": {
		{path: "/v1/organisations/{atelier}/access-log", want: "401 404 403 403 404 404 404"},
		{path: "/v1/organisations/ext:canary-crm:canary-org/access-log?right=steward", want: "401 404 403 403 404 404 404"},
	},
	"GET /v1/observations": {
		{path: "/v1/observations", want: agreed},
		{path: "/v1/observations?include_deleted=true&updated_since=2000-01-01T00:00:00Z", want: agreed},
		{path: "/v1/observations?organisation={atelier}", want: "401 422 403 422 200 403 422"},
		{path: "/v1/observations?organisation=siren:732829320", want: "401 422 403 422 200 403 422"},
		{path: "/v1/observations?submission={submission}", want: agreed},
		{path: "/v1/observations?limit=1&cursor={cursor}", want: agreed},
	},
	"POST /v1/observations": {
		{path: "/v1/observations", body: of("{atelier}"), want: "401 422 403 403 403 403 422"},
		{path: "/v1/observations", body: of("siren:732829320"), want: "401 422 403 403 403 403 422"},
		{path: "/v1/observations", body: of("ext:canary-crm:canary-org"), want: "401 422 403 403 403 403 422"},
		{path: "/v1/observations", body: object{"observations": []any{of("{atelier}"), of("siret:73282932000074")}}, want: "401 200 403 403 403 403 200"},
	},
	"GET /v1/observations/:id": {
		{path: "/v1/observations/{approved}", want: "401 404 403 404 200 403 404"},
		{path: "/v1/observations/{approved}", h: held, want: "401 404 403 404 304 403 404"},
		{path: "/v1/observations/{draft}", want: "401 404 403 404 404 403 404"},
	},
	"PATCH /v1/observations/:id": {
		{path: "/v1/observations/{approved}", body: object{"value": 1}, h: stale, want: closed},
		{path: "/v1/observations/{draft}", body: object{"value": 1}, h: stale, want: closed},
	},
	"DELETE /v1/observations/:id": {
		{path: "/v1/observations/{approved}", h: stale, want: closed},
		{path: "/v1/observations/{draft}", h: stale, want: closed},
	},
	"GET /v1/observations/:id/history": {
		{path: "/v1/observations/{approved}/history", want: "401 404 403 404 200 403 404"},
		{path: "/v1/observations/{draft}/history", want: "401 404 403 404 404 403 404"},
	},

	"GET /v1/changes": {
		{path: "/v1/changes", want: open},
		{path: "/v1/changes?types=observation,submission", want: "401 200 200 403 200 403 200"},
		{path: "/v1/changes?organisation={atelier}", want: "422 422 200 422 200 200 422"},
		{path: "/v1/changes?cursor={feed}", want: "400 400 200 400 400 400 400"}, // it is good for Atelier alone
		{path: "/v1/changes?limit=1&types=observation&cursor={feed}", want: "401 400 400 403 400 403 400"},
	},

	// Each owner has its own, and nobody else's exist.
	"GET /v1/webhooks": {{path: "/v1/webhooks", want: "401 200 403 200 200 200 200"}},
	"POST /v1/webhooks": {
		{path: "/v1/webhooks", body: object{"url": "https://169.254.169.254/latest/meta-data"}, h: keyed, want: "401 422 403 422 422 422 422"},
		{path: "/v1/webhooks", body: object{"url": "https://localhost:8080/v1/me"}, h: keyed, want: "401 422 403 422 422 422 422"},
	},
	"GET /v1/webhooks/:id": {
		{path: "/v1/webhooks/{webhook}", want: notTheirs},
		{path: "/v1/webhooks/{webhook}", h: held, want: notTheirs},
	},
	"PATCH /v1/webhooks/:id": {
		{path: "/v1/webhooks/{webhook}", body: object{"url": "https://attacker.example.org/"}, h: []header{{"If-Match", `"v1"`}}, want: notTheirs},
		{path: "/v1/webhooks/{webhook}", body: object{"state": "paused"}, h: stale, want: notTheirs},
	},
	"DELETE /v1/webhooks/:id":             {{path: "/v1/webhooks/{webhook}", h: []header{{"If-Match", `"v1"`}}, want: notTheirs}},
	"POST /v1/webhooks/:id/test":          {{path: "/v1/webhooks/{webhook}/test", want: notTheirs}},
	"POST /v1/webhooks/:id/rotate-secret": {{path: "/v1/webhooks/{webhook}/rotate-secret", want: notTheirs}},
	"POST /v1/webhooks/:id/replay":        {{path: "/v1/webhooks/{webhook}/replay", body: object{"from_cursor": "{feed}"}, want: notTheirs}},
	"GET /v1/webhooks/:id/deliveries":     {{path: "/v1/webhooks/{webhook}/deliveries", want: notTheirs}},

	"GET /v1/submissions": {
		{path: "/v1/submissions", want: ownOnly},
		{path: "/v1/submissions?organisation={atelier}", want: "401 422 403 403 200 403 422"},
	},
	"POST /v1/submissions": {{path: "/v1/submissions", body: object{"organisation": "{atelier}", "period": "2024", "observations": []any{posted}}, h: keyed, want: "401 422 403 403 403 403 422"}},
	"GET /v1/submissions/:id": {
		{path: "/v1/submissions/{submission}", want: hidden},
		{path: "/v1/submissions/{submission}", h: held, want: "401 404 403 403 304 403 404"},
		{path: "/v1/submissions/{draft-submission}", want: hiddenTo},
	},
	"GET /v1/submissions/:id/completeness": {
		{path: "/v1/submissions/{submission}/completeness", want: hidden},
		{path: "/v1/submissions/{draft-submission}/completeness", want: hiddenTo},
	},
	"PATCH /v1/submissions/:id":        {{path: "/v1/submissions/{draft-submission}", body: object{"source": "x"}, h: stale, want: closed}},
	"DELETE /v1/submissions/:id":       {{path: "/v1/submissions/{draft-submission}", h: stale, want: closed}},
	"POST /v1/submissions/:id/submit":  {{path: "/v1/submissions/{draft-submission}/submit", want: closed}},
	"POST /v1/submissions/:id/reopen":  {{path: "/v1/submissions/{submission}/reopen", want: closed}},
	"POST /v1/submissions/:id/approve": {{path: "/v1/submissions/{submission}/approve", want: "401 403 403 403 409 403 403"}, {path: "/v1/submissions/{draft-submission}/approve", want: "401 403 403 403 404 403 403"}},
	"POST /v1/submissions/:id/return":  {{path: "/v1/submissions/{draft-submission}/return", body: object{"reason": "x"}, want: "401 403 403 403 404 403 403"}},

	// A candidate is known to those who prepare releases only.
	"GET /v1/releases": {{path: "/v1/releases", want: open}, {path: "/v1/releases?state=candidate", want: open}},
	"POST /v1/releases": {
		{path: "/v1/releases", body: object{"day": "2999-01-01"}, want: "401 403 403 403 422 422 403"},
		{path: "/v1/releases?dry_run=perhaps", body: object{}, want: "401 403 403 403 400 400 403"},
	},
	"GET /v1/releases/latest":        {{path: "/v1/releases/latest", want: nothing}},
	"GET /v1/releases/:id":           {{path: "/v1/releases/1", want: prepared}, {path: "/v1/releases/{candidate}", want: prepared}},
	"GET /v1/releases/:id/changes":   {{path: "/v1/releases/1/changes", want: nothing}, {path: "/v1/releases/{candidate}/changes", want: nothing}},
	"POST /v1/releases/:id/publish":  {{path: "/v1/releases/{candidate}/publish", h: stale, want: "401 403 403 403 412 412 403"}},
	"POST /v1/releases/:id/discard":  {{path: "/v1/releases/{candidate}/discard", h: stale, want: "401 403 403 403 412 412 403"}},
	"POST /v1/releases/:id/withdraw": {{path: "/v1/releases/{candidate}/withdraw", body: object{"reason": object{"fr": "x", "en": "x"}}, want: "401 403 403 403 409 409 403"}},
	"GET /v1/releases/:id/audit":     {{path: "/v1/releases/{candidate}/audit", want: "401 403 403 403 403 403 403"}},

	"GET /v1/datasets":                               {{path: "/v1/datasets", want: open}},
	"GET /v1/datasets/:id":                           {{path: "/v1/datasets/impact-aggregates", want: open}},
	"GET /v1/datasets/:id/versions":                  {{path: "/v1/datasets/impact-aggregates/versions", want: open}},
	"GET /v1/datasets/:id/versions/:version":         {{path: "/v1/datasets/impact-aggregates/versions/1", want: nothing}},
	"GET /v1/datasets/:id/versions/:version/changes": {{path: "/v1/datasets/impact-aggregates/versions/1/changes", want: nothing}},
	"GET /v1/exports/:file":                          {{path: "/v1/exports/impact-aggregates.csv", want: nothing}, {path: "/v1/exports/impact-aggregates@1.csv", want: nothing}},

	"GET /v1/networks":     {{path: "/v1/networks", want: open}},
	"GET /v1/networks/:id": {{path: "/v1/networks/FEDATE", want: open}},
	"POST /v1/networks":    {{path: "/v1/networks", body: object{"name": "Mine", "code": "FEDATE"}, want: "401 403 403 403 403 409 403"}},
	"PATCH /v1/networks/:id": {
		{path: "/v1/networks/FEDATE", body: object{"name": "Mine"}, h: stale, want: "401 403 403 403 403 412 412"},
		{path: "/v1/networks/RIVAL", body: object{"name": "Mine"}, h: stale, want: "401 403 403 403 403 412 403"},
	},
	"GET /v1/networks/:id/members": {{path: "/v1/networks/RIVAL/members", want: "401 403 403 403 403 403 404"}},
	"PUT /v1/networks/:id/members/:organisation": {
		{path: "/v1/networks/RIVAL/members/{atelier}", body: object{}, want: "401 403 403 403 403 403 404"},
		{path: "/v1/networks/FEDATE/members/ext:canary-crm:canary-org", body: object{}, want: "401 403 403 403 403 403 404"},
	},
	"DELETE /v1/networks/:id/members/:organisation": {
		{path: "/v1/networks/RIVAL/members/{atelier}", want: "401 403 403 403 403 403 404"},
		{path: "/v1/networks/FEDATE/members/{atelier}", want: "401 403 403 403 403 403 404"},
	},
	"GET /v1/organisations/:id/memberships": {{path: "/v1/organisations/{atelier}/memberships", want: "401 404 403 404 200 200 404"}},
	"GET /v1/mandates": {
		{path: "/v1/mandates", want: "401 200 403 200 403 403 200"},
		{path: "/v1/mandates?organisation={atelier}&network={rival}", want: "401 200 403 200 403 403 200"},
	},
	"POST /v1/mandates": {
		{path: "/v1/mandates", body: object{"from": object{"organisation": "{atelier}"}, "to": object{"network": "FEDATE"}, "scopes": []string{"observations.read"}}, want: "401 422 403 403 403 403 422"},
		{path: "/v1/mandates", body: object{"from": object{"organisation": "siren:732829320"}, "to": object{"network": "RIVAL"}, "scopes": []string{"observations.read"}}, want: "401 422 403 403 403 403 422"},
	},
	"GET /v1/mandates/:id":         {{path: "/v1/mandates/{mandate}", want: "401 404 403 404 403 403 404"}},
	"POST /v1/mandates/:id/grant":  {{path: "/v1/mandates/{requested}/grant", want: "401 404 403 404 403 403 404"}},
	"POST /v1/mandates/:id/refuse": {{path: "/v1/mandates/{requested}/refuse", want: "401 404 403 404 403 403 404"}},
	"POST /v1/mandates/:id/revoke": {{path: "/v1/mandates/{mandate}/revoke", want: "401 404 403 404 403 403 404"}},
	"GET /v1/mandates/:id/usage":   {{path: "/v1/mandates/{mandate}/usage", want: "401 404 403 404 403 403 404"}},

	"GET /v1/imports": {{path: "/v1/imports", want: ownOnly}, {path: "/v1/imports?updated_since=2000-01-01T00:00:00Z", want: ownOnly}},
	// The file is read, and every row of it refused.
	"POST /v1/imports":             {{path: "/v1/imports", body: object{"observations": []any{of("{atelier}"), of("siret:73282932000074")}}, h: keyed, want: "401 200 403 403 403 403 200"}},
	"GET /v1/imports/:id":          {{path: "/v1/imports/{import}", want: hidden}},
	"GET /v1/imports/:id/rows":     {{path: "/v1/imports/{import}/rows", want: hidden}},
	"GET /v1/imports/:id/rejects":  {{path: "/v1/imports/{import}/rejects.csv", want: closed}},
	"GET /v1/imports/:id/source":   {{path: "/v1/imports/{import}/source", want: closed}},
	"POST /v1/imports/:id/cancel":  {{path: "/v1/imports/{import}/cancel", want: closed}},
	"POST /v1/imports/:id/confirm": {{path: "/v1/imports/{import}/confirm", want: closed}},
	"POST /v1/networks/:id/members/sync": {
		{path: "/v1/networks/RIVAL/members/sync", body: object{"members": []any{object{"siren": "732829320"}}}, h: keyed, want: "401 403 403 403 403 403 404"},
	},
	"GET /v1/import-templates/:questionnaire": {{path: "/v1/import-templates/asked.csv", want: open}, {path: "/v1/import-templates/asked.fr.csv", want: open}, {path: "/v1/import-templates/asked.xlsx", want: open}},
	"GET /v1/import-mappings":                 {{path: "/v1/import-mappings", want: "401 200 403 403 403 403 200"}},
	"POST /v1/import-mappings":                {{path: "/v1/import-mappings", body: object{"name": ""}, want: "401 422 403 403 403 403 422"}},
	"GET /v1/import-mappings/:id":             {{path: "/v1/import-mappings/{mapping}", want: closed}, {path: "/v1/import-mappings/{mapping}", h: held, want: closed}},
	"PATCH /v1/import-mappings/:id":           {{path: "/v1/import-mappings/{mapping}", body: object{"name": "mine"}, h: stale, want: closed}},
	"DELETE /v1/import-mappings/:id":          {{path: "/v1/import-mappings/{mapping}", h: stale, want: closed}},

	"GET /v1/aggregates": {
		// Nothing is published yet, for anybody.
		{path: "/v1/aggregates?indicator=insertion_hours&territory=metropole-200046977&period=2024", want: noneYet},
		{path: "/v1/aggregates?organisation={atelier}&indicator=insertion_hours&territory=metropole-200046977&period=2024", want: noneYet},
		{path: "/v1/aggregates?organisation={atelier}" + figures, want: "401 403 403 403 200 403 403"},
		{path: "/v1/aggregates?organisation=siren:732829320" + figures, want: "401 403 403 403 200 403 403"},
		{path: "/v1/aggregates?group_by=organisation,period" + figures, want: "401 403 403 403 200 403 403"},
	},
	"POST /v1/aggregates/query":       {{path: "/v1/aggregates/query", body: object{"organisation": "{atelier}", "indicator": []string{"insertion_hours"}, "territory": object{"in": []string{"metropole-200046977"}}, "period": object{"in": []string{"2024"}}, "release": "live"}, want: "401 403 403 403 200 403 403"}},
	"GET /v1/aggregates/availability": {{path: "/v1/aggregates/availability?organisation={atelier}" + figures, want: "401 403 403 403 200 403 403"}},
	"GET /v1/aggregates/explain":      {{path: "/v1/aggregates/explain?organisation={atelier}" + figures, want: "401 403 403 403 200 403 403"}},
	"GET /v1/aggregates/estimate":     {{path: "/v1/aggregates/estimate?organisation={atelier}" + figures, want: "401 403 403 403 200 403 403"}},
}

// without are routes that take no token: the assets of the documentation, and
// those where clients show their secret, which oauth_test.go and token_test.go
// hold.
var without = []string{"POST /oauth/token", "POST /oauth/revoke", "POST /oauth/introspect", "GET /docs/:file", "GET /docs/swagger-ui/:file"}

func TestAttackers(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		served := []string{}
		for _, r := range api.Routes() {
			name := r.Method + " " + r.Path
			served = append(served, name)
			if attacks[name] == nil && !slices.Contains(without, name) {
				t.Errorf("%s is not in the table of attacks: say what each kind of caller gets", name)
			}
		}
		for name := range attacks {
			if !slices.Contains(served, name) {
				t.Errorf("%s is in the table of attacks and is no route", name)
			}
		}

		secrets := w.plant(t)
		for _, r := range api.Routes() {
			for _, a := range attacks[r.Method+" "+r.Path] {
				a := secrets.fill(t, a)
				want := strings.Fields(a.want)
				if len(want) != len(attackers) {
					t.Fatalf("%s: %d statuses for %d attackers", a.path, len(want), len(attackers))
				}
				for i, kind := range attackers {
					got := w.attacker(t, kind, r).do(t, r.Method, a.path, a.body, a.h...)
					if fmt.Sprint(got.status) != want[i] {
						t.Errorf("%s %s by %s: %d, want %s: %.400s", r.Method, a.path, kind, got.status, want[i], got.body)
					}
					secrets.leak(t, kind, r.Method, a, got)
					if r.Method == http.MethodGet && got.status >= 400 {
						head := w.attacker(t, kind, r).do(t, http.MethodHead, a.path, nil, a.h...)
						if head.status != got.status {
							t.Errorf("HEAD %s by %s: %d, and GET %d", a.path, kind, head.status, got.status)
						}
					}
				}
				for kind, token := range w.forged(t) {
					got := w.anonymous.with(token).do(t, r.Method, a.path, a.body, a.h...)
					refused(t, got, http.StatusUnauthorized, "invalid_token")
					secrets.leak(t, kind, r.Method, a, got)
				}
			}
		}
		// Nothing was changed by any of them.
		after := w.organisation.get(t, "/v1/observations?include_deleted=true")
		if string(after.body) != string(secrets.before) {
			t.Errorf("an attacker changed something:\n%s\n%s", secrets.before, after.body)
		}
		if a := w.organisation.get(t, "/v1/organisations/"+string(w.atelier.ID)); a.at(t, "/name") != w.atelier.Name {
			t.Errorf("an attacker changed something: %s", a.body)
		}
		if a := w.organisation.get(t, "/v1/api-keys/"+secrets.ids["{key}"]); a.at(t, "/state") != "active" {
			t.Errorf("an attacker changed something: %s", a.body)
		}
	})
}

// TestTheFeedTellsNobodyElse lets every kind of caller follow the feed while
// Atelier entrusts its secrets to the register.
func TestTheFeedTellsNobodyElse(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		began := map[string]string{}
		for _, kind := range attackers {
			began[kind] = w.attacker(t, kind, api.Route{}).began(t, "")
		}
		secrets := w.plant(t)
		for _, kind := range attackers {
			data, a := w.attacker(t, kind, api.Route{}).changed(t, began[kind], "&limit=1000")
			secrets.leak(t, kind, http.MethodGet, attempt{path: "/v1/changes"}, a)
			if sees := slices.Contains([]string{"no scope", "steward", "administrator"}, kind); sees != (len(data) > 0) {
				t.Errorf("%s is told %v", kind, told(data))
			}
		}
	})
}

func (w *world) attacker(t *testing.T, kind string, r api.Route) *caller {
	t.Helper()
	switch kind {
	case "anonymous":
		return w.anonymous
	case "other":
		return w.other
	case "buyer":
		return w.buyer
	case "steward":
		return w.steward
	case "administrator":
		return w.administrator
	case "network":
		return w.network
	}
	all := impact.AllowedScopes(impact.RoleOrganisation)
	left := slices.DeleteFunc(slices.Clone(all), func(s impact.Scope) bool { return slices.Contains(r.Access.Scopes, s) })
	token, _, err := w.issuer.Issue(impact.Client{ID: w.organisation.id, Role: impact.RoleOrganisation, Organisation: w.atelier.ID, Scopes: all}, left)
	must(t, err)
	return w.anonymous.with(token)
}

// forged are tokens that claim to be a steward and do not hold.
func (w *world) forged(t *testing.T) map[string]string {
	t.Helper()
	issue := func(audience string, at func() time.Time, keys auth.KeySet) string {
		i, err := auth.NewIssuer(auth.Config{Issuer: publicURL, Audience: audience, Keys: keys, Now: at})
		must(t, err)
		token, _, err := i.Issue(impact.Client{ID: w.steward.id, Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)}, nil)
		must(t, err)
		return token
	}
	key, err := auth.GenerateKey()
	must(t, err)
	stranger, err := auth.NewKeySet(key)
	must(t, err)
	claims := strings.Split(issue(publicURL, now, w.keys), ".")[1]
	return map[string]string{
		"expired":        issue(publicURL, func() time.Time { return now().Add(-time.Hour) }, w.keys),
		"wrong audience": issue("https://elsewhere.example", now, w.keys),
		"forged":         issue(publicURL, now, stranger),
		"alg none":       "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + claims + ".",
	}
}

// secrets are what Atelier entrusted to the register.
type secrets struct {
	ids    map[string]string
	before []byte // what Atelier sees of its observations
	// facts are private to Atelier and stewards, drafts to Atelier alone,
	// identity to all but other organisations and buyers.
	facts, drafts, identity []string
	// hooks are where Atelier's webhooks lead, told by the audit log to
	// administrators.
	hooks []string
}

func (w *world) plant(t *testing.T) *secrets {
	t.Helper()
	x := w.organisation
	tag := x.get(t, "/v1/organisations/"+string(w.atelier.ID)).header.Get("ETag")
	a := x.do(t, "PATCH", "/v1/organisations/"+string(w.atelier.ID), object{"siret": "73282932000074", "external_ids": []any{object{"source": "canary-crm", "id": "canary-org"}}}, header{"If-Match", tag})
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	key, _ := x.key(t, object{"name": "canary-key"})
	w.questionnaire(t, "asked", "manual", "insertion_hours")
	feed := x.began(t, "")
	opened, submission := x.open(t, object{"period": "2024", "source": "canary-source", "observations": []any{
		hours(object{"period": "2024-Q1", "value": json.Number("123457.25"), "note": "canary-note", "external_id": "canary-approved"}),
		hours(object{"period": "2024-Q2", "value": json.Number("123458.25")}),
	}})
	approved := x.get(t, "/v1/observations?period=2024-Q1").at(t, "/data/0/id").(string)
	cursor := x.get(t, "/v1/observations?limit=1").at(t, "/links/next").(string)
	for _, step := range []struct {
		who    *caller
		action string
	}{{x, "submit"}, {w.steward, "approve"}} {
		if a := step.who.post(t, submission+"/"+step.action, nil); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	draft := x.post(t, "/v1/observations", hours(object{"period": "2023-Q1", "value": json.Number("765431.75"), "note": "canary-draft"}))
	if draft.status != http.StatusCreated {
		t.Fatalf("%d %s", draft.status, draft.body)
	}
	imported := x.sent(t, "?dry_run=true", "indicator,territory,period,value,unit\ninsertion_hours,canary-place,2024,1,h\n", header{"Content-Disposition", `attachment; filename="canary-file.csv"`})
	mapping := x.post(t, "/v1/import-mappings", object{"name": "canary-mapping", "columns": object{"Valeur": "value"}})
	_, cursor, _ = strings.Cut(cursor, "cursor=")
	rival, granted, requested := w.rival(t)
	hook := x.post(t, "/v1/webhooks", object{"url": "https://canary-receiver.example.org/"}, fresh())
	if hook.status != http.StatusCreated {
		t.Fatalf("%d %s", hook.status, hook.body)
	}
	s := &secrets{
		ids: map[string]string{
			"{candidate}": w.candidate(t, object{}).at(t, "/id").(string),
			"{atelier}":   string(w.atelier.ID), "{approved}": approved, "{draft}": draft.at(t, "/id").(string), "{submission}": opened.at(t, "/id").(string), "{key}": key,
			"{draft-submission}": draft.at(t, "/submission").(string), "{cursor}": cursor, "{feed}": feed, "{client}": x.id, "{webhook}": hook.at(t, "/id").(string),
			"{rival}": rival, "{mandate}": granted, "{requested}": requested,
			"{import}": imported.at(t, "/id").(string), "{mapping}": mapping.at(t, "/id").(string),
		},
		before: x.get(t, "/v1/observations?include_deleted=true").body,
		facts:  []string{"123457.25", "123458.25", "246915.5", "canary-note", "canary-approved", "canary-source", "canary-place", "canary-file"},
		drafts: []string{"765431.75", "canary-draft", hook.at(t, "/secret").(string)},
		hooks:  []string{"canary-receiver", hook.at(t, "/id").(string)},
	}
	for _, planted := range []string{"123457.25", "123458.25", "canary-note", "canary-approved", "765431.75", "canary-draft"} {
		if !strings.Contains(string(s.before), planted) {
			t.Fatalf("%s was not planted, so nobody could find it: %s", planted, s.before)
		}
	}
	s.identity = []string{w.atelier.Name, "732829320", "canary-crm", "canary-org", "canary-key", key, string(w.atelier.ID), w.organisation.id}
	s.facts = append(s.facts, s.ids["{approved}"], s.ids["{submission}"])
	s.identity = append(s.identity, "canary-mapping", s.ids["{mapping}"])
	s.facts = append(s.facts, s.ids["{import}"])
	s.drafts = append(s.drafts, s.ids["{draft}"], s.ids["{draft-submission}"])
	return s
}

// rival makes another network, to which Atelier has given a mandate and which
// asks for one more.
func (w *world) rival(t *testing.T) (network, granted, requested string) {
	t.Helper()
	a := w.administrator.post(t, "/v1/networks", object{"name": "Réseau rival", "code": "RIVAL"})
	network = a.at(t, "/id").(string)
	x := w.client(t, impact.Client{Name: "Rival", Role: impact.RoleNetwork, Network: impact.NetworkID(network)})
	if a := x.do(t, "PUT", "/v1/networks/RIVAL/members/siren:732829320", object{"external_id": "canary-member"}); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	given := w.organisation.post(t, "/v1/mandates", object{"to": object{"network": "RIVAL"}, "scopes": []string{"observations.read", "observations.write"}})
	asked := x.post(t, "/v1/mandates", object{"from": object{"organisation": string(w.atelier.ID)}, "scopes": []string{"organisations.write"}})
	if given.status != http.StatusCreated || asked.status != http.StatusCreated {
		t.Fatalf("%s %s", given.body, asked.body)
	}
	return network, given.at(t, "/id").(string), asked.at(t, "/id").(string)
}

// fill puts ids in their places.
func (s *secrets) fill(t *testing.T, a attempt) attempt {
	t.Helper()
	for mark, id := range s.ids {
		a.path = strings.ReplaceAll(a.path, mark, id)
	}
	if a.body != nil {
		b, err := json.Marshal(a.body)
		must(t, err)
		text := string(b)
		for mark, id := range s.ids {
			text = strings.ReplaceAll(text, mark, id)
		}
		a.body = text
	}
	return a
}

// leak looks for what the attacker may not know in the whole of an answer, but
// for what it said itself.
func (s *secrets) leak(t *testing.T, kind, method string, a attempt, got answer) {
	t.Helper()
	var forbidden []string
	switch kind {
	case "no scope":
		return // it is Atelier: the statuses say what matters
	case "steward":
		forbidden = slices.Concat(s.drafts, s.hooks)
	case "administrator":
		forbidden = slices.Concat(s.facts, s.drafts)
		if !strings.HasPrefix(a.path, "/v1/audit-log") {
			forbidden = append(forbidden, s.hooks...)
		}
	default:
		forbidden = slices.Concat(s.facts, s.drafts, s.identity, s.hooks)
	}
	said := fmt.Sprint(a.path, a.body)
	all := string(got.body) + fmt.Sprint(got.header)
	for _, secret := range forbidden {
		if !strings.Contains(said, secret) && strings.Contains(all, secret) {
			t.Errorf("%s %s by %s tells %q: %.600s", method, a.path, kind, secret, got.body)
		}
	}
}

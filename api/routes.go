package api

import (
	"net/http"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Access says who may call a route. A scope opens the door; the right on an
// organisation is decided in the domain and in the store.
type Access struct {
	// Scopes: one of them is needed. Token: any valid token will do. With
	// neither, the route is public.
	Scopes []impact.Scope
	Token  bool
	// Open: anonymous callers come in too, and see what is public.
	Open bool
	// Published: what is published is everyone's, whatever their token; the scopes
	// are for going beyond it (call.rightHolder).
	Published bool
	// Because is said to anonymous callers in place of the ordinary sentence.
	Because impact.Text
}

func scope(s ...impact.Scope) Access { return Access{Scopes: s} }

func (a Access) open() Access { a.Open = true; return a }

func (a Access) published() Access { a.Published = true; return a }

func (a Access) because(t impact.Text) Access { a.Because = t; return a }

func (a Access) public() bool { return a.Published || len(a.Scopes) == 0 && !a.Token }

// Who may call, where several routes ask the same.
var (
	public            = Access{}
	anyToken          = Access{Token: true}
	observationReader = scope(impact.ObservationsRead).because(becauseObservations)
	submissionReader  = scope(impact.SubmissionsManage, impact.SubmissionsReview)
	figureReader      = scope(impact.AggregatesLive).published().because(liveBecause)
	importReader      = scope(impact.ImportsWrite, impact.MembersSync, impact.SubmissionsReview)
	importer          = scope(impact.ImportsWrite, impact.MembersSync)
	mandateManager    = scope(impact.MandatesManage)
	webhookManager    = scope(impact.WebhooksManage)
	keyManager        = scope(impact.KeysManage)
	clientManager     = scope(impact.ClientsManage)
	releaseManager    = scope(impact.ReleasesPublish)
)

// form is what OAuth clients send.
var form = []string{"application/x-www-form-urlencoded"}

// Route is one line of the table: an operation of openapi.yaml and nothing
// that openapi.yaml does not know.
type Route struct {
	Method, Path string
	Access       Access
	handle       func(*server, *call) error
	// Params are the query parameters known to the route, separated by
	// spaces; "disaggregation.*" accepts any name with this beginning. Paged
	// routes also take limit and cursor.
	Params string
	Paged  bool
	// MaxLimit is the largest limit of a paged route, 1,000 unless told.
	MaxLimit int
	// Produces lists the formats in order of preference, JSON unless told.
	Produces []Format
	// Consumes lists the media types of the body, application/json unless
	// told (and merge-patch+json for PATCH). MaxBody is in bytes, 256 kB
	// unless told.
	Consumes []string
	MaxBody  int64
	// Cache is the Cache-Control of an anonymous answer, "no-store" unless told.
	Cache string
	// Shared allows other origins on a POST (reads are always allowed).
	Shared bool
	// Counting is the quota the route is counted against; Heavy answers, and files
	// on their way in, cost so much that few are prepared for one caller at once.
	Counting Counting
	Heavy    bool
	// OAuth routes read their own credentials, and their errors have the form
	// of RFC 6749.
	OAuth bool
}

// Cache rules of api.md 9.5.
const (
	cacheReference = "public, max-age=3600"
	cacheLatest    = "public, max-age=300, stale-while-revalidate=3600"
	cacheDocument  = "public, max-age=300"
	cacheForEver   = "public, max-age=31536000, immutable"
)

// Routes is the table. Every route is an operation of openapi.yaml and the
// reverse; HEAD and OPTIONS are served for each path and not listed.
func Routes() []Route {
	return []Route{
		// Entry
		{Method: "GET", Path: "/v1", handle: (*server).landing, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/openapi.json", handle: (*server).openapiJSON, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/openapi.yaml", handle: (*server).openapiYAML, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/openapi.json", handle: (*server).openapiJSONAtRoot, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/openapi.yaml", handle: (*server).openapiYAMLAtRoot, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/docs", handle: (*server).docsPage, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/docs", handle: (*server).docsPageV1, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/docs/:file", handle: (*server).docsFile, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/docs/swagger-ui/:file", handle: (*server).docsAsset, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/problems", handle: (*server).listProblems, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/problems/:code", handle: (*server).getProblem, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/changelog", handle: (*server).changelog, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/status", handle: (*server).status, Access: public},
		{Method: "GET", Path: "/livez", handle: (*server).livez, Access: public, Counting: Probes},
		{Method: "GET", Path: "/readyz", handle: (*server).readyz, Access: public, Counting: Probes},
		{Method: "GET", Path: "/version", handle: (*server).version, Access: public, Counting: Probes},

		// Access
		{Method: "GET", Path: "/.well-known/oauth-authorization-server", handle: (*server).authorizationServer, Access: public, Cache: cacheReference, Counting: Documents},
		{Method: "GET", Path: protectedResource, handle: (*server).protected, Access: public, Cache: cacheReference, Counting: Documents},
		{Method: "GET", Path: "/oauth/jwks.json", handle: (*server).jwks, Access: public, Cache: cacheKeys, Counting: Documents},
		{Method: "POST", Path: "/oauth/token", handle: (*server).token, Access: public, OAuth: true, Consumes: form, MaxBody: 16 << 10},
		{Method: "POST", Path: "/oauth/revoke", handle: (*server).revoke, Access: public, OAuth: true, Consumes: form, MaxBody: 16 << 10},
		{Method: "POST", Path: "/oauth/introspect", handle: (*server).introspect, Access: public, OAuth: true, Consumes: form, MaxBody: 16 << 10},
		{Method: "GET", Path: "/v1/clients", handle: (*server).listClients, Access: clientManager, Params: "role organisation network buyer", Paged: true},
		{Method: "POST", Path: "/v1/clients", handle: (*server).createClient, Access: clientManager},
		{Method: "GET", Path: "/v1/clients/:id", handle: (*server).getClient, Access: clientManager},
		{Method: "PATCH", Path: "/v1/clients/:id", handle: (*server).updateClient, Access: clientManager},
		{Method: "DELETE", Path: "/v1/clients/:id", handle: (*server).revokeClient, Access: clientManager},
		{Method: "POST", Path: "/v1/clients/:id/rotate-secret", handle: (*server).rotateClientSecret, Access: clientManager},
		{Method: "GET", Path: "/v1/api-keys", handle: (*server).listAPIKeys, Access: keyManager, Paged: true},
		{Method: "POST", Path: "/v1/api-keys", handle: (*server).createAPIKey, Access: keyManager},
		{Method: "GET", Path: "/v1/api-keys/:id", handle: (*server).getAPIKey, Access: keyManager},
		{Method: "DELETE", Path: "/v1/api-keys/:id", handle: (*server).revokeAPIKey, Access: keyManager},
		{Method: "GET", Path: "/v1/audit-log", handle: (*server).listAudit, Access: anyToken, Params: "action", Paged: true},
		{Method: "GET", Path: "/v1/me", handle: (*server).me, Access: anyToken},

		// Reference
		{Method: "GET", Path: "/v1/impact-types", handle: (*server).listImpactTypes, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/impact-types/:code", handle: (*server).getImpactType, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/indicators", handle: (*server).listIndicators, Access: public, Cache: cacheReference, Params: "impact_type kind set questionnaire q", Paged: true, Counting: Reference},
		{Method: "GET", Path: "/v1/indicators/:code", handle: (*server).getIndicator, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/indicators/:code/versions", handle: (*server).listIndicatorVersions, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/territories", handle: (*server).listTerritories, Access: public, Cache: cacheReference, Params: "type within vintage bbox contains q geometry", Paged: true, Produces: []Format{FormatJSON, FormatGeoJSON}, Counting: Reference},
		{Method: "GET", Path: "/v1/territories/:id", handle: (*server).getTerritory, Access: public, Cache: cacheReference, Params: "vintage geometry", Produces: []Format{FormatJSON, FormatGeoJSON}, Counting: Reference},
		{Method: "GET", Path: "/v1/territories/:id/children", handle: (*server).listTerritoryChildren, Access: public, Cache: cacheReference, Params: "vintage", Counting: Reference},
		{Method: "GET", Path: "/v1/territories/:id/ancestors", handle: (*server).listTerritoryAncestors, Access: public, Cache: cacheReference, Params: "vintage", Counting: Reference},
		{Method: "GET", Path: "/v1/territories/:id/history", handle: (*server).listTerritoryHistory, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/code-lists", handle: (*server).listCodeLists, Access: public, Cache: cacheReference, Counting: Reference},
		{Method: "GET", Path: "/v1/code-lists/:id", handle: (*server).getCodeList, Access: public, Cache: cacheReference, Counting: Reference},

		// What portals harvest
		{Method: "GET", Path: "/v1/catalog", handle: (*server).catalog, Access: public, Cache: cacheDocument, Params: "modified_since after limit", Produces: rdfFormats, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc", handle: (*server).ogcLanding, Access: public, Cache: cacheDocument, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc/conformance", handle: (*server).ogcConforms, Access: public, Cache: cacheDocument, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc/api", handle: (*server).ogcAPI, Access: public, Cache: cacheReference, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc/collections", handle: (*server).ogcCollections, Access: public, Cache: cacheDocument, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc/collections/:id", handle: (*server).ogcCollectionByID, Access: public, Cache: cacheDocument, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc/collections/:id/schema", handle: (*server).ogcSchema, Access: public, Cache: cacheDocument, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc/collections/:id/items", handle: (*server).ogcItems, Access: public, Cache: cacheDocument, Params: "bbox datetime territory code parent", Paged: true, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/ogc/collections/:id/items/:fid", handle: (*server).ogcItem, Access: public, Cache: cacheDocument, Produces: []Format{FormatAny}, Counting: Documents},
		{Method: "GET", Path: "/v1/datasets", handle: (*server).listDatasets, Access: public, Cache: cacheDocument, Counting: Documents},
		{Method: "GET", Path: "/v1/datasets/:id", handle: (*server).getDataset, Access: public, Cache: cacheDocument, Produces: append([]Format{FormatJSON}, rdfFormats...), Counting: Documents},
		{Method: "GET", Path: "/v1/datasets/:id/versions", handle: (*server).listDatasetVersions, Access: public, Cache: cacheDocument, Counting: Documents},
		{Method: "GET", Path: "/v1/datasets/:id/versions/:version", handle: (*server).getDatasetVersion, Access: public, Cache: cacheDocument, Counting: Documents},
		{Method: "GET", Path: "/v1/datasets/:id/versions/:version/changes", handle: (*server).listDatasetVersionChanges, Access: public, Params: "since change indicator impact_type territory", Paged: true, Heavy: true},
		{Method: "GET", Path: "/v1/exports/:file", handle: (*server).getExport, Access: public, Cache: cacheDocument, Produces: exportFormats, Counting: Documents},
		{Method: "GET", Path: "/id/:name", handle: (*server).identifiedAlone, Access: public, Cache: cacheDocument, Produces: rdfFormats, Counting: Documents},
		{Method: "GET", Path: "/id/:kind/:name", handle: (*server).identified, Access: public, Cache: cacheDocument, Produces: rdfFormats, Counting: Documents},

		// Organisations, their consents and who saw their data
		{Method: "GET", Path: "/v1/organisations", handle: (*server).listOrganisations, Access: scope(impact.OrganisationsRead).open(), Params: "siret siren rna external_id match territory ess structure_kind organisation_class q updated_since", Paged: true},
		{Method: "POST", Path: "/v1/organisations", handle: (*server).createOrganisation, Access: scope(impact.OrganisationsWrite)},
		{Method: "GET", Path: "/v1/organisations/:id", handle: (*server).getOrganisation, Access: scope(impact.OrganisationsRead).open()},
		{Method: "PATCH", Path: "/v1/organisations/:id", handle: (*server).updateOrganisation, Access: scope(impact.OrganisationsWrite)},
		{Method: "GET", Path: "/v1/organisations/:id/consents", handle: (*server).listConsents, Access: scope(impact.ConsentsManage)},
		{Method: "PUT", Path: "/v1/organisations/:id/consents/:kind", handle: (*server).giveConsent, Access: scope(impact.ConsentsManage)},
		{Method: "DELETE", Path: "/v1/organisations/:id/consents/:kind", handle: (*server).withdrawConsent, Access: scope(impact.ConsentsManage)},
		{Method: "GET", Path: "/v1/organisations/:id/access-log", handle: (*server).listAccesses, Access: scope(impact.OrganisationsRead), Params: "right", Paged: true},
		{Method: "GET", Path: "/v1/organisations/:id/memberships", handle: (*server).listMemberships, Access: scope(impact.OrganisationsRead), Params: "on updated_since include_deleted", Paged: true},

		// Networks, their members and their mandates
		{Method: "GET", Path: "/v1/networks", handle: (*server).listNetworks, Access: public, Params: "code q updated_since", Paged: true},
		{Method: "POST", Path: "/v1/networks", handle: (*server).createNetwork, Access: scope(impact.OrganisationsWrite)},
		{Method: "GET", Path: "/v1/networks/:id", handle: (*server).getNetwork, Access: public},
		{Method: "PATCH", Path: "/v1/networks/:id", handle: (*server).updateNetwork, Access: scope(impact.OrganisationsWrite)},
		{Method: "GET", Path: "/v1/networks/:id/members", handle: (*server).listMembers, Access: scope(impact.MembersSync), Params: "on updated_since include_deleted", Paged: true},
		{Method: "PUT", Path: "/v1/networks/:id/members/:organisation", handle: (*server).putMember, Access: scope(impact.MembersSync)},
		{Method: "DELETE", Path: "/v1/networks/:id/members/:organisation", handle: (*server).deleteMember, Access: scope(impact.MembersSync)},
		{Method: "GET", Path: "/v1/mandates", handle: (*server).listMandates, Access: mandateManager, Params: "organisation network state updated_since", Paged: true},
		{Method: "POST", Path: "/v1/mandates", handle: (*server).createMandate, Access: mandateManager},
		{Method: "GET", Path: "/v1/mandates/:id", handle: (*server).getMandate, Access: mandateManager},
		{Method: "POST", Path: "/v1/mandates/:id/grant", handle: (*server).grantMandate, Access: mandateManager},
		{Method: "POST", Path: "/v1/mandates/:id/refuse", handle: (*server).refuseMandate, Access: mandateManager},
		{Method: "POST", Path: "/v1/mandates/:id/revoke", handle: (*server).revokeMandate, Access: mandateManager},
		{Method: "GET", Path: "/v1/mandates/:id/usage", handle: (*server).listMandateUses, Access: mandateManager, Paged: true},
		{Method: "POST", Path: "/v1/networks/:id/members/sync", handle: (*server).syncMembers, Access: scope(impact.MembersSync), Params: memberParams, Consumes: fileTypes, MaxBody: ImportBody, Heavy: true},

		// Observations, submissions, and what is asked
		{Method: "GET", Path: "/v1/observations", handle: (*server).listObservations, Access: observationReader, Params: "organisation indicator territory period submission state updated_since include_deleted", Paged: true},
		{Method: "POST", Path: "/v1/observations", handle: (*server).putObservations, Access: scope(impact.ObservationsWrite), MaxBody: BatchBody},
		{Method: "GET", Path: "/v1/observations/:id", handle: (*server).getObservation, Access: observationReader},
		{Method: "PATCH", Path: "/v1/observations/:id", handle: (*server).updateObservation, Access: scope(impact.ObservationsWrite)},
		{Method: "DELETE", Path: "/v1/observations/:id", handle: (*server).deleteObservation, Access: scope(impact.ObservationsWrite)},
		{Method: "GET", Path: "/v1/observations/:id/history", handle: (*server).listObservationHistory, Access: observationReader},
		{Method: "GET", Path: "/v1/submissions", handle: (*server).listSubmissions, Access: submissionReader, Params: "organisation period questionnaire state updated_since include_deleted", Paged: true},
		{Method: "POST", Path: "/v1/submissions", handle: (*server).createSubmission, Access: scope(impact.SubmissionsManage), MaxBody: BatchBody},
		{Method: "GET", Path: "/v1/submissions/:id", handle: (*server).getSubmission, Access: submissionReader},
		{Method: "PATCH", Path: "/v1/submissions/:id", handle: (*server).updateSubmission, Access: scope(impact.SubmissionsManage)},
		{Method: "DELETE", Path: "/v1/submissions/:id", handle: (*server).deleteSubmission, Access: scope(impact.SubmissionsManage)},
		{Method: "GET", Path: "/v1/submissions/:id/completeness", handle: (*server).getCompleteness, Access: submissionReader},
		{Method: "POST", Path: "/v1/submissions/:id/submit", handle: (*server).submitSubmission, Access: scope(impact.SubmissionsManage)},
		{Method: "POST", Path: "/v1/submissions/:id/approve", handle: (*server).approveSubmission, Access: scope(impact.SubmissionsReview)},
		{Method: "POST", Path: "/v1/submissions/:id/return", handle: (*server).returnSubmission, Access: scope(impact.SubmissionsReview)},
		{Method: "POST", Path: "/v1/submissions/:id/reopen", handle: (*server).reopenSubmission, Access: scope(impact.SubmissionsManage)},
		{Method: "GET", Path: "/v1/questionnaires", handle: (*server).listQuestionnaires, Access: public, Paged: true, Counting: Reference},
		{Method: "POST", Path: "/v1/questionnaires", handle: (*server).createQuestionnaire, Access: scope(impact.ReferenceManage)},
		{Method: "GET", Path: "/v1/questionnaires/:code", handle: (*server).getQuestionnaire, Access: public, Counting: Reference},
		{Method: "PATCH", Path: "/v1/questionnaires/:code", handle: (*server).updateQuestionnaire, Access: scope(impact.ReferenceManage)},

		// Imports
		{Method: "GET", Path: "/v1/imports", handle: (*server).listImports, Access: importReader, Params: "kind state updated_since", Paged: true},
		{Method: "POST", Path: "/v1/imports", handle: (*server).createImport, Access: scope(impact.ImportsWrite), Params: importParams, Consumes: fileTypes, MaxBody: ImportBody, Heavy: true},
		{Method: "GET", Path: "/v1/imports/:id", handle: (*server).getImport, Access: importReader},
		{Method: "GET", Path: "/v1/imports/:id/rows", handle: (*server).listImportRows, Access: importReader, Params: "outcome", Paged: true},
		{Method: "GET", Path: "/v1/imports/:id/rejects", handle: (*server).getImportRejects, Access: importer, Produces: []Format{FormatCSV}},
		{Method: "GET", Path: "/v1/imports/:id/source", handle: (*server).getImportSource, Access: importer, Produces: []Format{FormatAny}},
		{Method: "POST", Path: "/v1/imports/:id/cancel", handle: (*server).cancelImport, Access: importer},
		{Method: "POST", Path: "/v1/imports/:id/confirm", handle: (*server).confirmImport, Access: importer},
		{Method: "GET", Path: "/v1/import-templates/:questionnaire", handle: (*server).getImportTemplate, Access: public, Params: "period", Produces: []Format{FormatCSV, FormatFrenchCSV, FormatXLSX}},
		{Method: "GET", Path: "/v1/import-mappings", handle: (*server).listImportMappings, Access: importer, Paged: true},
		{Method: "POST", Path: "/v1/import-mappings", handle: (*server).createImportMapping, Access: importer},
		{Method: "GET", Path: "/v1/import-mappings/:id", handle: (*server).getImportMapping, Access: importer},
		{Method: "PATCH", Path: "/v1/import-mappings/:id", handle: (*server).updateImportMapping, Access: importer},
		{Method: "DELETE", Path: "/v1/import-mappings/:id", handle: (*server).deleteImportMapping, Access: importer},

		// Aggregates
		{Method: "GET", Path: "/v1/aggregates", handle: (*server).listAggregates, Access: figureReader, Params: aggregateParams, Paged: true, MaxLimit: maxAggregatePage, Produces: aggregateFormats, Heavy: true},
		{Method: "POST", Path: "/v1/aggregates/query", handle: (*server).queryAggregates, Access: figureReader, Produces: aggregateFormats, Shared: true, Heavy: true},
		{Method: "GET", Path: "/v1/aggregates/availability", handle: (*server).listAvailableAggregates, Access: figureReader, Params: availabilityParams, Heavy: true},
		{Method: "GET", Path: "/v1/aggregates/explain", handle: (*server).explainAggregate, Access: figureReader, Params: explainParams, Heavy: true},
		{Method: "GET", Path: "/v1/aggregates/estimate", handle: (*server).estimateAggregates, Access: figureReader, Params: estimateParams, Heavy: true},

		// Releases
		{Method: "GET", Path: "/v1/releases", handle: (*server).listReleases, Access: anyToken.open(), Params: "state", Paged: true},
		{Method: "POST", Path: "/v1/releases", handle: (*server).createRelease, Access: releaseManager, Params: "dry_run"},
		{Method: "GET", Path: "/v1/releases/latest", handle: (*server).getLatestRelease, Access: anyToken.open()},
		{Method: "GET", Path: "/v1/releases/:id", handle: (*server).getRelease, Access: anyToken.open()},
		{Method: "GET", Path: "/v1/releases/:id/changes", handle: (*server).listReleaseChanges, Access: anyToken.open(), Params: "since change indicator impact_type territory", Paged: true, Heavy: true},
		{Method: "POST", Path: "/v1/releases/:id/publish", handle: (*server).publishRelease, Access: releaseManager},
		{Method: "POST", Path: "/v1/releases/:id/discard", handle: (*server).discardRelease, Access: releaseManager},
		{Method: "POST", Path: "/v1/releases/:id/withdraw", handle: (*server).withdrawRelease, Access: releaseManager},
		{Method: "GET", Path: "/v1/releases/:id/audit", handle: (*server).getReleaseAudit, Access: scope(impact.ReleasesAudit), Paged: true, MaxLimit: 100},

		// Changes, and who is told of them
		{Method: "GET", Path: "/v1/changes", handle: (*server).followChanges, Access: anyToken.open(), Params: "cursor types organisation limit wait"},
		{Method: "GET", Path: "/v1/webhooks", handle: (*server).listWebhooks, Access: webhookManager, Paged: true},
		{Method: "POST", Path: "/v1/webhooks", handle: (*server).createWebhook, Access: webhookManager},
		{Method: "GET", Path: "/v1/webhooks/:id", handle: (*server).getWebhook, Access: webhookManager},
		{Method: "PATCH", Path: "/v1/webhooks/:id", handle: (*server).updateWebhook, Access: webhookManager},
		{Method: "DELETE", Path: "/v1/webhooks/:id", handle: (*server).deleteWebhook, Access: webhookManager},
		{Method: "POST", Path: "/v1/webhooks/:id/test", handle: (*server).testWebhook, Access: webhookManager},
		{Method: "POST", Path: "/v1/webhooks/:id/rotate-secret", handle: (*server).rotateWebhookSecret, Access: webhookManager},
		{Method: "POST", Path: "/v1/webhooks/:id/replay", handle: (*server).replayWebhook, Access: webhookManager},
		{Method: "GET", Path: "/v1/webhooks/:id/deliveries", handle: (*server).listDeliveries, Access: webhookManager, Params: "state", Paged: true},
	}
}

func (r *Route) params() []string { return strings.Fields(r.Params) }

func (r *Route) produces() []Format {
	if r.Produces == nil {
		return []Format{FormatJSON}
	}
	return r.Produces
}

func (r *Route) consumes() []string {
	switch {
	case r.Consumes != nil:
		return r.Consumes
	case r.Method == http.MethodPatch:
		return []string{"application/merge-patch+json", "application/json"}
	}
	return []string{"application/json"}
}

func (r *Route) maxBody() int64 {
	if r.MaxBody > 0 {
		return r.MaxBody
	}
	return 256 << 10
}

func (r *Route) maxLimit() int {
	if r.MaxLimit > 0 {
		return r.MaxLimit
	}
	return 1000
}

// fits tells whether path is an address of the route. Segments are compared
// as they are; a parameter takes one segment.
func (r *Route) fits(path string) bool {
	pattern := r.Path
	for {
		ps, prest, pmore := strings.Cut(pattern, "/")
		s, rest, more := strings.Cut(path, "/")
		if strings.HasPrefix(ps, ":") {
			if s == "" {
				return false
			}
		} else if ps != s {
			return false
		}
		if pmore != more {
			return false
		}
		if !more {
			return true
		}
		pattern, path = prest, rest
	}
}

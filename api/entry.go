package api

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Landing is what GET /v1 says: what is here, and within which limits.
type Landing struct {
	Name        string `json:"name" example:"Retombées"`
	Description Text   `json:"description"`
	Version     string `json:"version" example:"0.1.0"`
	// Version of the reference data: territories, indicators, code lists.
	ReferenceVersion string `json:"reference_version"`
	// Vintage of the territories used when none is asked for.
	Vintage int `json:"vintage" example:"2026"`
	// Number of the latest release; null before the first.
	LatestRelease *string `json:"latest_release" extensions:"x-nullable" example:"3"`
	// The data are invented: a demonstration.
	Demo   bool              `json:"demo"`
	Notice *Text             `json:"notice,omitempty"`
	Limits Limits            `json:"limits"`
	Links  map[string]string `json:"links"`
}

// Limits of the API.
type Limits struct {
	// Bytes of a JSON body; of a batch of observations or a submission.
	Body      int64 `json:"body_bytes" example:"262144"`
	BatchBody int64 `json:"batch_body_bytes" example:"2097152"`
	// Observations in one batch.
	BatchRows int `json:"batch_rows" example:"1000"`
	// Bytes of the file of an import, as sent; rows in it; rows that a caller waits
	// for; imports of a client under way at once; days a file and a report are kept.
	ImportBody       int `json:"import_body_bytes" example:"20971520"`
	ImportRows       int `json:"import_rows" example:"100000"`
	ImportSyncRows   int `json:"import_sync_rows" example:"2000"`
	ImportConcurrent int `json:"imports_at_once" example:"2"`
	ImportFileDays   int `json:"import_file_days" example:"30"`
	// Compressed bytes of files kept for one organisation or network; beyond, the
	// oldest go first.
	ImportFileBytes  int `json:"import_file_bytes" example:"268435456"`
	ImportReportDays int `json:"import_report_days" example:"400"`
	// Nesting of a JSON body.
	Depth int `json:"depth" example:"32"`
	// Bytes of an address; parameters in it; values of one parameter.
	URI       int `json:"uri_bytes" example:"4096"`
	Params    int `json:"parameters" example:"50"`
	Items     int `json:"parameter_values" example:"500"`
	Page      int `json:"page_default" example:"100"`
	MaxPage   int `json:"page_max" example:"1000"`
	MaxFigure int `json:"aggregates_page_max" example:"10000"`
	// Cells of an aggregate query that may be computed, and returned as JSON.
	Computed int `json:"aggregate_cells_computed" example:"1000000"`
	Returned int `json:"aggregate_cells_returned" example:"50000"`
	GroupBy  int `json:"group_by_dimensions" example:"4"`
	// Seconds one request may take; an access token holds; an idempotency key is kept.
	Request     int `json:"request_seconds" example:"30"`
	Token       int `json:"token_seconds" example:"900"`
	Idempotency int `json:"idempotency_key_seconds" example:"86400"`
	// Longest wait for a change, in seconds; days a cursor of the feed holds.
	ChangeWait int `json:"change_wait_seconds" example:"20"`
	ChangeDays int `json:"change_cursor_days" example:"400"`
	// Requests a minute of an anonymous address (in IPv6 a /64) and of a client,
	// reference data apart; costly answers at once. 0 is no limit. Each replica
	// counts for itself; a 304 and HEAD are not counted. /oauth/* is counted apart,
	// per address, like one client.
	Anonymous          int `json:"anonymous_requests_per_minute" example:"600"`
	AnonymousReference int `json:"anonymous_reference_requests_per_minute" example:"3000"`
	Client             int `json:"client_requests_per_minute" example:"3000"`
	ClientReference    int `json:"client_reference_requests_per_minute" example:"15000"`
	Concurrent         int `json:"concurrent_costly_requests" example:"20"`
	// Webhooks of one organisation, network or buyer; days their deliveries are kept.
	Webhooks     int `json:"webhooks" example:"20"`
	DeliveryDays int `json:"webhook_delivery_days" example:"30"`
}

// BatchBody is the size of a batch of observations or of a submission, BatchRows
// the number of its rows (api.md 15).
const (
	BatchBody = 2 << 20
	BatchRows = 1000
)

func limitsOf(r Rates) Limits {
	l := limits
	l.Anonymous, l.AnonymousReference = r.Anonymous, r.Anonymous*ReferenceFactor
	l.Client, l.ClientReference, l.Concurrent = r.Client, r.Client*ReferenceFactor, r.Concurrent
	return l
}

var limits = Limits{
	Body: 256 << 10, BatchBody: BatchBody, BatchRows: BatchRows, Depth: maxDepth, URI: maxURI, Params: maxParams, Items: maxItems,
	Page: 100, MaxPage: 1000, MaxFigure: 10000, Computed: 1_000_000, Returned: 50_000, GroupBy: 4, Request: int(requestTimeout / time.Second), Token: 900, Idempotency: 86400,
	ImportBody: ImportBody, ImportRows: format.DefaultLimits.Rows, ImportSyncRows: impact.ImportSyncRows, ImportConcurrent: impact.ImportConcurrent,
	ImportFileBytes: impact.ImportBytesKept, ImportFileDays: int(impact.ImportSourceKept / (24 * time.Hour)), ImportReportDays: int(impact.ImportReportKept / (24 * time.Hour)),
	Webhooks: impact.WebhooksPerOwner, DeliveryDays: int(impact.DeliveriesKept / (24 * time.Hour)),
	ChangeWait: int(longestPoll / time.Second), ChangeDays: ChangeDays,
}

func (s *server) vintage() impact.Vintage {
	return s.Catalogue.Gazetteer().CurrentVintage(impact.DateOf(s.Now()))
}

// landing is where a visit begins.
//
//	@Summary		Entry point: links, version and limits
//	@Description	Where a visit begins. Every limit of the API is published here.
//	@ID				getLanding
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	Landing
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1 [get]
func (s *server) landing(c *call) error {
	l := Landing{
		Name: "Retombées", Version: s.Version, ReferenceVersion: s.Catalogue.Reference().Version, Vintage: int(s.vintage()), Demo: s.Demo, Limits: s.limits,
		Description: Text{FR: "Mesure d'impact par territoire de la Métropole de Lyon.", EN: "Impact measured by territory in the Métropole de Lyon."},
		Links:       map[string]string{"self": s.PublicURL + "/v1"},
	}
	if s.Demo {
		l.Notice = &Text{FR: "Données de démonstration : tout y est inventé, aucun chiffre ne décrit une organisation réelle.", EN: "Demonstration data: all of it is invented, no figure describes a real organisation."}
	}
	for _, r := range s.routes {
		if r.Method == http.MethodGet && s.static[r.Path] && strings.HasPrefix(r.Path, "/v1/") && !strings.Contains(r.Path, "openapi") {
			l.Links[strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(r.Path, "/v1/"), "/", "_"), "-", "_")] = s.PublicURL + r.Path
		}
	}
	l.Links["openapi"] = s.PublicURL + "/v1/openapi.json"
	l.Links["token"] = s.PublicURL + "/oauth/token"
	l.Links["authorization_server"] = s.PublicURL + "/.well-known/oauth-authorization-server"
	l.LatestRelease = s.latestNumber(c.r.Context())
	tag := fmt.Sprintf("%s-%s-%d-%d-%d", s.Version, l.ReferenceVersion, l.Limits.Anonymous, l.Limits.Client, l.Limits.Concurrent)
	c.w.Header().Add("Link", "<"+s.PublicURL+`/v1/openapi.json>; rel="service-desc"; type="application/json"`)
	c.w.Header().Add("Link", "<"+s.PublicURL+`/v1/catalog>; rel="describedby"; type="application/ld+json"`)
	if l.LatestRelease != nil {
		tag += "-r" + *l.LatestRelease
	}
	if c.fresh(c.weakTag(tag)) {
		return nil
	}
	return c.answer(http.StatusOK, l)
}

// document is a text served as it is, with the tag of its bytes.
type document struct {
	bytes []byte
	tag   string
}

func newDocument(b []byte) document {
	sum := sha256.Sum256(b)
	return document{b, `"` + hex(sum[:12]) + `"`}
}

func (c *call) serveDocument(d document, contentType string) error {
	if len(d.bytes) == 0 {
		return impact.NotFoundError()
	}
	if c.fresh(d.tag) {
		return nil
	}
	c.write(http.StatusOK, contentType, d.bytes)
	return nil
}

// openapiJSON serves the contract.
//
//	@Summary		The contract, as JSON
//	@Description	OpenAPI 3.1, generated from the program that serves it.
//	@ID				getOpenAPI
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	map[string]any
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/openapi.json [get]
func (s *server) openapiJSON(c *call) error {
	return c.serveDocument(s.openapi, "application/json; charset=utf-8")
}

// openapiYAML serves the contract as YAML.
//
//	@Summary		The contract, as YAML
//	@Description	OpenAPI 3.1, generated from the program that serves it.
//	@ID				getOpenAPIYAML
//	@Tags			service
//	@Produce		application/yaml
//	@Success		200		{string}	string
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/openapi.yaml [get]
func (s *server) openapiYAML(c *call) error {
	return c.serveDocument(s.openyaml, "application/yaml; charset=utf-8")
}

// openapiJSONAtRoot is where tools look first.
//
//	@Summary		The contract, as JSON, at the root
//	@Description	The same document as /v1/openapi.json, where tools look first.
//	@ID				getRootOpenAPI
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	map[string]any
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/openapi.json [get]
func (s *server) openapiJSONAtRoot(c *call) error { return s.openapiJSON(c) }

// openapiYAMLAtRoot is where tools look first.
//
//	@Summary		The contract, as YAML, at the root
//	@Description	The same document as /v1/openapi.yaml, where tools look first.
//	@ID				getRootOpenAPIYAML
//	@Tags			service
//	@Produce		application/yaml
//	@Success		200		{string}	string
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/openapi.yaml [get]
func (s *server) openapiYAMLAtRoot(c *call) error { return s.openapiYAML(c) }

// docsPage serves the documentation.
//
//	@Summary		Documentation page
//	@Description	Reads and tries the API in a browser; nothing is loaded from elsewhere.
//	@ID				getDocs
//	@Tags			service
//	@Produce		html
//	@Success		200		{string}	string
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/docs [get]
func (s *server) docsPage(c *call) error { return s.asset(c, "index.html") }

// docsPageV1 serves the documentation beside the API.
//
//	@Summary		Documentation page, under /v1
//	@Description	The same page as /docs.
//	@ID				getVersionedDocs
//	@Tags			service
//	@Produce		html
//	@Success		200		{string}	string
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/docs [get]
func (s *server) docsPageV1(c *call) error { return s.docsPage(c) }

// docsFile serves what the documentation page loads.
//
//	@Summary		A file of the documentation page
//	@Description	Style sheets, scripts and images of /docs.
//	@ID				getDocsFile
//	@Tags			service
//	@Produce		text/css
//	@Produce		text/javascript
//	@Produce		image/svg+xml
//	@Produce		text/html
//	@Produce		text/plain
//	@Param			file	path		string	true	"Name of the file"	example(page.css)
//	@Success		200		{string}	string
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/docs/{file} [get]
func (s *server) docsFile(c *call) error { return s.asset(c, c.param("file")) }

// docsAsset serves the files of Swagger UI.
//
//	@Summary		A file of the documentation viewer
//	@Description	Swagger UI, served from here.
//	@ID				getDocsAsset
//	@Tags			service
//	@Produce		text/css
//	@Produce		text/javascript
//	@Produce		image/svg+xml
//	@Produce		text/html
//	@Produce		text/plain
//	@Param			file	path		string	true	"Name of the file"	example(swagger-ui.css)
//	@Success		200		{string}	string
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/docs/swagger-ui/{file} [get]
func (s *server) docsAsset(c *call) error { return s.asset(c, "swagger-ui/"+c.param("file")) }

func (s *server) asset(c *call, name string) error {
	if s.DocsUI == nil || !fs.ValidPath(name) {
		return impact.NotFoundError()
	}
	b, err := fs.ReadFile(s.DocsUI, name)
	if err != nil && s.Guides != nil && path.Ext(name) == ".md" {
		b, err = fs.ReadFile(s.Guides, name)
	}
	if err != nil {
		return impact.NotFoundError()
	}
	typ := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) {
	case ".js":
		typ = "text/javascript; charset=utf-8"
	case "", ".md", ".txt":
		typ = "text/plain; charset=utf-8"
	}
	c.w.Header().Set("Content-Security-Policy", s.DocsPolicy)
	d, ok := s.assets.Load(name)
	if !ok {
		d, _ = s.assets.LoadOrStore(name, newDocument(b))
	}
	return c.serveDocument(d.(document), typ)
}

// Change is one entry of the changelog.
type Change struct {
	Date string `json:"date" format:"date" example:"2026-11-25"`
	// What changed: api, indicators, territories.
	Subject string `json:"subject" enums:"api,indicators,territories" example:"api"`
	Version string `json:"version" example:"0.1.0"`
	// Nothing that worked stops working, unless told here.
	Breaking bool `json:"breaking"`
	Text     Text `json:"text"`
}

// ChangePage is the changelog.
type ChangePage = Page[Change] // @name ChangePage

//go:embed changelog.json
var changelogJSON []byte

var changes = mustChanges()

func mustChanges() []Change {
	var out []Change
	if err := json.Unmarshal(changelogJSON, &out); err != nil {
		panic(fmt.Sprintf("api/changelog.json: %v", err))
	}
	return out
}

// changelog tells what changed, the newest first.
//
//	@Summary		What changed in the API, the indicators and the territories
//	@Description	The newest first.
//	@ID				getChangelog
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	ChangePage
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/changelog [get]
func (s *server) changelog(c *call) error {
	if c.fresh(c.weakTag(s.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, page(c, changes, nil))
}

// Me is who calls, as the API sees it.
type Me struct {
	Client string `json:"client_id"`
	Name   string `json:"name,omitempty"`
	Role   string `json:"role" enums:"organisation,network,buyer,steward,administrator" example:"organisation"`
	// The organisation the client acts for; the buyer its staff acts for.
	Organisation *string  `json:"organisation" extensions:"x-nullable"`
	Network      *string  `json:"network" extensions:"x-nullable"`
	Buyer        *string  `json:"buyer" extensions:"x-nullable"`
	Scopes       []string `json:"scopes"`
	// Id of the API key the call is made with; null with an access token.
	APIKey *string `json:"api_key" extensions:"x-nullable"`
	// Mandates in force, given or received: the first 100 of them.
	Mandates []MandateName `json:"mandates"`
	Limits   Limits        `json:"limits"`
	Links    MeLinks       `json:"links"`
}

// MandateName tells a mandate in short.
type MandateName struct {
	ID           string           `json:"id"`
	Organisation OrganisationName `json:"organisation"`
	Network      NetworkName      `json:"network"`
	Scopes       []string         `json:"scopes"`
}

// MeLinks leads to what the caller has.
type MeLinks struct {
	Self string `json:"self"`
	// Every mandate, given or received.
	Mandates string `json:"mandates"`
}

// me tells who calls.
//
//	@Summary		Who I am here
//	@Description	The client of the token, what it acts for, its scopes, and the mandates in force.
//	@ID				getMe
//	@Tags			access
//	@Produce		json
//	@Success		200		{object}	Me
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/me [get]
func (s *server) me(c *call) error {
	p := c.principal
	m := Me{Client: p.Client, Name: p.Name, Role: string(p.Role), Organisation: optional(p.Organisation), Network: optional(p.Network), Buyer: optional(p.Buyer), Scopes: impact.Words(p.Scopes), APIKey: optional(p.Key), Mandates: []MandateName{}, Limits: s.limits, Links: MeLinks{Self: c.self(), Mandates: c.address("/v1/mandates", "")}}
	if p.Role == impact.RoleOrganisation || p.Role == impact.RoleNetwork {
		given, _, err := s.Mandates.Mandates(c.r.Context(), p, impact.MandateFilter{State: impact.Granted}, impact.Page{Limit: 100})
		if err != nil {
			return err
		}
		for i := range given {
			w := s.mandate(c, &given[i])
			m.Mandates = append(m.Mandates, MandateName{w.ID, w.From.Organisation, w.To.Network, w.Scopes})
		}
	}
	return c.answer(http.StatusOK, m)
}

// StatusReport is what can be said in public about the running service.
type StatusReport struct {
	// How long the oldest write that is not in the figures of this replica has
	// been waiting, in whole seconds.
	FeedLag int `json:"feed_lag_seconds" example:"0"`
	// How late the oldest delivery to a webhook is that could be made now, in
	// whole seconds.
	WebhookDelay int `json:"webhook_delay_seconds" example:"0"`
}

// Status of the service.
type Status struct {
	Status           string `json:"status" enums:"ok,starting" example:"ok"`
	Version          string `json:"version"`
	ReferenceVersion string `json:"reference_version"`
	Demo             bool   `json:"demo"`
	// Number of the latest release; null before the first.
	LatestRelease *string      `json:"latest_release" extensions:"x-nullable" example:"3"`
	Feed          StatusReport `json:"feed"`
	Time          string       `json:"time" format:"date-time"`
	Links         Links        `json:"links"`
}

// status tells how the service is.
//
//	@Summary		How the service is
//	@Description	Version, latest release and lag of the figures behind the writes.
//	@ID				getStatus
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	Status
//	@Failure		default	{object}	Problem
//	@Router			/v1/status [get]
func (s *server) status(c *call) error {
	r := Status{Status: "ok", Version: s.Version, ReferenceVersion: s.Catalogue.Reference().Version, Demo: s.Demo, Time: instant(s.Now()), Links: Links{Self: c.self()}}
	r.LatestRelease = s.latestNumber(c.r.Context())
	if err := s.ready(c.r.Context()); err != nil {
		r.Status = "starting"
	}
	if s.Status != nil {
		feed, err := s.Status(c.r.Context())
		if r.Feed = feed; err != nil {
			r.Status = "starting" // the database does not answer
		}
	}
	return c.answer(http.StatusOK, r)
}

func (s *server) ready(ctx context.Context) error {
	if s.Ready == nil {
		return nil
	}
	return s.Ready(ctx)
}

// Health is the answer of a probe.
type Health struct {
	Status string `json:"status" example:"ok"`
}

// livez tells that the process answers.
//
//	@Summary		Is the process alive
//	@Description	For supervisors: the process answers. It says nothing of the database.
//	@ID				getLiveness
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	Health
//	@Failure		default	{object}	Problem
//	@Router			/livez [get]
func (s *server) livez(c *call) error { return c.answer(http.StatusOK, Health{"ok"}) }

// readyz tells that requests can be served.
//
//	@Summary		Can requests be served
//	@Description	For load balancers: the database answers, its migrations are current and the figures are loaded. Otherwise 503.
//	@ID				getReadiness
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	Health
//	@Failure		default	{object}	Problem
//	@Router			/readyz [get]
func (s *server) readyz(c *call) error {
	if err := s.ready(c.r.Context()); err != nil {
		return &impact.Error{
			Kind: impact.Busy, Code: "unavailable", Err: err,
			Detail: impact.Text{FR: "Le service démarre, ou sa base ne répond pas.", EN: "The service is starting, or its database does not answer."},
		}
	}
	return c.answer(http.StatusOK, Health{"ok"})
}

// Version of the program.
type Version struct {
	Version          string `json:"version" example:"0.1.0"`
	ReferenceVersion string `json:"reference_version"`
}

// version tells which program answers.
//
//	@Summary		Version of the program
//	@Description	Version of the program and of its reference data.
//	@ID				getVersion
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	Version
//	@Failure		default	{object}	Problem
//	@Router			/version [get]
func (s *server) version(c *call) error {
	return c.answer(http.StatusOK, Version{s.Version, s.Catalogue.Reference().Version})
}

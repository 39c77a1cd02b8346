package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/dcat"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Config is everything the API needs from outside. What a group of handlers
// asks for is a small interface that stands above these handlers.
type Config struct {
	// PublicURL is the base of every absolute address, without a trailing
	// slash: "https://impact.grandlyon.com". It never comes from Host.
	PublicURL string
	// Version of the program, shown at /version and in the landing page.
	Version string
	// Demo marks every landing page: the data are invented.
	Demo bool
	// Now is the clock, NewID makes request ids.
	Now   func() time.Time
	NewID func() string
	Log   *slog.Logger
	// Stopping ends when the service is asked to stop: nobody waits any longer.
	Stopping context.Context
	// CursorKey signs cursors; every replica needs the same one (16 bytes at
	// least).
	CursorKey []byte

	// OpenAPIJSON and OpenAPIYAML are the generated contract; DocsUI holds the
	// assets of the documentation page, index.html among them, and DocsPolicy is
	// its Content-Security-Policy.
	OpenAPIJSON, OpenAPIYAML []byte
	DocsUI                   fs.FS
	DocsPolicy               string
	// Guides are pages served beside it, in Markdown; nil for none.
	Guides fs.FS

	// Verifier turns an access token into its principal. Issuer signs tokens,
	// Keys publishes what they are verified with; Tokens and Revocations serve
	// POST /oauth/introspect and /oauth/revoke.
	Verifier    Verifier
	Issuer      TokenIssuer
	Keys        KeyPublisher
	Tokens      TokenInspector
	Revocations RevocationStore
	// Clients ask for tokens with a secret, or with an assertion that they sign
	// (private_key_jwt) and that is used once.
	Clients        ClientStore
	Assertions     AssertionChecker
	UsedAssertions AssertionStore
	// APIKeys keeps the keys of scripts, KeyRing knows who calls with one.
	APIKeys APIKeyStore
	KeyRing *auth.KeyRing
	// Rates bound what one caller may ask; zero rates are none. Addresses of
	// callers are taken from X-Forwarded-For when a trusted proxy wrote it.
	Rates          Rates
	TrustedProxies []netip.Prefix
	// AccessLog keeps who read what; Logs tell those concerned.
	AccessLog AccessLogger
	Logs      LogReader

	// Reference: what there is to measure, where, and what is asked. Geometries
	// are nil when there is none.
	Catalogue      *impact.Catalogue
	Geometries     GeometrySource
	Questionnaires QuestionnaireStore
	// Organisations, the networks they belong to, and what they agreed to.
	Organisations OrganisationStore
	Consents      ConsentStore
	Networks      NetworkStore
	Mandates      MandateStore
	// What organisations submit, answers that may be asked for again, and the
	// order of writes.
	Observations ObservationStore
	Submissions  SubmissionStore
	Idempotency  IdempotencyStore
	Commits      CommitLog
	// Imports, the mappings of their files, and who works on them.
	Imports      ImportStore
	Mappings     MappingStore
	ImportRunner ImportRunner
	// Figures are computed from facts; Follower waits until they know a write,
	// ObservationIDs names the cells of an explanation.
	Figures        FigureSource
	Follower       Follower
	ObservationIDs ObservationNamer
	// Releases are the figures for everyone; nil when none can be published.
	Releases Releases
	// AnswerCache is how many bytes of answers of releases are kept ready; none
	// when it is 0.
	AnswerCache int64
	// ReleaseStore keeps releases and the attempts at them, ReleaseRunner builds
	// them.
	ReleaseStore  ReleaseStore
	ReleaseRunner ReleaseRunner
	// The log of commits, read as changes and told to webhooks.
	Changes  ChangeStore
	Webhooks Webhooks
	// Exports keeps the files of releases; nil serves none. Publication says who
	// publishes them, and about which part of the world; its addresses are those of
	// PublicURL, and its identifiers too unless told.
	Exports     Exports
	Publication dcat.Catalogue

	// Ready tells why requests cannot be served yet, nil when they can.
	Ready func(context.Context) error
	// Status adds what an operator wants to see to GET /v1/status.
	Status func(context.Context) (StatusReport, error)
}

// Verifier checks an access token. The error is an *impact.Error of kind
// Unauthenticated.
type Verifier interface {
	Verify(ctx context.Context, token string) (impact.Principal, error)
}

// server answers the routes.
type server struct {
	Config
	routes    []Route
	static    map[string]bool // paths without parameter
	base      *url.URL
	openapi   document
	openyaml  document
	limits    Limits
	meters    meters
	gate      *gate
	waiting   seats
	suspected sync.Once
	damper    *damper
	owned     owned
	shapes    shapeCache
	layers    layerCache
	assets    sync.Map // name → document
	cubesOnce sync.Once
	cubes     []ReleaseCube
	answers   *answers
	common    http.Header // of every answer
}

// writtenURL is the server in the committed contract: what `make run` serves.
const writtenURL = "http://127.0.0.1:8080"

// New checks the configuration and gives the whole API as one handler.
func New(c Config) (http.Handler, error) { return serve(c, Routes()) }

func serve(c Config, routes []Route) (http.Handler, error) {
	if c.Now == nil || c.NewID == nil || c.Log == nil {
		return nil, errors.New("api: Now, NewID and Log are required")
	}
	if c.Catalogue == nil || c.Verifier == nil {
		return nil, errors.New("api: Catalogue and Verifier are required")
	}
	if (c.APIKeys == nil) != (c.KeyRing == nil) {
		return nil, errors.New("api: APIKeys and KeyRing go together")
	}
	if len(c.CursorKey) < 16 {
		return nil, errors.New("api: CursorKey needs 16 bytes at least")
	}
	base, err := url.Parse(c.PublicURL)
	if err != nil || base.Scheme == "" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("api: public URL %q is not an absolute http address", c.PublicURL)
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	s := &server{Config: c, base: base, routes: routes, static: map[string]bool{}}
	// The document names the server that serves it, so that clients made from
	// it call this one.
	written := []byte(strconv.Quote(writtenURL))
	named := []byte(strconv.Quote(c.PublicURL))
	s.openapi = newDocument(bytes.Replace(c.OpenAPIJSON, written, named, 1))
	s.openyaml = newDocument(bytes.Replace(c.OpenAPIYAML, written, named, 1))
	s.limits = limitsOf(c.Rates)
	s.meters, s.gate = newMeters(c.Rates), newGate(c.Rates.Concurrent)
	s.damper = newDamper(c.Rates.Refused)
	s.answers, s.common = newAnswers(c.AnswerCache), commonHeaders(base.Scheme == "https")

	e := echo.New()
	e.HTTPErrorHandler = func(err error, ec echo.Context) {
		x := callOf(ec.Request())
		if refused := x.count(); refused != nil {
			err = refused
		}
		x.fail(x.routingError(err))
	}
	for i := range s.routes {
		route := &s.routes[i]
		if !strings.Contains(route.Path, ":") {
			s.static[route.Path] = true
		}
		e.Add(route.Method, route.Path, func(ec echo.Context) error {
			x := callOf(ec.Request())
			x.route, x.echo = route, ec
			x.serve()
			return nil
		})
	}
	return &front{s.outer(e), s}, nil
}

// front is the API: what was answered before is answered again without being
// read (quick.Handler), the rest goes through everything.
type front struct {
	http.Handler
	s *server
}

// ServeKept answers a reading of a release that was answered before; when there
// was none it gives false and writes nothing. The context of the request need not
// end: a release that has to be read again is waited for no longer than by others.
func (f *front) ServeKept(w http.ResponseWriter, r *http.Request) bool {
	c, r := f.s.begin(w, r)
	return f.s.answerKept(c, r)
}

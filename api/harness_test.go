package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/docs/contract"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
	"github.com/grandlyon/retombees/pkg/store/storetest"
	"github.com/grandlyon/retombees/pkg/webhook"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// publicURL is the public base of the API under test, which listens elsewhere.
const publicURL = "https://retombees.example"

// patient are rates that no test reaches by being fast; tests of the rates
// themselves set others.
var patient = api.Rates{Anonymous: 1_000_000, Client: 1_000_000, Refused: 1_000_000, Concurrent: 1000}

// world is the whole API over a real database, behind a real listener.
type world struct {
	store    *store.Store
	config   api.Config
	issuer   *auth.Issuer
	keys     auth.KeySet
	server   *httptest.Server
	contract *contract.Validator
	log      *logBook
	guard    *webhook.Guard // lets receivers of tests be told
	writer   *webhook.Writer
	builder  *publish.Runner

	// Organisations Atelier and Bocage, the network Fédération, which has neither
	// member nor mandate, and one client of each role.
	atelier, bocage impact.Organisation
	federation      impact.Network
	anonymous       *caller
	organisation    *caller // acts for Atelier
	other           *caller // acts for Bocage
	network         *caller // acts for Fédération
	buyer           *caller
	steward         *caller
	administrator   *caller
}

// callers gives every kind of caller by name.
func (w *world) callers() map[string]*caller {
	return map[string]*caller{
		"anonymous": w.anonymous, "organisation": w.organisation, "other organisation": w.other, "network": w.network,
		"buyer": w.buyer, "steward": w.steward, "administrator": w.administrator,
	}
}

// databases runs a test on both databases; each run has a world of its own.
func databases(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, newWorld(t, storetest.SQLite(t))) })
	t.Run("postgres", func(t *testing.T) { test(t, newWorld(t, storetest.Postgres(t))) })
}

// embedded gives a world on the embedded database, for what does not depend on
// the database.
func embedded(t testing.TB) *world {
	t.Helper()
	return newWorld(t, storetest.SQLite(t))
}

// now is the clock of tests.
func now() time.Time { return time.Now() }

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// setup is who prepares a world.
var setup = impact.Principal{Client: "setup", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}

// newWorld puts a world into a ready database.
func newWorld(t testing.TB, databaseURL string) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{log: &logBook{}}

	var err error
	w.store, err = store.Open(ctx, databaseURL, store.Options{Now: now, NewID: newID, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	catalogue, err := w.store.Catalogue(ctx)
	must(t, err)

	key, err := auth.GenerateKey()
	must(t, err)
	w.keys, err = auth.NewKeySet(key)
	must(t, err)
	w.issuer, err = auth.NewIssuer(auth.Config{Issuer: publicURL, Audience: publicURL, Keys: w.keys, Now: now})
	must(t, err)
	w.configure(t, catalogue)
	handler, err := api.New(w.config)
	must(t, err)
	w.server = httptest.NewServer(handler)
	t.Cleanup(w.server.Close)
	w.contract, err = contract.Load()
	must(t, err)

	w.atelier = w.register(t, setup, impact.Organisation{Name: "L'Atelier du réemploi", SIREN: "732829320", Class: impact.Association, ESS: "true", ESSBasis: "statutory", StructureKind: "ACI", SizeClass: "small", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
	w.bocage = w.register(t, setup, impact.Organisation{Name: "Bocage & Cie", SIREN: "552100554", Class: impact.Company, ESS: "false", SizeClass: "medium", OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate})
	w.federation, err = w.store.CreateNetwork(ctx, setup, impact.Network{Name: "Fédération des ateliers", Code: "FEDATE"})
	must(t, err)
	w.anonymous = &caller{w: w}
	w.organisation = w.client(t, impact.Client{Name: "Atelier", Role: impact.RoleOrganisation, Organisation: w.atelier.ID})
	w.other = w.client(t, impact.Client{Name: "Bocage", Role: impact.RoleOrganisation, Organisation: w.bocage.ID})
	w.buyer = w.client(t, impact.Client{Name: "Métropole", Role: impact.RoleBuyer, Buyer: "metropole"})
	w.steward = w.client(t, impact.Client{Name: "Observatoire", Role: impact.RoleSteward})
	w.administrator = w.client(t, impact.Client{Name: "Administration", Role: impact.RoleAdministrator})
	w.network = w.client(t, impact.Client{Name: "Fédération", Role: impact.RoleNetwork, Network: w.federation.ID})
	return w
}

func (w *world) register(t testing.TB, p impact.Principal, o impact.Organisation) impact.Organisation {
	t.Helper()
	created, _, err := w.store.CreateOrganisation(context.Background(), p, o)
	must(t, err)
	return created
}

// client registers a client with every scope of its role and gives it a token,
// asked for over HTTP like anybody's.
func (w *world) client(t testing.TB, c impact.Client) *caller {
	t.Helper()
	secret := auth.NewSecret()
	c.Scopes, c.SecretHashes = impact.AllowedScopes(c.Role), []string{auth.HashSecret(secret)}
	created, err := w.store.CreateClient(context.Background(), setup, c)
	must(t, err)
	x := &caller{w: w, id: created.ID, secret: secret}
	a := w.anonymous.post(t, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {x.id}, "client_secret": {secret}})
	if a.status != http.StatusOK {
		t.Fatalf("no token for %s: %d %s", c.Name, a.status, a.body)
	}
	x.token = a.json(t)["access_token"].(string)
	return x
}

// with gives the same caller with another token.
func (x *caller) with(token string) *caller { return &caller{w: x.w, id: x.id, token: token} }

// caller is one client of the API.
type caller struct {
	w                 *world
	id, secret, token string
}

// answer is what came back, already decompressed.
type answer struct {
	status int
	header http.Header
	body   []byte
	wire   int // bytes of the body as sent
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatalf("the answer is not a JSON object: %v\n%s", err, a.body)
	}
	return m
}

// at follows a JSON Pointer in the answer, nil when there is nothing.
func (a answer) at(t testing.TB, pointer string) any {
	t.Helper()
	var v any = a.json(t)
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// header is a request header of one call: header("If-Match", `"v1"`).
type header [2]string

// get, post and do send a request and hold the exchange to the contract. A body
// is JSON, unless it is a form (url.Values), text or bytes.
func (x *caller) get(t testing.TB, path string, h ...header) answer {
	t.Helper()
	return x.do(t, http.MethodGet, path, nil, h...)
}

func (x *caller) post(t testing.TB, path string, body any, h ...header) answer {
	t.Helper()
	return x.do(t, http.MethodPost, path, body, h...)
}

func (x *caller) do(t testing.TB, method, path string, body any, h ...header) answer {
	t.Helper()
	req, sent := x.request(t, method, path, body, h...)
	a := x.w.send(t, req)
	checked := req.Clone(context.Background())
	x.w.contract.Check(t, checked, sent, a.status, a.header, a.body)
	if a.header.Get("X-Request-Id") == "" || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Vary") == "" || a.header.Get("Content-Language") == "" {
		t.Errorf("%s %s: a header that every answer bears is missing: %v", method, path, a.header)
	}
	return a
}

func (x *caller) request(t testing.TB, method, path string, body any, h ...header) (*http.Request, []byte) {
	t.Helper()
	var sent []byte
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
		contentType = ""
	case url.Values:
		sent, contentType = []byte(b.Encode()), "application/x-www-form-urlencoded"
	case string:
		sent = []byte(b)
	case []byte:
		sent = b
	default:
		var err error
		sent, err = json.Marshal(b)
		must(t, err)
	}
	req, err := http.NewRequest(method, x.w.server.URL+path, bytes.NewReader(sent))
	must(t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if x.token != "" {
		req.Header.Set("Authorization", "Bearer "+x.token)
	}
	for _, p := range h {
		if p[1] == "" {
			req.Header.Del(p[0])
			continue
		}
		req.Header.Set(p[0], p[1])
	}
	return req, sent
}

// plain is a client that follows nothing and asks for no compression by itself.
var plain = &http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       20 * time.Second,
}

func (w *world) send(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := plain.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, body: b, wire: len(b)}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified {
		t.Errorf("%s %s is a redirection", req.Method, req.URL)
	}
	if resp.Header.Get("Content-Encoding") == "zstd" && len(b) > 0 {
		z, err := zstd.NewReader(nil)
		must(t, err)
		defer z.Close()
		a.body, err = z.DecodeAll(b, nil)
		must(t, err)
	}
	if resp.Header.Get("Content-Encoding") == "gzip" && len(b) > 0 {
		z, err := gzip.NewReader(bytes.NewReader(b))
		must(t, err)
		a.body, err = io.ReadAll(z)
		must(t, err)
	}
	return a
}

// refused checks that an answer is a problem document with this status and code.
func refused(t testing.TB, a answer, status int, code string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
		return
	}
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") {
		t.Errorf("content type %q of a refusal", ct)
		return
	}
	p := a.json(t)
	if p["code"] != code {
		t.Errorf("code %v, want %s: %s", p["code"], code, a.body)
	}
	if p["type"] != publicURL+"/v1/problems/"+code {
		t.Errorf("type %v", p["type"])
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a refusal may be cached: %q", a.header.Get("Cache-Control"))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logBook keeps what the API logs.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

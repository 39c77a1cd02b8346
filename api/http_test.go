package api_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/api"
)

// sample gives an address that answers 200 to a route of reading, with the
// parameters it needs.
var sample = map[string]string{
	"/docs/:file":                   "/docs/page.css",
	"/docs/swagger-ui/:file":        "/docs/swagger-ui/swagger-ui.css",
	"/v1/problems/:code":            "/v1/problems/unknown_parameter",
	"/v1/impact-types/:code":        "/v1/impact-types/inclusion.insertion",
	"/v1/indicators/:code":          "/v1/indicators/insertion_hours",
	"/v1/indicators/:code/versions": "/v1/indicators/insertion_hours/versions",
	"/v1/territories/:id":           "/v1/territories/commune-69266",
	"/v1/territories/:id/children":  "/v1/territories/metropole-200046977/children",
	"/v1/territories/:id/ancestors": "/v1/territories/commune-69266/ancestors",
	"/v1/territories/:id/history":   "/v1/territories/commune-69149/history",
	"/v1/code-lists/:id":            "/v1/code-lists/structure_kind",
}

func readable(r api.Route) (path string, ok bool) {
	if r.Method != http.MethodGet || len(r.Access.Scopes) > 0 {
		return "", false
	}
	if p, known := sample[r.Path]; known {
		return p, true
	}
	return r.Path, !strings.Contains(r.Path, ":")
}

func TestEveryPublicReadAnswersAndIsTheSameUnderHEAD(t *testing.T) {
	w := embedded(t)
	w.candidate(t, object{"publish": true})
	for _, r := range api.Routes() {
		path, ok := readable(r)
		if !ok {
			continue
		}
		who := w.anonymous
		if r.Access.Token {
			who = w.organisation
		}
		for _, encoding := range []string{"", "gzip"} {
			got := who.get(t, path, header{"Accept-Encoding", encoding})
			if got.status != http.StatusOK {
				t.Errorf("GET %s: %d %s", path, got.status, got.body)
				continue
			}
			head := who.do(t, http.MethodHead, path, nil, header{"Accept-Encoding", encoding})
			// HEAD is not counted, so it tells nothing of a quota.
			for _, h := range []header{{"Date"}, {"X-Request-Id"}, {"RateLimit"}, {"RateLimit-Policy"}} {
				got.header.Del(h[0])
				head.header.Del(h[0])
			}
			if path == "/v1/status" { // it tells the time
				got.header.Del("Content-Length")
				head.header.Del("Content-Length")
			}
			for name, v := range got.header {
				if !slices.Equal(v, head.header[name]) {
					t.Errorf("%s: %s is %q under GET, %q under HEAD", path, name, v, head.header[name])
				}
			}
			if len(head.body) > 0 || head.status != got.status {
				t.Errorf("HEAD %s: %d with %d bytes", path, head.status, len(head.body))
			}
		}
	}
}

func TestOptionsTellsTheMethods(t *testing.T) {
	w := embedded(t)
	for path, want := range map[string]string{
		"/v1/territories":               "GET, HEAD, OPTIONS",
		"/v1/territories/commune-69266": "GET, HEAD, OPTIONS",
		"/v1/territories.geojson":       "GET, HEAD, OPTIONS",
		"/oauth/token":                  "OPTIONS, POST",
	} {
		a := w.anonymous.do(t, http.MethodOptions, path, nil)
		if a.status != http.StatusNoContent || a.header.Get("Allow") != want {
			t.Errorf("OPTIONS %s: %d, Allow %q, want %q", path, a.status, a.header.Get("Allow"), want)
		}
	}
	refused(t, w.anonymous.do(t, http.MethodOptions, "/v1/nowhere", nil), 404, "not_found")
}

func TestOtherOriginsMayReadErrorsIncluded(t *testing.T) {
	w := embedded(t)
	for _, path := range []string{"/v1", "/v1/nowhere", "/v1/territories?nope=1", "/v1/me"} {
		a := w.anonymous.get(t, path, header{"Origin", "https://example.org"})
		if a.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "ETag") || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	a := w.anonymous.do(t, http.MethodOptions, "/v1/territories", nil, header{"Origin", "https://example.org"}, header{"Access-Control-Request-Method", "GET"}, header{"Access-Control-Request-Headers", "authorization"})
	if a.header.Get("Access-Control-Allow-Methods") != "GET, HEAD, OPTIONS" || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %v", a.header)
	}
	a = w.anonymous.post(t, "/oauth/token", url.Values{}, header{"Origin", "https://example.org"})
	if a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("another origin may ask for tokens")
	}
}

func TestRefusalsAreProblems(t *testing.T) {
	w := embedded(t)
	long := "/v1/territories?q=" + strings.Repeat("a", 4100)
	for name, x := range map[string]struct {
		a      answer
		status int
		code   string
	}{
		"no such address":             {w.anonymous.get(t, "/v1/teritories"), 404, "not_found"},
		"no such resource":            {w.anonymous.get(t, "/v1/indicators/nope"), 404, "not_found"},
		"trailing slash":              {w.anonymous.get(t, "/v1/territories/"), 404, "not_found"},
		"outside":                     {w.anonymous.get(t, "/"), 404, "not_found"},
		"a double slash":              {w.anonymous.get(t, "/v1//territories"), 404, "not_found"},
		"a dot dot":                   {w.anonymous.get(t, "/docs/..%2f..%2fgo.mod"), 404, "not_found"},
		"wrong method":                {w.anonymous.do(t, "DELETE", "/v1/territories", nil), 405, "method_not_allowed"},
		"unheard-of method":           {w.anonymous.do(t, "BREW", "/v1/territories", nil), 405, "method_not_allowed"},
		"HEAD where there is no GET":  {w.anonymous.do(t, "GET", "/oauth/token", nil), 405, "method_not_allowed"},
		"format not served, suffix":   {w.anonymous.get(t, "/v1/territories.xlsx"), 406, "not_acceptable"},
		"format not served, Accept":   {w.anonymous.get(t, "/v1/territories", header{"Accept", "text/turtle"}), 406, "not_acceptable"},
		"format refused with q=0":     {w.anonymous.get(t, "/v1/territories", header{"Accept", "application/json;q=0, application/geo+json;q=0"}), 406, "not_acceptable"},
		"address too long":            {w.anonymous.get(t, long), 414, "uri_too_long"},
		"semicolon":                   {w.anonymous.get(t, "/v1/territories?type=commune;q=lyon"), 400, "malformed_query"},
		"bad escape":                  {w.anonymous.get(t, "/v1/territories?q=%zz"), 400, "malformed_query"},
		"not UTF-8":                   {w.anonymous.get(t, "/v1/territories?q=%ff"), 400, "malformed_query"},
		"unknown parameter":           {w.anonymous.get(t, "/v1/territories?tipe=commune"), 400, "unknown_parameter"},
		"parameter where none is":     {w.anonymous.get(t, "/v1?x=1"), 400, "unknown_parameter"},
		"too many parameters":         {w.anonymous.get(t, "/v1/territories?"+strings.Repeat("q=a&", 51)), 400, "malformed_query"},
		"too many values":             {w.anonymous.get(t, "/v1/territories?type="+strings.Repeat("a,", 500)), 400, "invalid_parameter"},
		"twice":                       {w.anonymous.get(t, "/v1/territories?q=a&q=b"), 400, "conflicting_parameters"},
		"empty":                       {w.anonymous.get(t, "/v1/territories?type="), 400, "invalid_parameter"},
		"limit of nothing":            {w.anonymous.get(t, "/v1/territories?limit=0"), 400, "invalid_parameter"},
		"limit of too much":           {w.anonymous.get(t, "/v1/territories?limit=1001"), 400, "invalid_parameter"},
		"limit in words":              {w.anonymous.get(t, "/v1/territories?limit=ten"), 400, "invalid_parameter"},
		"unknown code":                {w.anonymous.get(t, "/v1/territories?type=comune"), 422, "validation_failed"},
		"unknown territory":           {w.anonymous.get(t, "/v1/territories?within=commune-69999"), 422, "validation_failed"},
		"ambiguous code":              {w.anonymous.get(t, "/v1/territories?within=84"), 422, "validation_failed"},
		"bounds in the wrong order":   {w.anonymous.get(t, "/v1/territories?bbox=5,46,4,45"), 400, "invalid_parameter"},
		"everything exact":            {w.anonymous.get(t, "/v1/territories?geometry=full"), 400, "filter_required"},
		"credential in the address":   {w.anonymous.get(t, "/v1/me?access_token=abc"), 400, "invalid_parameter"},
		"credential in a public read": {w.anonymous.get(t, "/v1/territories?access_token=abc"), 400, "invalid_parameter"},
		"cursor made by hand":         {w.anonymous.get(t, "/v1/territories?cursor=abc"), 400, "invalid_cursor"},
		"the root":                    {w.anonymous.get(t, "/"), 404, "not_found"},
		"no token":                    {w.anonymous.get(t, "/v1/me"), 401, "missing_token"},
		"a forged token":              {w.organisation.with(w.organisation.token+"x").get(t, "/v1/me"), 401, "invalid_token"},
		"a forged token, public read": {w.organisation.with("nonsense").get(t, "/v1/territories"), 401, "invalid_token"},
		"another scheme":              {w.anonymous.get(t, "/v1/me", header{"Authorization", "Basic YTpi"}), 401, "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, x.a, x.status, x.code)
			p := x.a.json(t)
			if x.a.status != 401 && x.a.status != 404 && (p["detail"] == nil || p["hint"] == nil && p["errors"] == nil) {
				t.Errorf("nobody could mend this: %s", x.a.body)
			}
			if p["request_id"] != x.a.header.Get("X-Request-Id") {
				t.Error("the request id is not that of the header")
			}
			if x.status == 405 && !strings.Contains(x.a.header.Get("Allow"), "OPTIONS") {
				t.Errorf("Allow: %q", x.a.header.Get("Allow"))
			}
			if x.status == 401 && !strings.HasPrefix(x.a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate: %q", x.a.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestRefusalsSayWhatWasMeant(t *testing.T) {
	w := embedded(t)
	for path, want := range map[string]string{
		"/v1/teritories":                        "/v1/territories",
		"/v1/territories/":                      "/v1/territories",
		"/v1/Territories":                       "/v1/territories",
		"/v1/impact_types":                      "/v1/impact-types",
		"/territories":                          "/v1/territories",
		"/v1/indicator/jobs":                    "/v1/indicators/jobs",
		"/v1/territories?tipe=a":                "type",
		"/v1/indicators?impact_typ=a":           "impact_type",
		"/v1/territories?type=comune":           "commune",
		"/v1/indicators/insertion_hour":         "insertion_hours",
		"/v1/impact-types/insertion":            "inclusion.insertion",
		"/v1/code-lists/structure_kinds":        "structure_kind",
		"/v1/territories/commune-69003@2019x":   "@",
		"/v1/indicators?kind=flux&limit=100000": "limit",
	} {
		a := w.anonymous.get(t, path)
		if a.status < 400 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d, nothing about %s: %s", path, a.status, want, a.body)
		}
	}
	a := w.anonymous.get(t, "/v1/territories?tipe=commune&limit=0&vintag=2020")
	if n := len(a.json(t)["errors"].([]any)); n != 2 {
		t.Errorf("two unknown parameters, %d told: %s", n, a.body)
	}
}

func TestPeopleReadTheirLanguage(t *testing.T) {
	w := embedded(t)
	for accept, want := range map[string]string{
		"": "fr", "en": "en", "en-GB,en;q=0.9": "en", "fr-FR,fr;q=0.9,en;q=0.8": "fr", "de": "fr", "en;q=0.5, fr;q=0.4": "en", "en;q=x": "fr", "*": "fr",
	} {
		a := w.anonymous.get(t, "/v1/nowhere", header{"Accept-Language", accept})
		if got := a.header.Get("Content-Language"); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
		english := strings.Contains(string(a.body), "Not found")
		if english != (want == "en") {
			t.Errorf("%q: %s", accept, a.body)
		}
	}
}

func TestRequestIdIsTheClientsWhenItIsOne(t *testing.T) {
	w := embedded(t)
	if got := w.anonymous.get(t, "/v1", header{"X-Request-Id", "abc.DEF-1_2"}).header.Get("X-Request-Id"); got != "abc.DEF-1_2" {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"a b", strings.Repeat("a", 65), "é"} {
		if got := w.anonymous.get(t, "/v1", header{"X-Request-Id", bad}).header.Get("X-Request-Id"); got == bad || got == "" {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

func TestEachRequestIsLoggedOnceWithoutItsQuery(t *testing.T) {
	w := embedded(t)
	w.organisation.get(t, "/v1/territories?q=lyon", header{"X-Request-Id", "once"})
	w.server.Close() // the line is written after the answer
	log := w.log.String()
	if n := strings.Count(log, `"request_id":"once"`); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if strings.Contains(log, "lyon") || strings.Contains(log, w.organisation.token) || strings.Contains(log, w.organisation.secret) {
		t.Error("the log holds a query, a token or a secret")
	}
	if !strings.Contains(log, `"client":"`+w.organisation.id+`"`) {
		t.Error("the log does not tell who called")
	}
}

func TestWhatIsKnownIsNotSentAgain(t *testing.T) {
	w := embedded(t)
	for _, path := range []string{"/v1", "/v1/territories?type=commune", "/v1/indicators", "/openapi.json", "/docs", "/v1/problems", "/v1/territories/commune-69266", "/v1/code-lists"} {
		for _, encoding := range []string{"", "gzip"} {
			a := w.anonymous.get(t, path, header{"Accept-Encoding", encoding})
			tag := a.header.Get("ETag")
			if tag == "" || a.header.Get("Cache-Control") != "public, max-age=3600" {
				t.Errorf("%s: ETag %q, Cache-Control %q", path, tag, a.header.Get("Cache-Control"))
				continue
			}
			if encoding == "gzip" && (a.header.Get("Content-Encoding") != "gzip" && len(a.body) > 1024 || a.wire > len(a.body)) {
				t.Errorf("%s is not compressed: %v", path, a.header)
			}
			if a.header.Get("Content-Encoding") == "gzip" && !strings.HasPrefix(tag, "W/") && !strings.HasSuffix(tag, `-gzip"`) {
				t.Errorf("%s: strong tag %s of a compressed body", path, tag)
			}
			again := w.anonymous.get(t, path, header{"If-None-Match", `"other", ` + tag}, header{"Accept-Encoding", encoding})
			if again.status != http.StatusNotModified || len(again.body) > 0 || again.header.Get("ETag") == "" || again.header.Get("Cache-Control") == "" {
				t.Errorf("%s: %d with %d bytes", path, again.status, len(again.body))
			}
			if other := w.anonymous.get(t, path, header{"If-None-Match", `"other"`}); other.status != http.StatusOK {
				t.Errorf("%s with another tag: %d", path, other.status)
			}
		}
	}
	one := w.anonymous.get(t, "/v1/territories?type=commune").header.Get("ETag")
	for _, other := range []string{"/v1/territories?type=ctm", "/v1/territories.geojson?type=commune", "/v1/territories?type=commune&limit=1"} {
		if w.anonymous.get(t, other).header.Get("ETag") == one && !strings.Contains(other, "limit") {
			t.Errorf("%s has the tag of another answer", other)
		}
	}
	a, b := w.anonymous.get(t, "/v1/territories?type=commune&limit=1"), w.anonymous.get(t, "/v1/territories?type=commune&limit=2")
	if a.header.Get("ETag") == b.header.Get("ETag") {
		t.Error("two pages of different length bear one tag")
	}
}

func TestFormatIsChosen(t *testing.T) {
	w := embedded(t)
	for _, x := range []struct{ path, accept, want string }{
		{"/v1/territories", "", "application/json"},
		{"/v1/territories", "*/*", "application/json"},
		{"/v1/territories", "application/geo+json", "application/geo+json"},
		{"/v1/territories", "application/json;q=0.5, application/geo+json", "application/geo+json"},
		{"/v1/territories", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"},
		{"/v1/territories.geojson", "application/json", "application/geo+json"},
		{"/v1/territories/commune-69266.geojson", "", "application/geo+json"},
		{"/v1/territories", "application/json, application/problem+json", "application/json"},
		{"/v1/openapi.json", "text/html", "application/json"},
	} {
		a := w.anonymous.get(t, x.path, header{"Accept", x.accept})
		if got := a.header.Get("Content-Type"); a.status != 200 || !strings.HasPrefix(got, x.want) {
			t.Errorf("%s, Accept %q: %d %s, want %s", x.path, x.accept, a.status, got, x.want)
		}
	}
}

func TestAddressesComeFromThePublicBase(t *testing.T) {
	w := embedded(t)
	req, _ := w.anonymous.request(t, "GET", "/v1/territories?limit=2&type=commune", nil)
	req.Host = "evil.example"
	a := w.send(t, req)
	if strings.Contains(string(a.body), "evil.example") || a.at(t, "/links/self") != publicURL+"/v1/territories?limit=2&type=commune" {
		t.Errorf("%v", a.at(t, "/links"))
	}
	for _, m := range regexp.MustCompile(`"(http[^"]*)"`).FindAllStringSubmatch(string(a.body), -1) {
		if !strings.HasPrefix(m[1], publicURL) {
			t.Errorf("an address elsewhere: %s", m[1])
		}
	}
}

func TestEveryPageIsReadOnce(t *testing.T) {
	w := embedded(t)
	for _, path := range []string{"/v1/territories?limit=7", "/v1/indicators?limit=7", "/v1/territories?q=lyon&limit=1", "/v1/territories.geojson?type=commune&limit=7"} {
		seen := map[string]bool{}
		pages := map[string]bool{}
		for next := publicURL + path; next != ""; {
			if pages[next] {
				t.Fatalf("%s comes back", next)
			}
			pages[next] = true
			a := w.anonymous.get(t, strings.TrimPrefix(next, publicURL))
			if a.status != 200 {
				t.Fatalf("%s: %d %s", next, a.status, a.body)
			}
			data, ok := a.json(t)["data"].([]any)
			if !ok {
				data = a.json(t)["features"].([]any)
			}
			for _, row := range data {
				m := row.(map[string]any)
				id, _ := m["id"].(string)
				if id == "" {
					id = m["code"].(string)
				}
				if seen[id] && !strings.Contains(path, "q=") {
					t.Errorf("%s: %s twice", path, id)
				}
				seen[id] = true
			}
			link, _ := a.at(t, "/links/next").(string)
			if header := a.header.Get("Link"); (link == "") != (header == "") || link != "" && header != "<"+link+`>; rel="next"` {
				t.Errorf("Link %q, next %q", header, link)
			}
			next = link
		}
		whole := ids(t, w.anonymous.get(t, regexp.MustCompile(`limit=\d+`).ReplaceAllString(path, "limit=1000")))
		missing := slices.DeleteFunc(slices.Clone(whole), func(id string) bool { return seen[id] })
		if len(pages) < 2 || len(whole) == 0 || len(missing) > 0 {
			t.Errorf("%s: %d pages of %d rows miss %v", path, len(pages), len(whole), missing)
		}
	}
}

func TestCursorBelongsToItsQuery(t *testing.T) {
	w := embedded(t)
	next := w.anonymous.get(t, "/v1/territories?type=commune&limit=2").at(t, "/links/next").(string)
	u, err := url.Parse(next)
	must(t, err)
	cursor := u.Query().Get("cursor")
	refused(t, w.anonymous.get(t, "/v1/territories?type=ctm&cursor="+cursor), 400, "cursor_mismatch")
	refused(t, w.anonymous.get(t, "/v1/indicators?cursor="+cursor), 400, "cursor_mismatch")
	refused(t, w.anonymous.get(t, "/v1/territories?type=commune&cursor="+cursor[:len(cursor)-2]+"AA"), 400, "invalid_cursor")
	// Another order of the same parameters and another limit are the same query.
	if a := w.anonymous.get(t, "/v1/territories?cursor="+cursor+"&limit=5&type=commune"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestDocumentationAsksNothingOfOthers(t *testing.T) {
	w := embedded(t)
	a := w.anonymous.get(t, "/docs")
	if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") {
		t.Errorf("policy %q", csp)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(string(a.body), -1) {
		if !strings.HasPrefix(m[1], "/") {
			t.Errorf("the page loads %s", m[1])
			continue
		}
		if b := w.anonymous.get(t, m[1]); b.status != 200 {
			t.Errorf("%s: %d", m[1], b.status)
		}
	}
	if csp := w.anonymous.get(t, "/v1").header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy of the API %q", csp)
	}
}

func TestServiceTellsHowItIs(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		for _, path := range []string{"/livez", "/readyz", "/version", "/v1/status"} {
			if a := w.anonymous.get(t, path); a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v %s", path, a.status, a.header.Get("Cache-Control"), a.body)
			}
		}
		a := w.anonymous.get(t, "/v1")
		if a.at(t, "/limits/page_max").(interface{ String() string }).String() != "1000" || a.at(t, "/links/territories") != publicURL+"/v1/territories" {
			t.Errorf("%s", a.body)
		}
		for name, x := range w.callers() {
			if name == "anonymous" {
				continue
			}
			a := x.get(t, "/v1/me")
			if a.status != 200 || a.at(t, "/client_id") != x.id || a.header.Get("Cache-Control") != "private, no-store" || !strings.Contains(a.header.Get("Vary"), "Authorization") {
				t.Errorf("%s: %d %v %s", name, a.status, a.header, a.body)
			}
		}
	})
}

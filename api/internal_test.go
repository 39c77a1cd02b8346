package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

// thing is a small writable resource, to try what handlers share.
type thing struct {
	Name  string            `json:"name"`
	Count int               `json:"count"`
	Value Scalar            `json:"value"`
	Tags  []string          `json:"tags"`
	Part  part              `json:"part"`
	Parts []part            `json:"parts"`
	Maybe *string           `json:"maybe"`
	Open  map[string]Scalar `json:"open"`
	Done  bool              `json:"done"`
}

type part struct {
	Code string `json:"code"`
}

func TestBodyIsReadStrictly(t *testing.T) {
	deep := strings.Repeat(`[`, 33) + strings.Repeat(`]`, 33)
	for name, x := range map[string]struct {
		body string
		want []string // "code pointer" of each fault; or "400"
	}{
		"fits":                       {`{"name":"a","count":2,"value":1840.50,"tags":["x"],"part":{"code":"c"},"open":{"a":1e3},"done":true}`, nil},
		"null is no value":           {`{"name":null,"value":null,"tags":null,"part":null,"maybe":null}`, nil},
		"unknown member":             {`{"nam":"a"}`, []string{"unknown_member /nam"}},
		"another case":               {`{"Name":"a"}`, []string{"unknown_member /Name"}},
		"unknown, inside":            {`{"parts":[{"code":"a"},{"cod":"b"}]}`, []string{"unknown_member /parts/1/cod"}},
		"twice":                      {`{"name":"a","name":"b"}`, []string{"duplicate_member /name"}},
		"twice in an open map":       {`{"open":{"a":1,"a":2}}`, []string{"duplicate_member /open/a"}},
		"everything at once":         {`{"nam":"a","count":"2","value":"3","tags":{},"part":[],"done":1}`, []string{"unknown_member /nam", "invalid_type /count", "invalid_type /value", "invalid_type /tags", "invalid_type /part", "invalid_type /done"}},
		"half a number of things":    {`{"count":1.5}`, []string{"invalid_number /count"}},
		"too many things":            {`{"count":99999999999999999999}`, []string{"invalid_number /count"}},
		"strange names":              {`{"a/b~c":1}`, []string{"unknown_member /a~1b~0c"}},
		"a list":                     {`[]`, []string{"invalid_type "}},
		"a number":                   {`1`, []string{"invalid_type "}},
		"nothing":                    {``, []string{"400"}},
		"spaces":                     {"  \n", []string{"400"}},
		"cut":                        {`{"name":"a"`, []string{"400"}},
		"followed by another":        {`{"name":"a"}{}`, []string{"400"}},
		"followed by words":          {`{"name":"a"} x`, []string{"400"}},
		"not UTF-8":                  {"{\"name\":\"\xff\"}", []string{"400"}},
		"a mark of byte order":       {"\uFEFF{}", []string{"400"}},
		"comma at the end":           {`{"name":"a",}`, []string{"400"}},
		"not a number":               {`{"value":NaN}`, []string{"400"}},
		"a plus":                     {`{"value":+1}`, []string{"400"}},
		"a zero before":              {`{"value":01}`, []string{"400"}},
		"too deep":                   {`{"open":` + deep + `}`, []string{"400"}},
		"brackets in a text are not": {`{"name":"` + strings.Repeat("[", 100) + `"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var v thing
			err := decodeJSON([]byte(x.body), &v)
			var got []string
			if e, ok := errors.AsType[*impact.Error](err); ok {
				if e.Kind == impact.Malformed {
					got = []string{"400"}
				}
				for _, f := range e.Faults {
					if e.Kind == impact.Invalid {
						got = append(got, string(f.Code)+" "+f.Pointer)
						if _, known := impact.FaultCodes[f.Code]; !known {
							t.Errorf("%s is not in the closed list", f.Code)
						}
						if f.Detail.FR == "" || f.Detail.EN == "" || f.Hint.FR == "" || f.Hint.EN == "" {
							t.Errorf("nobody could mend %+v", f)
						}
					}
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(x.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDigitsAreKept(t *testing.T) {
	var v thing
	if err := decodeJSON([]byte(`{"value":123456789012.123456,"open":{"a":0.10,"b":true}}`), &v); err != nil {
		t.Fatal(err)
	}
	if v.Value.Text != "123456789012.123456" || v.Open["a"].Text != "0.10" || v.Open["b"].Text != "true" {
		t.Errorf("%+v", v)
	}
}

func TestUnknownMemberSuggestsTheNearest(t *testing.T) {
	var v thing
	e, _ := errors.AsType[*impact.Error](decodeJSON([]byte(`{"nmae":"a"}`), &v))
	if e == nil || len(e.Faults) != 1 || e.Faults[0].Suggestion != "name" {
		t.Errorf("%+v", e)
	}
}

func TestMergePatchFollowsRFC7396(t *testing.T) {
	before := thing{Name: "a", Count: 2, Value: Scalar{Text: "1.50"}, Tags: []string{"x", "y"}, Part: part{Code: "c"}}
	for body, want := range map[string]thing{
		`{}`:                    before,
		`{"name":"b"}`:          {Name: "b", Count: 2, Value: Scalar{Text: "1.50"}, Tags: []string{"x", "y"}, Part: part{Code: "c"}},
		`{"name":null}`:         {Count: 2, Value: Scalar{Text: "1.50"}, Tags: []string{"x", "y"}, Part: part{Code: "c"}},
		`{"tags":["z"]}`:        {Name: "a", Count: 2, Value: Scalar{Text: "1.50"}, Tags: []string{"z"}, Part: part{Code: "c"}},
		`{"part":{"code":"d"}}`: {Name: "a", Count: 2, Value: Scalar{Text: "1.50"}, Tags: []string{"x", "y"}, Part: part{Code: "d"}},
		`{"value":2.00}`:        {Name: "a", Count: 2, Value: Scalar{Text: "2.00"}, Tags: []string{"x", "y"}, Part: part{Code: "c"}},
	} {
		got, err := mergePatch[thing]{[]byte(body)}.apply(before)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		ignoreEmpty := cmp.Transformer("", func(s []string) string { return strings.Join(s, ",") })
		noParts := cmp.FilterPath(func(p cmp.Path) bool { f := p.Last().String(); return f == ".Parts" || f == ".Open" }, cmp.Ignore())
		if diff := cmp.Diff(want, got, ignoreEmpty, noParts); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
}

func TestIfMatchReadsOurTags(t *testing.T) {
	for h, want := range map[string]int{
		`"v7"`: 7, `"v7-gzip"`: 7, `W/"v7"`: 7, `"v7", "v7-gzip"`: 7,
		``: -428, `*`: -428, `"v8", "v7"`: -400, `v`: -400, `"7"`: -400, `"v0"`: -400, `"v-1"`: -400, `"release"`: -400,
	} {
		r := httptest.NewRequest(http.MethodPatch, "/", nil)
		if h != "" {
			r.Header.Set("If-Match", h)
		}
		got, err := (&call{r: r}).ifMatch()
		if err != nil {
			e, _ := errors.AsType[*impact.Error](err)
			got = -problemKinds[e.Code].Status
		}
		if got != want {
			t.Errorf("%s: %d, want %d", h, got, want)
		}
	}
}

func TestQueryKeepsWhatWasWritten(t *testing.T) {
	q, err := parseQuery(`a=x,y&a=%22b%2Cc%22,d&b=1+2&disaggregation.sex=F`, []string{"a", "b", "disaggregation.*"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"x", "y"}, {"b,c", "d"}}, q.all("a")); diff != "" {
		t.Error(diff)
	}
	if q.one("b") != "1 2" || !q.has("disaggregation.sex") {
		t.Errorf("%+v", q)
	}
	if _, err := parseQuery("disaggregation.=F", []string{"disaggregation.*"}); err == nil {
		t.Error("a name that is only a beginning is accepted")
	}
}

// every problem code has a status, and only they.
func TestProblemCodesAreTheClosedList(t *testing.T) {
	if diff := cmp.Diff(slices.Sorted(maps.Keys(impact.ProblemCodes)), slices.Sorted(maps.Keys(problemKinds))); diff != "" {
		t.Error(diff)
	}
	for k := impact.Internal; k <= impact.Busy; k++ {
		if _, ok := problemKinds[codeOfKind(k)]; !ok {
			t.Errorf("kind %d has no problem", k)
		}
	}
}

type refuser struct{}

func (refuser) Verify(context.Context, string) (impact.Principal, error) {
	return impact.Principal{}, &impact.Error{Kind: impact.Unauthenticated, Code: "invalid_token"}
}

// small is an API with routes of its own.
func small(t *testing.T, routes ...Route) (*httptest.Server, *bytes.Buffer) {
	t.Helper()
	catalogue, err := impact.NewCatalogue(impact.Reference{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	h, err := serve(Config{
		PublicURL: "https://retombees.example", Now: time.Now, NewID: func() string { return "made" }, Log: slog.New(slog.NewTextHandler(&log, nil)),
		CursorKey: make([]byte, 32), Catalogue: catalogue, Verifier: refuser{},
	}, routes)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s, &log
}

// got is what a test looks at in an answer.
type got struct {
	StatusCode int
	Header     http.Header
}

func do(t *testing.T, method, url, body string, header ...string) (got, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableCompression: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		b = append(b, " (broken)"...)
	}
	return got{resp.StatusCode, resp.Header}, string(b)
}

func TestPanicIsOursAndLoggedOnce(t *testing.T) {
	s, log := small(t, Route{Method: "GET", Path: "/boom", Access: public, handle: func(*server, *call) error { panic("the secret of the house") }})
	resp, body := do(t, "GET", s.URL+"/boom", "", "X-Request-Id", "mine")
	s.Close()
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(body, `"code":"internal_error"`) || strings.Contains(body, "secret") || !strings.Contains(resp.Header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if n := strings.Count(log.String(), "the secret of the house"); n != 1 || !strings.Contains(log.String(), "internal_test.go") || !strings.Contains(log.String(), "request_id=mine") {
		t.Errorf("logged %d times: %s", n, log)
	}
}

func TestErrorsWithoutKindAreOurs(t *testing.T) {
	s, log := small(t,
		Route{Method: "GET", Path: "/wrong", Access: public, handle: func(*server, *call) error { return errors.New("pq: relation secret") }},
		Route{Method: "GET", Path: "/late", Access: public, handle: func(*server, *call) error { return context.DeadlineExceeded }})
	resp, body := do(t, "GET", s.URL+"/wrong", "")
	if resp.StatusCode != http.StatusInternalServerError || strings.Contains(body, "secret") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body := do(t, "GET", s.URL+"/late", ""); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "query_timeout") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	s.Close()
	if n := strings.Count(log.String(), "pq: relation secret"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestStreamThatFailsBreaks(t *testing.T) {
	s, log := small(t, Route{Method: "GET", Path: "/rows", Access: public, handle: func(_ *server, c *call) error {
		return c.stream("application/x-ndjson", func(w io.Writer) error {
			for range 20_000 { // more than buffers hold, and nothing to compress
				if _, err := io.WriteString(w, rand.Text()+"\n"); err != nil {
					return err
				}
			}
			return errors.New("the database went away")
		})
	}})
	for _, encoding := range []string{"identity", "gzip"} {
		resp, body := do(t, "GET", s.URL+"/rows", "", "Accept-Encoding", encoding)
		if resp.StatusCode != http.StatusOK || !strings.HasSuffix(body, "(broken)") || strings.Contains(body, "went away") {
			t.Errorf("%s: %d, %d bytes, …%q", encoding, resp.StatusCode, len(body), body[max(0, len(body)-40):])
		}
	}
	s.Close()
	if n := strings.Count(log.String(), "went away"); n != 2 {
		t.Errorf("two failures, logged %d times", n)
	}
}

func TestBodiesAreBoundedAndTyped(t *testing.T) {
	s, _ := small(t,
		Route{Method: "POST", Path: "/things", Access: public, MaxBody: 1 << 10, handle: func(_ *server, c *call) error {
			v, err := decode[thing](c)
			if err != nil {
				return err
			}
			return c.answer(201, v)
		}},
		Route{Method: "PATCH", Path: "/things", Access: public, handle: func(_ *server, c *call) error {
			p, err := decodePatch[thing](c)
			if err != nil {
				return err
			}
			v, err := p.apply(thing{Name: "a"})
			if err != nil {
				return err
			}
			return c.answer(200, v)
		}})
	json := []string{"Content-Type", "application/json"}
	for name, x := range map[string]struct {
		method, body string
		header       []string
		status       int
		code         string
	}{
		"fits":               {"POST", `{"name":"a"}`, json, 201, ""},
		"with a charset":     {"POST", `{"name":"a"}`, []string{"Content-Type", "application/json; charset=UTF-8"}, 201, ""},
		"too large":          {"POST", `{"name":"` + strings.Repeat("a", 2000) + `"}`, json, 413, "body_too_large"},
		"a form":             {"POST", `name=a`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"},
		"of no type":         {"POST", `{}`, nil, 415, "unsupported_media_type"},
		"in Latin-1":         {"POST", `{}`, []string{"Content-Type", "application/json; charset=latin1"}, 415, "unsupported_media_type"},
		"compressed":         {"POST", `{}`, append(slices.Clone(json), "Content-Encoding", "gzip"), 415, "unsupported_media_type"},
		"wrong":              {"POST", `{"nam":1}`, json, 422, "validation_failed"},
		"unreadable":         {"POST", `{`, json, 400, "malformed_body"},
		"a patch":            {"PATCH", `{"name":null}`, []string{"Content-Type", "application/merge-patch+json"}, 200, ""},
		"a patch, plain":     {"PATCH", `{"name":"b"}`, json, 200, ""},
		"a patch, wrong":     {"PATCH", `{"nam":null}`, json, 422, "validation_failed"},
		"a patch, not one":   {"PATCH", `null`, json, 422, "validation_failed"},
		"a JSON Patch":       {"PATCH", `[]`, []string{"Content-Type", "application/json-patch+json"}, 415, "unsupported_media_type"},
		"a method not there": {"PUT", `{}`, json, 405, "method_not_allowed"},
	} {
		resp, body := do(t, x.method, s.URL+"/things", x.body, x.header...)
		if resp.StatusCode != x.status || x.code != "" && !strings.Contains(body, `"code":"`+x.code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", name, resp.StatusCode, body, x.status, x.code)
		}
		if x.status == 415 && resp.Header.Get("Accept-Post")+resp.Header.Get("Accept-Patch") == "" {
			t.Errorf("%s: nothing says what is accepted", name)
		}
		if x.status == 405 && resp.Header.Get("Allow") != "OPTIONS, PATCH, POST" {
			t.Errorf("%s: Allow %q", name, resp.Header.Get("Allow"))
		}
	}
	// A body whose length is not told is bounded too.
	r, _ := http.NewRequest(http.MethodPost, s.URL+"/things", io.MultiReader(strings.NewReader(`{"name":"`), strings.NewReader(strings.Repeat("a", 5000))))
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("chunked: %d", resp.StatusCode)
	}
}

func TestCompressedAnswersBearTheirOwnTag(t *testing.T) {
	s, _ := small(t, Route{Method: "GET", Path: "/thing", Access: public, handle: func(_ *server, c *call) error {
		if c.fresh(versionTag(7)) {
			return nil
		}
		return c.answer(200, thing{Name: strings.Repeat("a", 5000)})
	}})
	resp, body := do(t, "GET", s.URL+"/thing", "", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || len(b) < 5000 || resp.Header.Get("ETag") != `"v7-gzip"` {
		t.Errorf("%v, %d bytes, ETag %s", err, len(b), resp.Header.Get("ETag"))
	}
	if resp, _ := do(t, "GET", s.URL+"/thing", ""); resp.Header.Get("ETag") != `"v7"` || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("%v", resp.Header)
	}
	for _, tag := range []string{`"v7"`, `"v7-gzip"`, `W/"v7"`} {
		if resp, _ := do(t, "GET", s.URL+"/thing", "", "If-None-Match", tag); resp.StatusCode != http.StatusNotModified {
			t.Errorf("%s: %d", tag, resp.StatusCode)
		}
	}
}

func TestScopesOpenRoutes(t *testing.T) {
	route := Route{Method: "GET", Path: "/x", Access: scope(impact.ObservationsRead), handle: func(_ *server, c *call) error { return c.answer(200, c.principal.Client) }}
	catalogue, err := impact.NewCatalogue(impact.Reference{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := serve(Config{PublicURL: "https://retombees.example", Now: time.Now, NewID: func() string { return "made" }, Log: slog.New(slog.DiscardHandler), CursorKey: make([]byte, 32), Catalogue: catalogue, Verifier: tokens{
		"reads": {Client: "reads", Role: impact.RoleOrganisation, Scopes: []impact.Scope{impact.ObservationsRead}},
		"other": {Client: "other", Role: impact.RoleOrganisation, Scopes: []impact.Scope{impact.ObservationsWrite}},
		"none":  {Client: "none", Role: impact.RoleAdministrator},
	}}, []Route{route})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"reads": 200, "other": 403, "none": 403, "nobody": 401, "": 401} {
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		if token != "" {
			r.Header.Set("Authorization", "bearer "+token)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("%q: %d, want %d", token, rec.Code, want)
		}
		if want == 403 && !strings.Contains(rec.Header().Get("WWW-Authenticate"), `scope="observations.read"`) {
			t.Errorf("%q: %v", token, rec.Header())
		}
	}
}

type tokens map[string]impact.Principal

func (k tokens) Verify(ctx context.Context, token string) (impact.Principal, error) {
	if p, ok := k[token]; ok {
		return p, nil
	}
	return refuser{}.Verify(ctx, token)
}

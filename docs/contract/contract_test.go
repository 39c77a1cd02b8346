package contract

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixture is the document that cmd/openapi makes of its own small example.
func fixture(t testing.TB) *Validator {
	t.Helper()
	document, err := os.ReadFile("../../cmd/openapi/testdata/fixture.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(document)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const (
	thing   = `{"id":"t1","label":{"fr":"un","en":"one"},"value":1.5,"status":"A","reason":null,"parent":null,"kind":"big","seen":"2026-11-25T10:00:00.000Z"}`
	problem = `{"type":"/v1/problems/not_found","status":404,"code":"not_found"}`
)

func TestExchanges(t *testing.T) {
	page := `{"data":[` + thing + `],"meta":{"total":1}}`
	for name, c := range map[string]struct {
		method, target, contentType, request string
		status                               int
		answerType, answer                   string
		fault                                string // part of the fault; empty where the exchange is in order
	}{
		"a page":                      {method: "GET", target: "/v1/things?kind=big,small&limit=5", status: 200, answerType: "application/json; charset=utf-8", answer: page},
		"no value":                    {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: strings.Replace(page, "1.5", "null", 1)},
		"a null enum":                 {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: strings.Replace(page, `"big"`, "null", 1)},
		"a nullable reference":        {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: strings.Replace(page, `"parent":null`, `"parent":{"id":"p"}`, 1)},
		"csv":                         {method: "GET", target: "/v1/things", status: 200, answerType: "text/csv; charset=utf-8", answer: "id;label\n"},
		"a format suffix":             {method: "GET", target: "/v1/things.fr.csv", status: 200, answerType: "text/csv", answer: "id;label\n"},
		"not modified":                {method: "GET", target: "/v1/things", status: 304},
		"head":                        {method: "HEAD", target: "/v1/things", status: 200, answerType: "application/json"},
		"options":                     {method: "OPTIONS", target: "/v1/things", status: 204},
		"a problem":                   {method: "GET", target: "/v1/things?limit=0", status: 400, answerType: "application/problem+json", answer: problem},
		"unknown path":                {method: "GET", target: "/v1/thing", status: 404, answerType: "application/problem+json", answer: problem},
		"unknown method":              {method: "DELETE", target: "/v1/things", status: 405, answerType: "application/problem+json", answer: problem},
		"a write":                     {method: "PUT", target: "/v1/things/t1", contentType: "application/json", request: thing, status: 200, answerType: "application/json", answer: thing},
		"a refused write":             {method: "PUT", target: "/v1/things/t1", contentType: "application/json", request: `{`, status: 409, answerType: "application/problem+json", answer: problem},
		"a form":                      {method: "POST", target: "/oauth/token", contentType: "application/x-www-form-urlencoded", request: "grant_type=client_credentials", status: 200, answerType: "application/json", answer: `{"id":"x"}`},
		"an error of OAuth":           {method: "POST", target: "/oauth/token", contentType: "application/x-www-form-urlencoded", request: "grant_type=x", status: 400, answerType: "application/json", answer: `{"id":"x"}`},
		"undocumented path":           {method: "GET", target: "/v1/other", status: 200, answerType: "application/json", answer: `{}`, fault: "no such path"},
		"undocumented status":         {method: "GET", target: "/v1/things", status: 206, answerType: "application/json", answer: page, fault: "documents no status 206"},
		"undocumented media type":     {method: "GET", target: "/v1/things", status: 200, answerType: "text/html", answer: "<p>", fault: `"text/html" is not documented`},
		"undocumented member":         {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: strings.Replace(page, `"id"`, `"secret":1,"id"`, 1), fault: "secret"},
		"missing member":              {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: `{"data":[]}`, fault: "meta"},
		"null where there is a value": {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: strings.Replace(page, `"t1"`, "null", 1), fault: "null"},
		"value out of the enum":       {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: strings.Replace(page, `"A"`, `"Z"`, 1), fault: "schema"},
		"bad date":                    {method: "GET", target: "/v1/things", status: 200, answerType: "application/json", answer: strings.Replace(page, "2026-11-25T10:00:00.000Z", "yesterday", 1), fault: "date-time"},
		"an error that is not one":    {method: "GET", target: "/v1/things", status: 404, answerType: "application/json", answer: problem, fault: "application/problem+json"},
		"unknown path as text":        {method: "GET", target: "/v1/other", status: 404, answerType: "text/plain", answer: "404", fault: "application/problem+json"},
		"unknown path, poor problem":  {method: "GET", target: "/v1/other", status: 404, answerType: "application/problem+json", answer: `{}`, fault: "schema"},
		"accepted parameter":          {method: "GET", target: "/v1/things?colour=red", status: 200, answerType: "application/json", answer: page, fault: "undocumented parameters: colour"},
		"accepted bad parameter":      {method: "GET", target: "/v1/things?limit=0", status: 200, answerType: "application/json", answer: page, fault: "limit"},
		"accepted bad body":           {method: "PUT", target: "/v1/things/t1", contentType: "application/json", request: `{"id":1}`, status: 200, answerType: "application/json", answer: thing, fault: "accepted a request"},
		"accepted without body":       {method: "PUT", target: "/v1/things/t1", contentType: "application/json", status: 200, answerType: "application/json", answer: thing, fault: "accepted a request"},
		"accepted other media type":   {method: "PUT", target: "/v1/things/t1", contentType: "text/plain", request: "x", status: 200, answerType: "application/json", answer: thing, fault: "accepted a request"},
		"a body for nothing":          {method: "PUT", target: "/v1/things/t1", contentType: "application/json", request: thing, status: 204, answerType: "application/json", answer: thing, fault: "none is documented"},
		"nothing for a body":          {method: "GET", target: "/v1/things", status: 200, fault: "no body"},
		"head with a body":            {method: "HEAD", target: "/v1/things", status: 200, answerType: "application/json", answer: page, fault: "HEAD has a body"},
	} {
		t.Run(name, func(t *testing.T) {
			v := fixture(t)
			req, err := http.NewRequest(c.method, "http://127.0.0.1:43210"+c.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			header := http.Header{}
			if c.answerType != "" {
				header.Set("Content-Type", c.answerType)
			}
			err = v.check(req, []byte(c.request), c.status, header, []byte(c.answer))
			switch {
			case c.fault == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.fault != "" && err == nil:
				t.Errorf("passed, want a fault with %q", c.fault)
			case c.fault != "" && !strings.Contains(err.Error(), c.fault):
				t.Errorf("fault %q, want one with %q", err, c.fault)
			}
		})
	}
}

func TestOperationsAreThoseOfTheDocument(t *testing.T) {
	want := []Operation{{"POST", "/oauth/token"}, {"GET", "/v1/things"}, {"PUT", "/v1/things/{id}"}}
	if diff := cmp.Diff(want, fixture(t).Operations()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestThePublishedDocumentLoads(t *testing.T) {
	if _, err := Load(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkCheck(b *testing.B) {
	v := fixture(b)
	body := []byte(`{"data":[` + strings.Repeat(thing+",", 59) + thing + `],"meta":{"total":60}}`)
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/v1/things", nil)
	if err != nil {
		b.Fatal(err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	for b.Loop() {
		v.Check(b, req, nil, http.StatusOK, header, body)
	}
}

// Package contract holds tests of the API to the published document: each exchange must be one that the document
// describes. Only tests import it.
package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/grandlyon/retombees/docs"
)

const problemType = "application/problem+json"

// Validator checks exchanges against one document. It may be used by several tests at once.
type Validator struct {
	doc     *openapi3.T
	router  routers.Router
	problem *openapi3.Schema
}

// Operation is one method of one path, as the document writes it: "GET", "/v1/territories/{id}".
type Operation struct {
	Method, Path string
}

// Load reads the published document.
func Load() (*Validator, error) { return New(docs.OpenAPIJSON) }

// New reads a document. Where the document lists the members of an object, a member that is not listed is a fault of the
// exchange: clients ignore what they do not know, but a test must not let it pass undocumented.
func New(document []byte) (*Validator, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("loading the contract: %w", err)
	}
	// The router matches on the path alone: tests listen on ports of their own.
	doc.Servers = nil
	v := &Validator{doc: doc}
	for _, ref := range doc.Components.Schemas {
		closeObjects(ref.Value)
	}
	if ref := doc.Components.Schemas["Problem"]; ref != nil {
		v.problem = ref.Value
	}
	if v.router, err = gorillamux.NewRouter(doc); err != nil {
		return nil, fmt.Errorf("routing the contract: %w", err)
	}
	return v, nil
}

// Operations lists what the document describes, sorted, for the test that compares it with the routes.
func (v *Validator) Operations() []Operation {
	var all []Operation
	for path, item := range v.doc.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, Operation{method, path})
		}
	}
	slices.SortFunc(all, func(a, b Operation) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return all
}

// Check fails the test if the exchange is not one that the document describes: its path and method, its status, its media
// type, its body, and, where the server accepted it, its request. HEAD is read as the GET it stands for; OPTIONS is not
// described. An unknown path or method is in order when the answer is a problem document that says so. reqBody and body
// are the bytes that went over the wire, after any content coding.
func (v *Validator) Check(t testing.TB, req *http.Request, reqBody []byte, status int, header http.Header, body []byte) {
	t.Helper()
	if err := v.check(req, reqBody, status, header, body); err != nil {
		t.Errorf("%s %s → %d is not what the contract says: %v", req.Method, req.URL.RequestURI(), status, err)
	}
}

func (v *Validator) check(req *http.Request, reqBody []byte, status int, header http.Header, body []byte) error {
	if req.Method == http.MethodOptions {
		return nil
	}
	described := req.Clone(context.Background())
	if req.Method == http.MethodHead {
		described.Method = http.MethodGet
		if len(body) > 0 {
			return fmt.Errorf("the answer to HEAD has a body of %d bytes", len(body))
		}
	}
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil && header.Get("Content-Type") != "" {
		return fmt.Errorf("unreadable Content-Type %q: %w", header.Get("Content-Type"), err)
	}
	route, parameters, err := v.find(described)
	if err != nil {
		return v.checkUndescribed(req.Method, status, mediaType, body)
	}
	response := route.Operation.Responses.Status(status)
	if response == nil {
		return fmt.Errorf("%s %s documents no status %d", route.Method, route.Path, status)
	}
	if err := checkMediaType(response.Value, req.Method, mediaType, body); err != nil {
		return err
	}
	described.Body = io.NopCloser(bytes.NewReader(reqBody))
	described.ContentLength = int64(len(reqBody))
	request := &openapi3filter.RequestValidationInput{
		Request: described, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
			MultiError:         true,
			// The request is one that was sent; defaults are the server's business.
			SkipSettingDefaults: true,
			// Files and texts have no schema to be held to.
			ExcludeRequestBody: len(reqBody) > 0 && !isJSON(described.Header.Get("Content-Type")),
		},
	}
	// A refused request may break the contract: that is why it was refused.
	if status < 400 {
		if err := checkParameterNames(route, described.URL.Query()); err != nil {
			return err
		}
		if err := checkRequestType(route.Operation.RequestBody, described, reqBody); err != nil {
			return err
		}
		if err := openapi3filter.ValidateRequest(context.Background(), request); err != nil {
			return fmt.Errorf("accepted a request that the contract does not describe: %w", err)
		}
	}
	if req.Method == http.MethodHead || !isJSON(mediaType) || strings.HasSuffix(req.URL.Path, ".jsonstat.json") {
		return nil // JSON-stat has the media type of JSON and a schema of its own
	}
	return v.checkBody(response.Value.Content[mediaType], body)
}

// find routes a request; a format suffix (aggregates.csv, aggregates.fr.csv) stands for the resource without it.
func (v *Validator) find(req *http.Request) (*routers.Route, map[string]string, error) {
	for {
		route, parameters, err := v.router.FindRoute(req)
		dot, slash := strings.LastIndexByte(req.URL.Path, '.'), strings.LastIndexByte(req.URL.Path, '/')
		if err == nil || dot < slash {
			return route, parameters, err
		}
		req.URL.Path, req.URL.RawPath = req.URL.Path[:dot], ""
	}
}

func checkParameterNames(route *routers.Route, query url.Values) error {
	var unknown []string
	for name := range query {
		if route.Operation.Parameters.GetByInAndName("query", name) == nil && route.PathItem.Parameters.GetByInAndName("query", name) == nil {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("accepted undocumented parameters: %s", strings.Join(unknown, ", "))
}

func checkRequestType(body *openapi3.RequestBodyRef, req *http.Request, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	mediaType, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if body == nil || body.Value.Content[mediaType] == nil {
		return fmt.Errorf("accepted a request body that is not documented (%q)", mediaType)
	}
	return nil
}

func (v *Validator) checkUndescribed(method string, status int, mediaType string, body []byte) error {
	if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		return fmt.Errorf("no such path or method in the document")
	}
	if mediaType != problemType {
		return fmt.Errorf("an error is %s, not %q", problemType, mediaType)
	}
	if v.problem == nil || method == http.MethodHead {
		return nil
	}
	return visit(v.problem, body)
}

func checkMediaType(response *openapi3.Response, method, mediaType string, body []byte) error {
	documented := make([]string, 0, len(response.Content))
	for name := range response.Content {
		documented = append(documented, name)
	}
	slices.Sort(documented)
	switch {
	case len(documented) == 0 && len(body) > 0:
		return fmt.Errorf("a body of %d bytes (%s) where none is documented", len(body), mediaType)
	case len(documented) == 0:
		return nil
	case mediaType == "" && len(body) == 0 && method != http.MethodHead:
		return fmt.Errorf("no body where %s is documented", strings.Join(documented, " or "))
	case !slices.Contains(documented, mediaType):
		return fmt.Errorf("%q is not documented, %s is", mediaType, strings.Join(documented, " or "))
	}
	return nil
}

func (v *Validator) checkBody(content *openapi3.MediaType, body []byte) error {
	if content == nil || content.Schema == nil || content.Schema.Value.Format == "binary" {
		return nil // a file, whatever it holds
	}
	return visit(content.Schema.Value, body)
}

func visit(schema *openapi3.Schema, body []byte) error {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	if err := schema.VisitJSON(value, openapi3.MultiErrors(), openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()); err != nil {
		return fmt.Errorf("the body is not of its schema: %w\n%s", err, excerpt(body))
	}
	return nil
}

func excerpt(body []byte) []byte {
	const enough = 2000
	if len(body) > enough {
		return append(bytes.Clone(body[:enough]), "…"...)
	}
	return body
}

func isJSON(contentType string) bool {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	return mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}

// closeObjects forbids members that a schema does not list, in the schema and those written within it; references are
// closed where they are defined.
func closeObjects(schema *openapi3.Schema) {
	if schema == nil {
		return
	}
	if len(schema.Properties) > 0 && len(schema.AllOf) == 0 && schema.AdditionalProperties.Has == nil && schema.AdditionalProperties.Schema == nil {
		no := false
		schema.AdditionalProperties.Has = &no
	}
	for _, ref := range schema.Properties {
		closeInline(ref)
	}
	closeInline(schema.Items)
	closeInline(schema.AdditionalProperties.Schema)
	for _, ref := range slices.Concat(schema.AnyOf, schema.OneOf) {
		closeInline(ref)
	}
}

func closeInline(ref *openapi3.SchemaRef) {
	if ref != nil && ref.Ref == "" {
		closeObjects(ref.Value)
	}
}

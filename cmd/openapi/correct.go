package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	schemaPrefix = "#/components/schemas/"
	problemType  = "application/problem+json"
)

var operationIDForm = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)

// correct turns what Swagger 2.0 could say into what the API does: OpenAPI 3.1, problem documents for errors, a schema
// that fits each media type, null as a type, bearer tokens. It reports everything an annotation forgot, all at once.
func correct(document object) error {
	document["openapi"] = "3.1.0"
	for _, s := range list(document["servers"]) {
		server := s.(object)
		server["url"] = strings.TrimSuffix(server["url"].(string), "/")
	}
	components := member(document, "components")
	errs := []error{renameSchemas(document, components)}
	correctSecurity(components)

	var tags []string
	for _, t := range list(document["tags"]) {
		tags = append(tags, t.(object)["name"].(string))
	}
	seen := map[string]bool{}
	for path, methods := range member(document, "paths") {
		for method, o := range methods.(object) {
			operation, ok := o.(object)
			if !ok || method == "parameters" {
				continue
			}
			if err := correctOperation(path, operation, tags); err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", strings.ToUpper(method), path, err))
			}
			if id, _ := operation["operationId"].(string); seen[id] {
				errs = append(errs, fmt.Errorf("%s %s: @ID %s is taken by another operation", strings.ToUpper(method), path, id))
			} else {
				seen[id] = true
			}
		}
	}
	alternatives(document, member(components, "schemas"))
	for _, schema := range member(components, "schemas") {
		correctSchema(schema)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return errors.Join(errs...)
}

// renameSchemas takes the Go packages out of schema names: api.Observation is Observation, api.Page-api_Need is PageOfNeed.
func renameSchemas(document, components object) error {
	schemas := member(components, "schemas")
	renamed, origin := object{}, map[string]string{}
	for name, schema := range schemas {
		short := schemaName(name)
		if other, taken := origin[short]; taken {
			return fmt.Errorf("two types would be called %s: %s and %s (give one a `// @name`)", short, min(name, other), max(name, other))
		}
		origin[short] = name
		renamed[short] = schema
	}
	components["schemas"] = renamed
	walk(document, func(o object) {
		if ref, ok := o["$ref"].(string); ok {
			if name, ok := strings.CutPrefix(ref, schemaPrefix); ok {
				o["$ref"] = schemaPrefix + schemaName(name)
			}
		}
	})
	return nil
}

// alternatives turns a type called …OneOf into the choice between its members, which Swagger 2.0 cannot say.
func alternatives(document, schemas object) {
	for name, s := range schemas {
		short, choice := strings.CutSuffix(name, "OneOf")
		if !choice {
			continue
		}
		schema := s.(object)
		properties := member(schema, "properties")
		var options []any
		for _, property := range slices.Sorted(maps.Keys(properties)) {
			options = append(options, properties[property])
		}
		delete(schemas, name)
		schemas[short] = object{"oneOf": options}
		if text, ok := schema["description"]; ok {
			schemas[short].(object)["description"] = text
		}
		walk(document, func(o object) {
			if o["$ref"] == schemaPrefix+name {
				o["$ref"] = schemaPrefix + short
			}
		})
	}
}

var packagePrefix = regexp.MustCompile(`(^|[-,])(?:array_)?[A-Za-z0-9_]*[._]([A-Za-z0-9]+)`)

func schemaName(name string) string {
	generic, arguments, isGeneric := strings.Cut(name, "-")
	short := generic[strings.LastIndex(generic, ".")+1:]
	if !isGeneric {
		return short
	}
	return short + "Of" + strings.Join(strings.FieldsFunc(packagePrefix.ReplaceAllString(arguments, "$1$2"), func(r rune) bool { return r == '-' || r == ',' }), "And")
}

// correctSecurity says what an "apiKey in Authorization" really is.
func correctSecurity(components object) {
	if bearer, ok := member(components, "securitySchemes")["BearerAuth"].(object); ok {
		delete(bearer, "in")
		delete(bearer, "name")
		bearer["type"], bearer["scheme"], bearer["bearerFormat"] = "http", "bearer", "JWT"
	}
}

func correctOperation(path string, operation object, tags []string) error {
	var errs []error
	if id, _ := operation["operationId"].(string); !operationIDForm.MatchString(id) {
		errs = append(errs, fmt.Errorf("@ID %q is not a verb and a resource in camelCase", id))
	}
	if summary, _ := operation["summary"].(string); summary == "" {
		errs = append(errs, errors.New("no @Summary"))
	}
	if len(list(operation["tags"])) == 0 {
		errs = append(errs, errors.New("no @Tags"))
	}
	for _, tag := range list(operation["tags"]) {
		if !slices.Contains(tags, tag.(string)) {
			errs = append(errs, fmt.Errorf("tag %q is not described in docs/docs.go", tag))
		}
	}
	switch security := list(operation["security"]); {
	case len(security) == 0:
		operation["security"] = []any{} // said, not forgotten: anyone may call it
	case operation["x-anonymous"] == true:
		operation["security"] = append(security, object{})
	}
	delete(operation, "x-anonymous")

	if body, ok := operation["requestBody"].(object); ok {
		correctRequestBody(body)
	}
	for _, p := range list(operation["parameters"]) {
		parameter := p.(object)
		correctSchema(parameter["schema"])
		if text, _ := parameter["description"].(string); text == "" {
			errs = append(errs, fmt.Errorf("parameter %v has no description", parameter["name"]))
		}
	}
	return errors.Join(append(errs, correctResponses(path, member(operation, "responses")))...)
}

func correctRequestBody(body object) {
	delete(body, "x-originalParamName")
	contents := member(body, "content")
	for mediaType, c := range contents {
		content := c.(object)
		content["schema"] = schemaFor(mediaType, content["schema"])
		if mediaType == "multipart/form-data" && len(contents) > 1 { // the other ways of sending the same file
			content["schema"] = object{"type": "object", "required": []any{"file"}, "properties": object{"file": object{"type": "string", "contentMediaType": "application/octet-stream"}}}
		}
		if content["schema"] == nil {
			delete(content, "schema")
		}
		schema, _ := content["schema"].(object)
		for _, property := range member(schema, "properties") {
			delete(property.(object), "x-formData-name")
		}
		if schema["required"] != nil {
			body["required"] = true
		}
		correctSchema(content["schema"])
	}
}

// correctResponses gives errors the media type they have. "default" becomes the two classes of errors that it stands for,
// so that a success nobody documented is not covered by it.
func correctResponses(path string, responses object) error {
	if failure, ok := responses["default"].(object); ok {
		delete(responses, "default")
		for class, text := range map[string]string{
			"4XX": "The request cannot be answered as it is; the problem document says why, and what would mend it.",
			"5XX": "The service cannot answer now; the problem document says whether to try again.",
		} {
			if responses[class] == nil {
				responses[class] = object{"description": text, "content": failure["content"]}
			}
		}
	}
	var errs []error
	codes, problems := 0, 0
	for code, r := range responses {
		response := r.(object)
		content := member(response, "content")
		if code[0] == '4' || code[0] == '5' {
			problems++
			schema, _ := anySchema(content).(object)
			// RFC 6749 fixes the body of the errors of its end points, which is therefore not a Problem.
			if strings.HasPrefix(path, "/oauth/") && schema != nil && schema["$ref"] != schemaPrefix+"Problem" {
				response["content"] = object{"application/json": object{"schema": schema}}
			} else if schema != nil {
				response["content"] = object{problemType: object{"schema": schema}}
			} else {
				errs = append(errs, fmt.Errorf("response %s has no body: every error has one, {object} Problem", code))
			}
		} else {
			codes++
			for mediaType, c := range content {
				if len(content) == 1 && mediaType == "application/geo+json" {
					continue // the annotation is about it, and nothing else
				}
				c.(object)["schema"] = schemaFor(mediaType, c.(object)["schema"])
				if c.(object)["schema"] == nil {
					delete(c.(object), "schema")
				}
				correctSchema(c.(object)["schema"])
			}
		}
		if text, _ := response["description"].(string); text == "" {
			errs = append(errs, fmt.Errorf("response %s has no description", code))
		}
	}
	if codes == 0 {
		errs = append(errs, errors.New("no successful response"))
	}
	if problems == 0 {
		errs = append(errs, errors.New("no error response: add @Failure default {object} Problem"))
	}
	return errors.Join(errs...)
}

func anySchema(content object) any {
	for _, c := range content {
		return c.(object)["schema"] // swag gives every media type the same
	}
	return nil
}

// schemaFor is the schema of one media type, where annotations give the JSON schema to all: text is a string, other JSON
// vocabularies are objects described by their own standard, and binary files have none (nil).
func schemaFor(mediaType string, schema any) any {
	switch mediaType {
	case "application/json", "application/merge-patch+json", problemType, "application/x-www-form-urlencoded", "multipart/form-data":
		return schema
	case "application/geo+json", "application/ld+json", "application/jwk-set+json":
		return object{"type": "object"}
	}
	if strings.HasPrefix(mediaType, "text/") || strings.HasSuffix(mediaType, "+xml") || strings.HasSuffix(mediaType, "yaml") ||
		strings.HasSuffix(mediaType, "ndjson") || mediaType == "application/vnd.sdmx.data+csv" {
		return object{"type": "string"}
	}
	if strings.HasSuffix(mediaType, "+json") {
		return schema
	}
	return nil
}

// correctSchema rewrites one schema and those within it in the vocabulary of JSON Schema 2020-12.
func correctSchema(value any) {
	walk(value, func(schema object) {
		describeEnum(schema)
		if text, ok := schema["default"].(string); ok && schema["type"] == "array" {
			schema["default"] = splitList(text)
		}
		if example, ok := schema["example"]; ok && isSchema(schema) {
			if text, ok := example.(string); ok && schema["type"] == "array" {
				example = splitList(text)
			}
			delete(schema, "example")
			schema["examples"] = []any{example}
		}
		if schema["nullable"] != true {
			return
		}
		delete(schema, "nullable")
		switch kind, typed := schema["type"].(string); {
		case typed:
			schema["type"] = []any{kind, "null"}
			if enum := list(schema["enum"]); len(enum) > 0 {
				schema["enum"] = append(slices.Clone(enum), nil)
			}
		case schema["allOf"] != nil:
			schema["anyOf"] = append(slices.Clone(list(schema["allOf"])), object{"type": "null"})
			delete(schema, "allOf")
		}
	})
}

// splitList reads the values of a list as an annotation writes them.
func splitList(text string) []any {
	var values []any
	for value := range strings.SplitSeq(text, ",") {
		values = append(values, value)
	}
	return values
}

// isSchema tells a schema from a map of properties one of which is called "example".
func isSchema(o object) bool {
	_, typed := o["type"].(string)
	return typed || o["$ref"] != nil || o["allOf"] != nil
}

// describeEnum folds what swag says of the values into the description: names of Go constants are nobody's business.
func describeEnum(schema object) {
	values, texts := list(schema["enum"]), list(schema["x-enum-descriptions"])
	for _, extension := range []string{"x-enum-varnames", "x-enum-comments", "x-enum-descriptions"} {
		delete(schema, extension)
	}
	if len(values) == 0 || len(values) != len(texts) {
		return
	}
	var lines []string
	if text, _ := schema["description"].(string); text != "" {
		lines = append(lines, text, "")
	}
	for i, value := range values {
		if text := strings.TrimSpace(fmt.Sprint(texts[i])); text != "" {
			lines = append(lines, fmt.Sprintf("- `%v`: %s", value, text))
		}
	}
	if len(lines) > 0 {
		schema["description"] = strings.Join(lines, "\n")
	}
}

// optionalParameters takes from a reading without "required by default" which parameters are required: members of a body
// are there unless said otherwise, filters of a query are not.
func optionalParameters(strict, lenient object) {
	for path, methods := range member(strict, "paths") {
		for method, o := range methods.(object) {
			same, _ := member(member(lenient, "paths"), path)[method].(object)
			others := list(same["parameters"])
			for i, p := range list(o.(object)["parameters"]) {
				if i >= len(others) {
					break
				}
				if required, ok := others[i].(object)["required"]; ok {
					p.(object)["required"] = required
				} else {
					delete(p.(object), "required")
				}
			}
		}
	}
}

// walk visits every object within value, outer ones first.
func walk(value any, visit func(object)) {
	switch v := value.(type) {
	case object:
		visit(v)
		for _, child := range v {
			walk(child, visit)
		}
	case []any:
		for _, child := range v {
			walk(child, visit)
		}
	}
}

func member(o object, name string) object {
	m, _ := o[name].(object)
	return m
}

func list(value any) []any {
	l, _ := value.([]any)
	return l
}

func decode(text []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var o object
	err := d.Decode(&o)
	return o, err
}

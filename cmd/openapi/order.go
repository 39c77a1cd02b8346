package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

type object = map[string]any

// reading is the order in which a person reads an object of the document; members not listed follow by name. Objects
// whose keys are names of ours (paths, schemas, properties…) are sorted by name alone.
var reading = rank(
	"openapi", "info", "servers", "tags",
	"name", "in", "title", "summary", "version", "operationId", "description", "contact", "license", "url",
	"$ref", "type", "scheme", "bearerFormat", "format", "style", "explode", "required", "schema", "enum", "const",
	"get", "put", "post", "patch", "delete", "security", "parameters", "requestBody", "content", "headers", "responses",
	"properties", "items", "paths", "components", "schemas", "securitySchemes",
)

// named are the members whose value is a map from names of ours.
var named = map[string]bool{
	"paths": true, "responses": true, "schemas": true, "securitySchemes": true, "properties": true, "content": true,
	"headers": true, "examples": true, "example": true, "default": true,
}

func rank(names ...string) map[string]int {
	ranks := make(map[string]int, len(names))
	for i, name := range names {
		ranks[name] = i - len(names)
	}
	return ranks
}

// encode writes the document as indented JSON, the same bytes for the same content.
func encode(document object) ([]byte, error) {
	var b bytes.Buffer
	if err := appendValue(&b, document, false); err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil {
		return nil, fmt.Errorf("indenting the document: %w", err)
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}

func appendValue(b *bytes.Buffer, value any, names bool) error {
	switch v := value.(type) {
	case object:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(x, y string) int {
			if !names {
				if c := cmp.Compare(reading[x], reading[y]); c != 0 {
					return c
				}
			}
			return cmp.Compare(x, y)
		})
		b.WriteByte('{')
		for i, key := range keys {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := appendScalar(b, key); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := appendValue(b, v[key], !names && named[key]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := appendValue(b, item, false); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		return appendScalar(b, value)
	}
	return nil
}

func appendScalar(b *bytes.Buffer, value any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("writing %v: %w", value, err)
	}
	b.Truncate(b.Len() - 1) // the encoder ends with a line feed
	return nil
}

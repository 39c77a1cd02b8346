package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/swaggo/swag"
)

// generate reads the general information of one Go file and the annotations and types of some directories, and gives the
// OpenAPI 3.1 document as indented JSON. The first directory is the one with the operations.
func generate(general string, dirs ...string) ([]byte, error) {
	swagger, err := annotations(general, dirs)
	if err != nil {
		return nil, fmt.Errorf("reading the annotations: %w", err)
	}
	var v2 openapi2.T
	if err := json.Unmarshal(swagger, &v2); err != nil {
		return nil, fmt.Errorf("reading what swag wrote: %w", err)
	}
	v3, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, fmt.Errorf("lifting Swagger 2.0 to OpenAPI 3: %w", err)
	}
	lifted, err := v3.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("writing OpenAPI 3.0: %w", err)
	}
	document, err := decode(lifted)
	if err != nil {
		return nil, fmt.Errorf("reading OpenAPI 3.0 back: %w", err)
	}
	if err := correct(document); err != nil {
		return nil, fmt.Errorf("the annotations do not say all that the contract needs: %w", err)
	}
	text, err := encode(document)
	if err != nil {
		return nil, err
	}
	return text, validate(text)
}

// annotations is what the sources say, as Swagger 2.0: members of schemas are required unless they may be omitted,
// parameters only where they say so.
func annotations(general string, dirs []string) ([]byte, error) {
	strict, err := readSources(general, dirs, true)
	if err != nil {
		return nil, err
	}
	lenient, err := readSources(general, dirs, false)
	if err != nil {
		return nil, err
	}
	optionalParameters(strict, lenient)
	return json.Marshal(strict)
}

func readSources(general string, dirs []string, requiredByDefault bool) (object, error) {
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
	}
	relative, err := filepath.Rel(dirs[0], general)
	if err != nil {
		return nil, err
	}
	parser := swag.New(swag.SetDebugger(log.New(io.Discard, "", 0)), swag.SetStrict(true))
	parser.RequiredByDefault = requiredByDefault
	if err := parser.ParseAPIMultiSearchDir(dirs, relative, 0); err != nil {
		return nil, err
	}
	text, err := json.Marshal(parser.GetSwagger())
	if err != nil {
		return nil, err
	}
	return decode(text)
}

func validate(text []byte) error {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return fmt.Errorf("loading the document: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return fmt.Errorf("validating the document: %w", err)
	}
	return nil
}

// Command openapi writes the published contract, openapi.yaml and docs/openapi.json, from the annotations of package api.
// It runs from anywhere in the module: go run ./cmd/openapi, or with --check to compare only.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grandlyon/retombees/docs"
)

func main() {
	check := flag.Bool("check", false, "write nothing; exit with status 1 if the files are not what the annotations say")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	files, err := render(root)
	if err != nil {
		return err
	}
	var stale []error
	for _, f := range files {
		current, err := os.ReadFile(f.path)
		if err == nil && bytes.Equal(current, f.text) {
			continue
		}
		if check {
			stale = append(stale, fmt.Errorf("%s is not what the annotations say: run `make openapi`", f.path))
			continue
		}
		if err := os.WriteFile(f.path, f.text, 0o644); err != nil {
			return fmt.Errorf("writing the contract: %w", err)
		}
	}
	return errors.Join(stale...)
}

type file struct {
	path string
	text []byte
}

// render makes both files of the contract of the module that stands in root.
func render(root string) ([]file, error) {
	document, err := generate(filepath.Join(root, "docs", "docs.go"), filepath.Join(root, "api"), filepath.Join(root, "pkg"))
	if err != nil {
		return nil, err
	}
	yaml, err := docs.YAML(document)
	if err != nil {
		return nil, fmt.Errorf("writing as YAML: %w", err)
	}
	return []file{
		{filepath.Join(root, "docs", "openapi.json"), document},
		{filepath.Join(root, "openapi.yaml"), yaml},
	}, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("not inside the module")
		}
		dir = parent
	}
}

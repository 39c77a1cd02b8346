package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/grandlyon/retombees/pkg/client"
)

// rejectsFile gathers the rejected rows of every part under one header. A file
// of an earlier push is set aside, under its name and "~": it may be under
// repair, and must not be taken for that of tonight.
type rejectsFile struct {
	path    string
	file    *os.File
	written bool
	aside   bool
}

// rejectsOf names the file of rejects of a file, which may be one itself.
func rejectsOf(file string) string {
	base := strings.TrimSuffix(file, ".rejects.csv")
	if base != file {
		return base + ".rejects-again.csv"
	}
	return file + ".rejects.csv"
}

func (r *rejectsFile) setAside() error {
	if r.aside {
		return nil
	}
	r.aside = true
	if err := os.Rename(r.path, r.path+"~"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("setting the former rejected rows aside: %w", err)
	}
	return nil
}

func (r *rejectsFile) add(ctx context.Context, service *client.Client, id string) error {
	if r.file == nil {
		if err := r.setAside(); err != nil {
			return err
		}
		f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("writing the rejected rows: %w", err)
		}
		r.file = f
	}
	var to io.Writer = r.file
	if r.written {
		to = &headless{to: r.file}
	}
	r.written = true
	return service.ImportRejects(ctx, id, to)
}

// finish leaves no file of an earlier push behind when no row was rejected.
func (r *rejectsFile) finish() error {
	return errors.Join(r.setAside(), r.close())
}

func (r *rejectsFile) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// headless drops the first line: a header holds no line break.
type headless struct {
	to   io.Writer
	gone bool
}

func (h *headless) Write(b []byte) (int, error) {
	n := len(b)
	if !h.gone {
		_, rest, found := bytes.Cut(b, []byte("\n"))
		if !found {
			return n, nil
		}
		h.gone, b = true, rest
	}
	if _, err := h.to.Write(b); err != nil {
		return 0, err
	}
	return n, nil
}

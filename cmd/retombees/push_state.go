package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/grandlyon/retombees/pkg/client"
)

// pushedImport is what became of one part, as far as the report needs it.
type pushedImport struct {
	ID             string              `json:"id"`
	Counts         client.ImportCounts `json:"counts"`
	ErrorsByCode   []client.CodeCount  `json:"errors_by_code,omitempty"`
	WarningsByCode []client.CodeCount  `json:"warnings_by_code,omitempty"`
	Errors         []told              `json:"errors,omitempty"`
	Warnings       []told              `json:"warnings,omitempty"`
	Ignored        []string            `json:"ignored_columns,omitempty"`
}

// pushState is how far a file has been sent: a small file that is replaced after
// each part and removed at the end. It bears the name of what is sent, where and
// how; another file or other options start afresh.
type pushState struct {
	path string
	// Run makes the keys of this push: the same when it goes on after a crash,
	// new when the same file is sent another night.
	Run   string                `json:"run"`
	Parts map[int]*pushedImport `json:"parts"`
}

func (c pushCmd) resume(w *world, source *pushed) (*pushState, error) {
	dir := c.State
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no place to note how far a file has been sent, give --state DIR: %w", err)
		}
		dir = filepath.Join(cache, "retombees")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	same := c
	same.Rejects, same.State, same.SecretFile, same.Language, same.Restart, same.JSON, same.File, same.Attempts = "", "", "", "", false, false, "", 0
	text, err := json.Marshal(struct {
		Push pushCmd
		Sum  string
	}{same, source.sum})
	if err != nil {
		return nil, err
	}
	name := sha256.Sum256(text)
	s := &pushState{path: filepath.Join(dir, "push-"+hex.EncodeToString(name[:12])+".json")}
	if !c.Restart {
		text, err = os.ReadFile(s.path)
		if err == nil {
			err = json.Unmarshal(text, s)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading how far this file has been sent (--restart forgets it): %w", err)
		}
	}
	if s.Run == "" {
		s.Run, s.Parts = w.newID(), map[int]*pushedImport{}
		return s, s.save()
	}
	if s.Parts == nil {
		s.Parts = map[int]*pushedImport{}
	}
	return s, nil
}

func (s *pushState) key(part int) string { return fmt.Sprintf("push-%s-%d", s.Run, part) }

func (s *pushState) done(part int) *pushedImport { return s.Parts[part] }

func (s *pushState) record(part int, done *pushedImport) error {
	s.Parts[part] = done
	return s.save()
}

func (s *pushState) save() error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	next := s.path + ".next"
	if err = os.WriteFile(next, text, 0o600); err == nil {
		err = os.Rename(next, s.path)
	}
	if err != nil {
		return fmt.Errorf("noting how far the file has been sent: %w", err)
	}
	return nil
}

func (s *pushState) forget() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the push: %w", err)
	}
	return nil
}

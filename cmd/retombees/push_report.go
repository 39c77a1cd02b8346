package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/client"
)

// reportedRows is how many rejected rows the report shows; all of them are in
// the file of rejects.
const reportedRows = 20

// pushReport is what became of the whole file.
type pushReport struct {
	File    string              `json:"file"`
	DryRun  bool                `json:"dry_run"`
	Imports []string            `json:"imports"`
	Counts  client.ImportCounts `json:"counts"`
	ByCode  []client.CodeCount  `json:"errors_by_code"`
	Rows    []client.ImportRow  `json:"rows"` // the first rejected ones
	Ignored []string            `json:"ignored_columns"`
	Rejects string              `json:"rejects,omitempty"`

	language string
}

func (r *pushReport) add(i *pushedImport) {
	r.Imports = append(r.Imports, i.ID)
	r.Counts.Add(i.Counts)
	for _, c := range i.ByCode {
		at := slices.IndexFunc(r.ByCode, func(known client.CodeCount) bool { return known.Code == c.Code })
		if at < 0 {
			r.ByCode = append(r.ByCode, c)
			continue
		}
		r.ByCode[at].Count += c.Count
	}
	for _, row := range i.Rows {
		if len(r.Rows) < reportedRows {
			r.Rows = append(r.Rows, row)
		}
	}
	for _, name := range i.Ignored {
		if !slices.Contains(r.Ignored, name) {
			r.Ignored = append(r.Ignored, name)
		}
	}
}

// say chooses between French and English.
func (r *pushReport) say(fr, en string) string {
	if r.language == "en" {
		return en
	}
	return fr
}

func (r *pushReport) print(w io.Writer, asJSON bool) error {
	slices.SortStableFunc(r.ByCode, func(a, b client.CodeCount) int { return cmp.Compare(b.Count, a.Count) })
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	var b strings.Builder
	c := r.Counts
	fmt.Fprintf(&b, r.say("%s : %d lignes reçues\n", "%s: %d rows received\n"), r.File, c.Received)
	line := func(n int, fr, en string) {
		if n > 0 {
			fmt.Fprintf(&b, "  %7d %s\n", n, r.say(fr, en))
		}
	}
	line(c.Created, "créées", "created")
	line(c.Updated, "mises à jour", "updated")
	line(c.Unchanged, "inchangées", "unchanged")
	line(c.Deleted, "supprimées", "deleted")
	line(c.WouldCreate, "seraient créées", "would be created")
	line(c.WouldUpdate, "seraient mises à jour", "would be updated")
	line(c.WouldLeave, "resteraient inchangées", "would be left unchanged")
	line(c.WouldDelete, "seraient supprimées", "would be deleted")
	line(c.Rejected, "rejetées", "rejected")
	line(c.Warnings, "avertissements", "warnings")
	if len(r.Ignored) > 0 {
		fmt.Fprintf(&b, r.say("Colonnes ignorées : %s\n", "Ignored columns: %s\n"), strings.Join(r.Ignored, ", "))
	}
	if len(r.ByCode) > 0 {
		b.WriteString(r.say("Erreurs :\n", "Errors:\n"))
		for _, c := range r.ByCode {
			fmt.Fprintf(&b, "  %7d %s\n", c.Count, c.Code)
		}
	}
	for _, row := range r.Rows {
		for _, f := range row.Errors {
			fmt.Fprintf(&b, r.say("ligne %d : %s\n", "line %d: %s\n"), row.Line, f)
		}
	}
	if more := c.Rejected - len(r.Rows); more > 0 && len(r.Rows) > 0 {
		fmt.Fprintf(&b, r.say("… et %d autres lignes rejetées\n", "… and %d more rejected rows\n"), more)
	}
	if r.Rejects != "" {
		fmt.Fprintf(&b, r.say("À corriger et à renvoyer : %s", "To correct and send again: %s"), r.Rejects)
		if !r.DryRun && len(r.Imports) == 1 {
			fmt.Fprintf(&b, " (--retry-of %s)", r.Imports[0])
		}
		b.WriteString("\n")
	}
	if r.DryRun {
		b.WriteString(r.say("Essai : rien n'a été écrit.\n", "Dry run: nothing was written.\n"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// verdict is nil when every row was taken.
func (r *pushReport) verdict() error {
	switch c := r.Counts; c.Rejected {
	case 0:
		return nil
	case c.Received:
		return exit(exitRefused, errors.New(r.say("toutes les lignes sont rejetées", "every row was rejected")))
	default:
		return exit(exitRejected, fmt.Errorf(r.say("%d lignes rejetées sur %d", "%d rows rejected out of %d"), c.Rejected, c.Received))
	}
}

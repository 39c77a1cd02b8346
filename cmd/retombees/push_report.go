package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/client"
)

// Bounds of the report; every rejected row is in the file of rejects.
const (
	reportedRows   = 1000 // looked at to find what is wrong
	reportedFaults = 20   // different ones that are told
	reportedLines  = 5    // where each was met first
)

// told is one cause, and where it was met.
type told struct {
	Said  string `json:"said"`
	Lines []int  `json:"lines"`
	Count int    `json:"count"`
}

// pushReport is what became of the whole file.
type pushReport struct {
	File           string              `json:"file"`
	DryRun         bool                `json:"dry_run"`
	Imports        []string            `json:"imports"`
	Counts         client.ImportCounts `json:"counts"`
	ErrorsByCode   []client.CodeCount  `json:"errors_by_code"`
	WarningsByCode []client.CodeCount  `json:"warnings_by_code"`
	Errors         []told              `json:"errors"`
	Warnings       []told              `json:"warnings"` // those that ask for a look
	Ignored        []string            `json:"ignored_columns"`
	Rejects        string              `json:"rejects,omitempty"`

	say phrases
}

func (r *pushReport) add(i *pushedImport) {
	r.Imports = append(r.Imports, i.ID)
	r.Counts.Add(i.Counts)
	r.ErrorsByCode = addCodes(r.ErrorsByCode, i.ErrorsByCode)
	r.WarningsByCode = addCodes(r.WarningsByCode, i.WarningsByCode)
	r.Errors, r.Warnings = addTold(r.Errors, i.Errors), addTold(r.Warnings, i.Warnings)
	for _, name := range i.Ignored {
		if !slices.Contains(r.Ignored, name) {
			r.Ignored = append(r.Ignored, name)
		}
	}
}

func addCodes(all, more []client.CodeCount) []client.CodeCount {
	for _, c := range more {
		at := slices.IndexFunc(all, func(known client.CodeCount) bool { return known.Code == c.Code })
		if at < 0 {
			all = append(all, c)
			continue
		}
		all[at].Count += c.Count
	}
	slices.SortStableFunc(all, func(a, b client.CodeCount) int { return cmp.Compare(b.Count, a.Count) })
	return all
}

func addTold(all, more []told) []told {
	for _, c := range more {
		at := slices.IndexFunc(all, func(known told) bool { return known.Said == c.Said })
		switch {
		case at >= 0:
			all[at].Count += c.Count
			all[at].Lines = append(all[at].Lines, c.Lines[:min(len(c.Lines), reportedLines-len(all[at].Lines))]...)
		case len(all) < reportedFaults:
			all = append(all, c)
		}
	}
	return all
}

// gather puts the faults of one row under what they say, each column called as its
// sender calls it.
func gather(all []told, line int, faults []client.Fault, headers map[string]string, in phrases) []told {
	for _, f := range faults {
		if name := headers[f.Field]; name != "" {
			f.Field = name
		}
		all = addTold(all, []told{{Said: in.fault(f), Lines: []int{line}, Count: 1}})
	}
	return all
}

// expected are warnings about forms that are read without any doubt: counted,
// not told one by one.
var expected = map[string]bool{
	"identifier_normalised": true, "trimestre_read_as_quarter": true, "source_value_mapped": true, "retired_territory": true, "encoding_guessed": true,
}

func lookAt(warnings []client.Fault) []client.Fault {
	return slices.DeleteFunc(slices.Clone(warnings), func(f client.Fault) bool { return expected[f.Code] })
}

func (r *pushReport) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	var b strings.Builder
	t, c := r.say, r.Counts
	fmt.Fprintf(&b, "%s\n", r.File)
	line := func(name string, n int) {
		if n > 0 {
			fmt.Fprintf(&b, "  %-26s %7d\n", name, n)
		}
	}
	line(t.received, c.Received)
	line(t.created, c.Created)
	line(t.updated, c.Updated)
	line(t.unchanged, c.Unchanged)
	line(t.deleted, c.Deleted)
	line(t.wouldCreate, c.WouldCreate)
	line(t.wouldUpdate, c.WouldUpdate)
	line(t.wouldLeave, c.WouldLeave)
	line(t.wouldDelete, c.WouldDelete)
	line(t.rejected, c.Rejected)
	line(t.warnings, c.Warnings)
	section := func(title string, codes []client.CodeCount, causes []told) {
		if len(codes) == 0 {
			return
		}
		fmt.Fprintf(&b, "%s\n", title)
		for _, c := range codes {
			fmt.Fprintf(&b, "  %7d  %s (%s)\n", c.Count, c.Title, c.Code)
		}
		for _, f := range causes {
			fmt.Fprintf(&b, "  %s %s\n", t.at(f), f.Said)
		}
		if len(causes) == reportedFaults {
			b.WriteString("  …\n")
		}
	}
	section(t.errorsTitle, r.ErrorsByCode, r.Errors)
	section(t.warningsTitle, r.WarningsByCode, r.Warnings)
	if len(r.Ignored) > 0 {
		fmt.Fprintf(&b, "%s %s\n", t.ignored, strings.Join(r.Ignored, ", "))
	}
	if r.Rejects != "" {
		fmt.Fprintf(&b, "%s %s", t.mend, r.Rejects)
		if !r.DryRun && len(r.Imports) == 1 {
			fmt.Fprintf(&b, " (--retry-of %s)", r.Imports[0])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%s %s\n", t.imports, strings.Join(r.Imports, ", "))
	if r.DryRun {
		fmt.Fprintf(&b, "%s\n", t.dryRun)
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
		return exit(exitRefused, errors.New(r.say.allRejected))
	default:
		return exit(exitRejected, fmt.Errorf("%s %d / %d", r.say.someRejected, c.Rejected, c.Received))
	}
}

// phrases are those of push, in one language.
type phrases struct {
	received, created, updated, unchanged, deleted    string
	wouldCreate, wouldUpdate, wouldLeave, wouldDelete string
	rejected, warnings                                string
	errorsTitle, warningsTitle, ignored               string
	mend, imports, dryRun, allRejected, someRejected  string
	line, lines, colon, open, close                   string
	again, stopped, unknown, retrying, progress       string
}

func phrasesIn(language string) phrases {
	if language == "en" {
		return phrases{
			received: "rows received", created: "created", updated: "updated", unchanged: "unchanged", deleted: "deleted",
			wouldCreate: "would be created", wouldUpdate: "would be updated", wouldLeave: "would not change", wouldDelete: "would be deleted",
			rejected: "rejected", warnings: "warnings",
			errorsTitle: "Errors:", warningsTitle: "Warnings:", ignored: "Ignored columns:",
			mend: "To correct and send again:", imports: "Import:", dryRun: "Dry run: nothing was written.",
			allRejected: "every row was rejected", someRejected: "rows rejected:",
			line: "line", lines: "lines", colon: ": ", open: `"`, close: `"`,
			retrying: "%s %s did not succeed, attempt %d", progress: "%d of %d rows",
			again: "run the same command again to go on from here", stopped: "stopped on the way: run the same command again to go on",
			unknown: "who sends? Give --client-id and its secret (RETOMBEES_CLIENT_SECRET or --secret-file), or an API key (RETOMBEES_API_KEY or --secret-file)",
		}
	}
	return phrases{
		received: "lignes reçues", created: "créées", updated: "mises à jour", unchanged: "inchangées", deleted: "supprimées",
		wouldCreate: "seraient créées", wouldUpdate: "seraient mises à jour", wouldLeave: "ne changeraient pas", wouldDelete: "seraient supprimées",
		rejected: "rejetées", warnings: "avertissements",
		errorsTitle: "Erreurs :", warningsTitle: "Avertissements :", ignored: "Colonnes ignorées :",
		mend: "À corriger et à renvoyer :", imports: "Import :", dryRun: "Essai : rien n'a été écrit.",
		allRejected: "toutes les lignes sont rejetées", someRejected: "lignes rejetées :",
		line: "ligne", lines: "lignes", colon: " : ", open: "« ", close: " »",
		retrying: "%s %s n'a pas abouti, tentative %d", progress: "%d lignes sur %d",
		again: "relancez la même commande pour reprendre ici", stopped: "arrêt en cours de route : relancez la même commande pour reprendre",
		unknown: "qui envoie ? Donnez --client-id et son secret (RETOMBEES_CLIENT_SECRET ou --secret-file), ou une clé d'API (RETOMBEES_API_KEY ou --secret-file)",
	}
}

// at writes "ligne 3 :" or "lignes 3, 8, … (11) :".
func (t phrases) at(f told) string {
	if f.Count == 1 {
		return t.line + " " + strconv.Itoa(f.Lines[0]) + strings.TrimRight(t.colon, " ")
	}
	numbers := make([]string, len(f.Lines))
	for i, n := range f.Lines {
		numbers[i] = strconv.Itoa(n)
	}
	all := t.lines + " " + strings.Join(numbers, ", ")
	if f.Count > len(f.Lines) {
		all += fmt.Sprintf(", … (%d)", f.Count)
	}
	return all + strings.TrimRight(t.colon, " ")
}

// fault writes one fault on a line.
func (t phrases) fault(f client.Fault) string {
	var s string
	if f.Field != "" {
		s = f.Field
		if f.Value != "" {
			s += " " + t.open + f.Value + t.close
		}
		s += t.colon
	}
	s += cmp.Or(f.Detail, f.Code)
	if f.Hint != "" {
		s += " " + f.Hint
	}
	return s
}

package imports

import (
	"context"
	"slices"
	"strconv"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// line is a row of the file on its way into the store.
type line struct {
	src *format.StatementRow
	row *impact.Row // nil when there is nothing to write
}

// organisation is what a reference of the file means.
type organisation struct {
	organisation *impact.Organisation
	fault        *impact.Fault
	warning      *impact.Fault
}

// meet finds the organisations that rows are about: for each reference exactly
// one, for which the caller may act. Each reference is looked up once.
func (w *worker) meet(ctx context.Context, rows []*format.StatementRow) error {
	names := map[string]string{} // by reference, those to look up
	var wanted []string
	for _, row := range rows {
		ref := row.Statement.Organisation
		if _, met := w.known[ref]; met {
			continue
		}
		name, f := w.normalise(ref)
		if w.known[ref] = f; f.fault == nil {
			names[ref] = name
			wanted = append(wanted, name)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	found, err := w.Store.FindEachOrganisation(ctx, w.job.Principal, wanted)
	if err != nil {
		return err
	}
	for ref, name := range names {
		f := w.known[ref]
		switch list := found[name]; len(list) {
		case 0:
			unknown := impact.UnknownOrganisation(ref)
			f.fault = &unknown
		case 1:
			f.organisation = &list[0]
		default:
			ambiguous := impact.AmbiguousOrganisation(ref, list)
			f.fault = &ambiguous
		}
		if f.fault != nil {
			f.fault.Pointer = "/organisation"
		}
		w.known[ref] = f
	}
	return nil
}

// normalise writes a reference as the register knows it, or tells why it cannot.
func (w *worker) normalise(ref string) (name string, f organisation) {
	name = ref
	if ref == "" {
		if name = string(w.job.Principal.Organisation); name == "" {
			return "", organisation{fault: &impact.Fault{
				Code: "missing_field", Pointer: "/organisation",
				Detail: impact.Text{FR: "La ligne ne dit pas de quelle organisation elle parle.", EN: "The row does not say which organisation it is about."},
				Hint:   impact.Text{FR: "Donnez un siret, un siren, un rna ou une organisation, ou le paramètre default_organisation.", EN: "Give a siret, a siren, an rna or an organisation, or the parameter default_organisation."},
			}}
		}
	}
	name, f.warning, f.fault = impact.NormaliseReference(name)
	for _, at := range []*impact.Fault{f.fault, f.warning} {
		if at != nil {
			at.Pointer = "/organisation"
		}
	}
	return name, f
}

// action tells what a row asks for: what it says, else the mode of the import.
func (w *worker) action(row *format.StatementRow) format.Action {
	if row.Action != 0 {
		return row.Action
	}
	switch w.asked.Mode {
	case impact.ImportReplace:
		return format.Replace
	case impact.ImportDelete:
		return format.Delete
	}
	return format.Merge
}

// read understands a row of the file. An empty cell leaves what is known when
// rows are merged, and removes it when they replace.
func (w *worker) read(src *format.StatementRow) *line {
	l := &line{src: src}
	found := w.known[src.Statement.Organisation]
	action := w.action(src)
	row := &impact.Row{Organisation: found.organisation, Merge: action == format.Merge, Delete: action == format.Delete || action == format.Replace && src.Empty}
	var faults, warnings []impact.Fault
	if row.Delete || src.Empty {
		row.Resolved, faults, warnings = w.checker.ResolveKey(&src.Statement, found.organisation)
	} else {
		row.Resolved, faults, warnings = w.checker.Resolve(&src.Statement, found.organisation)
	}
	if found.fault != nil {
		faults = slices.Insert(slices.Clone(faults), 0, *found.fault)
	}
	if found.warning != nil {
		warnings = slices.Insert(slices.Clone(warnings), 0, *found.warning)
	}
	if twin, twice := w.twins[src.Row]; twice {
		faults = append(slices.Clone(faults), duplicate(src.Line, twin, row.Territory, impact.Merged(warnings)))
	}
	src.Tell(faults, warnings)
	if w.asked.RejectWarnings {
		src.Faults, src.Warnings = append(src.Faults, src.Warnings...), nil
	}
	if len(src.Faults) == 0 && (row.Delete || !src.Empty) {
		l.row = row
	}
	return l
}

func duplicate(line int, other place, t *impact.Territory, merged bool) impact.Fault {
	a, b := strconv.Itoa(min(line, other.line)), strconv.Itoa(max(line, other.line))
	f := impact.Fault{
		Code: "duplicate_in_file", Value: strconv.Itoa(other.line),
		Detail: impact.Text{FR: "Les lignes " + a + " et " + b + " du fichier déclarent le même fait.", EN: "Lines " + a + " and " + b + " of the file state the same fact."},
		Hint:   impact.Text{FR: "Gardez celle qui est juste ; aucune des deux n'est écrite.", EN: "Keep the one that is right; neither of them is written."},
	}
	if merged || other.merged {
		f.AfterMerger(t)
	}
	return f
}

// put writes some rows. It may run again on the same rows when the database
// asks for it: what they came with is left as it is.
func (w *worker) put(ctx context.Context, chunk []*line) ([]impact.ImportRow, error) {
	held := make([]impact.Row, 0, len(chunk))
	batch := impact.Batch{Principal: w.job.Principal, Checker: w.checker, RejectWarnings: w.asked.RejectWarnings}
	for _, l := range chunk {
		if l.row != nil {
			r := *l.row
			r.Warnings = slices.Clone(l.src.Warnings)
			held = append(held, r)
			batch.Rows = append(batch.Rows, &held[len(held)-1])
		}
	}
	var results impact.Results
	if len(batch.Rows) > 0 {
		var err error
		if results, err = w.Store.PutObservations(ctx, batch); err != nil {
			return nil, err
		}
	}
	out, n := make([]impact.ImportRow, len(chunk)), 0
	for i, l := range chunk {
		if l.row == nil {
			out[i] = report(l.src, len(l.src.Faults) > 0, nil)
			continue
		}
		result := &results.Rows[n]
		n++
		result.Warnings = result.Warnings[len(l.src.Warnings):] // those found while writing
		out[i] = report(l.src, false, result)
	}
	return out, nil
}

// report says what became of a row; result is nil when it was not written.
func report(src *format.StatementRow, rejected bool, result *impact.RowResult) impact.ImportRow {
	r := impact.ImportRow{Row: src.Row, Line: src.Line, Outcome: impact.Unchanged}
	faults, warnings := src.Faults, src.Warnings
	if rejected {
		r.Outcome = impact.Rejected
	}
	if result != nil {
		r.Outcome = result.Outcome
		if result.Outcome != impact.Rejected {
			r.Observation = result.Observation.ID
		}
		if len(result.Faults) > 0 || len(result.Warnings) > 0 {
			// Placed on a copy: this may run again.
			told, record := *src, *src.Record
			record.Faults, record.Warnings = slices.Clone(faults), slices.Clone(warnings)
			told.Record = &record
			told.Tell(result.Faults, result.Warnings)
			faults, warnings = record.Faults, record.Warnings
		}
	}
	r.Faults, r.Warnings = faults[:min(len(faults), impact.ImportRowFaults)], warnings[:min(len(warnings), impact.ImportRowFaults)]
	if len(r.Faults) > 0 || len(r.Warnings) > 0 {
		st := &src.Statement
		r.Key = &impact.ImportKey{Organisation: st.Organisation, Indicator: st.Indicator, Territory: st.Territory, Period: st.Period}
	}
	return r
}

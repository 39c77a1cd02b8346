package imports

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// worker works on one job.
type worker struct {
	*Runner
	job       *impact.ImportJob
	asked     impact.ImportOptions // of the job, which every step renews while rows are read ahead
	long      func()
	catalogue *impact.Catalogue
	checker   *impact.Checker
	mapping   format.Mapping
	known     map[string]organisation // by reference

	// What the first reading told.
	file  impact.ImportFile
	total int
	twins map[int]place // rows that state what another row states, by row
	// Of a replacing file: the cells it states, and how many rows do not say
	// which fact they are about.
	stated  map[cell]struct{}
	cuts    cutNumbers
	unclear int
}

func (w *worker) run(ctx context.Context) (err error) {
	if w.catalogue, err = w.Store.Catalogue(ctx); err != nil {
		return err
	}
	w.checker = &impact.Checker{Catalogue: w.catalogue, Today: impact.DateOf(w.Now())}
	w.known = map[string]organisation{}
	if id := w.asked.Mapping; id != "" {
		m, err := w.Store.ImportMapping(ctx, w.job.Principal, id)
		if err != nil {
			return err
		}
		w.mapping = format.Mapping{Headers: m.Columns, Values: m.Codes}
	}
	if w.job.Kind == impact.ImportMembers {
		return w.members(ctx)
	}
	if err := w.survey(ctx); err != nil {
		return err
	}
	if w.job.Cancelling {
		return w.end(ctx, impact.ImportCancelled)
	}
	if held, err := w.guard(ctx); err != nil || held {
		return err
	}
	if w.asked.DryRun || w.asked.AllOrNothing {
		return w.writeAtOnce(ctx)
	}
	return w.writeStepwise(ctx)
}

func (w *worker) open(ctx context.Context, schema *format.Schema) (*format.Table, error) {
	return format.Open(w.Store.JobSource(ctx, w.job), format.ReadOptions{
		Schema: schema, MediaType: w.job.File.MediaType, Name: w.job.File.Name, Dialect: w.asked.Dialect, Mapping: w.mapping,
	})
}

func (w *worker) options() format.StatementOptions {
	o := w.asked
	return format.StatementOptions{Catalogue: w.catalogue, Organisation: o.DefaultOrganisation, Period: o.DefaultPeriod, Territory: o.DefaultTerritory, UnitRequired: true}
}

// describe says how the file was understood, once it was read to its end.
func (w *worker) describe(t *format.Table) impact.ImportFile {
	f := w.job.File
	f.Format, f.Delimiter, f.Decimal, f.Encoding, f.BOM, f.Sheet = t.Layout.Format, t.Layout.Delimiter, t.Layout.Decimal, t.Layout.Encoding, t.Layout.BOM, t.Layout.Sheet
	f.HeaderMapping, f.Ignored, f.Warnings = t.Headers.ByHeader(t.Header), t.Headers.Ignored, t.Warnings
	return f
}

// survey reads the file once, to know its rows before any is written: how many
// there are, and which state the same fact.
func (w *worker) survey(ctx context.Context) error {
	t, err := w.open(ctx, format.Observations)
	if err != nil {
		return err
	}
	w.twins, w.cuts = map[int]place{}, cutNumbers{}
	if w.asked.Mode == impact.ImportReplace {
		w.stated = map[cell]struct{}{}
	}
	first := map[cell]place{}
	for rows, err := range ahead(inChunks(t.Statements(w.options()))) {
		if err == nil {
			err = errors.Join(ctx.Err(), w.meet(ctx, rows))
		}
		if err != nil {
			return err
		}
		for _, row := range rows {
			w.note(row, first)
		}
	}
	w.file = w.describe(t)
	if w.total == 0 {
		return nothingToRead()
	}
	if w.total <= impact.ImportSyncRows {
		return nil
	}
	w.long()
	return w.Store.WriteImport(ctx, w.job, func(context.Context) (impact.ImportProgress, error) {
		return impact.ImportProgress{Report: w.job.Report, RowsDone: w.job.RowsDone, RowsTotal: w.total, File: &w.file}, nil
	})
}

// note remembers which fact a row states; first holds the first row of each.
func (w *worker) note(row *format.StatementRow, first map[cell]place) {
	w.total = row.Row
	found := w.known[row.Statement.Organisation]
	if found.organisation == nil {
		w.unclear++
		return
	}
	key, _, warnings := w.checker.ResolveKey(&row.Statement, found.organisation)
	if len(key.Cells) == 0 {
		w.unclear++
		return
	}
	here := place{row.Row, row.Line, impact.Merged(warnings)}
	k := w.cuts.cell(&key.Cells[0].CellKey, key.Indicator.Key)
	if other, twice := first[k]; twice {
		w.twins[row.Row] = other
		if _, told := w.twins[other.row]; !told {
			w.twins[other.row] = here
		}
	} else {
		first[k] = here
	}
	if w.stated != nil && w.action(row) != format.Delete {
		for i := range key.Cells {
			w.stated[w.cuts.cell(&key.Cells[i].CellKey, key.Cells[i].Indicator)] = struct{}{}
		}
	}
}

func nothingToRead() error {
	return &impact.Error{
		Kind: impact.Invalid, Code: "import_unreadable",
		Detail: impact.Text{FR: "Le fichier n'a aucune ligne sous son en-tête.", EN: "The file has no row below its header."},
		Hint:   impact.Text{FR: "Un modèle à remplir : GET /v1/import-templates/{questionnaire}.csv.", EN: "A template to fill in: GET /v1/import-templates/{questionnaire}.csv."},
	}
}

// place is where a row stands in its file.
type place struct {
	row, line int
	merged    bool // its territory has become another one
}

// cell is a natural key in little room: a file may state a hundred thousand.
type cell struct {
	organisation impact.OrganisationKey
	indicator    impact.IndicatorKey
	territory    impact.TerritoryKey
	period       impact.Period
	cut          int32
}

// cutNumbers gives each cut met a number.
type cutNumbers map[string]int32

func (c cutNumbers) cell(k *impact.CellKey, indicator impact.IndicatorKey) cell {
	n, ok := c[k.Cut]
	if !ok {
		n = int32(len(c))
		c[k.Cut] = n
	}
	return cell{k.Organisation, indicator, k.Territory, k.Period, n}
}

// chunks reads the file again, a step at a time, from after the rows already
// done.
func (w *worker) chunks(ctx context.Context, done int) iter.Seq2[[]*line, error] {
	return func(yield func([]*line, error) bool) {
		t, err := w.open(ctx, format.Observations)
		if err != nil {
			yield(nil, err)
			return
		}
		for rows, err := range inChunks(t.Statements(w.options())) {
			if err != nil {
				yield(nil, err)
				return
			}
			chunk := make([]*line, 0, len(rows))
			for _, row := range rows {
				if row.Row > done {
					chunk = append(chunk, w.read(row))
				}
			}
			if len(chunk) > 0 && !yield(chunk, nil) {
				return
			}
		}
	}
}

// writeStepwise writes the good rows, each step by itself.
func (w *worker) writeStepwise(ctx context.Context) error {
	for chunk, err := range ahead(w.chunks(ctx, w.job.RowsDone)) {
		if err != nil {
			return err
		}
		last := chunk[len(chunk)-1].src.Row
		err := w.Store.WriteImport(ctx, w.job, func(ctx context.Context) (p impact.ImportProgress, err error) {
			p = impact.ImportProgress{Report: w.job.Report.Clone(), RowsDone: last, RowsTotal: w.total, File: &w.file}
			if err = w.writeChunk(ctx, chunk, &p); err != nil {
				return p, err
			}
			if last == w.total && w.stated == nil {
				p.State, p.Outcome = impact.ImportCompleted, p.Report.Counts.Outcome()
			}
			return p, nil
		})
		if err != nil {
			return err
		}
		if w.job.State.Ended() {
			return nil
		}
		if w.job.Cancelling {
			return w.end(ctx, impact.ImportCancelled)
		}
	}
	if w.stated != nil {
		for chunk, err := range w.absent(ctx) {
			if err != nil {
				return err
			}
			err := w.Store.WriteImport(ctx, w.job, func(ctx context.Context) (p impact.ImportProgress, err error) {
				p = impact.ImportProgress{Report: w.job.Report.Clone(), RowsDone: w.total, RowsTotal: w.total}
				n, err := w.remove(ctx, chunk)
				p.Report.Counts.Deleted += n
				return p, err
			})
			if err != nil {
				return err
			}
			if w.job.Cancelling {
				return w.end(ctx, impact.ImportCancelled)
			}
		}
	}
	return w.end(ctx, impact.ImportCompleted)
}

// end ends a job; what was written stays.
func (w *worker) end(ctx context.Context, state impact.ImportState) error {
	return w.Store.WriteImport(ctx, w.job, func(context.Context) (impact.ImportProgress, error) {
		p := impact.ImportProgress{Report: w.job.Report, RowsDone: w.job.RowsDone, RowsTotal: w.total, State: state}
		if state == impact.ImportCompleted {
			p.Outcome = p.Report.Counts.Outcome()
		}
		return p, nil
	})
}

// writeAtOnce writes the whole file in one transaction, and takes it back when
// it was a dry run or when a row is wrong. A dry run therefore finds exactly
// what the import would find.
func (w *worker) writeAtOnce(ctx context.Context) error {
	stopped := false
	err := w.Store.WriteImport(ctx, w.job, func(tx context.Context) (p impact.ImportProgress, err error) {
		p = impact.ImportProgress{RowsDone: w.total, RowsTotal: w.total, File: &w.file, State: impact.ImportCompleted}
		p.Report.Planned, p.Report.Scoped, p.Report.Passed = w.job.Report.Planned, w.job.Report.Scoped, w.job.Report.Passed
		// The file is read beside the transaction, which its caller may cancel.
		for chunk, err := range ahead(w.chunks(ctx, 0)) {
			if err != nil {
				return p, err
			}
			if stopped, err = w.Store.ImportCancelled(ctx, w.job); err != nil {
				return p, err
			}
			if stopped {
				return impact.ImportProgress{RowsTotal: w.total, File: &w.file, State: impact.ImportCancelled, Undo: true}, nil
			}
			if err := w.writeChunk(tx, chunk, &p); err != nil {
				return p, err
			}
		}
		if w.stated != nil {
			for chunk, err := range w.absent(tx) {
				if err != nil {
					return p, err
				}
				n, err := w.remove(tx, chunk)
				if err != nil {
					return p, err
				}
				p.Report.Counts.Deleted += n
			}
		}
		p.Outcome = p.Report.Counts.Outcome()
		if w.asked.AllOrNothing && p.Report.Counts.Rejected > 0 {
			p.Undo, p.Outcome = true, impact.ImportNothingSucceeded
		}
		if p.Undo = p.Undo || w.asked.DryRun; p.Undo {
			p.Report.Counts.Undone()
		}
		return p, nil
	})
	return err
}

// writeChunk writes some rows and adds what became of them to the progress.
func (w *worker) writeChunk(ctx context.Context, chunk []*line, p *impact.ImportProgress) error {
	rows, err := w.put(ctx, chunk)
	if err != nil {
		return fmt.Errorf("rows from %d on: %w", chunk[0].src.Row, err)
	}
	for i := range rows {
		p.Report.Add(&rows[i])
	}
	packed, err := w.Store.PackImportRows(rows)
	if err != nil {
		return err
	}
	p.Rows = append(p.Rows, packed)
	return nil
}

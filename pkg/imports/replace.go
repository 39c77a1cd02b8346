package imports

import (
	"context"
	"iter"
	"slices"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// guard holds a replacing file that would delete more of its scope than it may,
// or that has rows of which nobody can tell what they are about: what they meant
// to keep would be deleted.
func (w *worker) guard(ctx context.Context) (held bool, err error) {
	if w.stated == nil || w.job.Report.Passed {
		return false, nil
	}
	report := w.job.Report.Clone()
	for some, err := range w.scoped(ctx) {
		if err != nil {
			return false, err
		}
		report.Scoped += len(some)
		report.Planned += len(w.unstated(some))
	}
	o := w.asked
	excessive := report.Planned*1000 > report.Scoped*o.MaxDeleteRatio || report.Planned > 0 && w.unclear > 0
	report.Passed = !excessive || o.Confirmed || o.DryRun
	p := impact.ImportProgress{Report: report, RowsTotal: w.total, File: &w.file}
	if !report.Passed {
		p.State = impact.ImportHeld
		p.Report.Problem = deleteGuard(w.job.ID, report.Planned, report.Scoped, w.unclear)
	} else {
		p.Report.Problem = nil
	}
	err = w.Store.WriteImport(ctx, w.job, func(context.Context) (impact.ImportProgress, error) { return p, nil })
	return !report.Passed, err
}

func deleteGuard(id impact.ImportID, planned, scoped, unclear int) *impact.ImportProblem {
	n, of := strconv.Itoa(planned), strconv.Itoa(scoped)
	p := &impact.ImportProblem{
		Code: "delete_guard",
		Detail: impact.Text{
			FR: n + " observations sur les " + of + " du périmètre sont absentes du fichier et seraient supprimées. Rien n'est encore écrit.",
			EN: n + " of the " + of + " observations of the scope are absent from the file and would be deleted. Nothing is written yet.",
		},
		Hint: confirmOrCancel(id),
	}
	if unclear > 0 {
		m := strconv.Itoa(unclear)
		p.Detail.FR += " " + m + " lignes ne disent pas de quel fait elles parlent : ce qu'elles voulaient garder serait supprimé."
		p.Detail.EN += " " + m + " rows do not say which fact they are about: what they meant to keep would be deleted."
	}
	return p
}

// confirmOrCancel says what to do with an import that is held.
func confirmOrCancel(id impact.ImportID) impact.Text {
	at := "POST /v1/imports/" + string(id)
	return impact.Text{
		FR: "Si c'est voulu, " + at + "/confirm ; sinon " + at + "/cancel, complétez le fichier, et renvoyez-le.",
		EN: "If this is meant, " + at + "/confirm; else " + at + "/cancel, complete the file, and send it again.",
	}
}

// scoped gives the observations of the scope that the caller may see.
func (w *worker) scoped(ctx context.Context) iter.Seq2[[]impact.Observation, error] {
	return func(yield func([]impact.Observation, error) bool) {
		scope := w.asked.Scope
		f := impact.ObservationFilter{}
		for _, code := range scope.Indicators {
			if ind := w.catalogue.Indicator(code); ind != nil {
				f.Indicators = append(f.Indicators, ind.Key)
			}
		}
		organisations, periods := scope.Organisations, scope.Periods
		if len(organisations) == 0 {
			organisations = []impact.OrganisationID{""}
		}
		if len(periods) == 0 {
			periods = []impact.Period{{Start: impact.MinDate, End: impact.MaxDate}}
		}
		for _, f.Organisation = range organisations {
			for i := range periods {
				f.Within = &periods[i]
				page := impact.Page{Limit: impact.ImportChunk}
				for {
					list, next, err := w.Store.Observations(ctx, w.job.Principal, f, page)
					if !yield(list, err) || err != nil {
						return
					}
					if page.After = next; next == nil {
						break
					}
				}
			}
		}
	}
}

// unstated keeps what the file does not state.
func (w *worker) unstated(list []impact.Observation) []impact.Observation {
	return slices.DeleteFunc(list, func(o impact.Observation) bool {
		n, met := w.cuts[o.Cut]
		if !met {
			return false
		}
		_, stated := w.stated[cell{o.Organisation, o.Indicator, o.Territory, o.Period, n}]
		return stated
	})
}

// absent gives the observations of the scope that the file leaves out, a step
// at a time.
func (w *worker) absent(ctx context.Context) iter.Seq2[[]impact.Observation, error] {
	return func(yield func([]impact.Observation, error) bool) {
		for some, err := range w.scoped(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if some = w.unstated(some); len(some) > 0 && !yield(some, nil) {
				return
			}
		}
	}
}

// remove deletes observations and tells how many there were.
func (w *worker) remove(ctx context.Context, list []impact.Observation) (int, error) {
	batch := impact.Batch{Principal: w.job.Principal, Checker: w.checker}
	for i := range list {
		o := &list[i]
		batch.Rows = append(batch.Rows, &impact.Row{
			Organisation: &impact.Organisation{Key: o.Organisation, ID: o.OrganisationID}, Delete: true,
			Resolved: impact.Resolved{
				Indicator: w.catalogue.IndicatorByKey(o.Indicator), Territory: w.catalogue.Gazetteer().ByKey(o.Territory), Period: o.Period,
				Cells: []impact.Observation{{CellKey: o.CellKey}},
			},
		})
	}
	results, err := w.Store.PutObservations(ctx, batch)
	n := 0
	for i := range results.Rows {
		if results.Rows[i].Outcome == impact.Removed {
			n++
		}
	}
	return n, err
}

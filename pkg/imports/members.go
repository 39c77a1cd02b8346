package imports

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// members brings the memberships of a network in line with the file, in one
// transaction: a list cut short must not end memberships by halves.
func (w *worker) members(ctx context.Context) error {
	t, err := w.open(ctx, format.Members)
	if err != nil {
		return err
	}
	o := w.asked
	sync := impact.MemberSync{Network: o.Network, Mode: o.Mode, MaxDeleteRatio: o.MaxDeleteRatio, Confirmed: o.Confirmed, DryRun: o.DryRun}
	var read []*format.MemberRow
	for row, err := range t.Members(w.catalogue) {
		if err != nil {
			return err
		}
		if o.RejectWarnings {
			row.Faults, row.Warnings = append(row.Faults, row.Warnings...), nil
		}
		read = append(read, row)
	}
	w.file, w.total = w.describe(t), len(read)
	if w.total == 0 {
		return nothingToRead()
	}
	if w.total > impact.ImportSyncRows {
		w.long()
	}
	for _, row := range read {
		m := &row.Member
		sync.Rows = append(sync.Rows, &impact.MemberRow{
			ExternalID: m.ExternalID, SIRET: m.SIRET, SIREN: m.SIREN, RNA: m.RNA, Name: m.Name, StructureKind: m.StructureKind, Class: m.Class, Line: row.Line,
			From: m.From, To: m.To, Removed: row.Action == format.Delete, Faults: row.Faults, Warnings: row.Warnings,
		})
	}
	err = w.Store.WriteImport(ctx, w.job, func(ctx context.Context) (p impact.ImportProgress, err error) {
		p = impact.ImportProgress{RowsDone: w.total, RowsTotal: w.total, File: &w.file, State: impact.ImportCompleted}
		results, err := w.Store.SyncMembers(ctx, w.job.Principal, sync)
		if err != nil {
			return p, err
		}
		return p, w.reportMembers(read, results, &p)
	})
	refusal, refused := errors.AsType[*impact.Error](err)
	if !refused || refusal.Code != "delete_guard" {
		return err
	}
	// What would end is told beside the refusal.
	sync.Confirmed, sync.DryRun = true, true
	results, err := w.Store.SyncMembers(ctx, w.job.Principal, sync)
	if err != nil {
		return err
	}
	return w.Store.WriteImport(ctx, w.job, func(context.Context) (impact.ImportProgress, error) {
		report := impact.ImportReport{Planned: len(results.Ended), Scoped: results.InForce, Problem: &impact.ImportProblem{Code: refusal.Code, Detail: refusal.Detail, Hint: confirmOrCancel(w.job.ID)}}
		return impact.ImportProgress{Report: report, RowsTotal: w.total, File: &w.file, State: impact.ImportHeld}, nil
	})
}

// withheld says why a snapshot ended no membership.
func withheld(results *impact.MemberResults) impact.Text {
	if len(results.Withheld) == 0 {
		return impact.Text{}
	}
	lines := make([]string, min(len(results.Unplaced), 5))
	for i := range lines {
		lines[i] = strconv.Itoa(results.Unplaced[i])
	}
	list := strings.Join(lines, ", ")
	if len(results.Unplaced) > len(lines) {
		list += ", …"
	}
	n := strconv.Itoa(len(results.Withheld))
	return impact.Text{
		FR: "Adhésions absentes de la liste qui continuent : " + n + ". Nul ne sait qui nomment les lignes refusées (ligne " + list + ") : corrigez-les et renvoyez la liste entière.",
		EN: "Memberships absent from the list that go on: " + n + ". Nobody can tell whom the refused rows name (line " + list + "): correct them and send the whole list again.",
	}
}

// reportMembers says what became of each row. The memberships that ended for
// being absent from a snapshot count as deleted.
func (w *worker) reportMembers(read []*format.MemberRow, results impact.MemberResults, p *impact.ImportProgress) error {
	for from := 0; from < len(read); from += impact.ImportChunk {
		var out []impact.ImportRow
		for i, row := range read[from:min(from+impact.ImportChunk, len(read))] {
			result := &results.Rows[from+i]
			told, record := *row, *row.Record
			record.Faults, record.Warnings = slices.Clone(row.Faults), slices.Clone(row.Warnings)
			told.Record = &record
			told.Tell(result.Faults[min(len(row.Faults), len(result.Faults)):], result.Warnings[min(len(row.Warnings), len(result.Warnings)):])
			r := impact.ImportRow{Row: row.Row, Line: row.Line, Outcome: result.Outcome, Faults: record.Faults, Warnings: record.Warnings}
			if result.Outcome != impact.Rejected {
				r.Organisation = result.Membership.Organisation
			}
			if len(r.Faults) > 0 || len(r.Warnings) > 0 {
				r.Key = &impact.ImportKey{Organisation: row.Member.Organisation}
			}
			out = append(out, r)
			p.Report.Add(&r)
		}
		packed, err := w.Store.PackImportRows(out)
		if err != nil {
			return err
		}
		p.Rows = append(p.Rows, packed)
	}
	p.Report.Planned, p.Report.Scoped, p.Report.Registered = len(results.Ended)+len(results.Withheld), results.InForce, results.Registered
	p.Report.Withheld = withheld(&results)
	p.Report.Counts.Deleted += len(results.Ended)
	p.Outcome = p.Report.Counts.Outcome()
	if w.asked.AllOrNothing && p.Report.Counts.Rejected > 0 {
		p.Undo, p.Outcome = true, impact.ImportNothingSucceeded
	}
	if p.Undo || w.asked.DryRun {
		p.Report.Counts.Undone()
	}
	return nil
}

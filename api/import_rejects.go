package api

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// getImportRejects gives the rows that were refused, to be mended and sent
// again.
//
//	@Summary		Rejected rows of an import, as CSV
//	@Description	The sender's own columns, in their order, and columns that say what is wrong, in the language asked for. Mended, the file can be sent as it is, with retry_of.
//	@ID				getImportRejects
//	@Tags			imports
//	@Produce		text/csv
//	@Param			id		path		string	true	"Id of the import"
//	@Success		200		{string}	string
//	@Header			200		{string}	Content-Disposition	"Name of the file"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports/{id}/rejects [get]
func (s *server) getImportRejects(c *call) error {
	ctx := c.r.Context()
	m, err := s.sentImport(c)
	if err != nil {
		return err
	}
	source, err := s.Imports.ImportSource(ctx, c.principal, m.ID)
	if err != nil {
		return err
	}
	table, err := s.tableOf(c, &m, source)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(m.File.Name, path.Ext(m.File.Name))
	if name == "" {
		name = "import-" + string(m.ID)
	}
	c.attach(name + "-rejects.csv")
	return c.stream(FormatCSV.Type, func(w io.Writer) error { return s.writeRejects(ctx, c, &m, table, w) })
}

// tableOf opens the file of an import as it was read.
func (s *server) tableOf(c *call, m *impact.Import, source io.Reader) (*format.Table, error) {
	o := format.ReadOptions{Schema: format.Observations, MediaType: m.File.MediaType, Name: m.File.Name, Dialect: m.Options.Dialect, KeepTotals: true}
	if m.Kind == impact.ImportMembers {
		o.Schema = format.Members
	}
	if m.Options.Mapping != "" {
		kept, err := s.Mappings.ImportMapping(c.r.Context(), c.principal, m.Options.Mapping)
		if err != nil && impact.KindOf(err) != impact.NotFound { // forgotten since
			return nil, err
		}
		o.Mapping = format.Mapping{Headers: kept.Columns, Values: kept.Codes}
	}
	return format.Open(source, o)
}

func (s *server) writeRejects(ctx context.Context, c *call, m *impact.Import, table *format.Table, w io.Writer) error {
	out, err := format.NewRejects(w, table.Header, table.Layout, c.lang)
	if err != nil {
		return err
	}
	p := impact.Page{Limit: impact.ImportChunk}
	rejected, next, err := s.Imports.ImportRows(ctx, c.principal, m.ID, string(impact.Rejected), p)
	if err != nil {
		return err
	}
	for record, err := range table.Records() {
		if len(rejected) == 0 && next != nil {
			p.After = next
			if rejected, next, err = s.Imports.ImportRows(ctx, c.principal, m.ID, string(impact.Rejected), p); err != nil {
				return err
			}
		}
		if len(rejected) == 0 {
			break
		}
		if err != nil {
			return err
		}
		if reported(table, record, &rejected[0]) {
			if err := out.Add(record.Line, record.Cells, rejected[0].Faults); err != nil {
				return err
			}
			rejected = rejected[1:]
		}
	}
	return out.Close()
}

// reported tells that a record is a row of the report. Lines tell it, since lines of
// totals have no row; several observations of JSON may stand on one.
func reported(table *format.Table, record *format.Record, row *impact.ImportRow) bool {
	return record.Line == row.Line && (table.Layout.HeaderLine > 0 || record.Row == row.Row)
}

func errorOf(err error) (*impact.Error, bool) { return errors.AsType[*impact.Error](err) }

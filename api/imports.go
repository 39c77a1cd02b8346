package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ImportStore keeps imports, their files and reports. Each method shows and
// changes what the principal may see and change, and nothing else exists for it.
type ImportStore interface {
	CreateImport(ctx context.Context, p impact.Principal, n impact.NewImport, file io.ReadSeeker) (m impact.Import, replayed bool, err error)
	Import(ctx context.Context, p impact.Principal, id impact.ImportID) (impact.Import, error)
	Imports(ctx context.Context, p impact.Principal, f impact.ImportFilter, page impact.Page) ([]impact.Import, []string, error)
	ImportRows(ctx context.Context, p impact.Principal, id impact.ImportID, outcome string, page impact.Page) ([]impact.ImportRow, []string, error)
	ImportSource(ctx context.Context, p impact.Principal, id impact.ImportID) (io.Reader, error)
	CancelImport(ctx context.Context, p impact.Principal, id impact.ImportID) (impact.Import, error)
	ConfirmImport(ctx context.Context, p impact.Principal, id impact.ImportID) (impact.Import, error)
}

// ImportRunner works on imports that were recorded: done is closed when an
// import no longer runs here, long when it has more rows than a caller waits for.
type ImportRunner interface {
	Run(id impact.ImportID, size int64) (done, long <-chan struct{})
}

// importParams are the parameters of every import.
const importParams = "dry_run mode atomicity on_warning csv_dialect mapping retry_of max_delete_ratio default_organisation default_period default_territory scope"

// createImport receives a file of observations.
//
//	@Summary		Import a file of observations
//	@Description	CSV, JSON, NDJSON or XLSX, alone, compressed (gzip) or in a form; at most 20 MB and 100,000 rows. Small files are answered with their report; large ones with 202 and the address where the job can be watched. A processed file answers 200 even when rows were rejected: `outcome` says so. The same Idempotency-Key with the same file answers with the same import.
//	@ID				createImport
//	@Tags			imports
//	@Accept			text/csv,json,application/x-ndjson,application/vnd.openxmlformats-officedocument.spreadsheetml.sheet,mpfd
//	@Produce		json
//	@Param			Idempotency-Key			header		string		true	"One for each new file; the same again when the answer was lost"
//	@Param			Prefer					header		string		false	"respond-async: do not wait; wait=N: wait N seconds, 25 at most"
//	@Param			Content-Disposition		header		string		false	"attachment; filename=\"T3.csv\""
//	@Param			dry_run					query		boolean		false	"Do everything and take it back"
//	@Param			mode					query		string		false	"What a row does to what is known"	Enums(merge, replace, delete)	default(merge)
//	@Param			atomicity				query		string		false	"Good rows go in, or all or nothing"	Enums(row, all)	default(row)
//	@Param			on_warning				query		string		false	"What a warning does to its row"	Enums(accept, reject)	default(accept)
//	@Param			scope					query		[]string	false	"With mode=replace, what the file speaks for: indicator:…, period:…, organisation:…, network:…"	collectionFormat(multi)
//	@Param			max_delete_ratio		query		number		false	"With mode=replace, share of the scope that may be deleted unasked"	minimum(0)	maximum(1)	default(0.1)
//	@Param			csv_dialect				query		string		false	"How the file is written"	Enums(auto, rfc4180, fr)	default(auto)
//	@Param			mapping					query		string		false	"Id of a saved mapping"
//	@Param			retry_of				query		string		false	"Id of the import whose rejected rows this file mends"
//	@Param			default_organisation	query		string		false	"For rows that name none"
//	@Param			default_period			query		string		false	"For rows that name none"
//	@Param			default_territory		query		string		false	"For rows that name none"
//	@Param			body					body		ObservationBatch	true	"The file"
//	@Success		200						{object}	Import
//	@Success		202						{object}	Import
//	@Header			200,202					{string}	Location			"Address of the import"
//	@Header			202						{integer}	Retry-After			"Seconds until it is worth looking again"
//	@Header			200						{string}	Consistency-Token	"Send it to a live reading that must include this import"
//	@Failure		default					{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports [post]
func (s *server) createImport(c *call) error {
	options := impact.ImportOptions{
		Mode: impact.ImportMode(c.query.enum("mode", "merge", "merge", "replace", "delete")),
	}
	s.importOptions(c, &options)
	s.importScope(c, &options)
	return s.receiveImport(c, impact.ImportObservations, options)
}

// importOptions reads the parameters that every kind of import takes.
func (s *server) importOptions(c *call, o *impact.ImportOptions) {
	q := c.query
	o.DryRun = q.boolean("dry_run", false)
	o.AllOrNothing = q.enum("atomicity", "row", "row", "all") == "all"
	o.RejectWarnings = q.enum("on_warning", "accept", "accept", "reject") == "reject"
	o.Dialect = q.enum("csv_dialect", "auto", "auto", "rfc4180", "fr")
	o.Mapping, o.RetryOf = impact.MappingID(q.one("mapping")), impact.ImportID(q.one("retry_of"))
	o.DefaultOrganisation, o.DefaultPeriod, o.DefaultTerritory = q.one("default_organisation"), q.one("default_period"), q.one("default_territory")
	o.MaxDeleteRatio = 100
	if v := q.one("max_delete_ratio"); v != "" {
		ratio, fault := impact.ParseQuantity(v)
		if fault != nil || ratio < 0 || ratio > impact.One {
			q.unread("max_delete_ratio", "out_of_range", v,
				impact.Text{FR: "max_delete_ratio n'est pas une part de 0 à 1.", EN: "max_delete_ratio is not a share from 0 to 1."},
				impact.Text{FR: "Par exemple max_delete_ratio=0.1 pour un dixième.", EN: "For instance max_delete_ratio=0.1 for one tenth."})
		}
		o.MaxDeleteRatio = int(ratio * 1000 / impact.One)
	}
	if o.DefaultPeriod != "" {
		_, fault := impact.ParsePeriod(o.DefaultPeriod)
		q.cannotRead("default_period", fault)
	}
}

// importScope reads what a replacing file speaks for.
func (s *server) importScope(c *call, o *impact.ImportOptions) {
	q := c.query
	terms := q.all("scope")
	switch {
	case o.Mode == impact.ImportReplace && len(terms) == 0:
		q.unread("scope", "missing_parameter", "",
			impact.Text{FR: "mode=replace demande scope : ce que le fichier ne contient pas y sera supprimé.", EN: "mode=replace needs scope: what the file leaves out of it will be deleted."},
			impact.Text{FR: "Par exemple scope=period:2025&scope=indicator:insertion_hours.", EN: "For instance scope=period:2025&scope=indicator:insertion_hours."})
	case o.Mode != impact.ImportReplace && len(terms) > 0:
		q.unread("scope", "conflicting_parameters", strings.Join(q.values["scope"], " "),
			impact.Text{FR: "scope n'a de sens qu'avec mode=replace.", EN: "scope only makes sense with mode=replace."},
			impact.Text{FR: "Ôtez scope, ou écrivez mode=replace.", EN: "Leave scope out, or write mode=replace."})
		return
	}
	for _, term := range slices.Concat(terms...) {
		kind, value, _ := strings.Cut(term, ":")
		switch kind {
		case "indicator":
			ind, fault := s.Catalogue.FindIndicator(value)
			q.refuse("scope", fault)
			if ind != nil {
				o.Scope.Indicators = append(o.Scope.Indicators, ind.Code)
				for _, leaf := range s.Catalogue.Leaves(ind) {
					o.Scope.Indicators = append(o.Scope.Indicators, leaf.Code)
				}
			}
		case "period":
			p, fault := impact.ParsePeriod(value)
			q.cannotRead("scope", fault)
			o.Scope.Periods = append(o.Scope.Periods, p)
		case "organisation":
			s.scopeOrganisation(c, o, value)
		case "network":
			if value != string(c.principal.Network) || value == "" {
				f := impact.Fault{
					Code: "unknown_reference", Value: value,
					Detail: impact.Text{FR: "Ce réseau n'est pas celui de votre jeton.", EN: "This network is not that of your token."},
					Hint:   impact.Text{FR: "GET /v1/me le nomme.", EN: "GET /v1/me names it."},
				}
				q.refuse("scope", &f)
			}
			o.Scope.Network = impact.NetworkID(value)
		default:
			q.unread("scope", "unknown_code", term,
				impact.Text{FR: "scope ne connaît pas « " + kind + " ».", EN: "scope does not know \"" + kind + "\"."},
				impact.Text{FR: "Écrivez indicator:…, period:…, organisation:… ou network:….", EN: "Write indicator:…, period:…, organisation:… or network:…."})
		}
	}
}

func (s *server) scopeOrganisation(c *call, o *impact.ImportOptions, ref string) {
	found, _, err := s.find(c, ref)
	switch {
	case err == nil && len(found) == 1:
		o.Scope.Organisations = append(o.Scope.Organisations, found[0].ID)
	case err == nil && len(found) > 1:
		f := impact.AmbiguousOrganisation(ref, found)
		c.query.refuse("scope", &f)
	default:
		f := impact.UnknownOrganisation(ref)
		c.query.refuse("scope", &f)
	}
}

// receiveImport records the file and waits for its report as long as the caller
// wishes.
func (s *server) receiveImport(c *call, kind impact.ImportKind, options impact.ImportOptions) error {
	key, err := c.idempotencyKey(requiredKey)
	if err != nil {
		return err
	}
	patience, err := c.patience()
	if err != nil {
		return err
	}
	if options.RetryOf != "" {
		if _, err := s.Imports.Import(c.r.Context(), c.principal, options.RetryOf); err != nil {
			f := notMine("retry_of", string(options.RetryOf))
			c.query.refuse("retry_of", &f)
		}
	}
	if options.Mapping != "" {
		if _, err := s.Mappings.ImportMapping(c.r.Context(), c.principal, options.Mapping); err != nil {
			f := notMine("mapping", string(options.Mapping))
			c.query.refuse("mapping", &f)
		}
	}
	if err := c.query.err(); err != nil {
		return err
	}
	file, err := c.receiveFile()
	if err != nil {
		return err
	}
	defer file.forget()
	mediaType, _, err := mime.ParseMediaType(file.mediaType)
	if err != nil {
		mediaType = "application/octet-stream"
	}
	n := impact.NewImport{
		Kind: kind, Options: options, Key: key, Fingerprint: c.fileFingerprint(mediaType, file.sum),
		File: impact.ImportFile{Name: file.name, MediaType: file.mediaType, SHA256: hex(file.sum[:]), Size: file.size},
	}
	m, replayed, err := s.Imports.CreateImport(c.r.Context(), c.principal, n, file)
	if err != nil {
		if e, ok := errorOf(err); ok && e.Code == "quota_exceeded" {
			c.w.Header().Set("Retry-After", "5")
		}
		return err
	}
	if replayed {
		c.w.Header().Set("Idempotent-Replayed", "true")
	} else if m, err = s.runImport(c, m, patience); err != nil {
		return err
	}
	return s.answerImport(c, &m)
}

func notMine(parameter, value string) impact.Fault {
	return impact.Fault{
		Code: "unknown_reference", Parameter: parameter, Value: value,
		Detail: impact.Text{FR: parameter + " ne désigne rien qui soit à vous.", EN: parameter + " names nothing of yours."},
		Hint:   impact.Text{FR: "GET /v1/imports et GET /v1/import-mappings donnent les vôtres.", EN: "GET /v1/imports and GET /v1/import-mappings give yours."},
	}
}

// fileFingerprint tells two requests apart. A form has another boundary each
// time it is sent, so the file counts and not the body.
func (c *call) fileFingerprint(mediaType string, sum [32]byte) [32]byte {
	h := sha256.New()
	for _, part := range []string{c.r.Method, c.path, c.query.canonical(), mediaType} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	h.Write(sum[:])
	return [32]byte(h.Sum(nil))
}

// Patience of a caller of an import (api.md 4.3).
const (
	usualPatience   = 10 * time.Second
	longestPatience = 25 * time.Second
)

// patience is how long the caller waits, from Prefer; explicit tells that it
// said so.
type patience struct {
	wait     time.Duration
	explicit bool
}

func (c *call) patience() (patience, error) {
	p := patience{wait: usualPatience}
	for preference := range strings.SplitSeq(strings.Join(c.r.Header.Values("Prefer"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "respond-async":
			p = patience{0, true}
			c.w.Header().Set("Preference-Applied", "respond-async")
			return p, nil
		case "wait":
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			if err != nil || n < 0 {
				return p, &impact.Error{
					Kind: impact.Malformed, Code: "invalid_header",
					Detail: impact.Text{FR: "Prefer: wait n'est pas un nombre de secondes.", EN: "Prefer: wait is not a number of seconds."},
					Hint:   impact.Text{FR: "Par exemple Prefer: wait=10.", EN: "For instance Prefer: wait=10."},
					Faults: []impact.Fault{{Code: "invalid_number", Header: "Prefer", Value: value}},
				}
			}
			p = patience{min(time.Duration(min(n, 60))*time.Second, longestPatience), true}
			c.w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(p.wait/time.Second)))
		}
	}
	return p, nil
}

// runImport lets the import run and gives it as it is when it has ended, or when
// the caller would wait too long.
func (s *server) runImport(c *call, m impact.Import, p patience) (impact.Import, error) {
	done, long := s.ImportRunner.Run(m.ID, m.File.Size)
	if p.explicit {
		long = nil
	}
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case <-done:
	case <-long:
	case <-timer.C:
	case <-c.r.Context().Done():
	}
	if p.wait == 0 {
		return m, nil
	}
	// Who left finds the import by its key.
	return s.Imports.Import(c.r.Context(), c.principal, m.ID)
}

// answerImport answers with the report, or with the refusal of the whole file.
func (s *server) answerImport(c *call, m *impact.Import) error {
	h, at := c.w.Header(), "/v1/imports/"+string(m.ID)
	switch {
	case m.State == impact.ImportFailed && m.Report.Problem != nil, m.State == impact.ImportHeld && m.Report.Problem != nil:
		p := m.Report.Problem
		return &impact.Error{Kind: impact.Invalid, Code: p.Code, Detail: p.Detail, Hint: p.Hint, Faults: p.Faults, Link: at}
	case m.State == impact.ImportCompleted && m.Options.AllOrNothing && !m.Options.DryRun && m.Report.Counts.Rejected > 0:
		n := strconv.Itoa(m.Report.Counts.Rejected)
		return &impact.Error{
			Kind: impact.Invalid, Code: "import_rejected", Link: at,
			Detail: impact.Text{FR: "Lignes fausses : " + n + ". Rien n'est écrit.", EN: "Wrong rows: " + n + ". Nothing is written."},
			Hint:   impact.Text{FR: "Le rapport les montre toutes ; " + at + "/rejects.csv est prêt à corriger et à renvoyer.", EN: "The report shows them all; " + at + "/rejects.csv is ready to correct and send again."},
		}
	}
	h.Set("Location", c.address(at, ""))
	if !m.State.Ended() {
		h.Set("Retry-After", s.retryAfter(m))
		return c.answer(http.StatusAccepted, s.imported(c, m))
	}
	if err := s.consistency(c, 0); err != nil {
		return err
	}
	w, err := s.report(c, m)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, w)
}

// retryAfter is when it is worth looking again: at the estimated end, within a
// minute.
func (s *server) retryAfter(m *impact.Import) string {
	p := s.progress(m)
	seconds := 2
	if p.Rate != nil && m.RowsTotal > 0 {
		seconds = min(60, max(1, (m.RowsTotal-m.RowsDone) / *p.Rate))
	}
	return strconv.Itoa(seconds)
}

// report shows an import with its first rows.
func (s *server) report(c *call, m *impact.Import) (Import, error) {
	w := s.imported(c, m)
	var rows []impact.ImportRow
	for _, outcome := range []string{string(impact.Rejected), "warning"} {
		if len(rows) >= inlineRows {
			break
		}
		more, _, err := s.Imports.ImportRows(c.r.Context(), c.principal, m.ID, outcome, impact.Page{Limit: inlineRows - len(rows)})
		if err != nil {
			return w, err
		}
		for _, r := range more {
			if outcome != "warning" || r.Outcome != impact.Rejected {
				rows = append(rows, r)
			}
		}
	}
	slices.SortFunc(rows, func(a, b impact.ImportRow) int { return cmp.Compare(a.Row, b.Row) })
	w.Rows = c.importRows(rows)
	return w, nil
}

// listImports lists imports, the last one first.
//
//	@Summary		List imports
//	@Description	Those of the caller's organisation or network, the last one first; with updated_since in the order of changes.
//	@ID				listImports
//	@Tags			imports
//	@Produce		json
//	@Param			kind			query		string	false	"What they bring"	Enums(observations, members)
//	@Param			state			query		string	false	"Where they stand"	Enums(pending, running, awaiting_confirmation, completed, failed, cancelled)
//	@Param			updated_since	query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	ImportPage
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports [get]
func (s *server) listImports(c *call) error {
	q := c.query
	f := impact.ImportFilter{Kind: impact.ImportKind(q.enum("kind", "", "observations", "members")), State: impact.ImportState(q.enum("state", "", impact.Words(impact.ImportStates)...)), UpdatedSince: since(q)}
	p, err := c.paging()
	if err != nil {
		return err
	}
	list, next, err := s.Imports.Imports(c.r.Context(), c.principal, f, p)
	if err != nil {
		return err
	}
	data := make([]Import, len(list))
	of := make([]impact.OrganisationID, len(list))
	for i := range list {
		data[i], of[i] = s.imported(c, &list[i]), list[i].Organisation
	}
	if err := s.witness(c, c.query.canonical("cursor"), of...); err != nil {
		return err
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// getImport reads the report of an import, or how far it is.
//
//	@Summary		Read an import
//	@ID				getImport
//	@Tags			imports
//	@Produce		json
//	@Param			id		path		string	true	"Id of the import"
//	@Success		200		{object}	Import
//	@Header			200		{integer}	Retry-After	"While it is under way: seconds until it is worth looking again"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports/{id} [get]
func (s *server) getImport(c *call) error {
	m, err := s.Imports.Import(c.r.Context(), c.principal, impact.ImportID(c.param("id")))
	if err != nil {
		return err
	}
	if err := s.witness(c, "import "+string(m.ID), m.Organisation); err != nil {
		return err
	}
	if m.State == impact.ImportPending || m.State == impact.ImportRunning {
		c.w.Header().Set("Retry-After", s.retryAfter(&m))
	}
	w, err := s.report(c, &m)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, w)
}

// listImportRows lists what became of the rows of a file.
//
//	@Summary		Rows of an import
//	@Description	In the order of the file, with every fault of each.
//	@ID				listImportRows
//	@Tags			imports
//	@Produce		json
//	@Param			id		path		string	true	"Id of the import"
//	@Param			outcome	query		string	false	"Only rows of this outcome, or those with a warning"	Enums(created, updated, unchanged, deleted, rejected, warning)
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	ImportRowPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports/{id}/rows [get]
func (s *server) listImportRows(c *call) error {
	outcome := c.query.enum("outcome", "", "created", "updated", "unchanged", "deleted", "rejected", "warning")
	p, err := c.paging()
	if err != nil {
		return err
	}
	id := impact.ImportID(c.param("id"))
	m, err := s.Imports.Import(c.r.Context(), c.principal, id)
	if err != nil {
		return err
	}
	if err := s.witness(c, "import "+string(id), m.Organisation); err != nil {
		return err
	}
	rows, next, err := s.Imports.ImportRows(c.r.Context(), c.principal, id, outcome, p)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, page(c, c.importRows(rows), next))
}

// getImportSource gives the file as it was sent.
//
//	@Summary		The file of an import
//	@Description	As it was sent, for 30 days.
//	@ID				getImportSource
//	@Tags			imports
//	@Produce		octet-stream
//	@Param			id		path		string	true	"Id of the import"
//	@Success		200		{file}		file
//	@Header			200		{string}	Content-Disposition	"Name of the file"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports/{id}/source [get]
func (s *server) getImportSource(c *call) error {
	m, err := s.sentImport(c)
	if err != nil {
		return err
	}
	source, err := s.Imports.ImportSource(c.r.Context(), c.principal, m.ID)
	if err != nil {
		return err
	}
	c.attach(cmp.Or(m.File.Name, "import-"+string(m.ID)))
	return c.stream("application/octet-stream", func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
}

// sentImport reads the import of a path for whom may send one of its kind.
func (s *server) sentImport(c *call) (impact.Import, error) {
	m, err := s.Imports.Import(c.r.Context(), c.principal, impact.ImportID(c.param("id")))
	if err == nil && !c.principal.Has(m.Kind.Scope()) {
		err = lacksScope(m.Kind.Scope())
	}
	return m, err
}

// attach names the file of an answer.
func (c *call) attach(name string) {
	c.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

// cancelImport stops an import.
//
//	@Summary		Cancel an import
//	@Description	One that waits ends at once; one under way stops after the rows being written, at most 1,000. What was written stays: `counts` tells it.
//	@ID				cancelImport
//	@Tags			imports
//	@Produce		json
//	@Param			id		path		string	true	"Id of the import"
//	@Success		200		{object}	Import
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports/{id}/cancel [post]
func (s *server) cancelImport(c *call) error {
	m, err := s.sentImport(c)
	if err != nil {
		return err
	}
	if m, err = s.Imports.CancelImport(c.r.Context(), c.principal, m.ID); err != nil {
		return err
	}
	return c.answer(http.StatusOK, s.imported(c, &m))
}

// confirmImport lets the deletions go on that an import was held for.
//
//	@Summary		Confirm the deletions of an import
//	@Description	After 409 `delete_guard`: the import goes on, and answers as it would have at first.
//	@ID				confirmImport
//	@Tags			imports
//	@Produce		json
//	@Param			id		path		string	true	"Id of the import"
//	@Param			Prefer	header		string	false	"respond-async: do not wait; wait=N: wait N seconds, 25 at most"
//	@Success		200		{object}	Import
//	@Success		202		{object}	Import
//	@Header			200,202	{string}	Location	"Address of the import"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/imports/{id}/confirm [post]
func (s *server) confirmImport(c *call) error {
	p, err := c.patience()
	if err != nil {
		return err
	}
	m, err := s.sentImport(c)
	if err != nil {
		return err
	}
	if m, err = s.Imports.ConfirmImport(c.r.Context(), c.principal, m.ID); err != nil {
		return err
	}
	if m, err = s.runImport(c, m, p); err != nil {
		return err
	}
	return s.answerImport(c, &m)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/client"
)

// Exit codes of push, for the script that runs it every night.
const (
	exitRejected    = 2 // some rows were refused, the others are in
	exitRefused     = 3 // nothing was taken: the file as a whole is wrong
	exitDenied      = 4 // who sends is not known, or may not
	exitUnavailable = 5 // the service could not be reached or was busy too long: run the same command again
	exitInterrupted = 6 // stopped on the way: run the same command again
)

type serviceFlags struct {
	Server     string `required:"" env:"RETOMBEES_SERVER" placeholder:"URL" help:"Address of the service, for instance https://impact.example."`
	ClientID   string `env:"RETOMBEES_CLIENT_ID" placeholder:"ID" help:"Client that sends; its secret is read from --secret-file or RETOMBEES_CLIENT_SECRET."`
	SecretFile string `type:"existingfile" placeholder:"FILE" help:"File that holds the client's secret, or the API key."`
	Language   string `enum:"fr,en" default:"fr" env:"RETOMBEES_LANGUAGE" help:"Language of messages: ${enum}."`
}

// credentials are never flags: other users of the machine can read those.
func (f serviceFlags) credentials(w *world) (id, secret, key string, err error) {
	secret, key = w.getenv("RETOMBEES_CLIENT_SECRET"), w.getenv("RETOMBEES_API_KEY")
	if f.SecretFile != "" {
		text, err := os.ReadFile(f.SecretFile)
		if err != nil {
			return "", "", "", fmt.Errorf("reading the secret: %w", err)
		}
		secret, key = strings.TrimSpace(string(text)), ""
	}
	if strings.HasPrefix(secret, "rtb_live_") { // an API key, wherever it was put
		return "", "", secret, nil
	}
	if f.ClientID != "" {
		if secret == "" {
			return "", "", "", errors.New("the secret is missing: --secret-file FILE, or RETOMBEES_CLIENT_SECRET")
		}
		return f.ClientID, secret, "", nil
	}
	if key == "" {
		key = secret
	}
	if key == "" {
		return "", "", "", errors.New(phrasesIn(f.Language).unknown)
	}
	return "", "", key, nil
}

type pushCmd struct {
	serviceFlags
	File string `arg:"" type:"existingfile" help:"CSV, XLSX, NDJSON or JSON file of observations."`

	DryRun              bool     `help:"Check everything, write nothing."`
	Mode                string   `enum:"merge,replace,delete" default:"merge" help:"merge adds and corrects, replace also deletes what the file no longer has within --scope, delete removes the rows listed: ${enum}."`
	Scope               []string `sep:"none" placeholder:"WHAT:CODE" help:"What a replacement covers: indicator:insertion_hours, period:2025. Repeat it."`
	MaxDeleteRatio      string   `placeholder:"RATIO" help:"Largest part of the scope a replacement may delete. Default: 0.1."`
	Atomicity           string   `enum:"row,all" default:"row" help:"row takes the good rows, all takes the file whole or not at all: ${enum}."`
	OnWarning           string   `enum:"accept,reject" default:"accept" help:"What to do with rows that look odd: ${enum}."`
	Dialect             string   `enum:"auto,rfc4180,fr" default:"auto" help:"How a CSV file is written: ${enum}."`
	DefaultOrganisation string   `placeholder:"REF" help:"Organisation of rows that name none: its id, siret:…, siren:…, rna:…, ext:SOURCE:ID."`
	DefaultPeriod       string   `placeholder:"PERIOD" help:"Period of rows that name none: 2025, 2025-Q3…"`
	DefaultTerritory    string   `placeholder:"ID" help:"Territory of rows that name none: commune-69266…"`
	Mapping             string   `placeholder:"ID" help:"Saved mapping of headers to apply."`
	RetryOf             string   `placeholder:"ID" help:"The import whose rejected rows this file mends."`

	PartRows int    `default:"100000" placeholder:"ROWS" help:"Rows sent in one import; a longer file is sent in parts. Default: 100000, the most the service takes."`
	Attempts int    `default:"8" env:"RETOMBEES_PUSH_ATTEMPTS" help:"How often one request is sent before push gives up; pauses grow to 30 s. Default: 8."`
	Rejects  string `placeholder:"FILE" help:"Where to write the rejected rows, ready to correct. Default: FILE.rejects.csv, only when there are some."`
	State    string `placeholder:"DIR" env:"RETOMBEES_STATE" help:"Where to note how far a file has been sent. Default: the user's cache directory."`
	Restart  bool   `help:"Forget how far an interrupted push of this file was, and send it again from its beginning."`
	JSON     bool   `name:"json" help:"Print the report as JSON, for programs."`
}

// Run sends the file and prints what became of it. Killed on the way, the same
// command goes on where it stopped: parts already acknowledged are not sent
// again, and the one under way has the same Idempotency-Key.
func (c pushCmd) Run(w *world) (err error) {
	id, secret, key, err := c.credentials(w)
	if err != nil {
		return exit(exitDenied, err)
	}
	source, err := openPushed(c)
	if err != nil {
		return exit(exitRefused, err)
	}
	in := phrasesIn(c.Language)
	progress := newPushProgress(w, source.rows, in)
	defer progress.stop()
	service, err := client.New(w.ctx, client.Config{
		URL: c.Server, ClientID: id, ClientSecret: secret, APIKey: key, Language: c.Language, Attempts: c.Attempts,
		UserAgent: "retombees-push/" + programVersion(),
		Retrying: func(attempt int, r *http.Request) {
			progress.say(fmt.Sprintf(in.retrying, r.Method, r.URL.Path, attempt+1))
		},
	})
	if err != nil {
		return err
	}
	state, err := c.resume(w, source)
	if err != nil {
		return err
	}
	rejects := &rejectsFile{path: cmp.Or(c.Rejects, rejectsOf(c.File))}
	defer func() { err = errors.Join(err, rejects.close()) }()
	report := &pushReport{File: filepath.Base(c.File), DryRun: c.DryRun, say: in}

	for part, err := range source.parts(c.Dialect) {
		if err != nil {
			return exit(exitRefused, err)
		}
		done := state.done(part.number)
		if done == nil {
			if done, err = c.send(w.ctx, service, source, part, state.key(part.number), progress); err != nil {
				err = c.failure(w.ctx, err)
				if !goesOn(err) { // the same key would only bring the same refusal
					err = errors.Join(err, state.forget())
				}
				return err
			}
			if err := state.record(part.number, done); err != nil {
				return err
			}
		}
		if done.Counts.Rejected > 0 {
			if err := rejects.add(w.ctx, service, done.ID); err != nil {
				return c.failure(w.ctx, err)
			}
		}
		report.add(done)
		progress.done(part.first + part.rows)
	}
	progress.stop()
	if err := rejects.finish(); err != nil {
		return err
	}
	if rejects.written {
		report.Rejects = rejects.path
	}
	if err := state.forget(); err != nil {
		return err
	}
	if err := report.print(w.stdout, c.JSON); err != nil {
		return err
	}
	return report.verdict()
}

// answerWithin is how long one request may take before the part is followed as a
// job: asking how far it is costs a second each time, more than most parts take.
const answerWithin = 5 * time.Second

// send sends one part and waits until the service has dealt with it.
func (c pushCmd) send(ctx context.Context, service *client.Client, source *pushed, part pushedPart, key string, progress *pushProgress) (*pushedImport, error) {
	made, err := service.CreateImport(ctx, part.content, client.ImportOptions{
		ContentType: part.contentType, Filename: source.name(part), Key: key, Wait: answerWithin,
		DryRun: c.DryRun, Mode: c.Mode, Atomicity: c.Atomicity, OnWarning: c.OnWarning, Dialect: c.Dialect, Scope: c.Scope,
		MaxDeleteRatio: c.MaxDeleteRatio, DefaultOrganisation: c.DefaultOrganisation, DefaultPeriod: c.DefaultPeriod,
		DefaultTerritory: c.DefaultTerritory, Mapping: c.Mapping, RetryOf: c.RetryOf,
	})
	if err != nil {
		return nil, err
	}
	made, err = service.AwaitImport(ctx, made, func(i *client.Import) {
		progress.done(part.first + i.Progress.RowsDone)
	})
	if err != nil {
		return nil, err
	}
	switch {
	case made.State == "completed":
	case made.Problem != nil:
		made.Problem.Status = http.StatusUnprocessableEntity
		return nil, made.Problem
	case made.State == "awaiting_confirmation" && made.Deletions != nil:
		return nil, exit(exitRefused, fmt.Errorf("import %s would delete %d of the %d observations of the scope and waits: POST /v1/imports/%s/confirm, or send the file again with a larger --max-delete-ratio",
			made.ID, made.Deletions.Planned, made.Deletions.InScope, made.ID))
	default:
		return nil, exit(exitRefused, fmt.Errorf("import %s is %s", made.ID, made.State))
	}
	return c.reported(ctx, service, made, part)
}

// reported keeps of a report what the end of the push will tell: causes, in the
// words and the lines of the file.
func (c pushCmd) reported(ctx context.Context, service *client.Client, made *client.Import, part pushedPart) (done *pushedImport, err error) {
	done = &pushedImport{
		ID: made.ID, Counts: made.Counts, ErrorsByCode: made.ErrorsByCode, WarningsByCode: made.WarningsByCode, Ignored: made.File.IgnoredColumns,
	}
	for _, codes := range [][]client.CodeCount{done.ErrorsByCode, done.WarningsByCode} {
		for _, code := range codes {
			for i := range code.FirstRows {
				code.FirstRows[i] += part.first
			}
		}
	}
	headers := map[string]string{}
	for header, member := range made.File.HeaderMapping {
		headers[member] = header
	}
	in := phrasesIn(c.Language)
	look := func(outcome string, see func(line int, row client.ImportRow)) error {
		rows := 0
		for row, err := range service.ImportRows(ctx, made.ID, outcome) {
			if err != nil {
				return err
			}
			if rows++; rows > reportedRows {
				break
			}
			see(part.line(row), row)
		}
		return nil
	}
	if made.Counts.Rejected > 0 {
		err = look("rejected", func(line int, row client.ImportRow) {
			done.Errors = gather(done.Errors, line, row.Errors, headers, in)
		})
	}
	if err == nil && slices.ContainsFunc(made.WarningsByCode, func(w client.CodeCount) bool { return !expected[w.Code] }) {
		err = look("warning", func(line int, row client.ImportRow) {
			done.Warnings = gather(done.Warnings, line, lookAt(row.Warnings), headers, in)
		})
	}
	if err != nil {
		return nil, err
	}
	return done, nil
}

// failure chooses the exit code.
func (c pushCmd) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return exit(exitInterrupted, errors.New(phrasesIn(c.Language).stopped))
	}
	if _, chosen := errors.AsType[*exitError](err); chosen {
		return err
	}
	p, ok := errors.AsType[*client.Problem](err)
	switch {
	case !ok || p.Temporary():
		return exit(exitUnavailable, fmt.Errorf("%w\n%s", err, phrasesIn(c.Language).again))
	case p.Status == http.StatusUnauthorized, p.Status == http.StatusForbidden, p.Code == "invalid_client":
		return exit(exitDenied, err)
	}
	return exit(exitRefused, err)
}

// goesOn tells that the same command may go on from where it stopped.
func goesOn(err error) bool {
	e, ok := errors.AsType[*exitError](err)
	return ok && (e.code == exitUnavailable || e.code == exitInterrupted)
}

// exitError is an error with the exit code it asks for.
type exitError struct {
	code int
	err  error
}

func exit(code int, err error) error { return &exitError{code, err} }

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// oneLineEvery is how often a push without a terminal tells how far it is.
const oneLineEvery = time.Minute

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/docs"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/export"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/imports"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/quick"
	"github.com/grandlyon/retombees/pkg/release"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/webhook"
)

type serveCmd struct {
	databaseFlags
	keyFlags
	issuerFlags
	rateFlags
	webhookFlags
	releaseFlags
	scheduleFlags
	publicationFlags
	Addr            string        `env:"RETOMBEES_ADDR" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to listen on. Default: 127.0.0.1:8080."`
	PublicURL       string        `env:"RETOMBEES_PUBLIC_URL" placeholder:"URL" help:"Base of every address the API publishes, and issuer of its tokens. Default: http:// and the address listened on."`
	Demo            bool          `env:"RETOMBEES_DEMO" help:"Load the invented demonstration data set into an empty database, and register clients whose secrets are public. Never on a database that holds anything else."`
	Follow          time.Duration `env:"RETOMBEES_FOLLOW" default:"100ms" help:"How often to look for what other replicas wrote."`
	RequestTimeout  time.Duration `env:"RETOMBEES_REQUEST_TIMEOUT" default:"30s" help:"Longest time given to one request."`
	AnswerCache     int64         `env:"RETOMBEES_ANSWER_CACHE" default:"64" placeholder:"MB" help:"Megabytes of answers of releases kept ready to be sent again, as they are and compressed. 0 keeps none."`
	QuickAnswers    bool          `env:"RETOMBEES_QUICK_ANSWERS" default:"true" negatable:"" help:"Send kept answers straight from the connection, before the HTTP library reads the request. On by default; --no-quick-answers sends them the ordinary way, at about half the speed."`
	ExportCache     string        `env:"RETOMBEES_EXPORT_CACHE" type:"path" placeholder:"FOLDER" help:"Folder of this process alone for export files that are being sent; it is emptied at the start. Default: a folder in the temporary files."`
	ExportCacheSize int64         `env:"RETOMBEES_EXPORT_CACHE_SIZE" default:"1024" placeholder:"MB" help:"Megabytes of export files kept in that folder; the database holds them all."`
	ImportLease     time.Duration `env:"RETOMBEES_IMPORT_LEASE" default:"15s" help:"How long an import is left to a process that gives no sign of life, before another one, or the same one started again, takes it up."`
	ShutdownTimeout time.Duration `env:"RETOMBEES_SHUTDOWN_TIMEOUT" default:"25s" help:"After SIGTERM, longest time given to running requests."`
}

// Run serves until it is asked to stop; then it takes no new request, finishes
// those under way, and closes the database when all they wrote is in it.
func (c serveCmd) Run(w *world) (err error) {
	began := w.now()
	// First of all, so that a wrong address is told before anything is made.
	listener, err := new(net.ListenConfig).Listen(w.ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer listener.Close()
	if c.PublicURL == "" {
		c.PublicURL = "http://" + reachable(listener.Addr())
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")

	issuer, keyFile, err := c.issuer(w)
	if err != nil {
		return err
	}
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	demo, err := c.demonstration(w, s)
	if err != nil {
		return err
	}
	catalogue, err := s.Catalogue(w.ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	p := parts{store: s, catalogue: catalogue, issuer: issuer, keyRing: auth.NewKeyRing(s, w.now), cube: calculation.NewCube(catalogue), demo: demo}
	// The follower outlives the signal: requests under way may wait for what
	// they wrote.
	p.follower, err = s.Follow(context.WithoutCancel(w.ctx), p.cube, c.Follow)
	if err != nil {
		return fmt.Errorf("following the writes: %w", err)
	}
	defer p.follower.Close()
	p.runner = imports.Start(imports.Config{Store: s, Log: w.log, Now: w.now, Lease: c.ImportLease, Poll: min(2*time.Second, c.ImportLease)})
	defer p.runner.Close()
	p.shelf = release.NewShelf(s, releasesKept)
	p.builder, err = c.releases(w, s, p.shelf.Refresh)
	if err != nil {
		return err
	}
	defer p.builder.Close()
	var tidy func() error
	if p.exports, tidy, err = c.exports(&p); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tidy()) }()
	p.cursorKey, err = issuer.Keys().Derive("retombees cursors 1")
	if err != nil {
		return fmt.Errorf("deriving the key of cursors: %w", err)
	}
	var dispatcher *webhook.Dispatcher
	p.webhooks, dispatcher, err = c.webhooks(w, s, issuer.Keys(), p.cursorKey)
	if err != nil {
		return err
	}
	defer tell(w.ctx, dispatcher)()
	handler, err := c.handler(w, &p)
	if err != nil {
		return err
	}
	known := w.now()
	revoked, err := s.Revocations(w.ctx, time.Time{})
	if err != nil {
		return err
	}
	issuer.Revoke(revoked...)

	server := &http.Server{
		Handler:           limited(handler, c.RequestTimeout),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       c.RequestTimeout,
		WriteTimeout:      c.RequestTimeout + 5*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelWarn),
	}
	answersOut := func(context.Context) error { return nil }
	if kept, ok := handler.(quick.Handler); ok && c.QuickAnswers && c.AnswerCache > 0 {
		l := &quick.Listener{Listener: listener, Handler: kept, Now: w.now, Idle: server.IdleTimeout, Write: server.WriteTimeout}
		listener, answersOut = l, l.Wait
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	go followKeys(w, keyFile, issuer)
	go followRevocations(w, s, issuer, known)
	p.keepHouse(w)

	// Probes are answered while the figures load.
	if err := errors.Join(p.shelf.Refresh(w.ctx), p.follower.WaitFor(w.ctx, 0)); err != nil {
		return errors.Join(fmt.Errorf("loading the figures: %w", err), server.Close())
	}
	fmt.Fprintf(w.stdout, "Retombées %s is ready at %s in %d ms, listening on %s\n",
		programVersion(), c.PublicURL, w.now().Sub(began).Milliseconds(), listener.Addr())
	if c.Demo {
		fmt.Fprint(w.stdout, firstSteps(c.PublicURL))
		if !loopback(listener.Addr()) {
			w.log.Warn("the demonstration's secrets are public and this address can be reached from other machines", "addr", listener.Addr())
		}
	}

	select {
	case err = <-served:
		return fmt.Errorf("serving: %w", err)
	case <-w.ctx.Done():
	}
	w.log.Info("stopping: no new request, running ones finish", "within", c.ShutdownTimeout)
	ending, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), c.ShutdownTimeout)
	defer cancel()
	if err = server.Shutdown(ending); err == nil {
		err = answersOut(ending)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("some requests did not finish in %s: %w", c.ShutdownTimeout, err), server.Close())
	}
	if err = p.noteKeyUses(ending); err != nil {
		return err
	}
	w.log.Info("stopped")
	return nil
}

// exports gives the files of releases, and what removes their folder.
func (c serveCmd) exports(p *parts) (*export.Files, func() error, error) {
	folder, tidy := c.ExportCache, func() error { return nil }
	if folder == "" {
		made, err := os.MkdirTemp("", "retombees-exports-")
		if err != nil {
			return nil, nil, fmt.Errorf("making the folder of exports: %w", err)
		}
		folder, tidy = made, func() error { return os.RemoveAll(made) }
	}
	publication, err := c.catalogue(p.demo)
	if err != nil {
		return nil, nil, err
	}
	files, err := export.New(export.Config{
		Store: p.store, Catalogue: p.catalogue, PublicURL: c.PublicURL, Publisher: publication.Publisher.Name,
		Dir: filepath.Join(folder, "spool"), MaxBytes: c.ExportCacheSize << 20,
	})
	return files, tidy, err
}

// parts are what the running service is made of.
type parts struct {
	store     *store.Store
	catalogue *impact.Catalogue
	issuer    *auth.Issuer
	keyRing   *auth.KeyRing
	cube      *calculation.Cube
	follower  *store.Follower
	runner    *imports.Runner
	builder   *publish.Runner
	shelf     *release.Shelf
	webhooks  api.Webhooks
	exports   *export.Files
	cursorKey []byte
	demo      bool
}

// handler builds the API over its parts.
func (c serveCmd) handler(w *world, p *parts) (http.Handler, error) {
	ui, err := fs.Sub(docs.UI, "ui")
	if err != nil {
		return nil, err
	}
	publication, err := c.catalogue(p.demo)
	if err != nil {
		return nil, err
	}
	s := p.store
	h, err := api.New(api.Config{
		PublicURL: c.PublicURL, Version: programVersion(), Demo: p.demo,
		Now: w.now, NewID: w.newID, Log: w.log, Stopping: w.ctx, CursorKey: p.cursorKey,
		OpenAPIJSON: docs.OpenAPIJSON, OpenAPIYAML: docs.OpenAPIYAML(), DocsUI: ui, DocsPolicy: docs.UIPolicy, Guides: docs.Guides,
		Verifier: p.issuer, Issuer: p.issuer, Keys: p.issuer, Tokens: p.issuer, Revocations: s,
		Clients: s, Assertions: p.issuer, UsedAssertions: s, APIKeys: s, KeyRing: p.keyRing,
		Rates: c.rates(), TrustedProxies: c.TrustedProxies, AccessLog: s, Logs: s,
		Catalogue: p.catalogue, Geometries: s, Questionnaires: s,
		Organisations: s, Consents: s, Networks: s, Mandates: s,
		Observations: s, Submissions: s, Idempotency: s, Commits: s,
		Imports: s, Mappings: s, ImportRunner: p.runner,
		Figures: p.cube, Follower: p.follower, ObservationIDs: s, AnswerCache: c.AnswerCache << 20,
		Releases: api.ReleasesOn(p.shelf), ReleaseStore: s, ReleaseRunner: p.builder,
		Changes: s, Webhooks: p.webhooks,
		Publication: publication, Exports: p.exports,
		Ready: func(ctx context.Context) error {
			if !p.follower.Ready() {
				return &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: impact.Text{
					FR: "Les chiffres sont en cours de chargement.", EN: "The figures are being loaded.",
				}}
			}
			return s.Ready(ctx)
		},
		Status: func(ctx context.Context) (api.StatusReport, error) {
			lag, err := s.Lag(ctx, p.cube.Seq())
			late, also := s.DeliveryDelay(ctx)
			return api.StatusReport{FeedLag: int(lag / time.Second), WebhookDelay: int(late / time.Second)}, errors.Join(err, also)
		},
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// keepHouse starts what is done again and again beside the requests.
func (p *parts) keepHouse(w *world) {
	s := p.store
	go every(w, releasesEvery, "looking for new releases", p.shelf.Refresh)
	go every(w, time.Minute, "noting the use of API keys", p.noteKeyUses)
	go every(w, 5*time.Second, "making the files of a release", p.exports.Prepare)
	go every(w, time.Hour, "forgetting old answers", s.ForgetAnswers)
	go every(w, time.Hour, "forgetting old deliveries", s.ForgetDeliveries)
	go every(w, time.Hour, "forgetting old imports", s.ForgetImports)
	go every(w, time.Hour, "forgetting revoked tokens that have expired", s.ForgetRevocations)
	go every(w, time.Hour, "forgetting old commits", func(ctx context.Context) error {
		_, err := s.ForgetCommits(ctx, api.ChangeDays*24*time.Hour)
		return err
	})
}

func (p *parts) noteKeyUses(ctx context.Context) error {
	return p.store.NoteKeyUses(ctx, p.keyRing.Used())
}

// every does something again and again until the program is asked to stop.
func every(w *world, pause time.Duration, what string, do func(context.Context) error) {
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(pause):
		}
		if err := do(w.ctx); err != nil && w.ctx.Err() == nil {
			w.log.Error(what, "err", err)
		}
	}
}

// limited gives each request its longest time; queries end with it.
func limited(h http.Handler, longest time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), longest)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// reachable writes an address people of this machine can open.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return a.String()
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

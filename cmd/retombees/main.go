// Command retombees is the whole of Retombées in one program: the HTTP API and
// the commands that administer it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // periods are civil days of Europe/Paris, also where the system has no zone files

	"github.com/alecthomas/kong"
	"github.com/google/uuid"
)

// version is set by the build: -ldflags "-X main.version=1.0.0".
var version = ""

type cli struct {
	Serve       serveCmd       `cmd:"" help:"Serve the API. Migrates the database and loads the reference data first."`
	Migrate     migrateCmd     `cmd:"" help:"Bring the database to this version's schema and load the reference data, then stop."`
	Client      clientCmd      `cmd:"" help:"Register the applications that may call the API, and renew or withdraw their secrets."`
	Keys        keysCmd        `cmd:"" help:"Replace the keys that sign access tokens, while the service runs."`
	Push        pushCmd        `cmd:"" help:"Send a file of observations to a service, from a script: parts, retries, a report, exit codes."`
	Network     networkCmd     `cmd:"" help:"Register the networks of organisations."`
	Release     releaseCmd     `cmd:"" help:"Build, publish and withdraw releases: figures for everyone, that passed disclosure control."`
	Territories territoriesCmd `cmd:"" help:"Add what the embedded reference data leaves out: contours."`
	Demo        demoCmd        `cmd:"" help:"Load the invented demonstration data set into an empty database, once."`
	Health      healthCmd      `cmd:"" help:"Tell whether a running server can serve: exit code 0, or 1 with the reason. The probe of containers."`
	Version     versionCmd     `cmd:"" help:"Print the version."`

	LogLevel  string `enum:"debug,info,warn,error" default:"info" env:"RETOMBEES_LOG_LEVEL" help:"Least serious messages to write: ${enum}."`
	LogFormat string `enum:"text,json" default:"text" env:"RETOMBEES_LOG_FORMAT" help:"Form of the log on standard error: ${enum}."`
}

// world is what commands take from outside the program.
type world struct {
	ctx    context.Context // done when the program is asked to stop
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	now    func() time.Time
	newID  func() string
	log    *slog.Logger
}

func main() {
	// The first signal asks for an orderly end, a second one ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	w := &world{
		ctx: ctx, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now,
		newID: func() string { return uuid.Must(uuid.NewV7()).String() },
	}
	if err := w.run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "retombees:", explain(err))
		code := 1
		if e, ok := errors.AsType[*exitError](err); ok {
			code = e.code
		}
		os.Exit(code)
	}
}

func (w *world) run(args []string) error {
	var c cli
	k, err := kong.New(&c,
		kong.Name("retombees"),
		kong.Description("Measures the impact of organisations on the territory of the Métropole de Lyon: a JSON API and its administration.\n\n"+
			"First steps: `retombees serve --demo` starts on invented data and prints commands to paste."),
		kong.UsageOnError(),
		rateDefaults(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(w.stdout, w.stderr),
	)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k1, err := k.Parse(args)
	if err != nil {
		return err
	}
	w.log = slog.New(logHandler(w.stderr, c.LogLevel, c.LogFormat))
	return k1.Run(w)
}

func logHandler(to io.Writer, level, format string) slog.Handler {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // kong has checked it
	opts := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.NewJSONHandler(to, opts)
	}
	return slog.NewTextHandler(to, opts)
}

type versionCmd struct{}

func (versionCmd) Run(w *world) error {
	_, err := fmt.Fprintln(w.stdout, "retombees", programVersion())
	return err
}

// programVersion is the version the build set, else the one Go recorded.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := strings.TrimPrefix(info.Main.Version, "v")
	if v == "" || v == "(devel)" {
		return "devel"
	}
	return v
}

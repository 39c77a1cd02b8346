// Command load sends the project's workloads to the real binary, over HTTP, and
// measures each against the best the same database can do in the same run:
// bulk ingest, imports and push against sorted COPYs of the same rows, single
// writes against pgbench, live figures against hand-written SQL. It prints
// ratios, because machines are noisy, as a Markdown table for
// docs/performance.md.
//
// It starts its own databases and servers and removes them: `make bench`.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

type config struct {
	binary       string
	databases    string
	only         string
	observations int
	importRows   int
	pushRows     int
	requests     int
	seconds      int
	keep         bool
}

// workloads in the order they run, each with a database and servers of its own.
var workloads = []struct {
	name string
	run  func(context.Context, config, *bench) error
}{
	{"figures", measureFigures},
	{"reads", measureReads},
	{"import", measureImport},
	{"push", measurePush},
}

// least is how many observations give figures worth dividing by: fewer make too
// few organisations for singleWrites to say something new each time.
const least = 100_000

func main() {
	log.SetFlags(log.Ltime)
	var c config
	flag.StringVar(&c.binary, "binary", "bin/retombees", "the program under load")
	flag.StringVar(&c.databases, "databases", "postgres,sqlite", "which databases to measure, in this order")
	flag.StringVar(&c.only, "only", "figures,reads,import,push", "which workloads to run")
	flag.IntVar(&c.observations, "observations", 1_000_000, fmt.Sprintf("observations to send, %d or more", least))
	flag.IntVar(&c.importRows, "import-rows", 100_000, "rows of the file imported")
	flag.IntVar(&c.pushRows, "push-rows", 1_000_000, "rows of the file pushed")
	flag.IntVar(&c.requests, "requests", 200, "requests per live query")
	flag.IntVar(&c.seconds, "seconds", 10, "length of the single-write runs")
	flag.BoolVar(&c.keep, "keep", false, "keep the working folder")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.observations < least {
		log.Fatalf("-observations must be %d or more", least)
	}
	var r report
	for name := range strings.SplitSeq(c.databases, ",") {
		for _, w := range workloads {
			if !slices.Contains(strings.Split(c.only, ","), w.name) {
				continue
			}
			if err := runOn(ctx, c, name, w.run, &r); err != nil {
				log.Fatalf("%s, %s: %v", name, w.name, err)
			}
		}
	}
	r.print(os.Stdout)
}

// bench is where a workload runs and writes what it measures.
type bench struct {
	name, dir string
	db        database
	report    *report
}

func (b *bench) add(what, ours, theirs, ratio string) {
	b.report.add(b.name, what, ours, theirs, ratio)
}

// runOn runs a workload on a database made for it, in a folder of its own.
func runOn(ctx context.Context, c config, name string, run func(context.Context, config, *bench) error, r *report) error {
	dir, err := os.MkdirTemp("", "retombees-load-")
	if err != nil {
		return err
	}
	if !c.keep {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	db, err := openDatabase(ctx, name, dir)
	if err != nil {
		return err
	}
	defer db.close()
	return run(ctx, c, &bench{name, dir, db, r})
}

// Command load sends the project's workloads to the real binary, over HTTP, and
// measures each against the best the same database can do in the same run:
// bulk ingest against sorted COPYs of the same rows, single writes against
// pgbench, live figures against hand-written SQL. It prints ratios, because
// machines are noisy, as a Markdown table for docs/performance.md.
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
	"strings"
	"syscall"
	"time"
)

type config struct {
	binary       string
	databases    string
	observations int
	requests     int
	seconds      int
	keep         bool
}

func main() {
	log.SetFlags(log.Ltime)
	var c config
	flag.StringVar(&c.binary, "binary", "bin/retombees", "the program under load")
	flag.StringVar(&c.databases, "databases", "postgres,sqlite", "which databases to measure, in this order")
	flag.IntVar(&c.observations, "observations", 1_000_000, "observations to send")
	flag.IntVar(&c.requests, "requests", 200, "requests per live query")
	flag.IntVar(&c.seconds, "seconds", 10, "length of the single-write runs")
	flag.BoolVar(&c.keep, "keep", false, "keep the working folder")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var r report
	for name := range strings.SplitSeq(c.databases, ",") {
		for _, workload := range []func(context.Context, config, string, *report) error{measure, measureImports} {
			if err := workload(ctx, c, name, &r); err != nil {
				log.Fatalf("%s: %v", name, err)
			}
		}
	}
	r.print(os.Stdout)
}

// measure runs every workload on one database.
func measure(ctx context.Context, c config, name string, r *report) error {
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

	log.Printf("%s: registering %d organisations", name, organisations)
	w, err := prepare(ctx, db, dir, c.observations)
	if err != nil {
		return err
	}
	srv, err := startServer(ctx, c.binary, db, w)
	if err != nil {
		return err
	}
	defer func() { srv.stop() }()

	log.Printf("%s: sending %d observations", name, c.observations)
	ingest, err := w.sendAll(ctx, srv)
	if err != nil {
		return err
	}
	again, err := w.sendAll(ctx, srv)
	if err != nil {
		return err
	}
	log.Printf("%s: sent in %s, again in %s; bulk baseline", name, ingest, again)
	bulk, rows, size, err := db.bulk(ctx, dir)
	if err != nil {
		return err
	}
	r.add(name, fmt.Sprintf("batch ingest over HTTP, with revision log (%d rows a request)", rows/organisations), perSecond(rows, ingest), db.bulkName()+": "+perSecond(rows, bulk), ratio(bulk, ingest))
	r.add(name, "the same rows sent again, nothing written", perSecond(rows, again), "first sending: "+perSecond(rows, ingest), ratio(ingest, again))
	r.add(name, "bytes per observation on disk, indexes and revision log included", fmt.Sprint(size/int64(rows)), "", "")

	srv.stop()
	srv, err = startServer(ctx, c.binary, db, w)
	if err != nil {
		return err
	}
	memory, err := srv.memory()
	if err != nil {
		return err
	}
	r.add(name, fmt.Sprintf("start with %d observations, until ready", rows), srv.ready.Round(time.Millisecond).String(), "", "")
	r.add(name, "resident memory per observation once loaded", fmt.Sprintf("%d bytes (%d MB in all)", memory/int64(rows), memory>>20), "", "")

	for _, q := range queries {
		log.Printf("%s: %s", name, q.name)
		ours, cells, err := w.liveQuery(ctx, srv, q, c.requests)
		if err != nil {
			return err
		}
		theirs, err := db.query(ctx, q, max(3, c.requests/20))
		if err != nil {
			return err
		}
		label := fmt.Sprintf("%s (%d figures), uncached over HTTP, p50", q.name, cells)
		r.add(name, label, micros(ours), "hand-written SQL: "+micros(theirs.plain), ratio(theirs.plain, ours))
		if theirs.covered > 0 {
			r.add(name, "… against SQL with a covering index added for it", micros(ours), micros(theirs.covered), ratio(theirs.covered, ours))
		}
	}

	log.Printf("%s: single writes at 16 connections", name)
	single, err := w.singleWrites(ctx, srv, time.Duration(c.seconds)*time.Second)
	if err != nil {
		return err
	}
	reference, err := db.singleWrites(ctx, dir, c.seconds)
	if err != nil {
		return err
	}
	if reference > 0 {
		r.add(name, "single writes at 16 connections", fmt.Sprintf("%.0f/s", single), fmt.Sprintf("pgbench, the same inserts: %.0f/s", reference), fmt.Sprintf("%.2f", single/reference))
	} else {
		r.add(name, "single writes at 16 connections", fmt.Sprintf("%.0f/s", single), "", "")
	}

	log.Printf("%s: the change feed under writes at 16 connections", name)
	told, err := w.feed(ctx, srv, time.Duration(c.seconds)*time.Second)
	if err != nil {
		return err
	}
	r.add(name, fmt.Sprintf("a write in the change feed, by long poll, at %.0f writes/s and %.0f pages/s", told.perSecond, told.pages),
		fmt.Sprintf("p50 %s, p99 %s", micros(told.at(0.5)), micros(told.at(0.99))), "", "")

	own, other, err := w.freshness(ctx, c.binary, db, srv)
	if err != nil {
		return err
	}
	r.add(name, "a write in the next live answer of the same replica", own.Round(10*time.Microsecond).String()+" (p50 of write and read)", "", "")
	if len(other) > 0 {
		r.add(name, "a write in a live answer of another replica", fmt.Sprintf("p50 %s, max %s", other[len(other)/2].Round(time.Millisecond), other[len(other)-1].Round(time.Millisecond)), "aim: 250ms", "")
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"log"
	"time"
)

// measureFigures sends observations in batches, reads figures of them, and
// writes one observation at a time.
func measureFigures(ctx context.Context, c config, b *bench) error {
	name, dir, db := b.name, b.dir, b.db
	log.Printf("%s: registering organisations", name)
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
	b.add(fmt.Sprintf("batch ingest over HTTP, with revision log (%d rows a request)", rows/len(w.bodies)), perSecond(rows, ingest), db.bulkName()+": "+perSecond(rows, bulk), ratio(bulk, ingest))
	b.add("the same rows sent again, nothing written", perSecond(rows, again), "first sending: "+perSecond(rows, ingest), ratio(ingest, again))
	b.add("bytes per observation on disk, indexes and revision log included", fmt.Sprint(size/int64(rows)), "", "")

	srv.stop()
	srv, err = startServer(ctx, c.binary, db, w)
	if err != nil {
		return err
	}
	memory, err := srv.memory()
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("start with %d observations, until ready", rows), srv.ready.Round(time.Millisecond).String(), "", "")
	b.add("resident memory per observation once loaded", fmt.Sprintf("%d bytes (%d MB in all)", memory/int64(rows), memory>>20), "", "")

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
		b.add(label, micros(ours), "hand-written SQL: "+micros(theirs.plain), ratio(theirs.plain, ours))
		if theirs.covered > 0 {
			b.add("… against SQL with a covering index added for it", micros(ours), micros(theirs.covered), ratio(theirs.covered, ours))
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
		b.add("single writes at 16 connections", fmt.Sprintf("%.0f/s", single), fmt.Sprintf("pgbench, the same inserts: %.0f/s", reference), fmt.Sprintf("%.2f", single/reference))
	} else {
		b.add("single writes at 16 connections", fmt.Sprintf("%.0f/s", single), "", "")
	}

	log.Printf("%s: the change feed under writes at 16 connections", name)
	told, err := w.feed(ctx, srv, time.Duration(c.seconds)*time.Second)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("a write in the change feed, by long poll, at %.0f writes/s and %.0f pages/s", told.perSecond, told.pages),
		fmt.Sprintf("p50 %s, p99 %s", micros(told.at(0.5)), micros(told.at(0.99))), "", "")

	own, other, err := w.freshness(ctx, c.binary, db, srv)
	if err != nil {
		return err
	}
	b.add("a write in the next live answer of the same replica", own.Round(10*time.Microsecond).String()+" (p50 of write and read)", "", "")
	if len(other) > 0 {
		b.add("a write in a live answer of another replica", fmt.Sprintf("p50 %s, max %s", other[len(other)/2].Round(time.Millisecond), other[len(other)-1].Round(time.Millisecond)), "aim: 250ms", "")
	}
	return nil
}

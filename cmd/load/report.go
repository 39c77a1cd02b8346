package main

import (
	"fmt"
	"io"
	"time"
)

type line struct{ database, what, ours, theirs, ratio string }

// report gathers what was measured, in the order it was.
type report struct{ lines []line }

func (r *report) add(database, what, ours, theirs, ratio string) {
	r.lines = append(r.lines, line{database, what, ours, theirs, ratio})
}

func (r *report) print(to io.Writer) {
	fmt.Fprintln(to, "| database | workload | Retombées | compared with, same run | ratio |\n|---|---|--:|--:|--:|")
	for _, l := range r.lines {
		fmt.Fprintf(to, "| %s | %s | %s | %s | %s |\n", l.database, l.what, l.ours, l.theirs, l.ratio)
	}
}

func perSecond(n int, took time.Duration) string {
	return fmt.Sprintf("%.0f k rows/s", float64(n)/took.Seconds()/1000)
}

func micros(d time.Duration) string {
	if d > 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d µs", d.Microseconds())
}

// ratio says how many times faster ours was than theirs.
func ratio(theirs, ours time.Duration) string {
	return fmt.Sprintf("%.2f", theirs.Seconds()/ours.Seconds())
}

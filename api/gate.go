package api

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/grandlyon/retombees/pkg/impact"
)

const (
	// queued is how many requests of one caller may wait for each that runs.
	queued = 4
	// longestQueue is how long one may wait.
	longestQueue = 10 * time.Second
)

// gate lets each caller have a few costly answers at once; the others wait in
// the order they came, and a line that is too long is closed. What it remembers
// is what runs and what waits.
type gate struct {
	most  int
	mu    sync.Mutex
	lines map[payer]*line
}

type line struct {
	running *semaphore.Weighted
	length  int // running and waiting
}

// newGate gives nil, which holds nobody up, when most is not positive.
func newGate(most int) *gate {
	if most <= 0 {
		return nil
	}
	return &gate{most: most, lines: map[payer]*line{}}
}

// enter waits for a place; leave must follow, unless there is an error.
func (g *gate) enter(ctx context.Context, who payer) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	l := g.lines[who]
	if l == nil {
		l = &line{running: semaphore.NewWeighted(int64(g.most))}
		g.lines[who] = l
	}
	if l.length >= g.most*(1+queued) {
		g.mu.Unlock()
		return g.full(nil)
	}
	l.length++
	g.mu.Unlock()
	if l.running.TryAcquire(1) {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, longestQueue)
	defer cancel()
	if err := l.running.Acquire(waiting, 1); err != nil {
		g.left(who)
		return g.full(err)
	}
	return nil
}

func (g *gate) leave(who payer) {
	if g == nil {
		return
	}
	g.mu.Lock()
	l := g.lines[who]
	g.mu.Unlock()
	l.running.Release(1)
	g.left(who)
}

// left forgets a line nobody stands in.
func (g *gate) left(who payer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[who]
	if l.length--; l.length == 0 {
		delete(g.lines, who)
	}
}

func (g *gate) full(cause error) error {
	return &impact.Error{
		Kind: impact.Busy, Code: "reduced_capacity", Err: cause,
		Detail: impact.Text{FR: "Trop de réponses coûteuses vous sont préparées en même temps.", EN: "Too many costly answers are being prepared for you at the same time."},
		Hint:   impact.Text{FR: "Attendez une réponse avant de demander la suivante ; GET /v1 dit combien sont permises à la fois.", EN: "Wait for an answer before asking for the next; GET /v1 tells how many are allowed at once."},
	}
}

// gated tells that the answer may cost much: figures, files, and what is not
// counted at all.
func (c *call) gated() bool {
	return c.route.Heavy || c.route.Counting == Documents || c.head && c.route.Counting != Probes
}

package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Small batches of concurrent callers are written by one goroutine: while one
// transaction commits, those that arrive gather for the next. A caller that is
// alone waits for nobody.
const (
	groupRows    = 50  // larger batches have a transaction of their own
	groupMembers = 128 // in one transaction
	groupTimeout = 30 * time.Second
)

type group struct {
	s       *Store
	arrived chan *member
	closing chan struct{}
	closed  chan struct{}
	once    sync.Once
}

func newGroup(s *Store) *group {
	g := &group{s: s, arrived: make(chan *member, groupMembers), closing: make(chan struct{}), closed: make(chan struct{})}
	go g.run()
	return g
}

// close lets what has arrived be written.
func (g *group) close() {
	g.once.Do(func() { close(g.closing) })
	<-g.closed
}

func (g *group) put(ctx context.Context, m *member) error {
	select {
	case g.arrived <- m:
	case <-g.closing:
		return closingDown()
	case <-ctx.Done():
		return ctx.Err()
	}
	// Once handed over, the outcome is waited for: a caller that left would
	// share its rows with the goroutine that still reads them.
	select {
	case <-m.done:
		return m.err
	case <-g.closed:
		select {
		case <-m.done:
			return m.err
		default:
			return closingDown()
		}
	}
}

func closingDown() error {
	return &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: impact.Text{FR: "Le service s'arrête.", EN: "The service is stopping."}}
}

func (g *group) run() {
	defer close(g.closed)
	for {
		var first *member
		select {
		case first = <-g.arrived:
		case <-g.closing:
			select {
			case first = <-g.arrived:
			default:
				return
			}
		}
		members := append(make([]*member, 0, groupMembers), first)
		for gathered := true; gathered && len(members) < groupMembers; {
			select {
			case m := <-g.arrived:
				members = append(members, m)
			default:
				gathered = false
			}
		}
		g.write(members)
	}
}

// write runs the members together, and one by one if that fails.
func (g *group) write(members []*member) {
	waiting := members[:0]
	for _, m := range members {
		if m.err = m.ctx.Err(); m.err != nil {
			close(m.done)
			continue
		}
		waiting = append(waiting, m)
	}
	if len(waiting) == 0 {
		return
	}
	err := g.attempt(waiting)
	for _, m := range waiting {
		if err != nil {
			if len(waiting) > 1 {
				err := g.attempt([]*member{m})
				if err != nil {
					m.err = err
				}
			} else {
				m.err = err
			}
		}
		close(m.done)
	}
}

// attempt does not depend on the patience of one caller.
func (g *group) attempt(members []*member) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("writing observations: panic: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	return g.s.transact(ctx, func(ctx context.Context, t *txn) error { return g.s.put(ctx, t, members) })
}

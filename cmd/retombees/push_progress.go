package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// pushProgress tells how far a push is: a bar on a terminal, otherwise one line
// a minute, which a log bears.
type pushProgress struct {
	to    io.Writer
	total int
	bar   *progressbar.ProgressBar

	mu   sync.Mutex
	rows int
	stop func()
}

func newPushProgress(w *world, total int, in phrases) *pushProgress {
	p := &pushProgress{to: w.stderr, total: total}
	if f, ok := w.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("rows"), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
		p.stop = sync.OnceFunc(func() { _ = p.bar.Finish() })
		return p
	}
	ticker, ended, quiet := time.NewTicker(oneLineEvery), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quiet)
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				p.mu.Lock()
				rows := p.rows
				p.mu.Unlock()
				p.say(fmt.Sprintf(in.progress, rows, p.total))
			}
		}
	}()
	p.stop = sync.OnceFunc(func() {
		ticker.Stop()
		close(ended)
		<-quiet
	})
	return p
}

// done is how many rows the service has dealt with.
func (p *pushProgress) done(rows int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = rows
	if p.bar != nil {
		_ = p.bar.Set(rows)
	}
}

// say writes one line.
func (p *pushProgress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.to, "push:", line)
}

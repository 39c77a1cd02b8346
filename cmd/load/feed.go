package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// feedReading is what a reader of the change feed saw of some writers at full
// speed.
type feedReading struct {
	perSecond, pages float64
	lags             []time.Duration // of each write, sorted
}

func (f *feedReading) at(share float64) time.Duration {
	return f.lags[int(share*float64(len(f.lags)-1))]
}

// feedOffset keeps these writes apart from those of singleWrites.
const feedOffset = 20_000_000

// feed lets sixteen connections write one observation at a time while a steward
// follows the feed by long poll. The lag of a write is the time from its answer
// to the page that tells of it.
func (w *world) feed(ctx context.Context, s *server, length time.Duration) (*feedReading, error) {
	var mu sync.Mutex
	written, told := map[string]time.Time{}, map[string]time.Time{}
	var next, pages atomic.Int64
	var reading, writing errgroup.Group
	var over atomic.Bool

	type page struct {
		Data       []struct{ Type, ID string }
		NextCursor string `json:"next_cursor"`
		CaughtUp   bool   `json:"caught_up"`
	}
	read := func(query string) (p page, err error) {
		body, err := call(ctx, "GET", s.url+"/v1/changes?types=observation"+query, w.steward, nil, http.StatusOK)
		if err != nil {
			return p, err
		}
		return p, json.Unmarshal(body, &p)
	}
	first, err := read("")
	if err != nil {
		return nil, err
	}
	reading.Go(func() error {
		for cursor := first.NextCursor; ; {
			last := over.Load()
			p, err := read("&limit=1000&wait=1&cursor=" + url.QueryEscape(cursor))
			if err != nil {
				return err
			}
			now := time.Now()
			pages.Add(1)
			for _, x := range p.Data {
				if _, again := told[x.ID]; !again {
					told[x.ID] = now
				}
			}
			if cursor = p.NextCursor; last && p.CaughtUp {
				return nil
			}
		}
	})
	start := time.Now()
	for range singles {
		writing.Go(func() error {
			for time.Since(start) < length {
				token, body := w.single(feedOffset + int(next.Add(1)))
				answer, err := call(ctx, "POST", s.url+"/v1/observations", token, body, http.StatusCreated)
				if err != nil {
					return err
				}
				now := time.Now()
				var o struct{ ID string }
				if err := json.Unmarshal(answer, &o); err != nil {
					return err
				}
				mu.Lock()
				written[o.ID] = now
				mu.Unlock()
			}
			return nil
		})
	}
	err = writing.Wait()
	took := time.Since(start)
	over.Store(true)
	if err := errors.Join(err, reading.Wait()); err != nil {
		return nil, err
	}
	f := &feedReading{perSecond: float64(len(written)) / took.Seconds(), pages: float64(pages.Load()) / took.Seconds()}
	for id, at := range written {
		seen, ok := told[id]
		if !ok {
			return nil, fmt.Errorf("the feed never told of %s", id)
		}
		f.lags = append(f.lags, max(0, seen.Sub(at)))
	}
	if len(f.lags) == 0 {
		return nil, errors.New("nothing was written")
	}
	slices.Sort(f.lags)
	return f, nil
}

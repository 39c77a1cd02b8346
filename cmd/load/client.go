package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// senders is how many connections send batches; singles, how many send one
// observation at a time.
const (
	senders = 4
	singles = 16
)

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}

// call sends one request and gives its body; any status but want is an error.
func call(ctx context.Context, method, url, token string, body []byte, want ...int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(want, resp.StatusCode) {
		return nil, fmt.Errorf("%s %s: %s\n%.2000s", method, url, resp.Status, text)
	}
	return text, nil
}

// sendAll sends the batch of every organisation and tells how long all took.
func (w *world) sendAll(ctx context.Context, s *server) (time.Duration, error) {
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	for i, body := range w.bodies {
		g.Go(func() error {
			answer, err := call(ctx, "POST", s.url+"/v1/observations", w.tokens[i], body, http.StatusOK)
			if err != nil {
				return err
			}
			if bytes.Contains(answer, []byte(`"rejected"`)) && bytes.Contains(answer, []byte(`"errors":[{`)) {
				return fmt.Errorf("rows of organisation %d were rejected: %.1000s", i, answer)
			}
			return nil
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// singleWrites sends one observation per request from sixteen connections and
// gives how many were committed in a second.
func (w *world) singleWrites(ctx context.Context, s *server, length time.Duration) (float64, error) {
	var next, done atomic.Int64
	until := time.Now().Add(length)
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range singles {
		g.Go(func() error {
			for time.Now().Before(until) {
				n := int(next.Add(1))
				token, body := w.single(n)
				if _, err := call(ctx, "POST", s.url+"/v1/observations", token, body, http.StatusCreated); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err := g.Wait()
	return float64(done.Load()) / time.Since(start).Seconds(), err
}

// single is the n-th observation nobody has stated yet: those of batches are
// for the Métropole, these for communes of the Ain, each indicator in a commune
// of its own so that no check compares two of them.
func (w *world) single(n int) (token string, body []byte) {
	organisation, n := n%len(w.tokens), n/len(w.tokens)
	indicator := w.indicators[n%len(w.indicators)]
	place := w.elsewhere[n%len(w.elsewhere)]
	return w.tokens[organisation], fmt.Appendf(nil, `{"indicator":%q,"territory":%q,"period":"2025-Q1","value":%d,"unit":%q}`,
		indicator.Code, place, 100+rand.IntN(9), indicator.Unit)
}

// query is a live query and the SQL that gives the same cells.
type query struct {
	name string
	path string // %s: a commune, %d: a year
	all  bool   // every commune and every year
}

var queries = []query{
	{name: "one commune × all indicators × one year", path: "/v1/aggregates?release=live&territory=%s&period=%d&granularity=year"},
	{
		name: "58 communes × impact types × 10 years", all: true,
		path: "/v1/aggregates?release=live&territory=metropole-200046977&territory_type=commune&group_by=territory,impact_type,period&period=2016/2025&granularity=year&limit=10000",
	},
}

// liveQuery gives the median time of the query and how many figures it gives.
func (w *world) liveQuery(ctx context.Context, s *server, q query, times int) (time.Duration, int, error) {
	var took []time.Duration
	figures := 0
	if q.all {
		times = max(5, times/10)
	}
	for i := range times + times/10 {
		path := q.path
		if !q.all {
			path = fmt.Sprintf(path, w.communes[rand.IntN(len(w.communes))], firstYear+rand.IntN(quarters/4))
		}
		start := time.Now()
		body, err := call(ctx, "GET", s.url+path, w.steward, nil, http.StatusOK)
		if err != nil {
			return 0, 0, err
		}
		if i >= times/10 { // the first ones warm the connection
			took = append(took, time.Since(start))
		}
		var answer struct{ Data []json.RawMessage }
		if err := json.Unmarshal(body, &answer); err != nil {
			return 0, 0, err
		}
		figures = len(answer.Data)
	}
	slices.Sort(took)
	return took[len(took)/2], figures, nil
}

// freshness writes and reads: at once on the same replica, which must answer
// the new value each time, and on a second one until it shows.
func (w *world) freshness(ctx context.Context, binary string, db database, s *server) (own time.Duration, other []time.Duration, err error) {
	second := s
	if db.replicas() {
		if second, err = startServer(ctx, binary, db, w); err != nil {
			return 0, nil, err
		}
		defer second.stop()
	}
	var same []time.Duration
	const path = "/v1/aggregates?release=live&territory=departement-38&period=2024&granularity=year&indicator="
	indicator := w.indicators[0]
	for i := range 40 {
		value := 1000 + i
		start := time.Now()
		body := fmt.Appendf(nil, `{"indicator":%q,"territory":"departement-38","period":"2024","value":%d,"unit":%q}`, indicator.Code, value, indicator.Unit)
		if _, err := call(ctx, "POST", s.url+"/v1/observations", w.tokens[7], body, http.StatusCreated, http.StatusOK); err != nil {
			return 0, nil, err
		}
		written := time.Now()
		shows := func(url string) (bool, error) {
			answer, err := call(ctx, "GET", url+path+string(indicator.Code), w.steward, nil, http.StatusOK)
			return strings.Contains(string(answer), fmt.Sprintf(`"value":%d,`, value)), err
		}
		ok, err := shows(s.url)
		if err != nil {
			return 0, nil, err
		}
		if !ok {
			return 0, nil, fmt.Errorf("the write of %d is not in the next answer of its own replica", value)
		}
		same = append(same, time.Since(start))
		if second == s {
			continue
		}
		for ok = false; !ok && time.Since(written) < 10*time.Second; {
			if ok, err = shows(second.url); err != nil {
				return 0, nil, err
			}
		}
		other = append(other, time.Since(written))
	}
	slices.Sort(same)
	slices.Sort(other)
	return same[len(same)/2], other, nil
}

package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
)

// Change is one event of the feed: what one commit did to one resource.
type Change struct {
	Cursor    string          `json:"cursor"`
	Type      string          `json:"type"`
	Op        string          `json:"op"` // created updated deleted
	ID        string          `json:"id"`
	UpdatedAt string          `json:"updated_at"`
	Resource  json.RawMessage `json:"resource"` // null for a deletion
}

// ChangePage is some changes in the order of commits. Keep NextCursor once they
// are dealt with: a reader that starts there again misses nothing.
type ChangePage struct {
	Data       []Change `json:"data"`
	NextCursor string   `json:"next_cursor"`
	CaughtUp   bool     `json:"caught_up"`
}

// Changes follows the feed from a cursor, for ever: when caught up it waits for
// news, up to 20 s a request. Without a cursor the first page holds nothing but
// the place to follow from: copy the collections before the next one. query
// holds the filters, types and organisation. A *Problem with code cursor_expired
// asks to start from a copy again.
func (c *Client) Changes(ctx context.Context, cursor string, query url.Values) iter.Seq2[*ChangePage, error] {
	return func(yield func(*ChangePage, error) bool) {
		wait := 0
		for {
			asked := url.Values{"wait": {strconv.Itoa(wait)}}
			for name, values := range query {
				asked[name] = values
			}
			if cursor != "" {
				asked.Set("cursor", cursor)
			}
			var p ChangePage
			if _, err := c.Call(ctx, Request{Path: "/v1/changes", Query: asked}, &p); err != nil {
				yield(nil, err)
				return
			}
			if !yield(&p, nil) {
				return
			}
			cursor, wait = p.NextCursor, 0
			if p.CaughtUp {
				wait = 20
			}
		}
	}
}

package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Page is a page of a collection.
type Page[T any] struct {
	Data  []T       `json:"data"`
	Links PageLinks `json:"links"`
	Meta  PageMeta  `json:"meta"`
}

// PageLinks leads to this page and to the next one; next is null on the last.
type PageLinks struct {
	Self string  `json:"self"`
	Next *string `json:"next" extensions:"x-nullable"`
}

// PageMeta tells what was understood differently from what was written.
type PageMeta struct {
	RowCount int            `json:"row_count"`
	Warnings []ProblemEntry `json:"warnings"`
}

// Warned is the meta member of a single resource.
type Warned struct {
	Warnings []ProblemEntry `json:"warnings"`
}

// Links of a single resource.
type Links struct {
	Self string `json:"self"`
}

// paging reads limit and cursor. The page starts after the position of the
// cursor, which must be ours and made for the same query.
func (c *call) paging() (impact.Page, error) {
	p := impact.Page{Limit: c.query.integer("limit", min(100, c.route.maxLimit()), 1, c.route.maxLimit())}
	cursor := c.query.one("cursor")
	if err := c.query.err(); err != nil || cursor == "" {
		return p, err
	}
	after, err := c.s.openCursor(cursor, c.queryHash())
	if refusal, ok := errors.AsType[*impact.Error](err); ok {
		refusal.Link = c.address(c.path, c.query.canonical("cursor"))
		return p, refusal
	}
	p.After = after
	return p, nil
}

// queryHash names what is asked, the position apart.
func (c *call) queryHash() [8]byte {
	sum := sha256.Sum256([]byte(c.path + "?" + c.query.canonical("cursor", "limit")))
	return [8]byte(sum[:8])
}

// page answers one page: next is the sort key of its last row, nil on the last
// page.
func page[T any](c *call, data []T, next []string, warnings ...impact.Fault) Page[T] {
	if data == nil {
		data = []T{}
	}
	p := Page[T]{
		Data:  data,
		Links: PageLinks{Self: c.self()},
		Meta:  PageMeta{RowCount: len(data), Warnings: c.entries(warnings)},
	}
	if next != nil {
		q := c.query.canonical("cursor")
		if q != "" {
			q += "&"
		}
		link := c.address(c.path+c.suffix, q+"cursor="+c.s.sealCursor(next, c.queryHash()))
		p.Links.Next = &link
		c.w.Header().Add("Link", "<"+link+`>; rel="next"`)
	}
	return p
}

// A cursor is: version, query hash, the sort key (each value preceded by its
// length), 16 bytes of HMAC; in base64url. Clients never look inside.
const cursorVersion = 1

func (s *server) sealCursor(after []string, query [8]byte) string {
	b := append([]byte{cursorVersion}, query[:]...)
	for _, v := range after {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, s.cursorMAC(b)...))
}

func (s *server) cursorMAC(b []byte) []byte {
	m := hmac.New(sha256.New, s.CursorKey)
	m.Write(b)
	return m.Sum(nil)[:16]
}

func (s *server) openCursor(cursor string, query [8]byte) ([]string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 1+8+16 || b[0] != cursorVersion {
		return nil, invalidCursor()
	}
	body, mac := b[:len(b)-16], b[len(b)-16:]
	if !hmac.Equal(mac, s.cursorMAC(body)) {
		return nil, invalidCursor()
	}
	if [8]byte(body[1:9]) != query {
		return nil, &impact.Error{
			Kind: impact.Malformed, Code: "cursor_mismatch",
			Detail: impact.Text{FR: "Ce curseur a été donné pour une autre requête.", EN: "This cursor was given for another query."},
			Hint:   impact.Text{FR: "Suivez links.next tel quel, ou repartez sans cursor.", EN: "Follow links.next as it is, or start again without cursor."},
		}
	}
	after := []string{}
	for rest := body[9:]; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return nil, invalidCursor()
		}
		after = append(after, string(rest[size:size+int(n)]))
		rest = rest[size+int(n):]
	}
	return after, nil
}

func invalidCursor() error {
	return &impact.Error{
		Kind: impact.Malformed, Code: "invalid_cursor",
		Detail: impact.Text{FR: "Ce curseur n'est pas un des nôtres.", EN: "This cursor is not one of ours."},
		Hint:   impact.Text{FR: "Un curseur se prend dans links.next et ne se compose pas ; repartez sans cursor.", EN: "A cursor is taken from links.next and never made by hand; start again without cursor."},
	}
}

// cut gives one page of rows already in order: those after the cursor, at most
// limit, and the position of the next page. key is the unique sort key of a row.
func cut[T any](rows []T, p impact.Page, key func(T) string) ([]T, []string) {
	if len(p.After) > 0 {
		i := 0
		for i < len(rows) && key(rows[i]) <= p.After[0] {
			i++
		}
		rows = rows[i:]
	}
	if len(rows) <= p.Limit {
		return rows, nil
	}
	rows = rows[:p.Limit]
	return rows, []string{key(rows[len(rows)-1])}
}

// padded writes a number so that its text sorts like the number.
func padded(n int64) string {
	s := strconv.FormatInt(n, 10)
	return "00000000000000000000"[len(s):] + s
}

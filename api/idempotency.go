package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// IdempotencyStore answers a keyed request once: do runs in a transaction that
// the context carries, its answer is kept with what it wrote, and the same key
// gives it again.
type IdempotencyStore interface {
	Idempotent(ctx context.Context, key impact.IdempotencyKey, do func(context.Context) (impact.StoredResponse, error)) (answer impact.StoredResponse, replayed bool, err error)
}

// CommitLog numbers what was written: a reader that waits for the number sees
// everything acknowledged before.
type CommitLog interface {
	Seq(ctx context.Context) (int64, error)
}

// reply is an answer to a write, complete before anything is sent so that it
// can be kept and given again.
type reply struct {
	status   int
	location string
	etag     string
	mandate  impact.MandateID
	seq      int64 // 0: not known
	body     []byte
	err      error
}

func (c *call) reply(status int, v any) *reply {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	r := &reply{status: status, err: e.Encode(v)}
	r.body = b.Bytes()
	return r
}

func (r *reply) at(path string) *reply    { r.location = path; return r }
func (r *reply) version(v int) *reply     { r.etag = versionTag(v); return r }
func (r *reply) committed(n int64) *reply { r.seq = n; return r }

const (
	requiredKey = true
	optionalKey = false
)

// repeatable runs a write and sends its answer. With an Idempotency-Key the
// same request sent again gets the same answer and writes nothing.
func (c *call) repeatable(required bool, do func(context.Context) (*reply, error)) error {
	key, err := c.idempotencyKey(required)
	if err != nil {
		return err
	}
	var stored impact.StoredResponse
	var seq int64
	if key == "" {
		r, err := do(c.r.Context())
		if err != nil {
			return err
		}
		stored, seq, err = r.stored()
		if err != nil {
			return err
		}
	} else {
		body, err := c.readBody()
		if err != nil {
			return err
		}
		var replayed bool
		stored, replayed, err = c.s.Idempotency.Idempotent(c.r.Context(), impact.IdempotencyKey{
			Client: c.principal.Client, Route: c.route.Method + " " + c.route.Path, Key: key, Fingerprint: c.fingerprint(body),
		}, func(ctx context.Context) (impact.StoredResponse, error) {
			r, err := do(ctx)
			if err != nil {
				return impact.StoredResponse{}, err
			}
			answer, n, err := r.stored()
			seq = n
			return answer, err
		})
		if err != nil {
			return err
		}
		if replayed {
			seq = 0
			c.w.Header().Set("Idempotent-Replayed", "true")
		}
	}
	if c.reveal != nil {
		if stored.Body, err = c.reveal(stored.Body); err != nil {
			return fmt.Errorf("completing the answer: %w", err)
		}
	}
	if err := c.s.consistency(c, seq); err != nil {
		return err
	}
	h := c.w.Header()
	for name, value := range stored.Header {
		if name == "Location" {
			value = c.address(value, "")
		}
		h.Set(name, value)
	}
	c.write(stored.Status, FormatJSON.Type, stored.Body)
	return nil
}

func (r *reply) stored() (impact.StoredResponse, int64, error) {
	if r.err != nil {
		return impact.StoredResponse{}, 0, fmt.Errorf("encoding the answer: %w", r.err)
	}
	h := map[string]string{}
	if r.location != "" {
		h["Location"] = r.location
	}
	if r.etag != "" {
		h["ETag"] = r.etag
	}
	if r.mandate != "" {
		h[mandateHeader] = string(r.mandate)
	}
	return impact.StoredResponse{Status: r.status, Header: h, Body: r.body}, r.seq, nil
}

// consistency gives the caller the number of its write; a live reading that
// carries it waits for it.
func (s *server) consistency(c *call, seq int64) error {
	if seq == 0 {
		var err error
		if seq, err = s.Commits.Seq(c.r.Context()); err != nil {
			return err
		}
	}
	c.w.Header().Set("Consistency-Token", strconv.FormatInt(seq, 10))
	return nil
}

// idempotencyKey reads the header; the quotes around it are optional.
func (c *call) idempotencyKey(required bool) (string, error) {
	values := c.r.Header.Values("Idempotency-Key")
	example := impact.Text{
		FR: `Un UUID neuf par requête nouvelle : Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324".`,
		EN: `A fresh UUID for each new request: Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324".`,
	}
	if len(values) == 0 {
		if !required {
			return "", nil
		}
		return "", &impact.Error{
			Kind: impact.Malformed, Code: "missing_idempotency_key", Hint: example,
			Detail: impact.Text{FR: "Cette adresse demande l'en-tête Idempotency-Key : une réponse perdue se redemande sans rien doubler.", EN: "This address needs the header Idempotency-Key: a lost answer can be asked again and nothing is doubled."},
			Faults: []impact.Fault{{Code: "missing_field", Header: "Idempotency-Key", Hint: example}},
		}
	}
	key := strings.TrimSpace(values[0])
	if n := len(key); n >= 2 && key[0] == '"' && key[n-1] == '"' {
		key = key[1 : n-1]
	}
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		return "", &impact.Error{
			Kind: impact.Malformed, Code: "invalid_header", Hint: example,
			Detail: impact.Text{FR: "Idempotency-Key n'est pas lisible : de 1 à 255 caractères ASCII visibles, une seule fois.", EN: "Idempotency-Key cannot be read: 1 to 255 visible ASCII characters, once."},
			Faults: []impact.Fault{{Code: "invalid_type", Header: "Idempotency-Key", Hint: example}},
		}
	}
	return key, nil
}

// fingerprint tells two requests apart: method, address, query, media type,
// body.
func (c *call) fingerprint(body []byte) [32]byte {
	h := sha256.New()
	for _, part := range []string{c.r.Method, c.path, c.r.URL.RawQuery, c.r.Header.Get("Content-Type")} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	h.Write(body)
	return [32]byte(h.Sum(nil))
}

// done answers a change of one resource.
func (c *call) done(status int, version int, seq int64, v any) error {
	if err := c.s.consistency(c, seq); err != nil {
		return err
	}
	if version > 0 {
		c.w.Header().Set("ETag", versionTag(version))
	}
	if status == http.StatusNoContent {
		c.caching(status)
		c.w.WriteHeader(status)
		return nil
	}
	return c.answer(status, v)
}

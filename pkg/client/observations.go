package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
)

// Statement is an observation as its sender states it. Value keeps the digits
// as they are written; nil needs a Status L, M or O.
type Statement struct {
	Organisation   string                 `json:"organisation,omitempty"` // id, siret:…, siren:…, rna:…, ext:{source}:{id}
	Indicator      string                 `json:"indicator"`
	Territory      string                 `json:"territory"`
	Period         string                 `json:"period"`
	Value          *json.Number           `json:"value,omitempty"`
	Components     map[string]json.Number `json:"components,omitempty"`
	Unit           string                 `json:"unit,omitempty"`
	Status         string                 `json:"obs_status,omitempty"`
	Disaggregation map[string]string      `json:"disaggregation,omitempty"`
	Qualifiers     map[string]string      `json:"qualifiers,omitempty"`
	Programme      string                 `json:"programme,omitempty"`
	Source         string                 `json:"source,omitempty"`
	ExternalID     string                 `json:"external_id,omitempty"`
	Note           string                 `json:"note,omitempty"`
}

// Observation is one fact as it is on record.
type Observation struct {
	ID           string       `json:"id"`
	Organisation string       `json:"organisation"`
	Indicator    string       `json:"indicator"`
	Territory    string       `json:"territory"`
	Period       string       `json:"period"`
	Value        *json.Number `json:"value"`
	Unit         string       `json:"unit"`
	Status       string       `json:"obs_status"`
	State        string       `json:"state"`
	Version      int          `json:"version"`
	ActedBy      string       `json:"acted_by"`
	Mandate      *string      `json:"mandate"`
	UpdatedAt    string       `json:"updated_at"`
	Deleted      bool         `json:"deleted"`
}

// BatchReport says what became of each statement of a batch.
type BatchReport struct {
	Data []struct {
		Row         int     `json:"row"`
		Outcome     string  `json:"outcome"` // created updated unchanged rejected
		Errors      []Fault `json:"errors"`
		Warnings    []Fault `json:"warnings"`
		Observation *struct {
			ID      string `json:"id"`
			Version int    `json:"version"`
		} `json:"observation"`
	} `json:"data"`
	Meta struct {
		Outcome string `json:"outcome"` // succeeded partially_succeeded failed
	} `json:"meta"`
}

// MaxBatch is how many statements one request takes.
const MaxBatch = 1000

// PutObservations states up to MaxBatch observations; each is taken or refused
// on its own. key is the Idempotency-Key, made when empty.
func (c *Client) PutObservations(ctx context.Context, statements []Statement, key string) (*BatchReport, error) {
	if key == "" {
		key = NewKey()
	}
	var report BatchReport
	_, err := c.Call(ctx, Request{
		Method: http.MethodPost, Path: "/v1/observations", Key: key,
		Body: map[string][]Statement{"observations": statements},
	}, &report)
	if err != nil {
		return nil, err
	}
	return &report, nil
}

// Observations gives those the caller may see; query holds the filters of the
// API: organisation, indicator, territory, period, updated_since…
func (c *Client) Observations(ctx context.Context, query url.Values) iter.Seq2[Observation, error] {
	return list[Observation](ctx, c, "/v1/observations", query)
}

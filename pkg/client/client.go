package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Config says which service, and as whom. Without credentials the client is
// anonymous.
type Config struct {
	// URL of the service, without /v1: "https://impact.example".
	URL string
	// ClientID and ClientSecret are exchanged for access tokens of 15 minutes;
	// Scopes asks for fewer than the client holds.
	ClientID, ClientSecret string
	Scopes                 []string
	// APIKey is sent as it is, in place of the above.
	APIKey string
	// Language of messages: "fr" (the default) or "en".
	Language string
	// Attempts bounds how often one request is sent, 8 when zero. Between two
	// attempts the pause grows from 0.5 s to 30 s, or is what the service asks.
	Attempts int
	// UserAgent names your program; "retombees-client" when empty.
	UserAgent string
	// Transport carries the requests, http.DefaultTransport's settings when nil.
	Transport http.RoundTripper
	// Retrying is told of every attempt after the first.
	Retrying func(attempt int, request *http.Request)
}

// Client is safe for concurrent use.
type Client struct {
	base     string
	http     *http.Client
	language string
	agent    string
}

// MaxAnswer bounds the JSON answer that is read into memory.
const MaxAnswer = 64 << 20

// New checks the configuration; nothing is sent yet. ctx bounds the renewal of
// access tokens, that is the life of the client.
func New(ctx context.Context, c Config) (*Client, error) {
	base, err := url.Parse(c.URL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.RawQuery != "" || base.User != nil {
		return nil, fmt.Errorf("%q is not the address of a service: expected https://host", c.URL)
	}
	if (c.ClientID == "") != (c.ClientSecret == "") {
		return nil, errors.New("a client id goes with its secret")
	}
	if c.ClientID != "" && c.APIKey != "" {
		return nil, errors.New("give a client id and secret, or an API key, not both")
	}
	root := strings.TrimSuffix(strings.TrimRight(c.URL, "/"), "/v1")
	sending := sender(c)
	switch {
	case c.ClientID != "":
		credentials := clientcredentials.Config{
			ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: c.Scopes,
			TokenURL: root + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader,
		}
		sending = credentials.Client(context.WithValue(ctx, oauth2.HTTPClient, sending))
	case c.APIKey != "":
		key := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: c.APIKey})
		sending = oauth2.NewClient(context.WithValue(ctx, oauth2.HTTPClient, sending), key)
	}
	// The API never redirects; a token must not follow one.
	sending.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.Language == "" {
		c.Language = "fr"
	}
	if c.UserAgent == "" {
		c.UserAgent = "retombees-client"
	}
	return &Client{base: root, http: sending, language: c.Language, agent: c.UserAgent}, nil
}

// sender sends a request again where nothing can be done twice by it.
func sender(c Config) *http.Client {
	r := retryablehttp.NewClient()
	r.Logger = nil
	r.RetryMax = 7
	if c.Attempts > 0 {
		r.RetryMax = c.Attempts - 1
	}
	r.RetryWaitMin, r.RetryWaitMax = 500*time.Millisecond, 30*time.Second
	if c.Transport != nil {
		r.HTTPClient.Transport = c.Transport
	}
	r.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.ErrorHandler = retryablehttp.PassthroughErrorHandler
	r.CheckRetry = func(ctx context.Context, answer *http.Response, err error) (bool, error) {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			again, _ := retryablehttp.ErrorPropagatedRetryPolicy(ctx, nil, err)
			return again && repeatable(ctx), nil
		}
		return asksAgain(answer) && repeatable(ctx), nil
	}
	r.Backoff = func(least, most time.Duration, attempt int, answer *http.Response) time.Duration {
		if answer != nil {
			if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 {
				return min(time.Duration(seconds)*time.Second, 5*time.Minute)
			}
		}
		return retryablehttp.DefaultBackoff(least, most, attempt, nil)
	}
	if c.Retrying != nil {
		r.RequestLogHook = func(_ retryablehttp.Logger, request *http.Request, attempt int) {
			if attempt > 0 {
				c.Retrying(attempt, request)
			}
		}
	}
	return r.StandardClient()
}

// asksAgain tells that the service did nothing and may be asked again.
func asksAgain(answer *http.Response) bool {
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusConflict: // the same request is still running
		return answer.Header.Get("Retry-After") != ""
	}
	return false
}

type onceKey struct{}

// repeatable is false only for requests that would do their work twice.
func repeatable(ctx context.Context) bool { return ctx.Value(onceKey{}) == nil }

// Request is one call of the API.
type Request struct {
	Method string // GET when empty
	Path   string // "/v1/observations"
	Query  url.Values
	// Body is sent as JSON; Raw as it is, with its ContentType.
	Body        any
	Raw         []byte
	ContentType string
	// Key is the Idempotency-Key. A POST without one is sent once only.
	Key    string
	Header http.Header
}

// Call sends one request and reads the JSON answer into into, which may be nil.
// A refusal is a *Problem.
func (c *Client) Call(ctx context.Context, r Request, into any) (http.Header, error) {
	answer, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if into == nil || answer.StatusCode == http.StatusNoContent {
		return answer.Header, nil
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, MaxAnswer+1))
	if err == nil && len(text) > MaxAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", MaxAnswer)
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return answer.Header, fmt.Errorf("reading the answer of %s %s: %w", answer.Request.Method, r.Path, err)
	}
	return answer.Header, nil
}

// Download writes the bytes of an answer to w.
func (c *Client) Download(ctx context.Context, r Request, w io.Writer) error {
	answer, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, answer.Body); err != nil {
		return fmt.Errorf("reading %s: %w", r.Path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, r Request) (*http.Response, error) {
	body, contentType := r.Raw, r.ContentType
	if r.Body != nil {
		var err error
		if body, err = json.Marshal(r.Body); err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
		contentType = "application/json"
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	address := c.base + r.Path
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	if r.Method == http.MethodPost && r.Key == "" {
		ctx = context.WithValue(ctx, onceKey{}, true)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", c.agent)
	request.Header.Set("Accept-Language", c.language)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if r.Key != "" {
		request.Header.Set("Idempotency-Key", strconv.Quote(r.Key))
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, refusedToken(err)
	}
	if answer.StatusCode >= 300 {
		defer answer.Body.Close()
		return nil, problem(answer)
	}
	return answer, nil
}

// NewKey makes an Idempotency-Key for one new request.
func NewKey() string { return rand.Text() }

// page is what every collection looks like.
type page[T any] struct {
	Data  []T `json:"data"`
	Links struct {
		Next *string `json:"next"`
	} `json:"links"`
}

// list follows a collection to its end.
func list[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			var p page[T]
			if _, err := c.Call(ctx, Request{Path: path, Query: query}, &p); err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, v := range p.Data {
				if !yield(v, nil) {
					return
				}
			}
			if p.Links.Next == nil {
				return
			}
			next, err := url.Parse(*p.Links.Next)
			if err != nil {
				var none T
				yield(none, fmt.Errorf("the address of the next page: %w", err))
				return
			}
			// Only the query is taken: a token never goes to another host.
			query = next.Query()
		}
	}
}

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"

	"github.com/grandlyon/retombees/pkg/impact"
)

const (
	// sendTimeout is for the whole of an attempt, from the name to the last byte.
	sendTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read; what follows is not waited for.
	maxAnswer = 64 << 10
)

// sender makes attempts.
type sender struct {
	client    *http.Client
	userAgent string
	now       func() time.Time
}

// newSender speaks through the guard only: no proxy of the environment, no
// redirection, TLS 1.2 at least. resolver and roots are the system's when nil.
func newSender(g *Guard, resolver *net.Resolver, roots *x509.CertPool, userAgent string, now func() time.Time) *sender {
	dialer := &net.Dialer{Timeout: sendTimeout, Control: g.control, Resolver: resolver}
	return &sender{userAgent: userAgent, now: now, client: &http.Client{
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           100,
			MaxIdleConnsPerHost:    hostSends,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
			DisableCompression:     true, // 64 kB stay 64 kB
		},
	}}
}

// answered is what an attempt brought.
type answered struct {
	attempt    impact.Attempt
	excerpt    string
	retryAfter time.Duration
}

// send makes one attempt. An error is ours: nothing was sent.
func (s *sender) send(ctx context.Context, url string, secrets []string, d *impact.Delivery) (answered, error) {
	at := s.now()
	signature, err := sign(secrets, d.ID, at, d.Body)
	if err != nil {
		return answered{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(d.Body))
	if err != nil {
		return answered{}, err
	}
	req.GetBody = nil // an attempt is one request
	h := req.Header
	h.Set("Content-Type", ContentType)
	h.Set("User-Agent", s.userAgent)
	h.Set("Webhook-Id", d.ID)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Webhook-Signature", signature)

	a := answered{attempt: impact.Attempt{At: at}}
	resp, err := s.client.Do(req)
	if err != nil {
		a.attempt.Duration, a.attempt.Failure = s.now().Sub(at), failureOf(err)
		return a, nil
	}
	defer resp.Body.Close()
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a.attempt.Duration, a.attempt.Status, a.excerpt = s.now().Sub(at), resp.StatusCode, excerpt(head)
	a.retryAfter = retryAfter(resp.Header, s.now())
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		a.attempt.Failure = impact.FailedRedirect
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		a.attempt.Failure = impact.FailedStatus
	case err != nil && isTimeout(err):
		a.attempt.Failure = impact.FailedTimeout
	case err != nil:
		a.attempt.Failure = impact.FailedAnswer
	}
	return a, nil
}

// failureOf says why there was no answer, in words that tell the owner of the
// webhook nothing of a network it cannot see.
func failureOf(err error) impact.AttemptFailure {
	if errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort) {
		return impact.FailedAddress
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return impact.FailedName
	}
	if isTimeout(err) {
		return impact.FailedTimeout
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return impact.FailedTLS
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return impact.FailedTLS
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		switch e.Op {
		case "dial":
			return impact.FailedConnection
		case "remote error", "local error": // how crypto/tls tells an alert
			return impact.FailedTLS
		}
	}
	return impact.FailedAnswer
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// excerpt keeps what a person can read of the beginning of an answer.
func excerpt(b []byte) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(b), "�"))
	if len(text) <= impact.ExcerptKept {
		return text
	}
	return strings.ToValidUTF8(text[:impact.ExcerptKept], "")
}

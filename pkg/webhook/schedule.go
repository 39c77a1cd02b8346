package webhook

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retries are the pauses after each failed attempt (Standard Webhooks); after
// the last one the delivery is given up.
var retries = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// pause is the time to wait after the nth failed attempt, false when it was the
// last. A tenth more or less keeps receivers that failed together from being
// called together. What the receiver asked for is waited, a day at most.
func pause(n int, asked time.Duration) (time.Duration, bool) {
	if n > len(retries) {
		return 0, false
	}
	planned := retries[n-1]
	planned += time.Duration((rand.Float64() - 0.5) / 5 * float64(planned))
	return max(planned, min(asked, 24*time.Hour)), true
}

// retryAfter reads the header of that name, in seconds or as a date; 0 when there
// is none that can be read.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// healthCmd is the probe of containers that hold nothing but this program.
type healthCmd struct {
	Addr    string        `env:"RETOMBEES_ADDR" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address that serve listens on. Default: 127.0.0.1:8080."`
	Timeout time.Duration `default:"3s" help:"Longest time given to the answer."`
}

// Run fails, with the reason, unless requests can be served.
func (c healthCmd) Run(w *world) error {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("reading --addr: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // every address listened on: this machine is one
	}
	ctx, cancel := context.WithTimeout(w.ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Language", "en")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		_, err := fmt.Fprintln(w.stdout, "ok")
		return err
	}
	var refusal struct{ Detail, Hint string }
	if json.Unmarshal(body, &refusal) != nil || refusal.Detail == "" {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	return fmt.Errorf("not ready: %s %s", refusal.Detail, refusal.Hint)
}

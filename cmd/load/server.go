package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is the real binary, running.
type server struct {
	cmd   *exec.Cmd
	url   string
	ready time.Duration // from start to the first 200 of /readyz
	log   *os.File
}

func startServer(ctx context.Context, binary string, db database, w *world, flags ...string) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://127.0.0.1:" + port}
	if s.log, err = os.CreateTemp(w.dir, "server-*.log"); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, binary, append([]string{
		"serve", "--addr", "127.0.0.1:" + port, "--database-url", db.url(), "--public-url", publicURL, "--signing-key-file", w.keyFile,
		"--rate-limit-client", "0", "--concurrent-requests", "0",
	}, flags...)...) // what is measured is the work, not the patience
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := start.Add(5 * time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if _, err := call(ctx, "GET", s.url+"/readyz", "", nil, http.StatusOK); err == nil {
			s.ready = time.Since(start)
			return s, nil
		}
	}
	s.stop()
	text, _ := os.ReadFile(s.log.Name())
	return nil, fmt.Errorf("the server was not ready in time:\n%s", text)
}

// stop asks for an orderly end and waits for it. A second call does nothing.
func (s *server) stop() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	s.log.Close()
}

// memory is the resident size of the process in bytes, peak the most it was.
func (s *server) memory() (int64, error) { return statusOf(s.cmd, "VmRSS:") }
func (s *server) peak() (int64, error)   { return statusOf(s.cmd, "VmHWM:") }

func statusOf(cmd *exec.Cmd, name string) (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, name); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, text)
}

func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

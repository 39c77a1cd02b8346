package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// The tests run the program as a process of its own: this test binary, told by
// the environment to be the program.
func TestMain(m *testing.M) {
	if os.Getenv("RETOMBEES_TEST_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	pgtest.Main(m)
}

// place is where a test runs the program: a folder and a database.
type testPlace struct {
	dir string
	env []string
}

// onBoth runs a test on SQLite and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, p testPlace)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, sqlitePlace(t)) })
	t.Run("postgres", func(t *testing.T) {
		dir := t.TempDir()
		test(t, testPlace{dir, []string{"DATABASE_URL=" + pgtest.DSN(t), "RETOMBEES_SIGNING_KEY_FILE=" + filepath.Join(dir, "key.pem")}})
	})
}

func sqlitePlace(t *testing.T) testPlace { return testPlace{dir: t.TempDir()} }

// demoPlace is a place whose SQLite file already holds the demonstration, which
// is loaded once for all tests.
func demoPlace(t *testing.T) testPlace {
	t.Helper()
	demoFiles.once.Do(func() {
		p := sqlitePlace(t)
		p.serve(t, "--demo").stop()
		for name := range demoFiles.content {
			text, err := os.ReadFile(filepath.Join(p.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			demoFiles.content[name] = text
		}
	})
	p := sqlitePlace(t)
	for name, text := range demoFiles.content {
		if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

var demoFiles = struct {
	once    sync.Once
	content map[string][]byte
}{content: map[string][]byte{"retombees.db": nil, "retombees.db.signing-key.pem": nil}}

func (p testPlace) command(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"RETOMBEES_TEST_PROGRAM=1", "PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}, p.env...)
	return cmd
}

// run gives what a command printed and its exit code.
func (p testPlace) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := p.command(args...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), log.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), log.String(), 0
}

func (p testPlace) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := p.run(t, args...)
	if code != 0 {
		t.Fatalf("retombees %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// server is a running `retombees serve`.
type server struct {
	t     *testing.T
	cmd   *exec.Cmd
	base  string
	began time.Time
	ready time.Duration
	first chan string   // the first line of standard output
	out   *bytes.Buffer // standard output, complete once stopped
	log   *bytes.Buffer
	ended chan struct{}
}

var readyLine = regexp.MustCompile(`^Retombées \S+ is ready at \S+ in \d+ ms, listening on (\S+)\n`)

// serve starts the server and waits until it says that it is ready.
func (p testPlace) serve(t *testing.T, args ...string) *server {
	t.Helper()
	s := p.start(t, args...)
	s.awaitReady()
	return s
}

func (p testPlace) start(t *testing.T, args ...string) *server {
	t.Helper()
	cmd := p.command(append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: cmd, began: time.Now(), first: make(chan string, 1), out: &bytes.Buffer{}, log: &bytes.Buffer{}, ended: make(chan struct{})}
	cmd.Stderr = s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // stopped already, if the test went well
	go func() {
		defer close(s.ended)
		lines := bufio.NewReader(pipe)
		line, _ := lines.ReadString('\n')
		s.out.WriteString(line)
		s.first <- line
		_, _ = io.Copy(s.out, lines) // until the program ends, however it does
	}()
	return s
}

func (s *server) awaitReady() {
	s.t.Helper()
	select {
	case line := <-s.first:
		match := readyLine.FindStringSubmatch(line)
		if match == nil {
			s.t.Fatalf("no startup line: %q, %v\n%s", line, s.cmd.Wait(), s.log)
		}
		s.base, s.ready = "http://"+match[1], time.Since(s.began)
	case <-time.After(5 * time.Minute):
		s.t.Fatalf("not ready after five minutes")
	}
}

// stop asks for an orderly end and checks that it was one.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	s.wait()
}

func (s *server) wait() {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { <-s.ended; done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			s.t.Fatalf("exit: %v\n%s", err, s.log)
		}
	case <-time.After(40 * time.Second):
		s.t.Fatalf("still there 40 s after SIGTERM\n%s", s.log)
	}
}

// kill ends the process at once, as a failing machine would.
func (s *server) kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.ended
	if err := s.cmd.Wait(); err == nil {
		s.t.Fatal("killed, and it says that all went well")
	}
}

// caller talks to the API with a token.
type caller struct {
	base, token string
}

func (c caller) do(method, path, body string) (int, map[string]any, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return res.StatusCode, nil, err
	}
	return res.StatusCode, answer, nil
}

func (c caller) must(t *testing.T, want int, method, path, body string) map[string]any {
	t.Helper()
	code, answer, err := c.do(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if code != want {
		t.Fatalf("%s %s: %d, want %d: %v", method, path, code, want, answer)
	}
	return answer
}

// token asks for one; the status is 200 when the secret is right.
func (s *server) token(id, secret string) (caller, int) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.base+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		s.t.Fatal(err)
	}
	return caller{s.base, answer.Token}, res.StatusCode
}

func (s *server) as(c demoClient) caller {
	s.t.Helper()
	k, code := s.token(c.id, c.secret)
	if code != http.StatusOK {
		s.t.Fatalf("token of %s: %d", c.id, code)
	}
	return k
}

const recovery = "/v1/aggregates?release=live&indicator=recovery_rate&territory=metropole-200046977&period=2019,2021&granularity=year"

func TestTheDemonstrationIsReadAndWrittenFromTheFirstMinute(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		s := p.serve(t, "--demo")
		t.Logf("first start: ready after %v", s.ready.Round(time.Millisecond))
		if landing := (caller{base: s.base}).must(t, 200, "GET", "/v1", ""); landing["demo"] != true {
			t.Errorf("the landing page does not say that the data are invented: %v", landing)
		}
		if got, want := values(s.as(demoStewardClient).must(t, 200, "GET", recovery, "")), "2019=0.2 2021=0.8"; got != want {
			t.Errorf("recovery rate: %s, want %s", got, want)
		}
		organisation := s.as(demoOrganisationClient)
		written := organisation.must(t, 201, "POST", "/v1/observations",
			`{"organisation":"`+demoReference+`","indicator":"volunteer_hours","territory":"commune-69266","period":"2025","value":120}`)
		own := "/v1/observations/" + written["id"].(string)
		organisation.must(t, 200, "GET", own, "")
		s.stop()

		s = p.serve(t, "--demo")
		t.Logf("second start: ready after %v", s.ready.Round(time.Millisecond))
		if strings.Contains(s.log.String(), "demonstration loaded") {
			t.Error("the demonstration was loaded a second time")
		}
		if again := s.as(demoOrganisationClient).must(t, 200, "GET", own, ""); again["value"] != float64(120) || again["version"] != float64(1) {
			t.Errorf("after a restart: %v", again)
		}
		s.stop()
	})
}

// values writes the rows of an answer as period=value.
func values(answer map[string]any) string {
	var list []string
	data, _ := answer["data"].([]any)
	for _, row := range data {
		r := row.(map[string]any)
		list = append(list, fmt.Sprintf("%v=%v", r["period"], r["value"]))
	}
	return strings.Join(list, " ")
}

func TestThePrintedCommandsWorkAsTheyAre(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl on this machine")
	}
	s := demoPlace(t).serve(t, "--demo")
	shell := exec.Command("sh", "-e")
	shell.Stdin = strings.NewReader(firstSteps(s.base)[strings.Index(firstSteps(s.base), "  #"):])
	shell.Stderr = os.Stderr
	text, err := shell.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(bytes.NewReader(text))
	var public, read, written, own, mandated map[string]any
	for _, into := range []*map[string]any{&public, &read, &written, &own, &mandated} {
		if err := answers.Decode(into); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	if meta, _ := public["meta"].(map[string]any); meta["release"] != "2" || !strings.Contains(values(public), "2024=") {
		t.Errorf("what everyone reads: %v", public)
	}
	if got := values(read); !strings.Contains(got, "2019=0.2") || !strings.Contains(got, "2021=0.8") || !strings.Contains(got, "2021=3400") {
		t.Errorf("first read: %s", text)
	}
	if written["value"] != float64(120) || written["id"] == nil {
		t.Errorf("first write: %v", written)
	}
	if got := values(own); got != "2025=120" {
		t.Errorf("what was written: %s, %v", got, own)
	}
	if mandated["value"] != float64(90) || mandated["mandate"] == nil {
		t.Errorf("what the network wrote: %v", mandated)
	}
	s.stop()
	if !strings.Contains(s.out.String(), firstSteps(s.base)) {
		t.Errorf("not printed on start:\n%s", s.out)
	}
}

func TestNothingAcknowledgedIsLostWhenTheServerStopsOrIsKilled(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		for _, end := range []struct {
			name string
			by   func(*server)
		}{
			{"SIGTERM", (*server).stop},
			{"SIGKILL", (*server).kill},
		} {
			s := p.serve(t, "--demo")
			acknowledged, wait := writeUntilRefused(s)
			end.by(s)
			written := wait()
			t.Logf("%s: %d writes acknowledged before", end.name, written)
			if written < 200 {
				t.Errorf("%s: only %d writes", end.name, written)
			}

			s = p.serve(t, "--demo")
			organisation := s.as(demoOrganisationClient)
			for id, value := range acknowledged {
				// Values only rise; one that was written and whose answer did not
				// arrive any more may be there.
				if got := organisation.must(t, 200, "GET", "/v1/observations/"+id, ""); got["value"].(float64) < value {
					t.Errorf("%s: %s: %v is acknowledged, %v is there", end.name, id, value, got["value"])
				}
			}
			s.stop()
		}
	})
}

// writeUntilRefused lets eight callers write until the server is gone, and
// returns once 200 writes were acknowledged. wait returns at the end, with the
// number of writes; the map then holds the last value acknowledged of each cell.
func writeUntilRefused(s *server) (acknowledged map[string]float64, wait func() int64) {
	s.t.Helper()
	organisation := s.as(demoOrganisationClient)
	communes := []int{69266, 69259, 69256, 69029, 69034, 69282, 69286, 69290}
	acknowledged = map[string]float64{}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		count atomic.Int64
	)
	for writer, commune := range communes {
		wg.Go(func() {
			for n := 0; ; n++ {
				body := fmt.Sprintf(`{"organisation":%q,"indicator":"volunteer_hours","territory":"commune-%d","period":"%d-%02d","value":%d}`,
					demoReference, commune, 2015+writer%4, 1+n%12, 1000+n)
				code, answer, err := organisation.do("POST", "/v1/observations", body)
				if err != nil {
					return // the server is gone
				}
				if code != 200 && code != 201 {
					s.t.Errorf("%d: %v", code, answer)
					return
				}
				mu.Lock()
				acknowledged[answer["id"].(string)] = float64(1000 + n)
				mu.Unlock()
				count.Add(1)
			}
		})
	}
	for count.Load() < 200 && !s.t.Failed() {
		time.Sleep(time.Millisecond)
	}
	return acknowledged, func() int64 { wg.Wait(); return count.Load() }
}

func TestARequestUnderWayFinishesAfterSIGTERM(t *testing.T) {
	s := demoPlace(t).serve(t, "--demo")
	organisation := s.as(demoOrganisationClient)
	body := `{"organisation":"` + demoReference + `","indicator":"volunteer_hours","territory":"commune-69266","period":"2025","value":7}`
	sending, hand := io.Pipe()
	answered := make(chan int, 1)
	go func() {
		req, err := http.NewRequest(http.MethodPost, s.base+"/v1/observations", sending)
		if err != nil {
			t.Error(err)
			return
		}
		req.ContentLength = int64(len(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+organisation.token)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Errorf("the request under way was cut: %v", err)
			answered <- 0
			return
		}
		res.Body.Close()
		answered <- res.StatusCode
	}()
	if _, err := io.WriteString(hand, body[:40]); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // the first half arrives
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for refused := false; !refused; { // no new connection from here on
		c, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if refused = err != nil; !refused {
			_ = c.Close()
			time.Sleep(5 * time.Millisecond)
		}
	}
	if _, err := io.WriteString(hand, body[40:]); err != nil {
		t.Fatal(err)
	}
	if code := <-answered; code != http.StatusCreated {
		t.Errorf("answer %d", code)
	}
	s.wait()
}

func TestReplicasThatStartTogetherLoadTheDemonstrationOnce(t *testing.T) {
	dir := t.TempDir()
	p := testPlace{dir, []string{
		"DATABASE_URL=" + pgtest.DSN(t), "RETOMBEES_SIGNING_KEY_FILE=" + filepath.Join(dir, "key.pem"), "RETOMBEES_PUBLIC_URL=http://impact.test",
	}}
	one, two := p.start(t, "--demo"), p.start(t, "--demo")
	one.awaitReady()
	two.awaitReady()
	k := one.as(demoOrganisationClient)
	k.must(t, 201, "POST", "/v1/observations",
		`{"organisation":"`+demoReference+`","indicator":"volunteer_hours","territory":"commune-69266","period":"2025","value":120}`)
	// The other replica takes the token of the first and soon knows the write.
	other := caller{two.base, k.token}
	own := "/v1/aggregates?release=live&organisation=" + demoReference + "&state=draft&indicator=volunteer_hours&territory=commune-69266&period=2025"
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if values(other.must(t, 200, "GET", own, "")) == "2025=120" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other replica never knew the write")
		}
	}
	if got, want := values(two.as(demoStewardClient).must(t, 200, "GET", recovery, "")), "2019=0.2 2021=0.8"; got != want {
		t.Errorf("recovery rate: %s, want %s", got, want)
	}
	one.stop()
	two.stop()
	loaded := strings.Count(one.log.String()+two.log.String(), "demonstration loaded")
	if loaded != 1 {
		t.Errorf("loaded %d times", loaded)
	}
}

func TestASecretIsRotatedWithoutInterruptionAndRevokedForGood(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		s := p.serve(t)
		var made struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		read := func(text string) string {
			t.Helper()
			if err := json.Unmarshal([]byte(text), &made); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			return made.Secret
		}
		expect := func(when string, secret string, want int) {
			t.Helper()
			if _, code := s.token(made.ID, secret); code != want {
				t.Errorf("%s: %d, want %d", when, code, want)
			}
		}
		first := read(p.mustRun(t, "client", "create", "CRM", "--role", "steward", "--scopes", "aggregates.live", "--json"))
		expect("at first", first, 200)
		expect("with another secret", first[:len(first)-1]+"x", 401)

		second := read(p.mustRun(t, "client", "rotate", made.ID, "--json"))
		expect("the former while it overlaps", first, 200)
		expect("the new one", second, 200)
		p.mustRun(t, "client", "rotate", made.ID, "--finish")
		expect("the former when the overlap is ended", first, 401)
		expect("the new one after it", second, 200)

		third := read(p.mustRun(t, "client", "rotate", made.ID, "--now", "--json"))
		expect("the leaked one", second, 401)
		expect("its replacement", third, 200)

		k, _ := s.token(made.ID, third)
		if me := k.must(t, 200, "GET", "/v1/me", ""); me["client"] == nil && me["role"] == nil {
			t.Errorf("who am I: %v", me)
		}
		list := p.mustRun(t, "client", "list")
		if !strings.Contains(list, made.ID) || strings.Contains(list, third) || !strings.Contains(list, "aggregates.live") {
			t.Errorf("list:\n%s", list)
		}
		p.mustRun(t, "client", "revoke", made.ID)
		expect("once revoked", third, 401)
		if _, stderr, code := p.run(t, "client", "rotate", made.ID); code != 1 || !strings.Contains(stderr, "revoked") {
			t.Errorf("rotating a revoked client: %d %s", code, stderr)
		}
		s.stop()
	})
}

func TestTheDemonstrationKeepsToItself(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		p.mustRun(t, "client", "create", "Real", "--role", "steward")
		for _, args := range [][]string{{"demo"}, {"serve", "--demo", "--addr", "127.0.0.1:0"}} {
			if _, stderr, code := p.run(t, args...); code != 1 || !strings.Contains(stderr, "client Real") {
				t.Errorf("%v beside a real client: exit %d\n%s", args, code, stderr)
			}
		}
	})
	t.Run("its public secrets are never served without --demo", func(t *testing.T) {
		p := demoPlace(t)
		if _, stderr, code := p.run(t, "serve", "--addr", "127.0.0.1:0"); code != 1 || !strings.Contains(stderr, "secrets are public") {
			t.Errorf("exit %d\n%s", code, stderr)
		}
	})
	t.Run("retombees demo loads data and no client", func(t *testing.T) {
		p := sqlitePlace(t)
		if out := p.mustRun(t, "demo"); !strings.Contains(out, "is loaded") {
			t.Error(out)
		}
		if out := p.mustRun(t, "demo"); !strings.Contains(out, "already there") {
			t.Error(out)
		}
		if out := p.mustRun(t, "client", "list"); strings.Contains(out, "demo-") {
			t.Error(out)
		}
		s := p.serve(t)
		if landing := (caller{base: s.base}).must(t, 200, "GET", "/v1", ""); landing["demo"] != true {
			t.Errorf("the landing page does not say that the data are invented: %v", landing)
		}
		if _, code := s.token(demoStewardClient.id, demoStewardClient.secret); code != 401 {
			t.Errorf("the public secret opens: %d", code)
		}
		s.stop()
	})
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	busy := sqlitePlace(t).serve(t)
	defer busy.stop()
	dir := t.TempDir()
	notKey := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(notKey, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		env  []string
		says string
	}{
		{"an address in use", []string{"serve", "--addr", strings.TrimPrefix(busy.base, "http://")}, nil, "address already in use"},
		{"PostgreSQL without a key", []string{"serve", "--addr", "127.0.0.1:0"}, []string{"DATABASE_URL=postgres://nobody@127.0.0.1:1/none"}, "the same to every replica"},
		{"a key that is none", []string{"serve", "--addr", "127.0.0.1:0"}, []string{"RETOMBEES_SIGNING_KEY_FILE=" + notKey}, "no PEM block"},
		{"two keys", []string{"serve", "--addr", "127.0.0.1:0"}, []string{"RETOMBEES_SIGNING_KEY_FILE=" + notKey, "RETOMBEES_SIGNING_KEY=x"}, "keep one"},
		{"an unknown database", []string{"migrate", "--database-url", "mysql://x"}, nil, "postgres:// or sqlite:"},
		{"a public URL without scheme", []string{"serve", "--addr", "127.0.0.1:0", "--public-url", "impact.test"}, nil, "not an absolute"},
		{"an unknown flag", []string{"serve", "--adr", "x"}, nil, "--addr"},
		{"an unknown role", []string{"client", "create", "x", "--role", "root"}, nil, "steward"},
		{"a scope above the role", []string{"client", "create", "x", "--role", "buyer", "--buyer", "b", "--scopes", "clients.manage"}, nil, "cannot hold"},
		{"an organisation's client without organisation", []string{"client", "create", "x", "--role", "organisation"}, nil, "--organisation"},
		{"a client that is not there", []string{"client", "revoke", "nobody"}, nil, "no client has the id nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testPlace{t.TempDir(), c.env}
			if _, stderr, code := p.run(t, c.args...); code == 0 || !strings.Contains(stderr, c.says) {
				t.Errorf("exit %d, want %q in:\n%s", code, c.says, stderr)
			}
		})
	}
}

func TestAKeyInTheEnvironmentServesAllReplicas(t *testing.T) {
	p := sqlitePlace(t)
	p.mustRun(t, "migrate")
	p.serve(t).stop() // makes the key file
	key, err := os.ReadFile(filepath.Join(p.dir, "retombees.db.signing-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	p.env = []string{"RETOMBEES_SIGNING_KEY=" + string(key), "RETOMBEES_PUBLIC_URL=http://impact.test"}
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(p.mustRun(t, "client", "create", "CRM", "--role", "steward", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	one := p.serve(t)
	two := p.serve(t)
	k, code := one.token(made.ID, made.Secret)
	if code != 200 {
		t.Fatalf("token: %d", code)
	}
	caller{two.base, k.token}.must(t, 200, "GET", "/v1/me", "")
	one.stop()
	two.stop()
}

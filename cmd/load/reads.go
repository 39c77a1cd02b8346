package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// reading is one public address in one form, asked again and again.
type reading struct {
	name   string
	path   string
	header [2]string // of the request
	again  bool      // with the ETag of the first answer: 304
}

// rounds is how many times each reading is measured, ours and nginx in turn;
// the median of the ratios is told.
const rounds = 5

// measureReads publishes a release of the workload and compares what everyone
// reads with nginx serving the same bytes as a file, and with SQL over the facts.
func measureReads(ctx context.Context, c config, b *bench) error {
	for _, tool := range []string{"wrk", "nginx"} {
		if _, err := lookFor(tool); err != nil {
			return err
		}
	}
	w, err := prepare(ctx, b.db, b.dir, c.observations)
	if err != nil {
		return err
	}
	srv, err := startServer(ctx, c.binary, b.db, w, "--rate-limit-anonymous", "0")
	if err != nil {
		return err
	}
	defer func() { srv.stop() }()
	log.Printf("%s: sending %d observations", b.name, c.observations)
	if _, err := w.sendAll(ctx, srv); err != nil {
		return err
	}
	srv.stop()
	log.Printf("%s: building a release", b.name)
	start := time.Now()
	build := exec.CommandContext(ctx, c.binary, "release", "build", "--database-url", b.db.url(), "--publish")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("release build: %w\n%s", err, text)
	}
	b.add(fmt.Sprintf("a release of %d observations built, audited and published", c.observations), time.Since(start).Round(time.Millisecond).String(), "", "")
	if srv, err = startServer(ctx, c.binary, b.db, w, "--rate-limit-anonymous", "0"); err != nil {
		return err
	}
	front, err := startNginx(ctx, b.dir)
	if err != nil {
		return err
	}
	defer front.stop()
	for _, r := range w.readings() {
		if err := w.compareRead(ctx, b, srv, front, r); err != nil {
			return err
		}
	}
	return w.compareSQL(ctx, b, srv, c.requests)
}

// readings are those of the issue: one territory and year; 58 communes × 12
// indicators × 10 years.
func (w *world) readings() []reading {
	one := "/v1/aggregates%s?territory=" + w.communes[0] + "&period=" + strconv.Itoa(firstYear+quarters/4-1)
	all := "/v1/aggregates%s?" + w.twelve() + "&limit=10000"
	var out []reading
	for _, q := range []struct{ name, path string }{{"one territory-year", one}, {"58 communes × 12 indicators × 10 years", all}} {
		json, csv := fmt.Sprintf(q.path, ""), fmt.Sprintf(q.path, ".csv")
		out = append(out,
			reading{name: q.name + ", JSON", path: json},
			reading{name: q.name + ", JSON, gzip", path: json, header: [2]string{"Accept-Encoding", "gzip"}},
			reading{name: q.name + ", CSV", path: csv},
			reading{name: q.name + ", 304", path: json, again: true})
	}
	return out
}

func (w *world) twelve() string {
	codes := make([]string, 0, 12)
	for _, i := range w.indicators[:min(12, len(w.indicators))] {
		codes = append(codes, string(i.Code))
	}
	return "indicator=" + strings.Join(codes, ",") + "&territory=metropole-200046977&territory_type=commune&period=" + fmt.Sprintf("%d/%d", firstYear, firstYear+quarters/4-1)
}

// compareRead measures one reading against nginx with the very bytes of the
// answer in a file.
func (w *world) compareRead(ctx context.Context, b *bench, srv *server, front *nginx, r reading) error {
	body, head, err := fetch(ctx, srv.url+r.path, r.header, http.StatusOK)
	if err != nil {
		return err
	}
	file := "answer.json"
	if strings.Contains(r.path, ".csv") {
		file = "answer.csv"
	}
	if err := os.WriteFile(filepath.Join(front.root, file), body, 0o644); err != nil {
		return err
	}
	ours, theirs := r.header, [2]string{}
	if r.again {
		ours = [2]string{"If-None-Match", head.Get("ETag")}
		_, static, err := fetch(ctx, front.url+"/"+file, theirs, http.StatusOK)
		if err != nil {
			return err
		}
		theirs = [2]string{"If-None-Match", static.Get("ETag")}
		for url, h := range map[string][2]string{srv.url + r.path: ours, front.url + "/" + file: theirs} {
			if _, _, err := fetch(ctx, url, h, http.StatusNotModified); err != nil {
				return err
			}
		}
	}
	var mine, static, ratios []float64
	for range rounds {
		a, err := wrk(ctx, srv.url+r.path, ours)
		if err != nil {
			return err
		}
		z, err := wrk(ctx, front.url+"/"+file, theirs)
		if err != nil {
			return err
		}
		mine, static, ratios = append(mine, a), append(static, z), append(ratios, a/z)
	}
	size := fmt.Sprintf("%d bytes", len(body))
	if r.again {
		size = "no body"
	}
	b.add(fmt.Sprintf("%s (%s), 16 connections kept alive", r.name, size), fmt.Sprintf("%.0f/s", middle(mine)), fmt.Sprintf("nginx, the same bytes as a file: %.0f/s", middle(static)), fmt.Sprintf("%.2f", middle(ratios)))
	return nil
}

func middle(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// compareSQL measures both readings answered the first time, on a server that
// keeps no answer, and the SQL that a person would write for the same cells. The
// SQL neither hides anything nor writes an answer.
func (w *world) compareSQL(ctx context.Context, b *bench, srv *server, times int) error {
	binary := srv.cmd.Path
	srv.stop()
	bare, err := startServer(ctx, binary, b.db, w, "--rate-limit-anonymous", "0", "--answer-cache", "0")
	if err != nil {
		return err
	}
	defer bare.stop()
	took := func(path string, times int) (time.Duration, error) {
		var all []time.Duration
		for i := range times {
			start := time.Now()
			if _, _, err := fetch(ctx, bare.url+path, [2]string{}, http.StatusOK); err != nil {
				return 0, err
			}
			if i > times/10 {
				all = append(all, time.Since(start))
			}
		}
		slices.Sort(all)
		return all[len(all)/2], nil
	}
	db, year, refresh, err := b.db.facts()
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	of := func(statement string) (keys []string, err error) {
		rows, err := db.QueryContext(ctx, statement)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var k string
			if err := rows.Scan(&k); err != nil {
				return nil, err
			}
			keys = append(keys, k)
		}
		return keys, rows.Err()
	}
	places, err := of("SELECT DISTINCT territory FROM observations WHERE organisation < 500")
	if err != nil {
		return err
	}
	var indicators []string
	for _, i := range w.indicators[:min(12, len(w.indicators))] {
		indicators = append(indicators, strconv.Itoa(int(i.Key)))
	}
	statements := func() (one, all string) {
		last := impact.YearPeriod(firstYear + quarters/4 - 1)
		one = query{}.sql(year, atoi(places[0]), int(last.Start), int(last.End))
		all = fmt.Sprintf(`
SELECT o.territory, o.indicator, %[1]s, sum(o.value), count(*), count(DISTINCT org.siren)
FROM observations o JOIN organisations org ON org.key = o.organisation
WHERE o.territory IN (%[2]s) AND o.indicator IN (%[3]s) AND o.period_start >= %[4]d AND o.period_end <= %[5]d AND o.deleted = 0 AND o.approved_version = o.version
GROUP BY o.territory, o.indicator, %[1]s`, year, strings.Join(places, ","), strings.Join(indicators, ","), int(impact.YearPeriod(firstYear).Start), int(last.End))
		return one, all
	}
	time1 := func(statement string, times int) (time.Duration, error) {
		var all []time.Duration
		for range times {
			start := time.Now()
			if err := drain(ctx, db, statement); err != nil {
				return 0, err
			}
			all = append(all, time.Since(start))
		}
		slices.Sort(all)
		return all[len(all)/2], nil
	}
	one, all := statements()
	for _, q := range []struct {
		name, path, sql string
		times           int
	}{
		{"one territory-year, computed from the release", w.readings()[0].path, one, times},
		{"58 communes × 12 indicators × 10 years, computed from the release", w.readings()[4].path, all, max(10, times/10)},
	} {
		ours, err := took(q.path, q.times)
		if err != nil {
			return err
		}
		plain, err := time1(q.sql, max(3, q.times/20))
		if err != nil {
			return err
		}
		b.add(q.name+", p50 over HTTP", micros(ours), "hand-written SQL over the facts: "+micros(plain), ratio(plain, ours))
		for _, statement := range []string{coveringIndex, refresh} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		covered, err := time1(q.sql, max(3, q.times/20))
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "DROP INDEX covering"); err != nil {
			return err
		}
		b.add("… against SQL with a covering index added for it", micros(ours), micros(covered), ratio(covered, ours))
	}
	return nil
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err) // keys are numbers
	}
	return n
}

func fetch(ctx context.Context, url string, header [2]string, want int) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	if header[0] != "" {
		req.Header.Set(header[0], header[1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s: %s\n%.1000s", url, resp.Status, body)
	}
	return body, resp.Header, err
}

var perSecondOf = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// wrk asks an address from sixteen connections for two seconds.
func wrk(ctx context.Context, url string, header [2]string) (float64, error) {
	args := []string{"-t1", "-c16", "-d2s"}
	if header[0] != "" {
		args = append(args, "-H", header[0]+": "+header[1])
	}
	out, err := exec.CommandContext(ctx, "wrk", append(args, url)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	found := perSecondOf.FindSubmatch(out)
	if found == nil || bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, fmt.Errorf("wrk on %s: %s", url, out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

func lookFor(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program
		if _, err := os.Stat(path); err != nil {
			return "", errors.New(program + " is missing: install the package of that name (nginx: `make nginx`)")
		}
	}
	return path, nil
}

// nginx serves the files of a folder, as the distribution sets it up: sendfile,
// a line in the access log for each request, connections kept as long as wrk
// keeps them.
type nginx struct {
	cmd       *exec.Cmd
	url, root string
}

func startNginx(ctx context.Context, dir string) (*nginx, error) {
	program, err := lookFor("nginx")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	n := &nginx{url: "http://127.0.0.1:" + port, root: filepath.Join(dir, "files")}
	if err := os.MkdirAll(n.root, 0o755); err != nil {
		return nil, err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `%[1]s
worker_processes auto; pid %[2]s/nginx.pid; error_log %[2]s/nginx-error.log; daemon off;
events { worker_connections 768; }
http {
	sendfile on; tcp_nopush on; keepalive_requests 1000000000; access_log %[2]s/nginx-access.log;
	client_body_temp_path %[2]s/nb; proxy_temp_path %[2]s/np; fastcgi_temp_path %[2]s/nf; uwsgi_temp_path %[2]s/nu; scgi_temp_path %[2]s/ns;
	types { application/json json; text/csv csv; }
	server { listen 127.0.0.1:%[3]s; root %[4]s; }
}`, user, dir, port, n.root), 0o600); err != nil {
		return nil, err
	}
	n.cmd = exec.CommandContext(ctx, program, "-p", dir, "-c", conf, "-e", filepath.Join(dir, "nginx-error.log"))
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, _, err = fetch(ctx, n.url+"/", [2]string{}, http.StatusForbidden); err == nil {
			return n, nil
		}
	}
	n.stop()
	return nil, fmt.Errorf("nginx does not start: %w", err)
}

func (n *nginx) stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
}

// facts opens the live database for SQL over the facts.
func (p *postgres) facts() (db *sql.DB, year, refresh string, err error) {
	db, err = sql.Open("pgx", p.live)
	return db, "extract(year FROM date '1970-01-01' + period_start)", "VACUUM ANALYZE observations", err
}

func (s *sqlite) facts() (db *sql.DB, year, refresh string, err error) {
	db, err = sql.Open("sqlite", s.live)
	return db, "CAST(strftime('%Y', period_start * 86400, 'unixepoch') AS INTEGER)", "ANALYZE", err
}

// Package pgtest brings a real PostgreSQL to tests and benchmarks: a cluster of its own in a temporary directory, on a
// free port of the loopback address, gone when the process is gone. It never connects to a cluster that already exists.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoBinaries says that no PostgreSQL server is installed on this machine.
var ErrNoBinaries = errors.New("no PostgreSQL server found (initdb and postgres, in PGBIN, PATH or /usr/lib/postgresql/*/bin): `make postgres` installs it")

const (
	dirPrefix    = "retombees-pg-"
	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
)

// Options say how a cluster is made. The zero value is the fastest cluster, for tests.
type Options struct {
	// Durable keeps PostgreSQL's own guarantees (fsync and synchronous commit) and a data directory on disk: what a
	// benchmark must measure. Without it a power cut would lose everything, which a test does not mind.
	Durable bool
	// Dir is the parent of the data directory; empty means memory (/dev/shm) when it is large enough and the cluster is
	// not durable, else the system's temporary directory.
	Dir string
	// Settings are added to postgresql.conf and win over the defaults of this package.
	Settings map[string]string
}

// Cluster is a running PostgreSQL server that belongs to this process.
type Cluster struct {
	dir     string
	port    int
	version int
	server  *process
	janitor *exec.Cmd
	leash   io.Closer
}

// Start makes a cluster and waits until it answers. The caller stops it; should the process die first, by whatever
// signal, the server and its directory go with it.
func Start(opts Options) (*Cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	cred, err := serverCredential()
	if err != nil {
		return nil, err
	}
	dir, err := makeDir(opts, cred)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := c.start(bin, cred, opts); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(bin string, cred *syscall.Credential, opts Options) error {
	if err := c.startJanitor(); err != nil {
		return err
	}
	data := filepath.Join(c.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata="+data, "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.Env = c.dir, environment()
	initdb.SysProcAttr = attributes(cred, syscall.SIGKILL)
	if out, err := runLocked(initdb); err != nil {
		return fmt.Errorf("running initdb: %w\n%s", err, out)
	}

	// Another process may take the free port between the look and the start: try again with another one.
	var err error
	for range 3 {
		if c.port, err = freePort(); err != nil {
			return err
		}
		if err = c.startServer(bin, data, cred, opts); err == nil {
			return nil
		}
		if !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
	return err
}

func (c *Cluster) startServer(bin, data string, cred *syscall.Credential, opts Options) error {
	args := []string{"-D", data}
	settings := settings(opts, c.port)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	logPath := filepath.Join(c.dir, "log")
	log, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("creating the server's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Dir, cmd.Env = c.dir, environment()
	cmd.Stdout, cmd.Stderr = log, log
	// SIGQUIT is PostgreSQL's immediate shutdown: its children end too and its shared memory is released.
	cmd.SysProcAttr = attributes(cred, syscall.SIGQUIT)
	if c.server, err = startProcess(cmd); err != nil {
		return fmt.Errorf("starting postgres: %w", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		if c.version, err = serverVersion(ctx, c.DSN("postgres")); err == nil {
			return nil
		}
		select {
		case <-c.server.done:
			text, _ := os.ReadFile(logPath)
			return fmt.Errorf("postgres ended while starting: %w\n%s", c.server.err, text)
		case <-ctx.Done():
			text, _ := os.ReadFile(logPath)
			return fmt.Errorf("postgres did not answer within %v: %w\n%s", startTimeout, err, text)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// DSN is the address of a database of the cluster, whether it exists or not; "postgres" always does.
func (c *Cluster) DSN(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", c.port, database)
}

// CreateDatabase makes an empty database and returns its DSN.
func (c *Cluster) CreateDatabase(ctx context.Context, name string) (string, error) {
	return c.CopyDatabase(ctx, name, "template0")
}

// CopyDatabase makes a database that begins as another is, to which nothing may be connected, and returns its DSN.
func (c *Cluster) CopyDatabase(ctx context.Context, name, from string) (string, error) {
	statement := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize() + " TEMPLATE " + pgx.Identifier{from}.Sanitize()
	if c.version >= 150000 {
		statement += " STRATEGY file_copy" // half the time of the default on a memory file system
	}
	if err := c.exec(ctx, statement); err != nil {
		return "", fmt.Errorf("creating database %s: %w", name, err)
	}
	return c.DSN(name), nil
}

// DropDatabase removes a database and ends the connections that are still open on it.
func (c *Cluster) DropDatabase(ctx context.Context, name string) error {
	if err := c.exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("dropping database %s: %w", name, err)
	}
	return nil
}

func (c *Cluster) exec(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// Stop ends the server and removes its directory. It may be called twice.
func (c *Cluster) Stop() error {
	var errs []error
	if c.server != nil {
		// SIGINT is the fast shutdown: open connections are closed, not waited for.
		if err := c.server.stop(syscall.SIGINT); err != nil {
			errs = append(errs, fmt.Errorf("stopping postgres: %w", err))
		}
		c.server = nil
	}
	if c.janitor != nil {
		errs = append(errs, c.leash.Close(), c.janitor.Wait())
		c.janitor = nil
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// startJanitor starts the process that removes the directory when this one is gone: it waits for the end of its standard
// input, which the kernel closes however we die, then until the postmaster has ended.
func (c *Cluster) startJanitor() error {
	const script = `read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
	for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
	kill -QUIT "$pid" 2>/dev/null && sleep 0.5
fi
rm -rf -- "$1"`
	cmd := exec.Command("/bin/sh", "-c", script, "janitor", c.dir)
	cmd.Dir, cmd.Env = "/", environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ^C in a terminal must not end it before its work
	leash, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting the janitor: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the janitor: %w", err)
	}
	c.janitor, c.leash = cmd, leash
	return nil
}

func settings(opts Options, port int) map[string]string {
	s := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": "",
		"max_connections":         "200",
		"timezone":                "UTC",
		"log_min_messages":        "warning",
		"log_min_error_statement": "panic",
		"shared_buffers":          "64MB",
	}
	if !opts.Durable {
		maps.Copy(s, map[string]string{
			"fsync":              "off",
			"synchronous_commit": "off",
			"full_page_writes":   "off",
			"wal_level":          "minimal",
			"max_wal_senders":    "0",
			"autovacuum":         "off",
		})
	}
	maps.Copy(s, opts.Settings)
	return s
}

func makeDir(opts Options, cred *syscall.Credential) (string, error) {
	parent := opts.Dir
	if parent == "" {
		parent = os.TempDir()
		if !opts.Durable && roomInMemory() {
			parent = memoryDir
		}
	}
	removeStale(parent)
	dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("making the cluster's directory: %w", err)
	}
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return "", errors.Join(fmt.Errorf("giving the directory to the server's user: %w", err), os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// removeStale removes what clusters of dead processes left in parent, in case their janitor was killed as well. Failures
// are not reported: another user's directory is not ours to remove.
func removeStale(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	for _, dir := range dirs {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		owner, err := strconv.Atoi(text)
		if err != nil || owner <= 0 || alive(owner) {
			continue
		}
		pid, _ := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
		line, _, _ := strings.Cut(string(pid), "\n")
		if postmaster, err := strconv.Atoi(line); err == nil && alive(postmaster) {
			continue // still shutting down; its own janitor or the next start removes it
		}
		_ = os.RemoveAll(dir)
	}
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// binaries finds the directory that holds both initdb and postgres. Debian puts only wrappers in PATH, hence the symbolic
// links followed and the versioned directories, newest first.
func binaries() (string, error) {
	var dirs []string
	if dir := os.Getenv("PGBIN"); dir != "" {
		dirs = append(dirs, dir)
	} else {
		if path, err := exec.LookPath("initdb"); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				dirs = append(dirs, filepath.Dir(real))
			}
		}
		versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
		slices.SortFunc(versions, func(a, b string) int { return majorOf(b) - majorOf(a) })
		dirs = append(dirs, versions...)
	}
	for _, dir := range dirs {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", ErrNoBinaries
}

func majorOf(bin string) int {
	major, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return major
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// serverCredential is who runs the server: nil is ourselves; root, whom PostgreSQL refuses, becomes postgres or nobody.
func serverCredential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("reading the ids of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody")
}

// environment is what the server sees: nothing of ours, so that PGDATA, PGPORT or a locale of the caller cannot leak in.
func environment() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func serverVersion(ctx context.Context, dsn string) (int, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	var version int
	err = conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version)
	return version, err
}

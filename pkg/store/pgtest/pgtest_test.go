package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childVariable makes the test binary play the process that is killed with a cluster running.
const childVariable = "RETOMBEES_PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		c, err := Start(Options{})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(c.dir)
		fmt.Println(c.DSN("postgres"))
		select {}
	}
	Main(m)
}

func TestEveryTestHasADatabaseOfItsOwn(t *testing.T) {
	one, other := connect(t, DSN(t)), connect(t, DSN(t))
	if _, err := one.Exec(t.Context(), "CREATE TABLE only_here (id int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "SELECT id FROM only_here"); err == nil {
		t.Fatal("a table made in one database is seen in the other")
	}
}

func TestADatabaseIsDroppedWithItsConnections(t *testing.T) {
	var dsn string
	t.Run("test that forgets its connection", func(t *testing.T) {
		dsn = DSN(t)
		if _, err := pgx.Connect(context.Background(), dsn); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := pgx.Connect(t.Context(), dsn); err == nil {
		t.Fatalf("%s still answers", dsn)
	}
}

func TestADurableClusterKeepsPostgresGuarantees(t *testing.T) {
	c, err := Start(Options{Durable: true, Settings: map[string]string{"work_mem": "7MB"}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), c.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "work_mem": "7MB"} {
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q (%v), want %q", name, got, err, want)
		}
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", c.dir, err)
	}
}

func TestNothingIsLeftByAKilledProcess(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	dir := lines.Text()
	lines.Scan()
	dsn := lines.Text()
	connect(t, dsn)
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	for range 100 {
		_, gone := os.Stat(dir)
		conn, refused := pgx.Connect(t.Context(), dsn)
		if errors.Is(gone, os.ErrNotExist) && refused != nil {
			return
		}
		if refused == nil {
			conn.Close(t.Context())
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("10 s after the kill, %s or its server is still there", dir)
}

func TestStaleDirectoriesOfDeadProcessesAreRemoved(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	stale := filepath.Join(parent, dirPrefix+strconv.Itoa(dead.Process.Pid)+"-1")
	living := filepath.Join(parent, dirPrefix+strconv.Itoa(os.Getpid())+"-1")
	foreign := filepath.Join(parent, "retombees-precious")
	for _, dir := range []string{stale, living, foreign} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	removeStale(parent)
	for dir, want := range map[string]bool{stale: false, living: true, foreign: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s exists = %v, want %v", dir, err == nil, want)
		}
	}
}

func TestMissingBinariesTellWhatToDo(t *testing.T) {
	t.Setenv("PGBIN", t.TempDir())
	_, err := Start(Options{})
	if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "make postgres") {
		t.Fatalf("got %v, want a sentence naming make postgres", err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

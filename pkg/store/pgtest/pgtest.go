package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// The cluster that all tests of this process share, started by the first that asks.
var shared struct {
	sync.Mutex
	cluster   *Cluster
	err       error
	databases atomic.Int64
	ready     sync.Once // the database that Copy copies
	readyErr  error
}

const readyName = "ready"

// Main runs the tests of a package and stops the cluster they shared: `func TestMain(m *testing.M) { pgtest.Main(m) }`.
// It does not return. A package whose tests never ask for a database pays nothing.
func Main(m *testing.M) {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster != nil {
		if err := shared.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest: stopping the cluster:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// DSN gives the test an empty database of its own on the shared cluster and drops it, with whatever is still connected,
// when the test ends. Where PostgreSQL is not installed the test fails rather than being skipped: half of what the store
// promises would go unproven.
func DSN(t testing.TB) string {
	t.Helper()
	return database(t, running(t), "template0")
}

// Copy is DSN for a database that begins as prepare makes it, which is called once in a process, by the first that asks,
// and leaves no connection behind.
func Copy(t testing.TB, prepare func(dsn string) error) string {
	t.Helper()
	cluster := running(t)
	shared.ready.Do(func() {
		var dsn string
		if dsn, shared.readyErr = cluster.CreateDatabase(context.Background(), readyName); shared.readyErr == nil {
			shared.readyErr = prepare(dsn)
		}
	})
	if shared.readyErr != nil {
		t.Fatal(shared.readyErr)
	}
	return database(t, cluster, readyName)
}

func running(t testing.TB) *Cluster {
	t.Helper()
	cluster, err := sharedCluster()
	if err != nil {
		t.Fatalf("this test needs PostgreSQL: %v", err)
	}
	return cluster
}

func database(t testing.TB, cluster *Cluster, from string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", shared.databases.Add(1))
	dsn, err := cluster.CopyDatabase(context.Background(), name, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.DropDatabase(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return dsn
}

func sharedCluster() (*Cluster, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = Start(Options{})
	}
	return shared.cluster, shared.err
}

package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

// A lock that somebody keeps is not waited for without end: the caller is told
// to come back.
func TestALockThatIsKeptIsNotWaitedForWithoutEnd(t *testing.T) {
	dsn := pgtest.DSN(t)
	limit := "?lock_timeout=100"
	if strings.Contains(dsn, "?") {
		limit = "&lock_timeout=100"
	}
	s := openLoaded(t, dsn+limit)
	ctx := t.Context()
	keeper, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close(ctx)
	if _, err := keeper.Exec(ctx, `BEGIN; LOCK TABLE clients`); err != nil {
		t.Fatal(err)
	}
	steward := impact.Client{Name: "x", Role: impact.RoleSteward}
	_, err = s.CreateClient(ctx, admin, steward)
	if e, ok := errors.AsType[*impact.Error](err); !ok || e.Kind != impact.Busy || e.Code != "unavailable" {
		t.Errorf("while the lock is kept: %v", err)
	}
	if _, err := keeper.Exec(ctx, `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateClient(ctx, admin, steward); err != nil {
		t.Errorf("once it is free: %v", err)
	}
}

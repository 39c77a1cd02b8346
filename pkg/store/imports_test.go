package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
	"github.com/grandlyon/retombees/pkg/store/pgtest"
)

func newImport(key string) impact.NewImport {
	return impact.NewImport{Kind: impact.ImportObservations, Options: impact.ImportOptions{Mode: impact.ImportMerge}, File: impact.ImportFile{Name: "f.csv", MediaType: "text/csv"}, Key: key, Fingerprint: [32]byte{1}}
}

func createImport(t *testing.T, s *store.Store, p impact.Principal, key string) impact.Import {
	t.Helper()
	m, replayed, err := s.CreateImport(context.Background(), p, newImport(key), strings.NewReader("a;b\n1;2\n"))
	if err != nil || replayed {
		t.Fatal(replayed, err)
	}
	return m
}

const lease = time.Minute

func claim(t *testing.T, s *store.Store, id impact.ImportID) *impact.ImportJob {
	t.Helper()
	job, err := s.ClaimImport(context.Background(), id, lease)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func TestImportIsRecordedOnce(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := acting(register(t, s, "Une").ID)
		big := strings.Repeat("x", 600<<10) + "end"
		m, _, err := s.CreateImport(ctx, p, newImport("k"), strings.NewReader(big))
		if err != nil || m.State != impact.ImportPending || m.Version != 1 || m.File.Name != "f.csv" {
			t.Fatalf("%+v %v", m, err)
		}
		again, replayed, err := s.CreateImport(ctx, p, newImport("k"), strings.NewReader(big))
		if err != nil || !replayed || again.ID != m.ID {
			t.Errorf("%v %v %v", again.ID, replayed, err)
		}
		other := newImport("k")
		other.Fingerprint = [32]byte{2}
		if _, _, err := s.CreateImport(ctx, p, other, strings.NewReader(big)); code(err) != "idempotency_key_reused" {
			t.Error(err)
		}
		r, err := s.ImportSource(ctx, p, m.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != big {
			t.Errorf("the file came back otherwise: %d bytes, %v", len(got), err)
		}
		createImport(t, s, p, "k2")
		if _, _, err := s.CreateImport(ctx, p, newImport("k3"), strings.NewReader("x")); code(err) != "quota_exceeded" {
			t.Errorf("a third import under way: %v", err)
		}
	})
}

func TestImportsOfOthersDoNotExist(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p, stranger := acting(register(t, s, "Une").ID), acting(register(t, s, "Autre").ID)
		steward := impact.Principal{Client: "s", Role: impact.RoleSteward}
		network := impact.Principal{Client: "n", Role: impact.RoleNetwork}
		m := createImport(t, s, p, "k")
		for _, x := range []impact.Principal{stranger, network, {}, {Role: impact.RoleBuyer}} {
			_, err1 := s.Import(ctx, x, m.ID)
			_, _, err2 := s.ImportRows(ctx, x, m.ID, "", impact.Page{Limit: 10})
			_, err3 := s.ImportSource(ctx, x, m.ID)
			_, err4 := s.CancelImport(ctx, x, m.ID)
			_, err5 := s.ConfirmImport(ctx, x, m.ID)
			for i, err := range []error{err1, err2, err3, err4, err5} {
				if impact.KindOf(err) != impact.NotFound {
					t.Errorf("%s, %d: %v", x.Role, i, err)
				}
			}
			if list, _, err := s.Imports(ctx, x, impact.ImportFilter{}, impact.Page{Limit: 10}); err != nil || len(list) != 0 {
				t.Error(list, err)
			}
		}
		// A steward reads the report; file and decisions are the owner's.
		if _, err := s.Import(ctx, steward, m.ID); err != nil {
			t.Error(err)
		}
		if _, err := s.ImportSource(ctx, steward, m.ID); impact.KindOf(err) != impact.NotFound {
			t.Error(err)
		}
		if _, err := s.CancelImport(ctx, steward, m.ID); impact.KindOf(err) != impact.NotFound {
			t.Error(err)
		}
	})
}

func TestImportJobIsHeldByOne(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		org := register(t, s, "Une")
		w := writing(t, s, org)
		m := createImport(t, s, w.p, "k")
		first := claim(t, s, m.ID)
		if first == nil || first.State != impact.ImportRunning || first.Principal.Organisation != org.ID || first.StartedAt.IsZero() {
			t.Fatalf("%+v", first)
		}
		if second := claim(t, s, m.ID); second != nil {
			t.Error("taken up twice")
		}
		if err := s.HoldImport(ctx, first, -time.Hour); err != nil { // its worker dies
			t.Fatal(err)
		}
		second := claim(t, s, "")
		if second == nil || second.ID != m.ID {
			t.Fatal("nobody took up the job of a dead worker")
		}
		step := func(ctx context.Context) (impact.ImportProgress, error) {
			_, err := s.PutObservations(ctx, w.batch(hours("commune-69266", "2025-Q3", "1")))
			return impact.ImportProgress{RowsDone: 1, RowsTotal: 1}, err
		}
		if err := s.WriteImport(ctx, first, step); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("a worker that lost its lease wrote: %v", err)
		}
		if err := s.HoldImport(ctx, first, lease); !errors.Is(err, store.ErrLeaseLost) {
			t.Error(err)
		}
		list, _, err := s.Observations(ctx, w.p, impact.ObservationFilter{}, impact.Page{Limit: 10})
		if err != nil || len(list) != 0 {
			t.Error("half a step is left:", list, err)
		}
		if err := s.WriteImport(ctx, second, step); err != nil || second.RowsDone != 1 {
			t.Error(err)
		}
	})
}

func TestImportStepIsWholeOrUndone(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		m := createImport(t, s, w.p, "k")
		job := claim(t, s, m.ID)
		step := func(value string, undo bool) error {
			return s.WriteImport(ctx, job, func(ctx context.Context) (p impact.ImportProgress, err error) {
				results, err := s.PutObservations(ctx, w.batch(hours("commune-69266", "2025-Q3", value)))
				if err != nil {
					return p, err
				}
				row := impact.ImportRow{Row: 1, Line: 2, Outcome: results.Rows[0].Outcome}
				rejected := impact.ImportRow{Row: 2, Line: 3, Outcome: impact.Rejected, Faults: []impact.Fault{{Code: "missing_field", Pointer: "/value", Detail: impact.Text{FR: "é", EN: "e"}}}}
				warned := impact.ImportRow{Row: 3, Line: 4, Outcome: impact.Unchanged, Warnings: []impact.Fault{{Code: "outlier"}}}
				p.RowsDone, p.RowsTotal, p.Undo = 3, 3, undo
				for _, r := range []*impact.ImportRow{&row, &rejected, &warned} {
					p.Report.Add(r)
				}
				packed, err := s.PackImportRows([]impact.ImportRow{row, rejected, warned})
				p.Rows = append(p.Rows, packed)
				return p, err
			})
		}
		if err := step("7", true); err != nil {
			t.Fatal(err)
		}
		if list, _, _ := s.Observations(ctx, w.p, impact.ObservationFilter{}, impact.Page{Limit: 10}); len(list) != 0 {
			t.Error("what was undone is there")
		}
		got, err := s.Import(ctx, w.p, m.ID)
		if err != nil || got.RowsDone != 3 || got.Report.Counts.Created != 1 || got.Report.Counts.Rejected != 1 || got.Report.Codes[0].FirstRows[0] != 2 {
			t.Errorf("%+v %v", got.Report, err)
		}
		for outcome, want := range map[string]string{"": "1 2 3", "created": "1", "rejected": "2", "warning": "3", "updated": ""} {
			rows, next, err := s.ImportRows(ctx, w.p, m.ID, outcome, impact.Page{Limit: 10})
			var numbers []string
			for _, r := range rows {
				numbers = append(numbers, fmt.Sprint(r.Row))
			}
			if err != nil || next != nil || strings.Join(numbers, " ") != want {
				t.Errorf("%s: %v %v", outcome, numbers, err)
			}
		}
		page, next, err := s.ImportRows(ctx, w.p, m.ID, "", impact.Page{Limit: 2})
		if err != nil || len(page) != 2 || len(next) != 1 {
			t.Fatal(page, next, err)
		}
		if page, next, err = s.ImportRows(ctx, w.p, m.ID, "", impact.Page{Limit: 2, After: next}); err != nil || len(page) != 1 || page[0].Row != 3 || next != nil {
			t.Error(page, next, err)
		}
	})
}

func TestImportIsCancelledAndConfirmed(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := acting(register(t, s, "Une").ID)
		waiting := createImport(t, s, p, "1")
		if m, err := s.CancelImport(ctx, p, waiting.ID); err != nil || m.State != impact.ImportCancelled || m.FinishedAt.IsZero() {
			t.Errorf("%+v %v", m, err)
		}
		if _, err := s.CancelImport(ctx, p, waiting.ID); code(err) != "bad_state" {
			t.Error(err)
		}
		m := createImport(t, s, p, "2")
		job := claim(t, s, m.ID)
		if _, err := s.ConfirmImport(ctx, p, m.ID); code(err) != "bad_state" {
			t.Error(err)
		}
		err := s.WriteImport(ctx, job, func(context.Context) (impact.ImportProgress, error) {
			return impact.ImportProgress{State: impact.ImportHeld}, nil
		})
		if err != nil || job.State != impact.ImportHeld {
			t.Fatal(job.State, err)
		}
		if held := claim(t, s, ""); held != nil {
			t.Error("a held import was taken up")
		}
		if m, err = s.ConfirmImport(ctx, p, m.ID); err != nil || m.State != impact.ImportPending || !m.Options.Confirmed {
			t.Errorf("%+v %v", m, err)
		}
		job = claim(t, s, m.ID)
		if m, err = s.CancelImport(ctx, p, m.ID); err != nil || m.State != impact.ImportRunning || !m.Cancelling {
			t.Errorf("%+v %v", m, err)
		}
		if stop, err := s.ImportCancelled(ctx, job); !stop || err != nil {
			t.Error(stop, err)
		}
		// Its worker dies before it could stop: nobody goes on with it.
		if err := s.HoldImport(ctx, job, -time.Hour); err != nil {
			t.Fatal(err)
		}
		if again := claim(t, s, m.ID); again != nil {
			t.Error("a cancelled import was taken up")
		}
		if m, err = s.Import(ctx, p, m.ID); err != nil || m.State != impact.ImportCancelled {
			t.Error(m.State, err)
		}
	})
}

func TestImportThatKillsItsWorkersFails(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := acting(register(t, s, "Une").ID)
		m := createImport(t, s, p, "1")
		for range 5 {
			job := claim(t, s, m.ID)
			if job == nil {
				t.Fatal("given up too soon")
			}
			if err := s.HoldImport(ctx, job, -time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if job := claim(t, s, m.ID); job != nil {
			t.Error("taken up once more")
		}
		if m, err := s.Import(ctx, p, m.ID); err != nil || m.State != impact.ImportFailed || m.Report.Problem == nil {
			t.Errorf("%+v %v", m, err)
		}
	})
}

func TestOldImportsAreForgotten(t *testing.T) {
	onURLs(t, func(t *testing.T, url string) {
		ctx, s := context.Background(), openLoaded(t, url)
		p := acting(register(t, s, "Une").ID)
		m := createImport(t, s, p, "1")
		job := claim(t, s, m.ID)
		err := s.WriteImport(ctx, job, func(context.Context) (impact.ImportProgress, error) {
			packed, err := s.PackImportRows([]impact.ImportRow{{Row: 1, Outcome: impact.Created}})
			return impact.ImportProgress{State: impact.ImportCompleted, Rows: []impact.PackedRows{packed}}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		under := createImport(t, s, p, "2") // under way: kept, however old
		for _, age := range []struct {
			days           int
			source, report string
		}{{29, "", ""}, {31, "gone", ""}, {401, "gone", "gone"}} {
			later, err := store.Open(ctx, url, store.Options{
				Now: func() time.Time { return time.Now().AddDate(0, 0, age.days) }, NewID: func() string { return "unused" },
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(later.ForgetImports(ctx), later.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ImportSource(ctx, p, m.ID); code(err) != age.source {
				t.Errorf("%d days: the file: %v", age.days, err)
			}
			if _, err := s.Import(ctx, p, m.ID); code(err) != age.report {
				t.Errorf("%d days: the report: %v", age.days, err)
			}
			if rows, _, err := s.ImportRows(ctx, p, m.ID, "", impact.Page{Limit: 10}); code(err) != age.report || err == nil && len(rows) != 1 {
				t.Errorf("%d days: the rows: %v %v", age.days, rows, err)
			}
			if _, err := s.ImportSource(ctx, p, under.ID); err != nil {
				t.Errorf("%d days: the file of an import under way: %v", age.days, err)
			}
		}
		if list, _, err := s.Imports(ctx, p, impact.ImportFilter{}, impact.Page{Limit: 10}); err != nil || len(list) != 1 || list[0].ID != under.ID {
			t.Error(list, err)
		}
	})
}

func onURLs(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.DSN(t)) })
}

func TestImportOfARevokedClientIsNotDone(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		org := register(t, s, "Une")
		c, err := s.CreateClient(ctx, admin, impact.Client{Name: "crm", Role: impact.RoleOrganisation, Organisation: org.ID})
		if err != nil {
			t.Fatal(err)
		}
		p := acting(org.ID)
		p.Client = c.ID
		m := createImport(t, s, p, "1")
		if _, err := s.RevokeClient(ctx, admin, c.ID); err != nil {
			t.Fatal(err)
		}
		if job := claim(t, s, m.ID); job != nil {
			t.Error("somebody works for a revoked client")
		}
		if m, err = s.Import(ctx, p, m.ID); err != nil || m.State != impact.ImportCancelled {
			t.Error(m.State, err)
		}
	})
}

// A key that is revoked, or a client that loses the scope, does not go on by
// means of a file that is still being read.
func TestImportStopsWhenItsSenderMayNoLonger(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := acting(register(t, s, "Une").ID)
		c, err := s.CreateClient(ctx, admin, impact.Client{Name: "crm", Role: p.Role, Organisation: p.Organisation, Scopes: impact.AllowedScopes(p.Role)})
		if err != nil {
			t.Fatal(err)
		}
		p.Client, p.Scopes = c.ID, c.Scopes
		k, err := s.CreateAPIKey(ctx, p, impact.APIKey{Name: "nightly", Hash: "h", Scopes: []impact.Scope{impact.ImportsWrite}, ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		step := func(job *impact.ImportJob) (stopping bool) {
			t.Helper()
			err := s.WriteImport(ctx, job, func(context.Context) (impact.ImportProgress, error) { return impact.ImportProgress{RowsDone: 1}, nil })
			if err != nil {
				t.Fatal(err)
			}
			stop, err := s.ImportCancelled(ctx, job)
			if err != nil || stop != job.Cancelling {
				t.Error(stop, job.Cancelling, err)
			}
			return stop
		}
		byKey := p
		byKey.Key = k.ID
		keyed, tokened := claim(t, s, createImport(t, s, byKey, "1").ID), claim(t, s, createImport(t, s, p, "2").ID)
		if step(keyed) || step(tokened) {
			t.Error("an import stops that may go on")
		}
		if err := s.RevokeAPIKey(ctx, p, k.ID); err != nil {
			t.Fatal(err)
		}
		if !step(keyed) || step(tokened) {
			t.Error("a key that is revoked goes on, or its client does not")
		}
		less := []impact.Scope{impact.ObservationsRead}
		if _, err := s.UpdateClient(ctx, admin, c.ID, 1, func(c *impact.Client) error { c.Scopes = less; return nil }); err != nil {
			t.Fatal(err)
		}
		if !step(tokened) {
			t.Error("a client without the scope goes on")
		}
	})
}

func TestFilesOfImportsTakeNoMoreThanTheirRoom(t *testing.T) {
	onURLs(t, func(t *testing.T, url string) {
		ctx := context.Background()
		openLoaded(t, url)
		tick := time.Now()
		s, err := store.Open(ctx, url, store.Options{
			Now: func() time.Time { tick = tick.Add(time.Second); return tick }, NewID: func() string { return rand.Text() }, ImportBytes: 2500,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		p, other := acting(register(t, s, "Une").ID), acting(register(t, s, "Autre").ID)
		other.Client = "other"
		noise := make([]byte, 1000)
		send := func(p impact.Principal, key string) impact.ImportID {
			t.Helper()
			for i := range noise { // nothing that compresses
				noise[i] = byte(mathrand.IntN(256))
			}
			m, _, err := s.CreateImport(ctx, p, newImport(key), bytes.NewReader(noise))
			if err != nil {
				t.Fatal(err)
			}
			return m.ID
		}
		end := func(p impact.Principal, id impact.ImportID) {
			t.Helper()
			if _, err := s.CancelImport(ctx, p, id); err != nil {
				t.Fatal(err)
			}
		}
		theirs := send(other, "theirs")
		end(other, theirs)
		first := send(p, "1") // under way: its file stays
		var ids []impact.ImportID
		for i := range 3 {
			ids = append(ids, send(p, fmt.Sprint("more", i)))
			end(p, ids[i])
		}
		send(p, "last")
		for id, want := range map[impact.ImportID]string{first: "", ids[0]: "gone", ids[1]: "gone", ids[2]: ""} {
			if _, err := s.ImportSource(ctx, p, id); code(err) != want {
				t.Errorf("%s: %v, want %q", id, err, want)
			}
			if _, err := s.Import(ctx, p, id); err != nil {
				t.Errorf("the report: %v", err)
			}
		}
		if _, err := s.ImportSource(ctx, other, theirs); err != nil {
			t.Errorf("another's file: %v", err)
		}
	})
}

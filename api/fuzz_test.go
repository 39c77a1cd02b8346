package api

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// A cursor that opens is one that was sealed, for the same query.
func FuzzCursor(f *testing.F) {
	s := &server{Config: Config{CursorKey: []byte("0123456789abcdef")}}
	query := [8]byte{1, 2, 3}
	f.Add(s.sealCursor([]string{"a", ""}, query), "x")
	f.Add("", "y")
	f.Add("AQ", "é")
	f.Fuzz(func(t *testing.T, cursor, value string) {
		if after, err := s.openCursor(cursor, query); err == nil && s.sealCursor(after, query) != cursor {
			t.Errorf("%q opens as %q, which is another cursor", cursor, after)
		}
		after, err := s.openCursor(s.sealCursor([]string{value, cursor}, query), query)
		if err != nil || !slices.Equal(after, []string{value, cursor}) {
			t.Errorf("%q, %v", after, err)
		}
		if _, err := s.openCursor(s.sealCursor([]string{value}, query), [8]byte{9}); err == nil {
			t.Error("a cursor of another query opens")
		}
	})
}

// A cursor of the feed opens as the place it was sealed for, or is refused; what
// opens was sealed here.
func FuzzChangeCursor(f *testing.F) {
	s := &server{Config: Config{CursorKey: []byte("0123456789abcdef")}}
	about := [8]byte{4, 5, 6}
	f.Add(int64(12), int64(1<<60), "observation", "1.2.3.-4.5.6", s.changeCursor(impact.ChangePosition{Seq: 3, Tx: 9}, about))
	f.Add(int64(-1), int64(0), "", "", s.sealCursor([]string{"zz", "é"}, about))
	f.Add(int64(0), int64(0), "", "x", "AQ")
	f.Fuzz(func(t *testing.T, seq, tx int64, kind, key, cursor string) {
		at := impact.ChangePosition{Seq: seq, Tx: tx, Type: impact.ChangeType(kind), Key: key}
		if kind == "" {
			at.Key = ""
		}
		if got, err := s.openChangeCursor(s.changeCursor(at, about), about); err != nil || got != at {
			t.Errorf("%+v comes back as %+v, %v", at, got, err)
		}
		if _, err := s.openChangeCursor(s.changeCursor(at, about), [8]byte{9}); err == nil {
			t.Error("a cursor of another caller opens")
		}
		got, err := s.openChangeCursor(cursor, about)
		if e, ok := errors.AsType[*impact.Error](err); err != nil && (!ok || e.Kind != impact.Malformed) {
			t.Errorf("%q is refused with %v", cursor, err)
		}
		if err == nil && s.changeCursor(got, about) != cursor {
			t.Errorf("%q opens as %+v, which is another cursor", cursor, got)
		}
	})
}

// A query is refused, or nothing of it is lost: its canonical form reads as
// the same query.
func FuzzQuery(f *testing.F) {
	known := []string{"a", "type", "disaggregation.*", "limit", "cursor"}
	for _, s := range []string{"a=1", "a=1,2&a=3", "type=%22x%2Cy%22", "a=%zz", "a;b", "limit=5&cursor=x", "disaggregation.sex=F", "a=+", "&&", "=", "access_token=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, known)
		if err != nil {
			if e, ok := errors.AsType[*impact.Error](err); !ok || e.Kind != impact.Malformed || problemKinds[e.Code].Status != 400 {
				t.Errorf("refused with %v", err)
			}
			return
		}
		again, err := parseQuery(q.canonical(), known)
		if err != nil {
			t.Fatalf("%q is canonically %q, which is refused: %v", raw, q.canonical(), err)
		}
		if again.canonical() != q.canonical() {
			t.Errorf("%q, %q, %q", raw, q.canonical(), again.canonical())
		}
		written := 0
		for part := range strings.SplitSeq(raw, "&") {
			if part != "" {
				written++
			}
		}
		kept := 0
		for _, n := range q.names {
			kept += len(q.values[n])
			q.all(n)
			q.list(n)
			q.one(n)
			q.integer(n, 1, 1, 10)
		}
		if kept != written {
			t.Errorf("%q: %d parameters of %d kept", raw, kept, written)
		}
	})
}

// A body is refused with faults that say where, or it fits.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"name":"a","count":2,"value":1840.50,"parts":[{"code":"c"}],"open":{"a":1e3}}`, `{"name":1,"nam":2}`, `[]`, `{"name":"a","name":"b"}`, "{", `{"open":{"a":"x"}}`, "null", `{"value":null}`, `{"part":{"code":{"x":[1]}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v thing
		err := decodeJSON(b, &v)
		if err == nil {
			return
		}
		e, ok := errors.AsType[*impact.Error](err)
		if !ok {
			t.Fatalf("%q: %v", b, err)
		}
		switch e.Kind {
		case impact.Malformed:
			if e.Detail.FR == "" || e.Hint.FR == "" {
				t.Errorf("%q: nothing to mend it by: %v", b, err)
			}
		case impact.Invalid:
			if len(e.Faults) == 0 {
				t.Errorf("%q is invalid without a fault", b)
			}
			for _, x := range e.Faults {
				if x.Pointer != "" && !strings.HasPrefix(x.Pointer, "/") || x.Hint.FR == "" {
					t.Errorf("%q: %+v", b, x)
				}
			}
		default:
			t.Errorf("%q: %v", b, err)
		}
	})
}

// A cursor of the feed is read whatever it was given for, and only if it is ours.
func FuzzReplayCursor(f *testing.F) {
	s := &server{Config: Config{CursorKey: []byte("0123456789abcdef")}}
	at := impact.ChangePosition{Seq: 12, Tx: 1 << 60, Type: impact.ObservationChange, Key: "1 2"}
	about := feedHash(impact.Principal{Role: impact.RoleSteward}, impact.ChangeFilter{})
	for _, c := range []string{"", "AQ", s.changeCursor(at, about), s.changeCursor(impact.ChangePosition{}, about), s.sealCursor([]string{"x", "y"}, about)} {
		f.Add(c, int64(3), int64(4), "observation", "k")
	}
	f.Fuzz(func(t *testing.T, cursor string, seq, tx int64, kind, key string) {
		if got, err := s.openAnyChangeCursor(cursor); err == nil && s.changeCursor(got, about) == "" {
			t.Errorf("%q: %+v", cursor, got)
		} else if err != nil && impact.KindOf(err) != impact.Malformed {
			t.Errorf("%q: %v", cursor, err)
		}
		want := impact.ChangePosition{Seq: seq, Tx: tx, Type: impact.ChangeType(kind), Key: key}
		if kind == "" {
			want.Key = ""
		}
		sealed := s.changeCursor(want, about)
		if got, err := s.openAnyChangeCursor(sealed); err != nil || got != want {
			t.Errorf("%+v: %+v %v", want, got, err)
		}
		for i := range len(sealed) {
			altered := []byte(sealed)
			altered[i] ^= 1
			if got, err := s.openAnyChangeCursor(string(altered)); err == nil && got != want {
				t.Errorf("%q is taken as %+v", altered, got)
			}
		}
	})
}

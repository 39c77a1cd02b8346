package release

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Sealing is where published releases are kept; *store.Store is one.
type Sealing interface {
	// PublicReleases are those ever published, withdrawn ones included.
	PublicReleases(context.Context) ([]impact.Release, error)
	// ReleasesSeen changes when a release is published or withdrawn.
	ReleasesSeen(context.Context) (int64, error)
	// ReleaseUnits are the units of one, by its key, in the order of their digest.
	ReleaseUnits(ctx context.Context, key string) iter.Seq2[*Sealed, error]
	Catalogue(context.Context) (*impact.Catalogue, error)
}

// Shelf keeps releases in memory: the latest, and a few that were asked for.
// What it knows is as old as its last Refresh. It may be used from many
// goroutines; a release that is being read from the store keeps nobody waiting
// but those who asked for it.
type Shelf struct {
	from Sealing
	room int

	mu       sync.Mutex
	seen     int64
	fresh    bool // Refresh succeeded once
	releases []impact.Release
	sets     map[impact.ReleaseNumber]*shelved
	used     int64 // counts uses
	refresh  sync.Mutex
}

// shelved is a set that is there, or on its way.
type shelved struct {
	ready chan struct{}
	set   *Set
	err   error
	last  int64 // use
}

// NewShelf makes an empty shelf with room for the latest release and at most
// others more.
func NewShelf(from Sealing, others int) *Shelf {
	return &Shelf{from: from, room: 1 + max(others, 0), sets: map[impact.ReleaseNumber]*shelved{}}
}

// Refresh learns what was published or withdrawn since, and has the latest
// release at hand before it shows it. It costs one look at an index when
// nothing happened. On error the shelf keeps what it has.
func (s *Shelf) Refresh(ctx context.Context) error {
	s.refresh.Lock()
	defer s.refresh.Unlock()
	seen, err := s.from.ReleasesSeen(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	same := s.fresh && seen == s.seen
	s.mu.Unlock()
	if same {
		return nil
	}
	releases, err := s.from.PublicReleases(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(releases, func(a, b impact.Release) int { return int(a.Number) - int(b.Number) })
	var latest *shelved
	if r := latestOf(releases); r != nil {
		// Readers of the former one are not kept waiting.
		latest = &shelved{ready: make(chan struct{})}
		close(latest.ready)
		s.mu.Lock()
		if old := s.sets[r.Number]; old != nil && old.done() && old.err == nil && old.set.release.Key == r.Key {
			latest.set = old.set
		}
		s.mu.Unlock()
		if latest.set == nil {
			if latest.set, err = s.load(ctx, r, releases); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.fresh, s.releases = seen, true, releases
	for n, kept := range s.sets {
		if i := find(releases, n); i < 0 || releases[i].State != impact.ReleasePublished || kept.done() && kept.err == nil && kept.set.release.Key != releases[i].Key {
			delete(s.sets, n)
		}
	}
	if latest != nil {
		s.used++
		latest.last = s.used
		s.sets[latest.set.release.Number] = latest
		s.tidy()
	}
	return nil
}

func (s *Shelf) load(ctx context.Context, r *impact.Release, releases []impact.Release) (*Set, error) {
	cat, err := s.from.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	return NewSet(cat, *r, releases, s.from.ReleaseUnits(ctx, r.Key))
}

func (k *shelved) done() bool {
	select {
	case <-k.ready:
		return true
	default:
		return false
	}
}

// tidy takes off what was not used for longest. The latest stays.
func (s *Shelf) tidy() {
	latest := latestOf(s.releases)
	for len(s.sets) > s.room {
		oldest, at := int64(-1), impact.ReleaseNumber(0)
		for n, k := range s.sets {
			if latest != nil && n == latest.Number || !k.done() {
				continue
			}
			if oldest < 0 || k.last < oldest {
				oldest, at = k.last, n
			}
		}
		if oldest < 0 {
			return
		}
		delete(s.sets, at)
	}
}

func latestOf(releases []impact.Release) *impact.Release {
	for i := len(releases) - 1; i >= 0; i-- {
		if releases[i].State == impact.ReleasePublished {
			return &releases[i]
		}
	}
	return nil
}

func find(releases []impact.Release, n impact.ReleaseNumber) int {
	return slices.IndexFunc(releases, func(r impact.Release) bool { return r.Number == n })
}

func (s *Shelf) ensure(ctx context.Context) error {
	s.mu.Lock()
	fresh := s.fresh
	s.mu.Unlock()
	if fresh {
		return nil
	}
	return s.Refresh(ctx)
}

// Latest gives the release read when none is named. Errors: not_found before
// the first.
func (s *Shelf) Latest(ctx context.Context) (*Set, error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	r := latestOf(s.releases)
	s.mu.Unlock()
	if r == nil {
		return nil, &impact.Error{
			Kind: impact.NotFound, Code: "not_found",
			Detail: impact.Text{FR: "Aucune publication (release) n'existe encore.", EN: "There is no release yet."},
			Hint:   impact.Text{FR: "La première est annoncée par GET /v1/releases.", EN: "The first one will be told by GET /v1/releases."},
			Link:   "/v1/releases",
		}
	}
	return s.Get(ctx, r.Number)
}

// Get gives a release by its number. Errors: not_found, release_withdrawn with a
// link to its successor.
func (s *Shelf) Get(ctx context.Context, n impact.ReleaseNumber) (*Set, error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	for {
		s.mu.Lock()
		i := find(s.releases, n)
		if i < 0 {
			s.mu.Unlock()
			return nil, noRelease(strconv.Itoa(int(n)))
		}
		r, releases := s.releases[i], s.releases
		if r.State == impact.ReleaseWithdrawn {
			s.mu.Unlock()
			return nil, withdrawn(&r)
		}
		s.used++
		kept := s.sets[n]
		mine := kept == nil
		if mine {
			kept = &shelved{ready: make(chan struct{})}
			s.sets[n] = kept
		}
		kept.last = s.used
		s.mu.Unlock()
		if mine {
			return s.fetch(ctx, kept, &r, releases)
		}
		select {
		case <-kept.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if kept.err == nil {
			return kept.set, nil
		}
		// Whoever fetched it failed, perhaps by leaving: try oneself.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// fetch reads a release for all who wait for it.
func (s *Shelf) fetch(ctx context.Context, kept *shelved, r *impact.Release, releases []impact.Release) (*Set, error) {
	kept.err = fmt.Errorf("release %d: reading it stopped", r.Number) // replaced unless we panic
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if kept.err != nil && s.sets[r.Number] == kept {
			delete(s.sets, r.Number)
		}
		close(kept.ready)
		s.tidy()
	}()
	kept.set, kept.err = s.load(ctx, r, releases)
	return kept.set, kept.err
}

// At gives the release that was the latest at an instant. Errors: not_found
// before the first, release_withdrawn when it was taken back since.
func (s *Shelf) At(ctx context.Context, t time.Time) (*Set, error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	releases := s.releases
	s.mu.Unlock()
	for i := len(releases) - 1; i >= 0; i-- {
		r := &releases[i]
		if !r.PublishedAt.After(t) && (r.State != impact.ReleaseWithdrawn || r.WithdrawnAt.After(t)) {
			return s.Get(ctx, r.Number)
		}
	}
	return nil, noRelease(t.UTC().Format(time.RFC3339))
}

func noRelease(which string) error {
	return &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: impact.Text{FR: "Aucune publication ne répond à « " + which + " ».", EN: "No release answers to “" + which + "”."},
		Hint:   impact.Text{FR: "GET /v1/releases donne leurs numéros et leurs dates ; latest nomme la dernière.", EN: "GET /v1/releases gives their numbers and dates; latest names the last one."},
		Link:   "/v1/releases",
	}
}

func withdrawn(r *impact.Release) error {
	e := &impact.Error{
		Kind: impact.Gone, Code: "release_withdrawn",
		Detail: impact.Text{FR: "La publication " + strconv.Itoa(int(r.Number)) + " a été retirée.", EN: "Release " + strconv.Itoa(int(r.Number)) + " was withdrawn."},
		Hint:   impact.Text{FR: "Lisez la dernière publication (release=latest).", EN: "Read the latest release (release=latest)."},
		Link:   "/v1/releases/latest",
	}
	if !r.Reason.IsZero() {
		e.Detail.FR += " Motif : " + r.Reason.FR
		e.Detail.EN += " Reason: " + r.Reason.In(impact.English)
	}
	if r.Successor != 0 {
		n := strconv.Itoa(int(r.Successor))
		e.Hint = impact.Text{FR: "Lisez à sa place la publication " + n + ".", EN: "Read release " + n + " in its place."}
		e.Link = "/v1/releases/" + n
	}
	return e
}

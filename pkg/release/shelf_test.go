package release

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// cellar is a store of releases; its sets hold one cell each.
type cellar struct {
	t        testing.TB
	mu       sync.Mutex
	releases []impact.Release
	seen     int64
	looks    int // at the releases
	reads    map[string]int
	fail     error
	slow     chan struct{} // when set, units wait for it
}

func (c *cellar) publish(n impact.ReleaseNumber) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releases, c.seen = append(c.releases, aRelease(n)), c.seen+1
}

func (c *cellar) change(n impact.ReleaseNumber, f func(*impact.Release)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releases = slices.Clone(c.releases)
	f(&c.releases[n-1])
	c.seen++
}

func (c *cellar) PublicReleases(context.Context) ([]impact.Release, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	return slices.Clone(c.releases), nil
}

func (c *cellar) ReleasesSeen(context.Context) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, nil
}

func (c *cellar) Catalogue(context.Context) (*impact.Catalogue, error) { return reference(), nil }

func (c *cellar) ReleaseUnits(ctx context.Context, key string) iter.Seq2[*Sealed, error] {
	return func(yield func(*Sealed, error) bool) {
		c.mu.Lock()
		if c.reads == nil {
			c.reads = map[string]int{}
		}
		c.reads[key]++
		err, slow := c.fail, c.slow
		c.mu.Unlock()
		if slow != nil {
			<-slow
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for _, u := range sealed(c.t, []Cell{one(c.t, "insertion_hours", theMetropole, of2025, "12")}) {
			if !yield(u, nil) {
				return
			}
		}
	}
}

func numberOf(t *testing.T, s *Set, err error) impact.ReleaseNumber {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return s.Release().Number
}

func codeOf(err error) (code, link string) {
	if e, ok := errors.AsType[*impact.Error](err); ok {
		return e.Code, e.Link
	}
	return "", ""
}

func TestShelf(t *testing.T) {
	ctx := context.Background()
	c := &cellar{t: t}
	s := NewShelf(c, 1)
	if _, err := s.Latest(ctx); impact.KindOf(err) != impact.NotFound {
		t.Fatalf("before the first release: %v", err)
	}
	for n := impact.ReleaseNumber(1); n <= 4; n++ {
		c.publish(n)
	}
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	latest, err := s.Latest(ctx)
	if numberOf(t, latest, err) != 4 {
		t.Errorf("latest is %d", latest.Release().Number)
	}
	looks := c.looks
	for range 3 {
		if err := s.Refresh(ctx); err != nil || c.looks != looks {
			t.Errorf("nothing was published, and the shelf looked again (%v)", err)
		}
		if again, err := s.Latest(ctx); err != nil || again != latest {
			t.Errorf("another set of the same release (%v)", err)
		}
	}
	if _, err := s.Get(ctx, 5); impact.KindOf(err) != impact.NotFound {
		t.Errorf("unknown: %v", err)
	}
	// Room for the latest and one more: 2 leaves when 3 comes.
	for _, n := range []impact.ReleaseNumber{2, 3, 2, 4, 2} {
		if got, err := s.Get(ctx, n); numberOf(t, got, err) != n {
			t.Errorf("%d", n)
		}
	}
	if c.reads["key2"] != 2 || c.reads["key3"] != 1 || c.reads["key4"] != 1 || len(s.sets) != 2 {
		t.Errorf("read from the store: %v, kept %d", c.reads, len(s.sets))
	}

	// The instant of publication belongs to the release.
	at := aRelease(2).PublishedAt
	for d, want := range map[time.Duration]impact.ReleaseNumber{-time.Second: 1, 0: 2, time.Hour: 2, 24 * 365 * time.Hour: 4} {
		if got, err := s.At(ctx, at.Add(d)); numberOf(t, got, err) != want {
			t.Errorf("%s after: %d, want %d", d, got.Release().Number, want)
		}
	}
	if _, err := s.At(ctx, aRelease(1).PublishedAt.Add(-time.Second)); impact.KindOf(err) != impact.NotFound {
		t.Errorf("before the first: %v", err)
	}

	c.change(4, func(r *impact.Release) {
		r.State, r.WithdrawnAt, r.Reason = impact.ReleaseWithdrawn, r.PublishedAt.Add(time.Hour), impact.Text{FR: "Erreur.", EN: "Error."}
	})
	if got, err := s.Latest(ctx); numberOf(t, got, err) != 4 {
		t.Error("the shelf knew without being told")
	}
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Latest(ctx); numberOf(t, got, err) != 3 {
		t.Errorf("latest is %d, the withdrawn one", got.Release().Number)
	}
	_, err = s.Get(ctx, 4)
	if code, link := codeOf(err); code != "release_withdrawn" || link != "/v1/releases/latest" || impact.KindOf(err) != impact.Gone {
		t.Errorf("withdrawn: %v", err)
	}
	// Who asks for the instant it was in force is told the same.
	_, err = s.At(ctx, aRelease(4).PublishedAt.Add(time.Minute))
	if code, _ := codeOf(err); code != "release_withdrawn" {
		t.Errorf("withdrawn since: %v", err)
	}
	c.change(4, func(r *impact.Release) { r.Successor = 3 })
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(ctx, 4)
	if _, link := codeOf(err); link != "/v1/releases/3" {
		t.Errorf("successor: %v", err)
	}
}

// A release that cannot be read leaves the former one in place.
func TestShelfKeepsServing(t *testing.T) {
	ctx := context.Background()
	c := &cellar{t: t}
	c.publish(1)
	s := NewShelf(c, 1)
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	c.publish(2)
	c.fail = errors.New("no database")
	if err := s.Refresh(ctx); err == nil {
		t.Error("no word of it")
	}
	if got, err := s.Latest(ctx); numberOf(t, got, err) != 1 {
		t.Error("the former release is gone")
	}
	c.fail = nil
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Latest(ctx); numberOf(t, got, err) != 2 {
		t.Error("the new release never came")
	}
}

// One read for all who ask; who leaves does not take the others along.
func TestShelfReadsOnce(t *testing.T) {
	c := &cellar{t: t}
	for n := impact.ReleaseNumber(1); n <= 3; n++ {
		c.publish(n)
	}
	s := NewShelf(c, 2)
	if err := s.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.slow = make(chan struct{})
	impatient, leave := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 12 {
		ctx := context.Background()
		if i == 0 {
			ctx = impatient
		}
		wg.Go(func() {
			got, err := s.Get(ctx, 2)
			if i > 0 && (err != nil || got.Release().Number != 2) {
				t.Errorf("%v", err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	leave()
	close(c.slow)
	wg.Wait()
	if n := c.reads["key2"]; n > 2 {
		t.Errorf("read %d times", n)
	}
	for range 4 {
		wg.Go(func() {
			for n := range 200 {
				if n%50 == 0 {
					if err := s.Refresh(context.Background()); err != nil {
						t.Error(err)
					}
				}
				if _, err := s.Get(context.Background(), impact.ReleaseNumber(1+n%3)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

package store

import (
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
)

// However much is written, what is kept for the follower stays small, and is the
// newest of it.
func TestRecentCommitsAreBounded(t *testing.T) {
	var r recent
	r.init()
	_, leave := r.follow()
	last := int64(0)
	for _, size := range []int{1, 2000, 2000, 2 * recentCells, 1, 3} {
		for range 3 * recentCommits {
			last++
			r.publish(last, &commit{Cells: make([]calculation.Change, size)})
			cells := 0
			for _, c := range r.commits {
				cells += len(c.Cells)
			}
			if cells != r.cells || cells > recentCells || len(r.commits) > recentCommits || len(r.kept) != len(r.commits) {
				t.Fatalf("%d commits of %d cells are kept, counted as %d of %d", len(r.commits), cells, len(r.kept), r.cells)
			}
			if (r.at(last) == nil) != (size > recentCells) {
				t.Fatalf("the newest commit, of %d cells, is kept: %v", size, r.at(last) != nil)
			}
			if size > recentCells {
				break
			}
		}
	}
	if leave(); len(r.commits)+len(r.kept)+r.cells > 0 {
		t.Error("commits are kept for nobody")
	}
}

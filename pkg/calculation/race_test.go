package calculation

import (
	"fmt"
	"sync"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Readers and the writer share the cube: a reader sees a commit whole or not
// at all. Run with -race.
func TestReadersSeeWholeCommits(t *testing.T) {
	w := newWorld(t)
	w.qs = []impact.Questionnaire{{Code: "q", From: impact.MinDate, To: impact.MaxDate, Indicators: []impact.QuestionnaireItem{{Indicator: "waste_collected"}}}}
	for i := range 8 {
		o := w.org(fmt.Sprint(i))
		o.Questionnaires = []string{"q"}
		o.Sites = []impact.Site{{Territory: "commune-69123", From: impact.MinDate, To: impact.MaxDate}}
		w.says(fmt.Sprint(i), "waste_collected", lyon, "2025", "1")
	}
	c := w.cube()
	const commits = 300
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			q := ask("waste_collected", metropole, "2025")
			for c.Seq() < commits {
				res, err := c.Figures(q)
				if err != nil {
					t.Error(err)
					return
				}
				// Commit n says n for every organisation.
				if f := res.Figures[0]; *f.Value != impact.Quantity(8*res.Seq)*impact.One || f.Expected != 8 {
					t.Errorf("commit %d: %s, %d expected", res.Seq, f.text(), f.Expected)
					return
				}
				c.Fingerprint(q)
			}
		})
	}
	for n := int64(2); n <= commits; n++ {
		ch := Changes{Organisations: w.organisations()}
		for _, cell := range w.cells {
			cell.Current = &Fact{Value: impact.Quantity(n) * impact.One, HasValue: true, Status: impact.Normal}
			ch.Cells = append(ch.Cells, cell)
		}
		if err := c.Apply(n, ch); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

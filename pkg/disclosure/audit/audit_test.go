package audit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// facts states one value for each group from 0.
func facts(values ...int64) (out []disclosure.Fact) {
	for g, v := range values {
		out = append(out, disclosure.Fact{Group: int32(g), Value: impact.Quantity(v) * impact.One})
	}
	return out
}

func sum(ids ...int32) (s disclosure.Sum) {
	for _, i := range ids {
		s.Terms = append(s.Terms, disclosure.Term{Fact: i, Num: 1, Den: 1})
	}
	return s
}

func figure(name string, ids ...int32) disclosure.Figure {
	return disclosure.Figure{Name: name, Sums: []disclosure.Sum{sum(ids...)}}
}

func TestRun(t *testing.T) {
	even := facts(10, 11, 12, 13, 14, 15, 16, 17)
	for _, c := range []struct {
		name   string
		table  disclosure.Table
		hidden []string
		want   []string
		known  int
	}{
		{
			name:  "a part is the total minus the rest",
			table: disclosure.Table{Facts: even, Figures: []disclosure.Figure{figure("all", 0, 1, 2, 3, 4), figure("rest", 0, 1, 2, 3), figure("one", 4)}},
			want:  []string{"exact one"}, hidden: []string{"one"},
		},
		{
			name:  "unless the rest is withheld too",
			table: disclosure.Table{Facts: even, Figures: []disclosure.Figure{figure("all", 0, 1, 2, 3, 4), figure("rest", 0, 1, 2, 3), figure("one", 4)}},
			want:  nil, hidden: []string{"one", "rest"},
		},
		{
			name:  "a secret that is shown",
			table: disclosure.Table{Facts: even, Figures: []disclosure.Figure{figure("two", 0, 1)}},
			want:  []string{"exact two"},
		},
		{
			name: "a contributor takes itself out: 4 knows 5",
			table: disclosure.Table{Facts: even, Figures: []disclosure.Figure{
				figure("all", 0, 1, 2, 3, 4, 5), figure("rest", 0, 1, 2, 3), figure("four", 4), figure("five", 5), figure("both", 4, 5),
			}},
			want: []string{"exact both", "insider 4 five", "insider 5 four"}, hidden: []string{"four", "five", "both"},
		},
		{
			name: "a large one beside small ones has little room",
			table: disclosure.Table{Facts: facts(100, 110, 120, 130, 100, 1, 1), Figures: []disclosure.Figure{
				figure("all", 0, 1, 2, 3, 4, 5, 6), figure("rest", 0, 1, 2, 3), figure("large", 4),
			}},
			want: []string{"narrow large"}, hidden: []string{"large"},
		},
		{
			name: "what was told before is told",
			table: disclosure.Table{
				Facts: even, Figures: []disclosure.Figure{figure("all", 0, 1, 2, 3, 4), figure("one", 4)},
				Published: []disclosure.Sum{sum(0, 1, 2, 3, 4), sum(0, 1, 2, 3)},
			},
			hidden: []string{"one"}, known: 1,
		},
		{
			name: "but what it tells together with the new is new",
			table: disclosure.Table{
				Facts: even, Figures: []disclosure.Figure{figure("all", 0, 1, 2, 3, 4), figure("one", 4)},
				Published: []disclosure.Sum{sum(0, 1, 2, 3)},
			},
			hidden: []string{"one"}, want: []string{"exact one"},
		},
		{
			name: "a difference of two releases",
			table: disclosure.Table{
				Facts: even, Figures: []disclosure.Figure{figure("now", 0, 1, 2, 3, 4)},
				Published: []disclosure.Sum{sum(0, 1, 2, 3)}, Secrets: []disclosure.Sum{sum(4)},
			},
			want: []string{"exact secret 0"},
		},
		{
			name: "an identity gives it away",
			table: disclosure.Table{
				Facts: facts(30, 10, 20, 4, 5, 6), Figures: []disclosure.Figure{figure("part 1 and others", 1, 3, 4, 5), figure("others", 3, 4, 5)},
				Identities: []disclosure.Sum{{Terms: []disclosure.Term{{Fact: 0, Num: 1, Den: 1}, {Fact: 1, Num: -3, Den: 1}}}},
				Secrets:    []disclosure.Sum{sum(0)},
			},
			want: []string{"exact secret 0"},
		},
		{
			name:  "a sum of 0 tells that each is 0",
			table: disclosure.Table{Facts: facts(0, 0, 0, 5, 6, 7), Figures: []disclosure.Figure{figure("none", 0, 1, 2), figure("all", 0, 1, 2, 3, 4, 5), figure("some", 3, 4, 5)}},
			want:  []string{"exact none"}, hidden: []string{"none"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var decisions []disclosure.Decision
			for _, f := range c.table.Figures {
				d := disclosure.Decision{}
				if slices.Contains(c.hidden, f.Name) {
					d.Reason = disclosure.WouldTell
				}
				decisions = append(decisions, d)
			}
			r, err := Run(&c.table, decisions, disclosure.Strict1)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				s := string(f.Kind) + " "
				if f.Group >= 0 {
					s += fmt.Sprint(f.Group) + " "
				}
				got = append(got, s+f.Secret)
				if f.String() == "" {
					t.Error("a finding says what it is")
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) || r.Known != c.known || r.OK() != (len(c.want) == 0) {
				t.Errorf("got %v, %d known; want %v, %d", got, r.Known, c.want, c.known)
			}
		})
	}
	if _, err := Run(&disclosure.Table{}, make([]disclosure.Decision, 1), disclosure.Strict1); err == nil {
		t.Error("more decisions than figures")
	}
}

package api

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// However many answers are asked, in however many spellings and encodings, what
// is kept stays within the budget, and nothing that was let go is found again.
func TestKeptAnswersStayWithinTheirBudget(t *testing.T) {
	const budget = 1 << 20
	k := newAnswers(budget)
	rel := &impact.Release{Number: 1, Digest: "d"}
	ask := func(random *rand.Rand) {
		key := fmt.Sprint(random.IntN(400))
		a, err := k.get(key, func() (*answer, error) {
			a := newAnswer("text/plain", make([]byte, 1+random.IntN(20_000)))
			a.header.Set("ETag", key)
			a.header.Set("Last-Modified", "x")
			return a, nil
		})
		if err != nil {
			t.Error(err)
			return
		}
		r := &http.Request{Method: http.MethodGet, RequestURI: fmt.Sprint("/", key, "?", random.IntN(100)), Header: http.Header{}}
		k.ask(&call{r: r, route: &Route{}}, &aggregateQuery{published: rel}, a)
		if to := k.recall(request{uri: r.RequestURI}); to != nil && to.answer.header.Get("ETag") != key {
			t.Errorf("%s is answered by %s", key, to.answer.header.Get("ETag"))
		}
		a.in([]string{"gzip", "zstd", ""}[random.IntN(3)])
	}
	var wg sync.WaitGroup
	for seed := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(seed)))
			for range 3000 {
				ask(random)
			}
		})
	}
	wg.Wait()
	var size int64
	asked := 0
	for _, a := range k.kept {
		size += a.size
		asked += len(a.asked)
		for _, r := range a.asked {
			if k.asked[r] == nil || k.asked[r].answer != a {
				t.Errorf("%v leads elsewhere", r)
			}
		}
	}
	if size != k.size || size > budget || k.recent.Len() != len(k.kept) || asked != len(k.asked) {
		t.Errorf("%d bytes counted, %d kept, of %d; %d in order, %d kept; %d spellings, %d known", k.size, size, int64(budget), k.recent.Len(), len(k.kept), len(k.asked), asked)
	}
	large, err := k.get("large", func() (*answer, error) { return newAnswer("text/plain", make([]byte, budget)), nil })
	if err != nil || k.kept["large"] != nil || len(large.body) != budget {
		t.Error("an answer larger than all that is kept is kept")
	}
}

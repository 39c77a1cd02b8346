package imports

import (
	"fmt"
	"iter"
	"sync"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// ahead has the next value made while the last one is used: the file is read
// while the database writes.
func ahead[T any](values iter.Seq2[T, error]) iter.Seq2[T, error] {
	type made struct {
		value T
		err   error
	}
	return func(yield func(T, error) bool) {
		next, enough := make(chan made), make(chan struct{})
		give := func(m made) bool {
			select {
			case next <- m:
				return true
			case <-enough:
				return false
			}
		}
		var making sync.WaitGroup
		making.Go(func() {
			defer close(next)
			defer func() {
				if p := recover(); p != nil {
					give(made{err: fmt.Errorf("panic: %v", p)})
				}
			}()
			for value, err := range values {
				if !give(made{value, err}) {
					return
				}
			}
		})
		defer making.Wait()
		defer close(enough)
		for m := range next {
			if !yield(m.value, m.err) {
				return
			}
		}
	}
}

// inChunks gives rows a step at a time.
func inChunks(rows iter.Seq2[*format.StatementRow, error]) iter.Seq2[[]*format.StatementRow, error] {
	return func(yield func([]*format.StatementRow, error) bool) {
		chunk := make([]*format.StatementRow, 0, impact.ImportChunk)
		for row, err := range rows {
			if err != nil {
				yield(nil, err)
				return
			}
			if chunk = append(chunk, row); len(chunk) == cap(chunk) {
				if !yield(chunk, nil) {
					return
				}
				chunk = make([]*format.StatementRow, 0, impact.ImportChunk)
			}
		}
		if len(chunk) > 0 {
			yield(chunk, nil)
		}
	}
}

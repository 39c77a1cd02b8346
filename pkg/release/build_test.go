package release

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestBuildDoesNotDependOnOrder(t *testing.T) {
	for seed := range uint64(6) {
		w := anyWorld(t, rand.New(rand.NewPCG(seed, 1)), 25, 2024, 2025)
		first := build(t, w.input(1, nil))
		if first.built.Counts.Shown == 0 || first.built.Counts.Withheld == 0 {
			t.Fatalf("seed %d: a world that tests nothing: %+v", seed, first.built.Counts)
		}
		w.rename, w.order = true, rand.New(rand.NewPCG(seed, 2))
		for range 2 {
			other := build(t, w.input(1, nil))
			if other.built.Digest != first.built.Digest {
				for _, u := range first.units {
					if o := other.at[u]; o == nil || !bytes.Equal(o.Figures, first.at[u].Figures) {
						t.Errorf("seed %d: unit %v differs", seed, u)
					}
				}
			}
		}
		t.Logf("seed %d: %+v", seed, first.built.Counts)
	}
}

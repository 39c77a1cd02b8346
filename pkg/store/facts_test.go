package store

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestAnIDFindsItsKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := factKey{
			rapid.Int32Min(0).Draw(t, "organisation"), rapid.Int16Min(0).Draw(t, "indicator"), rapid.Int32Min(0).Draw(t, "territory"),
			rapid.Int32Range(-40_000, 60_000).Draw(t, "start"), rapid.Int32Range(-40_000, 60_000).Draw(t, "end"), rapid.Int32Min(0).Draw(t, "cut"),
		}
		id := idOf(k)
		if back, ok := keyOfID(id); !ok || back != k || len(id) > 64 {
			t.Fatalf("%+v gives %s gives %+v %v", k, id, back, ok)
		}
	})
}

func FuzzKeyOfID(f *testing.F) {
	f.Add(string(idOf(factKey{1, 2, 3, 20089, 20178, 0})))
	f.Add("")
	f.Fuzz(func(t *testing.T, id string) {
		if k, ok := keyOfID(impact.ObservationID(id)); ok && string(idOf(k)) != id {
			t.Errorf("%q names %+v, whose id is %q", id, k, idOf(k))
		}
	})
}

package store

import (
	"slices"
	"sync"
	"time"
)

// What kin an organisation has.
const (
	unknownKin = -1
	sharesUnit = 1 // its SIREN has several organisations
	isMember   = 2 // of a network that may state figures of its own
)

// kinFor is how long another process may not know of a new relation. What is
// written meanwhile is settled when figures are made.
const kinFor = 5 * time.Second

// kinships remembers which organisations have kin, which few do and which
// seldom changes: most writes ask nothing. It forgets all when this process
// changes organisations, networks or memberships.
type kinships struct {
	mu         sync.Mutex
	generation int
	held       map[int32]heldKin
}

type heldKin struct {
	flags int8
	until time.Time
}

// family is what is known of some organisations at one moment.
type family struct {
	keys       []int32 // sorted
	flags      []int8
	until      time.Time
	generation int
}

func (k *kinships) of(keys []int32, now time.Time) *family {
	f := &family{keys: keys, flags: make([]int8, len(keys)), until: now.Add(kinFor)}
	k.mu.Lock()
	defer k.mu.Unlock()
	f.generation = k.generation
	for i, key := range keys {
		f.flags[i] = unknownKin
		if h, ok := k.held[key]; ok && now.Before(h.until) {
			f.flags[i] = h.flags
		}
	}
	return f
}

// missing reads what is not remembered.
func (f *family) missing(d dialect) []step {
	var keys []int64
	for i, key := range f.keys {
		if f.flags[i] == unknownKin {
			keys = append(keys, int64(key))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	condition, args := d.anyOf("own.key", 1, keys)
	query := `SELECT own.key,
			CASE WHEN own.siren <> '' AND EXISTS (SELECT 1 FROM organisations AS o WHERE o.siren <> '' AND o.siren = own.siren AND o.key <> own.key) THEN 1 ELSE 0 END,
			CASE WHEN EXISTS (SELECT 1 FROM memberships AS m JOIN networks AS n ON n.id = m.network
				WHERE m.organisation = own.key AND m.deleted = 0 AND n.organisation <> 0) THEN 1 ELSE 0 END
		FROM organisations AS own WHERE ` + condition
	return []step{{query, args, 3, 0, func(n []int64, _ []bool, _ []string) error {
		if i, ok := slices.BinarySearch(f.keys, int32(n[0])); ok {
			f.flags[i] = int8(n[1]*sharesUnit + n[2]*isMember)
		}
		return nil
	}}}
}

func (k *kinships) learn(f *family) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f.generation != k.generation {
		return // it may have been read before the change
	}
	if k.held == nil || len(k.held) > 100_000 {
		k.held = map[int32]heldKin{}
	}
	for i, key := range f.keys {
		if h, ok := k.held[key]; f.flags[i] != unknownKin && (!ok || h.until.Before(f.until.Add(-kinFor))) {
			k.held[key] = heldKin{f.flags[i], f.until}
		}
	}
}

// changed forgets everything when a commit of this kind may have made kin.
func (k *kinships) changed(kind string) {
	switch kind {
	case "observations", "submission", "submissions", "consent", "mandate", "import", "questionnaire":
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.generation++
	k.held = nil
}

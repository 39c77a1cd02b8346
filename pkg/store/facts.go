package store

import (
	"cmp"
	"database/sql"
)

// factRow is a row of observations or, without approved, of
// observation_versions.
type factRow struct {
	factKey
	value      sql.Null[int64]
	tx         int64
	submission int32
	profile    int32
	actor      int32
	version    int32
	approved   int32
	status     int16
	deleted    int16
	details    string
}

// factKey is the natural key of a fact, in the order of the primary key.
type factKey struct {
	organisation int32
	indicator    int16
	territory    int32
	start, end   int32
	cut          int32
}

// pair is what Reconcile asks the neighbours of.
type pair struct {
	organisation int32
	indicator    int16
}

func (k factKey) compare(o factKey) int {
	return cmp.Or(cmp.Compare(k.organisation, o.organisation), cmp.Compare(k.indicator, o.indicator), cmp.Compare(k.territory, o.territory),
		cmp.Compare(k.start, o.start), cmp.Compare(k.end, o.end), cmp.Compare(k.cut, o.cut))
}

package store

import (
	"cmp"
	"database/sql"
	"encoding/base64"
	"encoding/binary"

	"github.com/grandlyon/retombees/pkg/impact"
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
	moved      int64 // see the column
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

// factColumns are read by scanFact: factNumbers integers, then one text.
const (
	numberColumns = `f.value, f.tx, f.organisation, f.territory, f.period_start, f.period_end, f.cut, f.submission, f.profile, f.actor,
		f.version, f.approved_version, f.indicator, f.obs_status, f.deleted, f.moved`
	factColumns = numberColumns + `, f.details`
	factNumbers = 16
)

func scanFact(n []int64, null []bool, details string) factRow {
	return factRow{
		factKey: factKey{
			organisation: int32(n[2]), indicator: int16(n[12]), territory: int32(n[3]), start: int32(n[4]), end: int32(n[5]), cut: int32(n[6]),
		},
		value: sql.Null[int64]{V: n[0], Valid: !null[0]}, tx: n[1], submission: int32(n[7]), profile: int32(n[8]), actor: int32(n[9]),
		version: int32(n[10]), approved: int32(n[11]), status: int16(n[13]), deleted: int16(n[14]), moved: n[15], details: details,
	}
}

func (k factKey) period() impact.Period {
	return impact.Period{Start: impact.Date(k.start), End: impact.Date(k.end)}
}

// idOf writes a key as the public id of the observation: six numbers and a
// check byte, in the alphabet of URLs. It means nothing to anyone else, needs
// no index, and finds the same fact for ever.
func idOf(k factKey) impact.ObservationID {
	b := make([]byte, 0, 24)
	for _, v := range [...]int64{int64(k.organisation), int64(k.indicator), int64(k.territory), int64(k.start), int64(k.end) - int64(k.start), int64(k.cut)} {
		b = binary.AppendVarint(b, v)
	}
	return impact.ObservationID(base64.RawURLEncoding.EncodeToString(append(b, check(b))))
}

// keyOfID is the reverse, false for what is not one of our ids.
func keyOfID(id impact.ObservationID) (factKey, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(id))
	if err != nil || len(b) < 7 || check(b[:len(b)-1]) != b[len(b)-1] {
		return factKey{}, false
	}
	b = b[:len(b)-1]
	var v [6]int64
	for i := range v {
		n, size := binary.Varint(b)
		if size <= 0 || n != int64(int32(n)) {
			return factKey{}, false
		}
		v[i], b = n, b[size:]
	}
	k := factKey{int32(v[0]), int16(v[1]), int32(v[2]), int32(v[3]), int32(v[3] + v[4]), int32(v[5])}
	if len(b) > 0 || idOf(k) != id {
		return factKey{}, false
	}
	return k, true
}

func check(b []byte) byte {
	sum := byte(0x5a)
	for _, c := range b {
		sum = sum<<3 | sum>>5
		sum ^= c
	}
	return sum
}

func wide(keys []int32) []int64 {
	out := make([]int64, len(keys))
	for i, k := range keys {
		out[i] = int64(k)
	}
	return out
}

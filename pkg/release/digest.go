package release

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
)

// Digest names the figures of a release: the SHA-256 of one line for each unit,
// `family,year,SHA-256 of its figures`, in the order of family then year. Anyone
// can redo it with the files and sha256sum.
type Digest struct{ lines hash.Hash }

// Add takes the next unit, in order; only its name and its digest matter.
func (d *Digest) Add(u *Sealed) { d.AddUnit(u.Unit, u.Digest) }

// AddUnit is Add for who has the digest of a unit and not its text.
func (d *Digest) AddUnit(u Unit, digest [32]byte) {
	if d.lines == nil {
		d.lines = sha256.New()
	}
	fmt.Fprintf(d.lines, "%s,%d,%x\n", u.Family, u.Year, digest)
}

// String gives the digest of what was added, in hexadecimal.
func (d *Digest) String() string {
	if d.lines == nil {
		d.lines = sha256.New()
	}
	return hex.EncodeToString(d.lines.Sum(nil))
}

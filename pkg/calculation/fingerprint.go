package calculation

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Fingerprint changes when something the query could read changed: a cell of
// one of its indicators (or of their components), an organisation, a
// questionnaire. It is made of contents, not of counters: two replicas that
// hold the same facts agree, and a correction that is taken back gives the
// former fingerprint again.
func (c *Cube) Fingerprint(q Query) uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	h := mix(c.facts.whoDigest)
	for _, line := range c.readLines(q) {
		h = mix(h ^ c.facts.lines[line].digest + uint64(line)*0x9e3779b97f4a7c15)
	}
	return h
}

// digest is the trace of one contribution; a line adds them up, so that order
// does not matter and one can be taken back.
func (f *facts) digest(slot int32, p impact.Period, c contribution) uint64 {
	h := mix(uint64(f.members[c.member].Key) ^ uint64(uint32(slot))<<40)
	h = mix(h ^ uint64(uint32(p.Start)) ^ uint64(uint32(p.End))<<32)
	return mix(mix(h^f.attrs[c.attr].digest) ^ uint64(c.value))
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func hashBytes(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return mix(h.Sum64())
}

type digester []byte

func (d *digester) text(ss ...string) {
	for _, s := range ss {
		*d = binary.AppendUvarint(*d, uint64(len(s)))
		*d = append(*d, s...)
	}
}

func (d *digester) int(ns ...int64) {
	for _, n := range ns {
		*d = binary.AppendVarint(*d, n)
	}
}

// digest is 0 for an organisation of which only the key is known.
func (m *member) digest() uint64 {
	if m.LegalUnit == "" {
		return 0
	}
	var d digester
	d.int(int64(m.Key))
	d.text(string(m.ID), m.LegalUnit, m.Group, m.SIREN, m.SIRET, string(m.Profile.Class), m.Profile.StructureKind, m.Profile.SizeClass)
	d.int(int64(len(m.Sites)))
	for _, s := range m.Sites {
		d.text(s.SIRET, string(s.Territory))
		d.int(int64(s.From), int64(s.To))
	}
	d.text(m.Questionnaires...)
	return hashBytes(d)
}

func digestQuestionnaire(q *impact.Questionnaire) uint64 {
	var d digester
	d.text(q.Code)
	d.int(int64(q.From), int64(q.To), int64(len(q.Indicators)))
	for _, i := range q.Indicators {
		d.text(string(i.Indicator))
	}
	d.text(q.StructureKinds...)
	return hashBytes(d)
}

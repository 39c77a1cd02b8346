package disclosure

import (
	"encoding/binary"
	"slices"
)

// Protect decides which figures of a table may be shown. The same facts, sums
// and names give the same decisions, in whatever order they come.
func Protect(t *Table, r Rules) ([]Decision, error) {
	p, err := decide(t, r)
	if err != nil {
		return nil, err
	}
	p.widen()
	return p.decisions, nil
}

// decide is the exact part: nobody derives a secret.
func decide(t *Table, r Rules) (*protection, error) {
	s, err := newSystem(t)
	if err != nil {
		return nil, err
	}
	p := &protection{system: s, rules: r, decisions: make([]Decision, len(t.Figures)), engine: newEngine(s.owner, s.groups)}
	p.judge()
	p.history()
	p.choose()
	return p, nil
}

type protection struct {
	*system
	rules     Rules
	engine    *engine
	decisions []Decision // by figure
	secret    []guarded  // by secret of the engine
}

// guarded is a secret sum.
type guarded struct {
	name string // of a figure that has it
	sum  int32
	need Need
}

// judge looks at each sum alone and hands the secret ones to the engine.
func (p *protection) judge() {
	w := newScales(p.t)
	known := map[string]bool{}
	guard := func(name string, row int32, sum *Sum) Reason {
		reason, need := w.judge(p.rules, sum)
		if reason == Shown {
			return Shown
		}
		harmless := w.harmless(p.rules, sum)
		slices.Sort(harmless)
		v := p.rows[row]
		key := make([]byte, 0, 12*len(v.cols)+4*len(harmless)+1)
		for i, c := range v.cols {
			key = binary.LittleEndian.AppendUint32(key, uint32(c))
			key = binary.LittleEndian.AppendUint64(key, v.vals[i])
		}
		for _, g := range harmless {
			key = binary.LittleEndian.AppendUint32(key, uint32(g))
		}
		if sum.People {
			key = append(key, 1)
		}
		if !known[string(key)] {
			known[string(key)] = true
			p.engine.protect(v, harmless)
			p.secret = append(p.secret, guarded{name, row, need})
		}
		return reason
	}
	for _, f := range p.order {
		figure := &p.t.Figures[f]
		for i := range figure.Sums {
			reason := guard(figure.Name, p.first[f]+int32(i), &figure.Sums[i])
			if p.decisions[f].Reason == Shown {
				p.decisions[f].Reason = reason
			}
		}
	}
	for i := range p.t.Secrets {
		guard("", p.secrets+int32(i), &p.t.Secrets[i])
	}
}

// history adds what everybody knows already.
func (p *protection) history() {
	p.engine.tell(p.rows, p.published, int32(len(p.rows)), true)
}

// choose tries the figures that are no secret alone, in their order.
func (p *protection) choose() {
	for _, f := range p.order {
		if p.decisions[f].Reason != Shown {
			continue
		}
		from, to := p.of(f)
		if told := p.engine.tell(p.rows, from, to, false); told >= 0 {
			p.decisions[f] = Decision{WouldTell, p.secret[told].name}
		}
	}
}

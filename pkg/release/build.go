package release

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Input is all a release is made from.
type Input struct {
	// Cube is a snapshot of its own: nobody writes to it meanwhile.
	Cube *calculation.Cube
	// Day the figures are closed; periods are in when they ended Embargo days
	// before.
	Day     impact.Date
	Embargo int
	Number  impact.ReleaseNumber
	Rules   disclosure.Rules
	// Waived tells who agreed to be recognised; nil = nobody.
	Waived func(impact.OrganisationID) bool

	// Earlier are the units of the last release that was ever published, also
	// when it was withdrawn since: what it told stays told. Before gives each,
	// nil when there is none.
	Earlier []Unit
	Before  func(Unit) (*Sealed, error)
	// Withdrawn are releases whose figures are not shown again: a figure that
	// may not move yet is kept, unless it comes from one of them.
	Withdrawn []impact.ReleaseNumber

	Workers  int // at least one
	Progress func(done, total int)
}

// Built tells what was built.
type Built struct {
	Seq       int64
	Vintage   impact.Vintage
	Method    string
	Ruleset   string
	Reference string
	// Methodology is the version of each indicator that has a cell.
	Methodology map[impact.IndicatorCode]string
	Digest      string
	Counts      impact.ReleaseCounts
	// Reused counts units that are those of the release before, byte for byte.
	Reused int
}

// Build makes a release, unit by unit. seal is given each in the order of
// Digest, from one goroutine: units are not held in memory.
func Build(ctx context.Context, in Input, seal func(*Sealed) error) (*Built, error) {
	b, units, err := newBuilder(in)
	if err != nil {
		return nil, err
	}
	out := &Built{
		Seq: in.Cube.Seq(), Vintage: b.lattice.vintage, Method: calculation.MethodVersion, Ruleset: in.Rules.Name,
		Reference: b.lattice.cat.Reference().Version, Methodology: map[impact.IndicatorCode]string{},
	}
	var digest Digest
	n := 0
	err = inOrder(ctx, in.Workers, units, b.unit, func(u *unitBuilt) error {
		n++
		if in.Progress != nil {
			in.Progress(n, len(units))
		}
		if u == nil {
			return nil
		}
		digest.Add(u.sealed)
		out.Counts.Units++
		add(&out.Counts, &u.counts)
		if u.reused {
			out.Reused++
		}
		for code, version := range u.methodology {
			out.Methodology[code] = version
		}
		return seal(u.sealed)
	})
	if err != nil {
		return nil, err
	}
	out.Digest = digest.String()
	return out, nil
}

func add(to, c *impact.ReleaseCounts) {
	to.Cells += c.Cells
	to.Shown += c.Shown
	to.Withheld += c.Withheld
	to.New += c.New
	to.Revised += c.Revised
	to.Hidden += c.Hidden
	to.Unchanged += c.Unchanged
}

// inOrder makes things in several goroutines and takes them in order; at most
// a few are waiting.
func inOrder[T, R any](ctx context.Context, workers int, things []T, make1 func(context.Context, T) (R, error), take func(R) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type done struct {
		r   R
		err error
	}
	workers = max(workers, 1)
	slots := make(chan chan done, workers)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer close(slots)
		room := make(chan struct{}, workers)
		for _, t := range things {
			c := make(chan done, 1)
			select {
			case slots <- c:
			case <-ctx.Done():
				return
			}
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return
			}
			wg.Go(func() {
				defer func() { <-room }()
				r, err := make1(ctx, t)
				c <- done{r, err}
			})
		}
	})
	for range things {
		c, ok := <-slots
		if !ok {
			return ctx.Err()
		}
		var d done
		select {
		case d = <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
		if d.err != nil {
			return d.err
		}
		if err := take(d.r); err != nil {
			return err
		}
	}
	return nil
}

// builder is one build.
type builder struct {
	in        Input
	lattice   *Lattice
	families  map[string]Family
	places    []impact.TerritoryKey
	cutPlaces []impact.TerritoryKey
	// former are the earlier units whose ledgers a unit goes on with.
	former map[Unit][]Unit
}

func newBuilder(in Input) (*builder, []Unit, error) {
	if in.Number < 1 {
		return nil, nil, errors.New("release: the number of a release is 1 or more")
	}
	if in.Before == nil {
		in.Before = func(Unit) (*Sealed, error) { return nil, nil }
	}
	b := &builder{in: in, families: map[string]Family{}, former: map[Unit][]Unit{}}
	b.lattice = NewLattice(in.Cube.Catalogue(), in.Day, in.Embargo)
	some, err := in.Cube.Available(calculation.Query{Vintage: b.lattice.vintage})
	if err != nil {
		return nil, nil, err
	}
	b.places, b.cutPlaces = b.lattice.places(some.Territories)
	years := map[int]bool{}
	for _, p := range some.Periods {
		if y := p.Start.Year(); p.End.Year() == y && b.lattice.Closed(p) {
			years[y] = true
		}
	}
	b.families[CountsFamily] = Family{Code: CountsFamily}
	holder := map[string]string{CountsFamily: CountsFamily} // indicator → family
	for _, f := range b.lattice.families {
		b.families[f.Code] = f
		for _, ind := range f.Indicators {
			holder[string(ind.Code)] = f.Code
		}
	}
	wanted := map[Unit]bool{}
	for y := range years {
		for code := range b.families {
			wanted[Unit{code, y}] = true
		}
	}
	if err := b.inherit(holder, wanted); err != nil {
		return nil, nil, err
	}
	var units []Unit
	for u := range wanted {
		units = append(units, u)
	}
	slices.SortFunc(units, compareUnits)
	return b, units, nil
}

func compareUnits(a, b Unit) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Year, b.Year))
}

// inherit finds which earlier units each unit goes on with: the one of its
// name; and when the reference data moved, those that held its indicators.
func (b *builder) inherit(holder map[string]string, wanted map[Unit]bool) error {
	moved := slices.ContainsFunc(b.in.Earlier, func(u Unit) bool { return holder[u.Family] != u.Family })
	if len(b.in.Earlier) > 0 { // all of them were made with one reference
		h, fits, there, err := b.headerOf(b.in.Earlier[0])
		if err != nil {
			return err
		}
		moved = moved || there && (!fits || h.reference != b.lattice.reference())
	}
	for _, u := range b.in.Earlier {
		if !moved {
			wanted[u] = true
			b.former[u] = append(b.former[u], u)
			continue
		}
		h, _, there, err := b.headerOf(u)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		heirs := map[string]bool{}
		if f := holder[u.Family]; f != "" {
			heirs[f] = true
		}
		for _, code := range h.indicators {
			if f := holder[string(code)]; f != "" {
				heirs[f] = true
			}
		}
		for f := range heirs {
			heir := Unit{f, u.Year}
			wanted[heir] = true
			b.former[heir] = append(b.former[heir], u)
		}
	}
	return nil
}

// headerOf reads the ledger of an earlier unit as far as its header; there is
// none of a unit that was not kept.
func (b *builder) headerOf(u Unit) (h header, fits, there bool, err error) {
	old, err := b.in.Before(u)
	if err != nil || old == nil {
		return h, false, false, err
	}
	h, _, fits, err = readHeader(old.Ledger)
	return h, fits, true, err
}

func (b *builder) waived(id impact.OrganisationID) bool { return b.in.Waived != nil && b.in.Waived(id) }

// group is who an organisation belongs to today: what is told of it now and
// what was told are the same people's.
func (b *builder) group(id impact.OrganisationID, l *layout, former string) string {
	if l != nil && l.groups[id] != "" {
		return l.groups[id]
	}
	if g, ok := b.in.Cube.Group(id); ok && g != "" {
		return g
	}
	return cmp.Or(former, "id:"+string(id))
}

// unitBuilt is a unit with what it adds to the release.
type unitBuilt struct {
	sealed      *Sealed
	counts      impact.ReleaseCounts
	methodology map[impact.IndicatorCode]string
	reused      bool
}

// past is what earlier releases told of a unit.
type past struct {
	sealed *Sealed // nil unless one unit alone goes on
	ledger *ledger // nil without one
	cells  map[address]*Cell
}

func (b *builder) past(u Unit) (*past, error) {
	p := &past{cells: map[address]*Cell{}}
	former := b.former[u]
	if b.in.Earlier == nil {
		former = []Unit{u}
	}
	slices.SortFunc(former, compareUnits)
	var joined *book
	for _, from := range former {
		old, err := b.in.Before(from)
		if err != nil {
			return nil, err
		}
		if old == nil {
			continue
		}
		if len(former) == 1 && from == u {
			p.sealed = old
		}
		l, err := readLedger(old.Ledger)
		if err != nil {
			return nil, fmt.Errorf("unit %s %d: %w", from.Family, from.Year, err)
		}
		if p.ledger == nil {
			p.ledger = l
		} else {
			if joined == nil {
				joined = openBook(p.ledger)
				joined.header = p.ledger.header
			}
			joined.join(l)
			p.ledger = &joined.ledger
		}
		for c, err := range Cells(b.lattice.cat, old.Figures) {
			if err != nil {
				return nil, fmt.Errorf("unit %s %d: %w", from.Family, from.Year, err)
			}
			p.cells[addressOf(&c.Figure, c.Cut)] = c
		}
	}
	return p, nil
}

// unit builds one unit; nil when there is nothing to tell and never was.
func (b *builder) unit(ctx context.Context, u Unit) (*unitBuilt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	family := b.families[u.Family]
	l, err := b.layOut(u, family.Indicators)
	if err != nil {
		return nil, fmt.Errorf("unit %s %d: %w", u.Family, u.Year, err)
	}
	today := b.digest(u, l)
	if done, err := b.again(u, l, today); done != nil || err != nil {
		return done, err
	}
	p, err := b.past(u)
	if err != nil {
		return nil, err
	}
	if len(l.cells) == 0 && p.ledger == nil {
		return nil, nil
	}
	bk := openBook(p.ledger)
	bk.header = header{reference: b.lattice.reference()}
	for _, ind := range family.Indicators {
		bk.indicators = append(bk.indicators, ind.Code)
	}
	if p.ledger != nil {
		bk.holders = p.ledger.holders
	}
	bk.enter(b.lattice.cat, l, func(id impact.OrganisationID, former string) string { return b.group(id, l, former) })
	t, err := bk.table(b.in.Number, b.in.Rules, b.lattice.cat, b.waived)
	if err != nil {
		return nil, fmt.Errorf("unit %s %d: %w", u.Family, u.Year, err)
	}
	var decisions []disclosure.Decision
	if len(t.Figures) > 0 {
		if decisions, err = disclosure.Protect(&t.Table, b.in.Rules); err != nil {
			return nil, fmt.Errorf("unit %s %d: %w", u.Family, u.Year, err)
		}
	}
	out := &unitBuilt{methodology: map[impact.IndicatorCode]string{}}
	cells := b.decide(u, l, p, bk, t, decisions, &out.counts)
	for i := range cells {
		if f := &cells[i].Figure; f.Indicator != "" {
			out.methodology[f.Indicator] = f.MethodologyVersion
		}
	}
	bk.counts = out.counts
	sealed := bk.trim()
	// The ledger is counted in as it is left, so that the next build finds the same.
	out.sealed = &Sealed{Unit: u, Input: b.input(today, l, &sealed.header)}
	if out.sealed.Figures, err = Encode(b.lattice.cat, cells); err != nil {
		return nil, fmt.Errorf("unit %s %d: %w", u.Family, u.Year, err)
	}
	out.sealed.Digest = sha256.Sum256(out.sealed.Figures)
	if out.sealed.Ledger, err = sealed.encode(); err != nil {
		return nil, fmt.Errorf("unit %s %d: %w", u.Family, u.Year, err)
	}
	return out, nil
}

// again gives the earlier unit when nothing it was made from has moved.
func (b *builder) again(u Unit, l *layout, today [32]byte) (*unitBuilt, error) {
	former := b.former[u]
	if b.in.Earlier == nil {
		former = []Unit{u}
	}
	if len(former) != 1 || former[0] != u {
		return nil, nil
	}
	old, err := b.in.Before(u)
	if old == nil || err != nil {
		return nil, err
	}
	h, _, fits, err := readHeader(old.Ledger)
	if err != nil || !fits {
		return nil, err
	}
	if b.input(today, l, &h) != old.Input {
		return nil, nil
	}
	out := &unitBuilt{sealed: old, reused: true, methodology: map[impact.IndicatorCode]string{}}
	out.counts = impact.ReleaseCounts{Cells: h.counts.Cells, Shown: h.counts.Shown, Withheld: h.counts.Withheld, Unchanged: h.counts.Cells}
	for i := range l.cells {
		if f := &l.cells[i].figure; f.Indicator != "" {
			out.methodology[f.Indicator] = f.MethodologyVersion
		}
	}
	return out, nil
}

package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// resolve turns statements into rows: organisation found, codes resolved,
// value exact, or the faults that stand against it. own is the organisation of
// statements that name none; nil means the caller's.
func (s *server) resolve(ctx context.Context, c *call, checker *impact.Checker, stated []stated, own *impact.Organisation) ([]*impact.Row, error) {
	type found struct {
		organisation *impact.Organisation
		fault        *impact.Fault
		warnings     []impact.Fault
	}
	known := map[string]found{}
	if own != nil {
		known[""] = found{organisation: own}
	}
	each, err := s.members(ctx, c, stated)
	if err != nil {
		return nil, err
	}
	lookup := func(ref string) (found, error) {
		if f, ok := known[ref]; ok {
			return f, nil
		}
		if len(each[ref]) == 1 {
			f := found{organisation: &each[ref][0]}
			known[ref] = f
			return f, nil
		}
		organisation, warnings, fault, err := s.actingFor(ctx, c, ref)
		f := found{organisation, fault, warnings}
		known[ref] = f
		return f, err
	}
	held := make([]impact.Row, len(stated))
	rows := make([]*impact.Row, len(stated))
	for i := range stated {
		st, row := &stated[i], &held[i]
		rows[i] = row
		f, err := lookup(st.Organisation)
		if err != nil {
			return nil, err
		}
		row.Organisation = f.organisation
		var faults []impact.Fault
		row.Resolved, faults, row.Warnings = checker.Resolve(&st.Statement, f.organisation)
		if f.warnings != nil {
			row.Warnings = append(slices.Clone(f.warnings), row.Warnings...)
		}
		if st.faults != nil || f.fault != nil || faults != nil {
			row.Faults = slices.Clone(st.faults)
			if f.fault != nil {
				row.Faults = append(row.Faults, *f.fault)
			}
			for _, x := range faults {
				if !mentioned(row.Faults, x.Pointer) {
					row.Faults = append(row.Faults, x)
				}
			}
		}
	}
	return rows, nil
}

// members looks up at once the organisations that a network names in a batch;
// references that need a word more (put in form, unknown, ambiguous) are left
// to actingFor.
func (s *server) members(ctx context.Context, c *call, stated []stated) (map[string][]impact.Organisation, error) {
	if c.principal.Role != impact.RoleNetwork || len(stated) < 2 {
		return nil, nil
	}
	refs := make([]string, 0, len(stated))
	for i := range stated {
		if ref := stated[i].Organisation; ref != "" {
			refs = append(refs, ref)
		}
	}
	return s.Organisations.FindEachOrganisation(ctx, c.principal, refs)
}

// mentioned tells that something is already said of a place: what could not be
// read is not also missing.
func mentioned(faults []impact.Fault, pointer string) bool {
	return slices.ContainsFunc(faults, func(f impact.Fault) bool {
		return f.Pointer == pointer || f.Pointer == "" || strings.HasPrefix(f.Pointer, pointer+"/")
	})
}

// actingFor finds the organisation the caller acts for: exactly one, and one it
// may write for; with no reference, the one it is.
func (s *server) actingFor(ctx context.Context, c *call, ref string) (o *impact.Organisation, warnings []impact.Fault, fault *impact.Fault, err error) {
	if ref == "" {
		if ref, err = s.itself(ctx, c); err != nil {
			return nil, nil, nil, err
		}
		if ref == "" {
			return nil, nil, &impact.Fault{
				Code: "missing_field", Pointer: "/organisation",
				Detail: impact.Text{FR: "Dites pour quelle organisation vous déclarez.", EN: "Say for which organisation you state this."},
				Hint:   impact.Text{FR: "Son id, siret:…, siren:…, rna:… ou ext:{source}:{id}.", EN: "Its id, siret:…, siren:…, rna:… or ext:{source}:{id}."},
			}, nil
		}
	}
	if ref != "" && ref == string(c.principal.Organisation) {
		o, err := s.own(ctx, c)
		if err != nil && impact.KindOf(err) == impact.NotFound {
			return nil, nil, at(impact.UnknownOrganisation(ref), "/organisation"), nil
		}
		return o, nil, nil, err
	}
	candidates, warnings, err := s.findIn(ctx, c, ref)
	if err != nil {
		if e, ok := errors.AsType[*impact.Error](err); ok && e.Kind == impact.Invalid && len(e.Faults) == 1 {
			return nil, nil, at(e.Faults[0], "/organisation"), nil
		}
		return nil, nil, nil, err
	}
	// Whether a network may write for the one it names is found with the write.
	if c.principal.Role != impact.RoleNetwork {
		candidates = slices.DeleteFunc(candidates, func(o impact.Organisation) bool { return !c.principal.Is(o.ID) })
	}
	switch len(candidates) {
	case 0:
		return nil, nil, at(impact.UnknownOrganisation(ref), "/organisation"), nil
	case 1:
		for i := range warnings {
			warnings[i].Pointer = "/organisation"
		}
		return &candidates[0], warnings, nil, nil
	}
	return nil, nil, at(impact.AmbiguousOrganisation(ref, candidates), "/organisation"), nil
}

// itself is the organisation the caller is, empty when it is none.
func (s *server) itself(ctx context.Context, c *call) (string, error) {
	if c.principal.Role != impact.RoleNetwork {
		return string(c.principal.Organisation), nil
	}
	n, err := s.Networks.Network(ctx, string(c.principal.Network))
	return string(n.Organisation), err
}

// ownFor is how long the organisation of a caller is remembered: a write needs
// its key, which never changes, and what it was when the value was written is
// read again with the write.
const ownFor = 2 * time.Second

// own gives the organisation of the caller.
func (s *server) own(ctx context.Context, c *call) (*impact.Organisation, error) {
	id, now := c.principal.Organisation, s.Now()
	if o, ok := s.owned.get(id, now); ok {
		return o, nil
	}
	o, err := s.Organisations.Organisation(ctx, c.principal, id)
	if err != nil {
		return nil, err
	}
	s.owned.put(id, &o, now.Add(ownFor))
	return &o, nil
}

// owned remembers organisations for a short while.
type owned struct {
	mu   sync.Mutex
	held map[impact.OrganisationID]ownedUntil
}

type ownedUntil struct {
	organisation *impact.Organisation
	until        time.Time
}

func (k *owned) get(id impact.OrganisationID, now time.Time) (*impact.Organisation, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.held[id]
	return h.organisation, ok && now.Before(h.until)
}

func (k *owned) put(id impact.OrganisationID, o *impact.Organisation, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil || len(k.held) >= 10_000 {
		k.held = map[impact.OrganisationID]ownedUntil{}
	}
	k.held[id] = ownedUntil{o, until}
}

func (k *owned) forget(id impact.OrganisationID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, id)
}

package api

import (
	"context"

	"github.com/grandlyon/retombees/pkg/impact"
)

// named finds the one organisation a path names: its id, or siret:…, siren:…,
// rna:…, ext:…
func (s *server) named(c *call, ref string) (*impact.Organisation, []impact.Fault, error) {
	found, warnings, err := s.find(c, ref)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.only(c, ref, found)
	return o, warnings, err
}

// only is the one organisation that was found.
func (s *server) only(c *call, ref string, found []impact.Organisation) (*impact.Organisation, error) {
	switch {
	case len(found) == 1:
		return &found[0], nil
	case len(found) > 1:
		return nil, impact.Refuse(impact.AmbiguousOrganisation(ref, found))
	case c.principal.Role == impact.RoleBuyer:
		return nil, needConsent()
	}
	return nil, impact.NotFoundError()
}

// findShown gives the organisations a reference may mean, as the caller is
// shown them.
func (s *server) findShown(c *call, ref string) ([]impact.Organisation, []impact.Fault, error) {
	return identified(ref, func(ref string) ([]impact.Organisation, error) {
		return s.Organisations.ShownOrganisations(c.r.Context(), c.principal, ref)
	})
}

// find gives the organisations a reference may mean; identifiers are
// normalised, with a warning.
func (s *server) find(c *call, ref string) ([]impact.Organisation, []impact.Fault, error) {
	return s.findIn(c.r.Context(), c, ref)
}

// findIn is find within the transaction of the context.
func (s *server) findIn(ctx context.Context, c *call, ref string) ([]impact.Organisation, []impact.Fault, error) {
	return identified(ref, func(ref string) ([]impact.Organisation, error) {
		return s.Organisations.FindOrganisations(ctx, c.principal, ref)
	})
}

func identified(ref string, find func(ref string) ([]impact.Organisation, error)) ([]impact.Organisation, []impact.Fault, error) {
	ref, warning, fault := impact.NormaliseReference(ref)
	if fault != nil {
		return nil, nil, impact.Refuse(*fault)
	}
	var warnings []impact.Fault
	if warning != nil {
		warnings = append(warnings, *warning)
	}
	found, err := find(ref)
	return found, warnings, err
}

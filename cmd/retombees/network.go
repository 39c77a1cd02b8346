package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/grandlyon/retombees/pkg/impact"
)

type networkCmd struct {
	Create networkCreateCmd `cmd:"" help:"Register a network and print its id."`
	List   networkListCmd   `cmd:"" help:"List the networks."`
}

type networkCreateCmd struct {
	databaseFlags
	Name         string `arg:"" help:"What people call it: \"Réseau Cocagne\"."`
	Code         string `placeholder:"CODE" help:"A short name that is known as well as the id: letters, digits, hyphens."`
	Organisation string `placeholder:"REF" help:"The organisation that the network is itself: its id, siret:…, siren:…, rna:… or ext:SOURCE:ID."`
}

func (c networkCreateCmd) Run(w *world) (err error) {
	n := impact.Network{Name: c.Name, Code: c.Code}
	n.Normalise()
	if faults := n.Check(); len(faults) > 0 {
		return errors.New(faults[0].Detail.EN + " " + faults[0].Hint.EN)
	}
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if c.Organisation != "" {
		o, err := oneOrganisation(w, s, c.Organisation)
		if err != nil {
			return err
		}
		n.Organisation = o.ID
	}
	if n, err = s.CreateNetwork(w.ctx, operator(), n); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "%s\n", n.ID)
	return err
}

type networkListCmd struct{ databaseFlags }

func (c networkListCmd) Run(w *world) (err error) {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tCODE\tNAME\tORGANISATION")
	page := impact.Page{Limit: 1000}
	for {
		list, next, err := s.Networks(w.ctx, impact.NetworkFilter{}, page)
		if err != nil {
			return err
		}
		for _, n := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.ID, n.Code, n.Name, n.Organisation)
		}
		if next == nil {
			return t.Flush()
		}
		page.After = next
	}
}

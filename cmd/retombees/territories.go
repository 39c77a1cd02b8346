package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grandlyon/retombees/pkg/impact"
)

type territoriesCmd struct {
	Load territoriesLoadCmd `cmd:"" help:"Load contours from an RFC 7946 file. A feature is matched by its id (commune-69123) or by its properties type and code, with valid_from or valid_to when the code named several territories in time."`
}

type territoriesLoadCmd struct {
	databaseFlags
	Geometry string `required:"" type:"existingfile" placeholder:"FILE" help:"GeoJSON feature collection of polygons, longitude and latitude in WGS 84."`
	Source   string `placeholder:"TEXT" help:"Who made the contours, to be shown beside them. Default: the name of the file."`
	DryRun   bool   `help:"Check and report only."`
}

func (c territoriesLoadCmd) Run(w *world) (err error) {
	info, err := os.Stat(c.Geometry)
	if err != nil {
		return err
	}
	if info.Size() > maxGeometryBytes {
		return fmt.Errorf("%s has %d bytes, more than %d: simplify it or split it", c.Geometry, info.Size(), maxGeometryBytes)
	}
	text, err := os.ReadFile(c.Geometry)
	if err != nil {
		return err
	}
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	catalogue, err := s.Catalogue(w.ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	report, err := readGeometry(text, catalogue.Gazetteer(), impact.DateOf(w.now()))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Geometry, err)
	}
	for _, line := range report.lines() {
		fmt.Fprintln(w.stdout, line)
	}
	switch {
	case len(report.faults) > 0:
		return fmt.Errorf("%d contours are wrong: nothing was loaded", len(report.faults))
	case len(report.geometries) == 0:
		return errors.New("no feature is one of our territories: nothing was loaded")
	case c.DryRun:
		return nil
	}
	source := c.Source
	if source == "" {
		source = filepath.Base(c.Geometry)
	}
	if err := s.LoadGeometry(w.ctx, report.geometries, source); err != nil {
		return fmt.Errorf("loading contours: %w", err)
	}
	_, err = fmt.Fprintf(w.stdout, "Loaded %d contours.\n", len(report.geometries))
	return err
}

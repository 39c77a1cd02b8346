package main

import (
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/dcat"
)

// publicationFlags say who publishes, in the catalogue that portals harvest.
type publicationFlags struct {
	IdentifierBase    string    `env:"RETOMBEES_IDENTIFIER_BASE" placeholder:"URL" help:"Base of the identifiers of datasets. Portals recognise what they have harvested by them: when the public URL changes, give the former one here, or every dataset appears twice. Default: the public URL."`
	PublisherName     string    `env:"RETOMBEES_PUBLISHER_NAME" default:"Métropole de Lyon" help:"Who answers for what is published."`
	PublisherHomepage string    `env:"RETOMBEES_PUBLISHER_HOMEPAGE" default:"https://www.grandlyon.com/" help:"Web page of the publisher."`
	ContactName       string    `env:"RETOMBEES_CONTACT_NAME" default:"Retombées" help:"Whom to ask about the data."`
	ContactEmail      string    `env:"RETOMBEES_CONTACT_EMAIL" placeholder:"ADDRESS" help:"Where to write to them. Portals show it."`
	CoverageName      string    `env:"RETOMBEES_COVERAGE_NAME" default:"Métropole de Lyon" help:"Name of the area the data are about."`
	Coverage          rectangle `env:"RETOMBEES_COVERAGE" default:"4.6884,45.5524,5.0692,45.9399" placeholder:"W,S,E,N" help:"Rectangle around that area, in degrees: west,south,east,north."`
}

// catalogue gives what the flags say; demo marks that nothing of it is real.
func (f publicationFlags) catalogue(demo bool) (dcat.Catalogue, error) {
	c := dcat.Catalogue{
		Identifiers: strings.TrimRight(f.IdentifierBase, "/"),
		Publisher:   dcat.Publisher{Name: f.PublisherName, Homepage: f.PublisherHomepage},
		Contact:     dcat.Contact{Name: f.ContactName, Email: f.ContactEmail},
		Extent:      dcat.Extent{Name: f.CoverageName, West: f.Coverage[0], South: f.Coverage[1], East: f.Coverage[2], North: f.Coverage[3]},
	}
	if demo {
		c.Publisher.Name += " (démonstration : données inventées)"
		c.Contact.Name += " (démonstration)"
		if c.Contact.Email == "" {
			c.Contact.Email = "demonstration@retombees.example"
		}
	}
	for name, address := range map[string]string{"--identifier-base": c.Identifiers, "--publisher-homepage": c.Publisher.Homepage} {
		if u, err := url.Parse(address); address != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return c, fmt.Errorf("%s: %q is not an absolute http address", name, address)
		}
	}
	if c.Contact.Email != "" {
		if a, err := mail.ParseAddress(c.Contact.Email); err != nil || a.Address != c.Contact.Email {
			return c, fmt.Errorf("--contact-email: %q is not an address like donnees@example.org", c.Contact.Email)
		}
	}
	return c, nil
}

// rectangle is west, south, east and north, in degrees.
type rectangle [4]float64

// UnmarshalText reads "4.6884,45.5524,5.0692,45.9399".
func (r *rectangle) UnmarshalText(b []byte) error {
	parts := strings.Split(string(b), ",")
	if len(parts) != len(r) {
		return fmt.Errorf("%q: four numbers are needed, west,south,east,north", b)
	}
	for i, p := range parts {
		x, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		limit := 180.0
		if i%2 == 1 {
			limit = 90
		}
		if err != nil || !(x >= -limit && x <= limit) {
			return fmt.Errorf("%q is not a longitude or latitude in degrees", p)
		}
		r[i] = x
	}
	if r[0] >= r[2] || r[1] >= r[3] {
		return fmt.Errorf("%q encloses nothing: west,south,east,north", b)
	}
	return nil
}

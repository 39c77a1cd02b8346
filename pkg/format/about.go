package format

import "github.com/grandlyon/retombees/pkg/impact"

// pairs are the metadata of a file, under names of Dublin Core where it has one.
func (a About) pairs() [][2]string {
	return [][2]string{
		{"title", a.Title.In(a.Lang)},
		{"source", a.Source},
		{"release", a.Release},
		{"issued", a.Published},
		{"method", a.Method},
		{"license", impact.Licence},
		{"license_name", impact.LicenceText.In(a.Lang)},
		{"identifier", a.Address},
	}
}

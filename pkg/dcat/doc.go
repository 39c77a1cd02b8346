// Package dcat describes what is published as a catalogue that open-data portals
// harvest: DCAT-AP 3, as one graph of statements, written in Turtle, JSON-LD or
// RDF/XML.
//
// It says the same in each syntax, needs nothing from elsewhere to be understood
// (contexts and terms of authority lists are inline), and never leaves an address
// that would redirect.
package dcat

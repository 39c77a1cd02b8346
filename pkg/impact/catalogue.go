package impact

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reference is the reference data as written by hand: embedded files, or the
// tables that hold them.
type Reference struct {
	Version      string
	Territories  []Territory
	ImpactTypes  []ImpactType
	Indicators   []Indicator
	Units        []Unit
	MeasureKinds []Code
	Codes        []Code
}

// Catalogue is the reference data, checked and indexed. It never changes after
// NewCatalogue and may be read from many goroutines.
type Catalogue struct {
	ref         Reference
	gazetteer   *Gazetteer
	indicators  []*Indicator
	byCode      map[string]*Indicator
	byKey       map[IndicatorKey]*Indicator
	impactTypes []*ImpactType
	typeByCode  map[string]*ImpactType
	units       map[string]*Unit
	lists       map[string][]Code
	codes       map[[2]string]*Code
	leaves      map[IndicatorKey][]*Indicator
	facts       map[IndicatorKey]*indicatorFacts
	texts       []foldedText             // codes and labels of indicators, for suggestions
	labelled    map[string]IndicatorCode // by folded code or label; empty where two share it
	unitNames   map[string]*Unit         // by what people write, case set aside; nil where two share it
}

// NewCatalogue checks that every code points at something that exists and
// indexes the whole.
func NewCatalogue(r Reference) (*Catalogue, error) {
	g, err := NewGazetteer(r.Territories)
	if err != nil {
		return nil, err
	}
	r.ImpactTypes = slices.Clone(r.ImpactTypes) // nobody else may change them later
	r.Units = slices.Clone(r.Units)
	r.Indicators = slices.Clone(r.Indicators)
	r.MeasureKinds = slices.Clone(r.MeasureKinds)
	r.Codes = slices.Clone(r.Codes)
	c := &Catalogue{
		ref:        r,
		gazetteer:  g,
		byCode:     map[string]*Indicator{},
		byKey:      map[IndicatorKey]*Indicator{},
		typeByCode: map[string]*ImpactType{},
		units:      map[string]*Unit{},
		lists:      map[string][]Code{},
		codes:      map[[2]string]*Code{},
		leaves:     map[IndicatorKey][]*Indicator{},
		facts:      map[IndicatorKey]*indicatorFacts{},
	}
	var errs []error
	for i := range r.ImpactTypes {
		t := &c.ref.ImpactTypes[i]
		if c.typeByCode[string(t.Code)] != nil {
			errs = append(errs, fmt.Errorf("impact type %s: twice", t.Code))
		}
		c.typeByCode[string(t.Code)] = t
		c.impactTypes = append(c.impactTypes, t)
	}
	for _, t := range c.impactTypes {
		if t.Parent != "" && c.typeByCode[string(t.Parent)] == nil {
			errs = append(errs, fmt.Errorf("impact type %s: unknown parent %s", t.Code, t.Parent))
		}
	}
	for i := range r.Units {
		u := &c.ref.Units[i]
		for _, name := range append([]string{u.Code}, u.Aliases...) {
			if other := c.units[name]; other != nil && other != u {
				errs = append(errs, fmt.Errorf("unit %s: %q is also unit %s", u.Code, name, other.Code))
			}
			c.units[name] = u
		}
		if u.Num <= 0 || u.Den <= 0 {
			errs = append(errs, fmt.Errorf("unit %s: conversion %d/%d", u.Code, u.Num, u.Den))
		}
	}
	for _, codes := range [][]Code{r.MeasureKinds, r.Codes} {
		for i := range codes {
			k := [2]string{codes[i].List, codes[i].Code}
			if c.codes[k] != nil {
				errs = append(errs, fmt.Errorf("code %s of list %s: twice", k[1], k[0]))
			}
			c.codes[k] = &codes[i]
			c.lists[codes[i].List] = append(c.lists[codes[i].List], codes[i])
		}
	}
	for i := range r.Indicators {
		ind := &c.ref.Indicators[i]
		if c.byCode[string(ind.Code)] != nil || c.byKey[ind.Key] != nil || ind.Key <= 0 {
			errs = append(errs, fmt.Errorf("indicator %s: code or key %d is not unique and positive", ind.Code, ind.Key))
			continue
		}
		c.byCode[string(ind.Code)] = ind
		c.byKey[ind.Key] = ind
		c.indicators = append(c.indicators, ind)
	}
	slices.SortFunc(c.indicators, func(a, b *Indicator) int { return cmp.Compare(a.Key, b.Key) })
	for _, ind := range c.indicators {
		errs = append(errs, c.checkIndicator(ind)...)
	}
	if len(errs) == 0 {
		for _, ind := range c.indicators {
			leaves, err := c.collectLeaves(ind, nil, 0)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			c.leaves[ind.Key] = leaves
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.texts = foldTexts(func(yield func(string, string) bool) {
		for _, i := range c.indicators {
			code := string(i.Code)
			if !yield(code, code) || !yield(i.Label.FR, code) || !yield(i.Label.EN, code) {
				return
			}
		}
	})
	c.nameIndicators()
	c.nameUnits()
	c.prepare()
	return c, nil
}

func (c *Catalogue) checkIndicator(ind *Indicator) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("indicator %s: %s", ind.Code, fmt.Sprintf(format, args...)))
	}
	if c.units[ind.Unit] == nil || c.units[ind.Unit].Code != ind.Unit {
		bad("unknown unit %q", ind.Unit)
	}
	if len(c.lists["measure_kind"]) > 0 && c.codes[[2]string{"measure_kind", string(ind.Kind)}] == nil {
		bad("unknown kind %q", ind.Kind)
	}
	if ind.ImpactType != "" && c.typeByCode[string(ind.ImpactType)] == nil {
		bad("unknown impact type %q", ind.ImpactType)
	}
	for _, code := range slices.Concat(ind.Numerator, ind.Denominator, ind.NeverAddedTo) {
		if c.byCode[string(code)] == nil {
			bad("unknown indicator %q", code)
		}
	}
	if ind.Weight != "" && c.byCode[string(ind.Weight)] == nil {
		bad("unknown weight %q", ind.Weight)
	}
	if (len(ind.Numerator) == 0) != (len(ind.Denominator) == 0) {
		bad("numerator and denominator go together")
	}
	return errs
}

// collectLeaves walks the components of a composed indicator, each once, the
// numerator first.
func (c *Catalogue) collectLeaves(ind *Indicator, found []*Indicator, depth int) ([]*Indicator, error) {
	if depth > 5 {
		return nil, fmt.Errorf("indicator %s: its components form a cycle", ind.Code)
	}
	if !ind.Composed() {
		if !slices.Contains(found, ind) {
			found = append(found, ind)
		}
		return found, nil
	}
	for _, code := range slices.Concat(ind.Numerator, ind.Denominator) {
		var err error
		if found, err = c.collectLeaves(c.byCode[string(code)], found, depth+1); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Reference gives the data the catalogue was made from.
func (c *Catalogue) Reference() Reference { return c.ref }

// Gazetteer gives the territories.
func (c *Catalogue) Gazetteer() *Gazetteer { return c.gazetteer }

// Indicators gives every indicator, by key.
func (c *Catalogue) Indicators() []*Indicator { return c.indicators }

// Indicator gives the indicator of that exact code, nil when there is none.
func (c *Catalogue) Indicator(code IndicatorCode) *Indicator { return c.byCode[string(code)] }

// IndicatorByKey gives the indicator of that key, nil when there is none.
func (c *Catalogue) IndicatorByKey(k IndicatorKey) *Indicator { return c.byKey[k] }

// FindIndicator reads the code of an indicator as a person wrote it. Fault:
// unknown_indicator, with the nearest code or label as suggestion.
func (c *Catalogue) FindIndicator(s string) (*Indicator, *Fault) {
	if ind := c.byCode[s]; ind != nil {
		return ind, nil
	}
	f := newFault("unknown_indicator", s,
		"Aucun indicateur ne porte ce code.", "No indicator bears this code.",
		"La liste est à GET /v1/indicators.", "The list is at GET /v1/indicators.")
	f.Suggestion = nearestOf(s, c.texts)
	didYouMean(f)
	return nil, f
}

// IndicatorNamed gives the code of the one indicator that people call s, as in
// files: its label in French or English, or its code in other letters. Accents,
// case and punctuation do not count. It is empty for a code, which stands for
// itself, and when no indicator or several fit. The warning source_value_mapped
// says what was understood.
func (c *Catalogue) IndicatorNamed(s string) (code IndicatorCode, warning *Fault) {
	if len(s) > longestName || c.byCode[s] != nil {
		return "", nil
	}
	if code = c.labelled[Fold(s)]; code == "" {
		return "", nil
	}
	warning = newFault("source_value_mapped", s,
		"« "+s+" » a été lu comme "+string(code)+".", "“"+s+"” was read as "+string(code)+".",
		"Écrivez le code pour lever tout doute.", "Write the code to leave no doubt.")
	warning.Suggestion = string(code)
	return code, warning
}

func (c *Catalogue) nameIndicators() {
	c.labelled = map[string]IndicatorCode{}
	for _, ind := range c.indicators {
		for _, name := range []string{string(ind.Code), ind.Label.FR, ind.Label.EN} {
			name = Fold(name)
			if other, taken := c.labelled[name]; taken && other != ind.Code {
				c.labelled[name] = ""
				continue
			}
			c.labelled[name] = ind.Code
		}
	}
	delete(c.labelled, "")
}

// ImpactTypes gives every impact type in the order of the taxonomy.
func (c *Catalogue) ImpactTypes() []*ImpactType { return c.impactTypes }

// ImpactType gives the type of that exact code, nil when there is none.
func (c *Catalogue) ImpactType(code ImpactTypeCode) *ImpactType { return c.typeByCode[string(code)] }

// FindImpactType reads the code of an impact type as a person wrote it. Fault:
// unknown_impact_type, with the nearest code or label as suggestion.
func (c *Catalogue) FindImpactType(s string) (*ImpactType, *Fault) {
	if t := c.typeByCode[s]; t != nil {
		return t, nil
	}
	f := newFault("unknown_impact_type", s,
		"Aucune nature d'impact ne porte ce code.", "No impact type bears this code.",
		"La liste est à GET /v1/impact-types.", "The list is at GET /v1/impact-types.")
	f.Suggestion = nearest(s, func(yield func(string, string) bool) {
		for _, t := range c.impactTypes {
			code := string(t.Code)
			last := code[strings.LastIndexByte(code, '.')+1:]
			if !yield(code, code) || !yield(last, code) || !yield(t.Label.FR, code) || !yield(t.Label.EN, code) {
				return
			}
		}
	})
	didYouMean(f)
	return nil, f
}

// Under gives a type and the types below it, in the order of the taxonomy.
func (c *Catalogue) Under(code ImpactTypeCode) []ImpactTypeCode {
	var out []ImpactTypeCode
	for _, t := range c.impactTypes {
		if t.Code == code || t.Parent == code {
			out = append(out, t.Code)
		}
	}
	return out
}

// Lists gives the names of the code lists, sorted.
func (c *Catalogue) Lists() []string { return slices.Sorted(maps.Keys(c.lists)) }

// List gives the codes of a list in their order, nil when there is no such list.
func (c *Catalogue) List(list string) []Code { return c.lists[list] }

// Code gives one code of a list, nil when there is none.
func (c *Catalogue) Code(list, code string) *Code { return c.codes[[2]string{list, code}] }

// Leaves gives the components that hold the facts of a composed indicator, each
// once, numerator first; the indicator itself when it is not composed.
func (c *Catalogue) Leaves(ind *Indicator) []*Indicator { return c.leaves[ind.Key] }

// didYouMean puts the suggestion in front of the hint.
func didYouMean(f *Fault) {
	if f.Suggestion == "" {
		return
	}
	f.Hint = Text{
		FR: "Vouliez-vous dire " + f.Suggestion + " ? " + f.Hint.FR,
		EN: "Did you mean " + f.Suggestion + "? " + f.Hint.EN,
	}
}

package impact

import (
	"cmp"
	"slices"
)

// Standing is an organisation as far as being counted twice goes.
type Standing struct {
	ID           OrganisationID
	Name         string
	SIREN, SIRET string
}

// unit tells that what it states with this perimeter is about its whole SIREN:
// it is the legal unit, which has no SIRET here, or says so.
func (s *Standing) unit(perimeter string) bool { return s.SIRET == "" || perimeter == "legal_unit" }

// Claim is the current value of another organisation, of which a statement may
// be a part.
type Claim struct {
	By Standing
	// Network is the name of the network whose own organisation By is, when
	// whom the statement is about is a member of it in that period.
	Network string
	Value   *Observation
}

// adds tells that values of several organisations make totals.
func (k MeasureKind) adds() bool {
	switch k {
	case Flow, SignedFlow, Stock, StockAvg, Distinct:
		return true
	}
	return false
}

// sameSpot tells that two values are of one indicator, territory and period, and
// none is a part that the other leaves out.
func sameSpot(a, b *Observation) bool {
	return a.Indicator == b.Indicator && a.Territory == b.Territory && a.Period == b.Period && (a.Cut == b.Cut || a.Cut == "" || b.Cut == "")
}

// CountedTwice gives the fault of a value, of the organisation of, that another
// organisation has stated already, nil when there is none: a legal unit and
// its establishments (domain.md E3); a network's own figure that covers its
// member (E1). What overlaps otherwise is settled when figures are made.
func (c *Checker) CountedTwice(o *Observation, of *Standing, others []Claim) *Fault {
	if ind := c.Catalogue.IndicatorByKey(o.Indicator); o.Value == nil || ind == nil || !ind.Kind.adds() {
		return nil
	}
	for i := range others {
		other := &others[i]
		if other.Value.Value == nil || !sameSpot(o, other.Value) {
			continue
		}
		switch {
		case of.SIREN != "" && of.SIREN == other.By.SIREN && (of.SIRET != "" || other.By.SIRET != ""):
			switch {
			case of.unit(o.Perimeter):
				return newFault("parent_and_establishment", of.SIREN,
					other.By.label()+", du même SIREN, a déjà une valeur pour ce territoire et cette période : le total de l'unité légale la compterait deux fois.",
					other.By.label()+", of the same SIREN, already has a value for this territory and period: the total of the legal unit would count it twice.",
					"Déclarez par établissement, ou supprimez d'abord les valeurs des établissements.",
					"State by establishment, or delete the values of the establishments first.").at("/organisation")
			case other.By.unit(other.Value.Perimeter):
				return newFault("parent_and_establishment", of.SIRET,
					other.By.label()+" a déjà déclaré le total du SIREN pour ce territoire et cette période.",
					other.By.label()+" has already stated the total of the SIREN for this territory and period.",
					"Déclarez par établissement partout, ou au SIREN partout : supprimez d'abord le total.",
					"State by establishment everywhere, or by SIREN everywhere: delete the total first.").at("/organisation")
			}
		case other.Network != "" && of.coveredBy(other.Value):
			return newFault("covered_by_network", string(c.Catalogue.IndicatorByKey(o.Indicator).Code),
				"Le chiffre propre du réseau "+other.Network+" pour ce territoire et cette période vous couvre déjà.",
				"The own figure of the network "+other.Network+" for this territory and period covers you already.",
				"Demandez au réseau de vous retirer de covers, ou déclarez là où son chiffre ne porte pas.",
				"Ask the network to take you out of covers, or state where its figure does not reach.").at("/organisation")
		}
	}
	return nil
}

func (s *Standing) label() string {
	switch {
	case s.SIRET != "":
		return s.Name + " (SIRET " + s.SIRET + ")"
	case s.SIREN != "":
		return s.Name + " (SIREN " + s.SIREN + ")"
	}
	return s.Name
}

func (s *Standing) coveredBy(o *Observation) bool {
	return slices.ContainsFunc(o.Covers, func(name string) bool {
		return name == string(s.ID) || s.SIREN != "" && (name == s.SIREN || name == "siren:"+s.SIREN)
	})
}

// checkRunning warns of a series that looks like a running total: since the
// start of the year it only grows, by steps of one size or so (domain.md E8).
// Flows that are level would give steps of nothing.
func (b *batch) checkRunning(c *batchCell) {
	n := c.gran.months()
	if n != 1 && n != 3 || b.c.Catalogue.byKey[c.obs.Indicator].Kind != Flow {
		return
	}
	last, ok := number(c.obs)
	year, month, _ := c.obs.Period.Start.YMD()
	if !ok || int(month) <= 2*n {
		return
	}
	least, most := Quantity(0), Quantity(0)
	for m := int(month) - 1 - n; m >= 0; m -= n {
		former, ok := number(b.find(c, c.obs.Indicator, place{c.obs.Territory, monthsFrom(year, m, n), c.obs.Cut}))
		step := last - former
		if !ok || former <= 0 || step <= 0 {
			return
		}
		if least, most = min(cmp.Or(least, step), step), max(most, step); most/2 > least {
			return
		}
		last = former
	}
	if least, most = min(least, last), max(most, last); most/2 > least {
		return
	}
	at := "/value"
	if c.row.View {
		at = "/components"
	}
	c.row.Warnings = append(c.row.Warnings, *newFault("plausibility", c.obs.Value.String(),
		"Depuis le début de l'année, chaque valeur dépasse la précédente d'autant : un cumul ? (E8)",
		"Since the start of the year, each value is above the one before by as much: a running total? (E8)",
		"Déclarez ce qui s'est passé dans la période seule : avec 10, 25, 40 en cumul, déclarez 10, 15, 15.",
		"State what happened in the period alone: with 10, 25, 40 as running totals, state 10, 15, 15.").at(at))
}

// Reporter is who stated a value, as seen by a network that would change it.
type Reporter int

// Reporters.
const (
	ReportedByNetwork Reporter = iota // itself
	ReportedByOrganisation
	ReportedByOtherNetwork
)

// Overwrites gives the fault of a network that would change what the
// organisation itself, or another network, has stated (api.md 4.2); nil when
// the network stated it.
func Overwrites(r Reporter) *Fault {
	who := Text{"un autre réseau", "another network"}
	switch r {
	case ReportedByNetwork:
		return nil
	case ReportedByOrganisation:
		who = Text{"l'organisation elle-même", "the organisation itself"}
	}
	return newFault("reported_by_other", "",
		"Cette valeur a été déclarée par "+who.FR+" ; un réseau ne remplace ni n'efface ce qu'il n'a pas déclaré.",
		"This value was stated by "+who.EN+"; a network neither replaces nor deletes what it has not stated.",
		"Retirez la ligne, ou demandez à l'organisation de corriger ou de supprimer sa valeur : elle le peut toujours.",
		"Leave the row out, or ask the organisation to correct or delete its value: it always may.").at("/organisation")
}

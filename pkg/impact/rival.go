package impact

import (
	"cmp"
	"slices"
	"strings"
)

// Sight is what the sender of a row may know of another value, and do to it.
type Sight struct {
	By Reporter
	// Owner: the value is about the sender itself, which may always delete it.
	Owner bool
	Reads bool
}

// rival is a value beside which another cannot stand; of the same request when
// it is not known.
type rival struct {
	*Observation
	known bool
}

// told names a rival: period, territory, and who stated it.
func (b *batch) told(r rival) Text {
	t := b.c.Catalogue.gazetteer.ByKey(r.Territory)
	at := r.Period.String() + ", " + string(t.ID) + " (" + t.Name + ")"
	if !r.known {
		return Text{at + ", du même envoi", at + ", of the same request"}
	}
	by := b.sight(r.Observation).by()
	return Text{at + ", " + by.FR, at + ", " + by.EN}
}

func (s Sight) by() Text {
	switch {
	case s.Owner && s.By == ReportedByOrganisation:
		return Text{"que vous avez déclarée", "stated by you"}
	case s.Owner:
		return Text{"déclarée par un réseau que vous avez mandaté", "stated by a network under your mandate"}
	case s.By == ReportedByNetwork:
		return Text{"déclarée par votre réseau", "stated by your network"}
	case s.By == ReportedByOrganisation:
		return Text{"déclarée par l'organisation elle-même", "stated by the organisation itself"}
	}
	return Text{"déclarée par un autre réseau", "stated by another network"}
}

// mend says what the sender can do about a rival.
func (b *batch) mend(r rival) Text {
	if !r.known {
		return Text{"ne gardez qu'une des deux lignes", "keep one of the two rows"}
	}
	s := b.sight(r.Observation)
	at := "/v1/observations/" + string(r.ID)
	switch {
	case (s.Owner || s.By == ReportedByNetwork) && s.Reads:
		return Text{"supprimez d'abord l'autre valeur : DELETE " + at, "delete the other value first: DELETE " + at}
	case s.Owner || s.By == ReportedByNetwork:
		return Text{"supprimez d'abord l'autre valeur : sa ligne, avec action D", "delete the other value first: its row, with action D"}
	case s.Reads:
		return Text{"demandez à l'organisation de corriger ou de supprimer l'autre valeur (GET " + at + ")", "ask the organisation to correct or delete the other value (GET " + at + ")"}
	}
	return Text{"demandez à l'organisation de corriger ou de supprimer l'autre valeur", "ask the organisation to correct or delete the other value"}
}

// overlappingPeriod refuses the period of a row for the values that it clashes
// with.
func (b *batch) overlappingPeriod(p Period, rivals []rival) *Fault {
	slices.SortStableFunc(rivals, func(x, y rival) int {
		return cmp.Or(cmp.Compare(x.Period.Start, y.Period.Start), cmp.Compare(x.Period.End, y.Period.End))
	})
	rivals = slices.CompactFunc(rivals, func(x, y rival) bool { return x.Period == y.Period })
	first := b.told(rivals[0])
	if len(rivals) > 1 {
		var names []string
		for _, r := range rivals[1:min(len(rivals), 12)] { // the months of a year
			names = append(names, r.Period.String())
		}
		if len(rivals) > 12 {
			names = append(names, "…")
		}
		list := strings.Join(names, ", ")
		first.FR, first.EN = first.FR+" ; et pour "+list, first.EN+"; and for "+list
	}
	mend := b.mend(rivals[0])
	return newFault("overlapping_period", p.String(),
		"Une valeur existe déjà pour "+first.FR+" : une seule fréquence par année civile, sans chevauchement.",
		"A value already stands for "+first.EN+": one frequency per calendar year, without overlap.",
		"Déclarez à la même fréquence que le reste de l'année, ou "+mend.FR+".",
		"State at the same frequency as the rest of the year, or "+mend.EN+".").at("/period")
}

// overlappingTerritory refuses a territory that another contains, or lies in.
func (b *batch) overlappingTerritory(o *Observation, r rival) *Fault {
	other, mend := b.told(r), b.mend(r)
	return newFault("overlapping_territory", string(b.c.Catalogue.gazetteer.ByKey(o.Territory).ID),
		"Une valeur existe déjà pour "+other.FR+" : l'un des deux territoires contient l'autre.",
		"A value already stands for "+other.EN+": one of the two territories contains the other.",
		"Déclarez au territoire le plus fin, ou "+mend.FR+".",
		"State at the finest territory, or "+mend.EN+".").at("/territory")
}

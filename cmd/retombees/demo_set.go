package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Everything in this file is invented. Names end in "(démo)", SIREN begin with
// 0000, which INSEE does not attribute, and observations say source "demo".
// The one thing taken from life is the order of magnitude of the bulky-waste
// programme (domain.md, fact 4): 3,400 t, 80 % recovered and 7 FTE of
// insertion jobs in 2021, from 20 % in 2019.

const (
	demoSource = "demo"
	demoFirst  = 2019
	demoLast   = 2026 // up to the third quarter

	demoProgramme = "demo-bulky-waste"
	demoInsertion = "demo-insertion"
	demoCircular  = "demo-circular-economy"
	demoBase      = "demo-common-base"
)

// demoSet is what the demonstration loads, in order.
type demoSet struct {
	Questionnaires []impact.Questionnaire
	Organisations  []demoOrganisation
}

type demoOrganisation struct {
	impact.Organisation
	Submissions []demoSubmission // one a year
}

type demoSubmission struct {
	Period        impact.Period
	Questionnaire string
	Statements    []impact.Statement
	State         impact.SubmissionState
	Reason        string // of a return
}

// demoYear is what the bulky-waste programme did in a year: tonnes collected,
// percentages of them reused, recycled and burnt with energy recovery, and
// hundredths of FTE in insertion.
type demoYear struct {
	tonnes                   int64
	reused, recycled, energy int64
	fte                      int64
}

var demoYears = map[int]demoYear{
	2019: {2080, 2, 13, 5, 200},
	2020: {2240, 6, 31, 18, 400},
	2021: {3400, 12, 43, 25, 700},
	2022: {3560, 13, 43, 24, 760},
	2023: {3720, 14, 43, 24, 800},
	2024: {3880, 15, 43, 24, 860},
	2025: {4040, 16, 44, 22, 920},
	2026: {4120, 17, 44, 22, 960},
}

// demoTonnesByQuarter are percentages of the year.
var demoTonnesByQuarter = [4]int64{23, 27, 26, 24}

var demoProgrammeNames = []string{
	"Les Encombrants du Confluent", "La Ressource de l'Est", "Tri Solidaire Gerland", "Rebond Mobilier", "Bois & Matelas",
	"La Remise Villeurbannaise", "Second Tour", "Démantèle", "Plein Cycle", "La Benne Partagée",
	"Meuble Demain", "Recolt'Plateau", "Porte à Porte Est", "Sud Réemploi", "Val de Tri",
}

var demoInsertionNames = []string{
	"Le Chantier des Possibles", "Jardins des Lônes", "Nouvelle Marche", "Atelier du Vallon", "Les Mains Vertes de l'Est", "Passage Métiers",
	"Propreté Plurielle", "Repas Partagés", "Bâti Retour", "Verdure et Compagnie", "Logistique Inclusive", "Couture Confluences",
	"Coup de Pouce Emploi", "Relais Services", "Voisins au Travail", "Tremplin Domicile",
	"Cap Intérim Solidaire", "Missions d'Avenir", "Rhône Tremplin Intérim",
	"ESAT des Tilleuls", "ESAT du Grand Pré", "ESAT des Trois Rives", "Ateliers Adaptés du Plateau", "Adapt'Industrie",
}

var demoInsertionKinds = []string{
	"ACI", "ACI", "ACI", "ACI", "ACI", "ACI", "EI", "EI", "EI", "EI", "EI", "EI",
	"AI", "AI", "AI", "AI", "ETTI", "ETTI", "ETTI", "ESAT", "ESAT", "ESAT", "EA", "EA",
}

var demoCircularNames = []string{
	"Fil Retrouvé", "Électro Reprise", "Consigne des Pentes", "Vélo Second Souffle", "Compost Collectif", "Bois d'Ici", "Recyclerie des Balmes", "Réparons Ensemble",
	"Vaisselle en Boucle", "Matière Première", "Papier Rebelle", "Outils en Commun", "Jouets d'Hier", "Cartouche Verte", "Bocal et Compagnie", "Textile Horizon",
	"Chantier Réemploi", "Informatique Durable", "Palette Lyonnaise", "Café Réparation", "La Mercerie Circulaire", "Mousse et Drêche",
}

// demoHouses and demoPlaces make the names of the houses of a neighbourhood: one
// of each kind in each of the communes where most people live, so that some
// figures of a commune can be shown.
var (
	demoHouses = []string{"Le Comptoir", "La Fabrique", "La Maison", "Le Relais", "L'Épicerie", "Le Jardin", "L'Atelier"}
	demoPlaces = []string{
		"des Traboules", "des Gratte-Ciel", "du Parc Bleu", "de la Balme", "des Clochettes", "du Bief", "de la Croisée", "des Sources",
		"du Belvédère", "des Vergers", "de la Passerelle", "du Vieux Fort", "des Platanes", "de l'Écluse",
	}
)

// newDemoSet makes the set for the territories and indicators of cat. The same
// catalogue gives the same set. Periods that are not over on today are left
// out, so that a demonstration never states the future.
func newDemoSet(cat *impact.Catalogue, today impact.Date) (demoSet, error) {
	d := demoMaker{gazetteer: cat.Gazetteer(), today: today}
	before := d.communes(impact.NewDate(demoFirst, 1, 1))
	if len(before) == 0 {
		return demoSet{}, fmt.Errorf("demonstration: no commune of %s in the reference data", lyon)
	}
	set := demoSet{Questionnaires: demoQuestionnaires()}
	set.Organisations = append(set.Organisations, d.programme(before)...)
	set.Organisations = append(set.Organisations, d.insertion(before)...)
	set.Organisations = append(set.Organisations, d.circular(before)...)
	set.Organisations = append(set.Organisations, d.neighbourhood(before)...)
	for i := range set.Organisations {
		o := &set.Organisations[i]
		for y := range o.Submissions {
			o.Submissions[y].State, o.Submissions[y].Reason = demoState(i, o.Submissions[y].Period)
		}
		o.Submissions = slices.DeleteFunc(o.Submissions, func(s demoSubmission) bool { return len(s.Statements) == 0 })
	}
	return set, nil
}

// demoState leaves the last year in every state of review.
func demoState(i int, p impact.Period) (impact.SubmissionState, string) {
	if p.Start.Year() < demoLast {
		return impact.Approved, ""
	}
	switch i % 6 {
	case 1:
		return impact.Submitted, ""
	case 3:
		return impact.Draft, ""
	case 5:
		return impact.Returned, "Démonstration : merci de vérifier les valeurs du deuxième trimestre."
	}
	return impact.Approved, ""
}

func demoQuestionnaires() []impact.Questionnaire {
	items := func(required []impact.IndicatorCode, optional ...impact.IndicatorCode) (all []impact.QuestionnaireItem) {
		for _, c := range required {
			all = append(all, impact.QuestionnaireItem{Indicator: c, Required: true})
		}
		for _, c := range optional {
			all = append(all, impact.QuestionnaireItem{Indicator: c})
		}
		return all
	}
	from, to := impact.NewDate(demoFirst, 1, 1), impact.NewDate(demoLast, 12, 31)
	return []impact.Questionnaire{
		{
			Code: demoProgramme, Label: impact.Text{FR: "Tri des encombrants (démo)", EN: "Bulky waste (demo)"}, From: from, To: to, Review: impact.Manual,
			Indicators: items([]impact.IndicatorCode{"waste_collected", "waste_reused", "waste_recycled", "waste_energy_recovered", "waste_disposed"}),
		},
		{
			Code: demoInsertion, Label: impact.Text{FR: "Insertion (démo)", EN: "Work integration (demo)"}, From: from, To: to, Review: impact.Manual,
			StructureKinds: []string{"ACI", "AI", "EA", "EI", "ESAT", "ETTI"},
			Indicators: items([]impact.IndicatorCode{"insertion_hours", "insertion_fte", "insertion_people"},
				"hires_from_unemployment", "insertion_exits", "dynamic_exits", "durable_exits", "transition_exits", "positive_exits"),
		},
		{
			Code: demoCircular, Label: impact.Text{FR: "Économie circulaire (démo)", EN: "Circular economy (demo)"}, From: from, To: to, Review: impact.Manual,
			Indicators: items([]impact.IndicatorCode{"waste_diversion_rate", "items_reused"}, "ghg_avoided", "secondary_materials_share"),
		},
		{
			Code: demoBase, Label: impact.Text{FR: "Socle commun (démo)", EN: "Common base (demo)"}, From: from, To: to, Review: impact.Manual,
			Indicators: items([]impact.IndicatorCode{"fte_total", "headcount"},
				"women", "permanent_staff", "mean_headcount", "training_hours", "jobs_created_net", "turnover", "purchases_total", "purchases_local",
				"energy_consumed", "renewable_energy_consumed", "ghg_scope1", "ghg_scope2_location", "water_withdrawn"),
		},
	}
}

// lyon is the territory the demonstration is about.
const lyon impact.TerritoryID = "metropole-200046977"

type demoMaker struct {
	gazetteer *impact.Gazetteer
	today     impact.Date
	made      int // organisations so far
}

// communes gives the communes of the Métropole in force on a day, by id.
func (d *demoMaker) communes(on impact.Date) []*impact.Territory {
	metropole := d.gazetteer.At(lyon, on)
	if metropole == nil {
		return nil
	}
	found := d.gazetteer.Descendants(metropole.Key, impact.Vintage(on.Year()), impact.Commune)
	return slices.SortedFunc(slices.Values(found), func(a, b *impact.Territory) int { return int(a.Key) - int(b.Key) })
}

// at gives the id under which a place of 2019 is known on a day: Pierre-Bénite
// is Oullins-Pierre-Bénite from 2024.
func (d *demoMaker) at(place impact.TerritoryID, on impact.Date) impact.TerritoryID {
	if d.gazetteer.At(place, on) != nil {
		return place
	}
	for _, v := range d.gazetteer.Versions(place) {
		if len(v.Successors) > 0 {
			return v.Successors[0].ID
		}
	}
	return place
}

func (d *demoMaker) organisation(name, slug string, seat impact.TerritoryID) demoOrganisation {
	d.made++
	siren := withLuhn(fmt.Sprintf("0000%04d", d.made))
	siret := withLuhn(siren + "0001")
	return demoOrganisation{Organisation: impact.Organisation{
		Name: name + " (démo)", SIREN: siren, SIRET: siret,
		ExternalIDs: []impact.ExternalID{{Source: demoSource, ID: slug}},
		OpenedOn:    impact.NewDate(demoFirst-1, 1, 1), ClosedOn: impact.MaxDate,
		Sites: []impact.Site{{SIRET: siret, Territory: d.at(seat, d.today), From: impact.NewDate(demoFirst-1, 1, 1), To: impact.MaxDate}},
	}}
}

// withLuhn appends the digit that makes the whole pass Luhn's check.
func withLuhn(digits string) string {
	sum := 0
	for i := range len(digits) {
		n := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return digits + strconv.Itoa((10-sum%10)%10)
}

// programme makes the fifteen firms that collect and sort bulky waste. Every
// commune is served by two of them; the first of the two that serve Lyon
// reports by arrondissement.
func (d *demoMaker) programme(communes []*impact.Territory) []demoOrganisation {
	const firms = 15
	kinds := map[int]string{0: "EI", 2: "ACI", 4: "EI", 6: "EI", 8: "ACI", 11: "EI"}
	classes := []impact.OrganisationClass{impact.Company, impact.Association, impact.Cooperative}
	zones := make([][]place, firms)
	for i, c := range communes {
		first, second := i%firms, (i+7)%firms
		people := int64(max(c.Population, 500))
		if parts := d.gazetteer.Children(c.Key, impact.Vintage(demoFirst)); len(parts) > 0 {
			for _, a := range parts {
				zones[first] = append(zones[first], place{a.ID, int64(max(a.Population, 500))})
			}
		} else {
			zones[first] = append(zones[first], place{c.ID, people})
		}
		zones[second] = append(zones[second], place{c.ID, people})
	}

	all := make([]demoOrganisation, firms)
	for i := range all {
		// The seat is where the zone begins: it is one of the places served.
		o := d.organisation(demoProgrammeNames[i], fmt.Sprintf("programme-%02d", i+1), d.commune(zones[i][0].id))
		o.Class, o.NAF, o.SizeClass = classes[i%len(classes)], "38.11Z", "small"
		o.ESS, o.ESSBasis = "true", "statutory"
		if o.Class == impact.Company {
			o.ESS, o.ESSBasis = "false", ""
		}
		o.Questionnaires = []string{demoProgramme}
		if kind := kinds[i]; kind != "" {
			o.StructureKind, o.ESS, o.ESSBasis = kind, "true", "assimilated"
			o.Questionnaires = []string{demoProgramme, demoInsertion}
		}
		all[i] = o
	}

	inserting := slices.Sorted(maps.Keys(kinds))
	for year := demoFirst; year <= demoLast; year++ {
		y := demoYears[year]
		for i := range all {
			all[i].Submissions = append(all[i].Submissions, demoSubmission{Period: impact.YearPeriod(year), Questionnaire: demoProgramme})
		}
		fte := allocate(y.fte*10_000, 10_000, repeat(1, len(inserting)))
		for q, quarter := range impact.YearPeriod(year).Buckets(impact.Quarter) {
			if quarter.End >= d.today || year == demoLast && q == 3 {
				continue
			}
			d.programmeQuarter(all, zones, y, q, quarter)
			for n, i := range inserting {
				s := &all[i].Submissions[year-demoFirst]
				seat := d.at(d.commune(zones[i][0].id), quarter.Start)
				s.Statements = append(s.Statements, d.work(seat, quarter, fte[n])...)
			}
		}
	}
	for i := range all {
		d.base(&all[i], int64(12+i%7*4), d.commune(zones[i][0].id))
	}
	return all
}

// programmeQuarter shares the tonnes of a quarter among firms and places, in
// kilograms and exactly: the parts add up to the programme's total.
func (d *demoMaker) programmeQuarter(all []demoOrganisation, zones [][]place, y demoYear, q int, quarter impact.Period) {
	const kg = impact.One / 1000
	type cell struct {
		firm  int
		place impact.TerritoryID
	}
	var cells []cell
	var people []int64
	for i, zone := range zones {
		for _, p := range zone {
			c := cell{i, d.at(p.id, quarter.Start)}
			if n := slices.Index(cells, c); n >= 0 { // two places that became one
				people[n] += p.people
				continue
			}
			cells, people = append(cells, c), append(people, p.people)
		}
	}
	total := y.tonnes * demoTonnesByQuarter[q] * int64(impact.One) / 100
	collected := allocate(total, int64(kg), people)
	outlet := func(percent int64, lean int) []impact.Quantity {
		weights := make([]int64, len(cells))
		for n, c := range cells {
			weights[n] = int64(collected[n]/kg) * int64(94+(c.firm*5+lean)%13)
		}
		return allocate(total*percent/100, int64(kg), weights)
	}
	reused, recycled, energy := outlet(y.reused, 0), outlet(y.recycled, 4), outlet(y.energy, 9)
	for n, c := range cells {
		s := &all[c.firm].Submissions[quarter.Start.Year()-demoFirst]
		for _, a := range []answer{
			{"waste_collected", collected[n]},
			{"waste_reused", reused[n]},
			{"waste_recycled", recycled[n]},
			{"waste_energy_recovered", energy[n]},
			{"waste_disposed", collected[n] - reused[n] - recycled[n] - energy[n]},
		} {
			s.Statements = append(s.Statements, statement(a.indicator, c.place, quarter, a.value, "documented"))
		}
	}
}

// work states hours, FTE and people in insertion for one place and quarter.
func (d *demoMaker) work(at impact.TerritoryID, quarter impact.Period, fte impact.Quantity) []impact.Statement {
	const hoursAYear = 1607
	hours := fte * hoursAYear / 365 * impact.Quantity(quarter.Days())
	people := (fte*17/10 + impact.One - 1) / impact.One * impact.One
	full := statement("insertion_fte", at, quarter, fte, "declared")
	full.Qualifiers = map[string]string{"hours_basis": strconv.Itoa(hoursAYear)}
	return []impact.Statement{
		statement("insertion_hours", at, quarter, hours/impact.One*impact.One, "declared"),
		full,
		statement("insertion_people", at, quarter, people, "declared"),
	}
}

// insertion makes the structures of work integration and the sheltered sector.
func (d *demoMaker) insertion(communes []*impact.Territory) []demoOrganisation {
	all := make([]demoOrganisation, len(demoInsertionNames))
	for i, name := range demoInsertionNames {
		seat := communes[(i*5+2)%len(communes)].ID
		second := communes[(i*5+29)%len(communes)].ID
		o := d.organisation(name, fmt.Sprintf("insertion-%02d", i+1), seat)
		o.StructureKind, o.ESS, o.ESSBasis, o.SizeClass = demoInsertionKinds[i], "true", "assimilated", "small"
		o.Class, o.NAF, o.Questionnaires = impact.Association, "88.99B", []string{demoInsertion}
		if i%4 == 1 {
			o.Class, o.NAF = impact.Company, "81.21Z"
		}
		r := rand.New(rand.NewPCG(demoFirst, uint64(i)))
		size := int64(6 + r.IntN(24))
		for year := demoFirst; year <= demoLast; year++ {
			s := demoSubmission{Period: impact.YearPeriod(year), Questionnaire: demoInsertion}
			for q, quarter := range s.Period.Buckets(impact.Quarter) {
				if quarter.End >= d.today || year == demoLast && q == 3 {
					continue
				}
				fte := impact.Quantity(size*int64(97+r.IntN(7))+int64(year-demoFirst)*size*3) * impact.One / 100
				fte = fte / 10_000 * 10_000
				s.Statements = append(s.Statements, d.work(d.at(seat, quarter.Start), quarter, fte)...)
				if other := d.at(second, quarter.Start); other != d.at(seat, quarter.Start) {
					s.Statements = append(s.Statements, d.work(other, quarter, fte/30_000*10_000)...)
				}
				s.Statements = append(s.Statements, statement("hires_from_unemployment", d.at(seat, quarter.Start), quarter, whole(1+size/5+int64(r.IntN(3))), "declared"))
			}
			if s.Period.End < d.today {
				durable, transition, positive := 1+size/8+int64(r.IntN(2)), 1+size/10, 1+int64(r.IntN(3))
				dynamic := durable + transition + positive
				for _, a := range []answer{
					{"insertion_exits", whole(dynamic + 1 + size/6)},
					{"dynamic_exits", whole(dynamic)},
					{"durable_exits", whole(durable)},
					{"transition_exits", whole(transition)},
					{"positive_exits", whole(positive)},
				} {
					s.Statements = append(s.Statements, statement(a.indicator, d.at(seat, s.Period.Start), s.Period, a.value, "documented"))
				}
			}
			o.Submissions = append(o.Submissions, s)
		}
		d.base(&o, size*5/4+3, seat)
		all[i] = o
	}
	return all
}

// circular makes firms of repair, reuse and short loops; they report by year.
func (d *demoMaker) circular(communes []*impact.Territory) []demoOrganisation {
	classes := []impact.OrganisationClass{impact.Company, impact.Cooperative, impact.Association, impact.Company}
	all := make([]demoOrganisation, len(demoCircularNames))
	for i, name := range demoCircularNames {
		seat := communes[(i*7+4)%len(communes)].ID
		o := d.organisation(name, fmt.Sprintf("circular-%02d", i+1), seat)
		o.Class, o.NAF, o.SizeClass, o.Questionnaires = classes[i%len(classes)], "95.29Z", "micro", []string{demoCircular, demoBase}
		o.ESS, o.ESSBasis = "true", "statutory"
		if o.Class == impact.Company {
			o.ESS, o.ESSBasis = "unknown", ""
		}
		r := rand.New(rand.NewPCG(demoLast, uint64(i)))
		size := int64(3 + r.IntN(15))
		for year := demoFirst; year <= demoLast; year++ {
			s := demoSubmission{Period: impact.YearPeriod(year), Questionnaire: demoCircular}
			if s.Period.End < d.today {
				at := d.at(seat, s.Period.Start)
				grown := size * int64(100+(year-demoFirst)*6) / 100
				generated := grown * int64(2200+r.IntN(300)) // kg
				materials := grown * int64(5200+r.IntN(500)) // kg
				diversion := statement("waste_diversion_rate", at, s.Period, 0, "declared")
				diversion.Value = ""
				diversion.Components = map[string]string{
					"numerator":   kilograms(generated * int64(60+r.IntN(30)) / 100).String(),
					"denominator": kilograms(generated).String(),
				}
				secondary := statement("secondary_materials_share", at, s.Period, 0, "declared")
				secondary.Value = ""
				secondary.Components = map[string]string{
					"numerator":   kilograms(materials * int64(20+year-demoFirst+r.IntN(20)) / 100).String(),
					"denominator": kilograms(materials).String(),
				}
				avoided := statement("ghg_avoided", at, s.Period, kilograms(grown*int64(3100+r.IntN(400))), "declared")
				avoided.AttributionShare = "1"
				avoided.Qualifiers = map[string]string{"method": "facteurs moyens de réemploi (démo)", "baseline": "achat neuf équivalent"}
				s.Statements = append(s.Statements, diversion, secondary, avoided,
					statement("items_reused", at, s.Period, whole(grown*int64(380+r.IntN(60))), "declared"))
			}
			o.Submissions = append(o.Submissions, s)
		}
		d.base(&o, size*5/4+1, seat)
		all[i] = o
	}
	return all
}

// neighbourhood makes the houses of the most populous communes. They state a few
// things once a year, and are of much the same size: nobody stands out.
func (d *demoMaker) neighbourhood(communes []*impact.Territory) []demoOrganisation {
	largest := slices.SortedStableFunc(slices.Values(communes), func(a, b *impact.Territory) int { return b.Population - a.Population })
	var all []demoOrganisation
	for n, commune := range largest[:min(len(demoPlaces), len(largest))] {
		for i, house := range demoHouses {
			o := d.organisation(house+" "+demoPlaces[n], fmt.Sprintf("neighbourhood-%02d-%d", n+1, i+1), commune.ID)
			o.Class, o.NAF, o.SizeClass, o.Questionnaires = impact.Association, "94.99Z", "micro", []string{demoBase}
			o.ESS, o.ESSBasis = "true", "statutory"
			if i%3 == 2 {
				o.Class = impact.Cooperative
			}
			r := rand.New(rand.NewPCG(uint64(n), uint64(i)))
			heads := int64(8 + r.IntN(7))
			for year := demoFirst; year <= demoLast; year++ {
				s := demoSubmission{Period: impact.YearPeriod(year), Questionnaire: demoBase}
				if s.Period.End < d.today {
					at := d.at(commune.ID, s.Period.Start)
					heads += int64(r.IntN(2))
					full := statement("fte_total", at, s.Period, whole(heads)*4/5/10_000*10_000, "declared")
					full.Qualifiers = map[string]string{"headcount_method": "period_average"}
					s.Statements = append(s.Statements, full)
					for _, a := range []answer{
						{"headcount", whole(heads)},
						{"women", whole(heads * int64(40+r.IntN(20)) / 100)},
						{"permanent_staff", whole(heads * int64(60+r.IntN(30)) / 100)},
						{"training_hours", whole(heads * int64(9+r.IntN(6)))},
						{"turnover", whole(heads * int64(50_000+r.IntN(9_000)))},
					} {
						s.Statements = append(s.Statements, statement(a.indicator, at, s.Period, a.value, "declared"))
					}
				}
				o.Submissions = append(o.Submissions, s)
			}
			all = append(all, o)
		}
	}
	return all
}

// base adds what every organisation states once a year. Water shows that no
// value has several reasons: not collected, or not applicable.
func (d *demoMaker) base(o *demoOrganisation, staff int64, seat impact.TerritoryID) {
	r := rand.New(rand.NewPCG(7, uint64(d.made)+uint64(staff)<<32))
	former := staff
	for n := range o.Submissions {
		s := &o.Submissions[n]
		if s.Period.End >= d.today {
			continue
		}
		at := d.at(seat, s.Period.Start)
		heads := staff + int64(n+1)*(1+staff/25)
		purchases := heads * int64(16_000+r.IntN(4_000))
		energy := heads * int64(2_300+r.IntN(900)) // kWh
		full := statement("fte_total", at, s.Period, whole(heads)*4/5/10_000*10_000, "declared")
		full.Qualifiers = map[string]string{"headcount_method": "period_average"}
		local := statement("purchases_local", at, s.Period, whole(purchases*int64(30+r.IntN(30))/100), "declared")
		local.Qualifiers = map[string]string{"local_scope": "metropole"}
		s.Statements = append(s.Statements, full, local)
		for _, a := range []answer{
			{"headcount", whole(heads)},
			{"women", whole(heads * int64(30+r.IntN(30)) / 100)},
			{"permanent_staff", whole(heads * int64(50+r.IntN(40)) / 100)},
			{"mean_headcount", whole(heads)},
			{"training_hours", whole(heads * int64(8+r.IntN(10)))},
			{"jobs_created_net", whole(heads - former)},
			{"turnover", whole(heads * int64(48_000+r.IntN(12_000)))},
			{"purchases_total", whole(purchases)},
			{"energy_consumed", kilograms(energy)},
			{"renewable_energy_consumed", kilograms(energy * int64(20+n*5+r.IntN(10)) / 100)},
			{"ghg_scope1", kilograms(heads * int64(700+r.IntN(200)))},
			{"ghg_scope2_location", kilograms(energy * 32 / 1000)},
		} {
			s.Statements = append(s.Statements, statement(a.indicator, at, s.Period, a.value, "declared"))
		}
		water := statement("water_withdrawn", at, s.Period, whole(heads*9), "declared")
		switch d.made % 5 {
		case 2:
			water.Value, water.ValueNull, water.Status = "", true, string(impact.NotCollected)
		case 4:
			water.Value, water.ValueNull, water.Status = "", true, string(impact.NotApplicable)
		}
		s.Statements = append(s.Statements, water)
		former = heads
	}
}

// place is a territory and the people who live there.
type place struct {
	id     impact.TerritoryID
	people int64
}

// commune gives the commune of a place: Lyon for its arrondissements.
func (d *demoMaker) commune(id impact.TerritoryID) impact.TerritoryID {
	for _, v := range d.gazetteer.Versions(id) {
		if v.Type == impact.Arrondissement {
			return v.Parent
		}
	}
	return id
}

// answer is a value and what it is of.
type answer struct {
	indicator string
	value     impact.Quantity
}

func statement(indicator string, at impact.TerritoryID, p impact.Period, value impact.Quantity, evidence string) impact.Statement {
	return impact.Statement{
		Indicator: indicator, Territory: string(at), Period: p.String(), Value: value.String(),
		Details: impact.Details{Source: demoSource, EvidenceLevel: evidence},
	}
}

// allocate shares total among weights in multiples of unit, by largest
// remainder: the shares add up to total when it is itself a multiple.
func allocate(total, unit int64, weights []int64) []impact.Quantity {
	var sum int64
	for _, w := range weights {
		sum += w
	}
	units := total / unit
	shares := make([]impact.Quantity, len(weights))
	rest := make([]int64, len(weights))
	order := make([]int, len(weights))
	left := units
	for i, w := range weights {
		n := units * w / sum
		shares[i], rest[i], order[i] = impact.Quantity(n*unit), units*w%sum, i
		left -= n
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(min(max(rest[b]-rest[a], -1), 1)) })
	for _, i := range order[:left] {
		shares[i] += impact.Quantity(unit)
	}
	return shares
}

func whole(n int64) impact.Quantity { return impact.Quantity(n) * impact.One }

// kilograms gives tonnes from kilograms, as it gives MWh from kWh.
func kilograms(n int64) impact.Quantity { return impact.Quantity(n) * impact.One / 1000 }

func repeat(w int64, n int) []int64 { return slices.Repeat([]int64{w}, n) }

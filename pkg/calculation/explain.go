package calculation

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// trace keeps what an explanation needs and a figure does not.
type trace struct {
	group   group
	weights map[weightKey]*big.Rat
}

type weightKey struct {
	line, member, attr, at, stored int32
	period                         impact.Period
}

func traceKey(e *entry) weightKey {
	return weightKey{e.line, e.member, e.attr, e.at, e.stored, e.period}
}

// Explain tells how one figure was made. The query must give exactly one
// (Filters and Qualifiers narrow it), else the error code is not_one_cell.
func (c *Cube) Explain(q Query) (*Explanation, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(q.Indicators) != 1 || q.Rows() != 1 {
		return nil, NotOneCell()
	}
	q.IncludeEmpty, q.KeepRefused = true, true
	p, err := c.plan(q)
	if err != nil {
		return nil, err
	}
	p.work = &work{}
	p.work.trace = &trace{weights: map[weightKey]*big.Rat{}}
	res, err := p.figures()
	if err != nil {
		return nil, err
	}
	if len(res.Figures) != 1 {
		return nil, NotOneCell()
	}
	ind := c.layout.indicators[p.lines[0]]
	x := &Explanation{
		Figure:        res.Figures[0],
		Formula:       FormulaOf(c.cat, ind),
		Rules:         RulesOf(ind),
		Excluded:      res.Figures[0].Excluded,
		MethodVersion: MethodVersion,
	}
	inputs := c.layout.inputs(p.lines[0])
	sums := make([]*big.Rat, len(inputs))
	for i, set := range p.work.trace.group.sets {
		for j := range set {
			e := &set[j]
			m := &p.f.members[e.member]
			leaf := c.layout.indicators[inputs[i]]
			cell := impact.CellKey{
				Organisation: m.Key, Indicator: leaf.Key, Territory: c.layout.territories[e.stored].Key,
				Period: e.period, Cut: p.f.attrs[e.attr].cut,
			}
			if e.why != counts {
				if !e.twin {
					x.LeftOut = append(x.LeftOut, LeftOut{m.ID, leaf.Code, cell, reasons[e.why]})
				}
				continue
			}
			w := p.work.trace.weights[traceKey(e)]
			if w == nil {
				w = big.NewRat(1, 1)
			}
			counted := new(big.Rat).Mul(impact.Quantity(e.value).Rat(), w)
			if sums[i] == nil {
				sums[i] = new(big.Rat)
			}
			sums[i].Add(sums[i], counted)
			x.Contributors = append(x.Contributors, Contributor{m.ID, leaf.Code, cell, impact.Quantity(e.value), p.f.attrs[e.attr].status, w, counted})
		}
	}
	for i, line := range inputs {
		v, err := round(sums[i], impact.Decimals)
		if err != nil {
			return nil, err
		}
		switch c.layout.indicators[line].Kind {
		case impact.Boolean, impact.Dispersion, impact.Score:
			v = nil // not a sum
		}
		x.Inputs = append(x.Inputs, Input{c.layout.indicators[line].Code, v})
	}
	slices.SortStableFunc(x.Contributors, func(a, b Contributor) int {
		return cmp.Or(cmp.Compare(a.Indicator, b.Indicator), compareKeys(a.Cell, b.Cell))
	})
	slices.SortStableFunc(x.LeftOut, func(a, b LeftOut) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Indicator, b.Indicator), compareKeys(a.Cell, b.Cell))
	})
	return x, nil
}

func compareKeys(a, b impact.CellKey) int {
	return cmp.Or(cmp.Compare(a.Organisation, b.Organisation), cmp.Compare(a.Territory, b.Territory),
		comparePeriods(a.Period, b.Period), cmp.Compare(a.Cut, b.Cut))
}

// NotOneCell refuses an explanation of several figures, or of none.
func NotOneCell() error {
	return &impact.Error{
		Kind: impact.Invalid, Code: "not_one_cell",
		Detail: impact.Text{
			FR: "L'explication porte sur un seul chiffre : un indicateur, un territoire, une période.",
			EN: "An explanation is about one figure: one indicator, one territory, one period.",
		},
		Hint: impact.Text{
			FR: "Précisez aussi le qualificatif (qualifiers), ou un seul code de la dimension, quand il sépare les valeurs.",
			EN: "Give the qualifiers too, or one code of the dimension, where they keep values apart.",
		},
	}
}

// FormulaOf writes the formula of an indicator in both languages and for
// machines.
func FormulaOf(cat *impact.Catalogue, ind *impact.Indicator) Formula {
	if !ind.Composed() {
		fr, en, machine := ind.Label.FR, ind.Label.EN, string(ind.Code)
		switch ind.Kind {
		case impact.SurveyMean:
			w := cat.Indicator(ind.Weight)
			if w == nil {
				break
			}
			return Formula{
				impact.Text{
					FR: fmt.Sprintf("Σ(« %s » × « %s ») ÷ Σ « %s »", fr, w.Label.FR, w.Label.FR),
					EN: fmt.Sprintf("Σ(“%s” × “%s”) ÷ Σ “%s”", en, w.Label.EN, w.Label.EN),
				},
				fmt.Sprintf("sum(%s*%s)/sum(%s)", machine, w.Code, w.Code),
			}
		case impact.Stock:
			return Formula{impact.Text{FR: "Σ de la dernière valeur de « " + fr + " »", EN: "Σ of the last value of “" + en + "”"}, "sum(last(" + machine + "))"}
		case impact.StockAvg:
			return Formula{impact.Text{FR: "Σ de la moyenne de « " + fr + " » pondérée par les jours", EN: "Σ of the mean of “" + en + "” weighted by days"}, "sum(day_weighted_mean(" + machine + "))"}
		case impact.Distinct:
			return Formula{impact.Text{FR: "« " + fr + " », une seule cellule à la fois", EN: "“" + en + "”, one cell at a time"}, machine}
		case impact.Boolean:
			return Formula{impact.Text{FR: "réponses « oui » ÷ réponses, dernière réponse de chacun", EN: "“yes” ÷ answers, last answer of each"}, "count_true(last(" + machine + "))/count(last(" + machine + "))"}
		case impact.Dispersion, impact.Score:
			return Formula{impact.Text{FR: "médiane de la dernière valeur de chaque organisation", EN: "median of the last value of each organisation"}, "median(last(" + machine + "))"}
		}
		return Formula{impact.Text{FR: "Σ « " + fr + " »", EN: "Σ “" + en + "”"}, "sum(" + machine + ")"}
	}
	fr, en, machine := expressionOf(cat, ind)
	return Formula{impact.Text{FR: fr, EN: en}, machine}
}

func expressionOf(cat *impact.Catalogue, ind *impact.Indicator) (fr, en, machine string) {
	side := func(codes []impact.IndicatorCode) (fr, en, machine string) {
		op, sign := " + ", "+"
		if ind.Form == impact.Difference {
			op, sign = " − ", "-"
		}
		var frs, ens, ms []string
		for _, code := range codes {
			part := cat.Indicator(code)
			if part.Composed() {
				f, e, m := expressionOf(cat, part)
				frs, ens, ms = append(frs, "("+f+")"), append(ens, "("+e+")"), append(ms, m)
				continue
			}
			frs, ens, ms = append(frs, part.Label.FR), append(ens, part.Label.EN), append(ms, string(code))
		}
		fr, en, machine = strings.Join(frs, op), strings.Join(ens, op), strings.Join(ms, sign)
		if len(codes) > 1 {
			fr, en, machine = "("+fr+")", "("+en+")", "("+machine+")"
		}
		return fr, en, machine
	}
	nfr, nen, nm := side(ind.Numerator)
	dfr, den, dm := side(ind.Denominator)
	fr, en, machine = nfr+" ÷ "+dfr, nen+" ÷ "+den, nm+"/"+dm
	if strings.Contains(dm, "/") {
		machine = nm + "/(" + dm + ")"
	}
	if ind.Form == impact.Complement {
		fr, en, machine = "1 − "+fr, "1 − "+en, "1-"+machine
	}
	if ind.Scale != 0 && ind.Scale != impact.One {
		scale := ind.Scale.String()
		if ind.Form == impact.Complement {
			fr, en, machine = "("+fr+")", "("+en+")", "("+machine+")"
		}
		fr, en, machine = scale+" × "+fr, scale+" × "+en, scale+"*"+machine
	}
	return fr, en, machine
}

// RulesOf says how values of the kind combine over each dimension.
func RulesOf(ind *impact.Indicator) []Rule {
	sum := impact.Text{FR: "somme", EN: "sum"}
	over, places, time := sum, sum, impact.Text{}
	empty := impact.Text{FR: "sans valeur : null, jamais 0", EN: "no value: null, never 0"}
	switch ind.Kind {
	case impact.Flow, impact.SignedFlow:
		time = impact.Text{FR: "somme des périodes contenues dans la tranche", EN: "sum of the periods contained in the bucket"}
	case impact.Stock:
		time = impact.Text{FR: "dernière date de chaque organisation, dans chaque lieu", EN: "last date of each organisation, in each place"}
	case impact.StockAvg:
		time = impact.Text{FR: "moyenne pondérée par les jours couverts, organisation par organisation", EN: "mean weighted by the days covered, organisation by organisation"}
	case impact.Ratio, impact.SurveyShare:
		over = impact.Text{
			FR: "somme de chaque composante, puis quotient ; une organisation à qui manque une composante sort du numérateur et du dénominateur",
			EN: "sum of each component, then the quotient; an organisation that lacks a component leaves numerator and denominator",
		}
		places = impact.Text{FR: "comme pour les organisations", EN: "as for organisations"}
		time = impact.Text{
			FR: "chaque composante selon sa nature, sur les jours que toutes couvrent ; stocks à leur dernière date commune",
			EN: "each component by its own kind, over the days all of them cover; stocks at their last common date",
		}
		empty = impact.Text{FR: "null ; dénominateur nul : null et note zero_denominator", EN: "null; denominator 0: null and note zero_denominator"}
	case impact.SurveyMean:
		over = impact.Text{FR: "moyenne pondérée par le nombre de réponses", EN: "mean weighted by the number of answers"}
		places, time = over, over
	case impact.Distinct:
		over = impact.Text{
			FR: "refusé : une même personne peut être comptée deux fois ; sur demande, bornes (maximum ; somme)",
			EN: "refused: one person may be counted twice; on request, bounds (largest; sum)",
		}
		places, time = over, over
	case impact.Boolean:
		over = impact.Text{FR: "nombre de oui, nombre de réponses, part", EN: "count of yes, count of answers, share"}
		places = impact.Text{FR: "une organisation compte une fois", EN: "an organisation counts once"}
		time = impact.Text{FR: "dernière réponse", EN: "last answer"}
	case impact.Dispersion, impact.Score:
		over = impact.Text{
			FR: "médiane et quartiles, chaque organisation comptant une fois ; jamais de somme",
			EN: "median and quartiles, each organisation counting once; never a sum",
		}
		places, time = over, impact.Text{FR: "dernière valeur", EN: "last value"}
		if ind.Kind == impact.Dispersion {
			empty = impact.Text{FR: "null à moins de cinq organisations", EN: "null below five organisations"}
		}
	}
	if slices.Contains(ind.NotAdditiveOver, "organisation") {
		over = impact.Text{
			FR: "refusé : les mêmes quantités sont chez plusieurs organisations ; sur demande, bornes (maximum ; somme)",
			EN: "refused: several organisations hold the same quantities; on request, bounds (largest; sum)",
		}
	}
	d := ind.Decimals
	return []Rule{
		{"organisations", over},
		{"territories", places},
		{"time", time},
		{"when_empty", empty},
		{"rounding", impact.Text{
			FR: fmt.Sprintf("une seule fois, à la fin, au pair le plus proche, %d décimale(s)", d),
			EN: fmt.Sprintf("once, at the end, half to even, %d decimal(s)", d),
		}},
	}
}

package impact

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Lengths of texts, in characters.
const (
	maxName = 300
	maxWord = 200
	maxNote = 4000
)

// Normalise puts the identifiers of an organisation in form (spaces and dots
// removed, upper case where it belongs) and fills the SIREN that a SIRET
// implies. Each change of what was written is a warning identifier_normalised.
// What cannot be read is left for Check.
func (o *Organisation) Normalise() (warnings []Fault) {
	mend := func(pointer string, value *string, check func(string) (string, *Fault)) {
		n, f := check(*value)
		if *value == "" || f != nil || n == *value {
			return
		}
		w := newFault("identifier_normalised", *value,
			"Lu comme "+n+".", "Read as "+n+".",
			"Écrivez-le ainsi.", "Write it so.").at(pointer)
		w.Suggestion = n
		warnings = append(warnings, *w)
		*value = n
	}
	mend("/siret", &o.SIRET, CheckSIRET)
	mend("/siren", &o.SIREN, CheckSIREN)
	mend("/rna", &o.RNA, CheckRNA)
	mend("/naf", &o.NAF, checkNAF)
	for i := range o.Sites {
		mend("/sites/"+strconv.Itoa(i)+"/siret", &o.Sites[i].SIRET, CheckSIRET)
	}
	if _, f := CheckSIRET(o.SIRET); o.SIREN == "" && f == nil {
		o.SIREN = o.SIRET[:9]
	}
	return warnings
}

// Check gives everything that is wrong in an organisation, nil when nothing is.
// Identifiers are expected in form, as Normalise leaves them.
func (o Organisation) Check(c *Catalogue) []Fault {
	var faults []Fault
	add := func(pointer string, f *Fault) {
		if f != nil {
			faults = append(faults, *f.at(pointer))
		}
	}
	if strings.TrimSpace(o.Name) == "" {
		add("/name", missingField("Donnez le nom de l'organisation.", "Give the name of the organisation."))
	}
	add("/name", checkLength(o.Name, maxName))
	identifier := func(pointer, value string, check func(string) (string, *Fault)) {
		if value == "" {
			return
		}
		if _, f := check(value); f != nil {
			add(pointer, f)
		}
	}
	identifier("/siret", o.SIRET, CheckSIRET)
	identifier("/siren", o.SIREN, CheckSIREN)
	identifier("/rna", o.RNA, CheckRNA)
	identifier("/naf", o.NAF, checkNAF)
	if len(o.SIRET) == 14 && len(o.SIREN) == 9 && o.SIRET[:9] != o.SIREN {
		f := newFault("inconsistent", o.SIREN,
			"Le SIREN n'est pas celui du SIRET.", "The SIREN is not the one of the SIRET.",
			"Les neuf premiers chiffres du SIRET sont le SIREN : retirez le champ siren, ou corrigez l'un des deux.",
			"The first nine digits of a SIRET are the SIREN: leave siren out, or correct one of the two.")
		f.Suggestion = o.SIRET[:9]
		add("/siren", f)
	}
	code := func(pointer, list, value string) {
		if value != "" {
			add(pointer, c.checkCode(list, value))
		}
	}
	if o.Class == "" {
		add("/organisation_class", missingField(
			"Donnez la famille juridique : "+c.codesOf("organisation_class")+".",
			"Give the broad legal family: "+c.codesOf("organisation_class")+"."))
	}
	code("/organisation_class", "organisation_class", string(o.Class))
	code("/structure_kind", "structure_kind", o.StructureKind)
	code("/size_class", "size_class", o.SizeClass)
	code("/staff_band", "staff_band", o.StaffBand)
	code("/ess", "ess", o.ESS)
	code("/ess_basis", "ess_basis", o.ESSBasis)
	if o.LegalCategory != "" && (len(o.LegalCategory) != 4 || !allDigits(o.LegalCategory)) {
		add("/legal_category", newFault("unknown_code", o.LegalCategory,
			"Une catégorie juridique de l'Insee a quatre chiffres.", "A legal category of Insee has four digits.",
			"Par exemple 9220 pour une association déclarée.", "For example 9220 for a declared association."))
	}
	if o.ESSBasis != "" && o.ESS != "true" {
		add("/ess_basis", newFault("inconsistent", o.ESSBasis,
			"Un critère d'appartenance à l'ESS est donné, mais ess n'est pas true.", "A basis of membership of the social economy is given, but ess is not true.",
			"Écrivez ess: true, ou retirez ess_basis.", "Write ess: true, or leave ess_basis out."))
	}
	for i, e := range o.ExternalIDs {
		at := "/external_ids/" + strconv.Itoa(i)
		if e.Source == "" || strings.Contains(e.Source, ":") {
			add(at+"/source", newFault("invalid_type", e.Source,
				"Le nom du système d'origine est vide ou contient « : ».", `The name of the source system is empty or holds ":".`,
				"Un nom court et stable, par exemple cocagne-crm.", "A short and stable name, for example cocagne-crm."))
		}
		if e.ID == "" {
			add(at+"/id", missingField("Donnez l'identifiant dans ce système.", "Give the id in that system."))
		}
		add(at+"/source", checkLength(e.Source, maxWord))
		add(at+"/id", checkLength(e.ID, maxWord))
	}
	for i, s := range o.Sites {
		at := "/sites/" + strconv.Itoa(i)
		identifier(at+"/siret", s.SIRET, CheckSIRET)
		add(at+"/from", checkOrder(s.From, s.To))
		if s.Territory == "" {
			add(at+"/territory", missingField("Donnez la commune ou l'arrondissement du site.", "Give the commune or arrondissement of the site."))
			continue
		}
		while := Period{s.From, s.To}
		if while == (Period{}) {
			while = Period{MinDate, MaxDate}
		}
		_, _, f := c.gazetteer.ForPeriod(string(s.Territory), while)
		add(at+"/territory", f)
	}
	add("/opened_on", checkOrder(o.OpenedOn, o.ClosedOn))
	return faults
}

// profile is the class of the organisation as it is now.
func (o *Organisation) profile() Profile {
	return Profile{Class: o.Class, StructureKind: o.StructureKind, SizeClass: o.SizeClass, ESS: o.ESS}
}

func checkNAF(s string) (string, *Fault) {
	n := strings.ToUpper(compact(s))
	if len(n) == 5 && allDigits(n[:4]) && n[4] >= 'A' && n[4] <= 'Z' {
		return n[:2] + "." + n[2:], nil
	}
	return "", newFault("unknown_code", s,
		"Un code NAF s'écrit quatre chiffres et une lettre.", "A NAF code is four digits and a letter.",
		"Par exemple 38.11Z.", "For example 38.11Z.")
}

func checkOrder(from, to Date) *Fault {
	if from <= to {
		return nil
	}
	return newFault("invalid_date", from.String(),
		"La fin précède le début.", "The end comes before the beginning.",
		"Vérifiez les deux dates.", "Check the two dates.")
}

func checkLength(s string, limit int) *Fault {
	if len(s) <= limit || utf8.RuneCountInString(s) <= limit {
		return nil
	}
	n := strconv.Itoa(limit)
	return newFault("too_long", string([]rune(s)[:80])+"…",
		"Ce texte dépasse "+n+" caractères.", "This text is over "+n+" characters.",
		"Raccourcissez-le.", "Shorten it.")
}

func missingField(hintFR, hintEN string) *Fault {
	return newFault("missing_field", "",
		"Ce champ est obligatoire.", "This field is required.", hintFR, hintEN)
}

// checkCode refuses a code that its list does not hold; the hint names the
// list and, when it is short, its codes.
func (c *Catalogue) checkCode(list, value string) *Fault {
	if c.codes[[2]string{list, value}] != nil {
		return nil
	}
	f := newFault("unknown_code", value,
		"Ce code n'est pas dans la liste "+list+".", "This code is not in the list "+list+".",
		"Codes acceptés : "+c.codesOf(list)+".", "Accepted codes: "+c.codesOf(list)+".")
	f.Suggestion = nearest(value, func(yield func(string, string) bool) {
		for _, k := range c.lists[list] {
			if !yield(k.Code, k.Code) || !yield(k.Label.FR, k.Code) || !yield(k.Label.EN, k.Code) {
				return
			}
		}
	})
	didYouMean(f)
	return f
}

// codesOf writes the codes of a list, or where to read them when they are many.
func (c *Catalogue) codesOf(list string) string {
	codes := c.lists[list]
	if len(codes) > 16 {
		return "GET /v1/code-lists/" + list
	}
	var b strings.Builder
	for i, k := range codes {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k.Code)
	}
	return b.String()
}

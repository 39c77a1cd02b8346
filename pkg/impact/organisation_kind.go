package impact

// legalForms are everyday words for legal families, folded, beside the labels of
// the code list.
var legalForms = map[string]OrganisationClass{
	"asso": Association, "association loi 1901": Association, "association loi de 1901": Association, "loi 1901": Association, "association declaree": Association,
	"scop": Cooperative, "scic": Cooperative, "cae": Cooperative, "cooperative": Cooperative, "societe cooperative": Cooperative,
	"mutuelle": Mutual, "fondation": Foundation, "fonds de dotation": Foundation,
	"entreprise": Company, "societe": Company, "sarl": Company, "eurl": Company, "sas": Company, "sasu": Company, "sa": Company, "entreprise commerciale": Company,
	"collectivite": PublicBody, "etablissement public": PublicBody, "ccas": PublicBody, "organisme public": PublicBody,
}

// FindStructure reads what lists of members call a type: a structure kind (ACI,
// "Entreprise d'insertion"), else a legal family (association, "SCOP"). Case and
// accents do not count. The warning source_value_mapped says what was understood
// when s is no code of the column's own list, which is organisation_class with
// legal and structure_kind without; unknown_code names both lists.
func (c *Catalogue) FindStructure(s string, legal bool) (kind string, class OrganisationClass, warning, fault *Fault) {
	if s == "" {
		return "", "", nil, nil
	}
	pointer, folded := "/structure_kind", Fold(s)
	if legal {
		pointer = "/organisation_class"
	}
	in := func(list string) string {
		for _, k := range c.lists[list] {
			if folded == Fold(k.Code) || folded == Fold(k.Label.FR) || folded == Fold(k.Label.EN) {
				return k.Code
			}
		}
		return ""
	}
	kind = in("structure_kind")
	if kind == "" {
		if class = OrganisationClass(in("organisation_class")); class == "" {
			class = legalForms[folded]
		}
	}
	switch {
	case kind == "" && class == "":
		f := c.checkCode("structure_kind", s)
		if f == nil {
			return s, "", nil, nil
		}
		codes := Text{c.codesOf("structure_kind") + " ; familles : " + c.codesOf("organisation_class"), c.codesOf("structure_kind") + "; legal families: " + c.codesOf("organisation_class")}
		f.Detail = Text{"Ce n'est ni une nature de structure ni une famille juridique.", "This is neither a structure kind nor a legal family."}
		f.Hint = Text{"Codes acceptés : " + codes.FR + ".", "Accepted codes: " + codes.EN + "."}
		didYouMean(f)
		return "", "", nil, f.at(pointer)
	case kind == s && !legal, string(class) == s && legal:
		return kind, class, nil, nil
	}
	code := kind + string(class)
	list := Text{"nature de structure", "structure kind"}
	if kind == "" {
		list = Text{"famille juridique", "legal family"}
	}
	warning = newFault("source_value_mapped", s,
		"Lu comme "+code+" ("+list.FR+").", "Read as "+code+" ("+list.EN+").",
		"Rien à faire si c'est bien cela.", "Nothing to do if that is right.").at(pointer)
	warning.Suggestion = code
	return kind, class, warning, nil
}

package impact

import "strings"

// CheckSIRET reads a SIRET: 14 digits, valid when Luhn holds or when it is one
// of La Poste (prefix 356000000) whose digits add up to a multiple of 5.
// Spaces, no-break spaces, dots and hyphens are removed; nothing else is
// guessed. Fault: invalid_siret.
func CheckSIRET(s string) (normalised string, f *Fault) {
	n := compact(s)
	if len(n) == 14 && allDigits(n) && (luhn(n) || strings.HasPrefix(n, "356000000") && digitSum(n)%5 == 0) {
		return n, nil
	}
	f = newFault("invalid_siret", s,
		"Ce n'est pas un SIRET : la clé de contrôle ne convient pas.", "This is not a SIRET: its check digit is wrong.",
		"Recopiez les 14 chiffres de l'avis de situation Insee.", "Copy the 14 digits of the Insee notice.")
	switch {
	case scientific(s):
		f.Detail = Text{
			"Le tableur a écrit ce SIRET en notation scientifique : des chiffres sont perdus.",
			"The spreadsheet wrote this SIRET in scientific notation: digits are lost.",
		}
		f.Hint = Text{
			"Mettez la colonne au format texte, puis saisissez de nouveau les 14 chiffres.",
			"Format the column as text, then enter the 14 digits again.",
		}
	case !allDigits(n):
		f.Detail = Text{"Un SIRET ne contient que des chiffres.", "A SIRET holds digits only."}
	case len(n) == 9:
		f.Detail = Text{"Un SIRET a 14 chiffres ; 9 chiffres sont un SIREN.", "A SIRET has 14 digits; 9 digits are a SIREN."}
		f.Hint = Text{"Donnez le SIRET de l'établissement, ou le champ siren.", "Give the SIRET of the establishment, or the field siren."}
	case len(n) == 13:
		f.Detail = Text{
			"Un SIRET a 14 chiffres, celui-ci 13 : un zéro a pu se perdre au début.",
			"A SIRET has 14 digits, this one 13: a leading zero may be lost.",
		}
		f.Hint = Text{"Mettez la colonne au format texte et rétablissez le zéro.", "Format the column as text and restore the zero."}
		if _, bad := CheckSIRET("0" + n); bad == nil {
			f.Suggestion = "0" + n
		}
	case len(n) != 14:
		f.Detail = Text{"Un SIRET a 14 chiffres.", "A SIRET has 14 digits."}
	}
	return "", f
}

// CheckSIREN reads a SIREN: 9 digits, Luhn. Fault: invalid_siren.
func CheckSIREN(s string) (normalised string, f *Fault) {
	n := compact(s)
	if len(n) == 9 && allDigits(n) && luhn(n) {
		return n, nil
	}
	f = newFault("invalid_siren", s,
		"Ce n'est pas un SIREN : la clé de contrôle ne convient pas.", "This is not a SIREN: its check digit is wrong.",
		"Recopiez les 9 chiffres de l'avis de situation Insee.", "Copy the 9 digits of the Insee notice.")
	switch {
	case scientific(s), !allDigits(n):
		f.Detail = Text{"Un SIREN ne contient que des chiffres.", "A SIREN holds digits only."}
	case len(n) == 14:
		f.Detail = Text{"Un SIREN a 9 chiffres ; 14 chiffres sont un SIRET.", "A SIREN has 9 digits; 14 digits are a SIRET."}
		if _, bad := CheckSIREN(n[:9]); bad == nil {
			f.Suggestion = n[:9]
		}
	case len(n) != 9:
		f.Detail = Text{"Un SIREN a 9 chiffres.", "A SIREN has 9 digits."}
	}
	return "", f
}

// CheckRNA reads the number of an association: W, three characters, six
// digits. Fault: invalid_rna.
func CheckRNA(s string) (normalised string, f *Fault) {
	n := strings.ToUpper(compact(s))
	if len(n) == 10 && n[0] == 'W' && alphanumeric(n[1:4]) && allDigits(n[4:]) {
		return n, nil
	}
	return "", newFault("invalid_rna", s,
		"Un numéro RNA s'écrit W, trois caractères, six chiffres.", "An RNA number is W, three characters, six digits.",
		"Recopiez-le du récépissé de la préfecture, par exemple W691234567.", "Copy it from the prefecture's receipt, for example W691234567.")
}

// compact removes what people put between groups of digits.
func compact(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\u00a0', '\u202f', '\u2009', '.', '-':
			return -1
		}
		return r
	}, s)
}

// scientific recognises "1,23457E+13".
func scientific(s string) bool {
	mantissa, exponent, ok := strings.Cut(strings.ToUpper(strings.TrimSpace(s)), "E")
	return ok && mantissa != "" && exponent != "" &&
		strings.Trim(mantissa, "0123456789.,") == "" && allDigits(strings.TrimLeft(exponent, "+-"))
}

func luhn(digits string) bool {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

func digitSum(digits string) (sum int) {
	for i := range len(digits) {
		sum += int(digits[i] - '0')
	}
	return sum
}

func alphanumeric(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

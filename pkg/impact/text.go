package impact

// Lang is a language a person may ask for.
type Lang string

// The two languages of the tool. French comes first, by law and by use.
const (
	French  Lang = "fr"
	English Lang = "en"
)

// Text is the same sentence or label in both languages.
type Text struct{ FR, EN string }

// In gives the text in lang, French when the other language is missing.
func (t Text) In(lang Lang) string {
	if lang == English && t.EN != "" {
		return t.EN
	}
	return t.FR
}

// Words gives codes of any type as plain text.
func Words[Code ~string](codes []Code) []string {
	words := make([]string, len(codes))
	for i, c := range codes {
		words[i] = string(c)
	}
	return words
}

// IsZero tells that nothing is said.
func (t Text) IsZero() bool { return t == Text{} }

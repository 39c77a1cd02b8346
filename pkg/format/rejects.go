package format

var rejectColumns = map[string][]string{
	"fr": {"erreur_ligne", "erreur_codes", "erreur_messages", "erreur_conseils", "erreur_suggestions"},
	"en": {"error_line", "error_codes", "error_messages", "error_hints", "error_suggestions"},
}

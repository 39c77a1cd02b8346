package store_test

// communes are the 58 of the Métropole in force since 2024.
var communes = []string{
	"commune-69003", "commune-69029", "commune-69033", "commune-69034", "commune-69040", "commune-69044", "commune-69046", "commune-69063",
	"commune-69068", "commune-69069", "commune-69071", "commune-69072", "commune-69081", "commune-69085", "commune-69087", "commune-69088",
	"commune-69089", "commune-69091", "commune-69096", "commune-69100", "commune-69116", "commune-69117", "commune-69123", "commune-69127",
	"commune-69142", "commune-69143", "commune-69149", "commune-69153", "commune-69163", "commune-69168", "commune-69191", "commune-69194",
	"commune-69199", "commune-69202", "commune-69204", "commune-69205", "commune-69207", "commune-69233", "commune-69244", "commune-69250",
	"commune-69256", "commune-69259", "commune-69260", "commune-69266", "commune-69271", "commune-69273", "commune-69275", "commune-69276",
	"commune-69278", "commune-69279", "commune-69282", "commune-69283", "commune-69284", "commune-69286", "commune-69290", "commune-69292",
	"commune-69293", "commune-69296",
}

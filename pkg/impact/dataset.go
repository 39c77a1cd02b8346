package impact

import (
	"io"
	"slices"
	"strconv"
	"time"
)

// DatasetID names a dataset of open data, for ever: portals recognise what they
// have harvested by it.
type DatasetID string

// The datasets. An id is never renamed, reused or removed.
const (
	AggregatesDataset   DatasetID = "impact-aggregates"
	ContributorsDataset DatasetID = "impact-contributors"
	IndicatorsDataset   DatasetID = "indicators"
	ImpactTypesDataset  DatasetID = "impact-types"
	TerritoriesDataset  DatasetID = "territories"
)

// Licence of everything published: Licence Ouverte 2.0.
const Licence = "https://www.etalab.gouv.fr/licence-ouverte-open-licence"

// LicenceText names the licence to people.
var LicenceText = Text{FR: "Licence Ouverte 2.0 (Etalab)", EN: "Licence Ouverte / Open Licence 2.0 (Etalab)"}

// Dataset describes one dataset as one release holds it.
type Dataset struct {
	ID                 DatasetID
	Title, Description Text
	Keywords           []Text   // without commas
	Themes             []string // codes of the EU authority list data-theme
	Frequency          string   // code of the EU authority list frequency
	// Territorial tells that rows are about territories: a map can be made of
	// them. Figures tells that they passed disclosure control.
	Territorial, Figures bool
	Files                []FileKind

	// What the release makes of it; zero before the first release.
	Release  ReleaseNumber // the version of the dataset
	Issued   time.Time     // of its first version
	Modified time.Time     // when its bytes last moved
	Temporal *Period       // days its figures are about; nil for reference data
	// Distributions are the files of the release that exist already.
	Distributions []ExportFile
}

// FileKind is a way in which a dataset is written to a file.
type FileKind struct {
	// Name is the last part of the id of the distribution: "csv", "fr-csv".
	Name string
	// Suffix of the address, with its dot.
	Suffix string
	// MediaType as IANA has it, without parameters; ContentType is sent.
	MediaType, ContentType string
	// FileType is the code of the EU authority list file-type.
	FileType string
	Title    Text
	// Dense kinds are compressed already; the others are kept in gzip and zstd.
	Dense bool
	// Compressed is the media type of the compression that the file itself is
	// in: "application/gzip".
	Compressed string
	// Of is the kind whose gzip bytes this one is; empty otherwise.
	Of string
}

// The kinds of file.
var (
	CSVFile       = FileKind{Name: "csv", Suffix: ".csv", MediaType: "text/csv", ContentType: "text/csv; charset=utf-8; header=present", FileType: "CSV", Title: Text{"CSV", "CSV"}}
	FrenchCSVFile = FileKind{Name: "fr-csv", Suffix: ".fr.csv", MediaType: "text/csv", ContentType: "text/csv; charset=utf-8; header=present; dialect=fr", FileType: "CSV", Title: Text{"CSV pour les tableurs français", "CSV for French spreadsheets"}}
	GzipCSVFile   = FileKind{Name: "csv-gz", Suffix: ".csv.gz", MediaType: "text/csv", ContentType: "application/gzip", FileType: "CSV", Title: Text{"CSV compressé", "Compressed CSV"}, Dense: true, Compressed: "application/gzip", Of: "csv"}
	GeoJSONFile   = FileKind{Name: "geojson", Suffix: ".geojson", MediaType: "application/geo+json", ContentType: "application/geo+json", FileType: "GEOJSON", Title: Text{"GeoJSON, avec les contours", "GeoJSON, with outlines"}}
	XLSXFile      = FileKind{Name: "xlsx", Suffix: ".xlsx", MediaType: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ContentType: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", FileType: "XLSX", Title: Text{"Classeur Excel", "Excel workbook"}, Dense: true}
	NDJSONFile    = FileKind{Name: "ndjson", Suffix: ".ndjson", MediaType: "application/x-ndjson", ContentType: "application/x-ndjson", FileType: "JSON", Title: Text{"JSON, un objet par ligne", "JSON, one object a line"}}
	ParquetFile   = FileKind{Name: "parquet", Suffix: ".parquet", MediaType: "application/vnd.apache.parquet", ContentType: "application/vnd.apache.parquet", FileType: "PARQUET", Title: Text{"Parquet", "Parquet"}, Dense: true}
	JSONStatFile  = FileKind{Name: "jsonstat", Suffix: ".jsonstat.json", MediaType: "application/json", ContentType: "application/json; charset=utf-8", FileType: "JSON", Title: Text{"JSON-stat 2.0", "JSON-stat 2.0"}}
	SDMXCSVFile   = FileKind{Name: "sdmx-csv", Suffix: ".sdmx.csv", MediaType: "application/vnd.sdmx.data+csv", ContentType: "application/vnd.sdmx.data+csv; version=2.0.0; charset=utf-8", FileType: "CSV", Title: Text{"SDMX-CSV 2.0", "SDMX-CSV 2.0"}}
)

// Datasets describes every dataset, apart from what a release makes of it.
func Datasets() []Dataset {
	figures := []FileKind{CSVFile, FrenchCSVFile, GzipCSVFile, GeoJSONFile, XLSXFile, NDJSONFile, ParquetFile, JSONStatFile, SDMXCSVFile}
	lists := []FileKind{CSVFile, FrenchCSVFile, GzipCSVFile, XLSXFile, NDJSONFile, ParquetFile}
	return []Dataset{
		{
			ID:    AggregatesDataset,
			Title: Text{FR: "Impact social, environnemental et économique par territoire de la Métropole de Lyon", EN: "Social, environmental and economic impact by territory of the Métropole de Lyon"},
			Description: Text{
				FR: "Chiffres d'impact par indicateur, territoire et période, calculés à partir des déclarations d'organisations et publiés après contrôle de la confidentialité : aucun chiffre d'une organisation ne peut en être retrouvé. Un chiffre caché n'a pas de valeur et porte le statut Q ; ce n'est jamais un zéro.",
				EN: "Impact figures by indicator, territory and period, computed from what organisations state and published after disclosure control: nobody's figure can be recovered from them. A withheld figure has no value and the status Q; it is never a zero.",
			},
			Keywords: []Text{{"impact social", "social impact"}, {"économie sociale et solidaire", "social economy"}, {"insertion", "work integration"}, {"réemploi", "reuse"}, {"indicateurs", "indicators"}, {"statistiques territoriales", "territorial statistics"}},
			Themes:   []string{"SOCI", "ENVI", "ECON"}, Frequency: "QUARTERLY", Territorial: true, Figures: true, Files: figures,
		},
		{
			ID:    ContributorsDataset,
			Title: Text{FR: "Organisations contributrices par nature d'impact et territoire", EN: "Contributing organisations by nature of impact and territory"},
			Description: Text{
				FR: "Nombre d'organisations (unités légales) qui contribuent aux chiffres publiés, par nature d'impact, territoire et année, après contrôle de la confidentialité.",
				EN: "Number of organisations (legal units) that contribute to the published figures, by nature of impact, territory and year, after disclosure control.",
			},
			Keywords: []Text{{"impact social", "social impact"}, {"organisations", "organisations"}, {"économie sociale et solidaire", "social economy"}},
			Themes:   []string{"SOCI", "ECON"}, Frequency: "QUARTERLY", Territorial: true, Figures: true, Files: figures,
		},
		{
			ID:    IndicatorsDataset,
			Title: Text{FR: "Indicateurs d'impact", EN: "Impact indicators"},
			Description: Text{
				FR: "Ce qui est mesuré : code, libellé, définition, unité, règle d'agrégation et nature d'impact de chaque indicateur des chiffres publiés.",
				EN: "What is measured: code, label, definition, unit, aggregation rule and nature of impact of each indicator of the published figures.",
			},
			Keywords: []Text{{"indicateurs", "indicators"}, {"nomenclature", "classification"}, {"mesure d'impact", "impact measurement"}},
			Themes:   []string{"SOCI"}, Frequency: "IRREG", Files: lists,
		},
		{
			ID:    ImpactTypesDataset,
			Title: Text{FR: "Natures d'impact", EN: "Natures of impact"},
			Description: Text{
				FR: "Nomenclature à deux niveaux des natures d'impact dans lesquelles les indicateurs sont rangés.",
				EN: "Classification, in two levels, of the natures of impact that indicators are sorted into.",
			},
			Keywords: []Text{{"nomenclature", "classification"}, {"mesure d'impact", "impact measurement"}},
			Themes:   []string{"SOCI"}, Frequency: "IRREG", Files: lists,
		},
		{
			ID:    TerritoriesDataset,
			Title: Text{FR: "Territoires des chiffres d'impact", EN: "Territories of the impact figures"},
			Description: Text{
				FR: "Territoires sur lesquels portent les chiffres publiés : pays, région, département, Métropole, conférences territoriales des maires, communes et arrondissements, avec leurs contours quand ils sont chargés.",
				EN: "Territories that the published figures are about: country, region, département, Métropole, territorial conferences of mayors, communes and arrondissements, with their outlines when they are loaded.",
			},
			Keywords: []Text{{"territoires", "territories"}, {"communes", "municipalities"}, {"Métropole de Lyon", "Métropole de Lyon"}},
			Themes:   []string{"REGI"}, Frequency: "IRREG", Territorial: true, Files: append(slices.Clone(lists[:3:3]), GeoJSONFile, XLSXFile, NDJSONFile, ParquetFile),
		},
	}
}

// DatasetByID describes a dataset; nil when there is none of that id.
func DatasetByID(id DatasetID) *Dataset {
	all := Datasets()
	if i := slices.IndexFunc(all, func(d Dataset) bool { return d.ID == id }); i >= 0 {
		return &all[i]
	}
	return nil
}

// File gives the kind of file with a suffix; nil when the dataset has none.
func (d *Dataset) File(suffix string) *FileKind {
	for i := range d.Files {
		if d.Files[i].Suffix == suffix {
			return &d.Files[i]
		}
	}
	return nil
}

// FileNamed gives the kind of file with a name; nil when the dataset has none.
func (d *Dataset) FileNamed(name string) *FileKind {
	for i := range d.Files {
		if d.Files[i].Name == name {
			return &d.Files[i]
		}
	}
	return nil
}

// ExportFile is one file of one release, kept as it was first written: a later
// version of the program does not change it.
type ExportFile struct {
	Dataset DatasetID
	Release ReleaseNumber
	Kind    FileKind
	// Size in bytes and SHA-256 in hexadecimal, of the file as it is, whatever
	// encoding it is sent in.
	Size   int64
	SHA256 string
	Rows   int
	// Modified is when its bytes last moved: the publication of the first of the
	// releases in a row that give the same bytes.
	Modified time.Time
	Variants []ExportVariant
}

// ExportVariant is the size of a file in one encoding, and what names its bytes.
type ExportVariant struct {
	Encoding FileEncoding
	Size     int64
	SHA256   string
}

// Variant gives the file in an encoding, false when it is not kept in it.
func (f *ExportFile) Variant(e FileEncoding) (ExportVariant, bool) {
	for _, v := range f.Variants {
		if v.Encoding == e {
			return v, true
		}
	}
	return ExportVariant{}, false
}

// ExportBody is an open file in one encoding. Nothing is read before the first
// Read, so that asking for its size costs nothing; Content is to be closed.
type ExportBody struct {
	File    ExportFile
	Variant ExportVariant
	Content io.ReadSeekCloser
}

// FileEncoding is how the bytes of a file are kept and sent (Content-Encoding);
// empty for the bytes as they are.
type FileEncoding string

// Encodings.
const (
	Identity FileEncoding = ""
	Gzip     FileEncoding = "gzip"
	Zstd     FileEncoding = "zstd"
)

// ExportPath is the address of a file: of one release for ever, of the latest
// when release is 0.
func ExportPath(d DatasetID, release ReleaseNumber, suffix string) string {
	if release == 0 {
		return "/v1/exports/" + string(d) + suffix
	}
	return "/v1/exports/" + string(d) + "@" + strconv.Itoa(int(release)) + suffix
}

// Suffixes of the documents beside the tables of a dataset.
const (
	TableSchemaSuffix = ".tableschema.json"
	CSVWSuffix        = ".csv-metadata.json"
)

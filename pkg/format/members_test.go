package format_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

func members(t *testing.T, data []byte, o format.ReadOptions) (*format.Table, []string) {
	t.Helper()
	o.Schema = format.Members
	table, err := format.Open(bytes.NewReader(data), o)
	check(t, err)
	var out []string
	for row, err := range table.Members(catalogue()) {
		check(t, err)
		m := row.Member
		s := fmt.Sprintf("%d/%d %s|%s|%s|%s|%s|%s|%s|%s|%s", row.Row, row.Line, m.Organisation, m.SIRET, m.SIREN, m.RNA, m.ExternalID, m.Name, m.StructureKind, m.Territory, m.From.String()+".."+m.To.String())
		if row.Action != 0 {
			s += fmt.Sprintf(" action=%c", row.Action)
		}
		out = append(out, s+codes("!", row.Faults)+codes("?", row.Warnings))
	}
	return table, out
}

func TestMembersAsANetworkListsThem(t *testing.T) {
	file := "N° adhérent;Raison sociale;SIRET;Type;Code postal;Ville;Date d'adhésion;Sortie;e-mail\r\n" +
		"A1;Jardins;348 323 775 00018;ACI;69100;VILLEURBANNE;01/02/2020;;x@y.fr\r\n" +
		"A2;Sans SIRET;;;69003;Lyon;2021-01-01;31/12/2024;\r\n" +
		"A3;Faux;12345678901234;EI;;;hier;;\r\n" +
		"A4;Tableur;3,48324E+13;EI;;;;;\r\n"
	table, got := members(t, []byte(file), format.ReadOptions{})
	want := []string{
		"1/2 siret:34832377500018|34832377500018|||A1|Jardins|ACI|commune-69266|2020-02-01.. ?identifier_normalised@3→34832377500018 ?source_value_mapped@6→commune-69266",
		"2/3 ||||A2|Sans SIRET||arrondissement-69383|2021-01-01..2024-12-31 ?source_value_mapped@6→arrondissement-69383",
		"3/4 ||||A3|Faux|EI||.. !invalid_siret@3 !invalid_date@7",
		"4/5 ||||A4|Tableur|EI||.. !invalid_siret@3",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"e-mail"}, table.Headers.Ignored); d != "" {
		t.Error(d)
	}
	_, got = members(t, []byte(`{"members":[{"siret":"34832377500018","from":"2020-01-01","action":"D"},{"organisation":"0198","name":3,"nom":"x"}]}`), format.ReadOptions{})
	want = []string{
		"1/1 siret:34832377500018|34832377500018|||||||2020-01-01.. action=D",
		"2/1 0198||||||||.. !invalid_type@0 !unknown_member@0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	_, got = members(t, workbook(t, func(f *excelize.File) {
		check(t, f.SetSheetRow("Sheet1", "A1", &[]any{"siret", "from", "to"}))
		check(t, f.SetSheetRow("Sheet1", "A2", &[]any{34832377500018, 45292, "31/12/2024"})) // a day that lost its format
	}), format.ReadOptions{})
	if d := cmp.Diff([]string{"1/2 siret:34832377500018|34832377500018|||||||2024-01-01..2024-12-31"}, got); d != "" {
		t.Error(d)
	}
}

func TestATypeIsAKindOrALegalFamily(t *testing.T) {
	catalogue := catalogue()
	for text, want := range map[string]string{
		"ACI": "ACI/", "aci": "ACI/ ?", "Entreprise d'insertion": "EI/ ?", "Association": "/association ?", "SCOP": "/cooperative ?", "Scic": "/cooperative ?", "Coopérative": "/cooperative ?",
		"MUTUELLE": "/mutual ?", "Fondation": "/foundation ?", "Entreprise": "/company ?", "Collectivité": "/public_body ?", "Adhérent actif": "/ !unknown_code", "": "/",
	} {
		for _, header := range []string{"Type", "Forme"} {
			table, err := format.Open(strings.NewReader("Nom;SIRET;"+header+";Date entrée;Date sortie\nx;34832377500018;"+text+";01/03/2024;31/12/2025\n"), format.ReadOptions{Schema: format.Members})
			check(t, err)
			for row, err := range table.Members(catalogue) {
				check(t, err)
				got := row.Member.StructureKind + "/" + string(row.Member.Class)
				for _, w := range row.Warnings {
					if got += " ?"; w.Code != "source_value_mapped" || w.Column != 3 {
						t.Errorf("%s: %+v", text, w)
					}
				}
				for _, f := range row.Faults {
					got += " !" + string(f.Code)
				}
				if got != want || row.Member.From.String() != "2024-03-01" || row.Member.To.String() != "2025-12-31" {
					t.Errorf("%q is %q, not %q; %v to %v", text, got, want, row.Member.From, row.Member.To)
				}
			}
		}
	}
	_, got := members(t, []byte(`{"members":[{"siret":"34832377500018","organisation_class":"association"}]}`), format.ReadOptions{})
	if d := cmp.Diff([]string{"1/1 siret:34832377500018|34832377500018|||||||.."}, got); d != "" {
		t.Error(d)
	}
}

func TestWhatIsFoundAboutAMemberIsPlaced(t *testing.T) {
	table, err := format.Open(strings.NewReader("Nom;SIRET;Ville\nx;34832377500018;Atlantis\n"), format.ReadOptions{Schema: format.Members})
	check(t, err)
	for row, err := range table.Members(nil) {
		check(t, err)
		row.Tell([]impact.Fault{{Code: "unknown_organisation", Pointer: "/organisation"}}, []impact.Fault{{Code: "place_unresolved", Pointer: "/territory"}})
		if got := codes("!", row.Faults) + codes("?", row.Warnings); got != " !unknown_organisation@2 ?place_unresolved@3" {
			t.Error(got)
		}
	}
}

// The real directory of inclusion employers is read as it is published.
func TestARealDirectory(t *testing.T) {
	for name, want := range map[string]struct{ rows, places, faults int }{
		"siae-departement-69.csv": {rows: 72, places: 70, faults: 0},
		"siae-france.csv.gz":      {rows: 3853, places: 70, faults: 13},
	} {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "samples", name))
		if err != nil {
			t.Skip("the samples are not here")
		}
		table, err := format.Open(bytes.NewReader(data), format.ReadOptions{Schema: format.Members, Name: name})
		check(t, err)
		rows, places, faults := 0, 0, 0
		for row, err := range table.Members(catalogue()) {
			check(t, err)
			rows++
			if strings.Contains(row.Member.Territory, "-6") {
				places++
			}
			if len(row.Faults) > 0 {
				faults++
			}
			if row.Member.Name == "" || row.Member.StructureKind == "" {
				t.Errorf("%s line %d: %+v", name, row.Line, row.Member)
			}
		}
		if rows != want.rows || faults != want.faults || places != want.places {
			t.Errorf("%s: %d rows, %d places, %d with faults", name, rows, places, faults)
		}
	}
}

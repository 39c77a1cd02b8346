package docs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/grandlyon/retombees/"

// TestTheImportPictureIsTrue holds the table of architecture.md against what
// `go list` sees: every package has a row, and imports nothing its row lacks.
func TestTheImportPictureIsTrue(t *testing.T) {
	allowed := importTable(t)
	seen := map[string]bool{}
	for _, p := range listPackages(t) {
		room, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue
		}
		seen[room] = true
		row, ok := allowed[room]
		if !ok {
			t.Errorf("%s has no row in docs/architecture.md", room)
			continue
		}
		for _, imp := range p.Imports {
			if dep, own := strings.CutPrefix(imp, module); own && !slices.Contains(row, dep) {
				t.Errorf("%s imports %s: draw the arrow in docs/architecture.md, or do without it", room, dep)
			}
		}
	}
	for room := range allowed {
		if !seen[room] {
			t.Errorf("docs/architecture.md has a row for %s, which does not exist", room)
		}
	}
}

// TestLibrariesStayInTheirRooms: the frameworks are each known to one room, so
// that replacing one is the work of one room.
func TestLibrariesStayInTheirRooms(t *testing.T) {
	homes := map[string]string{
		"github.com/labstack/echo/":  "api",
		"gorm.io/":                   "pkg/store",
		"github.com/golang-jwt/":     "pkg/auth",
		"github.com/swaggo/":         "cmd/openapi",
		"github.com/jackc/pgx/":      "pkg/store",
		"github.com/pressly/goose":   "pkg/store",
		"github.com/alecthomas/kong": "cmd/retombees",
	}
	for _, p := range listPackages(t) {
		room, _ := strings.CutPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			for lib, home := range homes {
				if strings.HasPrefix(imp, lib) && room != home && !strings.HasPrefix(room, home+"/") && room != "cmd/load" {
					t.Errorf("%s imports %s, which belongs to %s", room, imp, home)
				}
			}
			if room == "pkg/impact" && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
				t.Errorf("pkg/impact imports %s: the domain knows the standard library only", imp)
			}
		}
	}
}

type listedPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

var code = regexp.MustCompile("`([^`]+)`")

func importTable(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		room := code.FindStringSubmatch(cells[1])
		if room == nil {
			continue
		}
		table[room[1]] = []string{}
		for _, m := range code.FindAllStringSubmatch(cells[2], -1) {
			table[room[1]] = append(table[room[1]], m[1])
		}
	}
	if len(table) < 5 {
		t.Fatal("the table of architecture.md could not be read")
	}
	return table
}

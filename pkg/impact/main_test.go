package impact_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Every fault code that this package can give is made to appear by a test:
// the whole run is compared with what the source says.
func TestMain(m *testing.M) {
	status := m.Run()
	whole := func(name string) bool { return flag.Lookup("test."+name).Value.String() == "" }
	if status == 0 && whole("run") && whole("skip") && whole("fuzz") && whole("list") {
		for _, code := range codesInSource() {
			if _, ok := produced.Load(code); !ok {
				fmt.Fprintf(os.Stderr, "no test produces the fault %s\n", code)
				status = 1
			}
		}
	}
	os.Exit(status)
}

// codesInSource reads the codes given to newFault and assigned to a Code.
func codesInSource() []impact.FaultCode {
	files, err := filepath.Glob("*.go")
	if err != nil {
		panic(err)
	}
	var codes []impact.FaultCode
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, _ := strconv.Unquote(lit.Value)
			codes = append(codes, impact.FaultCode(s))
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			panic(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "newFault" || f.Name == "FaultCode") {
					add(n.Args[0])
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if sel, ok := left.(*ast.SelectorExpr); ok && sel.Sel.Name == "Code" && i < len(n.Rhs) {
						add(n.Rhs[i])
					} else if id, ok := left.(*ast.Ident); ok && id.Name == "code" && i < len(n.Rhs) {
						add(n.Rhs[i])
					}
				}
			}
			return true
		})
	}
	if len(codes) < 50 {
		panic("the codes of the source were not found")
	}
	return codes
}

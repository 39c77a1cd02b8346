package docs_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/docs"
)

// The page must work on a network that reaches nothing but this server, under docs.UIPolicy.
func TestDocumentationPageNeedsNothingFromElsewhere(t *testing.T) {
	page, err := fs.ReadFile(docs.UI, "ui/index.html")
	if err != nil {
		t.Fatal(err)
	}
	loads := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(string(page), -1)
	if len(loads) == 0 {
		t.Fatal("the page loads nothing")
	}
	for _, l := range loads {
		switch name, ours := strings.CutPrefix(l[1], "/docs/"); {
		case l[1] == "/openapi.json" || l[1] == "/openapi.yaml":
		case !ours:
			t.Errorf("%s is not served from /docs", l[1])
		default:
			if _, err := fs.Stat(docs.UI, "ui/"+name); err != nil {
				t.Error(err)
			}
		}
	}
	for what, pattern := range map[string]string{
		"inline script": `<script>|<script [^>]*>[^<]`,
		"inline style":  `<style| style=`,
		"event handler": ` on[a-z]+=`,
	} {
		if found := regexp.MustCompile(pattern).Find(page); found != nil {
			t.Errorf("%s, which the policy refuses: %s", what, found)
		}
	}
}

package api

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// versionTag is the strong ETag of a writable resource: its version number.
func versionTag(version int) string { return `"v` + strconv.Itoa(version) + `"` }

// weakTag is the ETag of a computed answer; it names the data, the query, the
// format and the language.
func (c *call) weakTag(data string) string {
	asked := sha256.Sum256([]byte(c.path + "?" + c.query.canonical()))
	return `W/"` + data + "-" + hex(asked[:6]) + "-" + c.format.Name + "-" + string(c.lang) + `"`
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(b))
	for _, x := range b {
		out = append(out, digits[x>>4], digits[x&15])
	}
	return string(out)
}

// fresh sets the ETag of the answer and tells whether the caller already has
// it: the answer is then a 304, already written. It is asked before any work.
func (c *call) fresh(tag string) bool {
	c.w.Header().Set("ETag", tag)
	h := c.r.Header.Values("If-None-Match")
	if len(h) == 0 {
		return false
	}
	if !matchesTag(h, tag) {
		return false
	}
	c.notModified()
	return true
}

// matchesTag tells that If-None-Match names the tag.
func matchesTag(h []string, tag string) bool {
	return slices.ContainsFunc(splitTags(strings.Join(h, ",")), func(t string) bool {
		return t == "*" || bareTag(t) == bareTag(tag)
	})
}

// bareTag removes what a transfer may add: the weak mark and "-gzip".
func bareTag(t string) string {
	t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
	return strings.TrimSuffix(strings.Trim(t, `"`), "-gzip")
}

func splitTags(h string) []string {
	var out []string
	for t := range strings.SplitSeq(h, ",") {
		if t = strings.TrimSpace(t); t != "" {
			out = append(out, t)
		}
	}
	return out
}

// ifMatch gives the version the caller read before writing. "v7" is accepted,
// and so are "v7-gzip" and W/"v7": a proxy that compresses weakens the tag, and
// the number is exact anyway. A 428 when absent, a 400 when it is not a tag of ours.
func (c *call) ifMatch() (int, error) {
	tags := splitTags(strings.Join(c.r.Header.Values("If-Match"), ","))
	if len(tags) == 0 || len(tags) == 1 && tags[0] == "*" {
		return 0, &impact.Error{
			Kind: impact.Unconditional, Code: "precondition_required",
			Detail: impact.Text{FR: "Un changement dit sur quelle version il porte.", EN: "A change says which version it is made on."},
			Hint:   impact.Text{FR: `Lisez la ressource, puis renvoyez son ETag : If-Match: "v7".`, EN: `Read the resource, then send its ETag back: If-Match: "v7".`},
		}
	}
	version := 0
	for _, t := range tags {
		n, err := strconv.Atoi(strings.TrimPrefix(bareTag(t), "v"))
		if err != nil || n < 1 || !strings.HasPrefix(bareTag(t), "v") || version != 0 && n != version {
			return 0, &impact.Error{
				Kind: impact.Malformed, Code: "invalid_header",
				Detail: impact.Text{FR: "If-Match n'est pas un ETag donné par cette API.", EN: "If-Match is not an ETag given by this API."},
				Hint:   impact.Text{FR: `Un seul ETag, tel que reçu : If-Match: "v7".`, EN: `One ETag, as received: If-Match: "v7".`},
				Faults: []impact.Fault{{Code: "invalid_type", Header: "If-Match", Value: t}},
			}
		}
		version = n
	}
	return version, nil
}

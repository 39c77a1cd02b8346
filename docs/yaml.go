package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// YAML writes a JSON document as YAML 1.2 in block style, members in the order met. Strings that another reader could take
// for something else are quoted as in JSON, which YAML reads alike; texts of several lines are written as blocks.
func YAML(document []byte) ([]byte, error) {
	w := yamlWriter{in: json.NewDecoder(bytes.NewReader(document))}
	w.in.UseNumber()
	if err := w.value(0, false); err != nil {
		return nil, err
	}
	if _, err := w.in.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the end of the JSON document")
	}
	return w.out.Bytes(), nil
}

type yamlWriter struct {
	in  *json.Decoder
	out bytes.Buffer
}

// value writes the next value. The cursor stands after "key:" or "-", or, where inItem, after "- " on a line that a
// mapping may go on.
func (w *yamlWriter) value(depth int, inItem bool) error {
	token, err := w.in.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		if !w.in.More() {
			if _, err := w.in.Token(); err != nil {
				return err
			}
			fmt.Fprintf(&w.out, "%s%c%c\n", w.space(), t, t+2) // "{}" and "[]" are two apart in ASCII
			return nil
		}
		if t == '{' {
			return w.mapping(depth, inItem)
		}
		return w.sequence(depth)
	case string:
		w.text(t, depth)
	case nil:
		w.out.WriteString(w.space() + "null\n")
	default:
		fmt.Fprintf(&w.out, "%s%v\n", w.space(), t)
	}
	return nil
}

func (w *yamlWriter) mapping(depth int, inItem bool) error {
	first := true
	for w.in.More() {
		key, err := w.in.Token()
		if err != nil {
			return err
		}
		switch {
		case first && inItem:
			w.out.WriteByte(' ')
		case first && w.out.Len() > 0:
			w.out.WriteByte('\n')
			fallthrough
		default:
			w.indent(depth)
		}
		first = false
		w.out.WriteString(scalar(key.(string)) + ":")
		if err := w.value(depth+1, false); err != nil {
			return err
		}
	}
	_, err := w.in.Token()
	return err
}

func (w *yamlWriter) sequence(depth int) error {
	if w.out.Len() > 0 {
		w.out.WriteByte('\n')
	}
	for w.in.More() {
		w.indent(depth)
		w.out.WriteByte('-')
		if err := w.value(depth+1, true); err != nil {
			return err
		}
	}
	_, err := w.in.Token()
	return err
}

func (w *yamlWriter) text(s string, depth int) {
	if !blockSafe(s) {
		w.out.WriteString(w.space() + scalar(s) + "\n")
		return
	}
	w.out.WriteString(w.space() + "|-\n")
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" {
			w.indent(depth)
			w.out.WriteString(line)
		}
		w.out.WriteByte('\n')
	}
}

func (w *yamlWriter) indent(depth int) { w.out.WriteString(strings.Repeat("  ", depth)) }

func (w *yamlWriter) space() string {
	if w.out.Len() == 0 {
		return ""
	}
	return " "
}

// blockSafe says whether s can be a literal block: several lines, none with a trailing space, the first neither empty nor
// indented, no control character.
func blockSafe(s string) bool {
	if !strings.Contains(s, "\n") || strings.HasSuffix(s, "\n") || strings.HasPrefix(s, "\n") || strings.HasPrefix(s, " ") {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasSuffix(line, " ") || control.MatchString(line) {
			return false
		}
	}
	return true
}

var (
	control = regexp.MustCompile(`[\p{Cc}\x{2028}\x{2029}\x{FEFF}]`)
	plain   = regexp.MustCompile(`^[\p{L}/_$][\p{L}\p{N} _/$.+()'’«»…{}-]*$`)
	// What YAML 1.1 or 1.2 readers take for a boolean, a null or a number.
	reserved = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|inf|\.inf|\.nan)$`)
)

func scalar(s string) string {
	if plain.MatchString(s) && !reserved.MatchString(s) && !strings.HasSuffix(s, " ") {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	// JSON may leave as they are some characters that YAML folds or forbids.
	return control.ReplaceAllStringFunc(strings.TrimSuffix(b.String(), "\n"), func(c string) string {
		return fmt.Sprintf(`\u%04x`, []rune(c)[0])
	})
}

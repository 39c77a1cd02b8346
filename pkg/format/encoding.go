package format

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Encodings that are read.
const (
	encUTF8    = "utf-8"
	encUTF16LE = "utf-16le"
	encUTF16BE = "utf-16be"
	encWindows = "windows-1252"
)

var charsets = map[string]string{
	"utf-8": encUTF8, "utf8": encUTF8, "us-ascii": encUTF8,
	"windows-1252": encWindows, "cp1252": encWindows, "iso-8859-1": encWindows, "iso-8859-15": encWindows, "latin1": encWindows,
	"utf-16le": encUTF16LE, "utf-16be": encUTF16BE, "utf-16": encUTF16LE,
}

// decode gives the text of a file in UTF-8 and notes in l how it was encoded. A
// byte order mark decides, then what the sender declares, then the bytes. Bytes
// that are not text come through as they are in UTF-8, as U+FFFD otherwise.
func decode(in *bufio.Reader, head []byte, mediaType string, l *Layout) (io.Reader, error) {
	for _, mark := range []struct{ bytes, encoding string }{{"\xef\xbb\xbf", encUTF8}, {"\xff\xfe", encUTF16LE}, {"\xfe\xff", encUTF16BE}} {
		if bytes.HasPrefix(head, []byte(mark.bytes)) {
			if _, err := in.Discard(len(mark.bytes)); err != nil {
				return nil, err
			}
			l.Encoding, l.BOM = mark.encoding, true
			return decoder(in, mark.encoding), nil
		}
	}
	if _, params, err := mime.ParseMediaType(mediaType); err == nil && params["charset"] != "" {
		e, ok := charsets[strings.ToLower(params["charset"])]
		if !ok {
			return nil, &impact.Error{
				Kind: impact.Malformed, Code: "unsupported_media_type",
				Detail: impact.Text{FR: "Encodage non lu : " + params["charset"] + ".", EN: "Encoding not read: " + params["charset"] + "."},
				Hint:   impact.Text{FR: "Envoyez de l'UTF-8, de l'UTF-16 ou du Windows-1252.", EN: "Send UTF-8, UTF-16 or Windows-1252."},
			}
		}
		l.Encoding = e
		return decoder(in, e), nil
	}
	if e := zeroes(head); e != "" {
		l.Encoding, l.Guessed = e, true
		return decoder(in, e), nil
	}
	l.Encoding = encUTF8
	if l.Format != "csv" {
		return in, nil // JSON is UTF-8
	}
	return &lateReader{in: in, layout: l}, nil
}

func decoder(in io.Reader, encoding string) io.Reader {
	switch encoding {
	case encUTF16LE:
		return transform.NewReader(in, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder())
	case encUTF16BE:
		return transform.NewReader(in, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder())
	case encWindows:
		return transform.NewReader(in, charmap.Windows1252.NewDecoder())
	}
	return in
}

// zeroes recognises UTF-16 without a mark: every other byte of Latin text is 0.
func zeroes(b []byte) string {
	var at [2]int
	for i, c := range b {
		if c == 0 {
			at[i&1]++
		}
	}
	switch quarter := len(b) / 4; {
	case at[1] > quarter && at[0] < at[1]/8:
		return encUTF16LE
	case at[0] > quarter && at[1] < at[0]/8:
		return encUTF16BE
	}
	return ""
}

// lateReader passes ASCII on and judges the encoding at the first byte that is
// not: the first accent may stand far below the header.
type lateReader struct {
	in     *bufio.Reader
	layout *Layout
	known  io.Reader
}

func (r *lateReader) Read(p []byte) (int, error) {
	if r.known != nil {
		return r.known.Read(p)
	}
	b, err := r.in.Peek(1)
	if len(b) == 0 {
		return 0, err
	}
	b, _ = r.in.Peek(min(r.in.Buffered(), len(p)))
	if n := ascii(b); n > 0 {
		return r.in.Read(p[:n])
	}
	b, err = r.in.Peek(sampleSize)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return 0, err
	}
	if r.known = r.in; !looksUTF8(b) {
		r.layout.Encoding, r.layout.Guessed = encWindows, true
		r.known = decoder(r.in, encWindows)
	}
	return r.known.Read(p)
}

// ascii counts the bytes of b before the first that is not ASCII.
func ascii(b []byte) int {
	for i, c := range b {
		if c >= utf8.RuneSelf {
			return i
		}
	}
	return len(b)
}

// looksUTF8 weighs letters of UTF-8 against bytes that are none: one broken
// byte does not make a file of another encoding.
func looksUTF8(b []byte) bool {
	letters, broken := 0, 0
	for len(b) > 0 {
		if i := ascii(b); i > 0 {
			b = b[i:]
			continue
		}
		_, n := utf8.DecodeRune(b)
		switch {
		case n > 1:
			letters++
		case utf8.FullRune(b):
			broken++
		}
		b = b[n:]
	}
	return letters > broken || broken == 0
}

func encodingGuessed(l *Layout) impact.Fault {
	name := map[string]string{encWindows: "Windows-1252", encUTF16LE: "UTF-16 LE", encUTF16BE: "UTF-16 BE"}[l.Encoding]
	return impact.Fault{
		Code: "encoding_guessed", Value: l.Encoding,
		Detail: impact.Text{FR: "Le fichier a été lu en " + name + ", d'après ses octets.", EN: "The file was read as " + name + ", judging by its bytes."},
		Hint:   impact.Text{FR: "Vérifiez les accents, ou enregistrez en UTF-8.", EN: "Check the accents, or save as UTF-8."},
	}
}

package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ImportBody is the size of the file of an import as it is sent (api.md 15).
const ImportBody = 20 << 20

// fileTypes are the media types of files; multipart/form-data carries one of
// them. Excel and browsers name CSV in several ways.
var fileTypes = []string{
	"text/csv", "application/json", "application/x-ndjson", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"multipart/form-data", "text/tab-separated-values", "text/plain", "application/csv", "application/vnd.ms-excel", "application/octet-stream",
}

// sentFile is the file of a request, in a temporary file of its own.
type sentFile struct {
	*os.File
	name, mediaType string
	size            int64
	sum             [32]byte
}

// forget removes the temporary file.
func (f *sentFile) forget() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// uploadTimeout is how long a file may take to arrive: 20 MB at 1 Mbit/s.
const uploadTimeout = 3 * time.Minute

// unhurried gives the request the time a file needs, and returns what gives it
// the ordinary time again, counted from then.
func (c *call) unhurried() (resume func()) {
	connection, until := http.NewResponseController(c.w), c.s.Now().Add(uploadTimeout)
	// Connections that know no deadline have none to move.
	_ = connection.SetReadDeadline(until)
	_ = connection.SetWriteDeadline(until.Add(requestTimeout))
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), requestTimeout)
		context.AfterFunc(ctx, cancel)
		c.r = c.r.WithContext(ctx)
	}
}

// receiveFile reads the file of the request into a temporary file, no larger
// than ImportBody. Who calls forgets it.
func (c *call) receiveFile() (*sentFile, error) {
	defer c.unhurried()()
	typ, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(c.route.consumes(), typ) {
		return nil, c.otherFile(typ)
	}
	if e := c.r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") && !strings.EqualFold(e, "gzip") {
		return nil, c.unsupported(impact.Text{FR: "Corps compressé (" + e + ") : seul gzip est lu.", EN: "Compressed body (" + e + "): only gzip is read."})
	}
	if c.r.ContentLength > ImportBody {
		c.w.Header().Set("Connection", "close")
		return nil, fileTooLarge()
	}
	body := http.MaxBytesReader(c.w.ResponseWriter, c.r.Body, ImportBody)
	if typ != "multipart/form-data" {
		return spool(body, fileName(c.r.Header.Get("Content-Disposition")), c.r.Header.Get("Content-Type"))
	}
	return receiveForm(multipart.NewReader(body, params["boundary"]))
}

// otherFile refuses a media type that is not read; who keeps a workbook of
// another program is told how to save it.
func (c *call) otherFile(typ string) error {
	if strings.HasPrefix(typ, "application/vnd.oasis.opendocument") || strings.HasPrefix(typ, "application/vnd.ms-excel.") {
		return &impact.Error{
			Kind: impact.Malformed, Code: "unsupported_media_type",
			Detail: impact.Text{FR: "Ce classeur n'est pas lu : " + typ + ".", EN: "This workbook is not read: " + typ + "."},
			Hint:   impact.Text{FR: "Enregistrez-le au format .xlsx (Fichier, Enregistrer sous) et envoyez-le de nouveau.", EN: "Save it as .xlsx (File, Save as) and send it again."},
		}
	}
	return c.unsupported(impact.Text{FR: "Type de contenu absent ou inconnu ici.", EN: "Content type absent or unknown here."})
}

// receiveForm reads a form that holds one file and nothing else.
func receiveForm(form *multipart.Reader) (file *sentFile, err error) {
	defer func() {
		if err != nil && file != nil {
			file.forget()
		}
	}()
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return file, broken(err)
		}
		if file != nil || part.FileName() == "" {
			return file, impact.Refuse(impact.Fault{
				Code: "unknown_member", Pointer: "/" + escapePointer(part.FormName()), Value: part.FormName(),
				Detail: impact.Text{FR: "Le formulaire porte autre chose qu'un fichier.", EN: "The form carries something else than one file."},
				Hint:   impact.Text{FR: "Un seul fichier, dans le champ file ; les options s'écrivent dans l'adresse.", EN: "One file, in the field file; options are written in the address."},
			})
		}
		if file, err = spool(part, path.Base(strings.ReplaceAll(part.FileName(), `\`, "/")), part.Header.Get("Content-Type")); err != nil {
			return nil, err
		}
	}
	if file == nil {
		return nil, impact.Refuse(impact.Fault{
			Code: "missing_field", Pointer: "/file",
			Detail: impact.Text{FR: "Le formulaire ne porte pas de fichier.", EN: "The form carries no file."},
			Hint:   impact.Text{FR: "Joignez-le dans le champ file.", EN: "Attach it in the field file."},
		})
	}
	return file, nil
}

func fileName(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil {
		return ""
	}
	return path.Base(strings.ReplaceAll(params["filename"], `\`, "/"))
}

func spool(from io.Reader, name, mediaType string) (*sentFile, error) {
	f, err := os.CreateTemp("", "retombees-import-*")
	if err != nil {
		return nil, fmt.Errorf("making room for a file: %w", err)
	}
	_ = os.Remove(f.Name()) // where the system allows: a process that is killed leaves nothing behind
	file := &sentFile{File: f, name: cutText(name, 200), mediaType: cutText(mediaType, 200)}
	h := sha256.New()
	if file.size, err = io.Copy(io.MultiWriter(f, h), from); err != nil {
		file.forget()
		return nil, broken(err)
	}
	if file.size == 0 {
		file.forget()
		return nil, malformed(impact.Text{FR: "Le fichier est vide.", EN: "The file is empty."}, impact.Text{FR: "Envoyez-le dans le corps de la requête (curl --data-binary @fichier).", EN: "Send it in the body of the request (curl --data-binary @file)."})
	}
	file.sum = [32]byte(h.Sum(nil))
	return file, nil
}

func cutText(s string, n int) string {
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

func broken(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fileTooLarge()
	}
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("keeping a file: %w", err)
	}
	return malformed(impact.Text{FR: "Le corps n'est pas arrivé entier, ou n'est pas ce qu'il annonce.", EN: "The body did not arrive whole, or is not what it says."}, impact.Text{FR: "Renvoyez la requête avec la même clé : rien ne sera doublé.", EN: "Send the request again with the same key: nothing will be doubled."})
}

func fileTooLarge() error {
	return &impact.Error{
		Kind: impact.TooLarge, Code: "body_too_large",
		Detail: impact.Text{FR: "Le fichier dépasse 20 Mo.", EN: "The file is larger than 20 MB."},
		Hint:   impact.Text{FR: "Compressez-le (Content-Encoding: gzip), ou coupez-le en gardant la ligne d'en-tête en tête de chaque partie.", EN: "Compress it (Content-Encoding: gzip), or cut it and keep the header line at the top of each part."},
	}
}

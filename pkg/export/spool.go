package export

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"
)

// spool keeps files that were asked for on the disk, where any part of them can
// be sent, and forgets those nobody asked for the longest when they take too
// much room.
type spool struct {
	dir  string
	most int64

	filling singleflight.Group
	mu      sync.Mutex
	held    map[string]*spooled
	total   int64
	clock   int64
}

type spooled struct {
	size, used int64
}

// newSpool empties the folder: what another process left there is not known.
func newSpool(dir string, most int64) (*spool, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &spool{dir: dir, most: most, held: map[string]*spooled{}}, nil
}

// open gives the file of a name, which is the SHA-256 of its bytes: filled by
// source when it is not there. What source gives is held to its name.
func (s *spool) open(name string, source func() (io.ReadCloser, error)) (*os.File, error) {
	for range 3 { // it may be forgotten between filling and opening
		s.mu.Lock()
		if h := s.held[name]; h != nil {
			s.clock++
			h.used = s.clock
			f, err := os.Open(filepath.Join(s.dir, name))
			s.mu.Unlock()
			return f, err
		}
		s.mu.Unlock()
		if _, err, _ := s.filling.Do(name, func() (any, error) { return nil, s.fill(name, source) }); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("no room for the file")
}

func (s *spool) fill(name string, source func() (io.ReadCloser, error)) (err error) {
	in, err := source()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.CreateTemp(s.dir, "part-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }() // not there once it is renamed
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != name {
		return fmt.Errorf("%d bytes kept under %s are not those", n, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Rename(out.Name(), filepath.Join(s.dir, name)); err != nil {
		return err
	}
	s.clock++
	s.held[name] = &spooled{size: n, used: s.clock}
	s.total += n
	return s.makeRoom(name)
}

// makeRoom forgets files, the one just filled apart. A file being sent is still
// read to its end after it is forgotten.
func (s *spool) makeRoom(but string) error {
	for s.total > s.most && len(s.held) > 1 {
		oldest := ""
		for name, h := range s.held {
			if name != but && (oldest == "" || h.used < s.held[oldest].used) {
				oldest = name
			}
		}
		if err := os.Remove(filepath.Join(s.dir, oldest)); err != nil {
			return err
		}
		s.total -= s.held[oldest].size
		delete(s.held, oldest)
	}
	return nil
}

// lazy opens a file when its first byte is asked for: its size is known before.
type lazy struct {
	size int64
	at   int64
	open func() (*os.File, error)
	file *os.File
}

func (l *lazy) Read(b []byte) (int, error) {
	if l.file == nil {
		f, err := l.open()
		if err != nil {
			return 0, err
		}
		l.file = f
	}
	if len(b) == 0 {
		return 0, nil
	}
	n, err := l.file.ReadAt(b, l.at)
	l.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (l *lazy) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += l.at
	case io.SeekEnd:
		offset += l.size
	}
	if offset < 0 {
		return 0, errors.New("export: a place before the file")
	}
	l.at = offset
	return offset, nil
}

func (l *lazy) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadOrCreateKeyFile reads the keys of path. A file that does not exist is
// created with a new signing key and mode 0600; when several processes start
// at once on the same volume, they end up with the same key. created tells it.
func LoadOrCreateKeyFile(path string) (keys KeySet, created bool, err error) {
	keys, err = ReadKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if created, err = createKeyFile(path); err != nil {
			return KeySet{}, false, fmt.Errorf("creating the signing key %s: %w", path, err)
		}
		keys, err = ReadKeyFile(path)
	}
	return keys, created, err
}

// ReadKeyFile reads the keys of path. The error wraps fs.ErrNotExist when there
// is no file.
func ReadKeyFile(path string) (KeySet, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return KeySet{}, fmt.Errorf("reading the signing key: %w", err)
	}
	keys, err := ParseKeySet(text)
	if err != nil {
		return KeySet{}, fmt.Errorf("signing key %s: %w", path, err)
	}
	return keys, nil
}

// EditKeyFile replaces the keys of path by what edit makes of them. Readers see
// the file before or after, never between. Two edits at once are refused.
func EditKeyFile(path string, edit func(KeySet) (KeySet, error)) (err error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("another command changes %s; if none does, remove %s.lock", path, path)
	}
	if err != nil {
		return fmt.Errorf("changing the signing keys: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close(), os.Remove(lock.Name())) }()
	keys, err := ReadKeyFile(path)
	if err != nil {
		return err
	}
	if keys, err = edit(keys); err != nil {
		return err
	}
	temporary, err := writeBeside(path, keys)
	if err != nil {
		return fmt.Errorf("changing the signing keys: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(fmt.Errorf("changing the signing keys: %w", err), os.Remove(temporary))
	}
	return nil
}

// createKeyFile writes a key beside path and links it into place: a link fails
// when the name is taken, so nobody reads half a key or replaces another's.
func createKeyFile(path string) (created bool, err error) {
	k, err := GenerateKey()
	if err != nil {
		return false, err
	}
	root := make([]byte, rootSize)
	rand.Read(root) // never fails: the runtime stops the program instead
	keys, err := newKeySet(root, []Key{k})
	if err != nil {
		return false, err
	}
	temporary, err := writeBeside(path, keys)
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(temporary) }() // its other name stays
	err = os.Link(temporary, path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

func writeBeside(path string, keys KeySet) (name string, err error) {
	text, err := keys.PEM()
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".signing-key-*") // mode 0600
	if err != nil {
		return "", err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

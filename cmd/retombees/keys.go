package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
)

// keyFlags say where the key that signs access tokens is.
type keyFlags struct {
	SigningKeyFile string `env:"RETOMBEES_SIGNING_KEY_FILE" placeholder:"PATH" help:"Ed25519 key (PEM) that signs access tokens; made when absent, readable by its owner only. Every replica needs the same one. Default: beside the SQLite file; required with PostgreSQL, unless RETOMBEES_SIGNING_KEY holds the PEM text itself."`
}

// keys reads the signing keys, or makes the first one; path is the file they
// are read from, empty when they come from the environment.
func (f keyFlags) keys(w *world, db databaseFlags) (keys auth.KeySet, path string, err error) {
	if text := w.getenv("RETOMBEES_SIGNING_KEY"); text != "" {
		if f.SigningKeyFile != "" {
			return auth.KeySet{}, "", errors.New("both RETOMBEES_SIGNING_KEY and a signing key file are given: keep one")
		}
		if keys, err = auth.ParseKeySet([]byte(text)); err != nil {
			return auth.KeySet{}, "", fmt.Errorf("RETOMBEES_SIGNING_KEY: %w", err)
		}
		return keys, "", nil
	}
	if path, err = f.path(db); err != nil {
		return auth.KeySet{}, "", err
	}
	keys, created, err := auth.LoadOrCreateKeyFile(path)
	if err == nil && created {
		w.log.Info("signing key made", "path", path)
	}
	return keys, path, err
}

func (f keyFlags) path(db databaseFlags) (string, error) {
	path := f.SigningKeyFile
	if path == "" {
		sqlite := db.sqlitePath()
		if sqlite == "" {
			// A key each would let every replica refuse the tokens of the others.
			return "", errors.New("with PostgreSQL the signing key must be given, the same to every replica: " +
				"--signing-key-file PATH (made when absent), or RETOMBEES_SIGNING_KEY with the text of `openssl genpkey -algorithm ed25519`")
		}
		path = sqlite + ".signing-key.pem"
	}
	return path, nil
}

// file is where the commands change keys.
func (f keyFlags) file(w *world, db databaseFlags) (string, error) {
	if w.getenv("RETOMBEES_SIGNING_KEY") != "" {
		return "", errors.New("the keys are in RETOMBEES_SIGNING_KEY: change them there, or move its text to a file")
	}
	return f.path(db)
}

// keysEvery is how often a running server looks at the file again.
const keysEvery = 2 * time.Second

// followKeys takes over what `retombees keys` writes. A file that cannot be read
// changes nothing: the keys known go on.
func followKeys(w *world, path string, issuer *auth.Issuer) {
	if path == "" {
		return
	}
	failed := ""
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(keysEvery):
		}
		keys, err := auth.ReadKeyFile(path)
		if err != nil {
			if failed != err.Error() {
				w.log.Error("the signing keys cannot be read again; those known go on", "err", err)
			}
			failed = err.Error()
			continue
		}
		failed = ""
		if issuer.SetKeys(keys) {
			w.log.Info("signing keys changed", "keys", len(keys.Keys()), "signer", keys.Signer(w.now()).ID)
		}
	}
}

type keysCmd struct {
	List    keysListCmd    `cmd:"" help:"List the keys of access tokens."`
	Add     keysAddCmd     `cmd:"" help:"Make the next key. It is published at once and signs later, when every replica knows it."`
	Promote keysPromoteCmd `cmd:"" help:"Change when a key takes the signing over."`
	Remove  keysRemoveCmd  `cmd:"" help:"Take a key out, once the last token it signed has expired."`
}

type keysListCmd struct {
	databaseFlags
	keyFlags
}

func (c keysListCmd) Run(w *world) error {
	path, err := c.file(w, c.databaseFlags)
	if err != nil {
		return err
	}
	keys, err := auth.ReadKeyFile(path)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tSIGNS FROM\tSTATE")
	now := w.now()
	signer := keys.Signer(now)
	for _, k := range keys.Keys() {
		from, state := "-", "verifies"
		if !k.SignsFrom.IsZero() {
			from = k.SignsFrom.UTC().Format(time.RFC3339)
		}
		switch {
		case k.ID == signer.ID:
			state = "signs"
		case k.Signs() && k.SignsFrom.After(now):
			state = "next"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", k.ID, from, state)
	}
	return t.Flush()
}

// shortest is the least time that lets every replica read the file before the
// key signs, with the clocks they may have.
const shortest = auth.Leeway + 15*keysEvery

type keysAddCmd struct {
	databaseFlags
	keyFlags
	In time.Duration `default:"10m" help:"Time until it signs. Default: 10m, after which no copy of the published keys is older."`
}

func (c keysAddCmd) Run(w *world) error {
	if c.In < shortest {
		return fmt.Errorf("--in %s is too short: replicas need %s to know a new key", c.In, shortest)
	}
	path, err := c.file(w, c.databaseFlags)
	if err != nil {
		return err
	}
	next, err := auth.GenerateKey()
	if err != nil {
		return err
	}
	next.SignsFrom = w.now().Add(c.In).UTC().Truncate(time.Second)
	if err := auth.EditKeyFile(path, func(s auth.KeySet) (auth.KeySet, error) { return s.With(next) }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "Key %s is published now and signs from %s.\n", next.ID, next.SignsFrom.Format(time.RFC3339))
	return err
}

type keysPromoteCmd struct {
	databaseFlags
	keyFlags
	ID string        `arg:"" name:"key" help:"The key."`
	In time.Duration `default:"1m" help:"Time until it signs. Default: 1m."`
}

func (c keysPromoteCmd) Run(w *world) error {
	if c.In < shortest {
		return fmt.Errorf("--in %s is too short: replicas need %s to agree", c.In, shortest)
	}
	path, err := c.file(w, c.databaseFlags)
	if err != nil {
		return err
	}
	from := w.now().Add(c.In).UTC().Truncate(time.Second)
	if err := auth.EditKeyFile(path, func(s auth.KeySet) (auth.KeySet, error) { return s.Promoted(c.ID, from) }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "Key %s signs from %s.\n", c.ID, from.Format(time.RFC3339))
	return err
}

type keysRemoveCmd struct {
	databaseFlags
	keyFlags
	ID     string `arg:"" name:"key" help:"The key."`
	Leaked bool   `help:"Remove it although tokens it signed are still in use: they are refused within seconds."`
}

func (c keysRemoveCmd) Run(w *world) error {
	path, err := c.file(w, c.databaseFlags)
	if err != nil {
		return err
	}
	err = auth.EditKeyFile(path, func(s auth.KeySet) (auth.KeySet, error) {
		now := w.now()
		signer := s.Signer(now)
		if !c.Leaked && c.ID == signer.ID {
			return s, fmt.Errorf("key %s signs: add another, and remove this one when that one has signed for %s", c.ID, auth.TokenLife+auth.Leeway)
		}
		if safe := signer.SignsFrom.Add(auth.TokenLife + auth.Leeway); !c.Leaked && safe.After(now) {
			return s, fmt.Errorf("tokens signed by another key than %s may be in use until %s; --leaked removes it all the same", signer.ID, safe.UTC().Format(time.RFC3339))
		}
		return s.Without(c.ID)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "Key %s is removed; its tokens are refused within %s.\n", c.ID, keysEvery)
	return err
}

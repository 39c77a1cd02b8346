package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/grandlyon/retombees/pkg/impact"
)

// dictionary numbers values that come back in every fact. Numbers are given
// once and never change, so a process may keep them for ever.
type dictionary[T comparable] struct {
	table   string
	columns []string
	fields  func(*T) []any
	reserve reserve

	read   sync.Once // all there was, at the first word that was not known
	mu     sync.RWMutex
	keys   map[T]int32
	values []T // by key
	known  []bool
}

type profile struct {
	impact.Profile
	methodology string
}

type actor struct{ client, mandate string }

func cutDictionary() dictionary[string] {
	return dictionary[string]{table: "cuts", reserve: reserve{counter: "cut", ahead: 64}, columns: []string{"text"}, fields: func(s *string) []any { return []any{s} }}
}

func profileDictionary() dictionary[profile] {
	return dictionary[profile]{
		table: "profiles", reserve: reserve{counter: "profile", ahead: 64},
		columns: []string{"class", "structure_kind", "size_class", "ess", "methodology_version"},
		fields: func(p *profile) []any {
			return []any{(*string)(&p.Class), &p.StructureKind, &p.SizeClass, &p.ESS, &p.methodology}
		},
	}
}

func actorDictionary() dictionary[actor] {
	return dictionary[actor]{
		table: "actors", reserve: reserve{counter: "actor", ahead: 64}, columns: []string{"client", "mandate"},
		fields: func(a *actor) []any { return []any{&a.client, &a.mandate} },
	}
}

// value gives what a number stands for. A number the process does not know was
// written by this very transaction or by another process.
func (d *dictionary[T]) value(ctx context.Context, s *Store, key int32) (T, error) {
	if v, ok := d.cached(key); ok {
		return v, nil
	}
	if t := txnOf(ctx); t != nil {
		for w, k := range t.words {
			if w, ok := w.(word[T]); ok && w.d == d && k == key {
				return w.v, nil
			}
		}
	}
	var zero T
	if err := d.load(ctx, s.read); err != nil {
		return zero, err
	}
	if v, ok := d.cached(key); ok {
		return v, nil
	}
	return zero, fmt.Errorf("%s has no key %d", d.table, key)
}

func (d *dictionary[T]) cached(key int32) (T, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if key < 0 || int(key) >= len(d.values) || !d.known[key] {
		var zero T
		return zero, false
	}
	return d.values[key], true
}

// find gives the number of a value that may have none yet.
func (d *dictionary[T]) find(ctx context.Context, s *Store, v T) (int32, bool, error) {
	if key, ok := d.number(v); ok {
		return key, true, nil
	}
	if t := txnOf(ctx); t != nil {
		if key, ok := t.words[word[T]{d, v}]; ok {
			return key, true, nil
		}
	}
	if err := d.load(ctx, s.read); err != nil {
		return 0, false, err
	}
	key, ok := d.number(v)
	return key, ok, nil
}

func (d *dictionary[T]) number(v T) (int32, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	key, ok := d.keys[v]
	return key, ok
}

// load reads committed words only: a number seen inside a transaction that is
// then undone would be given again to another word.
func (d *dictionary[T]) load(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, fmt.Sprintf(`SELECT key, %s FROM %s`, strings.Join(d.columns, ", "), d.table))
	if err != nil {
		return fmt.Errorf("reading %s: %w", d.table, err)
	}
	defer rows.Close()
	for rows.Next() {
		var key int32
		var v T
		if err := rows.Scan(append([]any{&key}, d.fields(&v)...)...); err != nil {
			return fmt.Errorf("reading %s: %w", d.table, err)
		}
		d.remember(key, v)
	}
	return rows.Err()
}

func (d *dictionary[T]) remember(key int32, v T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys == nil {
		d.keys = map[T]int32{}
	}
	for int(key) >= len(d.values) {
		var zero T
		d.values, d.known = append(d.values, zero), append(d.known, false)
	}
	d.keys[v], d.values[key], d.known[key] = key, v, true
}

type word[T comparable] struct {
	d *dictionary[T]
	v T
}

func (w word[T]) remember(key int32) { w.d.remember(key, w.v) }

// numberOf gives the number of a word, a new one if need be. The process keeps
// a new number once the transaction has ended well.
func numberOf[T comparable](ctx context.Context, t *txn, d *dictionary[T], v T) (int32, error) {
	if key, ok := d.number(v); ok {
		return key, nil
	}
	w := word[T]{d, v}
	if key, ok := t.words[w]; ok {
		return key, nil
	}
	var unread error
	d.read.Do(func() { unread = d.load(ctx, t.store.read) })
	if key, ok := d.number(v); ok || unread != nil {
		return key, unread
	}
	key, err := w.write(ctx, t)
	if err != nil {
		return 0, err
	}
	if t.words == nil {
		t.words = map[committed]int32{}
	}
	t.words[w] = key
	return key, nil
}

// committed is a word of any dictionary, told that its number is now certain.
type committed interface{ remember(key int32) }

func (w word[T]) write(ctx context.Context, t *txn) (key int32, err error) {
	d := w.d
	if key, err = d.reserve.take(ctx, t, 1); err != nil {
		return 0, err
	}
	fields := d.fields(&w.v)
	same := make([]string, len(d.columns))
	marks := make([]string, len(d.columns))
	args := make([]any, len(d.columns))
	for i, c := range d.columns {
		same[i], marks[i] = fmt.Sprintf("%s = $%d", c, i+1), fmt.Sprintf("$%d", i+1)
		args[i] = *fields[i].(*string)
	}
	columns := strings.Join(d.columns, ", ")
	// Who writes the same word at this moment is waited for, nobody else.
	err = t.tx.QueryRowContext(ctx, fmt.Sprintf(`INSERT INTO %s (%s, key) VALUES (%s, $%d) ON CONFLICT (%s) DO NOTHING RETURNING key`,
		d.table, columns, strings.Join(marks, ", "), len(args)+1, columns), append(args, key)...).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT key FROM %s WHERE %s`, d.table, strings.Join(same, " AND ")), args...).Scan(&key)
	}
	if err != nil {
		return 0, fmt.Errorf("adding to %s: %w", d.table, err)
	}
	return key, nil
}

package store

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// personID names a publisher record: the first 16 bytes of the hash of its content.
type personID [16]byte

func (id personID) key() string { return nsPrincipal + string(id[:]) }

// people stores each publisher once, and messages refer to it: an identity set with
// groups is larger than most messages. A publisher is kept with its identity set and
// without its credential (docs/spec/semantics.md 3.9), so that a renewed token makes
// no new record.
type people struct {
	base *base

	mu      sync.Mutex
	encoded map[*principal.Principal]person // guarded by mu
	loaded  map[personID]*principal.Principal
}

type person struct {
	id   personID
	json []byte
}

// maxEncoded bounds how many publishers are kept in memory; beyond it the map
// is emptied and fills again.
const maxEncoded = 1024

func newPeople(b *base) *people {
	return &people{base: b, encoded: map[*principal.Principal]person{}, loaded: map[personID]*principal.Principal{}}
}

// intern returns the reference to p, and the operation that stores p if it is not stored.
func (s *people) intern(p *principal.Principal) (personID, op, error) {
	e, err := s.encode(p)
	return e.id, op{kind: ensure, key: e.id.key(), value: e.json}, err
}

// encode returns the reference to p, and what is stored of it.
func (s *people) encode(p *principal.Principal) (person, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.encoded[p]
	if !ok {
		if p == nil {
			return person{}, errors.New("a message without a publisher cannot be kept")
		}
		bare := *p
		bare.Credential, bare.CredentialID, bare.Expires = principal.NoCredential, "", time.Time{}
		b, err := json.Marshal(principalOut(&bare))
		if err != nil {
			return person{}, fmt.Errorf("encode publisher: %w", err)
		}
		h := sha256.Sum256(b)
		e = person{personID(h[:16]), b}
		if len(s.encoded) >= maxEncoded {
			clear(s.encoded)
		}
		s.encoded[p] = e
	}
	return e, nil
}

// load reads a publisher from messages/.
func (s *people) load(id personID) (*principal.Principal, error) {
	return s.loadFrom(id, func() ([]byte, error) { return s.base.get(id.key()) })
}

// loadFrom returns the publisher if it is known; else it decodes what get returns.
func (s *people) loadFrom(id personID, get func() ([]byte, error)) (*principal.Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.loaded[id]; p != nil {
		return p, nil
	}
	b, err := get()
	if err != nil {
		return nil, fmt.Errorf("publisher %x: %w", id, err)
	}
	f := new(principalForm)
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%w: publisher %x: %w", ErrCorrupt, id, err)
	}
	p := principalIn(f)
	if len(s.loaded) >= maxEncoded {
		clear(s.loaded)
	}
	s.loaded[id] = p
	return p, nil
}

// forgetUnused removes publishers that no message names any more. Before Run only.
func (s *people) forgetUnused() error {
	unused := map[personID]bool{}
	err := s.base.scan(nsPrincipal, func(key string, _ []byte) error {
		var id personID
		copy(id[:], key[1:])
		unused[id] = true
		return nil
	})
	if err != nil || len(unused) == 0 {
		return err
	}
	for _, ns := range [...]string{nsParked, nsQueue, nsRetained} {
		err := s.base.scan(ns, func(_ string, v []byte) error {
			var id personID // every message record begins with it
			copy(id[:], v)
			delete(unused, id)
			return nil
		})
		if err != nil {
			return err
		}
	}
	var ops []op
	for id := range unused {
		ops = append(ops, op{kind: remove, key: id.key()})
	}
	for batch := range batches(ops) {
		if err := s.base.commit(batch); err != nil && !errors.Is(err, ErrDiskFull) {
			return err
		}
	}
	return nil
}

package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
)

// KeySource yields the secret from which the sealing key is derived, at least 32 bytes.
type KeySource func() ([]byte, error)

// ownKey makes a key file at the first start.
func ownKey(dir string) KeySource {
	path := filepath.Join(dir, "key")
	return func() ([]byte, error) {
		b, err := os.ReadFile(path)
		if !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
		b = make([]byte, 32)
		_, _ = rand.Read(b)
		tmp := path + ".new"
		f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		if _, err = f.Write(b); err == nil {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
		if err == nil {
			err = os.Rename(tmp, path)
		}
		if err == nil {
			err = syncDir(dir)
		}
		return b, err
	}
}

// sealer encrypts with AES-256-GCM under random nonces. The record's key is
// authenticated as additional data, so that one device's secret cannot be moved to
// another device's record.
type sealer struct {
	aead  cipher.AEAD
	check []byte // tells a wrong key from damaged data, and does not reveal the key
}

func newSealer(dir string, source KeySource) (*sealer, error) {
	if source == nil {
		source = ownKey(dir)
	}
	secret, err := source()
	if err == nil && len(secret) < 32 {
		err = errors.New("it must have at least 32 bytes")
	}
	if err != nil {
		return nil, &Error{Op: "read sealing key", Path: dir, Err: err,
			Hint: "name a readable key file or systemd credential of at least 32 bytes"}
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse cache sealing 1", 32)
	if err != nil {
		return nil, &Error{Op: "derive sealing key", Err: err}
	}
	check, err := hkdf.Key(sha256.New, secret, nil, "gatehouse cache key check 1", 16)
	if err != nil {
		return nil, &Error{Op: "derive sealing key", Err: err}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, &Error{Op: "derive sealing key", Err: err}
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, &Error{Op: "derive sealing key", Err: err}
	}
	return &sealer{aead: aead, check: check}, nil
}

// SealingKey returns an error if the next start would not read the key under which secrets in the cache
// are sealed: the file is missing, cannot be read, or holds another one. It makes no key.
func (s *Store) SealingKey() error {
	if s.opt.Key == nil {
		if _, err := os.Stat(filepath.Join(s.dir, "key")); err != nil {
			return err // newSealer would make another key
		}
	}
	next, err := newSealer(s.dir, s.opt.Key)
	if err == nil && !bytes.Equal(next.check, s.cache.sealer.check) {
		err = &Error{Op: "read sealing key", Path: s.dir, Err: ErrWrongKey}
	}
	return err
}

func (s *sealer) seal(bound string, plain []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	_, _ = rand.Read(nonce) // never fails: crypto/rand ends the process instead
	return s.aead.Seal(nonce, nonce, plain, []byte(bound))
}

func (s *sealer) open(bound string, b []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(b) < n {
		return nil, ErrCorrupt
	}
	plain, err := s.aead.Open(nil, b[:n], b[n:], []byte(bound))
	if err != nil {
		return nil, ErrCorrupt
	}
	return plain, nil
}

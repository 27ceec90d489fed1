// Package sas reads, verifies and issues shared access signatures: those of
// IoT Hub, by which devices, modules and functions sign on, and those of the
// Digital Twins management API (devicetoken.go).
//
// A token is foreign input of a stranger: parsing is strict (each field once,
// no unknown field, one way to write each value as far as genuine clients agree on
// one), and a token is only ever verified for a resource that the caller names;
// the package never tells whom a token is for. Errors say what is wrong and
// never repeat the token. Everything here is a pure function; time is an argument.
package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What can be wrong with a token.
var (
	ErrMalformed = errors.New("malformed token")
	ErrPolicy    = errors.New("token of a shared access policy (skn)")
	ErrResource  = errors.New("token for another resource")
	ErrSignature = errors.New("signature by none of the keys")
	ErrExpired   = errors.New("token expired")
	ErrLife      = errors.New("token lives longer than is allowed")
)

const (
	prefix = "SharedAccessSignature "
	// maxToken bounds foreign input; genuine tokens have some 200 bytes.
	maxToken = 1024
	// maxEpoch is the last second of the year 9999: beyond it times cannot be printed.
	maxEpoch = 253402300799
)

// Token is a parsed IoT Hub token. Nothing in it is proved before Verify.
type Token struct {
	resource  string // decoded
	signed    string // what the signature covers, as sent
	signature []byte
	expires   time.Time
}

// Expires is the se field.
func (t *Token) Expires() time.Time { return t.expires }

// Parse reads `SharedAccessSignature sr={resource}&sig={signature}&se={seconds}`,
// fields in any order (docs/spec/device-update.md 5.1). A token whose skn names a
// policy is refused with ErrPolicy: it is signed by a hub-wide key, which no gateway
// holds. An empty skn counts as none, because older C SDKs write it.
func Parse(token string) (*Token, error) {
	f, err := fields(token, "sr", "sig", "se", "skn")
	if err != nil {
		return nil, err
	}
	if f["skn"] != "" {
		return nil, ErrPolicy
	}
	t := &Token{signed: f["sr"] + "\n" + f["se"]}
	if t.resource, err = unescape(f["sr"]); err != nil || t.resource == "" {
		return nil, fmt.Errorf("%w: sr", ErrMalformed)
	}
	if t.signature, err = signature(f["sig"]); err != nil {
		return nil, err
	}
	if t.expires, err = epoch(f["se"]); err != nil {
		return nil, err
	}
	return t, nil
}

// For reports whether the token claims to be for exactly the resource r. It proves nothing.
func (t *Token) For(r Resource) bool { return r.matches(t.resource) }

// Looks tells whether a password is meant as a shared access signature, so
// that it can be refused under the right name. It proves nothing.
func Looks(password string) bool { return strings.HasPrefix(password, prefix) }

// Verify proves that the token is for exactly the resource r, signed by one of
// the keys, and good at now for no longer than maxLife. It returns the index of the key. An empty
// key signs nothing. All keys are tried in constant time. The signature is checked before
// the expiry, so that ErrExpired is only said of a genuine token.
func (t *Token) Verify(r Resource, now time.Time, maxLife time.Duration, keys ...[]byte) (int, error) {
	if !t.For(r) {
		return 0, ErrResource
	}
	key, err := signedBy(t.signed, t.signature, keys)
	if err != nil {
		return 0, err
	}
	return key, alive(t.expires, now, maxLife)
}

// Issue signs a token for r until expires (whole seconds).
func Issue(r Resource, key []byte, expires time.Time) string {
	sr, se := escape(r.String()), strconv.FormatInt(expires.Unix(), 10)
	return prefix + "sr=" + sr + "&sig=" + escape(sign(sr+"\n"+se, key)) + "&se=" + se
}

func sign(text string, key []byte) string {
	return base64.StdEncoding.EncodeToString(mac(text, key))
}

func mac(text string, key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func signedBy(text string, signature []byte, keys [][]byte) (int, error) {
	found := -1
	for i := len(keys) - 1; i >= 0; i-- {
		same := subtle.ConstantTimeCompare(mac(text, keys[i]), signature)
		usable := subtle.ConstantTimeEq(int32(min(len(keys[i]), 1)), 1)
		found = subtle.ConstantTimeSelect(same&usable, i, found)
	}
	if found < 0 {
		return 0, ErrSignature
	}
	return found, nil
}

func alive(expires, now time.Time, maxLife time.Duration) error {
	if !expires.After(now) {
		return ErrExpired
	}
	if expires.After(now.Add(maxLife)) {
		return ErrLife
	}
	return nil
}

// Resource is what a token is for.
type Resource struct {
	hub, tail string
}

// Device is the resource of a device: {hub}/devices/{id}.
func Device(hub, id string) Resource { return Resource{hub, "/devices/" + id} }

// Module is the resource of a module: {hub}/devices/{device}/modules/{id}.
func Module(hub, device, id string) Resource {
	return Resource{hub, "/devices/" + device + "/modules/" + id}
}

// Function is the resource of a user-defined function, {hub}/functions/{id}:
// a namespace that no device id can reach, since device ids hold no slash.
func Function(hub, id string) Resource { return Resource{hub, "/functions/" + id} }

// String is the resource as it is signed, before escaping.
func (r Resource) String() string { return r.hub + r.tail }

// matches compares the whole resource: byte by byte, except that the hub's host name
// is compared without regard to the case of ASCII letters, like any host name.
func (r Resource) matches(s string) bool {
	return len(s) == len(r.hub)+len(r.tail) && r.hub != "" &&
		equalFoldASCII(s[:len(r.hub)], r.hub) && s[len(r.hub):] == r.tail
}

func equalFoldASCII(a, b string) bool {
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

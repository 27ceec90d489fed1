// Package topic is the grammar of MQTT topic names and topic filters (OASIS MQTT 3.1.1 and 5.0,
// 4.7), of shared subscriptions (5.0, 4.8.2) and of IoT Hub's property bags. It knows nothing
// of rows, rights or sessions.
//
// Everything here is a pure function over strings, and safe for concurrent use. Match,
// Contains, Overlaps and the validity checks allocate nothing and take time linear in the
// length of their arguments, so that no client can slow them down. Match, Contains and Overlaps
// expect arguments that passed the checks; their answer for others is unspecified, but they
// never panic.
//
// All functions follow one rule for '$': a wildcard in the first level of a filter does not
// match a level that begins with '$' (4.7.2).
package topic

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// protocolBytes is the protocol's own limit: a UTF-8 string has a length of two bytes on the
// wire.
const protocolBytes = 65535

// Sentinels that every error of this package wraps one of.
var (
	ErrName   = errors.New("invalid topic name")
	ErrFilter = errors.New("invalid topic filter")
	ErrShare  = errors.New("invalid shared subscription")
	ErrBag    = errors.New("invalid property bag")
)

// Error states what is wrong with a string. It does not repeat the string, which may be 64 KiB
// of anything.
type Error struct {
	Kind error // one of the sentinels
	Why  string
}

func (e *Error) Error() string { return e.Kind.Error() + ": " + e.Why }

// Unwrap returns Kind.
func (e *Error) Unwrap() error { return e.Kind }

// Limits bounds the length of topic names and filters; it is checked before their levels are
// walked.
type Limits struct {
	Bytes  int // at most; the protocol's own limit is 65535
	Levels int // at most
}

// DefaultLimits allows a path of 32 spaces and a property bag.
func DefaultLimits() Limits { return Limits{Bytes: 4096, Levels: 48} }

// Name checks a topic name: what a PUBLISH may carry.
func (l Limits) Name(s string) error {
	if why := l.shape(s); why != "" {
		return &Error{ErrName, why}
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '+' || s[i] == '#' {
			return &Error{ErrName, "holds a wildcard"}
		}
	}
	return nil
}

// Filter checks a topic filter without $share; see Subscription.
func (l Limits) Filter(s string) error {
	if why := l.shape(s); why != "" {
		return &Error{ErrFilter, why}
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '#':
			if i != len(s)-1 {
				return &Error{ErrFilter, "'#' is not the last character"}
			}
			if i > 0 && s[i-1] != '/' {
				return &Error{ErrFilter, "'#' does not stand alone in its level"}
			}
		case '+':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) && s[i+1] != '/' {
				return &Error{ErrFilter, "'+' does not stand alone in its level"}
			}
		}
	}
	return nil
}

func (l Limits) shape(s string) string {
	switch {
	case s == "":
		return "empty"
	case len(s) > protocolBytes || len(s) > l.Bytes:
		return "too long"
	case strings.IndexByte(s, 0) >= 0:
		return "holds NUL"
	case !utf8.ValidString(s):
		return "not UTF-8"
	case strings.Count(s, "/")+1 > l.Levels:
		return "too many levels"
	}
	return ""
}

// Cut takes the first level of s: the level, what follows its '/', and
// whether anything follows. "a/" is the level "a" and then the empty level.
func Cut(s string) (level, rest string, more bool) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// IsExact tells whether the filter holds no wildcard, so that it can match
// exactly one name.
func IsExact(filter string) bool {
	return strings.IndexByte(filter, '+') < 0 && strings.IndexByte(filter, '#') < 0
}

// hidden tells whether a level in first position is out of a wildcard's reach.
func hidden(level string) bool { return level != "" && level[0] == '$' }

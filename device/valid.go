package device

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/device/space"
)

// MaxID is the longest device, module or hardware id in bytes (IoT Hub's own
// limit for a device id).
const MaxID = 128

// CheckID tells why an id cannot be used, or nil. An id is put into topics
// and compared byte by byte, so it may hold no topic separator or wildcard, nothing
// invisible and nothing that two parsers read differently.
func CheckID(id string) error {
	switch {
	case id == "":
		return &IDError{Why: "is empty"}
	case len(id) > MaxID:
		return &IDError{Why: fmt.Sprintf("has %d bytes, at most %d are allowed", len(id), MaxID)}
	case !utf8.ValidString(id):
		return &IDError{Why: "is not valid UTF-8"}
	case strings.ContainsAny(id, "+#/"):
		return &IDError{Why: "contains + # or /, which would widen a topic"}
	case strings.ContainsFunc(id, unicode.IsControl):
		return &IDError{Why: "contains a control character"}
	}
	return nil
}

// IDError is why an id was refused. It does not repeat the id: some of them
// cannot be printed.
type IDError struct{ Why string }

func (e *IDError) Error() string { return "id " + e.Why }

// Problem is what is wrong with one record. The topology does not use the record, or the part of
// it that Type names, unless Refuses says otherwise. Health names all of them.
type Problem struct {
	Type   string // "Space", "Device", "Module", "Sensor", "Function", "CertificateAuthority"
	ID     space.ID
	Reason string     // stable: "duplicate-hub-id", "bad-id", "no-path", …
	Detail string     // for people; never a secret
	With   []space.ID // the other records of a collision, the first of many
}

// Refuses reports whether the record is not used because of the problem. A thumbprint that several
// records hold refuses none of them: whoever may register a device could otherwise end the use of
// another's by its thumbprint, which is no secret. It proves the record that the client id names.
func (p Problem) Refuses() bool { return p.Reason != DuplicateThumbprint }

func (p Problem) String() string {
	s := p.Type + " " + p.ID.String() + ": " + p.Reason
	if p.Detail != "" {
		s += " (" + p.Detail + ")"
	}
	return s
}

// The reasons of a Problem.
const (
	BadID               = "bad-id"
	DuplicateRecord     = "duplicate-record"
	DuplicateHubID      = "duplicate-hub-id"
	DuplicateHardwareID = "duplicate-hardware-id"
	DuplicateThumbprint = "duplicate-thumbprint"
	DuplicateModule     = "duplicate-module"
	NoPath              = "no-path"
)

package manifest

import "errors"

// ErrRefused is what every refusal of this package wraps.
var ErrRefused = errors.New("update refused")

// Code says why something was refused. Codes are stable: they reach the audit
// and, as extended result codes, the cloud.
type Code string

// The codes.
const (
	BadStructure       Code = "bad-structure"        // not a compact JWS of the expected form
	BadAlgorithm       Code = "bad-algorithm"        // alg is not RS256
	MissingRoot        Code = "missing-root"         // sjwk names no root key
	UnknownRoot        Code = "unknown-root"         // names one that is not trusted
	DisabledRoot       Code = "disabled-root"        // disabled by the root key package
	DisabledSigningKey Code = "disabled-signing-key" // likewise
	BadSigningKey      Code = "bad-signing-key"      // unusable RSA key
	BadSignature       Code = "bad-signature"        // does not verify
	HashMismatch       Code = "hash-mismatch"        // the signature is of other bytes
	BadManifest        Code = "bad-manifest"         // malformed content
	UnsupportedVersion Code = "unsupported-version"  // manifestVersion is not 4 or 5
	BadURL             Code = "bad-url"              // a file URL leads where it must not
	UnknownFile        Code = "unknown-file"         // a file URL for a file that is not in the manifest
	BadPackage         Code = "bad-package"          // malformed root key package
	TestPackage        Code = "test-package"         // test package where only production is trusted
	OldPackage         Code = "old-package"          // lower version than the highest seen
)

// Error is one refusal. Detail never quotes a signature or a URL's query.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Detail
}

// Unwrap makes errors.Is(err, ErrRefused) true.
func (e *Error) Unwrap() error { return ErrRefused }

func refuse(c Code, detail string) error { return &Error{c, detail} }

// CodeOf is the code of a refusal, "" for any other error.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

package wire

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/gatehouse/gatehouse/device"
)

// Authentication is how a device, module or function authenticates itself, in the
// form of IoT Hub's registry. Only callers that may read the keys get them: for others
// the server leaves SymmetricKey nil.
type Authentication struct {
	Type           string          `json:"type"` // sas, selfSigned, certificateAuthority, none
	SymmetricKey   *SymmetricKey   `json:"symmetricKey,omitempty"`
	X509Thumbprint *X509Thumbprint `json:"x509Thumbprint,omitempty"`
}

// SymmetricKey holds base64 keys.
type SymmetricKey struct {
	PrimaryKey   string `json:"primaryKey,omitempty"`
	SecondaryKey string `json:"secondaryKey,omitempty"`
}

// X509Thumbprint holds SHA-256 thumbprints in hexadecimal.
type X509Thumbprint struct {
	PrimaryThumbprint   string `json:"primaryThumbprint,omitempty"`
	SecondaryThumbprint string `json:"secondaryThumbprint,omitempty"`
}

// String hides the keys from every formatter.
func (SymmetricKey) String() string { return "[redacted]" }

// GoString hides the keys from %#v.
func (SymmetricKey) GoString() string { return "[redacted]" }

// FromAuth is the API's form of a; nil for a record without credentials.
func FromAuth(a device.Auth) *Authentication {
	switch a.Kind {
	case device.AuthSAS:
		k := &SymmetricKey{PrimaryKey: base64.StdEncoding.EncodeToString(a.Primary)}
		if len(a.Secondary) > 0 {
			k.SecondaryKey = base64.StdEncoding.EncodeToString(a.Secondary)
		}
		return &Authentication{Type: "sas", SymmetricKey: k}
	case device.AuthSelfSigned:
		t := &X509Thumbprint{}
		if len(a.Thumbprints) > 0 {
			t.PrimaryThumbprint = strings.ToUpper(hex.EncodeToString(a.Thumbprints[0][:]))
		}
		if len(a.Thumbprints) > 1 {
			t.SecondaryThumbprint = strings.ToUpper(hex.EncodeToString(a.Thumbprints[1][:]))
		}
		return &Authentication{Type: "selfSigned", X509Thumbprint: t}
	case device.AuthCA:
		return &Authentication{Type: "certificateAuthority"}
	}
	return nil
}

// Auth converts w to the registry's form. A missing key or thumbprint is no error: a record
// without one lets nobody connect.
func (w *Authentication) Auth() (device.Auth, error) {
	if w == nil {
		return device.Auth{}, nil
	}
	switch {
	case strings.EqualFold(w.Type, "sas"):
		a := device.Auth{Kind: device.AuthSAS}
		if w.SymmetricKey == nil {
			return a, nil
		}
		var err error
		if a.Primary, err = parseKey("primaryKey", w.SymmetricKey.PrimaryKey); err != nil {
			return device.Auth{}, err
		}
		a.Secondary, err = parseKey("secondaryKey", w.SymmetricKey.SecondaryKey)
		return a, err
	case strings.EqualFold(w.Type, "selfSigned"):
		a := device.Auth{Kind: device.AuthSelfSigned}
		if w.X509Thumbprint == nil {
			return a, nil
		}
		for _, text := range []string{w.X509Thumbprint.PrimaryThumbprint, w.X509Thumbprint.SecondaryThumbprint} {
			if strings.TrimSpace(text) == "" {
				continue
			}
			t, err := ParseThumbprint(text)
			if err != nil {
				return device.Auth{}, err
			}
			a.Thumbprints = append(a.Thumbprints, t)
		}
		return a, nil
	case strings.EqualFold(w.Type, "certificateAuthority"):
		return device.Auth{Kind: device.AuthCA}, nil
	case strings.EqualFold(w.Type, "none"), w.Type == "":
		return device.Auth{}, nil
	}
	return device.Auth{}, invalid("authentication.type", "not one of sas, selfSigned, certificateAuthority, none")
}

// ParseThumbprint reads a SHA-256 thumbprint in hexadecimal; colons and
// blanks between the digits are ignored.
func ParseThumbprint(s string) (device.Thumbprint, error) {
	var t device.Thumbprint
	if len(s) > 256 {
		return t, invalid("x509Thumbprint", "too long")
	}
	digits := strings.NewReplacer(":", "", " ", "").Replace(s)
	if len(digits) != 64 {
		return t, invalid("x509Thumbprint", "want the 64 hexadecimal digits of a SHA-256")
	}
	if _, err := hex.Decode(t[:], []byte(digits)); err != nil {
		return device.Thumbprint{}, invalid("x509Thumbprint", "want the 64 hexadecimal digits of a SHA-256")
	}
	return t, nil
}

func parseKey(field, s string) (device.Secret, error) {
	if s == "" {
		return nil, nil
	}
	key, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(key) < 16 || len(key) > 64 {
		return nil, invalid(field, "want 16 to 64 bytes in base64")
	}
	return key, nil
}

// ParseAuthentication reads the member "authentication" of o, nil if it is absent or
// null. Keys and thumbprints are checked.
func ParseAuthentication(o Object) (*Authentication, error) {
	in, ok, err := o.Object("authentication")
	if err != nil || !ok {
		return nil, err
	}
	w := &Authentication{}
	if w.Type, err = in.String("type", 32); err != nil {
		return nil, err
	}
	keys, ok, err := in.Object("symmetricKey")
	if err != nil {
		return nil, err
	}
	if ok {
		w.SymmetricKey = &SymmetricKey{}
		if w.SymmetricKey.PrimaryKey, err = keys.String("primaryKey", 128); err != nil {
			return nil, err
		}
		if w.SymmetricKey.SecondaryKey, err = keys.String("secondaryKey", 128); err != nil {
			return nil, err
		}
	}
	prints, ok, err := in.Object("x509Thumbprint")
	if err != nil {
		return nil, err
	}
	if ok {
		w.X509Thumbprint = &X509Thumbprint{}
		if w.X509Thumbprint.PrimaryThumbprint, err = prints.String("primaryThumbprint", 256); err != nil {
			return nil, err
		}
		if w.X509Thumbprint.SecondaryThumbprint, err = prints.String("secondaryThumbprint", 256); err != nil {
			return nil, err
		}
	}
	if _, err := w.Auth(); err != nil {
		return nil, err
	}
	return w, nil
}

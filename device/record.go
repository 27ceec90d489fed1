// Package device is the gateway's registry of the building: spaces, devices,
// modules, sensors and functions, as records (Data, Changes) and as an
// immutable, indexed Topology. It knows nothing of authorization: it says what
// exists and how things relate, never who may do what.
package device

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
)

// Status of a device record (docs/spec/management-api.md 4.5).
type Status uint8

// The statuses. Only Active devices connect.
const (
	UnknownStatus Status = iota
	Provisioning
	Active
	Offline
	Disabled
)

// AuthKind is the one kind of credential that a record accepts.
type AuthKind uint8

// The kinds, named as IoT Hub names them: sas, selfSigned, certificateAuthority.
const (
	AuthNone AuthKind = iota
	AuthSAS
	AuthSelfSigned
	AuthCA
)

// Secret is key material; it never prints.
type Secret []byte

// String hides the secret from every formatter.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "[redacted]" }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText keeps a secret out of JSON and YAML; the wire and the sealed store write secrets
// explicitly, as []byte.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Thumbprint is the SHA-256 of a certificate's DER.
type Thumbprint [32]byte

// ThumbprintSHA1 is the SHA-1 of a certificate's DER. Old records hold
// nothing else; it is believed only by setting.
type ThumbprintSHA1 [20]byte

// ParseThumbprint reads 64 hexadecimal digits, in any case.
func ParseThumbprint(s string) (Thumbprint, error) {
	var t Thumbprint
	if len(s) != 2*len(t) {
		return t, errors.New("thumbprint: want 64 hexadecimal digits (SHA-256)")
	}
	if _, err := hex.Decode(t[:], []byte(s)); err != nil {
		return Thumbprint{}, errors.New("thumbprint: want 64 hexadecimal digits (SHA-256)")
	}
	return t, nil
}

// ParseThumbprintSHA1 reads 40 hexadecimal digits, in any case.
func ParseThumbprintSHA1(s string) (ThumbprintSHA1, error) {
	var t ThumbprintSHA1
	if len(s) != 2*len(t) {
		return t, errors.New("thumbprint: want 40 hexadecimal digits (SHA-1)")
	}
	if _, err := hex.Decode(t[:], []byte(s)); err != nil {
		return ThumbprintSHA1{}, errors.New("thumbprint: want 40 hexadecimal digits (SHA-1)")
	}
	return t, nil
}

// String is upper-case hexadecimal, as IoT Hub writes it.
func (t Thumbprint) String() string { return strings.ToUpper(hex.EncodeToString(t[:])) }

// String is upper-case hexadecimal, as IoT Hub writes it.
func (t ThumbprintSHA1) String() string { return strings.ToUpper(hex.EncodeToString(t[:])) }

// Auth is how a device, module or function proves itself.
type Auth struct {
	Kind               AuthKind
	Primary, Secondary Secret       // AuthSAS: raw key bytes (decoded from base64)
	Thumbprints        []Thumbprint // AuthSelfSigned: one or two
	ThumbprintsSHA1    []ThumbprintSHA1
}

// Space is a node of the tree.
type Space struct {
	ID, Parent space.ID // Parent is zero for a root space
	Name       string
	Path       space.Path
}

// Device is a device record.
type Device struct {
	ID         space.ID
	HubID      string // the IoT Hub device id, exact bytes: what MQTT calls {D}
	Name       string
	HardwareID string
	GatewayID  string // as recorded: names the gateway's topology GUID, hub id or hardware id
	Space      space.ID
	Status     Status
	Auth       Auth
	Modules    []Module
}

// Module is a module identity of a device.
type Module struct {
	ID   string
	Auth Auth
}

// Sensor is a sensor record. Its space may differ from its device's.
type Sensor struct {
	ID, Device, Space space.ID
	HardwareID        string
}

// Function is a user-defined function.
type Function struct {
	ID    space.ID
	Name  string
	Space space.ID
	Auth  Auth
}

// CA is a certificate authority that may vouch for devices at a path and below.
type CA struct {
	ID   space.ID
	Path space.Path
	DER  []byte
	CRL  []byte // DER, empty if none
}

// Data is the complete registry at one version, in any order.
type Data struct {
	Spaces    []Space
	Devices   []Device
	Sensors   []Sensor
	Functions []Function
	CAs       []CA
}

// Changes leads from one Data to the next: removals first, then puts (by id).
type Changes struct {
	PutSpaces       []Space
	PutDevices      []Device
	PutSensors      []Sensor
	PutFunctions    []Function
	PutCAs          []CA
	RemoveSpaces    []space.ID
	RemoveDevices   []space.ID
	RemoveSensors   []space.ID
	RemoveFunctions []space.ID
	RemoveCAs       []space.ID
}

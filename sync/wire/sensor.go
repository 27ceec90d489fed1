package wire

import (
	"encoding/base64"
	"encoding/pem"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// Sensor is a sensor as the API shows it (docs/spec/management-api.md 4.5). Its space may be
// another one than that of its device.
type Sensor struct {
	ID         space.ID `json:"id,omitzero"`
	DeviceID   space.ID `json:"deviceId"`
	SpaceID    space.ID `json:"spaceId"`
	HardwareID string   `json:"hardwareId"`
	Port       string   `json:"port,omitempty"`
	PollRate   int      `json:"pollRate,omitempty"`
	Type       string   `json:"type,omitempty"`
	TypeID     int      `json:"typeId"`
	DataType   string   `json:"dataType,omitempty"`
	DataTypeID int      `json:"dataTypeId"`
	Place
}

// ParseSensor reads a sensor.
func ParseSensor(o Object) (Sensor, error) {
	var w Sensor
	err := w.Patch(o)
	return w, err
}

// Patch sets the members that o has, and leaves the others.
func (w *Sensor) Patch(o Object) error {
	return readAll(o,
		idField("id", &w.ID), idField("deviceId", &w.DeviceID), idField("spaceId", &w.SpaceID),
		text("hardwareId", 72, &w.HardwareID), text("port", 20, &w.Port), number("pollRate", &w.PollRate),
		text("type", 64, &w.Type), number("typeId", &w.TypeID),
		text("dataType", 64, &w.DataType), number("dataTypeId", &w.DataTypeID), place(&w.Place))
}

// Record is the registry's form of w.
func (w *Sensor) Record() (device.Sensor, error) {
	if w.ID.IsZero() || w.DeviceID.IsZero() || w.SpaceID.IsZero() {
		return device.Sensor{}, invalid("", "a sensor needs id, deviceId and spaceId")
	}
	return device.Sensor{ID: w.ID, Device: w.DeviceID, Space: w.SpaceID, HardwareID: w.HardwareID}, nil
}

// Function is a user-defined function as the API shows it. Its credential is an addition to the
// original API, in the form of a device's.
type Function struct {
	ID             space.ID        `json:"id,omitzero"`
	SpaceID        space.ID        `json:"spaceId"`
	Name           string          `json:"name"`
	Description    string          `json:"description,omitempty"`
	Disabled       bool            `json:"disabled,omitempty"`
	Authentication *Authentication `json:"authentication,omitempty"`
	Place
}

// ParseFunction reads a function.
func ParseFunction(o Object) (Function, error) {
	var w Function
	err := readAll(o, idField("id", &w.ID), idField("spaceId", &w.SpaceID), text("name", 50, &w.Name),
		text("description", 4000, &w.Description), truth("disabled", &w.Disabled), place(&w.Place))
	if err != nil {
		return Function{}, err
	}
	w.Authentication, err = ParseAuthentication(o)
	return w, err
}

// Record converts w to the registry's form. A disabled function keeps its record without its
// credential, so that it can no longer connect.
func (w *Function) Record() (device.Function, error) {
	if w.ID.IsZero() || w.SpaceID.IsZero() {
		return device.Function{}, invalid("", "a function needs id and spaceId")
	}
	f := device.Function{ID: w.ID, Name: w.Name, Space: w.SpaceID}
	if w.Disabled {
		return f, nil
	}
	var err error
	f.Auth, err = w.Authentication.Auth()
	return f, err
}

// CA is a certificate authority that is trusted for devices at or below a path. It is an addition
// to the original API.
type CA struct {
	ID          space.ID   `json:"id,omitzero"`
	Path        space.Path `json:"path"`
	Certificate string     `json:"certificate"`   // base64 DER; PEM is read, too
	CRL         string     `json:"crl,omitempty"` // base64 DER; PEM is read, too
}

// FromCA is the API's form of c.
func FromCA(c device.CA) CA {
	w := CA{ID: c.ID, Path: c.Path, Certificate: base64.StdEncoding.EncodeToString(c.DER)}
	if len(c.CRL) > 0 {
		w.CRL = base64.StdEncoding.EncodeToString(c.CRL)
	}
	return w
}

// ParseCA reads a certificate authority; the id may be absent in a request.
// The DER is not parsed here; package x509 of the device credentials does that.
func ParseCA(o Object) (device.CA, error) {
	var c device.CA
	var err error
	if c.ID, err = o.ID("id"); err != nil {
		return device.CA{}, err
	}
	p, err := o.String("path", 4096)
	if err != nil {
		return device.CA{}, err
	}
	if c.Path, err = space.ParsePath(p); err != nil {
		return device.CA{}, invalid("path", "want / or /{guid}/{guid}…")
	}
	if c.DER, err = parseDER(o, "certificate", "CERTIFICATE"); err != nil {
		return device.CA{}, err
	}
	if len(c.DER) == 0 {
		return device.CA{}, invalid("certificate", "required")
	}
	c.CRL, err = parseDER(o, "crl", "X509 CRL")
	return c, err
}

func parseDER(o Object, name, block string) ([]byte, error) {
	s, err := o.String(name, 512<<10)
	if err != nil || s == "" {
		return nil, err
	}
	if b, rest := pem.Decode([]byte(s)); b != nil {
		if b.Type != block || len(rest) > 0 {
			return nil, invalid(name, "want exactly one PEM block %q", block)
		}
		return b.Bytes, nil
	}
	der, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, invalid(name, "want base64 DER or PEM")
	}
	return der, nil
}

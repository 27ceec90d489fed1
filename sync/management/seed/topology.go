package seed

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/management"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Topology is a building whose names are resolved. Immutable.
type Topology struct {
	HomeTenant space.ID

	content  management.Content
	kinds    map[string]device.AuthKind // by hub device id
	paths    map[string]space.Path      // by key
	devices  map[string]space.ID        // by hub device id
	identity map[string]model.Identity  // users by UPN, service principals and functions by name
}

// Path is the place of the space with the given key.
func (t *Topology) Path(key string) (space.Path, bool) {
	p, ok := t.paths[key]
	return p, ok
}

// Device is the topology id of the device with the given hub id.
func (t *Topology) Device(hubID string) (space.ID, bool) {
	id, ok := t.devices[hubID]
	return id, ok
}

// Identity is that of a user (by UPN), service principal or function (by name).
func (t *Topology) Identity(name string) (model.Identity, bool) {
	i, ok := t.identity[name]
	return i, ok
}

// Devices are the hub ids of all devices of one kind of credential.
func (t *Topology) Devices(kind device.AuthKind) []string {
	var list []string
	for i := range t.content.Devices {
		if id := t.content.Devices[i].DeviceID; t.kinds[id] == kind {
			list = append(list, id)
		}
	}
	return list
}

// Fill is what a file must not hold.
type Fill struct {
	// Device gives the credential of a device; it is asked for each device
	// whose auth is selfSigned or sas, and its kind must be that. A sas
	// device for which it says false gets random keys.
	Device func(hubID string) (device.Auth, bool)
	// Function gives the key of a function; nil or false: random keys.
	Function func(name string) (device.Auth, bool)
	// Authorities are certificate authorities, DER, by the key of the space
	// that they are bound to ("/" for everywhere).
	Authorities map[string][]byte
}

// Seed fills in the credentials and puts everything into the server.
func (t *Topology) Seed(s *management.Server, fill Fill) error {
	c, err := t.Content(fill)
	if err != nil {
		return err
	}
	return s.Import(c)
}

// Content is the building with credentials. The caller owns it.
func (t *Topology) Content(fill Fill) (management.Content, error) {
	c := t.content
	c.Devices = append([]wire.Device(nil), c.Devices...)
	c.Functions = append([]wire.Function(nil), c.Functions...)
	var problems problems
	for i := range c.Devices {
		d := &c.Devices[i]
		auth, err := fill.device(d.DeviceID, t.kinds[d.DeviceID])
		if err != nil {
			problems.add(err)
		}
		d.Authentication = wire.FromAuth(auth)
	}
	for i := range c.Functions {
		auth := randomKeys()
		if fill.Function != nil {
			if given, ok := fill.Function(c.Functions[i].Name); ok {
				auth = given
			}
		}
		c.Functions[i].Authentication = wire.FromAuth(auth)
	}
	for key, der := range fill.Authorities {
		at, ok := t.paths[key]
		if key == "/" {
			at, ok = space.Root, true
		}
		if !ok {
			problems.add(fmt.Errorf("certificate authority: there is no space %q", key))
		}
		c.CAs = append(c.CAs, device.CA{ID: space.NewID(), Path: at, DER: der})
	}
	return c, problems.err()
}

func (f Fill) device(hubID string, kind device.AuthKind) (device.Auth, error) {
	if kind != device.AuthSAS && kind != device.AuthSelfSigned {
		return device.Auth{Kind: kind}, nil
	}
	if f.Device != nil {
		if auth, ok := f.Device(hubID); ok {
			if auth.Kind != kind {
				return device.Auth{}, fmt.Errorf("device %q: the credential given is of another kind than the file says", hubID)
			}
			return auth, nil
		}
	}
	if kind == device.AuthSAS {
		return randomKeys(), nil
	}
	return device.Auth{}, fmt.Errorf("device %q: no certificate thumbprint was given", hubID)
}

func randomKeys() device.Auth {
	a := device.Auth{Kind: device.AuthSAS, Primary: make([]byte, 32), Secondary: make([]byte, 32)}
	_, _ = rand.Read(a.Primary) // never fails: crypto/rand ends the process instead
	_, _ = rand.Read(a.Secondary)
	return a
}

func parseAuth(s string) (device.AuthKind, bool) {
	switch strings.ToLower(s) {
	case "sas":
		return device.AuthSAS, true
	case "selfsigned":
		return device.AuthSelfSigned, true
	case "ca":
		return device.AuthCA, true
	case "none":
		return device.AuthNone, true
	}
	return device.AuthNone, false
}

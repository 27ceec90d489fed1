package management

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

const (
	tokenScheme = "SharedAccessSignature "
	tokenLife   = 365 * 24 * time.Hour // of those that we make, and the longest believed
	shortestKey = 16                   // bytes of a key that signs anything
)

// signToken makes a device's token for this API (docs/spec/management-api.md 5.3).
func signToken(hardware string, key wire.Key, until time.Time) (string, error) {
	secret, err := keyBytes(key)
	if err != nil {
		return "", err
	}
	return sas.IssueDeviceToken(hardware, key.ID, secret, until), nil
}

func keyBytes(key wire.Key) ([]byte, error) {
	secret, err := base64.StdEncoding.DecodeString(key.Value)
	if err != nil || len(secret) < shortestKey {
		return nil, errors.New("the key is unusable")
	}
	return secret, nil
}

// IsDeviceToken tells whether a request carries a device's token, which
// AuthenticateDevice judges, rather than anything else.
func IsDeviceToken(r *http.Request) bool {
	text := r.Header.Get("Authorization")
	return len(text) >= len(tokenScheme) && strings.EqualFold(text[:len(tokenScheme)], tokenScheme)
}

// AuthenticateDevice proves a device by its token: the device exists and is
// Active, and an active key of the nearest key store at or above its space
// signed the token. The caller acts as that DeviceId.
func (s *Server) AuthenticateDevice(r *http.Request) (Caller, error) {
	if !IsDeviceToken(r) {
		return Caller{}, errors.New("no device token")
	}
	token, err := sas.ParseDeviceToken(tokenScheme + r.Header.Get("Authorization")[len(tokenScheme):])
	if err != nil {
		return Caller{}, err
	}
	st := s.state.Load()
	d, ok := st.deviceByHardware(token.ID)
	if !ok || d.Status != wire.StatusName(device.Active) {
		return Caller{}, errors.New("device token: no active device has this hardwareId")
	}
	for _, key := range st.keysFor(st.path(d.SpaceID), strconv.Itoa(token.KeyVersion)) {
		secret, err := keyBytes(key)
		if err == nil && token.Verify(secret, s.o.Now(), tokenLife+time.Hour) == nil {
			who := model.Identity{Kind: model.DeviceID, Object: d.ID}
			return Caller{Name: "device " + d.Name, Subject: model.Subject{Identities: []model.Identity{who}}}, nil
		}
	}
	return Caller{}, errors.New("device token: wrong signature, expired or valid for too long, or the key is disabled")
}

func (s *state) deviceByHardware(id string) (*wire.Device, bool) {
	for _, d := range s.devices.all() {
		if strings.EqualFold(d.HardwareID, id) {
			return d, true
		}
	}
	return nil, false
}

// keysFor are the active keys with a number in the stores of the nearest space,
// from a place upwards, that has a store at all.
func (s *state) keysFor(at space.Path, number string) []wire.Key {
	for ; !at.IsZero(); at, _ = at.Parent() {
		var keys []wire.Key
		found := false
		for _, store := range s.keystores.all() {
			if s.path(store.SpaceID) != at {
				continue
			}
			found = true
			for _, k := range store.Keys {
				if strconv.Itoa(k.ID) == number && k.Status == keyActive {
					keys = append(keys, k)
				}
			}
		}
		if found {
			return keys
		}
	}
	return nil
}

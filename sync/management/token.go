package management

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// A device's token for this API (reference 5.3):
//
//	SharedAccessSignature id={hardwareId}&se={expiry}&kv={key number}&sig={base64}
//
// in any order of members. What exactly the original signed is not known; here
// it is HMAC-SHA256 with the key over "id={id}\nse={se}\nkv={kv}", each value
// as it stands in the token after decoding.
const (
	tokenScheme = "SharedAccessSignature "
	tokenLife   = 365 * 24 * time.Hour // of those that we make, and the longest believed
)

func signToken(hardware string, key wire.Key, until time.Time) (string, error) {
	se, kv := strconv.FormatInt(until.Unix(), 10), strconv.Itoa(key.ID)
	sig, err := tokenMAC(hardware, se, kv, key)
	if err != nil {
		return "", err
	}
	return tokenScheme + "id=" + url.QueryEscape(hardware) + "&se=" + se + "&kv=" + kv +
		"&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(sig)), nil
}

func tokenMAC(id, se, kv string, key wire.Key) ([]byte, error) {
	secret, err := base64.StdEncoding.DecodeString(key.Value)
	if err != nil || len(secret) < 16 {
		return nil, errors.New("the key is unusable")
	}
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "id=%s\nse=%s\nkv=%s", id, se, kv) // a hash never fails
	return mac.Sum(nil), nil
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
	member, err := parseToken(r.Header.Get("Authorization")[len(tokenScheme):])
	if err != nil {
		return Caller{}, err
	}
	now := s.o.Now()
	until, err := tokenExpiry(member["se"])
	if err != nil || !until.After(now) || until.After(now.Add(tokenLife+time.Hour)) {
		return Caller{}, errors.New("device token: expired, or valid for too long")
	}
	st := s.state.Load()
	d, ok := st.deviceByHardware(member["id"])
	if !ok || d.Status != wire.StatusName(device.Active) {
		return Caller{}, errors.New("device token: no active device has this hardwareId")
	}
	sig, err := base64.StdEncoding.DecodeString(member["sig"])
	if err != nil {
		return Caller{}, errors.New("device token: malformed signature")
	}
	for _, key := range st.keysFor(st.path(d.SpaceID), member["kv"]) {
		want, err := tokenMAC(member["id"], member["se"], member["kv"], key)
		if err == nil && hmac.Equal(want, sig) {
			who := model.Identity{Kind: model.DeviceID, Object: d.ID}
			return Caller{Name: "device " + d.Name, Subject: model.Subject{Identities: []model.Identity{who}}}, nil
		}
	}
	return Caller{}, errors.New("device token: wrong signature, or the key is disabled")
}

func parseToken(text string) (map[string]string, error) {
	if len(text) > 1024 {
		return nil, errors.New("device token: too long")
	}
	member := map[string]string{}
	for part := range strings.SplitSeq(text, "&") {
		name, value, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(value) // a plus is a plus
		if _, twice := member[name]; !ok || err != nil || twice {
			return nil, errors.New("device token: malformed")
		}
		member[name] = value
	}
	for _, name := range []string{"id", "se", "kv", "sig"} {
		if member[name] == "" || len(member) != 4 {
			return nil, errors.New("device token: want exactly id, se, kv and sig")
		}
	}
	return member, nil
}

// tokenExpiry reads both forms that were seen: seconds, and ISO 8601.
func tokenExpiry(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 || n > 1<<40 {
			return time.Time{}, errors.New("out of range")
		}
		return time.Unix(n, 0), nil
	}
	return time.Parse(time.RFC3339, s)
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

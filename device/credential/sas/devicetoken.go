package sas

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device"
)

// DeviceToken is the token by which a device speaks to the Digital Twins
// management API (docs/spec/management-api.md 5.3):
//
//	SharedAccessSignature id={hardware id}&se={expiry}&kv={key version}&sig={signature}
//
// id is the hardware id, se seconds since 1970 or an ISO 8601 time in UTC, kv
// the number of a key in the key store that serves the device's space.
//
// What the original signed was never published. Here sig is
// base64(HMAC-SHA256(key, id + "\n" + se + "\n" + kv)), each value as it is after
// unescaping: none holds a line feed, so the three cannot run into each other.
type DeviceToken struct {
	ID         string // hardware id, as claimed
	KeyVersion int
	Expires    time.Time

	signed    string
	signature []byte
}

// ParseDeviceToken reads a token, its fields in any order. Nothing in it is
// proved before Verify.
func ParseDeviceToken(token string) (*DeviceToken, error) {
	f, err := fields(token, "id", "se", "sig", "kv")
	if err != nil {
		return nil, err
	}
	t := &DeviceToken{}
	if t.ID, err = unescape(f["id"]); err != nil || device.CheckID(t.ID) != nil {
		return nil, fmt.Errorf("%w: id", ErrMalformed)
	}
	if t.KeyVersion, err = strconv.Atoi(f["kv"]); err != nil || t.KeyVersion < 0 || strconv.Itoa(t.KeyVersion) != f["kv"] {
		return nil, fmt.Errorf("%w: kv", ErrMalformed)
	}
	if t.signature, err = signature(f["sig"]); err != nil {
		return nil, err
	}
	se, err := unescape(f["se"])
	if err != nil {
		return nil, fmt.Errorf("%w: se", ErrMalformed)
	}
	if t.Expires, err = moment(se); err != nil {
		return nil, err
	}
	t.signed = t.ID + "\n" + se + "\n" + f["kv"]
	return t, nil
}

// Verify proves that the token is signed with the key and good at now for no
// longer than maxLife. The caller has found the key by ID and KeyVersion, and
// refused a disabled one.
func (t *DeviceToken) Verify(key []byte, now time.Time, maxLife time.Duration) error {
	if _, err := signedBy(t.signed, t.signature, [][]byte{key}); err != nil {
		return err
	}
	return alive(t.Expires, now, maxLife)
}

// IssueDeviceToken signs a token for the hardware id until expires.
func IssueDeviceToken(id string, version int, key []byte, expires time.Time) string {
	se, kv := strconv.FormatInt(expires.Unix(), 10), strconv.Itoa(version)
	sig := sign(id+"\n"+se+"\n"+kv, key)
	return prefix + "id=" + escape(id) + "&se=" + se + "&kv=" + kv + "&sig=" + escape(sig)
}

func moment(s string) (time.Time, error) {
	if !strings.Contains(s, "T") {
		return epoch(s)
	}
	t, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil || t.Unix() < 0 {
		return time.Time{}, fmt.Errorf("%w: se", ErrMalformed)
	}
	return t, nil
}

package identity

import (
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/device"
)

// name is a device, or a module of a device, as a client writes it.
type name struct {
	device, module string
}

func (n name) String() string {
	if n.module == "" {
		return n.device
	}
	return n.device + "/" + n.module
}

// nameOf reads a client id as the name of a record: {device}, or {device}/{module} if the part
// before the first slash is a device. It also finds records that the topology refuses to use,
// so that no other client can connect under their name.
func nameOf(t *device.Topology, clientID string) (name, bool) {
	dev, mod, isModule := strings.Cut(clientID, "/")
	if !t.HubIDClaimed(dev) || dev == "" || isModule && mod == "" {
		return name{}, false
	}
	return name{dev, mod}, true
}

// maxUsername bounds what a client may send, in bytes; IoT Hub's user names stay below 512.
const maxUsername = 2048

var errUsername = errors.New("want {hub}/{deviceId}[/{moduleId}]/?api-version=…, or the client id")

// username is a user name in IoT Hub's form: a host and two or three path segments. Its query
// is checked but not used.
type username struct {
	hub  string
	path []string
}

// parseUsername reads {hub}/{a}[/{b}][/][?query] (docs/spec/device-update.md 5.1). Segments are
// not unescaped. The query may hold unknown keys, but no malformed key and no key twice.
func parseUsername(s string) (username, error) {
	if len(s) > maxUsername || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return username{}, errUsername
	}
	path, query, hasQuery := strings.Cut(s, "/?")
	if !hasQuery {
		path = strings.TrimSuffix(path, "/")
	}
	parts := strings.Split(path, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return username{}, errUsername
	}
	for _, p := range parts {
		if p == "" || strings.ContainsAny(p, "+#?") {
			return username{}, errUsername
		}
	}
	if hasQuery && query != "" {
		seen := make(map[string]bool)
		for pair := range strings.SplitSeq(query, "&") {
			raw, value, _ := strings.Cut(pair, "=")
			k, err := url.QueryUnescape(raw)
			if _, err2 := url.QueryUnescape(value); err != nil || err2 != nil || k == "" || seen[k] {
				return username{}, errUsername
			}
			seen[k] = true
		}
	}
	return username{hub: parts[0], path: parts[1:]}, nil
}

// usernameNames reports whether a user name names n at the hub, either in IoT Hub's form or as
// the bare client id.
func usernameNames(s, hub string, n name) bool {
	if s == n.String() {
		return true
	}
	u, err := parseUsername(s)
	if err != nil || !strings.EqualFold(u.hub, hub) {
		return false
	}
	return strings.Join(u.path, "/") == n.String()
}

// maxLabel bounds a client id that names no record, in bytes.
const maxLabel = 256

func checkLabel(s string) error {
	switch {
	case len(s) > maxLabel:
		return errors.New("client id too long")
	case !utf8.ValidString(s):
		return errors.New("client id is not valid UTF-8")
	case strings.ContainsAny(s, "+#") || strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("client id contains a wildcard or a control character")
	}
	return nil
}

package identity

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
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

// apiVersion begins the query of a user name that is written without the question mark.
const apiVersion = "api-version="

// usernameNames reports whether a user name names n, either as the bare client id or in IoT Hub's
// form {host}/{n}[/[?query]] (docs/spec/device-update.md 5.1), for a host that hostAccepted takes.
// Older C SDKs and hand-made clients leave out the question mark: {host}/{n}/api-version=….
//
// n is the client id, and only it decides where the name ends: api-version=… after a device's name
// is its query, unless the client id says that it is a module of that name.
func usernameNames(s string, n name, hostAccepted func(host string) bool) bool {
	if s == n.String() {
		return true
	}
	host, rest, ok := cutHost(s)
	tail, names := strings.CutPrefix(rest, n.String())
	return ok && names && queryOnly(tail) && hostAccepted(host)
}

// functionName is the id in the user name {hub}/functions/{id} of a user-defined function, as the
// client wrote it.
func functionName(s, hub string) (id string, ok bool) {
	host, rest, ok := cutHost(s)
	rest, named := strings.CutPrefix(rest, "functions/")
	if !ok || !named || !strings.EqualFold(host, hub) {
		return "", false
	}
	id, _, _ = strings.Cut(rest, "/")
	return id, id != "" && !strings.ContainsAny(id, "+#?") && queryOnly(rest[len(id):])
}

// cutHost splits a user name at its first slash.
func cutHost(s string) (host, rest string, ok bool) {
	if len(s) > maxUsername || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", "", false
	}
	host, rest, ok = strings.Cut(s, "/")
	return host, rest, ok && host != ""
}

// queryOnly reports whether the rest of a user name, after the name, is at most a query. The query may
// hold unknown keys, but no malformed key and no key twice. Its values are not used. Without the
// question mark it holds no slash, so that it is no module's name with a query behind it.
func queryOnly(tail string) bool {
	if tail == "" || tail == "/" || tail == "/?" {
		return true
	}
	query, ok := strings.CutPrefix(tail, "/?")
	if !ok {
		if query, ok = strings.CutPrefix(tail, "/"); !ok || !strings.HasPrefix(query, apiVersion) || strings.Contains(query, "/") {
			return false
		}
	}
	seen := make(map[string]bool)
	for pair := range strings.SplitSeq(query, "&") {
		raw, value, _ := strings.Cut(pair, "=")
		k, err := url.QueryUnescape(raw)
		if _, err2 := url.QueryUnescape(value); err != nil || err2 != nil || k == "" || seen[k] {
			return false
		}
		seen[k] = true
	}
	return true
}

// hostAccepted reports whether a user name may begin with host: the hub's name or, for a device with a
// certificate, a DNS name of the certificate that the listener serves, with or without a port. A
// device that is given the gateway as its HostName writes the latter. With a shared access signature
// the name is the hub's, because the signature says so too.
func (q *request) hostAccepted(host string, kind device.AuthKind) bool {
	if strings.EqualFold(host, q.auth.o.Hub) {
		return true
	}
	if kind != device.AuthSelfSigned && kind != device.AuthCA || q.auth.o.Served == nil {
		return false
	}
	dns, port, hasPort := strings.Cut(host, ":")
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0) {
		return false
	}
	if _, err := netip.ParseAddr(dns); err == nil || strings.HasPrefix(dns, "[") {
		return false // VerifyHostname would compare addresses
	}
	served := q.auth.o.Served(q.Listener)
	return dns != "" && served != nil && served.VerifyHostname(dns) == nil
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

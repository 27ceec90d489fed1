package manifest

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// DefaultHosts is where Device Update serves its content.
const DefaultHosts = "*.dl.adu.microsoft.com"

// Hosts says where unsigned URLs may lead. An entry is a host name, "*." and a
// domain for every name below it, or an address literal; with ":port" for a
// port other than the scheme's own. Loopback, link-local, private and other
// special addresses are refused unless the very literal is listed; so is
// "localhost". The zero Hosts allows DefaultHosts.
type Hosts struct{ Allowed []string }

// Check says whether a URL may be handed to a device.
func (h Hosts) Check(raw string) error {
	bad := func(why string) error { return refuse(BadURL, why) }
	if len(raw) > 2048 || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return bad("malformed")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return bad("malformed")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return bad("neither http nor https")
	}
	if u.User != nil || u.Fragment != "" {
		return bad("carries a user or a fragment")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") {
		return bad("malformed")
	}
	if port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https" {
		port = ""
	}
	exact, below := h.listed(host, port)
	if addr, err := netip.ParseAddr(host); err == nil {
		if exact || below && !special(addr) {
			return nil
		}
		return bad("leads to an address that is not allowed")
	}
	if !plainName(host) {
		return bad("malformed host")
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		below = false
	}
	if exact || below {
		return nil
	}
	return bad("leads to a host that is not allowed: " + clip(host))
}

func (h Hosts) listed(host, port string) (exact, below bool) {
	allowed := h.Allowed
	if len(allowed) == 0 {
		allowed = []string{DefaultHosts}
	}
	for _, entry := range allowed {
		name, p := splitPort(strings.ToLower(entry))
		switch {
		case p != port:
		case name == host:
			exact = true
		case name == "*":
			below = true
		case strings.HasPrefix(name, "*.") && strings.HasSuffix(host, name[1:]):
			below = true
		}
	}
	return exact, below
}

func splitPort(entry string) (host, port string) {
	if strings.HasPrefix(entry, "[") {
		if end := strings.IndexByte(entry, ']'); end > 0 {
			return entry[1:end], strings.TrimPrefix(entry[end+1:], ":")
		}
	}
	if i := strings.LastIndexByte(entry, ':'); i >= 0 && strings.Count(entry, ":") == 1 {
		return entry[:i], entry[i+1:]
	}
	return entry, ""
}

// special tells whether an address is anything but an ordinary public one.
func special(a netip.Addr) bool {
	a = a.Unmap()
	return a.Zone() != "" || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() ||
		a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240 || a.As4()[0] == 100 && a.As4()[1]&0xc0 == 64) ||
		a.Is6() && !netip.MustParsePrefix("2000::/3").Contains(a) ||
		// NAT64, 6to4 and Teredo carry an IPv4 address that could be any of the above.
		a.Is6() && (netip.MustParsePrefix("2002::/16").Contains(a) || netip.MustParsePrefix("2001::/32").Contains(a))
}

// plainName tells whether a host is a DNS name that no resolver takes for an
// address: 127.1, 2130706433 and 0x7f000001 are addresses to some.
func plainName(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return false
		}
		for _, r := range l {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	return last[0] < '0' || last[0] > '9'
}

// CheckFiles checks the unsigned fileUrls of a deployment against the signed
// manifest: every URL allowed, every file id known. Null entries are the
// remains of earlier deployments. Ids that are not listed are accepted only
// for an update with children, whose files are bound by the hash of the
// child's manifest (docs/spec/device-update.md 3.2).
func (m *Manifest) CheckFiles(urls strictjson.Value, hosts Hosts) error {
	switch urls.Kind() {
	case strictjson.Absent, strictjson.Null:
		return nil
	case strictjson.Object:
	default:
		return refuse(BadURL, "fileUrls is no object")
	}
	if len(urls.Members()) > maxFiles {
		return refuse(BadURL, "too many file URLs")
	}
	for _, f := range urls.Members() {
		if f.Value.Kind() == strictjson.Null {
			continue
		}
		raw, ok := f.Value.Str()
		if !ok {
			return refuse(BadURL, "a file URL is no text")
		}
		if _, known := m.Files[f.Name]; !known && !m.HasChildren() {
			return refuse(UnknownFile, clip(f.Name))
		}
		if err := hosts.Check(raw); err != nil {
			return err
		}
	}
	return nil
}

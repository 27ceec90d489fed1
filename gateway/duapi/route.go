package duapi

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update"
)

const apiVersion = "2022-10-01"

// request is what one of the four routes asks for.
type request struct {
	action     update.Action
	method     string
	instance   string
	device     string // get
	group      string // create, cancel, retry
	class      string // cancel, retry
	deployment string // create, cancel, retry
}

// route parses an escaped path. known is false if no route has this form. It does not judge
// the names in the path; check does.
func route(escaped string) (r request, known bool) {
	raw := strings.Split(escaped, "/")
	seg := make([]string, len(raw))
	for i := range raw {
		text, err := url.PathUnescape(raw[i])
		if err != nil {
			return request{}, false
		}
		seg[i] = text
	}
	if len(seg) < 6 || seg[0] != "" || seg[1] != "deviceUpdate" || seg[3] != "management" {
		return request{}, false
	}
	r.instance = seg[2]
	switch rest := seg[4:]; {
	case len(rest) == 2 && rest[0] == "devices":
		r.action, r.method, r.device = update.Get, http.MethodGet, rest[1]
	case len(rest) == 4 && rest[0] == "groups" && rest[2] == "deployments":
		r.action, r.method, r.group, r.deployment = update.Create, http.MethodPut, rest[1], rest[3]
	case len(rest) == 6 && rest[0] == "groups" && rest[2] == "deviceClassSubgroups" && rest[4] == "deployments":
		id, verb, _ := strings.Cut(rest[5], ":")
		if verb != string(update.Cancel) && verb != string(update.Retry) {
			return request{}, false
		}
		r.action, r.method, r.group, r.class, r.deployment = update.Action(verb), http.MethodPost, rest[1], rest[3], id
	default:
		return request{}, false
	}
	return r, true
}

// check says which part of the path cannot be a name. It returns "" if all can.
func (r *request) check() string {
	if r.action == update.Get {
		if r.device == "." || r.device == ".." || device.CheckID(r.device) != nil || strings.ContainsAny(r.device, `\?`) {
			return "no such device id can be"
		}
		return ""
	}
	if !plain(r.group, 255, "$") {
		return "no such group id can be"
	}
	if r.action != update.Create && !plain(r.class, 255, "") {
		return "no such device class id can be"
	}
	if !deploymentID(r.deployment) {
		return "no such deployment id can be"
	}
	return ""
}

// plain reports whether s is a name of at most most bytes, of letters, digits, '.', '-', '_',
// '~' and the characters in also, and is neither "." nor ".." (docs/spec/device-update.md 2.3).
func plain(s string, most int, also string) bool {
	if s == "" || len(s) > most || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_~"+also, c) >= 0) {
			return false
		}
	}
	return true
}

// deploymentID reports whether s is a deployment id by the service's rule
// (docs/spec/device-update.md 2.2) and has no character with a meaning in a URL. In particular
// it has no ':', which begins the name of an action.
func deploymentID(s string) bool {
	if s == "" || len(s) > 73 || s == "." || s == ".." || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7F || strings.IndexByte(`&^[]{}|<>/\":%?#+;`, s[i]) >= 0 {
			return false
		}
	}
	return true
}

// path builds the path of the request from its parts, for the given instance.
func (r *request) path(instance string) string {
	p := "/deviceUpdate/" + url.PathEscape(instance) + "/management/"
	switch r.action {
	case update.Get:
		return p + "devices/" + url.PathEscape(r.device)
	case update.Create:
		return p + "groups/" + url.PathEscape(r.group) + "/deployments/" + url.PathEscape(r.deployment)
	}
	return p + "groups/" + url.PathEscape(r.group) + "/deviceClassSubgroups/" + url.PathEscape(r.class) + "/deployments/" +
		url.PathEscape(r.deployment) + ":" + string(r.action)
}

// subject describes the request for the audit.
func (r *request) subject() string {
	switch r.action {
	case update.Get:
		return "get device " + r.device
	case update.Create:
		return "create deployment " + r.deployment + " for group " + r.group
	}
	return string(r.action) + " deployment " + r.deployment + " for group " + r.group + ", class " + r.class
}

// checkQuery requires exactly one api-version, the supported one, and no other parameter.
// Others would not be forwarded, and the caller would believe that they had an effect.
func checkQuery(raw string) (code, text string) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return "BadRequest", "the query cannot be read"
	}
	switch v := q["api-version"]; {
	case len(v) == 0:
		return "MissingApiVersionParameter", "api-version is missing: " + apiVersion
	case len(v) > 1 || v[0] != apiVersion:
		return "UnsupportedApiVersion", "this gateway speaks api-version " + apiVersion
	case len(q) > 1:
		return "BadRequest", "the only parameter is api-version"
	}
	return "", ""
}

// checkBody checks the body. Only a create has one: strict JSON that names an update and the
// same deployment and group as the path, because those of the path are decided and audited. It
// returns "" if all is well.
func (r *request) checkBody(text []byte) string {
	if r.action != update.Create {
		if len(text) > 0 {
			return "this request has no body"
		}
		return ""
	}
	v, err := strictjson.Parse(text, strictjson.Limits{Bytes: maxRequest, Depth: 8, Values: 1024, Key: 64})
	if err != nil || v.Kind() != strictjson.Object {
		return "the body is not one strict JSON object"
	}
	id := v.At("update", "updateId")
	for _, name := range []string{"provider", "name", "version"} {
		if s, ok := id.Get(name).Str(); !ok || s == "" {
			return "update.updateId needs provider, name and version"
		}
	}
	for name, want := range map[string]string{"deploymentId": r.deployment, "groupId": r.group} {
		if s, ok := v.Get(name).Str(); !ok || s != want {
			return name + " is not the one of the path"
		}
	}
	// A server that ignores the case of keys would take these for the members checked above.
	for _, m := range v.Members() {
		for _, name := range []string{"deploymentId", "groupId", "update"} {
			if m.Name != name && strings.EqualFold(m.Name, name) {
				return "a key is written in another case"
			}
		}
	}
	return ""
}

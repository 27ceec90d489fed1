package hub

import (
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// The filters of docs/spec/device-update.md 5.2 that are the same for every identity.
const (
	filterTwinRes = "$iothub/twin/res/#"
	filterDesired = "$iothub/twin/PATCH/properties/desired/#"
	filterMethods = "$iothub/methods/POST/#"
)

// inboxOf is the prefix of what an identity is sent from the cloud.
func inboxOf(id ID) string {
	if id.Module != "" {
		return "devices/" + id.Device + "/modules/" + id.Module + "/"
	}
	return "devices/" + id.Device + "/messages/devicebound/"
}

func filterAllowed(id ID, filter string) bool {
	switch filter {
	case filterTwinRes, filterDesired, filterMethods, inboxOf(id) + "#":
		return true
	}
	return false
}

// eventsTopic is the property bag of an identity's own events topic.
func eventsTopic(id ID, topic string) (bag string, ok bool) {
	prefix := "devices/" + id.Device + "/messages/events"
	if id.Module != "" {
		prefix = "devices/" + id.Device + "/modules/" + id.Module + "/messages/events"
	}
	if topic == prefix {
		return "", true
	}
	return strings.CutPrefix(topic, prefix+"/")
}

// request splits a request topic: prefix, then "?$rid=…". The rid may be
// followed by other parameters, which are ignored.
func request(topic, prefix string) (rid string, ok bool) {
	query, ok := strings.CutPrefix(topic, prefix+"?")
	if !ok {
		return "", false
	}
	for _, p := range strings.Split(query, "&") {
		if k, v, _ := strings.Cut(p, "="); k == "$rid" && v != "" {
			return v, true
		}
	}
	return "", false
}

// methodResponse splits $iothub/methods/res/{status}/?$rid={rid}.
func methodResponse(topic string) (status int, rid string, ok bool) {
	rest, ok := strings.CutPrefix(topic, "$iothub/methods/res/")
	if !ok {
		return 0, "", false
	}
	code, _, ok := strings.Cut(rest, "/")
	status, err := strconv.Atoi(code)
	if !ok || err != nil {
		return 0, "", false
	}
	rid, ok = request(topic, "$iothub/methods/res/"+code+"/")
	return status, rid, ok
}

// parseBag reads a property bag: URL-encoded pairs in a topic level.
func parseBag(bag string) (map[string]string, bool) {
	props := map[string]string{}
	for _, p := range strings.Split(strings.TrimSuffix(bag, "/"), "&") {
		if p == "" {
			continue
		}
		k, v, _ := strings.Cut(p, "=")
		key, err1 := url.PathUnescape(k)
		value, err2 := url.PathUnescape(v)
		if err1 != nil || err2 != nil {
			return nil, false
		}
		props[key] = value
	}
	return props, true
}

// writeBag is the other direction, in the order of the keys.
func writeBag(props map[string]string) string {
	pairs := make([]string, 0, len(props))
	for k, v := range props {
		pairs = append(pairs, escapeBag(k)+"="+escapeBag(v))
	}
	sort.Strings(pairs)
	return strings.Join(pairs, "&")
}

func escapeBag(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

package access

import (
	"strings"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// sensorKey is the key in the property bag that names a reading's sensor by its hardware id
// ("DigitalTwins-SensorHardwareId", docs/spec/management-api.md 5.1).
const sensorKey = "DigitalTwins-SensorHardwareId"

func parseBag(s string) ([]message.UserProperty, error) {
	if s == "" {
		return nil, nil
	}
	return topic.ParseBag(make([]message.UserProperty, 0, strings.Count(s, "&")+1), s)
}

// reservedKey returns the first property that a client may not set, or "". Reserved are, in any
// letter case: what IoT Hub stamps itself ($.cdid, $.cmid, iothub-connection-*), the name of a
// module's output ($.on), and any other spelling of sensorKey, which a reader upstream could
// take for the sensor's name.
func reservedKey(bag []message.UserProperty) string {
	const prefix = "iothub-connection-"
	for _, p := range bag {
		switch {
		case strings.EqualFold(p.Key, "$.cdid"), strings.EqualFold(p.Key, "$.cmid"), strings.EqualFold(p.Key, "$.on"),
			len(p.Key) >= len(prefix) && strings.EqualFold(p.Key[:len(prefix)], prefix),
			p.Key != sensorKey && strings.EqualFold(p.Key, sensorKey):
			return p.Key
		}
	}
	return ""
}

// sensorIn returns the hardware id that the bag names; false if it names none.
func sensorIn(bag []message.UserProperty) (string, bool) {
	for _, p := range bag {
		if p.Key == sensorKey {
			return p.Value, true
		}
	}
	return "", false
}

// canonical returns the topic with its property bag decoded and encoded again, so that every
// reader parses it alike. head is everything before the bag. A topic that is canonical already
// is returned unchanged, without an allocation.
func canonical(name, head, raw string, bag []message.UserProperty) string {
	if topic.CanonicalBag(raw) && len(name) == len(head)+len(raw) {
		return name
	}
	b := make([]byte, 0, len(head)+len(raw)+16)
	return string(topic.AppendBag(append(b, head...), bag))
}

// plainID reports whether s can be put into a topic and into a query without escaping.
func plainID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~', c == ':':
		default:
			return false
		}
	}
	return true
}

// requestID returns the $rid of a topic level "?$rid=…".
func requestID(query string) (string, bool) {
	bag, err := parseBag(strings.TrimPrefix(query, "?"))
	if err != nil || !strings.HasPrefix(query, "?") {
		return "", false
	}
	for _, p := range bag {
		if p.Key == "$rid" {
			return p.Value, plainID(p.Value)
		}
	}
	return "", false
}

package topic

import (
	"errors"
	"strings"
)

const sharePrefix = "$share"

// Subscription is the topic filter of a SUBSCRIBE, with the $share part separated.
type Subscription struct {
	Group  string // of a shared subscription, else ""
	Filter string // the filter without $share/{group}/: this one is decided and matched
}

// Shared reports whether it is a shared subscription.
func (s Subscription) Shared() bool { return s.Group != "" }

// String returns the canonical spelling; equal subscriptions have equal strings.
func (s Subscription) String() string {
	if s.Shared() {
		return sharePrefix + "/" + s.Group + "/" + s.Filter
	}
	return s.Filter
}

// SplitShared separates $share/{group}/{filter}; any other string is a filter without a group.
// "$share" is recognised in any ASCII case, because the embedded MQTT library routes $SHARE as
// a shared subscription: treating it as a plain filter would decide something other than what
// happens (docs/spec/broker-boundary.md B6). An empty group, a group with a wildcard, a missing
// filter and a share within a share are refused (OASIS MQTT 5.0, 4.8.2).
func SplitShared(s string) (Subscription, error) {
	head, rest, more := Cut(s)
	if !isShare(head) {
		return Subscription{Filter: s}, nil
	}
	if !more {
		return Subscription{}, &Error{ErrShare, "no group"}
	}
	group, filter, more := Cut(rest)
	switch {
	case group == "":
		return Subscription{}, &Error{ErrShare, "empty group"}
	case strings.ContainsAny(group, "+#"):
		return Subscription{}, &Error{ErrShare, "wildcard in the group"}
	case !more || filter == "":
		return Subscription{}, &Error{ErrShare, "no filter"}
	}
	if inner, _, _ := Cut(filter); isShare(inner) {
		return Subscription{Group: group, Filter: filter}, errTwice
	}
	return Subscription{Group: group, Filter: filter}, nil
}

// Subscription checks the topic filter of a SUBSCRIBE and separates its $share part. The limits
// apply to the whole text.
func (l Limits) Subscription(s string) (Subscription, error) {
	if why := l.shape(s); why != "" {
		return Subscription{}, &Error{ErrFilter, why}
	}
	sub, err := SplitShared(s)
	if err != nil {
		return sub, err
	}
	return sub, l.Filter(sub.Filter)
}

// Malformed returns what is wrong, by MQTT's own grammar (OASIS MQTT 5.0, 4.7 and 4.8.2), with the
// topic filter of a SUBSCRIBE or UNSUBSCRIBE, or nil. A client that sends such a filter breaks the
// protocol. A filter that is only longer or deeper than Limits allow does not, nor does a share
// within a share, which the standard does not mention: those are refused by themselves.
func Malformed(s string) error {
	whole := Limits{Bytes: protocolBytes, Levels: protocolBytes + 1}
	sub, err := whole.Subscription(s)
	if err == nil || !errors.Is(err, errTwice) {
		return err
	}
	return whole.Filter(sub.Filter)
}

// errTwice is the error of a share within a share.
var errTwice = &Error{ErrShare, "shared twice"}

// isShare compares without regard to ASCII case. Unicode case folding would also accept the
// long s (U+017F), which nothing routes as a shared subscription.
func isShare(level string) bool {
	if len(level) != len(sharePrefix) {
		return false
	}
	for i := 0; i < len(level); i++ {
		c := level[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != sharePrefix[i] {
			return false
		}
	}
	return true
}

package topic

import "strings"

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
		return Subscription{}, &Error{ErrShare, "shared twice"}
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
		return Subscription{}, err
	}
	return sub, l.Filter(sub.Filter)
}

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

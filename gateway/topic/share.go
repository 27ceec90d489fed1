package topic

import "strings"

const sharePrefix = "$share"

// Subscription is what a client may write in a SUBSCRIBE, taken apart.
type Subscription struct {
	Group  string // of a shared subscription, else ""
	Filter string // the inner filter: what is decided and matched
}

// Shared tells whether it is a shared subscription.
func (s Subscription) Shared() bool { return s.Group != "" }

// String is the one canonical spelling: equal subscriptions, equal strings.
func (s Subscription) String() string {
	if s.Shared() {
		return sharePrefix + "/" + s.Group + "/" + s.Filter
	}
	return s.Filter
}

// SplitShared takes $share/{group}/{filter} apart; anything else is its own
// filter. "$share" counts in any ASCII case, here and therefore everywhere: the
// embedded library routes $SHARE as shared, so deciding it as a plain topic
// would decide something else than what happens (docs/spec/broker-boundary.md B6).
// An empty group, one with a wildcard, a missing filter and a share within a
// share are refused (OASIS MQTT 5.0, 4.8.2).
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

// Subscription checks and takes apart what a SUBSCRIBE carries. The limits
// hold for the text as written.
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

// isShare folds ASCII only. Unicode folding would add the long s (U+017F),
// which nothing routes as shared.
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

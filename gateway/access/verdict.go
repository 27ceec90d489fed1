package access

import "github.com/gatehouse/gatehouse/gateway/message"

// verdict turns an outcome of a row into a Verdict. If the row is in report-only mode, a
// refusal lets the operation pass and is reported, unless watchable is false.
func verdict(r *row, out outcome, watchable bool) message.Verdict {
	switch {
	case out.ok:
		return message.Verdict{Allowed: true, Reason: out.reason, Detail: out.detail}
	case r != nil && r.reportOnly && watchable:
		return message.Verdict{Allowed: true, ReportOnly: true, Reason: out.reason, Detail: out.detail}
	}
	return denied(out)
}

func denied(out outcome) message.Verdict {
	code := out.code
	if code == 0 {
		code = message.NotAuthorized
	}
	return message.Verdict{Reason: out.reason, Detail: out.detail, Code: code}
}

// watchable reports whether a row in report-only mode lets this refusal pass. It does not when
// the operation is malformed, has no meaning, or concerns another session's messages: an
// operator would learn nothing from it, and the gateway could not carry it out.
func (o outcome) watchable() bool {
	switch o.reason {
	case NoPolicy, CacheExpired, BadTopic, BadFilter, BadBag, ReservedKey, BadRequest, BadResponse, NeverPublish, NeverRead,
		NotOwn, ForUpstream, NoInstance, UnknownKind, NoTopic, SharedPrivate:
		return false
	}
	return true
}

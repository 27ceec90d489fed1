package access

import "github.com/gatehouse/gatehouse/gateway/message"

// verdict words an outcome. A refusal by a row in report-only mode lets the
// operation pass and says so; watchable is false for what no mode lets pass.
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

// watchable tells whether a report-only row lets this refusal pass. What is
// malformed, has no meaning or is another session's business never does: there
// is nothing to be watched in it, and nothing could be done with it.
func (o outcome) watchable() bool {
	switch o.reason {
	case NoPolicy, CacheExpired, BadTopic, BadFilter, BadBag, ReservedKey, BadRequest, BadResponse, NeverPublish, NeverRead,
		NotOwn, ForUpstream, NoInstance, UnknownKind, NoTopic, SharedPrivate:
		return false
	}
	return true
}

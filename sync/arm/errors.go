package arm

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// The errors that callers tell apart. An *Error wraps one of them.
var (
	ErrUnauthorized = errors.New("the gateway's credential is not accepted by Azure")
	ErrForbidden    = errors.New("the gateway's identity may not read this")
	ErrNotFound     = errors.New("no such resource in Azure")
	ErrThrottled    = errors.New("throttled by Azure")
	ErrRedirect     = errors.New("a redirect, which is not followed: the token could go to another host")
	ErrMalformed    = errors.New("malformed answer")
	ErrTorn         = errors.New("the assignments kept changing while they were read")
)

// Error is a request that failed.
type Error struct {
	Path   string        // without host and query
	Status int           // 0: no answer came
	Code   string        // error.code of ARM's answer, such as AuthorizationFailed; "" if it has none
	After  time.Duration // of a throttled request: when ARM wants to be asked again
	Hint   string        // what an operator may do; may be empty
	Err    error
}

// Error is "GET /subscriptions/…: 403 AuthorizationFailed: …".
func (e *Error) Error() string {
	text := "GET " + e.Path + ": "
	if e.Status != 0 {
		text += fmt.Sprint(e.Status)
		if e.Code != "" {
			text += " " + e.Code
		}
		text += ": "
	}
	err := e.Err
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without what url.Error adds: the method and the address, with its query
	}
	text += err.Error()
	if e.Status == http.StatusTooManyRequests {
		text += fmt.Sprintf(", for %v", e.After)
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns one of the errors above, or the transport's error.
func (e *Error) Unwrap() error { return e.Err }

// RetryAfter is when ARM wants to be asked again; 0: it did not say.
func (e *Error) RetryAfter() time.Duration { return e.After }

// Reason is a stable name of the error, for health and metrics.
func (e *Error) Reason() string {
	for _, r := range []struct {
		err  error
		word string
	}{
		{ErrUnauthorized, "unauthorized"}, {ErrForbidden, "forbidden"}, {ErrThrottled, "throttled"}, {ErrRedirect, "redirect"},
		{ErrMalformed, "malformed"}, {ErrTorn, "torn"}, {ErrNotFound, "not-found"},
	} {
		if errors.Is(e.Err, r.err) {
			return r.word
		}
	}
	if e.Status != 0 {
		return "server-error"
	}
	return "unreachable"
}

// refused is the error of an answer that is no 200. code is error.code of its body.
func refused(path string, status int, code string, after time.Duration) *Error {
	e := &Error{Path: path, Status: status, Code: code}
	switch {
	case status == http.StatusUnauthorized:
		e.Err, e.Hint = ErrUnauthorized, "look at cloud.arm.credential, and at this machine's clock"
	case status == http.StatusForbidden:
		e.Err, e.Hint = ErrForbidden, "it needs the role Reader there"
	case status == http.StatusNotFound:
		e.Err, e.Hint = ErrNotFound, "look at instance.hub.armScope and instance.deviceUpdate.armScope"
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		e.Err, e.After = ErrThrottled, after
	case status >= 300 && status < 400:
		e.Err, e.Hint = ErrRedirect, "look at cloud.arm.url, and for a portal between here and Azure"
	default:
		e.Err = errors.New(http.StatusText(status))
	}
	return e
}

func malformed(path string, err error) error {
	return &Error{
		Path: path, Status: http.StatusOK, Err: fmt.Errorf("%w: %w", ErrMalformed, err),
		Hint: "something else than Azure may have answered",
	}
}

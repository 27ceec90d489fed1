package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gatehouse/gatehouse/sync/wire"
)

// The errors that callers tell apart. An *Error wraps one of them.
var (
	ErrUnauthorized = errors.New("the server does not accept the gateway's credential")
	ErrForbidden    = errors.New("the gateway's identity may not read this")
	ErrNotFound     = errors.New("not found")
	ErrThrottled    = errors.New("the server throttles")
	ErrMalformed    = errors.New("malformed answer")
	ErrTorn         = errors.New("the collections kept changing while they were read")
	ErrSite         = errors.New("the site's path is not what the server says")
)

// Error is a request that failed.
type Error struct {
	Op     string // "GET"
	Path   string // without host and query
	Status int    // 0: no answer came
	Hint   string // what an operator may do; may be empty
	Err    error
}

// Error is "GET /devices: 401: …".
func (e *Error) Error() string {
	text := e.Op + " " + e.Path + ": "
	if e.Status != 0 {
		text += fmt.Sprintf("%d: ", e.Status)
	}
	err := e.Err
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without what url.Error adds: the method and the address, with a long query
	}
	text += err.Error()
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Reason is a stable name of the error, for health and metrics.
func (e *Error) Reason() string {
	for _, r := range []struct {
		err  error
		word string
	}{
		{ErrUnauthorized, "unauthorized"}, {ErrForbidden, "forbidden"}, {ErrThrottled, "throttled"},
		{ErrMalformed, "malformed"}, {ErrTorn, "torn"}, {ErrSite, "site"}, {ErrNotFound, "not-found"},
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

// Unwrap returns one of the errors above, or the transport's error.
func (e *Error) Unwrap() error { return e.Err }

func statusError(path string, status int) *Error {
	e := &Error{Op: http.MethodGet, Path: path, Status: status}
	switch status {
	case http.StatusUnauthorized:
		e.Err, e.Hint = ErrUnauthorized, "look at cloud.management.credential, and at this machine's clock"
	case http.StatusForbidden:
		e.Err, e.Hint = ErrForbidden, "it needs Support Specialist and Token Administrator at the site"
	case http.StatusNotFound:
		e.Err = ErrNotFound
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		e.Err = ErrThrottled
	default:
		e.Err = errors.New(http.StatusText(status))
	}
	return e
}

// gap says which gap an answer 410 means, by its error.code.
func gap(body []byte) error {
	o, err := wire.ParseObject(body)
	if err != nil {
		return wire.ErrGap
	}
	inner, _, err := o.Object("error")
	if err != nil {
		return wire.ErrGap
	}
	if code, err := inner.String("code", 64); err == nil && code == wire.CodeHistory {
		return wire.ErrHistory
	}
	return wire.ErrGap
}

func malformed(path string, err error) error {
	return &Error{Op: http.MethodGet, Path: path, Status: http.StatusOK, Err: fmt.Errorf("%w: %w", ErrMalformed, err)}
}

package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/device/space"
)

const base = "/management/api/v1.0"

// TokenSource returns the value of the Authorization header: "Bearer …" or
// "SharedAccessSignature …". It is called for every request, so it should cache.
type TokenSource interface {
	Authorization(ctx context.Context) (string, error)
}

// A Renewer is a TokenSource that can get another token after an answer of 401, because the
// server may have revoked the token long before it expires.
type Renewer interface {
	TokenSource
	// Refused tells the Renewer that the server answered 401 to this value. It returns
	// true if the next Authorization can return another value; the request is then sent
	// once more. The Renewer limits how often a new token is requested.
	Refused(authorization string) bool
	// Accepted tells the Renewer that the server accepted this value.
	Accepted(authorization string)
}

// An Explainer is a TokenSource that knows more of why its token is refused.
type Explainer interface {
	// Trouble says it in one sentence, "" if there is nothing to say.
	Trouble() string
}

// Options of a Client. URL, Site, HomeTenant and Token are required.
type Options struct {
	URL        string     // https://host[:port], with or without the API's base path
	Site       space.Path // the path of the space that the gateway serves; "/" for all spaces
	HomeTenant space.ID
	Token      TokenSource
	TLS        *tls.Config // nil: the system's roots
	// Over is what requests are sent over, made of the transport that the Client has set up; nil: that itself.
	Over func(*http.Transport) http.RoundTripper

	RequestsPerSecond float64       // 0: 50, well below the server's 100
	Timeout           time.Duration // of one request, in addition to the time for which the server is asked to wait; 0: 30 s
	MaxBody           int64         // bytes of one answer; 0: 64 MiB
	MaxObjects        int           // objects of one collection; 0: 1,000,000

	// OnTime is called with the time in the Date header of an answer, and a value that
	// is equal for all answers over one connection. It is not called with a time at which
	// the server's certificate is not valid. If OnTime returns true, the next request is
	// made over another connection. May be nil.
	OnTime func(said time.Time, connection any) (elsewhere bool)
	// Sleep waits for d, or returns the error of ctx if that ends before; nil: by a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Client talks to one server. Close it when done.
type Client struct {
	o       Options
	url     *url.URL
	http    *http.Client
	idle    func()
	limiter *rate.Limiter
}

// New checks the options and returns a client. It does no I/O.
func New(o Options) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(strings.TrimRight(o.URL, "/"), base))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("management API: URL %q: want https://host[:port]", o.URL)
	}
	if o.Site.IsZero() || o.HomeTenant.IsZero() || o.Token == nil {
		return nil, errors.New("management API: Site, HomeTenant and Token are required")
	}
	if o.RequestsPerSecond <= 0 {
		o.RequestsPerSecond = 50
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 64 << 20
	}
	if o.MaxObjects <= 0 {
		o.MaxObjects = 1_000_000
	}
	if o.Sleep == nil {
		o.Sleep = Sleep
	}
	c, idle := HTTP(o.TLS, 4, o.Over)
	return &Client{
		o: o, url: u, idle: idle, http: c,
		limiter: rate.NewLimiter(rate.Limit(o.RequestsPerSecond), max(1, int(o.RequestsPerSecond/2))),
	}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.idle() }

// HTTP makes the HTTP client of a source of facts in the cloud, which keeps at most idle connections
// open that it does not use. over, which may be nil, wraps the transport. closeIdle closes them.
// It follows no redirect, because that could send the credential to another host.
func HTTP(t *tls.Config, idle int, over func(*http.Transport) http.RoundTripper) (c *http.Client, closeIdle func()) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        t,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	c = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if over != nil {
		c.Transport = over(transport)
	}
	return c, transport.CloseIdleConnections
}

// Sleep waits for d, or returns the error of ctx if that ends before.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempts is how often a request is sent that the server throttles, and how often reads that
// must be consistent are repeated.
const attempts = 5

func (c *Client) authorized(ctx context.Context, send func(authorization string) (status int, err error)) (int, error) {
	return Authorized(ctx, c.o.Token, send)
}

// Authorized sends a request by calling send. If the server answers 401 and token is a Renewer that
// can get another one, the request is sent a second time with that. Authorized returns the status of
// the last answer, or 0 and an error if there was none; NoToken tells that it was not even sent.
func Authorized(ctx context.Context, token TokenSource, send func(authorization string) (status int, err error)) (int, error) {
	renewer, _ := token.(Renewer)
	for renewed := false; ; renewed = true {
		authorization, err := token.Authorization(ctx)
		if err != nil {
			return 0, &credentialError{err}
		}
		status, err := send(authorization)
		switch {
		case err != nil || renewer == nil:
		case status != http.StatusUnauthorized:
			renewer.Accepted(authorization) // any other status, even an error, means that the token was accepted
		case renewer.Refused(authorization) && !renewed:
			continue
		}
		return status, err
	}
}

// credentialError says that a request was not sent because there was no token.
type credentialError struct{ error }

// Unwrap returns the error of the TokenSource.
func (e *credentialError) Unwrap() error { return e.error }

// NoToken tells whether a request was not sent because the gateway had no token for it.
func NoToken(err error) bool { return errors.As(err, new(*credentialError)) }

// hint tells an operator what to do about an error of authorized, "" if there is nothing to say.
func hint(err error) string {
	if NoToken(err) {
		return "look at cloud.management.credential"
	}
	return ""
}

// get sends one GET and returns the body of a 200. While the server throttles, it waits and
// sends the request again, up to attempts times.
func (c *Client) get(ctx context.Context, path string, query url.Values, wait time.Duration) ([]byte, error) {
	for try := 1; ; try++ {
		body, after, err := c.once(ctx, path, query, wait)
		if !errors.Is(err, ErrThrottled) || try == attempts {
			return body, err
		}
		if err := c.o.Sleep(ctx, after); err != nil {
			return nil, err
		}
	}
}

func (c *Client) once(
	ctx context.Context, path string, query url.Values, wait time.Duration,
) (body []byte, after time.Duration, err error) {
	if err := c.limiter.Wait(ctx); err != nil {
		return nil, 0, err
	}
	u := *c.url
	u.Path = strings.TrimRight(u.Path, "/") + base + path
	u.RawQuery = query.Encode()
	_, sent := c.authorized(ctx, func(authorization string) (status int, _ error) {
		status, body, after, err = c.try(ctx, path, u.String(), authorization, wait)
		if status == 0 {
			return 0, err
		}
		return status, nil
	})
	if errors.As(sent, new(*credentialError)) {
		return nil, 0, &Error{Op: http.MethodGet, Path: path, Hint: hint(sent), Err: sent}
	}
	c.explain(err)
	return body, after, err
}

// explain adds to an answer of 401 what the TokenSource knows of it.
func (c *Client) explain(err error) {
	explainer, ok := c.o.Token.(Explainer)
	var e *Error
	if !ok || !errors.As(err, &e) || !errors.Is(e.Err, ErrUnauthorized) {
		return
	}
	if text := explainer.Trouble(); text != "" {
		e.Hint = text
	}
}

// try is one GET. The status is 0 if no answer came.
func (c *Client) try(ctx context.Context, path, address, authorization string, wait time.Duration) (int, []byte, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+c.o.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, 0, &Error{Op: http.MethodGet, Path: path, Err: err}
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, 0, &Error{Op: http.MethodGet, Path: path, Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	status := resp.StatusCode
	if status != http.StatusOK {
		// The body is read so that the connection can be used again. It is in no error text,
		// because any proxy may have written it.
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if status == http.StatusGone {
			return status, nil, 0, &Error{Op: http.MethodGet, Path: path, Status: status, Err: gap(said)}
		}
		return status, nil, retryAfter(resp.Header), statusError(path, status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.o.MaxBody+1))
	if err != nil {
		return status, nil, 0, &Error{Op: http.MethodGet, Path: path, Status: status, Err: err}
	}
	if int64(len(body)) > c.o.MaxBody {
		return status, nil, 0, malformed(path, fmt.Errorf("larger than %d bytes", c.o.MaxBody))
	}
	if c.o.OnTime != nil && resp.TLS != nil {
		c.tell(resp)
	}
	return status, body, 0, nil
}

// tell passes the time of an answer to OnTime, if the server's certificate is valid at that
// time. TLS has checked the certificate by this machine's clock, and this check keeps a server from
// moving that clock to a time at which its own certificate would be refused.
func (c *Client) tell(resp *http.Response) {
	t, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil || len(resp.TLS.PeerCertificates) == 0 {
		return
	}
	if leaf := resp.TLS.PeerCertificates[0]; t.Before(leaf.NotBefore) || t.After(leaf.NotAfter) {
		return
	}
	if c.o.OnTime(t, resp.TLS) {
		c.idle() // closes this connection, too: it is idle, because the body was read to its end
	}
}

func retryAfter(h http.Header) time.Duration { return RetryAfter(h, time.Minute) }

// RetryAfter parses the Retry-After header: a number of seconds, or a date. It returns 1 s if
// there is none, and most at most, so that no server can silence the gateway.
func RetryAfter(h http.Header, most time.Duration) time.Duration {
	text := h.Get("Retry-After")
	d := time.Second
	if seconds, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(max(seconds, 0), int(most/time.Second))) * time.Second
	} else if t, err := http.ParseTime(text); err == nil {
		if now, err := http.ParseTime(h.Get("Date")); err == nil { // the server's clock, by which the other date is, too
			d = t.Sub(now)
		}
	}
	return min(max(d, 100*time.Millisecond), most)
}

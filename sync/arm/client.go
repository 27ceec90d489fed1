package arm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/wire"
)

const (
	apiVersion = "2022-04-01"
	provider   = "/providers/Microsoft.Authorization/"
)

// Options of a Source. URL, Scopes and Token are required.
type Options struct {
	URL    string   // https://host[:port]
	Scopes []string // ARM ids at which rights are decided
	// Principals are object ids of users and service principals for which ARM is asked through
	// which groups they are assigned roles.
	Principals []space.ID
	Token      client.TokenSource
	TLS        *tls.Config // nil: the system's roots
	// Over is what requests are sent over, made of the transport that the Source has set up; nil: that itself.
	Over func(*http.Transport) http.RoundTripper

	Timeout time.Duration // of one request; 0: 30 s
	MaxBody int64         // bytes of one page; 0: 64 MiB
	MaxRows int           // of one list; 0: 1,000,000
	// Sleep waits for d, or returns the error of ctx if that ends before; nil: by a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// api sends requests to one ARM endpoint.
type api struct {
	o    Options
	base *url.URL
	http *http.Client
	idle func()
	// left is what the last answer said of the reads that remain before ARM throttles; -1: nothing.
	left int
}

func newAPI(o Options) (*api, error) {
	u, err := url.Parse(strings.TrimRight(o.URL, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("azure resource manager: URL %q: want https://host[:port]", o.URL)
	}
	c, idle := client.HTTP(o.TLS, 2, o.Over)
	return &api{o: o, base: u, idle: idle, left: -1, http: c}, nil
}

const (
	// attempts is how often one request is sent that ARM throttles.
	attempts = 3
	// patience is the longest wait for ARM within a read. One that asks for more ends the read
	// with an error that says when to come back, so that whoever waits can be told.
	patience = 2 * time.Second
	// longest bounds what ARM, or whoever answers in its place, can have the gateway wait.
	longest = 5 * time.Minute
	// few is the number of remaining reads below which requests are sent slowly. ARM gives
	// 25 back each second.
	few = 25
	// maxPages bounds a list whose pages never end.
	maxPages = 10_000
)

// list reads all pages of one list below a scope. A row that comes twice is ErrTorn: a page came in
// place of another one, whose rows are missing, or the list changed under the pages.
func (a *api) list(ctx context.Context, scope, what, filter string, take func(row wire.Object) error) error {
	path := scope + provider + what
	q := url.Values{"api-version": {apiVersion}}
	if filter != "" {
		q.Set("$filter", filter)
	}
	next := *a.base
	next.Path, next.RawQuery = strings.TrimRight(next.Path, "/")+path, q.Encode()
	visited := map[string]bool{}
	rows, seen := 0, map[string]bool{}
	for address := next.String(); address != ""; {
		if visited[address] || len(visited) == maxPages {
			return malformed(path, errors.New("its nextLinks lead in a circle, or never end"))
		}
		visited[address] = true
		body, err := a.get(ctx, path, address)
		if err != nil {
			return err
		}
		page, link, err := parsePage(body)
		if err != nil {
			return malformed(path, err)
		}
		if rows += len(page); rows > a.o.MaxRows {
			return malformed(path, fmt.Errorf("more than %d rows", a.o.MaxRows))
		}
		for _, row := range page {
			id := strings.ToLower(rowID(row))
			if id != "" && seen[id] {
				return &Error{Path: path, Err: ErrTorn}
			}
			seen[id] = true
			if err := take(row); err != nil {
				return malformed(path, err)
			}
		}
		if address, err = a.follow(link); err != nil {
			return malformed(path, err)
		}
	}
	return nil
}

// parsePage reads {"value":[…],"nextLink":…}. A document without value is no list, and must not
// be taken for an empty one.
func parsePage(body []byte) (page []wire.Object, next string, err error) {
	o, err := wire.ParseObject(body)
	if err != nil {
		return nil, "", err
	}
	if !o.Present("value") {
		return nil, "", errors.New("value: required")
	}
	if page, err = o.List("value"); err != nil {
		return nil, "", err
	}
	next, err = o.String("nextLink", 32<<10)
	return page, next, err
}

// follow checks the address of the next page, "" if there is none. It must lead to the same
// host: the token goes there.
func (a *api) follow(link string) (string, error) {
	if link == "" {
		return "", nil
	}
	u, err := url.Parse(link)
	if err != nil {
		return "", errors.New("nextLink: no address")
	}
	if u.Scheme != a.base.Scheme || !strings.EqualFold(u.Host, a.base.Host) || u.User != nil {
		return "", fmt.Errorf("nextLink: leads to another host than %s", a.base.Host)
	}
	q := u.Query()
	q.Set("api-version", apiVersion)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// get sends one GET and returns the body of a 200. While ARM throttles for a short time it waits.
func (a *api) get(ctx context.Context, path, address string) ([]byte, error) {
	for try := 1; ; try++ {
		if err := a.pace(ctx); err != nil {
			return nil, &Error{Path: path, Err: err}
		}
		body, err := a.once(ctx, path, address)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(e, ErrThrottled) || e.After > patience || try == attempts {
			return body, err
		}
		if err := a.o.Sleep(ctx, e.After); err != nil {
			return nil, &Error{Path: path, Err: err}
		}
	}
}

// pace waits when ARM has said that few reads remain.
func (a *api) pace(ctx context.Context) error {
	if a.left < 0 || a.left >= few {
		return nil
	}
	return a.o.Sleep(ctx, time.Second)
}

func (a *api) once(ctx context.Context, path, address string) (body []byte, err error) {
	_, sent := client.Authorized(ctx, a.o.Token, func(authorization string) (status int, _ error) {
		status, body, err = a.try(ctx, path, address, authorization)
		if status == 0 {
			return 0, err
		}
		return status, nil
	})
	if client.NoToken(sent) {
		return nil, &Error{Path: path, Hint: "look at cloud.arm.credential", Err: sent}
	}
	return body, err
}

// try is one GET. The status is 0 if no answer came.
func (a *api) try(ctx context.Context, path, address, authorization string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, &Error{Path: path, Err: err}
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Accept", "application/json")
	resp, err := a.http.Do(r)
	if err != nil {
		return 0, nil, &Error{Path: path, Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a.left = remaining(resp.Header)
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // to its end, so that the connection can be used again
		return resp.StatusCode, nil, refused(path, resp.StatusCode, code(said), client.RetryAfter(resp.Header, longest))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, a.o.MaxBody+1))
	if err != nil {
		return resp.StatusCode, nil, &Error{Path: path, Status: resp.StatusCode, Err: err}
	}
	if int64(len(body)) > a.o.MaxBody {
		return resp.StatusCode, nil, malformed(path, fmt.Errorf("a page is larger than %d bytes", a.o.MaxBody))
	}
	return resp.StatusCode, body, nil
}

// remaining is the lowest number of reads that ARM says remain, for the subscription or the
// tenant; -1 if it says nothing.
func remaining(h http.Header) int {
	left := -1
	for _, name := range []string{"x-ms-ratelimit-remaining-subscription-reads", "x-ms-ratelimit-remaining-tenant-reads"} {
		if n, err := strconv.Atoi(h.Get(name)); err == nil && n >= 0 && (left < 0 || n < left) {
			left = n
		}
	}
	return left
}

// code is error.code of an answer, if it is one word. Any proxy may have written the answer, so
// nothing else of it is shown.
func code(body []byte) string {
	o, err := wire.ParseObject(body)
	if err != nil {
		return ""
	}
	inner, _, err := o.Object("error")
	if err != nil {
		return ""
	}
	word, err := inner.String("code", 64)
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	if err != nil || slices.ContainsFunc([]rune(word), func(r rune) bool { return !letter(r) }) {
		return ""
	}
	return word
}

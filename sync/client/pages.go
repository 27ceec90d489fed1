package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/sync/wire"
)

const pageSize = 1000

// collection reads all pages of one list. If the list changed meanwhile (ErrTorn), it reads it again.
func (c *Client) collection(ctx context.Context, path string, query url.Values) ([]wire.Object, error) {
	for range attempts {
		list, err := c.pages(ctx, path, query)
		if !errors.Is(err, ErrTorn) {
			return list, err
		}
	}
	return nil, &Error{Op: "GET", Path: path, Err: ErrTorn}
}

// pages reads all pages of one list. Each page but the first begins with the last object of
// the page before. As long as it does, the ranges of ids that the pages cover join without a
// gap, so that an object that existed all the time is in one of them. If it does not, the
// list changed meanwhile, and the error is ErrTorn.
func (c *Client) pages(ctx context.Context, path string, query url.Values) ([]wire.Object, error) {
	q := url.Values{"$top": {strconv.Itoa(pageSize)}, "$orderby": {"Id"}}
	for name, v := range query {
		q[name] = v
	}
	var all []wire.Object
	seen := map[string]bool{}
	last := ""
	for {
		if len(all) > 0 {
			q.Set("$skip", strconv.Itoa(len(all)-1))
		}
		body, err := c.get(ctx, path, q, 0)
		if err != nil {
			return nil, err
		}
		page, err := wire.ParseList(body)
		if err != nil {
			return nil, malformed(path, err)
		}
		full := len(page) >= pageSize
		if len(page) > pageSize {
			return nil, malformed(path, fmt.Errorf("%d objects where %d were asked for", len(page), pageSize))
		}
		if last != "" {
			if len(page) == 0 {
				return nil, ErrTorn
			}
			id, err := key(page[0])
			if err != nil {
				return nil, malformed(path, err)
			}
			if id != last {
				return nil, ErrTorn
			}
			page = page[1:]
		}
		for _, o := range page {
			id, err := key(o)
			if err != nil {
				return nil, malformed(path, err)
			}
			if seen[id] {
				return nil, ErrTorn
			}
			seen[id], last = true, id
		}
		all = append(all, page...)
		if !full {
			return all, nil
		}
		if len(all) > c.o.MaxObjects {
			return nil, malformed(path, fmt.Errorf("more than %d objects", c.o.MaxObjects))
		}
	}
}

// key identifies an object of a list. The ids of Azure items are resource ids, which are
// compared without regard to case.
func key(o wire.Object) (string, error) {
	id, err := o.String("id", 4096)
	if err == nil && id == "" {
		err = errors.New("an object without id")
	}
	return strings.ToLower(id), err
}

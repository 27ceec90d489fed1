package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Full reads everything that concerns the site, as it was at one version.
func (c *Client) Full(ctx context.Context) (wire.Full, error) {
	for range attempts {
		full, err := c.fullByFeed(ctx)
		if errors.Is(err, wire.ErrNoFeed) {
			return c.fullByAgreement(ctx)
		}
		// After a gap in the feed the collections cannot be brought to one version, so they
		// are read again. The gateway's own rights changed while the collections were read, or the
		// server no longer has the changes since then.
		if !errors.Is(err, wire.ErrGap) {
			return full, err
		}
	}
	return wire.Full{}, &Error{Op: "GET", Path: "/changes", Err: ErrTorn}
}

func (c *Client) fullByFeed(ctx context.Context) (wire.Full, error) {
	start, err := c.head(ctx)
	if err != nil {
		return wire.Full{}, err
	}
	full, err := c.pass(ctx)
	if err != nil {
		return wire.Full{}, err
	}
	delta, err := c.Changes(ctx, start, 0)
	if err != nil {
		return wire.Full{}, err
	}
	overlay(&full, &delta)
	full.Version, full.Policy.Version = delta.To, delta.To
	return full, nil
}

// fullByAgreement reads everything until two passes are equal. The version is the time in
// milliseconds, because a server without a feed has no versions.
func (c *Client) fullByAgreement(ctx context.Context) (wire.Full, error) {
	before, err := c.pass(ctx)
	if err != nil {
		return wire.Full{}, err
	}
	for range attempts {
		after, err := c.pass(ctx)
		if err != nil {
			return wire.Full{}, err
		}
		if reflect.DeepEqual(before, after) {
			v := model.Version{Epoch: 1, Number: uint64(time.Now().UnixMilli())}
			after.Version, after.Policy.Version, after.Unnumbered = v, v, true
			return after, nil
		}
		before = after
	}
	return wire.Full{}, &Error{Op: "GET", Path: "/", Err: ErrTorn}
}

// Changes reads the changes since a version from the feed. If there are none, the server
// waits for one for as long as wait (long poll). The error wire.ErrGap means that the feed
// cannot continue from since, so that everything has to be read by Full, wire.ErrHistory that it was
// the server that went back; wire.ErrNoFeed means that the server has no feed.
func (c *Client) Changes(ctx context.Context, since model.Version, wait time.Duration) (wire.Delta, error) {
	q := url.Values{"since": {since.String()}, "site": {c.o.Site.String()}}
	if since.History != "" {
		q.Set("history", since.History) // a server of before it knew histories does not read it
	}
	if wait > 0 {
		q.Set("wait", fmt.Sprint(wait.Seconds()))
	}
	feed, err := c.feed(ctx, q, wait)
	if err != nil {
		return wire.Delta{}, err
	}
	feed.From.History = since.History // compared by the server
	if feed.From != since {
		return wire.Delta{}, malformed("/changes", fmt.Errorf("asked since %s, answered since %s", since, feed.From))
	}
	delta, err := wire.ToDelta(feed, c.o.HomeTenant)
	if err != nil {
		return wire.Delta{}, malformed("/changes", err)
	}
	return delta, nil
}

// head is the server's current version.
func (c *Client) head(ctx context.Context) (model.Version, error) {
	feed, err := c.feed(ctx, url.Values{"site": {c.o.Site.String()}}, 0)
	return feed.To, err
}

func (c *Client) feed(ctx context.Context, q url.Values, wait time.Duration) (wire.ParsedFeed, error) {
	body, err := c.get(ctx, "/changes", q, wait)
	if errors.Is(err, ErrNotFound) {
		return wire.ParsedFeed{}, wire.ErrNoFeed
	}
	if err != nil {
		return wire.ParsedFeed{}, err
	}
	feed, err := wire.ParseFeed(body)
	if err != nil {
		return wire.ParsedFeed{}, malformed("/changes", err)
	}
	return feed, nil
}

// Rights reads what the gateway's own identity may read at the site. The error is ErrNotFound
// if the server has no such resource.
func (c *Client) Rights(ctx context.Context) (wire.Rights, error) {
	body, err := c.get(ctx, "/gateway/rights", url.Values{"site": {c.o.Site.String()}}, 0)
	if err != nil {
		return wire.Rights{}, err
	}
	r, err := wire.ParseRights(body)
	if err != nil {
		return wire.Rights{}, malformed("/gateway/rights", err)
	}
	return r, nil
}

// pass reads every collection once.
func (c *Client) pass(ctx context.Context) (wire.Full, error) {
	var f wire.Full
	if err := c.checkSite(ctx); err != nil {
		return wire.Full{}, err
	}
	body, err := c.get(ctx, "/system/roles", nil, 0)
	if err != nil {
		return wire.Full{}, err
	}
	roles, err := wire.ParseList(body)
	if err != nil {
		return wire.Full{}, malformed("/system/roles", err)
	}
	f.Policy.Roles = read(&f, wire.TypeRole, roles, wire.ParseRole)

	site := c.o.Site.String()
	below := url.Values{"includes": {"ConnectionString,FullPath"}}
	if !c.o.Site.IsRoot() {
		below.Set("spaceId", c.o.Site.Space().String())
		below.Set("traverse", "Down")
	}
	for _, part := range []struct {
		path  string
		query url.Values
		take  func([]wire.Object)
	}{
		{"/roleassignments", url.Values{"path": {"/"}, "traverse": {"Down"}, "site": {site}}, func(list []wire.Object) {
			f.Policy.Assignments = c.assignments(&f, list)
		}},
		{"/spaces", below, func(l []wire.Object) { f.Data.Spaces = read(&f, wire.TypeSpace, l, wire.SpaceRecord) }},
		{"/devices", below, func(l []wire.Object) { f.Data.Devices = read(&f, wire.TypeDevice, l, wire.DeviceRecord) }},
		{"/sensors", below, func(l []wire.Object) { f.Data.Sensors = read(&f, wire.TypeSensor, l, wire.SensorRecord) }},
		{"/userdefinedfunctions", below, func(l []wire.Object) {
			f.Data.Functions = read(&f, wire.TypeFunction, l, wire.FunctionRecord)
		}},
	} {
		list, err := c.collection(ctx, part.path, part.query)
		if err != nil {
			return wire.Full{}, err
		}
		part.take(list)
	}
	return f, c.extensions(ctx, &f)
}

// extensions reads the collections that the original service (see sync/wire) did not
// have. If the server answers 404 for one, it is empty.
func (c *Client) extensions(ctx context.Context, f *wire.Full) error {
	q := url.Values{"site": {c.o.Site.String()}}
	var unreadable error
	for _, part := range []struct {
		path string
		take func([]wire.Object)
	}{
		{"/gateway/certificateauthorities", func(l []wire.Object) { f.Data.CAs = read(f, wire.TypeCA, l, wire.ParseCA) }},
		{"/gateway/azure/roleassignments", func(l []wire.Object) {
			f.Policy.AzureAssignments = read(f, wire.TypeAzureAssignment, l, wire.ParseAzureAssignment)
		}},
		{"/gateway/azure/roledefinitions", func(l []wire.Object) {
			f.Policy.AzureRoles = read(f, wire.TypeAzureRole, l, wire.ParseAzureRole)
		}},
		{"/gateway/azure/denyassignments", func(l []wire.Object) {
			for _, o := range l {
				d, why, err := wire.HeldAzureDeny(o)
				switch {
				case err != nil: // an error, because more would be granted without a deny assignment
					unreadable = malformed("/gateway/azure/denyassignments", err)
				case why != nil:
					f.Problems = append(f.Problems, wire.Problem{Type: wire.TypeAzureDeny, ID: d.ID.String(), Reason: why.Error()})
				}
				f.Policy.AzureDenies = append(f.Policy.AzureDenies, d)
			}
		}},
	} {
		list, err := c.collection(ctx, part.path, q)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		part.take(list)
	}
	return unreadable
}

// assignments returns those assignments of list that are in force at the site or below it. A server
// that does not know the parameter site= answers with all.
func (c *Client) assignments(f *wire.Full, list []wire.Object) []model.Assignment {
	parse := func(o wire.Object) (model.Assignment, error) { return wire.ParseAssignment(o, c.o.HomeTenant) }
	var kept []model.Assignment
	for _, a := range read(f, wire.TypeAssignment, list, parse) {
		if c.o.Site.Covers(a.Path) || a.Path.Covers(c.o.Site) {
			kept = append(kept, a)
		}
	}
	return kept
}

// checkSite checks that the configured path is the path of the site's space on the server. Devices
// are read by the space and assignments by the path: if the two did not belong together, rights would
// be decided for another place than that of the devices.
func (c *Client) checkSite(ctx context.Context) error {
	if c.o.Site.IsRoot() {
		return nil
	}
	path := "/spaces/" + c.o.Site.Space().String()
	body, err := c.get(ctx, path, url.Values{"includes": {"FullPath"}}, 0)
	if err != nil {
		return err
	}
	o, err := wire.ParseObject(body)
	if err != nil {
		return malformed(path, err)
	}
	s, err := wire.SpaceRecord(o)
	if err != nil {
		return malformed(path, err)
	}
	if s.Path != c.o.Site {
		return &Error{Op: "GET", Path: path, Status: 200, Err: ErrSite,
			Hint: fmt.Sprintf("instance.site says %s; the space is at %s now", c.o.Site, s.Path)}
	}
	return nil
}

func read[T any](f *wire.Full, kind string, list []wire.Object, parse func(wire.Object) (T, error)) []T {
	out := make([]T, 0, len(list))
	for _, o := range list {
		v, err := parse(o)
		if err != nil {
			id, _ := key(o)
			f.Problems = append(f.Problems, wire.Problem{Type: kind, ID: id, Reason: err.Error()})
			continue
		}
		out = append(out, v)
	}
	return out
}

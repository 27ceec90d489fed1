package access

import (
	"sync"
	"sync/atomic"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Options of a Control. Facts and Stage are called for every question and must not wait.
// Without Facts, or while either snapshot is nil, everything is denied.
type Options struct {
	// Facts returns policy and registry of the same version. With different versions, a new
	// assignment could meet a device at its old place and grant what neither version grants.
	Facts func() (*authz.Index, *device.Topology)
	Stage func() offline.Stage // nil: always offline.Fresh

	TopicMap *TopicMap    // nil: NewTopicMap()
	Limits   topic.Limits // zero: topic.DefaultLimits()

	Site          space.Path // zero: "/"
	HubScope      string     // ARM id of the IoT hub, "" if none
	InstanceScope string     // ARM id of the Device Update instance, "" if none

	DeviceSelfGrant bool // access.device_self_grant
	KeepAfterExpiry bool // offline.keepAfterExpiry: Expired is treated as Restricted
}

// Control decides by the topic map, the policy and the registry in force: it opens
// Rights for principals.
type Control struct {
	opts Options
	set  settings

	topicMap atomic.Pointer[TopicMap]
	current  atomic.Pointer[env]
	mu       sync.Mutex // serialises the making of the next env; never held over a provider
}

// settings are the options that do not change while the gateway runs.
type settings struct {
	limits        topic.Limits
	site          space.Path
	hubScope      string
	instanceScope string
	selfGrant     bool
}

// env is one consistent set of snapshots. Each snapshot has a number, so that a cache can tell
// whether it changed without keeping the old snapshot in memory.
type env struct {
	set      *settings
	policy   *authz.Index
	topology *device.Topology
	topicMap *TopicMap
	stage    offline.Stage

	epoch    epoch
	ready    bool // policy and topology are not nil
	policies uint64
}

// epoch names the state for which a session's cache is valid, together with the version of its
// principal's rights.
type epoch struct {
	topology, topicMap uint64
	stage              offline.Stage
}

// New makes a Control. It starts nothing.
func New(o Options) *Control {
	c := &Control{opts: o, set: settings{o.Limits, o.Site, o.HubScope, o.InstanceScope, o.DeviceSelfGrant}}
	if o.Limits == (topic.Limits{}) {
		c.set.limits = topic.DefaultLimits()
	}
	if o.Site.IsZero() {
		c.set.site = space.Root
	}
	if o.TopicMap == nil {
		o.TopicMap = NewTopicMap()
	}
	c.topicMap.Store(o.TopicMap)
	return c
}

// SetTopicMap replaces the topic map for all decisions from now on. The caller must have the
// connected sessions decided again.
func (c *Control) SetTopicMap(t *TopicMap) { c.topicMap.Store(t) }

// TopicMap returns the topic map in force.
func (c *Control) TopicMap() *TopicMap { return c.topicMap.Load() }

// env returns the current set of snapshots. It waits at most for another goroutine that is
// storing the same change.
func (c *Control) env() *env {
	stage, topicMap := c.stage(), c.topicMap.Load()
	policy, topology := c.facts()
	cur := c.current.Load()
	if cur != nil && cur.policy == policy && cur.topology == topology && cur.stage == stage && cur.topicMap == topicMap {
		return cur
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &env{
		set:      &c.set,
		policy:   policy,
		topology: topology,
		stage:    stage,
		topicMap: topicMap,
	}
	next.ready = policy != nil && topology != nil
	if cur = c.current.Load(); cur != nil {
		next.policies, next.epoch = cur.policies, cur.epoch
		// A goroutine that was delayed may store an older snapshot again. It then gets a new number,
		// which costs only a cache.
		if cur.policy != policy {
			next.policies++
		}
		if cur.topology != topology {
			next.epoch.topology++
		}
		if cur.topicMap != topicMap {
			next.epoch.topicMap++
		}
	}
	next.epoch.stage = stage
	c.current.Store(next)
	return next
}

func (c *Control) facts() (*authz.Index, *device.Topology) {
	if c.opts.Facts == nil {
		return nil, nil
	}
	return c.opts.Facts()
}

func (c *Control) stage() offline.Stage {
	if c.opts.Stage == nil {
		return offline.Fresh
	}
	s := c.opts.Stage()
	if s >= offline.Expired && c.opts.KeepAfterExpiry {
		return offline.Restricted
	}
	return min(s, offline.Expired)
}

// OpenOption changes how the rights of a session are decided, according to its listener.
type OpenOption func(*Rights)

// Filtered accepts filters that match more than the principal may read. What it may not read is
// then withheld delivery by delivery.
func Filtered() OpenOption { return func(r *Rights) { r.filtered = true } }

// Open returns the rights of a principal for one session. It is cheap and does no I/O.
func (c *Control) Open(p *principal.Principal, options ...OpenOption) *Rights {
	r := &Rights{control: c, p: p}
	for _, o := range options {
		o(r)
	}
	return r
}

// Known reports whether the registry still holds the principal's device, module or function in
// a state in which it may connect. It is true for every other kind of principal, and while
// there is no registry. The wills and retained messages of a publisher that is no longer known
// must be deleted, not only withheld.
func (c *Control) Known(p *principal.Principal) bool {
	e := c.env()
	if e.topology == nil {
		return true
	}
	d := decider{env: e, p: p}
	switch p.Kind {
	case principal.Device, principal.Module:
		_, out := d.self()
		return out.ok
	case principal.Function:
		_, ok := e.topology.Function(d.functionID())
		return ok
	}
	return true
}

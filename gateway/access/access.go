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

// Options of a Control. The providers are asked on every question and must not
// wait; nil, or a nil snapshot, denies everything.
type Options struct {
	// Facts are policy and registry, always of one version: a new assignment
	// beside the old place of a device could grant what neither version grants.
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

// settings are the parts that do not change while the gateway runs.
type settings struct {
	limits        topic.Limits
	site          space.Path
	hubScope      string
	instanceScope string
	selfGrant     bool
}

// env is one consistent set of snapshots. Generations number the snapshots,
// so that a cache can tell two apart without keeping the old one alive.
type env struct {
	set      *settings
	policy   *authz.Index
	topology *device.Topology
	topicMap *TopicMap
	stage    offline.Stage

	epoch    epoch
	ready    bool // both snapshots are there
	policies uint64
}

// epoch is what a session's cache is valid for, next to the rights version of
// its principal.
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

// SetTopicMap replaces the topic map. Every decision from now on is made by it;
// the caller has live sessions decided again.
func (c *Control) SetTopicMap(t *TopicMap) { c.topicMap.Store(t) }

// TopicMap is the topic map in force.
func (c *Control) TopicMap() *TopicMap { return c.topicMap.Load() }

// env is the present set of snapshots. It waits for nobody but another
// goroutine that is writing down the same change.
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
		// A goroutine that was late may bring back an older set; it gets a
		// number of its own then, which only costs a cache.
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

// OpenOption is how a listener treats a session.
type OpenOption func(*Rights)

// Filtered accepts filters that are wider than what the principal may read;
// each delivery is decided, as always.
func Filtered() OpenOption { return func(r *Rights) { r.filtered = true } }

// Open gives the rights of a principal for one session: cheap, without I/O.
func (c *Control) Open(p *principal.Principal, options ...OpenOption) *Rights {
	r := &Rights{control: c, p: p}
	for _, o := range options {
		o(r)
	}
	return r
}

// Known tells whether the registry still has the principal's device, module or
// function in a state that may connect; true for everybody else. What a
// deleted or disabled publisher left behind (wills, retained messages) is to
// be deleted, not only hidden. Without a registry nothing is known to be gone.
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

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

// Options of a Map. The providers are asked on every question and must not
// wait; nil, or a nil snapshot, denies everything.
type Options struct {
	// Facts are policy and registry, always of one version: a new assignment
	// beside the old place of a device could grant what neither version grants.
	Facts func() (*authz.Index, *device.Topology)
	Stage func() offline.Stage // nil: always offline.Fresh

	Table  *Table       // nil: NewTable()
	Limits topic.Limits // zero: topic.DefaultLimits()

	Site          space.Path // zero: "/"
	HubScope      string     // ARM id of the IoT hub, "" if none
	InstanceScope string     // ARM id of the Device Update instance, "" if none

	DeviceSelfGrant bool // access.device_self_grant
	KeepAfterExpiry bool // offline.keepAfterExpiry: Expired is treated as Restricted
}

// Map is the topic map in force: it opens Rights for principals.
type Map struct {
	opts Options
	set  settings

	table   atomic.Pointer[Table]
	current atomic.Pointer[env]
	mu      sync.Mutex // serialises the making of the next env; never held over a provider
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
	table    *Table
	stage    offline.Stage

	epoch    epoch
	ready    bool // both snapshots are there
	policies uint64
}

// epoch is what a session's cache is valid for, next to the rights version of
// its principal.
type epoch struct {
	topology, table uint64
	stage           offline.Stage
}

// New makes a Map. It starts nothing.
func New(o Options) *Map {
	m := &Map{opts: o, set: settings{o.Limits, o.Site, o.HubScope, o.InstanceScope, o.DeviceSelfGrant}}
	if o.Limits == (topic.Limits{}) {
		m.set.limits = topic.DefaultLimits()
	}
	if o.Site.IsZero() {
		m.set.site = space.Root
	}
	if o.Table == nil {
		o.Table = NewTable()
	}
	m.table.Store(o.Table)
	return m
}

// SetTable swaps the topic map. Every decision from now on is made by it;
// the caller has live sessions decided again.
func (m *Map) SetTable(t *Table) { m.table.Store(t) }

// Table is the topic map in force.
func (m *Map) Table() *Table { return m.table.Load() }

// env is the present set of snapshots. It waits for nobody but another
// goroutine that is writing down the same change.
func (m *Map) env() *env {
	stage, table := m.stage(), m.table.Load()
	policy, topology := m.facts()
	cur := m.current.Load()
	if cur != nil && cur.policy == policy && cur.topology == topology && cur.stage == stage && cur.table == table {
		return cur
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := &env{
		set:      &m.set,
		policy:   policy,
		topology: topology,
		stage:    stage,
		table:    table,
	}
	next.ready = policy != nil && topology != nil
	if cur = m.current.Load(); cur != nil {
		next.policies, next.epoch = cur.policies, cur.epoch
		// A goroutine that was late may bring back an older set; it gets a
		// number of its own then, which only costs a cache.
		if cur.policy != policy {
			next.policies++
		}
		if cur.topology != topology {
			next.epoch.topology++
		}
		if cur.table != table {
			next.epoch.table++
		}
	}
	next.epoch.stage = stage
	m.current.Store(next)
	return next
}

func (m *Map) facts() (*authz.Index, *device.Topology) {
	if m.opts.Facts == nil {
		return nil, nil
	}
	return m.opts.Facts()
}

func (m *Map) stage() offline.Stage {
	if m.opts.Stage == nil {
		return offline.Fresh
	}
	s := m.opts.Stage()
	if s >= offline.Expired && m.opts.KeepAfterExpiry {
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
func (m *Map) Open(p *principal.Principal, options ...OpenOption) *Rights {
	r := &Rights{m: m, p: p}
	for _, o := range options {
		o(r)
	}
	return r
}

// Known tells whether the registry still has the principal's device, module or
// function in a state that may connect; true for everybody else. What a
// deleted or disabled publisher left behind (wills, retained messages) is to
// be deleted, not only hidden. Without a registry nothing is known to be gone.
func (m *Map) Known(p *principal.Principal) bool {
	e := m.env()
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

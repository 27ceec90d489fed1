// Package watch looks, once a second, at the states and counters of other parts, and raises the health
// warnings that follow from how long something has lasted or how far it has come. Warnings that a part
// can tell at once come from that part.
//
// A Watch reads the other parts through interfaces declared here and changes nothing in them, except
// that it has a record written to the message store when the disk looks as if it refused. It never
// waits for the network. The state that it keeps is used by the goroutine of Run alone.
package watch

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/links"
)

// Outbox counts the messages that wait for upstream.
type Outbox interface{ Stats() upstream.Stats }

// Link is the connection upstream.
type Link interface {
	// Status returns "connected" or another state, with the last failure, the address, and the time since which
	// it has this state.
	Status() (state, detail, target string, since time.Time)
}

// Store is the store on disk.
type Store interface {
	Stats() store.Stats
	// Quiet says that the disk has too little free space for compaction.
	Quiet() bool
	// Quarantined are the parts in which damage was found, at the start or since.
	Quarantined() []store.Quarantine
	// SealingKey returns an error if the next start would not find the key of the sealed records.
	SealingKey() error
}

// Identity knows the certificate authorities of devices.
type Identity interface {
	// Problems returns an error for each authority that is not used or out of date, and Ending the others.
	Problems() []error
	Ending() []x509.Validity
}

// Options of New. Outbox and Link are nil without an upstream; all others are needed.
type Options struct {
	// Config has the bounds, and names the files of the link upstream.
	Config *config.Config
	Health *health.Tracker
	Store  Store
	// Record writes a record to the message store, and calls done once it is synced, or with the error.
	Record func(done func(error))
	Outbox Outbox
	// Link may also have a method Throttled, which is when the hub last answered that it throttles.
	Link     Link
	Identity Identity
	// Registry is the registry in force; nil while there is none.
	Registry func() *device.Topology
	// Now is the trusted time, by which certificates and the age of messages are judged.
	Now func() time.Time
}

// Watch watches. Make one with New.
type Watch struct {
	o        Options
	Connects *Connects // is told of every connection that a client was allowed

	link     linkState
	full     *health.Severity // of outbox-full; nil: not raised
	held     refusals
	failed   uint64      // Stats.FailedCommits at the last look
	refusing atomic.Bool // store-refuses is raised; set by whoever calls Stored
	of       *device.Topology
}

// How often the looks are taken that cost more than reading a few counters.
const (
	second        = time.Second
	outboxEvery   = 5
	fileEvery     = 10
	throttledKept = time.Minute // how long a 429 is told
)

// New returns a Watch. It starts nothing.
func New(o Options) *Watch {
	return &Watch{o: o, Connects: newConnects()}
}

// Run looks every second until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(second)
	defer tick.Stop()
	for n := 0; ; n++ {
		w.look(ctx, n)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look is the look number n, counted from 0.
func (w *Watch) look(ctx context.Context, n int) {
	now := time.Now()
	w.disk(ctx)
	w.upstream(now)
	warnings.Flapping(w.o.Health, w.Connects.flapping(now))
	if w.o.Outbox != nil && n%outboxEvery == 0 {
		w.outbox(now)
	}
	if n%fileEvery == 0 {
		w.certificates()
		warnings.SealingKey(w.o.Health, w.o.Store.SealingKey())
	}
	if w.o.Config.Upstream.Mode == config.UpstreamIoTHub {
		w.unserved(w.o.Registry())
	}
}

func (w *Watch) certificates() {
	now := w.o.Now()
	var own, issuers []warnings.Dated
	for _, c := range links.Certificates(w.o.Config) {
		own = append(own, warnings.Dated{Name: c.Setting, Validity: c.Validity})
	}
	for _, a := range w.o.Identity.Ending() {
		issuers = append(issuers, warnings.Dated{
			Name:     fmt.Sprintf("authority %s at %s", a.ID, a.Space),
			Validity: tlsfile.Validity{NotBefore: a.NotBefore, NotAfter: a.NotAfter},
		})
	}
	warnings.UpstreamCertificate(w.o.Health, now, own)
	warnings.DeviceAuthorities(w.o.Health, now, issuers, w.o.Identity.Problems())
}

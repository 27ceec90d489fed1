package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	adminclient "github.com/gatehouse/gatehouse/gateway/admin/client"
	"github.com/gatehouse/gatehouse/gateway/freeport"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// asserts are what the smoke test shows. Each check belongs to one, by its number.
var asserts = [][2]string{
	{"1", "X.509 and SAS devices connect and publish; it arrives upstream, and back"},
	{"2", "what has no right is refused, each with its reason in the audit"},
	{"3", "a gateway device speaks for the children that name it, and for no other"},
	{"4", "a right given or withdrawn through the API reaches a live session"},
	{"5", "without the cloud, and after SIGKILL, nothing acknowledged is lost"},
	{"6", "deployments pass only while authorised, and only with a good signature"},
	{"7", "the full queue of a client that is away silences nobody"},
	{"8", "a silent crowd of four addresses keeps nobody out, and is named"},
}

// smoke checks the asserts against both daemons.
func smoke(ctx context.Context, bin, seedFile string, keep bool) error {
	return stage(ctx, bin, seedFile, keep, performance{
		title:   "Gatehouse smoke test",
		asserts: asserts,
		ready:   func(ctx context.Context, sys *system) error { return sys.Get(ctx, sys.page("/healthz"), nil) },
		checks: []func(*trial){
			(*trial).crowd,
			(*trial).telemetry,
			(*trial).commands,
			(*trial).refusals,
			(*trial).gatewayDevice,
			(*trial).liveRights,
			(*trial).deployments,
			(*trial).fullQueue,
			(*trial).offline,
		},
	})
}

// performance is what stage shows.
type performance struct {
	title   string
	asserts [][2]string
	spoil   func(*site.Site) error                       // changes the site before anything starts; nil: nothing
	ready   func(ctx context.Context, sys *system) error // nil once the gateway has started
	checks  []func(*trial)
}

// stage runs checks against both daemons as separate processes, on free ports, in a folder of its own.
func stage(ctx context.Context, bin, seedFile string, keep bool, show performance) (err error) {
	began := time.Now()
	st := styleFor(os.Stdout)
	dir, err := os.MkdirTemp("", "gatehouse-smoke-")
	if err != nil {
		return err
	}
	var p site.Ports
	for _, port := range []*int{&p.MQTT, &p.API, &p.Hub, &p.Page} {
		if *port, err = freeport.Get(); err != nil {
			return err
		}
	}
	s, err := prepare(dir, seedFile, p)
	if err != nil {
		return err
	}
	if show.spoil != nil {
		if err := show.spoil(s); err != nil {
			return err
		}
	}
	sys := newSystem(s, bin)
	t := &trial{ctx: ctx, sys: sys, site: s, f: &findings{out: os.Stdout, st: st}}
	defer func() {
		err = errors.Join(err, sys.stop())
		if err == nil && !keep {
			err = os.RemoveAll(dir)
		} else {
			fmt.Println(st.dim("logs and state are kept in " + dir))
		}
	}()
	fmt.Println(st.bold(show.title) + st.dim("  "+dir))
	if err := sys.startCloud(ctx); err != nil {
		return err
	}
	if err := sys.gateway.start(ctx, func(ctx context.Context) error { return show.ready(ctx, sys) }); err != nil {
		return err
	}
	if err := t.ready(); err != nil {
		return err
	}
	for _, check := range show.checks {
		check(t)
	}
	good := t.f.summary(show.asserts)
	fmt.Printf("\n  %d checks, %d failed, %.1f s\n", len(t.f.rows), t.f.failed(), time.Since(began).Seconds())
	if !good {
		return errors.New("a check failed")
	}
	return nil
}

// trial is one run of the smoke test.
type trial struct {
	ctx  context.Context
	sys  *system
	site *site.Site
	f    *findings

	shown string // serial number of the certificate that a listener showed last (mend)
}

// within is the context of one wait.
func (t *trial) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.ctx, d)
}

// eventually tries again until it holds or the time is over.
func (t *trial) eventually(d time.Duration, try func(context.Context) error) error {
	ctx, cancel := t.within(d)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ready waits for the first policy.
func (t *trial) ready() error {
	return t.eventually(15*time.Second, func(ctx context.Context) error {
		var st admin.Status
		if err := t.sys.status(ctx, &st); err != nil {
			return err
		}
		if st.Cache.Stage != "fresh" {
			return fmt.Errorf("policy is %s", st.Cache.Stage)
		}
		return nil
	})
}

// device connects a device of the building.
func (t *trial) device(id string) (*client, error) {
	ctx, cancel := t.within(10 * time.Second)
	defer cancel()
	return connect(ctx, endpointOf(t.site, id))
}

// publish sends one reading and waits for the ack.
func (t *trial) publish(c *client, topic, payload string) error {
	ctx, cancel := t.within(5 * time.Second)
	defer cancel()
	return c.publish(ctx, topic, []byte(payload))
}

// arrived waits until the hub has a message of the device with this payload.
func (t *trial) arrived(device, payload string) error {
	return t.eventually(10*time.Second, func(ctx context.Context) error {
		all, err := t.sys.received(ctx, device)
		if err != nil {
			return err
		}
		for _, m := range all {
			if string(m.Payload) == payload {
				return nil
			}
		}
		return fmt.Errorf("%q did not arrive upstream as a message of %s (%d others did)", payload, device, len(all))
	})
}

// audited waits for a refusal of the client with this reason in the audit.
func (t *trial) audited(event, clientID, reason string) error {
	err := t.refusal(adminclient.AuditQuery{Event: event, Reason: reason}, func(r message.AuditRecord) bool { return r.ClientID == clientID })
	if err != nil {
		return fmt.Errorf("a %s of %s refused with %s: %w", event, clientID, reason, err)
	}
	return nil
}

// refusedConnect expects that a CONNECT is refused, and audited with the reason.
func (t *trial) refusedConnect(e endpoint, reason string) (string, error) {
	ctx, cancel := t.within(10 * time.Second)
	defer cancel()
	c, err := connect(ctx, e)
	if err == nil {
		c.close()
		return "", errors.New("it connected")
	}
	if !errors.Is(err, errRefused) {
		return "", err
	}
	return reason, t.audited("connect", e.clientID, reason)
}

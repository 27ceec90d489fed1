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
}

// smoke checks the six asserts against both daemons as separate processes, on free ports, in a folder of
// its own.
func smoke(ctx context.Context, bin, seedFile string, keep bool) (err error) {
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
	fmt.Println(st.bold("Gatehouse smoke test") + st.dim("  "+dir))
	if err := sys.startCloud(ctx); err != nil {
		return err
	}
	if err := sys.startGateway(ctx); err != nil {
		return err
	}
	if err := t.ready(); err != nil {
		return err
	}
	for _, run := range []func(){t.telemetry, t.commands, t.refusals, t.gatewayDevice, t.liveRights, t.deployments, t.offline} {
		run()
	}
	good := t.f.summary(asserts)
	fmt.Printf("\n  %d checks, %d failed, %.1f s\n", len(t.f.rows), t.f.failed(), time.Since(began).Seconds())
	if !good {
		return errors.New("the smoke test failed")
	}
	return nil
}

// trial is one run of the smoke test.
type trial struct {
	ctx  context.Context
	sys  *system
	site *site.Site
	f    *findings
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

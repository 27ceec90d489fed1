package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

// publishers of assert 5: both kinds of credential, and more than one device at a time.
var publishers = []string{"lobby-thermostat", "thermostat-101", "thermostat-104", "ups-1", "meter-main", "door-1"}

// offline checks assert 5.
func (t *trial) offline() {
	acked := map[string]*stream{}
	for _, id := range publishers {
		acked[id] = &stream{}
	}
	t.f.check("5", "the management API is stopped: devices still connect and publish", func() (string, error) {
		if err := t.sys.cloud.stop(); err != nil {
			return "", err
		}
		for _, id := range publishers {
			c, err := t.device(id)
			if err != nil {
				return "", fmt.Errorf("%s: %w", id, err)
			}
			err = t.numbered(c, id, "offline", 0, acked[id])
			c.close()
			if err != nil {
				return "", fmt.Errorf("%s: %w", id, err)
			}
		}
		return fmt.Sprintf("%d devices, by the cached assignments", len(publishers)), nil
	})
	t.f.check("5", "rights are still decided: a device without an assignment is refused", func() (string, error) {
		return t.refusedConnect(endpointOf(t.site, "dishwasher-1"), "no-assignment")
	})
	t.f.check("5", "the gateway is killed with SIGKILL while devices publish", func() (string, error) {
		return t.killed(acked)
	})
	t.f.check("5", "restarted with the cloud still gone, it serves from its cache", func() (string, error) {
		began := time.Now()
		if err := t.sys.startGateway(t.ctx); err != nil {
			return "", err
		}
		up := time.Since(began)
		for _, id := range publishers {
			c, err := t.device(id)
			if err != nil {
				return "", fmt.Errorf("%s: %w", id, err)
			}
			err = t.numbered(c, id, "restarted", 0, acked[id])
			c.close()
			if err != nil {
				return "", fmt.Errorf("%s: %w", id, err)
			}
		}
		if _, err := t.refusedConnect(endpointOf(t.site, "dishwasher-1"), "no-assignment"); err != nil {
			return "", err
		}
		return fmt.Sprintf("up after %d ms, all %d publish, the refused one is refused", up.Milliseconds(), len(publishers)), nil
	})
	t.f.check("5", "the cloud is back: everything acknowledged is upstream, in order", func() (string, error) {
		if err := t.sys.startCloud(t.ctx); err != nil {
			return "", err
		}
		return t.complete(acked)
	})
}

// numbered publishes one reading with a number of its own and records its acknowledgement in s.
func (t *trial) numbered(c *client, id, phase string, n int, s *stream) error {
	payload := fmt.Sprintf("%s/%s/%06d", id, phase, n)
	if err := t.publish(c, site.Telemetry(id, sensorOf(id)), payload); err != nil {
		s.failed.Add(1)
		return err
	}
	s.add(payload)
	return nil
}

// killed publishes from all devices at once and kills the gateway in the middle of it.
func (t *trial) killed(acked map[string]*stream) (string, error) {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var broken error
	var killing atomic.Bool
	for _, id := range publishers {
		c, err := t.device(id)
		if err != nil {
			return "", fmt.Errorf("%s: %w", id, err)
		}
		wg.Go(func() {
			defer c.close()
			for n := 0; ctx.Err() == nil; n++ {
				if err := t.numbered(c, id, "killed", n, acked[id]); err != nil {
					if !killing.Load() {
						mu.Lock()
						broken = errors.Join(broken, fmt.Errorf("%s: %w", id, err))
						mu.Unlock()
					}
					return
				}
			}
		})
	}
	total := func() (n int64) {
		for _, s := range acked {
			n += s.acked.Load()
		}
		return n
	}
	err := t.eventually(10*time.Second, func(context.Context) error {
		if n := total(); n < 600 {
			return fmt.Errorf("only %d acknowledged", n)
		}
		return nil
	})
	killing.Store(true)
	t.sys.gateway.Kill()
	cancel()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	return fmt.Sprintf("%d acknowledged by then", total()), errors.Join(err, broken)
}

// complete checks that every acknowledged reading is upstream, and for each
// device in the order in which it was acknowledged (first arrivals).
func (t *trial) complete(acked map[string]*stream) (string, error) {
	want := 0
	for _, s := range acked {
		want += len(s.acknowledged())
	}
	var detail string
	err := t.eventually(15*time.Second, func(ctx context.Context) error {
		all, err := t.sys.received(ctx, "")
		if err != nil {
			return err
		}
		first := map[string]int{}
		duplicates := 0
		for i, m := range all {
			p := string(m.Payload)
			if _, seen := first[p]; seen {
				duplicates++
				continue
			}
			first[p] = i
		}
		for id, s := range acked {
			last, missing := -1, []string{}
			for _, payload := range s.acknowledged() {
				at, ok := first[payload]
				if !ok {
					missing = append(missing, payload)
					continue
				}
				if at < last {
					return fmt.Errorf("%s: %s overtook an earlier one", id, payload)
				}
				last = at
			}
			if len(missing) > 0 {
				return fmt.Errorf("%s: %d of %d acknowledged are missing upstream: %s", id, len(missing), len(s.acknowledged()),
					clip(strings.Join(missing, " "), 120))
			}
		}
		detail = fmt.Sprintf("%d of %d acknowledged, %d sent twice", want, want, duplicates)
		return nil
	})
	return detail, err
}

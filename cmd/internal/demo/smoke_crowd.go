package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// crowdOf is how many silent connections each of the four addresses opens: together they are more
// than limits.maxUnauthenticated.
const crowdOf = 160

// crowd checks assert 8, before any device has connected: the gateway knows no address then, and
// none has a share of its places.
func (t *trial) crowd() {
	from := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 64, byte(n % 4), 1}) }
	silent := &load.Silent{Address: fmt.Sprintf("127.0.0.1:%d", t.site.Ports.MQTT), From: from, Count: 4 * crowdOf}
	ctx, disperse := context.WithCancel(t.ctx)
	var standing sync.WaitGroup
	standing.Go(func() { silent.Run(ctx) })
	defer standing.Wait()
	defer disperse()
	t.f.check("8", "with silent connections of four addresses at the door, devices connect", func() (string, error) {
		if err := t.eventually(10*time.Second, func(context.Context) error {
			if n := silent.Opened.Load(); n < 4*crowdOf {
				return fmt.Errorf("%d of %d silent connections are open; %d failed", n, 4*crowdOf, silent.Failed.Load())
			}
			return nil
		}); err != nil {
			return "", err
		}
		began := time.Now()
		for _, id := range publishers {
			c, err := t.device(id)
			if err != nil {
				return "", fmt.Errorf("%s: %w", id, err)
			}
			c.close()
		}
		return fmt.Sprintf("%d of %d devices in %.0f ms, beside %d silent connections", len(publishers), len(publishers),
			ms(time.Since(began)), silent.Opened.Load()), nil
	})
	t.f.check("8", "health names the crowd and where it comes from, /metrics counts it", func() (string, error) {
		return "door-crowded", t.eventually(5*time.Second, t.crowdIsNamed)
	})
}

func (t *trial) crowdIsNamed(ctx context.Context) error {
	var st admin.Status
	if err := t.sys.status(ctx, &st); err != nil {
		return err
	}
	i := slices.IndexFunc(st.Health.Warnings, func(w admin.Warning) bool { return w.Name == "door-crowded" })
	if i < 0 {
		return errors.New("health has no door-crowded")
	}
	if text := st.Health.Warnings[i].Text; !strings.Contains(text, "127.64.") {
		return fmt.Errorf("door-crowded does not say where the crowd comes from: %s", text)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.sys.page("/metrics"), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && !strings.Contains(string(text), `gatehouse_connections_turned_away_total{reason="hall-full"}`) &&
		!strings.Contains(string(text), `gatehouse_connections_turned_away_total{reason="address-hall-full"}`) {
		err = errors.New("/metrics does not count who was turned away")
	}
	return err
}

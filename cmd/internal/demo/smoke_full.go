package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// more than the queue of one session holds (sessions.queueMessages), and how many are too many.
const (
	queueMessages = 1000
	tooMany       = 200
)

// fullQueue checks assert 7: a dashboard that went away has a full queue, and everybody else goes on as ever.
func (t *trial) fullQueue() {
	ctx, cancel := t.within(20 * time.Second)
	defer cancel()
	var sent []string
	t.f.check("7", "a device publishes more than an away dashboard's queue holds, all acknowledged", func() (string, error) {
		away, err := t.dashboardAs(ctx, "dashboard-away", false)
		if err != nil {
			return "", err
		}
		err = away.subscribe(ctx, "spaces"+t.site.Path("lobby")+"/#")
		away.close()
		if err != nil {
			return "", err
		}
		began := time.Now()
		sent, err = t.burst(ctx, "door-1", queueMessages+tooMany)
		return fmt.Sprintf("%d in %.1f s", len(sent), time.Since(began).Seconds()), err
	})
	t.f.check("7", "health names the session that loses messages, and its oldest are counted", func() (string, error) {
		return t.overflowing("dashboard-away")
	})
	t.f.check("7", "upstream has every message, in order", func() (string, error) {
		return t.upstreamHas(sent)
	})
	t.f.check("7", "the dashboard returns: it gets the newest that its queue held, in order", func() (string, error) {
		back, err := t.dashboardAs(ctx, "dashboard-away", false)
		if err != nil {
			return "", err
		}
		defer back.close()
		last := sent[len(sent)-1]
		if _, err := back.await(ctx, func(m received) bool { return string(m.payload) == last }); err != nil {
			return "", err
		}
		got := back.payloads()
		if len(got) < queueMessages/2 || len(got) > queueMessages || !slices.Equal(got, sent[len(sent)-len(got):]) {
			return "", fmt.Errorf("%d messages, from %s to %s", len(got), got[0], got[len(got)-1])
		}
		return fmt.Sprintf("%d of %d", len(got), len(sent)), nil
	})
	t.f.check("7", "its session ends, and health names it no more", func() (string, error) {
		last, err := t.dashboardAs(ctx, "dashboard-away", true)
		if err != nil {
			return "", err
		}
		last.close()
		return "", t.eventually(10*time.Second, func(ctx context.Context) error {
			text, err := t.warning(ctx, "session-overflow")
			if err == nil && strings.Contains(text, "dashboard-away") {
				err = errors.New(text)
			}
			return err
		})
	})
}

// burst publishes with QoS 1 from one device, many at a time, and returns the payloads in their order when
// all are acknowledged.
func (t *trial) burst(ctx context.Context, id string, n int) ([]string, error) {
	c, err := t.device(id)
	if err != nil {
		return nil, err
	}
	defer c.close()
	sent := make([]string, n)
	tokens := make([]mqtt.Token, n)
	for i := range n {
		sent[i] = fmt.Sprintf("%s/full/%06d", id, i)
		tokens[i] = c.mq.Publish(site.Telemetry(id, sensorOf(id)), 1, false, sent[i])
	}
	for i, token := range tokens {
		select {
		case <-token.Done():
			if err := token.Error(); err != nil {
				return sent, fmt.Errorf("number %d: %w", i, err)
			}
		case err := <-c.lost:
			return sent, fmt.Errorf("connection lost before number %d was acknowledged: %w", i, err)
		case <-ctx.Done():
			return sent, fmt.Errorf("number %d is not acknowledged", i)
		}
	}
	return sent, nil
}

// overflowing waits until health names the session, and its list says that it has lost the oldest.
func (t *trial) overflowing(clientID string) (string, error) {
	a := t.sys.adminClient()
	defer a.Close()
	lost := uint64(0)
	err := t.eventually(10*time.Second, func(ctx context.Context) error {
		text, err := t.warning(ctx, "session-overflow")
		if err != nil {
			return err
		}
		if !strings.Contains(text, clientID) {
			return fmt.Errorf("session-overflow says %q", text)
		}
		all, err := a.Sessions(ctx, admin.SessionQuery{})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(s admin.Session) bool { return s.ClientID == clientID })
		if i < 0 || all[i].LostOldest < tooMany {
			return fmt.Errorf("its session is %+v", all)
		}
		lost = all[i].LostOldest
		return nil
	})
	return fmt.Sprintf("%d of the oldest lost", lost), err
}

// warning is the text of a warning of health; "" if it is not raised.
func (t *trial) warning(ctx context.Context, name string) (string, error) {
	var st admin.Status
	if err := t.sys.status(ctx, &st); err != nil {
		return "", err
	}
	for _, w := range st.Health.Warnings {
		if w.Name == name {
			return w.Text, nil
		}
	}
	return "", nil
}

// upstreamHas waits until the hub has these messages, each once at least, in their order.
func (t *trial) upstreamHas(sent []string) (string, error) {
	err := t.eventually(15*time.Second, func(ctx context.Context) error {
		all, err := t.sys.received(ctx, "")
		if err != nil {
			return err
		}
		next := 0
		for _, m := range all {
			if next < len(sent) && string(m.Payload) == sent[next] {
				next++
			}
		}
		if next < len(sent) {
			return fmt.Errorf("%s is missing, or came before the one in front of it", sent[next])
		}
		return nil
	})
	return fmt.Sprintf("all %d", len(sent)), err
}

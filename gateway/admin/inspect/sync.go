package inspect

import (
	"context"
	"net/http"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/sync/replica"
)

func (n *Inspector) syncState() admin.LinkState {
	if n.o.Replica == nil {
		return admin.LinkState{State: "none"}
	}
	s := n.o.Replica.Status()
	link := admin.LinkState{Target: n.o.CloudURL, Since: s.LastSuccess, State: "connected"}
	switch {
	case s.Health.Code == replica.Starting:
		link.State = "connecting"
	case !s.Health.OK():
		link.State, link.Detail = "down", s.Health.Detail
	}
	return link
}

// syncPoll is the pause between two looks of Sync at whether the synchronisation has ended.
const syncPoll = 20 * time.Millisecond

// Sync has the replica synchronise with the cloud, and waits for the outcome.
func (n *Inspector) Sync(ctx context.Context, r admin.SyncRequest) (admin.SyncResult, error) {
	if n.o.Replica == nil {
		return admin.SyncResult{}, &admin.Error{
			Status: http.StatusConflict,
			What:   "no management API is configured",
			Where:  "cloud.management.url",
			Next:   "configure it; until then the gateway lives from its cache",
		}
	}
	began := time.Now()
	before := n.o.Replica.Status()
	if r.Full {
		n.o.Replica.WakeFull()
	} else {
		n.o.Replica.Wake()
	}
	tick := time.NewTicker(syncPoll)
	defer tick.Stop()
	for {
		now := n.o.Replica.Status()
		switch {
		case now.Syncs > before.Syncs && (!r.Full || now.Fulls > before.Fulls):
			return admin.SyncResult{
				From:    before.Version.String(),
				To:      now.Version.String(),
				Changes: int(now.Version.Number - min(now.Version.Number, before.Version.Number)),
				Seconds: time.Since(began).Seconds(),
				Detail:  string(now.Health.Code),
			}, nil
		case now.Failures > before.Failures:
			return admin.SyncResult{}, &admin.Error{
				Status: http.StatusBadGateway,
				What:   now.LastError,
				Where:  n.o.CloudURL,
				Next:   "see that the management API runs and that cloud.management is right; the cached policy stays in force",
			}
		}
		select {
		case <-ctx.Done():
			return admin.SyncResult{}, &admin.Error{
				Status: http.StatusGatewayTimeout,
				What:   "no answer in time",
				Where:  n.o.CloudURL,
				Next:   "gatehousectl health",
			}
		case <-tick.C:
		}
	}
}

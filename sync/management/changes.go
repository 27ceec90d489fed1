package management

import (
	"strconv"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// getChanges is the change feed: what differs, for this caller, since a
// cursor; with wait=, it waits for the first such change. Without a cursor it
// answers the current version. A cursor that cannot be continued gets 410. A cursor
// without history=, of a gateway of before there was one, is compared by its number alone.
func (c *call) getChanges() error {
	text := c.query.get("since")
	if text == "" {
		v := c.state.version
		return c.ok(wire.Feed{Epoch: v.Epoch, From: v.Number, To: v.Number, Changes: []wire.Change{}, History: v.History})
	}
	since, err := wire.ParseVersion(text)
	if err != nil {
		return err
	}
	since.History = c.query.get("history")
	wait, err := c.wait()
	if err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		feed, err := c.state.changes(c.view, since)
		if err != nil {
			return err
		}
		if len(feed.Changes) > 0 || wait == 0 || !c.await(c.r.Context(), c.state, timer.C) {
			return c.ok(feed)
		}
		c.state = c.Server.state.Load()
		c.view = newView(c.state.policy, &c.caller.Subject, c.view.site)
	}
}

func (c *call) wait() (time.Duration, error) {
	text := c.query.get("wait")
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds <= 3600) {
		return 0, badRequest("wait: 0 to 3600 seconds are expected.")
	}
	return min(time.Duration(seconds*float64(time.Second)), c.o.MaxWait), nil
}

// getRights says what the caller itself may read at a site: by it a gateway
// tells an empty building from one that it may not see.
func (c *call) getRights() error {
	at := c.view.site
	if at.IsZero() {
		at = space.Root
	}
	if !c.state.exists(at) {
		return notFound("The site does not exist.")
	}
	may := func(t model.ResourceType) bool { return c.view.mayRead(t, at) }
	return c.ok(wire.Rights{
		Assignments: may(model.SpaceRoleAssignment),
		Spaces:      may(model.Space),
		Devices:     may(model.Device),
		Sensors:     may(model.Sensor),
		Functions:   may(model.UserDefinedFunction),
		Keys:        may(model.KeyStore),
	})
}

package console

import "time"

// view is the part of the status document that the page shows. The names are
// those of the admin API's JSON.
type view struct {
	Build struct {
		Version  string `json:"version"`
		Revision string `json:"revision"`
	} `json:"build"`
	Site          string  `json:"site"`
	SiteName      string  `json:"siteName"`
	Hub           string  `json:"hub"`
	UptimeSeconds float64 `json:"uptimeSeconds"`
	Health        struct {
		State    string    `json:"state"`
		Since    time.Time `json:"since"`
		Warnings []struct {
			Name     string    `json:"name"`
			Severity string    `json:"severity"`
			Text     string    `json:"text"`
			Next     string    `json:"next"`
			Since    time.Time `json:"since"`
		} `json:"warnings"`
	} `json:"health"`
	Cache struct {
		Version     string  `json:"version"`
		AgeSeconds  float64 `json:"ageSeconds"`
		Stage       string  `json:"stage"`
		Roles       uint64  `json:"roles"`
		Assignments uint64  `json:"assignments"`
		Devices     uint64  `json:"devices"`
		Sensors     uint64  `json:"sensors"`
		Spaces      uint64  `json:"spaces"`
	} `json:"cache"`
	Sessions struct {
		Connected     uint64            `json:"connected"`
		Total         uint64            `json:"total"`
		Subscriptions uint64            `json:"subscriptions"`
		ByKind        map[string]uint64 `json:"byKind"`
	} `json:"sessions"`
	Messages struct {
		Accepted       uint64            `json:"accepted"`
		Denied         uint64            `json:"denied"`
		ForUpstream    uint64            `json:"forUpstream"`
		Forwarded      uint64            `json:"forwarded"`
		Dropped        uint64            `json:"dropped"`
		NotForwarded   map[string]uint64 `json:"notForwardedByReason"`
		DeniedByReason map[string]uint64 `json:"deniedByReason"`
	} `json:"messages"`
	Outbox struct {
		Messages      uint64  `json:"messages"`
		Bytes         int64   `json:"bytes"`
		LimitBytes    int64   `json:"limitBytes"`
		OldestSeconds float64 `json:"oldestSeconds"`
	} `json:"outbox"`
	Upstream    link              `json:"upstream"`
	Sync        link              `json:"sync"`
	Deployments map[string]uint64 `json:"deployments"`
	Listeners   []struct {
		Name        string `json:"name"`
		Kind        string `json:"kind"`
		Address     string `json:"address"`
		Connections uint64 `json:"connections"`
	} `json:"listeners"`

	Stages []string `json:"-"`
}

type link struct {
	State  string    `json:"state"`
	Detail string    `json:"detail"`
	Since  time.Time `json:"since"`
	Target string    `json:"target"`
}

// Lost returns how many messages for upstream were dropped or parked.
func (v view) Lost() (n uint64) {
	for _, k := range v.Messages.NotForwarded {
		n += k
	}
	return n
}

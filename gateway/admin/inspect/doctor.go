package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// Doctor checks what operators often get wrong, and repeats the warnings of health.
func (n *Inspector) Doctor(ctx context.Context) []admin.Finding {
	var list []admin.Finding
	add := func(name, state, text, next string) {
		list = append(list, admin.Finding{Name: name, State: state, Text: text, Next: next})
	}
	if du := n.o.Instance.DeviceUpdate; du.ARMScope != "" && du.Principal.ObjectID.IsZero() {
		add("device-update-principal", "warn", "instance.deviceUpdate.principal is not set: every deployment from upstream is refused",
			"az ad sp show --id 6ee392c4-d339-4083-b04d-6b7947c6cf78 --query id names the object id in your tenant")
	}
	if policy, err := n.o.Stored(ctx); err == nil {
		for _, a := range policy.Assignments {
			if a.Path.IsRoot() {
				add("root-assignment", "notice", fmt.Sprintf("assignment %s gives a role at / to %s", a.ID, n.label(a.Who)),
					"assign it at the lowest space that will do")
			}
		}
	}
	for _, w := range n.o.Health().Warnings {
		state := "warn"
		if w.Severity == health.Failing {
			state = "fail"
		}
		add(w.Name, state, w.Text, w.Next)
	}
	now := n.o.Now()
	for _, c := range n.o.Doors.Certificates() {
		if c.At(now) == tlsfile.Good { // health has a warning about each of the others
			add(c.Door+"-certificate", "ok",
				fmt.Sprintf("good for %s, until %s", span(c.Left(now)), c.NotAfter.UTC().Format(time.RFC3339)), "")
		}
	}
	if n.o.Aging.Stage() == offline.Fresh {
		add("policy", "ok", fmt.Sprintf("version %s, confirmed %s ago", n.index().Version(), n.o.Aging.Age().Round(time.Second)), "")
	}
	return list
}

// span formats the time that is left in days. Below two days it uses hours, because "0 days" would
// hide that somebody must come today.
func span(left time.Duration) string {
	const day = 24 * time.Hour
	if left >= 2*day {
		return fmt.Sprintf("%d days", int(left/day))
	}
	return fmt.Sprintf("%d hours", int(left/time.Hour))
}

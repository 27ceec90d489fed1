package audit

import (
	"fmt"

	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Deployment is the audit record of what the deployment guard decided.
func Deployment(r update.AuditRecord) message.AuditRecord {
	return message.AuditRecord{
		Time:      r.Time,
		Event:     "deployment",
		Allowed:   r.Allowed,
		Principal: r.Who,
		ClientID:  r.Device,
		Topic:     string(r.Action) + " " + r.Workflow,
		Reason:    r.Reason,
		Detail:    fmt.Sprintf("%s %s %s", r.Phase, r.Update, r.Detail),
		Count:     1,
	}
}

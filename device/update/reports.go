package update

import (
	"context"
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// Reports is a reported patch, split by what may go up now.
type Reports struct {
	// Now may be sent; Absent when nothing may.
	Now strictjson.Value
	// Later holds the properties that the right to read the device protects and
	// that the service may not read now. They are kept, and sent once MayReport
	// is true; Absent when there are none.
	Later strictjson.Value
}

// Reported takes what a device reports. The state of its deployment is
// journalled before this returns; on an error nothing was taken and the device
// must not be acknowledged.
func (g *Guard) Reported(ctx context.Context, device string, patch strictjson.Value) (Reports, error) {
	if patch.Kind() != strictjson.Object {
		return Reports{}, malformed("the reported patch is no object")
	}
	d := g.device(device)
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &turn{device: device}
	if agent := patch.At(component, "agent"); agent.Kind() == strictjson.Object {
		if err := g.apply(ctx, d, t, Reported{g.o.Now(), ParseReport(agent)}); err != nil {
			return Reports{}, err
		}
	}
	patch = rewriteAck(d.state, patch)
	var now, later []strictjson.Member
	allowed := g.mayReport(ctx, device, d)
	for _, m := range patch.Members() {
		if !allowed && (strings.EqualFold(m.Name, component) || strings.EqualFold(m.Name, deviceInformation)) {
			later = append(later, m)
		} else {
			now = append(now, m)
		}
	}
	var r Reports
	if len(now) > 0 {
		r.Now = strictjson.ObjectValue(now...)
	}
	if len(later) > 0 {
		d.later.Store(true)
		r.Later = strictjson.ObjectValue(later...)
	}
	return r, nil
}

// MayReport tells whether the update service may read this device: whether
// what was withheld may go up.
func (g *Guard) MayReport(ctx context.Context, device string) bool {
	return g.mayReport(ctx, device, g.device(device))
}

func (g *Guard) mayReport(ctx context.Context, device string, d *deviceState) bool {
	allowed := g.o.Authorizer.May(ctx, Initiator{Hub: true}, Get, device).Allowed
	if allowed {
		d.later.Store(false) // the caller now sends what was withheld
	}
	return allowed
}

// rewriteAck corrects an acknowledgement of a version whose service the device
// was not shown. The device acknowledged what it saw, and the cloud would take
// that for what it had sent.
func rewriteAck(s State, patch strictjson.Value) strictjson.Value {
	ack := patch.At(component, "service")
	av, ok := ack.Get("av").Int()
	if !ok {
		return patch
	}
	w, withheld := s.withheldAt(av)
	if !withheld {
		return patch
	}
	c := patch.Get(component)
	if w.Held {
		return patch.With(component, c.Without("service")) // not decided: nothing to say yet
	}
	return patch.With(component, c.With("service", refusedAck(w.Reason, av)))
}

func refusedAck(reason string, version int64) strictjson.Value {
	return strictjson.ObjectValue(
		member("value", strictjson.ObjectValue()),
		member("ac", strictjson.IntValue(406)),
		member("ad", strictjson.StringValue("gateway: "+reason)),
		member("av", strictjson.IntValue(version)))
}

// facility marks extended result codes as this gateway's own.
const facility = 0xE6A70000

var resultNumbers = map[string]uint32{
	"malformed-service": 0x10, "bad-structure": 0x11, "bad-algorithm": 0x12, "missing-root": 0x13, "unknown-root": 0x14,
	"disabled-root": 0x15, "disabled-signing-key": 0x16, "bad-signing-key": 0x17, "bad-signature": 0x18, "hash-mismatch": 0x19,
	"bad-manifest": 0x1a, "unsupported-version": 0x1b, "bad-url": 0x1c, "unknown-file": 0x1d, "incompatible": 0x1e,
	"retry-not-applicable": 0x20, "retry-of-another-update": 0x21, "cancel-of-another-workflow": 0x22, "same-id-another-update": 0x23,
}

// ExtendedResultCode is the number under which a refusal is reported: 1 for
// every reason of the authorizer, which is nobody's business upstream.
func ExtendedResultCode(reason string) uint32 {
	if n, ok := resultNumbers[reason]; ok {
		return facility | n
	}
	return facility | 1
}

// refusalReport says in the protocol's own words that a deployment failed
// here: agent state 255 with our code (docs/spec/device-update.md 3.6).
func refusalReport(s State, r ReportRefusal) strictjson.Value {
	number, reason := int64(applyNumber), r.Reason
	if r.Action == Cancel {
		number = cancelNumber
	}
	if _, own := resultNumbers[reason]; !own {
		reason = "not-authorised" // role names and the like stay here
	}
	workflow := strictjson.ObjectValue(member("action", strictjson.IntValue(number)), member("id", strictjson.StringValue(r.ID)))
	if r.Retry != "" {
		workflow = workflow.With("retryTimestamp", strictjson.StringValue(r.Retry))
	}
	code := ExtendedResultCode(r.Reason)
	result := strictjson.ObjectValue(member("resultCode", strictjson.IntValue(0)))
	if s.Contract == 1 || s.Contract == 2 {
		result = result.With("extendedResultCode", strictjson.IntValue(int64(int32(code))))
	} else {
		result = result.With("extendedResultCodes", strictjson.StringValue(fmt.Sprintf("%08X", code)))
	}
	result = result.With("resultDetails", strictjson.StringValue("refused by the gateway: "+reason)).
		With("stepResults", strictjson.NullValue())
	return strictjson.ObjectValue(member(component, strictjson.ObjectValue(
		member("__t", strictjson.StringValue("c")),
		member(
			"agent",
			strictjson.ObjectValue(
				member("state", strictjson.IntValue(stateFailed)),
				member("workflow", workflow),
				member("lastInstallResult", result),
			),
		),
		member("service", refusedAck(reason, r.Version)),
	)))
}

package main

import (
	"context"
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/admin"
)

// box answers for an outbox with two devices.
type box struct{}

func (box) List(_ context.Context, q admin.OutboxQuery) (admin.OutboxReport, error) {
	if q.Device == "idle" {
		return admin.OutboxReport{}, nil
	}
	return admin.OutboxReport{
		Routes:  []admin.OutboxPile{{Name: "telemetry", Messages: 5, Bytes: 5120}},
		Devices: []admin.OutboxPile{{Name: "a", Messages: 3, Bytes: 4096, Paused: true}, {Name: "b", Messages: 2, Bytes: 1024}},
		Parked:  1,
	}, nil
}

func (box) Peek(context.Context, admin.OutboxQuery) ([]admin.OutboxMessage, error) {
	return []admin.OutboxMessage{{Seq: 7, Device: "a", Route: "telemetry", Topic: "up/a", Bytes: 200, Sent: true}}, nil
}

func (box) Parked(context.Context, admin.OutboxQuery) ([]admin.OutboxMessage, error) {
	m := admin.OutboxMessage{Seq: 4, Device: "a", Route: "telemetry", Topic: "up/a", Bytes: 200}
	m.Reason = "upstream ended the connection"
	return []admin.OutboxMessage{m}, nil
}

func (box) Act(_ context.Context, r admin.OutboxRequest) (admin.OutboxResult, error) {
	if r.Action == admin.OutboxPurge && r.Device != "a" && !r.All {
		return admin.OutboxResult{}, fmt.Errorf("not asked for: %+v", r)
	}
	return admin.OutboxResult{Messages: 3}, nil
}

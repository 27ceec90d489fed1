package admin

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// A drain is for all messages: a request that selects some of them is refused, and resumes no
// paused device.
func TestADrainSelectsNothing(t *testing.T) {
	for _, r := range []OutboxRequest{{Device: "d"}, {Route: "r"}, {Seq: 1}, {Parked: true}} {
		r.Action = OutboxDrain
		if r.check() == nil {
			t.Errorf("accepted: %+v", r)
		}
	}
	for _, r := range []OutboxRequest{{Action: OutboxDrain}, {Action: OutboxDrain, All: true}} {
		if err := r.check(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// The number of messages in one list is limited, because they are read from the disk. The error
// names the limit.
func TestAListOfMessagesIsBounded(t *testing.T) {
	most := httptest.NewRequest("GET", "/v1/outbox/messages?limit=1000", nil)
	if q, err := outboxQuery(most, maxWaitingListed); err != nil || q.Limit != 1000 {
		t.Errorf("%+v, %v", q, err)
	}
	_, err := outboxQuery(httptest.NewRequest("GET", "/v1/outbox/messages?limit=1001", nil), maxWaitingListed)
	if err == nil || !strings.Contains(err.Error(), "1000") {
		t.Errorf("%v", err)
	}
}

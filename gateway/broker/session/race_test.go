package session

import (
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Whatever many publishers take and give back at the limit at once, nothing of
// the quota is lost or won by it.
func TestQuotaIsGivenBack(t *testing.T) {
	t.Parallel()
	m := &message.Message{Topic: "a", Payload: make([]byte, 1000)}
	for name, c := range map[string]Config{
		"messages": {QueueMessages: 1, QueueBytes: 9 * int(sizeOf(m)), TotalQueueBytes: 1 << 30},
		"bytes":    {QueueMessages: 4, QueueBytes: 2 * int(sizeOf(m)), TotalQueueBytes: 1 << 30},
		"total":    {QueueMessages: 4, QueueBytes: 1 << 20, TotalQueueBytes: 2 * sizeOf(m)},
	} {
		c.Vault, c.Index = nowhere{}, noIndex{}
		st := NewStore(c)
		o, _ := open(st, 1, true)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 100_000 {
					if o.Session.Reserve(m) {
						o.Session.Release(m)
					}
				}
			})
		}
		all.Wait()
		if n, b, q := o.Session.count.Load(), o.Session.bytes.Load(), st.QueuedBytes(); n != 0 || b != 0 || q != 0 {
			t.Errorf("%s: %d messages and %d bytes of its own, %d of all", name, n, b, q)
		}
	}
}

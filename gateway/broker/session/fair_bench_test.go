package session

import (
	"fmt"
	"syscall"
	"testing"
)

// BenchmarkOverflowOfAll is one delivery when all queues together are full: another one
// is dropped for it. Each of 10,000 principals has one session.
func BenchmarkOverflowOfAll(b *testing.B) {
	var h heard
	c := h.config(1000)
	m := from("p", 0, 4)
	const sessions = 10_000
	c.TotalQueueBytes = 4 * sessions * sizeOf(m)
	st := NewStore(c)
	all := make([]*Session, sessions)
	subs := make([]*Sub, sessions)
	for i := range all {
		all[i], subs[i] = openAs(st, fmt.Sprint("user:", i), "s")
		for range 4 {
			put(all[i], subs[i], m)
		}
	}
	i := 0
	began := cpu(b)
	for b.Loop() {
		i = (i + 7919) % sessions
		put(all[i], subs[i], m)
	}
	b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op") // also on a machine that has other work
}

// cpu is how long this process has had a processor, in ns.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

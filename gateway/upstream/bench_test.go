package upstream

import (
	"fmt"
	"sync"
	"testing"
)

// BenchmarkOutbox takes messages of a hundred devices through offer, storage, pump and acknowledgement.
func BenchmarkOutbox(b *testing.B) {
	box := newBox(b, Options{Storage: newDisk(b), Connector: newCloud(true), Routes: []Route{{Name: "r"}}})
	pumping(b, box)
	devices := make([]string, 100)
	for i := range devices {
		devices[i] = fmt.Sprint("d", i)
	}
	var group sync.WaitGroup
	window := make(chan struct{}, 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		group.Add(1)
		window <- struct{}{}
		box.Offer(msg(devices[i%100], "21.5"), nil, func(error) { <-window; group.Done() })
	}
	group.Wait()
}

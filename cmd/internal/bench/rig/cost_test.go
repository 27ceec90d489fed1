package rig

import (
	"os"
	"testing"
	"time"
)

// TestCPU reads this process's own time, which a busy loop makes longer.
func TestCPU(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for range 1_000_000_000 {
		if now, err := CPU(os.Getpid()); err != nil || now >= before+20*time.Millisecond {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Error("the processor time does not grow")
}

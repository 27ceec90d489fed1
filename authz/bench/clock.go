package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Time is the processor's, not the wall's: what other processes do on the
// machine then disturbs only caches and clock rate, and those disturb both
// sides of a pair.

func clock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

// onThread is the processor time that f takes on its own thread.
func onThread(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := clock(unix.CLOCK_THREAD_CPUTIME_ID)
	f()
	return clock(unix.CLOCK_THREAD_CPUTIME_ID) - start
}

// inProcess is the processor time that the process takes while f runs: the
// garbage collector's share included.
func inProcess(f func()) time.Duration {
	start := clock(unix.CLOCK_PROCESS_CPUTIME_ID)
	f()
	return clock(unix.CLOCK_PROCESS_CPUTIME_ID) - start
}

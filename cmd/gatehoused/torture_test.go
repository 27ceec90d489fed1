package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

// TestTorture kills the gateway twenty times (KILLS), or for MINUTES, while four
// devices publish numbered messages, the outbox is smaller than what an absent
// upstream leaves in it, and upstream and local receivers stop, go and come. At
// the end every number that was acknowledged has arrived everywhere, in order.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("kills twenty gateways")
	}
	t.Parallel()
	r := newTorture(t)
	deadline := time.Now().Add(time.Duration(wanted(t, "MINUTES", 0)) * time.Minute)
	for kills := wanted(t, "KILLS", 20); r.kills < kills || time.Now().Before(deadline); {
		r.round(t)
	}
	r.awaitAll(t)
	r.report(t)
}

func wanted(t *testing.T, name string, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
	if err != nil || n < 0 {
		t.Fatalf("%s: it must be a number, 0 or more", name)
	}
	return n
}

// torture is what is tortured, and how it is going.
type torture struct {
	g        *e2e.Gateway
	upstream *cloudBroker
	between  *interposer // on the way to upstream
	disk     string      // directory of a small file system; empty: there is none
	devices  []*tortured
	stop     chan struct{} // closed when the devices shall publish no more
	ended    sync.WaitGroup
	kills    int

	up       *receiver   // subscribes upstream
	locals   []*receiver // subscribe at the gateway
	disturbs map[string]int
}

// receiver is a subscriber with a persistent session, across its processes.
type receiver struct {
	name  string
	start func(t *testing.T) *e2e.Process
	now   *e2e.Process
	seen  []string // by the processes that have ended
}

func (r *receiver) kill() {
	r.now.Kill()
	r.seen = append(r.seen, r.now.Messages()...)
}

// revive starts it again if it has ended: mosquitto_sub does when its connection
// is refused, as while the gateway starts.
func (r *receiver) revive(t *testing.T) {
	t.Helper()
	if !r.now.Running() {
		r.kill()
		r.now = r.start(t)
	}
}

func (r *receiver) messages() []string {
	return append(r.seen[:len(r.seen):len(r.seen)], r.now.Messages()...)
}

func newTorture(t *testing.T) *torture {
	t.Helper()
	r := &torture{upstream: newCloudBroker(t), stop: make(chan struct{}), disturbs: map[string]int{}}
	r.upstream.up(t)
	r.between = newInterposer(t, r.upstream.port)
	r.g = house.NewGateway(t, e2e.Settings{
		State: "{dir: state, minFree: 16 MiB}",
		Sections: uplinkTo(r.between.port) +
			"outbox: {maxMessages: 400, perDeviceMessages: 150, refuseAfter: 1s}\nsessions: {queueMessages: 100000}\n",
	})
	r.disk = filepath.Join(r.g.Dir, "state")
	if err := mountDisk(t, r.disk, "256m"); err != nil {
		t.Logf("without a full disk: a file system of its own cannot be mounted here: %v", err)
		r.disk = ""
	}
	r.g.Up(t)
	r.up = &receiver{name: "upstream", start: r.upstream.watch}
	for _, name := range []string{"steady", "flapping", "stopped"} {
		who := r.g.Person(t, "dashboard", name).With("-c")
		r.locals = append(r.locals, &receiver{name: name, start: func(t *testing.T) *e2e.Process {
			return r.g.Ask(t, who, "spaces"+site.GatewaySpace+"/#")
		}})
	}
	for _, l := range append(r.locals, r.up) {
		l.now = l.start(t)
		l.now.Line(t, "Subscribed (mid:")
	}
	for _, id := range []string{"thermostat-101", "thermostat-102", "thermostat-103", "ups-1"} {
		d := newTortured(t, r.g, id)
		r.devices = append(r.devices, d)
		r.ended.Go(func() { d.run(r.stop) })
	}
	t.Cleanup(r.end)
	return r
}

func (r *torture) end() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.ended.Wait()
}

// disturbance is what happens around the gateway while it is killed.
type disturbance struct {
	name        string
	begin, mend func()
}

// round disturbs what is around the gateway, and kills the gateway meanwhile.
func (r *torture) round(t *testing.T) {
	t.Helper()
	pause := func() { time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) }
	flapping, stopped := r.locals[1], r.locals[2]
	for _, l := range r.locals {
		l.revive(t)
	}
	disturbances := []disturbance{
		{"nothing", func() {}, func() {}},
		{"upstream ended", func() { r.upstream.end(t) }, func() { r.upstream.up(t) }},
		{"upstream half-open", func() { r.upstream.Signal(t, syscall.SIGSTOP) }, func() { r.upstream.Signal(t, syscall.SIGCONT) }},
		{"upstream slow", func() {
			for range 10 {
				r.upstream.Signal(t, syscall.SIGSTOP)
				time.Sleep(50 * time.Millisecond)
				r.upstream.Signal(t, syscall.SIGCONT)
				time.Sleep(10 * time.Millisecond)
			}
		}, func() {}},
		{"upstream hostile", func() { r.between.hostile.Store(true); time.Sleep(time.Second) }, func() { r.between.hostile.Store(false) }},
		{"disk full", func() { r.fill(t); time.Sleep(time.Second) }, func() { r.empty(t) }},
		{"receiver stopped", func() { _ = stopped.now.Send(syscall.SIGSTOP) }, func() { _ = stopped.now.Send(syscall.SIGCONT) }},
		{"receiver flapping", func() {
			// mosquitto_sub acknowledges a message before it prints it. It is killed
			// when the gateway has sent nothing for a while, so that all it has is printed.
			r.g.Signal(t, syscall.SIGSTOP)
			time.Sleep(500 * time.Millisecond)
			flapping.kill()
			r.g.Signal(t, syscall.SIGCONT)
		}, func() {
			r.g.Synced(t)
			flapping.now = flapping.start(t)
		}},
	}
	if r.disk == "" {
		disturbances = slices.DeleteFunc(disturbances, func(d disturbance) bool { return d.name == "disk full" })
	}
	d := disturbances[rand.IntN(len(disturbances))]
	r.disturbs[d.name]++
	d.begin()
	pause()
	r.g.Kill()
	r.kills++
	if d.name == "disk full" { // with less space it would not start, and systemd would try again
		d.mend()
		d.mend = func() {}
	}
	r.g.Launch(t)
	if rand.IntN(4) > 0 { // else it may be killed while it starts
		r.g.Ready(t)
	}
	pause()
	d.mend()
}

// fill leaves less space on the disk of the gateway than it keeps free, and empty gives it back.
// It leaves some: badger writes through memory maps, and a disk on which another program takes the
// very last page during a flush ends the process.
func (r *torture) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(filepath.Join(r.disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Statfs_t
	for block := make([]byte, 1<<20); ; {
		if err := unix.Statfs(r.disk, &st); err != nil {
			t.Fatal(err)
		}
		if st.Bavail*uint64(st.Bsize) < 8<<20 { // half of minFree
			return
		}
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *torture) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(r.disk, "filler")); err != nil {
		t.Fatal(err)
	}
}

// awaitAll ends the publishers and waits until all that was acknowledged is everywhere.
func (r *torture) awaitAll(t *testing.T) {
	t.Helper()
	r.end()
	total := 0
	for _, d := range r.devices {
		total += d.acked
	}
	r.g.Synced(t)
	for _, to := range append(r.locals, r.up) {
		e2e.Eventually(t, to.name+" has everything", func() error {
			to.revive(t)
			if n := len(tally(to.messages()).first); n < total {
				return fmt.Errorf("%d of %d numbers; lacks %s; its process runs: %v; sessions: %s",
					n, total, r.lacks(to), to.now.Running(), r.sessions())
			}
			return nil
		})
	}
}

// lacks are the numbers that a receiver has not got, as ranges.
func (r *torture) lacks(to *receiver) string {
	var b strings.Builder
	got := tally(to.messages()).first
	for _, d := range r.devices {
		for i := 1; i <= d.acked; i++ {
			if got[d.payload(i)] {
				continue
			}
			first := i
			for i < d.acked && !got[d.payload(i+1)] {
				i++
			}
			fmt.Fprintf(&b, " %s#%d-%d", d.id, first, i)
		}
	}
	return b.String()
}

// sessions is what the gateway says of them.
func (r *torture) sessions() string {
	var list json.RawMessage
	if err := r.g.Get("/v1/sessions", &list); err != nil {
		return err.Error()
	}
	return string(list)
}

// tallied is what a receiver has got.
type tallied struct {
	first                 map[string]bool // payloads
	duplicated, reordered int
}

func tally(payloads []string) tallied {
	n := tallied{first: map[string]bool{}}
	last := map[string]int{}
	for _, p := range payloads {
		if n.first[p] {
			n.duplicated++
			continue
		}
		n.first[p] = true
		device, number, _ := strings.Cut(p, "#")
		at, err := strconv.Atoi(number)
		if err != nil || at < last[device] {
			n.reordered++
		}
		last[device] = max(at, last[device])
	}
	return n
}

// report prints the table and fails for what does not add up.
func (r *torture) report(t *testing.T) {
	t.Helper()
	sent, acked, again := 0, 0, 0
	for _, d := range r.devices {
		sent, acked, again = sent+d.sent, acked+d.acked, again+d.again
	}
	if sent != acked || acked < 20*len(r.devices) {
		t.Errorf("%d numbers were sent and %d acknowledged: each is sent until it is, and this was to be many", sent, acked)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d kills; %v\n%d numbers sent (%d times again), %d acknowledged\n", r.kills, r.disturbs, sent, again, acked)
	fmt.Fprintf(&b, "%-10s %9s %10s %5s %9s\n", "receiver", "delivered", "duplicated", "lost", "reordered")
	for _, to := range append([]*receiver{r.up}, r.locals...) {
		n := tally(to.messages())
		lost := 0
		for _, d := range r.devices {
			for i := 1; i <= d.acked; i++ {
				if !n.first[d.payload(i)] {
					lost++
				}
			}
		}
		fmt.Fprintf(&b, "%-10s %9d %10d %5d %9d\n", to.name, len(n.first), n.duplicated, lost, n.reordered)
		if lost > 0 || n.reordered > 0 || len(n.first) != acked {
			t.Errorf("%s has %d numbers of %d acknowledged, lacks %d and has %d out of order", to.name, len(n.first), acked, lost, n.reordered)
		}
	}
	st, err := r.g.Status()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "%d acknowledgements that nobody asked for, %d packets cut\n", r.between.told.Load(), r.between.cuts.Load())
	fmt.Fprintf(&b, "since the last start: %d dropped, %d denied, %d parked\n", st.Messages.Dropped, st.Messages.Denied, st.Outbox.Parked)
	t.Log(b.String())
}

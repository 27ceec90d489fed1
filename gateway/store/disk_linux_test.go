package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// smallDisk mounts a file system of a given size. Where nobody may mount, not even root, the
// rest of the package measures free space through a stand-in.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700")
	if errors.Is(err, unix.EPERM) {
		t.Skipf("this machine permits no file system of its own: %v", err)
	}
	if err != nil {
		t.Fatalf("a file system of its own cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// occupy fills the disk until no more than so many bytes are left.
func occupy(t *testing.T, path string, left uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for chunk := make([]byte, 64<<10); ; {
		free, err := statfs(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if free < left+uint64(len(chunk)) {
			return
		}
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

// diskChild works on a store as it is told, one word a line, and says when each thing is done.
func diskChild(dir string) {
	o := Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), MinFree: 20 << 20}
	s, err := Open(filepath.Join(dir, "state"), o)
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(3)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	box := s.Outbox()
	first, next := ^uint64(0), uint64(0)
	err = loadFrom(box, func(n uint64, _, _ string, _ int, _ *message.Message) error {
		first, next = min(first, n), n+1
		return nil
	})
	fmt.Println("open", first, next, err)
	do := func(f func(func(error))) error {
		ch := make(chan error, 1)
		f(func(err error) { ch <- err })
		return <-ch
	}
	// Payloads that do not compress, so that tables are as large as what they hold.
	noise := rand.NewChaCha8([32]byte{})
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var err error
		var n uint64
		what, count, _ := strings.Cut(in.Text(), " ")
		_, _ = fmt.Sscan(count, &n)
		switch what {
		case "append": // until so many are there or one is refused; the last ones together
			for end := next + n; next < end && err == nil; {
				last := min(next+100, end)
				for ; next < last-1; next++ {
					appendTo(box, next, "r", "t", testMessage(next, string(random(noise, 3000))), nil)
				}
				err = do(func(d func(error)) { appendTo(box, next, "r", "t", testMessage(next, string(random(noise, 3000))), d) })
				next++
			}
		case "rest": // compactors end what they have begun, and none begins
			// What another program takes while badger writes a table is lost to it:
			// nothing reserves blocks. The test is about what is at rest.
			b := s.messages
			b.mu.Lock()
			b.readers.lock()
			err = b.reopen(true)
			b.readers.unlock()
			b.mu.Unlock()
		case "remove":
			for ; n > 0 && err == nil; n-- {
				var seqs []uint64
				for range 100 {
					seqs = append(seqs, first)
					first++
				}
				err = do(func(d func(error)) { box.Remove(testStream, seqs, d) })
			}
		case "close":
			cancel()
			err = errors.Join(<-ended, s.Close())
		}
		var full string
		if errors.Is(err, ErrDiskFull) {
			full = "full"
		}
		fmt.Println("done", full, err)
		if what == "close" {
			os.Exit(0)
		}
	}
	os.Exit(4)
}

func random(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   *os.File
	out  *bufio.Reader
	errs *strings.Builder
}

func startChild(t *testing.T, dir string) (*child, string) {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0], "-test.run=^$"), errs: &strings.Builder{}}
	c.cmd.Env = append(os.Environ(), "STORE_DISK_CHILD="+dir)
	c.cmd.Stderr = c.errs
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdin, c.in, c.out = r, w, bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	t.Cleanup(c.kill)
	return c, c.hear()
}

func (c *child) hear() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the process died: %v %v\n%.2000s", err, c.cmd.Wait(), c.errs)
	}
	return strings.TrimSpace(line)
}

func (c *child) do(what string) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, what); err != nil {
		c.t.Fatalf("%s: %v\n%.2000s", what, err, c.errs)
	}
	return c.hear()
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = c.in.Close()
}

// TestFullDiskIsSurvived: a large outbox, a disk that another program fills to
// the last byte, and processes that are killed, started and stopped on it.
func TestFullDiskIsSurvived(t *testing.T) {
	dir := smallDisk(t, "180m")
	c, _ := startChild(t, dir)
	if said := c.do("append 22000"); said != "done  <nil>" {
		t.Fatalf("the outbox was not filled: %s", said)
	}
	if said := c.do("rest"); said != "done  <nil>" {
		t.Fatalf("at rest: %s", said)
	}
	var fillers []string
	full := func(left uint64) {
		fillers = append(fillers, filepath.Join(dir, fmt.Sprint("filler", len(fillers))))
		occupy(t, fillers[len(fillers)-1], left)
	}
	empty := func() {
		for _, f := range fillers {
			if err := os.Remove(f); err != nil {
				t.Error(err)
			}
		}
		fillers = nil
	}
	full(0)
	for round := range fewer(3, 1) {
		if said := c.do("append 1"); !strings.HasPrefix(said, "done full") {
			t.Errorf("round %d: an append on the full disk: %s", round, said)
		}
		c.kill()
		empty()
		full(30 << 20) // enough to start, with what the ballast adds; not for a compaction
		var said string
		if c, said = startChild(t, dir); said != "open 0 22000 <nil>" {
			t.Fatalf("round %d: started on a full disk: %s", round, said)
		}
		full(0)
	}
	if said := c.do("close"); said != "done  <nil>" {
		t.Errorf("stopped on a full disk: %s", said)
	}
	c.kill()
	empty()
	if c, said := startChild(t, dir); said != "open 0 22000 <nil>" {
		t.Errorf("with free space again: %s", said)
	} else if said := c.do("append 1"); said != "done  <nil>" {
		t.Errorf("with free space again: %s", said)
	} else if said := c.do("remove 220"); said != "done  <nil>" {
		t.Errorf("drained: %s", said)
	} else if said := c.do("close"); said != "done  <nil>" {
		t.Errorf("stopped: %s", said)
	}
}

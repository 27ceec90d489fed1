package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/store/internal/seglog"
)

// boxDamages are what is done to a file, which stays a file in all cases but the last ones.
var boxDamages = []struct {
	name   string
	damage func(path, other string) error
}{
	{"a bit at 10 %", flipAt(0.1)},
	{"a bit in the middle", flipAt(0.5)},
	{"a bit at 90 %", flipAt(0.9)},
	{"a bit in the first byte", flipAt(0)},
	{"a bit in the last byte", flipAt(1)},
	{"a bit in every 1,000 bytes", editing(func(b []byte) []byte {
		for i := 500; i < len(b); i += 1000 {
			b[i] ^= 4
		}
		return b
	})},
	{"64 bytes in the middle", editing(func(b []byte) []byte {
		for i := range min(64, len(b)/2) {
			b[len(b)/2+i] ^= 0x55
		}
		return b
	})},
	{"the first sector is zero", editing(func(b []byte) []byte { clear(b[:min(512, len(b))]); return b })},
	{"a sector in the middle is zero", editing(func(b []byte) []byte { clear(b[len(b)/2 : min(len(b), len(b)/2+512)]); return b })},
	{"the last sector is zero", editing(func(b []byte) []byte { clear(b[max(len(b)-512, 0):]); return b })},
	{"4 KiB in the middle are zero", editing(func(b []byte) []byte { clear(b[len(b)/2 : min(len(b), len(b)/2+4096)]); return b })},
	{"all is 0xff", editing(func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) })},
	{"cut by a byte", editing(func(b []byte) []byte { return b[:max(len(b)-1, 0)] })},
	{"cut in half", editing(func(b []byte) []byte { return b[:len(b)/2] })},
	{"cut to a sector", editing(func(b []byte) []byte { return b[:min(len(b), 512)] })},
	{"emptied", editing(func([]byte) []byte { return nil })},
	{"100 bytes more", editing(func(b []byte) []byte { return append(b, bytes.Repeat([]byte("?"), 100)...) })},
	{"doubled", editing(func(b []byte) []byte { return append(b, b...) })},
	{"another file's content", func(path, other string) error {
		b, err := os.ReadFile(other)
		return errors.Join(err, os.WriteFile(path, b, 0o600))
	}},
	{"deleted", func(path, _ string) error { return os.Remove(path) }},
	{"a directory in its place", func(path, _ string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
}

func editing(f func([]byte) []byte) func(path, other string) error {
	return func(path, _ string) error {
		b, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(path, f(b), 0o600))
	}
}

func flipAt(share float64) func(path, other string) error {
	return editing(func(b []byte) []byte {
		if len(b) > 0 {
			b[int(share*float64(len(b)-1))] ^= 1
		}
		return b
	})
}

const (
	boxMessages = 500
	boxRemoved  = 120 // the first ones of all streams
)

func boxPayload(seq uint64) string {
	return fmt.Sprintf("message %06d %s", seq, strings.Repeat(string('a'+rune(seq%26)), 300))
}

// boxSource is a state directory with 500 messages, of which the first 120 have gone. crashed: it is left
// behind as by a killed process.
func boxSource(t *testing.T, crashed bool) string {
	t.Helper()
	dir := t.TempDir()
	s, stop := open(t, dir, smallSegments())
	for seq := uint64(1); seq <= boxMessages; seq++ {
		q := outgoing(fmt.Sprint("d", seq%7), seq)
		q.Message.Payload = []byte(boxPayload(seq))
		wait(t, func(d func(error)) { s.Outbox().Append(q, d) })
		if n := seq - 300; seq > 300 && n <= boxRemoved { // while others come
			wait(t, func(d func(error)) { s.Outbox().Remove(outgoing(fmt.Sprint("d", n%7), n).Stream, []uint64{n}, d) })
		}
	}
	if !crashed {
		stop()
		return dir
	}
	copied := t.TempDir()
	copyBox(t, dir, copied)
	stop()
	return copied
}

func copyBox(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", "--sparse=always", from+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// destroyed are the messages of which the damage has changed a byte of their frame.
func destroyed(before, after []byte) map[uint64]bool {
	list := map[uint64]bool{}
	for seq := uint64(1); seq <= boxMessages; seq++ {
		at := bytes.Index(before, []byte(boxPayload(seq)))
		if at < 0 {
			continue
		}
		from := bytes.LastIndex(before[:at], []byte{0xC6, 0xA5})
		to := from + 12 + int(before[from+5]) + int(before[from+6])<<8
		if to > len(after) || !bytes.Equal(before[from:to], after[from:to]) {
			list[seq] = true
		}
	}
	return list
}

// Whatever is done to a file of the outbox: the store opens, says so, and what is lost is what the damage
// itself destroyed. What had gone upstream may be sent again where the note of that was destroyed.
func TestDamagedOutboxLosesOnlyWhatWasDestroyed(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		name := map[bool]string{false: "after a stop", true: "after a kill"}[crashed]
		t.Run(name, func(t *testing.T) {
			source := boxSource(t, crashed)
			logs, _ := filepath.Glob(filepath.Join(source, boxDir, "*.log"))
			marks, _ := filepath.Glob(filepath.Join(source, boxDir, "*.mark"))
			if len(logs) < 4 || len(marks) != 2 {
				t.Fatalf("%d segments, %d checkpoints", len(logs), len(marks))
			}
			files := map[string]string{
				"1 oldest segment":     logs[0],
				"2 segment in between": logs[len(logs)/2],
				"3 last but one":       logs[len(logs)-2],
				"4 last segment":       logs[len(logs)-1],
				"5 older checkpoint":   marks[0],
				"6 newest checkpoint":  marks[1],
			}
			table := []string{fmt.Sprintf("%-22s %-32s %9s %5s %6s %s", "file", "damage", "destroyed", "lost", "again", "said")}
			for _, d := range boxDamages {
				for _, file := range slices.Sorted(func(yield func(string) bool) {
					for k := range files {
						if !yield(k) {
							return
						}
					}
				}) {
					r := damageOne(t, source, files[file], logs[1], crashed && file[0] == '4', d.damage)
					table = append(table, fmt.Sprintf("%-22s %-32s %9d %5d %6d %v", file[2:], d.name, r.destroyed, r.lost, r.again, r.said))
					if r.wrong != "" {
						t.Errorf("%s, %s: %s", file[2:], d.name, r.wrong)
					}
				}
			}
			t.Log("\n" + strings.Join(table, "\n"))
		})
	}
}

type damageResult struct {
	destroyed, lost, again int
	said                   string
	wrong                  string
}

func damageOne(t *testing.T, source, file, other string, lastOfKilled bool, damage func(path, other string) error) (r damageResult) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, boxDir), os.DirFS(filepath.Join(source, boxDir))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, boxDir, filepath.Base(file))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := damage(path, filepath.Join(dir, boxDir, filepath.Base(other))); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "directory") {
		t.Fatal(err)
	}
	gone := destroyed(before, after)
	r.destroyed = len(gone)
	s, err := besideMemory(t, dir)
	if err != nil {
		r.wrong = err.Error()
		return r
	}
	s.box.verify(t.Context())
	for _, q := range s.box.damaged() {
		r.said = q.Reason
	}
	seen := map[uint64]int{}
	err = s.Outbox().Streams(func(q message.StoredStream) error {
		list, err := s.Outbox().Next(q.ID, 0, math.MaxUint64, boxMessages, 1<<30)
		last := uint64(0)
		for _, m := range list {
			if m.Message == nil {
				continue // told by whoever sends it
			}
			if string(m.Message.Payload) != boxPayload(m.Seq) || m.Seq <= last || !strings.HasPrefix(m.Message.Publisher.Key, "device:d1") &&
				!strings.HasPrefix(m.Message.Publisher.Key, "lost:") {
				r.wrong = fmt.Sprintf("message %d after %d, of %s, is not what was stored", m.Seq, last, m.Message.Publisher.Key)
			}
			last = m.Seq
			seen[m.Seq]++
		}
		if len(list) != q.Count {
			r.wrong = fmt.Sprintf("%d messages, summed up as %d", len(list), q.Count)
		}
		return err
	})
	if err != nil {
		r.wrong = err.Error()
	}
	for seq := uint64(1); seq <= boxMessages; seq++ {
		switch n := seen[seq]; {
		case n > 1:
			r.wrong = fmt.Sprintf("message %d is there %d times", seq, n)
		case n == 1 && seq <= boxRemoved:
			r.again++
		case n == 0 && seq > boxRemoved:
			if r.lost++; !gone[seq] {
				r.wrong = fmt.Sprintf("message %d is lost, though nothing of it was destroyed", seq)
			}
		}
	}
	// Only the last file of a killed process can go without a trace: nothing says that it was there.
	if r.lost > 0 && r.said == "" && !lastOfKilled {
		r.wrong = "messages are lost, and nothing was said"
	}
	// It goes on with what comes.
	err = errors.Join(
		s.box.log.Commit([]seglog.Op{{Append: &seglog.Record{Number: boxMessages + 1}}}, true),
		s.box.log.Tidy(),
		s.box.log.Close(),
	)
	if err != nil {
		r.wrong = err.Error()
	}
	return r
}

// besideMemory is a store whose outbox is on the disk, and all else in memory: it opens fast.
func besideMemory(t *testing.T, dir string) (*Store, error) {
	t.Helper()
	s, err := OpenMemory(Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	o := smallSegments().withDefaults()
	memory := s.box
	box, err := openBoxLog(dir, o)
	if err == nil {
		s.box = box
		t.Cleanup(func() { s.box = memory })
	}
	return s, err
}

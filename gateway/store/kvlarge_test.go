package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// smallKV opens a store whose transactions take ten ops.
func smallKV(dir string, free func() uint64) (*KV, error) {
	o := testOptions()
	o.Free = func(string) (uint64, error) { return free(), nil }
	return openKV(dir, o, spec{name: "data", memTable: 8 << 20}, 10, 64<<10)
}

func contentOf(t *testing.T, k *KV) map[string]string {
	t.Helper()
	got := map[string]string{}
	if err := k.Load(func(key string, v []byte) error { got[key] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

// largeChange replaces, removes and adds; oldState and newState are what it is between.
func largeChange() (oldState, newState map[string]string, first, change []KVOp) {
	oldState, newState = map[string]string{}, map[string]string{}
	for i := range 8 {
		key := fmt.Sprintf("old-%d", i)
		oldState[key] = "1"
		first = append(first, KVOp{key, []byte("1")})
	}
	for i := range 4 {
		change = append(change, KVOp{Key: fmt.Sprintf("old-%d", i)})
		newState[fmt.Sprintf("old-%d", 4+i)] = "1"
	}
	for i := range 30 {
		key := fmt.Sprintf("new-%02d", i)
		change = append(change, KVOp{key, []byte{byte('0' + i%10)}})
		newState[key] = string(rune('0' + i%10))
	}
	change = append(change, KVOp{"new-00", []byte{}}) // the last op on a key counts
	newState["new-00"] = ""
	return oldState, newState, first, change
}

// TestALargeChangeIsWholeAfterAKill keeps a copy of the directory as it is before
// each of the change's transactions, which is what a kill at that moment leaves,
// and opens every copy.
func TestALargeChangeIsWholeAfterAKill(t *testing.T) {
	before, after, first, change := largeChange()
	dir, copies := t.TempDir(), t.TempDir()
	cut := -1 // the copies made; -1: none wanted
	k, err := smallKV(dir, func() uint64 {
		if cut >= 0 {
			copyDir(t, dir, filepath.Join(copies, fmt.Sprint(cut)))
			cut++
		}
		return 1 << 40
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Commit(first); err != nil {
		t.Fatal(err)
	}
	cut = 0
	if err := k.Commit(change); err != nil {
		t.Fatal(err)
	}
	n := cut
	cut = -1
	if got := contentOf(t, k); !maps.Equal(got, after) {
		t.Errorf("after the change: %v", got)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i := range n {
		k, err := smallKV(filepath.Join(copies, fmt.Sprint(i)), func() uint64 { return 1 << 40 })
		if err != nil {
			t.Fatalf("killed before transaction %d: %v", i, err)
		}
		switch got := contentOf(t, k); {
		case maps.Equal(got, before) && seen["new"] == 0:
			seen["old"]++
		case maps.Equal(got, after):
			seen["new"]++
		default:
			t.Errorf("killed before transaction %d: neither the old state nor the new: %v", i, got)
		}
		// What the kill left over is gone after one more large change.
		if err := k.Commit(change); err != nil {
			t.Errorf("killed before transaction %d: the next change: %v", i, err)
		}
		if left := recordsBelow(t, k, kvStaged) + recordsBelow(t, k, kvIntent); left != 0 {
			t.Errorf("killed before transaction %d: %d staged records stay", i, left)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
	// Four batches of staged records and the intent leave the old state; four batches of ops and the removals the new.
	if seen["old"] < 5 || seen["new"] < 4 {
		t.Errorf("%d kills left the old state, %d the new one: %v", seen["old"], seen["new"], n)
	}
}

// TestALargeChangeIsWholeAfterAFailedWrite lets each of the change's transactions
// fail in turn. What Commit returns is what the store holds, at once and after a restart.
func TestALargeChangeIsWholeAfterAFailedWrite(t *testing.T) {
	before, after, first, change := largeChange()
	failures, successes := 0, 0
	for fail := 0; ; fail++ {
		dir := t.TempDir()
		left := -1 // transactions until the disk is full; negative: never
		k, err := smallKV(dir, func() uint64 {
			if left == 0 {
				return 0
			}
			left--
			return 1 << 40
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Commit(first); err != nil {
			t.Fatal(err)
		}
		left = fail
		err = k.Commit(change)
		full := left == 0
		left = -1
		want := after
		switch {
		case errors.Is(err, ErrDiskFull):
			failures++
			want = before
		case err != nil:
			t.Fatalf("transaction %d: %v", fail, err)
		default:
			successes++
		}
		if err := k.Commit([]KVOp{{"next", []byte("n")}}); err != nil { // a decided change is in place before it
			t.Fatalf("transaction %d: the next change: %v", fail, err)
		}
		want = maps.Clone(want)
		want["next"] = "n"
		if got := contentOf(t, k); !maps.Equal(got, want) {
			t.Errorf("transaction %d failed (%v): %v", fail, err, got)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if k, err = smallKV(dir, func() uint64 { return 1 << 40 }); err != nil {
			t.Fatal(err)
		}
		if got := contentOf(t, k); !maps.Equal(got, want) {
			t.Errorf("transaction %d failed, after a restart: %v", fail, got)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if !full {
			break // every transaction has failed once
		}
	}
	if failures < 5 || successes < 5 {
		t.Errorf("%d failures before the decision, %d after it", failures, successes)
	}
}

func TestAStagedChangeThatIsDamagedIsNotApplied(t *testing.T) {
	dir := t.TempDir()
	k, err := smallKV(dir, func() uint64 { return 1 << 40 })
	if err != nil {
		t.Fatal(err)
	}
	// An intent that counts a record which is not there.
	one := stage(0, op{kind: put, key: kvPrefix + "x", value: []byte("1")})
	if err := k.base.commit([]op{one, {put, kvIntent, []byte(`{"Count":2,"Digest":[0,0]}`)}}); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := smallKV(dir, func() uint64 { return 1 << 40 }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	for _, bad := range [][]byte{{}, {9}, {0}, {0, 5, 'k'}, bytes.Repeat([]byte{0xff}, 12)} {
		if o, err := unstage(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v %v", bad, o, err)
		}
	}
}

func recordsBelow(t *testing.T, k *KV, prefix string) (n int) {
	t.Helper()
	if err := k.base.scan(prefix, func(string, []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// copyDir copies a directory as another process would find it now.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestFiftyThousandDevices is the size that a seed has to have: rows and events of
// 50,000 devices and as many assignments in one change.
func TestFiftyThousandDevices(t *testing.T) {
	dir := t.TempDir()
	o := testOptions()
	k, err := OpenKV(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	ops := make([]KVOp, fewer(100_000, 60_000)) // more than a transaction takes
	for i := range ops {
		ops[i] = KVOp{fmt.Sprintf("row/device/%08d", i), bytes.Repeat([]byte{'x'}, 300)}
	}
	if err := k.Commit(ops); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if k, err = OpenKV(dir, o); err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, k); len(got) != len(ops) {
		t.Errorf("%d records, want %d", len(got), len(ops))
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

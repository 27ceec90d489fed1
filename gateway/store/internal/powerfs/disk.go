package powerfs

import (
	"math/rand/v2"
	"sync"
	"syscall"
)

// Disk is what a mount shows and, beside it, what a power cut would leave of it.
type Disk struct {
	mu      sync.Mutex
	root    *inode     // guarded by mu, with everything below it
	pending []edit     // guarded by mu: changes of names that were not synced, oldest first
	made    uint64     // guarded by mu: number of the last inode
	left    int        // guarded by mu: changes until the cut; negative: none is planned
	rng     *rand.Rand // guarded by mu
	after   *Disk      // guarded by mu: what the cut left; nil before it
	down    chan struct{}
}

// inode is a directory (names is not nil) or a file.
type inode struct {
	number uint64
	mode   uint32 // permissions
	parent *inode // the directory of its last name; nil: the root
	names  map[string]*inode
	synced map[string]*inode // the names on the disk
	data   content
}

// edit is what one call changed in names: together on the disk, or not at all.
type edit []change

// change is one name that now leads to an inode, or nowhere (nil).
type change struct {
	dir  *inode
	name string
	to   *inode
}

// New is an empty disk. The cut's choices follow from the seed, what the kernel
// has written by then does not.
func New(seed uint64) *Disk {
	d := &Disk{left: -1, rng: rand.New(rand.NewPCG(seed, 7)), down: make(chan struct{})} //nolint:gosec // chance, not a secret
	d.root = d.makeInode(nil, true, 0o700)
	return d
}

func (d *Disk) makeInode(parent *inode, dir bool, mode uint32) *inode {
	d.made++
	n := &inode{number: d.made, mode: mode & 0o7777, parent: parent}
	if dir {
		n.names, n.synced = map[string]*inode{}, map[string]*inode{}
	}
	return n
}

// CutAfter plans the cut: in place of the change (write, sync, or change of a
// name or size) that comes after so many others.
func (d *Disk) CutAfter(changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = changes
}

// Down is closed by the cut. From then on every call fails with EIO.
func (d *Disk) Down() <-chan struct{} { return d.down }

// Cut cuts the power, unless that has happened, and returns the disk as the next
// start finds it.
func (d *Disk) Cut() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut()
	return d.after
}

// change begins a call that changes something.
func (d *Disk) change() syscall.Errno {
	if d.after == nil && d.left == 0 {
		d.cut()
	}
	d.left--
	return d.alive()
}

func (d *Disk) alive() syscall.Errno {
	if d.after != nil {
		return syscall.EIO
	}
	return 0
}

func (d *Disk) apply(e edit) {
	for _, c := range e {
		if c.to == nil {
			delete(c.dir.names, c.name)
			continue
		}
		c.dir.names[c.name], c.to.parent = c.to, c.dir
	}
	d.pending = append(d.pending, e)
}

func (e edit) sync() {
	for _, c := range e {
		if c.to == nil {
			delete(c.dir.synced, c.name)
		} else {
			c.dir.synced[c.name] = c.to
		}
	}
}

// syncNames syncs the directory, and the changes of other directories before its last one.
func (d *Disk) syncNames(dir *inode) {
	last := 0
	for i, e := range d.pending {
		for _, c := range e {
			if c.dir == dir {
				last = i + 1
			}
		}
	}
	for _, e := range d.pending[:last] {
		e.sync()
	}
	d.pending = d.pending[last:]
}

// syncWayTo syncs the names by which n is reached, and no other.
func (d *Disk) syncWayTo(n *inode) {
	for ; n != nil; n = n.parent {
		for i := len(d.pending) - 1; i >= 0; i-- {
			for _, c := range d.pending[i] {
				if c.to == n && c.dir.names[c.name] == n {
					d.persist(c, i)
				}
			}
		}
	}
}

// persist syncs c, a change of pending[i], and drops what it supersedes.
func (d *Disk) persist(c change, i int) {
	edit{c}.sync()
	for j := range d.pending[:i+1] {
		var rest edit
		for _, old := range d.pending[j] {
			if old.dir != c.dir || old.name != c.name {
				rest = append(rest, old)
			}
		}
		d.pending[j] = rest
	}
}

func (d *Disk) cut() {
	if d.after != nil {
		return
	}
	next := &Disk{left: -1, rng: d.rng, down: make(chan struct{})}
	for _, e := range d.pending[:d.rng.IntN(len(d.pending)+1)] {
		e.sync()
	}
	next.root = next.copyOf(d.root, nil, lossOf(d.rng))
	d.after = next
	close(d.down)
}

func (d *Disk) copyOf(n, parent *inode, l loss) *inode {
	c := d.makeInode(parent, n.names != nil, n.mode)
	if n.names == nil {
		c.data = n.data.afterCut(l)
		return c
	}
	for name, child := range n.synced {
		m := d.copyOf(child, c, l)
		c.names[name], c.synced[name] = m, m
	}
	return c
}

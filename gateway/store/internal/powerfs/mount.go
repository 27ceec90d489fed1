package powerfs

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Mount shows d at dir until unmount is called. An error says what of FUSE this
// machine lacks: /dev/fuse, or the right to mount (root, or fusermount3).
func (d *Disk) Mount(dir string) (unmount func() error, err error) {
	long := time.Hour                    // nobody but the kernel changes anything
	silent := log.New(io.Discard, "", 0) // an unmount ends the connection, which is logged as an error
	server, err := fs.Mount(dir, &node{disk: d, inode: d.root}, &fs.Options{
		AttrTimeout:  &long,
		EntryTimeout: &long,
		UID:          uint32(os.Geteuid()), //nolint:gosec // never negative on Linux
		GID:          uint32(os.Getegid()), //nolint:gosec // never negative on Linux
		Logger:       silent,
		MountOptions: fuse.MountOptions{
			Logger:             silent,
			FsName:             "powerfs",
			Name:               "powerfs",
			DirectMount:        true,
			DisableReadDirPlus: true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mount a FUSE file system at %s (it takes /dev/fuse, and root or fusermount3): %w", dir, err)
	}
	return func() error {
		// Detached, it goes as soon as the last file of a dying process is closed.
		if unix.Unmount(dir, unix.MNT_DETACH) != nil {
			return server.Unmount()
		}
		server.Wait()
		return nil
	}, nil
}

// node is an inode as FUSE sees it. It has no file handles: the kernel keeps
// locks and offsets, and nothing else belongs to an open file.
type node struct {
	fs.Inode
	disk  *Disk
	inode *inode
}

var _ interface {
	fs.NodeLookuper
	fs.NodeReaddirer
	fs.NodeCreater
	fs.NodeMkdirer
	fs.NodeUnlinker
	fs.NodeRmdirer
	fs.NodeRenamer
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeStatfser
} = (*node)(nil)

func (n *node) attr(a *fuse.Attr) {
	in := n.inode
	a.Ino, a.Nlink, a.Blksize = in.number, 1, pageSize
	a.Size = uint64(in.data.size) //nolint:gosec // sizes are not negative
	a.Blocks = uint64(len(in.data.pages)) * (pageSize / sectorSize)
	a.Mode = syscall.S_IFREG | in.mode
	if in.names != nil {
		a.Mode = syscall.S_IFDIR | in.mode
	}
}

func (n *node) child(ctx context.Context, in *inode, out *fuse.EntryOut) *fs.Inode {
	c := &node{disk: n.disk, inode: in}
	c.attr(&out.Attr)
	return n.NewInode(ctx, c, fs.StableAttr{Mode: out.Mode & syscall.S_IFMT, Ino: in.number})
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.alive(); e != 0 {
		return nil, e
	}
	in := n.inode.names[name]
	if in == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, in, out), 0
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.alive(); e != 0 {
		return nil, e
	}
	var list []fuse.DirEntry
	for name, in := range n.inode.names {
		mode := uint32(syscall.S_IFREG)
		if in.names != nil {
			mode = syscall.S_IFDIR
		}
		list = append(list, fuse.DirEntry{Name: name, Mode: mode, Ino: in.number})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Create(
	ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut,
) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, e := n.add(ctx, name, false, mode, out)
	return child, nil, fuse.FOPEN_KEEP_CACHE, e
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.add(ctx, name, true, mode, out)
}

func (n *node) add(ctx context.Context, name string, dir bool, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.change(); e != 0 {
		return nil, e
	}
	in := n.disk.makeInode(n.inode, dir, mode)
	n.disk.apply(edit{{n.inode, name, in}})
	return n.child(ctx, in, out), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.change(); e != 0 {
		return e
	}
	n.disk.apply(edit{{n.inode, name, nil}})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	in := n.inode.names[name]
	full := in != nil && len(in.names) > 0
	n.disk.mu.Unlock()
	if full {
		return syscall.ENOTEMPTY
	}
	return n.Unlink(ctx, name)
}

func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if flags != 0 {
		return syscall.EINVAL
	}
	if e := n.disk.change(); e != 0 {
		return e
	}
	to, ok := parent.(*node)
	if !ok || n.inode.names[name] == nil {
		return syscall.ENOENT
	}
	n.disk.apply(edit{{n.inode, name, nil}, {to.inode, newName, n.inode.names[name]}})
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return nil, fuse.FOPEN_KEEP_CACHE, n.disk.alive()
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.alive(); e != 0 {
		return nil, e
	}
	return fuse.ReadResultData(b[:n.inode.data.read(b, off)]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.change(); e != 0 {
		return 0, e
	}
	n.inode.data.write(b, off)
	return uint32(len(b)), 0 //nolint:gosec // a request is smaller than that
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.change(); e != 0 {
		return e
	}
	if n.inode.names != nil {
		n.disk.syncNames(n.inode)
	}
	n.inode.data.sync()
	n.disk.syncWayTo(n.inode)
	return 0
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.attr(&out.Attr)
	return n.disk.alive()
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if e := n.disk.change(); e != 0 {
		return e
	}
	if mode, ok := in.GetMode(); ok {
		n.inode.mode = mode & 0o7777
	}
	if size, ok := in.GetSize(); ok {
		n.inode.data.truncate(int64(size)) //nolint:gosec // the kernel refuses larger ones
	}
	n.attr(&out.Attr)
	return 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize = pageSize, pageSize
	out.Blocks, out.Bfree, out.Bavail = 1<<28, 1<<28, 1<<28
	out.NameLen = 255
	return 0
}

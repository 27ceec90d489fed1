// Package powerfs is a file system for tests whose power can be cut. A process
// that is killed leaves all that it wrote to the kernel, synced or not, so a test
// that kills processes cannot see a missing fsync. A Disk can: it forgets at the
// cut what was never synced.
//
// A Disk is mounted by FUSE, so the program under test needs no change: what it
// writes through a shared mapping reaches the Disk too, because the kernel turns
// msync into writes of the dirty pages and an fsync. The program has to be
// another process than the one that serves the mount: a page fault that waits
// for a Go program's own goroutine can block that program for ever.
//
// What an fsync promises here is what Linux's journalling file systems (ext4,
// XFS, btrfs) keep:
//
//   - of a file: its content and size, its name, and the names of the directories
//     above it. POSIX leaves the name to an fsync of the directory; badger makes
//     its log files without one.
//   - of a directory: every change of names in it and those made before, its own
//     name, and the names of the directories above it.
//
// At the cut, of the changes of names that were not synced the first few are
// kept, in order; of the data that was not synced each sector of 512 bytes is
// kept or not by itself, so that a write may be torn anywhere but within a sector.
package powerfs

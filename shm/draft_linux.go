package shm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Invariant: until publish nobody finds the object under its name, and a process
// that dies before leaves either nothing (nameless) or one file under a draft
// name whose lock nobody holds (under name), which the next creation sweeps.

const (
	// draftPrefix starts the names of objects that are being made where the file
	// system has no O_TMPFILE. An object cannot be created under such a name, so
	// the sweep may take whatever nobody holds.
	draftPrefix = ".shmchan.draft."

	// draftLock is the byte that the maker of an object under a draft name holds
	// for as long as it is at it.
	draftLock = LockBase - 1
)

// A draft is an object in the making, aside from its name.
type draft struct {
	dirfd int // the caller's
	file  *os.File
	lock  lockFile
	temp  string // its draft name; "" if it has none
	owned bool   // file and lock are somebody else's to close
	done  bool   // published
}

// A drafter makes an empty file aside in a directory; path is what the file shall
// call itself in errors. errNoDraft: not in this directory, in this way.
type drafter func(dirfd int, path string) (*draft, error)

var errNoDraft = errors.New("no such way to make an object aside")

// draftNameless makes a file that has no name at all: O_TMPFILE, Linux 3.11. Tmpfs
// has it since then, as have ext4 and xfs; overlayfs since 6.1. The link under a
// name goes through /proc (AT_EMPTY_PATH needs a capability before 6.10), and so
// does the description for the locks.
func draftNameless(dirfd int, path string) (*draft, error) {
	sweepOnce(dirfd)
	fd, err := openat(dirfd, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
	switch {
	case err == nil:
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOSYS):
		return nil, fmt.Errorf("%w: O_TMPFILE: %w", errNoDraft, err)
	default:
		return nil, err
	}
	ownMode(fd)
	lock := lockFileOf(fd, -1, "")
	if lock.err != nil { // no /proc
		closeFd(fd)
		return nil, fmt.Errorf("%w: %w", errNoDraft, lock.err)
	}
	return &draft{dirfd: dirfd, file: os.NewFile(uintptr(fd), path), lock: lock}, nil
}

// draftUnderName makes a file under a name that says what it is, and holds its
// draft lock. It sweeps first.
func draftUnderName(dirfd int, path string) (*draft, error) {
	sweep(dirfd)
	const tries = 100
	for range tries {
		temp := draftPrefix + rand.Text()
		fd, err := openat(dirfd, temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		ownMode(fd)
		d := &draft{dirfd: dirfd, file: os.NewFile(uintptr(fd), path), temp: temp}
		d.lock = lockFileOf(fd, dirfd, temp)
		ok, err := d.claim()
		if err == nil && ok {
			return d, nil
		}
		d.discard()
		if err != nil {
			return nil, err
		}
		// A sweeper came between open and lock. It takes nothing that is locked,
		// so the next try meets another moment.
	}
	return nil, fmt.Errorf("swept away %d times while being made: %w", tries, unix.EBUSY)
}

// ownMode lets the maker open its draft a second time even under a umask that
// takes the owner's bits away. Should it fail, so will what depends on it.
func ownMode(fd int) {
	_ = retry("fchmod", func() error { return unix.Fchmod(fd, 0o600) })
}

// claim takes the draft lock and says whether the draft is still there with it.
func (d *draft) claim() (bool, error) {
	if ok, err := d.lock.try(draftLock); !ok {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) {
			return false, nil // swept before its name could be opened again
		}
		return false, err
	}
	want, err := fstat(int(d.file.Fd()))
	if err != nil {
		return false, err
	}
	have, err := lstatat(d.dirfd, d.temp)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && sameFile(&want, &have), err
}

// publish gives the object its name; EEXIST when that is taken.
func (d *draft) publish(name string) error {
	if d.temp == "" {
		err := retry("linkat", func() error {
			return unix.Linkat(unix.AT_FDCWD, procPath(int(d.file.Fd())), d.dirfd, name, unix.AT_SYMLINK_FOLLOW)
		})
		d.done = err == nil
		return err
	}
	err := retry("renameat2", func() error {
		return unix.Renameat2(d.dirfd, d.temp, d.dirfd, name, unix.RENAME_NOREPLACE)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		// Not on this file system. Link instead: between the two steps the object
		// has both names, and whoever sweeps removes the draft one only.
		err = retry("linkat", func() error { return unix.Linkat(d.dirfd, d.temp, d.dirfd, name, 0) })
		if err == nil {
			_ = unix.Unlinkat(d.dirfd, d.temp, 0)
		}
	}
	if err != nil {
		return err
	}
	d.done = true
	_ = d.lock.unlock(draftLock, 1) // nobody asks for it under this name
	return nil
}

// discard makes an unpublished draft as if it had never been.
func (d *draft) discard() {
	if d.temp != "" && !d.done {
		_ = unix.Unlinkat(d.dirfd, d.temp, 0)
	}
	if !d.owned {
		_ = d.lock.close()
		_ = d.file.Close()
	}
}

func isDraftName(name string) bool { return strings.HasPrefix(name, draftPrefix) }

// swept has the directories that this process has swept, by st_dev and st_ino.
var swept sync.Map

// sweepOnce is for creations that leave no drafts themselves: others may have, on
// an older kernel or without /proc. Once in a process is enough, since looking
// through a directory costs more the more objects it has.
func sweepOnce(dirfd int) {
	st, err := fstat(dirfd)
	if err != nil {
		return
	}
	if _, done := swept.LoadOrStore([2]uint64{uint64(st.Dev), uint64(st.Ino)}, true); !done {
		sweep(dirfd)
	}
}

// sweep removes drafts whose makers are dead. What it may not read or remove it
// leaves alone: that is for its owner's next creation.
func sweep(dirfd int) {
	fd, err := openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer func() { _ = dir.Close() }()
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if isDraftName(name) {
				sweepOne(dirfd, name)
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

func sweepOne(dirfd int, name string) {
	st, err := lstatat(dirfd, name)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	fd, err := openat(dirfd, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	l := lockFile{fd: fd} // just opened, so a description of its own
	defer func() { _ = l.close() }()
	if ok, err := l.try(draftLock); !ok || err != nil {
		return // its maker lives
	}
	// Between open and lock it may have been published and its lock given back.
	have, err := fstat(fd)
	if err != nil {
		return
	}
	if st, err = lstatat(dirfd, name); err == nil && sameFile(&st, &have) {
		_ = unix.Unlinkat(dirfd, name, 0)
	}
}

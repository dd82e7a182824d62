package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Create makes a new object of size bytes under the name in dir ("" means
// [DefaultDir]) and maps it. The memory is reserved and all zeros when init gets
// it, and whole before anybody can find it: the object is made aside, without a
// name, and linked under its name last. init may be nil. It must not keep mem.
// If init fails, its error is Create's, and nothing remains; likewise if it
// panics, or the process dies.
//
// The mode is perm exactly, whatever the umask. dir may be any directory,
// on a disk file system too: then the contents outlive the machine's power,
// and are on the disk before the name is.
//
// Create does not wait for anybody, but for the file system. Of several
// processes that create the same name at once, one succeeds. Errors, besides
// those of the system calls:
//   - [fs.ErrExist]: something stands under the name, of whatever kind;
//   - [fs.ErrInvalid]: a name against the rules of [CleanName], or one that begins
//     with ".shmchan.draft.", which is for objects in the making where the file
//     system knows no nameless ones; a size that is not positive; a perm with more
//     than permission bits;
//   - [fs.ErrNotExist], [fs.ErrPermission]: the directory is not there, or not
//     to be written in;
//   - ENOSPC, ENOMEM, EFBIG: the size is more than the file system, the memory
//     or a limit can give, found out before anything is reserved where the
//     kernel tells beforehand. The text names the limit and the figures.
func Create(dir, name string, size int64, perm fs.FileMode, init func(mem []byte) error) (*Object, error) {
	return create(dir, name, size, perm, init, draftNameless, draftUnderName)
}

// create is Create with a choice of the ways to make an object aside. The next
// one is tried where one is not supported.
func create(dir, name string, size int64, perm fs.FileMode, init func(mem []byte) error, ways ...drafter) (_ *Object, err error) {
	title := display(dir, name)
	defer annotate(&err, "create", title)
	clean, err := cleanName(name)
	switch {
	case err != nil:
		return nil, err
	case isDraftName(clean):
		return nil, fmt.Errorf("names that begin with %q are reserved: %w", draftPrefix, fs.ErrInvalid)
	case size <= 0:
		return nil, fmt.Errorf("a size of %d bytes: %w", size, fs.ErrInvalid)
	case perm&^fs.ModePerm != 0:
		return nil, fmt.Errorf("mode %v has more than permission bits: %w", perm, fs.ErrInvalid)
	}
	dirfd, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer closeFd(dirfd)
	// A courtesy: who comes too late need not reserve memory to learn it. What
	// decides is the link.
	if _, err := lstatat(dirfd, clean); err == nil {
		return nil, os.NewSyscallError("fstatat", unix.EEXIST)
	}
	if err := checkRoom(dirfd, size); err != nil {
		return nil, err
	}
	if dir == "" {
		dir = DefaultDir
	}
	var d *draft
	for _, way := range ways {
		d, err = way(dirfd, filepath.Join(dir, clean))
		if !errors.Is(err, errNoDraft) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	defer d.discard() // does nothing once published
	// Mapped before it is reserved, and still empty: whether there is so much
	// address space costs nothing to find out.
	o, err := mapObject(d.file, d.lock, clean, title, size)
	if err != nil {
		return nil, err
	}
	// From here on the Object owns the draft's descriptors.
	d.owned = true
	done := false
	defer func() {
		if !done {
			_ = o.Close()
		}
	}()
	if err := reserve(int(d.file.Fd()), size); err != nil {
		return nil, err
	}
	if init != nil {
		if err := init(o.mem); err != nil {
			return nil, err
		}
	}
	if o.disk {
		if err := o.Sync(); err != nil {
			return nil, err
		}
	}
	// The lock description was opened before this: perm may forbid it later.
	if err := retry("fchmod", func() error { return unix.Fchmod(int(d.file.Fd()), uint32(perm)) }); err != nil {
		return nil, err
	}
	if err := d.publish(clean); err != nil {
		return nil, err
	}
	if o.disk {
		syncDir(dirfd)
	}
	done = true
	return o, nil
}

// Unlink removes the name. Who has the object open goes on with it; its memory
// is given back when the last of them is gone. A symbolic link is removed itself,
// not what it points to. The error [errors.Is]
// [fs.ErrNotExist] when there is nothing under the name, [ErrNotObject] when it is
// a directory's, [fs.ErrInvalid] when it breaks the rules of [CleanName].
func Unlink(dir, name string) (err error) {
	defer annotate(&err, "unlink", display(dir, name))
	clean, err := cleanName(name)
	if err != nil {
		return err
	}
	dirfd, err := openDir(dir)
	if err != nil {
		return err
	}
	defer closeFd(dirfd)
	err = retry("unlinkat", func() error { return unix.Unlinkat(dirfd, clean, 0) })
	if errors.Is(err, unix.EISDIR) {
		return fmt.Errorf("%w: it is a directory: %w", ErrNotObject, err)
	}
	return err
}

// syncDir puts a new name on the disk, where the directory may be read.
func syncDir(dirfd int) {
	fd, err := openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer closeFd(fd)
	_ = retry("fsync", func() error { return unix.Fsync(fd) })
}

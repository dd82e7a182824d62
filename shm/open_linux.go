package shm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Open maps the object under the name in dir ("" means [DefaultDir]), all of it,
// as long as it is now. It never creates, replaces or writes anything, and never
// waits. A symbolic link is not followed. minSize is what the caller needs; one
// byte is the least.
//
// The error [errors.Is] [fs.ErrNotExist] when there is nothing under the name,
// [ErrNotObject] when what is there cannot be an object (the text says what it
// is), [fs.ErrPermission] when it may not be both read and written,
// [fs.ErrInvalid] for a name against the rules of [CleanName]. What the memory
// holds is for the caller to judge: any file of this size is opened.
func Open(dir, name string, minSize int64) (_ *Object, err error) {
	title := display(dir, name)
	defer annotate(&err, "open", title)
	clean, err := cleanName(name)
	if err != nil {
		return nil, err
	}
	dirfd, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer closeFd(dirfd)
	// Looked at before it is opened: opening a FIFO wakes who waits for its other
	// end, opening a device can do anything.
	st, err := lstatat(dirfd, clean)
	if err != nil {
		return nil, err
	}
	if err := checkKind(&st); err != nil {
		return nil, err
	}
	fd, err := openat(dirfd, clean, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.ELOOP) { // it has become one since
			err = fmt.Errorf("%w: it is a symbolic link: %w", ErrNotObject, err)
		}
		return nil, err
	}
	if dir == "" {
		dir = DefaultDir
	}
	file := os.NewFile(uintptr(fd), filepath.Join(dir, clean))
	o, err := mapWhole(file, minSize, clean, title, func() lockFile { return lockFileOf(fd, dirfd, clean) })
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return o, nil
}

// FromFile maps the object that f is a descriptor of: the other end of
// [Object.File]. f may be an anonymous object's, which must be sealed against
// shrinking and growing, else the error [errors.Is] [ErrNotSealed]; or the file of
// a named one, also of one whose name was removed since. f must be open for
// reading and writing. It stays the caller's, who may close it at once.
//
// The other errors are those of [Open]. The locks of the Object need a new open
// file description; where /proc is missing, or the file's mode forbids this user
// to open it, all else works, and [Object.TryLock] gives the reason.
func FromFile(f *os.File, minSize int64) (_ *Object, err error) {
	if f == nil {
		return nil, fmt.Errorf("shm: from file: %w", os.ErrInvalid)
	}
	title := f.Name()
	defer annotate(&err, "from file", title)
	conn, err := f.SyscallConn() // not f.Fd, which would make f blocking
	if err != nil {
		return nil, err
	}
	own := -1
	var inner error
	err = conn.Control(func(fd uintptr) { own, inner = takeFile(int(fd)) })
	if err != nil { // only a closed file refuses this
		return nil, fmt.Errorf("%w: %w", os.ErrClosed, err)
	}
	if inner != nil {
		return nil, inner
	}
	file := os.NewFile(uintptr(own), title)
	o, err := mapWhole(file, minSize, "", title, func() lockFile { return lockFileOf(own, -1, "") })
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return o, nil
}

// takeFile returns a descriptor of our own for a file that passes as an object.
func takeFile(fd int) (int, error) {
	st, err := fstat(fd)
	if err != nil {
		return -1, err
	}
	if err := checkKind(&st); err != nil {
		return -1, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return -1, os.NewSyscallError("fcntl(F_GETFL)", err)
	}
	if flags&unix.O_ACCMODE != unix.O_RDWR || flags&unix.O_PATH != 0 {
		return -1, fmt.Errorf("not open for reading and writing: %w", unix.EACCES)
	}
	if err := checkSeals(fd, &st); err != nil {
		return -1, err
	}
	// Of our own, where possible, in description too: the sender's may be
	// O_APPEND, or locked by it.
	own, err := reopen(fd)
	if err != nil {
		own, err = dup(fd)
	}
	return own, err
}

// checkSeals refuses an anonymous file that may still change its size.
func checkSeals(fd int, st *unix.Stat_t) error {
	const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil // a file system without seals, so not a memfd
	}
	if err != nil {
		return os.NewSyscallError("fcntl(F_GET_SEALS)", err)
	}
	if seals&fixed == fixed {
		return nil
	}
	// A file on a mounted tmpfs has seals too: always F_SEAL_SEAL alone, as has a
	// memfd made without MFD_ALLOW_SEALING. They differ by the file system that
	// they are on. Memfds are all on one that the kernel keeps to itself, or on
	// one of hugetlbfs.
	if dev, ok := memfdDevice(); ok && uint64(st.Dev) != dev {
		var on unix.Statfs_t
		if err := retry("fstatfs", func() error { return unix.Fstatfs(fd, &on) }); err != nil {
			return err
		}
		if uint32(on.Type) == unix.TMPFS_MAGIC {
			return nil
		}
	}
	return fmt.Errorf("%w (its seals are %#x)", ErrNotSealed, seals)
}

// memfdDevice is st_dev of every memfd, found out by making one.
func memfdDevice() (dev uint64, ok bool) {
	p := memfdProbe()
	return p.dev, p.ok
}

var memfdProbe = sync.OnceValue(func() (p struct {
	dev uint64
	ok  bool
},
) {
	fd, err := memfdCreate("shmchan-probe")
	if err != nil {
		return p
	}
	defer closeFd(fd)
	st, err := fstat(fd)
	p.dev, p.ok = uint64(st.Dev), err == nil
	return p
})

// mapWhole maps all of the file, as long as it is at this moment.
func mapWhole(file *os.File, minSize int64, name, title string, locks func() lockFile) (*Object, error) {
	st, err := fstat(int(file.Fd()))
	if err != nil {
		return nil, err
	}
	if err := checkKind(&st); err != nil {
		return nil, err
	}
	if err := checkSize(st.Size, minSize); err != nil {
		return nil, err
	}
	lock := locks()
	o, err := mapObject(file, lock, name, title, st.Size)
	if err != nil {
		_ = lock.close()
		return nil, err
	}
	return o, nil
}

// checkKind lets regular files through. The errno beside ErrNotObject is the one
// that opening such a thing for writing gives, where that gives one.
func checkKind(st *unix.Stat_t) error {
	var what string
	var errno error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		what, errno = "a directory", unix.EISDIR
	case unix.S_IFLNK:
		what, errno = "a symbolic link", unix.ELOOP
	case unix.S_IFIFO:
		what, errno = "a FIFO", unix.EINVAL
	case unix.S_IFSOCK:
		what, errno = "a socket", unix.ENXIO
	case unix.S_IFCHR, unix.S_IFBLK:
		what, errno = "a device", unix.EINVAL
	default: // eventfd, epoll and the like have no type at all
		what, errno = "not a regular file", unix.EINVAL
	}
	return fmt.Errorf("%w: it is %s: %w", ErrNotObject, what, errno)
}

func checkSize(size, minSize int64) error {
	switch {
	case size == 0:
		return fmt.Errorf("%w: it is empty", ErrNotObject)
	case size < minSize:
		return fmt.Errorf("%w: it is cut short: %d bytes, at least %d are needed", ErrNotObject, size, minSize)
	}
	return nil
}

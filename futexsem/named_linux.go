package futexsem

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the C library keeps named semaphores, and what their file names start with.
const (
	semDir    = "/dev/shm"
	semPrefix = "sem."

	nameMax = 255 // NAME_MAX of <limits.h>, prefix included
)

// Named is an open named semaphore: sem_open(3)'s. It embeds [Sem], whose methods it has.
type Named struct {
	*Sem
	mem []byte
}

// OpenNamed opens the semaphore of this name, in this or another process's
// making, by a Go or a C program: the file /dev/shm/sem.NAME (sem_open(3),
// sem_overview(7)).
//
// flag is made of os.O_CREATE (make it if it is not there) and os.O_EXCL (with
// O_CREATE: fail if it is there). os.O_RDWR may be given and changes nothing.
// perm and value are for a semaphore that is made: its mode, exactly, whatever the
// umask, and its first value. They are ignored if it was there before. To open a
// semaphore one needs permission to read and to write it.
//
// A semaphore appears under its name only when it is whole; a process killed in
// the middle leaves nothing. It stays, with its value, until [UnlinkNamed] or a
// reboot, however many processes open and close it.
//
// name is up to 251 bytes, not empty, "." or "..", and without NUL and slashes;
// one leading slash, as POSIX wants it, is dropped.
//
// It does not block. Errors, by errors.Is: fs.ErrNotExist (absent, and no
// O_CREATE), fs.ErrExist (there, and O_CREATE|O_EXCL), fs.ErrPermission,
// fs.ErrInvalid (a name that breaks the rules; another flag; mode bits other than
// permissions; a value over [SemValueMax]; what stands under the name is not a
// semaphore of this kind of machine), unix.ELOOP (it is a symbolic link), unix.EISDIR,
// errors.ErrUnsupported (no O_TMPFILE in /dev/shm), and what the system may
// lack: unix.ENOSPC, unix.EMFILE. What is there is never replaced or written to.
//
// Opening a name twice in one process gives two independent handles on one
// semaphore; each is closed by itself. (In C they would be the same pointer.)
func OpenNamed(name string, flag int, perm fs.FileMode, value uint32) (*Named, error) {
	n, err := openNamed(name, flag, perm, value)
	if err != nil {
		return nil, &fs.PathError{Op: "futexsem: open", Path: name, Err: err}
	}
	return n, nil
}

func openNamed(name string, flag int, perm fs.FileMode, value uint32) (*Named, error) {
	path, err := semPath(name)
	switch {
	case err != nil:
		return nil, err
	case flag&^(os.O_CREATE|os.O_EXCL|os.O_RDWR) != 0:
		return nil, fmt.Errorf("flag %#x: only O_CREATE, O_EXCL and O_RDWR are known: %w", flag, fs.ErrInvalid)
	case flag&os.O_CREATE != 0 && perm&^fs.ModePerm != 0:
		return nil, fmt.Errorf("mode %v is more than permissions: %w", perm, fs.ErrInvalid)
	case flag&os.O_CREATE != 0 && value > SemValueMax:
		return nil, fmt.Errorf("value %d exceeds %d: %w", value, SemValueMax, fs.ErrInvalid)
	}
	// The name may come and go between the two attempts, by others' doing.
	for range 1000 {
		if flag&os.O_CREATE == 0 || flag&os.O_EXCL == 0 {
			n, err := join(name, path)
			if flag&os.O_CREATE == 0 || !errors.Is(err, fs.ErrNotExist) {
				return n, err
			}
		}
		n, err := create(name, path, perm, value)
		if flag&os.O_EXCL != 0 || !errors.Is(err, fs.ErrExist) {
			return n, err
		}
	}
	return nil, unix.EAGAIN
}

// semPath checks the name and returns the file's.
func semPath(name string) (string, error) {
	bare := strings.TrimPrefix(name, "/")
	switch {
	case bare == "" || bare == "." || bare == "..":
		return "", fmt.Errorf("no name for a semaphore: %w", fs.ErrInvalid)
	case strings.ContainsAny(bare, "/\x00"):
		return "", fmt.Errorf("name holds a slash or a NUL: %w", fs.ErrInvalid)
	case len(semPrefix)+len(bare) > nameMax:
		return "", fmt.Errorf("name is longer than %d bytes: %w (%w)",
			nameMax-len(semPrefix), fs.ErrInvalid, unix.ENAMETOOLONG)
	}
	return semDir + "/" + semPrefix + bare, nil
}

// join opens what is there, and trusts none of it before it was checked.
func join(name, path string) (*Named, error) {
	// O_NONBLOCK: a FIFO or a device under this name must not hold us up.
	fd, err := openat(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != SizeofSem {
		return nil, fmt.Errorf("not a semaphore: want a file of %d bytes: %w", SizeofSem, fs.ErrInvalid)
	}
	n, err := mapNamed(name, fd)
	if err != nil {
		return nil, err
	}
	if err := n.cell.check(); err != nil {
		_ = n.Close()
		return nil, err
	}
	return n, nil
}

// create makes a semaphore without a name, then gives it the name. The file
// has none before, so a creator that dies leaves nothing to sweep up.
func create(name, path string, perm fs.FileMode, value uint32) (*Named, error) {
	fd, err := openat(semDir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, uint32(perm))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, uint32(perm)); err != nil { // past the umask
		return nil, os.NewSyscallError("fchmod", err)
	}
	// A write, not a truncate: it takes the page now, so a full file system is
	// an error here, not a SIGBUS later.
	if n, err := unix.Pwrite(fd, make([]byte, SizeofSem), 0); err != nil {
		return nil, os.NewSyscallError("pwrite", err)
	} else if n != SizeofSem {
		return nil, io.ErrShortWrite
	}
	n, err := mapNamed(name, fd)
	if err != nil {
		return nil, err
	}
	n.cell.reset(value)
	if err := linkTo(fd, path); err != nil { // from here on others see it
		_ = n.Close()
		return nil, err
	}
	return n, nil
}

// linkTo gives the nameless file of fd a name, which must be free. The way
// through /proc needs no privilege; where /proc is not mounted, the other way
// asks for CAP_DAC_READ_SEARCH, or a Linux from 6.10 on.
func linkTo(fd int, path string) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err == unix.ENOENT {
		err = unix.Linkat(fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH)
	}
	return os.NewSyscallError("linkat", err)
}

// openat is open(2), with EINTR retried.
func openat(path string, flag int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(unix.AT_FDCWD, path, flag, mode)
		if err != unix.EINTR {
			return fd, os.NewSyscallError("open", err)
		}
	}
}

// mapNamed maps the file of fd, which the mapping outlives.
func mapNamed(name string, fd int) (*Named, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	mem, err := unix.Mmap(fd, 0, SizeofSem, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	s := &Sem{cell: overlay(mem), name: name, gate: new(gate), race: raceToken(st.Ino)}
	return &Named{Sem: s, mem: mem}, nil
}

// Close lets go of the semaphore (sem_close(3)); for other handles and processes
// nothing changes. Goroutines blocked in a Wait of this handle return with
// os.ErrClosed at once, having taken nothing; every later call on it fails with
// os.ErrClosed (by errors.Is), a second Close too. Close waits for those
// goroutines to have left, then unmaps the memory. Any goroutine may call it.
//
// A handle that is never closed keeps one page mapped until the process ends.
func (n *Named) Close() error {
	if !n.gate.shut() {
		return n.closed("close")
	}
	// As for a cancelled sleeper: until all have left.
	for pause := (backoff{}); !n.gate.empty(); pause.wait() {
		futexWakeBits(n.cell.word(), matchAny)
	}
	if err := unix.Munmap(n.mem); err != nil {
		return n.fail("close", os.NewSyscallError("munmap", err))
	}
	return nil
}

// UnlinkNamed removes the name (sem_unlink(3)). Those who have the semaphore open
// go on using it; the name is free for a new one. It does not block.
//
// Errors, by errors.Is: fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid (a name that
// breaks the rules of [OpenNamed]).
func UnlinkNamed(name string) error {
	path, err := semPath(name)
	if err == nil {
		err = os.NewSyscallError("unlink", unix.Unlink(path))
	}
	if err != nil {
		return &fs.PathError{Op: "futexsem: unlink", Path: name, Err: err}
	}
	return nil
}

package shm

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// This file holds what every other one needs of open, stat and dup. No
// descriptor here is without O_CLOEXEC.

// retry calls f until it ends otherwise than by EINTR, and names the system call
// in its error. The Go runtime's own preemption signals interrupt long calls, on
// some file systems even open(2).
func retry(call string, f func() error) error {
	for {
		err := f()
		if err != unix.EINTR {
			return os.NewSyscallError(call, err)
		}
	}
}

func openat(dirfd int, path string, flags int, mode uint32) (fd int, err error) {
	err = retry("openat", func() (e error) {
		fd, e = unix.Openat(dirfd, path, flags|unix.O_CLOEXEC, mode)
		return e
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// openDir opens the directory for use in the *at calls only, so that all steps of
// one operation are about the same directory whatever is renamed meanwhile.
func openDir(dir string) (fd int, err error) {
	if dir == "" {
		dir = DefaultDir
	}
	fd, err = openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, fmt.Errorf("directory %q: %w", dir, err)
	}
	return fd, nil
}

func fstat(fd int) (st unix.Stat_t, err error) {
	err = retry("fstat", func() error { return unix.Fstat(fd, &st) })
	return st, err
}

// lstatat looks at what the name itself stands for: a symbolic link is not followed.
func lstatat(dirfd int, name string) (st unix.Stat_t, err error) {
	err = retry("fstatat", func() error {
		return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

func sameFile(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// procPath is the magic link to what fd refers to, see proc_pid_fd(5).
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// reopen gives the file of fd a second open file description. It needs /proc, and
// the permission to open the file anew. That what it found is the same file is
// checked, since nothing else says that what is mounted at /proc is the kernel's.
func reopen(fd int) (int, error) {
	return openSame(fd, unix.AT_FDCWD, procPath(fd), 0)
}

// reopenAt is reopen through the object's name, where /proc is not there.
func reopenAt(fd, dirfd int, name string) (int, error) {
	return openSame(fd, dirfd, name, unix.O_NOFOLLOW|unix.O_NONBLOCK)
}

func openSame(fd, dirfd int, path string, flags int) (int, error) {
	want, err := fstat(fd)
	if err != nil {
		return -1, err
	}
	own, err := openat(dirfd, path, unix.O_RDWR|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	have, err := fstat(own)
	if err == nil && !sameFile(&want, &have) {
		err = fmt.Errorf("%s: another file than descriptor %d: %w", path, fd, unix.ESTALE)
	}
	if err != nil {
		_ = unix.Close(own)
		return -1, err
	}
	return own, nil
}

func dup(fd int) (int, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
	}
	return own, nil
}

// closeFd is for descriptors whose close cannot lose anything.
func closeFd(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

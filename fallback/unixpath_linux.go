package fallback

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Binding a UNIX socket to a name, unix(7). A name in the file system stays when its socket
// is gone, and a new bind to it fails. Whether it is stale is asked of the kernel:
//
//   - A datagram socket connects to it. ECONNREFUSED says that no socket of any type has
//     this inode; a bound stream socket says EPROTOTYPE even before it listens, and nobody
//     sees a connection that nobody wanted. Only then, and only if it is a socket and not
//     a link to one, is it removed.
//   - Between the question and the removal another starter could have removed it and bound
//     a live socket there. So all this happens under a lock, flock(2) on a file beside the
//     name, which is gone again afterwards.
const (
	maxUnixName    = len(syscall.RawSockaddrUnix{}.Path) - 1 // the NUL at the end takes one
	listenBacklog  = 4096                                    // the kernel cuts it to net.core.somaxconn
	bindLockTries  = 2000                                    // each a millisecond
	bindLockSuffix = ".binding"
)

// bindUnix makes a non-blocking socket of this type (unix.SOCK_STREAM, SOCK_DGRAM,
// SOCK_SEQPACKET), bound to a pathname or, if it begins with @, to an abstract name. All
// but datagram sockets listen when it returns. A pathname has mode 0600; whoever wants
// another one changes it afterwards. A stale socket in its place is removed.
//
// Errors: EADDRINUSE when somebody has the name (a live socket, any other file, or another
// starter who stopped halfway), EINVAL for an empty name or one with a NUL, ENAMETOOLONG
// over 107 bytes, and what socket, bind, listen, open and flock give.
func bindUnix(typ int, path string) (fd int, err error) {
	return bindUnixWith(typ, path, func(int) error { return nil })
}

// bindUnixWith is bindUnix that prepares the socket before it has the name.
func bindUnixWith(typ int, path string, prepare func(fd int) error) (fd int, err error) {
	if err := checkUnixName(path); err != nil {
		return -1, err
	}
	fd, err = unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	switch err = prepare(fd); {
	case err != nil:
	case path[0] == '@':
		err = bindListen(fd, typ, path)
	default:
		err = bindPath(fd, typ, path)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// checkUnixName says what is wrong with a name before the kernel takes it for an unnamed
// socket, or cuts it.
func checkUnixName(path string) error {
	switch {
	case path == "" || path == "@":
		return os.NewSyscallError("bind", fmt.Errorf("an empty name: %w", syscall.EINVAL))
	case strings.IndexByte(path, 0) >= 0:
		return os.NewSyscallError("bind", fmt.Errorf("a NUL in the name: %w", syscall.EINVAL))
	case len(path) > maxUnixName:
		return os.NewSyscallError("bind", fmt.Errorf("%d bytes, at most %d can be had: %w",
			len(path), maxUnixName, syscall.ENAMETOOLONG))
	}
	return nil
}

func bindPath(fd, typ int, path string) error {
	// The file gets the mode that the socket's own inode has, less the umask. So it is
	// never open to more people than it should be.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	unlock, err := lockUnixPath(path)
	if err != nil {
		return err
	}
	defer unlock()
	err = bindListen(fd, typ, path)
	if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	if err := removeStale(path); err != nil {
		return err
	}
	return bindListen(fd, typ, path)
}

func bindListen(fd, typ int, path string) error {
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if typ == unix.SOCK_DGRAM {
		return nil
	}
	return os.NewSyscallError("listen", unix.Listen(fd, listenBacklog))
}

// unbindUnix removes the name of a socket that was closed. It leaves it alone if some
// process still has the socket, or another one has taken its place, or nothing is there.
func unbindUnix(path string) error {
	if path == "" || path[0] == '@' {
		return nil // an abstract name goes with its socket
	}
	unlock, err := lockUnixPath(path)
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeStale(path); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return nil
}

// removeStale removes a socket that nobody has; EADDRINUSE says that somebody has it or
// that it is no socket. The caller holds the lock.
func removeStale(path string) error {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return os.NewSyscallError("lstat", err)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return os.NewSyscallError("bind", fmt.Errorf("what is there is no socket: %w", syscall.EADDRINUSE))
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(probe)
	if err := unix.Connect(probe, &unix.SockaddrUnix{Name: path}); err != unix.ECONNREFUSED {
		return os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return os.NewSyscallError("unlink", err)
	}
	return nil
}

// lockUnixPath keeps other starters (and closers) away from a path until unlock. The lock
// file is removed by its holder; who waited for a removed one sees that and begins again.
func lockUnixPath(path string) (unlock func(), err error) {
	dir, base := filepath.Split(path)
	name := dir + "." + base + bindLockSuffix
	for range bindLockTries {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil && isFile(fd, name):
			return func() {
				_ = unix.Unlink(name)
				unix.Close(fd)
			}, nil
		case err == nil:
			unix.Close(fd)
			continue // its holder has removed it
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			unix.Close(fd)
			return nil, os.NewSyscallError("flock", err)
		}
		unix.Close(fd)
		time.Sleep(time.Millisecond)
	}
	return nil, os.NewSyscallError("bind", fmt.Errorf("another process is binding it: %w", syscall.EADDRINUSE))
}

// isFile tells whether name is still the regular file that fd is open on.
func isFile(fd int, name string) bool {
	var opened, named unix.Stat_t
	return unix.Fstat(fd, &opened) == nil && unix.Lstat(name, &named) == nil &&
		opened.Dev == named.Dev && opened.Ino == named.Ino && opened.Mode&unix.S_IFMT == unix.S_IFREG
}

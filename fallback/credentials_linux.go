package fallback

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerCredentials says who is at the other end of a connected UNIX socket (SO_PEERCRED,
// unix(7)): who called connect, or, at the connecting end, who called listen; of a
// socketpair who made it. It stays what it was then, whoever has the descriptor now and
// whatever they have become since. It does not block and works after the peer's end.
//
// The PID is as seen from this process's PID namespace, 0 if it is not visible there; it
// may by now be another process's (see PeerPidfd). UID and GID are the effective ones.
//
// Errors: errors.ErrUnsupported where the kernel does not know (another kind of socket, a
// datagram socket that is no socketpair), os.ErrClosed after Close.
func PeerCredentials(c syscall.Conn) (Credentials, error) {
	var cred *unix.Ucred
	err := controlSocket(socketOf(c), func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return os.NewSyscallError("getsockopt", err)
	})
	switch {
	case errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTSOCK):
		return Credentials{}, fmt.Errorf("peer credentials: %w: %w", errors.ErrUnsupported, err)
	case err != nil:
		return Credentials{}, fmt.Errorf("peer credentials: %w", err)
	case int32(cred.Uid) == -1:
		// What the kernel says of a socket that nobody has connected.
		return Credentials{}, fmt.Errorf("peer credentials: nobody has connected: %w", errors.ErrUnsupported)
	}
	return Credentials{PID: int(cred.Pid), UID: int(cred.Uid), GID: int(cred.Gid)}, nil
}

// PeerPidfd is a pidfd (pidfd_open(2)) of the process that PeerCredentials names: it polls
// readable when that process has ended, and signals sent through it never hit another one.
// It does not block. The caller closes it.
//
// Since Linux 6.5 the kernel gives the very process (SO_PEERPIDFD). Before, it is opened
// by its number, which is a race: if the peer has died and been waited for, and its number
// given out again since it connected, the pidfd is of a stranger. A caller to whom that
// matters (who kills, or trusts) looks afterwards whether the socket still is at no end of
// file: while the peer holds it open, the number is its own.
//
// Errors: syscall.ESRCH if the process is gone already, errors.ErrUnsupported where it has
// no number here (another PID namespace), and those of PeerCredentials.
func PeerPidfd(c syscall.Conn) (*os.File, error) {
	pidfd := -1
	err := controlSocket(socketOf(c), func(fd int) (err error) {
		pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return os.NewSyscallError("getsockopt", err)
	})
	switch {
	case err == nil:
		return os.NewFile(uintptr(pidfd), "pidfd"), nil
	case errors.Is(err, unix.ENODATA):
		return nil, fmt.Errorf("pidfd of the peer: nobody has connected: %w", errors.ErrUnsupported)
	case errors.Is(err, unix.EINVAL):
		// What Linux says of a process that is gone, before 6.16 and where it is gone for good.
		return nil, fmt.Errorf("pidfd of the peer: %w: %w", unix.ESRCH, err)
	case !errors.Is(err, unix.ENOPROTOOPT) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOTSOCK):
		return nil, fmt.Errorf("pidfd of the peer: %w", err)
	}
	return peerPidfdByNumber(c)
}

func peerPidfdByNumber(c syscall.Conn) (*os.File, error) {
	cred, err := PeerCredentials(c)
	if err != nil {
		return nil, err
	}
	if cred.PID == 0 {
		return nil, fmt.Errorf("pidfd of the peer: not in this PID namespace: %w", errors.ErrUnsupported)
	}
	pidfd, err := unix.PidfdOpen(cred.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd of the peer: %w", os.NewSyscallError("pidfd_open", err))
	}
	return os.NewFile(uintptr(pidfd), "pidfd"), nil
}

// controlSocket runs f with c's descriptor, open meanwhile, and retries it when a signal came.
func controlSocket(c syscall.Conn, f func(fd int) error) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = rc.Control(func(fd uintptr) {
		for {
			if inner = f(int(fd)); !errors.Is(inner, unix.EINTR) {
				return
			}
		}
	})
	if err != nil { // says but one thing
		return fmt.Errorf("%w: %w", os.ErrClosed, err)
	}
	return inner
}

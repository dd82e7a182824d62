package fallback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UnixStream makes a Conn of a connected UNIX stream socket, unix(7), which takes over the
// socket and closes c; if there is an error, c stays the caller's.
//
// The Conn passes descriptors (SendFiles, ReceiveFiles; up to MaxRights with a message),
// tells the peer's credentials as of when it connected, has half-close, and polls
// (RawConn; see there what it costs). One process at a time may use an end. A peer that
// dies in the midst of a message has not sent it: io.EOF.
//
// It is a syscall.Conn, so PeerCredentials, PeerPidfd, StreamBuffers and SetStreamBuffers take it.
func UnixStream(c *net.UnixConn, opts ...StreamOption) (Conn, error) {
	config, err := streamConfigOf(opts)
	if err != nil {
		return nil, opError(KindUnixStream, "open", "", err)
	}
	return newUnixStream(c, config)
}

func newUnixStream(c *net.UnixConn, config streamConfig) (Conn, error) {
	typ := 0
	err := controlSocket(c, func(fd int) (err error) {
		typ, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		return os.NewSyscallError("getsockopt", err)
	})
	if err == nil && typ != unix.SOCK_STREAM {
		err = fmt.Errorf("it is not of type SOCK_STREAM: %w", syscall.EPROTOTYPE)
	}
	if err != nil {
		return nil, opError(KindUnixStream, "open", "", closedError(err))
	}
	s, err := newStream(KindUnixStream, c, config)
	if err != nil {
		return nil, err
	}
	s.in.control = make([]byte, rightsSpace)
	return s, nil
}

// UnixStreamFromFile is UnixStream for a socket that was inherited (exec.Cmd.ExtraFiles) or
// received. f stays the caller's, who may close it.
func UnixStreamFromFile(f *os.File, opts ...StreamOption) (Conn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, opError(KindUnixStream, "open", "", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, opError(KindUnixStream, "open", "", fmt.Errorf("it is no UNIX socket: %w", syscall.EPROTOTYPE))
	}
	conn, err := UnixStream(u, opts...)
	if err != nil {
		_ = u.Close()
	}
	return conn, err
}

// UnixStreamPair makes two ends that are connected to each other, socketpair(2). For a child
// process see StreamFile.
func UnixStreamPair(opts ...StreamOption) (a, b Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, opError(KindUnixStream, "open", "", os.NewSyscallError("socketpair", err))
	}
	var ends [2]Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close() // a Conn has its own descriptor
		if err == nil {
			ends[i], err = UnixStreamFromFile(f, opts...)
		}
	}
	if err != nil {
		if ends[0] != nil {
			_ = ends[0].Close()
		}
		return nil, nil, err
	}
	return ends[0], ends[1], nil
}

// StreamFile duplicates the socket of c, a Conn of this file's constructors or of TCP's, to
// hand it to another process (exec.Cmd.ExtraFiles, SendFiles), which uses it by
// UnixStreamFromFile or TCPFromFile, or as any other socket: it is in blocking mode. This process
// must not have received by c yet (it may have read ahead), uses c no more and closes it,
// or the other side will not see an end of file.
func StreamFile(c Conn) (*os.File, error) {
	s, ok := c.(*streamConn)
	if !ok {
		return nil, Refuse(c.Kind(), "a file of a stream socket")
	}
	fd := -1
	err := controlSocket(s.sock.file, func(old int) (err error) {
		if err := setTimeouts(old, 0); err != nil {
			return err
		}
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("fcntl", err)
	})
	if err != nil {
		return nil, opError(s.kind, "file", "", closedError(err))
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// DialUnixStream connects to the socket at path, a pathname or, if it begins with @, an
// abstract name. It waits while the listener's queue is full, until ctx ends (nil: never).
//
// Errors: syscall.ECONNREFUSED when nobody listens there, fs.ErrNotExist, fs.ErrPermission
// (it takes write permission), syscall.EPROTOTYPE for a socket of another type, ctx's.
func DialUnixStream(ctx context.Context, path string, opts ...StreamOption) (Conn, error) {
	config, err := streamConfigOf(opts)
	if err == nil {
		err = checkUnixName(path)
	}
	if err != nil {
		return nil, opError(KindUnixStream, "dial", path, err)
	}
	if ctx == nil {
		ctx = context.Background()
	}
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			conn, err := newUnixStream(c.(*net.UnixConn), config)
			if err != nil {
				_ = c.Close()
			}
			return conn, err
		}
		// A full queue: connect(2) of a UNIX socket that must not block has no later.
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, opError(KindUnixStream, "dial", path, contextError(ctx, err))
		}
		select {
		case <-ctx.Done():
			return nil, opError(KindUnixStream, "dial", path, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// contextError is ctx's error rather than one that it has caused.
func contextError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// ListenUnixStream listens at path, a pathname or, if it begins with @, an abstract name
// (which has no permissions: whoever is in this network namespace may connect). A pathname
// has the mode of StreamPerm. A socket there that no process has any more is replaced. Close
// removes the name, unless another process has the socket, too.
//
// Errors: syscall.EADDRINUSE when a process has the name, or it is no socket; EINVAL for an
// empty name or one with a NUL; ENAMETOOLONG over 107 bytes.
func ListenUnixStream(path string, opts ...StreamOption) (*StreamListener, error) {
	config, err := streamConfigOf(opts)
	if err != nil {
		return nil, opError(KindUnixStream, "listen", path, err)
	}
	fd, err := bindUnix(unix.SOCK_STREAM, path)
	if err != nil {
		return nil, opError(KindUnixStream, "listen", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // the listener has its own descriptor
	fail := func(err error) (*StreamListener, error) {
		f.Close()
		_ = unbindUnix(path)
		return nil, opError(KindUnixStream, "listen", path, err)
	}
	if path[0] != '@' && config.perm != 0o600 {
		if err := os.Chmod(path, config.perm); err != nil {
			return fail(err)
		}
	}
	l, err := net.FileListener(f)
	if err != nil {
		return fail(err)
	}
	u := l.(*net.UnixListener)
	return newStreamListener(KindUnixStream, u, u.SetDeadline, config, path), nil
}

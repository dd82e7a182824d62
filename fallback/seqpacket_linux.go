package fallback

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A SeqpacketConn is a Conn over a connected UNIX seqpacket socket, unix(7): one message is
// one packet, sent and received by one system call, with nothing around it, so that a
// program in any language can be at the other end.
//
// Several processes may share an end; each message goes to one of them. The end of the
// other side is seen when the last of its processes is gone: io.EOF after what it has sent,
// EPIPE. An empty message of another program that has not bound its socket (see bind(2))
// and closes right after it is taken for the end.
//
// A message that cannot be sent (the other side has as much as the send buffer holds) waits
// until it has received three quarters of it.
type SeqpacketConn struct {
	unixPackets
}

var (
	_ Conn       = (*SeqpacketConn)(nil)
	_ fileSender = (*SeqpacketConn)(nil)
)

// UnixSeqpacket makes a Conn of a connected "unixpacket" socket of package net, which it
// owns from then on; if there is an error, c is still the caller's. It does not block.
// Errors: EPROTOTYPE for another kind of socket, ENOTCONN, and see PacketMaxMessage.
func UnixSeqpacket(c *net.UnixConn, opts ...PacketOption) (*SeqpacketConn, error) {
	sock, err := adoptSocket(c)
	if err != nil {
		return nil, opError(KindUnixSeqpacket, "open", "", err)
	}
	s, err := newSeqpacket(sock, addressName(c.RemoteAddr()), packetConfigOf(opts))
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	_ = c.Close()
	return s, nil
}

// UnixSeqpacketPair makes a connected pair (socketpair(2)), for a child process or to be
// sent as a descriptor; SeqpacketConn.File gives an end away.
func UnixSeqpacketPair(opts ...PacketOption) (a, b *SeqpacketConn, err error) {
	socks, err := unixPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, opError(KindUnixSeqpacket, "pair", "", err)
	}
	config := packetConfigOf(opts)
	a, err = newSeqpacket(socks[0], "", config)
	if err == nil {
		b, err = newSeqpacket(socks[1], "", config)
	}
	if err != nil {
		_ = socks[0].Close()
		_ = socks[1].Close()
		return nil, nil, err
	}
	return a, b, nil
}

// DialUnixSeqpacket connects to a listening socket: a path, or an abstract name that begins
// with @. It waits while the listener's queue is full, until ctx (which may be nil) ends.
// ECONNREFUSED: nobody listens there any more; ENOENT: nor ever did; EACCES: not for us.
func DialUnixSeqpacket(ctx context.Context, path string, opts ...PacketOption) (*SeqpacketConn, error) {
	fd, err := connectUnix(ctx, unix.SOCK_SEQPACKET, "@", path)
	if err != nil {
		return nil, opError(KindUnixSeqpacket, "dial", path, err)
	}
	return ownSeqpacket(fd, path, packetConfigOf(opts))
}

func ownSeqpacket(fd int, name string, config packetConfig) (*SeqpacketConn, error) {
	sock := newPacketSocket(fd)
	c, err := newSeqpacket(sock, name, config)
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	return c, nil
}

func newSeqpacket(sock *packetSocket, name string, config packetConfig) (*SeqpacketConn, error) {
	c := new(SeqpacketConn)
	c.kind, c.name = KindUnixSeqpacket, name
	c.caps = Capabilities{
		Send: true, Receive: true, Ordered: true, Reliable: true, ManySenders: true, ManyReceivers: true,
		Boundaries: true, Pollable: true, Descriptors: true, HalfClose: true, EndOfFile: true, Credentials: true,
	}
	err := c.start(sock, unix.SOCK_SEQPACKET, config)
	if err == nil {
		err = controlSocket(sock, func(fd int) error {
			autobind(fd)
			_, err := unix.Getpeername(fd)
			return os.NewSyscallError("getpeername", err)
		})
	}
	if err != nil {
		return nil, opError(c.kind, "open", name, err)
	}
	return c, nil
}

// CloseSend is as Conn says: shutdown(2), for all processes that share this end.
func (c *SeqpacketConn) CloseSend() error {
	if c.closed.Load() || c.sendOver.Swap(true) {
		return c.failed("close send", os.ErrClosed)
	}
	err := controlSocket(c.sock, func(fd int) error {
		return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR))
	})
	c.writing.interrupt() // the poller is not told of one's own shutdown
	if errors.Is(err, unix.ENOTCONN) {
		err = nil // the other side is gone already
	}
	return c.failed("close send", err)
}

// File is a duplicate of the descriptor, for a child process (exec.Cmd.ExtraFiles), which
// makes a Conn of it again with net.FileConn and UnixSeqpacket. The caller closes it; the Conn remains.
func (c *SeqpacketConn) File() (*os.File, error) { return c.duplicate() }

func (p *packets) duplicate() (*os.File, error) {
	if !p.sock.enter() {
		return nil, p.failed("duplicate", os.ErrClosed)
	}
	defer p.sock.leave()
	if err := p.sock.share(); err != nil {
		return nil, p.failed("duplicate", err)
	}
	fd, err := unix.FcntlInt(p.sock.fd, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, p.failed("duplicate", os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), p.kind.String()), nil
}

// A SeqpacketListener accepts connections. Any number of goroutines may use it at once.
type SeqpacketListener struct {
	turn   packetTurn
	path   string
	config packetConfig
	closed atomic.Bool
}

// ListenUnixSeqpacket listens at a path, or at an abstract name that begins with @. A
// socket that stands there and that nobody has any more is replaced; EADDRINUSE for a
// live one, or anything else. The options hold for the Conns that come of it.
func ListenUnixSeqpacket(path string, opts ...PacketOption) (*SeqpacketListener, error) {
	config := packetConfigOf(opts)
	fd, err := bindUnixWith(unix.SOCK_SEQPACKET, path, config.prepare)
	if err == nil {
		if err = permUnix(path, config.perm); err != nil {
			unix.Close(fd)
			_ = unbindUnix(path)
		}
	}
	if err != nil {
		return nil, opError(KindUnixSeqpacket, "listen", path, err)
	}
	l := &SeqpacketListener{path: path, config: config}
	l.turn = newPacketTurn(newPacketSocket(fd), unix.POLLIN)
	return l, nil
}

// permUnix sets a socket's mode, if it has one.
func permUnix(path string, perm fs.FileMode) error {
	if path[0] == '@' || perm == 0o600 { // which is what bindUnix gives it
		return nil
	}
	return os.Chmod(path, perm)
}

// Accept waits for the next connection until ctx (which may be nil) ends. os.ErrClosed
// after Close; syscall.EMFILE if there are no descriptors left, which leaves the
// connection waiting.
func (l *SeqpacketListener) Accept(ctx context.Context) (*SeqpacketConn, error) {
	if ctx != nil && ctx.Err() != nil {
		return nil, opError(KindUnixSeqpacket, "accept", l.path, ctx.Err())
	}
	var fd int
	var errno error
	err := l.turn.awaitLong(ctx, func(listening uintptr) bool {
		for {
			fd, _, errno = unix.Accept4(int(listening), unix.SOCK_CLOEXEC)
			if errno != unix.EINTR && errno != unix.ECONNABORTED {
				return errno != unix.EAGAIN
			}
		}
	})
	if err == nil && errno != nil {
		err = os.NewSyscallError("accept4", errno)
	}
	if err != nil {
		return nil, opError(KindUnixSeqpacket, "accept", l.path, err)
	}
	return ownSeqpacket(fd, l.path, l.config)
}

// Path is where it listens.
func (l *SeqpacketListener) Path() string { return l.path }

// Close ends listening and removes the path, unless another process has the socket still or has
// taken the path. Blocked Accepts return with os.ErrClosed, accepted Conns go on. A second Close is os.ErrClosed.
func (l *SeqpacketListener) Close() error {
	if l.closed.Swap(true) {
		return opError(KindUnixSeqpacket, "close", l.path, fmt.Errorf("listener: %w", os.ErrClosed))
	}
	err := l.turn.sock.Close()
	return opError(KindUnixSeqpacket, "close", l.path, errors.Join(err, unbindUnix(l.path)))
}

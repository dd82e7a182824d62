package fallback

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A streamConn is a Conn over a connected stream socket, which belongs to it from then on. Its
// messages are frames (frame_stream.go).
//
// Each direction has a turn. Its holder alone reads or writes the socket, sets the
// deadline of that direction and touches the state of that direction.
type streamConn struct {
	kind Kind
	max  int
	sock *streamSocket

	out outgoing
	in  incoming

	closing atomic.Bool  // Close was called
	wanted  atomic.Int32 // endNone, endSend or endClose
}

var (
	_ Conn         = (*streamConn)(nil)
	_ fileSender   = (*streamConn)(nil)
	_ syscall.Conn = (*streamConn)(nil)
)

// newStream takes over c, unless there is an error.
func newStream(kind Kind, c netSocket, config streamConfig) (*streamConn, error) {
	if config.send != 0 || config.receive != 0 {
		if err := SetStreamBuffers(c, config.send, config.receive); err != nil {
			return nil, opError(kind, "open", "", err)
		}
	}
	sock, err := newStreamSocket(c)
	if err != nil {
		return nil, opError(kind, "open", "", err)
	}
	s := &streamConn{kind: kind, max: config.max, sock: sock}
	s.out.init(sock.setWriteDeadline)
	s.in.init(sock.setReadDeadline)
	s.out.push, s.in.pull = s.pushWhilePolled, s.pullWhilePolled
	return s, nil
}

func (s *streamConn) MaxMessage() int { return s.max }
func (s *streamConn) Kind() Kind      { return s.kind }

func (s *streamConn) Capabilities() Capabilities {
	local := s.kind == KindUnixStream
	return Capabilities{
		Send: true, Receive: true, Ordered: true, Reliable: true, Network: !local, Pollable: true,
		Descriptors: local, HalfClose: true, EndOfFile: true, Credentials: local,
	}
}

func (s *streamConn) Peer() (Credentials, error) {
	if s.kind != KindUnixStream {
		return Credentials{}, Refuse(s.kind, "credentials of the peer")
	}
	c, err := PeerCredentials(s.sock.file)
	return c, opError(s.kind, "peer", "", closedError(err))
}

// SyscallConn gives the socket for polling. From then on Receive does not read ahead: the
// descriptor polls readable while there is a message, at the price of more system calls
// for each. What had been read ahead before is not seen by poll: call it first, or
// TryReceive until ErrWouldBlock. Nothing else is to be done with the socket, which is in
// blocking mode.
func (s *streamConn) SyscallConn() (syscall.RawConn, error) {
	if s.wanted.Load() == endClose {
		return nil, opError(s.kind, "poll", "", os.ErrClosed)
	}
	s.in.exact.Store(true)
	return streamRaw{s.sock}, nil
}

// A streamRaw has the socket in the poller only while somebody waits there.
type streamRaw struct{ sock *streamSocket }

func (r streamRaw) Control(f func(fd uintptr)) error {
	raw, err := r.sock.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(f)
}

func (r streamRaw) Read(f func(fd uintptr) bool) error {
	raw, err := r.sock.enterPoller()
	if err != nil {
		return err
	}
	defer r.sock.leave()
	return raw.Read(f)
}

func (r streamRaw) Write(f func(fd uintptr) bool) error {
	raw, err := r.sock.enterPoller()
	if err != nil {
		return err
	}
	defer r.sock.leave()
	return raw.Write(f)
}

// What there is to do at the end of the direction to send. The higher one contains the lower.
const (
	endNone  = iota
	endSend  // tell the other side that nothing more comes
	endClose // and let go of the socket
)

// Close lets go of the socket. A message whose TrySend returned nil, but of which the
// kernel had no room for the rest, goes out behind the caller's back, as in a lingering
// close, until the other side has it or is gone.
func (s *streamConn) Close() error {
	if s.closing.Swap(true) {
		return opError(s.kind, "close", "", os.ErrClosed)
	}
	// Both directions are over before anybody can see that the socket is to go: whoever has a
	// turn and gives it back may do that at once, and must find nobody at work in the other.
	s.in.end()
	s.out.end()
	s.wanted.Store(endClose)
	_ = s.sock.setReadDeadline(longAgo)
	_ = s.sock.setWriteDeadline(longAgo)
	for _, end := range []struct {
		t       *turn
		release func()
	}{{&s.in.turn, s.releaseReceive}, {&s.out.turn, s.releaseSend}} {
		select {
		case end.t.held <- struct{}{}:
			end.release()
		default: // its holder will look
		}
	}
	return nil
}

func (s *streamConn) CloseSend() error {
	if !s.wanted.CompareAndSwap(endNone, endSend) {
		return opError(s.kind, "close send", "", os.ErrClosed)
	}
	s.out.end()
	_ = s.sock.setWriteDeadline(longAgo)
	select {
	case s.out.held <- struct{}{}:
		s.releaseSend()
	default:
	}
	return nil
}

// releaseSend gives the turn to send back, after what the end of the direction leaves to do.
func (s *streamConn) releaseSend() {
	for {
		want := s.wanted.Load()
		if want > s.out.ended && !s.out.owes() {
			s.endTo(want)
		}
		s.out.release()
		// Whoever has ended the direction since that look may have found the turn
		// taken, and gone away.
		if s.wanted.Load() == want {
			return
		}
		select {
		case s.out.held <- struct{}{}:
		default:
			return // its new holder will look
		}
	}
}

func (s *streamConn) endTo(want int32) {
	o := &s.out
	switch want {
	case endSend:
		_ = s.sock.shutdownSend() // fails if the other side is gone: just as well
	case endClose:
		// No shutdown: the socket lives on in a process that StreamFile has handed it to.
		if s.kind == KindTCP && o.used {
			s.drain()
		}
		s.sock.end()
	}
	o.rest = nil // the end of the stream cuts it short
	o.ended = want
}

// drain throws away what has come, if the other side does not have all that was sent. A close
// of a TCP socket with bytes in it that nobody will read resets the connection, and this
// kernel then forgets what it has yet to send. (If there is nothing, a reset is just right: it
// tells the other side at once that it sends to nobody.)
func (s *streamConn) drain() {
	var waste [16 << 10]byte
	if n, err := unix.IoctlGetInt(s.sock.fd, unix.TIOCOUTQ); err == nil && n == 0 { // tcp(7) SIOCOUTQ
		return
	}
	for range 256 {
		if n, _, err := unix.Recvfrom(s.sock.fd, waste[:], unix.MSG_DONTWAIT); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

// closedError is err, as os.ErrClosed where package net says it in its own way.
func closedError(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return os.ErrClosed
	}
	return err
}

// isGone tells whether a socket says that the other side is gone, or is as good as
// that: TCP's keepalive and retransmission have given up.
func isGone(errno unix.Errno) bool {
	switch errno {
	case unix.EPIPE, unix.ECONNRESET, unix.ECONNABORTED, unix.ENOTCONN, unix.ETIMEDOUT,
		unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return true
	}
	return false
}

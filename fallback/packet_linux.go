package fallback

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// packets is what the Conns over UNIX seqpacket, UNIX datagram and UDP sockets have in
// common: a message is a packet of the kernel's, one system call sends it and one receives
// it. How they wait: hurry_linux.go, packetSocket.
type packets struct {
	kind Kind
	name string // for errors: the address

	sock *packetSocket

	most    int // MaxMessage
	trailer int // bytes of this package's behind each message
	caps    Capabilities
	target  *packetAddress // whom to send to, where the socket is not connected
	udp     *udpState      // nil: not UDP

	sendOver atomic.Bool // CloseSend was called
	closed   atomic.Bool // Close was called

	reading, writing packetTurn
	scratch          sync.Pool // of *[]byte, most+trailer long
}

// init takes sock, which is the Conn's alone from then on.
func (p *packets) init(sock *packetSocket) {
	p.sock = sock
	p.reading, p.writing = newPacketTurn(sock, unix.POLLIN), newPacketTurn(sock, unix.POLLOUT)
	p.scratch.New = func() any {
		b := make([]byte, p.most+p.trailer)
		return &b
	}
}

// adoptSocket duplicates a socket of package net, which is closed once it is known to serve.
func adoptSocket(c syscall.Conn) (*packetSocket, error) {
	fd := -1
	err := controlSocket(c, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("fcntl", err)
	})
	if err != nil {
		return nil, closedError(err)
	}
	return newPacketSocket(fd), nil
}

// Kind, MaxMessage and Capabilities are what they are from the start.
func (p *packets) Kind() Kind                 { return p.kind }
func (p *packets) MaxMessage() int            { return p.most }
func (p *packets) Capabilities() Capabilities { return p.caps }

// SyscallConn gives the descriptor, which polls readable when there is a message or the end
// is near. The Conn remains its owner. While it runs, Control keeps Close waiting.
func (p *packets) SyscallConn() (syscall.RawConn, error) { return p.sock, nil }

// Close is as Conn says. Who is blocked returns within a clock tick (10 ms at most), and so
// does Close.
func (p *packets) Close() error {
	if p.closed.Swap(true) {
		return p.failed("close", os.ErrClosed)
	}
	return p.failed("close", p.sock.Close())
}

// CloseSend is refused; seqpacket has its own.
func (p *packets) CloseSend() error { return Refuse(p.kind, "half-close") }

// Peer is refused where the kernel does not know.
func (p *packets) Peer() (Credentials, error) {
	if !p.caps.Credentials {
		return Credentials{}, Refuse(p.kind, "the peer's credentials")
	}
	return PeerCredentials(p.sock)
}

// failed names the mechanism and the address in an error, and says in the Conn's terms what
// the kernel's error means.
func (p *packets) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return opError(p.kind, op, p.name, err)
}

var errPacketsGone = fmt.Errorf("nobody receives: %w", syscall.EPIPE)

func (p *packets) sendError(errno syscall.Errno) error {
	switch errno {
	case unix.EPIPE:
		if p.sendOver.Load() {
			return p.failed("send", os.ErrClosed)
		}
		return p.failed("send", os.NewSyscallError("send", errno))
	case unix.ECONNRESET, unix.ECONNREFUSED, unix.ENOTCONN, unix.ENOENT, unix.EDESTADDRREQ:
		return p.failed("send", fmt.Errorf("%w: %w", errPacketsGone, os.NewSyscallError("send", errno)))
	case unix.EMSGSIZE:
		return p.failed("send", fmt.Errorf("%w: %w", ErrTooLarge, os.NewSyscallError("send", errno)))
	}
	return p.failed("send", os.NewSyscallError("send", errno))
}

// Send is as Conn says.
func (p *packets) Send(ctx context.Context, msg []byte) error {
	return p.send(ctx, msg, nil, nil, false)
}

// TrySend is as Conn says.
func (p *packets) TrySend(msg []byte) error { return p.send(forever, msg, nil, nil, true) }

// Receive is as Conn says.
func (p *packets) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	return p.receive(ctx, dst, nil, false)
}

// TryReceive is as Conn says.
func (p *packets) TryReceive(dst []byte) ([]byte, error) {
	return p.receive(forever, dst, nil, true)
}

// send sends msg, with control messages if any, to that address or, if it is nil, to where
// the socket or this Conn is connected to.
func (p *packets) send(ctx context.Context, msg, control []byte, to *packetAddress, try bool) error {
	switch {
	case !p.caps.Send && to == nil:
		return Refuse(p.kind, "sending from this end")
	case ctx != nil && ctx.Err() != nil:
		return p.failed("send", ctx.Err())
	case p.sendOver.Load(), p.closed.Load():
		return p.failed("send", os.ErrClosed)
	case len(msg) > p.most:
		return p.failed("send", fmt.Errorf("%d bytes, of at most %d: %w", len(msg), p.most, ErrTooLarge))
	}
	if to == nil {
		to = p.target
	}
	if to == nil && control == nil && p.udp == nil {
		// The short way.
		if !p.sock.enter() {
			return p.failed("send", os.ErrClosed)
		}
		errno := packetSendto(p.sock.fd, msg)
		p.sock.leave()
		switch {
		case errno == 0:
			return nil
		case errno == unix.EAGAIN && try:
			return ErrWouldBlock
		}
	}
	c := newPacketCall(p)
	defer c.free()
	c.msg, c.control = msg, control
	if to != nil {
		c.header.name = *to
	}
	// Where the poller tells when there is room: not for the queue of a UNIX datagram
	// socket that this one is not connected to.
	polled := to == nil || p.kind != KindUnixDatagram
	for pause := (packetPause{}); ; {
		if !p.sock.enter() {
			return p.failed("send", os.ErrClosed)
		}
		c.trySend(p.sock.fd)
		p.sock.leave()
		if c.errno == unix.EAGAIN && !try && polled {
			if err := p.writing.await(ctx, c.sendReady, nil, &p.sendOver); err != nil {
				return p.failed("send", err)
			}
		}
		switch {
		case c.errno == 0:
			return nil
		case c.errno != unix.ENOBUFS && c.errno != unix.EAGAIN, c.errno == unix.ENOBUFS && pause.long():
			return p.sendError(c.errno)
		case try:
			return ErrWouldBlock
		}
		if err := pause.sleep(ctx); err != nil {
			return p.failed("send", err)
		}
	}
}

// receive appends one message to dst. With extra it takes what comes beside the message.
func (p *packets) receive(ctx context.Context, dst []byte, extra *packetExtra, try bool) ([]byte, error) {
	if !p.caps.Receive {
		return dst, Refuse(p.kind, "receiving at this end")
	}
	if ctx != nil && ctx.Err() != nil {
		return dst, p.failed("receive", ctx.Err())
	}
	room := dst[len(dst):cap(dst)]
	asked := false
	if extra == nil && p.udp == nil && len(room) >= p.most {
		// The short way.
		if !p.sock.enter() {
			return dst, p.failed("receive", os.ErrClosed)
		}
		n, named, errno := packetReceive(p.sock.fd, room[:p.most])
		p.sock.leave()
		switch {
		case errno == 0 && n <= p.most && (n > 0 || named || p.kind != KindUnixSeqpacket):
			return dst[:len(dst)+n], nil
		case errno == unix.EAGAIN && try:
			return dst, ErrWouldBlock
		case errno == 0:
			return p.receivedOddly(dst, n)
		}
		asked = errno == unix.EAGAIN
	}
	c := newPacketCall(p)
	defer c.free()
	c.dst, c.extra = dst, extra
	for again := true; again; again = c.errno == unix.EINTR {
		if ctx != nil && ctx.Err() != nil {
			return dst, p.failed("receive", ctx.Err())
		}
		if !asked {
			if !p.sock.enter() {
				return dst, p.failed("receive", os.ErrClosed)
			}
			done := c.receiveOnce(p.sock.fd)
			p.sock.leave()
			if done {
				continue
			}
			if try {
				return dst, ErrWouldBlock
			}
		}
		asked = false
		if err := p.reading.await(ctx, c.receiveReady, c.receiveWaiting, nil); err != nil {
			return dst, p.failed("receive", err)
		}
	}
	if c.errno != 0 {
		return dst, p.failed("receive", os.NewSyscallError("recv", c.errno))
	}
	if c.eof {
		return dst, io.EOF
	}
	msg, err := c.take()
	return msg, p.failed("receive", err)
}

// receivedOddly is about a message on the short way that is too long or, of seqpacket, of
// no bytes and a nameless sender.
func (p *packets) receivedOddly(dst []byte, n int) ([]byte, error) {
	switch {
	case n > p.most:
		return dst, p.failed("receive", p.tooLong(n))
	case !p.sock.enter():
		return dst, p.failed("receive", os.ErrClosed)
	}
	defer p.sock.leave()
	if atEnd(p.sock.fd) {
		return dst, io.EOF
	}
	return dst, nil
}

func (p *packets) tooLong(n int) error {
	return fmt.Errorf("a message of %d bytes, of at most %d: %w", n, p.most, ErrFrame)
}

// addressName is an address of package net for errors; there may be none.
func addressName(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

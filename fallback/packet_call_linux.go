package fallback

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A packetCall is one Send or Receive at work: its arguments, its result, and what the
// kernel is given. They are pooled, and their functions bound once, so that a
// message costs no allocation.
type packetCall struct {
	p      *packets
	header packetHeader
	errno  syscall.Errno

	msg, control []byte // to send

	dst           []byte       // to receive: append here
	extra         *packetExtra // what comes beside it
	scratch       *[]byte      // of p's pool, where dst has too little room
	first, second []byte       // where the kernel wrote
	n             int          // so many bytes, even if they did not fit
	eof           bool
	wait          bool // in the kernel

	tail  [udpTrailer]byte               // UDP's, coming or going
	short [packetShort + udpTrailer]byte // a short message of UDP's with its trailer

	sendReady, receiveReady, receiveWaiting func(fd uintptr) bool
}

// packetExtra is what a caller may want beside a message.
type packetExtra struct {
	control    []byte // room for control messages; nil: they are not wanted
	controlLen int
	flags      int
	from       packetAddress
}

var packetCalls sync.Pool

func newPacketCall(p *packets) *packetCall {
	c, _ := packetCalls.Get().(*packetCall)
	if c == nil {
		c = new(packetCall)
		c.sendReady = func(fd uintptr) bool { c.trySend(fd); return c.errno != unix.EAGAIN }
		c.receiveReady = func(fd uintptr) bool { return c.receiveOnce(fd) }
		c.receiveWaiting = func(fd uintptr) bool {
			c.wait = true
			defer func() { c.wait = false }()
			return c.receiveOnce(fd)
		}
	}
	c.p = p
	return c
}

func (c *packetCall) free() {
	c.giveBack()
	c.p, c.msg, c.control, c.dst, c.extra, c.first, c.second = nil, nil, nil, nil, nil, nil, nil
	c.header.name.size, c.eof = 0, false
	packetCalls.Put(c)
}

func (c *packetCall) giveBack() {
	if c.scratch != nil {
		c.p.scratch.Put(c.scratch)
		c.scratch = nil
	}
}

func (c *packetCall) trySend(fd uintptr) {
	switch {
	case c.p.udp != nil:
		c.errno = c.p.udp.send(fd, c)
		return
	case c.control == nil && c.header.name.size == 0:
		c.errno = packetSendto(fd, c.msg)
	default:
		c.errno = packetSendmsg(fd, c.msg, nil, c.control, &c.header)
	}
	if c.errno == unix.EINTR {
		c.trySend(fd)
	}
}

// packetShort is up to where a message is copied to have its trailer behind it.
const packetShort = 1500

// packetCopied is up to where dst's room is not used but the message copied, because one
// buffer costs the kernel less than two.
const packetCopied = 4096

// tryReceive receives one message, or sets errno.
func (c *packetCall) tryReceive(fd uintptr) {
	// UDP drops foreign packets and tries again. A flood of them must not keep the
	// caller from its context, nor Close from its descriptor.
	for range 100 {
		if c.p.udp != nil {
			if c.receiveUDP(fd) {
				return
			}
			continue
		}
		switch c.recv(fd); c.errno {
		case 0:
			if c.n == 0 && c.p.kind == KindUnixSeqpacket && c.controlLen() == 0 && c.header.name.size == 0 {
				c.eof = atEnd(fd)
			}
			return
		case unix.EINTR:
			c.wait = false // it has waited enough
		case unix.ECONNRESET:
			// The other side has closed without receiving all. This error comes once, before
			// what it has sent and the end.
		default:
			return
		}
	}
	c.errno = unix.EINTR
}

// receiveUDP receives one datagram and enters it. False: it is to be called again.
func (c *packetCall) receiveUDP(fd uintptr) (done bool) {
	u := c.p.udp
	if c.errno = u.beginReceive(fd, c.wait); c.errno != 0 {
		return c.errno != unix.EINTR
	}
	c.recv(fd)
	if c.wait {
		u.receiving.Lock()
	}
	defer u.endReceive(c.wait)
	switch {
	case c.errno == 0:
		return u.receive(c)
	case c.errno == unix.EINTR:
		c.wait = false // it has waited enough
		return false
	}
	return !u.refused(c.errno)
}

func (c *packetCall) controlLen() int {
	if c.extra == nil {
		return 0
	}
	return c.extra.controlLen
}

// receiveOnce tries once, and says whether that is enough. Whoever waits holds no memory.
func (c *packetCall) receiveOnce(fd uintptr) (done bool) {
	c.tryReceive(fd)
	if c.errno == unix.EAGAIN {
		c.giveBack()
		return false
	}
	return true
}

// recv makes the system call. There is always room for the longest message that this Conn
// takes, and its trailer.
func (c *packetCall) recv(fd uintptr) {
	need := c.p.most + c.p.trailer
	room := c.dst[len(c.dst):cap(c.dst)]
	c.second = nil
	switch {
	case len(room) >= need:
		c.first = room[:need]
	case len(room) < packetCopied:
		c.first = c.getScratch()
	default:
		c.first, c.second = room, c.getScratch()[:need-len(room)]
	}
	if c.second == nil && (c.extra == nil || c.extra.control == nil) {
		c.n, c.errno = packetRecvfrom(fd, c.first, &c.header, c.wait)
	} else {
		var control []byte
		if c.extra != nil {
			control = c.extra.control
		}
		var controlLen, flags int
		c.n, controlLen, flags, c.errno = packetRecvmsg(fd, c.first, c.second, control, &c.header, c.wait)
		if c.extra != nil {
			c.extra.controlLen, c.extra.flags = controlLen, flags
		}
	}
	if c.extra != nil {
		c.extra.from = c.header.name
	}
}

func (c *packetCall) getScratch() []byte {
	if c.scratch == nil {
		c.scratch = c.p.scratch.Get().(*[]byte)
	}
	return *c.scratch
}

// take is the message that has come, behind dst.
func (c *packetCall) take() ([]byte, error) {
	n := c.n - c.p.trailer
	if n > c.p.most {
		return c.dst, c.p.tooLong(n)
	}
	if c.scratch != nil && c.second == nil {
		return append(c.dst, c.first[:n]...), nil
	}
	inPlace := min(n, len(c.first))
	return append(c.dst[:len(c.dst)+inPlace], c.second[:n-inPlace]...), nil
}

// atEnd tells a seqpacket socket's end of file, which is recv's 0, from an empty message of
// a sender without a name, which is 0 as well (of our own senders each has a name, which
// comes with it). It is the end if the other side's end is known and nothing is
// left. What can not be told from it: empty messages of nameless senders right before.
func atEnd(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		switch _, err := unix.Poll(poll, 0); err {
		case unix.EINTR:
			continue
		}
		break
	}
	if poll[0].Revents&(unix.POLLRDHUP|unix.POLLHUP) == 0 {
		return false
	}
	n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err != nil || n == 0
}

// copyEnd copies the end of what has come.
func (c *packetCall) copyEnd(end []byte) {
	begin := c.n - len(end)
	n := 0
	if begin < len(c.first) {
		n = copy(end, c.first[begin:])
	}
	copy(end[n:], c.second[max(0, begin-len(c.first)):])
}

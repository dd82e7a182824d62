package fallback

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// udpState is what a UDP Conn knows besides its socket.
type udpState struct {
	connected bool
	six       bool // an IPv6 socket

	sending  sync.Mutex
	sequence uint64 // of the next datagram

	receiving sync.Mutex // around a receive and its entry, see beginReceive
	waiting   bool       // somebody is receiving without it
	ledger    udpLedger

	refusals atomic.Uint64 // that a Send met
}

// randomUDPSender tells this Conn's datagrams from those of its predecessors at the same port, and
// from what somebody makes up who cannot read the traffic.
func randomUDPSender() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// send sends one datagram. Only what the kernel takes has used its number.
func (u *udpState) send(fd uintptr, c *packetCall) syscall.Errno {
	u.sending.Lock()
	defer u.sending.Unlock()
	putUDPTrailer(&c.tail, u.ledger.own, u.sequence)
	var errno syscall.Errno
	for again := true; again; again = errno == unix.EINTR {
		if c.header.name.size == 0 && len(c.msg) <= packetShort {
			// One short buffer costs less than two.
			n := copy(c.short[:], c.msg)
			n += copy(c.short[n:], c.tail[:])
			errno = packetSendto(fd, c.short[:n])
		} else {
			errno = packetSendmsg(fd, c.msg, c.tail[:], nil, &c.header)
		}
	}
	switch errno {
	case 0:
		u.sequence++
	case unix.ECONNREFUSED:
		u.refusals.Add(1)
	}
	return errno
}

// Datagrams are entered in the order in which they come, so nobody receives between another
// one's receive and entry: it has receiving. But nobody holds that while it waits in the kernel,
// of whom there is one at most: it is waiting. Until it is done the others receive nothing.
// They only look whether there is anything; if so it is the waiting one's, who has been woken.

// beginReceive is called before a system call that receives, wait says of which kind. An
// errno: it is not to be made.
func (u *udpState) beginReceive(fd uintptr, wait bool) syscall.Errno {
	for {
		u.receiving.Lock()
		if !u.waiting {
			break
		}
		errno := packetPeek(fd)
		refused := u.refused(errno)
		u.receiving.Unlock()
		if errno != 0 && !refused {
			return errno
		}
		runtime.Gosched()
	}
	if wait {
		u.waiting = true
		u.receiving.Unlock()
	}
	return 0
}

// endReceive is called after the entry.
func (u *udpState) endReceive(wait bool) {
	if wait {
		u.waiting = false
	}
	u.receiving.Unlock()
}

// receive enters the datagram that c has received, and says whether it is a message.
func (u *udpState) receive(c *packetCall) bool {
	if c.n < udpTrailer || c.n > c.p.most+udpTrailer {
		u.ledger.stats.Foreign++
		return false
	}
	c.copyEnd(c.tail[:])
	var from netip.AddrPort
	if !u.connected {
		from = c.header.name.addrPort()
	}
	return u.ledger.enter(&c.tail, from)
}

// refused enters an error that says what became of an earlier Send, and nothing of
// receiving.
func (u *udpState) refused(errno syscall.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		u.ledger.stats.Refused++
		return true
	}
	return false
}

// udpOverflow is how many datagrams found no room (SO_MEMINFO, Linux 4.12; 0 before).
func udpOverflow(fd uintptr) uint64 {
	const drops = 8 // SK_MEMINFO_DROPS
	return uint64(packetMeminfo(fd)[drops])
}

// JoinGroup receives what is multicast to a group too, at this Conn's port; device is the
// interface's name, or "" for the one that the routes choose. EADDRINUSE: has joined
// already; EINVAL: no group; EADDRNOTAVAIL or ENODEV: no such interface.
func (u *UDPConn) JoinGroup(group netip.Addr, device string) error {
	return u.member("join", group, device, true)
}

// LeaveGroup undoes JoinGroup. EADDRNOTAVAIL: has not joined.
func (u *UDPConn) LeaveGroup(group netip.Addr, device string) error {
	return u.member("leave", group, device, false)
}

func (u *UDPConn) member(op string, group netip.Addr, device string, join bool) error {
	if !group.IsMulticast() {
		return u.failed(op, fmt.Errorf("%v is no multicast group: %w", group, unix.EINVAL))
	}
	return u.failed(op, joinUDP(u.sock, group.Unmap(), device, join))
}

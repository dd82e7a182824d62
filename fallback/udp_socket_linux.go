package fallback

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
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

	receiving sync.Mutex // around a receive and its entry
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

// setUDPOptions sets what must be set before bind and connect.
func setUDPOptions(fd int, many bool, config *udpConfig) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	six := domain == unix.AF_INET6
	set := func(level, option, value int) {
		if err == nil {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, value))
		}
	}
	if config.broadcast {
		set(unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	}
	if many {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // each of them gets a copy
	}
	if config.ttl >= 0 {
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, config.ttl)
			set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, config.ttl)
		} else {
			set(unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, config.ttl)
			if config.ttl > 0 { // which unicast does not have
				set(unix.IPPROTO_IP, unix.IP_TTL, config.ttl)
			}
		}
	}
	if config.loopback != nil {
		on := 0
		if *config.loopback {
			on = 1
		}
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, on)
		} else {
			set(unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, on)
		}
	}
	if err == nil && config.device != "" {
		var device *net.Interface
		if device, err = net.InterfaceByName(config.device); err != nil {
			return fmt.Errorf("interface %q: %w", config.device, err)
		}
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, device.Index)
		} else {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF,
				&unix.IPMreqn{Ifindex: int32(device.Index)}))
		}
	}
	return err
}

// joinUDP joins or leaves a multicast group.
func joinUDP(c syscall.Conn, group net.IP, deviceName string, join bool) error {
	index := 0
	if deviceName != "" {
		device, err := net.InterfaceByName(deviceName)
		if err != nil {
			return fmt.Errorf("interface %q: %w", deviceName, err)
		}
		index = device.Index
	}
	return controlSocket(c, func(fd int) error {
		if four := group.To4(); four != nil {
			option := unix.IP_DROP_MEMBERSHIP
			if join {
				option = unix.IP_ADD_MEMBERSHIP
			}
			err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, option,
				&unix.IPMreqn{Multiaddr: [4]byte(four), Ifindex: int32(index)})
			return os.NewSyscallError("setsockopt", err)
		}
		option := unix.IPV6_LEAVE_GROUP
		if join {
			option = unix.IPV6_JOIN_GROUP
		}
		err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, option,
			&unix.IPv6Mreq{Multiaddr: [16]byte(group.To16()), Interface: uint32(index)})
		return os.NewSyscallError("setsockopt", err)
	})
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
	return u.failed(op, joinUDP(u.file, group.AsSlice(), device, join))
}

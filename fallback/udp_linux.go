package fallback

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A UDPConn is a Conn over UDP, udp(7): one message is one datagram, sent and received by one
// system call, with a trailer of 24 bytes behind it. What UDP may do to it on
// the way is not mended, but it is noticed, and Stats tells:
//
//   - lost: counted when a later one of the same sender comes (the last ones of a
//     sender are lost without a trace);
//   - doubled: dropped, and counted;
//   - reordered: received in the order of arrival, and counted;
//   - from strangers: dropped, and counted. A stranger who can read the traffic can forge it:
//     there is no secret in it.
//
// Send has sent when the kernel has the datagram; nobody may be there to receive it.
// On a connected Conn the kernel learns from ICMP that nobody is (on the same machine always, else
// perhaps): then the *next* Send is EPIPE, has sent nothing, and the one after it tries
// again. There is no end of file: Receive goes on waiting when the other side is gone,
// and CloseSend is refused.
type UDPConn struct {
	packets
	local netip.AddrPort
}

var _ Conn = (*UDPConn)(nil)

// UDP makes a Conn that sends from the address local to the address remote, both as
// "host:port". It does not block, unless a host's name has to be looked up.
//
//	remote is one host's    only its datagrams are received. local may be "": any port
//	remote is ""            receives from any number of senders at local; Send is refused,
//	                        ReceiveFrom and SendTo answer
//	remote is a multicast   local is "": only sends. Else it is the address and port to
//	or broadcast address    receive at, a multicast group is joined, and all who do the same
//	                        hear each other (see UDPBroadcast, UDPInterface)
//
// A local address that is a multicast group's is joined as well. Several processes may
// receive what is multicast or broadcast to one port: each gets all of it.
//
// Errors: EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH, EACCES (a broadcast address without
// UDPBroadcast) and others of socket, bind and connect; *net.DNSError and *net.AddrError.
func UDP(local, remote string, opts ...UDPOption) (*UDPConn, error) {
	name := local + ">" + remote
	config := udpConfigOf(opts)
	sock, to, err := openUDP(local, remote, &config)
	if err != nil {
		return nil, opError(KindUDP, "open", name, err)
	}
	return newUDP(sock, name, to, config)
}

// UDPFrom makes a Conn of a UDP socket of package net, which it owns from then on; if
// there is an error, c is still the caller's. It sends to where c is connected. It does not block.
func UDPFrom(c *net.UDPConn, opts ...UDPOption) (*UDPConn, error) {
	sock, err := adoptSocket(c)
	if err != nil {
		return nil, opError(KindUDP, "open", "", err)
	}
	u, err := newUDP(sock, addressName(c.LocalAddr()), nil, udpConfigOf(opts))
	if err != nil {
		return nil, err
	}
	_ = c.Close()
	return u, nil
}

// newUDP makes a Conn of sock, or closes it. to is where to send if it is not connected.
func newUDP(sock *packetSocket, name string, to *netip.AddrPort, config udpConfig) (_ *UDPConn, err error) {
	defer func() {
		if err != nil {
			_ = sock.Close()
		}
	}()
	if config.most < 1 || config.most > UDPMaxPayload-udpTrailer {
		return nil, opError(KindUDP, "open", name, fmt.Errorf("messages of %d bytes, of 1 to %d: %w",
			config.most, UDPMaxPayload-udpTrailer, unix.EINVAL))
	}
	own, err := randomUDPSender()
	if err != nil {
		return nil, opError(KindUDP, "open", name, err)
	}
	u := new(UDPConn)
	u.kind, u.name = KindUDP, name
	u.most, u.trailer = config.most, udpTrailer
	u.udp = &udpState{ledger: udpLedger{own: own}}
	var remote netip.AddrPort // where it is connected to
	err = controlSocket(sock, func(fd int) error {
		local, err := unix.Getsockname(fd)
		if err != nil {
			return os.NewSyscallError("getsockname", err)
		}
		if u.local, u.udp.six = fromSockaddr(local); !u.local.Addr().IsValid() {
			return fmt.Errorf("no UDP socket: %w", unix.EPROTOTYPE)
		}
		if far, err := unix.Getpeername(fd); err == nil {
			remote, _ = fromSockaddr(far)
		}
		return setPacketBuffers(fd, config.send, config.receive)
	})
	if err != nil {
		return nil, opError(KindUDP, "open", name, err)
	}
	u.init(sock)
	u.udp.connected = remote.IsValid()
	if to != nil {
		target := ipAddress(*to, u.udp.six)
		u.target = &target
	}
	u.caps = Capabilities{
		Send: u.udp.connected || to != nil, Receive: true, ManySenders: true, ManyReceivers: true,
		Boundaries: true, Network: true, Pollable: true,
	}
	// A socket that is connected to a group hears only what comes from the group's address,
	// which is nothing.
	if u.udp.connected && (remote.Addr().IsMulticast() || config.broadcast) {
		u.caps.Receive, u.caps.ManyReceivers = false, false
	}
	return u, nil
}

// ReceiveFrom is Receive that also tells the sender's address.
func (u *UDPConn) ReceiveFrom(ctx context.Context, dst []byte) (msg []byte, from netip.AddrPort, err error) {
	var extra packetExtra
	msg, err = u.receive(ctx, dst, &extra, false)
	if err == nil {
		from = extra.from.addrPort()
	}
	return msg, from, err
}

// SendTo is Send to that address, from a Conn that has no other one to send to.
func (u *UDPConn) SendTo(ctx context.Context, msg []byte, to netip.AddrPort) error {
	switch {
	case u.udp.connected:
		return Refuse(u.kind, "sending elsewhere than to where it is connected")
	case !to.IsValid() || !u.udp.six && !to.Addr().Unmap().Is4():
		return u.failed("send", fmt.Errorf("to %v: %w", to, unix.EAFNOSUPPORT))
	}
	address := ipAddress(to, u.udp.six)
	return u.send(ctx, msg, nil, &address, false)
}

// LocalAddr is the address that others send to, port included.
func (u *UDPConn) LocalAddr() netip.AddrPort { return u.local }

// Stats counts what happened so far. It does not block; after Close it is what it was
// then, without Overflow.
func (u *UDPConn) Stats() UDPStats {
	u.udp.receiving.Lock()
	s := u.udp.ledger.stats
	s.Senders = len(u.udp.ledger.senders)
	u.udp.receiving.Unlock()
	s.Refused += u.udp.refusals.Load()
	u.udp.sending.Lock()
	s.Sent = u.udp.sequence
	u.udp.sending.Unlock()
	if u.sock.enter() {
		s.Overflow = udpOverflow(u.sock.fd)
		u.sock.leave()
	}
	return s
}

package fallback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

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
// Errors: EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH and others of socket, bind and connect,
// in a *net.OpError.
func UDP(local, remote string, opts ...UDPOption) (*UDPConn, error) {
	name := local + ">" + remote
	config := udpConfigOf(opts)
	c, to, err := openUDP(local, remote, &config)
	if err != nil {
		return nil, opError(KindUDP, "open", name, err)
	}
	u, err := newUDP(c, name, to, config)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return u, nil
}

// UDPFrom makes a Conn of a UDP socket of package net, which it owns from then on; if
// there is an error, c is still the caller's. It sends to where c is connected. It does not block.
func UDPFrom(c *net.UDPConn, opts ...UDPOption) (*UDPConn, error) {
	return newUDP(c, addressName(c.LocalAddr()), nil, udpConfigOf(opts))
}

func newUDP(c *net.UDPConn, name string, to *netip.AddrPort, config udpConfig) (*UDPConn, error) {
	if config.most < 1 || config.most > UDPMaxPayload-udpTrailer {
		return nil, opError(KindUDP, "open", name, fmt.Errorf("messages of %d bytes, of 1 to %d: %w",
			config.most, UDPMaxPayload-udpTrailer, unix.EINVAL))
	}
	own, err := randomUDPSender()
	if err != nil {
		return nil, opError(KindUDP, "open", name, err)
	}
	u := &UDPConn{local: c.LocalAddr().(*net.UDPAddr).AddrPort()}
	u.kind, u.name = KindUDP, name
	u.most, u.trailer = config.most, udpTrailer
	u.udp = &udpState{ledger: udpLedger{own: own}}
	connected := false
	err = controlSocket(c, func(fd int) error {
		_, err := unix.Getpeername(fd)
		connected = err == nil
		local, err := unix.Getsockname(fd)
		if err != nil {
			return os.NewSyscallError("getsockname", err)
		}
		_, u.udp.six = local.(*unix.SockaddrInet6)
		return setPacketBuffers(fd, config.send, config.receive)
	})
	var file *os.File
	if err == nil {
		file, err = adoptSocket(c)
	}
	if err == nil {
		if err = u.init(file); err != nil {
			file.Close()
		}
	}
	if err != nil {
		return nil, opError(KindUDP, "open", name, err)
	}
	u.udp.connected = connected
	if to != nil {
		target := ipAddress(*to, u.udp.six)
		u.target = &target
	}
	u.caps = Capabilities{
		Send: connected || to != nil, Receive: true, ManySenders: true, ManyReceivers: true,
		Boundaries: true, Network: true, Pollable: true,
	}
	// A socket that is connected to a group hears only what comes from the group's address,
	// which is nothing.
	if remote, ok := c.RemoteAddr().(*net.UDPAddr); ok && connected && (remote.IP.IsMulticast() || config.broadcast) {
		u.caps.Receive, u.caps.ManyReceivers = false, false
	}
	_ = c.Close()
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
func (u *UDPConn) LocalAddr() netip.AddrPort {
	return netip.AddrPortFrom(u.local.Addr().Unmap(), u.local.Port())
}

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
	if u.enter() {
		s.Overflow = udpOverflow(u.fd)
		u.leave()
	}
	return s
}

// openUDP opens the socket. to is where to send if it is not connected.
func openUDP(local, remote string, config *udpConfig) (c *net.UDPConn, to *netip.AddrPort, err error) {
	var far *net.UDPAddr
	if remote != "" {
		if far, err = net.ResolveUDPAddr("udp", remote); err != nil {
			return nil, nil, err
		}
	}
	group := far != nil && far.IP.IsMulticast()
	many := group || far != nil && config.broadcast
	options := func(_, _ string, raw syscall.RawConn) error {
		var inner error
		err := raw.Control(func(fd uintptr) { inner = setUDPOptions(int(fd), many, config) })
		return errors.Join(err, inner)
	}
	if far != nil && (!many || local == "") {
		dialer := net.Dialer{Control: options}
		if local != "" {
			near, err := net.ResolveUDPAddr("udp", local)
			if err != nil {
				return nil, nil, err
			}
			dialer.LocalAddr = near
		}
		d, err := dialer.Dial("udp", far.String())
		if err != nil {
			return nil, nil, err
		}
		return d.(*net.UDPConn), nil, nil
	}
	near, err := net.ResolveUDPAddr("udp", local)
	if err != nil {
		return nil, nil, err
	}
	network := "udp"
	if near.IP == nil && far != nil && far.IP.To4() != nil {
		network = "udp4"
	}
	joins := near.IP.IsMulticast()
	listen := net.ListenConfig{Control: func(network, address string, raw syscall.RawConn) error {
		var inner error
		err := raw.Control(func(fd uintptr) { inner = setUDPOptions(int(fd), many || joins, config) })
		return errors.Join(err, inner)
	}}
	p, err := listen.ListenPacket(context.Background(), network, local)
	if err != nil {
		return nil, nil, err
	}
	c = p.(*net.UDPConn)
	for _, g := range []*net.UDPAddr{near, far} {
		if g != nil && g.IP.IsMulticast() && err == nil {
			err = joinUDP(c, g.IP, config.device, true)
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	if far != nil {
		a := far.AddrPort()
		to = &a
	}
	return c, to, nil
}

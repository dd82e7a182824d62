package fallback

import (
	"context"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// A DatagramConn is a Conn over a UNIX datagram socket, unix(7): one message is one
// datagram, sent and received by one system call, with nothing around it, so that a program
// in any language can be at the other end. On Linux they are reliable and in order: who sends
// waits while the receiver's queue is full (/proc/sys/net/unix/max_dgram_qlen messages, 10 by
// default, of all its senders together; of a pair, the send buffer).
//
// There are three kinds of ends, which Capabilities tell apart:
//
//   - of a pair (UnixDatagramPair): sends and receives, each with the other end only;
//   - a receiver (ListenUnixDatagram): receives from any number of senders; Send is refused,
//     ReceiveFrom and SendTo answer those that have an address;
//   - a sender (DialUnixDatagram), which receives the answers if it has an address.
//
// There is no connection, so there is no end of file: Receive goes on waiting when the
// other side is gone (a context ends it), and CloseSend is refused. A Send to an end that
// is gone is EPIPE. A receiver that comes back at the same path needs a new dial.
type DatagramConn struct {
	unixPackets
	path string // to remove when it is closed
}

var (
	_ Conn       = (*DatagramConn)(nil)
	_ fileSender = (*DatagramConn)(nil)
)

// UnixDatagram makes a Conn of a "unixgram" socket of package net, which it owns from
// then on; if there is an error, c is still the caller's. It does not block. What the end
// can do is found out: see DatagramConn. Errors: EPROTOTYPE for another kind of socket,
// EDESTADDRREQ for one that is neither bound nor connected, and see PacketMaxMessage.
func UnixDatagram(c *net.UnixConn, opts ...PacketOption) (*DatagramConn, error) {
	sock, err := adoptSocket(c)
	if err != nil {
		return nil, opError(KindUnixDatagram, "open", "", err)
	}
	d, err := newDatagram(sock, addressName(c.LocalAddr()), "", packetConfigOf(opts))
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	_ = c.Close()
	return d, nil
}

// UnixDatagramPair makes a connected pair (socketpair(2)), for a child process or to be
// sent as a descriptor; DatagramConn.File gives an end away.
func UnixDatagramPair(opts ...PacketOption) (a, b *DatagramConn, err error) {
	socks, err := unixPair(unix.SOCK_DGRAM)
	if err != nil {
		return nil, nil, opError(KindUnixDatagram, "pair", "", err)
	}
	config := packetConfigOf(opts)
	a, err = newDatagram(socks[0], "", "", config)
	if err == nil {
		b, err = newDatagram(socks[1], "", "", config)
	}
	if err != nil {
		_ = socks[0].Close()
		_ = socks[1].Close()
		return nil, nil, err
	}
	return a, b, nil
}

// ListenUnixDatagram makes a receiver at a path, or at an abstract name that begins with @,
// which any number of processes may send to. A socket that stands there and that nobody
// has any more is replaced; EADDRINUSE for a live one, or anything else. Close removes the
// path.
func ListenUnixDatagram(path string, opts ...PacketOption) (*DatagramConn, error) {
	config := packetConfigOf(opts)
	fd, err := bindUnixWith(unix.SOCK_DGRAM, path, config.prepare)
	if err != nil {
		return nil, opError(KindUnixDatagram, "listen", path, err)
	}
	if err := permUnix(path, config.perm); err != nil {
		unix.Close(fd)
		_ = unbindUnix(path)
		return nil, opError(KindUnixDatagram, "listen", path, err)
	}
	return ownDatagram(fd, path, path, config)
}

// DialUnixDatagram makes a sender to the receiver at the path remote. With local it has an
// address of its own, a path or a name that begins with @ ("@" alone: the kernel chooses
// one), and receives what remote, and nobody else, sends there (SendTo); Close removes the path. With local ""
// it only sends. It does not block. ECONNREFUSED: nobody is there any more; ENOENT: nor
// ever was; EACCES: not for us; EPERM: that one is another's peer.
func DialUnixDatagram(local, remote string, opts ...PacketOption) (*DatagramConn, error) {
	fd, err := connectUnix(forever, unix.SOCK_DGRAM, local, remote)
	if err != nil {
		return nil, opError(KindUnixDatagram, "dial", remote, err)
	}
	config := packetConfigOf(opts)
	if local != "" {
		if err := permUnix(local, config.perm); err != nil {
			unix.Close(fd)
			_ = unbindUnix(local)
			return nil, opError(KindUnixDatagram, "dial", remote, err)
		}
	}
	return ownDatagram(fd, remote, local, config)
}

func ownDatagram(fd int, name, path string, config packetConfig) (*DatagramConn, error) {
	_ = unix.SetNonblock(fd, false) // for whoever gets it by File
	sock := newPacketSocket(fd)
	c, err := newDatagram(sock, name, path, config)
	if err != nil {
		_ = sock.Close()
		_ = unbindUnix(path)
		return nil, err
	}
	return c, nil
}

func newDatagram(sock *packetSocket, name, path string, config packetConfig) (*DatagramConn, error) {
	c := &DatagramConn{path: path}
	c.kind, c.name = KindUnixDatagram, name
	c.caps = Capabilities{
		Ordered: true, Reliable: true, ManySenders: true, ManyReceivers: true,
		Boundaries: true, Pollable: true, Descriptors: true,
	}
	err := c.start(sock, unix.SOCK_DGRAM, config)
	if err == nil {
		_, unpaired := PeerCredentials(sock)
		c.caps.Credentials = unpaired == nil
		err = controlSocket(sock, func(fd int) error {
			_, unconnected := unix.Getpeername(fd)
			named, err := hasUnixName(fd)
			if err != nil {
				return err
			}
			c.caps.Send = unconnected == nil
			c.caps.Receive = c.caps.Credentials || named
			if !c.caps.Send && !c.caps.Receive {
				return os.NewSyscallError("getpeername", unix.EDESTADDRREQ)
			}
			return nil
		})
	}
	if err != nil {
		return nil, opError(c.kind, "open", name, err)
	}
	return c, nil
}

// ReceiveFrom is Receive that also tells the sender's address, as SendTo takes it: a path,
// a name that begins with @, or "" if it has none.
func (c *DatagramConn) ReceiveFrom(ctx context.Context, dst []byte) (msg []byte, from string, err error) {
	var extra packetExtra
	msg, err = c.receive(ctx, dst, &extra, false)
	if err == nil {
		from = extra.from.unixName()
	}
	return msg, from, err
}

// SendTo is Send to that address, from an end that has no other one to send to. Who
// receives there has connected to this end or to none. EPIPE: nobody is there; EPERM: it
// has connected elsewhere. Do not trust an address: who sends chooses it, within what
// the file system lets him bind.
func (c *DatagramConn) SendTo(ctx context.Context, msg []byte, to string) error {
	if c.caps.Send {
		return Refuse(c.kind, "sending elsewhere than to where it is connected")
	}
	address, err := unixAddress(to)
	if err != nil {
		return c.failed("send", err)
	}
	return c.send(ctx, msg, nil, &address, false)
}

// File is a duplicate of the descriptor, for a child process (exec.Cmd.ExtraFiles), which
// makes a Conn of it again with net.FileConn and UnixDatagram. The caller closes it; the Conn remains.
func (c *DatagramConn) File() (*os.File, error) { return c.duplicate() }

// Close is as Conn says. It removes the path that the constructor has made, unless another process
// has the socket still.
func (c *DatagramConn) Close() error {
	err := c.unixPackets.Close()
	if err == nil && c.path != "" {
		err = c.failed("close", unbindUnix(c.path))
	}
	return err
}

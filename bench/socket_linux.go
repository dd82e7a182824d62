package main

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

// Sockets: pairs, and connections over loopback.

// udpBuffers is what each UDP socket may hold, in bytes.
const udpBuffers = 1 << 20

// udpLarge is the longest message that a UDP Conn takes.
const udpLarge = fallback.UDPMaxPayload - 24

func socketSubjects() []Subject {
	var all []Subject
	for _, k := range []struct {
		name    string
		prepare func(*Scene) ([2]Side, error)
		stream  bool
		lossy   bool
		sizes   []int
		conn    func(f *os.File) (fallback.Conn, error)
	}{
		{
			"UnixStream", prepareSocketpair(unix.SOCK_STREAM), true, false, bothSizes,
			func(f *os.File) (fallback.Conn, error) { return fallback.UnixStreamFromFile(f) },
		},
		{
			"UnixSeqpacket", prepareSocketpair(unix.SOCK_SEQPACKET), false, false, bothSizes,
			func(f *os.File) (fallback.Conn, error) {
				c, err := unixConn(f)
				if err != nil {
					return nil, err
				}
				return fallback.UnixSeqpacket(c)
			},
		},
		{
			"UnixDatagram", prepareSocketpair(unix.SOCK_DGRAM), false, false, bothSizes,
			func(f *os.File) (fallback.Conn, error) {
				c, err := unixConn(f)
				if err != nil {
					return nil, err
				}
				return fallback.UnixDatagram(c)
			},
		},
		{
			"TCP", prepareTCP, true, false, bothSizes,
			func(f *os.File) (fallback.Conn, error) { return fallback.TCPFromFile(f) },
		},
		{
			"UDP", prepareUDP, false, true,
			[]int{small, udpLarge},
			func(f *os.File) (fallback.Conn, error) {
				c, err := net.FileConn(f)
				if err != nil {
					return nil, err
				}
				u, ok := c.(*net.UDPConn)
				if !ok {
					return nil, fmt.Errorf("%T is no UDP socket", c)
				}
				return fallback.UDPFrom(u, fallback.UDPBuffers(udpBuffers, udpBuffers))
			},
		},
	} {
		info := Info{Carrier: k.name, Form: formOurs, Sizes: k.sizes, Lossy: k.lossy}
		all = append(all, subject{info, k.prepare, func(g Given) (End, error) {
			defer g.Files[0].Close()
			return connEnd(k.conn(g.Files[0]))
		}})
		for _, form := range []string{formBlocking, formPolled} {
			info.Form = form
			all = append(all, subject{info, k.prepare, func(g Given) (End, error) { return rawEnd(g, form, k.stream, 0) }})
		}
	}
	return all
}

func prepareSocketpair(typ int) func(*Scene) ([2]Side, error) {
	return func(*Scene) (sides [2]Side, err error) {
		fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return sides, os.NewSyscallError("socketpair", err)
		}
		for i := range sides {
			sides[i].Files = []*os.File{os.NewFile(uintptr(fds[i]), "socket")}
		}
		return sides, nil
	}
}

// prepareTCP connects two sockets, which package net gives TCP_NODELAY.
func prepareTCP(*Scene) (sides [2]Side, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return sides, err
	}
	defer func() { _ = l.Close() }()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return sides, err
	}
	defer func() { _ = a.Close() }()
	b, err := l.Accept()
	if err != nil {
		return sides, err
	}
	defer func() { _ = b.Close() }()
	for i, c := range []net.Conn{a, b} {
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return sides, err
		}
		sides[i].Files = []*os.File{f}
	}
	return sides, nil
}

// prepareUDP makes two sockets that are connected to each other.
func prepareUDP(*Scene) (sides [2]Side, err error) {
	var fds [2]int
	var at [2]unix.Sockaddr
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return sides, os.NewSyscallError("socket", err)
		}
		sides[i].Files = []*os.File{os.NewFile(uintptr(fd), "socket")}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return sides, os.NewSyscallError("bind", err)
		}
		fds[i] = fd
		if at[i], err = unix.Getsockname(fd); err != nil {
			return sides, os.NewSyscallError("getsockname", err)
		}
		for _, option := range [][2]int{{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
			err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[0], udpBuffers)
			if err != nil { // needs CAP_NET_ADMIN
				err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[1], udpBuffers)
			}
			if err != nil {
				return sides, os.NewSyscallError("setsockopt", err)
			}
		}
	}
	for i, fd := range fds {
		if err := unix.Connect(fd, at[1-i]); err != nil {
			return sides, os.NewSyscallError("connect", err)
		}
	}
	return sides, nil
}

func unixConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%T is no UNIX socket", c)
	}
	return u, nil
}

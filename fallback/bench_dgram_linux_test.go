package fallback

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Each Conn beside the bare system calls on the same kind of socket: via=raw is
// blocking send(2) and recv(2) by a goroutine each, whose threads sleep in the kernel.

type packetEnd interface {
	send(msg []byte) error
	receive(buf []byte) (int, error)
}

type packetRawEnd int

func (fd packetRawEnd) send(msg []byte) error {
	_, err := unix.Write(int(fd), msg)
	return err
}

func (fd packetRawEnd) receive(buf []byte) (int, error) { return unix.Read(int(fd), buf) }

type packetConnEnd struct{ c Conn }

func (e packetConnEnd) send(msg []byte) error { return e.c.Send(nil, msg) }

func (e packetConnEnd) receive(buf []byte) (int, error) {
	msg, err := e.c.Receive(nil, buf[:0])
	return len(msg), err
}

type packetBench struct {
	kind string
	raw  func(b testing.TB) (x, y int)
	conn func(b testing.TB) (x, y Conn)
	most int
}

func packetRawPair(typ int) func(testing.TB) (x, y int) {
	return func(b testing.TB) (x, y int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
		require.NoError(b, err)
		return fds[0], fds[1]
	}
}

var packetBenches = []packetBench{
	{"seqpacket", packetRawPair(unix.SOCK_SEQPACKET), func(b testing.TB) (x, y Conn) {
		x, y, err := UnixSeqpacketPair()
		require.NoError(b, err)
		return x, y
	}, 65536},
	{"datagram", packetRawPair(unix.SOCK_DGRAM), func(b testing.TB) (x, y Conn) {
		x, y, err := UnixDatagramPair()
		require.NoError(b, err)
		return x, y
	}, 65536},
	{"udp", func(b testing.TB) (x, y int) {
		c, d := udpSockets(b)
		for _, u := range []*net.UDPConn{c, d} {
			f, err := u.File()
			require.NoError(b, err)
			fd, err := unix.Dup(int(f.Fd()))
			require.NoError(b, err)
			require.NoError(b, unix.SetNonblock(fd, false))
			f.Close()
			u.Close()
			x, y = y, fd
		}
		return x, y
	}, func(b testing.TB) (x, y Conn) { return udpPair(b) }, UDPMaxPayload - udpTrailer},
}

// udpSockets are two UDP sockets on loopback, connected to each other.
func udpSockets(t testing.TB) (a, b *net.UDPConn) {
	for _, c := range []**net.UDPConn{&a, &b} {
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		t.Cleanup(func() { u.Close() })
		*c = u
	}
	for _, c := range [][2]*net.UDPConn{{a, b}, {b, a}} {
		to := c[1].LocalAddr().(*net.UDPAddr)
		require.NoError(t, controlSocket(c[0], func(fd int) error {
			return unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte(to.IP.To4()), Port: to.Port})
		}))
	}
	return a, b
}

func udpPair(t testing.TB, opts ...UDPOption) (a, b *UDPConn) {
	x, y := udpSockets(t)
	a, err := UDPFrom(x, opts...)
	require.NoError(t, err)
	b, err = UDPFrom(y, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func (p packetBench) each(b *testing.B, run func(b *testing.B, x, y packetEnd, size int)) {
	for _, size := range []int{64, p.most} {
		for _, via := range []string{"raw", "conn"} {
			b.Run(fmt.Sprintf("kind=%s/bytes=%d/via=%s", p.kind, size, via), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				if via == "raw" {
					x, y := p.raw(b)
					defer unix.Close(x)
					defer unix.Close(y)
					run(b, packetRawEnd(x), packetRawEnd(y), size)
					return
				}
				x, y := p.conn(b)
				defer x.Close()
				defer y.Close()
				run(b, packetConnEnd{x}, packetConnEnd{y}, size)
			})
		}
	}
}

func BenchmarkPacketRoundTrip(b *testing.B) {
	for _, p := range packetBenches {
		p.each(b, func(b *testing.B, x, y packetEnd, size int) {
			done := make(chan error, 1)
			go func() {
				buf := make([]byte, p.most+udpTrailer)
				for range b.N {
					n, err := y.receive(buf)
					if err == nil {
						err = y.send(buf[:n])
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			msg, buf := make([]byte, size), make([]byte, p.most+udpTrailer)
			b.ResetTimer()
			for range b.N {
				if err := x.send(msg); err != nil {
					b.Fatal(err)
				}
				if _, err := x.receive(buf); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// Throughput: the receiver answers every window-th message, so that UDP loses none.
func BenchmarkPacketThroughput(b *testing.B) {
	for _, p := range packetBenches {
		p.each(b, func(b *testing.B, x, y packetEnd, size int) {
			window := 64
			if p.kind == "udp" && size > 1000 {
				window = 2
			}
			done := make(chan error, 1)
			go func() {
				buf := make([]byte, p.most+udpTrailer)
				for i := range b.N {
					if _, err := y.receive(buf); err != nil {
						done <- err
						return
					}
					if i%window == window-1 {
						if err := y.send(buf[:1]); err != nil {
							done <- err
							return
						}
					}
				}
				done <- nil
			}()
			msg, buf := make([]byte, size), make([]byte, p.most+udpTrailer)
			b.ResetTimer()
			for i := range b.N {
				if err := x.send(msg); err != nil {
					b.Fatal(err)
				}
				if i%window == window-1 && i >= window {
					if _, err := x.receive(buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

var _ = os.Getpid

package fallback

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

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

func (e packetConnEnd) send(msg []byte) error { return e.c.Send(forever, msg) }

func (e packetConnEnd) receive(buf []byte) (int, error) {
	msg, err := e.c.Receive(forever, buf[:0])
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
			require.NoError(b, setPacketBuffers(fd, 1<<20, 1<<20))
			f.Close()
			u.Close()
			x, y = y, fd
		}
		return x, y
	}, func(b testing.TB) (x, y Conn) { return udpPair(b, UDPBuffers(1<<20, 1<<20)) }, UDPMaxPayload - udpTrailer},
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

// A packetRun does n operations on one pair.
type packetRun func(n int) error

// packetRoundTrip: y sends back what it gets, until it gets one byte.
func packetRoundTrip(x, y packetEnd, size int) (run packetRun, stop func() error) {
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 1<<17)
		for {
			n, err := y.receive(buf)
			if err == nil && n > 1 {
				err = y.send(buf[:n])
			}
			if err != nil || n == 1 {
				done <- err
				return
			}
		}
	}()
	msg, buf := make([]byte, size), make([]byte, 1<<17)
	run = func(n int) error {
		for range n {
			if err := x.send(msg); err != nil {
				return err
			}
			if _, err := x.receive(buf); err != nil {
				return err
			}
		}
		return nil
	}
	return run, func() error { return errors.Join(x.send(msg[:1]), <-done) }
}

// packetThroughput: y answers every window-th message, so that UDP loses none.
func packetThroughput(x, y packetEnd, size int) (run packetRun, stop func() error) {
	window := max(2, min(256, 1<<18/size))
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 1<<17)
		for i := 1; ; i++ {
			n, err := y.receive(buf)
			if err == nil && n > 1 && i%window == 0 {
				err = y.send(buf[:1])
			}
			if err != nil || n == 1 {
				done <- err
				return
			}
		}
	}()
	msg, buf := make([]byte, size), make([]byte, 1<<17)
	run = func(n int) error {
		n = (n + window - 1) / window
		for i := range n + 1 {
			for range window {
				if i == n {
					break
				}
				if err := x.send(msg); err != nil {
					return err
				}
			}
			if i > 0 { // one window is under way meanwhile
				if _, err := x.receive(buf); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return run, func() error { return errors.Join(x.send(msg[:1]), <-done) }
}

// BenchmarkPacket alternates between the two in short runs, and compares the fastest ones:
// so what else the machine does meanwhile weighs little. ns/op is of both together.
func BenchmarkPacket(b *testing.B) {
	for what, open := range map[string]func(x, y packetEnd, size int) (packetRun, func() error){
		"roundtrip": packetRoundTrip, "throughput": packetThroughput,
	} {
		for _, p := range packetBenches {
			for _, size := range []int{64, p.most} {
				b.Run(fmt.Sprintf("what=%s/kind=%s/bytes=%d", what, p.kind, size), func(b *testing.B) {
					x, y := p.raw(b)
					defer unix.Close(x)
					defer unix.Close(y)
					c, d := p.conn(b)
					defer c.Close()
					defer d.Close()
					raw, stopRaw := open(packetRawEnd(x), packetRawEnd(y), size)
					conn, stopConn := open(packetConnEnd{c}, packetConnEnd{d}, size)
					const batch = 256
					best := [2]time.Duration{1 << 62, 1 << 62}
					b.ReportAllocs()
					for b.Loop() {
						for i, run := range []packetRun{raw, conn} {
							begin := time.Now()
							if err := run(batch); err != nil {
								b.Fatal(err)
							}
							best[i] = min(best[i], time.Since(begin))
						}
					}
					if err := errors.Join(stopRaw(), stopConn()); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(best[0].Nanoseconds())/batch, "raw-ns")
					b.ReportMetric(float64(best[1].Nanoseconds())/batch, "conn-ns")
					b.ReportMetric(float64(best[1])/float64(best[0]), "conn/raw")
				})
			}
		}
	}
}

// BenchmarkPacketAlone sends and receives by one goroutine, which never waits.
func BenchmarkPacketAlone(b *testing.B) {
	for _, p := range packetBenches {
		x, y := p.raw(b)
		defer unix.Close(x)
		defer unix.Close(y)
		c, d := p.conn(b)
		for via, ends := range map[string][2]packetEnd{"raw": {packetRawEnd(x), packetRawEnd(y)}, "conn": {packetConnEnd{c}, packetConnEnd{d}}} {
			b.Run("kind="+p.kind+"/via="+via, func(b *testing.B) {
				msg, buf := make([]byte, 64), make([]byte, 1<<18)
				b.ReportAllocs()
				for b.Loop() {
					if err := ends[0].send(msg); err != nil {
						b.Fatal(err)
					}
					if _, err := ends[1].receive(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		c.Close()
		d.Close()
	}
}

package fallback

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	carriers = append(carriers,
		carrier{
			name: "UnixSeqpacket",
			open: func(t testing.TB) (a, b Conn) {
				x, y, err := UnixSeqpacketPair()
				return packetPair(t, x, y, err)
			},
			give: func(t testing.TB) (Conn, []*os.File, string) {
				a, b, err := UnixSeqpacketPair()
				require.NoError(t, err)
				return a, packetGive(t, b.File, b), ""
			},
			remake: func(string) (Conn, error) {
				return packetRemake(func(c net.Conn) (Conn, error) { return UnixSeqpacket(c.(*net.UnixConn)) })
			},
			raw: func(t testing.TB) (Conn, func([]byte) error) {
				a, b, err := UnixSeqpacketPair()
				packetPair(t, a, b, err)
				return a, packetRawWrite(b)
			},
		},
		carrier{
			name: "UnixSeqpacket, dialled",
			open: func(t testing.TB) (a, b Conn) {
				l, err := ListenUnixSeqpacket(packetAbstract())
				require.NoError(t, err)
				defer l.Close()
				x, err := DialUnixSeqpacket(forever, l.Path())
				require.NoError(t, err)
				y, err := l.Accept(forever)
				return packetPair(t, x, y, err)
			},
			give: func(t testing.TB) (Conn, []*os.File, string) {
				l, err := ListenUnixSeqpacket(packetAbstract())
				require.NoError(t, err)
				defer l.Close()
				x, err := DialUnixSeqpacket(forever, l.Path())
				require.NoError(t, err)
				y, err := l.Accept(forever)
				require.NoError(t, err)
				return x, packetGive(t, y.File, y), ""
			},
			remake: func(string) (Conn, error) {
				return packetRemake(func(c net.Conn) (Conn, error) { return UnixSeqpacket(c.(*net.UnixConn)) })
			},
		},
		carrier{
			name: "UnixSeqpacket, by child",
			give: func(t testing.TB) (Conn, []*os.File, string) {
				l, err := ListenUnixSeqpacket(packetAbstract())
				require.NoError(t, err)
				like, other, err := UnixSeqpacketPair()
				packetPair(t, like, other, err)
				late := newMiscLate(t, like, like.MaxMessage(), func(ctx context.Context) (Conn, error) {
					defer l.Close()
					return l.Accept(ctx)
				})
				return packetOnce{late}, nil, l.Path()
			},
			remake: func(path string) (Conn, error) { return DialUnixSeqpacket(forever, path) },
		},
		carrier{
			name: "UnixDatagram",
			open: func(t testing.TB) (a, b Conn) {
				x, y, err := UnixDatagramPair()
				return packetPair(t, x, y, err)
			},
			give: func(t testing.TB) (Conn, []*os.File, string) {
				a, b, err := UnixDatagramPair()
				require.NoError(t, err)
				return a, packetGive(t, b.File, b), ""
			},
			remake: func(string) (Conn, error) {
				return packetRemake(func(c net.Conn) (Conn, error) { return UnixDatagram(c.(*net.UnixConn)) })
			},
			raw: func(t testing.TB) (Conn, func([]byte) error) {
				a, b, err := UnixDatagramPair()
				packetPair(t, a, b, err)
				return a, packetRawWrite(b)
			},
		},
		carrier{
			name: "UnixDatagram, addressed",
			open: func(t testing.TB) (a, b Conn) {
				to, err := ListenUnixDatagram(packetAbstract())
				require.NoError(t, err)
				from, err := DialUnixDatagram("", to.name)
				return packetPair(t, from, to, err)
			},
			give: func(t testing.TB) (Conn, []*os.File, string) {
				a, err := ListenUnixDatagram(packetAbstract())
				require.NoError(t, err)
				return a, nil, a.name
			},
			remake: func(arg string) (Conn, error) { return DialUnixDatagram("@", arg) },
			raw: func(t testing.TB) (Conn, func([]byte) error) {
				a, err := ListenUnixDatagram(packetAbstract())
				require.NoError(t, err)
				b, err := DialUnixDatagram("", a.name)
				packetPair(t, a, b, err)
				return a, packetRawWrite(b)
			},
		},
		carrier{
			name: "UDP",
			open: func(t testing.TB) (a, b Conn) { return udpPair(t) },
			give: func(t testing.TB) (Conn, []*os.File, string) {
				x, y := udpSockets(t)
				a, err := UDPFrom(x)
				require.NoError(t, err)
				return a, packetGive(t, y.File, y), ""
			},
			remake: func(string) (Conn, error) {
				return packetRemake(func(c net.Conn) (Conn, error) { return UDPFrom(c.(*net.UDPConn)) })
			},
			raw: func(t testing.TB) (Conn, func([]byte) error) {
				a, b := udpPair(t)
				return a, packetRawWrite(b)
			},
		},
		carrier{
			name: "UDP, many senders",
			open: func(t testing.TB) (a, b Conn) {
				to, err := UDP("127.0.0.1:0", "")
				require.NoError(t, err)
				from, err := UDP("", to.LocalAddr().String())
				return packetPair(t, from, to, err)
			},
			give: func(t testing.TB) (Conn, []*os.File, string) {
				// The buffer holds all that a check sends in one go, so that nothing is lost.
				a, err := UDP("127.0.0.1:0", "", UDPMaxMessage(1448), UDPBuffers(0, 1<<20))
				require.NoError(t, err)
				return a, nil, a.LocalAddr().String()
			},
			remake: func(to string) (Conn, error) { return UDP("", to, UDPMaxMessage(1448)) },
		},
	)
}

// A packetOnce is a connection to one process: the next would dial its own.
type packetOnce struct{ *miscLate }

func (c packetOnce) Capabilities() Capabilities {
	caps := c.miscLate.Capabilities()
	caps.ManySenders, caps.ManyReceivers = false, false
	return caps
}

var packetCounter atomic.Int64

func packetUnique() string { return fmt.Sprintf("-%d-%d", os.Getpid(), packetCounter.Add(1)) }

func packetAbstract() string { return "@shmchan-test" + packetUnique() }

func packetPair(t testing.TB, a, b Conn, err error) (Conn, Conn) {
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// packetGive turns an end into a file for a child.
func packetGive(t testing.TB, file func() (*os.File, error), end interface{ Close() error }) []*os.File {
	f, err := file()
	require.NoError(t, err)
	end.Close()
	return []*os.File{f}
}

func packetRemake(conn func(net.Conn) (Conn, error)) (Conn, error) {
	f := os.NewFile(3, "given")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn(c)
}

// packetRawWrite sends bytes as they are.
func packetRawWrite(c syscall.Conn) func([]byte) error {
	return func(b []byte) error {
		return controlSocket(c, func(fd int) error { return unix.Send(fd, b, unix.MSG_DONTWAIT) })
	}
}

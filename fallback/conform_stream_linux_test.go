package fallback

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	carriers = append(carriers, carrier{
		name: "UnixStream",
		open: func(t testing.TB) (a, b Conn) { return streamTestPair(t) },
		give: func(t testing.TB) (Conn, []*os.File, string) {
			a, f := streamTestEnd(t)
			return a, []*os.File{f}, ""
		},
		remake: func(string) (Conn, error) { return UnixStreamFromFile(os.NewFile(3, "socket")) },
		raw: func(t testing.TB) (Conn, func([]byte) error) {
			a, f := streamTestEnd(t)
			return a, func(p []byte) error { _, err := f.Write(p); return err }
		},
	}, carrier{
		name: "TCP",
		open: func(t testing.TB) (a, b Conn) {
			x, y := streamTCPSockets(t)
			// Buffers of a fixed size: else the kernel makes full ones larger by and by.
			return streamTestTCP(t, x, StreamBuffers(64<<10, 64<<10)), streamTestTCP(t, y, StreamBuffers(64<<10, 64<<10))
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			x, y := streamTCPSockets(t)
			f, err := y.File()
			require.NoError(t, err)
			require.NoError(t, y.Close())
			t.Cleanup(func() { f.Close() })
			return streamTestTCP(t, x), []*os.File{f}, ""
		},
		remake: func(string) (Conn, error) { return TCPFromFile(os.NewFile(3, "socket")) },
		raw: func(t testing.TB) (Conn, func([]byte) error) {
			x, y := streamTCPSockets(t)
			return streamTestTCP(t, x), func(p []byte) error { _, err := y.Write(p); return err }
		},
	})
}

func streamTestPair(t testing.TB, opts ...StreamOption) (a, b Conn) {
	t.Helper()
	a, b, err := UnixStreamPair(opts...)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// streamTestEnd is a Conn and the socket at its other end.
func streamTestEnd(t testing.TB, opts ...StreamOption) (Conn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	mine, other := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	t.Cleanup(func() { other.Close() })
	c, err := UnixStreamFromFile(mine, opts...)
	require.NoError(t, err)
	require.NoError(t, mine.Close())
	t.Cleanup(func() { c.Close() })
	return c, other
}

func streamTCPSockets(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	d, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

func streamTestTCP(t testing.TB, c *net.TCPConn, opts ...StreamOption) Conn {
	t.Helper()
	conn, err := TCP(c, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

package fallback

import (
	"context"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// miscLate is a Conn that is being set up: its other side is a child process that has
// yet to be started. Calls wait for it.
type miscLate struct {
	ready chan struct{}
	conn  Conn
	err   error
	stop  func()
	like  Conn // its zero value knows what does not change
	max   int
}

func newMiscLate(t testing.TB, like Conn, most int, makeConn func(context.Context) (Conn, error)) *miscLate {
	ctx, stop := context.WithCancel(context.Background())
	l := &miscLate{ready: make(chan struct{}), stop: stop, like: like, max: most}
	go func() {
		defer close(l.ready)
		l.conn, l.err = makeConn(ctx)
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (l *miscLate) get() Conn {
	<-l.ready
	if l.err != nil {
		panic(l.err)
	}
	return l.conn
}

func (l *miscLate) Send(ctx context.Context, msg []byte) error { return l.get().Send(ctx, msg) }
func (l *miscLate) TrySend(msg []byte) error                   { return l.get().TrySend(msg) }
func (l *miscLate) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	return l.get().Receive(ctx, dst)
}
func (l *miscLate) TryReceive(dst []byte) ([]byte, error) { return l.get().TryReceive(dst) }
func (l *miscLate) CloseSend() error                      { return l.get().CloseSend() }

// Close gives up on a child that was never started.
func (l *miscLate) Close() error {
	l.stop()
	<-l.ready
	if l.err != nil {
		return nil
	}
	return l.conn.Close()
}
func (l *miscLate) MaxMessage() int            { return l.max }
func (l *miscLate) Kind() Kind                 { return l.like.Kind() }
func (l *miscLate) Capabilities() Capabilities { return l.like.Capabilities() }
func (l *miscLate) Peer() (Credentials, error) { return l.get().Peer() }

// miscSocket is a pair of which the second end is a file for a child.
func miscSocket(t testing.TB) (*net.UnixConn, *os.File) {
	a, b, err := memUnixPair()
	require.NoError(t, err)
	f, err := b.File()
	require.NoError(t, err)
	b.Close()
	t.Cleanup(func() { a.Close(); f.Close() })
	return a, f
}

// miscInherited is the socket that a child was given as descriptor 3.
func miscInherited() (*net.UnixConn, error) {
	f := os.NewFile(3, "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

func miscClose(t testing.TB, cs ...Conn) {
	t.Cleanup(func() {
		for _, c := range cs {
			_ = c.Close()
		}
	})
}

func init() {
	shared := ShmOptions{Messages: 256}
	cross := CrossMemoryOptions{MaxMessage: 1 << 20, AllowPeer: true}
	carriers = append(carriers, carrier{
		name: "CrossMemory",
		open: func(t testing.TB) (Conn, Conn) {
			a, b, err := CrossMemoryPair(cross)
			require.NoError(t, err)
			miscClose(t, a, b)
			return a, b
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			c, f := miscSocket(t)
			return newMiscLate(t, (*CrossMemoryConn)(nil), cross.MaxMessage, func(ctx context.Context) (Conn, error) { return CrossMemory(ctx, c, cross) }), []*os.File{f}, "cross"
		},
		remake: func(string) (Conn, error) {
			c, err := miscInherited()
			if err != nil {
				return nil, err
			}
			return CrossMemory(forever, c, cross)
		},
		raw: func(t testing.TB) (Conn, func([]byte) error) {
			a, b, err := CrossMemoryPair(cross)
			require.NoError(t, err)
			miscClose(t, a, b)
			return a, func(p []byte) error { return crossRawSend(b, p) }
		},
	}, carrier{
		name: "Shm",
		open: func(t testing.TB) (Conn, Conn) {
			a, b, err := ShmPair(shared)
			require.NoError(t, err)
			miscClose(t, a, b)
			return a, b
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			c, f := miscSocket(t)
			return newMiscLate(t, (*ShmConn)(nil), shmConnMaxDefault, func(ctx context.Context) (Conn, error) { return Shm(ctx, c, shared) }), []*os.File{f}, "shm"
		},
		remake: func(string) (Conn, error) {
			c, err := miscInherited()
			if err != nil {
				return nil, err
			}
			return Shm(forever, c, shared)
		},
	})
}

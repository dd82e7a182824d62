package fallback

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// streamListeners listen at fresh addresses of all kinds.
func streamListeners(t *testing.T, f func(t *testing.T, l *StreamListener, dial func(context.Context) (Conn, error))) {
	for name, listen := range map[string]func(t *testing.T) (*StreamListener, func(context.Context) (Conn, error)){
		"pathname": func(t *testing.T) (*StreamListener, func(context.Context) (Conn, error)) {
			path := bindTestPath(t)
			l, err := ListenUnixStream(path)
			require.NoError(t, err)
			return l, func(ctx context.Context) (Conn, error) { return DialUnixStream(ctx, path) }
		},
		"abstract": func(t *testing.T) (*StreamListener, func(context.Context) (Conn, error)) {
			name := "@shmchan-test-" + rand.Text()
			l, err := ListenUnixStream(name)
			require.NoError(t, err)
			require.Equal(t, name, l.Addr())
			return l, func(ctx context.Context) (Conn, error) { return DialUnixStream(ctx, name) }
		},
		"TCP": func(t *testing.T) (*StreamListener, func(context.Context) (Conn, error)) {
			l, err := ListenTCP("127.0.0.1:0")
			require.NoError(t, err)
			return l, func(ctx context.Context) (Conn, error) { return DialTCP(ctx, l.Addr()) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, dial := listen(t)
			defer l.Close()
			f(t, l, dial)
		})
	}
}

func TestStreamListenerConnects(t *testing.T) {
	streamListeners(t, func(t *testing.T, l *StreamListener, dial func(context.Context) (Conn, error)) {
		a, err := dial(streamNever)
		require.NoError(t, err)
		defer a.Close()
		b, err := l.Accept(streamNever)
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, l.Close(), "connections stay")
		for _, w := range [][2]Conn{{a, b}, {b, a}} {
			require.NoError(t, w[0].Send(streamNever, []byte("hello")))
			msg, err := w[1].Receive(streamNever, nil)
			require.NoError(t, err)
			require.Equal(t, "hello", string(msg))
			if w[0].Capabilities().Credentials {
				who, err := w[0].Peer()
				require.NoError(t, err)
				require.Equal(t, Credentials{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}, who)
				pidfd, err := PeerPidfd(w[0].(syscall.Conn))
				require.NoError(t, err)
				pidfd.Close()
			}
		}
		require.ErrorIs(t, l.Close(), os.ErrClosed)
		_, err = l.Accept(streamNever)
		require.ErrorIs(t, err, os.ErrClosed)
		_, err = dial(streamNever)
		require.Error(t, err)
	})
}

func TestStreamListenerAcceptsUnderContextsAndClose(t *testing.T) {
	streamListeners(t, func(t *testing.T, l *StreamListener, dial func(context.Context) (Conn, error)) {
		past, cancel := context.WithDeadline(context.Background(), longAgo)
		defer cancel()
		_, err := l.Accept(past)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = dial(past)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// One Accept after another ends with its context; the one without any stays.
		stays := make(chan error)
		go func() {
			c, err := l.Accept(streamNever)
			if err == nil {
				err = c.Close()
			}
			stays <- err
		}()
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
				defer cancel()
				_, err := l.Accept(ctx)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		c, err := dial(context.Background())
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, <-stays)

		var calls [3]chan error
		for i := range calls {
			calls[i] = make(chan error)
			ctx := streamNever
			if i == 1 {
				ctx, cancel = context.WithCancel(context.Background())
				defer cancel()
			}
			go func() { _, err := l.Accept(ctx); calls[i] <- err }()
		}
		require.NoError(t, l.Close())
		for _, call := range calls {
			require.ErrorIs(t, <-call, os.ErrClosed)
		}
	})
}

func TestListenUnixStreamOwnsItsName(t *testing.T) {
	path := bindTestPath(t)
	l, err := ListenUnixStream(path, StreamPerm(0o622))
	require.NoError(t, err)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o622, info.Mode())
	_, err = ListenUnixStream(path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
	_, err = DialUnixStream(streamNever, path)
	require.ErrorIs(t, err, fs.ErrNotExist)

	// A name that a dead process has left.
	fd, err := bindUnix(unix.SOCK_STREAM, path)
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	_, err = DialUnixStream(streamNever, path)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	l, err = ListenUnixStream(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())

	for name, want := range map[string]error{"": syscall.EINVAL, "@": syscall.EINVAL, "a\x00": syscall.EINVAL} {
		_, err = ListenUnixStream(name)
		require.ErrorIs(t, err, want)
		_, err = DialUnixStream(streamNever, name)
		require.ErrorIs(t, err, want)
	}
}

// connect(2) of a UNIX socket says EAGAIN while the listener's queue is full.
func TestDialUnixStreamWaitsForAFullQueue(t *testing.T) {
	path := bindTestPath(t)
	fd, err := bindUnix(unix.SOCK_STREAM, path)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Listen(fd, 0))
	first, err := DialUnixStream(streamNever, path)
	require.NoError(t, err)
	defer first.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = DialUnixStream(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	done := make(chan error)
	go func() {
		c, err := DialUnixStream(streamNever, path)
		if err == nil {
			c.Close()
		}
		done <- err
	}()
	accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(accepted)
	require.NoError(t, <-done)
}

func TestStreamConstructorsRefuseOtherSockets(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	seqpacket, other := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer seqpacket.Close()
	defer other.Close()
	_, err = UnixStreamFromFile(seqpacket)
	require.ErrorIs(t, err, syscall.EPROTOTYPE)
	_, err = TCPFromFile(seqpacket)
	require.ErrorIs(t, err, syscall.EPROTOTYPE)
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	_, err = UnixStreamFromFile(null)
	require.ErrorIs(t, err, syscall.ENOTSOCK)
	x, _ := streamTCPSockets(t)
	require.NoError(t, x.Close())
	_, err = TCP(x)
	require.ErrorIs(t, err, os.ErrClosed)
	c, err := net.FileConn(seqpacket)
	require.NoError(t, err)
	defer c.Close()
	_, err = UnixStream(c.(*net.UnixConn))
	require.ErrorIs(t, err, syscall.EPROTOTYPE)
}

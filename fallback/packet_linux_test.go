package fallback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// packetWays are all kinds of pairs, a sends to b.
var packetWays = map[string]func(t testing.TB) (a, b Conn){
	"seqpacket": func(t testing.TB) (Conn, Conn) { a, b, err := UnixSeqpacketPair(); return packetPair(t, a, b, err) },
	"datagram":  func(t testing.TB) (Conn, Conn) { a, b, err := UnixDatagramPair(); return packetPair(t, a, b, err) },
	"udp":       func(t testing.TB) (Conn, Conn) { return udpPair(t) },
	"dialled":   func(t testing.TB) (Conn, Conn) { b, a := packetDialled(t); return a, b },
	"accepted":  func(t testing.TB) (Conn, Conn) { return packetDialled(t) },
}

func packetDialled(t testing.TB) (accepted, dialled Conn) {
	l, err := ListenUnixSeqpacket(packetAbstract())
	require.NoError(t, err)
	defer l.Close()
	dialled, err = DialUnixSeqpacket(forever, l.Path())
	require.NoError(t, err)
	accepted, err = l.Accept(context.Background())
	return packetPair(t, accepted, dialled, err)
}

func packetPattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func TestPacketsAreWholeWhateverRoomTheReceiverHas(t *testing.T) {
	for name, pair := range packetWays {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			most := a.MaxMessage()
			for _, room := range []int{0, 1, 24, 64, 4095, 4096, 5000, 60000, most - 1, most, most + 24, most + 100} {
				for _, size := range []int{0, 1, 23, 24, 25, 64, 4096, 4999, 5000, 5001, 59990, most - 1, most} {
					msg := packetPattern(size)
					require.NoError(t, a.Send(forever, msg))
					got, err := b.Receive(forever, append(make([]byte, 0, room+3), "pre"...))
					require.NoError(t, err)
					require.Equal(t, "pre", string(got[:3]))
					require.True(t, bytes.Equal(msg, got[3:]), "room %d, size %d, %d came", room, size, len(got)-3)
				}
			}
			require.ErrorIs(t, a.Send(forever, make([]byte, most+1)), ErrTooLarge)
			require.ErrorIs(t, a.TrySend(make([]byte, most+1)), ErrTooLarge)
			_, err := b.TryReceive(nil)
			require.ErrorIs(t, err, ErrWouldBlock, "nothing of it was sent")
		})
	}
}

func TestPacketsCostNoAllocation(t *testing.T) {
	if packetRaced {
		t.Skip("the race detector makes pools forget")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, pair := range packetWays {
		a, b := pair(t)
		for _, c := range []context.Context{forever, context.Background(), ctx} {
			for _, size := range []int{64, 20000} {
				msg := make([]byte, size)
				for _, room := range []int{64, 20000, 300000} {
					buf := make([]byte, 0, max(room, size))
					allocs := testing.AllocsPerRun(50, func() {
						if a.Send(c, msg) != nil {
							panic("send")
						}
						got, err := b.Receive(c, buf)
						if err != nil || len(got) != size {
							panic("receive")
						}
						if _, err := b.TryReceive(buf); !errors.Is(err, ErrWouldBlock) {
							panic("try")
						}
					})
					assert.Zero(t, allocs, "%s, %d bytes, room for %d", name, size, room)
				}
			}
		}
	}
}

func TestSeqpacketTellsAnEmptyMessageFromTheEnd(t *testing.T) {
	for _, name := range []string{"seqpacket", "dialled", "accepted"} {
		for how, room := range map[string]int{"no room": 0, "room": 300000} {
			t.Run(name+" "+how, func(t *testing.T) {
				a, b := packetWays[name](t)
				for _, s := range []string{"", "x", "", ""} {
					require.NoError(t, a.Send(forever, []byte(s)))
				}
				require.NoError(t, a.Close())
				for _, s := range []string{"", "x", "", ""} {
					got, err := b.Receive(forever, make([]byte, 0, room))
					require.NoError(t, err)
					assert.Equal(t, s, string(got))
				}
				for range 2 {
					_, err := b.Receive(forever, make([]byte, 0, room))
					require.ErrorIs(t, err, io.EOF)
				}
			})
		}
	}
	t.Run("from a nameless stranger", func(t *testing.T) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		b, err := ownSeqpacket(fds[1], "", packetConfigOf(nil))
		require.NoError(t, err)
		defer b.Close()
		for _, s := range []string{"", "x", "", "y"} {
			require.NoError(t, unix.Send(fds[0], []byte(s), 0))
		}
		for i, s := range []string{"", "x", "", "y"} {
			if i == 1 { // from here on the end is known
				unix.Close(fds[0])
			}
			got, err := b.Receive(forever, nil)
			require.NoError(t, err)
			assert.Equal(t, s, string(got))
		}
		_, err = b.Receive(forever, nil)
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestPacketsThatDoNotFitAreAnErrorNotCut(t *testing.T) {
	for _, name := range []string{"seqpacket", "datagram"} {
		for _, room := range []int{0, 500, 5000} {
			a, b := packetWays[name](t)
			short := packetsOf(b)
			short.most = 1000
			require.NoError(t, a.Send(forever, make([]byte, 1001)))
			require.NoError(t, a.Send(forever, packetPattern(1000)))
			_, err := b.Receive(forever, make([]byte, 0, room))
			require.ErrorIs(t, err, ErrFrame, name)
			got, err := b.Receive(forever, make([]byte, 0, room))
			require.NoError(t, err)
			assert.Equal(t, packetPattern(1000), got)
		}
	}
}

func packetsOf(c Conn) *packets {
	switch c := c.(type) {
	case *SeqpacketConn:
		return &c.packets
	case *DatagramConn:
		return &c.packets
	}
	return &c.(*UDPConn).packets
}

func TestPacketMaxMessageMakesRoom(t *testing.T) {
	a, b, err := UnixSeqpacketPair(PacketMaxMessage(400_000))
	if errors.Is(err, ErrTooLarge) {
		require.ErrorContains(t, err, "wmem_max")
		t.Skip("this system permits no such messages: ", err)
	}
	packetPair(t, a, b, err)
	assert.Equal(t, 400_000, a.MaxMessage())
	send, receive, err := a.Buffers()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, send, 400_000+packetOverhead)
	assert.Positive(t, receive)
	require.NoError(t, a.Send(forever, make([]byte, 400_000)))
	got, err := b.Receive(forever, nil)
	require.NoError(t, err)
	assert.Len(t, got, 400_000)

	require.NoError(t, a.SetBuffers(10_000, 0))
	require.ErrorIs(t, a.Send(forever, make([]byte, 400_000)), ErrTooLarge, "as the kernel says")
	require.NoError(t, a.Send(forever, make([]byte, 10_000)))
	require.ErrorIs(t, a.SetBuffers(-1, 0), syscall.EINVAL)

	small, other, err := UnixDatagramPair(PacketMaxMessage(10), PacketBuffers(50_000, 0))
	packetPair(t, small, other, err)
	assert.Equal(t, 10, small.MaxMessage())
	require.ErrorIs(t, small.Send(forever, make([]byte, 11)), ErrTooLarge)
	for _, bytes := range []int{-1, 1<<30 + 1} {
		_, _, err = UnixDatagramPair(PacketMaxMessage(bytes))
		require.ErrorIs(t, err, syscall.EINVAL)
	}
}

func TestSeqpacketListener(t *testing.T) {
	path := filepath.Join(packetDir(t), "s")
	l, err := ListenUnixSeqpacket(path, PacketPerm(0o620), PacketMaxMessage(100))
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o620), info.Mode().Perm())
	_, err = ListenUnixSeqpacket(path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = l.Accept(ctx)
	require.ErrorIs(t, err, context.Canceled)
	ctx, cancel = context.WithCancel(context.Background())
	failed := make(chan error, 2)
	go func() { _, err := l.Accept(ctx); failed <- err }()
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)

	c, err := DialUnixSeqpacket(forever, path)
	require.NoError(t, err)
	defer c.Close()
	s, err := l.Accept(forever)
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, 100, s.MaxMessage())
	cred, err := s.Peer()
	require.NoError(t, err)
	assert.Equal(t, os.Getpid(), cred.PID)

	for range 2 {
		go func() { _, err := l.Accept(forever); failed <- err }()
	}
	require.NoError(t, l.Close())
	for range 2 {
		require.ErrorIs(t, <-failed, os.ErrClosed)
	}
	require.ErrorIs(t, l.Close(), os.ErrClosed)
	require.NoFileExists(t, path)
	_, err = DialUnixSeqpacket(forever, path)
	require.ErrorIs(t, err, syscall.ENOENT)
	require.NoError(t, c.Send(forever, []byte("goes on")))
	got, err := s.Receive(forever, nil)
	require.NoError(t, err)
	assert.Equal(t, "goes on", string(got))
}

func packetDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "shmchan")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func TestSeqpacketDialWaitsForAFullBacklog(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	name := packetAbstract()
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: name}))
	require.NoError(t, unix.Listen(fd, 0))
	first, err := DialUnixSeqpacket(forever, name)
	require.NoError(t, err)
	defer first.Close()
	ctx, cancel := context.WithCancel(context.Background())
	waiting, done := make(chan error, 1), make(chan *SeqpacketConn, 1)
	go func() { _, err := DialUnixSeqpacket(ctx, name); waiting <- err }()
	cancel()
	require.ErrorIs(t, <-waiting, context.Canceled)
	go func() {
		c, err := DialUnixSeqpacket(forever, name)
		waiting <- err
		done <- c
	}()
	for range 2 {
		accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		require.NoError(t, err)
		defer unix.Close(accepted)
	}
	require.NoError(t, <-waiting)
	(<-done).Close()
}

func TestPacketConstructorsRefuseOtherSockets(t *testing.T) {
	for name, typ := range rightsTypes {
		a, _ := rightsPair(t, typ)
		if name != "seqpacket" {
			_, err := UnixSeqpacket(a)
			require.ErrorIs(t, err, syscall.EPROTOTYPE)
		}
		if name != "datagram" {
			_, err := UnixDatagram(a)
			require.ErrorIs(t, err, syscall.EPROTOTYPE)
		}
		_, err := a.Write([]byte("is still the caller's"))
		require.NoError(t, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "lonely")
	defer f.Close()
	c, err := net.FileConn(f)
	require.NoError(t, err)
	defer c.Close()
	_, err = UnixSeqpacket(c.(*net.UnixConn))
	require.ErrorIs(t, err, syscall.ENOTCONN)
}

func TestPacketConnOwnsTheSocketOfPackageNet(t *testing.T) {
	x, y := rightsPair(t, unix.SOCK_SEQPACKET)
	a, err := UnixSeqpacket(x)
	require.NoError(t, err)
	b, err := UnixSeqpacket(y)
	packetPair(t, a, b, err)
	_, err = x.Write([]byte("no more"))
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, a.Send(forever, []byte("but here")))
	got, err := b.Receive(forever, nil)
	require.NoError(t, err)
	assert.Equal(t, "but here", string(got))
	a.Close()
	_, err = b.Receive(forever, nil)
	require.ErrorIs(t, err, io.EOF, "nothing else holds the socket")
}

func TestPacketsRefuseByName(t *testing.T) {
	receiver, err := ListenUnixDatagram(packetAbstract())
	require.NoError(t, err)
	sender, err := DialUnixDatagram("", receiver.name)
	packetPair(t, receiver, sender, err)
	u, v := udpPair(t)
	for what, err := range map[string]error{
		"sending":       receiver.Send(forever, nil),
		"sending ":      receiver.TrySend(nil),
		"sending  ":     SendFiles(forever, receiver, nil, os.Stdin),
		"receiving":     func() error { _, err := sender.Receive(forever, nil); return err }(),
		"half-close":    sender.CloseSend(),
		"half-close ":   u.CloseSend(),
		"credentials":   func() error { _, err := u.Peer(); return err }(),
		"credentials ":  func() error { _, err := sender.Peer(); return err }(),
		"descriptors":   SendFiles(forever, v, nil, os.Stdin),
		"elsewhere":     u.SendTo(forever, nil, v.LocalAddr()),
		"elsewhere ":    sender.SendTo(forever, nil, receiver.name),
		"priorities":    SendPriority(forever, u, nil, 1),
		"passing files": SendFiles(forever, u, nil, os.Stdin),
	} {
		require.ErrorIs(t, err, errors.ErrUnsupported, what)
		var refused *RefusedError
		require.ErrorAs(t, err, &refused, what)
		assert.Contains(t, []Kind{KindUDP, KindUnixDatagram}, refused.Kind)
	}
}

func TestPacketsLeaveThePollerToWaitInTheKernel(t *testing.T) {
	for name, pair := range packetWays {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			p := packetsOf(b)
			receive := func(ctx context.Context) {
				got := make(chan error, 1)
				go func() { _, err := b.Receive(ctx, nil); got <- err }()
				for len(p.reading.taken) == 0 { // until it is about to wait
					runtime.Gosched()
				}
				require.NoError(t, a.Send(forever, []byte("x")))
				require.NoError(t, <-got)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			receive(ctx)
			require.NotNil(t, p.sock.poller, "whose context can end waits there")
			p.reading.hurry = hurry{}
			receive(forever)
			if p.reading.hurry.hits > 0 {
				require.Nil(t, p.sock.poller, "it waited in the kernel")
			}
		})
	}
}

func TestPacketCloseEndsAWaitInTheKernel(t *testing.T) {
	for name, pair := range packetWays {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				_, b := pair(t)
				p := packetsOf(b)
				got := make(chan error, 1)
				go func() { _, err := b.Receive(forever, nil); got <- err }()
				for len(p.reading.taken) == 0 {
					runtime.Gosched()
				}
				require.NoError(t, b.Close())
				require.ErrorIs(t, <-got, os.ErrClosed)
			}
		})
	}
}

// A timeout on a socket is everybody's who shares it.
func TestPacketFileHasNoTimeout(t *testing.T) {
	for name, pair := range packetWays {
		t.Run(name, func(t *testing.T) {
			_, b := pair(t)
			p := packetsOf(b)
			timeout := func() unix.Timeval {
				tv, err := unix.GetsockoptTimeval(int(p.sock.fd), unix.SOL_SOCKET, unix.SO_RCVTIMEO)
				require.NoError(t, err)
				return *tv
			}
			require.True(t, p.sock.withTimeout(func() { require.NotZero(t, timeout()) }))
			f, err := p.duplicate()
			require.NoError(t, err)
			defer f.Close()
			require.Zero(t, timeout())
			require.False(t, p.sock.withTimeout(func() { t.Error("it is shared") }))
			require.Zero(t, timeout())
			a := make(chan error, 1)
			go func() { _, err := b.Receive(forever, nil); a <- err }()
			for len(p.reading.taken) == 0 {
				runtime.Gosched()
			}
			require.NoError(t, b.Close())
			require.ErrorIs(t, <-a, os.ErrClosed)
		})
	}
}

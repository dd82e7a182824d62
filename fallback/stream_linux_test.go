package fallback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var streamNever context.Context // nil: never ends

// streamTestFill sends until a TrySend is refused, and returns how often it was not.
func streamTestFill(t *testing.T, c Conn, msg []byte) (n int) {
	t.Helper()
	for {
		err := c.TrySend(msg)
		if errors.Is(err, ErrWouldBlock) {
			return n
		}
		require.NoError(t, err)
		n++
	}
}

// A Send that gives up in mid-frame returns at once; the other side gets a sound stream, and
// nothing of that message.
func TestStreamSendGivesUpInMidFrame(t *testing.T) {
	a, b := streamTestPair(t, StreamBuffers(4096, 0))
	large := bytes.Repeat([]byte("large"), 100_000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Send(ctx, large) }()
	for s := a.(*streamConn); !s.out.waits.Load(); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	require.Equal(t, context.Canceled, <-done, "with nobody receiving")
	// Nor is there room for another one.
	require.ErrorIs(t, a.TrySend([]byte("x")), ErrWouldBlock)
	past, cancel := context.WithDeadline(context.Background(), longAgo)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, a.Send(past, []byte("x")))

	go func() { done <- a.Send(streamNever, []byte("after")) }()
	msg, err := b.Receive(streamNever, nil)
	require.NoError(t, err)
	require.Equal(t, "after", string(msg))
	require.NoError(t, <-done)
	// The rest also goes when nobody sends anything more.
	ctx, cancel = context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, a.Send(ctx, large))
	go func() { _, err := b.Receive(streamNever, nil); done <- err }()
	for s := a.(*streamConn); ; time.Sleep(time.Millisecond) {
		if s.out.try() == nil {
			left := len(s.out.rest)
			s.releaseSend()
			if left == 0 {
				break
			}
		}
	}
	require.NoError(t, a.CloseSend())
	require.Equal(t, io.EOF, <-done)
}

// A large TrySend that finds room for a part has sent it all, even if Close follows.
func TestStreamTrySendOfMoreThanThereIsRoomFor(t *testing.T) {
	for _, closing := range []string{"Close", "CloseSend", "nothing"} {
		t.Run(closing, func(t *testing.T) {
			a, b := streamTestPair(t, StreamBuffers(4096, 0))
			large := bytes.Repeat([]byte("0123456789"), 50_000)
			n := streamTestFill(t, a, large)
			require.Equal(t, 1, n)
			require.ErrorIs(t, a.TrySend(nil), ErrWouldBlock)
			switch closing {
			case "Close":
				require.NoError(t, a.Close())
				require.ErrorIs(t, a.TrySend(nil), os.ErrClosed)
			case "CloseSend":
				require.NoError(t, a.CloseSend())
				require.ErrorIs(t, a.Send(streamNever, nil), os.ErrClosed)
			}
			msg, err := b.Receive(streamNever, nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(large, msg))
			if closing == "nothing" {
				require.NoError(t, a.Send(streamNever, []byte("next")))
				msg, err = b.Receive(streamNever, nil)
				require.NoError(t, err)
				require.Equal(t, "next", string(msg))
				return
			}
			_, err = b.Receive(streamNever, nil)
			require.Equal(t, io.EOF, err)
		})
	}
}

// What lingers after Close ends with the other side, and takes its descriptor with it.
func TestStreamLingeringEndsWithTheOtherSide(t *testing.T) {
	a, b := streamTestPair(t, StreamBuffers(4096, 0))
	require.Equal(t, 1, streamTestFill(t, a, make([]byte, 500_000)))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	for s := a.(*streamConn); s.sock.ended.Load() != 2; {
		time.Sleep(time.Millisecond)
	}
}

func TestStreamReadsManySmallMessagesAtOnce(t *testing.T) {
	a, b := streamTestPair(t)
	const n = 100
	for range n {
		require.NoError(t, a.Send(streamNever, []byte("small")))
	}
	queued := func() (bytes int) {
		require.NoError(t, controlSocket(b.(*streamConn).sock.file, func(fd int) (err error) {
			bytes, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
			return err
		}))
		return bytes
	}
	require.Equal(t, n*(frameHeader+5+1), queued())
	for range n {
		msg, err := b.TryReceive(nil)
		require.NoError(t, err)
		require.Equal(t, "small", string(msg))
		require.Zero(t, queued(), "one system call for all")
	}
	_, err := b.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
}

func TestStreamAllocatesNothing(t *testing.T) {
	for _, size := range []int{0, 64, 3000, 64 << 10} {
		a, b := streamTestPair(t)
		msg, buf := make([]byte, size), make([]byte, 0, size)
		trip := func() {
			if err := a.Send(streamNever, msg); err != nil {
				t.Fatal(err)
			}
			if got, err := b.Receive(streamNever, buf); err != nil || len(got) != size {
				t.Fatal(len(got), err)
			}
			if err := b.TrySend(msg); err != nil {
				t.Fatal(err)
			}
			if got, err := a.TryReceive(buf); err != nil || len(got) != size {
				t.Fatal(len(got), err)
			}
			if got, err := a.TryReceive(buf); err != ErrWouldBlock || len(got) != 0 {
				t.Fatal(len(got), err)
			}
		}
		trip()
		require.Zero(t, testing.AllocsPerRun(200, trip), "%d bytes", size)
		ctx := context.Background()
		require.Zero(t, testing.AllocsPerRun(200, func() {
			_ = a.Send(ctx, msg)
			_, _ = b.Receive(ctx, buf)
		}))
	}
}

// A Receive sits in the kernel at first, and in the poller later. Close ends both.
func TestStreamCloseEndsAReceiveInTheKernelAndInThePoller(t *testing.T) {
	for _, inPoller := range []bool{false, true} {
		for range 20 {
			a, b := streamTestPair(t)
			done := make(chan error)
			go func() { _, err := a.Receive(streamNever, nil); done <- err }()
			s := a.(*streamConn)
			users := func() int {
				s.sock.mu.Lock()
				defer s.sock.mu.Unlock()
				return s.sock.users
			}
			for !s.in.waits.Load() || inPoller && users() == 0 {
				time.Sleep(50 * time.Microsecond)
			}
			require.NoError(t, a.Close())
			require.ErrorIs(t, <-done, os.ErrClosed)
			require.ErrorIs(t, a.Close(), os.ErrClosed)
			require.ErrorIs(t, a.CloseSend(), os.ErrClosed)
			_, err := b.Receive(streamNever, nil)
			require.Equal(t, io.EOF, err)
		}
	}
}

// Deadlines of contexts meet neither those of others nor the other direction.
func TestStreamContextsOfManyGoroutines(t *testing.T) {
	a, b := streamTestPair(t, StreamBuffers(4096, 0))
	const n, goroutines = 60, 4
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[byte]int{}
	echo, stop := context.WithCancel(context.Background())
	for range goroutines {
		wg.Go(func() { // receivers with contexts that end all the time
			for echo.Err() == nil {
				ctx, cancel := context.WithTimeout(echo, 300*time.Microsecond)
				msg, err := b.Receive(ctx, nil)
				cancel()
				if err == nil {
					mu.Lock()
					got[msg[0]]++
					mu.Unlock()
				} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		})
	}
	var senders sync.WaitGroup
	sent := make([]int, goroutines)
	for g := range goroutines {
		senders.Go(func() {
			msg := bytes.Repeat([]byte{byte(g)}, 1+g*20_000)
			for range n {
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Microsecond)
				if g == 0 {
					cancel()
					ctx = nil
				}
				err := a.Send(ctx, msg)
				cancel()
				if err == nil {
					sent[g]++
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	require.NoError(t, a.Send(streamNever, []byte{255}))
	for end := 0; end == 0; time.Sleep(time.Millisecond) {
		mu.Lock()
		end = got[255]
		mu.Unlock()
	}
	stop()
	wg.Wait()
	require.Equal(t, n, sent[0])
	for g := range goroutines {
		require.Equal(t, sent[g], got[byte(g)], "of sender %d", g)
	}
}

func init() {
	roles["stream: echo"] = func() {
		c, err := UnixStreamFromFile(os.NewFile(3, "socket"))
		if err != nil {
			panic(err)
		}
		for {
			msg, files, err := ReceiveFiles(context.Background(), c, nil)
			if err != nil {
				return
			}
			if err := SendFiles(context.Background(), c, msg, files...); err != nil {
				panic(err)
			}
			for _, f := range files {
				f.Close()
			}
		}
	}
}

// An end that has waited in the kernel is passed on as an ordinary socket.
func TestStreamFilePassesAnEndOn(t *testing.T) {
	a, b := streamTestPair(t)
	setTimeoutsOf := b.(*streamConn).sock
	require.True(t, setTimeoutsOf.sit())
	setTimeoutsOf.rise()
	f, err := StreamFile(b)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.Zero(t, flags&unix.O_NONBLOCK)
	tv, err := unix.GetsockoptTimeval(int(f.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO)
	require.NoError(t, err)
	require.Equal(t, unix.Timeval{}, *tv)

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=stream: echo")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, f.Close())
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, SendFiles(streamNever, a, []byte("there and back"), w))
	require.NoError(t, w.Close())
	msg, files, err := ReceiveFiles(streamNever, a, nil)
	require.NoError(t, err)
	require.Equal(t, "there and back", string(msg))
	require.Len(t, files, 1)
	_, err = files[0].WriteString("through a file that has travelled")
	require.NoError(t, err)
	files[0].Close()
	require.NoError(t, a.CloseSend())
	require.NoError(t, cmd.Wait())
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "through a file that has travelled", string(text))
	_, err = a.Receive(streamNever, nil)
	require.Equal(t, io.EOF, err)
	require.ErrorIs(t, a.Send(streamNever, nil), os.ErrClosed)
	_, err = StreamFile(b)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestStreamBufferSizes(t *testing.T) {
	a, _ := streamTestPair(t, StreamBuffers(10_000, 12_000))
	send, receive, err := StreamBufferSizes(a.(syscall.Conn))
	require.NoError(t, err)
	require.Equal(t, [2]int{20_000, 24_000}, [2]int{send, receive}, "the kernel doubles them")
	require.NoError(t, SetStreamBuffers(a.(syscall.Conn), 0, 16_000))
	send, receive, err = StreamBufferSizes(a.(syscall.Conn))
	require.NoError(t, err)
	require.Equal(t, [2]int{20_000, 32_000}, [2]int{send, receive})
	require.False(t, a.(*streamConn).in.exact.Load(), "it reads ahead as before")
	require.NoError(t, a.Close())
	_, _, err = StreamBufferSizes(a.(syscall.Conn))
	require.ErrorIs(t, err, os.ErrClosed)

	for _, o := range []StreamOption{StreamBuffers(-1, 0), StreamBuffers(0, -1), StreamMaxMessage(0), StreamMaxMessage(frameMost + 1), StreamPerm(os.ModeDir)} {
		_, _, err := UnixStreamPair(o)
		require.Error(t, err)
	}
}

func TestStreamTooLargeIsNotSent(t *testing.T) {
	a, b := streamTestPair(t, StreamMaxMessage(100))
	require.Equal(t, 100, a.MaxMessage())
	require.ErrorIs(t, a.Send(streamNever, make([]byte, 101)), ErrTooLarge)
	require.ErrorIs(t, a.TrySend(make([]byte, 101)), ErrTooLarge)
	require.NoError(t, a.Send(streamNever, make([]byte, 100)))
	msg, err := b.Receive(streamNever, nil)
	require.NoError(t, err)
	require.Len(t, msg, 100)
}

func TestTCPSetsItsOptionsAndRefusesWhatItLacks(t *testing.T) {
	x, y := streamTCPSockets(t)
	require.NoError(t, x.SetNoDelay(false))
	a, b := streamTestTCP(t, x), streamTestTCP(t, y)
	require.NoError(t, controlSocket(a.(*streamConn).sock.file, func(fd int) error {
		for _, o := range [][3]int{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
		} {
			v, err := unix.GetsockoptInt(fd, o[0], o[1])
			require.NoError(t, err)
			require.Equal(t, o[2], v)
		}
		return nil
	}))
	_, err := a.Peer()
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorIs(t, SendFiles(streamNever, a, nil, os.Stdin), errors.ErrUnsupported)
	_, _, err = ReceiveFiles(streamNever, a, nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)

	require.NoError(t, a.Send(streamNever, []byte("last")))
	require.NoError(t, a.CloseSend())
	msg, err := b.Receive(streamNever, nil)
	require.NoError(t, err)
	require.Equal(t, "last", string(msg))
	_, err = b.Receive(streamNever, nil)
	require.Equal(t, io.EOF, err)
	require.NoError(t, b.Send(streamNever, []byte("the way back")))
	msg, err = a.Receive(streamNever, nil)
	require.NoError(t, err)
	require.Equal(t, "the way back", string(msg))
}

func TestStreamKeepsOutOfThePollerWhatIsOnlyAsked(t *testing.T) {
	a, b, err := UnixStreamPair()
	packetPair(t, a, b, err)
	s := b.(*streamConn)
	_, err = PeerCredentials(s)
	require.NoError(t, err)
	if pidfd, err := PeerPidfd(s); err == nil {
		pidfd.Close()
	}
	require.False(t, s.in.exact.Load(), "it reads ahead as before")

	raw, err := RawConn(b)
	require.NoError(t, err)
	require.True(t, s.in.exact.Load())
	require.NoError(t, raw.Control(func(fd uintptr) { require.EqualValues(t, s.sock.fd, fd) }))
	require.Nil(t, s.sock.poller)
	require.NoError(t, raw.Read(func(uintptr) bool { return true }))
	require.NoError(t, raw.Write(func(uintptr) bool { return true }))
	require.NotNil(t, s.sock.poller)
	require.True(t, s.sock.sit())
	s.sock.rise()
	require.Nil(t, s.sock.poller, "nobody waits there")

	tried, done := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		tries := 0
		done <- raw.Read(func(uintptr) bool { tried <- struct{}{}; tries++; return tries == 2 })
	}()
	<-tried
	require.NoError(t, a.Send(forever, []byte("x")))
	require.NoError(t, <-done)
	require.NoError(t, b.Close())
	require.ErrorIs(t, raw.Read(func(uintptr) bool { return true }), os.ErrClosed)
	require.Error(t, raw.Control(func(uintptr) { t.Error("it is closed") }))
}

package fallback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func crossPairOf(t testing.TB, o CrossMemoryOptions) (a, b *CrossMemoryConn) {
	a, b, err := CrossMemoryPair(o)
	require.NoError(t, err)
	miscClose(t, a, b)
	return a, b
}

func TestCrossMemorySendOfALargeMessageReturnsWhenItIsReceived(t *testing.T) {
	a, b := crossPairOf(t, CrossMemoryOptions{})
	var received atomic.Bool
	done := make(chan bool, 1)
	go func() {
		err := a.Send(forever, memFill(1<<20, 0))
		done <- err == nil && received.Load()
	}()
	for { // the offer is there when b's socket is readable
		var ready bool
		require.NoError(t, b.data.rc.Control(func(fd uintptr) {
			n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1)
			ready = n == 1
		}))
		if ready {
			break
		}
	}
	select {
	case <-done:
		t.Fatal("Send has returned before the message was received")
	default:
	}
	received.Store(true)
	_, err := b.Receive(forever, nil)
	require.NoError(t, err)
	require.True(t, <-done)
}

// Send's error and the receiver's view must agree, whenever the context ends.
func TestCrossMemoryContextLeavesNoDoubt(t *testing.T) {
	a, b := crossPairOf(t, CrossMemoryOptions{})
	var sent []uint32
	received := make(chan []uint32)
	go func() {
		var got []uint32
		for {
			msg, err := b.Receive(forever, nil)
			if err != nil {
				received <- got
				return
			}
			got = append(got, uint32(msg[0])|uint32(msg[1])<<8|uint32(msg[40000])<<16)
		}
	}()
	canceled := 0
	for i := range 600 {
		msg := make([]byte, 100000)
		msg[0], msg[1], msg[40000] = byte(i), byte(i>>8), 7
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(time.Duration(i%120)*time.Microsecond, cancel)
		switch err := a.Send(ctx, msg); {
		case err == nil:
			sent = append(sent, uint32(i)|7<<16)
		case errors.Is(err, context.Canceled):
			canceled++
		default:
			t.Fatal(err)
		}
		clear(msg) // a late fetch would show
		timer.Stop()
		cancel()
	}
	require.NoError(t, a.CloseSend())
	require.Equal(t, sent, <-received)
	t.Logf("%d sent, %d canceled", len(sent), canceled)
}

func TestCrossMemoryCloseWithdrawsAnOffer(t *testing.T) {
	a, b := crossPairOf(t, CrossMemoryOptions{})
	done := make(chan error, 2)
	for range 2 { // one offers, one waits for its turn
		go func() { done <- a.Send(forever, memFill(1<<20, 0)) }()
	}
	require.NoError(t, func() error { // until there is an offer
		return b.data.rc.Read(func(fd uintptr) bool {
			n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n == 1
		})
	}())
	require.NoError(t, a.Close())
	require.ErrorIs(t, <-done, os.ErrClosed)
	require.ErrorIs(t, <-done, os.ErrClosed)
	_, err := b.Receive(forever, nil)
	require.ErrorIs(t, err, io.EOF)
}

func TestCrossMemoryHostilePackets(t *testing.T) {
	head := func(h memHead) []byte {
		var b [memHeadSize]byte
		h.put(&b)
		return b[:]
	}
	offered := uint64(5)<<crossStateBits | crossOffered
	cases := map[string][]byte{
		"short":                     []byte("junk"),
		"no kind":                   head(memHead{kind: 77}),
		"length that is not there":  head(memHead{kind: memInline, size: 10}),
		"more than it says":         append(head(memHead{kind: memInline, size: 1}), "xyz"...),
		"too large":                 head(memHead{kind: memOffer, size: 1 << 40, addr: 4096, cookie: 5}),
		"unmapped":                  head(memHead{kind: memOffer, size: 1 << 19, addr: 4096, cookie: 5}),
		"kernel's address":          head(memHead{kind: memOffer, size: 64, addr: 1<<63 + 4096, cookie: 5}),
		"address that wraps":        head(memHead{kind: memOffer, size: 64, addr: 1<<64 - 16, cookie: 5}),
		"a copy without descriptor": head(memHead{kind: memCopy, size: 64}),
		"over every limit":          make([]byte, 150000),
	}
	for name, packet := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := crossPairOf(t, CrossMemoryOptions{MaxMessage: 1 << 20})
			atomic.StoreUint64(b.sendWord, offered) // as a sender that means it
			require.NoError(t, crossRawSend(b, packet))
			require.NoError(t, b.Send(forever, []byte("after")))
			dst := make([]byte, 3, 10)
			got, err := a.Receive(forever, dst)
			require.ErrorIs(t, err, ErrFrame)
			require.Len(t, got, 3)
			got, err = a.TryReceive(nil)
			require.NoError(t, err)
			require.Equal(t, "after", string(got), "packets are apart")
		})
	}
	t.Run("an offer that no word confirms is none", func(t *testing.T) {
		a, b := crossPairOf(t, CrossMemoryOptions{})
		require.NoError(t, crossRawSend(b, head(memHead{kind: memOffer, size: 64, addr: 4096, cookie: 9})))
		require.NoError(t, b.Send(forever, []byte("after")))
		got, err := a.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, "after", string(got))
	})
	t.Run("an answer to what was not taken", func(t *testing.T) {
		a, b := crossPairOf(t, CrossMemoryOptions{})
		for _, kind := range []uint32{memTaken, 99} {
			h := memHead{kind: kind, cookie: a.cookie + 1}
			require.NoError(t, b.ctl.send(forever, true, &h, nil, nil))
			require.ErrorIs(t, a.Send(forever, make([]byte, 1<<20)), ErrFrame)
		}
		require.NoError(t, b.Send(forever, nil))
	})
	t.Run("a word that says nothing", func(t *testing.T) {
		a, b := crossPairOf(t, CrossMemoryOptions{})
		done := make(chan error)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { done <- a.Send(ctx, make([]byte, 1<<20)) }()
		for atomic.LoadUint64(b.recvWord)&3 != crossOffered {
			time.Sleep(time.Microsecond)
		}
		atomic.StoreUint64(b.recvWord, 0xdeadbeef<<crossStateBits)
		cancel()
		require.ErrorIs(t, <-done, ErrFrame)
	})
	for _, kind := range []string{"pipe", "unsealed", "short"} {
		t.Run("a copy in a descriptor that is "+kind, func(t *testing.T) {
			a, b := crossPairOf(t, CrossMemoryOptions{})
			var f *os.File
			if kind == "pipe" {
				r, w, err := os.Pipe()
				require.NoError(t, err)
				defer w.Close()
				f = r
			} else {
				fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
				require.NoError(t, err)
				f = os.NewFile(uintptr(fd), "test")
				require.NoError(t, f.Truncate(100))
				if kind == "short" {
					_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
					require.NoError(t, err)
				}
			}
			defer f.Close()
			h := memHead{kind: memCopy, size: 1000}
			require.NoError(t, b.data.send(forever, true, &h, nil, f))
			_, err := a.Receive(forever, nil)
			require.ErrorIs(t, err, ErrFrame)
		})
	}
}

// Descriptors that come along uninvited are closed.
func TestCrossMemoryKeepsNoDescriptorsThatItWasSent(t *testing.T) {
	a, b := crossPairOf(t, CrossMemoryOptions{})
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	before := crossOpenNull(t)
	h := memHead{kind: memInline, size: 1}
	require.NoError(t, b.data.send(forever, true, &h, []byte("x"), null))
	_, err = a.Receive(forever, nil)
	require.ErrorIs(t, err, ErrFrame)
	require.Equal(t, before, crossOpenNull(t))
}

func crossOpenNull(t *testing.T) (n int) {
	ds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, d := range ds {
		if to, _ := os.Readlink("/proc/self/fd/" + d.Name()); to == os.DevNull {
			n++
		}
	}
	return n
}

// crossStranger is how a child becomes one whose memory, or from which, cannot be read.
func crossStranger() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func init() {
	// cross-stranger cannot read its parent, a root; or makes itself unreadable, as anybody can.
	roles["cross-stranger"] = func() {
		memMust(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
		c, err := miscInherited()
		memMust(err)
		conn, err := CrossMemory(forever, c, CrossMemoryOptions{Copy: os.Getenv("CROSS_COPY") != ""})
		if os.Getenv("CROSS_COPY") == "" {
			if !errors.Is(err, syscall.EPERM) {
				panic(fmt.Sprint("no EPERM but ", err))
			}
			var ae *AttachError
			if os.Getuid() == 65534 && !errors.As(err, &ae) {
				panic("no AttachError: " + err.Error())
			}
			return
		}
		memMust(err)
		got, err := conn.Receive(forever, nil)
		memMust(err)
		memMust(conn.Send(forever, got))
		_, err = conn.Receive(forever, nil)
		if !errors.Is(err, io.EOF) {
			panic(err)
		}
	}
}

func TestCrossMemoryRefusedByTheKernel(t *testing.T) {
	t.Run("names the reason", func(t *testing.T) {
		c, cmd := memChild(t, "cross-stranger", crossStranger())
		_, err := CrossMemory(forever, c, CrossMemoryOptions{})
		require.ErrorIs(t, err, syscall.EPERM)
		require.Contains(t, err.Error(), "uid")
		t.Log(err)
		require.NoError(t, cmd.Wait())
	})
	t.Run("copies if both allow it", func(t *testing.T) {
		c, cmd := memChild(t, "cross-stranger", crossStranger(), "CROSS_COPY=1")
		conn, err := CrossMemory(forever, c, CrossMemoryOptions{Copy: true})
		require.NoError(t, err)
		defer conn.Close()
		if os.Getuid() == 0 {
			require.True(t, conn.Copies())
		}
		msg := memFill(3<<20, 1)
		require.NoError(t, conn.Send(forever, msg))
		got, err := conn.Receive(forever, nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(msg, got))
		require.NoError(t, conn.CloseSend())
		require.NoError(t, cmd.Wait())
	})
}

// The right may be withdrawn after the Conn was made: the receiver says so, and the
// sender copies, or says why not.
func TestCrossMemoryRefusedLater(t *testing.T) {
	for _, copies := range []bool{false, true} {
		t.Run(fmt.Sprintf("copy=%v", copies), func(t *testing.T) {
			a, b := crossPairOf(t, CrossMemoryOptions{Copy: copies})
			require.NoError(t, b.proc.Close())
			b.proc = nil // as where there is no pidfd
			done := make(chan error, 1)
			msg := memFill(1<<20, 3)
			go func() { done <- a.Send(forever, msg) }()
			if !copies {
				ctx, cancel := context.WithCancel(context.Background())
				go func() { _, _ = b.Receive(ctx, nil); close(done) }()
				err := <-done
				require.ErrorIs(t, err, syscall.ENOSYS)
				require.ErrorContains(t, err, "may not read")
				cancel()
				<-done
				return
			}
			got, err := b.Receive(forever, nil)
			require.NoError(t, err)
			require.NoError(t, <-done)
			require.True(t, bytes.Equal(msg, got))
			require.True(t, a.Copies())
		})
	}
}

func TestCrossMemoryWithAFullDescriptorTable(t *testing.T) {
	c, cmd := memChild(t, "cross-nofile", nil)
	conn, err := CrossMemory(forever, c, CrossMemoryOptions{})
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.TrySend(memFill(100000, 0))) // a descriptor comes along
	require.NoError(t, cmd.Wait())
}

func init() {
	roles["cross-nofile"] = func() {
		c, err := miscInherited()
		memMust(err)
		conn, err := CrossMemory(forever, c, CrossMemoryOptions{})
		memMust(err)
		var lim unix.Rlimit
		memMust(unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
		lim.Cur = 3
		memMust(unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
		if _, err := conn.Receive(forever, nil); !errors.Is(err, ErrFrame) {
			panic(fmt.Sprint("the descriptor did not fit, and the error is ", err))
		}
	}
}

// A descriptor of another kind in the handshake must not block or be taken.
func TestCrossMemoryHandshakeChecksItsDescriptors(t *testing.T) {
	a, b, err := memUnixPair()
	require.NoError(t, err)
	defer b.Close()
	fail := make(chan error, 1)
	go func() { _, err := CrossMemory(forever, a, CrossMemoryOptions{}); fail <- err }()
	s, err := memBegin(forever, b, memFrame{kind: KindCrossMemory, max: 1000})
	require.NoError(t, err)
	if !s.maker { // by chance: it has made, and waits for us
		_, fds, err := s.receive(memStepMake, 3)
		require.NoError(t, err)
		memCloseAll(fds)
		b.Close()
		require.ErrorIs(t, <-fail, io.EOF)
		return
	}
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	fd := int(null.Fd())
	require.NoError(t, s.send(memStepMake, 0, fd, fd, fd))
	require.ErrorIs(t, <-fail, ErrFrame)
}

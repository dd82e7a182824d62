package channel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/channel"
)

// The descriptor of WaitFD, as event loops of several kinds see it.

// waitFD is c's descriptor, closed when the test ends.

func waitFD[T any](t testing.TB, c *channel.Chan[T]) *os.File {
	t.Helper()
	f, err := c.WaitFD()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// polled asks poll(2) about f: what is returned is 0 when nothing happens within d.

func polled(t testing.TB, f *os.File, d time.Duration) (events int16) {
	t.Helper()
	raw, err := f.SyscallConn()
	require.NoError(t, err)
	until := time.Now().Add(d)
	require.NoError(t, raw.Control(func(fd uintptr) {
		for {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(p, int(max(0, time.Until(until)).Milliseconds()))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				t.Errorf("poll: %v", err)
			}
			if n > 0 {
				events = p[0].Revents
			}
			return
		}
	}))
	return events
}

func becomesReadable(t testing.TB, f *os.File) {
	t.Helper()
	require.Equal(t, int16(unix.POLLIN), polled(t, f, watchdog), "not readable, though a receive would not block")
}

func staysQuiet(t testing.TB, f *os.File) {
	t.Helper()
	require.Zero(t, polled(t, f, semGrace), "readable, though there is nothing")
}

// rearmed makes c find that there is nothing.

func rearmed[T any](t testing.TB, c *channel.Chan[T]) {
	t.Helper()
	_, err := c.TryRecv()
	require.ErrorIs(t, err, channel.ErrEmpty)
}

type big [1024]byte

func TestWaitFDIsReadableWhenAReceiveWouldNotBlock(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 4}, func(t *testing.T, s semShape) {
		t.Run("uint64", func(t *testing.T) { waitFDCycles(t, s, func(i int) uint64 { return uint64(i) }) })
		t.Run("large", func(t *testing.T) { waitFDCycles(t, s, func(i int) big { return big{byte(i)} }) })
		t.Run("string", func(t *testing.T) { waitFDCycles(t, s, func(i int) string { return fmt.Sprint(i) }) })
		t.Run("encoded", func(t *testing.T) { waitFDCycles(t, s, func(i int) []int { return []int{i} }) })
	})
}

func waitFDCycles[T any](t *testing.T, s semShape, value func(int) T) {
	tx, rx := semMake[T](t, s)
	if s.over() {
		_, err := rx.WaitFD()
		require.ErrorIs(t, err, errors.ErrUnsupported, "the Conn has its own")
		return
	}
	f := waitFD(t, rx)
	staysQuiet(t, f)
	for i := range 5 {
		sent := semSend(tx, value(i))
		becomesReadable(t, f)
		becomesReadable(t, f) // and stays so
		v, err := rx.TryRecv()
		require.NoError(t, err)
		require.Equal(t, value(i), v)
		require.NoError(t, sent.wait())
		rearmed(t, rx)
		staysQuiet(t, f)
	}
	require.NoError(t, tx.Close())
	becomesReadable(t, f)
	for range 2 {
		_, err := rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrClosed)
		becomesReadable(t, f) // for good
	}
}

func TestWaitFDTellsOfWhatWasThereBefore(t *testing.T) {
	c := semNew[int](t, 4)
	require.NoError(t, c.Send(1))
	require.Equal(t, int16(unix.POLLIN), polled(t, waitFD(t, c), 0), "at once")

	closed := semNew[int](t, 4)
	require.NoError(t, closed.Close())
	require.Equal(t, int16(unix.POLLIN), polled(t, waitFD(t, closed), 0), "at once")
}

func TestWaitFDIsAHintWhereSomebodyElseIsFaster(t *testing.T) {
	c := semNew[int](t, 4)
	other := semOther(t, c)
	f := waitFD(t, other)
	for i := range 3 {
		require.NoError(t, c.Send(i))
		becomesReadable(t, f)
		semWant(t, c, i) // taken by another handle
		becomesReadable(t, f)
		rearmed(t, other)
		staysQuiet(t, f)
	}
}

func TestWaitFDIsRearmedByEveryReceiveThatComesBackEmpty(t *testing.T) {
	for _, mode := range semModes {
		for name, receive := range map[string]func(c *channel.Chan[int]) error{
			"RecvContext": func(c *channel.Chan[int]) error {
				v, err := c.RecvContext(bg)
				if err != nil || v != 7 {
					return fmt.Errorf("%d, %w", v, err)
				}
				ctx, cancel := context.WithTimeout(bg, time.Millisecond)
				defer cancel()
				if _, err := c.RecvContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
					return fmt.Errorf("at the end: %w", err)
				}
				return nil
			},
			"RecvBatch": func(c *channel.Chan[int]) error {
				n, err := c.RecvBatch(make([]int, 3))
				if n != 1 {
					return fmt.Errorf("%d messages, %w", n, err)
				}
				return err
			},
		} {
			t.Run(mode.name+"/"+name, func(t *testing.T) {
				c := semNew[int](t, 4, mode.opt)
				f := waitFD(t, c)
				for range 3 {
					require.NoError(t, c.Send(7))
					becomesReadable(t, f)
					require.NoError(t, receive(c))
					staysQuiet(t, f)
				}
			})
		}
	}
}

func TestWaitFDIgnoresWhatAnotherReceiverHasInHandUntilItComesBack(t *testing.T) {
	for _, capacity := range []int{0, 4} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			c := semNew[int](t, capacity)
			other := semOther(t, c)
			f := waitFD(t, other)
			sent := semSend(c, 1)
			inHand, fail := make(chan struct{}), make(chan struct{})
			failed := errors.New("failed")
			taken := semStart(func() error {
				return c.RecvFunc(func(*int) error {
					close(inHand)
					<-fail
					return failed
				})
			})
			<-inHand
			_, err := other.TryRecv()
			require.ErrorIs(t, err, channel.ErrEmpty)
			staysQuiet(t, f)
			close(fail)
			require.ErrorIs(t, taken.wait(), failed)
			becomesReadable(t, f)
			semWant(t, other, 1)
			require.NoError(t, sent.wait())
		})
	}
}

func TestWaitFDAndABlockedRecvOfTheSameHandleDoNotStealFromEachOther(t *testing.T) {
	c := semNew[int](t, 4)
	f := waitFD(t, c)
	for i := range 100 {
		got := semRecv(c)
		require.NoError(t, c.Send(i))
		require.Equal(t, i, got.wait().v)
		rearmed(t, c)
		require.NoError(t, c.Send(-1))
		becomesReadable(t, f)
		semWant(t, c, -1)
	}
}

func TestWaitFDEndsWithDetach(t *testing.T) {
	for _, raised := range []bool{false, true} {
		t.Run(fmt.Sprintf("raised=%v", raised), func(t *testing.T) {
			c := semNew[int](t, 4)
			f, second := waitFD(t, c), waitFD(t, c)
			require.NoError(t, second.Close()) // is the caller's own
			if raised {
				require.NoError(t, c.Send(1))
				becomesReadable(t, f)
			}
			blocked := semStart(func() error {
				_, err := io.ReadAll(f) // through the netpoller, to the end of file
				return err
			})
			require.NoError(t, c.Detach())
			require.NoError(t, blocked.wait())
			require.Equal(t, int16(unix.POLLIN|unix.POLLHUP), polled(t, f, watchdog))
			_, err := c.WaitFD()
			require.ErrorIs(t, err, channel.ErrDetached)
			_, err = c.TryRecv()
			require.ErrorIs(t, err, channel.ErrDetached)
			require.Equal(t, int16(unix.POLLIN|unix.POLLHUP), polled(t, f, 0))
		})
	}
}

func TestWaitFDLeavesNothingBehind(t *testing.T) {
	semNew[int](t, 1) // what is made once
	before := takeInventory()
	for i := range 20 {
		c, err := channel.New[int](i % 2)
		require.NoError(t, err)
		f, err := c.WaitFD()
		require.NoError(t, err)
		if i%3 == 0 {
			f.Close()
		}
		require.NoError(t, c.Detach())
		f.Close()
	}
	require.Empty(t, before.leaked())
}

func TestWaitFDTakesNoSeatAndIsNoReceiver(t *testing.T) {
	c := semNew[int](t, 4, channel.SPSC(), channel.HangUp())
	other := semOther(t, c, channel.HangUp())
	f := waitFD(t, c)
	require.NoError(t, other.Send(1))
	becomesReadable(t, f)
	require.Zero(t, c.Stats().Receivers)
	semWant(t, other, 1) // would be ErrBusy
	require.NoError(t, c.Detach())
	require.NoError(t, other.Send(2)) // would be ErrPeerLost
}

func TestWaitFDIsReadByNobodyAndWrittenByNobody(t *testing.T) {
	c := semNew[int](t, 4)
	f := waitFD(t, c)
	_, err := f.Write([]byte("junk"))
	require.ErrorIs(t, err, unix.EPIPE)
	for range 3 { // and who reads all the same does no harm
		require.NoError(t, c.Send(1))
		n, err := f.Read(make([]byte, 10))
		require.NoError(t, err)
		require.Equal(t, 1, n)
		semWant(t, c, 1)
		rearmed(t, c)
	}
}

func TestWaitFDOfABlockingDescriptorBlocksNobody(t *testing.T) {
	c := semNew[int](t, 4)
	f := waitFD(t, c)
	raw, err := f.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		if err := unix.SetNonblock(int(fd), false); err != nil { // as exec does to ExtraFiles
			t.Error(err)
		}
	}))
	within(t, "cycles", func() {
		for i := range 3 {
			if err := c.Send(i); err != nil {
				t.Error(err)
			}
			for polled(t, f, watchdog) == 0 {
			}
			_ = raw.Control(func(fd uintptr) { _, _ = unix.Read(int(fd), make([]byte, 1)) })
			if _, err := c.TryRecv(); err != nil {
				t.Error(err)
			}
			if _, err := c.TryRecv(); !errors.Is(err, channel.ErrEmpty) {
				t.Error(err)
			}
		}
	})
}

// drain receives until there is nothing, and checks that it is what comes next.

// waitFDLoops wait for f to become readable, and call drained then, until it fails.

// compiled builds a C program of testdata, or skips the test.

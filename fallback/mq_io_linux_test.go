package fallback

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMQHigherPrioritiesComeFirstAndEqualOnesInOrder(t *testing.T) {
	q := mqMake(t, QueueAttr{MaxMessages: 8, MessageSize: 8})
	for i, priority := range []uint{0, 7, MaxQueuePriority, 7, 0, 1} {
		require.NoError(t, q.Send(forever, []byte{byte(i)}, priority))
	}
	for _, want := range []struct {
		i        byte
		priority uint
	}{{2, MaxQueuePriority}, {1, 7}, {3, 7}, {5, 1}, {0, 0}, {4, 0}} {
		msg, priority, err := q.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, []byte{want.i}, msg)
		require.Equal(t, want.priority, priority)
	}
}

func TestMQReceiveAppends(t *testing.T) {
	q := mqMake(t, mqSmall)
	for _, spare := range []int{0, 1, 3, 63, 64, 100} {
		for _, text := range []string{"", "abc"} {
			require.NoError(t, q.Send(forever, []byte(text), 0))
			dst := append(make([]byte, 0, 2+spare), "x:"...)
			msg, _, err := q.TryReceive(dst)
			require.NoError(t, err)
			require.Equal(t, "x:"+text, string(msg))
			if spare >= len(text) {
				require.Same(t, &dst[0], &msg[0], "there was room")
			}
		}
	}
	dst := []byte("kept")
	msg, _, err := q.TryReceive(dst)
	require.Equal(t, ErrWouldBlock, err)
	require.Equal(t, dst, msg)
}

func TestMQFullAndEmpty(t *testing.T) {
	q := mqMake(t, mqSmall)
	for range 2 {
		for i := range mqSmall.MaxMessages {
			require.NoError(t, q.TrySend([]byte{byte(i)}, 0))
		}
		require.ErrorIs(t, q.TrySend(nil, 0), ErrWouldBlock)
		a, err := q.Attr()
		require.NoError(t, err)
		require.Equal(t, mqSmall.MaxMessages, a.Messages)
		for i := range mqSmall.MaxMessages {
			msg, _, err := q.TryReceive(nil)
			require.NoError(t, err)
			require.Equal(t, []byte{byte(i)}, msg)
		}
		_, _, err = q.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
	}
}

func TestMQDeadlines(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	_, _, err := q.ReceiveUntil(time.Now().Add(-time.Hour), nil)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	before := time.Now()
	_, _, err = q.ReceiveUntil(before.Add(30*time.Millisecond), nil)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.GreaterOrEqual(t, time.Since(before), 30*time.Millisecond)
	for range mqSmall.MaxMessages {
		require.NoError(t, q.SendUntil(time.Unix(0, 0), nil, 0), "there is room: the deadline does not matter")
	}
	require.ErrorIs(t, q.SendUntil(time.Now().Add(time.Millisecond), nil, 0), os.ErrDeadlineExceeded)

	// None of them is left over for those who have none.
	sent := make(chan error)
	go func() { sent <- q.Send(forever, []byte("last"), 0) }()
	mqAwaitWaiter(&q.f.out)
	_, _, err = q.Receive(forever, nil)
	require.NoError(t, err)
	require.NoError(t, <-sent)
}

func TestMQOneCallsEndIsNotAnothers(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	type answer struct {
		msg []byte
		err error
	}
	patient := make(chan answer, 4)
	for range 4 {
		go func() {
			msg, _, err := q.Receive(context.Background(), nil)
			patient <- answer{msg, err}
		}()
	}
	var hasty sync.WaitGroup
	for i := range 40 {
		hasty.Go(func() {
			if i%2 == 0 {
				_, _, err := q.ReceiveUntil(time.Now().Add(time.Duration(i)*time.Millisecond/4), nil)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				return
			}
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Duration(i)*time.Millisecond/4, cancel)
			_, _, err := q.Receive(ctx, nil)
			require.Equal(t, context.Canceled, errors.Unwrap(err))
		})
	}
	hasty.Wait()
	require.Empty(t, patient)
	for i := range 4 {
		require.NoError(t, q.Send(forever, []byte{byte(i)}, 0))
	}
	for range 4 {
		a := <-patient
		require.NoError(t, a.err)
	}
}

func TestMQContextEndsABlockedCall(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, QueueAttr{MaxMessages: 1, MessageSize: 8})
	ended, end := context.WithCancel(context.Background())
	end()
	require.ErrorIs(t, q.Send(ended, []byte("no"), 0), context.Canceled)
	a, err := q.Attr()
	require.NoError(t, err)
	require.Zero(t, a.Messages, "nothing was sent")
	require.NoError(t, q.Send(forever, []byte("full"), 0))
	_, _, err = q.Receive(ended, nil)
	require.ErrorIs(t, err, context.Canceled, "nothing was taken")
	require.ErrorIs(t, q.WaitReadable(ended), context.Canceled)

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Send(ctx, []byte("more"), 0) }()
	mqAwaitWaiter(&q.f.out)
	go func() { done <- q.Send(ctx, []byte("more"), 0) }() // waits for its turn, or will
	go func() { done <- q.WaitWritable(ctx) }()
	cancel()
	for range 3 {
		require.ErrorIs(t, <-done, context.Canceled)
	}
	_, _, err = q.Receive(forever, nil)
	require.NoError(t, err)

	ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, _, err = q.Receive(ctx, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, _, err = q.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
}

func TestMQCloseEndsBlockedCalls(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, QueueAttr{MaxMessages: 1, MessageSize: 8})
	e := mqMake(t, QueueAttr{MaxMessages: 1, MessageSize: 8})
	require.NoError(t, q.Send(forever, []byte("full"), 0))
	done := make(chan error, 9)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 3 {
		go func() { done <- q.Send(forever, nil, 0) }()
		go func() { _, _, err := e.Receive(ctx, nil); done <- err }()
		go func() { _, _, err := e.ReceiveUntil(time.Now().Add(time.Hour), nil); done <- err }()
	}
	mqAwaitWaiter(&q.f.out)
	mqAwaitWaiter(&e.f.in)
	require.NoError(t, q.Close())
	require.NoError(t, e.Close())
	for range 9 {
		require.ErrorIs(t, <-done, os.ErrClosed)
	}
}

func TestMQCloseAmongManyCallsNeverTouchesAnotherDescriptor(t *testing.T) {
	mqGuard(t)
	for range 50 {
		q := mqMake(t, mqSmall)
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				for {
					err := q.TrySend(nil, 0)
					if errors.Is(err, os.ErrClosed) {
						return
					}
					if err != nil {
						require.ErrorIs(t, err, ErrWouldBlock)
					}
					_, _, err = q.TryReceive(nil)
					if err != nil && !errors.Is(err, os.ErrClosed) {
						require.ErrorIs(t, err, ErrWouldBlock)
					}
				}
			})
		}
		require.NoError(t, q.Close())
		calls.Wait()
		require.NoError(t, UnlinkQueue(q.Name()))
	}
}

func init() {
	// Sends numbers from 0 on, until it is killed.
	roles["mqSendForever"] = func() {
		mqOrphan()
		q, err := OpenQueue(os.Args[1], os.O_WRONLY, 0, nil)
		mqMust(err)
		for i := uint64(0); ; i++ {
			mqMust(q.Send(forever, binary.NativeEndian.AppendUint64(nil, i), 0))
		}
	}
	// Blocks in Receive until it is killed.
	roles["mqReceiveForever"] = func() {
		mqOrphan()
		q, err := OpenQueue(os.Args[1], os.O_RDONLY, 0, nil)
		mqMust(err)
		fmt.Println("ready")
		for {
			_, _, err := q.Receive(forever, nil)
			mqMust(err)
		}
	}
	// Echoes n messages under a storm of signals to itself.
	roles["mqEchoInStorm"] = func() {
		n, err := strconv.Atoi(os.Args[3])
		mqMust(err)
		in, err := OpenQueue(os.Args[1], os.O_RDONLY, 0, nil)
		mqMust(err)
		out, err := OpenQueue(os.Args[2], os.O_WRONLY, 0, nil)
		mqMust(err)
		stop := make(chan struct{})
		var storm sync.WaitGroup
		storm.Go(func() { // SIGURG is the runtime's own: ignored, but it interrupts
			for {
				select {
				case <-stop:
					return
				default:
					_ = syscall.Kill(os.Getpid(), syscall.SIGURG)
					time.Sleep(20 * time.Microsecond)
				}
			}
		})
		var buf [64]byte
		for range n {
			msg, priority, err := in.Receive(forever, buf[:0])
			mqMust(err)
			mqMust(out.Send(forever, msg, priority))
		}
		close(stop)
		storm.Wait()
	}
}

func TestMQKilledSenderLeavesWholeMessages(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	next := uint64(0)
	c := mqStart(t, "mqSendForever", nil, q.Name())
	for next < 200 {
		msg, _, err := q.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, next, binary.NativeEndian.Uint64(msg))
		next++
	}
	c.kill()
	for {
		msg, _, err := q.TryReceive(nil)
		if errors.Is(err, ErrWouldBlock) {
			break
		}
		require.NoError(t, err)
		require.Len(t, msg, 8)
		require.Equal(t, next, binary.NativeEndian.Uint64(msg))
		next++
	}
	require.NoError(t, q.Send(forever, []byte("goes on"), 0))
}

func TestMQKilledReceiverTakesNothingThatComesLater(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	c := mqStart(t, "mqReceiveForever", nil, q.Name())
	require.Equal(t, "ready", c.line())
	c.kill()
	require.NoError(t, q.Send(forever, []byte("later"), 0))
	msg, _, err := q.TryReceive(nil)
	require.NoError(t, err)
	require.Equal(t, "later", string(msg))
}

func TestMQSignalStormLosesNothing(t *testing.T) {
	mqGuard(t)
	const n = 2000
	there, back := mqMake(t, mqSmall), mqMake(t, mqSmall)
	c := mqStart(t, "mqEchoInStorm", nil, there.Name(), back.Name(), strconv.Itoa(n))
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := there.Send(forever, binary.NativeEndian.AppendUint64(nil, uint64(i)), 3); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range n {
		msg, priority, err := back.Receive(forever, nil)
		require.NoError(t, err)
		require.EqualValues(t, i, binary.NativeEndian.Uint64(msg))
		require.EqualValues(t, 3, priority)
	}
	require.NoError(t, <-sent)
	c.finish(t)
}

func TestMQManySendersAndReceiversTakeEachMessageOnce(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	other := mqOpenAgain(t, q, os.O_RDWR)
	const each, parties = 300, 4
	var all sync.WaitGroup
	counts := make([][]int, parties)
	for p := range parties {
		handle := []*Queue{q, other}[p%2]
		all.Go(func() {
			for i := range each {
				require.NoError(t, handle.Send(forever, binary.NativeEndian.AppendUint32(nil, uint32(p*each+i)), 0))
			}
		})
		all.Go(func() {
			for range each {
				msg, _, err := handle.Receive(forever, nil)
				require.NoError(t, err)
				counts[p] = append(counts[p], int(binary.NativeEndian.Uint32(msg)))
			}
		})
	}
	all.Wait()
	seen := map[int]bool{}
	for _, got := range counts {
		for _, i := range got {
			require.False(t, seen[i])
			seen[i] = true
		}
	}
	require.Len(t, seen, each*parties)
}

func TestMQDoesNotAllocate(t *testing.T) {
	q := mqMake(t, mqSmall)
	c, err := MQOver(q, q)
	require.NoError(t, err)
	msg, buf := []byte("sixteen bytes ok"), make([]byte, 0, 64)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fail := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]func(){
		"queue": func() {
			fail(q.Send(forever, msg, 1))
			_, _, err := q.Receive(forever, buf)
			fail(err)
		},
		"context": func() {
			fail(q.Send(ctx, msg, 1))
			_, _, err := q.Receive(ctx, buf)
			fail(err)
		},
		"conn": func() {
			fail(c.Send(forever, msg))
			_, err := c.Receive(forever, buf)
			fail(err)
		},
		"try, empty": func() {
			if _, _, err := q.TryReceive(buf); err != ErrWouldBlock {
				t.Fatal(err)
			}
		},
	} {
		require.Zero(t, testing.AllocsPerRun(200, f), name)
	}
	if !mqRaceEnabled { // there a sync.Pool drops things on purpose
		small := make([]byte, 0, 16)
		require.Zero(t, testing.AllocsPerRun(200, func() {
			fail(q.Send(forever, msg, 1))
			_, _, err := q.Receive(forever, small)
			fail(err)
		}), "pooled buffer")
	}
}

func TestMQWaitingDoesNotAllocate(t *testing.T) {
	mqGuard(t)
	there, back := mqMake(t, mqSmall), mqMake(t, mqSmall)
	echoed := make(chan error, 1)
	go func() {
		buf := make([]byte, 0, 64)
		for {
			msg, priority, err := there.Receive(forever, buf)
			if err == nil {
				err = back.Send(forever, msg, priority)
			}
			if err != nil {
				echoed <- err
				return
			}
		}
	}()
	msg, buf := []byte("ping"), make([]byte, 0, 64)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if err := there.Send(forever, msg, 0); err != nil {
			t.Fatal(err)
		}
		if _, _, err := back.Receive(forever, buf); err != nil {
			t.Fatal(err)
		}
	}))
	require.NoError(t, there.Close())
	require.ErrorIs(t, <-echoed, os.ErrClosed)
}

// A foreign process may make a shared description blocking or not at any time: that must
// hang no call that has a context, nor fail one that should wait.
func TestMQSharedFlagFlippedByOthersHangsNothing(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	c, err := MQOver(q, q)
	require.NoError(t, err)
	f, err := q.File()
	require.NoError(t, err)
	defer f.Close()
	raw, err := f.SyscallConn()
	require.NoError(t, err)
	for _, flag := range []int{0, unix.O_NONBLOCK} {
		require.NoError(t, raw.Control(func(fd uintptr) {
			require.Zero(t, mqGetSetAttr(int(fd), &mqAttr{flags: flag}, nil))
		}))
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_, err = c.Receive(ctx, nil)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = c.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
		got := make(chan []byte)
		go func() {
			msg, _ := c.Receive(forever, nil)
			got <- msg
		}()
		mqAwaitWaiter(&q.f.in)
		require.NoError(t, c.Send(forever, []byte("x")))
		require.Equal(t, []byte("x"), <-got)
	}
}

package fallback

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mqSleeper sleeps in the kernel for a message of q, by an alarm that an hour's setting back
// of the clock has made one of the far future. What comes of it is sent.
func mqSleeper(t *testing.T, q *Queue) chan unix.Errno {
	require.True(t, q.f.hold())
	kernelSeats.Add(1)
	alarm := &q.f.in.hurried.alarm
	alarm.set(time.Now().Add(time.Hour))
	ended := make(chan unix.Errno, 1)
	go func() {
		var priority uint32
		_, errno := mqSleepReceive(q.f.fd, make([]byte, q.messageSize), &priority, alarm)
		giveKernelSeat()
		q.f.release()
		ended <- errno
	}()
	return ended
}

func TestMQCloseEndsASleepAlthoughTheClockWasSetBack(t *testing.T) {
	mqGuard(t)
	for range 3 {
		q := mqMake(t, mqSmall)
		ended := mqSleeper(t, q)
		require.NoError(t, q.Close())
		require.Equal(t, unix.ETIMEDOUT, <-ended)
	}
}

// Both ways to interrupt threads, of which Close needs the second where /proc is missing.
func TestMQSleepersAreInterrupted(t *testing.T) {
	mqGuard(t)
	for _, tasks := range []string{mqTasks, "/nonexistent"} {
		if tasks != mqTasks && mqInterruptAll() != 0 {
			t.Log("cgo: only by way of /proc")
			continue
		}
		q := mqMake(t, mqSmall)
		ended := mqSleeper(t, q)
		q.f.in.hurried.alarm.sec.Store(0)
		for interrupted := false; !interrupted; {
			mqInterruptThreads(tasks)
			select {
			case errno := <-ended:
				require.Equal(t, unix.ETIMEDOUT, errno)
				interrupted = true
			case <-time.After(time.Millisecond): // it was not asleep yet
			}
		}
	}
}

func TestMQSleepIsLeftForThePollerWhenNothingComes(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	received := make(chan error)
	go func() { _, _, err := q.Receive(forever, nil); received <- err }()
	for !mqInPoller(&q.f.in) {
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, q.Send(forever, nil, 0))
	require.NoError(t, <-received)
	require.Positive(t, q.f.in.hurried.past.pause, "it has slept in vain, and rests")
}

func mqInPoller(t *mqTurn) bool {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	return t.epoll != nil
}

// Calls that find nothing twice sleep first, and are as right as before: with a context, on
// a handle that has become non-blocking, and closed.
func TestMQCallsThatSleepFirst(t *testing.T) {
	mqGuard(t)
	for _, what := range []string{"a message", "nonblock", "context", "close"} {
		q := mqMake(t, mqSmall)
		q.f.in.hurried.first.Store(1 << 30)
		switch what {
		case "a message":
			go func() { mqMust(q.Send(forever, []byte("x"), 3)) }()
			msg, priority, err := q.Receive(forever, nil)
			require.NoError(t, err)
			require.Equal(t, "x", string(msg))
			require.EqualValues(t, 3, priority)
		case "nonblock":
			require.NoError(t, q.SetNonblock(true))
			_, _, err := q.Receive(forever, nil)
			require.ErrorIs(t, err, ErrWouldBlock)
			c, err := MQOver(q, q)
			require.NoError(t, err)
			go func() { mqMust(c.Send(forever, []byte("x"))) }()
			_, err = c.Receive(forever, nil)
			require.NoError(t, err, "a Conn waits all the same")
		case "context":
			ctx, cancel := context.WithCancel(context.Background())
			go cancel()
			_, _, err := q.Receive(ctx, nil)
			require.ErrorIs(t, err, context.Canceled)
			require.EqualValues(t, 1<<30, q.f.in.hurried.first.Load(), "it does not sleep")
		case "close":
			received := make(chan error)
			go func() { _, _, err := q.Receive(forever, nil); received <- err }()
			mqAwaitWaiter(&q.f.in)
			require.NoError(t, q.Close())
			require.True(t, errors.Is(<-received, os.ErrClosed))
		}
	}
}

// A message that is slept for in the kernel notifies nobody.
func TestMQAHandleWithANotificationDoesNotSleep(t *testing.T) {
	q := mqMake(t, mqSmall)
	require.False(t, q.f.in.hurried.never.Load())
	n, err := q.Notify()
	require.NoError(t, err)
	require.True(t, q.f.in.hurried.never.Load())
	require.NoError(t, n.Close())
	require.False(t, q.f.in.hurried.never.Load())
}

package fallback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mqNotifyWays are the ways to be notified; the second is for where netlink is refused.
var mqNotifyWays = map[string]func() (*mqFD, error){
	"netlink": mqNotifySocket,
	"polled":  func() (*mqFD, error) { return nil, os.NewSyscallError("socket", unix.EAFNOSUPPORT) },
}

func mqForBothWays(t *testing.T, f func(t *testing.T, register func(*Queue) (*QueueNotification, error))) {
	for name, way := range mqNotifyWays {
		t.Run(name, func(t *testing.T) {
			mqGuard(t)
			f(t, func(q *Queue) (*QueueNotification, error) { return q.notify(way) })
		})
	}
}

func mqDrain(t *testing.T, q *Queue) (n int) {
	for {
		if _, _, err := q.TryReceive(nil); err != nil {
			require.ErrorIs(t, err, ErrWouldBlock)
			return n
		}
		n++
	}
}

func TestMQNotificationIsOneShotAndRearmed(t *testing.T) {
	mqForBothWays(t, func(t *testing.T, register func(*Queue) (*QueueNotification, error)) {
		q := mqMake(t, mqSmall)
		n, err := register(q)
		require.NoError(t, err)
		defer n.Close()
		require.NoError(t, n.Rearm(), "it is armed: nothing to do")
		for range 5 {
			waited := make(chan error)
			go func() { waited <- n.Wait(context.Background()) }()
			require.NoError(t, q.Send(forever, nil, 0))
			require.NoError(t, <-waited)
			require.ErrorIs(t, n.Wait(forever), ErrNotArmed)
			require.NoError(t, n.Rearm())
			require.Equal(t, 1, mqDrain(t, q))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, n.Wait(ctx), context.DeadlineExceeded, "empty: nothing comes")
	})
}

func TestMQNotificationComesOnlyWhenAMessageComesIntoTheEmptyQueue(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	require.NoError(t, q.Send(forever, nil, 0))
	n, err := q.Notify()
	require.NoError(t, err)
	require.False(t, n.Polled())
	defer n.Close()
	require.NoError(t, q.Send(forever, nil, 0))
	require.True(t, mqOthersAreRefused(t, q), "the registration is still there")
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, n.Wait(ctx), context.DeadlineExceeded)
	require.Equal(t, 2, mqDrain(t, q))
	require.NoError(t, q.Send(forever, nil, 0))
	require.NoError(t, n.Wait(forever))
}

// mqOthersAreRefused says whether a registration is there: another process tries, because
// to look costs this one its own.
func mqOthersAreRefused(t *testing.T, q *Queue) bool {
	c := mqStart(t, "mqRegister", nil, q.Name())
	line := c.line()
	require.NoError(t, c.in.Close())
	c.finish(t)
	return line == "EBUSY"
}

func init() {
	roles["mqRegister"] = func() {
		q, err := OpenQueue(os.Args[1], os.O_RDONLY, 0, nil)
		mqMust(err)
		n, err := q.Notify()
		if err != nil {
			if !errors.Is(err, unix.EBUSY) {
				mqMust(err)
			}
			fmt.Println("EBUSY")
			return
		}
		fmt.Println("registered")
		var b [1]byte
		_, _ = os.Stdin.Read(b[:])
		mqMust(n.Close())
	}
}

func TestMQOneProcessIsRegistered(t *testing.T) {
	mqForBothWays(t, func(t *testing.T, register func(*Queue) (*QueueNotification, error)) {
		q := mqMake(t, mqSmall)
		again := mqOpenAgain(t, q, os.O_RDONLY)
		n, err := register(q)
		require.NoError(t, err)
		_, err = register(again)
		require.ErrorIs(t, err, unix.EBUSY)
		require.True(t, mqOthersAreRefused(t, q))
		require.NoError(t, n.Close())
		require.ErrorIs(t, n.Close(), os.ErrClosed)
		require.ErrorIs(t, n.Rearm(), os.ErrClosed)
		require.ErrorIs(t, n.Wait(forever), os.ErrClosed)
		require.False(t, mqOthersAreRefused(t, q))

		other := mqStart(t, "mqRegister", nil, q.Name())
		require.Equal(t, "registered", other.line())
		_, err = register(q)
		require.ErrorIs(t, err, unix.EBUSY)
		other.kill()
		n, err = register(q)
		require.NoError(t, err, "a killed process's registration is gone with it")
		require.NoError(t, n.Close())
	})
}

func TestMQRegistrationExcludesAProgramInC(t *testing.T) {
	mqGuard(t)
	peer := mqPeer(t)
	q := mqMake(t, mqSmall)
	n, err := q.Notify()
	require.NoError(t, err)
	c := mqRun(t, exec.Command(peer, "register", q.Name()))
	require.Equal(t, "EBUSY", c.line())
	require.NoError(t, c.in.Close())
	c.finish(t)
	require.NoError(t, n.Close())
	c = mqRun(t, exec.Command(peer, "register", q.Name()))
	require.Equal(t, "registered", c.line())
	_, err = q.Notify()
	require.ErrorIs(t, err, unix.EBUSY)
	require.NoError(t, c.in.Close())
	c.finish(t)
}

func TestMQNotificationOfAMessageFromAnotherProcess(t *testing.T) {
	mqForBothWays(t, func(t *testing.T, register func(*Queue) (*QueueNotification, error)) {
		q := mqMake(t, mqSmall)
		n, err := register(q)
		require.NoError(t, err)
		defer n.Close()
		mqStart(t, "mqSendForever", nil, q.Name())
		for got := 0; got < 100; {
			require.NoError(t, n.Wait(forever))
			require.NoError(t, n.Rearm())
			got += mqDrain(t, q)
		}
	})
}

// Whatever descriptor of the queue a process closes, the kernel forgets its registration.
func TestMQNotificationOutlivesTheClosingOfAnotherHandle(t *testing.T) {
	mqForBothWays(t, func(t *testing.T, register func(*Queue) (*QueueNotification, error)) {
		q := mqMake(t, mqSmall)
		n, err := register(q)
		require.NoError(t, err)
		defer n.Close()
		again := mqOpenAgain(t, q, os.O_RDWR)
		waited := make(chan error)
		go func() { waited <- n.Wait(forever) }()
		if n.Polled() {
			mqAwaitWaiter(&q.f.in)
		} else {
			mqAwaitWaiter(&n.socket.in)
		}
		require.NoError(t, again.Close())
		require.NoError(t, q.Send(forever, nil, 0))
		require.NoError(t, <-waited)
	})
}

func TestMQNotificationIsNotLostWhileItWasForgotten(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	n, err := q.Notify()
	require.NoError(t, err)
	defer n.Close()
	require.NoError(t, mqOpenAgain(t, q, os.O_RDWR).Close())
	require.NoError(t, q.Send(forever, nil, 0)) // nobody is registered
	require.NoError(t, n.Wait(forever))
	require.NoError(t, n.Rearm())
	require.Equal(t, 1, mqDrain(t, q))
	require.NoError(t, q.Send(forever, nil, 0))
	require.NoError(t, n.Wait(forever))
}

func TestMQClosingEndsABlockedWait(t *testing.T) {
	mqForBothWays(t, func(t *testing.T, register func(*Queue) (*QueueNotification, error)) {
		for _, what := range []string{"notification", "queue", "context"} {
			q := mqMake(t, mqSmall)
			n, err := register(q)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			waited := make(chan error)
			go func() { waited <- n.Wait(ctx) }()
			if n.Polled() {
				mqAwaitWaiter(&q.f.in)
			} else {
				mqAwaitWaiter(&n.socket.in)
			}
			want := os.ErrClosed
			switch what {
			case "notification":
				require.NoError(t, n.Close())
			case "queue":
				require.NoError(t, q.Close())
			case "context":
				want = context.Canceled
				cancel()
			}
			require.ErrorIs(t, <-waited, want, what)
			if what == "context" {
				require.NoError(t, q.Send(forever, nil, 0))
				require.NoError(t, n.Wait(context.Background()), "it is still armed")
			}
			cancel()
			_ = n.Close()
		}
	})
}

func TestMQNotificationSurvivesABlockedReceive(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	n, err := q.Notify()
	require.NoError(t, err)
	defer n.Close()
	received := make(chan error)
	go func() { _, _, err := q.Receive(forever, nil); received <- err }()
	mqAwaitWaiter(&q.f.in)
	require.NoError(t, q.Send(forever, nil, 0))
	require.NoError(t, <-received)
	require.NoError(t, n.Wait(forever), "the receiver waits in the poller, which the kernel does not count")
}

package channel

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noPorts waits until no goroutine of In or Out is left.
func noPorts(ctx context.Context, t testing.TB) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for {
		all := string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(all, ").runIn(") && !strings.Contains(all, ").runOut(") {
			return
		}
		require.NoError(t, ctx.Err(), "%s", all)
		time.Sleep(time.Millisecond)
	}
}

func TestInAndOutInASelectStatement(t *testing.T) {
	selectShapes(t, func(t *testing.T, capacity int, opts ...Option) {
		a, b := twoHandles[[]byte](t, capacity, opts...)
		ctx := within(t)
		go func() {
			for i := range 100 {
				select {
				case a.In() <- []byte{byte(i)}:
				case <-ctx.Done():
				}
			}
			a.Close()
		}()
		n := 0
		for v := range b.Out() {
			require.Equal(t, []byte{byte(n)}, v)
			n++
		}
		require.Equal(t, 100, n)
		require.NoError(t, b.Err())
		noPorts(ctx, t)
	})
}

func TestCloseSendsWhatInHasTaken(t *testing.T) {
	a, b := twoHandles[int](t, 1)
	ctx := within(t)
	a.In() <- 1
	a.In() <- 2 // taken, and waiting for room
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	for want := range 2 {
		v, err := b.RecvContext(ctx)
		require.NoError(t, err)
		require.Equal(t, want+1, v)
	}
	require.NoError(t, <-closed)
	_, err := b.RecvContext(ctx)
	require.ErrorIs(t, err, ErrClosed)
	select {
	case a.In() <- 3:
		t.Fatal("taken after Close")
	case <-time.After(10 * time.Millisecond):
	}
	noPorts(ctx, t)
}

func TestOutGivesBackWhatNobodyTakes(t *testing.T) {
	selectShapes(t, func(t *testing.T, capacity int, opts ...Option) {
		if capacity == 0 {
			return // there it is taken, and lost
		}
		a, b := twoHandles[int](t, capacity, opts...)
		ctx := within(t)
		require.NoError(t, a.Send(7))
		out := b.Out()
		for b.Stats().OutHeld == 0 {
			require.NoError(t, ctx.Err())
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, 1, a.Len())
		require.NoError(t, b.Detach())
		_, ok := <-out
		require.False(t, ok)
		require.ErrorIs(t, b.Err(), ErrDetached)
		noPorts(ctx, t)
		v, err := a.RecvContext(ctx)
		require.NoError(t, err)
		require.Equal(t, 7, v)
	})
}

func TestOutOfARendezvousHoldsUpNoSender(t *testing.T) {
	a, b := twoHandles[string](t, 0)
	ctx := within(t)
	out := b.Out()
	require.NoError(t, a.SendContext(ctx, "held by Out"))
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.SendContext(short, "nobody takes it"), context.DeadlineExceeded)
	require.Equal(t, "held by Out", <-out)
	require.NoError(t, a.SendContext(ctx, "x"))
	require.Equal(t, "x", <-out)
}

func TestInAndOutEndWithTheirContext(t *testing.T) {
	a, b := twoHandles[int](t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	in, out := a.InContext(ctx), b.OutContext(ctx)
	in <- 1
	require.Equal(t, 1, <-out)
	cancel()
	_, ok := <-out
	require.False(t, ok)
	require.ErrorIs(t, b.Err(), context.Canceled)
	noPorts(within(t), t)
	require.NoError(t, a.Send(2)) // the channel is as it was
	v, ok := b.Recv()
	require.True(t, ok)
	require.Equal(t, 2, v)
}

func TestDetachEndsInAndOut(t *testing.T) {
	a, b := twoHandles[int](t, 1)
	_, _ = a.In(), b.Out()
	a.In() <- 1
	require.NoError(t, a.Detach())
	require.NoError(t, b.Detach())
	noPorts(within(t), t)
	require.True(t, errors.Is(b.Err(), os.ErrClosed))
}

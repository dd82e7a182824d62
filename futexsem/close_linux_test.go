package futexsem

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClosedNamedFails(t *testing.T) {
	_, n := openNew(t, 1)
	require.NoError(t, n.Close())
	for what, err := range map[string]error{
		"Close": n.Close(), "Post": n.Post(), "Wait": n.Wait(), "TryWait": n.TryWait(),
		"WaitContext": n.WaitContext(t.Context()),
	} {
		require.ErrorIs(t, err, os.ErrClosed, what)
		require.ErrorContains(t, err, n.name, what)
	}
	require.Zero(t, n.Value())
}

func TestCloseEndsItsOwnSleepersOnly(t *testing.T) {
	guard(t)
	name, n := openNew(t, 0)
	other, err := OpenNamed(name, 0, 0, 0)
	require.NoError(t, err)
	elsewhere := make(chan error)
	go func() { elsewhere <- other.Wait() }()
	awaitWaiters(other.Sem, 1)
	const sleepers = 6
	done := make(chan error, sleepers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range sleepers {
		go func() {
			if i%2 == 0 {
				done <- n.Wait()
			} else {
				done <- n.WaitContext(ctx)
			}
		}()
	}
	awaitWaiters(other.Sem, 1+sleepers)
	require.NoError(t, n.Close())
	for range sleepers {
		require.ErrorIs(t, <-done, os.ErrClosed)
	}
	require.EqualValues(t, 1, other.cell.waiters())
	require.NoError(t, other.Post())
	require.NoError(t, <-elsewhere)
	requireIdle(t, other.Sem, 0)
	require.NoError(t, other.Close())
}

func TestCloseAmidEverything(t *testing.T) {
	guard(t)
	name, keeper := openNew(t, 0)
	for range 100 {
		n, err := OpenNamed(name, 0, 0, 0)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for _, f := range []func() error{
			n.Post, n.Wait, n.TryWait,
			func() error { n.Value(); return n.Post() },
			func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Microsecond)
				defer cancel()
				return n.WaitContext(ctx)
			},
		} {
			wg.Go(func() {
				for {
					if err := f(); errors.Is(err, os.ErrClosed) {
						return
					}
					runtime.Gosched() // or they would keep the closer from running
				}
			})
		}
		for range rand.IntN(200) {
			runtime.Gosched()
		}
		require.NoError(t, n.Close())
		wg.Wait()
		require.Zero(t, keeper.cell.waiters())
	}
	require.NoError(t, keeper.Close())
}

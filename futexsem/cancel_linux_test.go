package futexsem

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCancelEndsASleep(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	cause := errors.New("the cause")
	for range 200 {
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- s.WaitContext(ctx) }()
		awaitWaiters(s, 1)
		cancel(cause)
		require.ErrorIs(t, <-done, context.Canceled)
		requireIdle(t, s, 0)
	}
}

func TestDeadlineEndsASleep(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Microsecond)
		require.ErrorIs(t, s.WaitContext(ctx), context.DeadlineExceeded)
		cancel()
	}
	requireIdle(t, s, 0)
}

// lateCtx is cancelled while sleep looks at it, and does not say so yet.
type lateCtx struct {
	context.Context
	looks atomic.Int32
	onTwo func()
}

func (c *lateCtx) Err() error {
	err := c.Context.Err()
	if c.looks.Add(1) == 2 { // the first is WaitContext's own
		c.onTwo()
	}
	return err
}

// Between a sleeper's look at its context and its sleep, a wake-up finds nobody.
func TestCancelJustBeforeTheSleepIsNotMissed(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		late := &lateCtx{Context: ctx, onTwo: func() {
			cancel()
			time.Sleep(time.Millisecond) // the first wake-up is gone by then
		}}
		require.ErrorIs(t, s.WaitContext(late), context.Canceled)
		requireIdle(t, s, 0)
	}
}

func TestCancelOfOneLeavesTheOthersAsleep(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	const others = 40 // more than a bitset has bits
	var wg sync.WaitGroup
	live, end := context.WithCancel(t.Context())
	defer end()
	for i := range others {
		wg.Go(func() {
			if i%2 == 0 {
				check(s.Wait())
			} else {
				check(s.WaitContext(live))
			}
		})
	}
	awaitWaiters(s, others)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.WaitContext(ctx) }()
	awaitWaiters(s, others+1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.EqualValues(t, others, s.cell.waiters())
	for range others {
		require.NoError(t, s.Post())
	}
	wg.Wait()
	requireIdle(t, s, 0)
}

// A post may wake just the one who is being cancelled. The other must then get
// the token: one of the two, in every round.
func TestACancelledWaiterHandsItsWakeUpOn(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	cancelledFirst := 0
	for round := range 1500 {
		ctx, cancel := context.WithCancel(t.Context())
		cancelled, plain := make(chan error, 1), make(chan error, 1)
		go func() { cancelled <- s.WaitContext(ctx) }()
		awaitWaiters(s, 1) // asleep first, so woken first
		go func() { plain <- s.Wait() }()
		awaitWaiters(s, 2)
		if round%3 == 0 {
			go cancel()
		} else {
			cancel()
		}
		if round%3 == 2 {
			runtime.Gosched()
		}
		require.NoError(t, s.Post())
		if err := <-cancelled; err != nil {
			require.ErrorIs(t, err, context.Canceled)
			cancelledFirst++
		} else {
			require.NoError(t, s.Post())
		}
		require.NoError(t, <-plain)
		requireIdle(t, s, 0)
	}
	t.Logf("the cancellation won %d times", cancelledFirst)
}

// Each token must be taken before the next one is posted: one wake-up lost
// while somebody sleeps, and the test stands still.
func TestCancellationStormLosesNothing(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	const rounds, steady, fickle = 3000, 2, 6
	taken := make(chan struct{}, 1)
	var over atomic.Bool
	var wg sync.WaitGroup
	for range steady {
		wg.Go(func() {
			for {
				check(s.Wait())
				if over.Load() {
					return
				}
				taken <- struct{}{}
			}
		})
	}
	for range fickle {
		wg.Go(func() {
			for !over.Load() {
				if fickleWait(s) {
					taken <- struct{}{}
				}
			}
		})
	}
	for range rounds {
		require.NoError(t, s.Post())
		<-taken
	}
	require.Zero(t, s.Value())
	over.Store(true)
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	for { // a token for each of the steady, however many the fickle still take
		select {
		case <-ended:
			return
		case <-taken:
		default:
			if s.Value() == 0 {
				check(s.Post())
			}
			runtime.Gosched()
		}
	}
}

// fickleWait waits for a random short time, and says whether it took a token.
func fickleWait(s *Sem) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(300))*time.Microsecond)
	defer cancel()
	err := s.WaitContext(ctx)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		panic(err)
	}
	return err == nil
}

// The same between processes: tokens at offset 0, the takers' receipts at 64.
func TestCancellationStormAcrossProcesses(t *testing.T) {
	guard(t)
	name, mem := newObject(t)
	tokens, err := Init(mem, 0)
	require.NoError(t, err)
	receipts, err := Init(mem[64:], 0)
	require.NoError(t, err)
	children := []*child{
		startChild(t, "steady taker", name),
		startChild(t, "fickle taker", name, "2"),
		startChild(t, "fickle taker", name, "3"),
	}
	for range 2000 {
		require.NoError(t, tokens.Post())
		require.NoError(t, receipts.Wait())
	}
	for _, c := range children {
		c.dismiss(t)
	}
	require.Zero(t, tokens.Value())
	require.Zero(t, receipts.Value())
}

func steadyTaker(args []string) {
	mem := must(mapObject(args[0]))
	tokens, receipts := must(At(mem)), must(At(mem[64:]))
	for {
		check(tokens.Wait())
		check(receipts.Post())
	}
}

func fickleTaker(args []string) {
	mem := must(mapObject(args[0]))
	tokens, receipts := must(At(mem)), must(At(mem[64:]))
	for range number(args[1]) {
		go func() {
			for {
				if fickleWait(tokens) {
					check(receipts.Post())
				}
			}
		}()
	}
	select {}
}

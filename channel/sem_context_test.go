//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func semCancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestSemAContextThatIsOverEndsACallThatWouldBlock(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		v, err := rx.RecvContext(semCancelled())
		semIs(t, err, context.Canceled, "recv|receiv", rx.Name())
		require.Zero(t, v)
		for i := range uint64(s.capacity) {
			require.NoError(t, tx.SendContext(context.Background(), i))
		}
		semIs(t, tx.SendContext(semCancelled(), 99), context.Canceled, "send", tx.Name())
		require.Equal(t, s.capacity, rx.Len())
		for i := range uint64(s.capacity) {
			semWant(t, rx, i)
		}
		semDrained(t, rx)
	})
}

func TestSemAContextThatIsOverDecidesOrDoesNot(t *testing.T) {
	// where there is room or a message: nil and done, or an error and not done
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 2, mode)
		for range 20 {
			err := c.SendContext(semCancelled(), 1)
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				require.Zero(t, c.Len())
				semFill(t, c, 1)
			}
			require.Equal(t, 1, c.Len())
			v, err := c.RecvContext(semCancelled())
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				require.Zero(t, v)
				semWant(t, c, uint64(1))
			} else {
				require.Equal(t, uint64(1), v)
			}
			semDrained(t, c)
		}
	})
}

func TestSemCancelFreesABlockedSend(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for i := range uint64(s.capacity) {
			require.NoError(t, tx.Send(i))
		}
		for range 5 {
			ctx, cancel := context.WithCancel(context.Background())
			sender := semStart(func() error { return tx.SendContext(ctx, 666) })
			sender.blocks(t, "SendContext")
			cancel()
			require.ErrorIs(t, sender.wait(), context.Canceled)
		}
		require.ErrorIs(t, tx.TrySend(666), channel.ErrFull)
		for i := range uint64(s.capacity) {
			semWant(t, rx, i)
		}
		semDrained(t, rx)
		sender := semSend(tx, 7) // and the channel goes on
		v, ok := rx.Recv()
		require.True(t, ok)
		require.Equal(t, uint64(7), v)
		require.NoError(t, sender.wait())
	})
}

func TestSemCancelFreesABlockedRecv(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for range 5 {
			ctx, cancel := context.WithCancel(context.Background())
			receiver := semStart(func() error { _, err := rx.RecvContext(ctx); return err })
			receiver.blocks(t, "RecvContext")
			cancel()
			require.ErrorIs(t, receiver.wait(), context.Canceled)
		}
		if s.capacity == 0 {
			require.ErrorIs(t, tx.TrySend(1), channel.ErrFull, "nobody waits any more")
		}
		sender := semSend(tx, 7)
		v, ok := rx.Recv()
		require.True(t, ok)
		require.Equal(t, uint64(7), v)
		require.NoError(t, sender.wait())
		semDrained(t, rx)
	})
}

func TestSemCancelFreesASendThatWaitsForBytes(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[[]byte](t, 100, mode, channel.MaxMessage(100), channel.Space(100))
		held := semFillBytes(t, c, 100)
		ctx, cancel := context.WithCancel(context.Background())
		sender := semStart(func() error { return c.SendContext(ctx, semPattern[500:600]) })
		sender.blocks(t, "SendContext while the bytes are full")
		cancel()
		require.ErrorIs(t, sender.wait(), context.Canceled)
		for i := range held {
			semWant(t, c, semPattern[i:i+100])
		}
		semDrained(t, c)
		semFill(t, c, semPattern[:100])
	})
}

func TestSemCancelOfOneLeavesTheOthersWaiting(t *testing.T) {
	for _, capacity := range []int{0, 1} {
		t.Run(fmt.Sprintf("cap=%d", capacity), func(t *testing.T) {
			c := semNew[uint64](t, capacity)
			ctx, cancel := context.WithCancel(context.Background())
			receive := func(ctx context.Context) *semTask[semGot[uint64]] {
				return semStart(func() (g semGot[uint64]) { g.v, g.err = c.RecvContext(ctx); return g })
			}
			first, second, third := receive(ctx), receive(context.Background()), receive(ctx)
			third.blocks(t, "RecvContext")
			cancel()
			require.ErrorIs(t, first.wait().err, context.Canceled)
			require.ErrorIs(t, third.wait().err, context.Canceled)
			second.blocks(t, "RecvContext of another context")
			require.NoError(t, c.Send(3))
			require.Equal(t, semGot[uint64]{3, nil}, second.wait())
		})
	}
}

func TestSemAContextsErrorIsTheOneThatComes(t *testing.T) {
	semEach(t, semModes, []int{0, 1}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for range s.capacity {
			require.NoError(t, tx.Send(0))
		}
		soon := func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), time.Millisecond)
		}
		ctx, cancel := soon()
		defer cancel()
		err := tx.SendContext(ctx, 1)
		semIs(t, err, context.DeadlineExceeded, "send", tx.Name())
		require.NotErrorIs(t, err, context.Canceled)

		for range s.capacity {
			_, ok := rx.Recv()
			require.True(t, ok)
		}
		ctx, cancel = soon()
		defer cancel()
		_, err = rx.RecvContext(ctx)
		semIs(t, err, context.DeadlineExceeded, "recv|receiv", rx.Name())
		require.NotErrorIs(t, err, context.Canceled)

		past, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Hour))
		defer cancel()
		_, err = rx.RecvContext(past)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, rx.Err())
	})
}

func TestSemAContextThatLivesChangesNothing(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		n := semFewer(300)
		sender := semStart(func() error {
			for i := range uint64(n) {
				if err := tx.SendContext(ctx, i); err != nil {
					return err
				}
			}
			return tx.Close()
		})
		for i := range uint64(n) {
			v, err := rx.RecvContext(ctx)
			require.NoError(t, err)
			require.Equal(t, i, v)
		}
		require.NoError(t, sender.wait())
		_, err := rx.RecvContext(ctx)
		require.ErrorIs(t, err, channel.ErrClosed)
		require.ErrorIs(t, tx.SendContext(ctx, 1), channel.ErrClosed)
	})
}

func TestSemASendWhoseReceiverIsInFIsDecidedByF(t *testing.T) {
	// A rendezvous: f has the value in hand when the sender's context ends. Its
	// SendContext may not report an error if f accepts.
	for _, outcome := range []error{nil, errSemRefused} {
		for _, mode := range semModes {
			t.Run(fmt.Sprintf("%s/%v", mode.name, outcome), func(t *testing.T) {
				tx, rx := semConnect[uint64](t, "New+FromFile", 0, mode.opt)
				ctx, cancel := context.WithCancel(context.Background())
				sender := semStart(func() error { return tx.SendContext(ctx, 5) })
				inside, leave := make(chan struct{}), semNewGate(t)
				receiver := semStart(func() error {
					return rx.RecvFunc(func(*uint64) error { close(inside); leave.pass(); return outcome })
				})
				<-inside
				cancel()
				time.Sleep(semGrace)
				leave.open()
				require.Equal(t, outcome, receiver.wait())
				err := sender.wait()
				if outcome == nil {
					require.NoError(t, err, "f has accepted the message")
				} else if err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
				semDrained(t, rx)
			})
		}
	}
}

func TestSemCancellationStorm(t *testing.T) {
	// Contexts end at random moments on both sides. What was sent with nil comes
	// once; what was reported as an error never comes.
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 3, 64} {
			for _, way := range []string{"New", "Create+Attach"} {
				t.Run(fmt.Sprintf("%s/cap=%d/%s", mode.name, capacity, way), func(t *testing.T) {
					tx, rx := semConnect[uint64](t, way, capacity, mode.opt)
					parties := 3
					if mode.name == "SPSC" {
						parties = 1
					}
					semStorm(t, tx, rx, parties, func(c *channel.Chan[uint64], ctx context.Context, v uint64) error {
						return c.SendContext(ctx, v)
					}, func(c *channel.Chan[uint64], ctx context.Context) (uint64, error) {
						return c.RecvContext(ctx)
					})
				})
			}
		}
	}
}

func TestSemCancellationStormOfPackedMessages(t *testing.T) {
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) {
			c := semNew[[]byte](t, 20, mode.opt, channel.MaxMessage(64), channel.Space(150))
			parties := 3
			if mode.name == "SPSC" {
				parties = 1
			}
			semStorm(t, c, c, parties, func(c *channel.Chan[[]byte], ctx context.Context, v uint64) error {
				return c.SendContext(ctx, append(fmt.Appendf(nil, "%d ", v), semPattern[:v%40]...))
			}, func(c *channel.Chan[[]byte], ctx context.Context) (v uint64, err error) {
				b, err := c.RecvContext(ctx)
				if err != nil {
					return 0, err
				}
				if _, err := fmt.Sscanf(string(b), "%d ", &v); err != nil {
					return 0, fmt.Errorf("%q: %w", b, err)
				}
				if want := append(fmt.Appendf(nil, "%d ", v), semPattern[:v%40]...); string(want) != string(b) {
					return 0, fmt.Errorf("torn message %q", b)
				}
				return v, nil
			})
		})
	}
}

// semSoon is a context that ends by itself before long, in one way or another.
func semSoon(r *rand.Rand) (context.Context, context.CancelFunc) {
	switch r.IntN(4) {
	case 0:
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx, cancel
	case 1:
		ctx, cancel := context.WithCancel(context.Background())
		n := r.IntN(20)
		go func() {
			for range n {
				runtime.Gosched()
			}
			cancel()
		}()
		return ctx, cancel
	default:
		return context.WithTimeout(context.Background(), time.Duration(r.IntN(100))*time.Microsecond)
	}
}

func semStorm[T any](t *testing.T, tx, rx *channel.Chan[T], parties int,
	send func(*channel.Chan[T], context.Context, uint64) error,
	recv func(*channel.Chan[T], context.Context) (uint64, error),
) {
	t.Helper()
	rounds := semFewer(900) / parties
	sent := make([][]uint64, parties)
	got := make([][]uint64, parties)
	over := func(err error) bool {
		return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	}
	var senders, receivers sync.WaitGroup
	for p := range parties {
		senders.Go(func() {
			r := semRand(uint64(p))
			for i := range rounds {
				ctx, cancel := semSoon(r)
				err := send(tx, ctx, semID(p, i))
				cancel()
				if err == nil {
					sent[p] = append(sent[p], semID(p, i))
				} else if !over(err) {
					t.Errorf("sender %d, message %d: %v", p, i, err)
					return
				}
			}
		})
		receivers.Go(func() {
			r := semRand(uint64(100 + p))
			for {
				ctx, cancel := semSoon(r)
				v, err := recv(rx, ctx)
				cancel()
				switch {
				case err == nil:
					got[p] = append(got[p], v)
				case errors.Is(err, channel.ErrClosed):
					return
				case !over(err):
					t.Errorf("receiver %d: %v", p, err)
					return
				}
			}
		})
	}
	senders.Wait()
	require.NoError(t, tx.Close())
	// with contexts that end at once nobody may ever see the end
	drained := semStart(func() (vs []uint64) {
		if parties == 1 {
			return nil // the seat's one goroutine drains
		}
		for {
			v, err := recv(rx, context.Background())
			if err != nil {
				return vs
			}
			vs = append(vs, v)
		}
	})
	receivers.Wait()
	semExact(t, sent, append(got, drained.wait()))
	total := 0
	for _, vs := range sent {
		total += len(vs)
	}
	t.Logf("%d of %d messages went through", total, rounds*parties)
}

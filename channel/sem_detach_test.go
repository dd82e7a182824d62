//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semGone checks an error that a detached handle gave.
func semGone(t *testing.T, err error, words ...string) {
	t.Helper()
	semIs(t, err, channel.ErrDetached, words...)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NotErrorIs(t, err, channel.ErrClosed, "the channel itself is not closed")
}

func TestSemAfterDetachEveryCallFails(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		if s.capacity > 0 {
			semFill(t, tx, 1)
		}
		handles := []*channel.Chan[uint64]{tx, rx}
		if tx == rx {
			handles = handles[:1]
		}
		for _, c := range handles {
			name := c.Name()
			require.NoError(t, c.Detach())
			semSendsFail(t, c, channel.ErrDetached)
			semEnded(t, c, channel.ErrDetached)
			semGone(t, c.Send(1), "send", name)
			semGone(t, c.TrySend(1), "send", name)
			_, err := c.TryRecv()
			semGone(t, err, "recv|receiv", name)
			_, err = c.Reserve()
			semGone(t, err, "reserve", name)
			_, err = c.File()
			semGone(t, err, "file", name)
			semGone(t, c.Close(), "close", name)
			semGone(t, c.Detach(), "detach", name)
			semGone(t, c.Detach(), "detach", name)
			semGone(t, c.Err())

			// these have no error to give, and must not fall over
			c.Len()
			c.Stats()
			require.Equal(t, s.capacity, c.Cap())
			require.Equal(t, name, c.Name())
		}
	})
}

func TestSemDetachFreesWhoIsBlocked(t *testing.T) {
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 10} {
			forms := semSendForms[uint64](false, true)
			for _, form := range forms {
				t.Run(fmt.Sprintf("%s/cap=%d/%s", mode.name, capacity, form.name), func(t *testing.T) {
					name := uniqueName(t)
					mine := semOpen[uint64](t, name, capacity, mode.opt)
					others := semAttach[uint64](t, name)
					for i := range uint64(capacity) {
						require.NoError(t, mine.Send(i))
					}
					blocked := semStart(func() error { return form.call(mine, 99) })
					blocked.blocks(t, form.name)
					require.NoError(t, mine.Detach())
					semGone(t, blocked.wait())
					for i := range uint64(capacity) {
						semWant(t, others, i)
					}
					semDrained(t, others) // what was blocked is not sent
				})
			}
			for _, form := range semRecvForms[uint64](false) {
				t.Run(fmt.Sprintf("%s/cap=%d/%s", mode.name, capacity, form.name), func(t *testing.T) {
					name := uniqueName(t)
					mine := semOpen[uint64](t, name, capacity, mode.opt)
					others := semAttach[uint64](t, name)
					blocked := semStart(func() error { _, err := form.call(mine); return err })
					blocked.blocks(t, form.name)
					require.NoError(t, mine.Detach())
					semGone(t, blocked.wait())
					if capacity > 0 {
						semFill(t, others, 1) // nobody there takes it any more
						require.Equal(t, 1, others.Len())
					} else {
						require.ErrorIs(t, others.TrySend(1), channel.ErrFull)
					}
				})
			}
		}
	}
}

func TestSemDetachFreesManyAtOnce(t *testing.T) {
	c := semNew[uint64](t, 0)
	var blocked []*semTask[semGot[uint64]]
	for range 30 {
		blocked = append(blocked, semRecv(c))
	}
	blocked[29].blocks(t, "Recv")
	require.NoError(t, c.Detach())
	for _, k := range blocked {
		semGone(t, k.wait().err)
	}
}

func TestSemOfManyDetachesAtOnceOneSucceeds(t *testing.T) {
	for range semFewer(200) {
		c := semNew[uint64](t, 1)
		receiver := semRecv(c)
		var tasks []*semTask[error]
		for range 3 {
			tasks = append(tasks, semStart(c.Detach))
		}
		good := 0
		for _, k := range tasks {
			if err := k.wait(); err == nil {
				good++
			} else {
				require.ErrorIs(t, err, channel.ErrDetached)
			}
		}
		require.Equal(t, 1, good)
		require.ErrorIs(t, receiver.wait().err, channel.ErrDetached)
	}
}

func TestSemDetachLeavesTheChannelToTheOthers(t *testing.T) {
	h := semMembers(t, 3, 4)
	semFill(t, h[0], 1, 2)
	require.NoError(t, h[0].Detach())
	require.False(t, h[1].Stats().Closed)
	semWant(t, h[1], uint64(1))
	require.NoError(t, h[1].Detach())
	semFill(t, h[2], 3)
	semWant(t, h[2], uint64(2))
	semWant(t, h[2], uint64(3))
	require.Equal(t, 1, h[2].Stats().Members)
}

func TestSemDetachInTheMiddleOfTrafficLosesNothing(t *testing.T) {
	// The sender's handle goes away while it sends, the receiver's stays. What
	// was sent with nil comes, once; nothing else does.
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 3, 64} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				name := uniqueName(t)
				rx := semOpen[uint64](t, name, capacity, mode.opt)
				receiver := semStart(func() (vs []uint64) {
					for v := range rx.All() {
						vs = append(vs, v)
					}
					return vs
				})
				var sent [][]uint64
				r := semRand(uint64(capacity))
				for round := range semFewer(150) {
					tx := semAttach[uint64](t, name)
					turn, now := r.IntN(20), make(chan struct{})
					sender := semStart(func() (vs []uint64) {
						for i := range turn + 100 {
							if i == turn {
								close(now)
							}
							v := semID(round, i)
							if err := tx.Send(v); err != nil {
								if !errors.Is(err, channel.ErrDetached) {
									t.Errorf("Send: %v", err)
								}
								return vs
							}
							vs = append(vs, v)
						}
						return vs
					})
					<-now
					require.NoError(t, tx.Detach())
					sent = append(sent, sender.wait())
				}
				require.NoError(t, rx.Close())
				semExact(t, sent, [][]uint64{receiver.wait()})
			})
		}
	}
}

func TestSemDetachOfAReceiverInTheMiddleOfTrafficLosesNothing(t *testing.T) {
	// Receivers come and go; what one had not taken is left to the next.
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 3, 64} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				name := uniqueName(t)
				tx := semOpen[uint64](t, name, capacity, mode.opt)
				rounds := semFewer(150)
				n := rounds * 20
				sender := semStart(func() error {
					for i := range n {
						if err := tx.Send(semID(0, i)); err != nil {
							return fmt.Errorf("message %d: %w", i, err)
						}
					}
					return tx.Close()
				})
				var got []uint64
				r := semRand(uint64(capacity))
				for range rounds {
					rx := semAttach[uint64](t, name)
					turn, now := r.IntN(20), make(chan struct{})
					receiver := semStart(func() (vs []uint64) {
						for {
							if len(vs) == turn {
								close(now)
							}
							v, ok := rx.Recv()
							if !ok {
								if err := rx.Err(); !errors.Is(err, channel.ErrDetached) && err != nil {
									t.Errorf("the end: %v", err)
								}
								if len(vs) < turn {
									close(now)
								}
								return vs
							}
							vs = append(vs, v)
						}
					})
					<-now
					require.NoError(t, rx.Detach())
					got = append(got, receiver.wait()...)
				}
				last := semAttach[uint64](t, name)
				for v := range last.All() {
					got = append(got, v)
				}
				require.NoError(t, sender.wait())
				sent := make([]uint64, n)
				for i := range sent {
					sent[i] = semID(0, i)
				}
				semExact(t, [][]uint64{sent}, [][]uint64{got})
			})
		}
	}
}

func TestSemDetachWhileFRuns(t *testing.T) {
	// f may look at its message as long as it runs, whatever happens to the
	// handle. Whether Detach waits for it is left open.
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) {
			c := semNew[semHuge](t, 2, mode.opt)
			other := semOther(t, c)
			want := semHuges.gen(5)
			require.NoError(t, c.Send(want))
			inside, leave := make(chan struct{}), semNewGate(t)
			receiver := semStart(func() error {
				return c.RecvFunc(func(v *semHuge) error {
					close(inside)
					leave.pass()
					for range 100 {
						if *v != want {
							return errors.New("the message changed in hand")
						}
						runtime.Gosched()
					}
					return nil
				})
			})
			<-inside
			detach := semStart(c.Detach)
			select {
			case <-detach.done:
			case <-time.After(semGrace):
			}
			leave.open()
			if err := receiver.wait(); err != nil {
				require.ErrorIs(t, err, channel.ErrDetached)
			}
			require.NoError(t, detach.wait())
			// it is taken, or there again: nothing in between
			v, err := other.TryRecv()
			if err == nil {
				require.True(t, want == v)
			}
			semDrained(t, other)
			semFill(t, other, want, want)
		})
	}
}

func TestSemDetachWithinF(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 2, mode)
		require.NoError(t, c.Send(5))
		detach := make(chan *semTask[error], 1)
		err := c.RecvFunc(func(v *uint64) error {
			k := semStart(c.Detach) // not from here: it may wait for f
			detach <- k
			select {
			case <-k.done:
			case <-time.After(semGrace):
			}
			require.Equal(t, uint64(5), *v)
			return nil
		})
		if err != nil {
			require.ErrorIs(t, err, channel.ErrDetached)
		}
		require.NoError(t, (<-detach).wait())
	})
}

func TestSemAContextThatEndsAndADetachAtOnce(t *testing.T) {
	for range semFewer(300) {
		c := semNew[uint64](t, 0)
		ctx, cancel := context.WithCancel(context.Background())
		receiver := semStart(func() error { _, err := c.RecvContext(ctx); return err })
		runtime.Gosched()
		go cancel()
		require.NoError(t, c.Detach())
		err := receiver.wait()
		require.True(t, errors.Is(err, channel.ErrDetached) || errors.Is(err, context.Canceled), "%v", err)
	}
}

//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func TestSemCloseEndsSendingAndLeavesWhatIsThere(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10, 1000}, func(t *testing.T, s semShape) {
		for _, fill := range []int{0, 1, s.capacity} {
			if fill > s.capacity {
				continue
			}
			tx, rx := semMake[uint64](t, s)
			for i := range uint64(fill) {
				require.NoError(t, tx.Send(i))
			}
			require.NoError(t, tx.Err())
			require.NoError(t, tx.Close())
			require.Equal(t, fill, rx.Len())
			require.True(t, rx.Stats().Closed)
			semSendsFail(t, tx, channel.ErrClosed)
			for i := range uint64(fill) {
				v, ok := rx.Recv()
				require.True(t, ok, "message %d of %d", i, fill)
				require.Equal(t, i, v)
				semSendsFail(t, tx, channel.ErrClosed)
			}
			semEnded(t, rx, nil)
		}
	})
}

// semSendsFail fails unless every sending call fails with target, naming itself.
func semSendsFail(t *testing.T, c *channel.Chan[uint64], target error) {
	t.Helper()
	semIs(t, c.Send(1), target)
	semIs(t, c.TrySend(1), target)
	semIs(t, c.SendContext(context.Background(), 1), target)
	n, err := c.SendBatch([]uint64{1, 2})
	semIs(t, err, target)
	require.Zero(t, n)
	_, err = c.Reserve()
	semIs(t, err, target)
}

func TestSemASecondCloseIsErrClosed(t *testing.T) {
	semEach(t, semModes, []int{0, 1}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		require.NoError(t, tx.Close())
		semIs(t, tx.Close(), channel.ErrClosed, "close", tx.Name())
		semIs(t, rx.Close(), channel.ErrClosed, "close", rx.Name())
	})
}

func TestSemOfManyClosesAtOnceOneSucceeds(t *testing.T) {
	for range semFewer(300) {
		c := semNew[uint64](t, 1)
		var tasks []*semTask[error]
		for range 4 {
			tasks = append(tasks, semStart(c.Close))
		}
		closed := 0
		for _, k := range tasks {
			if err := k.wait(); err == nil {
				closed++
			} else {
				require.ErrorIs(t, err, channel.ErrClosed)
			}
		}
		require.Equal(t, 1, closed)
		require.NoError(t, c.Detach())
	}
}

func TestSemEitherEndMayClose(t *testing.T) {
	for _, way := range semTwoHandles {
		for _, mode := range semModes {
			t.Run(way+"/"+mode.name, func(t *testing.T) {
				tx, rx := semConnect[uint64](t, way, 3, mode.opt)
				semFill(t, tx, 1, 2)
				require.NoError(t, rx.Close())
				semSendsFail(t, tx, channel.ErrClosed)
				semWant(t, rx, uint64(1))
				semWant(t, rx, uint64(2))
				semEnded(t, rx, nil)
			})
		}
	}
}

func TestSemCloseHoldsForThoseWhoJoinLater(t *testing.T) {
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) {
			name := uniqueName(t)
			first := semCreate[uint64](t, name, 3, mode.opt)
			semFill(t, first, 1, 2)
			require.NoError(t, first.Close())
			require.NoError(t, first.Detach())

			second := semOpen[uint64](t, name, 3, mode.opt)
			semSendsFail(t, second, channel.ErrClosed)
			require.ErrorIs(t, second.Close(), channel.ErrClosed)
			semWant(t, second, uint64(1))
			require.NoError(t, second.Detach())

			third := semAttach[uint64](t, name)
			require.True(t, third.Stats().Closed)
			fourth := semOther(t, third)
			semWant(t, third, uint64(2))
			require.NoError(t, third.Detach())
			semEnded(t, fourth, nil)
		})
	}
}

func TestSemCloseFreesBlockedSenders(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for i := range uint64(s.capacity) {
			require.NoError(t, tx.Send(i))
		}
		forms := semSendForms[uint64](false, true)
		if s.mode.name == "SPSC" {
			forms = forms[:1]
		}
		var blocked []*semTask[error]
		for i, form := range forms {
			blocked = append(blocked, semStart(func() error { return form.call(tx, uint64(1000+i)) }))
		}
		for i, k := range blocked {
			k.blocks(t, forms[i].name)
		}
		require.NoError(t, rx.Close())
		for i, k := range blocked {
			require.ErrorIs(t, k.wait(), channel.ErrClosed, forms[i].name)
		}
		for i := range uint64(s.capacity) {
			semWant(t, rx, i)
		}
		semEnded(t, rx, nil) // nothing of what was blocked comes
	})
}

func TestSemCloseFreesBlockedReceivers(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		forms := semRecvForms[uint64](false)
		if s.mode.name == "SPSC" {
			forms = forms[:1]
		}
		var blocked []*semTask[error]
		for _, form := range forms {
			blocked = append(blocked, semStart(func() error { _, err := form.call(rx); return err }))
		}
		for i, k := range blocked {
			k.blocks(t, forms[i].name)
		}
		require.NoError(t, tx.Close())
		for i, k := range blocked {
			require.ErrorIs(t, k.wait(), channel.ErrClosed, forms[i].name)
		}
		require.NoError(t, rx.Err())
	})
}

func TestSemCloseInTheMiddleOfTrafficLosesAndDoublesNothing(t *testing.T) {
	// Every Send that returned nil is received exactly once, every other never.
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 3, 64} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				parties := 2
				if mode.name == "SPSC" {
					parties = 1
				}
				r := semRand(uint64(capacity))
				for range semFewer(300) {
					semCloseRound(t, mode.opt, capacity, parties, r.IntN(20))
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// semCloseRound closes a channel at about its turn-th message. Who sends goes
// on until he is told that it is closed, or for some messages more.
func semCloseRound(t *testing.T, mode channel.Option, capacity, parties, turn int) {
	t.Helper()
	c, err := channel.New[uint64](capacity, mode)
	require.NoError(t, err)
	defer c.Detach()
	sent := make([][]uint64, parties)
	got := make([][]uint64, parties)
	now := make(chan struct{})
	var group sync.WaitGroup
	for p := range parties {
		group.Go(func() {
			for i := range turn + 100 {
				if p == 0 && i == turn {
					close(now)
				}
				var err error
				switch v := semID(p, i); i % 4 {
				case 0, 1:
					err = c.Send(v)
				case 2:
					var n int
					if n, err = c.SendBatch([]uint64{v}); (n == 1) != (err == nil) {
						t.Errorf("SendBatch: %d, %v", n, err)
					}
				case 3:
					if err = c.TrySend(v); errors.Is(err, channel.ErrFull) {
						continue
					}
				}
				if err != nil {
					if !errors.Is(err, channel.ErrClosed) {
						t.Errorf("send: %v", err)
					}
					return
				}
				sent[p] = append(sent[p], semID(p, i))
			}
		})
		group.Go(func() {
			for {
				v, ok := c.Recv()
				if !ok {
					if err := c.Err(); err != nil {
						t.Errorf("the end: %v", err)
					}
					return
				}
				got[p] = append(got[p], v)
			}
		})
	}
	<-now
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	group.Wait()
	semExact(t, sent, got)
}

func TestSemABatchThatCloseCutsShortSaysHowFarItCame(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 3, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		vs := make([]uint64, s.capacity+5)
		for i := range vs {
			vs[i] = uint64(i)
		}
		batch := semStart(func() semGot[int] { n, err := tx.SendBatch(vs); return semGot[int]{n, err} })
		batch.blocks(t, "SendBatch of more than there is room for")
		const taken = 2
		for i := range uint64(taken) {
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Equal(t, i, v)
		}
		batch.blocks(t, "SendBatch after two were taken")
		require.NoError(t, rx.Close())
		got := batch.wait()
		require.ErrorIs(t, got.err, channel.ErrClosed)
		n := taken
		for v := range rx.All() {
			require.Equal(t, uint64(n), v)
			n++
		}
		require.Equal(t, n, got.v, "n is what was sent")
		require.LessOrEqual(t, n, taken+s.capacity)
		require.GreaterOrEqual(t, n, taken)
	})
}

func TestSemASendThatBeganAfterCloseNeverSucceeds(t *testing.T) {
	for _, capacity := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("cap=%d", capacity), func(t *testing.T) {
			for range semFewer(300) {
				c, err := channel.New[uint64](capacity)
				require.NoError(t, err)
				receiver := semStart(func() int {
					n := 0
					for range c.All() {
						n++
					}
					return n
				})
				closed := semStart(c.Close)
				<-closed.done
				require.NoError(t, closed.wait())
				require.ErrorIs(t, c.TrySend(1), channel.ErrClosed)
				require.ErrorIs(t, c.Send(1), channel.ErrClosed)
				require.Zero(t, receiver.wait())
				require.NoError(t, c.Detach())
			}
		})
	}
}

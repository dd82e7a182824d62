//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

var errSemRefused = errors.New("f refused it")

// semPanics returns what f panics with.
func semPanics(f func()) (with any) {
	defer func() { with = recover() }()
	f()
	return nil
}

func TestSemRecvFuncFreesWhatFAccepted(t *testing.T) {
	semEach(t, semModes, []int{1, 10, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for i := range uint64(2*s.capacity + 3) {
			require.NoError(t, tx.Send(i))
			ran := 0
			require.NoError(t, rx.RecvFunc(func(v *uint64) error {
				ran++
				require.Equal(t, i, *v)
				return nil
			}))
			require.Equal(t, 1, ran)
			semDrained(t, rx)
		}
	})
}

func TestSemRecvFuncBlocksUntilAMessageComes(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		var got atomic.Uint64
		receiver := semStart(func() error {
			return rx.RecvFunc(func(v *uint64) error { got.Store(*v); return nil })
		})
		receiver.blocks(t, "RecvFunc of nothing")
		require.NoError(t, tx.Send(9))
		require.NoError(t, receiver.wait())
		require.Equal(t, uint64(9), got.Load())
	})
}

func TestSemRecvFuncReturnsTheErrorOfFAndTheMessageComesAgain(t *testing.T) {
	semEach(t, semModes, []int{1, 3, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		next := uint64(0)
		for range 10 {
			first := next
			for tx.TrySend(next) == nil {
				next++
			}
			for range 3 { // as often as it is refused, and before younger ones
				err := rx.RecvFunc(func(v *uint64) error {
					require.Equal(t, first, *v)
					return errSemRefused
				})
				require.Equal(t, errSemRefused, err, "f's error, as it is")
				require.Equal(t, s.capacity, rx.Len(), "it is there again")
				if !s.over() { // there it has left the carrier
					require.ErrorIs(t, tx.TrySend(next), channel.ErrFull)
				}
			}
			for first < next {
				v, ok := rx.Recv()
				require.True(t, ok)
				require.Equal(t, first, v)
				first++
			}
			semDrained(t, rx)
		}
	})
}

func TestSemRecvFuncPassesOnAPanicAndTheMessageComesAgain(t *testing.T) {
	semEach(t, semModes, []int{1, 3}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for i := range uint64(10) {
			require.NoError(t, tx.Send(i))
			with := semPanics(func() {
				rx.RecvFunc(func(v *uint64) error {
					require.Equal(t, i, *v)
					panic(errSemRefused)
				})
			})
			require.Equal(t, any(errSemRefused), with)
			require.Equal(t, 1, rx.Len())
			semWant(t, rx, i)
			semDrained(t, rx)
		}
	})
}

func TestSemRecvFuncWhoseGoroutineExitsGivesTheMessageBack(t *testing.T) {
	// runtime.Goexit, which t.FailNow is, runs deferred calls and nothing else
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 1, mode)
		require.NoError(t, c.Send(5))
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			c.RecvFunc(func(*uint64) error { runtime.Goexit(); return nil })
		}()
		<-gone
		semWant(t, c, uint64(5))
		semFill(t, c, 6)
	})
}

func TestSemRecvFuncKeepsThePlaceUntilFReturns(t *testing.T) {
	for _, mode := range semModes {
		for _, outcome := range []error{nil, errSemRefused} {
			t.Run(fmt.Sprintf("%s/%v", mode.name, outcome), func(t *testing.T) {
				tx, rx := semConnect[uint64](t, "New+FromFile", 1, mode.opt)
				require.NoError(t, tx.Send(1))
				inside, leave := make(chan struct{}), semNewGate(t)
				receiver := semStart(func() error {
					return rx.RecvFunc(func(*uint64) error {
						close(inside)
						leave.pass()
						return outcome
					})
				})
				<-inside
				require.ErrorIs(t, tx.TrySend(2), channel.ErrFull)
				sender := semSend(tx, 2)
				sender.blocks(t, "Send while f has the only place")
				leave.open()
				require.Equal(t, outcome, receiver.wait())
				if outcome != nil {
					sender.blocks(t, "Send after f refused")
					v, ok := rx.Recv()
					require.True(t, ok)
					require.Equal(t, uint64(1), v)
				}
				require.NoError(t, sender.wait())
				semWant(t, rx, uint64(2))
				semDrained(t, rx)
			})
		}
	}
}

func TestSemARefusedMessageWakesWhoWaits(t *testing.T) {
	c := semNew[uint64](t, 3)
	require.NoError(t, c.Send(1))
	inside, leave := make(chan struct{}), semNewGate(t)
	refuser := semStart(func() error {
		return c.RecvFunc(func(*uint64) error { close(inside); leave.pass(); return errSemRefused })
	})
	<-inside
	_, err := c.TryRecv()
	require.ErrorIs(t, err, channel.ErrEmpty, "the only message is in hand")
	receiver := semRecv(c)
	receiver.blocks(t, "Recv while the only message is in hand")
	leave.open()
	require.Equal(t, errSemRefused, refuser.wait())
	require.Equal(t, semGot[uint64]{1, nil}, receiver.wait())
	semDrained(t, c)
}

func TestSemOthersReceivePastAMessageInHand(t *testing.T) {
	c := semNew[uint64](t, 4)
	semFill(t, c, 1, 2, 3)
	// in f, this very goroutine goes on with the channel
	err := c.RecvFunc(func(v *uint64) error {
		require.Equal(t, uint64(1), *v)
		semWant(t, c, uint64(2))
		semFill(t, c, 4)
		semWant(t, c, uint64(3))
		return c.RecvFunc(func(v *uint64) error {
			require.Equal(t, uint64(4), *v)
			return nil
		})
	})
	require.NoError(t, err)
	semDrained(t, c)
}

func TestSemARefusedMessageComesBeforeYoungerOnes(t *testing.T) {
	c := semNew[uint64](t, 4)
	semFill(t, c, 1, 2, 3)
	require.Equal(t, errSemRefused, c.RecvFunc(func(*uint64) error {
		semWant(t, c, uint64(2)) // which another took meanwhile
		semFill(t, c, 4)
		return errSemRefused
	}))
	semWant(t, c, uint64(1))
	semWant(t, c, uint64(3))
	semWant(t, c, uint64(4))

	semFill(t, c, 1, 2, 3)
	require.Equal(t, errSemRefused, c.RecvFunc(func(*uint64) error {
		require.Equal(t, errSemRefused, c.RecvFunc(func(v *uint64) error {
			require.Equal(t, uint64(2), *v)
			return errSemRefused
		}))
		return errSemRefused
	}))
	for i := range uint64(3) {
		semWant(t, c, i+1)
	}
	semDrained(t, c)
}

func TestSemARefusedMessageOnAClosedChannelStillComes(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 2, mode)
		semFill(t, c, 1, 2)
		require.NoError(t, c.Close())
		require.Equal(t, errSemRefused, c.RecvFunc(func(*uint64) error { return errSemRefused }))
		for i := range uint64(2) {
			v, ok := c.Recv()
			require.True(t, ok)
			require.Equal(t, i+1, v)
		}
		semEnded(t, c, nil)
	})
}

func TestSemAMessageRefusedAfterCloseStillComes(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 2, mode)
		semFill(t, c, 1)
		require.Equal(t, errSemRefused, c.RecvFunc(func(*uint64) error {
			require.NoError(t, c.Close())
			return errSemRefused
		}))
		v, ok := c.Recv()
		require.True(t, ok)
		require.Equal(t, uint64(1), v)
		semEnded(t, c, nil)
	})
}

func TestSemRecvFuncSeesTheMessageInItsPlace(t *testing.T) {
	t.Run("64 bytes", func(t *testing.T) { semInPlace(t, semWides) })
	t.Run("5000 bytes", func(t *testing.T) { semInPlace(t, semHuges) })
	t.Run("[]byte", func(t *testing.T) { semInPlace(t, semBytes) })
	t.Run("string", func(t *testing.T) { semInPlace(t, semStrings) })
	t.Run("CBOR", func(t *testing.T) { semInPlace(t, semRecords) })
	t.Run("time.Time", func(t *testing.T) { semInPlace(t, semTimes) })
}

// semInPlace looks at a message before and after others have passed it.
func semInPlace[T any](t *testing.T, k semKind[T]) {
	for _, capacity := range []int{2, 5} {
		c := semNew[T](t, capacity, k.opts...)
		for i := range 50 {
			require.NoError(t, c.Send(k.gen(i)))
			require.NoError(t, c.RecvFunc(func(v *T) error {
				require.True(t, k.same(k.gen(i), *v))
				for j := range 2*capacity + 1 {
					require.NoError(t, c.TrySend(k.gen(1000+j)))
					got, err := c.TryRecv()
					require.NoError(t, err)
					require.True(t, k.same(k.gen(1000+j), got))
				}
				require.True(t, k.same(k.gen(i), *v), "it changed in hand")
				return nil
			}))
		}
		require.NoError(t, c.Detach())
	}
}

func TestSemWhatFAppendsReachesNoNeighbour(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[[]byte](t, 8, mode, channel.MaxMessage(64), channel.Space(256))
		for range 20 {
			semFill(t, c, []byte("twelve bytes"), semPattern[:40], semPattern[40:80])
			require.NoError(t, c.RecvFunc(func(v *[]byte) error {
				require.Equal(t, "twelve bytes", string(*v))
				*v = append(*v, make([]byte, 50)...)
				return nil
			}))
			semWant(t, c, semPattern[:40])
			semWant(t, c, semPattern[40:80])
		}
	})
}

func TestSemRefusalsInTrafficLoseAndDoubleNothing(t *testing.T) {
	for _, capacity := range []int{0, 1, 2, 3, 8, 100} {
		for _, mode := range semModes {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				parties := 3
				if mode.name == "SPSC" {
					parties = 1
				}
				tx, rx := semConnect[uint64](t, "New+FromFile", capacity, mode.opt)
				each := semFewer(1000)
				sent := make([][]uint64, parties)
				var mu sync.Mutex
				var got [][]uint64
				var senders, receivers sync.WaitGroup
				for p := range parties {
					senders.Go(func() {
						for i := range each {
							if err := tx.Send(semID(p, i)); err != nil {
								t.Error(err)
								return
							}
							sent[p] = append(sent[p], semID(p, i))
						}
					})
					receivers.Go(func() {
						r := semRand(uint64(p))
						var mine []uint64
						for {
							err := semRecvOrRefuse(rx, r.IntN(6), &mine)
							if errors.Is(err, channel.ErrClosed) {
								break
							}
							if err != nil && !errors.Is(err, errSemRefused) {
								t.Error(err)
								break
							}
						}
						mu.Lock()
						defer mu.Unlock()
						if mode.name == "SPSC" {
							got = append(got, mine)
							return
						}
						// what was refused may come after younger ones
						slices.Sort(mine)
						got = append(got, mine)
					})
				}
				senders.Wait()
				require.NoError(t, tx.Close())
				receivers.Wait()
				for { // what was refused last, when the others had seen the end
					v, err := rx.TryRecv()
					if err != nil {
						require.ErrorIs(t, err, channel.ErrClosed)
						break
					}
					got = append(got, []uint64{v})
				}
				semExact(t, sent, got)
			})
		}
	}
}

// semRecvOrRefuse takes a message or, by chance, hands it back.
func semRecvOrRefuse(c *channel.Chan[uint64], dice int, got *[]uint64) (err error) {
	switch dice {
	case 0:
		return c.RecvFunc(func(*uint64) error { runtime.Gosched(); return errSemRefused })
	case 1:
		semPanics(func() { err = c.RecvFunc(func(*uint64) error { panic("f") }) })
		return err
	case 2:
		v, err := c.TryRecv()
		if err == nil {
			*got = append(*got, v)
		}
		if errors.Is(err, channel.ErrEmpty) {
			runtime.Gosched()
			return nil
		}
		return err
	}
	var v uint64
	if err := c.RecvFunc(func(p *uint64) error { v = *p; return nil }); err != nil {
		return err
	}
	*got = append(*got, v)
	return nil
}

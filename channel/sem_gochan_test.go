//go:build linux

package channel_test

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// What Go's own tests ask of a chan, asked of a Chan: the loops of TestChan and
// its neighbours in runtime/chan_test.go. The programs of test/chan are in
// sem_goprograms_test.go.

// semLoopCaps are every small capacity, and some larger ones.
func semLoopCaps() []int {
	caps := []int{50, 64, 99, 100, 128, 199}
	for c := range semFewer(34) {
		caps = append(caps, c)
	}
	return caps
}

func TestSemRecvOnAnEmptyChannelBlocks(t *testing.T) {
	for _, capacity := range semLoopCaps() {
		c := semNew[int](t, capacity)
		first, second := semRecv(c), semRecv(c)
		first.blocks(t, "first Recv")
		second.blocks(t, "second Recv")
		// what TryRecv says to sleepers is that there is nothing
		for range 2 {
			_, err := c.TryRecv()
			require.ErrorIs(t, err, channel.ErrEmpty, "capacity %d", capacity)
		}
		require.NoError(t, c.Send(1))
		require.NoError(t, c.Send(2))
		a, b := first.wait(), second.wait()
		require.NoError(t, a.err)
		require.NoError(t, b.err)
		require.Equal(t, 3, a.v+b.v)
		require.NoError(t, c.Detach())
	}
}

func TestSemSendOnAFullChannelBlocks(t *testing.T) {
	for _, capacity := range semLoopCaps() {
		c := semNew[int](t, capacity)
		for i := range capacity {
			require.NoError(t, c.Send(i))
		}
		sender := semSend(c, capacity)
		sender.blocks(t, "Send")
		require.ErrorIs(t, c.TrySend(-1), channel.ErrFull, "capacity %d", capacity)
		for i := range capacity + 1 {
			v, ok := c.Recv()
			require.True(t, ok)
			require.Equal(t, i, v)
		}
		require.NoError(t, sender.wait())
		require.NoError(t, c.Detach())
	}
}

func TestSemAClosedChannelDrainsThenGivesZeros(t *testing.T) {
	for _, capacity := range semLoopCaps() {
		c := semNew[int](t, capacity)
		for i := range capacity {
			require.NoError(t, c.Send(i+1))
		}
		require.NoError(t, c.Close())
		for i := range capacity {
			v, ok := c.Recv()
			require.True(t, ok, "capacity %d", capacity)
			require.Equal(t, i+1, v)
		}
		for range 3 {
			v, ok := c.Recv()
			require.False(t, ok)
			require.Zero(t, v)
		}
		semEnded(t, c, nil)
		require.NoError(t, c.Detach())
	}
}

func TestSemCloseWakesABlockedRecv(t *testing.T) {
	for _, capacity := range semLoopCaps() {
		c := semNew[int](t, capacity)
		receiver := semStart(func() bool {
			v, ok := c.Recv()
			return v == 0 && !ok
		})
		receiver.blocks(t, "Recv")
		require.NoError(t, c.Close())
		require.True(t, receiver.wait(), "capacity %d", capacity)
		require.NoError(t, c.Detach())
	}
}

func TestSemIntegersArriveWholeAndInOrder(t *testing.T) {
	for _, capacity := range semLoopCaps() {
		c := semNew[int](t, capacity)
		for range 2 {
			sender := semStart(func() (err error) {
				for i := 0; i < 100 && err == nil; i++ {
					err = c.Send(i)
				}
				return err
			})
			for i := range 100 {
				v, ok := c.Recv()
				require.True(t, ok)
				require.Equal(t, i, v, "capacity %d", capacity)
			}
			require.NoError(t, sender.wait())
		}
		require.NoError(t, c.Detach())
	}
}

func TestSemFourSendersAndFourReceiversShareAChannel(t *testing.T) {
	semEach(t, []semMode{semMPMC}, []int{0, 1, 2, 3, 10, 1000, 4096}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		const parties = 4
		each := semFewer(500)
		sent := make([][]uint64, parties)
		got := make([][]uint64, parties)
		var senders, receivers sync.WaitGroup
		for p := range parties {
			senders.Go(func() {
				for i := range each {
					if err := tx.Send(semID(p, i)); err != nil {
						t.Errorf("sender %d, message %d: %v", p, i, err)
						return
					}
					sent[p] = append(sent[p], semID(p, i))
				}
			})
			receivers.Go(func() {
				for range each {
					v, ok := rx.Recv()
					if !ok {
						t.Errorf("receiver %d: the end, %v", p, rx.Err())
						return
					}
					got[p] = append(got[p], v)
				}
			})
		}
		senders.Wait()
		receivers.Wait()
		semExact(t, sent, got)
		semDrained(t, rx)
	})
}

func TestSemATryThatRacesWithCloseFindsTheMessageOrTheEnd(t *testing.T) {
	// One message is there. While it is taken and the channel closed, a TryRecv
	// has no instant at which there is neither.
	for range semFewer(2000) {
		c, err := channel.New[int](1)
		require.NoError(t, err)
		require.NoError(t, c.Send(1))
		try := semStart(func() error {
			_, err := c.TryRecv()
			return err
		})
		require.NoError(t, c.Close())
		c.Recv()
		if err := try.wait(); err != nil {
			require.ErrorIs(t, err, channel.ErrClosed)
		}
		require.NoError(t, c.Detach())
	}
}

func TestSemSendersAndReceiversInAnyForm(t *testing.T) {
	// Both sides choose a form at random for each message.
	semEach(t, semModes, []int{0, 1, 10, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		n := semFewer(250)
		sendForms := semSendForms[uint64](s.capacity > 0, true)
		recvForms := semRecvForms[uint64](true)
		sender := semStart(func() (err error) {
			r := semRand(1)
			for i := 0; i < n && err == nil; i++ {
				err = sendForms[r.IntN(len(sendForms))].call(tx, uint64(i))
			}
			return err
		})
		r := semRand(2)
		for i := range n {
			form := recvForms[r.IntN(len(recvForms))]
			v, err := form.call(rx)
			require.NoError(t, err, form.name)
			require.Equal(t, uint64(i), v, form.name)
		}
		require.NoError(t, sender.wait())
		semDrained(t, rx)
	})
}

func TestSemManyConsumersOfOneQueue(t *testing.T) {
	semEach(t, []semMode{semMPMC}, []int{0, 1, 69}, func(t *testing.T, s semShape) {
		const workers = 23
		items := semFewer(600)
		primes := []int{2, 3, 5, 7, 11, 13, 17, 19, 23, 29}

		workTx, workRx := semMake[int](t, s)
		doneTx, doneRx := semMake[int](t, s)

		var busy sync.WaitGroup
		for w := range workers {
			busy.Go(func() {
				for v := range workRx.All() {
					if v == primes[w%len(primes)] {
						runtime.Gosched() // fall behind
					}
					if err := doneTx.Send(v); err != nil {
						t.Errorf("worker %d: %v", w, err)
						return
					}
				}
			})
		}
		feeder := semStart(func() (sum int) {
			for i := range items {
				v := primes[i%len(primes)]
				if err := workTx.Send(v); err != nil {
					t.Errorf("feeder: %v", err)
				}
				sum += v
			}
			workTx.Close()
			busy.Wait()
			doneTx.Close()
			return sum
		})
		count, sum := 0, 0
		for v := range doneRx.All() {
			count++
			sum += v
		}
		require.Equal(t, feeder.wait(), sum)
		require.Equal(t, items, count)
		require.NoError(t, workRx.Err())
		require.NoError(t, doneRx.Err())
	})
}

func TestSemABlockedSenderMayHaveADeepStack(t *testing.T) {
	c := semNew[int](t, 0)
	sender := semStart(func() (err error) {
		for i := 0; i < 20 && err == nil; i++ {
			err = c.Send(i)
			semDeep(200)
		}
		return err
	})
	for i := range 20 {
		runtime.GC() // which may shrink the stack of who is blocked
		v, ok := c.Recv()
		require.True(t, ok)
		require.Equal(t, i, v)
	}
	require.NoError(t, sender.wait())
}

func semDeep(n int) byte {
	var frame [512]byte
	frame[n] = byte(n)
	if n == 0 {
		return frame[0]
	}
	return semDeep(n-1) + frame[n/2]
}

func TestSemAnInterfaceValueIsSent(t *testing.T) {
	c := semNew[any](t, 1)
	require.NoError(t, c.Send("text"))
	require.ErrorIs(t, c.TrySend("more"), channel.ErrFull)
	semWant[any](t, c, "text")
}

func TestSemSenderAndReceiverPermitOneDirectionOnly(t *testing.T) {
	methods := func(i reflect.Type) map[string]bool {
		has := map[string]bool{}
		for m := range i.NumMethod() {
			has[i.Method(m).Name] = true
		}
		return has
	}
	whole := reflect.TypeFor[*channel.Chan[int]]()
	sender := reflect.TypeFor[channel.Sender[int]]()
	receiver := reflect.TypeFor[channel.Receiver[int]]()
	require.True(t, whole.Implements(sender))
	require.True(t, whole.Implements(receiver))
	require.False(t, whole.Implements(reflect.TypeFor[channel.Sender[int64]]()))
	require.False(t, whole.Implements(reflect.TypeFor[channel.Receiver[uint]]()))
	require.False(t, sender.Implements(receiver))
	require.False(t, receiver.Implements(sender))

	sends, receives := methods(sender), methods(receiver)
	for _, m := range []string{"Send", "SendContext", "TrySend", "SendBatch", "Close", "Len", "Cap"} {
		require.True(t, sends[m], m)
	}
	for _, m := range []string{"Recv", "RecvContext", "TryRecv", "RecvBatch", "RecvFunc", "All", "Len", "Cap"} {
		require.True(t, receives[m], m)
	}
	for _, m := range []string{"Recv", "RecvContext", "TryRecv", "RecvBatch", "RecvFunc", "All"} {
		require.False(t, sends[m], "a Sender must not %s", m)
	}
	for _, m := range []string{"Send", "SendContext", "TrySend", "SendBatch", "Reserve", "Close"} {
		require.False(t, receives[m], "a Receiver must not %s", m)
	}
}

func TestSemFunctionsTakeOneEndOfAChannel(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[int](t, 3, mode)
		count := func(out channel.Sender[int], n int) error {
			for i := range n {
				if err := out.Send(i); err != nil {
					return err
				}
			}
			return out.Close()
		}
		sum := func(in channel.Receiver[int]) (total int, err error) {
			for v := range in.All() {
				total += v
			}
			return total, in.Err()
		}
		counter := semStart(func() error { return count(c, 100) })
		total, err := sum(c)
		require.NoError(t, err)
		require.Equal(t, 4950, total)
		require.NoError(t, counter.wait())
	})
}

func TestSemMoreThanAHundredGoroutinesMeetOnARendezvous(t *testing.T) {
	const n = 150
	for _, side := range []string{"receivers wait", "senders wait"} {
		t.Run(side, func(t *testing.T) {
			c := semNew[uint64](t, 0)
			sent := [][]uint64{nil}
			var got []uint64
			if side == "receivers wait" {
				var waiting []*semTask[semGot[uint64]]
				for range n {
					waiting = append(waiting, semRecv(c))
				}
				for i := range n {
					require.NoError(t, c.Send(semID(0, i)))
					sent[0] = append(sent[0], semID(0, i))
				}
				for _, k := range waiting {
					g := k.wait()
					require.NoError(t, g.err)
					got = append(got, g.v)
				}
			} else {
				var waiting []*semTask[error]
				for i := range n {
					waiting = append(waiting, semSend(c, semID(i, 0)))
					sent = append(sent, []uint64{semID(i, 0)})
				}
				for range n {
					v, err := c.RecvContext(context.Background())
					require.NoError(t, err)
					got = append(got, v)
				}
				for _, k := range waiting {
					require.NoError(t, k.wait())
				}
			}
			byOne := make([][]uint64, len(got)) // their order among themselves says nothing
			for i, v := range got {
				byOne[i] = []uint64{v}
			}
			semExact(t, sent, byOne)
			if _, err := c.TryRecv(); !errors.Is(err, channel.ErrEmpty) {
				t.Fatalf("TryRecv afterwards: %v", err)
			}
		})
	}
}

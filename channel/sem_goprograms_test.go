//go:build linux

package channel_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// The programs of Go's test/chan, as far as they need no select, with Chans.

func TestSemFifoWithRoomForAll(t *testing.T) {
	semEach(t, semModes, []int{1, 10, 1000, 4096}, func(t *testing.T, s semShape) {
		tx, rx := semMake[int](t, s)
		for i := range s.capacity {
			require.NoError(t, tx.Send(i))
		}
		for i := range s.capacity {
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Equal(t, i, v)
		}
	})
}

func TestSemFifoThroughADaisyChain(t *testing.T) {
	// Each link may take its value only after the link before has taken its own.
	semEach(t, []semMode{semMPMC}, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		const links = 10
		tx, rx := semMake[int](t, s)
		first := semNew[struct{}](t, 0)
		in := first
		var chain sync.WaitGroup
		for i := range links {
			before, after := in, semNew[struct{}](t, 0)
			chain.Go(func() {
				before.Recv()
				if v, ok := rx.Recv(); !ok || v != i {
					t.Errorf("link %d got %d, %v", i, v, ok)
				}
				if err := after.Send(struct{}{}); err != nil {
					t.Errorf("link %d: %v", i, err)
				}
			})
			in = after
		}
		require.NoError(t, first.Send(struct{}{}))
		for i := range links {
			require.NoError(t, tx.Send(i))
		}
		_, ok := in.Recv()
		require.True(t, ok)
		chain.Wait()
	})
}

func TestSemTriesNeverBlockAndMeetWhoWaits(t *testing.T) {
	semTries[int32](t, "int32", 123, 234)
	semTries[int64](t, "int64", 123456, 234567)
	semTries(t, "bool", true, true)
	semTries(t, "string", "hello", "hello again")
	semTries(t, "8 KiB", semBlock(1), semBlock(2))
}

func semBlock(b byte) (v [8192]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

func semTries[T comparable](t *testing.T, kind string, there, back T) {
	t.Run(kind, func(t *testing.T) {
		semEach(t, semModes, []int{0, 1}, func(t *testing.T, s semShape) {
			tx, rx := semMake[T](t, s)
			_, err := rx.TryRecv()
			require.ErrorIs(t, err, channel.ErrEmpty)

			receiver := semRecv(rx)
			for {
				if err = tx.TrySend(there); !errors.Is(err, channel.ErrFull) {
					break
				}
				require.Zero(t, s.capacity, "ErrFull with nothing sent")
				runtime.Gosched()
			}
			require.NoError(t, err)
			require.Equal(t, semGot[T]{there, nil}, receiver.wait())

			sender := semSend(tx, back)
			if s.capacity > 0 {
				require.NoError(t, sender.wait())
			}
			var v T
			for {
				if v, err = rx.TryRecv(); !errors.Is(err, channel.ErrEmpty) {
					break
				}
				require.Zero(t, s.capacity, "ErrEmpty after Send had returned")
				runtime.Gosched()
			}
			require.NoError(t, err)
			require.Equal(t, back, v)
			require.NoError(t, sender.wait())
		})
	})
}

func TestSemSieveOfPrimes(t *testing.T) {
	want := []int{2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71}
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		var stages sync.WaitGroup
		var taps []*channel.Chan[int]
		pipe := func() (channel.Sender[int], channel.Receiver[int]) {
			tx, rx := semMake[int](t, s)
			taps = append(taps, tx)
			return tx, rx
		}
		tx, in := pipe()
		stages.Go(func() {
			for i := 2; tx.Send(i) == nil; i++ {
			}
		})
		var got []int
		for range want {
			prime, ok := in.Recv()
			require.True(t, ok)
			got = append(got, prime)
			from := in
			to, next := pipe()
			stages.Go(func() {
				for v := range from.All() {
					if v%prime != 0 && to.Send(v) != nil {
						return
					}
				}
			})
			in = next
		}
		require.Equal(t, want, got)
		for _, tap := range taps {
			require.NoError(t, tap.Close())
		}
		stages.Wait()
	})
}

func TestSemALongRowOfGoroutines(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		const length = 150
		var row sync.WaitGroup
		leftmost := semNew[int](t, 0, mode)
		left := leftmost
		for range length {
			to, from := left, semNew[int](t, 0, mode)
			row.Go(func() {
				v, _ := from.Recv()
				if err := to.Send(v + 1); err != nil {
					t.Error(err)
				}
			})
			left = from
		}
		require.NoError(t, left.Send(0))
		v, ok := leftmost.Recv()
		require.True(t, ok)
		require.Equal(t, length, v)
		row.Wait()
	})
}

func TestSemNoValueIsDoubledOnItsWayThroughFourChannels(t *testing.T) {
	// A sender offers each value to four channels until one takes it; four
	// goroutines pass on what they get to a fifth. Had an offer that failed left
	// its value behind, it would come twice.
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		n := semFewer(250)
		var txs, rxs [4]*channel.Chan[int]
		for i := range txs {
			txs[i], rxs[i] = semMake[int](t, s)
		}
		// several send on it, so it is MPMC
		outTx, outRx := semConnect[int](t, s.way, s.capacity)
		sender := semStart(func() error {
			for i := range n {
				for k := i; ; k++ {
					err := txs[k%4].TrySend(i)
					if err == nil {
						break
					}
					if !errors.Is(err, channel.ErrFull) {
						return err
					}
					runtime.Gosched()
				}
			}
			for _, tx := range txs {
				if err := tx.Close(); err != nil {
					return err
				}
			}
			return nil
		})
		var passing sync.WaitGroup
		for _, rx := range rxs {
			passing.Go(func() {
				for v := range rx.All() {
					if err := outTx.Send(v); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		closer := semStart(func() error { passing.Wait(); return outTx.Close() })
		seen := make([]bool, n)
		count := 0
		for v := range outRx.All() {
			require.False(t, seen[v], "%d came twice", v)
			seen[v] = true
			count++
		}
		require.Equal(t, n, count)
		require.NoError(t, sender.wait())
		require.NoError(t, closer.wait())
	})
}

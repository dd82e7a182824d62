//go:build linux

package channel_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func TestSemAnEmptyBufferIsNothingAtOnce(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		try := func(when string) {
			t.Helper()
			for _, empty := range [][]uint64{nil, {}, make([]uint64, 0, 5)} {
				n, err := tx.SendBatch(empty)
				require.NoError(t, err, when)
				require.Zero(t, n, when)
				n, err = rx.RecvBatch(empty)
				require.NoError(t, err, when)
				require.Zero(t, n, when)
			}
		}
		try("empty")
		for i := range uint64(s.capacity) {
			require.NoError(t, tx.Send(i))
		}
		try("full")
		require.Equal(t, s.capacity, rx.Len())
	})
}

func TestSemABatchGoesInOrderThroughManyLaps(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 3, 10, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		n := semFewer(2000) + 3*s.capacity
		vs := make([]uint64, n)
		for i := range vs {
			vs[i] = uint64(i)
		}
		sender := semStart(func() error {
			for rest, size := vs, 1; len(rest) > 0; size = size*3 + 1 {
				k, err := tx.SendBatch(rest[:min(size, len(rest))])
				if err != nil || k != min(size, len(rest)) {
					return fmt.Errorf("SendBatch of %d: %d, %w", min(size, len(rest)), k, err)
				}
				rest = rest[k:]
			}
			return nil
		})
		for next, size := 0, 1; next < n; size = size%777*2 + 1 {
			buf := make([]uint64, size)
			k, err := rx.RecvBatch(buf)
			require.NoError(t, err)
			require.Positive(t, k)
			for _, v := range buf[:k] {
				if v != uint64(next) {
					t.Fatalf("got %d, want %d", v, next)
				}
				next++
			}
			for i, v := range buf[k:] {
				if v != 0 {
					t.Fatalf("%d came, and %d places behind them there is %d", k, i, v)
				}
			}
		}
		require.NoError(t, sender.wait())
		semDrained(t, rx)
	})
}

func TestSemOneBatchLargerThanTheChannelBlocksUntilAllIsSent(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		n := 5*s.capacity + 7
		vs := make([]uint64, n)
		for i := range vs {
			vs[i] = uint64(i)
		}
		batch := semStart(func() semGot[int] { k, err := tx.SendBatch(vs); return semGot[int]{k, err} })
		for i := range n - s.capacity {
			if i == 0 || i == n-s.capacity-1 {
				batch.blocks(t, fmt.Sprintf("SendBatch with %d of %d taken", i, n))
			}
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Equal(t, uint64(i), v)
		}
		require.Equal(t, semGot[int]{n, nil}, batch.wait())
		require.Equal(t, s.capacity, rx.Len())
		for i := n - s.capacity; i < n; i++ {
			semWant(t, rx, uint64(i))
		}
	})
}

func TestSemRecvBatchTakesWhatIsThere(t *testing.T) {
	semEach(t, semModes, []int{1, 10, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		next := uint64(0)
		for _, there := range []int{1, s.capacity/2 + 1, s.capacity} {
			for _, room := range []int{1, there, there + 1, 2*there + 5} {
				first := next
				for range there {
					require.NoError(t, tx.TrySend(next))
					next++
				}
				buf := make([]uint64, room)
				n, err := rx.RecvBatch(buf)
				require.NoError(t, err)
				require.Equal(t, min(there, room), n)
				for i, v := range buf[:n] {
					require.Equal(t, first+uint64(i), v)
				}
				require.Equal(t, there-n, rx.Len())
				for i := n; i < there; i++ {
					semWant(t, rx, first+uint64(i))
				}
			}
		}
	})
}

func TestSemRecvBatchBlocksForOneMessageOnly(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		batch := semStart(func() semGot[int] {
			n, err := rx.RecvBatch(make([]uint64, 5))
			return semGot[int]{n, err}
		})
		batch.blocks(t, "RecvBatch of nothing")
		require.NoError(t, tx.Send(1))
		require.Equal(t, semGot[int]{1, nil}, batch.wait())
	})
}

func TestSemRecvBatchDrainsAClosedChannelThenEnds(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 10, mode)
		semFill(t, c, 1, 2, 3)
		require.NoError(t, c.Close())
		buf := make([]uint64, 2)
		n, err := c.RecvBatch(buf)
		require.NoError(t, err)
		require.Equal(t, []uint64{1, 2}, buf[:n])
		n, err = c.RecvBatch(buf)
		require.NoError(t, err)
		require.Equal(t, []uint64{3}, buf[:n])
		n, err = c.RecvBatch(buf)
		semIs(t, err, channel.ErrClosed, "recv|receiv")
		require.Zero(t, n)
	})
}

func TestSemBatchesOfSeveralSendersAndReceivers(t *testing.T) {
	semEach(t, []semMode{semMPMC}, []int{0, 1, 7, 100}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		const parties = 3
		each := semFewer(600)
		sent := make([][]uint64, parties)
		got := make([][]uint64, parties)
		var senders, receivers sync.WaitGroup
		for p := range parties {
			for i := range each {
				sent[p] = append(sent[p], semID(p, i))
			}
			senders.Go(func() {
				r := semRand(uint64(p))
				for rest := sent[p]; len(rest) > 0; {
					size := min(1+r.IntN(20), len(rest))
					n, err := tx.SendBatch(rest[:size])
					if n != size || err != nil {
						t.Errorf("SendBatch of %d: %d, %v", size, n, err)
						return
					}
					rest = rest[n:]
				}
			})
			receivers.Go(func() {
				r := semRand(uint64(100 + p))
				for {
					buf := make([]uint64, 1+r.IntN(20))
					n, err := rx.RecvBatch(buf)
					if err != nil {
						if n != 0 {
							t.Errorf("RecvBatch: %d with %v", n, err)
						}
						return
					}
					got[p] = append(got[p], buf[:n]...)
				}
			})
		}
		senders.Wait()
		require.NoError(t, tx.Close())
		receivers.Wait()
		semExact(t, sent, got)
	})
}

func TestSemABatchMayHoldBytes(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[[]byte](t, 10, mode, channel.MaxMessage(100), channel.Space(300))
		n, err := c.SendBatch([][]byte{[]byte("a"), {}, nil, semPattern[:100]})
		require.NoError(t, err)
		require.Equal(t, 4, n)
		buf := make([][]byte, 10)
		n, err = c.RecvBatch(buf)
		require.NoError(t, err)
		require.Equal(t, 4, n)
		require.Equal(t, "a", string(buf[0]))
		require.Empty(t, buf[1])
		require.Empty(t, buf[2])
		require.Equal(t, semPattern[:100], buf[3])
		semFill(t, c, []byte("over the old place"))
		require.Equal(t, semPattern[:100], buf[3])
	})
}

func TestSemAllGivesEveryMessageUntilTheEnd(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		n := semFewer(500)
		sender := semStart(func() error {
			for i := range uint64(n) {
				if err := tx.Send(i); err != nil {
					return err
				}
			}
			return tx.Close()
		})
		next := uint64(0)
		for v := range rx.All() {
			require.Equal(t, next, v)
			next++
		}
		require.Equal(t, uint64(n), next)
		require.NoError(t, rx.Err())
		require.NoError(t, sender.wait())
	})
}

func TestSemABreakOutOfAllTakesNoMore(t *testing.T) {
	semEach(t, semModes, []int{3, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		semFill(t, tx, 1, 2, 3)
		for v := range rx.All() {
			require.Equal(t, uint64(1), v)
			break
		}
		require.Equal(t, 2, rx.Len())
		require.NoError(t, rx.Err())
		for v := range rx.All() { // and again, from where it was
			require.Equal(t, uint64(2), v)
			break
		}
		semWant(t, rx, uint64(3))
		semDrained(t, rx)
		all := rx.All()
		semFill(t, tx, 4, 5)
		for range all {
			break
		}
		for v := range all {
			require.Equal(t, uint64(5), v)
			break
		}
	})
}

func TestSemErrIsNilUntilTheEndAndSaysWhyAfterIt(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		c := semNew[uint64](t, 2)
		require.NoError(t, c.Err())
		semFill(t, c, 1)
		c.Recv()
		require.NoError(t, c.Err())
		c.TryRecv()
		require.NoError(t, c.Err(), "empty is no end")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.RecvContext(ctx)
		require.NoError(t, c.Err(), "a context that ended is no end")
		require.NoError(t, c.Close())
		semEnded(t, c, nil)
	})
	t.Run("lost", func(t *testing.T) {
		h := semMembers(t, 2, 2, channel.HangUp())
		semFill(t, h[0], 1)
		require.NoError(t, h[0].Detach())
		require.NoError(t, h[1].Err())
		h[1].Recv()
		h[1].Recv()
		require.ErrorIs(t, h[1].Err(), channel.ErrPeerLost)
	})
	t.Run("detached", func(t *testing.T) {
		c := semNew[uint64](t, 2)
		require.NoError(t, c.Detach())
		c.Recv()
		require.ErrorIs(t, c.Err(), channel.ErrDetached)
	})
}

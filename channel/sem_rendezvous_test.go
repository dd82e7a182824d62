//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func semEachMeeting(t *testing.T, modes []semMode, f func(t *testing.T, tx, rx *channel.Chan[uint64])) {
	semEach(t, modes, []int{0}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		f(t, tx, rx)
	})
}

func TestSemRendezvousHoldsNothing(t *testing.T) {
	semEachMeeting(t, semModes, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		require.Zero(t, tx.Cap())
		require.Zero(t, tx.Len())
		for range 3 {
			require.ErrorIs(t, tx.TrySend(1), channel.ErrFull)
			_, err := rx.TryRecv()
			require.ErrorIs(t, err, channel.ErrEmpty)
		}
		sender := semSend(tx, 5)
		sender.blocks(t, "Send without a receiver")
		require.Zero(t, rx.Len())
		v, ok := rx.Recv()
		require.True(t, ok)
		require.Equal(t, uint64(5), v)
		require.NoError(t, sender.wait())
		require.ErrorIs(t, tx.TrySend(1), channel.ErrFull)
		semDrained(t, rx)
	})
}

func TestSemRendezvousSendReturnsAfterItsReceiverHasTheValue(t *testing.T) {
	// taken is what the receiver had begun to receive before each Recv; a Send
	// that returned with none begun was answered by nobody.
	semEachMeeting(t, semModes, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		n := semFewer(2000)
		var begun, returned atomic.Int64
		sender := semStart(func() error {
			for i := range n {
				if err := tx.Send(uint64(i)); err != nil {
					return err
				}
				done := returned.Add(1)
				if b := begun.Load(); b < done {
					return fmt.Errorf("%d Sends have returned, and %d Recvs begun", done, b)
				}
			}
			return nil
		})
		for i := range n {
			begun.Add(1)
			v, ok := rx.Recv()
			require.True(t, ok, semPeek(sender))
			require.Equal(t, uint64(i), v)
		}
		require.NoError(t, sender.wait())
	})
}

func TestSemRendezvousSendWaitsForRecvFuncToAccept(t *testing.T) {
	// In RecvFunc a value is taken when f has returned nil, not before.
	semEachMeeting(t, semModes, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		refusal := errors.New("no")
		sender := semSend(tx, 7)
		inside, leave := make(chan struct{}), semNewGate(t)
		receiver := semStart(func() error {
			return rx.RecvFunc(func(v *uint64) error {
				close(inside)
				leave.pass()
				return refusal
			})
		})
		<-inside
		sender.blocks(t, "Send while f has its value")
		leave.open()
		require.ErrorIs(t, receiver.wait(), refusal)
		sender.blocks(t, "Send after f refused its value")
		v, ok := rx.Recv()
		require.True(t, ok)
		require.Equal(t, uint64(7), v)
		require.NoError(t, sender.wait())
		semDrained(t, rx)
	})
}

func TestSemRendezvousTrySendNeedsAWaitingReceiver(t *testing.T) {
	semEachMeeting(t, semModes, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		for i := range uint64(100) {
			require.ErrorIs(t, tx.TrySend(i), channel.ErrFull)
			receiver := semRecv(rx)
			for {
				err := tx.TrySend(i)
				if err == nil {
					break
				}
				require.ErrorIs(t, err, channel.ErrFull)
				runtime.Gosched()
			}
			// accepted, so the receiver has it, and only it
			require.Equal(t, semGot[uint64]{i, nil}, receiver.wait())
		}
	})
}

func TestSemRendezvousTryRecvNeedsAWaitingSender(t *testing.T) {
	semEachMeeting(t, semModes, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		for i := range uint64(100) {
			_, err := rx.TryRecv()
			require.ErrorIs(t, err, channel.ErrEmpty)
			sender := semSend(tx, i)
			for {
				v, err := rx.TryRecv()
				if err == nil {
					require.Equal(t, i, v)
					break
				}
				require.ErrorIs(t, err, channel.ErrEmpty)
				runtime.Gosched()
			}
			require.NoError(t, sender.wait())
		}
	})
}

func TestSemRendezvousTwoTriesNeverMeet(t *testing.T) {
	// As in Go: neither waits, so neither finds the other waiting.
	semEachMeeting(t, semModes, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		n := semFewer(20000)
		sender := semStart(func() error {
			for i := range n {
				if err := tx.TrySend(uint64(i)); !errors.Is(err, channel.ErrFull) {
					return fmt.Errorf("TrySend: %w", errors.Join(err, errors.New("not ErrFull")))
				}
			}
			return nil
		})
		for range n {
			v, err := rx.TryRecv()
			require.ErrorIs(t, err, channel.ErrEmpty, "got %d; the sender: %v", v, semPeek(sender))
		}
		require.NoError(t, sender.wait())
	})
}

func TestSemRendezvousTriesAmongWaitersAreExact(t *testing.T) {
	// Try calls on both sides in traffic of blocking ones: what they accept
	// arrives, once, and what they refuse does not.
	semEachMeeting(t, []semMode{semMPMC}, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		n := semFewer(1000)
		var stop atomic.Bool
		trySender := semStart(func() (sent []uint64) {
			for i := 0; !stop.Load(); i++ {
				if tx.TrySend(semID(1, i)) == nil {
					sent = append(sent, semID(1, i))
				}
				runtime.Gosched()
			}
			return sent
		})
		tryReceiver := semStart(func() (got []uint64) {
			for !stop.Load() {
				if v, err := rx.TryRecv(); err == nil {
					got = append(got, v)
				}
				runtime.Gosched()
			}
			return got
		})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		receiver := semStart(func() (got []uint64) {
			for {
				v, err := rx.RecvContext(ctx)
				if err != nil {
					return got
				}
				got = append(got, v)
			}
		})
		var sent []uint64
		for i := range n {
			require.NoError(t, tx.Send(semID(0, i)))
			sent = append(sent, semID(0, i))
		}
		stop.Store(true)
		tried := trySender.wait()
		tryGot := tryReceiver.wait()
		cancel()
		got := receiver.wait()
		semExact(t, [][]uint64{sent, tried}, [][]uint64{got, tryGot})
		semDrained(t, rx)
	})
}

func TestSemRendezvousSendersAreServedEachOnce(t *testing.T) {
	semEachMeeting(t, []semMode{semMPMC}, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		var senders []*semTask[error]
		seen := map[uint64]bool{}
		for i := range uint64(8) {
			senders = append(senders, semSend(tx, i))
		}
		for range senders {
			v, ok := rx.Recv()
			require.True(t, ok)
			require.False(t, seen[v])
			seen[v] = true
			require.NoError(t, senders[v].wait(), "who sent %d", v)
		}
		semDrained(t, rx)
	})
}

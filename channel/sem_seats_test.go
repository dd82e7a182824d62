//go:build linux

package channel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semSendBusy fails unless every sending call is told that the seat is taken.
func semSendBusy(t *testing.T, c *channel.Chan[uint64]) {
	t.Helper()
	semIs(t, c.Send(1), channel.ErrBusy, "send", c.Name())
	semIs(t, c.TrySend(1), channel.ErrBusy, "send", c.Name())
	semIs(t, c.SendContext(context.Background(), 1), channel.ErrBusy, "send", c.Name())
	n, err := c.SendBatch([]uint64{1})
	semIs(t, err, channel.ErrBusy, "send", c.Name())
	require.Zero(t, n)
	_, err = c.Reserve()
	semIs(t, err, channel.ErrBusy, "reserve", c.Name())
}

// semRecvBusy fails unless every receiving call is told that the seat is taken.
func semRecvBusy(t *testing.T, c *channel.Chan[uint64]) {
	t.Helper()
	_, ok := c.Recv()
	require.False(t, ok)
	require.ErrorIs(t, c.Err(), channel.ErrBusy)
	_, err := c.TryRecv()
	semIs(t, err, channel.ErrBusy, "recv|receiv", c.Name())
	_, err = c.RecvContext(context.Background())
	semIs(t, err, channel.ErrBusy, "recv|receiv", c.Name())
	n, err := c.RecvBatch(make([]uint64, 2))
	semIs(t, err, channel.ErrBusy, "recv|receiv", c.Name())
	require.Zero(t, n)
	err = c.RecvFunc(func(*uint64) error { t.Error("f ran"); return nil })
	semIs(t, err, channel.ErrBusy, "recv|receiv", c.Name())
	for range c.All() {
		t.Error("All gave a message")
	}
}

func TestSemSPSCSeatsOneSenderAndOneReceiver(t *testing.T) {
	for _, capacity := range []int{0, 1, 10} {
		t.Run(fmt.Sprintf("cap=%d", capacity), func(t *testing.T) {
			h := semMembers(t, 3, capacity, channel.SPSC())
			exchange := func(tx, rx *channel.Chan[uint64]) {
				t.Helper()
				sender := semSend(tx, 5)
				v, ok := rx.Recv()
				require.True(t, ok)
				require.Equal(t, uint64(5), v)
				require.NoError(t, sender.wait())
			}
			exchange(h[0], h[1])
			semSendBusy(t, h[1])
			semSendBusy(t, h[2])
			semRecvBusy(t, h[0])
			semRecvBusy(t, h[2])
			exchange(h[0], h[1]) // their owners are not disturbed
			require.Zero(t, h[0].Len())

			require.NoError(t, h[0].Detach())
			exchange(h[2], h[1]) // free again
			require.NoError(t, h[1].Detach())
			exchange(h[2], h[2])
		})
	}
}

func TestSemSPSCOneHandleMayHaveBothSeats(t *testing.T) {
	for _, capacity := range []int{0, 1, 10} {
		t.Run(fmt.Sprintf("cap=%d", capacity), func(t *testing.T) {
			h := semMembers(t, 2, capacity, channel.SPSC())
			sender := semSend(h[0], 5)
			v, ok := h[0].Recv()
			require.True(t, ok)
			require.Equal(t, uint64(5), v)
			require.NoError(t, sender.wait())
			semSendBusy(t, h[1])
			semRecvBusy(t, h[1])
		})
	}
}

func TestSemSPSCHandlesThatDoNeitherAreWelcome(t *testing.T) {
	h := semMembers(t, 5, 4, channel.SPSC())
	semFill(t, h[0], 1, 2)
	for _, c := range h {
		require.Equal(t, 2, c.Len())
		require.Equal(t, 4, c.Cap())
	}
	semWant(t, h[4], uint64(1))
	require.NoError(t, h[2].Close(), "to close takes no seat")
}

func TestSemSPSCSeatsChangeHandsManyTimes(t *testing.T) {
	name := uniqueName(t)
	keeper := semCreate[uint64](t, name, 3, channel.SPSC())
	next, first := uint64(0), uint64(0)
	for range semFewer(200) {
		tx := semAttach[uint64](t, name)
		rx := semAttach[uint64](t, name)
		for range 2 {
			require.NoError(t, tx.TrySend(next))
			next++
		}
		semWant(t, rx, first)
		semWant(t, rx, first+1)
		first += 2
		require.NoError(t, tx.Detach())
		require.NoError(t, rx.Detach())
	}
	require.Equal(t, 1, keeper.Stats().Members)
}

func TestSemSPSCBlockedHoldersKeepTheirSeats(t *testing.T) {
	h := semMembers(t, 2, 1, channel.SPSC())
	semFill(t, h[0], 1)
	sender := semSend(h[0], 2)
	sender.blocks(t, "Send on a full channel")
	semSendBusy(t, h[1])
	semWant(t, h[1], uint64(1))
	require.NoError(t, sender.wait())
	semWant(t, h[1], uint64(2))
	receiver := semRecv(h[1])
	receiver.blocks(t, "Recv on an empty channel")
	semRecvBusy(t, h[0])
	require.NoError(t, h[0].Send(3))
	require.Equal(t, semGot[uint64]{3, nil}, receiver.wait())
}

func TestSemMPMCHasNoSeats(t *testing.T) {
	h := semMembers(t, 20, 20)
	for i, c := range h {
		require.NoError(t, c.Send(uint64(i)))
	}
	for i, c := range h {
		v, ok := c.Recv()
		require.True(t, ok)
		require.Equal(t, uint64(i), v)
	}
	s := h[0].Stats()
	require.Equal(t, 20, s.Members)
	require.Equal(t, 20, s.Senders)
	require.Equal(t, 20, s.Receivers)
}

func TestSemManyHandlesComeAndGo(t *testing.T) {
	// far more than may be there at once
	name := uniqueName(t)
	keeper := semCreate[uint64](t, name, 2)
	for i := range uint64(semFewer(1500)) {
		c := semAttach[uint64](t, name)
		require.NoError(t, c.TrySend(i))
		semWant(t, keeper, i)
		require.NoError(t, c.Detach())
	}
	require.Equal(t, 1, keeper.Stats().Members)
}

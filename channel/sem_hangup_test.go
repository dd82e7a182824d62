//go:build linux

package channel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semMembers gives n handles of one new name, which differ in nothing.
func semMembers(t *testing.T, n, capacity int, opts ...channel.Option) []*channel.Chan[uint64] {
	t.Helper()
	name := uniqueName(t)
	var all []*channel.Chan[uint64]
	for range n {
		all = append(all, semOpen[uint64](t, name, capacity, opts...))
	}
	return all
}

func TestSemANamedChannelOutlivesItsHandles(t *testing.T) {
	for _, mode := range semModes {
		for _, hangUp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/HangUp=%v", mode.name, hangUp), func(t *testing.T) {
				opts := []channel.Option{mode.opt}
				if hangUp {
					opts = append(opts, channel.HangUp())
				}
				name := uniqueName(t)
				for i := range uint64(5) { // one handle at a time, each sends one and goes
					c := semOpen[uint64](t, name, 10, opts...)
					require.Equal(t, int(i), c.Len())
					require.NoError(t, c.Send(i))
					require.NoError(t, c.Detach())
				}
				for i := range uint64(5) {
					c := semAttach[uint64](t, name, opts...)
					v, ok := c.Recv()
					require.True(t, ok)
					require.Equal(t, i, v)
					require.NoError(t, c.Detach())
				}
				require.FileExists(t, semPath(name))
			})
		}
	}
}

func TestSemWithoutHangUpAReceiverWaitsForASenderToCome(t *testing.T) {
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 10} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				h := semMembers(t, 3, capacity, mode.opt)
				rx := h[0]
				first := semSend(h[1], 1)
				v, ok := rx.Recv()
				require.True(t, ok)
				require.Equal(t, uint64(1), v)
				require.NoError(t, first.wait())
				require.NoError(t, h[1].Detach())
				receiver := semRecv(rx)
				receiver.blocks(t, "Recv with the last sender gone")
				require.NoError(t, h[2].Send(2))
				require.Equal(t, semGot[uint64]{2, nil}, receiver.wait())
			})
		}
	}
}

func TestSemHangUpEndsAReceiverWhenTheLastSenderIsGone(t *testing.T) {
	for _, mode := range semModes {
		for _, capacity := range []int{1, 10} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				h := semMembers(t, 2, capacity, mode.opt, channel.HangUp())
				tx, rx := h[0], h[1]
				for i := range uint64(capacity) {
					require.NoError(t, tx.Send(i))
				}
				require.NoError(t, tx.Detach())
				for i := range uint64(capacity) { // drains first
					require.Equal(t, capacity-int(i), rx.Len())
					v, ok := rx.Recv()
					require.True(t, ok)
					require.Equal(t, i, v)
				}
				semEnded(t, rx, channel.ErrPeerLost)
				_, err := rx.RecvContext(context.Background())
				semIs(t, err, channel.ErrPeerLost, "recv|receiv", rx.Name())
			})
		}
	}
}

func TestSemHangUpFreesABlockedReceiver(t *testing.T) {
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 10} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				h := semMembers(t, 2, capacity, mode.opt, channel.HangUp())
				tx, rx := h[0], h[1]
				first := semSend(tx, 1)
				v, ok := rx.Recv()
				require.True(t, ok)
				require.Equal(t, uint64(1), v)
				require.NoError(t, first.wait())
				receiver := semStart(func() error {
					_, ok := rx.Recv()
					if ok {
						return nil
					}
					return rx.Err()
				})
				receiver.blocks(t, "Recv with a sender alive")
				require.NoError(t, tx.Detach())
				require.ErrorIs(t, receiver.wait(), channel.ErrPeerLost)
			})
		}
	}
}

func TestSemHangUpFreesABlockedSender(t *testing.T) {
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 10} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				h := semMembers(t, 2, capacity, mode.opt, channel.HangUp())
				tx, rx := h[0], h[1]
				first := semSend(tx, 1)
				_, ok := rx.Recv()
				require.True(t, ok)
				require.NoError(t, first.wait())
				for i := range uint64(capacity) {
					require.NoError(t, tx.Send(i))
				}
				sender := semSend(tx, 99)
				sender.blocks(t, "Send with a receiver alive")
				require.NoError(t, rx.Detach())
				require.ErrorIs(t, sender.wait(), channel.ErrPeerLost)
				semSendsFail(t, tx, channel.ErrPeerLost)
				semIs(t, tx.Send(1), channel.ErrPeerLost, "send", tx.Name())
			})
		}
	}
}

func TestSemHangUpWaitsAsLongAsTheOtherSideHasNotBeen(t *testing.T) {
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				h := semMembers(t, 4, capacity, mode.opt, channel.HangUp())
				receiver := semRecv(h[0])
				receiver.blocks(t, "Recv before any sender came")
				require.NoError(t, h[1].Detach()) // neither sender nor receiver
				receiver.blocks(t, "Recv before any sender came")
				require.NoError(t, h[2].Send(1))
				require.Equal(t, semGot[uint64]{1, nil}, receiver.wait())

				s := semMembers(t, 3, capacity, mode.opt, channel.HangUp())
				for range capacity {
					require.NoError(t, s[0].Send(0))
				}
				sender := semSend(s[0], 1)
				sender.blocks(t, "Send before any receiver came")
				require.NoError(t, s[1].Detach())
				sender.blocks(t, "Send before any receiver came")
				for range capacity + 1 {
					_, ok := s[2].Recv()
					require.True(t, ok)
				}
				require.NoError(t, sender.wait())
			})
		}
	}
}

func TestSemHangUpComesOnlyWithTheLastOfSeveral(t *testing.T) {
	h := semMembers(t, 6, 10, channel.HangUp())
	rx, other := h[0], h[1]
	for i, tx := range h[2:5] {
		require.NoError(t, tx.Send(uint64(i)))
	}
	for range 3 {
		_, ok := rx.Recv()
		require.True(t, ok)
	}
	receivers := []*semTask[semGot[uint64]]{semRecv(rx), semRecv(other)}
	require.NoError(t, h[2].Detach())
	require.NoError(t, h[3].Detach())
	for _, k := range receivers {
		k.blocks(t, "Recv with one sender left")
	}
	require.NoError(t, h[4].Detach())
	for _, k := range receivers {
		require.ErrorIs(t, k.wait().err, channel.ErrPeerLost)
	}
}

func TestSemHangUpCountsAHandleFromItsFirstCallEvenOneThatFails(t *testing.T) {
	h := semMembers(t, 3, 1, channel.HangUp())
	semFill(t, h[0], 1)
	require.ErrorIs(t, h[1].TrySend(2), channel.ErrFull)
	require.NoError(t, h[0].Detach())
	v, ok := h[2].Recv()
	require.True(t, ok)
	require.Equal(t, uint64(1), v)
	receiver := semRecv(h[2])
	receiver.blocks(t, "Recv while one that tried to send is there")
	require.NoError(t, h[1].Detach())
	require.ErrorIs(t, receiver.wait().err, channel.ErrPeerLost)
}

func TestSemHangUpAHandleOfBothSidesIsOnBoth(t *testing.T) {
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) {
			h := semMembers(t, 1, 2, mode.opt, channel.HangUp())
			c := h[0]
			for i := range uint64(5) {
				require.NoError(t, c.Send(i))
				v, ok := c.Recv()
				require.True(t, ok)
				require.Equal(t, i, v)
			}
			semDrained(t, c) // ErrEmpty, not ErrPeerLost: a sender is here
		})
	}
}

func TestSemHangUpOnAnUnnamedChannel(t *testing.T) {
	tx := semNew[uint64](t, 4, channel.HangUp())
	rx := semOther(t, tx, channel.HangUp())
	semFill(t, tx, 1, 2)
	require.NoError(t, tx.Detach())
	semWant(t, rx, uint64(1))
	semWant(t, rx, uint64(2))
	semEnded(t, rx, channel.ErrPeerLost)
}

func TestSemACloseIsNotAHangUp(t *testing.T) {
	h := semMembers(t, 2, 4, channel.HangUp())
	semFill(t, h[0], 1)
	require.NoError(t, h[0].Close())
	require.NoError(t, h[0].Detach())
	semWant(t, h[1], uint64(1))
	semEnded(t, h[1], nil)
}

func TestSemWithoutHangUpNobodyIsLost(t *testing.T) {
	// the option is each handle's own
	name := uniqueName(t)
	plain := semOpen[uint64](t, name, 2)
	hanging := semOpen[uint64](t, name, 2, channel.HangUp())
	tx := semOpen[uint64](t, name, 2)
	semFill(t, tx, 1, 2)
	semWant(t, plain, uint64(1))
	semWant(t, hanging, uint64(2))
	require.NoError(t, tx.Detach())
	_, err := hanging.TryRecv()
	require.ErrorIs(t, err, channel.ErrPeerLost)
	_, err = plain.TryRecv()
	require.ErrorIs(t, err, channel.ErrEmpty)
}

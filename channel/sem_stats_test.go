//go:build linux

package channel_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func TestSemStatsCountMessages(t *testing.T) {
	semEach(t, semModes, []int{1, 10, 1000}, func(t *testing.T, s semShape) {
		if s.way == "Over+Over" {
			t.Skip("each handle counts its own")
		}
		tx, rx := semMake[uint64](t, s)
		counts := func() [3]uint64 {
			a, b := tx.Stats(), rx.Stats()
			require.Equal(t, a.Sent, b.Sent)
			require.Equal(t, a.Received, b.Received)
			require.Equal(t, a.Redelivered, b.Redelivered)
			return [3]uint64{a.Sent, a.Received, a.Redelivered}
		}
		require.Equal(t, [3]uint64{0, 0, 0}, counts())
		for i := range uint64(2*s.capacity + 5) {
			require.NoError(t, tx.Send(i))
			require.Equal(t, [3]uint64{i + 1, i, 0}, counts())
			semWant(t, rx, i)
			require.Equal(t, [3]uint64{i + 1, i + 1, 0}, counts())
		}
		n := uint64(2*s.capacity + 5)
		require.ErrorIs(t, tx.TrySend(0), nil)
		for i := range uint64(3) {
			rx.RecvFunc(func(*uint64) error { return errSemRefused })
			require.Equal(t, n+1, tx.Stats().Sent)
			require.Equal(t, n, tx.Stats().Received)
			require.LessOrEqual(t, tx.Stats().Redelivered, i+1)
		}
		semWant(t, rx, uint64(0))
		require.Positive(t, tx.Stats().Redelivered)
		require.Equal(t, n+1, rx.Stats().Received)
		require.False(t, tx.Stats().Closed)
		require.NoError(t, tx.Close())
		require.True(t, rx.Stats().Closed)
	})
}

func TestSemStatsCountMembersSendersReceiversAndLoans(t *testing.T) {
	h := semMembers(t, 5, 10)
	require.Equal(t, 5, h[0].Stats().Members)
	require.Zero(t, h[0].Stats().Senders)
	require.Zero(t, h[0].Stats().Receivers)
	semFill(t, h[0], 1, 2)
	semFill(t, h[1], 3)
	h[1].TryRecv()
	h[2].TryRecv()
	s := h[4].Stats()
	require.Equal(t, 2, s.Senders)
	require.Equal(t, 2, s.Receivers)
	require.NoError(t, h[1].Detach())
	s = h[4].Stats()
	require.Equal(t, 4, s.Members)
	require.Equal(t, 1, s.Senders)
	require.Equal(t, 1, s.Receivers)

	a, b := semLend(t, h[2], 1), semLend(t, h[3], 2)
	require.Equal(t, 2, h[4].Stats().Loans)
	require.NoError(t, a.Commit())
	require.Equal(t, 1, h[4].Stats().Loans)
	require.NoError(t, b.Abort())
	require.Zero(t, h[4].Stats().Loans)
}

func TestSemARejoinedNameForgetsNobodysCount(t *testing.T) {
	name := uniqueName(t)
	c := semCreate[uint64](t, name, 10)
	semFill(t, c, 1, 2, 3)
	semWant(t, c, uint64(1))
	require.NoError(t, c.Detach())
	d := semAttach[uint64](t, name)
	s := d.Stats()
	require.Equal(t, uint64(3), s.Sent)
	require.Equal(t, uint64(1), s.Received)
	require.Equal(t, 1, s.Members)
}

func TestSemEverySpinPolicyServes(t *testing.T) {
	policies := []struct {
		name   string
		policy channel.SpinPolicy
	}{
		{"adaptive", channel.SpinAdaptive()},
		{"never", channel.SpinNever()},
		{"for 0", channel.SpinFor(0)},
		{"for 20µs", channel.SpinFor(20 * time.Microsecond)},
		{"for less than nothing", channel.SpinFor(-time.Second)},
		{"busy", channel.SpinBusy()},
	}
	for _, p := range policies {
		for _, mode := range semModes {
			for _, capacity := range []int{0, 1, 10} {
				t.Run(fmt.Sprintf("%s/%s/cap=%d", p.name, mode.name, capacity), func(t *testing.T) {
					there, err := channel.New[uint64](capacity, mode.opt, channel.Spin(p.policy))
					semOwn(t, there, err)
					back := semNew[uint64](t, capacity, mode.opt, channel.Spin(p.policy))
					echo := semStart(func() error {
						for v := range there.All() {
							if err := back.Send(v + 1); err != nil {
								return err
							}
						}
						return back.Close()
					})
					for i := range uint64(semFewer(200)) {
						require.NoError(t, there.Send(i))
						v, ok := back.Recv()
						require.True(t, ok)
						require.Equal(t, i+1, v)
					}
					// a blocked call is freed, whatever it does meanwhile
					receiver := semRecv(back)
					receiver.blocks(t, "Recv")
					require.NoError(t, there.Close())
					require.ErrorIs(t, receiver.wait().err, channel.ErrClosed)
					require.NoError(t, echo.wait())
				})
			}
		}
	}
}

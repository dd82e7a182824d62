//go:build linux

package channel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semAllocates fails if f allocates.
func semAllocates(t *testing.T, what string, f func() error) {
	t.Helper()
	if semRace {
		t.Skip("the race detector allocates")
	}
	const rounds = 500
	for range rounds { // past what is made once
		require.NoError(t, f(), what)
	}
	var err error
	n := testing.AllocsPerRun(rounds, func() {
		if e := f(); e != nil && err == nil {
			err = e
		}
	})
	require.NoError(t, err, what)
	require.Zero(t, n, "%s allocates", what)
}

func TestSemSendAndRecvOfAPlainTAllocateNothing(t *testing.T) {
	t.Run("uint64", func(t *testing.T) { semPlainAllocs(t, semUints) })
	t.Run("64 bytes", func(t *testing.T) { semPlainAllocs(t, semWides) })
	t.Run("5000 bytes", func(t *testing.T) { semPlainAllocs(t, semHuges) })
	t.Run("nothing", func(t *testing.T) {
		semPlainAllocs(t, semPlain(func(int) struct{} { return struct{}{} }))
	})
}

func semPlainAllocs[T any](t *testing.T, k semKind[T]) {
	for _, mode := range semModes {
		for _, way := range []string{"New", "Create+Attach"} {
			t.Run(mode.name+"/"+way, func(t *testing.T) {
				tx, rx := semConnect[T](t, way, 8, mode.opt)
				v := k.gen(5)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				batch, buf := []T{v, v, v}, make([]T, 3)
				got := 0
				take := func(p *T) error { got++; return nil }

				semAllocates(t, "Send and Recv", func() error {
					if err := tx.Send(v); err != nil {
						return err
					}
					if _, ok := rx.Recv(); !ok {
						return fmt.Errorf("the end: %w", rx.Err())
					}
					return nil
				})
				semAllocates(t, "TrySend and TryRecv", func() error {
					if err := tx.TrySend(v); err != nil {
						return err
					}
					_, err := rx.TryRecv()
					return err
				})
				semAllocates(t, "SendContext and RecvContext", func() error {
					if err := tx.SendContext(ctx, v); err != nil {
						return err
					}
					_, err := rx.RecvContext(ctx)
					return err
				})
				semAllocates(t, "SendBatch and RecvBatch", func() error {
					if _, err := tx.SendBatch(batch); err != nil {
						return err
					}
					_, err := rx.RecvBatch(buf)
					return err
				})
				semAllocates(t, "Send and RecvFunc", func() error {
					if err := tx.Send(v); err != nil {
						return err
					}
					return rx.RecvFunc(take)
				})
				require.Positive(t, got)
			})
		}
	}
}

func TestSemALoanOfAPlainTAllocatesNothing(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[semWide](t, 8, mode)
		semAllocates(t, "Reserve, Commit and Recv", func() error {
			l, err := c.Reserve()
			if err != nil {
				return err
			}
			l.Value.ID = 7
			if err := l.Commit(); err != nil {
				return err
			}
			if v, ok := c.Recv(); !ok || v.ID != 7 {
				return fmt.Errorf("got %d, %v", v.ID, ok)
			}
			return nil
		})
	})
}

func TestSemSendAndRecvFuncOfBytesAllocateNothing(t *testing.T) {
	for _, mode := range semModes {
		for _, way := range []string{"New", "Create+Attach"} {
			for _, size := range []int{0, 1, 64, 4000} {
				t.Run(fmt.Sprintf("%s/%s/%d bytes", mode.name, way, size), func(t *testing.T) {
					tx, rx := semConnect[[]byte](t, way, 8, mode.opt)
					msg := semPattern[:size]
					seen := 0
					take := func(b *[]byte) error {
						if len(*b) != size {
							return fmt.Errorf("got %d bytes", len(*b))
						}
						seen++
						return nil
					}
					semAllocates(t, "Send and RecvFunc", func() error {
						if err := tx.Send(msg); err != nil {
							return err
						}
						return rx.RecvFunc(take)
					})
					require.Positive(t, seen)
				})
			}
		}
	}
}

func TestSemABlockedPartnerAllocatesNothing(t *testing.T) {
	// Where one side or the other has to wait most times.
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				c := semNew[uint64](t, capacity, mode.opt)
				receiver := semStart(func() uint64 {
					sum := uint64(0)
					for {
						v, ok := c.Recv()
						if !ok {
							return sum
						}
						sum += v
					}
				})
				semAllocates(t, "Send to a blocked receiver", func() error { return c.Send(1) })
				require.NoError(t, c.Close())
				require.Positive(t, receiver.wait())
			})
		}
	}
}

func TestSemLenAllocatesNothing(t *testing.T) {
	c := semNew[uint64](t, 3)
	semFill(t, c, 1, 2)
	semAllocates(t, "Len", func() error {
		if c.Len() != 2 || c.Cap() != 3 {
			return fmt.Errorf("%d of %d", c.Len(), c.Cap())
		}
		return nil
	})
}

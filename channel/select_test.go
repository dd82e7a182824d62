package channel

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// twoHandles is a channel and a second handle of it, as another process would have.
func twoHandles[T any](t testing.TB, capacity int, opts ...Option) (a, b *Chan[T]) {
	t.Helper()
	a, err := New[T](capacity, opts...)
	require.NoError(t, err)
	f, err := a.File()
	require.NoError(t, err)
	b, err = FromFile[T](f, opts...)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	t.Cleanup(func() { a.Detach(); b.Detach() })
	return a, b
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// shapes runs f over channels of every kind that may block.
func selectShapes(t *testing.T, f func(t *testing.T, capacity int, opts ...Option)) {
	for _, c := range []int{0, 1, 4} {
		t.Run(fmt.Sprintf("capacity=%d/mode=MPMC", c), func(t *testing.T) { f(t, c) })
		t.Run(fmt.Sprintf("capacity=%d/mode=SPSC", c), func(t *testing.T) { f(t, c, SPSC()) })
	}
}

func TestSelectReceivesWhatIsSentLater(t *testing.T) {
	selectShapes(t, func(t *testing.T, capacity int, opts ...Option) {
		a, a2 := twoHandles[int](t, capacity, opts...)
		b, b2 := twoHandles[string](t, capacity, opts...)
		ctx := within(t)
		for i := range 200 {
			var wg sync.WaitGroup
			wg.Go(func() {
				if i%2 == 0 {
					a2.Send(i)
				} else {
					b2.Send(fmt.Sprint(i))
				}
			})
			var n int
			var s string
			var ok bool
			chosen, err := Select(ctx, RecvCase(a, &n, &ok), RecvCase(b, &s, &ok))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, i%2, chosen)
			wg.Wait() // SPSC: one at a time
			if chosen == 0 {
				require.Equal(t, i, n)
			} else {
				require.Equal(t, fmt.Sprint(i), s)
			}
		}
	})
}

func TestSelectSendsWhenThereIsRoom(t *testing.T) {
	selectShapes(t, func(t *testing.T, capacity int, opts ...Option) {
		a, a2 := twoHandles[int](t, capacity, opts...)
		b, b2 := twoHandles[string](t, capacity, opts...)
		ctx := within(t)
		for i := range capacity {
			require.NoError(t, a.Send(-i))
			require.NoError(t, b.Send(""))
		}
		for i := range 200 {
			var wg sync.WaitGroup
			got := ""
			wg.Go(func() {
				if i%2 == 0 {
					v, err := a2.RecvContext(ctx)
					got = fmt.Sprint(v, " ", err)
				} else {
					v, err := b2.RecvContext(ctx)
					got = fmt.Sprint(v, " ", err)
				}
			})
			chosen, err := Select(ctx, SendCase(a, i), SendCase(b, fmt.Sprint(i)))
			require.NoError(t, err)
			require.Equal(t, i%2, chosen)
			wg.Wait()
			if capacity == 0 {
				require.Equal(t, fmt.Sprint(i, " ", error(nil)), got)
			}
		}
	})
}

func TestSelectsOfferEachOtherARendezvous(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		t.Run(fmt.Sprintf("circle=%d", n), func(t *testing.T) {
			ctx := within(t)
			const rounds = 300
			sends, recvs := make([]*Chan[int], n), make([]*Chan[int], n)
			for i := range n {
				sends[i], recvs[(i+1)%n] = twoHandles[int](t, 0)
			}
			// i sends to i+1 and receives from i-1, whichever comes; each edge carries rounds messages.
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					sent, got := 0, 0
					for sent < rounds || got < rounds {
						var cases [2]Case
						if sent < rounds {
							cases[0] = SendCase(sends[i], sent)
						}
						var v int
						if got < rounds {
							cases[1] = RecvCase(recvs[i], &v, nil)
						}
						chosen, err := Select(ctx, cases[:]...)
						if err != nil {
							t.Errorf("%d: sent %d, got %d: %v", i, sent, got, err)
							return
						}
						if chosen == 0 {
							sent++
						} else {
							if v != got {
								t.Errorf("%d: got %d, want %d", i, v, got)
							}
							got++
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestSelectDoesNotMeetItself(t *testing.T) {
	a, b := twoHandles[int](t, 0)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var v int
	chosen, err := Select(ctx, SendCase(a, 1), RecvCase(a, &v, nil), RecvCase(b, &v, nil))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, -1, chosen)
	// but it meets another one
	var wg sync.WaitGroup
	in := within(t)
	for i := range 2 {
		wg.Go(func() {
			for range 200 {
				var v int
				c, err := Select(in, SendCase(a, i), RecvCase(b, &v, nil))
				if err != nil || c == 1 && v == i {
					t.Errorf("%d: chose %d, %d, %v", i, c, v, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSelectWithGoChannels(t *testing.T) {
	a, a2 := twoHandles[int](t, 1)
	ctx := within(t)
	g, h := make(chan string), make(chan int, 1)
	for i := range 100 {
		if len(h) == 0 {
			h <- 0 // full: the case that sends waits
		}
		go func() {
			switch i % 3 {
			case 0:
				g <- "x"
			case 1:
				a2.Send(i)
			case 2:
				<-h
			}
		}()
		var s string
		var v int
		c, err := Select(ctx, GoRecvCase(g, &s, nil), RecvCase(a, &v, nil), GoSendCase(h, 1))
		require.NoError(t, err)
		require.Equal(t, i%3, c)
	}
	c, err := Select(ctx, RecvCase(a, nil, nil), GoRecvCase(time.After(time.Millisecond), nil, nil))
	require.NoError(t, err)
	require.Equal(t, 1, c)
}

func TestSelectDefault(t *testing.T) {
	selectShapes(t, func(t *testing.T, capacity int, opts ...Option) {
		a, a2 := twoHandles[int](t, capacity, opts...)
		b, b2 := twoHandles[int](t, capacity, opts...)
		_ = b2
		var v int
		c, err := Select(within(t), RecvCase(a, &v, nil), RecvCase(b, &v, nil), Default())
		require.NoError(t, err)
		require.Equal(t, 2, c)
		if capacity == 0 {
			c, err = Select(within(t), SendCase(a2, 1), Default())
			require.NoError(t, err)
			require.Equal(t, 1, c)
			return
		}
		require.NoError(t, a2.Send(7))
		ok := false
		c, err = Select(within(t), Default(), RecvCase(b, &v, nil), RecvCase(a, &v, &ok))
		require.NoError(t, err)
		require.Equal(t, 2, c)
		require.Equal(t, 7, v)
		require.True(t, ok)
	})
}

func TestSelectOnClosedChannels(t *testing.T) {
	selectShapes(t, func(t *testing.T, capacity int, opts ...Option) {
		a, a2 := twoHandles[int](t, capacity, opts...)
		require.NoError(t, a2.Close())
		v, ok := 5, true
		c, err := Select(within(t), Case{}, RecvCase(a, &v, &ok))
		require.NoError(t, err)
		require.Equal(t, 1, c)
		require.Zero(t, v)
		require.False(t, ok)
		c, err = Select(within(t), Case{}, SendCase(a2, 1))
		require.ErrorIs(t, err, ErrClosed)
		require.Equal(t, 1, c)
	})
}

func TestTryCallsMeetSelects(t *testing.T) {
	a, b := twoHandles[int](t, 0)
	other, _ := twoHandles[int](t, 0)
	ctx := within(t)
	for i := range 100 {
		var wg sync.WaitGroup
		wg.Go(func() {
			c, err := Select(ctx, SendCase(a, i), RecvCase(other, nil, nil))
			if c != 0 || err != nil {
				t.Errorf("chose %d, %v", c, err)
			}
		})
		for {
			v, err := b.TryRecv()
			if err == nil {
				require.Equal(t, i, v)
				break
			}
			require.ErrorIs(t, err, ErrEmpty)
			require.NoError(t, ctx.Err())
		}
		wg.Wait()
		wg.Go(func() {
			var v int
			c, err := Select(ctx, RecvCase(a, &v, nil), RecvCase(other, nil, nil))
			if c != 0 || err != nil || v != i {
				t.Errorf("chose %d, %d, %v", c, v, err)
			}
		})
		for {
			err := b.TrySend(i)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, ErrFull)
			require.NoError(t, ctx.Err())
		}
		wg.Wait()
	}
}

func TestSelectAllocatesNothing(t *testing.T) {
	if raceBuild {
		t.Skip("the race detector allocates")
	}
	a, a2 := twoHandles[int](t, 4)
	b, b2 := twoHandles[int](t, 0)
	ctx := context.Background()
	var v int
	var ok bool
	var wg sync.WaitGroup
	n := testing.AllocsPerRun(1000, func() {
		if c, err := Select(ctx, SendCase(a2, 1), RecvCase(b, &v, &ok)); c != 0 || err != nil {
			t.Errorf("chose %d, %v", c, err)
		}
		if c, err := Select(ctx, RecvCase(a, &v, &ok), RecvCase(b, &v, &ok), SendCase(b2, 1)); c != 0 || err != nil {
			t.Errorf("chose %d, %v", c, err)
		}
	})
	require.Less(t, n, 0.1)
	wg.Wait()
}

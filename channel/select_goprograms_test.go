package channel

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The questions of Go's own tests of select (runtime/chan_test.go, test/chan/), asked of Select.

// As TestSelectFairness: of two channels that are always ready, each is chosen half of the time.
func TestSelectIsFair(t *testing.T) {
	const trials = 10_000
	a, _ := twoHandles[byte](t, trials+1)
	b, _ := twoHandles[byte](t, trials+1)
	never1, _ := twoHandles[byte](t, 1)
	never2, _ := twoHandles[byte](t, 0)
	for range trials + 1 {
		require.NoError(t, a.Send(1))
		require.NoError(t, b.Send(2))
	}
	ctx := within(t)
	var n [4]int
	for range trials {
		i, err := Select(ctx, RecvCase(never1, nil, nil), RecvCase(never2, nil, nil), RecvCase(a, nil, nil), RecvCase(b, nil, nil))
		require.NoError(t, err)
		n[i]++
	}
	require.Zero(t, n[0]+n[1])
	// 4.89 standard deviations: one run in a million is further off.
	if r := float64(n[2]) / trials; math.Abs(r-0.5) > 4.891676/(2*math.Sqrt(trials)) {
		t.Errorf("%d of %d were of the first", n[2], trials)
	}
}

// As TestSelectStress: senders and receivers with select and without, on four channels.
func TestSelectStress(t *testing.T) {
	n := 2000
	if testing.Short() || raceBuild {
		n = 300
	}
	for _, capacities := range [][4]int{{0, 0, 2, 3}, {0, 0, 0, 0}} {
		t.Run(fmt.Sprint(capacities), func(t *testing.T) {
			var c, d [4]*Chan[int]
			for i := range c {
				c[i], d[i] = twoHandles[int](t, capacities[i])
			}
			ctx := within(t)
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					for range n {
						if err := c[i].SendContext(ctx, 0); err != nil {
							t.Errorf("send %d: %v", i, err)
							return
						}
					}
				})
				wg.Go(func() {
					for range n {
						if _, err := d[i].RecvContext(ctx); err != nil {
							t.Errorf("receive %d: %v", i, err)
							return
						}
					}
				})
			}
			all := func(send bool, on [4]*Chan[int]) {
				var left [4]int
				for i := range left {
					left[i] = n
				}
				for range 4 * n {
					var cases [4]Case
					for i := range cases {
						switch {
						case left[i] == 0:
						case send:
							cases[i] = SendCase(on[i], 0)
						default:
							cases[i] = RecvCase(on[i], nil, nil)
						}
					}
					i, err := Select(ctx, cases[:]...)
					if err != nil {
						t.Errorf("select, send %v, left %v: %v", send, left, err)
						return
					}
					left[i]--
				}
			}
			wg.Go(func() { all(true, c) })
			wg.Go(func() { all(false, d) })
			wg.Wait()
			for i := range c {
				require.Zero(t, c[i].Len())
			}
		})
	}
}

// As TestNonblockSelectRace: while one of two channels always has a message, Default is
// not chosen, though the message moves from one to the other during the call.
func TestSelectWithDefaultSeesOneMoment(t *testing.T) {
	n := 200_000
	if testing.Short() || raceBuild {
		n = 20_000
	}
	a, a2 := twoHandles[int](t, 2)
	b, b2 := twoHandles[int](t, 2)
	ctx := within(t)
	require.NoError(t, a.Send(1))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		from, to := a, b
		for {
			select {
			case <-stop:
				return
			default:
			}
			// Now it is in both, and then in the other alone.
			if err := to.SendContext(ctx, 1); err != nil {
				t.Error(err)
				return
			}
			if _, err := from.RecvContext(ctx); err != nil {
				t.Error(err)
				return
			}
			from, to = to, from
		}
	})
	back := [2]*Chan[int]{a2, b2}
	for range n {
		i, err := Select(ctx, RecvCase(a2, nil, nil), RecvCase(b2, nil, nil), Default())
		require.NoError(t, err)
		require.NotEqual(t, 2, i, "no case was ready")
		require.NoError(t, back[i].SendContext(ctx, 1)) // as it was, before the next look
	}
	close(stop)
	wg.Wait()
}

// As test/chan/doubleselect.go: a message that is sent with Select is sent once.
func TestSelectSendsOnce(t *testing.T) {
	const n = 2000
	var c, d [4]*Chan[int]
	for i := range c {
		c[i], d[i] = twoHandles[int](t, 0)
	}
	ctx := within(t)
	go func() {
		for i := range n {
			_, err := Select(ctx, SendCase(c[0], i), SendCase(c[1], i), SendCase(c[2], i), SendCase(c[3], i))
			if err != nil {
				t.Error(err)
				return
			}
		}
		for _, ch := range c {
			ch.Close()
		}
	}()
	all := make(chan int)
	var wg sync.WaitGroup
	for _, ch := range d {
		wg.Go(func() {
			for v := range ch.All() {
				all <- v
			}
		})
	}
	go func() { wg.Wait(); close(all) }()
	seen := make([]bool, n)
	for v := range all {
		require.False(t, seen[v], "%d was received twice", v)
		seen[v] = true
	}
	for i, ok := range seen {
		require.True(t, ok, "%d was not received", i)
	}
}

// As test/chan/select6.go: a Select that gives up its place in a queue of receivers takes
// nothing along.
func TestSelectThatChoseOtherwiseLeavesNothing(t *testing.T) {
	for _, capacity := range []int{0, 1} {
		t.Run(fmt.Sprintf("capacity=%d", capacity), func(t *testing.T) {
			a, a2 := twoHandles[int](t, capacity)
			b, b2 := twoHandles[int](t, capacity)
			ctx := within(t)
			for i := range 200 {
				var wg sync.WaitGroup
				wg.Go(func() {
					if c, err := Select(ctx, RecvCase(a, nil, nil), RecvCase(b, nil, nil)); c != 1 || err != nil {
						t.Errorf("chose %d, %v", c, err)
					}
				})
				require.NoError(t, b2.SendContext(ctx, i))
				wg.Wait()
				wg.Go(func() {
					if v, err := a.RecvContext(ctx); v != i || err != nil {
						t.Errorf("received %d, %v", v, err)
					}
				})
				require.NoError(t, a2.SendContext(ctx, i))
				wg.Wait()
			}
		})
	}
}

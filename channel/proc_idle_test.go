//go:build linux

package channel_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type idleArgs struct {
	chanArgs
	Op string // recv, send, batch, func, ctx
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var roleIdle = role("idle", func(c *child, a idleArgs) {
	ch, err := join[uint64](a.chanArgs)
	c.must(err)
	if a.Op == "send" {
		for range a.Cap {
			c.must(ch.TrySend(1))
		}
	}
	c.say("blocking", nil)
	start, used := time.Now(), cpuTime()
	switch a.Op {
	case "recv":
		ch.Recv()
	case "send":
		c.must(ch.Send(2))
	case "batch":
		_, err := ch.RecvBatch(make([]uint64, 10))
		c.must(err)
	case "func":
		c.must(ch.RecvFunc(func(*uint64) error { return nil }))
	case "ctx":
		ctx, cancel := context.WithTimeout(bg, time.Hour)
		_, err := ch.RecvContext(ctx)
		cancel()
		c.must(err)
	}
	c.say("woken", []time.Duration{cpuTime() - used, time.Since(start)})
})

// Who waits uses no processor: it spins for a moment and then sleeps.
func TestBlockedCallsUseNoCPU(t *testing.T) {
	const idle = 2 * time.Second
	var wakes []func()
	var procs []*proc
	var names []string
	for _, spsc := range []bool{false, true} {
		for _, capacity := range []int{0, 4} {
			for _, op := range []string{"recv", "send", "batch", "func", "ctx"} {
				a := idleArgs{chanArgs{Kind: "uint64", Name: uniqueName(t), Cap: capacity, SPSC: spsc, HangUp: capacity == 4}, op}
				ch := mustJoin[uint64](t, a.chanArgs)
				p := spawn(t, roleIdle, a)
				p.expect("blocking")
				procs, names = append(procs, p), append(names, a.String()+"/"+op)
				wakes = append(wakes, func() {
					var err error
					if op == "send" {
						_, err = ch.RecvContext(bg)
					} else {
						err = ch.Send(1)
					}
					if err != nil {
						t.Errorf("waking: %v", err)
					}
				})
			}
		}
	}
	time.Sleep(idle) // the test is that nothing happens
	within(t, "wake-ups", func() {
		var wg sync.WaitGroup
		for _, wake := range wakes {
			wg.Go(wake)
		}
		wg.Wait()
	})
	for i, p := range procs {
		var spent []time.Duration
		p.expect("woken", &spent)
		p.wait()
		if spent[1] < idle {
			t.Errorf("%s: blocked for %v only", names[i], spent[1])
		}
		if spent[0] >= 10*time.Millisecond {
			t.Errorf("%s: blocked for %v, used %v of the processor", names[i], spent[1], spent[0])
		}
	}
}

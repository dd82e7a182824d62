//go:build linux

package channel_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/channel"
)

// Many blocked goroutines: few threads, nothing burnt, all woken.

type masses struct {
	Goroutines int
	One        bool // all on one channel
	Idle       time.Duration
	SPSC       bool
}

type massesReport struct {
	Channels, Threads int
	CPU               time.Duration // of the whole process, in Idle
	Switches          int64         // voluntary ones, likewise
}

// maxMassesThreads is what ten thousand waiters may cost.
const maxMassesThreads = 100

var roleMasses = role("masses", func(c *child, a masses) {
	var opts []channel.Option
	if a.SPSC {
		opts = append(opts, channel.SPSC())
	}
	n := a.Goroutines
	if a.One {
		n = 1
	} else {
		var lim unix.Rlimit
		c.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
		lim.Cur = lim.Max
		c.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
		n = min(n, int(min(lim.Cur, 1<<20)-200)/2) // a handle has two descriptors
	}
	chans := make([]*channel.Chan[uint64], n)
	for i := range chans {
		ch, err := channel.New[uint64](1, opts...)
		c.must(err)
		chans[i] = ch
	}
	waiters := max(n, a.Goroutines)
	if !a.One {
		waiters = n
	}
	got := make(chan uint64, waiters)
	for i := range waiters {
		ch := chans[i%n]
		go func() {
			v, ok := ch.Recv()
			if !ok {
				c.fatalf("%v", ch.Err())
			}
			got <- v
		}()
	}
	for _, ch := range chans { // each has somebody asleep
		for ch.Stats().Sleeps == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	cpu := func() (d time.Duration, switches int64) {
		var r syscall.Rusage
		c.must(syscall.Getrusage(syscall.RUSAGE_SELF, &r))
		return time.Duration(r.Utime.Nano() + r.Stime.Nano()), int64(r.Nvcsw) //nolint:unconvert // 32 bits wide on 386
	}
	for { // until all others have come to rest, too
		before, _ := cpu()
		time.Sleep(100 * time.Millisecond)
		if after, _ := cpu(); after-before < time.Millisecond {
			break
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	c.must(err)
	spent, switched := cpu()
	time.Sleep(a.Idle)
	spentSince, switchedSince := cpu()
	c.say("idle", massesReport{
		Channels: n, Threads: len(threads), CPU: spentSince - spent, Switches: switchedSince - switched,
	})
	seen := make([]bool, waiters)
	for i := range waiters {
		c.must(chans[i%n].Send(uint64(i)))
	}
	for range waiters {
		if v := <-got; seen[v] {
			c.fatalf("%d came twice", v)
		} else {
			seen[v] = true
		}
	}
	c.say("woken", waiters)
	for _, ch := range chans {
		c.must(ch.Detach())
	}
})

func TestBlockedGoroutinesShareThreads(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	for _, a := range []struct {
		name string
		masses
	}{
		{"each has a channel", masses{Goroutines: n, SPSC: true, Idle: time.Second}},
		{"all have one", masses{Goroutines: n, One: true, Idle: time.Second}},
	} {
		t.Run(a.name, func(t *testing.T) {
			p := spawn(t, roleMasses, a.masses)
			var r massesReport
			p.expect("idle", &r)
			t.Logf("%d channels, %d threads, %v of CPU in %v, %d voluntary switches", r.Channels, r.Threads, r.CPU, a.Idle, r.Switches)
			if r.Threads > maxMassesThreads {
				t.Errorf("%d threads, at most %d", r.Threads, maxMassesThreads)
			}
			if r.CPU > 10*time.Millisecond {
				t.Errorf("%v of CPU in %v of waiting", r.CPU, a.Idle)
			}
			p.expect("woken")
			p.wait()
		})
	}
}

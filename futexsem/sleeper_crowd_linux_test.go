package futexsem

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	roles["crowd"] = crowd
}

// A process of ten thousand sleepers, apart from this one, whose threads it would count.
func TestTenThousandSleepers(t *testing.T) {
	guard(t)
	if !probeWaitv() {
		t.Skip("no futex_waitv here")
	}
	n, idle := 10_000, 10*time.Second
	if testing.Short() {
		idle = time.Second
	}
	race := raceToken(1) != 0
	if race {
		n = 5000 // the race detector has an end at 8128 goroutines
	}
	c := startChild(t, "crowd", strconv.Itoa(n), idle.String())
	var threads, switches int
	var used time.Duration
	line := c.line()
	_, err := fmt.Sscan(strings.ReplaceAll(line, "µ", "u"), &threads, (*nanoseconds)(&used), &switches)
	require.NoError(t, err, line)
	t.Logf("%d sleepers: %d threads; in %v: %v of processor time, %d switches", n, threads, idle, used, switches)
	require.LessOrEqual(t, threads, 100, "threads")
	if !race {
		require.Less(t, used, 10*time.Millisecond, "processor time of a process that sleeps")
	}
	require.Less(t, switches, 200, "voluntary context switches")
	t.Log(c.line())
	t.Log(c.line())
	c.dismiss(t)
}

type nanoseconds time.Duration

// Scan implements fmt.Scanner: an integer.
func (n *nanoseconds) Scan(state fmt.ScanState, _ rune) error {
	_, err := fmt.Fscan(state, (*int64)(n))
	return err
}

// crowd sleeps, reports what that costs, and wakes all one by one, then all at once. N IDLE
func crowd(args []string) {
	runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), 4)) // the runtime has threads of its own
	n, idle := number(args[0]), must(time.ParseDuration(args[1]))
	mem := must(unix.Mmap(-1, 0, 64*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON))
	awake := make(chan struct{}, n)
	var wg sync.WaitGroup
	sleepers := make([]*Sleeper, n)
	for i := range sleepers {
		sleepers[i] = NewSleeper()
		wg.Go(func() {
			word := wordAt(mem, 64*i)
			for v := range uint32(2) {
				for atomic.LoadUint32(word) == v {
					sleepers[i].Sleep([]Word{{word, v}}, -1)
				}
				awake <- struct{}{}
			}
		})
	}
	for _, s := range sleepers {
		for state := atomic.LoadUint32(&s.state); state != asleep && state != watching; state = atomic.LoadUint32(&s.state) {
			runtime.Gosched()
		}
	}
	runtime.GC()
	time.Sleep(300 * time.Millisecond) // the threads take in what came last, the collector ends
	usedBefore, switchesBefore := cpuTime(), switches()
	time.Sleep(idle)
	used, switched := cpuTime()-usedBefore, switches()-switchesBefore
	fmt.Println(threads(), int64(used), switched)

	begin, usedBefore := time.Now(), cpuTime()
	for i := range n {
		change(wordAt(mem, 64*i))
		<-awake
	}
	fmt.Printf("woken one by one: %v, processor time %v, %d threads\n", time.Since(begin), cpuTime()-usedBefore, threads())
	begin, usedBefore = time.Now(), cpuTime()
	for i := range n {
		change(wordAt(mem, 64*i))
	}
	wg.Wait()
	fmt.Printf("woken at once: %v, processor time %v, %d threads\n", time.Since(begin), cpuTime()-usedBefore, threads())
}

// switches counts the voluntary context switches of all threads so far.
func switches() int {
	var u unix.Rusage
	check(unix.Getrusage(unix.RUSAGE_SELF, &u))
	return int(u.Nvcsw)
}

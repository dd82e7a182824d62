package futexsem

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkWake wakes one of many sleepers, each on a word of its own, and lets it fall
// asleep again. It reports the median time from the change of the word to when the sleeper runs,
// the processor time of all of it, and the threads of the process.
func BenchmarkWake(b *testing.B) {
	for _, n := range []int{1, 8, 100, 1000, 10000} {
		for _, w := range ways {
			if w.seats == 1<<31-1 && n > 100 {
				continue // as many threads
			}
			b.Run(fmt.Sprintf("sleepers=%d/way=%s", n, w.name), func(b *testing.B) {
				force(b, w)
				benchmarkWake(b, n)
			})
		}
	}
}

func benchmarkWake(b *testing.B, n int) {
	words := sharedWords(b, n)
	slept := make(chan time.Time, 1)
	var done atomic.Bool
	var asleep, wg sync.WaitGroup
	asleep.Add(n)
	for i := range n {
		wg.Go(func() {
			s := NewSleeper()
			list := []Word{{words[i], 0}}
			asleep.Done()
			for !done.Load() {
				s.Sleep(list, -1)
				if now := atomic.LoadUint32(list[0].Addr); now != list[0].Val {
					slept <- time.Now()
					list[0].Val = now
				}
			}
		})
	}
	asleep.Wait()
	time.Sleep(20 * time.Millisecond)
	took := make([]time.Duration, 0, b.N)
	before := cpuTime()
	for b.Loop() {
		word := words[rand.IntN(n)]
		begin := time.Now()
		change(word)
		took = append(took, (<-slept).Sub(begin))
		time.Sleep(50 * time.Microsecond) // both sides asleep
	}
	used := cpuTime() - before
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(took).Nanoseconds())/1e3, "µs-median")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "µs-p99")
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(len(took)), "cpu-µs/wake")
	b.ReportMetric(float64(threads()), "threads")
	done.Store(true)
	go func() {
		for range slept {
		}
	}()
	for _, word := range words {
		change(word)
	}
	wg.Wait()
	close(slept)
}

// cpuTime is what all threads of this process have used.
func cpuTime() time.Duration {
	var u unix.Rusage
	check(unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
}

// median sorts.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

package futexsem

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkBlockedRoundTrip is two goroutines that wake each other in turns, by the three
// calls that may do it. The calls take turns too, a hundred round trips each, so that
// what the machine does besides weighs on all alike.
func BenchmarkBlockedRoundTrip(b *testing.B) {
	calls := []struct {
		name  string
		sleep func(s *Sleeper, word *uint32, val uint32)
	}{
		{"FutexWait", func(_ *Sleeper, word *uint32, val uint32) { _ = FutexWait(word, val, -1) }},
		{"Wait", func(_ *Sleeper, word *uint32, val uint32) { _ = Wait(word, val, -1) }},
		{"Sleep", func(s *Sleeper, word *uint32, val uint32) {
			s.one[0] = Word{word, val}
			s.Sleep(s.one[:], -1)
		}},
	}
	const batch = 100
	took := make([][]time.Duration, len(calls))
	for b.Loop() {
		for i, c := range calls {
			took[i] = append(took[i], roundTrips(batch, c.sleep))
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, c := range calls {
		b.ReportMetric(float64(median(took[i]).Nanoseconds())/batch/1e3, c.name+"-µs")
		b.ReportMetric(float64(median(took[i]))/float64(median(took[0])), c.name+"-ratio")
	}
}

func roundTrips(n uint32, sleep func(s *Sleeper, word *uint32, val uint32)) time.Duration {
	mem := must(unix.Mmap(-1, 0, objectSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON))
	words := [2]*uint32{wordAt(mem, 0), wordAt(mem, 64)}
	begin := time.Now()
	var wg sync.WaitGroup
	for me := range words {
		wg.Go(func() {
			s := NewSleeper()
			for i := range n {
				if me == 0 {
					change(words[1])
				}
				for atomic.LoadUint32(words[me]) == i {
					sleep(s, words[me], i)
				}
				if me == 1 {
					change(words[0])
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	check(unix.Munmap(mem))
	return took
}

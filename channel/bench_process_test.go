//go:build linux

package channel_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const benchCap = 4096

// BenchmarkThroughput moves N messages from senders to receivers; ns/op is the
// time for one message of all.
func BenchmarkThroughput(b *testing.B) {
	for _, kind := range []string{"uint64", "line", "bytes", "bytes-inplace"} {
		b.Run("carrier=shm/mode=SPSC/T="+kind+"/sides=1:1", func(b *testing.B) {
			bench(b, pair(b, benchArgs{chanArgs: chanArgs{Kind: kind, Cap: benchCap, SPSC: true}}, 1), nil)
		})
		for _, k := range []int{1, 2, 4} {
			if k > 1 && kind != "uint64" {
				continue
			}
			b.Run("carrier=shm/mode=MPMC/T="+kind+"/"+sides(k), func(b *testing.B) {
				bench(b, pair(b, benchArgs{chanArgs: chanArgs{Kind: kind, Cap: benchCap}}, k), nil)
			})
		}
	}
	for _, k := range []int{1, 2, 4} {
		b.Run("carrier=gochan/T=uint64/"+sides(k), func(b *testing.B) { goChan(b, k, uint64(1)) })
	}
	b.Run("carrier=gochan/T=line/sides=1:1", func(b *testing.B) { goChan(b, 1, line64{Seq: 1}) })
	b.Run("carrier=gochan/T=bytes/sides=1:1", func(b *testing.B) { goChan(b, 1, make([]byte, 64)) })
	for _, size := range []int{8, 64} {
		b.Run(fmt.Sprintf("carrier=pipe/bytes=%d/sides=1:1", size), func(b *testing.B) {
			r, w := pipe(b)
			bench(b, pair(b, benchArgs{chanArgs: chanArgs{Kind: "fd", Cap: size}}, 1), [][]*os.File{{r, w}, {r, w}})
		})
		b.Run(fmt.Sprintf("carrier=unix/bytes=%d/sides=1:1", size), func(b *testing.B) {
			x, y := unixPair(b)
			bench(b, pair(b, benchArgs{chanArgs: chanArgs{Kind: "fd", Cap: size}}, 1), [][]*os.File{{x, x}, {y, y}})
		})
	}
}

// BenchmarkRoundTrip sends a message there and another one back; ns/op is for
// both ways.
func BenchmarkRoundTrip(b *testing.B) {
	for _, spsc := range []bool{true, false} {
		for _, capacity := range []int{1, 0} {
			for _, sleep := range []bool{false, true} {
				wait := map[bool]string{false: "spin", true: "sleep"}[sleep]
				mode := map[bool]string{false: "MPMC", true: "SPSC"}[spsc]
				b.Run(fmt.Sprintf("carrier=shm/mode=%s/cap=%d/wait=%s", mode, capacity, wait), func(b *testing.B) {
					a := benchArgs{chanArgs: chanArgs{Kind: "uint64", Cap: capacity, SPSC: spsc}, Sleep: sleep}
					bench(b, pingPong(b, a), nil)
				})
			}
		}
	}
	b.Run("carrier=gochan/cap=0", func(b *testing.B) { goPingPong(b, 0) })
	b.Run("carrier=gochan/cap=1", func(b *testing.B) { goPingPong(b, 1) })
	b.Run("carrier=pipe/bytes=8", func(b *testing.B) {
		r1, w1 := pipe(b)
		r2, w2 := pipe(b)
		bench(b, pingPong(b, benchArgs{chanArgs: chanArgs{Kind: "fd", Cap: 8}}), [][]*os.File{{r2, w1}, {r1, w2}})
	})
	b.Run("carrier=unix/bytes=8", func(b *testing.B) {
		x, y := unixPair(b)
		bench(b, pingPong(b, benchArgs{chanArgs: chanArgs{Kind: "fd", Cap: 8}}), [][]*os.File{{x, x}, {y, y}})
	})
}

// goChan is the same with goroutines of this process on a Go channel.
func goChan[T any](b *testing.B, k int, v T) {
	ch := make(chan T, benchCap)
	var wg sync.WaitGroup
	a := benchArgs{N: b.N, Count: k}
	b.ResetTimer()
	for a.Index = range k {
		n := a.share()
		wg.Go(func() {
			for range n {
				ch <- v
			}
		})
		wg.Go(func() {
			for range n {
				<-ch
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if b.N > 1 {
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
	}
}

func goPingPong(b *testing.B, capacity int) {
	to, back := make(chan uint64, capacity), make(chan uint64, capacity)
	var wg sync.WaitGroup
	wg.Go(func() {
		for v := range to {
			back <- v
		}
	})
	b.ResetTimer()
	for range b.N {
		to <- 1
		<-back
	}
	b.StopTimer()
	close(to)
	wg.Wait()
}

func pipe(b *testing.B) (r, w *os.File) {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func unixPair(b *testing.B) (x, y *os.File) {
	b.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	x, y = os.NewFile(uintptr(fds[0]), "x"), os.NewFile(uintptr(fds[1]), "y")
	b.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

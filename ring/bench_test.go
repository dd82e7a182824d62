package ring

import (
	"runtime"
	"sync"
	"testing"
)

// pipeline times b.N messages from send to recv, which say whether they did it.
func pipeline(b *testing.B, send func(v uint64) bool, recv func() (uint64, bool)) {
	var wg sync.WaitGroup
	n := b.N
	b.ResetTimer()
	wg.Go(func() {
		for v := range uint64(n) {
			for i := 0; ; i++ {
				got, ok := recv()
				if ok {
					if got != v {
						b.Errorf("message %d is %d", v, got)
						return
					}
					break
				}
				if i&63 == 63 {
					runtime.Gosched()
				}
			}
		}
	})
	for v := range uint64(n) {
		for i := 0; !send(v); i++ {
			if i&63 == 63 {
				runtime.Gosched()
			}
		}
	}
	wg.Wait()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "M/s")
}

// BenchmarkOneToOne is a stream of uint64 from one goroutine to another, through
// each ring and, beside them, a Go channel. No sleeping: that is package channel's.
func BenchmarkOneToOne(b *testing.B) {
	const capacity = 4096
	b.Run("ring=spsc", func(b *testing.B) {
		w := newWorld(b, spscElems(capacity))
		s, _ := w.process().ClaimSender()
		r, _ := w.process().ClaimRecver()
		pipeline(b, func(v uint64) bool {
			p, st := s.Slot()
			if st != OK {
				return false
			}
			*(*uint64)(p) = v
			s.Publish()
			return true
		}, func() (v uint64, ok bool) {
			p, st := r.Front()
			if st != OK {
				return 0, false
			}
			v = *(*uint64)(p)
			r.Advance()
			return v, true
		})
	})
	b.Run("ring=mpmc", func(b *testing.B) {
		w := newWorld(b, elems(capacity))
		s, r := w.desk(w.process()), w.desk(w.process())
		pipeline(b, func(v uint64) bool {
			*(*uint64)(s.Block()) = v
			return s.Publish() == OK
		}, func() (v uint64, ok bool) {
			p, st := r.Peek()
			if st != OK {
				return 0, false
			}
			v = *(*uint64)(p)
			return v, r.Take()
		})
	})
	b.Run("ring=packed/bytes=64", func(b *testing.B) {
		w := newWorld(b, packed(capacity, 64, 64*capacity))
		s, r := w.desk(w.process()), w.desk(w.process())
		pipeline(b, func(v uint64) bool {
			if s.Room() != OK {
				return false
			}
			u, st := s.Alloc(64)
			if st != OK {
				return false
			}
			writeMessage(s.q.Extent(u, 8), v)
			return s.PublishExtent(u, 64) == OK
		}, func() (v uint64, ok bool) {
			p, st := r.PeekBytes()
			if st != OK {
				return 0, false
			}
			v = readMessage(p[:8])
			return v, r.TakeBytes()
		})
	})
	b.Run("ring=gochan", func(b *testing.B) {
		c := make(chan uint64, capacity)
		pipeline(b, func(v uint64) bool {
			c <- v
			return true
		}, func() (uint64, bool) { return <-c, true })
	})
}

// BenchmarkAlone is a message sent and taken by one goroutine.
func BenchmarkAlone(b *testing.B) {
	b.Run("ring=spsc", func(b *testing.B) {
		w := newWorld(b, spscElems(16))
		s, _ := w.process().ClaimSender()
		r, _ := w.process().ClaimRecver()
		for b.Loop() {
			_, _ = s.Slot()
			s.Publish()
			_, _ = r.Front()
			r.Advance()
		}
	})
	b.Run("ring=mpmc", func(b *testing.B) {
		w := newWorld(b, elems(16))
		d := w.desk(w.process())
		for b.Loop() {
			d.Publish()
			_, _ = d.Peek()
			d.Take()
		}
	})
	b.Run("ring=gochan", func(b *testing.B) {
		c := make(chan uint64, 16)
		for b.Loop() {
			c <- 1
			<-c
		}
	})
}

//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// Power series after McIlroy's "Squinting at Power Series": a series is a
// channel of its coefficients, an operation a goroutine between channels. Every
// stage works ahead as far as its channel has room, so the series are cut after
// semTerms terms, or products would open into products without end. What a stage
// that has ended leaves blocked before it is freed by closing all channels.
const semTerms = 7

type semRat struct{ Num, Den int64 }

func semFrac(num, den int64) semRat {
	if den < 0 {
		num, den = -num, -den
	}
	a, b := max(num, -num), den
	for b != 0 {
		a, b = b, a%b
	}
	a = max(a, 1) // 0/0, which is what comes after the end
	return semRat{num / a, den / a}
}

func (a semRat) add(b semRat) semRat { return semFrac(a.Num*b.Den+b.Num*a.Den, a.Den*b.Den) }
func (a semRat) mul(b semRat) semRat { return semFrac(a.Num*b.Num, a.Den*b.Den) }
func (a semRat) inv() semRat         { return semFrac(a.Den, a.Num) }

type (
	semSink   = channel.Sender[semRat]
	semSource = channel.Receiver[semRat]
)

// semSeries makes series and ends them all.
type semSeries struct {
	t     *testing.T
	opts  []channel.Option
	cap   int
	mu    sync.Mutex
	over  bool
	all   []*channel.Chan[semRat]
	tasks sync.WaitGroup
}

func (p *semSeries) end() {
	p.mu.Lock()
	p.over = true
	for _, c := range p.all {
		if err := c.Close(); err != nil && !errors.Is(err, channel.ErrClosed) {
			p.t.Errorf("close: %v", err)
		}
	}
	p.mu.Unlock()
	p.tasks.Wait()
	for _, c := range p.all {
		if err := c.Detach(); err != nil {
			p.t.Errorf("detach: %v", err)
		}
	}
}

// make gives a new series, computed by f, which closes it when it is complete.
// After the end it gives a closed one.
func (p *semSeries) make(capacity int, f func(out semSink)) semSource {
	c, err := channel.New[semRat](capacity, p.opts...)
	if err != nil {
		p.t.Errorf("new series: %v", err)
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, c)
	if p.over {
		c.Close()
	}
	p.tasks.Go(func() { f(c) })
	return c
}

func (p *semSeries) each(next func() (semRat, bool)) semSource {
	return p.make(p.cap, func(out semSink) {
		defer out.Close()
		for v, ok := next(); ok && out.Send(v) == nil; v, ok = next() {
		}
	})
}

// constant is the series whose coefficients are all v.
func (p *semSeries) constant(v semRat) semSource {
	n := 0
	return p.each(func() (semRat, bool) { n++; return v, n <= semTerms })
}

// polynomial is a series that is zero after vs.
func (p *semSeries) polynomial(vs ...int64) semSource {
	n := 0
	return p.each(func() (v semRat, ok bool) {
		v = semRat{0, 1}
		if n < len(vs) {
			v = semFrac(vs[n], 1)
		}
		n++
		return v, n <= semTerms
	})
}

func (p *semSeries) add(f, g semSource) semSource {
	return p.each(func() (semRat, bool) {
		a, ok := f.Recv()
		if !ok {
			return a, false
		}
		b, ok := g.Recv()
		return a.add(b), ok
	})
}

func (p *semSeries) scale(by semRat, f semSource) semSource {
	return p.each(func() (semRat, bool) {
		v, ok := f.Recv()
		return v.mul(by), ok
	})
}

// after is c + x·f.
func (p *semSeries) after(c semRat, f semSource) semSource {
	first := true
	return p.each(func() (semRat, bool) {
		if first {
			first = false
			return c, true
		}
		return f.Recv()
	})
}

// split gives f twice. Either may be read to its end before the other is begun.
func (p *semSeries) split(f semSource) (a, b semSource) {
	var second semSink
	ready := make(chan struct{})
	a = p.make(semTerms+1, func(out semSink) {
		<-ready
		defer out.Close()
		defer second.Close()
		for v, ok := f.Recv(); ok && out.Send(v) == nil && second.Send(v) == nil; v, ok = f.Recv() {
		}
	})
	b = p.make(semTerms+1, func(out semSink) {
		second = out
		close(ready)
	})
	return a, b
}

// product: (f₀ + x·f)·(g₀ + x·g) = f₀g₀ + x·(f₀·g + g₀·f + x·f·g).
func (p *semSeries) product(f, g semSource) semSource {
	return p.make(p.cap, func(out semSink) {
		defer out.Close()
		f0, ok := f.Recv()
		if !ok {
			return
		}
		g0, ok := g.Recv()
		if !ok || out.Send(f0.mul(g0)) != nil {
			return
		}
		fa, fb := p.split(f)
		ga, gb := p.split(g)
		rest := p.add(p.add(p.scale(f0, ga), p.scale(g0, fa)), p.after(semRat{0, 1}, p.product(fb, gb)))
		for v, ok := rest.Recv(); ok && out.Send(v) == nil; v, ok = rest.Recv() {
		}
	})
}

func (p *semSeries) integral(c semRat, f semSource) semSource {
	n := int64(0)
	return p.after(c, p.each(func() (semRat, bool) {
		v, ok := f.Recv()
		n++
		return v.mul(semRat{1, n}), ok
	}))
}

func (p *semSeries) derivative(f semSource) semSource {
	n := int64(0)
	return p.each(func() (semRat, bool) {
		if n == 0 {
			f.Recv()
		}
		v, ok := f.Recv()
		n++
		return v.mul(semRat{n, 1}), ok
	})
}

// reciprocal: with f = f₀ + x·f', z = 1/f₀ · (1 − x·f'·z).
func (p *semSeries) reciprocal(f semSource) semSource {
	return p.make(p.cap, func(out semSink) {
		defer out.Close()
		f0, ok := f.Recv()
		if !ok {
			return
		}
		var loop semSink
		ready := make(chan struct{})
		fed := p.make(semTerms+1, func(in semSink) { loop = in; close(ready) })
		<-ready
		scale := f0.inv()
		first := scale
		if loop.Send(first) != nil || out.Send(first) != nil {
			return
		}
		rest := p.scale(scale.mul(semRat{-1, 1}), p.product(f, fed))
		for v, ok := rest.Recv(); ok && loop.Send(v) == nil && out.Send(v) == nil; v, ok = rest.Recv() {
		}
	})
}

func TestSemPowerSeries(t *testing.T) {
	one := semRat{1, 1}
	tests := []struct {
		name string
		make func(p *semSeries) semSource
		want []semRat
	}{
		{"1/(1-x)", func(p *semSeries) semSource {
			return p.reciprocal(p.polynomial(1, -1))
		}, []semRat{one, one, one, one, one, one}},
		{"1/(1-x) squared", func(p *semSeries) semSource {
			return p.product(p.constant(one), p.constant(one))
		}, []semRat{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}}},
		{"derivative of 1/(1-x)", func(p *semSeries) semSource {
			return p.derivative(p.constant(one))
		}, []semRat{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}}},
		{"-log(1-x)", func(p *semSeries) semSource {
			return p.integral(semRat{0, 1}, p.constant(one))
		}, []semRat{{0, 1}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}}},
		{"atan", func(p *semSeries) semSource {
			return p.integral(semRat{0, 1}, p.reciprocal(p.polynomial(1, 0, 1)))
		}, []semRat{{0, 1}, {1, 1}, {0, 1}, {-1, 3}, {0, 1}, {1, 5}}},
		{"Fibonacci", func(p *semSeries) semSource {
			return p.reciprocal(p.polynomial(1, -1, -1))
		}, []semRat{{1, 1}, {1, 1}, {2, 1}, {3, 1}, {5, 1}, {8, 1}}},
		{"sum", func(p *semSeries) semSource {
			return p.add(p.constant(one), p.scale(semRat{1, 2}, p.constant(semRat{2, 3})))
		}, []semRat{{4, 3}, {4, 3}, {4, 3}}},
	}
	for _, mode := range semModes {
		for _, capacity := range []int{0, 1, 10} {
			for _, test := range tests {
				t.Run(fmt.Sprintf("%s/cap=%d/%s", mode.name, capacity, test.name), func(t *testing.T) {
					semWatch(t)
					p := &semSeries{t: t, opts: []channel.Option{mode.opt}, cap: capacity}
					defer p.end()
					series := test.make(p)
					for i, want := range test.want {
						v, ok := series.Recv()
						require.True(t, ok)
						require.Equal(t, want, v, "term %d", i)
					}
				})
			}
		}
	}
}

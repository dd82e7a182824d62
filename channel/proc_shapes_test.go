//go:build linux

package channel_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shmchan/shmchan/channel"
)

// The shapes of Go's own channel programs (test/chan in its source), with a
// process where those have a goroutine.

// linkArgs is a process between two channels of int64.
type linkArgs struct {
	In, Out string
	Cap     int
	SPSC    bool
}

func (a linkArgs) options() []channel.Option { return chanArgs{SPSC: a.SPSC}.options() }

func (a linkArgs) in(c *child) *channel.Chan[int64] {
	ch, err := channel.Open[int64](a.In, a.Cap, a.options()...)
	c.must(err)
	return ch
}

func (a linkArgs) out(c *child) *channel.Chan[int64] {
	ch, err := channel.Open[int64](a.Out, a.Cap, a.options()...)
	c.must(err)
	return ch
}

var (
	// passes on what comes, plus one, and closes behind itself
	roleLink = role("link", func(c *child, a linkArgs) {
		in, out := a.in(c), a.out(c)
		for v := range in.All() {
			c.must(out.Send(v + 1))
		}
		c.must(in.Err())
		c.must(out.Close())
	})
	// sends 2, 3, 4 … until the channel is closed
	roleGenerate = role("generate", func(c *child, a linkArgs) {
		out := a.out(c)
		for i := int64(2); out.Send(i) == nil; i++ {
		}
	})
	// reports its first number, a prime, and passes on what that does not divide
	roleFilter = role("filter", func(c *child, a linkArgs) {
		in, out := a.in(c), a.out(c)
		prime, ok := in.Recv()
		if !ok {
			c.fatalf("no prime: %v", in.Err())
		}
		c.say("prime", prime)
		for v := range in.All() {
			if v%prime != 0 && out.Send(v) != nil {
				break
			}
		}
	})
	// the multi-consumer's workers
	roleWork = role("work", func(c *child, a linkArgs) {
		in, out := a.in(c), a.out(c)
		n := 0
		for v := range in.All() {
			c.must(out.Send(v * v))
			n++
		}
		c.must(in.Err())
		c.say("worked", n)
	})
)

// openInts opens name for the test itself.
func openInts(t testing.TB, name string, capacity int, opts ...channel.Option) *channel.Chan[int64] {
	t.Helper()
	ch, err := channel.Open[int64](name, capacity, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ch.Detach() })
	return ch
}

func bothModes(t *testing.T, caps []int, f func(t *testing.T, spsc bool, capacity int)) {
	for _, spsc := range []bool{false, true} {
		for _, capacity := range caps {
			t.Run(chanArgs{Kind: "int64", Cap: capacity, SPSC: spsc}.String(), func(t *testing.T) {
				f(t, spsc, capacity)
			})
		}
	}
}

// fifo.go: a chain of processes keeps the order, whatever the capacities.
func TestProcessesFifoChain(t *testing.T) {
	const links, n = 4, 200
	bothModes(t, []int{0, 1, 10}, func(t *testing.T, spsc bool, capacity int) {
		opts := chanArgs{SPSC: spsc}.options()
		names := make([]string, links+1)
		for i := range names {
			names[i] = uniqueName(t)
		}
		first := openInts(t, names[0], capacity, opts...)
		last := openInts(t, names[links], capacity, opts...)
		var chain []*proc
		for i := range links {
			chain = append(chain, spawn(t, roleLink, linkArgs{In: names[i], Out: names[i+1], Cap: capacity, SPSC: spsc}))
		}
		sent := make(chan error, 1)
		go func() {
			for i := range int64(n) {
				if err := first.Send(i); err != nil {
					sent <- err
					return
				}
			}
			sent <- first.Close()
		}()
		within(t, "the chain", func() {
			want := int64(links)
			for v := range last.All() {
				if v != want {
					t.Errorf("got %d, want %d", v, want)
				}
				want++
			}
			if want != n+links {
				t.Errorf("%d came, want %d; Err %v", want-links, n, last.Err())
			}
		})
		if err := <-sent; err != nil {
			t.Errorf("the first sender: %v", err)
		}
		for _, p := range chain {
			p.wait()
		}
	})
}

// sieve1.go: one process for each prime.
func TestProcessesSieve(t *testing.T) {
	primes := []int64{2, 3, 5, 7, 11, 13, 17, 19, 23, 29}
	bothModes(t, []int{0, 1, 100}, func(t *testing.T, spsc bool, capacity int) {
		names := make([]string, len(primes)+1)
		chans := make([]*channel.Chan[int64], len(names))
		for i := range names {
			names[i] = uniqueName(t)
			chans[i] = openInts(t, names[i], capacity, chanArgs{SPSC: spsc}.options()...)
		}
		procs := []*proc{spawn(t, roleGenerate, linkArgs{Out: names[0], Cap: capacity, SPSC: spsc})}
		for i, want := range primes {
			p := spawn(t, roleFilter, linkArgs{In: names[i], Out: names[i+1], Cap: capacity, SPSC: spsc})
			procs = append(procs, p)
			var got int64
			p.expect("prime", &got)
			if got != want {
				t.Errorf("prime %d is %d, want %d", i, got, want)
			}
		}
		for _, ch := range chans {
			if err := ch.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		for _, p := range procs {
			p.wait()
		}
	})
}

// TestMultiConsumer of runtime/chan_test.go: many take from one channel and
// answer on another.
func TestProcessesMultiConsumer(t *testing.T) {
	const workers = 5
	n := int64(times(2000, 50000))
	for _, capacity := range []int{0, 1, 16} {
		t.Run(fmt.Sprintf("cap=%d", capacity), func(t *testing.T) {
			q, r := uniqueName(t), uniqueName(t)
			jobs, answers := openInts(t, q, capacity), openInts(t, r, capacity)
			var procs []*proc
			for range workers {
				procs = append(procs, spawn(t, roleWork, linkArgs{In: q, Out: r, Cap: capacity}))
			}
			var want int64
			for i := range n {
				want += (i % 97) * (i % 97)
			}
			sent := make(chan error, 1)
			go func() {
				for i := range n {
					if err := jobs.Send(i % 97); err != nil {
						sent <- err
						return
					}
				}
				sent <- jobs.Close()
			}()
			within(t, "the answers", func() {
				var sum int64
				for range n {
					v, ok := answers.Recv()
					if !ok {
						t.Errorf("answers ended: %v", answers.Err())
						return
					}
					sum += v
				}
				if sum != want {
					t.Errorf("sum %d, want %d", sum, want)
				}
			})
			if err := <-sent; err != nil {
				t.Error(err)
			}
			total := 0
			for _, p := range procs {
				var worked int
				p.expect("worked", &worked)
				p.wait()
				total += worked
			}
			if total != int(n) {
				t.Errorf("workers did %d jobs of %d", total, n)
			}
		})
	}
}

// powser1.go: power series as streams of rational coefficients, each made only
// when asked for. A stream is a pair of rendezvous channels, as there.

type rat struct{ Num, Den int64 }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, -a)
}

func ratio(num, den int64) rat {
	if g := gcd(num, den); g > 1 {
		num, den = num/g, den/g
	}
	if den < 0 {
		num, den = -num, -den
	}
	return rat{num, den}
}

func (a rat) times(b rat) rat { return ratio(a.Num*b.Num, a.Den*b.Den) }
func (a rat) plus(b rat) rat  { return ratio(a.Num*b.Den+b.Num*a.Den, a.Den*b.Den) }

// stream is a demand channel and a data channel.
type stream struct {
	req *channel.Chan[struct{}]
	dat *channel.Chan[rat]
}

func openStream(name string) (s stream, err error) {
	if s.req, err = channel.Open[struct{}](name+".req", 0); err != nil {
		return s, err
	}
	s.dat, err = channel.Open[rat](name+".dat", 0)
	return s, err
}

func (s stream) get() (rat, error) {
	if err := s.req.Send(struct{}{}); err != nil {
		return rat{}, err
	}
	return s.dat.RecvContext(bg)
}

// put waits for a demand, and serves it. false: nobody will ask again.
func (s stream) put(v rat) bool {
	if _, ok := s.req.Recv(); !ok {
		return false
	}
	return s.dat.Send(v) == nil
}

func (s stream) close() {
	s.req.Close()
	s.dat.Close()
}

func (s stream) detach() {
	s.req.Detach()
	s.dat.Detach()
}

type seriesArgs struct {
	Op      string
	In, Out []string
}

var roleSeries = role("series", func(c *child, a seriesArgs) {
	var in, out []stream
	for _, name := range a.In {
		s, err := openStream(name)
		c.must(err)
		in = append(in, s)
	}
	for _, name := range a.Out {
		s, err := openStream(name)
		c.must(err)
		out = append(out, s)
	}
	var u, v []rat
	for n := int64(0); ; n++ {
		switch a.Op {
		case "ones":
			if !out[0].put(rat{1, 1}) {
				return
			}
			continue
		case "integral": // of in[0], constant 1
			if n == 0 {
				if !out[0].put(rat{1, 1}) {
					return
				}
				continue
			}
			if _, ok := out[0].req.Recv(); !ok {
				return
			}
			x, err := in[0].get()
			if err != nil || out[0].dat.Send(x.times(ratio(1, n))) != nil {
				return
			}
			continue
		}
		// product: asks for both factors' next when it is asked
		if _, ok := out[0].req.Recv(); !ok {
			return
		}
		x, err1 := in[0].get()
		y, err2 := in[1].get()
		if err1 != nil || err2 != nil {
			return
		}
		u, v = append(u, x), append(v, y)
		sum := rat{0, 1}
		for i := range u {
			sum = sum.plus(u[i].times(v[len(v)-1-i]))
		}
		if out[0].dat.Send(sum) != nil {
			return
		}
	}
})

// 1/(1-x) squared has the coefficients 1, 2, 3 …; its integral with constant 1
// is 1/(1-x) again.
func TestProcessesPowerSeries(t *testing.T) {
	base := uniqueName(t)
	names := []string{base + "a", base + "b", base + "c", base + "d"}
	var all []stream
	for _, name := range names {
		t.Cleanup(func() { forget(name + ".req"); forget(name + ".dat") })
		s, err := openStream(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.detach)
		all = append(all, s)
	}
	procs := []*proc{
		spawn(t, roleSeries, seriesArgs{Op: "ones", Out: names[0:1]}),
		spawn(t, roleSeries, seriesArgs{Op: "ones", Out: names[1:2]}),
		spawn(t, roleSeries, seriesArgs{Op: "product", In: names[0:2], Out: names[2:3]}),
		spawn(t, roleSeries, seriesArgs{Op: "integral", In: names[2:3], Out: names[3:4]}),
	}
	within(t, "the series", func() {
		var got []rat
		for range 12 {
			v, err := all[3].get()
			if err != nil {
				t.Error(err)
				return
			}
			got = append(got, v)
		}
		if want := slices.Repeat([]rat{{1, 1}}, 12); !slices.Equal(got, want) {
			t.Errorf("coefficients %v, want %v", got, want)
		}
	})
	for _, s := range all {
		s.close()
	}
	for _, p := range procs {
		p.wait()
	}
}

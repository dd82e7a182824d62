// Racecheck orders, or fails to order, accesses to its own variables with a
// channel. Built with -race, it ends with status 66 when the detector reports
// them. See race_test.go for which cases must be reported.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/shmchan/shmchan/channel"
)

var (
	which    = flag.String("case", "ordered", "ordered, after-send, buffers, semaphore, close, two-senders, two-receivers")
	calls    = flag.String("calls", "plain", "plain, context, try, batch, inplace")
	capacity = flag.Int("cap", 1, "capacity")
	spsc     = flag.Bool("spsc", false, "mode")
	handles  = flag.Int("handles", 1, "1: one handle for all; 2: the receiver has its own")
	buffers  = flag.Int("buffers", 2, "number of buffers in case buffers")
)

const rounds = 200

func main() {
	flag.Parse()
	var opts []channel.Option
	if *spsc {
		opts = append(opts, channel.SPSC())
	}
	to, err := channel.New[uint64](*capacity, opts...)
	check(err)
	from := to
	if *handles == 2 {
		f, err := to.File()
		check(err)
		from, err = channel.FromFile[uint64](f, opts...)
		check(err)
		check(f.Close())
	}
	var wg sync.WaitGroup
	cases[*which](&wg, end{to}, end{from})
	wg.Wait()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "racecheck:", err)
		os.Exit(1)
	}
}

// end sends and receives by the calls that were asked for.
type end struct{ *channel.Chan[uint64] }

func (e end) send(v uint64) {
	switch *calls {
	case "context":
		check(e.SendContext(context.Background(), v))
	case "try":
		for {
			err := e.TrySend(v)
			if err == nil {
				return
			}
			if !errors.Is(err, channel.ErrFull) {
				check(err)
			}
		}
	case "batch":
		_, err := e.SendBatch([]uint64{v})
		check(err)
	case "inplace":
		l, err := e.Reserve()
		check(err)
		*l.Value = v
		check(l.Commit())
	default:
		check(e.Send(v))
	}
}

func (e end) recv() (v uint64) {
	var err error
	switch *calls {
	case "context":
		v, err = e.RecvContext(context.Background())
	case "try":
		if *capacity == 0 { // somebody must wait
			v, err = e.RecvContext(context.Background())
			break
		}
		for {
			v, err = e.TryRecv()
			if !errors.Is(err, channel.ErrEmpty) {
				break
			}
		}
	case "batch":
		var buf [1]uint64
		_, err = e.RecvBatch(buf[:])
		v = buf[0]
	case "inplace":
		err = e.RecvFunc(func(p *uint64) error { v = *p; return nil })
	default:
		var ok bool
		if v, ok = e.Recv(); !ok {
			err = fmt.Errorf("Recv ended: %w", e.Err())
		}
	}
	check(err)
	return v
}

var cases = map[string]func(wg *sync.WaitGroup, to, from end){
	// what was written before Send is read after Recv
	"ordered": func(wg *sync.WaitGroup, to, from end) {
		data := make([]int, rounds)
		wg.Go(func() {
			for k := range data {
				data[k] = k
				to.send(uint64(k))
			}
		})
		wg.Go(func() {
			for range rounds {
				if k := from.recv(); data[k] != int(k) {
					check(errors.New("wrong value"))
				}
			}
		})
	},
	// a race: written after Send, read after Recv
	"after-send": func(wg *sync.WaitGroup, to, from end) {
		data := make([]int, rounds)
		wg.Go(func() {
			for k := range data {
				to.send(uint64(k))
				data[k] = k
			}
		})
		wg.Go(func() {
			sum := 0
			for range rounds {
				sum += data[from.recv()]
			}
			fmt.Fprint(os.Stdout, sum)
		})
	},
	// buffers used over and over: cap+2 of them are enough, fewer are a race,
	// since the k-th Recv happens before the (k+cap)-th Send completes, and no
	// later Recv need have
	"buffers": func(wg *sync.WaitGroup, to, from end) {
		data := make([]int, *buffers)
		wg.Go(func() {
			for k := range rounds {
				data[k%*buffers] = k
				to.send(uint64(k))
			}
		})
		wg.Go(func() {
			sum := 0
			for range rounds {
				sum += data[int(from.recv())%*buffers]
			}
			fmt.Fprint(os.Stdout, sum)
		})
	},
	// a channel of capacity 1 is a mutex, one of 2 is not
	"semaphore": func(wg *sync.WaitGroup, to, from end) {
		counter := 0
		for range 2 {
			wg.Go(func() {
				for range rounds {
					to.send(1)
					counter++
					from.recv()
				}
			})
		}
	},
	// Close happens before the Recv that ends because of it
	"close": func(wg *sync.WaitGroup, to, from end) {
		data := 0
		wg.Go(func() {
			data = 1
			check(to.Close())
		})
		wg.Go(func() {
			if _, ok := from.Recv(); ok || data != 1 {
				check(errors.New("not closed"))
			}
		})
	},
	// an SPSC channel's seat is for one goroutine at a time: the sleep keeps the
	// two apart but orders nothing
	"two-senders": func(wg *sync.WaitGroup, to, _ end) {
		wg.Go(func() { to.send(1) })
		wg.Go(func() {
			time.Sleep(100 * time.Millisecond)
			to.send(2)
		})
	},
	"two-receivers": func(wg *sync.WaitGroup, to, from end) {
		to.send(1)
		to.send(2)
		wg.Go(func() { from.recv() })
		wg.Go(func() {
			time.Sleep(100 * time.Millisecond)
			from.recv()
		})
	},
}

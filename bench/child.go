package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shmchan/shmchan/fallback"
)

// The protocol between the parent and its children, in lines, over their standard input and
// output; a program in another language that speaks it can be a Side, too.
//
//	parent                           child
//	                                 open               has joined
//	TASK BYTES N FULL WINDOW         ready              TASK is trip or flood
//	go                               done NS MALLOCS    NS is of side 0, MALLOCS of both
//	about                            about JSON         what the carrier can do
//	(end of input)                                      leaves at once
//
// Instead of any answer: error TEXT.
//
// Trips: side 0 sends message 0, side 1 receives it and answers with message 0, and so
// on. The first warm(N) are not counted, then come one more and the N that are.
//
// Floods: the same with trips of which warm(N) are not counted, one more, then N messages from
// side 0, each of which side 1 verifies; WINDOW messages are acknowledged (ackBytes) by one that
// has the number of the last; WINDOW 0: only at the end. Two windows are under way at once.

const (
	ackBytes = 64
	// childEnv is set in a child: its side, then the carrier and the form.
	childEnv = "SHMCHAN_BENCH_CHILD"
)

// warm is how many trips go before the N that count.
func warm(n int) int { return max(16, n/20) }

type task struct {
	kind   string
	size   int
	n      int
	full   bool
	window int
}

func (t task) String() string {
	full := 0
	if t.full {
		full = 1
	}
	return fmt.Sprintf("%s %d %d %d %d", t.kind, t.size, t.n, full, t.window)
}

func parseTask(line string) (t task, err error) {
	var full int
	_, err = fmt.Sscanf(line, "%s %d %d %d %d", &t.kind, &t.size, &t.n, &full, &t.window)
	t.full = full != 0
	return t, err
}

// child is this program as one of the two processes. It does not return.
func child(env string) {
	lines := make(chan string)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			lines <- in.Text()
		}
		os.Exit(0) // the parent has no more use for it, or is gone; a call may be blocked
	}()
	err := serve(env, lines, os.Stdout)
	fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", "; "))
	os.Exit(1)
}

// serve does what the lines say until something fails.
func serve(env string, lines <-chan string, out io.Writer) error {
	number, name, _ := strings.Cut(env, " ")
	side, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	s, ok := findSubject(name)
	if !ok {
		return fmt.Errorf("no subject is called %q", name)
	}
	g := Given{Side: side, Args: os.Args[1:]}
	if len(g.Args) > 0 {
		files, err := strconv.Atoi(g.Args[0])
		if err != nil {
			return err
		}
		for i := range files {
			g.Files = append(g.Files, os.NewFile(uintptr(3+i), "given"))
		}
		g.Args = g.Args[1:]
	}
	end, err := s.Join(g)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "open")
	for {
		line := <-lines
		if line == "about" {
			about, err := json.Marshal(capabilities(end))
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "about %s\n", about)
			continue
		}
		t, err := parseTask(line)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		r := run{end: end, side: side, task: t}
		fmt.Fprintln(out, "ready")
		if line = <-lines; line != "go" {
			return fmt.Errorf("%q instead of go", line)
		}
		if err := r.do(); err != nil {
			return err
		}
		fmt.Fprintf(out, "done %d %d\n", r.took.Nanoseconds(), r.mallocs)
	}
}

// capabilities is what the Conns of an End say; nil if there are none.
func capabilities(end End) *fallback.Capabilities {
	b, ok := end.(*bytesEnd)
	if !ok {
		return nil
	}
	c, ok := b.carrier.(connCarrier)
	if !ok {
		return nil
	}
	all := c.tx.Capabilities()
	all.Receive = all.Receive || c.rx.Capabilities().Receive
	return &all
}

// A run is one task of one side.
type run struct {
	end     End
	side    int
	task    task
	took    time.Duration
	mallocs uint64
}

func (r *run) do() error {
	t := r.task
	w := warm(t.n)
	if err := r.trips(0, w); err != nil {
		return err
	}
	// Both look at their memory, which takes a while, and meet once more.
	before := mallocs()
	if err := r.trips(w, 1); err != nil {
		return err
	}
	start := time.Now()
	var err error
	switch {
	case t.kind == "trip":
		err = r.trips(w+1, t.n)
	case t.kind == "flood" && r.side == 0:
		err = r.flood(uint64(w + 1))
	case t.kind == "flood":
		err = r.drain(uint64(w + 1))
	default:
		err = fmt.Errorf("no task is called %q", t.kind)
	}
	r.took = time.Since(start)
	r.mallocs = mallocs() - before
	return err
}

func (r *run) message(seq uint64) message {
	return message{seq: seq, size: r.task.size, full: r.task.full}
}

func (r *run) trips(from, n int) error {
	first, then := r.end.Put, r.end.Take
	if r.side == 1 {
		first, then = then, first
	}
	for seq := uint64(from); seq < uint64(from+n); seq++ {
		m := r.message(seq)
		if err := first(m); err != nil {
			return err
		}
		if err := then(m); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) ack(seq uint64) message {
	return message{seq: seq, size: min(ackBytes, r.task.size)}
}

func (r *run) flood(from uint64) error {
	n, window := uint64(r.task.n), uint64(r.task.window)
	end := from + n
	if f, ok := r.end.(flooder); ok && window == 0 {
		if err := f.Flood(from, n); err != nil {
			return err
		}
		return r.end.Take(r.ack(end))
	}
	for i := uint64(0); i < n; i++ {
		if err := r.end.Put(r.message(from + i)); err != nil {
			return err
		}
		if window > 0 && (i+1)%window == 0 && i >= window { // the window before this one
			if err := r.end.Take(r.ack(from + i - window)); err != nil {
				return err
			}
		}
	}
	if window > 0 && n >= window { // that of the last whole window
		if err := r.end.Take(r.ack(from + n/window*window - 1)); err != nil {
			return err
		}
	}
	return r.end.Take(r.ack(end))
}

func (r *run) drain(from uint64) error {
	n, window := uint64(r.task.n), uint64(r.task.window)
	end := from + n
	if f, ok := r.end.(flooder); ok && window == 0 {
		if err := f.Drain(from, n); err != nil {
			return err
		}
		return r.end.Put(r.ack(end))
	}
	for i := uint64(0); i < n; i++ {
		if err := r.end.Take(r.message(from + i)); err != nil {
			return err
		}
		if window > 0 && (i+1)%window == 0 {
			if err := r.end.Put(r.ack(from + i)); err != nil {
				return err
			}
		}
	}
	return r.end.Put(r.ack(end))
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

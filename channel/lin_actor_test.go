//go:build linux

package channel_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmchan/shmchan/channel"
	"golang.org/x/sys/unix"
)

// Actors make the histories: goroutines of one process or processes, 2 to 4 of
// them, each with a short random script on the same channel.

// linChan is a channel of bytes under test: ours, or one of the broken ones.
type linChan interface {
	Send(v byte) error
	SendContext(ctx context.Context, v byte) error
	TrySend(v byte) error
	Recv() (byte, error)
	RecvContext(ctx context.Context) (byte, error)
	TryRecv() (byte, error)
	Close() error
	Len() int
}

// linLoans is what a channel with in-place calls has besides.
type linLoans interface {
	reserve(v byte) (commit, abort func() error, err error)
	recvFunc(f func(byte) error) error
}

// linOver makes a linChan of a channel of T.
type linOver[T any] struct {
	*channel.Chan[T]
	enc  func(byte) T
	dec  func(T) byte
	loan func(*channel.Chan[T], T) (channel.Loan[T], error)
}

func (l linOver[T]) Send(v byte) error { return l.Chan.Send(l.enc(v)) }
func (l linOver[T]) SendContext(ctx context.Context, v byte) error {
	return l.Chan.SendContext(ctx, l.enc(v))
}

func (l linOver[T]) TrySend(v byte) error { return l.Chan.TrySend(l.enc(v)) }

func (l linOver[T]) Recv() (byte, error) {
	v, ok := l.Chan.Recv()
	if ok {
		return l.dec(v), nil
	}
	if err := l.Err(); err != nil {
		return 0, err
	}
	return 0, channel.ErrClosed
}

func (l linOver[T]) RecvContext(ctx context.Context) (byte, error) {
	return l.got(l.Chan.RecvContext(ctx))
}

func (l linOver[T]) TryRecv() (byte, error) { return l.got(l.Chan.TryRecv()) }

func (l linOver[T]) got(v T, err error) (byte, error) {
	if err != nil {
		return 0, err
	}
	return l.dec(v), nil
}

func (l linOver[T]) reserve(v byte) (commit, abort func() error, err error) {
	loan, err := l.loan(l.Chan, l.enc(v))
	return loan.Commit, loan.Abort, err
}

func (l linOver[T]) recvFunc(f func(byte) error) error {
	return l.RecvFunc(func(v *T) error { return f(l.dec(*v)) })
}

// linKind opens channels of one T for actors.
type linKind struct {
	create func(capacity int, opts ...channel.Option) (linHandle, error)
	open   func(name string, capacity int, opts ...channel.Option) (linHandle, error)
}

type linHandle interface {
	linChan
	linLoans
	Detach() error
	// twin is a second handle in this process
	twin(opts ...channel.Option) (linHandle, error)
}

func (l linOver[T]) twin(opts ...channel.Option) (linHandle, error) {
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l.Chan, err = channel.FromFile[T](f, opts...)
	return l, err
}

func linKindOf[T any](enc func(byte) T, dec func(T) byte, loan func(*channel.Chan[T], T) (channel.Loan[T], error)) linKind {
	return linKind{
		create: func(capacity int, opts ...channel.Option) (linHandle, error) {
			ch, err := channel.New[T](capacity, opts...)
			return linOver[T]{ch, enc, dec, loan}, err
		},
		open: func(name string, capacity int, opts ...channel.Option) (linHandle, error) {
			ch, err := channel.Open[T](name, capacity, opts...)
			return linOver[T]{ch, enc, dec, loan}, err
		},
	}
}

var linKinds = map[string]linKind{
	"uint64": linKindOf(func(v byte) uint64 { return uint64(v) << 20 }, func(v uint64) byte { return byte(v >> 20) }, loanOf[uint64]),
	"bytes":  linKindOf(linEncode, linDecode, loanBytes),
}

func linEncode(v byte) []byte {
	b := make([]byte, 1+int(v)*7%40)
	for i := range b {
		b[i] = v
	}
	return b
}

// linDecode gives 0, which nobody sends, for what is torn.
func linDecode(b []byte) byte {
	for _, v := range b {
		if v != b[0] {
			return 0
		}
	}
	if len(b) != 1+int(b[0])*7%40 {
		return 0
	}
	return b[0]
}

// linBarrier lets all actors through when all have come. Its word may lie in
// memory that processes share.
type linBarrier struct {
	arrived *atomic.Uint32
	actors  uint32
	passed  uint32 // by this actor
}

func (b *linBarrier) wait() {
	b.passed++
	b.arrived.Add(1)
	for i := 0; b.arrived.Load() < b.passed*b.actors; i++ {
		switch {
		case i < 200:
		case i < 400:
			runtime.Gosched()
		default:
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// linPlan is what all actors know of a run; every actor works out its own
// script from it.
type linPlan struct {
	Kind     string
	Cap      int
	SPSC     bool
	InPlace  bool // Reserve and RecvFunc too
	Actors   int
	Sessions int // each on a new channel
	Rounds   int // in a session; the last one closes the channel
	Seed     uint64
}

func (p linPlan) options() []channel.Option { return chanArgs{SPSC: p.SPSC, Space: 1 << 18}.options() }

// linActor is one of the actors in one session.
type linActor struct {
	linPlan
	id      int
	seed    uint64 // of the session, the same for all its actors
	ch      linChan
	rng     *rand.Rand
	history []linRecord
}

func (p linPlan) actor(id int, seed uint64, ch linChan) *linActor {
	return &linActor{linPlan: p, id: id, seed: seed, ch: ch, rng: rand.New(rand.NewPCG(seed, uint64(id)))}
}

func (a *linActor) now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// note runs one operation and records it.
func (a *linActor) note(op linOp, how string, v byte, call func(r *linRecord) error) {
	r := linRecord{Actor: a.id, Op: op, How: how, V: v, Call: a.now()}
	err := call(&r)
	r.Ret = a.now()
	r.Err = errorName(err)
	if contextEnded(err) {
		r.Err = linCancelled
	}
	a.history = append(a.history, r)
}

func (a *linActor) pause() {
	switch a.rng.IntN(8) {
	case 0:
		runtime.Gosched()
	case 1, 2, 3:
		for end := a.now() + a.rng.Int64N(20000); a.now() < end; {
		}
	}
}

// briefly is a context that ends whatever blocks.
func (a *linActor) briefly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(bg, time.Duration(50+a.rng.IntN(400))*time.Microsecond)
}

// round plays one round's script. The closing round's closer never blocks, so
// that it comes to Close, which frees the others.
func (a *linActor) round(closing bool) {
	closer := closing && a.id == int(a.seed%uint64(a.Actors))
	canSend, canRecv := true, true
	if a.SPSC {
		canSend, canRecv = a.id == 0, a.id == 1
	}
	steps := 3 + a.rng.IntN(4)
	for i := range steps {
		v := byte(1 + a.id*8 + i)
		blocks := closing && !closer
		tries := a.rng.IntN(2) == 0 || closer
		a.pause()
		switch k := a.rng.IntN(8); {
		case k == 0:
			a.note(linLen, "Len", 0, func(r *linRecord) error { r.N = a.ch.Len(); return nil })
		case canSend && (k < 4 || !canRecv):
			a.send(v, tries, blocks)
		case canRecv:
			a.recv(tries, blocks)
		}
	}
	if closing && (closer || a.rng.IntN(4) == 0) {
		a.note(linClose, "Close", 0, func(*linRecord) error { return a.ch.Close() })
	}
}

func (a *linActor) send(v byte, tries, blocks bool) {
	loans, _ := a.ch.(linLoans)
	switch {
	case tries:
		a.note(linSend, "TrySend", v, func(*linRecord) error { return a.ch.TrySend(v) })
	case blocks && a.InPlace && a.rng.IntN(2) == 0:
		var commit, abort func() error
		var failed error
		a.note(linReserve, "Reserve", v, func(*linRecord) (err error) {
			commit, abort, err = loans.reserve(v)
			failed = err
			return err
		})
		if failed != nil {
			return
		}
		a.pause()
		if a.rng.IntN(3) == 0 {
			a.note(linAbort, "Abort", v, func(*linRecord) error { return abort() })
			return
		}
		a.note(linCommit, "Commit", v, func(*linRecord) error { return commit() })
	case blocks:
		a.note(linSend, "Send", v, func(*linRecord) error { return a.ch.Send(v) })
	default:
		a.note(linSend, "SendContext", v, func(*linRecord) error {
			ctx, cancel := a.briefly()
			defer cancel()
			return a.ch.SendContext(ctx, v)
		})
	}
}

func (a *linActor) recv(tries, blocks bool) {
	got := func(r *linRecord, v byte, err error) error { r.V = v; return err }
	switch {
	case tries:
		a.note(linRecv, "TryRecv", 0, func(r *linRecord) error { v, err := a.ch.TryRecv(); return got(r, v, err) })
	case blocks && a.InPlace && a.rng.IntN(2) == 0:
		a.recvInPlace()
	case blocks:
		a.note(linRecv, "Recv", 0, func(r *linRecord) error { v, err := a.ch.Recv(); return got(r, v, err) })
	default:
		a.note(linRecv, "RecvContext", 0, func(r *linRecord) error {
			ctx, cancel := a.briefly()
			defer cancel()
			v, err := a.ch.RecvContext(ctx)
			return got(r, v, err)
		})
	}
}

// recvInPlace records a RecvFunc as two operations: it has the message, and it
// has freed it or given it back.
func (a *linActor) recvInPlace() {
	refuse := a.rng.IntN(3) == 0
	take := linRecord{Actor: a.id, Op: linTake, How: "RecvFunc", Call: a.now()}
	var end linRecord
	ran := 0
	err := a.ch.(linLoans).recvFunc(func(v byte) error {
		take.Ret = a.now()
		ran++
		take.V, take.Err = v, "ok"
		a.pause()
		end = linRecord{Actor: a.id, Op: linFree, How: "RecvFunc", V: v, Err: "ok", Call: a.now()}
		if refuse {
			end.Op = linRefuse
			return errRefused
		}
		return nil
	})
	now := a.now()
	switch {
	case ran == 0:
		take.Ret, take.Err = now, errorName(err)
		a.history = append(a.history, take)
		return
	case ran > 1, refuse != errors.Is(err, errRefused), !refuse && err != nil:
		end.Err = "RecvFunc: " + errorName(err)
	}
	end.Ret = now
	a.history = append(a.history, take, end)
}

// drain empties the channel after a round, as part of the history.
func (a *linActor) drain() {
	for ended := false; !ended; {
		a.note(linRecv, "drain", 0, func(r *linRecord) error {
			v, err := a.ch.TryRecv()
			r.V, ended = v, err != nil
			return err
		})
	}
}

// session plays all rounds on one channel and returns this actor's histories.
func (a *linActor) session(b *linBarrier) [][]linRecord {
	var all [][]linRecord
	for round := range a.Rounds {
		a.history = nil
		b.wait()
		a.round(round == a.Rounds-1)
		b.wait()
		if !a.SPSC && a.id == 0 || a.SPSC && a.id == 1 {
			a.drain()
		}
		all = append(all, a.history)
	}
	b.wait()
	return all
}

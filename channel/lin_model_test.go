//go:build linux

package channel_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The sequential specification that histories are held against: a bounded FIFO
// queue that can be closed. Every operation must seem to happen at one instant
// between its call and its return.

type linOp string

const (
	linSend    linOp = "Send" // also TrySend, SendContext: the outcome tells
	linRecv    linOp = "Recv" // also TryRecv, RecvContext
	linClose   linOp = "Close"
	linLen     linOp = "Len"
	linReserve linOp = "Reserve"
	linCommit  linOp = "Commit"
	linAbort   linOp = "Abort"
	linTake    linOp = "take" // RecvFunc, from its call until f runs
	linFree    linOp = "free" // RecvFunc, from f's end until it returns
	linRefuse  linOp = "refuse"
	linOffer   linOp = "offer" // a rendezvous Send's two halves
	linAck     linOp = "ack"
)

// linRecord is one operation of a history. V is what was sent, or what came.
type linRecord struct {
	Actor     int
	Op        linOp
	How       string // which call it was, for the reader
	V         byte
	N         int    // Len's answer
	Err       string // as errorName says, "ok" where none
	Call, Ret int64  // CLOCK_MONOTONIC, nanoseconds
}

func (r linRecord) String() string {
	return fmt.Sprintf("actor %d %8d–%8d %s(%s) v=%d n=%d %s", r.Actor, r.Call, r.Ret, r.Op, r.How, r.V, r.N, r.Err)
}

// linCancelled is the outcome of an operation whose context ended. It must have
// had no effect, so that it is left out of the history.
const linCancelled = "cancelled"

// linState is comparable, as porcupine wants it.
type linState struct {
	queue  string // oldest first
	again  string // given back by RecvFunc; may come at any time
	hand   int    // messages in RecvFunc: each keeps its place
	loans  int
	closed bool
}

func (s linState) places() int { return len(s.queue) + len(s.again) + s.hand + s.loans }
func (s linState) empty() bool { return s.queue == "" && s.again == "" }

func linBounded(capacity int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return linState{} },
		Step: func(state, input, _ any) (bool, any) {
			ok, next := state.(linState).step(capacity, input.(linRecord))
			return ok, next
		},
	}
}

// step says whether r could happen in state s, and what is then.
func (s linState) step(capacity int, r linRecord) (bool, linState) {
	switch r.Err {
	case "ok":
	case "full":
		return r.Op == linSend && !s.closed && s.places() >= capacity, s
	case "empty": // what is in RecvFunc may come again, even on a closed channel
		return r.Op == linRecv && s.empty() && (!s.closed || s.hand > 0), s
	case "closed":
		switch r.Op {
		case linRecv, linTake:
			return s.closed && s.empty() && s.hand == 0, s
		case linCommit:
			next := s
			next.loans--
			return s.closed, next
		}
		return s.closed, s
	default:
		return false, s // no error that belongs here
	}
	next := s
	switch r.Op {
	case linSend:
		next.queue += string([]byte{r.V})
		return !s.closed && s.places() < capacity, next
	case linRecv:
		ok := next.take(r.V)
		return ok, next
	case linTake:
		next.hand++
		ok := next.take(r.V)
		return ok, next
	case linFree:
		next.hand--
	case linRefuse:
		next.hand--
		again := append([]byte(s.again), r.V)
		slices.Sort(again)
		next.again = string(again)
	case linReserve:
		next.loans++
		return !s.closed && s.places() < capacity, next
	case linCommit:
		next.loans--
		next.queue += string([]byte{r.V})
		return !s.closed, next
	case linAbort:
		next.loans--
	case linClose:
		next.closed = true
		return !s.closed, next
	case linLen: // whether a message in RecvFunc still counts is left open
		n := len(s.queue) + len(s.again)
		return r.N >= n && r.N <= n+s.hand, s
	}
	return true, next
}

// take removes v, which must be the oldest, or one that was given back.
func (s *linState) take(v byte) bool {
	if i := strings.IndexByte(s.again, v); i >= 0 {
		s.again = s.again[:i] + s.again[i+1:]
		return true
	}
	if s.queue == "" || s.queue[0] != v {
		return false
	}
	s.queue = s.queue[1:]
	return true
}

// A rendezvous is no sequential object: two operations happen as one. So a Send
// is split into an offer and an acknowledgement with the same interval, and the
// Recv must come between them with nothing else beside. The model accepts a
// history just when each exchange has an instant inside both calls.
// ErrFull and ErrEmpty are always in order while the channel is open: that a
// partner has called says not yet that it waits.
type linMeeting struct {
	phase  linOp // "", linOffer: v is on the table, linRecv: v was taken
	v      byte
	closed bool
}

var linRendezvous = porcupine.Model{
	Init: func() any { return linMeeting{} },
	Step: func(state, input, _ any) (bool, any) {
		s, r := state.(linMeeting), input.(linRecord)
		idle := s.phase == ""
		switch {
		case r.Err == "full", r.Err == "empty":
			return idle && !s.closed, s
		case r.Err == "closed":
			return idle && s.closed, s
		case r.Err != "ok":
			return false, s
		case r.Op == linOffer:
			return idle && !s.closed, linMeeting{phase: linOffer, v: r.V}
		case r.Op == linRecv:
			return s.phase == linOffer && s.v == r.V, linMeeting{phase: linRecv, v: r.V}
		case r.Op == linAck:
			return s.phase == linRecv && s.v == r.V, linMeeting{}
		case r.Op == linClose:
			return idle && !s.closed, linMeeting{closed: true}
		case r.Op == linLen:
			return idle && r.N == 0, s
		}
		return false, s
	},
}

// linearizable checks one round's history.
func linearizable(capacity int, history []linRecord) bool {
	return explained(capacity, history, false)
}

// verdict helps to read a history that is not linearizable. In two steps means
// that a Send holds its place before the message is there, or a Recv still after
// it has gone, so that others see the one without the other.
func verdict(capacity int, history []linRecord) string {
	if capacity > 0 && explained(capacity, history, true) {
		return "it would be, if Send and Recv happened in two steps"
	}
	return "not in two steps either"
}

func explained(capacity int, history []linRecord, twoSteps bool) bool {
	model := linBounded(capacity)
	if capacity == 0 {
		model = linRendezvous
	}
	var ops []porcupine.Operation
	add := func(r linRecord) {
		ops = append(ops, porcupine.Operation{ClientId: r.Actor, Input: r, Output: r, Call: r.Call, Return: r.Ret})
	}
	for _, r := range history {
		switch {
		case r.Err == linCancelled:
		case capacity == 0 && r.Op == linSend && r.Err == "ok":
			r.Op = linOffer
			add(r)
			r.Op = linAck
			add(r)
		case twoSteps && r.Err == "ok" && (r.Op == linSend || r.Op == linRecv):
			halves := map[linOp][2]linOp{linSend: {linReserve, linCommit}, linRecv: {linTake, linFree}}[r.Op]
			for _, r.Op = range halves {
				add(r)
			}
		default:
			add(r)
		}
	}
	// Unknown, after the time given, is not a proof of anything
	return porcupine.CheckOperationsTimeout(model, ops, watchdog) == porcupine.Ok
}

func logHistory(t testing.TB, history []linRecord) {
	t.Helper()
	if len(history) == 0 {
		return
	}
	slices.SortFunc(history, func(a, b linRecord) int { return cmp.Compare(a.Call, b.Call) })
	start := history[0].Call
	var b strings.Builder
	for _, r := range history {
		r.Call, r.Ret = r.Call-start, r.Ret-start
		fmt.Fprintln(&b, r)
	}
	t.Logf("history, nanoseconds:\n%s", b.String())
}

// The models themselves, on histories worked out by hand.
func TestLinearizabilityModels(t *testing.T) {
	at := func(op linOp, v byte, err string, call, ret int64) linRecord {
		return linRecord{Actor: int(call), Op: op, V: v, Err: err, Call: call, Ret: ret}
	}
	for _, tt := range []struct {
		name     string
		capacity int
		history  []linRecord
		want     bool
	}{
		{"in order", 2, []linRecord{
			at(linSend, 1, "ok", 0, 1), at(linSend, 2, "ok", 2, 3), at(linRecv, 1, "ok", 4, 5), at(linRecv, 2, "ok", 6, 7),
		}, true},
		{"out of order", 2, []linRecord{
			at(linSend, 1, "ok", 0, 1), at(linSend, 2, "ok", 2, 3), at(linRecv, 2, "ok", 4, 5), at(linRecv, 1, "ok", 6, 7),
		}, false},
		{"overlapping sends may go either way", 2, []linRecord{
			at(linSend, 1, "ok", 0, 3), at(linSend, 2, "ok", 1, 2), at(linRecv, 2, "ok", 4, 5), at(linRecv, 1, "ok", 6, 7),
		}, true},
		{"full when it is", 1, []linRecord{at(linSend, 1, "ok", 0, 1), at(linSend, 2, "full", 2, 3), at(linRecv, 1, "ok", 4, 5)}, true},
		{"full when it is not", 2, []linRecord{at(linSend, 1, "ok", 0, 1), at(linSend, 2, "full", 2, 3), at(linRecv, 1, "ok", 4, 5)}, false},
		{"over capacity", 1, []linRecord{at(linSend, 1, "ok", 0, 1), at(linSend, 2, "ok", 2, 3), at(linRecv, 1, "ok", 4, 5)}, false},
		{"a loan takes a place", 1, []linRecord{at(linReserve, 0, "ok", 0, 1), at(linSend, 2, "full", 2, 3), at(linAbort, 0, "ok", 4, 5)}, true},
		{"a loan does not count", 2, []linRecord{at(linReserve, 0, "ok", 0, 1), {Op: linLen, N: 1, Err: "ok", Call: 2, Ret: 3}}, false},
		{"refused and late", 3, []linRecord{
			at(linSend, 1, "ok", 0, 1), at(linSend, 2, "ok", 2, 3), at(linTake, 1, "ok", 4, 5), at(linRecv, 2, "ok", 6, 7),
			at(linRefuse, 1, "ok", 8, 9), at(linRecv, 0, "empty", 10, 11), at(linRecv, 1, "ok", 12, 13),
		}, false},
		{"end before the drain", 1, []linRecord{at(linSend, 1, "ok", 0, 1), at(linClose, 0, "ok", 2, 3), at(linRecv, 0, "closed", 4, 5)}, false},
		{"meeting", 0, []linRecord{at(linSend, 1, "ok", 0, 5), at(linRecv, 1, "ok", 3, 9)}, true},
		{"missed", 0, []linRecord{at(linSend, 1, "ok", 0, 2), at(linRecv, 1, "ok", 3, 9)}, false},
		{"missed the other way", 0, []linRecord{at(linSend, 1, "ok", 10, 12), at(linRecv, 1, "ok", 3, 9)}, false},
		{"two meet", 0, []linRecord{
			at(linSend, 1, "ok", 0, 9), at(linSend, 2, "ok", 0, 9), at(linRecv, 2, "ok", 3, 4), at(linRecv, 1, "ok", 5, 9),
		}, true},
		{"met after Close", 0, []linRecord{at(linClose, 0, "ok", 0, 1), at(linSend, 1, "ok", 2, 5), at(linRecv, 1, "ok", 3, 9)}, false},
	} {
		start := time.Now()
		if got := linearizable(tt.capacity, tt.history); got != tt.want {
			t.Errorf("%s: %v after %v, want %v", tt.name, got, time.Since(start), tt.want)
		}
	}
}

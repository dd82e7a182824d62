package futexsem

import "sync/atomic"

// A gate counts who is inside a named semaphore's memory in this process, so
// that Close can unmap it when, and only when, nobody is.
//
// Invariants: after shut no enter succeeds; who entered before it is counted
// until it leaves. enter counts first and looks after, shut marks first and
// looks at the count after: one of them sees the other.
//
// A nil gate is always open.
type gate struct{ state atomic.Int64 }

const gateShut = 1 << 62

// enter counts the caller in, or returns false if the gate is shut.
func (g *gate) enter() bool {
	if g == nil {
		return true
	}
	if g.state.Add(1)&gateShut != 0 {
		g.state.Add(-1)
		return false
	}
	return true
}

// leave undoes an enter that returned true.
func (g *gate) leave() {
	if g != nil {
		g.state.Add(-1)
	}
}

// shut closes the gate, and returns false if it was shut before.
func (g *gate) shut() bool { return g.state.Or(gateShut)&gateShut == 0 }

func (g *gate) isClosed() bool { return g != nil && g.state.Load()&gateShut != 0 }

// empty says whether all have left. Once true on a shut gate, it is true for
// whoever matters: a later enter may count itself in for a moment, but touches nothing.
func (g *gate) empty() bool { return g.state.Load()&^gateShut == 0 }

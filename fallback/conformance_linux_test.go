package fallback

import (
	"sync"
	"testing"
	"time"
)

// The conformance suite: every check runs over every carrier in carriers, led by
// what the carrier's Capabilities say. What it has must work, what it lacks must be
// refused. A carrier without open takes part in the checks with child processes only
// (the end that a process is given may differ from the one that open makes).

// A check asks one question of a carrier.
type check struct {
	name string
	run  func(t testing.TB, c carrier)
	// needs says what of the carrier the check uses.
	needs need
	// alone: it counts descriptors, goroutines or bytes of the whole process, or
	// changes its limits, so nothing may run beside it.
	alone bool
}

type need uint8

const (
	needsOpen need = 1 << iota
	needsGive
	needsRaw
)

func (c carrier) has(n need) bool {
	return (n&needsOpen == 0 || c.open != nil) &&
		(n&needsGive == 0 || c.give != nil && c.remake != nil) &&
		(n&needsRaw == 0 || c.raw != nil)
}

var checks []check

func findCheck(name string) check {
	for _, k := range checks {
		if k.name == name {
			return k
		}
	}
	panic("no such check: " + name)
}

// TestConformance runs carriers side by side: most checks wait more than they compute.
func TestConformance(t *testing.T) {
	for _, c := range carriers {
		t.Run("carrier="+c.name, func(t *testing.T) {
			t.Parallel()
			runChecks(t, c, false, 3)
		})
	}
}

// TestConformanceAlone runs what must have the process to itself.
func TestConformanceAlone(t *testing.T) {
	for _, c := range carriers {
		t.Run("carrier="+c.name, func(t *testing.T) { runChecks(t, c, true, 1) })
	}
}

// runChecks runs so many at once.
func runChecks(t *testing.T, c carrier, alone bool, workers int) {
	todo := make(chan check)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for k := range todo {
				t.Run(k.name, func(t *testing.T) { k.run(t, c) })
			}
		})
	}
	for _, k := range checks {
		if k.alone == alone && c.has(k.needs) {
			todo <- k
		}
	}
	close(todo)
	wg.Wait()
}

// span is how long a check that goes on at random does so.
func span() time.Duration {
	if testing.Short() {
		return 100 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// rounds is n, or fewer under -short.
func rounds(n int) int {
	if testing.Short() {
		return max(n/5, 2)
	}
	return n
}

// A way is a direction in which a pair carries messages.
type way struct{ from, to Conn }

func waysOf(a, b Conn) (w []way) {
	if a.Capabilities().Send && b.Capabilities().Receive {
		w = append(w, way{a, b})
	}
	if b.Capabilities().Send && a.Capabilities().Receive {
		w = append(w, way{b, a})
	}
	return w
}

// eachWay runs f with a fresh pair for each direction.
func eachWay(t testing.TB, c carrier, f func(t testing.TB, from, to Conn)) {
	t.Helper()
	for i, n := 0, 1; i < n; i++ {
		scope(t, func(t testing.TB) {
			a, b := c.open(t)
			w := waysOf(a, b)
			if len(w) == 0 {
				t.Fatalf("neither end can send to the other")
			}
			n = len(w)
			f(t, w[i].from, w[i].to)
		})
	}
}

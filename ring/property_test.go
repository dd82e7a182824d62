package ring

import (
	"testing"

	"pgregory.net/rapid"
)

// TestStepsOneAfterAnother checks every status, every message and every length of
// random steps by several processes against the model: loans, holds, messages that
// come back, places that are moved and holds that are evicted, over many laps.
func TestStepsOneAfterAnother(t *testing.T) {
	for _, kind := range []string{"elements", "packed"} {
		t.Run(kind, rapid.MakeCheck(func(t *rapid.T) {
			capacity := rapid.Uint64Range(1, 7).Draw(t, "capacity")
			p := elems(capacity)
			if kind == "packed" {
				p = packed(capacity, 150, rapid.Uint64Range(1, 200*capacity).Draw(t, "space"))
			}
			w := newWorld(t, p)
			m := newModel(w.g)
			as := []*actor{w.actor(0), w.actor(1), w.actor(2)}
			for i, n := range rapid.SliceOfN(rapid.Uint64(), 0, 300).Draw(t, "steps") {
				n *= 0x9e3779b97f4a7c15 // rapid likes small numbers
				who := int(n>>60) % len(as)
				a := as[who]
				s := choose(n&0xffffffff, len(a.holds), len(a.loans), uint64(i+1))
				st, v := a.do(s)
				if err := m.did(who, s, st, v); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			if rapid.Bool().Draw(t, "close") {
				st, _ := as[0].do(step{actClose, 0})
				if err := m.did(0, step{actClose, 0}, st, 0); err != nil {
					t.Fatal(err)
				}
			}
			finish(t, w, m, as, 0, 0)
		}))
	}
}

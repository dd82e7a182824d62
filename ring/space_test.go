package ring

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestExtentsAgainstAModel allocates, frees in any order, publishes, takes: extents
// never overlap, are where they should be, and all is free at the end.
func TestExtentsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Uint64Range(8, 400).Draw(t, "max message")
		w := newWorld(t, packed(8, most, rapid.Uint64Range(1, 3000).Draw(t, "space")))
		q := w.process()
		ds := []*Desk{w.desk(q), w.desk(w.process())}
		type extent struct {
			u, n uint64 // units
			q    *Queue
		}
		var live []extent
		for _, op := range rapid.SliceOfN(rapid.Uint64(), 0, 200).Draw(t, "ops") {
			op *= 0x9e3779b97f4a7c15
			d := ds[op>>63]
			if op>>32%3 == 0 && len(live) > 0 {
				i := int((op >> 8) % uint64(len(live)))
				live[i].q.Release(live[i].u)
				live = slices.Delete(live, i, i+1)
				continue
			}
			size := []uint64{0, 1, q.unit - 1, q.unit, q.unit + 1, most, op % (most + 1)}[op>>40%7]
			size = min(size, most)
			u, st := d.Alloc(int(size))
			if st == NoSpace {
				// Exactly when the content would be too much, or lies such that no
				// run of free units, which ends at a lap's end, is long enough.
				n := (size + q.unit - 1) / q.unit
				busy, total := make([]bool, q.units), n
				for _, o := range live {
					total += o.n
					for i := range o.n {
						busy[o.u+i] = true
					}
				}
				run, room := uint64(0), uint64(0)
				for _, b := range busy {
					if run++; b {
						run = 0
					}
					room = max(room, run)
				}
				if total <= q.content && room >= n {
					t.Fatalf("no space for %d units where %d of %d are in use and %d lie free together", n, total-n, q.content, room)
				}
				continue
			}
			if st != OK {
				t.Fatalf("status %d", st)
			}
			e := extent{u, (size + q.unit - 1) / q.unit, d.q}
			if size == 0 {
				continue // takes nothing
			}
			if b := d.q.Extent(u, int(size)); len(b) != int(size) {
				t.Fatalf("%d bytes", len(b))
			}
			if e.u+e.n > q.units {
				t.Fatalf("extent [%d, +%d) of %d units", e.u, e.n, q.units)
			}
			for _, o := range live {
				if e.u < o.u+o.n && o.u < e.u+e.n {
					t.Fatalf("extents [%d, +%d) and [%d, +%d)", e.u, e.n, o.u, o.n)
				}
			}
			live = append(live, e)
		}
		refs := make(map[uint64]bool)
		for _, e := range live {
			refs[e.u] = true
		}
		audit(t, w, refs)
		for _, e := range live {
			e.q.Release(e.u)
		}
		audit(t, w, nil)
		if _, st := ds[0].Alloc(int(most)); st != OK {
			t.Fatalf("the largest message does not fit into nothing: status %d", st)
		}
	})
}

// TestSpaceIsExact: wherever in the lap they begin, as many of the largest messages
// fit as Space has bytes for, and not one more.
func TestSpaceIsExact(t *testing.T) {
	for _, most := range []uint64{8, 56, 63, 64, 65, 100, 128, 1000} {
		for _, times := range []uint64{1, 2, 3, 7} {
			for _, rest := range []uint64{0, 1, most - 1} {
				t.Run(fmt.Sprintf("max=%d/space=%d", most, most*times+rest), func(t *testing.T) {
					w := newWorld(t, packed(20, most, most*times+rest))
					d := w.desk(w.process())
					for start := range int(w.g.units) + 3 {
						var us []uint64
						for {
							u, st := d.Alloc(int(most))
							if st != OK {
								break
							}
							us = append(us, u)
						}
						if len(us) != int(times) {
							t.Fatalf("start %d: %d fit, want %d", start, len(us), times)
						}
						for i := range us {
							d.q.Release(us[(i*5+start)%len(us)]) // each once, when 5 and len are coprime
							d.q.Release(us[i])
						}
						u, st := d.Alloc(1) // begin elsewhere next time
						if st != OK {
							t.Fatal(st)
						}
						d.q.Release(u)
					}

					w = newWorld(t, spscPacked(20, most, most*times+rest))
					s, r := claim(t, w.process(), w.process())
					for start := range int(most) + 3 {
						n := 0
						for {
							if _, st := s.Bytes(int(most)); st != OK {
								break
							}
							s.PublishBytes(int(most))
							n++
						}
						if n != int(times) {
							t.Fatalf("SPSC, start %d: %d fit, want %d", start, n, times)
						}
						for range n {
							if b, st := r.FrontBytes(); st != OK || len(b) != int(most) {
								t.Fatalf("%d bytes, status %d", len(b), st)
							}
							r.Advance()
						}
						if _, st := s.Bytes(1 + start%int(most)); st != OK {
							t.Fatal(st)
						}
						s.PublishBytes(1 + start%int(most))
						if _, st := r.FrontBytes(); st != OK {
							t.Fatal(st)
						}
						r.Advance()
					}
				})
			}
		}
	}
}

// TestSPSCBytesAgainstAModel sends and receives messages of any size, in batches,
// with claims in between.
func TestSPSCBytesAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Uint64Range(8, 100).Draw(t, "max message")
		w := newWorld(t, spscPacked(rapid.Uint64Range(1, 5).Draw(t, "capacity"), most, rapid.Uint64Range(1, 400).Draw(t, "space")))
		q := w.process()
		s, st := q.ClaimSender()
		if st != OK {
			t.Fatal(st)
		}
		r, st := q.ClaimRecver()
		if st != OK {
			t.Fatal(st)
		}
		var want [][]byte
		for i, op := range rapid.SliceOfN(rapid.Uint64(), 0, 200).Draw(t, "ops") {
			op *= 0x9e3779b97f4a7c15
			switch size := int((op >> 20) % (most + 1)); op >> 60 {
			case 0, 1, 2, 3, 4, 5, 6:
				if op>>32%5 == 0 {
					size = 0
				}
				b, st := s.Bytes(size)
				switch {
				case st == Full && len(want) == int(q.Capacity), st == NoSpace && len(want) > 0:
				case st != OK || len(want) == int(q.Capacity):
					t.Fatalf("op %d: %d bytes: status %d with %d there", i, size, st, len(want))
				default:
					for j := range b {
						b[j] = byte(op) + byte(j)
					}
					s.PublishBytes(size)
					want = append(want, slices.Clone(b))
				}
			case 7:
				if s, st = q.ClaimSender(); st != OK {
					t.Fatal(st)
				}
			case 8:
				if r, st = q.ClaimRecver(); st != OK {
					t.Fatal(st)
				}
			default:
				b, st := r.FrontBytes()
				if len(want) == 0 {
					if st != Empty {
						t.Fatalf("op %d: status %d", i, st)
					}
					continue
				}
				if st != OK || !slices.Equal(b, want[0]) {
					t.Fatalf("op %d: status %d, %x, want %x", i, st, b, want[0])
				}
				r.Advance()
				want = want[1:]
			}
		}
		if n, st := q.LenSPSC(); st != OK || n != len(want) {
			t.Fatalf("length %d, status %d, want %d", n, st, len(want))
		}
	})
}

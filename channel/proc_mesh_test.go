//go:build linux

package channel_test

import (
	"fmt"
	"slices"
	"testing"
)

// ledger collects what receivers report and holds it against what was sent.
type ledger struct {
	t    testing.TB
	seen map[uint64]int
}

func newLedger(t testing.TB) *ledger { return &ledger{t, map[uint64]int{}} }

// add takes one receiver's record. inOrder demands that what it has of each
// sender ascends.
func (l *ledger) add(got []uint64, inOrder bool) {
	l.t.Helper()
	last := map[uint32]uint32{}
	for i, w := range got {
		l.seen[w]++
		s := stampOf(w)
		if before, ok := last[s.From]; ok && inOrder && s.Seq <= before {
			l.t.Errorf("order: %v came after %d/%d, as number %d of this receiver", s, s.From, before, i)
		}
		last[s.From] = s.Seq
	}
}

// settle demands that each sender's messages 0 to counts[sender]-1 have come
// exactly once, and nothing else.
func (l *ledger) settle(counts map[uint32]uint32) {
	l.t.Helper()
	var lost, twice, strange []string
	for from, n := range counts {
		for seq := range n {
			s := stamp{from, seq}
			switch k := l.seen[s.word()]; {
			case k == 0:
				lost = append(lost, s.String())
			case k > 1:
				twice = append(twice, fmt.Sprintf("%v ×%d", s, k))
			}
		}
	}
	for w := range l.seen {
		if s := stampOf(w); s.Seq >= counts[s.From] {
			strange = append(strange, s.String())
		}
	}
	for what, list := range map[string][]string{"lost": lost, "more than once": twice, "never sent": strange} {
		if n := len(list); n > 0 {
			slices.Sort(list)
			l.t.Errorf("%d messages %s: %v", n, what, list[:min(n, 20)])
		}
	}
}

// mesh runs senders and receivers as processes on one channel, then closes it.
type mesh struct {
	trafficArgs
	senders, receivers int
}

func (m mesh) run(t *testing.T) {
	if m.Name == "" {
		m.Name = uniqueName(t)
	}
	ch := traffics[m.Kind].openAny(t, m.chanArgs)
	var recvs, sends []*proc
	for i := range m.receivers {
		a := m.trafficArgs
		a.From, a.Seed = uint32(i), m.Seed+uint64(i)
		recvs = append(recvs, spawn(t, roleRecv, a))
	}
	counts := map[uint32]uint32{}
	for i := range m.senders {
		a := m.trafficArgs
		a.From = uint32(i)
		counts[a.From] = a.Count
		sends = append(sends, spawn(t, roleSend, a))
	}
	for _, p := range sends {
		p.expect("ready")
		p.expect("sent")
		p.wait()
	}
	for _, p := range recvs {
		p.expect("ready")
	}
	if err := ch.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	book := newLedger(t)
	for _, p := range recvs {
		var got []uint64
		var end string
		p.expect("got", &got)
		p.expect("end", &end)
		p.wait()
		book.add(got, m.Style != "refuse")
		if end != "" {
			t.Errorf("after Close and drain, Err() = %s", end)
		}
	}
	book.settle(counts)
	if n := ch.Len(); n != 0 {
		t.Errorf("Len after the end = %d", n)
	}
	total := uint64(m.senders) * uint64(m.Count)
	if m.Cap == 0 {
		total = 0 // a rendezvous does not count
	}
	if s := ch.Stats(); !s.Closed || s.Sent != total || s.Received != total {
		t.Errorf("Stats after %d messages: %+v", total, s)
	}
	if err := ch.Detach(); err != nil {
		t.Errorf("Detach: %v", err)
	}
}

var (
	meshKinds = []string{"uint64", "line", "page", "bytes", "string", "record"}
	meshCaps  = []int{0, 1, 2, 10, 1000, 4096}
	// senders × receivers; each kind meets each shape at some capacity
	meshShapes = [][2]int{{1, 1}, {2, 2}, {4, 4}, {1, 4}, {4, 1}, {3, 2}}
)

// perSender is enough to fill the channel and go round it.
func perSender(capacity, senders int) uint32 {
	return uint32(times(1, 10) * (300 + 2*capacity) / senders)
}

func TestProcessesDeliverEachMessageOnceMPMC(t *testing.T) {
	for i, kind := range meshKinds {
		for j, capacity := range meshCaps {
			shape := meshShapes[(i+j)%len(meshShapes)]
			m := mesh{senders: shape[0], receivers: shape[1]}
			m.chanArgs = chanArgs{Kind: kind, Cap: capacity}
			m.Count = perSender(capacity, shape[0])
			m.Style = []string{"plain", "mixed"}[(i+j/2)%2]
			m.Seed = uint64(i*100 + j)
			t.Run(fmt.Sprintf("%v/%dx%d/%s", m.chanArgs, m.senders, m.receivers, m.Style), m.run)
		}
	}
}

func TestProcessesDeliverEachMessageOnceSPSC(t *testing.T) {
	for i, kind := range meshKinds {
		for j, capacity := range meshCaps {
			m := mesh{senders: 1, receivers: 1}
			m.chanArgs = chanArgs{Kind: kind, Cap: capacity, SPSC: true}
			m.Count = perSender(capacity, 1)
			m.Style = []string{"plain", "mixed"}[(i+j)%2]
			m.Seed = uint64(i*100 + j)
			t.Run(fmt.Sprintf("%v/%s", m.chanArgs, m.Style), m.run)
		}
	}
}

// Each style of call on its own: a mix may hide that one of them leans on the
// others to make progress.
func TestProcessesEveryStyleOfCall(t *testing.T) {
	for i, style := range []string{"plain", "try", "batch", "ctx", "loan", "func", "all", "refuse"} {
		for _, spsc := range []bool{false, true} {
			m := mesh{senders: 2, receivers: 2}
			if spsc {
				m = mesh{senders: 1, receivers: 1}
			}
			kind := []string{"line", "bytes"}[i%2]
			m.chanArgs = chanArgs{Kind: kind, Cap: []int{3, 0, 17}[i%3], SPSC: spsc}
			m.Count, m.Style, m.Seed = uint32(times(300, 5000)), style, uint64(i)
			t.Run(style+"/"+m.String(), m.run)
		}
	}
}

// Bytes run out long before places do: the packed messages wrap round Space
// again and again.
func TestProcessesShareLittleSpace(t *testing.T) {
	for _, spsc := range []bool{false, true} {
		m := mesh{senders: 1, receivers: 1}
		if !spsc {
			m = mesh{senders: 3, receivers: 3}
		}
		m.chanArgs = chanArgs{Kind: "bytes", Cap: 1000, SPSC: spsc, Space: 70 << 10}
		m.Count, m.Style = uint32(times(1500, 30000)), "mixed"
		t.Run(m.String(), m.run)
	}
}

package fallback

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// udpEnter enters sequences of one sender and returns those that are received.
func udpEnter(l *udpLedger, sender uint64, sequences ...uint64) (received []uint64) {
	var t [udpTrailer]byte
	for _, s := range sequences {
		putUDPTrailer(&t, sender, s)
		if l.enter(&t, netip.AddrPort{}) {
			received = append(received, s)
		}
	}
	return received
}

func TestUDPLedgerCounts(t *testing.T) {
	for _, c := range []struct {
		name           string
		come, received []uint64
		want           UDPStats
	}{
		{"in order", []uint64{0, 1, 2}, []uint64{0, 1, 2}, UDPStats{Received: 3}},
		{"who joins late has lost nothing", []uint64{70, 71}, []uint64{70, 71}, UDPStats{Received: 2}},
		{"lost", []uint64{0, 3, 4, 9}, []uint64{0, 3, 4, 9}, UDPStats{Received: 4, Lost: 6}},
		{"doubled", []uint64{0, 0, 1, 0, 1}, []uint64{0, 1}, UDPStats{Received: 2, Doubled: 3}},
		{"reordered", []uint64{0, 2, 1, 3}, []uint64{0, 2, 1, 3}, UDPStats{Received: 4, Reordered: 1}},
		{"reordered before the first", []uint64{5, 4, 5, 4, 6}, []uint64{5, 4, 6}, UDPStats{Received: 3, Reordered: 1, Doubled: 2}},
		{"late and doubled", []uint64{0, 5, 3, 3}, []uint64{0, 5, 3}, UDPStats{Received: 3, Lost: 3, Reordered: 1, Doubled: 1}},
		{
			"a leap over the window",
			[]uint64{0, 1, 5000, 4999, 1, 5000 - udpWindow, 5001 - udpWindow},
			[]uint64{0, 1, 5000, 4999, 5001 - udpWindow},
			UDPStats{Received: 5, Lost: 4996, Reordered: 2, Stale: 2},
		},
		{"a forged leap", []uint64{0, udpLeap + 1, 1, udpLeap + 1}, []uint64{0, 1, udpLeap + 1}, UDPStats{Received: 3, Foreign: 1, Lost: udpLeap - 1}},
		{"a forged number", []uint64{udpEnd, 1<<64 - 1, udpEnd - 1}, []uint64{udpEnd - 1}, UDPStats{Received: 1, Foreign: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l udpLedger
			assert.Equal(t, c.received, udpEnter(&l, 7, c.come...))
			assert.Equal(t, c.want, l.stats)
		})
	}
}

// A plain set knows what was doubled; sorted, what was lost.
func TestUDPLedgerIsAsASetSays(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var l udpLedger
		seen, latest, first := map[uint64]bool{}, uint64(0), uint64(0)
		var want UDPStats
		at := uint64(r.IntN(3000))
		for i := range 500 {
			s := at
			switch r.IntN(6) {
			case 0:
				s -= min(s, uint64(r.IntN(40)))
			case 1:
				s -= min(s, uint64(r.IntN(2*udpWindow)))
			case 2:
				s += uint64(r.IntN(2 * udpWindow))
			}
			at = max(at, s) + 1
			if i == 0 {
				first, latest = s, s
			}
			got := udpEnter(&l, 1, s) != nil
			stale := s+udpWindow <= latest
			require.Equal(t, !stale && !seen[s], got)
			switch {
			case stale:
				want.Stale++
				continue
			case seen[s]:
				want.Doubled++
				continue
			case s < latest:
				want.Reordered++
			}
			seen[s], latest = true, max(latest, s)
			want.Received++
		}
		came := uint64(0)
		for s := range seen {
			if s >= first {
				came++
			}
		}
		want.Lost = latest - first + 1 - came
		require.Equal(t, want, l.stats)
	}
}

func TestUDPLedgerForgetsTheSilent(t *testing.T) {
	var l udpLedger
	for sender := range uint64(udpSenders + 10) {
		udpEnter(&l, sender+1, 0)
		udpEnter(&l, 1, sender+1) // speaks all the time
	}
	assert.Len(t, l.senders, udpSenders)
	assert.Nil(t, udpEnter(&l, 1, 5), "is remembered")
	assert.NotNil(t, udpEnter(&l, 2, 0), "is not")
}

func TestUDPLedgerTellsSendersApart(t *testing.T) {
	l := udpLedger{own: 9}
	assert.Equal(t, []uint64{0, 1}, udpEnter(&l, 1, 0, 1))
	assert.Equal(t, []uint64{0, 1}, udpEnter(&l, 2, 0, 1))
	assert.Nil(t, udpEnter(&l, 9, 0, 1))
	var trailer [udpTrailer]byte
	putUDPTrailer(&trailer, 1, 2)
	assert.False(t, l.enter(&trailer, netip.MustParseAddrPort("127.0.0.1:1")), "another address")
	assert.Equal(t, UDPStats{Received: 4, Own: 2, Foreign: 1}, l.stats)
}

func FuzzUDPTrailer(f *testing.F) {
	var good [udpTrailer]byte
	putUDPTrailer(&good, 1, 2)
	f.Add(good[:])
	f.Fuzz(func(t *testing.T, data []byte) {
		var l udpLedger
		for ; len(data) >= udpTrailer; data = data[1:] {
			trailer := [udpTrailer]byte(data)
			if l.enter(&trailer, netip.AddrPort{}) {
				sender, sequence, _ := readUDPTrailer(&trailer)
				var again [udpTrailer]byte
				putUDPTrailer(&again, sender, sequence)
				if again != trailer {
					t.Fatalf("% x is a trailer that nobody writes", trailer)
				}
			}
		}
	})
}

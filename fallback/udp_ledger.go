package fallback

import (
	"encoding/binary"
	"net/netip"
)

// Behind each message, UDP carries a trailer by which its receiver notices what happened
// on the way. (Behind and not before: so the message is received where it belongs.)
// Little-endian:
//
//	0   magic     uint32  "shmU"
//	4   version   uint8   1
//	5   kind      uint8   1: a message; others are reserved, and dropped
//	6   reserved  uint16  0
//	8   sender    uint64  drawn at random by each Conn
//	16  sequence  uint64  of this sender: 0, 1, 2 …
const (
	udpTrailer = 24
	udpMagic   = 'U'<<24 | 'm'<<16 | 'h'<<8 | 's'
	udpVersion = 1
	udpMessage = 1
)

const (
	// udpWindow is how far back behind the latest one a datagram is still told
	// from a doubled one. An older one is dropped.
	udpWindow = 1024
	// udpSenders is how many senders are remembered; the one that has been silent the
	// longest is forgotten for a new one.
	udpSenders = 256
	// udpLeap is as far as a sender's sequence may leap ahead. Farther ones are forged.
	udpLeap = 1 << 32
	// udpEnd is above all sequences.
	udpEnd = 1 << 63
)

func putUDPTrailer(t *[udpTrailer]byte, sender, sequence uint64) {
	binary.LittleEndian.PutUint32(t[0:], udpMagic)
	t[4], t[5], t[6], t[7] = udpVersion, udpMessage, 0, 0
	binary.LittleEndian.PutUint64(t[8:], sender)
	binary.LittleEndian.PutUint64(t[16:], sequence)
}

// readUDPTrailer says whose message it is, or that it is none of this package's.
func readUDPTrailer(t *[udpTrailer]byte) (sender, sequence uint64, ok bool) {
	sender, sequence = binary.LittleEndian.Uint64(t[8:]), binary.LittleEndian.Uint64(t[16:])
	ok = binary.LittleEndian.Uint32(t[0:]) == udpMagic && t[4] == udpVersion && t[5] == udpMessage &&
		t[6] == 0 && t[7] == 0 && sequence < udpEnd
	return sender, sequence, ok
}

// UDPStats count what happened to a UDP Conn's messages.
type UDPStats struct {
	Sent      uint64 // messages that the kernel took
	Received  uint64 // messages that Receive returned, or is about to
	Lost      uint64 // never came, as their successors' numbers show. Those that come late are taken off again
	Doubled   uint64 // came again; were dropped
	Reordered uint64 // came after a later one of the same sender; were received nevertheless
	Stale     uint64 // came so late (1024 messages) that they may be doubles; were dropped, and stay Lost
	Foreign   uint64 // datagrams that this package has not sent, or longer than MaxMessage; were dropped
	Own       uint64 // this Conn's own, which multicast or broadcast brought back; were dropped
	Refused   uint64 // ICMP's word that nobody receives at the remote address
	Overflow  uint64 // datagrams that the kernel dropped because the receive buffer was full, foreign ones included (SO_MEMINFO)
	Senders   int    // that are remembered, at most 256
}

// A udpSender is what is known of one that sends here.
type udpSender struct {
	from   netip.AddrPort
	first  uint64 // sequence
	latest uint64
	seen   [udpWindow / 64]uint64 // bit sequence%udpWindow, for the udpWindow sequences up to latest
	used   uint64                 // when, on the ledger's clock
}

// A udpLedger tells by sequence numbers what was lost, doubled or reordered. Its users
// come one at a time.
type udpLedger struct {
	own     uint64 // the sender that this Conn is
	senders map[uint64]*udpSender
	clock   uint64
	stats   UDPStats
}

// enter enters a datagram and says whether it is to be received. from is the zero value
// where the kernel lets only one peer's datagrams in.
func (l *udpLedger) enter(t *[udpTrailer]byte, from netip.AddrPort) bool {
	sender, sequence, ok := readUDPTrailer(t)
	if !ok {
		l.stats.Foreign++
		return false
	}
	if sender == l.own {
		l.stats.Own++
		return false
	}
	s := l.senders[sender]
	switch {
	case s == nil:
		s = l.admit(sender)
		s.from, s.first, s.latest = from, sequence, sequence
	case s.from != from || sequence > s.latest && sequence-s.latest > udpLeap:
		l.stats.Foreign++
		return false
	case sequence > s.latest:
		s.advance(sequence)
		l.stats.Lost += sequence - s.latest - 1
		s.latest = sequence
	case s.latest-sequence >= udpWindow:
		l.stats.Stale++
		return false
	case s.has(sequence):
		l.stats.Doubled++
		return false
	default:
		l.stats.Reordered++
		if sequence > s.first {
			l.stats.Lost--
		}
	}
	s.mark(sequence)
	l.clock++
	s.used = l.clock
	l.stats.Received++
	return true
}

// admit makes room for a sender, if need be that of the one that was silent the longest.
func (l *udpLedger) admit(sender uint64) *udpSender {
	s := new(udpSender)
	if len(l.senders) >= udpSenders {
		var oldest uint64
		for id, o := range l.senders {
			if s.used == 0 || o.used < s.used {
				oldest, s = id, o
			}
		}
		delete(l.senders, oldest)
		*s = udpSender{}
	}
	if l.senders == nil {
		l.senders = make(map[uint64]*udpSender)
	}
	l.senders[sender] = s
	return s
}

func (s *udpSender) has(sequence uint64) bool {
	return s.seen[sequence%udpWindow/64]&(1<<(sequence%64)) != 0
}

func (s *udpSender) mark(sequence uint64) { s.seen[sequence%udpWindow/64] |= 1 << (sequence % 64) }

// advance forgets those that the window leaves behind when it moves up to sequence.
func (s *udpSender) advance(sequence uint64) {
	if sequence-s.latest >= udpWindow {
		s.seen = [udpWindow / 64]uint64{}
		return
	}
	for q := s.latest + 1; q <= sequence; q++ {
		s.seen[q%udpWindow/64] &^= 1 << (q % 64)
	}
}

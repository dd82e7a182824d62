package fallback

import "strconv"

// Kind names a mechanism that carries messages.
type Kind uint8

// The kinds. KindShared is the ring in shared memory that package channel uses by
// itself; KindShm is a Conn over shared memory.
const (
	KindNone Kind = iota
	KindShared
	KindShm
	KindPipe
	KindFIFO
	KindMQ
	KindUnixStream
	KindUnixDatagram
	KindUnixSeqpacket
	KindTCP
	KindUDP
	KindCrossMemory
)

var kindNames = [...]string{
	KindNone:          "none",
	KindShared:        "shared memory ring",
	KindShm:           "shared memory",
	KindPipe:          "pipe",
	KindFIFO:          "FIFO",
	KindMQ:            "POSIX message queue",
	KindUnixStream:    "UNIX stream socket",
	KindUnixDatagram:  "UNIX datagram socket",
	KindUnixSeqpacket: "UNIX seqpacket socket",
	KindTCP:           "TCP",
	KindUDP:           "UDP",
	KindCrossMemory:   "cross-memory attach",
}

// String is the mechanism's name in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// MarshalText is String, for JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

package fallback

import (
	"encoding/binary"
	"fmt"
)

// A frame is how a message travels through a stream of bytes that has one writer and one
// reader:
//
//	offset  bytes
//	0       1      0xF5, which begins no text
//	1       1      how many descriptors come along
//	2       2      check, over the other six
//	4       4      length of the payload, little-endian
//	8       length payload
//	8+len   1      commit or abort
//
// The last byte lets a sender give up on a frame when part of it is gone already: the
// rest follows as it is, and an abort in place of the commit makes the receiver drop it.
// A frame that the end of the stream cuts short is dropped, too.
//
// The check tells what is no frame at the first byte, as a rule, and by the eighth in
// all but one of 2^24 cases. It is no checksum: the carriers are reliable.
const (
	frameHeader   = 8
	frameOverhead = frameHeader + 1

	frameMagic  = 0xF5
	frameCommit = 0xC3
	frameAbort  = 0x3C

	// frameMost is the longest payload that a frame can have on any CPU.
	frameMost = 1<<31 - 1 - 1<<16
)

// putFrameHeader writes the header of a frame to h.
func putFrameHeader(h *[frameHeader]byte, length, files int) {
	h[0] = frameMagic
	h[1] = byte(files)
	binary.LittleEndian.PutUint32(h[4:], uint32(length))
	binary.LittleEndian.PutUint16(h[2:], frameCheck(uint32(length), h[1]))
}

// frameCheck mixes a frame's length and number of files, so that neighbours differ.
func frameCheck(length uint32, files byte) uint16 {
	x := (length ^ uint32(files)<<24 ^ 0x5348_4d46) * 0x9E37_79B1
	x ^= x >> 15
	x *= 0x85EB_CA6B
	return uint16(x >> 16)
}

// readFrameHeader reads what may be the beginning of a header. whole says that it is all
// there. The error is ErrFrame, for a header that cannot become one, and for a length over most.
func readFrameHeader(b []byte, most int) (length, files int, whole bool, err error) {
	if len(b) == 0 {
		return 0, 0, false, nil
	}
	if b[0] != frameMagic {
		return 0, 0, false, fmt.Errorf("it begins with %#x: %w", b[0], ErrFrame)
	}
	if len(b) < frameHeader {
		return 0, 0, false, nil
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if check := binary.LittleEndian.Uint16(b[2:]); check != frameCheck(n, b[1]) {
		return 0, 0, false, fmt.Errorf("the header's check is wrong: %w", ErrFrame)
	}
	if uint64(n) > uint64(most) {
		return 0, 0, false, fmt.Errorf("%d bytes are announced, of at most %d: %w", n, most, ErrFrame)
	}
	return int(n), int(b[1]), true, nil
}

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
//	8       0 or 56  nothing
//	        length   payload
//	        0…63     nothing
//	last    1        commit or abort
//
// A payload from 4096 bytes on has a header of 64 bytes, and its frame is a multiple of 64
// bytes long. The kernel keeps a frame in memory that begins at a multiple of 64 bytes, counted
// from the frame's start or end; if the payload does not, copying it takes twice the time.
//
// The last byte lets a sender give up on a frame when part of it is gone already: the
// rest follows as it is, and an abort in place of the commit makes the receiver drop it.
// A frame that the end of the stream cuts short is dropped, too.
//
// The check tells what is no frame at the first byte, as a rule, and by the eighth in
// all but one of 2^24 cases. It is no checksum: the carriers are reliable.
const (
	frameHeader = 8
	frameAlign  = 64
	// largeFrame is the payload in bytes from which on alignment pays, and to have the
	// kernel write it to where it belongs.
	largeFrame = 4096

	frameMagic  = 0xF5
	frameCommit = 0xC3
	frameAbort  = 0x3C

	// frameMost is the longest payload that a frame can have on any CPU.
	frameMost = 1<<31 - 1 - 1<<16
)

// frameLead is how many bytes of a frame are before its payload.
func frameLead(length int) int {
	if length < largeFrame {
		return frameHeader
	}
	return frameAlign
}

// frameTail is how many bytes of a frame are behind its payload.
func frameTail(length int) int {
	if length < largeFrame {
		return 1
	}
	return frameAlign - length%frameAlign
}

// putFrameHeader writes the header of a frame to h.
func putFrameHeader(h *[frameAlign]byte, length, files int) {
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

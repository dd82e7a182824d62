//go:build race

package ring

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// A message of the ring of elements is copied first and taken afterwards, and what
// was torn is thrown away (I5 in mpmc.go): a seqlock's read, which the race
// detector rightly calls a race. In race builds the shared side of such copies is
// therefore touched by atomic words, which are ordered by nothing else, so that
// only races in the user's own data are reported.

// CopyIn copies n bytes from private memory to a message. dst is as the ring gave
// it: aligned to 8 bytes, with room up to the next multiple of 8, which is zeroed.
func CopyIn(dst, src unsafe.Pointer, n uintptr) {
	from := unsafe.Slice((*byte)(src), n)
	for len(from) > 0 {
		var word [8]byte
		from = from[copy(word[:], from):]
		atomic.StoreUint64((*uint64)(dst), binary.LittleEndian.Uint64(word[:]))
		if len(from) > 0 {
			dst = unsafe.Add(dst, 8) // never beyond the end: checkptr
		}
	}
}

// CopyOut copies n bytes from a message, aligned likewise, to private memory.
func CopyOut(dst, src unsafe.Pointer, n uintptr) {
	to := unsafe.Slice((*byte)(dst), n)
	for len(to) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], atomic.LoadUint64((*uint64)(src)))
		to = to[copy(to, word[:]):]
		if len(to) > 0 {
			src = unsafe.Add(src, 8)
		}
	}
}

package channel

import (
	"unsafe"

	"github.com/shmchan/shmchan/ring"
)

// bytesOf is the message of a hold, in shared memory, valid until the hold ends.
// Its capacity is its length, so that an append copies it.
func bytesOf(h *ring.Held) []byte {
	return unsafe.Slice((*byte)(h.Data), h.Size)[:h.Size:h.Size]
}

// elemBytes is the memory of v, which has no pointers.
func elemBytes[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// blockBytes is a block as bytes; size is that of T.
func blockBytes(p unsafe.Pointer, size uint64) []byte {
	return unsafe.Slice((*byte)(p), size)
}

//go:build !race

package ring

import "unsafe"

// CopyIn copies n bytes from private memory to a message.
func CopyIn(dst, src unsafe.Pointer, n uintptr) {
	copy(unsafe.Slice((*byte)(dst), n), unsafe.Slice((*byte)(src), n))
}

// CopyOut copies n bytes from a message to private memory.
func CopyOut(dst, src unsafe.Pointer, n uintptr) {
	copy(unsafe.Slice((*byte)(dst), n), unsafe.Slice((*byte)(src), n))
}

package channel

import "unsafe"

// elemIn is the T, which has no pointers, at the beginning of payload, which has its
// length. Where it does not lie as T must, it is copied.
func elemIn[T any](payload []byte) *T {
	var zero T
	p := unsafe.Pointer(unsafe.SliceData(payload))
	if len(payload) > 0 && uintptr(p)%unsafe.Alignof(zero) == 0 {
		return (*T)(p)
	}
	v := new(T)
	copy(elemBytes(v), payload)
	return v
}

// alignedBytes makes n bytes that lie as any T without pointers must.
func alignedBytes(n int) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*8)
}

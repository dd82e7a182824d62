package futexsem

import "unsafe"

// wordAt is the word at an offset, a multiple of 4, of mapped memory.
func wordAt(mem []byte, at int) *uint32 {
	return (*uint32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), at))
}

//go:build linux

package futexsem

import "unsafe"

// overlay returns mem's first bytes as a cell, or nil if mem is shorter than
// SizeofSem or its address is not a multiple of alignofSem. The cell points into
// mem and so keeps it, if it is Go's own memory, from being collected; mapped
// memory must outlive it.
func overlay(mem []byte) *cell {
	if len(mem) < SizeofSem {
		return nil
	}
	p := unsafe.Pointer(unsafe.SliceData(mem))
	if uintptr(p)%alignofSem != 0 {
		return nil
	}
	return (*cell)(p)
}

// word returns the 32 bits that waiters sleep on. They lie within the cell's
// first 8 bytes, and are aligned because the cell is. Plain arithmetic, because an
// index into an array would read through the pointer to see that it is not nil: a
// poster must not touch memory that may be unmapped by then.
func (c *cell) word() *uint32 {
	return (*uint32)(unsafe.Add(unsafe.Pointer(c), 4*wordIndex))
}

// address returns where the cell lies, as a number to tell cells apart by.
func (c *cell) address() uintptr { return uintptr(unsafe.Pointer(c)) }

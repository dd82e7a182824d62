//go:build linux

package shm

import "unsafe"

// address is where the bytes begin; b has one at least.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

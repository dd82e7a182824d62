//go:build linux

package channel_test

import "unsafe"

// semPointer is a T that no process may send to another.
type semPointer = unsafe.Pointer

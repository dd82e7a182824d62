//go:build !race

package channel

import "unsafe"

// storeElem writes v into a block that nobody else reads yet.
func storeElem[T any](block unsafe.Pointer, v *T) { *(*T)(block) = *v }

// loadElem copies a block into v. Another process may be writing it: then the copy
// is torn, and thrown away, since taking the message fails (ring.Desk.Take). T
// has no pointers, so a torn copy is only a wrong number.
func loadElem[T any](v *T, block unsafe.Pointer) { *v = *(*T)(block) }

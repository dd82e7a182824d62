//go:build race

package channel

import (
	"unsafe"

	"github.com/shmchan/shmchan/ring"
)

func storeElem[T any](block unsafe.Pointer, v *T) {
	ring.CopyIn(block, unsafe.Pointer(v), unsafe.Sizeof(*v))
}

func loadElem[T any](v *T, block unsafe.Pointer) {
	ring.CopyOut(unsafe.Pointer(v), block, unsafe.Sizeof(*v))
}

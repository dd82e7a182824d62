package ring

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded is n zeroed bytes, a multiple of a page, between pages that nobody may
// touch: whoever reads or writes beyond the memory ends the test program.
func guarded(t testing.TB, n int64) []byte {
	t.Helper()
	const guard = 64 << 10
	b, err := unix.Mmap(-1, 0, int(n)+2*guard, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	mem := b[guard : guard+int(n) : guard+int(n)]
	if err := unix.Mprotect(mem, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return unsafe.Slice(unsafe.SliceData(mem), n)
}

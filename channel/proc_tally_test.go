//go:build linux

package channel_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tally is what processes note about themselves as they go, in a way that
// SIGKILL cannot undo: counters in a mapped file, and one file of records for
// each receiver, written with one write each.
type tally struct {
	dir string
	mem []byte
}

// tallyIDs is how many processes one tally serves, one after another.
const tallyIDs = 1 << 14

func openTally(dir string) (*tally, error) {
	f, err := os.OpenFile(filepath.Join(dir, "tally"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(tallyIDs * 8); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, tallyIDs*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return &tally{dir, mem}, err
}

func newTally(t testing.TB) *tally {
	t.Helper()
	y, err := openTally(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(y.mem) })
	return y
}

// sent counts the messages of process id whose Send has returned.
func (y *tally) sent(id uint32) *atomic.Uint32 {
	// in bounds and aligned: ids stay below tallyIDs, and the mapping is so many words
	return (*atomic.Uint32)(unsafe.Pointer(&y.mem[(id%tallyIDs)*8]))
}

// received counts the messages that process id has recorded.
func (y *tally) received(id uint32) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&y.mem[(id%tallyIDs)*8+4])) // as above
}

func (y *tally) recordPath(id uint32) string {
	return filepath.Join(y.dir, fmt.Sprint("record", id))
}

// recorder returns what appends one message to the record of process id.
func (y *tally) recorder(id uint32) (func(stamp) error, error) {
	f, err := os.OpenFile(y.recordPath(id), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return func(s stamp) error {
		if _, err := f.Write(binary.LittleEndian.AppendUint64(nil, s.word())); err != nil {
			return err
		}
		y.received(id).Add(1)
		return nil
	}, nil
}

// record reads what process id has recorded.
func (y *tally) record(t testing.TB, id uint32) []stamp {
	t.Helper()
	b, err := os.ReadFile(y.recordPath(id))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(b)%8 != 0 {
		t.Fatalf("record of %d is %d bytes long", id, len(b))
	}
	var got []stamp
	for ; len(b) > 0; b = b[8:] {
		got = append(got, stampOf(binary.LittleEndian.Uint64(b)))
	}
	return got
}

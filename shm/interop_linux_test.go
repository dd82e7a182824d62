package shm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// compileC builds a program of testdata, or skips.
func compileC(t *testing.T, source string) string {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		t.Skipf("no C compiler: %v", err)
	}
	program := filepath.Join(t.TempDir(), "peer")
	out, err := exec.Command(cc, "-O1", "-Wall", "-Werror", "-D_FILE_OFFSET_BITS=64", "-o", program, filepath.Join("testdata", source), "-lrt").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

func TestCOpensWhatGoMade(t *testing.T) {
	peer := compileC(t, "peer.c")
	name := uniqueName(t)
	const size = 70000
	o, err := Create("", name, size, 0o600, func(mem []byte) error {
		for i := range mem {
			mem[i] = 0x5a
		}
		return nil
	})
	require.NoError(t, err)
	defer o.Close()
	run(t, peer, "invert", "/"+name, size, 0x5a)
	assert.Equal(t, ^byte(0x5a), o.Bytes()[0])
	assert.Equal(t, ^byte(0x5a), o.Bytes()[size-1])

	// The locks are the kernel's: C sees them on the bytes that LockBase says.
	assert.Equal(t, "free\n", run(t, peer, "locked", "/"+name, int(LockBase>>32), 3))
	ok, err := o.TryLock(3)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "held\n", run(t, peer, "locked", "/"+name, int(LockBase>>32), 3))
	assert.Equal(t, "free\n", run(t, peer, "locked", "/"+name, int(LockBase>>32), 4))

	run(t, peer, "unlink", "/"+name, 0, 0)
	_, err = Open("", name, 1)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestGoOpensWhatCMade(t *testing.T) {
	peer := compileC(t, "peer.c")
	name := uniqueName(t)
	const size = 70000
	run(t, peer, "create", "/"+name, size, 0x21)
	_, err := Create("", name, size, 0o600, nil)
	require.ErrorIs(t, err, os.ErrExist)
	o, err := Open("", "/"+name, size)
	require.NoError(t, err)
	defer o.Close()
	require.EqualValues(t, size, o.Size())
	for i, b := range o.Bytes() {
		require.Equal(t, byte(0x21), b, "byte %d", i)
		o.Bytes()[i] = 0x22
	}
	run(t, peer, "invert", "/"+name, size, 0x22)
	require.NoError(t, Unlink("", name))
}

func run(t *testing.T, program, verb, name string, n, value int) string {
	cmd := exec.Command(program, verb, name, strconv.Itoa(n), strconv.Itoa(value))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

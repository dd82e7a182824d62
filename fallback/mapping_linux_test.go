package fallback

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/shm"
)

func TestMappingIsWhatReadsAndOtherMappingsSee(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	require.NoError(t, err)
	m, err := MapFile(f, 5000, true)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Len(t, m.Bytes(), 5000)
	copy(m.Bytes()[4990:], "at the end")
	require.NoError(t, m.Sync(4990, 10))
	require.NoError(t, m.Sync(0, 0))
	require.NoError(t, m.Sync(4096, 0))
	for _, r := range [][2]int{{-1, 1}, {0, -1}, {4999, 2}, {5001, 0}} {
		require.ErrorIs(t, m.Sync(r[0], r[1]), fs.ErrInvalid)
	}
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "at the end", string(b[4990:]))
	r, err := os.Open(path)
	require.NoError(t, err)
	defer r.Close()
	other, err := MapFile(r, 0, false)
	require.NoError(t, err)
	m.Bytes()[0] = 'x'
	require.Equal(t, byte('x'), other.Bytes()[0])
	require.NoError(t, other.Close())
	require.NoError(t, m.Close())
	require.ErrorIs(t, m.Close(), os.ErrClosed)
	require.ErrorIs(t, m.Sync(0, 0), os.ErrClosed)
	require.Nil(t, m.Bytes())
}

func TestMappingRefusesWhatCannotBe(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	_, err = MapFile(f, 0, true)
	require.ErrorIs(t, err, fs.ErrInvalid, "empty")
	_, err = MapFile(f, 10, false)
	require.ErrorIs(t, err, fs.ErrInvalid, "beyond the end")
	_, err = MapFile(f, -1, true)
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = MapFile(f, 1<<60, true)
	require.Error(t, err)
	d, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer d.Close()
	_, err = MapFile(d, 0, false)
	require.ErrorIs(t, err, fs.ErrInvalid)
	f.Close()
	_, err = MapFile(f, 10, true)
	require.ErrorIs(t, err, os.ErrClosed)
}

func init() {
	roles["mapping-limit"] = func() {
		f, err := os.OpenFile(os.Getenv("MAPPING_FILE"), os.O_RDWR, 0)
		memMust(err)
		memMust(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: 4096}))
		if _, err = MapFile(f, 1<<20, true); !errors.Is(err, unix.EFBIG) {
			panic(err)
		}
		m, err := MapFile(f, 4096, true)
		memMust(err)
		copy(m.Bytes(), "child")
	}
	roles["mapping-anonymous"] = func() {
		o, err := shm.FromFile(os.NewFile(3, "memory"), 4096)
		memMust(err)
		copy(o.Bytes(), "child")
	}
}

func TestMappingBeyondRlimitIsAnErrorAndNoSignal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=mapping-limit", "MAPPING_FILE="+path)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "child", string(b[:5]), "written by a process that is gone, without Sync")
}

func TestMappingAnonymousIsSharedWithAChild(t *testing.T) {
	o, err := shm.Memfd("test", 4096, nil)
	require.NoError(t, err)
	defer o.Close()
	f, err := o.File()
	require.NoError(t, err)
	defer f.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=mapping-anonymous")
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "child", string(o.Bytes()[:5]))
}

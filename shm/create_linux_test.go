package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	childParts["contend"] = childContend
	childParts["modes"] = childModes
}

// ways are the two manners of making an object aside, each forced.
var ways = map[string]drafter{"nameless": draftNameless, "under-name": draftUnderName}

func eachWay(t *testing.T, f func(t *testing.T, name string, way drafter)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { f(t, name, way) })
	}
}

func TestCreateThenOpenIsTheSameMemory(t *testing.T) {
	eachWay(t, func(t *testing.T, _ string, way drafter) {
		name := uniqueName(t)
		const size = 3*4096 + 5
		a, err := create("", name, size, 0o600, func(mem []byte) error {
			require.Len(t, mem, size)
			require.Equal(t, make([]byte, size), mem)
			_, err := os.Lstat(filepath.Join(DefaultDir, name))
			require.ErrorIs(t, err, fs.ErrNotExist, "visible before it was whole")
			return pattern(mem, 1)
		}, way)
		require.NoError(t, err)
		defer a.Close()
		b, err := Open(DefaultDir, "/"+name, size)
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, checkPattern(b.Bytes(), 1))
		b.Bytes()[size-1] = 0xee
		assert.Equal(t, byte(0xee), a.Bytes()[size-1])
		for _, o := range []*Object{a, b} {
			assert.EqualValues(t, size, o.Size())
			assert.Len(t, o.Bytes(), size)
			assert.Equal(t, name, o.Name())
			assert.NoError(t, o.Sync())
		}
		adev, aino := a.ID()
		bdev, bino := b.ID()
		assert.Equal(t, [2]uint64{adev, aino}, [2]uint64{bdev, bino})
		require.NoError(t, Unlink("", name))
		require.ErrorIs(t, Unlink("", name), fs.ErrNotExist)
		require.NoError(t, checkPattern(a.Bytes()[:4096], 1), "users go on after Unlink")
	})
}

func TestCreateNeverReplaces(t *testing.T) {
	eachWay(t, func(t *testing.T, _ string, way drafter) {
		dir := memoryDir(t)
		never := func([]byte) error { t.Error("init was called"); return nil }
		for what, make := range things {
			path := filepath.Join(dir, what)
			make(t, path)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			o, err := create(dir, what, 4096, 0o600, never, way)
			require.ErrorIs(t, err, fs.ErrExist, what)
			require.ErrorContains(t, err, path)
			require.Nil(t, o)
			after, err := os.Lstat(path)
			require.NoError(t, err)
			assert.True(t, os.SameFile(before, after), what)
			assert.Equal(t, before.ModTime(), after.ModTime(), what)
		}
		assert.Empty(t, drafts(t, dir))
	})
}

func TestPublishLosesToANameThatCameMeanwhile(t *testing.T) {
	eachWay(t, func(t *testing.T, _ string, way drafter) {
		dir := memoryDir(t)
		path := filepath.Join(dir, "x")
		_, err := create(dir, "x", 4096, 0o600, func([]byte) error {
			return os.WriteFile(path, []byte("first"), 0o600)
		}, way)
		require.ErrorIs(t, err, fs.ErrExist)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, "first", string(b))
		assert.Empty(t, drafts(t, dir))
	})
}

func TestFailingInitLeavesNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, _ string, way drafter) {
		dir := memoryDir(t)
		boom := errors.New("boom")
		_, err := create(dir, "x", 4096, 0o600, func([]byte) error { return boom }, way)
		require.ErrorIs(t, err, boom)
		assert.Panics(t, func() {
			_, _ = create(dir, "x", 4096, 0o600, func([]byte) error { panic(boom) }, way)
		})
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, entries)
	})
}

func TestCreateRefusesBadArguments(t *testing.T) {
	dir := memoryDir(t)
	for what, c := range map[string]struct {
		dir, name string
		size      int64
		perm      fs.FileMode
		want      error
	}{
		"empty name":       {dir, "", 1, 0o600, fs.ErrInvalid},
		"name with slash":  {dir, "a/b", 1, 0o600, fs.ErrInvalid},
		"name too long":    {dir, strings.Repeat("x", 256), 1, 0o600, fs.ErrInvalid},
		"reserved name":    {dir, draftPrefix + "x", 1, 0o600, fs.ErrInvalid},
		"no size":          {dir, "x", 0, 0o600, fs.ErrInvalid},
		"negative size":    {dir, "x", -1, 0o600, fs.ErrInvalid},
		"setuid":           {dir, "x", 1, 0o600 | fs.ModeSetuid, fs.ErrInvalid},
		"a directory":      {dir, "x", 1, 0o600 | fs.ModeDir, fs.ErrInvalid},
		"all of int64":     {dir, "x", math.MaxInt64, 0o600, syscall.EFBIG},
		"absent directory": {filepath.Join(dir, "none"), "x", 1, 0o600, fs.ErrNotExist},
		"dir is a file":    {"/proc/self/status", "x", 1, 0o600, syscall.ENOTDIR},
	} {
		t.Run(what, func(t *testing.T) {
			o, err := Create(c.dir, c.name, c.size, c.perm, nil)
			require.Nil(t, o)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, "create")
			require.ErrorContains(t, err, c.name)
		})
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestLongestNameServes(t *testing.T) {
	name := uniqueName(t)
	name += strings.Repeat("x", MaxName-len(name))
	t.Cleanup(func() { _ = os.Remove(filepath.Join(DefaultDir, name)) })
	eachWay(t, func(t *testing.T, _ string, way drafter) {
		o, err := create("", "/"+name, 1, 0o600, nil, way)
		require.NoError(t, err)
		require.NoError(t, o.Close())
		require.NoError(t, Unlink("", "/"+name))
	})
}

func TestUnlinkRefusesADirectory(t *testing.T) {
	dir := memoryDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	err := Unlink(dir, "d")
	require.ErrorIs(t, err, ErrNotObject)
	require.ErrorContains(t, err, "directory")
	require.ErrorIs(t, Unlink(dir, "../d"), fs.ErrInvalid)
	require.ErrorIs(t, Unlink(dir+"-none", "d"), fs.ErrNotExist)
}

// Twenty processes create ten names each, at once: every name has one creator, and
// everybody else finds a whole object.
func TestTwentyProcessesCreateTheSameName(t *testing.T) {
	const processes, rounds = 20, 10
	eachWay(t, func(t *testing.T, way string, _ drafter) {
		dir := memoryDir(t)
		crowd := make([]*talker, processes)
		for i := range crowd {
			crowd[i] = talk(t, child(t, "contend", dir, way, strconv.Itoa(rounds)))
		}
		for _, k := range crowd {
			require.Equal(t, "ready", k.line(t))
		}
		for _, k := range crowd {
			require.NoError(t, k.stdin.Close())
		}
		won := make([]int, rounds)
		for _, k := range crowd {
			for round := range rounds {
				switch said := k.line(t); said {
				case "won":
					won[round]++
				default:
					require.Equal(t, "whole", said)
				}
			}
		}
		for round, n := range won {
			assert.Equal(t, 1, n, "creators of name %d", round)
		}
		assert.Empty(t, drafts(t, dir))
	})
}

func childContend(args []string) error {
	dir, way := args[0], ways[args[1]]
	rounds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	untilEOF()
	const size = 256 << 10
	for round := range rounds {
		name := fmt.Sprintf("round-%d", round)
		o, err := create(dir, name, size, 0o600, func(mem []byte) error { return pattern(mem, 7) }, way)
		won := err == nil
		if errors.Is(err, fs.ErrExist) {
			o, err = Open(dir, name, size)
		}
		if err != nil {
			return err
		}
		if err := checkPattern(o.Bytes(), 7); err != nil {
			return err
		}
		if err := o.Close(); err != nil {
			return err
		}
		fmt.Println(map[bool]string{true: "won", false: "whole"}[won])
	}
	return nil
}

func TestModeIsExactWhateverTheUmask(t *testing.T) {
	dir := memoryDir(t)
	runChild(t, child(t, "modes", dir))
	if os.Geteuid() == 0 {
		runChild(t, asNobody(child(t, "modes", dir)))
	}
}

func childModes(args []string) error {
	for way, f := range ways {
		for _, umask := range []int{0, 0o002, 0o022, 0o077, 0o777} {
			unix.Umask(umask)
			for _, perm := range []fs.FileMode{0o600, 0o660, 0o666, 0o640, 0o400, 0o200, 0, 0o777} {
				o, err := create(args[0], "x", 100, perm, nil, f)
				if err != nil {
					return fmt.Errorf("%s, umask %#o: %w", way, umask, err)
				}
				st, err := os.Lstat(filepath.Join(args[0], "x"))
				if err != nil {
					return err
				}
				if st.Mode() != perm {
					return fmt.Errorf("%s, umask %#o: mode is %v, not %v", way, umask, st.Mode(), perm)
				}
				if ok, err := o.TryLock(0); !ok {
					return fmt.Errorf("%s, umask %#o, mode %v: lock: %v", way, umask, perm, err)
				}
				f, err := o.File()
				if err != nil {
					return err
				}
				if err := errors.Join(f.Close(), o.Close(), Unlink(args[0], "x")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// drafts lists the temporary names in the directory.
func drafts(t testing.TB, dir string) []string {
	names, err := filepath.Glob(filepath.Join(dir, draftPrefix+"*"))
	require.NoError(t, err)
	return names
}

package shm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() {
	childParts["churn"] = childChurn
}

// A creator is killed at a random moment, many times. What stands under the name
// is whole each time, and what the dead leave does not add up.
func TestKilledCreatorLeavesNothingHalfMade(t *testing.T) {
	const kills, size = 40, 128 << 10
	eachWay(t, func(t *testing.T, way string, f drafter) {
		dir := memoryDir(t)
		litter := 0
		for range kills {
			k := talk(t, child(t, "churn", dir, way))
			require.Equal(t, "churning", k.line(t))
			time.Sleep(rand.N(3 * time.Millisecond)) // the random moment; nothing depends on it
			k.kill()

			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			for _, e := range entries {
				if !isDraftName(e.Name()) {
					require.Equal(t, "x", e.Name())
				}
			}
			left := drafts(t, dir)
			litter += len(left)
			require.LessOrEqual(t, len(left), 1, "%v", left)
			if way == "nameless" {
				require.Empty(t, left)
			}
			if _, err := os.Lstat(filepath.Join(dir, "x")); err == nil {
				o, err := Open(dir, "x", size)
				require.NoError(t, err)
				require.EqualValues(t, size, o.Size())
				require.NoError(t, checkPattern(o.Bytes(), 9))
				require.NoError(t, o.Close())
				require.NoError(t, Unlink(dir, "x"))
			}
		}
		t.Logf("%d of %d killed creators left a draft", litter, kills)
		o, err := create(dir, "x", size, 0o600, nil, f)
		require.NoError(t, err)
		require.NoError(t, o.Close())
		assert.Empty(t, drafts(t, dir), "the next creation sweeps")
	})
}

func childChurn(args []string) error {
	for i := 0; ; i++ {
		o, err := create(args[0], "x", 128<<10, 0o600, func(mem []byte) error { return pattern(mem, 9) }, ways[args[1]])
		if err != nil {
			return err
		}
		if err := o.Close(); err != nil {
			return err
		}
		if err := Unlink(args[0], "x"); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("churning")
		}
	}
}

func TestSweepTakesWhatNobodyHoldsOnly(t *testing.T) {
	dir := memoryDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(at(draftPrefix+"DEAD"), []byte("half"), 0o600))
	require.NoError(t, os.WriteFile(at("stranger"), nil, 0o600))
	require.NoError(t, os.Symlink("stranger", at(draftPrefix+"LINK")))
	require.NoError(t, os.Mkdir(at(draftPrefix+"DIR"), 0o700))
	d, err := openDir(dir)
	require.NoError(t, err)
	defer closeFd(d)
	living, err := draftUnderName(d, "living")
	require.NoError(t, err)
	assert.NoFileExists(t, at(draftPrefix+"DEAD"))

	// Inside a creation, and through another one that begins meanwhile.
	outer, err := create(dir, "outer", 100, 0o600, func([]byte) error {
		o, err := create(dir, "inner", 100, 0o600, nil, draftUnderName)
		require.NoError(t, err)
		return o.Close()
	}, draftUnderName)
	require.NoError(t, err)
	defer outer.Close()
	for _, name := range []string{living.temp, draftPrefix + "LINK", draftPrefix + "DIR", "stranger", "outer", "inner"} {
		_, err := os.Lstat(at(name))
		assert.NoError(t, err)
	}
	living.discard()
	assert.NoFileExists(t, at(living.temp))
}

// The first creation of a process sweeps, also where it leaves no drafts itself.
func TestNamelessCreationSweepsOnce(t *testing.T) {
	dir := memoryDir(t)
	dead := filepath.Join(dir, draftPrefix+"DEAD")
	for _, left := range []bool{false, true} {
		require.NoError(t, os.WriteFile(dead, nil, 0o600))
		o, err := create(dir, fmt.Sprint(left), 1, 0o600, nil, draftNameless)
		require.NoError(t, err)
		require.NoError(t, o.Close())
		_, err = os.Lstat(dead)
		assert.Equal(t, left, err == nil)
	}
}

// A draft that is swept between its making and its lock is made again.
func TestDraftSweptBeforeItsLockIsNoticed(t *testing.T) {
	dir := memoryDir(t)
	d, err := openDir(dir)
	require.NoError(t, err)
	defer closeFd(d)
	made, err := draftUnderName(d, "x")
	require.NoError(t, err)
	defer made.discard()
	ok, err := made.claim()
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, os.Remove(filepath.Join(dir, made.temp)))
	ok, err = made.claim()
	require.NoError(t, err)
	require.False(t, ok)
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func TestALineThatIsTooLongIsNamed(t *testing.T) {
	for _, flag := range []string{"--lines", "--json"} {
		name := newName(t)
		r := start(t, nil, "recv", "--lines", name)
		seen(t, name, receiving)
		quick(t, "1\n2\n\""+strings.Repeat("x", 1<<20)+"\"\n4\n", "send", flag, name).ends(1, "line 3", "too long", "1048576", "--max-message")
		r.ends(3, "without closing")
		assert.Equal(t, "1\n2\n", r.Out.String())

		long := "1\n\"" + strings.Repeat("x", 3<<20) + "\"\n"
		s := start(t, strings.NewReader(long), "send", flag, "--max-message=4M", name)
		seen(t, name, sending)
		r = quick(t, "", "recv", "--lines", name)
		r.ends(0)
		s.ends(0)
		assert.True(t, long == r.Out.String())
	}
}

func TestALineThatIsNotJSONIsNamed(t *testing.T) {
	name := newName(t)
	r := start(t, nil, "recv", "--json", name)
	seen(t, name, receiving)
	quick(t, "{}\n\n[1,\n{}\n", "send", "--json", name).ends(1, "line 3", "not a JSON document", "unexpected end")
	r.ends(3, "without closing")
	assert.Equal(t, "{}\n", r.Out.String())

	quick(t, "{}\n{", "send", "--json", name).ends(1, "line 2")
	assert.False(t, exists(name), "nothing is left of a stream that nobody saw")
}

func TestAMessageThatIsNotJSONStaysInTheChannel(t *testing.T) {
	name := newName(t)
	quick(t, "{}\nplain\n", "send", "--lines", name).ends(0)
	r := quick(t, "", "recv", "--json", name)
	r.ends(1, "message 2", "not a JSON document")
	assert.Equal(t, "{}\n", r.Out.String())
	r = quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "plain", r.Out.String())
}

func TestFlagsThatDifferFromTheChannelAreNamed(t *testing.T) {
	name := newName(t)
	quick(t, "x", "send", "--capacity=10", name).ends(0)
	quick(t, "", "recv", "--capacity=11", name).ends(1, "capacity", "10", "11")
	quick(t, "", "recv", "--mpmc", name).ends(1, "mode")
	quick(t, "", "recv", "--max-message=4K", name).ends(1, "max message")
	quick(t, "", "recv", "--capacity=10", "--max-message=1M", "--mpmc=false", name).ends(0)
}

func TestAChannelOfAnotherTypeIsRefused(t *testing.T) {
	name := newName(t)
	ch, err := channel.Create[int64](name, 4, channel.Dir(home))
	require.NoError(t, err)
	quick(t, "x", "send", name).ends(1, "type", "int64")
	quick(t, "", "recv", name).ends(1, "type", "int64")
	require.NoError(t, ch.Detach())
	quick(t, "", "rm", name).ends(0)
}

func TestWhatIsNotAChannelIsRefusedAndLeftAlone(t *testing.T) {
	name := newName(t)
	path := filepath.Join(home, name)
	require.NoError(t, os.WriteFile(path, []byte("somebody's file\n"), 0o600))
	defer os.Remove(path)
	quick(t, "x", "send", name).ends(1, name)
	quick(t, "", "recv", name).ends(1, name)
	body, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "somebody's file\n", string(body))
}

func TestAGoProgramIsAPeer(t *testing.T) {
	name := newName(t)
	ch, err := channel.Create[[]byte](name, 16, channel.Dir(home))
	require.NoError(t, err)
	defer ch.Detach()
	s := start(t, strings.NewReader("a\nb\n"), "send", "--lines", name)
	var got []string
	for message := range ch.All() {
		got = append(got, string(message))
	}
	s.ends(0)
	require.NoError(t, ch.Err())
	assert.Equal(t, []string{"a", "b"}, got)
	require.NoError(t, channel.Unlink(name, channel.Dir(home)))
}

func TestPermIsTheNamesMode(t *testing.T) {
	name := newName(t)
	quick(t, "x", "send", "--perm=0640", name).ends(0)
	info, err := os.Stat(filepath.Join(home, name))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode())
	quick(t, "", "recv", name).ends(0)
}

func TestWrongUsageIsStatus2(t *testing.T) {
	for _, args := range [][]string{
		{"send"},
		{"send", "a", "b"},
		{"recv"},
		{"rm"},
		{"send", "--lines", "--json", "x"},
		{"send", "--size=1Q", "x"},
		{"recv", "--wait", "x"},
		{"send", "--capacity=-1", "x"},
		{"send", "--capacity=x", "x"},
		{"recv", "--max-message=0", "x"},
		{"recv", "--perm=9", "x"},
		{"recv", "--perm=7777", "x"},
		{"recv", "--progress=perhaps", "x"},
		{"send", "--nonsense", "x"},
	} {
		quick(t, "", args...).ends(2, "--help")
	}
	shell(t, `$SHMCHAN`).ends(2, "which command")
	shell(t, `$SHMCHAN nonsense`).ends(2, "unknown command")
}

func TestHelpTellsTheExitStatuses(t *testing.T) {
	for _, command := range []string{"send", "recv", "rm"} {
		p := quick(t, "", command, "--help")
		p.ends(0)
		for _, status := range []string{"0 ", "1 ", "2 ", "3 ", "129 ", "130 ", "141 ", "143 "} {
			assert.Contains(t, p.Out.String(), "\n  "+status)
		}
	}
}

func TestProgressIsShownWhenAsked(t *testing.T) {
	name := newName(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, make([]byte, 3<<20), 0o600))
	in, err := os.Open(file)
	require.NoError(t, err)
	defer in.Close()
	s := start(t, in, "send", "--progress", name)
	r := start(t, nil, "recv", "--progress", name)
	s.Status()
	r.Status()
	assert.Contains(t, s.Err.String(), "100%")
	assert.Contains(t, s.Err.String(), "3.0/3.0 MiB")
	assert.Contains(t, s.Err.String(), "/s")
	assert.True(t, strings.HasSuffix(s.Err.String(), "\n"))
	assert.NotContains(t, r.Err.String(), "%", "the size is not known")
	assert.Contains(t, r.Err.String(), "3.0 MiB")
	assert.Equal(t, 3<<20, r.Out.Len())

	quick(t, "x", "send", "--progress", "--size=2", name).Status()
	r = quick(t, "", "recv", "--progress=always", "--size=2", name)
	assert.Equal(t, 0, r.Status())
	assert.Contains(t, r.Err.String(), "50%")

	quick(t, "x", "send", name).ends(0)
	quick(t, "", "recv", "--progress=never", name).ends(0)
}

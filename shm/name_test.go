package shm

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCleanNameFollowsTheNameRules(t *testing.T) {
	long := strings.Repeat("n", MaxName)
	for _, c := range []struct {
		name, want string
		ok         bool
	}{
		{"ticks", "ticks", true},
		{"/ticks", "ticks", true},
		{"...", "...", true},
		{".hidden", ".hidden", true},
		{"a b\n\xff", "a b\n\xff", true},
		{"日本", "日本", true},
		{long, long, true},
		{"/" + long, long, true},
		{strings.Repeat("é", 127), strings.Repeat("é", 127), true},
		{"", "", false},
		{"/", "", false},
		{"//", "", false},
		{"//ticks", "", false},
		{"ticks/", "", false},
		{"a/b", "", false},
		{"/a/b", "", false},
		{"../etc", "", false},
		{".", "", false},
		{"..", "", false},
		{"/.", "", false},
		{"/..", "", false},
		{"a\x00b", "", false},
		{"\x00", "", false},
		{long + "n", "", false},
		{"/" + long + "n", "", false},
		{strings.Repeat("é", 128), "", false},
	} {
		got, err := CleanName(c.name)
		assert.Equal(t, c.want, got, "%q", c.name)
		if c.ok {
			assert.NoError(t, err, "%q", c.name)
			continue
		}
		assert.ErrorIs(t, err, fs.ErrInvalid, "%q", c.name)
	}
}

func TestErrorsNameTheObjectButNotWithoutEnd(t *testing.T) {
	_, err := CleanName("a/b")
	assert.ErrorContains(t, err, `"a/b"`)
	_, err = CleanName(strings.Repeat("x", 1<<20))
	assert.Less(t, len(err.Error()), 1000)
}

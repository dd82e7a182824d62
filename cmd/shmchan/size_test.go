package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSizesAreReadWithUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "7B": 7, "64K": 64 << 10, "64k": 64 << 10, "64KB": 64 << 10, "64KiB": 64 << 10,
		"16M": 16 << 20, "1GiB": 1 << 30, "2t": 2 << 40, "9223372036854775807": 1<<63 - 1, "8388607T": 8388607 << 40,
	} {
		var b byteSize
		require.NoError(t, b.Set(text), text)
		assert.Equal(t, want, int64(b), text)
	}
}

func TestWhatIsNoSizeIsRefused(t *testing.T) {
	for _, text := range []string{"", "-1", "1.5M", "K", "iB", "5iB", "64Q", "1 M", "0x10", "9223372036854775808", "8388608T"} {
		var b byteSize
		assert.Error(t, b.Set(text), "%q", text)
	}
}

func TestSizesAreShownInTheirLargestWholeUnit(t *testing.T) {
	for n, want := range map[byteSize]string{0: "0", 1: "1", 1023: "1023", 1024: "1KiB", 1 << 20: "1MiB", 3 << 30: "3GiB", 1<<20 + 1: "1048577"} {
		assert.Equal(t, want, n.String())
	}
}

package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// byteSize is a flag's value: a number of bytes, with an optional unit that
// stands for a power of 1024 (64K, 16M, 1GiB).
type byteSize int64

var sizePattern = regexp.MustCompile(`(?i)^([0-9]+)(?:([KMGT])i?)?B?$`)

// Set parses a size. It implements pflag.Value.
func (b *byteSize) Set(text string) error {
	parts := sizePattern.FindStringSubmatch(text)
	if parts == nil {
		return fmt.Errorf("%q is not a size such as 4096, 64K or 1GiB", text)
	}
	shift := 0
	if unit := strings.ToUpper(parts[2]); unit != "" {
		shift = 10 * (1 + strings.Index("KMGT", unit))
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return fmt.Errorf("%q is too large", text)
	}
	*b = byteSize(n << shift)
	return nil
}

// String gives the size in the largest unit that it is a whole number of.
func (b *byteSize) String() string {
	n := int64(*b)
	for power := 4; power > 0; power-- {
		if shift := 10 * power; n > 0 && n%(1<<shift) == 0 {
			return strconv.FormatInt(n>>shift, 10) + "KMGT"[power-1:power] + "iB"
		}
	}
	return strconv.FormatInt(n, 10)
}

// Type names the kind of value in help texts. It implements pflag.Value.
func (b *byteSize) Type() string { return "size" }

// bytes gives the size as the int that the channel's options take.
func (b *byteSize) bytes() int {
	return int(min(int64(*b), math.MaxInt))
}

//go:build !linux

package ring

import "testing"

func guarded(_ testing.TB, n int64) []byte { return alignedBytes(n) }

//go:build !linux

package main

import "os"

// alone is not known here.
func alone(*os.File) bool { return false }

//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "multicast: for Linux only")
	os.Exit(1)
}

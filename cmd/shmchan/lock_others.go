//go:build !linux

package main

import (
	"errors"
	"os"
)

// There are no channels to lock on other systems.

func lockByte(*os.File, int64) error   { return errors.ErrUnsupported }
func unlockByte(*os.File, int64) error { return errors.ErrUnsupported }

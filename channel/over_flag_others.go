//go:build !linux

package channel

import "github.com/shmchan/shmchan/fallback"

func newClosedFlag(fallback.Conn) closedFlag { return nil }

//go:build !linux

package channel

import (
	"errors"

	"github.com/shmchan/shmchan/fallback"
)

// There is nothing to fall back on elsewhere yet.

func refusesShared(error) bool                       { return false }
func (p *plan[T]) findNamed() (fallback.Conn, error) { return nil, nil }
func (p *plan[T]) makeNamed() (fallback.Conn, error) { return nil, errors.ErrUnsupported }
func unlinkElsewhere(string) (found bool, err error) { return false, nil }
func mine(fallback.Conn) bool                        { return false }
func sharedExists(string) bool                       { return false }
func newSeat(fallback.Conn) func() error             { return nil }

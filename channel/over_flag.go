package channel

import "github.com/shmchan/shmchan/fallback"

// closedFlag is where an object with a name keeps that its channel was closed, for
// those who see no mark: they only send, or come later, or the receiver that held the
// mark in its hand died. A Conn may have one of its own.
type closedFlag interface {
	ChannelClosed() bool
	CloseChannel() // if that is permitted
}

// flagOf is the flag of what conn runs on, nil if there is none.
func flagOf(conn fallback.Conn) closedFlag {
	if f, ok := conn.(closedFlag); ok {
		return f
	}
	return newClosedFlag(conn)
}

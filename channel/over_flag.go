package channel

import "github.com/shmchan/shmchan/fallback"

// closedFlag is where an object with a name keeps that its channel was closed, for
// those who see no mark: they only send, or come later, or the receiver that held the
// mark in its hand died. A Conn may have one of its own.
type closedFlag interface {
	ChannelClosed() bool
	CloseChannel() // if that is permitted
}

// watchedFlag is a closedFlag that tells when it may have changed.
type watchedFlag interface {
	// Watch calls changed after a change, by whichever process, until stop, and perhaps
	// once more; also without one. The error says why it cannot.
	Watch(changed func()) (stop func(), err error)
}

// flagOf is the flag of what conn runs on, nil if there is none.
func flagOf(conn fallback.Conn) closedFlag {
	if f, ok := conn.(closedFlag); ok {
		return f
	}
	return newClosedFlag(conn)
}

//go:build !linux

package fallback

import (
	"os"
	"syscall"
)

// PeerCredentials is for Linux only; here it is errors.ErrUnsupported.
func PeerCredentials(syscall.Conn) (Credentials, error) { return Credentials{}, errUnixLinuxOnly }

// PeerPidfd is for Linux only; here it is errors.ErrUnsupported.
func PeerPidfd(syscall.Conn) (*os.File, error) { return nil, errUnixLinuxOnly }

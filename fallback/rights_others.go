//go:build !linux

package fallback

import (
	"errors"
	"fmt"
	"net"
	"os"
)

var errUnixLinuxOnly = fmt.Errorf("UNIX sockets as on Linux: %w", errors.ErrUnsupported)

// SendRights is for Linux only; here it is errors.ErrUnsupported.
func SendRights(*net.UnixConn, []byte, ...*os.File) error { return errUnixLinuxOnly }

// ReceiveRights is for Linux only; here it is errors.ErrUnsupported.
func ReceiveRights(*net.UnixConn, []byte, int) (int, []*os.File, error) {
	return 0, nil, errUnixLinuxOnly
}

package fallback

import "errors"

// MaxRights is how many descriptors one message carries (SCM_MAX_FD, unix(7)).
const MaxRights = 253

// ErrFilesLost says that descriptors came with a message, and not all of them could be had, as a
// rule because this process has as many open files as RLIMIT_NOFILE allows. Those that
// came are closed again.
var ErrFilesLost = errors.New("descriptors were lost")

//go:build !linux

package fallback

import "errors"

func find(f *Fact) { f.Why = errors.ErrUnsupported.Error() }

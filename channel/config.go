package channel

import (
	"fmt"
	"io/fs"
)

const maxMaxMessage = 1 << 30

func (c *config) fail(option string, value any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s(%v): %w", option, value, fs.ErrInvalid)
	}
}

// configure applies the options over the defaults.
func configure(opts []Option) (*config, error) {
	c := &config{perm: 0o600}
	for _, o := range opts {
		if o != nil {
			o(c)
		}
	}
	if c.perm&^fs.ModePerm != 0 {
		c.fail("Perm", c.perm)
	}
	return c, c.err
}

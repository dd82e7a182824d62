package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/shmchan/shmchan/channel"
)

func newRm() *cobra.Command {
	var dir string
	var force bool
	cmd := &cobra.Command{
		Use:   "rm NAME ...",
		Short: "Forget names",
		Long: `Remove the names of channels, as shm_unlink does. Processes that have such a channel
go on with it; its messages are gone with the last of them.
` + exitHelp,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, names []string) error {
			var failed []error
			for _, name := range names {
				err := channel.Unlink(name, channel.Dir(dir))
				if err != nil && !(force && errors.Is(err, fs.ErrNotExist)) {
					failed = append(failed, err)
				}
			}
			return errors.Join(failed...)
		},
	}
	bindDir(cmd.Flags(), &dir)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "an absent name is no error")
	return cmd
}

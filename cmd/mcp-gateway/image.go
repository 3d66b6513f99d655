package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mcpgateway/images"
)

func newImageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "See what servers see of this host, and where commands are in it",
		Example: "  mcp-gateway image which node",
	}
	cmd.AddCommand(newImageListCommand(), newImageShowCommand(), newImageWhichCommand())
	return cmd
}

// listedImage is an image in image list -o json.
type listedImage struct {
	Name  string `json:"name"`
	About string `json:"description"`
}

func newImageListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the images that servers can run on", Example: "  mcp-gateway image list -o json", Args: cobra.NoArgs}
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list := []listedImage{{"host", "this host's programs and libraries, and an /etc made for it"}}
		return form.print(cmd.OutOrStdout(), list, func(out io.Writer) error {
			table := newTable(out, "NAME", "DESCRIPTION")
			for _, i := range list {
				table.row(i.Name, i.About)
			}
			return table.flush()
		})
	}
	return cmd
}

// shownImage is image show -o json.
type shownImage struct {
	Name   string       `json:"name"`
	Mounts []imageMount `json:"mounts"`
	Links  []imageLink  `json:"links"`
}

// imageMount is a folder of the host that is seen, read-only.
type imageMount struct {
	Target string `json:"target"`
	Source string `json:"source,omitempty"` // "": made by the gateway
}

type imageLink struct {
	Name   string `json:"name"`
	Target string `json:"target"`
}

// completeImages offers the names of images.
func completeImages(*cobra.Command) []string { return []string{"host"} }

func newImageShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [IMAGE]",
		Short: "Show what of this host is visible in an image",
		Long: `Show what of this host is visible in an image: folders, read-only, and links. A
server has a /tmp of its own besides, and what its mounts and directories name.`,
		Example: "  mcp-gateway image show host", Args: cobra.MaximumNArgs(1),
	}
	form := outputFlag(cmd)
	cmd.ValidArgsFunction = completing(1, completeImages)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && args[0] != "host" {
			return fmt.Errorf("there is no image %s: there is host", quoted(args[0]))
		}
		image, err := images.Host("")
		if err != nil {
			return err
		}
		s := shownImage{Name: image.Name}
		for _, b := range image.Binds {
			s.Mounts = append(s.Mounts, imageMount{b.Target, b.Source})
		}
		for _, l := range image.Links {
			s.Links = append(s.Links, imageLink(l))
		}
		return form.print(cmd.OutOrStdout(), s, s.print)
	}
	return cmd
}

func (s shownImage) print(out io.Writer) error {
	table := newTable(out, "PATH", "KIND", "OF THE HOST")
	for _, m := range s.Mounts {
		source := m.Source
		if source == "" {
			source = "made by the gateway: no users, hosts or name servers"
		}
		table.row(m.Target, "read-only", source)
	}
	for _, l := range s.Links {
		table.row(l.Name, "link", l.Target)
	}
	return table.flush()
}

// foundCommand is image which -o json.
type foundCommand struct {
	Command string `json:"command"`
	Path    string `json:"path,omitempty"`  // in the sandbox; "": it is not visible
	Mount   string `json:"mount,omitempty"` // that would make it visible
}

func newImageWhichCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "which COMMAND…",
		Short: "Say where servers find commands, and what mount they need",
		Long: `Say where a server finds commands in the image "host", and which mount would make
visible what it does not find. The exit status is 0 if all are found, and 2 if not.`,
		Example: "  mcp-gateway image which node npx\n  mcp-gateway image which node --mount /opt/node", Args: cobra.MinimumNArgs(1),
	}
	form := outputFlag(cmd)
	mounts := cmd.Flags().StringSlice("mount", nil, "as if the server had this `FOLDER` in its mounts (may be repeated)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		image, err := images.Host("/etc")
		if err != nil {
			return err
		}
		var binds []images.Bind
		for _, m := range *mounts {
			binds = append(binds, images.Bind{Source: m, Target: m})
		}
		list, all := []foundCommand{}, true
		for _, command := range args {
			found := foundCommand{Command: command}
			var hidden *images.NotVisibleError
			if found.Path, err = image.Find(command, binds); errors.As(err, &hidden) {
				found.Mount, all = hidden.Mount, false
			}
			list = append(list, found)
		}
		if err := form.print(cmd.OutOrStdout(), list, func(out io.Writer) error { return printFound(out, list) }); err != nil {
			return err
		}
		if !all {
			return errFinding
		}
		return nil
	}
	return cmd
}

func printFound(out io.Writer, list []foundCommand) error {
	table := newTable(out, "COMMAND", "PATH", "NEEDS")
	for _, f := range list {
		switch {
		case f.Path != "":
			table.row(f.Command, good(f.Path), "-")
		case f.Mount != "":
			table.row(f.Command, bad("not visible"), "mounts: ["+f.Mount+"]")
		default:
			table.row(f.Command, bad("not visible"), "this host has none: install it")
		}
	}
	return table.flush()
}

// Package doctor says what a host can enforce, what is missing, and how to get it. It
// changes nothing, needs no running gateway, and decides nothing: the daemon finds out
// for itself what it can do.
//
// Runs in: CLI.
package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// State says how bad a finding is.
type State string

// The states of a finding.
const (
	OK      State = "ok"      // all that the gateway needs
	Note    State = "note"    // something optional is not there
	Warning State = "warning" // servers run, but less is enforced or observed
	Missing State = "missing" // servers can't start
)

// Finding is one thing about the host.
type Finding struct {
	Topic string `json:"topic"` // cgroups, kernel, …
	Check string `json:"check"`
	State State  `json:"state"`
	What  string `json:"what"`
	Fix   string `json:"fix,omitempty"` // what to do about it, in one line
}

// Kernel is what only the kernel itself can say.
type Kernel interface {
	// Release is the version, such as "6.1.0-28-amd64".
	Release() string
	// Landlock is the version of Landlock, 0 for none.
	Landlock() int
	// Try uses a feature once. Its error says why that is not possible; ErrUntried, that
	// it can't be tried here.
	Try(Feature) error
}

// Feature is something that a kernel may have.
type Feature string

// The features that servers' sandboxes are made with.
const (
	Openat2        Feature = "openat2"
	PIDFD          Feature = "pidfd"
	Seccomp        Feature = "seccomp filters"
	UserNamespaces Feature = "user namespaces"
	IDMapped       Feature = "idmapped mounts"
	SocketLookup   Feature = "socket lookup (BPF)"
)

// Host is what is examined. What is in files is read below Root, so that any host can be
// examined that somebody has the files of.
type Host struct {
	Root    string // "/" for this one
	Kernel  Kernel
	UIDPool Range  // ids that sandboxes get
	Proxy   string // the user that the proxy runs as
}

// Range is host ids, from First on.
type Range struct{ First, Count int }

// Examine says all that there is to be said of a host, topic by topic.
func Examine(h Host) []Finding {
	x := &examination{host: h, distribution: distribution(h.Root)}
	for _, topic := range []struct {
		name    string
		examine func(*examination)
	}{
		{"kernel", (*examination).kernel},
		{"cgroups", (*examination).cgroups},
		{"namespaces", (*examination).namespaces},
		{"security", (*examination).security},
		{"host", (*examination).system},
		{"users", (*examination).users},
	} {
		x.topic = topic.name
		topic.examine(x)
	}
	return x.findings
}

// examination is one run of Examine.
type examination struct {
	host         Host
	distribution string // ID of os-release(5)
	topic        string
	findings     []Finding
}

func (x *examination) find(state State, check, fix, format string, args ...any) {
	x.findings = append(x.findings, Finding{Topic: x.topic, Check: check, State: state, What: fmt.Sprintf(format, args...), Fix: fix})
}

func (x *examination) ok(check, format string, args ...any) { x.find(OK, check, "", format, args...) }

// read returns a file of the host, "" if there is none that can be read.
func (x *examination) read(path string) string {
	content, err := os.ReadFile(filepath.Join(x.host.Root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

func (x *examination) exists(path string) bool {
	_, err := os.Stat(filepath.Join(x.host.Root, path))
	return err == nil
}

// distribution is the ID of os-release(5), "" if that can't be told.
func distribution(root string) string {
	content, err := os.ReadFile(filepath.Join(root, "etc/os-release"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "ID="); ok {
			return strings.Trim(id, `"'`)
		}
	}
	return ""
}

// bootWith says how a parameter gets on the kernel's command line of this distribution.
func (x *examination) bootWith(parameters string) string {
	switch x.distribution {
	case "debian", "ubuntu", "linuxmint", "raspbian":
		return fmt.Sprintf("add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, and reboot", parameters)
	case "fedora", "rhel", "centos", "rocky", "almalinux":
		return fmt.Sprintf("run grubby --update-kernel=ALL --args=%q, and reboot", parameters)
	case "arch", "opensuse-leap", "opensuse-tumbleweed", "sles":
		return fmt.Sprintf("add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run grub-mkconfig -o /boot/grub/grub.cfg, and reboot", parameters)
	}
	return fmt.Sprintf("boot the kernel with %s on its command line", parameters)
}

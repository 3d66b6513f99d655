package daemon

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

// likeness is what a sandbox was made of: its description, what the names in it stood
// for on the host, and what was mounted there.
type likeness struct {
	spec   sandbox.Spec // without its id and files
	files  []identity   // of its mounts, and of what is hidden
	mounts string       // the table of all; "" if that is not known
}

// identity is which file a name stands for; zero if there is none. One that a sandbox
// shows stays what it is as long as the sandbox is there, whatever becomes of the name.
type identity struct{ device, inode uint64 }

// likenessOf is the likeness of a sandbox that is made by spec now.
func (s *supervisor) likenessOf(spec sandbox.Spec) likeness {
	l := likeness{spec: spec, mounts: s.mounts.read()}
	l.spec.ID, l.spec.Mounts = "", slices.Clone(spec.Mounts)
	for i := range l.spec.Mounts {
		m := &l.spec.Mounts[i]
		l.files = append(l.files, identify(m.Source, m.File))
		m.File = nil
	}
	for _, path := range spec.Hidden {
		l.files = append(l.files, identify(onHost(path, spec.Mounts), nil))
	}
	return l
}

func (l likeness) equals(other likeness) bool {
	return l.mounts != "" && other.mounts != "" && slices.Equal(l.files, other.files) && reflect.DeepEqual(l.spec, other.spec) &&
		(l.mounts == other.mounts || l.mountsBelow() == other.mountsBelow())
}

func (l likeness) mountsBelow() string {
	sources := make([]string, len(l.spec.Mounts))
	for i, m := range l.spec.Mounts {
		sources[i] = m.Source
	}
	return mountsBelow(l.mounts, sources)
}

// identify says which file it is, by its name if it is not open.
func identify(path string, file *os.File) identity {
	var st unix.Stat_t
	err := error(nil)
	if file != nil {
		err = unix.Fstat(int(file.Fd()), &st)
	} else {
		err = unix.Lstat(path, &st)
	}
	if err != nil {
		return identity{}
	}
	return identity{st.Dev, st.Ino}
}

// onHost is where a path of the inside is on the host, by the deepest mount that shows it; "" for none.
func onHost(path string, mounts []sandbox.Mount) (found string) {
	longest := -1
	for _, m := range mounts {
		if isBelow(path, m.Target) && len(m.Target) > longest {
			found, longest = filepath.Join(m.Source, strings.TrimPrefix(path, m.Target)), len(m.Target)
		}
	}
	return found
}

func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// mountTable is what is mounted on the host. It is read again only when the kernel says that
// it has changed (proc_pid_mountinfo(5)): most of an open of a prepared sandbox would be that.
type mountTable struct {
	mu   sync.Mutex
	file *os.File
	text string
}

// read is the table; "" if it can't be read.
func (m *mountTable) read() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readLocked(); err != nil {
		m.text = ""
	}
	return m.text
}

func (m *mountTable) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file.Close() // nil, if it was never read, is no file
}

func (m *mountTable) readLocked() (err error) {
	if m.file == nil {
		if m.file, err = os.Open("/proc/self/mountinfo"); err != nil {
			return err
		}
	}
	changed := []unix.PollFd{{Fd: int32(m.file.Fd()), Events: unix.POLLPRI}}
	if n, err := unix.Poll(changed, 0); n == 0 && err == nil && m.text != "" {
		return nil
	}
	table, err := io.ReadAll(io.NewSectionReader(m.file, 0, math.MaxInt64))
	m.text = string(table)
	return err
}

// mountsBelow is what of a table is mounted at these paths and below them, which mounts of
// them show, too.
func mountsBelow(table string, paths []string) string {
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
	var all strings.Builder
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 4 && slices.ContainsFunc(paths, func(path string) bool { return isBelow(fields[4], escape.Replace(path)) }) {
			all.WriteString(line)
		}
	}
	return all.String()
}
